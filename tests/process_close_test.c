/* Process pool: the three ways to close it, its release, waits and releases on its own thread. */
#define _GNU_SOURCE
#include "executor/executor.h"
#include "process_functions.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 2, QUEUED = 3 };

/* Two that run, and wait for a gate; three that wait for a worker. */
struct busy {
	exs_executor *ex;
	exs_future *running[WORKERS], *queued[QUEUED];
	pid_t pids[WORKERS];
};

static void note_pids(struct busy *b)
{
	exs_process_worker workers[WORKERS];

	CHECK_INT(exs_process_pool_workers(b->ex, workers, WORKERS), WORKERS);
	for (int i = 0; i < WORKERS; i++) {
		CHECK(workers[i].busy);
		b->pids[i] = (pid_t)workers[i].pid;
	}
}

static struct busy be_busy(exs_process_pool_options options, const char *function)
{
	struct busy b;

	processes_begin();
	options.workers = WORKERS;
	b.ex = processes(options);
	const char *path = gate();
	for (int i = 0; i < WORKERS; i++)
		b.running[i] = call(b.ex, function, path);
	for (int i = 0; i < WORKERS; i++)
		expect_message("entered");
	for (int i = 0; i < QUEUED; i++)
		b.queued[i] = call(b.ex, "tell", "from the queue");
	CHECK_INT(process_stats(b.ex).running, WORKERS);
	CHECK_INT(process_stats(b.ex).queued, QUEUED);
	note_pids(&b);
	return b;
}

static void expect_running_cancelled(const struct busy *b)
{
	for (int i = 0; i < WORKERS; i++)
		expect_cancelled(b->running[i], EXS_CAUSE_SHUTDOWN);
}

static void expect_queued_cancelled(const struct busy *b)
{
	for (int i = 0; i < QUEUED; i++)
		expect_cancelled(b->queued[i], EXS_CAUSE_SHUTDOWN);
}

static void check_pids_gone(const struct busy *b)
{
	for (int i = 0; i < WORKERS; i++)
		CHECK_INT(kill(b->pids[i], 0), -1);
}

static void check_refuses(exs_executor *ex)
{
	expect_code(call(ex, "echo", "late"), &exs_domain_exs, EXS_ESHUTDOWN);
	expect_code(exs_process_pool_update(ex, exs_invocation_new("echo", NULL, 0), false), &exs_domain_exs,
		    EXS_ESHUTDOWN);
}

/* --- JOIN --- */

/* What waits for a worker fails with what runs, and never begins. */
TEST(process_close, join_whose_time_is_up)
{
	struct busy b = be_busy((exs_process_pool_options){0}, "gate");

	CHECK_INT(exs_process_pool_close(b.ex, EXS_CLOSE_JOIN, 0), WORKERS);
	for (int i = 0; i < WORKERS; i++)
		expect_code(b.running[i], &exs_domain_exs, EXS_ESHUTDOWN);
	for (int i = 0; i < QUEUED; i++)
		expect_code(b.queued[i], &exs_domain_exs, EXS_ESHUTDOWN);
	check_refuses(b.ex);
	gate_open(WORKERS);
	CHECK(!next_message());
	CHECK_INT(exs_process_pool_close(b.ex, EXS_CLOSE_JOIN, EXS_FOREVER), 0);
	CHECK_INT(process_stats(b.ex).completed, WORKERS);
	processes_end(b.ex);
	check_pids_gone(&b);
}

static void *close_by_joining(void *ex)
{
	CHECK_INT(exs_process_pool_close(ex, EXS_CLOSE_JOIN, EXS_FOREVER), 0);
	return NULL;
}

static bool refuses(void *ex)
{
	exs_future *f = exs_submit_function(ex, "echo", "x", 1);

	CHECK(f);
	bool refused = exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ESHUTDOWN);
	exs_future_unref(f);
	return refused;
}

