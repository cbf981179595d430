/* A million of something in constant stack and in linear time. The tests run on a thread with a small stack; the spread of the
   frames of the user's functions is measured as well. Work is counted, not timed: the library is built once more so that the
   compiler calls __sanitizer_cov_trace_pc at each of its basic blocks. */
#define _GNU_SOURCE
#include "harness.h"
#include "limit.h"

#include <errno.h>
#include <executors/executors.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { STACK = 256 * 1024, SPREAD = 4096 };

/* Present under a sanitizer only, where a tenth, or a fiftieth, must do: it takes minutes otherwise. */
void __asan_init(void) __attribute__((weak));
void __tsan_init(void) __attribute__((weak));

static unsigned long million(void)
{
	if (__tsan_init)
		return 20000;
	return __asan_init ? 100000 : 1000000;
}

/* --- work --- */

static _Thread_local unsigned long blocks; /* basic blocks of the library that this thread has run */

void __sanitizer_cov_trace_pc(void);

void __sanitizer_cov_trace_pc(void)
{
	blocks++;
}

/* Ten times as many cost at most about ten times as much: a quadratic step would make it a hundred times. */
static void check_linear_in(unsigned long n, const char *what, unsigned long tenth, unsigned long whole)
{
	fprintf(stderr, "%s: %lu blocks for %lu, %lu for %lu\n", what, tenth, n / 10, whole, n);
	CHECK(tenth >= n / 10); /* they are counted */
	CHECK(whole / 12 <= tenth);
}

static void check_linear(const char *what, unsigned long tenth, unsigned long whole)
{
	check_linear_in(million(), what, tenth, whole);
}

/* --- stack --- */

/* The frames of the user's functions on the thread under test. */
static struct {
	char *low, *high;
} stack;

__attribute__((noinline)) static void note_frame(void)
{
	char *here = __builtin_frame_address(0); /* a local's address may be elsewhere under ASan */

	stack.low = !stack.low || here < stack.low ? here : stack.low;
	stack.high = here > stack.high ? here : stack.high;
}

static void *call(void *fn)
{
	(*(void (**)(void))fn)();
	return NULL;
}

/* Runs fn on a thread with a small stack; all frames noted lie within a page. */
static void on_small_stack(void (*fn)(void))
{
	pthread_attr_t attr;
	pthread_t thread;

	stack.low = stack.high = NULL;
	CHECK(!pthread_attr_init(&attr) && !pthread_attr_setstacksize(&attr, STACK));
	CHECK(!pthread_create(&thread, &attr, call, (void *)&fn));
	CHECK(!pthread_join(thread, NULL));
	pthread_attr_destroy(&attr);
	fprintf(stderr, "stack: the frames lie within %ld bytes\n", (long)(stack.high - stack.low));
	CHECK(stack.high - stack.low < SPREAD);
}

/* --- retries --- */

static unsigned long runs;
static exs_error *failure;

static exs_result fail(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	note_frame();
	runs++;
	return exs_fail(exs_error_ref(failure));
}

/* A few deep at most: not measured, but a million would not fit. */
static exs_result fail_deeper(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	runs++;
	return exs_fail(exs_error_ref(failure));
}

