/* The thread pool: in which order calls begin, and on which thread; workers that sleep and wake at every submit. */
#include "support.h"

#include <executors/scope.h>
#include <executors/set.h>
#include <sched.h>
#include <stdlib.h>

enum { SOME = 5, MANY = 200 };

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static exs_executor *any_order(unsigned workers)
{
	return pool_made((exs_thread_pool_options){.workers = workers, .order = EXS_ANY_ORDER});
}

TEST(thread_pool_order, unknown_order)
{
	exs_thread_pool_options wrong = {.order = (exs_pool_order)2};

	CHECK(!exs_thread_pool_with(&wrong));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK_STR(exs_error_message(exs_last_error()), "exs_thread_pool: order is 2: EXS_IN_ORDER or EXS_ANY_ORDER");
}

/* A task that submits others, which note when they begin. */
struct family {
	exs_executor *ex;
	exs_future *f[SOME];
	atomic_uint begun;
	unsigned order[SOME]; /* of the i-th */
	unsigned cancelled;   /* of these, from the first */
	unsigned wait_for;    /* so many to have begun, elsewhere */
};

struct member {
	struct family *family;
	unsigned number;
};

static exs_result note_order(void *arg, exs_context *ctx)
{
	struct member *m = arg;

	(void)ctx;
	m->family->order[m->number] = atomic_fetch_add(&m->family->begun, 1);
	return exs_ok(NULL, NULL);
}

static exs_result submit_some(void *arg, exs_context *ctx)
{
	struct family *family = arg;

	(void)ctx;
	for (unsigned i = 0; i < SOME; i++) {
		struct member *m = malloc(sizeof(*m));
		CHECK(m);
		*m = (struct member){family, i};
		exs_task task = {.fn = note_order, .arg = m, .arg_free = free};
		family->f[i] = exs_submit_with(family->ex, &task);
	}
	for (unsigned i = 0; i < family->cancelled; i++)
		CHECK_INT(exs_future_cancel(family->f[i]), EXS_CANCELLED);
	wait_count(&family->begun, family->wait_for);
	return exs_ok(NULL, NULL);
}

static void family_end(struct family *family, unsigned cancelled)
{
	for (unsigned i = 0; i < SOME; i++) {
		wait_done(family->f[i]);
		CHECK_INT(exs_future_state(family->f[i]), i < cancelled ? EXS_STATE_CANCELLED : EXS_STATE_VALUE);
		exs_future_unref(family->f[i]);
	}
	exs_executor_free(family->ex);
}

TEST(thread_pool_order, own_submits_latest_first)
{
	struct family family = {.ex = any_order(1)};

	expect_value(exs_submit(family.ex, submit_some, &family), NULL);
	family_end(&family, 0);
	for (unsigned i = 0; i < SOME; i++)
		CHECK_INT(family.order[i], SOME - 1 - i);
}

TEST(thread_pool_order, own_submits_in_order)
{
	struct family family = {.ex = exs_thread_pool(1)};

	expect_value(exs_submit(family.ex, submit_some, &family), NULL);
	family_end(&family, 0);
	for (unsigned i = 0; i < SOME; i++)
		CHECK_INT(family.order[i], i);
}

/* A limited queue has an order. */
TEST(thread_pool_order, limited_queue_in_order)
{
	struct family family = {
		.ex = pool_made((exs_thread_pool_options){.workers = 1, .order = EXS_ANY_ORDER, .queue_limit = 3})};

	expect_value(exs_submit(family.ex, submit_some, &family), NULL);
	family_end(&family, 0);
	for (unsigned i = 0; i < SOME; i++)
		CHECK_INT(family.order[i], i);
}

TEST(thread_pool_order, own_submits_cancelled)
{
	struct family family = {.ex = any_order(1), .cancelled = 2};

	expect_value(exs_submit(family.ex, submit_some, &family), NULL);
	family_end(&family, 2);
	CHECK_INT(atomic_load(&family.begun), SOME - 2);
}