/* The running ones schedule when the close is under way. */
TEST(process_close, join_runs_what_is_scheduled_meanwhile)
{
	struct busy b = be_busy((exs_process_pool_options){0}, "gate, schedule");
	unsigned over = 0, scheduled = 0, queued = 0;
	const char *text;

	pthread_t thread = thread_start(close_by_joining, b.ex);
	wait_until(refuses, b.ex);
	gate_open(WORKERS);
	while ((text = next_message())) {
		over += !strcmp(text, "over");
		scheduled += !strcmp(text, "scheduled");
		queued += !strcmp(text, "from the queue");
		CHECK(strcmp(text, "refused") != 0);
	}
	thread_join(thread);
	CHECK_INT(over, WORKERS);
	CHECK_INT(scheduled, 3 * WORKERS);
	CHECK_INT(queued, QUEUED);
	for (int i = 0; i < WORKERS; i++)
		expect_text(b.running[i], "open, cause 0");
	for (int i = 0; i < QUEUED; i++)
		expect_text(b.queued[i], NULL);
	exs_process_pool_stats stats = process_stats(b.ex);
	CHECK_INT(stats.scheduled, 3 * WORKERS);
	CHECK(stats.completed >= WORKERS + QUEUED + 3 * WORKERS);
	CHECK_INT(stats.died, 0);
	processes_end(b.ex);
}

/* A tree that grows while it is being closed: nothing of it is lost. */
TEST(process_close, join_during_scheduling)
{
	for (int i = 0; i < 5; i++) {
		unsigned grown = 0;
		const char *text;
		processes_begin();
		exs_executor *ex = processes((exs_process_pool_options){.workers = 2});
		exs_future *f = call(ex, "grow", "5");
		for (int n = 0; n < i * 5; n++, grown++)
			expect_message("grown");
		CHECK_INT(exs_process_pool_close(ex, EXS_CLOSE_JOIN, EXS_FOREVER), 0);
		while ((text = next_message())) {
			CHECK_STR(text, "grown");
			grown++;
		}
		CHECK_INT(grown, 63);
		expect_text(f, NULL);
		CHECK_INT(process_stats(ex).scheduled, 62);
		processes_end(ex);
	}
}

/* --- CANCEL --- */

static void *close_by_cancelling(void *ex)
{
	CHECK_INT(exs_process_pool_close(ex, EXS_CLOSE_CANCEL, EXS_FOREVER), 0);
	return NULL;
}

TEST(process_close, cancel_ends_what_runs)
{
	struct busy b = be_busy((exs_process_pool_options){0}, "gate, schedule");

	pthread_t thread = thread_start(close_by_cancelling, b.ex);
	expect_queued_cancelled(&b);
	check_refuses(b.ex);
	gate_open(WORKERS);
	for (int i = 0; i < WORKERS; i++)
		expect_text(b.running[i], "open, cause 0");
	thread_join(thread);
	CHECK_INT(process_stats(b.ex).scheduled, 0);
	CHECK_INT(process_stats(b.ex).started, WORKERS);
	CHECK_INT(log_lines("what its task schedules is lost"), 3 * WORKERS);
	processes_end(b.ex);
	check_pids_gone(&b);
}

/* A tree that grows, closed in either way that does not let it. */
static void check_during_scheduling(exs_close how)
{
	for (int i = 0; i < 5; i++) {
		processes_begin();
		exs_executor *ex = processes((exs_process_pool_options){.workers = 2});
		exs_future *f = call(ex, "grow", "5");
		for (int n = 0; n < i * 5; n++)
			expect_message("grown");
		CHECK_INT(exs_process_pool_close(ex, how, EXS_FOREVER), 0);
		CHECK(exs_future_is_done(f));
		exs_future_unref(f);
		exs_process_pool_stats stats = process_stats(ex);
		CHECK_INT(stats.queued, 0);
		CHECK_INT(stats.running, 0);
		if (how == EXS_CLOSE_CANCEL)
			CHECK_INT(stats.started, stats.completed);
		processes_end(ex);
	}
}

TEST(process_close, cancel_during_scheduling)
{
	check_during_scheduling(EXS_CLOSE_CANCEL);
}

/* Between the submit and the pool: a call is held up until the chain is closed, which then is. */
static atomic_bool arrived;

static bool has_arrived(void *unused)
{
	(void)unused;
	return atomic_load(&arrived);
}

static exs_step late_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	(void)f, (void)slot, (void)r;
	atomic_store(&arrived, true);
	while (!atomic_load(&x->leaf->closing))
		give_time();
	return EXS_DOWN;
}

static const exs_layer_ops late_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "late",
	.start = late_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
};

static void *close_then(void *ex)
{
	wait_until(has_arrived, NULL);
	return close_by_cancelling(ex);
}

static bool one_is_idle(void *ex)
{
	return process_stats(ex).idle == 1;
}