static unsigned long retry_at_once(unsigned long attempts)
{
	exs_retry_options options = {.max_attempts = (unsigned)attempts, .sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(exs_inline(), &options);
	unsigned long before = blocks;

	runs = 0;
	exs_future *f = exs_submit(ex, fail, NULL);
	CHECK_INT(runs, attempts);
	CHECK(exs_future_error(f) == failure);
	exs_future_unref(f);
	exs_executor_free(ex);
	return blocks - before;
}

static void million_retries(void)
{
	unsigned long tenth = retry_at_once(million() / 10);

	check_linear("retries", tenth, retry_at_once(million()));
}

TEST(stack, a_million_retries_on_an_inline_executor)
{
	failure = exs_error_new(&exs_domain_errno, EIO, "always");
	on_small_stack(million_retries);
	exs_error_unref(failure);
}

/* The same through batches of one. */
static exs_error *run_each(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	(void)ctx, (void)context;
	for (size_t i = 0; i < n; i++)
		CHECK(exs_batch_run(items[i]));
	return NULL;
}

static void many_batches(void)
{
	exs_retry_options options = {.max_attempts = (unsigned)million() / 10, .sleep = EXS_NONE};
	exs_executor *ex = exs_with_batch(exs_inline(), run_each, NULL, &(exs_batch_options){.max = 1});

	ex = exs_with_retry(ex, &options);
	runs = 0;
	exs_future *f = exs_submit(ex, fail_deeper, NULL);
	CHECK_INT(runs, million() / 10);
	CHECK(exs_future_error(f) == failure);
	exs_future_unref(f);
	exs_executor_free(ex);
}

/* Each a call of its own, which ends within the start of its parent. */
static void million_children(void)
{
	exs_retry_options options = {.max_attempts = (unsigned)million(), .sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(exs_with_timeout_mode(exs_inline(), 1000, EXS_ABANDON), &options);

	runs = 0;
	exs_future *f = exs_submit(ex, fail_deeper, NULL);
	CHECK_INT(runs, million());
	CHECK(exs_future_error(f) == failure);
	exs_future_unref(f);
	exs_executor_free(ex);
}

TEST(stack, retries_through_batches)
{
	failure = exs_error_new(&exs_domain_errno, EIO, "always");
	on_small_stack(many_batches);
	exs_error_unref(failure);
}

TEST(stack, a_million_retries_of_a_child_call)
{
	failure = exs_error_new(&exs_domain_errno, EIO, "always");
	on_small_stack(million_children);
	exs_error_unref(failure);
}

/* With a backoff each: fired one after the other by the clock. */
static void million_backoffs(void)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_retry_options options = {.max_attempts = (unsigned)million(), .sleep = 1, .exponent = 1};
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_inline(), clock), &options);

	runs = 0;
	exs_future *f = exs_submit(ex, fail, NULL);
	CHECK_INT(exs_clock_advance(clock, (double)million()), EXS_OK);
	CHECK(exs_future_is_done(f));
	CHECK_INT(runs, million());
	exs_future_unref(f);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

TEST(stack, a_million_backoffs)
{
	failure = exs_error_new(&exs_domain_errno, EIO, "always");
	on_small_stack(million_backoffs);
	exs_error_unref(failure);
}

/* --- calls that are let go one by one --- */

static exs_executor *limited;
static exs_future **futures;
static unsigned long in_order;

static void drop_all(unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		exs_future_unref(futures[i]);
}

static exs_result count_run(void *arg, exs_context *ctx)
{
	(void)ctx;
	note_frame();
	in_order += (unsigned long)(uintptr_t)arg == runs;
	runs++;
	return exs_ok(arg, NULL);
}

/* All submitted from within one task: each waits until the one before has ended. */
static exs_result submit_all(void *arg, exs_context *ctx)
{
	(void)ctx;
	for (uintptr_t i = 0; i < *(unsigned long *)arg; i++)
		CHECK(futures[i] = exs_submit(limited, count_run, (void *)i));
	CHECK_INT(runs, 0);
	return exs_ok(NULL, NULL);
}

static exs_executor *(*make_limited)(exs_executor *ex, unsigned most);

static unsigned long release_one_by_one(unsigned long n)
{
	limited = make_limited(exs_inline(), 1);
	unsigned long before = blocks;

	runs = in_order = 0;
	exs_future *f = exs_submit(limited, submit_all, &n);
	CHECK_INT(runs, n); /* let go before the submit returned, first in, first out */
	CHECK_INT(in_order, n);
	for (unsigned long i = 0; i < n; i++) {
		CHECK(exs_future_is_done(futures[i]));
		exs_future_unref(futures[i]);
	}
	exs_future_unref(f);
	exs_executor_free(limited);
	return blocks - before;
}

static void million_releases(void)
{
	unsigned long tenth = release_one_by_one(million() / 10);

	check_linear("released one by one", tenth, release_one_by_one(million()));
}

TEST(stack, a_million_calls_released_one_by_one)
{
	make_limited = limit_new;
	futures = calloc(million(), sizeof(exs_future *));
	CHECK(futures);
	on_small_stack(million_releases);
	free(futures);
}

static exs_executor *throttle(exs_executor *ex, unsigned most)
{
	return exs_with_throttle(ex, most, NULL);
}

TEST(stack, a_million_calls_released_by_a_throttle)
{
	make_limited = throttle;
	futures = calloc(million(), sizeof(exs_future *));
	CHECK(futures);
	on_small_stack(million_releases);
	free(futures);
}

/* Once the count grows, all in one go: by the clock. */
static exs_error *count_of(void *ctx, unsigned *count)
{
	*count = *(unsigned *)ctx;
	return NULL;
}

