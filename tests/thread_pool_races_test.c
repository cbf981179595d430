/* Where threads meet in a thread pool: retirement and a push, a drop and a cancel, a deadline and room, a failing setup. */
#include "support.h"

enum { THREADS = 3 };

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

struct actor {
	exs_executor *ex;
	unsigned long rounds;
	uint64_t random;
	size_t values, rejected, dropped, cancelled, failed;
	pthread_t thread;
};

/* Every future ends, and in one of these ways. */
static void count(struct actor *a, exs_future *f)
{
	CHECK(f);
	wait_done(f);
	const exs_error *error = exs_future_error(f);
	if (exs_future_state(f) == EXS_STATE_VALUE)
		a->values++;
	else if (exs_future_state(f) == EXS_STATE_CANCELLED)
		a->cancelled++;
	else if (exs_error_is(error, &exs_domain_exs, EXS_EREJECTED))
		a->rejected++;
	else if (exs_error_is(error, &exs_domain_exs, EXS_EDROPPED))
		a->dropped++;
	else
		a->failed++;
	exs_future_unref(f);
}

/* Runs it on THREADS threads; their sums, checked against the pool's. */
static struct actor act(exs_executor *ex, unsigned long rounds, void *(*fn)(void *))
{
	struct actor actors[THREADS], sum = {.ex = ex};

	for (int i = 0; i < THREADS; i++) {
		actors[i] = (struct actor){.ex = ex, .rounds = harness_rounds(rounds), .random = harness_seed() + i};
		actors[i].thread = thread_start(fn, &actors[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		thread_join(actors[i].thread);
		sum.values += actors[i].values;
		sum.rejected += actors[i].rejected;
		sum.dropped += actors[i].dropped;
		sum.cancelled += actors[i].cancelled;
		sum.failed += actors[i].failed;
	}
	exs_thread_pool_stats s = pool_stats(ex);
	CHECK_INT(s.started, sum.values);
	CHECK_INT(s.rejected, sum.rejected);
	CHECK_INT(s.dropped, sum.dropped);
	CHECK_INT(s.queued, 0);
	return sum;
}

static exs_result submit_and_wait(void *arg, exs_context *ctx)
{
	exs_future *f = exs_submit(arg, nothing, NULL);

	(void)ctx;
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	exs_future_unref(f);
	return exs_ok(NULL, NULL);
}

static void *submit_one_by_one(void *arg)
{
	struct actor *a = arg;

	for (unsigned long i = 0; i < a->rounds; i++) {
		bool nested = !harness_below(&a->random, 8);
		count(a, exs_submit(a->ex, nested ? submit_and_wait : nothing, a->ex));
		a->values += nested; /* the inner one */
	}
	return NULL;
}

/* No call is left to a worker that has just gone. */
TEST(thread_pool_races, retirement_and_push)
{
	const unsigned least[] = {EXS_NONE, 1, 2};
	const double seconds[] = {EXS_NONE, 1e-5, 1e-3};

	for (int i = 0; i < 9; i++) {
		exs_executor *ex = pool_made((exs_thread_pool_options){
			.workers = 3, .min_workers = least[i % 3], .idle_seconds = seconds[i / 3], .max_spares = 3});
		struct actor sum = act(ex, 300, submit_one_by_one);
		CHECK(!sum.failed && !sum.cancelled && !sum.rejected);
		exs_executor_free(ex);
	}
}

static void *submit_and_cancel(void *arg)
{
	struct actor *a = arg;
	exs_future *f[8];

	for (unsigned long i = 0; i < a->rounds; i++) {
		for (int k = 0; k < 8; k++)
			f[k] = exs_submit(a->ex, nothing, NULL);
		exs_future_cancel(f[harness_below(&a->random, 8)]);
		exs_future_cancel(f[harness_below(&a->random, 8)]);
		for (int k = 0; k < 8; k++)
			count(a, f[k]);
	}
	return NULL;
}

/* A call is dropped, or cancelled, or run. */
TEST(thread_pool_races, drop_and_cancel)
{
	for (unsigned limit = 1; limit < 4; limit++) {
		exs_executor *ex = pool_made((exs_thread_pool_options){
			.workers = 1, .queue_limit = limit, .when_full = EXS_FULL_DROP_OLDEST});
		struct actor sum = act(ex, 1000, submit_and_cancel);
		CHECK(!sum.failed);
		CHECK(sum.dropped && sum.cancelled);
		exs_executor_free(ex);
	}
}

/* Room may come while the time runs out. */
TEST(thread_pool_races, deadline_and_room)
{
	const double seconds[] = {EXS_NONE, 1e-6, 2e-5};

	for (int i = 0; i < 3; i++) {
		exs_executor *ex = pool_made(
			(exs_thread_pool_options){.workers = 1, .queue_limit = 1, .block_seconds = seconds[i]});
		struct actor sum = act(ex, 500, submit_and_cancel);
		CHECK(!sum.failed && !sum.dropped);
		exs_executor_free(ex);
	}
}

/* No submitter sleeps while there is room. */
TEST(thread_pool_races, callers_that_wait_and_cancels)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){
		.workers = 2, .queue_limit = 1, .min_workers = EXS_NONE, .idle_seconds = EXS_NONE});
	struct actor sum = act(ex, 500, submit_and_cancel);

	CHECK(!sum.failed && !sum.dropped && !sum.rejected);
	exs_executor_free(ex);
}

TEST(thread_pool_races, callers_that_run)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 2,
							       .queue_limit = 1,
							       .when_full = EXS_FULL_CALLER_RUNS,
							       .min_workers = EXS_NONE,
							       .idle_seconds = EXS_NONE});
	struct actor sum = act(ex, 500, submit_and_cancel);

	CHECK(!sum.failed && !sum.dropped && !sum.rejected);
	exs_executor_free(ex);
}

static exs_error *now_and_then(void *ctx, unsigned number, void **state)
{
	(void)ctx, (void)state;
	return number % 3 ? exs_error_new(&test_domain, (int)number, "not this one") : NULL;
}

/* Whatever is queued while a setup fails is run by another worker or fails; nothing hangs. */
TEST(thread_pool_races, setup_that_fails_and_push)
{
	for (unsigned workers = 1; workers < 4; workers++) {
		exs_executor *ex = pool_made((exs_thread_pool_options){
			.workers = workers, .min_workers = EXS_NONE, .idle_seconds = EXS_NONE, .setup = now_and_then});
		struct actor sum = act(ex, 300, submit_and_cancel);
		CHECK(sum.values && !sum.rejected && !sum.dropped);
		exs_executor_free(ex);
	}
}
