/* Every allocation, and every start of a thread, is made to fail in turn: for each n that a scenario reaches, once the n-th alone
   and once the n-th and all that follow. A scenario ends when nothing failed; so every n before was reached.

   Invariants, after each run of a scenario: no block, no future and no thread of the library is left; every argument and every
   context was freed exactly once; a constructor that answers NULL has said why; a future that exists gets done, with what
   the task answered or with an error that speaks of memory or threads. */
#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <executors/executors.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- faults --- */

/* What can fail: allocations of the library, and pthread_create in it (by the linker's --wrap). */
struct fault {
	const char *what;
	atomic_ulong seen, at; /* at 0: none fails */
	atomic_bool onward, failed;
};
static struct fault memory = {.what = "allocation"}, threads = {.what = "thread"};

static bool fails(struct fault *f)
{
	unsigned long at = atomic_load(&f->at), n = at ? atomic_fetch_add(&f->seen, 1) + 1 : 0;
	bool now = at && (atomic_load(&f->onward) ? n >= at : n == at);

	if (now)
		atomic_store(&f->failed, true);
	return now;
}

static atomic_long blocks;

static void *faulty_alloc(size_t size)
{
	void *p = fails(&memory) ? NULL : malloc(size);

	if (p)
		atomic_fetch_add(&blocks, 1);
	return p;
}

static void faulty_free(void *p)
{
	atomic_fetch_sub(&blocks, 1);
	free(p);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);

static void (*before_create)(void); /* once */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	void (*before)(void) = before_create;

	before_create = NULL;
	if (before)
		before();
	return fails(&threads) ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

/* --- what a scenario counts --- */

static atomic_long given, freed; /* arguments and contexts */
static atomic_ulong runs;

static void count_freed(void *ptr)
{
	(void)ptr;
	atomic_fetch_add(&freed, 1);
}

/* As the user's own: an argument or context that will be freed by count_freed. */
static void *give(void)
{
	atomic_fetch_add(&given, 1);
	return &given;
}

static void run_once(struct fault *f, unsigned long n, bool onward, void (*scenario)(void))
{
	long futures = harness_futures();
	int before = harness_threads();

	atomic_store(&given, 0);
	atomic_store(&freed, 0);
	atomic_store(&f->seen, 0);
	atomic_store(&f->failed, false);
	atomic_store(&f->onward, onward);
	atomic_store(&f->at, n);
	scenario();
	atomic_store(&f->at, 0);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(atomic_load(&freed), atomic_load(&given));
	CHECK_INT(atomic_load(&blocks), 0);
	CHECK_INT(harness_futures(), futures);
	harness_wait_threads(before);
}

/* Answers how many could fail. */
static unsigned long fail_each(struct fault *f, bool onward, void (*scenario)(void))
{
	unsigned long n = 0;

	do
		run_once(f, ++n, onward, scenario);
	while (atomic_load(&f->failed));
	return n - 1;
}

/* At least so many allocations and threads are in it; in the onward form fewer may be reached than in the other. */
static void everything_fails(void (*scenario)(void), unsigned long allocations, unsigned long starts)
{
	static const exs_allocator faulty = {faulty_alloc, faulty_free};
	struct fault *const faults[] = {&memory, &threads};
	unsigned long least[] = {allocations, starts}, once[2];

	exs_set_allocator(&faulty);
	for (int i = 0; i < 2; i++) {
		once[i] = fail_each(faults[i], false, scenario);
		fprintf(stderr, "failed in turn: %lu %s, at least %lu\n", once[i], i ? "threads" : "allocations",
			least[i]);
		CHECK(once[i] >= least[i]);
		CHECK(fail_each(faults[i], true, scenario) >= (least[i] > 0));
	}
	exs_set_allocator(NULL);
}

/* --- pieces --- */

static exs_result answer_7(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	atomic_fetch_add(&runs, 1);
	return exs_ok((void *)7, NULL);
}

/* Fails with a new error, or out of memory. */
static exs_result fail_once_more(void *arg, exs_context *ctx)
{
	(void)arg;
	if (exs_context_attempt(ctx) < 3)
		return exs_fail(exs_error_new(&exs_domain_errno, EIO, "attempt %u", exs_context_attempt(ctx)));
	return exs_ok((void *)7, NULL);
}

static bool about_memory_or_threads(const exs_error *e)
{
	return exs_error_is(e, &exs_domain_exs, EXS_ENOMEM) || exs_error_is(e, &exs_domain_exs, EXS_ETHREAD) ||
	       exs_error_is(e, &exs_domain_errno, ENOMEM) || exs_error_is(e, &exs_domain_errno, EAGAIN);
}

/* NULL is explained; answers whether it is not NULL. */
static bool made(const void *thing)
{
	CHECK(thing || about_memory_or_threads(exs_last_error()));
	return thing;
}

static exs_future *submit(exs_executor *ex, exs_task_fn *fn, const exs_retry_options *retry, double timeout)
{
	exs_task task = {
		.fn = fn, .arg = give(), .arg_free = count_freed, .name = "oom", .timeout = timeout, .retry = retry};
	exs_future *f = exs_submit_with(ex, &task);

	made(f);
	return f;
}

/* A future gets done: with 7, or with the reason why not. */
static void finish(exs_future *f)
{
	if (!f)
		return;
	int rc = exs_future_wait(f, EXS_FOREVER);
	CHECK(rc == EXS_OK);
	if (exs_future_state(f) == EXS_STATE_VALUE)
		CHECK(exs_future_value(f) == (void *)7);
	else
		CHECK(about_memory_or_threads(exs_future_error(f)));
	exs_future_unref(f);
}

static exs_error *resolve_all(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx;
	*delay = EXS_FOREVER;
	for (size_t i = 0; i < n; i++)
		exs_yield_result(d[i], (void *)7, NULL);
	return NULL;
}

static sem_t asked;

static exs_error *resolve_none(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)d, (void)n;
	*delay = EXS_FOREVER;
	sem_post(&asked);
	return NULL;
}

static exs_error *fail_all(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)d, (void)delay;
	return n ? exs_error_new(&exs_domain_exs, EXS_ENOMEM, "as if for want of memory") : NULL;
}

static exs_executor *with_poll(exs_executor *ex, exs_poll_fn *fn)
{
	exs_poll_options options = {.ctx_free = count_freed};

	return exs_with_poll(ex, fn, NULL, give(), &options);
}

static exs_executor *with_retry(exs_executor *ex, double sleep)
{
	static const exs_retry_code codes[] = {{&exs_domain_errno, EIO}, {&exs_domain_exs, EXS_ENOMEM}};
	exs_retry_options options = {
		.sleep = sleep, .codes = codes, .n_codes = 2, .ctx = give(), .ctx_free = count_freed};

	return exs_with_retry(ex, &options);
}

/* Fails for want of memory, as a user's own might; not when it is asked first. */
static exs_error *count_two(void *ctx, unsigned *count)
{
	(void)ctx;
	if (*count == 2)
		return exs_error_new(&exs_domain_exs, EXS_ENOMEM, "as if for want of memory");
	*count = 2;
	return NULL;
}

static exs_executor *with_throttle(exs_executor *ex)
{
	exs_throttle_options options = {.count_fn = count_two, .ctx = give(), .ctx_free = count_freed};

	return exs_with_throttle(ex, 1, &options);
}

