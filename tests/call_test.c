/* Submitting: exs_call, tasks with options, names, versions of the options, results that are none. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- exs_call --- */

TEST(call, moves_the_result_out)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_error *error = exs_error_new(&test_domain, 1, "no");

	for (int i = 0; i < 6; i++) {
		exs_kind kind = (exs_kind)(i / 2);
		exs_result r = exs_cancelled();
		struct job job;
		job_init(&job);
		job.failures = kind == EXS_KIND_ERROR ? ALWAYS : 0;
		job.error = error;
		job.cancels = kind == EXS_KIND_CANCELLED;
		CHECK_INT(exs_call(ex, job_run, &job, EXS_FOREVER, i % 2 ? NULL : &r), EXS_OK);
		if (i % 2 == 0)
			CHECK_INT(r.kind, kind);
		if (i == 0)
			CHECK(r.value == &job && job.values == 1);
		if (i == 2)
			CHECK(r.error == error);
		exs_result_clear(&r);
		CHECK_INT(job.values, 0); /* with nobody to take it, too */
		job_free_arg(&job);	  /* exs_call does not */
		job_fini(&job);
	}
	exs_error_unref(error);
	exs_executor_free(ex);
}

static void out_of_time(exs_executor *ex, struct job *job, double seconds)
{
	exs_result r = exs_ok(job, NULL);

	CHECK_INT(exs_call(ex, job_run, job, seconds, &r), EXS_ETIMEDOUT);
	CHECK_INT(r.kind, EXS_KIND_CANCELLED);
	CHECK_INT(job->ends, 0);
}

/* Time is up: cancelled, running or queued; the task may read its argument until it has ended. */
TEST(call, out_of_time)
{
	exs_executor *ex = exs_thread_pool(1);
	struct job running, queued;

	job_init(&running);
	running.gated = true;
	while (!running.starts) /* it may be cancelled before the worker comes to it */
		out_of_time(ex, &running, 1e-3);
	job_init(&queued);
	out_of_time(ex, &queued, 1e-3);
	out_of_time(ex, &queued, 0);
	sem_post(&running.open);
	exs_executor_free(ex);
	CHECK_INT(running.cause, EXS_CAUSE_USER);
	CHECK_INT(queued.starts, 0);
	job_free_arg(&running);
	job_free_arg(&queued);
	job_fini(&running);
	job_fini(&queued);
}

TEST(call, with_nonsense)
{
	exs_executor *ex = exs_inline();
	struct job job;
	exs_result r;

	job_init(&job);
	CHECK_INT(exs_call(NULL, job_run, &job, 1, &r), EXS_OK);
	CHECK(r.kind == EXS_KIND_ERROR && exs_error_is(r.error, &exs_domain_exs, EXS_EINVAL));
	exs_result_clear(&r);
	CHECK_INT(exs_call(ex, NULL, &job, 1, &r), EXS_OK);
	CHECK(r.kind == EXS_KIND_ERROR && exs_error_is(r.error, &exs_domain_exs, EXS_EINVAL));
	exs_result_clear(&r);
	double wrong[] = {NAN, -1, -EXS_FOREVER};
	for (int i = 0; i < 3; i++) {
		r = exs_ok(&job, NULL);
		CHECK_INT(exs_call(ex, job_run, &job, wrong[i], &r), EXS_EINVAL);
		CHECK_INT(r.kind, EXS_KIND_CANCELLED);
		CHECK(strstr(exs_error_message(exs_last_error()), "exs_call"));
	}
	CHECK_INT(job.starts, 0); /* nothing was submitted */
	exs_executor_free(ex);
	job_free_arg(&job);
	job_fini(&job);
}

struct nested {
	exs_executor *ex;
	struct job job;
};

static exs_result call_inside(void *arg, exs_context *ctx)
{
	struct nested *n = arg;
	exs_result r;

	(void)ctx;
	CHECK_INT(exs_call(n->ex, job_run, &n->job, EXS_FOREVER, &r), EXS_OK);
	return r;
}

TEST(call, inside_a_task)
{
	exs_thread_pool_options options = {.workers = 1, .max_spares = EXS_NONE};
	struct nested n = {.ex = exs_thread_pool_with(&options)};

	job_init(&n.job);
	expect_value(exs_submit(n.ex, call_inside, &n), &n.job);
	exs_executor_free(n.ex);
	job_free_arg(&n.job);
	job_fini(&n.job);
}

/* --- submits --- */

TEST(submit, to_no_executor)
{
	struct job jobs[2];
	exs_task task = {.fn = job_run, .arg = &jobs[0], .arg_free = job_free_arg};
	exs_set *set = exs_set_new();
	exs_future *f;

	for (int i = 0; i < 2; i++)
		job_init(&jobs[i]);
	expect_code(exs_submit(NULL, job_run, NULL), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_submit_with(NULL, &task), &exs_domain_exs, EXS_EINVAL);
	task.arg = &jobs[1];
	CHECK_INT(exs_set_add(set, exs_try_submit(NULL, &task)), EXS_OK);
	CHECK_INT(exs_set_next(set, &f, EXS_FOREVER), EXS_ITEM);
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	exs_set_free(set);
	for (int i = 0; i < 2; i++) {
		CHECK_INT(jobs[i].starts, 0);
		job_fini(&jobs[i]);
	}
}

static exs_result name_of(void *arg, exs_context *ctx)
{
	(void)arg;
	return exs_ok((void *)(uintptr_t)exs_context_name(ctx), NULL);
}

