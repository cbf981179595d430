/* Simulation: its steps, and waits that are made of them. */
#include "future/wait.h"
#include "pools/sim.h"

/* --- around a step --- */

void exsi_sim_enter(exs_sim *sim)
{
	sim->depth++;
	sim->stats.steps++;
}

void exsi_sim_leave(exs_sim *sim)
{
	sim->depth--;
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

int exsi_sim_turn(exs_sim *sim, uint64_t deadline)
{
	struct exsi_self *self = exsi_self();
	struct exsi_worker *before = self->worker;
	int rc = EXS_OK;

	if (exsi_clock_ns(sim->clock) >= deadline)
		return EXS_ETIMEDOUT;
	if (sim->depth >= EXSI_SIM_MAX_DEPTH) /* waits in steps of waits in steps ... */
		return EXS_EDEADLK;
	size_t n = actors(sim, SIZE_MAX);
	bool can = can_pass(sim, deadline);
	struct exsi_plan *plan = due_plan(sim, !n && !can);
	if (!n && !plan && !can)
		return EXS_EDEADLK;
	bool time = !n || sim->chores_done >= EXSI_SIM_MAX_CHORES || exsi_sim_fault(sim, sim->options.time);
	exsi_sim_enter(sim);
	self->worker = NULL;
	if (plan)
		carry_out(sim, plan);
	else if (time && can)
		rc = pass_time(sim, deadline);
	else
		actors(sim, exsi_sim_below(sim, n));
	self->worker = before;
	exsi_sim_leave(sim);
	return rc;
}

/* --- waits --- */

static int stuck(exs_sim *sim, const struct exsi_sim_wait *wait, bool endless)
{
	const struct exsi_sim_wait *below = wait->below;

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

int exsi_sim_until(struct exsi_turner *turner, bool (*done)(void *), void *arg, uint64_t deadline)
{
	exs_sim *sim = EXSI_CONTAINER_OF(turner, exs_sim, turner);
	struct exsi_sim_wait wait = {done, arg, sim->wait};
	size_t steps = 0;
	int rc = EXS_OK;

	sim->wait = &wait;
	for (;;) {
		exsi_drain();
		if (rc || done(arg))
			break;
		rc = steps++ < sim->options.max_steps ? exsi_sim_turn(sim, deadline) : EXS_EDEADLK;
	}
	sim->wait = wait.below;
	if (done(arg))
		return EXS_OK;
	return rc == EXS_EDEADLK ? stuck(sim, &wait, steps > sim->options.max_steps) : rc;
}

bool exs_sim_step(exs_sim *sim)
{
	exsi_drain();
	return exsi_sim_turn(sim, EXSI_NEVER) == EXS_OK;
}

int exs_sim_run(exs_sim *sim)
{
	size_t steps = 0;

	while (steps < sim->options.max_steps && exs_sim_step(sim))
		steps++;
	if (steps < sim->options.max_steps)
		return EXS_OK;
	return exsi_fail(EXS_EDEADLK, "exs_sim_run: %zu steps were not enough (max_steps)", steps);
}

int exs_sim_run_until(exs_sim *sim, exs_future *future)
{
	(void)sim;
	return exs_future_wait(future, EXS_FOREVER);
}