/* Every fifth is left to fail with an error of start_many's, of want of memory. */
static exs_error *yield_most(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	(void)ctx, (void)context;
	for (size_t i = 0; i < n; i++)
		if (i % 5)
			exs_batch_yield_result(items[i], (void *)7, NULL);
	return exs_error_new(&exs_domain_exs, EXS_ENOMEM, "as if for want of memory");
}

static exs_executor *with_batch(exs_executor *ex, unsigned max)
{
	/* Not on time: without memory for a callback thread that would come when there is some again. */
	exs_batch_options options = {.max = max, .seconds = 100, .ctx_free = count_freed};

	return exs_with_batch(ex, yield_most, give(), &options);
}

/* --- constructors --- */

static void pool_alone(void)
{
	const unsigned cpus[] = {0};
	exs_thread_pool_options options = {
		.workers = 2, .name = "oom", .cpus = cpus, .n_cpus = 1, .ctx = give(), .ctx_free = count_freed};
	exs_executor *ex = exs_thread_pool_with(&options);

	made(ex);
	exs_executor_free(ex);
}

static void loop_alone(void)
{
	exs_executor *ex = exs_event_loop();

	made(ex);
	exs_executor_free(ex);
}

static exs_future *no_future(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return NULL;
}

static void default_pool(void)
{
	exs_executor *a = exs_thread_pool_default(), *b = exs_thread_pool_default();

	made(a);
	made(b);
	exs_executor_free(a);
	exs_executor_free(b);
}

static void each_layer(void)
{
	exs_executor *ex = exs_inline(), *borrowed = NULL;

	made(ex);
	ex = with_retry(ex, 1);
	ex = exs_with_timeout(ex, 1);
	ex = with_poll(ex, resolve_all);
	ex = exs_with_timeout_mode(ex, 1, EXS_ABANDON);
	ex = exs_with_cancel_on_shutdown(with_throttle(ex));
	ex = exs_with_map(ex, NULL, NULL, give(), count_freed);
	ex = exs_with_flat_map(ex, NULL, NULL, give(), count_freed);
	ex = exs_with_flat_bind(exs_with_bind(ex, answer_7), no_future);
	ex = with_batch(ex, 2);
	if (made(ex))
		made(borrowed = exs_borrow(ex));
	exs_executor_free(ex);
	exs_executor_free(borrowed);
}

static exs_step own_start(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	(void)ex, (void)call, (void)slot, (void)result;
	return EXS_DOWN;
}

static void own_stop(exs_executor *ex)
{
	(void)ex;
	count_freed(NULL);
}

static void own_layer(void)
{
	static const exs_layer_ops ops = {.size = sizeof(ops),
					  .type = "own",
					  .start = own_start,
					  .done = exs_pass_done,
					  .cancel = exs_pass_cancel,
					  .stop = own_stop};
	exs_executor *ex = exs_inline();

	if (made(ex)) /* NULL would make a leaf */
		ex = exs_layer_new(&ops, ex, 64, 8);
	if (made(ex))
		give();
	exs_executor_free(ex);
}

static void small_things(void)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_set *set = exs_set_new();
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	made(set);
	CHECK(made(p) == (f != NULL));
	if (p)
		CHECK_INT(exs_promise_complete(p, exs_ok(give(), count_freed)), EXS_OK);
	exs_promise_free(p);
	exs_future_unref(f);
	exs_set_free(set);
	exs_clock_unref(clock);
	exs_error_unref(exs_error_new(&exs_domain_errno, EIO, "%s", "a text"));
	exs_error_unref(exs_error_new_retry_after(&exs_domain_errno, EIO, 1, "%s", "a text"));
}

TEST(oom, constructors)
{
	everything_fails(pool_alone, 2, 0);
	everything_fails(default_pool, 3, 0);
	everything_fails(loop_alone, 2, 0);
	everything_fails(each_layer, 16, 2);
	everything_fails(own_layer, 2, 0);
	everything_fails(small_things, 5, 0);
}

/* --- submit --- */

static void submit_inline(void)
{
	exs_executor *ex = with_retry(exs_inline(), EXS_NONE);
	exs_retry_options own = {.max_attempts = 2};

	if (made(ex)) {
		finish(submit(ex, answer_7, NULL, 0));
		finish(submit(ex, answer_7, &own, 0));
		exs_future *plain = exs_submit(ex, answer_7, NULL);
		made(plain);
		finish(plain);
	}
	exs_executor_free(ex);
}

/* Without an executor: the future is a promise's. */
static void submit_to_nothing(void)
{
	exs_task task = {.fn = answer_7, .arg = give(), .arg_free = count_freed};
	exs_future *f = exs_submit_with(NULL, &task);

	if (made(f))
		CHECK(exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_EINVAL) ||
		      about_memory_or_threads(exs_future_error(f)));
	exs_future_unref(f);
}

/* The first worker cannot start: the call fails with EXS_ETHREAD, later ones may still find one. */
static void submit_pool(void)
{
	exs_executor *ex = exs_thread_pool(2);

	for (int i = 0; ex && i < 3; i++)
		finish(submit(ex, answer_7, NULL, 0));
	exs_executor_free(ex);
}

/* Two calls at once: what is queued before a thread could be made must not be left lying. */
static void submit_many(void)
{
	exs_executor *ex = exs_thread_pool(4);
	exs_future *f[8] = {NULL};

	for (int i = 0; ex && i < 8; i++)
		f[i] = submit(ex, answer_7, NULL, 0);
	for (int i = 0; i < 8; i++)
		finish(f[i]);
	exs_executor_free(ex);
}

/* Each ABANDON layer makes a child call. */
static void submit_children(void)
{
	exs_executor *ex = exs_with_timeout_mode(exs_thread_pool(1), 100, EXS_ABANDON);

	ex = with_retry(ex, EXS_NONE);
	ex = exs_with_timeout_mode(ex, 100, EXS_ABANDON);
	if (made(ex)) {
		finish(submit(ex, answer_7, NULL, 50));
		finish(submit(ex, fail_once_more, &(exs_retry_options){.sleep = EXS_NONE}, 0));
	}
	exs_executor_free(ex);
}

/* A second block for each call, and whatever is attached. */
static void submit_queue(void)
{
	exs_queue_options options = {.levels = 3, .aging = 1, .series = 4, .name = "oom"};
	unsigned all[] = {0, 1, 2, 3};
	exs_attach_options attach = {.capacity = 2, .series = all, .n_series = 4};
	exs_executor *ex = with_retry(exs_queue(&options), EXS_NONE);
	exs_future *f[3] = {NULL};

	if (made(ex)) {
		for (int i = 0; i < 3; i++)
			f[i] = submit(ex, i ? fail_once_more : answer_7, NULL, 0);
		uint64_t first =
			exs_queue_attach(ex, exs_with_timeout_mode(exs_thread_pool(1), 100, EXS_ABANDON), &attach);
		CHECK(first || about_memory_or_threads(exs_last_error()));
		uint64_t second = exs_queue_attach(ex, exs_inline(), NULL);
		CHECK(second || about_memory_or_threads(exs_last_error()));
		if (first)
			CHECK_INT(exs_queue_detach(ex, first), EXS_OK);
		for (int i = 0; i < 3; i++) {
			if (!second && f[i])
				exs_future_cancel(f[i]);
			if (second || !f[i])
				finish(f[i]);
			else
				exs_future_unref(f[i]);
		}
	}
	exs_executor_free(ex);
}