/* The busy worker does not end before others have run what it has submitted. */
TEST(thread_pool_order, idle_ones_take_from_the_busy)
{
	for (unsigned long round = 0; round < harness_rounds(200); round++) {
		struct family family = {.ex = any_order(2), .wait_for = SOME};
		expect_value(exs_submit(family.ex, submit_some, &family), NULL);
		family_end(&family, 0);
	}
}

/* Nor, when it has taken several calls of the queue at once, are these held up behind the one that takes long. */
TEST(thread_pool_order, none_is_stuck_behind_a_long_one)
{
	exs_executor *ex = any_order(2);
	exs_future *f[MANY], *long_one;
	struct job gate;

	for (unsigned long round = 0; round < harness_rounds(50); round++) {
		for (int i = 0; i < MANY / 2; i++) /* so short that workers take many at a time */
			f[i] = exs_submit(ex, nothing, NULL);
		job_init(&gate);
		gate.gated = true;
		long_one = job_submit(ex, &gate);
		for (int i = MANY / 2; i < MANY; i++)
			f[i] = exs_submit(ex, nothing, NULL);
		for (int i = 0; i < MANY; i++)
			expect_value(f[i], NULL);
		pool_let_go(&gate, &long_one, 1);
	}
	exs_executor_free(ex);
}

/* A worker whose own tasks submit without end runs what others submit too. */
static exs_result once_more(void *arg, exs_context *ctx)
{
	struct family *family = arg;

	(void)ctx;
	if (!atomic_load(&family->begun))
		exs_future_unref(exs_submit(family->ex, once_more, family));
	return exs_ok(NULL, NULL);
}

static exs_result enough(void *begun, exs_context *ctx)
{
	(void)ctx;
	atomic_store((atomic_uint *)begun, 1);
	return exs_ok(NULL, NULL);
}

TEST(thread_pool_order, own_calls_let_others_in)
{
	struct family family = {.ex = any_order(1)};

	expect_value(exs_submit(family.ex, once_more, &family), NULL);
	for (int i = 0; i < SOME; i++)
		exs_future_unref(exs_submit(family.ex, nothing, NULL));
	expect_value(exs_submit(family.ex, enough, &family.begun), NULL);
	exs_executor_free(family.ex);
}

static exs_result submit_and_stay(void *arg, exs_context *ctx)
{
	exs_result r = submit_some(arg, ctx);

	while (!exs_context_stop_requested(ctx))
		sched_yield();
	return r;
}

/* A shutdown finds what lies with a worker, and counts it. */
TEST(thread_pool_order, shutdown_finds_own_submits)
{
	struct family family = {.ex = any_order(1)};
	exs_executor *pool = family.ex;
	exs_future *f = exs_submit(pool, submit_and_stay, &family);

	while (pool_stats(pool).queued < SOME)
		sched_yield();
	CHECK_INT(exs_executor_pending(pool), SOME + 1);
	CHECK_INT(exs_shutdown(pool, EXS_CANCEL_QUEUED, 0), 1);
	expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK_INT(exs_shutdown(pool, EXS_CANCEL_ALL, EXS_FOREVER), 0);
	family_end(&family, SOME);
}

/* --- a waiter that runs what it waits for --- */

struct waiting {
	exs_executor *ex;
	struct job gate, job;
	exs_future *first, *f;
};

/* The only worker is busy. */
static void waiting_init(struct waiting *w, bool waiters_run)
{
	w->ex = pool_made((exs_thread_pool_options){.workers = 1, .waiters_run = waiters_run});
	pool_occupy(w->ex, &w->gate, &w->first, 1, 1);
	job_init(&w->job);
	w->f = job_submit(w->ex, &w->job);
}

static void waiting_end(struct waiting *w)
{
	CHECK(pthread_equal(w->job.thread, pthread_self()));
	expect_value(w->f, &w->job);
	pool_let_go(&w->gate, &w->first, 1);
	job_fini(&w->job);
	CHECK_INT(pool_stats(w->ex).started, 2);
	exs_executor_free(w->ex);
}