static void million_let_go(void)
{
	exs_clock *clock = exs_clock_manual_new();
	unsigned count = 0;
	exs_throttle_options options = {.count_fn = count_of, .ctx = &count};

	limited = exs_with_throttle(exs_with_clock(exs_inline(), clock), 0, &options);
	runs = in_order = 0;
	for (uintptr_t i = 0; i < million(); i++)
		CHECK(futures[i] = exs_submit(limited, count_run, (void *)i));
	count = EXS_UNLIMITED;
	CHECK_INT(exs_clock_advance(clock, 2), EXS_OK);
	CHECK_INT(in_order, million());
	drop_all(million());
	exs_executor_free(limited);
	exs_clock_unref(clock);
}

TEST(stack, a_million_calls_let_go_together)
{
	futures = calloc(million(), sizeof(exs_future *));
	CHECK(futures);
	on_small_stack(million_let_go);
	free(futures);
}

/* The same over a thread pool: released by the worker that ends the one before. */
static exs_result count_on_worker(void *arg, exs_context *ctx)
{
	(void)ctx;
	in_order += (unsigned long)(uintptr_t)arg == runs;
	runs++;
	return exs_ok(arg, NULL);
}

TEST(stack, calls_released_over_a_pool)
{
	enum { CALLS = 100000 };
	exs_thread_pool_options options = {.workers = 2, .stack_size = STACK};

	futures = calloc(CALLS, sizeof(exs_future *));
	limited = limit_new(exs_thread_pool_with(&options), 1);
	runs = in_order = 0;
	for (uintptr_t i = 0; i < CALLS; i++)
		CHECK(futures[i] = exs_submit(limited, count_on_worker, (void *)i));
	CHECK_INT(exs_wait_all(futures, CALLS, EXS_FOREVER), EXS_OK);
	CHECK_INT(runs, CALLS); /* one at a time: no lock needed */
	CHECK_INT(in_order, CALLS);
	for (int i = 0; i < CALLS; i++)
		exs_future_unref(futures[i]);
	exs_executor_free(limited);
	free(futures);
}

/* --- cancelled one by one, at a throttle --- */

/* In an order that is neither the queue's nor its reverse; then what a shutdown finds. */
static unsigned long cancel_throttled(unsigned long n)
{
	unsigned long step = 7919, before; /* prime to n */

	limited = exs_with_cancel_on_shutdown(exs_with_throttle(exs_inline(), 0, NULL));
	for (uintptr_t i = 0; i < n; i++)
		CHECK(futures[i] = exs_submit(limited, count_run, (void *)i));
	before = blocks;
	for (unsigned long i = 0, at = 0; i < n / 2; i++, at = (at + step) % n)
		CHECK_INT(exs_future_cancel(futures[at]), EXS_CANCELLED);
	CHECK_INT(exs_shutdown(limited, EXS_DRAIN, EXS_FOREVER), 0);
	before = blocks - before;
	drop_all(n);
	exs_executor_free(limited);
	return before;
}

TEST(stack, a_million_cancelled_at_a_throttle)
{
	futures = calloc(million(), sizeof(exs_future *));
	CHECK(futures);
	unsigned long tenth = cancel_throttled(million() / 10);
	check_linear("throttled, cancelled", tenth, cancel_throttled(million()));
	free(futures);
}

/* --- flat maps that wait for each other: the function of each answers the future of the one before --- */