static void call(void)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_result r;

	if (ex) {
		int rc = exs_call(ex, answer_7, NULL, EXS_FOREVER, &r);
		CHECK(rc == EXS_OK || rc == EXS_ENOMEM);
		CHECK(rc == EXS_OK ? r.kind == EXS_KIND_VALUE || about_memory_or_threads(r.error)
				   : r.kind == EXS_KIND_CANCELLED);
		exs_result_clear(&r);
	}
	exs_executor_free(ex);
}

/* Its own faults are off: all that fails here fails from without, also outside its steps. */
static void simulated(void)
{
	enum { CALLS = 20 }; /* more than the pool's first table holds */
	exs_sim *sim = exs_sim_new(1, NULL);
	exs_executor *ex = with_poll(with_retry(exs_sim_pool(sim, 1), 1), resolve_all);
	exs_future *f[CALLS];

	if (made(ex)) {
		for (int i = 0; i < CALLS; i++)
			f[i] = submit(ex, i % 2 ? answer_7 : fail_once_more, NULL, 0);
		for (int i = 0; i < CALLS; i++)
			finish(f[i]);
	}
	exs_executor_free(ex);
	CHECK_INT(exs_sim_free(sim), EXS_OK);
}

TEST(oom, submit)
{
	everything_fails(submit_inline, 6, 1);
	everything_fails(submit_to_nothing, 2, 0);
	everything_fails(submit_pool, 5, 1);
	everything_fails(submit_many, 10, 1);
	everything_fails(submit_children, 15, 2);
	everything_fails(submit_queue, 20, 2);
	everything_fails(call, 3, 1);
	everything_fails(simulated, 20 + 20 + 8, 0);
}

static exs_executor *counted_on;
static exs_future *queued_meanwhile;

static void submit_meanwhile(void)
{
	queued_meanwhile = exs_submit(counted_on, answer_7, NULL);
}

/* A call that is queued while the only worker is being started, and need not start one, must not be left lying when that fails. */
TEST(oom, start_that_others_count_on)
{
	for (unsigned long at = 1; at < 3; at++) { /* the start fails, or does not */
		counted_on = exs_thread_pool(1);
		before_create = submit_meanwhile;
		atomic_store(&threads.seen, 0);
		atomic_store(&threads.onward, false);
		atomic_store(&threads.at, at);
		exs_future *f = exs_submit(counted_on, answer_7, NULL);
		finish(f);
		CHECK(queued_meanwhile);
		CHECK_INT(exs_future_wait(queued_meanwhile, EXS_FOREVER), EXS_OK);
		CHECK_INT(exs_future_state(queued_meanwhile), at == 1 ? EXS_STATE_ERROR : EXS_STATE_VALUE);
		finish(queued_meanwhile);
		atomic_store(&threads.at, 0);
		exs_executor_free(counted_on);
	}
}

/* Where there is a worker, no call fails because a further thread can't be made: it waits for the one there is. */
static exs_result wait_for_gate(void *gate, exs_context *ctx)
{
	(void)ctx;
	while (atomic_load((atomic_uint *)gate) == 1)
		sched_yield();
	return exs_ok(gate, NULL);
}

TEST(oom, further_thread_that_cannot_be_made)
{
	atomic_uint gate = 1;
	exs_executor *ex = exs_thread_pool(3);
	exs_thread_pool_stats stats;
	exs_future *f[4];

	atomic_store(&threads.seen, 0);
	atomic_store(&threads.onward, true);
	atomic_store(&threads.at, 2);
	for (int i = 0; i < 4; i++)
		f[i] = exs_submit(ex, wait_for_gate, &gate);
	CHECK_INT(exs_thread_pool_get_stats(ex, &stats), EXS_OK);
	CHECK(stats.workers == 1 && threads.seen >= 2);
	for (int i = 0; i < 4; i++)
		CHECK(!exs_future_is_done(f[i]));
	atomic_store(&gate, 0);
	for (int i = 0; i < 4; i++) {
		CHECK_INT(exs_future_wait(f[i], EXS_FOREVER), EXS_OK);
		CHECK(exs_future_value(f[i]) == &gate);
		exs_future_unref(f[i]);
	}
	atomic_store(&threads.at, 0);
	exs_executor_free(ex);
}

/* --- futures --- */

static void count_done(exs_future *f, void *ctx)
{
	(void)ctx;
	CHECK(exs_future_is_done(f));
	atomic_fetch_add(&runs, 1);
}

/* on_done answers EXS_ENOMEM and has freed ctx, or the callback runs, once. */
static void callbacks(void)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);
	unsigned long registered = 0;

	atomic_store(&runs, 0);
	for (int i = 0; p && i < 3; i++) {
		int rc = exs_future_on_done(f, count_done, give(), count_freed);
		CHECK(rc == EXS_OK || rc == EXS_ENOMEM);
		registered += rc == EXS_OK;
		if (i == 1)
			exs_promise_complete(p, exs_ok(NULL, NULL));
	}
	CHECK_INT(atomic_load(&runs), registered);
	exs_promise_free(p);
	exs_future_unref(f);
}

/* On an event loop, of which the last that it queues does not come to run. */
static void callbacks_on_a_loop(void)
{
	exs_executor *ex = exs_event_loop();
	unsigned long registered = 0, told = 0;
	exs_promise *p;
	exs_future *f;

	atomic_store(&runs, 0);
	for (int i = 0; ex && i < 3; i++) {
		f = submit(ex, answer_7, NULL, 0);
		int rc = exs_event_loop_on_done(ex, f, count_done, give(), count_freed);
		CHECK(rc == EXS_OK || rc == (f ? EXS_ENOMEM : EXS_EINVAL));
		registered += rc == EXS_OK;
		told += f != NULL;
		exs_future_unref(f);
	}
	for (unsigned long n = 0; ex && n < registered + told;)
		n += (unsigned long)exs_event_loop_run_once(ex, EXS_FOREVER);
	CHECK_INT(atomic_load(&runs), registered + told);
	p = ex ? exs_promise_new(&f) : NULL;
	if (p) {
		exs_event_loop_on_done(ex, f, count_done, give(), count_freed);
		exs_future_unref(f);
	}
	exs_executor_free(ex);
	exs_promise_free(p);
	CHECK_INT(atomic_load(&runs), registered + told);
}

enum { SEVERAL = 40 };

/* So many promises as there was memory for. */
static int make_promises(exs_promise **p, exs_future **f)
{
	int n = 0;

	while (n < SEVERAL && (p[n] = exs_promise_new(&f[n])))
		n++;
	return n;
}

static void drop_promises(exs_promise **p, exs_future **f, int n)
{
	for (int i = 0; i < n; i++) {
		exs_promise_free(p[i]);
		exs_future_unref(f[i]);
	}
}

/* A failed add is told once; the members that got in all come out. */
static void set(void)
{
	exs_promise *p[SEVERAL];
	exs_future *f[SEVERAL], *got;
	int n = make_promises(p, f), added = 0, read = 0, told = 0;
	exs_set *s = exs_set_new();
	exs_set_status status;

	for (int i = 0; s && i < n; i++) {
		int rc = exs_set_add(s, exs_future_ref(f[i]));
		CHECK(rc == EXS_OK || rc == EXS_ENOMEM);
		added += rc == EXS_OK;
	}
	size_t cancelled = s ? exs_set_cancel(s) : 0; /* nothing, when memory is short */
	for (int i = 0; i < n; i++)
		exs_promise_complete(p[i], exs_ok(NULL, NULL));
	while (s && (status = exs_set_next(s, &got, EXS_FOREVER)) != EXS_EMPTY) {
		CHECK(status == EXS_ITEM || status == EXS_FAILED);
		read += status == EXS_ITEM;
		told += status == EXS_FAILED;
		exs_future_unref(got);
	}
	CHECK(cancelled == 0 || cancelled == (size_t)added);
	CHECK_INT(read, s ? added : 0);
	CHECK_INT(told, s && added < n);
	exs_set_free(s);
	drop_promises(p, f, n);
}