TEST(thread_pool_order, waiter_runs_it)
{
	struct waiting w;

	waiting_init(&w, true);
	CHECK_INT(exs_future_wait(w.f, EXS_FOREVER), EXS_OK);
	waiting_end(&w);
}

TEST(thread_pool_order, waiter_for_any_runs_it)
{
	struct waiting w;
	size_t first;

	waiting_init(&w, true);
	exs_future *both[] = {w.first, w.f};
	CHECK_INT(exs_wait_any(both, 2, EXS_FOREVER, &first), EXS_OK);
	CHECK_INT(first, 1);
	waiting_end(&w);
}

TEST(thread_pool_order, reader_of_a_set_runs_it)
{
	struct waiting w;
	exs_set *set = exs_set_new();
	exs_future *f;

	waiting_init(&w, true);
	exs_set_add(set, exs_future_ref(w.first));
	exs_set_add(set, exs_future_ref(w.f));
	CHECK_INT(exs_set_next(set, &f, EXS_FOREVER), EXS_ITEM);
	CHECK(f == w.f);
	exs_future_unref(f);
	exs_set_free(set);
	waiting_end(&w);
}

/* A chain of layers, and a task that waits for another. */
static exs_result wait_for_another(void *arg, exs_context *ctx)
{
	struct waiting *w = arg;

	(void)ctx;
	CHECK(!exs_context_worker_state(ctx));
	CHECK_INT(exs_future_wait(w->f, EXS_FOREVER), EXS_OK);
	return exs_ok(NULL, NULL);
}

TEST(thread_pool_order, waiter_runs_a_chain)
{
	struct waiting w;

	waiting_init(&w, true);
	exs_executor *chain = exs_with_timeout(exs_with_retry(exs_borrow(w.ex), NULL), 60);
	expect_value(exs_submit(chain, wait_for_another, &w), NULL);
	CHECK(pthread_equal(w.job.thread, pthread_self()));
	expect_value(w.f, &w.job);
	pool_let_go(&w.gate, &w.first, 1);
	job_fini(&w.job);
	exs_executor_free(chain);
	exs_executor_free(w.ex);
}

/* A wait that has a limit is not made longer by a task; nor is one without the option. */
TEST(thread_pool_order, waiter_with_a_limit_does_not)
{
	for (int i = 0; i < 2; i++) {
		struct waiting w;
		waiting_init(&w, i);
		CHECK_INT(exs_future_wait(w.f, 1e-3), EXS_ETIMEDOUT);
		CHECK_INT(atomic_load(&w.job.starts), 0);
		pool_let_go(&w.gate, &w.first, 1);
		CHECK_INT(exs_future_wait(w.f, 1e6), EXS_OK); /* without a limit this thread might run it */
		expect_value(w.f, &w.job);
		CHECK(!pthread_equal(w.job.thread, pthread_self()));
		job_fini(&w.job);
		exs_executor_free(w.ex);
	}
}

/* Nor the callback thread, which others need: here a timeout's, in real time. */
struct late {
	struct waiting w;
	atomic_bool waits, over;
	pthread_t thread;
};

static void wait_in_callback(exs_future *f, void *arg)
{
	struct late *late = arg;

	(void)f;
	late->thread = pthread_self();
	atomic_store(&late->waits, true);
	CHECK_INT(exs_future_wait(late->w.f, EXS_FOREVER), EXS_OK);
	atomic_store(&late->over, true);
}

