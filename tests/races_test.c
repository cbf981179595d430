/* Races that were lost once: each found by the stress test, here with the decisive order of steps brought about by hand. */
#define _GNU_SOURCE
#include "harness.h"

#include <executors/executors.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static void wait_for(atomic_bool *flag)
{
	while (!atomic_load(flag))
		sched_yield();
}

/* A task that says that it runs, and stays until it may go. */
struct stay {
	atomic_bool runs, go;
	atomic_int freed;
};

static exs_result stay(void *arg, exs_context *ctx)
{
	struct stay *s = arg;

	(void)ctx;
	atomic_store(&s->runs, true);
	wait_for(&s->go);
	return exs_ok(NULL, NULL);
}

static void note_freed(void *arg)
{
	atomic_fetch_add(&((struct stay *)arg)->freed, 1);
}

static exs_future *submit(exs_executor *ex, exs_task_fn *fn, void *arg)
{
	exs_future *f = exs_submit(ex, fn, arg);

	CHECK(f);
	return f;
}

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

static void *free_chain(void *ex)
{
	exs_executor_free(ex);
	return NULL;
}

/* Until the chain refuses: its free has begun. */
static void wait_closing(exs_executor *ex)
{
	exs_state state;

	do {
		exs_future *f = submit(ex, nothing, NULL);
		state = exs_future_state(f);
		exs_future_unref(f);
		sched_yield();
	} while (state != EXS_STATE_ERROR);
}

/* --- shutdown --- */

static void shut_down_again(exs_future *f, void *ex)
{
	(void)f;
	CHECK(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER) > 0); /* does not wait: it is inside */
}

/* In the callback of a future that shutdown fails, or cancels, shutdown does not wait for itself. */
TEST(races, shutdown_inside_a_callback_of_shutdown)
{
	exs_executor *ex = exs_thread_pool(1);
	struct stay s = {false, false, 0};
	exs_future *running = submit(ex, stay, &s), *queued = submit(ex, stay, &s);

	wait_for(&s.runs);
	CHECK_INT(exs_future_on_done(queued, shut_down_again, ex, NULL), EXS_OK);
	CHECK(exs_shutdown(ex, EXS_DRAIN, 0) > 0);
	CHECK(exs_error_is(exs_future_error(queued), &exs_domain_exs, EXS_ESHUTDOWN));
	atomic_store(&s.go, true);
	exs_executor_free(ex);
	exs_future_unref(running);
	exs_future_unref(queued);
}

static exs_result waits_for_its_handler(void *arg, exs_context *ctx)
{
	struct stay *s = arg;

	CHECK_INT(exs_context_on_cancel(ctx, note_freed, s), EXS_OK);
	atomic_store(&s->runs, true);
	while (!atomic_load(&s->freed))
		sched_yield();
	return exs_ok(NULL, NULL);
}

static void count_call(exs_future *f, void *count)
{
	(void)f;
	atomic_fetch_add((atomic_int *)count, 1);
}

/* The handlers of a running task are called also when its future, which has a callback, is failed from outside. */
TEST(races, handlers_of_a_task_whose_future_is_failed)
{
	exs_executor *ex = exs_thread_pool(1);
	struct stay s = {false, false, 0};
	atomic_int calls = 0;
	exs_future *f = submit(ex, waits_for_its_handler, &s);

	wait_for(&s.runs);
	CHECK_INT(exs_future_on_done(f, count_call, &calls, NULL), EXS_OK);
	exs_shutdown(ex, EXS_DRAIN, 0);
	CHECK_INT(atomic_load(&calls), 1);
	exs_executor_free(ex);
	CHECK_INT(atomic_load(&s.freed), 1); /* once */
	CHECK_INT(atomic_load(&calls), 1);
	exs_future_unref(f);
}

/* --- a cancel function at work, which then says no --- */

static struct {
	atomic_bool asked, answer;
} refusal;