static exs_result pass_arg(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static exs_future *answer_value(void *ctx, exs_result in)
{
	(void)ctx;
	return in.value;
}

static exs_result note_passing(void *ctx, exs_result in)
{
	(void)ctx;
	note_frame();
	runs++;
	return in;
}

/* Of n calls, the first waits for the promise, and each for the one before it. Answers the last. */
static exs_future *chain_up(exs_executor *ex, unsigned long n, exs_future *first)
{
	exs_future *last = first;

	runs = 0;
	for (unsigned long i = 0; i < n; i++)
		CHECK(last = exs_submit(ex, pass_arg, last));
	CHECK(!exs_future_is_done(last));
	return last;
}

static exs_executor *counted_flat_map(void)
{
	exs_executor *ex = exs_with_flat_map(exs_inline(), answer_value, NULL, NULL, NULL);

	ex = exs_with_map(ex, note_passing, note_passing, NULL, NULL);
	CHECK(ex);
	return ex;
}

enum { FLAT_MAPS = 100000 };
enum ending { COMPLETED, FAILED, CANCELLED, CANCELLED_BELOW, SHUT_DOWN };

static void end_chain(exs_executor *ex, exs_promise *promise, exs_future *last, enum ending ending)
{
	if (ending == COMPLETED)
		exs_promise_complete(promise, exs_ok(promise, NULL));
	else if (ending == FAILED)
		exs_promise_complete(promise, exs_fail(exs_error_ref(failure)));
	else if (ending == CANCELLED)
		CHECK_INT(exs_future_cancel(last), EXS_CANCELLED);
	else if (ending == CANCELLED_BELOW)
		exs_promise_complete(promise, exs_cancelled());
	else
		CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
}

static unsigned long end_flat_maps(unsigned long n, enum ending ending)
{
	exs_executor *ex = counted_flat_map();
	exs_future *first;
	exs_promise *promise = exs_promise_new(&first);
	exs_future *last = chain_up(ex, n, first);
	unsigned long before = blocks;

	end_chain(ex, promise, last, ending);
	before = blocks - before;
	CHECK(exs_future_is_done(last));
	CHECK_INT(runs, ending <= FAILED ? n : 0);
	CHECK(ending != COMPLETED || exs_future_value(last) == promise);
	CHECK(ending != FAILED || exs_future_error(last) == failure);
	CHECK(ending <= FAILED || exs_future_state(last) == EXS_STATE_CANCELLED);
	exs_future_unref(last);
	exs_promise_free(promise);
	exs_executor_free(ex);
	return before;
}

static void many_flat_maps(void)
{
	static const char *const what[] = {"flat maps, completed", "failed", "cancelled", "cancelled from below",
					   "shut down"};

	for (int ending = COMPLETED; ending <= SHUT_DOWN; ending++) {
		unsigned long tenth = end_flat_maps(FLAT_MAPS / 10, (enum ending)ending);
		check_linear_in(FLAT_MAPS, what[ending], tenth, end_flat_maps(FLAT_MAPS, (enum ending)ending));
	}
}

TEST(stack, flat_maps_that_wait_for_each_other)
{
	failure = exs_error_new(&exs_domain_errno, EIO, "always");
	on_small_stack(many_flat_maps);
	exs_error_unref(failure);
}

/* Each a child call as well. */
static void many_abandoned(void)
{
	exs_future *first;

	for (int ending = COMPLETED; ending <= SHUT_DOWN; ending++) {
		exs_executor *ex = exs_with_timeout_mode(counted_flat_map(), 1000, EXS_ABANDON);
		exs_promise *promise = exs_promise_new(&first);
		exs_future *last = chain_up(ex, FLAT_MAPS, first);
		end_chain(ex, promise, last, (enum ending)ending);
		CHECK(exs_future_is_done(last));
		exs_future_unref(last);
		exs_promise_free(promise);
		exs_executor_free(ex);
	}
}

TEST(stack, flat_maps_in_child_calls)
{
	failure = exs_error_new(&exs_domain_errno, EIO, "always");
	on_small_stack(many_abandoned);
	exs_error_unref(failure);
}

/* A task waits for the last; its worker, the only one, finds the first at the bottom of the chain, and runs it. */
static exs_result chain_in_task(void *pool, exs_context *ctx)
{
	exs_executor *ex = exs_with_flat_map(exs_inline(), answer_value, NULL, NULL, NULL);
	exs_future *last = chain_up(ex, FLAT_MAPS, exs_submit(pool, pass_arg, &runs));

	(void)ctx;
	CHECK_INT(exs_future_wait(last, EXS_FOREVER), EXS_OK);
	exs_result r = exs_ok(exs_future_value(last), NULL);
	exs_future_unref(last);
	exs_executor_free(ex);
	return r;
}

TEST(stack, waiter_looks_down_the_chain)
{
	exs_thread_pool_options options = {.workers = 1, .max_spares = EXS_NONE, .stack_size = STACK};
	exs_executor *pool = exs_thread_pool_with(&options);
	exs_future *f = exs_submit(pool, chain_in_task, pool);

	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK(exs_future_value(f) == &runs);
	exs_future_unref(f);
	exs_executor_free(pool);
}

/* --- pending descriptors --- */

/* The poll function waits at its gate while descriptors are added, so that it is called with few, and then with all. */
static struct {
	atomic_bool open, inside;
	atomic_ulong listed;  /* descriptors in the last call */
	unsigned long blocks; /* of the poll thread, while it yields */
	bool resolve;
} gate;

static exs_error *poll_gated(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx;
	*delay = EXS_FOREVER;
	atomic_store(&gate.inside, true);
	while (!atomic_load(&gate.open))
		sched_yield();
	unsigned long before = blocks;
	for (size_t i = 0; i < n && gate.resolve; i++)
		CHECK(exs_yield_result(d[i], NULL, NULL));
	gate.blocks = blocks - before;
	atomic_store(&gate.listed, n);
	return NULL;
}

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

struct costs {
	unsigned long add, resolve, cancel;
};

/* n pending descriptors, none resolved yet; the poll thread has been told of the first only. */
static unsigned long add_pending(exs_executor *ex, unsigned long n)
{
	unsigned long before = blocks, seen;

	atomic_store(&gate.open, false);
	atomic_store(&gate.inside, false);
	CHECK(futures[0] = exs_submit(ex, nothing, NULL));
	while (!atomic_load(&gate.inside))
		sched_yield();
	for (unsigned long i = 1; i < n; i++)
		CHECK(futures[i] = exs_submit(ex, nothing, NULL));
	seen = blocks - before;
	return seen;
}

static unsigned long resolve_pending(unsigned long n)
{
	gate.resolve = true;
	atomic_store(&gate.open, true);
	CHECK_INT(exs_wait_all(futures, n, EXS_FOREVER), EXS_OK);
	while (atomic_load(&gate.listed) < n - 1)
		sched_yield();
	drop_all(n);
	return gate.blocks;
}

/* In an order that is neither the set's nor its reverse. */
static unsigned long cancel_pending(unsigned long n)
{
	unsigned long step = 7919, before = blocks; /* prime to n */

	for (unsigned long i = 0, at = 0; i < n; i++, at = (at + step) % n)
		CHECK_INT(exs_future_cancel(futures[at]), EXS_CANCELLED);
	before = blocks - before;
	atomic_store(&gate.open, true);
	drop_all(n);
	return before;
}

static struct costs pending_costs(unsigned long n)
{
	exs_executor *ex = exs_with_poll(exs_inline(), poll_gated, NULL, NULL, NULL);
	struct costs c;

	CHECK(ex);
	gate.resolve = false;
	c.add = add_pending(ex, n);
	c.cancel = cancel_pending(n);
	exs_executor_free(ex);
	ex = exs_with_poll(exs_inline(), poll_gated, NULL, NULL, NULL);
	CHECK(ex);
	atomic_store(&gate.listed, 0);
	add_pending(ex, n);
	c.resolve = resolve_pending(n);
	exs_executor_free(ex);
	return c;
}

TEST(stack, a_million_pending_descriptors)
{
	futures = calloc(million(), sizeof(exs_future *));
	CHECK(futures);
	struct costs tenth = pending_costs(million() / 10), whole = pending_costs(million());
	check_linear("pending, added", tenth.add, whole.add);
	check_linear("pending, resolved", tenth.resolve, whole.resolve);
	check_linear("pending, cancelled", tenth.cancel, whole.cancel);
	free(futures);
}

/* The gate is used once for each executor: its thread must have gone before it is closed again. */
static unsigned long cancel_together(unsigned long n)
{
	exs_executor *ex = exs_with_poll(exs_inline(), poll_gated, NULL, NULL, NULL);

	CHECK(ex);
	add_pending(ex, n);
	unsigned long before = blocks;
	CHECK_INT(exs_future_cancel_all(futures, n), n);
	before = blocks - before;
	atomic_store(&gate.open, true);
	drop_all(n);
	exs_executor_free(ex);
	return before;
}

/* By one cancel_all, and what free sweeps away. */
TEST(stack, a_million_cancelled_together)
{
	futures = calloc(million(), sizeof(exs_future *));
	CHECK(futures);
	gate.resolve = false;
	unsigned long tenth = cancel_together(million() / 10);
	check_linear("cancelled together", tenth, cancel_together(million()));
	exs_executor *ex = exs_with_poll(exs_inline(), poll_gated, NULL, NULL, NULL);
	CHECK(ex);
	add_pending(ex, million());
	atomic_store(&gate.open, true);
	exs_executor_free(ex);
	for (unsigned long i = 0; i < million(); i++)
		CHECK_INT(exs_future_state(futures[i]), EXS_STATE_CANCELLED);
	drop_all(million());
	free(futures);
}

static void ignore(exs_future *f, void *ctx)
{
	(void)f, (void)ctx;
}

/* A million queued on an event loop: cancelled, and run with a callback each. */
static struct costs loop_costs(unsigned long n)
{
	exs_executor *ex = exs_event_loop();
	struct costs c = {.add = blocks};

	CHECK(ex);
	for (unsigned long i = 0; i < n; i++)
		CHECK(futures[i] = exs_submit(ex, nothing, NULL));
	c.add = blocks - c.add;
	c.cancel = cancel_pending(n);
	for (unsigned long i = 0; i < n; i++) {
		CHECK(futures[i] = exs_submit(ex, nothing, NULL));
		CHECK_INT(exs_event_loop_on_done(ex, futures[i], ignore, NULL, NULL), EXS_OK);
	}
	c.resolve = blocks;
	CHECK_INT(exs_event_loop_poll(ex), n);
	CHECK_INT(exs_event_loop_poll(ex), n);
	c.resolve = blocks - c.resolve;
	drop_all(n);
	exs_executor_free(ex);
	return c;
}

TEST(stack, a_million_on_an_event_loop)
{
	futures = calloc(million(), sizeof(exs_future *));
	CHECK(futures);
	struct costs tenth = loop_costs(million() / 10), whole = loop_costs(million());
	check_linear("loop, queued", tenth.add, whole.add);
	check_linear("loop, cancelled", tenth.cancel, whole.cancel);
	check_linear("loop, run", tenth.resolve, whole.resolve);
	free(futures);
}

/* --- members of a scope --- */

static exs_result stop_when_asked(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_cancelled();
}

/* n wait in a poll set when one fails, and the close follows. */
static unsigned long scoped(unsigned long n)
{
	exs_executor *ex = exs_with_poll(exs_inline(), poll_gated, NULL, NULL, NULL), *other = exs_inline();
	exs_scope *scope = exs_scope_new();
	unsigned long before = blocks;

	CHECK(ex && other && scope);
	for (unsigned long i = 0; i < n; i++)
		exs_future_unref(
			exs_scope_submit(scope, i % 2 ? ex : other, i % 2 ? count_on_worker : stop_when_asked, NULL));
	exs_future_unref(exs_scope_submit(scope, other, fail, NULL));
	atomic_store(&gate.open, true);
	exs_error *error = exs_scope_close(scope);
	CHECK(error == failure);
	exs_error_unref(error);
	before = blocks - before;
	exs_executor_free(ex);
	exs_executor_free(other);
	return before;
}

TEST(stack, a_million_members_of_a_scope)
{
	gate.resolve = false;
	failure = exs_error_new(&exs_domain_errno, EIO, "always");
	unsigned long tenth = scoped(million() / 10);
	check_linear("members", tenth, scoped(million()));
	exs_error_unref(failure);
}

/* --- members of a set --- */

static void read_one(exs_set *set)
{
	exs_future *f;

	CHECK_INT(exs_set_next(set, &f, 0), EXS_ITEM);
	exs_future_unref(f);
}

static exs_promise *add_one(exs_set *set)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	CHECK(exs_promise_start(p)); /* so that a cancel is a request only */
	CHECK_INT(exs_set_add(set, f), EXS_OK);
	return p;
}

