/* Simulation: its steps, and waits that are made of them. */
#include "future/wait.h"
#include "pools/sim.h"

/* --- around a step --- */

void exsi_sim_enter(exs_sim *sim)
{
	sim->current->depth++;
	sim->stats.steps++;
}

void exsi_sim_leave(exs_sim *sim)
{
	sim->current->depth--;
}

/* --- planned cancels --- */

static void plan_ends(exs_future *f, struct exsi_node *node)
{
	(void)f;
	EXSI_CONTAINER_OF(node, struct exsi_plan, node)->call = NULL;
}

void exsi_sim_plan_cancel(exs_sim *sim, exs_future *f, uint64_t number)
{
	struct exsi_plan *plan = sim->plans;

	if (!exsi_sim_fault(sim, sim->options.cancel))
		return;
	while (plan < sim->plans + EXSI_SIM_PLANS && plan->call)
		plan++;
	if (plan == sim->plans + EXSI_SIM_PLANS)
		return;
	*plan = (struct exsi_plan){.node = {.fn = plan_ends, .kind = EXSI_WATCHER}, .call = f, .number = number};
	plan->at = sim->stats.steps + 1 + exsi_sim_below(sim, UINT64_C(1) << exsi_sim_below(sim, 7)); /* rather soon */
	if (!exsi_node_add(f, &plan->node))
		plan->call = NULL;
}

static exs_future *end_plan(struct exsi_plan *plan)
{
	exs_future *f = plan->call;

	if (f)
		exsi_node_remove(f, &plan->node); /* it is linked: otherwise plan_ends has run */
	plan->call = NULL;
	return f;
}

void exsi_sim_drop_plans(exs_sim *sim)
{
	for (int i = 0; i < EXSI_SIM_PLANS; i++)
		end_plan(&sim->plans[i]);
}

/* The first that is due; with `any`, the first. */
static struct exsi_plan *due_plan(exs_sim *sim, bool any)
{
	for (int i = 0; i < EXSI_SIM_PLANS; i++)
		if (sim->plans[i].call && (any || sim->plans[i].at <= sim->stats.steps))
			return &sim->plans[i];
	return NULL;
}

static void carry_out(exs_sim *sim, struct exsi_plan *plan)
{
	uint64_t number = plan->number;
	exs_future *f = exs_future_ref(end_plan(plan));

	exs_answer answer = exs_future_cancel(f);
	exsi_sim_event(sim, EXS_SIM_CANCEL, number, NULL, (uint64_t)answer);
	exs_future_unref(f);
}

/* --- actors: who could go on now, each as a thread of its own --- */

/* Counts them; the one whose number is `wanted` acts, and nothing is touched after that. */
static size_t actors(exs_sim *sim, size_t wanted)
{
	size_t n = 0;

	for (struct exsi_sim_pool *p = sim->pools; p; p = exsi_sim_pool_next(p)) {
		if (!exsi_sim_pool_ready(p) || n++ != wanted)
			continue;
		sim->chores_done = 0;
		exsi_sim_pool_run(p);
		return n;
	}
	for (struct exsi_chore *c = sim->turner.chores.next; c != &sim->turner.chores; c = c->next) {
		if (c->busy || !c->ready(c) || n++ != wanted)
			continue;
		exsi_sim_event(sim, EXS_SIM_POLL, 0, NULL, 0);
		sim->chores_done++;
		c->busy = true;
		c->turn(c);
		c->busy = false; /* it lives: a chain is not released while this stack is in the middle of it */
		return n;
	}
	exs_executor *x = exsi_reapable();
	if (x && n++ == wanted) {
		exsi_sim_event(sim, EXS_SIM_RELEASE, 0, NULL, 0);
		exsi_reap(x);
	}
	return n;
}

/* --- a step --- */

/* Is there anything that time could bring: a timer, the deadline? */
static bool can_pass(exs_sim *sim, uint64_t deadline)
{
	return deadline != EXSI_NEVER || exsi_clock_earliest(sim->clock) != EXSI_NEVER;
}

/* To the next timer, or the deadline. */
static int pass_time(exs_sim *sim, uint64_t deadline)
{
	uint64_t at = exsi_clock_earliest(sim->clock);

	sim->chores_done = 0;
	if (at <= deadline)
		exsi_sim_event(sim, EXS_SIM_TIMER, 0, NULL, at);
	return exsi_clock_step(sim->clock, deadline) ? EXS_OK : EXS_ETIMEDOUT;
}