/* The last one keeps the first, or there is none; its context is freed in any case. */
static atomic_uint contexts;

static void count_context(void *unused)
{
	(void)unused;
	atomic_fetch_add(&contexts, 1);
}

static exs_result same_outcome(void *unused, exs_result in)
{
	(void)unused;
	return in;
}

static void map_twice(void)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);
	unsigned before = atomic_load(&contexts);

	if (!p)
		return;
	exs_future *g = exs_future_map(exs_future_ref(f), same_outcome, NULL, NULL, count_context);
	exs_future *h = g ? exs_future_map(g, same_outcome, NULL, NULL, count_context) : NULL;
	exs_promise_complete(p, exs_ok(p, NULL));
	CHECK_INT(atomic_load(&contexts) - before, g ? 2 : 1);
	CHECK(!h || exs_future_value(h) == p);
	exs_promise_free(p);
	exs_future_unref(f);
	exs_future_unref(h);
}

static exs_future *future_of(void *unused, exs_result in)
{
	(void)unused;
	return exs_future_return(in.value, NULL);
}

static void ignore(void *unused, const exs_result *outcome)
{
	(void)unused, (void)outcome;
}

/* Done with what it should be, or with an error about memory, or there is none, which is explained. */
static void settle(exs_future *f, exs_state state)
{
	if (!made(f))
		return;
	CHECK(exs_future_is_done(f));
	if (exs_future_state(f) != state)
		CHECK(about_memory_or_threads(exs_future_error(f)));
	exs_future_unref(f);
}

/* A future of seven as what others are made of: each takes its reference, or explains. */
static exs_future *seven(exs_promise *p[2], int i)
{
	exs_future *f;

	p[i] = exs_promise_new(&f);
	return made(p[i]) ? f : NULL;
}

static void complete_both(exs_promise *p[2], exs_kind kind)
{
	for (int i = 0; i < 2; i++) {
		exs_promise_complete(p[i], kind == EXS_KIND_VALUE
						   ? exs_ok((void *)7, NULL)
						   : exs_fail(exs_error_new(&exs_domain_exs, EXS_ENOMEM, "no")));
		exs_promise_free(p[i]);
	}
}

enum { FLAT_MAP, ENSURE, NOCANCEL, ZIP, OR, AND, ANY_OK, ANY_FAILS, APPLY, CANCELLED, FUNCTIONS };

static exs_future *function_of(int which, exs_future *f[2])
{
	static exs_function nothing;

	switch (which) {
	case FLAT_MAP:
		exs_future_unref(f[1]);
		return exs_future_flat_map(f[0], future_of, NULL, give(), count_freed);
	case ENSURE:
		exs_future_unref(f[1]);
		return exs_future_ensure(f[0], ignore, give(), count_freed);
	case NOCANCEL:
		exs_future_unref(f[1]);
		return exs_future_nocancel(f[0]);
	case OR:
		return exs_future_or(f, 2, NULL, give(), count_freed);
	case AND:
		return exs_future_and(f, 2, NULL, give(), count_freed);
	case ANY_OK:
	case ANY_FAILS:
		return exs_future_any_ok(f, 2);
	case APPLY:
		exs_future_unref(f[0]);
		return exs_future_apply(exs_future_return(&nothing, NULL), &f[1], 1);
	default:
		return exs_future_zip(f, 2);
	}
}

static void one_function(int which)
{
	exs_promise *p[2] = {NULL, NULL};
	exs_future *f[2] = {seven(p, 0), seven(p, 1)};

	if (!f[0] || !f[1]) {
		exs_future_unref(f[0]);
		exs_future_unref(f[1]);
		complete_both(p, EXS_KIND_VALUE);
		return;
	}
	exs_future *g = function_of(which, f);
	bool fails_anyway = which == ANY_FAILS || which == APPLY;
	if (g && which == CANCELLED)
		CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	complete_both(p, which == ANY_FAILS ? EXS_KIND_ERROR : EXS_KIND_VALUE);
	if (g && fails_anyway) {
		CHECK_INT(exs_future_state(g), EXS_STATE_ERROR);
		exs_future_unref(g);
		return;
	}
	settle(g, which == CANCELLED ? EXS_STATE_CANCELLED : EXS_STATE_VALUE);
}

static exs_future *return_item(void *unused, void *item)
{
	(void)unused;
	return exs_future_return(item, NULL);
}

static void functions(void)
{
	void *const items[] = {(void *)7, (void *)8};

	map_twice();
	for (int i = 0; i < FUNCTIONS; i++)
		one_function(i);
	settle(exs_future_traverse(return_item, NULL, items, 2), EXS_STATE_VALUE);
	settle(exs_future_zip(NULL, 0), EXS_STATE_VALUE);
	settle(exs_future_zip((exs_future *const[]){NULL}, 1), EXS_STATE_ERROR);
}

/* It is in time, or was not made. */
static void future_timeout(void)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	if (!p)
		return;
	f = exs_future_timeout(f, 1000);
	exs_promise_complete(p, exs_ok(p, NULL));
	CHECK(!f || exs_future_value(f) == p || exs_error_is(exs_future_error(f), &exs_domain_errno, EAGAIN));
	exs_promise_free(p);
	exs_future_unref(f);
}

/* Even without memory for the words, it is that. */
static void time_is_up(void)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	f = p ? exs_future_timeout(f, 0) : NULL;
	CHECK(!f || exs_error_code(exs_future_error(f)) == EXS_ETIMEDOUT);
	exs_promise_free(p);
	exs_future_unref(f);
}

static void via(void)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	if (p && ex) {
		f = exs_future_via(f, ex);
		exs_promise_complete(p, exs_ok(p, NULL));
		if (f)
			exs_future_wait(f, EXS_FOREVER);
		const exs_error *error = exs_future_error(f);
		CHECK(!f || exs_future_value(f) == p || exs_error_is(error, &exs_domain_exs, EXS_ENOMEM) ||
		      exs_error_is(error, &exs_domain_exs, EXS_ETHREAD));
	}
	exs_promise_free(p);
	if (p)
		exs_future_unref(f);
	exs_executor_free(ex);
}

static bool at_once(void *unused, exs_result *result)
{
	(void)unused, (void)result;
	return true;
}

static void until(void)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_until_options options = {.clock = clock, .ctx_free = count_freed};
	exs_future *f = clock ? exs_until(at_once, give(), &options) : NULL;
	exs_future *g = exs_until(NULL, give(), &options);

	if (f)
		CHECK_INT(exs_clock_advance(clock, 1), EXS_OK);
	CHECK(!f || exs_future_state(f) == EXS_STATE_VALUE);
	CHECK(!g || exs_future_state(g) == EXS_STATE_ERROR);
	exs_future_unref(f);
	exs_future_unref(g);
	exs_clock_unref(clock);
}