/* There is a worker that could begin it at once. */
TEST(process_close, cancel_before_a_call_gets_there)
{
	processes_begin();
	exs_executor *ex =
		exs_layer_new(&late_ops, processes((exs_process_pool_options){.workers = 1, .min_workers = 1}), 0, 0);
	wait_until(one_is_idle, ex);
	pthread_t thread = thread_start(close_then, ex);
	expect_cancelled(call(ex, "gate", gate()), EXS_CAUSE_SHUTDOWN);
	thread_join(thread);
	CHECK_INT(process_stats(ex).started, 0);
	processes_end(ex);
}

/* --- KILL --- */

TEST(process_close, kill_cancels_all)
{
	struct busy b = be_busy((exs_process_pool_options){.death_retries = 5}, "gate");

	CHECK_INT(exs_process_pool_close(b.ex, EXS_CLOSE_KILL, EXS_FOREVER), 0);
	expect_running_cancelled(&b);
	expect_queued_cancelled(&b);
	check_refuses(b.ex);
	CHECK(!next_message());
	exs_process_pool_stats stats = process_stats(b.ex);
	CHECK_INT(stats.started, WORKERS);
	CHECK_INT(stats.restarted, 0);
	CHECK_INT(stats.spawned, WORKERS);
	processes_end(b.ex);
	check_pids_gone(&b);
}

/* By a signal that can't be ignored, at once. */
TEST(process_close, kill_asks_nobody)
{
	struct busy b = be_busy((exs_process_pool_options){.stop_seconds = 1000}, "ignore TERM");

	CHECK_INT(exs_process_pool_close(b.ex, EXS_CLOSE_KILL, EXS_FOREVER), 0);
	expect_running_cancelled(&b);
	expect_queued_cancelled(&b);
	processes_end(b.ex);
	check_pids_gone(&b);
}

/* One that runs is not begun again by a retry above. */
TEST(process_close, kill_under_a_retry)
{
	processes_begin();
	exs_executor *ex = exs_with_retry(processes((exs_process_pool_options){.workers = 1}),
					  &(exs_retry_options){.sleep = EXS_NONE});
	exs_future *f = call(ex, "ignore TERM", "");

	expect_message("entered");
	CHECK_INT(exs_process_pool_close(ex, EXS_CLOSE_KILL, EXS_FOREVER), 0);
	expect_cancelled(f, EXS_CAUSE_SHUTDOWN);
	CHECK_INT(process_stats(ex).started, 1);
	processes_end(ex);
}

/* A layer above the pool learns of the close before the pool does: it submits past the chain that is closed. */
static exs_executor *past;
static exs_future *late;

static void submit_past(exs_executor *x)
{
	(void)x;
	if (!late)
		late = call(past, "echo", "late");
}

static const exs_layer_ops submits_past = {
	.size = sizeof(exs_layer_ops),
	.type = "submits past",
	.start = exs_pass_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
	.closing = submit_past,
};

/* There is a worker that could begin it at once: it is killed. */
TEST(process_close, kill_lets_nothing_in)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .min_workers = 1});
	wait_until(one_is_idle, ex);
	late = NULL;
	past = exs_borrow(ex);
	ex = exs_layer_new(&submits_past, ex, 0, 0);
	CHECK_INT(exs_process_pool_close(ex, EXS_CLOSE_KILL, EXS_FOREVER), 0);
	expect_code(late, &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK_INT(process_stats(ex).started, 0);
	exs_executor_free(past);
	processes_end(ex);
}

TEST(process_close, kill_without_time)
{
	struct busy b = be_busy((exs_process_pool_options){0}, "gate");

	exs_process_pool_close(b.ex, EXS_CLOSE_KILL, 0);
	for (int i = 0; i < WORKERS; i++) {
		wait_done(b.running[i]); /* that its worker has died may be noticed at that very moment */
		exs_future_unref(b.running[i]);
	}
	for (int i = 0; i < QUEUED; i++) {
		CHECK(exs_future_is_done(b.queued[i]));
		exs_future_unref(b.queued[i]);
	}
	processes_end(b.ex);
	check_pids_gone(&b);
}

TEST(process_close, kill_during_scheduling)
{
	check_during_scheduling(EXS_CLOSE_KILL);
}