static void complete_one(exs_promise *p)
{
	CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), EXS_OK);
	exs_promise_free(p);
}

/* Others come and go meanwhile, many of them at the same address; then most are read in an order that is neither that of their addition
   nor its reverse, and one is walked over: the many that have been take no time any more. */
static unsigned long as_completed(unsigned long n)
{
	exs_set *set = exs_set_new();
	exs_promise **p = calloc(n, sizeof(exs_promise *)), *left;
	unsigned long before = blocks;

	CHECK(p);
	for (unsigned long i = 0; i < n; i++)
		p[i] = add_one(set);
	left = add_one(set);
	for (unsigned long i = 0; i < n / 10; i++) {
		complete_one(add_one(set));
		read_one(set);
	}
	for (unsigned long i = 0, at = 0; i < n; i++, at = (at + 7919) % n) {
		complete_one(p[at]);
		read_one(set);
		if (i % 2)
			complete_one(add_one(set));
	}
	for (unsigned long i = 0; i < n / 2; i++)
		read_one(set);
	for (unsigned long i = 0; i < n / 1000; i++)
		CHECK_INT(exs_set_cancel(set), 0);
	complete_one(left);
	read_one(set);
	exs_set_free(set);
	free(p);
	return blocks - before;
}

TEST(stack, a_million_members_of_a_set)
{
	unsigned long tenth = as_completed(million() / 10);

	check_linear("as completed", tenth, as_completed(million()));
}

