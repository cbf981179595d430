/* The simulation's pool: a leaf whose calls are run by the simulation's steps. */
#include "base/memory.h"
#include "pools/sim.h"

#include <stdio.h>

/* A call in the pool, at calls[at]: ready to be run below n_ready, above it delayed by the timer. */
struct slot {
	size_t at; /* SIZE_MAX: not in it */
	uint64_t number;
	struct exsi_timer timer;
};

struct exsi_sim_pool {
	exs_executor *x;
	exs_sim *sim;
	struct exsi_sim_pool *next;
	unsigned limit;
	struct slot **calls;
	size_t n_ready, n, room;
	struct exsi_sim_run running; /* sentinel */
	unsigned n_running;	     /* without those that have a spare, since they wait */
	struct exsi_timer_kind kind;
};

/* --- the calls --- */

static void put(struct exsi_sim_pool *p, size_t at, struct slot *s)
{
	p->calls[at] = s;
	s->at = at;
}

static void swap(struct exsi_sim_pool *p, size_t i, size_t k)
{
	struct slot *s = p->calls[i];

	put(p, i, p->calls[k]);
	put(p, k, s);
}

static bool make_room(struct exsi_sim_pool *p)
{
	if (p->n < p->room)
		return true;
	size_t room = p->room ? 2 * p->room : 16;
	struct slot **calls = exsi_alloc_array(room, sizeof(*calls));
	if (!calls)
		return false;
	for (size_t i = 0; i < p->n; i++)
		calls[i] = p->calls[i];
	exsi_free(p->calls);
	p->calls = calls;
	p->room = room;
	return true;
}

static void become_ready(struct exsi_sim_pool *p, struct slot *s)
{
	swap(p, s->at, p->n_ready++);
}

static void take_out(struct exsi_sim_pool *p, struct slot *s)
{
	size_t at = s->at;

	if (at < p->n_ready) {
		swap(p, at, --p->n_ready);
		at = p->n_ready;
	}
	swap(p, at, --p->n);
	s->at = SIZE_MAX;
}

/* --- running --- */

static exs_result injected(exs_sim *sim, exs_sim_kind kind, exs_sim_code code, exs_future *f, uint64_t number)
{
	exsi_sim_event(sim, kind, number, exs_call_name(f), 0);
	return exs_fail(exs_error_new(&exs_domain_sim, (int)code, "%s", exs_domain_sim.describe((int)code)));
}

/* The function, with the call's token. */
static void run_function(struct exsi_sim_pool *p, exs_future *f, uint64_t number, exs_result *r)
{
	exs_sim *sim = p->sim;
	struct exsi_sim_seat *seat = sim->current;
	struct exsi_sim_run run = {&p->running, p->running.prev, seat->run, p, f};

	run.prev->next = p->running.prev = seat->run = &run;
	p->n_running++;
	exsi_sim_event(sim, EXS_SIM_RUN, number, exs_call_name(f), 0);
	exs_call_run(f, r);
	run.prev->next = run.next;
	run.next->prev = run.prev;
	seat->run = run.below;
	p->n_running--;
	exsi_sim_event(sim, EXS_SIM_END, number, exs_call_name(f), (uint64_t)r->kind);
	if (r->kind == EXS_KIND_CANCELLED || !exsi_sim_fault(sim, sim->options.lose))
		return;
	exs_result_clear(r);
	*r = injected(sim, EXS_SIM_LOSE, EXS_SIM_ELOST, f, number);
}

static void run_call(struct exsi_sim_pool *p, struct slot *s)
{
	exs_executor *x = p->x;
	exs_future *f = exsi_slot_call(s, x);
	uint64_t number = s->number;
	bool fails = exsi_sim_fault(p->sim, p->sim->options.fail);
	exs_result r;

	take_out(p, s);
	if (!(fails ? exs_call_claim(f) : exsi_call_claim_run(f)))
		return; /* its canceller, below on the stack, finds it taken out */
	exsi_self()->worker = &p->sim->worker;
	if (fails)
		r = injected(p->sim, EXS_SIM_FAIL, EXS_SIM_EFAILED, f, number);
	else
		run_function(p, f, number, &r);
	exs_call_resume(f, x, EXS_UP, &r); /* x may be gone then */
}

bool exsi_sim_pool_ready(const struct exsi_sim_pool *p)
{
	return p->n_ready && p->n_running < p->limit;
}

void exsi_sim_pool_run(struct exsi_sim_pool *p)
{
	run_call(p, p->calls[exsi_sim_below(p->sim, p->n_ready)]);
}

struct exsi_sim_pool *exsi_sim_pool_next(struct exsi_sim_pool *p)
{
	return p->next;
}

/* --- a task that waits for a call of a pool --- */

/* Around a wait: on a stack of its own it is another that works in the pool meanwhile, on top of it or beside it. */
static void step_aside(exs_sim *sim, bool begins)
{
	struct exsi_sim_run *run = sim->options.threads ? sim->current->run : NULL;

	if (run)
		run->pool->n_running += begins ? -1u : 1;
}

static bool help_with(struct exsi_sim_pool *p, exs_future *f)
{
	struct exsi_self *self = exsi_self();
	struct exsi_worker *before = self->worker;
	unsigned state = atomic_load(&f->state);
	struct slot *s = exsi_slot(f, p->x);

	if (!(state & EXSI_PARKED) || exsi_at(state) || s->at >= p->n_ready)
		return false;
	exsi_sim_enter(p->sim);
	exs_sim *sim = p->sim;
	step_aside(sim, true);
	run_call(p, s);
	step_aside(sim, false);
	self->worker = before;
	exsi_sim_leave(sim);
	return true;
}