static exs_error *resolve_none(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)d, (void)n;
	*delay = EXS_FOREVER;
	return NULL;
}

static bool refuse_late(void *ctx, void *value, exs_error **error)
{
	(void)ctx, (void)value, (void)error;
	atomic_store(&refusal.asked, true);
	wait_for(&refusal.answer);
	return false;
}

static void *cancel(void *f)
{
	exs_future_cancel(f);
	return NULL;
}

static exs_future *begin_refusal(exs_executor *ex, pthread_t *thread)
{
	atomic_store(&refusal.asked, false);
	atomic_store(&refusal.answer, false);
	exs_future *f = submit(ex, nothing, NULL);
	CHECK(!pthread_create(thread, NULL, cancel, f));
	wait_for(&refusal.asked);
	return f;
}

static void end_refusal(pthread_t thread)
{
	atomic_store(&refusal.answer, true);
	CHECK(!pthread_join(thread, NULL));
}

/* A timeout that falls due meanwhile is not lost. */
TEST(races, timeout_while_a_cancel_is_being_refused)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_inline(), clock);
	pthread_t thread;

	ex = exs_with_timeout(exs_with_poll(ex, resolve_none, refuse_late, NULL, NULL), 1);
	exs_future *f = begin_refusal(ex, &thread);
	CHECK_INT(exs_clock_advance(clock, 1), EXS_OK);
	CHECK(!exs_future_is_done(f));
	end_refusal(thread);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK(exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ETIMEDOUT) ||
	      exs_future_state(f) == EXS_STATE_CANCELLED);
	exs_future_unref(f);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

/* A shutdown whose time is up meanwhile: the call is not left in the set, where nobody would look for it again. */
TEST(races, shutdown_out_of_time_while_a_cancel_is_being_refused)
{
	exs_executor *ex = exs_with_poll(exs_inline(), resolve_none, refuse_late, NULL, NULL);
	pthread_t thread;
	exs_future *f = begin_refusal(ex, &thread);

	exs_shutdown(ex, EXS_DRAIN, 0);
	CHECK(exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ESHUTDOWN));
	end_refusal(thread);
	exs_executor_free(ex); /* does not hang */
	exs_future_unref(f);
}

/* A value that comes when the sweep of a free has passed the poll set does not join it. */
TEST(races, value_that_comes_after_the_sweep)
{
	exs_executor *ex = exs_with_poll(exs_thread_pool(1), resolve_none, NULL, NULL, NULL);
	struct stay s = {false, false, 0};
	exs_future *running = submit(ex, stay, &s), *queued = submit(ex, stay, &s);
	pthread_t thread;

	wait_for(&s.runs);
	CHECK(!pthread_create(&thread, NULL, free_chain, ex));
	CHECK_INT(exs_future_wait(queued, EXS_FOREVER), EXS_OK); /* swept from below the poll set: that comes first */
	atomic_store(&s.go, true);
	CHECK(!pthread_join(thread, NULL));
	CHECK_INT(exs_future_state(running), EXS_STATE_CANCELLED);
	CHECK_INT(exs_future_state(queued), EXS_STATE_CANCELLED);
	exs_future_unref(running);
	exs_future_unref(queued);
}

static void end_slowly(exs_future *f, void *ended)
{
	(void)f;
	give_time(); /* for a free that does not wait */
	atomic_store((atomic_bool *)ended, true);
}

/* Where no thread is joined, since the pool is borrowed, free waits for the callback all the same. */
TEST(races, callback_on_a_borrowed_pool_while_the_chain_is_freed)
{
	exs_executor *pool = exs_thread_pool(1), *ex = exs_borrow(pool);
	struct stay s = {false, false, 0};
	atomic_bool ended = false;
	exs_future *f = submit(ex, stay, &s);

	CHECK_INT(exs_future_on_done(f, end_slowly, &ended, NULL), EXS_OK);
	atomic_store(&s.go, true);
	exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER);
	exs_executor_free(ex);
	CHECK(atomic_load(&ended));
	exs_future_unref(f);
	exs_executor_free(pool);
}