/* --- functions on futures --- */

static exs_result passes(void *unused, exs_result in)
{
	(void)unused;
	note_frame();
	return in;
}

static exs_future *passes_flat(void *unused, exs_result in)
{
	(void)unused;
	note_frame();
	return exs_future_return(in.value, in.destroy);
}

static void looks(void *unused, const exs_result *outcome)
{
	(void)unused, (void)outcome;
	note_frame();
}

static bool is_true(void *unused, const void *value)
{
	(void)unused;
	note_frame();
	return value;
}

static exs_executor *here; /* inline */

/* One link of a chain: of f alone, or of f and another that does not decide. */
static exs_future *link_made(exs_future *f, unsigned long i)
{
	exs_future *both[2] = {i % 9 > 5 ? exs_future_return(NULL, NULL) : NULL, f};

	switch (i % 9) {
	case 0:
		return exs_future_map(f, passes, NULL, NULL, NULL);
	case 1:
		return exs_future_flat_map(f, passes_flat, NULL, NULL, NULL);
	case 2:
		return exs_future_ensure(f, looks, NULL, NULL);
	case 3:
		return exs_future_recover(f, passes, NULL, NULL);
	case 4:
		return exs_future_timeout(f, 1000 + (double)i);
	case 5:
		return exs_future_via(f, here);
	case 6:
		return exs_future_or(both, 2, is_true, NULL, NULL);
	case 7:
		return exs_future_zip(both, 2);
	default:
		exs_future_unref(both[0]);
		return exs_future_any_ok(&f, 1);
	}
}

