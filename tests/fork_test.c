/* A forked child can't use the executors of its parent: everything answers EXS_EFORK, and nothing hangs. */
#define _GNU_SOURCE
#include "support.h"

#include <stdio.h>

#include <sys/wait.h>
#include <unistd.h>

struct scene {
	exs_executor *ex, *loop;
	struct job gate, done_job;
	exs_future *running, *done;
	exs_set *set;
	exs_scope *scope; /* with a member that runs */
	exs_stream *empty, *full;
};

static bool failed_so(int code)
{
	return exs_error_is(exs_last_error(), &exs_domain_exs, code);
}

static void check_waits(struct scene *s)
{
	exs_future *f[] = {s->running, s->done}, *item;
	size_t first;

	CHECK_INT(exs_future_wait(s->running, EXS_FOREVER), EXS_EFORK);
	CHECK(failed_so(EXS_EFORK));
	CHECK_INT(exs_wait_any(f, 1, EXS_FOREVER, &first), EXS_EFORK);
	CHECK_INT(exs_wait_all(f, 2, EXS_FOREVER), EXS_EFORK);
	CHECK_INT(exs_wait_first_error(f, 2, EXS_FOREVER, &first), EXS_EFORK);
	CHECK_INT(exs_set_next(s->set, &item, EXS_FOREVER), EXS_FAILED);
	CHECK(failed_so(EXS_EFORK));
	CHECK_INT(exs_future_state(s->running), EXS_STATE_RUNNING);
	CHECK_INT(exs_future_cancel(s->running), EXS_TOO_LATE);
	expect_code(exs_future_timeout(exs_future_ref(s->running), 100), &exs_domain_exs, EXS_EFORK);
	/* What is done, is done here too. */
	CHECK_INT(exs_future_wait(s->done, EXS_FOREVER), EXS_OK);
	CHECK(exs_future_value(s->done) == &s->done_job);
	CHECK_INT(exs_wait_any(f, 2, EXS_FOREVER, &first), EXS_OK);
	CHECK_INT(first, 1);
}

static void check_submits(struct scene *s)
{
	struct job job;
	exs_task task = {.fn = job_run, .arg = &job, .arg_free = job_free_arg};
	exs_result r;

	job_init(&job);
	expect_code(job_submit(s->ex, &job), &exs_domain_exs, EXS_EFORK);
	CHECK_INT(job.starts, 0);
	CHECK_INT(job.freed, 1);
	job_init(&job);
	expect_code(exs_try_submit(s->ex, &task), &exs_domain_exs, EXS_EFORK);
	int rc = exs_call(s->ex, job_run, &job, EXS_FOREVER, &r);
	CHECK(rc == EXS_EFORK || exs_error_is(r.error, &exs_domain_exs, EXS_EFORK));
	exs_result_clear(&r);
}

static void check_executors(struct scene *s)
{
	CHECK(!exs_thread_pool(1) && failed_so(EXS_EFORK));
	CHECK(!exs_inline() && failed_so(EXS_EFORK));
	CHECK(!exs_event_loop() && failed_so(EXS_EFORK));
	CHECK(exs_event_loop_run(s->loop) < 0 && failed_so(EXS_EFORK));
	CHECK(exs_event_loop_run_once(s->loop, EXS_FOREVER) < 0 && failed_so(EXS_EFORK));
	CHECK(exs_event_loop_poll(s->loop) < 0 && failed_so(EXS_EFORK));
	CHECK(!exs_borrow(s->ex) && failed_so(EXS_EFORK));
	CHECK(exs_shutdown(s->ex, EXS_CANCEL_ALL, EXS_FOREVER) >= 1 && failed_so(EXS_EFORK));
	exs_poll_notify(s->ex);
	CHECK(!exs_with_retry(s->ex, NULL) && failed_so(EXS_EFORK));
	CHECK(!exs_metrics_write(exs_write_file, stdout) && failed_so(EXS_EFORK));
	CHECK(!exs_dump_alive(exs_write_file, stdout) && failed_so(EXS_EFORK));
	exs_executor_free(s->ex);
	exs_future_unref(s->running);
	exs_future_unref(s->done);
	exs_set_free(s->set);
}