TEST(thread_pool_order, callback_thread_does_not)
{
	struct late late = {.waits = false};

	waiting_init(&late.w, true);
	exs_executor *timed = exs_with_timeout(exs_borrow(late.w.ex), 1e-3);
	exs_future *f = exs_submit(timed, nothing, NULL);
	CHECK_INT(exs_future_on_done(f, wait_in_callback, &late, NULL), EXS_OK);
	while (!atomic_load(&late.waits))
		sched_yield();
	pool_let_go(&late.w.gate, &late.w.first, 1);
	while (!atomic_load(&late.over)) /* without a wait of this thread, which would run it */
		sched_yield();
	expect_value(late.w.f, &late.w.job);
	expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK(!pthread_equal(late.w.job.thread, late.thread));
	job_fini(&late.w.job);
	exs_executor_free(timed);
	exs_executor_free(late.w.ex);
}

/* --- races --- */

static exs_executor *in_either_order(unsigned long round, unsigned workers)
{
	return round % 2 ? any_order(workers) : exs_thread_pool(workers);
}

static void *submit_and_wait(void *ex)
{
	for (unsigned long i = 0; i < harness_rounds(1000); i++)
		expect_value(exs_submit(ex, nothing, NULL), NULL);
	return NULL;
}

/* No wake is lost: the workers have nothing to do after every call. */
TEST(thread_pool_order, parks_and_wakes_at_every_submit)
{
	for (unsigned long round = 0; round < 4; round++) {
		exs_executor *ex = in_either_order(round, 1 + (unsigned)round / 2);
		pthread_t other;
		CHECK(!pthread_create(&other, NULL, submit_and_wait, ex));
		submit_and_wait(ex);
		pthread_join(other, NULL);
		exs_executor_free(ex);
	}
}

/* Nor if it is a worker's own submit that wakes. */
static exs_result submit_two(void *arg, exs_context *ctx)
{
	struct family *family = arg;

	(void)ctx;
	for (int i = 0; i < 2; i++)
		family->f[i] = exs_submit(family->ex, nothing, NULL);
	return exs_ok(NULL, NULL);
}

TEST(thread_pool_order, parks_and_wakes_at_every_own_submit)
{
	struct family family = {.ex = any_order(3)};

	for (unsigned long i = 0; i < harness_rounds(1000); i++) {
		expect_value(exs_submit(family.ex, submit_two, &family), NULL);
		expect_value(family.f[0], NULL);
		expect_value(family.f[1], NULL);
	}
	exs_executor_free(family.ex);
}

static void submit_and_cancel(exs_executor *ex)
{
	exs_future *f[SOME];

	for (int i = 0; i < SOME; i++)
		f[i] = exs_submit(ex, nothing, NULL);
	for (int i = 0; i < SOME; i++) {
		exs_future_cancel(f[i]);
		wait_done(f[i]);
		exs_future_unref(f[i]);
	}
}

/* A cancel comes while a worker is about to have the call. */
TEST(thread_pool_order, cancel_while_it_is_taken)
{
	for (unsigned long round = 0; round < 2; round++) {
		exs_executor *ex = in_either_order(round, 2);
		for (unsigned long i = 0; i < harness_rounds(1000); i++)
			submit_and_cancel(ex);
		exs_executor_free(ex);
	}
}

/* A cancel comes, by way of the scope, while the call is on its way into the queue. */
static void *cancel_scope(void *scope)
{
	exs_scope_cancel(scope);
	return NULL;
}

TEST(thread_pool_order, cancel_while_it_is_pushed)
{
	for (unsigned long round = 0; round < harness_rounds(1000); round++) {
		exs_executor *ex = in_either_order(round, 1);
		exs_scope *scope = exs_scope_new();
		exs_future *f[SOME];
		pthread_t other;
		CHECK(!pthread_create(&other, NULL, cancel_scope, scope));
		for (int i = 0; i < SOME; i++)
			f[i] = exs_scope_submit(scope, ex, nothing, NULL);
		pthread_join(other, NULL);
		exs_error_unref(exs_scope_close(scope));
		for (int i = 0; i < SOME; i++) {
			CHECK(exs_future_is_done(f[i]));
			exs_future_unref(f[i]);
		}
		exs_executor_free(ex);
	}
}