static void tracker(void)
{
	exs_promise *p[SEVERAL];
	exs_future *f[SEVERAL];
	int n = make_promises(p, f);
	size_t added = 0;
	exs_tracker *t = exs_tracker_new();

	for (int i = 0; t && i < n; i++)
		added += exs_tracker_add(t, exs_future_ref(f[i])) == EXS_OK;
	CHECK_INT(exs_tracker_count(t), added);
	exs_future *all = exs_tracker_all(t);
	int rc = t ? exs_tracker_wait_any(t, 1e-6) : EXS_OK;
	CHECK(rc == EXS_ENOMEM || rc == (added ? EXS_ETIMEDOUT : EXS_OK));
	for (int i = 0; i < n; i++)
		exs_promise_complete(p[i], exs_ok(NULL, NULL));
	CHECK(!all || !t || exs_future_state(all) == EXS_STATE_VALUE);
	exs_future_unref(all);
	exs_tracker_free(t);
	drop_promises(p, f, n);
}

static void waits(void)
{
	exs_promise *p[SEVERAL];
	exs_future *f[SEVERAL];
	int n = make_promises(p, f);
	size_t first;

	if (n == SEVERAL) {
		exs_promise_complete(p[3], exs_ok(NULL, NULL));
		int rc = exs_wait_any(f, (size_t)n, EXS_FOREVER, &first);
		CHECK(rc == EXS_ENOMEM || (rc == EXS_OK && first == 3));
		exs_promise_complete(p[5], exs_fail(exs_error_new(&exs_domain_errno, EIO, "an error")));
		rc = exs_wait_first_error(f, (size_t)n, EXS_FOREVER, &first);
		CHECK(rc == EXS_ENOMEM || (rc == EXS_OK && first == 5));
		CHECK_INT(exs_wait_all(f, (size_t)n, 0), EXS_ETIMEDOUT);
	}
	drop_promises(p, f, n);
}

/* Cancels all, memory or not. */
static void cancel_all(void)
{
	exs_promise *p[SEVERAL];
	exs_future *f[SEVERAL];
	int n = make_promises(p, f);

	CHECK_INT(exs_future_cancel_all(f, (size_t)n), n);
	drop_promises(p, f, n);
}

TEST(oom, futures)
{
	everything_fails(callbacks, 4, 0);
	everything_fails(callbacks_on_a_loop, 10, 0);
	everything_fails(set, SEVERAL + 1 + SEVERAL + 3, 0);
	everything_fails(functions, 3 + 3 * FUNCTIONS + 5, 0);
	everything_fails(future_timeout, 4, 1);
	everything_fails(time_is_up, 3, 0);
	everything_fails(via, 4, 1);
	everything_fails(until, 4, 0);
	everything_fails(tracker, 2 * SEVERAL + 4, 0);
	everything_fails(waits, SEVERAL + 3, 0);
	everything_fails(cancel_all, SEVERAL + 1, 0);
}

/* --- inside a task --- */

struct watch {
	atomic_bool begun, called;
};

static void note_call(void *arg)
{
	atomic_store(&((struct watch *)arg)->called, true);
}

/* A handler that could be registered is called; then it is waited for, since it is gone once the task returns. */
static exs_result watches_for_cancel(void *arg, exs_context *ctx)
{
	struct watch *watch = arg;
	int on_cancel = exs_context_on_cancel(ctx, note_call, watch), rc = exs_context_sleep(ctx, 0);

	CHECK(on_cancel == EXS_OK || on_cancel == EXS_ENOMEM);
	CHECK(rc == EXS_OK || rc == EXS_ENOMEM || rc == EXS_ECANCELLED);
	atomic_store(&watch->begun, true);
	while (on_cancel ? !exs_context_stop_requested(ctx) : !atomic_load(&watch->called))
		sched_yield();
	return exs_ok((void *)7, NULL);
}

static void on_cancel(void)
{
	exs_executor *ex = exs_thread_pool(1);
	struct watch watch = {false, false};
	exs_future *f = ex ? exs_submit(ex, watches_for_cancel, &watch) : NULL;

	while (f && !exs_future_is_done(f) && !atomic_load(&watch.begun))
		sched_yield();
	if (f)
		exs_future_cancel(f);
	finish(f);
	exs_executor_free(ex);
}

/* Calls of the task's own pool, run by another worker, by a spare or by the waiting one itself. */
static exs_result outer(void *arg, exs_context *ctx)
{
	exs_future *f[SEVERAL];
	size_t first, n = 0;

	(void)ctx;
	while (n < SEVERAL && (f[n] = exs_submit(arg, answer_7, NULL)))
		n++;
	if (n) {
		int rc = exs_wait_any(f, n, EXS_FOREVER, &first);
		CHECK(rc == EXS_OK || rc == EXS_ENOMEM || rc == EXS_EDEADLK);
	}
	for (size_t i = 0; i < n; i++) {
		int rc = exs_future_wait(f[i], EXS_FOREVER);
		CHECK(rc == EXS_OK || rc == EXS_EDEADLK);
		exs_future_unref(f[i]);
	}
	return exs_ok((void *)7, NULL);
}

static void nested(void)
{
	exs_executor *ex = exs_thread_pool(2);
	exs_future *f = ex ? exs_submit(ex, outer, ex) : NULL;

	finish(f);
	exs_executor_free(ex);
}

TEST(oom, inside_a_task)
{
	everything_fails(on_cancel, 5, 1);
	everything_fails(nested, SEVERAL + 3, 1);
}

/* --- poll: batches, groups --- */

enum { MANY = 200 };

/* The batch cannot grow: then the oldest are asked for first, and nobody is left. */
static void poll_batches(void)
{
	exs_executor *ex = with_poll(exs_inline(), resolve_all);
	exs_future *f[MANY] = {NULL};

	for (int i = 0; ex && i < MANY; i++)
		f[i] = exs_submit(ex, answer_7, NULL);
	for (int i = 0; i < MANY; i++) {
		if (ex)
			exs_poll_notify(ex);
		finish(f[i]);
	}
	exs_executor_free(ex);
}

static void poll_fails(void)
{
	exs_executor *ex = with_poll(exs_inline(), fail_all);

	if (made(ex))
		finish(submit(ex, answer_7, NULL, 0));
	exs_executor_free(ex);
}

static void must_be_cancelled(exs_future **f, int n)
{
	for (int i = 0; i < n; i++) {
		CHECK(!f[i] || exs_future_wait(f[i], EXS_FOREVER) == EXS_OK);
		CHECK(!f[i] || exs_future_state(f[i]) == EXS_STATE_CANCELLED);
		exs_future_unref(f[i]);
	}
}

/* Many, for which the poll function was asked at least once: its thread has its array, if memory allows. */
static exs_executor *many_pending(exs_future **f)
{
	exs_executor *ex = with_poll(exs_inline(), resolve_none);
	bool some = false;

	sem_init(&asked, 0, 0);
	for (int i = 0; i < MANY; i++) {
		f[i] = ex ? exs_submit(ex, answer_7, NULL) : NULL;
		some |= f[i] && exs_future_state(f[i]) != EXS_STATE_ERROR;
	}
	if (some)
		sem_wait(&asked);
	return ex;
}

/* By the user: on this thread, in one group or in several. */
static void poll_cancel_all(void)
{
	exs_future *f[MANY];
	exs_executor *ex = many_pending(f);

	exs_future_cancel_all(f, MANY);
	must_be_cancelled(f, MANY);
	exs_executor_free(ex);
}