TEST(process_close, one_after_the_other)
{
	struct busy b = be_busy((exs_process_pool_options){0}, "gate");

	pthread_t join = thread_start(close_by_joining, b.ex);
	wait_until(refuses, b.ex);
	pthread_t cancel = thread_start(close_by_cancelling, b.ex);
	expect_queued_cancelled(&b);
	CHECK_INT(exs_process_pool_close(b.ex, EXS_CLOSE_KILL, EXS_FOREVER), 0);
	expect_running_cancelled(&b);
	thread_join(join);
	thread_join(cancel);
	CHECK_INT(exs_process_pool_close(b.ex, EXS_CLOSE_JOIN, EXS_FOREVER), 0);
	processes_end(b.ex);
}

TEST(process_close, wrong_arguments)
{
	exs_executor *threads = exs_thread_pool(1);

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	exs_future *f = call(ex, "sleep", "");
	expect_message("entered");
	CHECK_INT(exs_process_pool_close(ex, 0, EXS_FOREVER), 1);
	CHECK(strstr(exs_error_message(exs_last_error()), "EXS_CLOSE_"));
	CHECK_INT(exs_process_pool_close(ex, (exs_close)4, EXS_FOREVER), 1);
	CHECK_INT(exs_process_pool_close(ex, EXS_CLOSE_KILL, -1), 1);
	CHECK(strstr(exs_error_message(exs_last_error()), "time"));
	CHECK_INT(exs_process_pool_close(ex, EXS_CLOSE_KILL, (double)NAN), 1);
	CHECK_INT(exs_process_pool_close(threads, EXS_CLOSE_KILL, 0), 0);
	CHECK(strstr(exs_error_message(exs_last_error()), "no process pool"));
	CHECK_INT(exs_process_pool_close(NULL, EXS_CLOSE_KILL, 0), 0);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
	exs_future_cancel(f);
	expect_cancelled(f, EXS_CAUSE_USER);
	exs_executor_free(threads);
	processes_end(ex);
}

/* --- released --- */

TEST(process_close, release_without_a_call)
{
	processes_begin();
	processes_end(processes((exs_process_pool_options){.workers = 3}));
	processes_begin();
	processes_end(processes((exs_process_pool_options){.workers = 3, .min_workers = 3}));
}

static void *open_gates(void *futures)
{
	wait_done(((exs_future **)futures)[QUEUED - 1]);
	gate_open(WORKERS);
	return NULL;
}

TEST(process_close, release_waits_for_what_runs)
{
	struct busy b = be_busy((exs_process_pool_options){0}, "gate");

	pthread_t thread = thread_start(open_gates, b.queued); /* the release cancels these */
	exs_executor_free(b.ex);
	thread_join(thread);
	for (int i = 0; i < WORKERS; i++)
		expect_text(b.running[i], "open, cause 0");
	expect_queued_cancelled(&b);
	check_pids_gone(&b);
	processes_end(NULL);
}

static atomic_uint released;

static void release(exs_future *f, void *ex)
{
	(void)f;
	exs_executor_free(ex);
	atomic_store(&released, 1);
}

TEST(process_close, release_in_a_callback)
{
	processes_begin();
	atomic_store(&released, 0);
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2, .min_workers = 2});
	exs_future *f = call(ex, "gate", gate());
	expect_message("entered");
	CHECK_INT(exs_future_on_done(f, release, ex, NULL), EXS_OK);
	exs_future *other = call(ex, "tell", "x");
	expect_text(other, NULL);
	gate_open(1);
	expect_text(f, "open, cause 0");
	wait_count(&released, 1); /* its callbacks run after those who wait have been woken */
	processes_end(NULL);
}

static void kill_all(exs_future *f, void *ex)
{
	(void)f;
	exs_process_pool_close(ex, EXS_CLOSE_KILL, EXS_FOREVER); /* does not wait */
}

TEST(process_close, kill_in_a_callback)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2});
	exs_future *stays = call(ex, "ignore TERM", "");
	expect_message("entered");
	exs_future *f = call(ex, "gate", gate());
	expect_message("entered");
	CHECK_INT(exs_future_on_done(f, kill_all, ex, NULL), EXS_OK);
	gate_open(1);
	expect_text(f, "open, cause 0");
	expect_cancelled(stays, EXS_CAUSE_SHUTDOWN);
	processes_end(ex);
}

struct wait_inside {
	exs_future *other;
	atomic_int rc;
};