static void check_scopes(struct scene *s)
{
	struct job job;
	exs_task task = {.fn = job_run, .arg = &job, .arg_free = job_free_arg};

	job_init(&job);
	CHECK(!exs_scope_new() && failed_so(EXS_EFORK));
	expect_code(exs_scope_submit_with(s->scope, s->ex, &task), &exs_domain_exs, EXS_EFORK);
	CHECK_INT(job.freed, 1);
	CHECK(!exs_scope_alloc(s->scope, 1) && failed_so(EXS_EFORK));
	CHECK(!exs_scope_error(s->scope) && !exs_scope_owns(s->scope, s));
	exs_scope_cancel(s->scope);
	exs_error *error = exs_scope_close(s->scope);
	CHECK(exs_error_is(error, &exs_domain_exs, EXS_EFORK));
	exs_error_unref(error);
}

static void check_streams(struct scene *s)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s->empty, &item, EXS_FOREVER), EXS_FAILED);
	CHECK(failed_so(EXS_EFORK));
	CHECK_INT(exs_stream_push(s->full, exs_ok(NULL, NULL), EXS_FOREVER), EXS_EFORK);
	expect_code(exs_stream_produce(s->full, job_run, NULL), &exs_domain_exs, EXS_EFORK);
}

/* In the child; a failure aborts it. */
static void child(struct scene *s)
{
	alarm(60);
	check_waits(s);
	check_submits(s);
	check_scopes(s);
	check_streams(s);
	check_executors(s);
	harness_end_child(0);
}

static void fork_and_tell(void)
{
	struct scene s;
	exs_future *item;
	int status;

	s.ex = exs_with_retry(
		exs_with_timeout(exs_with_poll(exs_thread_pool(2), job_poll, job_cancel, NULL, NULL), 100), NULL);
	s.loop = exs_event_loop();
	CHECK(s.loop);
	job_init(&s.gate);
	job_init(&s.done_job);
	s.set = exs_set_new();
	s.done = job_submit(s.ex, &s.done_job);
	wait_done(s.done);
	s.gate.gated = true;
	s.scope = exs_scope_new();
	exs_task task = {.fn = job_run, .arg = &s.gate, .arg_free = job_free_arg};
	s.running = exs_scope_submit_with(s.scope, s.ex, &task);
	sem_take(&s.gate.entered);
	CHECK_INT(exs_set_add(s.set, exs_future_ref(s.running)), EXS_OK);
	s.empty = exs_stream_new(s.ex, NULL, NULL, NULL, NULL);
	s.full = exs_stream_new(s.ex, NULL, NULL, NULL, &(exs_stream_options){.max_results = 1});
	CHECK_INT(exs_stream_push(s.full, exs_ok(NULL, NULL), 0), EXS_OK);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		child(&s);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	/* The parent goes on as if nothing had been. */
	sem_post(&s.gate.open);
	CHECK_INT(exs_set_next(s.set, &item, EXS_FOREVER), EXS_ITEM);
	CHECK(item == s.running);
	exs_future_unref(item);
	CHECK(!exs_scope_close(s.scope));
	expect_value(s.running, &s.gate);
	exs_future_unref(s.done);
	exs_executor_free(s.ex);
	exs_executor_free(s.loop);
	exs_set_free(s.set);
	exs_stream_free(s.empty);
	exs_stream_free(s.full);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK); /* the streams have held the executor to the last */
	job_fini(&s.gate);
	job_fini(&s.done_job);
}

TEST(fork, child_is_told)
{
	fork_and_tell();
}

static void ignore_event(void *ctx, const exs_event *event)
{
	(void)ctx, (void)event;
}

TEST(fork, child_is_told_while_all_is_watched)
{
	exs_metrics_enable(true);
	exs_alive_enable(true);
	exs_set_events(ignore_event, NULL);
	fork_and_tell();
	exs_metrics_enable(false);
	exs_alive_enable(false);
	exs_set_events(NULL, NULL);
}