/* --- abandoned calls --- */

/* Under two ABANDON layers the argument lives until the abandoned run has ended. */
TEST(races, argument_of_an_abandoned_run_under_two_timeouts)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_thread_pool(1), clock);
	struct stay s = {false, false, 0};
	exs_task task = {.fn = stay, .arg = &s, .arg_free = note_freed};

	ex = exs_with_timeout_mode(ex, 1, EXS_ABANDON);
	ex = exs_with_timeout_mode(ex, 2, EXS_ABANDON);
	exs_future *f = exs_submit_with(ex, &task);
	wait_for(&s.runs);
	CHECK_INT(exs_clock_advance(clock, 1), EXS_OK);
	CHECK(exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ETIMEDOUT));
	CHECK_INT(atomic_load(&s.freed), 0);
	atomic_store(&s.go, true);
	exs_executor_free(ex);
	CHECK_INT(atomic_load(&s.freed), 1);
	exs_future_unref(f);
	exs_clock_unref(clock);
}

static exs_result stay_and_look(void *arg, exs_context *ctx)
{
	exs_result r = stay(arg, ctx);

	CHECK_STR(exs_context_name(ctx), "abandoned");
	CHECK_INT(exs_context_max_attempts(ctx), 4);
	CHECK(exs_context_attempt(ctx) >= 1);
	CHECK(exs_context_time_left(ctx) >= 0);
	return r;
}

/* What an abandoned task's context looks at stays, though the chain is being freed; and free waits for the argument. */
static void abandon_and_free(exs_executor *ex, exs_clock *clock)
{
	struct stay s = {false, false, 0};
	exs_task task = {.fn = stay_and_look, .arg = &s, .arg_free = note_freed, .name = "abandoned"};
	pthread_t thread;

	CHECK(ex);
	exs_future *f = exs_submit_with(ex, &task);
	wait_for(&s.runs);
	CHECK_INT(exs_clock_advance(clock, 1), EXS_OK); /* left behind; the retry waits */
	exs_future_cancel(f);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	exs_future_unref(f);
	CHECK(!pthread_create(&thread, NULL, free_chain, ex));
	wait_closing(ex); /* it is there until the argument has been freed */
	atomic_store(&s.go, true);
	CHECK(!pthread_join(thread, NULL));
	CHECK_INT(atomic_load(&s.freed), 1);
}

TEST(races, context_of_an_abandoned_run_in_a_chain_that_is_freed)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_retry_options retry = {.max_attempts = 2};
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_thread_pool(1), clock), &retry);

	ex = exs_with_timeout_mode(ex, 1, EXS_ABANDON);
	abandon_and_free(exs_with_retry(ex, &retry), clock);
	exs_clock_unref(clock);
}

/* --- poll --- */

static struct {
	exs_future *_Atomic call;
	atomic_bool seen;
} batch;

/* The call ends, and its last reference is dropped, while the batch has it. */
static exs_error *drop_in_batch(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	exs_future *f = atomic_load(&batch.call);

	(void)ctx;
	*delay = 0;
	if (!f || n != 1)
		return NULL;
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	exs_future_unref(f);
	CHECK_STR(exs_descriptor_name(d[0]), "a name in the parent's block");
	CHECK(exs_descriptor_value(d[0]) == &batch);
	CHECK(!exs_yield_result(d[0], NULL, NULL)); /* too late */
	*delay = EXS_FOREVER;
	atomic_store(&batch.call, NULL);
	atomic_store(&batch.seen, true);
	return NULL;
}

static exs_result answer_batch(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(&batch, NULL);
}