static void wait_for_other(exs_future *f, void *arg)
{
	struct wait_inside *w = arg;

	(void)f;
	atomic_store(&w->rc, exs_future_wait(w->other, EXS_FOREVER));
}

TEST(process_close, wait_in_a_callback)
{
	for (int queued = 0; queued < 2; queued++) {
		struct wait_inside w = {.rc = -1};
		processes_begin();
		exs_executor *ex = processes((exs_process_pool_options){.workers = queued ? 1 : 2});
		exs_future *f = call(ex, "gate", gate());
		expect_message("entered");
		w.other = call(ex, queued ? "tell" : "sleep", "x");
		if (!queued)
			expect_message("entered");
		CHECK_INT(exs_future_on_done(f, wait_for_other, &w, NULL), EXS_OK);
		gate_open(1);
		wait_done(f);
		exs_future_unref(f);
		while (atomic_load(&w.rc) < 0)
			let_others_go_on();
		CHECK_INT(w.rc, EXS_EDEADLK);
		exs_future_cancel(w.other);
		wait_done(w.other);
		exs_future_unref(w.other);
		processes_end(ex);
	}
}

static exs_result wait_in_task(void *other, exs_context *ctx)
{
	(void)ctx;
	CHECK_INT(exs_future_wait(other, EXS_FOREVER), EXS_OK);
	return exs_ok(NULL, NULL);
}

/* On any other thread it is a wait as for anything else; on the pool's own for something else, too. */
static void wait_for_thread(exs_future *f, void *arg)
{
	struct wait_inside *w = arg;
	exs_executor *threads = exs_thread_pool(1);
	exs_future *own = exs_submit(threads, wait_in_task, f);

	atomic_store(&w->rc, exs_future_wait(own, EXS_FOREVER));
	exs_future_unref(own);
	exs_executor_free(threads);
}

TEST(process_close, wait_in_a_callback_for_a_thread)
{
	struct wait_inside w = {.rc = -1};

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	exs_future *f = call(ex, "gate", gate());
	CHECK_INT(exs_future_on_done(f, wait_for_thread, &w, NULL), EXS_OK);
	gate_open(1);
	wait_done(f);
	exs_future_unref(f);
	while (atomic_load(&w.rc) < 0)
		let_others_go_on();
	CHECK_INT(w.rc, EXS_OK);
	processes_end(ex);
}

static atomic_uint submitted;

static void submit_more(exs_future *f, void *ex)
{
	(void)f;
	for (int i = 0; i < 10; i++)
		exs_future_unref(call(ex, "tell", "more"));
	atomic_store(&submitted, 10);
}

TEST(process_close, submit_in_a_callback)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2});
	exs_future *f = call(ex, "tell", "first");
	unsigned n = 0;

	atomic_store(&submitted, 0);
	CHECK_INT(exs_future_on_done(f, submit_more, ex, NULL), EXS_OK);
	wait_count(&submitted, 10);
	exs_future_unref(f);
	while (next_message())
		n++;
	CHECK_INT(n, 11);
	processes_end(ex);
}

/* --- shared --- */

TEST(process_close, borrow)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	exs_executor *borrow = exs_with_retry(exs_borrow(ex), NULL);
	expect_text(call(borrow, "context", ""), "1 of 3, context, cause 0, no deadline");
	CHECK_INT(process_stats(borrow).spawned, 1);
	exs_executor_free(ex);
	expect_code(call(borrow, "echo", ""), &exs_domain_exs, EXS_ESHUTDOWN);
	processes_end(borrow);
}

TEST(process_close, borrow_that_is_closed_closes_nothing_else)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2});
	exs_executor *borrow = exs_with_retry(exs_borrow(ex), NULL);
	exs_future *other = call(ex, "sleep", "");
	expect_message("entered");
	exs_future *f = call(borrow, "echo", "x");
	expect_text(f, "x");
	exs_process_pool_close(borrow, EXS_CLOSE_KILL, EXS_FOREVER); /* is refused */
	CHECK(strstr(exs_error_message(exs_last_error()), "exs_borrow"));
	expect_text(call(borrow, "echo", "x"), "x");
	CHECK_INT(exs_process_pool_close(borrow, EXS_CLOSE_CANCEL, EXS_FOREVER), 0);
	exs_executor_free(borrow);
	expect_text(call(ex, "echo", "y"), "y");
	exs_future_cancel(other);
	expect_cancelled(other, EXS_CAUSE_USER);
	processes_end(ex);
}