static bool is_innermost(const struct exsi_sim_wait *w)
{
	return w->seat->wait == w;
}

/* Can it go on: has come what it waits for, its time, or word that it is in vain? */
static bool can_go_on(exs_sim *sim, const struct exsi_sim_wait *w)
{
	if (!is_innermost(w))
		return false;
	return w->done(w->arg) || w->told || exsi_clock_ns(sim->clock) >= w->deadline ||
	       sim->stats.steps >= w->last_step;
}

/* With threads: those that wait and can go on. Counts them; *found is the one whose number is `wanted`. */
static size_t waits(exs_sim *sim, size_t wanted, struct exsi_sim_wait **found)
{
	size_t n = 0;

	for (struct exsi_sim_wait *w = sim->wait; w; w = w->below)
		if (can_go_on(sim, w) && n++ == wanted)
			*found = w;
	return n;
}

/* A step, or (with `next`) a wait that can go on. */
static int turn(exs_sim *sim, uint64_t deadline, struct exsi_sim_wait **next)
{
	struct exsi_self *self = exsi_self();
	struct exsi_worker *before = self->worker;
	int rc = EXS_OK;
	size_t n_waits = next ? waits(sim, SIZE_MAX, next) : 0;
	size_t n = n_waits + actors(sim, SIZE_MAX);
	bool can = can_pass(sim, deadline);
	struct exsi_plan *plan = due_plan(sim, !n && !can);

	if (!n && !plan && !can)
		return EXS_EDEADLK;
	bool time = !n || sim->chores_done >= EXSI_SIM_MAX_CHORES || exsi_sim_fault(sim, sim->options.time);
	size_t which = plan || (time && can) ? n : exsi_sim_below(sim, n);
	if (which < n_waits) {
		waits(sim, which, next);
		return EXS_OK;
	}
	exsi_sim_enter(sim);
	self->worker = NULL;
	if (plan)
		carry_out(sim, plan);
	else if (time && can)
		rc = pass_time(sim, deadline);
	else
		actors(sim, which - n_waits);
	self->worker = before;
	exsi_sim_leave(sim);
	return rc;
}

int exsi_sim_turn(exs_sim *sim, uint64_t deadline)
{
	if (exsi_clock_ns(sim->clock) >= deadline)
		return EXS_ETIMEDOUT;
	if (sim->current->depth >= EXSI_SIM_MAX_DEPTH) /* waits in steps of waits in steps ... */
		return EXS_EDEADLK;
	return turn(sim, deadline, NULL);
}

/* Nothing is left to do: the latest wait is told, but one for just that last. */
static void tell(exs_sim *sim)
{
	struct exsi_sim_wait *w = sim->wait;

	while (w->idles && w->below)
		w = w->below;
	w->seat->wait->told = true;
	sim->stats.steps++; /* one that waits again and again comes to max_steps */
}

int exsi_sim_choose(exs_sim *sim, struct exsi_sim_wait **next)
{
	uint64_t deadline = EXSI_NEVER;

	for (struct exsi_sim_wait *w = sim->wait; w; w = w->below)
		deadline = is_innermost(w) && w->deadline < deadline ? w->deadline : deadline;
	*next = NULL;
	int rc = turn(sim, deadline, next);
	if (rc == EXS_EDEADLK)
		tell(sim);
	return rc;
}

/* --- waits --- */

static int stuck(exs_sim *sim, const struct exsi_sim_wait *wait, bool endless)
{
	const struct exsi_sim_wait *below = sim->options.threads ? NULL : wait->below;

	while (below && !below->done(below->arg))
		below = below->below;
	exsi_sim_event(sim, EXS_SIM_STUCK, 0, NULL, endless ? 2 : below != NULL);
	if (endless)
		return exsi_fail(EXS_EDEADLK, "simulation: %zu steps were not enough (max_steps)",
				 sim->options.max_steps);
	if (below)
		return exsi_fail(EXS_EDEADLK,
				 "simulation: inverted: what this waits for may be a wait below it on the same stack, "
				 "which could go on");
	return exsi_fail(EXS_EDEADLK, "simulation: nothing is left to do, and what is waited for has not come");
}