/* Copied, of any length; it lives as long as the future. */
TEST(submit, names)
{
	exs_executor *ex = exs_inline();
	char *names[] = {NULL, "", "publish 20", malloc(5000)};

	memset(names[3], 'n', 4999);
	names[3][4999] = '\0';
	for (int i = 0; i < 4; i++) {
		char *given = names[i] ? malloc(strlen(names[i]) + 1) : NULL;
		exs_task task = {.fn = name_of, .name = given, .priority = i == 0};
		if (given)
			strcpy(given, names[i]);
		exs_future *f = exs_submit_with(ex, &task);
		if (given)
			memset(given, 'x', strlen(given));
		free(given);
		const char *name = exs_future_value(f);
		CHECK_STR(name, names[i]);
		CHECK(exs_future_explain(f, NULL, 0) > (names[i] ? strlen(names[i]) : 3));
		exs_future_unref(f);
	}
	free(names[3]);
	exs_executor_free(ex);
}

/* Of other versions of the library: shorter, or longer with nothing in it. What it does not know it refuses. */
TEST(submit, options_of_any_size)
{
	exs_executor *ex = exs_inline();
	struct {
		exs_task task;
		char tail[8];
	} longer = {.task = {.fn = job_run, .arg_free = job_free_arg}};
	struct {
		exs_task_fn *fn;
		void *arg;
		exs_free_fn *arg_free;
	} shorter = {job_run, NULL, job_free_arg};

	for (int i = 0; i < 4; i++) {
		struct job job;
		exs_future *f;
		job_init(&job);
		longer.task.arg = shorter.arg = &job;
		longer.tail[7] = i >= 2;
		if (i == 0)
			f = exs_submit_with_sized(ex, (exs_task *)(void *)&shorter, sizeof(shorter));
		else if (i == 1)
			f = exs_submit_with_sized(ex, &longer.task, sizeof(longer));
		else
			f = (i == 2 ? exs_submit_with_sized : exs_try_submit_sized)(ex, &longer.task, sizeof(longer));
		if (i < 2)
			expect_value(f, &job);
		else
			expect_code(f, &exs_domain_exs, EXS_EINVAL);
		CHECK_INT(job.starts, i < 2);
		job_fini(&job);
	}
	expect_code(exs_submit_with_sized(ex, NULL, 0), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_submit_with_sized(ex, &longer.task, 0), &exs_domain_exs, EXS_EINVAL);
	exs_executor_free(ex);
}

static exs_result answer_nonsense(void *arg, exs_context *ctx)
{
	exs_result r = exs_ok(arg, NULL);

	(void)ctx;
	if (!arg)
		return exs_fail(NULL);
	r.kind = (exs_kind)(intptr_t)arg;
	return r;
}

TEST(submit, results_that_are_none)
{
	exs_executor *ex = exs_inline();
	intptr_t kinds[] = {0, 3, 100, -1};

	for (int i = 0; i < 4; i++)
		expect_code(exs_submit(ex, answer_nonsense, (void *)kinds[i]), &exs_domain_exs, EXS_EINVAL);
	exs_executor_free(ex);
}

static exs_result integer(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok((void *)((intptr_t)arg + 1), NULL);
}

TEST(submit, integers_fit_a_value)
{
	exs_executor *ex = exs_thread_pool(1);

	expect_value(exs_submit(ex, integer, (void *)(intptr_t)41), (void *)(intptr_t)42);
	expect_value(exs_submit(ex, integer, (void *)(intptr_t)-1), NULL);
	exs_executor_free(ex);
}

/* --- the entry of a call --- */

static unsigned n_entries;
static exs_entry entries[8];
static exs_clock *entry_clock;
static exs_executor *entry_chain;

static exs_step note_entry(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	(void)ex, (void)slot, (void)result;
	entries[n_entries++] = exs_call_entry(call);
	return EXS_DOWN;
}

static exs_result pass_a_second(void *arg, exs_context *ctx)
{
	(void)ctx;
	advance(entry_clock, 1);
	return exs_ok(arg, NULL);
}

/* The other waits at the throttle, and is let go when this one has failed. */
static exs_result submit_another_and_fail(void *arg, exs_context *ctx)
{
	if (exs_context_attempt(ctx) > 1)
		return exs_ok(arg, NULL);
	exs_future_unref(exs_submit(entry_chain, pass_a_second, NULL));
	return exs_fail(exs_error_new(&test_domain, 1, "once"));
}

/* The backoff ends while the call's submit is still on the stack, in the task of another call that was let go. */
TEST(call, a_restart_within_its_own_submit_is_a_restart)
{
	static const exs_layer_ops ops = {.size = sizeof(ops),
					  .type = "entry",
					  .start = note_entry,
					  .done = exs_pass_done,
					  .cancel = exs_pass_cancel};

	n_entries = 0;
	entry_clock = exs_clock_manual_new();
	entry_chain = exs_with_throttle(exs_with_clock(exs_inline(), entry_clock), 1, NULL);
	entry_chain = exs_with_retry(exs_layer_new(&ops, entry_chain, 0, 0), NULL);
	expect_value(exs_submit(entry_chain, submit_another_and_fail, NULL), NULL);
	CHECK_INT(n_entries, 3);
	CHECK_INT(entries[0], EXS_ENTRY_SUBMIT);
	CHECK_INT(entries[1], EXS_ENTRY_SUBMIT); /* the other */
	CHECK_INT(entries[2], EXS_ENTRY_RESTART);
	exs_executor_free(entry_chain);
	exs_clock_unref(entry_clock);
}