/* Names and values of a batch live until the poll function returns, those of child calls too. */
TEST(races, descriptor_of_a_call_that_ends_during_the_poll)
{
	for (int child = 0; child < 2; child++) {
		exs_executor *ex = exs_with_poll(exs_inline(), drop_in_batch, NULL, NULL, NULL);
		exs_task task = {.fn = answer_batch, .name = "a name in the parent's block"};
		if (child)
			ex = exs_with_timeout_mode(ex, EXS_FOREVER, EXS_ABANDON);
		atomic_store(&batch.seen, false);
		exs_future *f = exs_submit_with(ex, &task);
		CHECK(f);
		atomic_store(&batch.call, f); /* the reference goes along */
		exs_poll_notify(ex);
		wait_for(&batch.seen);
		exs_executor_free(ex);
	}
}

/* A call that was asked to stop while its task ran never becomes pending. */
static exs_error *must_be_empty(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)d, (void)delay;
	CHECK_INT(n, 0);
	return NULL;
}

TEST(races, stop_request_during_the_task_keeps_it_out_of_the_poll_set)
{
	exs_executor *ex = exs_with_poll(exs_thread_pool(1), must_be_empty, NULL, NULL, NULL);
	struct stay s = {false, false, 0};
	exs_future *f = submit(ex, stay, &s);

	wait_for(&s.runs);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	atomic_store(&s.go, true);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	exs_future_unref(f);
	exs_executor_free(ex);
}

/* --- a full queue --- */

static void *submit_in_thread(void *ex)
{
	return submit(ex, nothing, NULL);
}

