/* What a call costs in allocations, counted outside the library over all threads: this program's own malloc and free stand
   before the C library's; under a sanitizer its hooks count instead. The library recycles no blocks, so each is seen. */
#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <executors/executors.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_ulong mallocs, frees;

static void count_malloc(void)
{
	atomic_fetch_add_explicit(&mallocs, 1, memory_order_relaxed);
}

static _Atomic(const volatile void *) watched; /* a block whose end is awaited */

static void count_free(const volatile void *p)
{
	if (!p)
		return;
	atomic_fetch_add_explicit(&frees, 1, memory_order_relaxed);
	if (p == atomic_load(&watched))
		atomic_store(&watched, NULL);
}

/* --- the interposer --- */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

#ifdef SANITIZED

int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
					      void (*on_free)(const volatile void *));

static void on_malloc(const volatile void *p, size_t size)
{
	(void)p, (void)size;
	count_malloc();
}

static void on_free(const volatile void *p)
{
	count_free(p);
}

static void begin_counting(void)
{
	static bool begun;

	if (!begun)
		CHECK(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free));
	begun = true;
}

#else

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

void *malloc(size_t size)
{
	count_malloc();
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	count_malloc();
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	count_malloc();
	count_free(p);
	return __libc_realloc(p, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	count_malloc();
	return __libc_memalign(alignment, size);
}

int posix_memalign(void **p, size_t alignment, size_t size)
{
	count_malloc();
	*p = __libc_memalign(alignment, size);
	return *p ? 0 : ENOMEM;
}

void free(void *p)
{
	count_free(p);
	__libc_free(p);
}

static void begin_counting(void)
{
}

#endif

struct count {
	unsigned long mallocs, frees;
};

static struct count count_now(void)
{
	return (struct count){atomic_load(&mallocs), atomic_load(&frees)};
}

/* Drops a future, the last user's reference, and waits until its block, which begins with it, is freed on whatever thread. */
static void drop(exs_future *f)
{
	atomic_store(&watched, (void *)f);
	exs_future_unref(f);
	while (atomic_load(&watched))
		sched_yield();
}

/* Since `before` there have been exactly so many of each. */
static void check_since(struct count before, unsigned long n)
{
	CHECK_INT(atomic_load(&mallocs) - before.mallocs, n);
	CHECK_INT(atomic_load(&frees) - before.frees, n);
}

static void *allocate(void *unused)
{
	void *volatile p = malloc(10);

	free(p);
	return unused;
}

/* The interposer sees other threads. */
TEST(alloc, is_counted)
{
	pthread_t thread;

	begin_counting();
	struct count before = count_now();
	CHECK(!pthread_create(&thread, NULL, allocate, NULL));
	CHECK(!pthread_join(thread, NULL));
	CHECK(atomic_load(&mallocs) - before.mallocs >= 1);
	CHECK(atomic_load(&frees) - before.frees >= 1);
}

/* --- the chain of issue 2 --- */

static exs_error *failure; /* made once: the task's errors are its own, not the library's */
static atomic_ulong polled;

static exs_result third_time(void *arg, exs_context *ctx)
{
	return exs_context_attempt(ctx) < 3 ? exs_fail(exs_error_ref(failure)) : exs_ok(arg, NULL);
}

static exs_error *look(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)d;
	*delay = EXS_FOREVER;
	atomic_fetch_add(&polled, n);
	return NULL;
}

static bool agree(void *ctx, void *value, exs_error **error)
{
	(void)ctx, (void)value, (void)error;
	return true;
}

static void fail_twice_then_cancel(exs_executor *ex, exs_clock *clock)
{
	unsigned long seen = atomic_load(&polled);
	exs_future *f = exs_submit(ex, third_time, &polled);

	CHECK(f);
	for (int delay = 1; delay <= 2; delay++) { /* the timeout's timer and the backoff's */
		CHECK_INT(exs_clock_wait_armed(clock, 2, EXS_FOREVER), EXS_OK);
		CHECK_INT(exs_clock_advance(clock, delay), EXS_OK);
	}
	while (atomic_load(&polled) == seen)
		sched_yield();
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	drop(f);
}

/* Three attempts with backoff, a poll and a cancel: one malloc, one free. */
TEST(alloc, one_per_call)
{
	enum { WARM_UP = 3, CALLS = 100 };
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_thread_pool(1), clock);

	begin_counting();
	failure = exs_error_new(&exs_domain_errno, EIO, "not yet");
	ex = exs_with_retry(ex, NULL);
	ex = exs_with_poll(ex, look, agree, NULL, NULL);
	ex = exs_with_timeout(ex, 30);
	CHECK(ex);
	for (int i = 0; i < WARM_UP; i++)
		fail_twice_then_cancel(ex, clock);
	struct count before = count_now();
	for (unsigned long i = 1; i <= CALLS; i++) {
		fail_twice_then_cancel(ex, clock);
		check_since(before, i);
	}
	exs_executor_free(ex);
	exs_clock_unref(clock);
	exs_error_unref(failure);
}