/* By free: the sweep's array, and the poll thread's. */
static void poll_sweep(void)
{
	exs_future *f[MANY];
	exs_executor *ex = many_pending(f);

	exs_executor_free(ex);
	must_be_cancelled(f, MANY);
}

/* Time is up: those that are left are failed, with an array or in groups. */
static void forced(void)
{
	exs_future *f[MANY];
	exs_executor *ex = many_pending(f);

	if (ex)
		exs_shutdown(ex, EXS_DRAIN, 0);
	for (int i = 0; i < MANY; i++) {
		CHECK(!f[i] || exs_error_is(exs_future_error(f[i]), &exs_domain_exs, EXS_ESHUTDOWN));
		exs_future_unref(f[i]);
	}
	exs_executor_free(ex);
}

/* Two executors, two threads and the poll thread's array; what a sweep needs for one that is just getting done may come on top. */
TEST(oom, poll)
{
	everything_fails(poll_batches, MANY + 5, 1);
	everything_fails(poll_fails, 7, 2);
	everything_fails(poll_cancel_all, MANY + 7, 1);
	everything_fails(poll_sweep, MANY + 7, 1);
	everything_fails(forced, MANY + 6, 1);
}

/* --- throttle, cancel on shutdown --- */

static void throttled(void)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = clock ? with_throttle(exs_with_clock(exs_thread_pool(4), clock)) : NULL;
	exs_future *f[SEVERAL] = {NULL};

	for (int i = 0; ex && i < SEVERAL; i++)
		f[i] = submit(ex, answer_7, NULL, 0);
	for (int i = 0; i < SEVERAL; i++)
		finish(f[i]);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

/* With an array, or in groups. */
static void cancelled_on_shutdown(void)
{
	exs_executor *ex = exs_with_cancel_on_shutdown(with_poll(exs_inline(), resolve_none));
	exs_future *f[MANY] = {NULL};

	for (int i = 0; ex && i < MANY; i++)
		f[i] = exs_submit(ex, answer_7, NULL);
	if (ex)
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	must_be_cancelled(f, MANY);
	exs_executor_free(ex);
}

TEST(oom, throttle_and_cancel_on_shutdown)
{
	everything_fails(throttled, SEVERAL + 3, 1);
	everything_fails(cancelled_on_shutdown, MANY + 8, 1);
}

/* --- batch --- */

/* A batch without memory fails its calls; the others' are not touched. With children, and attempts beside each other. */
static void batches(void)
{
	exs_retry_options twice = {.max_attempts = 2, .sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(exs_with_timeout_mode(exs_thread_pool(2), 100, EXS_ABANDON), &twice);
	exs_future *f[SEVERAL] = {NULL};

	ex = with_batch(ex, 4);
	for (int i = 0; ex && i < SEVERAL; i++)
		f[i] = submit(ex, answer_7, NULL, 0);
	if (ex)
		exs_batch_flush(ex);
	for (int i = 0; i < SEVERAL; i++)
		finish(f[i]);
	exs_executor_free(ex);
}

TEST(oom, batch)
{
	everything_fails(batches, SEVERAL + SEVERAL / 4 * 3, 2);
}

/* --- freed from within: the thread that is to release the chain --- */

static exs_result frees(void *arg, exs_context *ctx)
{
	(void)ctx;
	exs_executor_free(*(exs_executor **)arg);
	return exs_ok((void *)7, NULL);
}

static void free_within(void)
{
	static exs_executor *ex;

	ex = with_retry(exs_thread_pool(1), 1);
	exs_future *f = ex ? exs_submit(ex, frees, &ex) : NULL;
	if (f)
		exs_future_wait(f, EXS_FOREVER);
	/* If it never ran it has not freed. */
	if (ex && (!f || exs_future_state(f) != EXS_STATE_VALUE))
		exs_executor_free(ex);
	exs_future_unref(f);
}

TEST(oom, free_within)
{
	everything_fails(free_within, 6, 3);
}

/* --- chains, end to end --- */

/* Moves the clock until the future is done. */
static void finish_by(exs_clock *clock, exs_future *f)
{
	while (f && !exs_future_is_done(f)) {
		exs_clock_advance(clock, 0.5);
		sched_yield();
	}
	finish(f);
}

static void full_chain(void)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = clock ? exs_with_clock(exs_thread_pool(2), clock) : NULL;

	ex = with_retry(ex, 1);
	ex = with_poll(ex, resolve_all);
	ex = exs_with_timeout(ex, 1e6);
	exs_executor *own = ex ? exs_borrow(ex) : NULL;
	if (ex)
		finish_by(clock, submit(ex, fail_once_more, NULL, 0));
	if (own)
		finish_by(clock, submit(own, fail_once_more, NULL, 0));
	exs_executor_free(own);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

static exs_future *submit_again(void *other, exs_result in)
{
	exs_result_clear(&in);
	return submit(other, answer_7, NULL, 0);
}

static exs_future *submit_bound(void *other, exs_context *ctx)
{
	(void)ctx;
	return submit(other, answer_7, NULL, 0);
}

/* A function's submit answers NULL: the call fails for the same reason. */
static void flat(void)
{
	exs_executor *other = exs_thread_pool(1), *ex = other ? exs_inline() : NULL;

	ex = exs_with_flat_map(ex, submit_again, submit_again, other, NULL);
	ex = exs_with_flat_bind(exs_with_timeout_mode(ex, 100, EXS_ABANDON), submit_bound);
	if (made(ex)) {
		finish(submit(ex, answer_7, NULL, 0));
		finish(exs_submit_bound(ex, other));
	}
	exs_executor_free(ex);
	exs_executor_free(other);
}

/* The error of a call's own timeout is made when time is up. */
static void times_out(void)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = clock ? exs_with_clock(exs_inline(), clock) : NULL;

	ex = exs_with_timeout(with_poll(ex, resolve_none), 3);
	exs_future *f = ex ? submit(ex, answer_7, NULL, 2) : NULL;
	while (f && !exs_future_is_done(f)) {
		exs_clock_advance(clock, 0.5);
		sched_yield();
	}
	CHECK(!f || exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ETIMEDOUT) ||
	      about_memory_or_threads(exs_future_error(f)));
	exs_future_unref(f);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

/* The real clock: a timer thread with the executor, a callback thread with the first expiry, which is tried again until it
   starts (so this one is not run with all later threads failing). */
static void real_time(void)
{
	exs_executor *ex = exs_with_retry(exs_inline(), &(exs_retry_options){.sleep = 1e-6});

	if (made(ex))
		finish(submit(ex, fail_once_more, NULL, 0));
	exs_executor_free(ex);
}

TEST(oom, chains)
{
	static const exs_allocator faulty = {faulty_alloc, faulty_free};

	everything_fails(full_chain, 15, 2);
	everything_fails(times_out, 9, 1);
	everything_fails(flat, 9, 2);
	exs_set_allocator(&faulty);
	CHECK(fail_each(&memory, false, real_time) >= 5);
	CHECK(fail_each(&threads, false, real_time) >= 2);
	exs_set_allocator(NULL);
}

/* --- scopes --- */

static exs_result fail_at_once(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_fail(exs_error_new(&exs_domain_errno, EIO, "at once"));
}

static exs_result use_arena(void *arg, exs_context *ctx)
{
	exs_scope *scope = exs_context_scope(ctx);
	char *p = exs_scope_alloc(scope, 3000);

	(void)arg;
	if (made(p))
		p[2999] = 1;
	return answer_7(arg, ctx);
}