/* A place in the queue that one submitter does not use goes to the next: the first one's time is up while it waits. */
TEST(races, place_in_the_queue_that_is_not_used)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_thread_pool_options options = {.workers = 1, .queue_limit = 1};
	exs_executor *pool = exs_with_clock(exs_thread_pool_with(&options), clock);
	exs_executor *timed = exs_with_timeout(exs_borrow(pool), 1);
	struct stay s = {false, false, 0};
	exs_future *running = submit(pool, stay, &s), *queued;
	pthread_t first, second;
	void *f[2];

	wait_for(&s.runs);
	queued = submit(pool, nothing, NULL);
	CHECK(!pthread_create(&first, NULL, submit_in_thread, timed));
	CHECK_INT(exs_clock_wait_armed(clock, 1, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_clock_advance(clock, 1), EXS_OK);
	CHECK(!pthread_create(&second, NULL, submit_in_thread, pool));
	while (exs_executor_pending(pool) < 3)
		sched_yield();
	atomic_store(&s.go, true);
	CHECK(!pthread_join(first, &f[0]));
	CHECK(!pthread_join(second, &f[1]));
	CHECK_INT(exs_future_wait(f[1], EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_state(f[1]), EXS_STATE_VALUE);
	CHECK(exs_error_is(exs_future_error(f[0]), &exs_domain_exs, EXS_ETIMEDOUT));
	exs_future_unref(f[0]);
	exs_future_unref(f[1]);
	exs_future_unref(queued);
	exs_future_unref(running);
	exs_executor_free(timed);
	exs_executor_free(pool);
	exs_clock_unref(clock);
}

/* A chain on a pool whose workers are stuck is out of time while calls come in: all are done once submit and shutdown have returned,
   wherever they were on their way into the queue when the shutdown looked. */
enum { COMING = 2000 };

struct rush {
	exs_executor *ex;
	atomic_bool begun;
	int n;
	exs_future *f[COMING];
};

static void *rush_in(void *arg)
{
	struct rush *rush = arg;

	bool refused = false;

	while (!refused && rush->n < COMING) {
		exs_future *f = rush->f[rush->n++] = submit(rush->ex, nothing, NULL);
		atomic_store(&rush->begun, true);
		refused = exs_future_is_done(f); /* the workers are stuck */
	}
	return NULL;
}

static void shut_down_in_a_rush(exs_executor *pool, exs_mode mode)
{
	static struct rush rush;
	pthread_t thread;

	rush = (struct rush){.ex = exs_borrow(pool)};
	CHECK(!pthread_create(&thread, NULL, rush_in, &rush));
	wait_for(&rush.begun);
	exs_shutdown(rush.ex, mode, 0);
	pthread_join(thread, NULL);
	for (int i = 0; i < rush.n; i++) {
		CHECK(exs_future_is_done(rush.f[i]));
		exs_future_unref(rush.f[i]);
	}
	exs_executor_free(rush.ex);
}

TEST(races, submits_while_a_pool_is_shut_down)
{
	exs_executor *pool = exs_thread_pool(2);
	struct stay stays[2] = {{.freed = 0}, {.freed = 0}};
	exs_future *f[2];

	for (int i = 0; i < 2; i++) {
		f[i] = submit(pool, stay, &stays[i]);
		wait_for(&stays[i].runs);
	}
	for (unsigned long round = 0; round < harness_rounds(1000); round++)
		shut_down_in_a_rush(pool, round % 2 ? EXS_DRAIN : EXS_CANCEL_QUEUED);
	for (int i = 0; i < 2; i++) {
		atomic_store(&stays[i].go, true);
		CHECK_INT(exs_future_wait(f[i], EXS_FOREVER), EXS_OK);
		exs_future_unref(f[i]);
	}
	exs_executor_free(pool);
}

/* Calls that workers are about to begin when a shutdown that has no time cancels what is queued: all are done once it has returned. */
enum { TAKEN = 8, TAKERS = 3 };

struct taken {
	atomic_bool go;
	atomic_uint begun;
};

static exs_result stay_taken(void *arg, exs_context *ctx)
{
	struct taken *t = arg;

	(void)ctx;
	atomic_fetch_add(&t->begun, 1);
	wait_for(&t->go);
	return exs_ok(NULL, NULL);
}

TEST(races, workers_take_calls_while_a_pool_is_shut_down)
{
	exs_thread_pool_options any = {.workers = TAKERS, .order = EXS_ANY_ORDER};
	exs_executor *pools[] = {exs_thread_pool(TAKERS), exs_thread_pool_with(&any)};

	for (unsigned long round = 0; round < harness_rounds(3000); round++) {
		exs_executor *chain = exs_borrow(pools[round % 2]);
		struct taken t = {.go = false};
		exs_future *f[TAKEN];
		for (int i = 0; i < TAKEN; i++)
			f[i] = submit(chain, stay_taken, &t);
		while (atomic_load(&t.begun) <
		       round % TAKERS) /* the next worker has one soon: none sleeps while there are some */
			sched_yield();
		exs_shutdown(chain, EXS_CANCEL_QUEUED, 0);
		for (int i = 0; i < TAKEN; i++) {
			CHECK(exs_future_is_done(f[i]));
			exs_future_unref(f[i]);
		}
		atomic_store(&t.go, true);
		exs_executor_free(chain);
	}
	exs_executor_free(pools[0]);
	exs_executor_free(pools[1]);
}

/* A scope is closed, and gone, while the thread that submitted its only call is on its way out of the submit. */
struct under_way {
	exs_scope *scope;
	exs_executor *ex;
	atomic_bool begun;
};

static exs_result say_begun(void *arg, exs_context *ctx)
{
	(void)ctx;
	atomic_store(&((struct under_way *)arg)->begun, true);
	return exs_ok(NULL, NULL);
}

static void *submit_in_scope(void *arg)
{
	struct under_way *u = arg;

	exs_future_unref(exs_scope_submit(u->scope, u->ex, say_begun, u));
	return NULL;
}

TEST(races, scope_is_closed_while_a_submit_is_under_way)
{
	exs_executor *ex = exs_inline();

	for (unsigned long round = 0; round < harness_rounds(500); round++) {
		struct under_way u = {.scope = exs_scope_new(), .ex = ex};
		pthread_t thread;
		CHECK(!pthread_create(&thread, NULL, submit_in_scope, &u));
		wait_for(&u.begun);
		CHECK(!exs_scope_close(u.scope));
		pthread_join(thread, NULL);
	}
	exs_executor_free(ex);
}