/* As long as workers are left, it is drawn whether the one that waits does it itself. */
static bool help_one(exs_future *f, void *arg)
{
	exs_sim *sim = arg;
	struct exsi_sim_pool *p = sim->pools;

	while (p && !exsi_stands_on(f, p->x))
		p = p->next;
	return p && !(p->n_running < p->limit && exsi_sim_below(sim, 2)) && help_with(p, f);
}

bool exsi_sim_pool_help(struct exsi_worker *w, exs_future *f)
{
	exs_sim *sim = EXSI_CONTAINER_OF(w, exs_sim, worker);

	return sim->current->depth <= EXSI_SIM_MAX_DEPTH && exsi_find_help(f, help_one, sim);
}

/* --- hooks --- */

static struct slot *slot_of(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer, struct slot, timer);
}

static bool delay_expire(struct exsi_timer *timer)
{
	(void)timer;
	return true;
}

static void delay_fire(struct exsi_timer *timer)
{
	become_ready(EXSI_CONTAINER_OF(timer->kind, struct exsi_sim_pool, kind), slot_of(timer));
}

static void delay(struct exsi_sim_pool *p, struct slot *s)
{
	exs_sim *sim = p->sim;
	uint64_t ns = (uint64_t)(sim->options.max_delay * 1e9);
	uint64_t wait = 1 + exsi_sim_below(sim, ns ? ns : 1);

	exsi_timer_arm(sim->clock, &s->timer, exsi_after(exsi_clock_ns(sim->clock), wait), NULL);
	exsi_sim_event(sim, EXS_SIM_DELAYED, s->number, NULL, wait);
}

static exs_error *refusal(struct exsi_sim_pool *p)
{
	if (p->sim->over)
		return exsi_error(EXS_ESHUTDOWN);
	if (exsi_self()->turner != &p->sim->turner)
		return exs_error_new(&exs_domain_exs, EXS_EINVAL,
				     "sim: a call from another thread than the simulation's");
	return make_room(p) ? NULL : exsi_error(EXS_ENOMEM);
}

static exs_step sim_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct exsi_sim_pool *p = exsi_state(x);
	struct slot *s = slot;
	exs_error *error = refusal(p);

	if (error || !exs_call_park(f, x)) {
		*r = error ? exs_fail(error) : exs_cancelled();
		return EXS_UP;
	}
	*s = (struct slot){.number = p->sim->stats.calls + 1, .timer = {.kind = &p->kind}};
	exsi_sim_event(p->sim, EXS_SIM_QUEUED, s->number, exs_call_name(f), 0);
	put(p, p->n++, s);
	if (exsi_sim_fault(p->sim, p->sim->options.delay))
		delay(p, s);
	else
		become_ready(p, s);
	exsi_sim_plan_cancel(p->sim, exsi_root(f), s->number);
	return EXS_HELD;
}

static exs_step sim_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct exsi_sim_pool *p = exsi_state(x);
	struct slot *s = slot;

	(void)f, (void)cause, (void)r;
	exsi_timer_disarm(p->sim->clock, &s->timer);
	if (s->at != SIZE_MAX)
		take_out(p, s);
	return EXS_UP;
}

static void sim_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct exsi_sim_pool *p = exsi_state(x);

	for (size_t i = 0; i < p->n; i++)
		visit(exsi_slot_call(p->calls[i], x), arg);
	for (struct exsi_sim_run *run = p->running.next; run != &p->running; run = run->next)
		visit(run->call, arg);
}

static void sim_stop(exs_executor *x)
{
	struct exsi_sim_pool *p = exsi_state(x), **at = &p->sim->pools;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	if (!p->next)
		p->sim->last_pool = at;
	exsi_free(p->calls);
	exsi_sim_unref(p->sim);
}

static int sim_describe(exs_executor *x, char *buf, size_t size)
{
	struct exsi_sim_pool *p = exsi_state(x);

	if (p->limit == EXS_UNLIMITED)
		return snprintf(buf, size, "unlimited");
	return snprintf(buf, size, "%u", p->limit);
}

static const exs_layer_ops sim_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "sim",
	.start = sim_start,
	.done = exs_pass_done,
	.cancel = sim_cancel,
	.each = sim_each,
	.stop = sim_stop,
	.describe = sim_describe,
};

/* --- waits inside tasks --- */

static bool concerns(struct exsi_worker *w, exs_future *f)
{
	(void)w, (void)f;
	return false;
}

static int block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge)
{
	(void)concerned, (void)nudge;
	step_aside(EXSI_CONTAINER_OF(w, exs_sim, worker), true);
	return EXS_OK;
}

static void unblock(struct exsi_worker *w)
{
	step_aside(EXSI_CONTAINER_OF(w, exs_sim, worker), false);
}

exs_executor *exs_sim_pool(exs_sim *sim, unsigned workers)
{
	if (!sim)
		return NULL;
	exs_executor *x = exs_layer_new(&sim_ops, NULL, sizeof(struct exsi_sim_pool), sizeof(struct slot));
	if (!x)
		return NULL;
	struct exsi_sim_pool *p = exsi_state(x);
	p->x = x;
	p->sim = sim;
	p->limit = workers ? workers : EXS_UNLIMITED;
	p->running.next = p->running.prev = &p->running;
	p->kind = (struct exsi_timer_kind){delay_expire, delay_fire};
	*sim->last_pool = p;
	sim->last_pool = &p->next;
	sim->refs++;
	sim->worker = (struct exsi_worker){exsi_sim_pool_help, concerns, block, unblock, NULL, NULL, NULL};
	return exs_with_clock(x, sim->clock);
}