/* Whatever fails, the close returns, with an error if anything was not done. */
static void finish_scope(exs_scope *scope, bool all_well)
{
	exs_error *error = exs_scope_close(scope);

	CHECK(all_well ? !error : error != NULL);
	CHECK(!error || exs_error_is(error, &exs_domain_errno, EIO) || about_memory_or_threads(error));
	exs_error_unref(error);
}

static void members(void)
{
	exs_executor *ex = exs_thread_pool(2);
	exs_scope *scope = ex ? exs_scope_new() : NULL;
	bool all_well = true;

	for (int i = 0; made(scope) && i < 8; i++) {
		exs_task task = {.fn = use_arena, .arg = give(), .arg_free = count_freed};
		exs_future *f = exs_scope_submit_with(scope, ex, &task);
		made(f);
		bool submitted = f && !exs_future_wait(f, EXS_FOREVER) && exs_future_value(f);
		CHECK(submitted || !all_well || !f || exs_future_error(f)); /* cancelled only after an error */
		all_well = all_well && submitted;
		exs_future_unref(f);
	}
	if (scope)
		finish_scope(scope, all_well);
	exs_executor_free(ex);
}

/* Many wait when one fails: with no memory for all, they are cancelled in groups. */
static void cancelled_members(void)
{
	enum { MORE = 70 };
	exs_executor *ex = with_poll(exs_inline(), resolve_none);
	exs_scope *scope = made(ex) ? exs_scope_new() : NULL;

	for (int i = 0; scope && i < MORE; i++)
		exs_future_unref(exs_scope_submit(scope, ex, answer_7, NULL));
	if (scope) {
		exs_future_unref(exs_scope_submit(scope, ex, fail_at_once, NULL));
		finish_scope(scope, false);
	}
	exs_executor_free(ex);
}

static exs_result own_scope(void *ex, exs_context *ctx)
{
	exs_scope *scope = exs_scope_new_with(&(exs_scope_options){.ctx = ctx});
	exs_future *f = made(scope) ? exs_scope_submit(scope, ex, answer_7, NULL) : NULL;
	bool well = scope && f && !exs_future_wait(f, EXS_FOREVER) && exs_future_value(f);

	exs_future_unref(f);
	if (scope)
		finish_scope(scope, well);
	return well ? exs_ok((void *)7, NULL) : exs_fail(exs_error_new(&exs_domain_exs, EXS_ENOMEM, "inside"));
}

static void scope_in_a_task(void)
{
	exs_executor *ex = exs_thread_pool(1);

	if (ex)
		finish(exs_submit(ex, own_scope, ex));
	exs_executor_free(ex);
}

static void refused_members(void)
{
	exs_scope *scope = exs_scope_new();
	exs_task task = {.fn = answer_7, .arg = give(), .arg_free = count_freed};

	if (!made(scope))
		count_freed(NULL);
	if (!scope)
		return;
	exs_future_unref(exs_scope_submit_with(scope, NULL, &task));
	exs_error *error = exs_scope_close(scope);
	CHECK(exs_error_is(error, &exs_domain_exs, EXS_EINVAL) || about_memory_or_threads(error));
	exs_error_unref(error);
	exs_error_unref(exs_scope_close(NULL));
}

TEST(oom, scopes)
{
	everything_fails(members, 14, 1);
	everything_fails(cancelled_members, 80, 1);
	everything_fails(scope_in_a_task, 5, 1);
	everything_fails(refused_members, 3, 0);
}

/* --- streams --- */

enum { ITEMS = 5, IN_VAIN = 50 };

struct feed {
	int next;
	bool destroys; /* inputs are counted as contexts are */
};

static bool feed_next(void *ctx, exs_result *input)
{
	struct feed *feed = ctx;

	if (feed->next == ITEMS)
		return false;
	feed->next++;
	if (feed->destroys)
		*input = exs_ok(give(), count_freed);
	return true;
}

static void check_read(const exs_item *item)
{
	exs_future *f = item->future;

	CHECK(exs_future_is_done(f));
	if (exs_future_state(f) == EXS_STATE_VALUE)
		CHECK(exs_future_value(f) == (void *)7);
	else
		CHECK(about_memory_or_threads(exs_future_error(f)));
	exs_future_unref(f);
}

/* Each of n has been read, or named as lost, unless reading was given up. So long as there is some memory each call brings something. */
static void read_all(exs_stream *s, uint64_t n)
{
	uint64_t seen = 0;
	int vain = 0;
	exs_set_status status;
	exs_item item;
	struct pollfd p = {.fd = exs_stream_fd(s), .events = POLLIN};

	while (vain < IN_VAIN && (status = exs_stream_next(s, &item, 0)) != EXS_EMPTY) {
		if (status == EXS_TIMEOUT && p.fd >= 0)
			CHECK(poll(&p, 1, -1) == 1);
		if (status == EXS_FAILED)
			CHECK(about_memory_or_threads(exs_last_error()));
		vain += status == EXS_FAILED || status == EXS_TIMEOUT;
		seen += status == EXS_ITEM ||
			(status == EXS_FAILED && strstr(exs_error_message(exs_last_error()), "item "));
		if (status == EXS_ITEM)
			check_read(&item);
	}
	CHECK(seen == n || vain == IN_VAIN || exs_stream_error(s));
	CHECK(seen <= n);
}

static void read_fed(exs_stream *s)
{
	if (!made(s))
		return;
	read_all(s, ITEMS);
	exs_stream_free(s);
}

static void stream_of_a_source(void)
{
	struct feed feed = {.destroys = true};
	exs_task task = {.name = "item"};
	exs_executor *ex = exs_thread_pool(1);

	if (made(ex))
		read_fed(exs_stream_new(ex, answer_7, feed_next, &feed,
					&(exs_stream_options){.max_results = 2, .task = &task}));
	exs_executor_free(ex);
}

