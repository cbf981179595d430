/* Timers of calls: from the timer to its call and back. */
#include "executor/call_timer.h"

static exs_executor *executor_of(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer->kind, exs_executor, timer_kind);
}

static struct exsi_timer *timer_of(const exs_executor *x, exs_future *f)
{
	char *from = x->timers->shared ? exsi_shared(f, x) : exsi_slot(f, x);

	return (struct exsi_timer *)(void *)(from + x->timers->offset);
}

static exs_future *call_of(const exs_executor *x, struct exsi_timer *timer)
{
	size_t from = x->timers->shared ? x->shares : x->off;

	return (exs_future *)(void *)((char *)timer - x->timers->offset - from - sizeof(exs_future));
}

static bool park(struct exsi_timer *timer)
{
	exs_executor *x = executor_of(timer);
	exs_future *f = call_of(x, timer);

	return x->timers->park ? x->timers->park(x, f, exsi_slot(f, x)) : exs_call_park(f, x);
}

static bool expire(struct exsi_timer *timer)
{
	exs_executor *x = executor_of(timer);
	exs_future *f = call_of(x, timer);

	return x->timers->expire ? x->timers->expire(x, f, exsi_slot(f, x)) : exs_call_claim(f);
}

static void fire(struct exsi_timer *timer)
{
	exs_executor *x = executor_of(timer);
	exs_future *f = call_of(x, timer);

	if (x->timers->shared)
		atomic_fetch_sub(&x->timed, 1);
	x->timers->fire(x, f, exsi_slot(f, x));
}

void exsi_call_timers_init(exs_executor *x, const struct exsi_call_timers *timers)
{
	x->timers = timers;
	x->timer_kind = (struct exsi_timer_kind){.expire = expire, .fire = fire};
	if (timers->shared)
		atomic_store(&x->waiting, &x->timed);
}

bool exsi_call_park_until(exs_future *f, exs_executor *x, uint64_t at)
{
	struct exsi_timer *timer = timer_of(x, f);

	*timer = exsi_call_timer(x, at);
	if (!x->timers->shared)
		return exsi_timer_arm(x->clock, timer, at, park);
	atomic_fetch_add(&x->timed, 1); /* before it can fire */
	bool armed = exsi_timer_arm(x->clock, timer, at, park);
	if (!armed)
		atomic_fetch_sub(&x->timed, 1);
	return armed;
}

void exsi_call_timer_disarm(exs_future *f, exs_executor *x)
{
	exsi_timer_disarm(x->clock, timer_of(x, f));
	atomic_fetch_sub(&x->timed, 1);
}

struct each {
	exs_executor *x;
	exs_visit_fn *visit;
	void *arg;
};

static void visit_timer(struct exsi_timer *timer, void *arg)
{
	struct each *e = arg;

	e->visit(call_of(e->x, timer), e->arg);
}

void exsi_call_timer_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct each e = {x, visit, arg};

	exsi_timer_each(x->clock, &x->timer_kind, visit_timer, &e);
}

double exsi_call_timer_deadline(exs_executor *x, exs_future *f, void *slot)
{
	uint64_t at = timer_of(x, f)->at;

	(void)slot;
	return at == EXSI_NEVER ? EXS_FOREVER : (double)at / 1e9;
}