/* Others go on: on threads of their own, or on this stack. */
static int let_go_on(exs_sim *sim, struct exsi_sim_wait *wait)
{
	if (sim->stats.steps >= wait->last_step)
		return EXS_EDEADLK;
	if (!sim->options.threads || !exsi_sim_let_go_on(sim))
		return exsi_sim_turn(sim, wait->deadline);
	if (wait->told)
		return EXS_EDEADLK;
	return exsi_clock_ns(sim->clock) >= wait->deadline ? EXS_ETIMEDOUT : EXS_OK;
}

static int wait_until(exs_sim *sim, struct exsi_sim_wait *wait)
{
	struct exsi_sim_wait **at = &sim->wait;
	uint64_t last = sim->stats.steps + sim->options.max_steps;
	int rc = EXS_OK;

	wait->last_step = last < sim->options.max_steps ? UINT64_MAX : last;
	wait->seat = sim->current;
	wait->below = sim->wait;
	wait->within = wait->seat->wait;
	sim->wait = wait->seat->wait = wait;
	for (;;) {
		exsi_drain();
		if (rc || wait->done(wait->arg))
			break;
		rc = let_go_on(sim, wait);
	}
	while (*at != wait)
		at = &(*at)->below;
	*at = wait->below;
	wait->seat->wait = wait->within;
	if (!rc)
		sim->chores_done = 0;
	return rc;
}

int exsi_sim_until(struct exsi_turner *turner, bool (*done)(void *), void *arg, uint64_t deadline)
{
	exs_sim *sim = EXSI_CONTAINER_OF(turner, exs_sim, turner);
	struct exsi_sim_wait wait = {.done = done, .arg = arg, .deadline = deadline};
	int rc = wait_until(sim, &wait);

	if (done(arg))
		return EXS_OK;
	return rc == EXS_EDEADLK ? stuck(sim, &wait, sim->stats.steps >= wait.last_step) : rc;
}

int exs_sim_wait(exs_sim *sim, bool (*done)(void *), void *arg, double seconds)
{
	uint64_t deadline;

	if (!sim || !done)
		return exsi_fail(EXS_EINVAL, "exs_sim_wait: %s is NULL", sim ? "done" : "sim");
	int rc = exsi_wait_begin("exs_sim_wait", seconds, &deadline);
	return rc ? rc : exsi_sim_until(&sim->turner, done, arg, deadline);
}

static bool never(void *unused)
{
	(void)unused;
	return false;
}

/* For exs_sim_run and exs_sim_step, where waits have threads of their own. *idle: nothing is left to do. */
static void go_on(exs_sim *sim, bool (*done)(void *), void *arg, bool *idle)
{
	struct exsi_sim_wait wait = {.done = done, .arg = arg, .deadline = EXSI_NEVER, .idles = true};

	wait_until(sim, &wait);
	*idle = wait.told;
}

struct steps {
	exs_sim *sim;
	uint64_t n;
};

static bool has_stepped(void *arg)
{
	struct steps *steps = arg;

	return steps->sim->stats.steps != steps->n;
}

bool exs_sim_step(exs_sim *sim)
{
	bool idle;

	if (!sim)
		return false;
	struct steps steps = {sim, sim->stats.steps};
	exsi_drain();
	if (!sim->options.threads)
		return exsi_sim_turn(sim, EXSI_NEVER) == EXS_OK;
	go_on(sim, has_stepped, &steps, &idle);
	return !idle;
}

/* Until nothing is left to do; false: that took too many. */
static bool step_often(exs_sim *sim)
{
	size_t steps = 0;

	while (steps < sim->options.max_steps && exs_sim_step(sim))
		steps++;
	return steps < sim->options.max_steps;
}

int exs_sim_run(exs_sim *sim)
{
	bool idle;

	if (!sim)
		return exsi_fail(EXS_EINVAL, "exs_sim_run: sim is NULL");
	if (sim->options.threads)
		go_on(sim, never, NULL, &idle);
	else
		idle = step_often(sim);
	if (idle)
		return EXS_OK;
	return exsi_fail(EXS_EDEADLK, "exs_sim_run: %zu steps were not enough (max_steps)", sim->options.max_steps);
}

int exs_sim_run_until(exs_sim *sim, exs_future *future)
{
	if (!sim)
		return exsi_fail(EXS_EINVAL, "exs_sim_run_until: sim is NULL");
	return exs_future_wait(future, EXS_FOREVER);
}