/* None is answered, so each is begun again, and in the end has failed. */
static void stream_of_lost_items(void)
{
	struct feed feed = {.destroys = true};
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = clock ? with_poll(exs_with_clock(exs_inline(), clock), resolve_none) : NULL;
	exs_stream_options options = {.max_results = 2, .max_retries = 1};

	if (made(ex)) {
		exs_stream *s = exs_stream_new(ex, answer_7, feed_next, &feed, &options);
		exs_item item;
		for (int i = 0; made(s) && i < 40; i++) {
			exs_set_status status = exs_stream_next(s, &item, 0);
			if (status == EXS_TIMEOUT)
				exs_clock_advance(clock, 10);
			if (status == EXS_ITEM)
				CHECK(exs_error_is(exs_future_error(item.future), &exs_domain_exs, EXS_ETIMEDOUT) ||
				      about_memory_or_threads(exs_future_error(item.future)));
			exs_future_unref(item.future);
		}
		exs_stream_free(s);
	}
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

static exs_result again(void *unused, exs_result in)
{
	(void)unused;
	return in;
}

static void stream_in_stages(void)
{
	struct feed feed = {.next = 0};
	exs_executor *ex = exs_thread_pool(2);
	exs_stream_options options = {.encode = again, .decode = again, .codec_free = count_freed};

	if (!made(ex))
		return;
	options.codec = give();
	exs_stream *s = exs_stream_new(ex, answer_7, feed_next, &feed, &(exs_stream_options){.max_results = 2});
	read_fed(exs_stream_map(s, ex, answer_7, &options));
	exs_executor_free(ex);
}

/* Items of a batch without a future were lost. */
static void stream_in_batches(void)
{
	struct feed feed = {.next = 0};
	exs_executor *ex = exs_inline();
	exs_stream *s = ex ? exs_stream_new(ex, answer_7, feed_next, &feed, NULL) : NULL;
	exs_item item;
	exs_set_status status = EXS_ITEM;

	if (made(ex) && made(s) && made(s = exs_stream_batch(s, 2, EXS_FOREVER, NULL)))
		for (int i = 0; status != EXS_EMPTY && i < IN_VAIN; i++) {
			status = exs_stream_next(s, &item, 0);
			const exs_items *items = exs_future_value(item.future);
			CHECK(status != EXS_FAILED || about_memory_or_threads(exs_last_error()));
			for (size_t k = 0; items && k < items->n; k++)
				if (items->items[k].future)
					check_read(&(exs_item){0, exs_future_ref(items->items[k].future)});
			exs_future_unref(item.future);
		}
	exs_stream_free(s);
	exs_executor_free(ex);
}

static exs_future *seven_at_once(void *unused)
{
	(void)unused;
	return exs_future_return((void *)7, NULL);
}

/* In each way; those without a place are not in the stream. Answers whether it has one. */
static bool produce_one(exs_stream *s, int way)
{
	exs_task task = {.fn = answer_7, .name = "item"};
	uint64_t before = exs_stream_count(s);

	if (way == 0) {
		int rc = exs_stream_push(s, exs_ok((void *)7, NULL), 0);
		CHECK(rc == EXS_OK || rc == EXS_ENOMEM);
	} else if (way == 1) {
		finish(exs_stream_produce(s, answer_7, NULL));
	} else if (way == 2) {
		exs_future *f = exs_stream_produce_async(s, seven_at_once, NULL);
		if (made(f))
			finish(f);
	} else {
		task.arg = give();
		task.arg_free = count_freed;
		exs_future_unref(way == 3 ? exs_stream_produce_with(s, &task) : exs_stream_try_produce(s, &task));
	}
	CHECK(exs_stream_count(s) - before <= 1);
	return exs_stream_count(s) != before;
}

static void stream_pushed(void)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_stream *s = ex ? exs_stream_new(ex, NULL, NULL, NULL, NULL) : NULL;
	uint64_t n = 0;

	for (int way = 0; made(s) && way < 5; way++)
		n += produce_one(s, way);
	if (s) {
		exs_stream_stop(s, NULL);
		read_all(s, n);
	}
	exs_stream_free(s);
	exs_executor_free(ex);
}

/* The task's retry and name are copied meanwhile. */
static void stream_paused(void)
{
	exs_executor *ex = with_retry(exs_inline(), 1);
	exs_retry_code codes[] = {{&exs_domain_errno, EIO}};
	exs_retry_options retry = {.codes = codes, .n_codes = 1};
	exs_stream *s = ex ? exs_stream_new(ex, NULL, NULL, NULL, NULL) : NULL;
	uint64_t n = 0;

	if (s)
		exs_stream_pause(s);
	for (int i = 0; made(s) && i < 3; i++) {
		exs_task task = {
			.fn = answer_7, .arg = give(), .arg_free = count_freed, .name = "late", .retry = &retry};
		exs_future *f = exs_stream_produce_with(s, &task);
		made(f);
		exs_future_unref(f);
		n = exs_stream_count(s);
	}
	if (s) {
		exs_stream_resume(s);
		exs_stream_stop(s, NULL);
		read_all(s, n);
	}
	exs_stream_free(s);
	exs_executor_free(ex);
}

/* Of a stop without memory for its future nobody waits for the end: the executor may be freed before. */
static bool has_reason(const exs_error *e)
{
	return about_memory_or_threads(e) || exs_error_is(e, &exs_domain_exs, EXS_ESHUTDOWN);
}

static exs_result consume(exs_stream *items, void *arg, exs_context *ctx)
{
	exs_item item;
	exs_set_status status;

	(void)arg, (void)ctx;
	for (int i = 0; i < IN_VAIN && (status = exs_stream_next(items, &item, EXS_FOREVER)) != EXS_EMPTY; i++) {
		CHECK(status != EXS_ITEM || exs_future_value(item.future) == (void *)7 ||
		      exs_future_state(item.future) == EXS_STATE_CANCELLED);
		CHECK(status == EXS_ITEM || has_reason(exs_last_error()));
		exs_future_unref(item.future);
	}
	return exs_ok((void *)7, NULL);
}

static void producer(void)
{
	exs_executor *ex = exs_thread_pool(2);
	exs_producer *p = ex ? exs_producer_new(ex, NULL) : NULL;

	if (made(p)) {
		exs_future *begun = exs_producer_start(p, ex, consume, give(), count_freed);
		made(begun);
		for (int i = 0; i < 3; i++) {
			exs_future *f = exs_producer_produce(p, answer_7, NULL);
			made(f);
			exs_future_unref(f);
		}
		exs_future *stopped = exs_producer_stop(p, NULL);
		if (made(begun))
			CHECK_INT(exs_future_wait(begun, EXS_FOREVER), EXS_OK);
		if (made(stopped))
			CHECK_INT(exs_future_wait(stopped, EXS_FOREVER), EXS_OK);
		exs_future_unref(begun);
		exs_future_unref(stopped);
	}
	exs_producer_free(p);
	exs_executor_free(ex);
}

TEST(oom, streams)
{
	everything_fails(stream_of_a_source, 15, 1);
	everything_fails(stream_of_lost_items, 15, 0);
	everything_fails(stream_in_stages, 20, 1);
	everything_fails(stream_in_batches, 15, 0);
	everything_fails(stream_pushed, 10, 1);
	everything_fails(stream_paused, 10, 0);
	everything_fails(producer, 10, 1);
}

/* --- with all watched --- */

static void count_event(void *ctx, const exs_event *event)
{
	atomic_fetch_add((atomic_long *)ctx, event->kind == EXS_EVENT_SUBMITTED);
	atomic_fetch_sub((atomic_long *)ctx, event->kind == EXS_EVENT_COMPLETED);
}

static bool swallow(void *ctx, const char *text, size_t n)
{
	(void)ctx;
	return text && n;
}

static void dump_in_between(void)
{
	exs_executor *ex = exs_with_timeout_mode(exs_thread_pool(1), 1000, EXS_ABANDON);
	exs_task task = {.fn = answer_7, .name = "named"};
	exs_future *f = ex ? exs_submit_with(ex, &task) : NULL,
		   *g = f ? exs_future_map(f, NULL, NULL, NULL, NULL) : NULL;

	CHECK(exs_dump_alive(swallow, NULL));
	CHECK(exs_metrics_write(swallow, NULL));
	if (g)
		CHECK_INT(exs_future_wait(g, EXS_FOREVER), EXS_OK);
	exs_future_unref(g);
	exs_executor_free(ex);
}

TEST(oom, watched)
{
	atomic_long under_way = 0;

	exs_metrics_enable(true);
	exs_alive_enable(true);
	exs_set_events(count_event, &under_way);
	everything_fails(each_layer, 16, 2);
	everything_fails(submit_inline, 8, 0);
	everything_fails(submit_pool, 8, 1);
	everything_fails(members, 16, 1);
	everything_fails(dump_in_between, 8, 1);
	CHECK_INT(atomic_load(&under_way), 0);
	exs_metrics_enable(false);
	exs_alive_enable(false);
	exs_set_events(NULL, NULL);
}
