/* Servants: their thread or chore, their bell, their timer. */
#include "executor/servant.h"

#include <stdio.h>

/* --- called --- */

void exsi_servant_ring(struct exsi_servant *s)
{
	atomic_fetch_add(&s->bell, 1);
	exsi_unpark(&s->bell, 1);
}

void exsi_servant_call(struct exsi_servant *s)
{
	atomic_store(&s->due, true);
	exsi_servant_ring(s);
}

static bool servant_expire(struct exsi_timer *timer)
{
	exsi_servant_call(EXSI_CONTAINER_OF(timer, struct exsi_servant, timer));
	return false;
}

void exsi_servant_call_after(struct exsi_servant *s, uint64_t ns)
{
	if (ns == 0)
		atomic_store(&s->due, true);
	else if (ns != EXSI_NEVER)
		exsi_timer_arm(s->x->clock, &s->timer, exsi_after(exsi_clock_ns(s->x->clock), ns), NULL);
}

void exsi_servant_come(struct exsi_servant *s)
{
	exsi_timer_disarm(s->x->clock, &s->timer);
	atomic_store(&s->due, false);
}

/* --- at work --- */

static void turn(struct exsi_servant *s)
{
	struct exsi_frame frame;

	exsi_frame_push(&frame, s->x);
	frame.layer = s->x;
	s->ops->turn(s->x);
	exsi_frame_pop(&frame);
}

static void servant_main(void *arg)
{
	struct exsi_servant *s = arg;

	exsi_self()->worker = &s->worker;
	for (;;) {
		unsigned heard = atomic_load(&s->bell);
		if (atomic_load(&s->stop))
			break;
		if (s->ops->ready(s->x))
			turn(s);
		else
			exsi_park(&s->bell, heard, EXSI_NEVER);
	}
}

static bool chore_ready(struct exsi_chore *chore)
{
	struct exsi_servant *s = EXSI_CONTAINER_OF(chore, struct exsi_servant, chore);

	return s->ops->ready(s->x);
}

static void chore_turn(struct exsi_chore *chore)
{
	struct exsi_servant *s = EXSI_CONTAINER_OF(chore, struct exsi_servant, chore);
	struct exsi_self *self = exsi_self();
	struct exsi_worker *before = self->worker;

	self->worker = &s->worker;
	turn(s);
	self->worker = before;
}

/* --- waiting on its thread, in a callback --- */

static bool servant_help(struct exsi_worker *w, exs_future *f)
{
	(void)w, (void)f;
	return false;
}

static bool goes_through(exs_future *f, void *layer)
{
	bool through = false;

	exsi_pin();
	if (exsi_is_call(f))
		through = exsi_uses(exsi_top(f), layer);
	exsi_unpin();
	return through;
}

/* Is f a call that this thread has to see to? */
static bool servant_concerns(struct exsi_worker *w, exs_future *f)
{
	struct exsi_servant *s = EXSI_CONTAINER_OF(w, struct exsi_servant, worker);

	return exsi_find_need(f, goes_through, s->x);
}

static int servant_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge)
{
	(void)w, (void)nudge;
	return concerned ? EXS_EDEADLK : EXS_OK;
}

static void servant_unblock(struct exsi_worker *w)
{
	(void)w;
}

static bool servant_holds(struct exsi_worker *w, const void *scope)
{
	struct exsi_servant *s = EXSI_CONTAINER_OF(w, struct exsi_servant, worker);

	return s->ops->holds(s->x, scope);
}

/* --- its life --- */

int exsi_servant_start(struct exsi_servant *s, exs_executor *x, const struct exsi_servant_ops *ops)
{
	struct exsi_turner *turner = exsi_clock_turner(x->clock);
	char name[48];

	s->x = x;
	s->ops = ops;
	s->kind.expire = servant_expire;
	s->timer.kind = &s->kind;
	s->worker = (struct exsi_worker){.help = servant_help,
					 .concerns = servant_concerns,
					 .block = servant_block,
					 .unblock = servant_unblock,
					 .holds = servant_holds};
	s->chore = (struct exsi_chore){.ready = chore_ready, .turn = chore_turn};
	exsi_crew_init(&s->crew);
	int rc = exsi_clock_hold(x->clock);
	s->holds_clock = !rc;
	if (turner) {
		exsi_enlist(turner, &s->chore);
		return 0;
	}
	snprintf(name, sizeof(name), "%.10s-%s", *x->name ? x->name : "exs", ops->name);
	return rc ? rc : exsi_crew_start(&s->crew, name, 0, servant_main, s);
}

void exsi_servant_stop(struct exsi_servant *s)
{
	atomic_store(&s->stop, true);
	exsi_servant_ring(s);
	if (s->chore.next)
		exsi_dismiss(&s->chore);
	exsi_crew_join(&s->crew);
	exsi_crew_fini(&s->crew);
	exsi_timer_disarm(s->x->clock, &s->timer);
	if (s->holds_clock)
		exsi_clock_unhold(s->x->clock);
}