static unsigned long chain(unsigned long n, bool cancels)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);
	unsigned long before = blocks;

	for (unsigned long i = 0; i < n; i++)
		f = link_made(f, i);
	CHECK_INT(exs_future_wait(f, 0), EXS_ETIMEDOUT);
	if (cancels)
		CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	CHECK_INT(exs_promise_complete(p, exs_ok(&blocks, NULL)), cancels ? EXS_EALREADY : EXS_OK);
	exs_promise_free(p);
	CHECK(exs_future_is_done(f));
	exs_future_unref(f);
	return blocks - before;
}

static void chains(void)
{
	here = exs_inline();
	for (int cancels = 0; cancels < 2; cancels++) {
		unsigned long n = million() / 10, tenth = chain(n / 10, cancels);
		check_linear_in(n, cancels ? "a chain cancelled" : "a chain", tenth, chain(n, cancels));
	}
	exs_executor_free(here);
}

TEST(stack, functions_a_hundred_thousand_deep)
{
	on_small_stack(chains);
}

/* Of many inputs: completed in an order that is neither theirs nor its reverse, or cancelled by the last, or by the user. */
enum gather_end { ALL, LAST_DECIDES, BY_USER };

static unsigned long gather(unsigned long n, int kind, enum gather_end end)
{
	exs_promise **p = calloc(n, sizeof(exs_promise *));
	exs_future **f = calloc(n, sizeof(exs_future *));
	unsigned long before = blocks;

	CHECK(p && f);
	for (unsigned long i = 0; i < n; i++)
		p[i] = exs_promise_new(&f[i]);
	exs_future *g = kind == 0   ? exs_future_zip(f, n)
			: kind == 1 ? exs_future_or(f, n, NULL, NULL, NULL)
				    : exs_future_and(f, n, NULL, NULL, NULL);
	if (end == BY_USER)
		CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	else if (end == LAST_DECIDES)
		exs_promise_complete(p[n - 1], kind == 1 ? exs_ok(&blocks, NULL) : exs_cancelled());
	for (unsigned long i = 0, at = 0; i < n; i++, at = (at + 7919) % n) {
		exs_promise_complete(p[at], exs_ok(kind == 1 ? NULL : &blocks, NULL)); /* or it is too late */
		exs_promise_free(p[at]);
	}
	CHECK(exs_future_is_done(g));
	exs_future_unref(g);
	free(p);
	free(f);
	return blocks - before;
}

static void gathers(void)
{
	unsigned long n = million() / 10;

	for (int kind = 0; kind < 3; kind++)
		for (int end = ALL; end <= BY_USER; end++) {
			unsigned long tenth = gather(n / 10, kind, (enum gather_end)end);
			check_linear_in(n, "inputs", tenth, gather(n, kind, (enum gather_end)end));
		}
}

