/* The matrix: more-executors' own sixteen executors, and some that it does not have. */
#define _GNU_SOURCE
#include "more_executors.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- tasks and functions --- */

exs_result more_twice(void *n, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(num(2 * (long)(intptr_t)n), NULL);
}

exs_future *more_submit(exs_executor *ex, exs_task_fn *fn, void *arg)
{
	exs_future *f = exs_submit(ex, fn, arg);

	CHECK(f);
	return f;
}

void more_expect(exs_future *f, long n)
{
	expect_value(f, num(n));
}

exs_executor *more_pool(unsigned workers, exs_clock *clock)
{
	return exs_with_clock(exs_thread_pool(workers), clock);
}

exs_executor *more_inline(exs_clock *clock)
{
	return exs_with_clock(exs_inline(), clock);
}

exs_error *more_poll_noop(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx;
	*delay = 0.0001;
	for (size_t i = 0; i < n; i++)
		exs_yield_result(d[i], exs_descriptor_value(d[i]), NULL);
	return NULL;
}

static exs_result same(void *ctx, exs_result in)
{
	(void)ctx;
	return in;
}

static exs_result itself(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

/* The same value, by way of an executor. */
static exs_future *by_way_of(void *ex, exs_result in)
{
	return exs_submit(ex, itself, in.value);
}

/* The same value, in a future that is done. */
static exs_future *at_once(void *ctx, exs_result in)
{
	(void)ctx;
	return exs_future_return(in.value, in.destroy);
}

static bool no(void *ctx, const exs_attempt *attempt, double *delay, exs_error **error)
{
	(void)ctx, (void)attempt, (void)delay, (void)error;
	return false;
}

/* yes, no, or a failure */
static bool random_cancel(void *ctx, void *value, exs_error **error)
{
	static _Atomic uint64_t n;
	uint64_t state = harness_seed() + atomic_fetch_add(&n, 1), drawn = harness_below(&state, 3);

	(void)ctx, (void)value;
	if (drawn == 2)
		*error = exs_error_new(&test_domain, 9, "simulated error from cancel");
	return drawn == 0;
}

static exs_error *ten(void *ctx, unsigned *count)
{
	(void)ctx;
	*count = 10;
	return NULL;
}

static exs_error *run_each(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	(void)ctx, (void)context;
	for (size_t i = 0; i < n; i++)
		exs_batch_run(items[i]);
	return NULL;
}

static const exs_layer_ops forward = {
	.size = sizeof(exs_layer_ops),
	.type = "forward",
	.start = exs_pass_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
};

/* --- layers --- */

exs_executor *more_no_retry(exs_executor *ex)
{
	exs_retry_options options = {.policy = no};

	return exs_with_retry(ex, &options);
}

static exs_executor *retry_once(exs_executor *ex)
{
	exs_retry_options options = {.max_attempts = 1, .max_sleep = 0.1};

	return exs_with_retry(ex, &options);
}

static exs_executor *map_(exs_executor *ex)
{
	return exs_with_map(ex, same, NULL, NULL, NULL);
}

static exs_executor *poll_(exs_executor *ex)
{
	return exs_with_poll(ex, more_poll_noop, NULL, NULL, NULL);
}

static exs_executor *poll_cancel(exs_executor *ex)
{
	return exs_with_poll(ex, more_poll_noop, random_cancel, NULL, NULL);
}

static exs_executor *gate(exs_executor *ex)
{
	return exs_with_cancel_on_shutdown(ex);
}

static exs_executor *throttle(exs_executor *ex)
{
	return exs_with_throttle(ex, 10, NULL);
}

static exs_executor *asking(exs_executor *ex)
{
	exs_throttle_options options = {.count_fn = ten};

	return exs_with_throttle(ex, 0, &options);
}

static exs_executor *timeout(exs_executor *ex)
{
	return exs_with_timeout(ex, 60);
}

static exs_executor *abandon(exs_executor *ex)
{
	return exs_with_timeout_mode(ex, 60, EXS_ABANDON);
}

static exs_executor *flat_at_once(exs_executor *ex)
{
	return exs_with_flat_map(ex, at_once, NULL, NULL, NULL);
}

static exs_executor *forwarding(exs_executor *ex)
{
	return exs_layer_new(&forward, ex, 0, 0);
}

/* A call alone in its batch. */
static exs_executor *batch(exs_executor *ex)
{
	return exs_with_batch(ex, run_each, NULL, &(exs_batch_options){.max = 1});
}

static exs_executor *queue(exs_executor *ex)
{
	exs_attach_options options = {.capacity = 20};
	exs_executor *queue = exs_queue(NULL);

	CHECK_INT(exs_queue_attach(queue, ex, &options), 1);
	return queue;
}

static exs_executor *flat_base(exs_executor *ex, exs_executor *base)
{
	return exs_with_flat_map(ex, by_way_of, NULL, base, NULL);
}

/* --- chains; each around a borrow of the base --- */

static exs_executor *everything(exs_executor *ex, exs_executor *base)
{
	ex = gate(more_no_retry(map_(poll_(ex))));
	ex = throttle(more_no_retry(retry_once(ex)));
	ex = exs_with_timeout(flat_base(ex, base), 120);
	ex = flat_at_once(gate(poll_(poll_(ex))));
	ex = map_(flat_base(exs_with_throttle(ex, 16, NULL), base));
	return more_no_retry(map_(exs_with_timeout(ex, 180)));
}

enum leaf { POOL, INLINE, LOOP, SIM };

struct chain {
	const char *name;
	enum leaf leaf;
	exs_executor *(*layers[4])(exs_executor *ex);		       /* from the inside out */
	exs_executor *(*around)(exs_executor *ex, exs_executor *base); /* these, or NULL */
};

static const struct chain chains[] = {
	{"threadpool", POOL, {NULL}, NULL},
	{"retry", POOL, {retry_once}, NULL},
	{"map", POOL, {map_}, NULL},
	{"retry_map", POOL, {map_, more_no_retry}, NULL},
	{"map_retry", POOL, {more_no_retry, map_}, NULL},
	{"poll", POOL, {poll_cancel}, NULL},
	{"retry_map_poll", POOL, {poll_, map_, more_no_retry}, NULL},
	{"sync", INLINE, {NULL}, NULL},
	{"timeout", POOL, {timeout}, NULL},
	{"throttle", POOL, {throttle}, NULL},
	{"cancel_poll_map_retry", POOL, {more_no_retry, map_, poll_, gate}, NULL},
	{"cancel_retry_map_poll", POOL, {poll_, map_, more_no_retry, gate}, NULL},
	{"flat_map", POOL, {NULL}, flat_base},
	{"proxy", POOL, {forwarding}, NULL}, /* an executor of the test's own */
	{"everything_sync", INLINE, {NULL}, everything},
	{"everything_threadpool", POOL, {NULL}, everything},
	/* ours alone */
	{"loop", LOOP, {NULL}, NULL},
	{"everything_loop", LOOP, {NULL}, everything},
	{"abandon", POOL, {abandon}, NULL},
	{"abandon_retry_poll", POOL, {poll_, more_no_retry, abandon}, NULL},
	{"asking", POOL, {asking}, NULL},
	{"batch", POOL, {batch}, NULL},
	{"poll_batch_throttle", POOL, {throttle, batch, poll_}, NULL},
	{"queue", POOL, {queue}, NULL},
	{"cancel_queue_flat_map", POOL, {flat_at_once, queue, gate}, NULL},
};

/* --- the run --- */

static const char *_Atomic chain_name;
static void (*fail_next)(void);

static void say_chain(void)
{
	fprintf(stderr, "chain: EXS_TEST_CHAIN=%s\n", atomic_load(&chain_name));
	if (fail_next)
		fail_next();
}

static void *turn(void *ex)
{
	CHECK(exs_event_loop_run(ex) >= 0); /* until it is freed */
	return NULL;
}

static exs_executor *leaf_made(enum leaf leaf)
{
	switch (leaf) {
	case POOL:
		return exs_thread_pool(20);
	case SIM:
		return exs_sim_pool(support_sim, 20);
	case INLINE:
		return exs_inline();
	default:
		return exs_event_loop();
	}
}

static void make(struct more_env *env, const struct chain *chain, enum leaf leaf)
{
	char text[1024];

	*env = (struct more_env){.name = chain->name};
	env->clock = leaf == SIM ? exs_sim_clock(support_sim) : exs_clock_manual_new();
	env->here = leaf == INLINE;
	env->one_by_one = leaf == INLINE || leaf == LOOP;
	env->base = leaf_made(leaf);
	env->ex = exs_with_clock(exs_borrow(env->base), env->clock);
	for (int i = 0; i < 4 && chain->layers[i]; i++)
		env->ex = chain->layers[i](env->ex);
	if (chain->around)
		env->ex = chain->around(env->ex, env->base);
	CHECK(env->base && env->ex);
	CHECK(exs_describe(env->ex, text, sizeof(text)) < sizeof(text));
	env->elsewhere = strstr(text, "abandon") || strstr(text, "queue(");
	env->cancels = strstr(text, "cancel_on_shutdown");
	env->late = strstr(text, "poll(") || strstr(text, "flat_map") || strstr(text, "batch(");
}

/* Among threads; or, leaf SIM, in a simulation. */
static void over_one(const struct chain *chain, enum leaf leaf, void (*test)(struct more_env *env))
{
	exs_sim_options options = {.threads = true};
	int threads = harness_threads();
	long futures = harness_futures();
	struct more_env env;
	pthread_t turner;

	if (leaf == SIM)
		sim_begin(harness_seed(), &options);
	make(&env, chain, leaf);
	if (leaf == LOOP) {
		turner = thread_start(turn, env.base);
		more_expect(more_submit(env.base, more_twice, num(1)), 2); /* it turns: it may be freed */
	}
	test(&env);
	exs_executor_free(env.ex);
	exs_executor_free(env.base);
	if (leaf == LOOP)
		thread_join(turner);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_clock_armed(env.clock), 0);
	if (leaf == SIM)
		sim_end();
	else
		exs_clock_unref(env.clock);
	harness_wait_threads(threads);
	harness_wait_futures(futures);
}

void more_over_matrix(void (*test)(struct more_env *env))
{
	const char *only = getenv("EXS_TEST_CHAIN");

	fail_next = harness_on_fail;
	harness_on_fail = say_chain;
	for (size_t i = 0; i < sizeof(chains) / sizeof(*chains); i++) {
		atomic_store(&chain_name, chains[i].name);
		if (only && fnmatch(only, chains[i].name, 0))
			continue;
		over_one(&chains[i], chains[i].leaf, test);
		if (chains[i].leaf == POOL)
			over_one(&chains[i], SIM, test);
	}
	harness_on_fail = fail_next;
}