/* --- what else costs what --- */

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static void ignore(exs_future *f, void *ctx)
{
	(void)f, (void)ctx;
}

/* The pool's worker has done with all calls. */
static void wait_idle(exs_executor *ex)
{
	exs_thread_pool_stats stats;

	do {
		sched_yield();
		CHECK_INT(exs_thread_pool_get_stats(ex, &stats), EXS_OK);
	} while (stats.idle != stats.workers);
}

/* n mallocs and as many frees for a call with these options, waited for; ex stands on the pool. */
static void submit_costs(exs_executor *ex, exs_executor *pool, const exs_task *task, unsigned long n)
{
	for (int i = 0; i < 3; i++) { /* the first warms up */
		struct count before = count_now();
		exs_future *f = exs_submit_with(ex, task);
		CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
		drop(f);
		wait_idle(pool);
		if (i)
			check_since(before, n);
	}
}

/* A call is one block whatever its options; an ABANDON layer adds the child's. */
TEST(alloc, options_are_in_the_block)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout(exs_with_retry(exs_with_clock(exs_thread_pool(1), clock), NULL), 30);
	exs_retry_options retry = {.max_attempts = 5};
	exs_task plain = {.fn = nothing};
	exs_task full = {.fn = nothing, .name = "a name", .priority = 3, .timeout = 2, .retry = &retry};

	begin_counting();
	submit_costs(ex, ex, &plain, 1);
	submit_costs(ex, ex, &full, 1);
	ex = exs_with_timeout_mode(ex, 40, EXS_ABANDON);
	CHECK(ex);
	submit_costs(ex, ex, &plain, 2);
	submit_costs(ex, ex, &full, 2);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

/* As a member of a scope: the scope is one, a call no more than without. */
TEST(alloc, member_of_a_scope)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout(exs_with_retry(exs_with_clock(exs_thread_pool(1), clock), NULL), 30);
	exs_retry_options retry = {.max_attempts = 5};
	exs_task plain = {.fn = nothing};
	exs_task full = {.fn = nothing, .name = "a name", .priority = 3, .timeout = 2, .retry = &retry};

	begin_counting();
	for (int i = 0; i < 3; i++) { /* the first warms up */
		struct count before = count_now();
		exs_scope *scope = exs_scope_new();
		for (int k = 0; k < 10; k++)
			exs_future_unref(exs_scope_submit_with(scope, ex, k % 2 ? &plain : &full));
		CHECK(!exs_scope_close(scope));
		wait_idle(ex);
		if (i)
			check_since(before, 1 + 10);
	}
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

/* A queue adds the block of the child, whatever waits. */
TEST(alloc, queue)
{
	exs_queue_options options = {.order = EXS_BY_NICENESS, .series = 3};
	exs_executor *pool = exs_thread_pool(1), *ex = exs_queue(&options);
	exs_task full = {.fn = nothing, .name = "a name", .priority = 3, .series = 2, .place = EXS_DO_LAST};

	begin_counting();
	CHECK(exs_queue_attach(ex, exs_borrow(pool), NULL));
	submit_costs(ex, pool, &full, 2);
	exs_executor_free(ex);
	exs_executor_free(pool);
}

/* A callback costs one, a waiter for several one; waiting for one and cancelling cost nothing. */
TEST(alloc, around_a_future)
{
	exs_executor *ex = exs_inline();
	exs_future *f[4];
	exs_promise *p;
	size_t first;

	begin_counting();
	for (int i = 0; i < 3; i++)
		CHECK(f[i] = exs_submit(ex, nothing, NULL));
	CHECK(p = exs_promise_new(&f[3]));
	struct count before = count_now();
	CHECK_INT(exs_future_wait(f[0], EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_wait_all(f, 3, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_cancel(f[0]), EXS_TOO_LATE);
	check_since(before, 0);
	CHECK_INT(exs_wait_any(f, 4, EXS_FOREVER, &first), EXS_OK);
	check_since(before, 1);
	CHECK_INT(exs_future_on_done(f[3], ignore, NULL, NULL), EXS_OK);
	CHECK_INT(exs_future_cancel(f[3]), EXS_CANCELLED);
	check_since(before, 2);
	exs_promise_free(p);
	for (int i = 0; i < 4; i++)
		exs_future_unref(f[i]);
	CHECK_INT(atomic_load(&mallocs) - before.mallocs, 2);
	CHECK_INT(atomic_load(&frees) - before.frees, 2 + 4);
	exs_executor_free(ex);
}
