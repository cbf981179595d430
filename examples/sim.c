/* Testing one's own code under a simulation: does this client create each order once, though calls fail, replies get lost and things happen in any
   order? 1,000 seeds find the fault of the first version, and show that the second has none. "sim SEED" replays a seed of the first with its
   trace. */
#include <executors/executors.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ORDERS = 3, SEEDS = 1000 };

/* The service, simulated: it creates what it is asked for, and ships each order some time later. */
struct service {
	exs_sim *sim;
	bool keyed; /* it knows an order that it has by its number */
	unsigned created[ORDERS];
	double ships_at[ORDERS];
};

struct order {
	struct service *service;
	unsigned number;
};

/* [sim] */
/* The code under test: a task, a poll function and a policy. */
static exs_result create_order(void *arg, exs_context *ctx)
{
	struct order *order = arg;
	struct service *s = order->service;

	(void)ctx;
	if (s->created[order->number] == 0 || !s->keyed)
		s->created[order->number]++;
	s->ships_at[order->number] = exs_clock_now(exs_sim_clock(s->sim)) + (double)exs_sim_random(s->sim, 20);
	return exs_ok(order, NULL);
}

static exs_error *ask_for_orders(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct service *s = ctx;

	(void)delay;
	for (size_t i = 0; i < n; i++) {
		struct order *order = exs_descriptor_value(d[i]);
		if (s->ships_at[order->number] <= exs_clock_now(exs_sim_clock(s->sim)))
			exs_yield_result(d[i], order, NULL);
	}
	return NULL;
}

static const exs_retry_options policy = {.max_attempts = 4, .sleep = 0.5};

/* One run. Answers how many orders the service has twice; *shipped: the calls that ended well. */
static unsigned run(uint64_t seed, bool keyed, exs_sim_trace_fn *trace, unsigned *shipped)
{
	exs_sim_options faults = {.fail = 0.1, .lose = 0.1, .delay = 0.2, .max_delay = 3};
	exs_sim *sim = exs_sim_new(seed, &faults);
	struct service service = {.sim = sim, .keyed = keyed};
	struct order orders[ORDERS];
	exs_set *set = exs_set_new();
	exs_future *f;
	unsigned twice = 0;

	exs_sim_trace(sim, trace, NULL);
	exs_executor *ex = exs_with_retry(exs_sim_pool(sim, 2), &policy);
	ex = exs_with_timeout(exs_with_poll(ex, ask_for_orders, NULL, &service, NULL), 60);
	for (unsigned i = 0; i < ORDERS; i++) {
		orders[i] = (struct order){&service, i};
		exs_set_add(set, exs_submit(ex, create_order, &orders[i]));
	}
	while (exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM) { /* the waits turn the simulation */
		*shipped += exs_future_state(f) == EXS_STATE_VALUE;
		exs_future_unref(f);
	}
	for (unsigned i = 0; i < ORDERS; i++)
		twice += service.created[i] > 1;
	exs_set_free(set);
	exs_executor_free(ex);
	exs_sim_free(sim);
	return twice;
}
/* [sim] end */

static void print(void *ctx, const exs_sim_event *e)
{
	(void)ctx;
	printf("%7.3f s  %-8s", e->time, exs_sim_kind_name(e->kind));
	printf(e->call ? " call %" PRIu64 "\n" : "\n", e->call);
}

/* Runs all seeds; answers the first that fails, or 0. */
static uint64_t try_all(bool keyed, unsigned *shipped)
{
	uint64_t first = 0;

	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		if (run(seed, keyed, NULL, shipped) && !first)
			first = seed;
	return first;
}

int main(int argc, char **argv)
{
	unsigned shipped = 0, again = 0;
	char *end;

	if (argc > 1) {
		uint64_t given = strtoull(argv[1], &end, 0);
		if (end != argv[1] && !*end && argc == 2)
			return run(given, false, print, &shipped) != 0;
		fprintf(stderr, "usage: sim [SEED]; exit status 1: an order was created twice\n");
		return 2;
	}
	uint64_t seed = try_all(false, &shipped);
	printf("without keys: a seed was found that creates an order twice: %s\n", seed ? "yes" : "no");
	fprintf(stderr, "replay it with: sim %" PRIu64 "\n", seed);
	printf("that seed does it again: %s\n", run(seed, false, NULL, &again) ? "yes" : "no");
	shipped = 0;
	printf("with keys: a seed was found: %s\n", try_all(true, &shipped) ? "yes" : "no");
	printf("%s of %d orders were shipped\n", shipped > SEEDS * ORDERS * 95 / 100 ? "more than 95%" : "too few",
	       SEEDS * ORDERS);
}