TEST(stack, functions_of_a_hundred_thousand)
{
	on_small_stack(gathers);
}

/* As many waits as members, each for another number of them. */
static unsigned long tracked(unsigned long n)
{
	exs_promise **p = calloc(n, sizeof(exs_promise *));
	exs_future **f = calloc(n, sizeof(exs_future *));
	exs_tracker *t = exs_tracker_new();
	unsigned long before = blocks;

	CHECK(p && f);
	for (unsigned long i = 0; i < n; i++) {
		p[i] = exs_promise_new(&f[i]);
		CHECK_INT(exs_tracker_add(t, f[i]), EXS_OK);
	}
	for (unsigned long i = 0; i < n; i++)
		f[i] = exs_tracker_fewer(t, 1 + i);
	for (unsigned long i = 0, at = 0; i < n; i++, at = (at + 7919) % n) {
		exs_promise_complete(p[at], exs_ok(NULL, NULL));
		exs_promise_free(p[at]);
	}
	for (unsigned long i = 0; i < n; i++) {
		CHECK(exs_future_is_done(f[i]));
		exs_future_unref(f[i]);
	}
	exs_tracker_free(t);
	free(p);
	free(f);
	return blocks - before;
}

static void trackers(void)
{
	unsigned long n = million() / 10, tenth = tracked(n / 10);

	check_linear_in(n, "tracked", tenth, tracked(n));
}

TEST(stack, a_hundred_thousand_tracked)
{
	on_small_stack(trackers);
}

/* --- many that a task waits for, and does itself --- */

/* The calls of a pool with this one worker, which waits for them; before them in the list stands one that ends with the last of them. */
struct own_calls {
	exs_executor *ex;
	exs_promise *first;
	unsigned long n, left, work;
	bool in_set;
};

static exs_result one_less(void *arg, exs_context *ctx)
{
	struct own_calls *own = arg;

	(void)ctx;
	if (!--own->left)
		CHECK_INT(exs_promise_complete(own->first, exs_ok(NULL, NULL)), EXS_OK);
	return exs_ok(NULL, NULL);
}

static void read_all(exs_future **f, unsigned long n)
{
	exs_set *set = exs_set_new();
	exs_future *next;

	for (unsigned long i = 0; i <= n; i++)
		CHECK_INT(exs_set_add(set, exs_future_ref(f[i])), EXS_OK);
	for (unsigned long i = 0; i <= n; i++) {
		CHECK_INT(exs_set_next(set, &next, EXS_FOREVER), EXS_ITEM);
		exs_future_unref(next);
	}
	exs_set_free(set);
}

static exs_result wait_for_own(void *arg, exs_context *ctx)
{
	struct own_calls *own = arg;
	exs_future **f = calloc(own->n + 1, sizeof(exs_future *));
	unsigned long before = blocks;
	size_t first;

	(void)ctx;
	own->first = exs_promise_new(&f[0]);
	own->left = own->n;
	for (unsigned long i = 1; i <= own->n; i++)
		f[i] = exs_submit(own->ex, one_less, own);
	if (own->in_set)
		read_all(f, own->n);
	else
		CHECK_INT(exs_wait_first_error(f, own->n + 1, EXS_FOREVER, &first), EXS_OK);
	own->work = blocks - before;
	for (unsigned long i = 0; i <= own->n; i++)
		exs_future_unref(f[i]);
	exs_promise_free(own->first);
	free(f);
	return exs_ok(NULL, NULL);
}

static unsigned long waited_for(unsigned long n, bool in_set)
{
	exs_thread_pool_options options = {.workers = 1, .max_spares = EXS_NONE};
	struct own_calls own = {.ex = exs_thread_pool_with(&options), .n = n, .in_set = in_set};

	CHECK_INT(exs_call(own.ex, wait_for_own, &own, EXS_FOREVER, NULL), EXS_OK);
	exs_executor_free(own.ex);
	return own.work;
}

enum { OWN = 20000 };

TEST(stack, a_task_waits_for_an_error_of_many)
{
	unsigned long tenth = waited_for(OWN / 10, false);

	check_linear_in(OWN, "waited for", tenth, waited_for(OWN, false));
}

TEST(stack, a_task_reads_a_set_of_many)
{
	unsigned long tenth = waited_for(OWN / 10, true);

	check_linear_in(OWN, "read in a task", tenth, waited_for(OWN, true));
}
