/* Batches: gathered by number, time or flush; outcomes of each and of all; cancel, timeouts, shutdown wherever a call is. */
#include "support.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* --- a service that starts many --- */

enum { N = 16 };

/* Orders: what start_many does with an item, by the place of its job; zero is: yield the job's value. */
enum order { YIELD, FAIL, LEAVE, RUN, YIELD_TWICE, FAIL_WITH_NOTHING };

struct service {
	struct scene *scene;
	enum order orders[N];
	exs_error *error;  /* of FAIL */
	exs_error *answer; /* what start_many answers, so many times */
	unsigned failures;
	bool gated;	    /* posts entered, then takes open */
	bool waits_stopped; /* posts entered, then waits until the whole batch is asked to stop */
	sem_t entered, open;
	atomic_uint calls, items, freed;
	size_t sizes[N];
	atomic_uint attempt;
	atomic_bool context_stopped, item_stopped[N];
};

struct scene {
	exs_clock *clock;
	exs_executor *ex;
	struct service service;
	struct job jobs[N];
	exs_future *f[N];
	int n;
};

static void deal_with(struct service *s, exs_batch_item *item)
{
	struct job *job = exs_batch_arg(item);
	int place = (int)(job - s->scene->jobs);
	exs_result r;

	CHECK_STR(exs_batch_name(item), "item");
	atomic_store(&s->item_stopped[place], exs_batch_stop_requested(item));
	switch (s->orders[place]) {
	case YIELD:
		r = job_value(job);
		CHECK(exs_batch_yield_result(item, r.value, r.destroy));
		break;
	case FAIL:
		CHECK(exs_batch_yield_error(item, exs_error_ref(s->error)));
		break;
	case FAIL_WITH_NOTHING:
		CHECK(exs_batch_yield_error(item, NULL));
		break;
	case RUN:
		exs_batch_run(item);
		break;
	case YIELD_TWICE:
		r = job_value(job);
		CHECK(exs_batch_yield_result(item, r.value, r.destroy));
		r = job_value(job);
		CHECK(!exs_batch_yield_result(item, r.value, r.destroy));
		CHECK(!exs_batch_yield_error(item, exs_error_ref(s->error)));
		CHECK(!exs_batch_run(item));
		break;
	case LEAVE:
		break;
	}
}

static exs_error *start_many(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	struct service *s = ctx;
	unsigned call = atomic_fetch_add(&s->calls, 1);

	CHECK(n > 0);
	s->sizes[call % N] = n;
	atomic_fetch_add(&s->items, (unsigned)n);
	atomic_store(&s->attempt, exs_context_attempt(context));
	if (s->gated || s->waits_stopped)
		sem_post(&s->entered);
	if (s->gated)
		sem_take(&s->open);
	while (s->waits_stopped && !exs_context_stop_requested(context))
		sched_yield();
	atomic_store(&s->context_stopped, exs_context_stop_requested(context));
	for (size_t i = 0; i < n; i++)
		deal_with(s, items[i]);
	if (call >= s->failures)
		return NULL;
	return exs_error_ref(s->answer);
}

static void service_free(void *ctx)
{
	atomic_fetch_add(&((struct service *)ctx)->freed, 1);
}

static exs_executor *pool_of(struct scene *s, unsigned workers)
{
	*s = (struct scene){.clock = exs_clock_manual_new()};
	s->service.scene = s;
	s->service.error = exs_error_new(&test_domain, 1, "no");
	s->service.answer = exs_error_new(&test_domain, 2, "all went wrong");
	CHECK(!sem_init(&s->service.entered, 0, 0) && !sem_init(&s->service.open, 0, 0));
	for (int i = 0; i < N; i++)
		job_init(&s->jobs[i]);
	return exs_with_clock(workers ? exs_thread_pool(workers) : exs_inline(), s->clock);
}

static exs_executor *batch(struct scene *s, exs_executor *ex, unsigned max, double seconds)
{
	exs_batch_options options = {.max = max, .seconds = seconds, .ctx_free = service_free};

	ex = exs_with_batch(ex, start_many, &s->service, &options);
	CHECK(ex);
	return ex;
}

static void scene_init(struct scene *s, unsigned max, double seconds)
{
	s->ex = batch(s, pool_of(s, 1), max, seconds);
}

static void submit(struct scene *s, int n)
{
	for (; n; n--, s->n++) {
		exs_task task = {.fn = job_run, .arg = &s->jobs[s->n], .arg_free = job_free_arg, .name = "item"};
		s->f[s->n] = exs_submit_with(s->ex, &task);
		CHECK(s->f[s->n]);
	}
}

static void expect_values(struct scene *s, int first, int n)
{
	for (int i = first; i < first + n; i++)
		expect_value(exs_future_ref(s->f[i]), &s->jobs[i]);
}

static void expect_all_cancelled(struct scene *s, exs_cause cause)
{
	for (int i = 0; i < s->n; i++)
		expect_cancelled(exs_future_ref(s->f[i]), cause);
}

static void expect_sizes(struct scene *s, unsigned calls, size_t last)
{
	CHECK_INT(s->service.calls, calls);
	CHECK_INT(s->service.sizes[(calls - 1) % N], last);
}

static void scene_end(struct scene *s)
{
	sem_post(&s->service.open);
	exs_executor_free(s->ex);
	CHECK_INT(s->service.freed, 1);
	CHECK_INT(exs_clock_armed(s->clock), 0);
	exs_clock_unref(s->clock);
	for (int i = 0; i < N; i++) {
		if (i < s->n)
			exs_future_unref(s->f[i]);
		else
			job_free_arg(&s->jobs[i]);
		job_fini(&s->jobs[i]);
	}
	sem_destroy(&s->service.entered);
	sem_destroy(&s->service.open);
	exs_error_unref(s->service.error);
	exs_error_unref(s->service.answer);
}

/* --- gathering --- */

TEST(batch, is_started_when_it_is_full)
{
	struct scene s;

	scene_init(&s, 3, 100);
	submit(&s, 2);
	CHECK_INT(s.service.calls, 0);
	submit(&s, 1);
	expect_values(&s, 0, 3);
	expect_sizes(&s, 1, 3);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	submit(&s, 7);
	expect_values(&s, 3, 6);
	CHECK_INT(s.service.items, 9);
	CHECK(!exs_future_is_done(s.f[9]));
	scene_end(&s);
	CHECK_INT(s.service.items, 9); /* the last was cancelled by the release */
}

TEST(batch, an_item_of_nothing)
{
	struct seen seen;

	seen_init(&seen);
	CHECK(!exs_batch_arg(NULL) && !exs_batch_name(NULL) && !exs_batch_stop_requested(NULL) && !exs_batch_run(NULL));
	CHECK(!exs_batch_yield_result(NULL, &seen, seen_free) && !exs_batch_yield_error(NULL, NULL));
	CHECK_INT(seen.frees, 1);
}

/* Seconds count from the first of a batch. Nothing is armed while nothing is gathered. */
TEST(batch, is_started_when_time_is_up)
{
	struct scene s;

	scene_init(&s, 3, 10);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	submit(&s, 1);
	CHECK_INT(exs_clock_armed(s.clock), 1);
	advance(s.clock, 6);
	submit(&s, 1);
	advance(s.clock, 3.5);
	CHECK_INT(s.service.calls, 0);
	advance(s.clock, 0.5);
	expect_values(&s, 0, 2);
	expect_sizes(&s, 1, 2);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	submit(&s, 2);
	advance(s.clock, 9.5);
	submit(&s, 1); /* full */
	expect_values(&s, 2, 3);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	submit(&s, 1);
	CHECK(exs_clock_next(s.clock) == 10);
	scene_end(&s);
}

TEST(batch, defaults)
{
	struct scene s;
	char text[64];
	exs_executor *pool = pool_of(&s, 1);

	s.ex = exs_with_batch(pool, start_many, &s.service, NULL);
	exs_describe(s.ex, text, sizeof(text));
	CHECK_STR(text, "batch(100, 0.01s) > thread_pool(1)");
	submit(&s, 2);
	CHECK(fabs(exs_clock_next(s.clock) - 0.01) < 1e-9);
	advance(s.clock, 0.01);
	expect_values(&s, 0, 2);
	expect_sizes(&s, 1, 2);
	service_free(&s.service);
	scene_end(&s);
}

TEST(batch, flushed)
{
	struct scene s;

	s.ex = exs_with_timeout(batch(&s, pool_of(&s, 1), EXS_UNLIMITED, EXS_UNLIMITED), 1e6);
	exs_batch_flush(s.ex);
	CHECK_INT(s.service.calls, 0);
	submit(&s, 5);
	advance(s.clock, 1000);
	CHECK_INT(s.service.calls, 0);
	exs_batch_flush(s.ex);
	expect_values(&s, 0, 5);
	expect_sizes(&s, 1, 5);
	exs_batch_flush(NULL);
	scene_end(&s);
}

TEST(batch, of_no_time)
{
	struct scene s;

	scene_init(&s, 0, EXS_NONE);
	submit(&s, 3);
	expect_values(&s, 0, 3);
	CHECK_INT(s.service.items, 3);
	scene_end(&s);
}

/* Inline: in the submit that makes it full; the callbacks have run when that returns. */
TEST(batch, over_inline)
{
	struct scene s;
	struct seen seen;

	s.ex = batch(&s, pool_of(&s, 0), 4, 10);
	seen_init(&seen);
	submit(&s, 3);
	for (int i = 0; i < 3; i++)
		CHECK_INT(exs_future_on_done(s.f[i], seen_call, &seen, NULL), EXS_OK);
	submit(&s, 1);
	CHECK_INT(seen.calls, 3);
	CHECK(exs_future_is_done(s.f[3]));
	expect_values(&s, 0, 4);
	scene_end(&s);
}

/* --- outcomes --- */

TEST(batch, each_has_its_own_outcome)
{
	struct scene s;

	scene_init(&s, 5, 10);
	s.service.orders[1] = FAIL;
	s.service.orders[2] = RUN;
	s.service.orders[3] = YIELD_TWICE;
	s.service.orders[4] = LEAVE;
	submit(&s, 5);
	expect_values(&s, 0, 1);
	expect_error(exs_future_ref(s.f[1]), s.service.error);
	expect_values(&s, 2, 2);
	wait_done(s.f[4]);
	CHECK(exs_error_is(exs_future_error(s.f[4]), &exs_domain_exs, EXS_EINVAL));
	CHECK(strstr(exs_error_message(exs_future_error(s.f[4])), "start_many"));
	for (int i = 0; i < 5; i++)
		CHECK_INT(s.jobs[i].starts, i == 2);
	CHECK_INT(s.jobs[3].made, 2);
	scene_end(&s);
}

/* Those left without an outcome have start_many's own error, that very one. */
TEST(batch, fails_with_what_start_many_answers)
{
	struct scene s;

	scene_init(&s, 3, 10);
	s.service.failures = 1;
	s.service.orders[0] = s.service.orders[2] = LEAVE;
	submit(&s, 3);
	expect_error(exs_future_ref(s.f[0]), s.service.answer);
	expect_values(&s, 1, 1);
	expect_error(exs_future_ref(s.f[2]), s.service.answer);
	scene_end(&s);
}

/* A function of the call's own sees its own context. */
static void look_around(struct job *job, exs_context *ctx)
{
	CHECK_STR(exs_context_name(ctx), "item");
	*(unsigned *)job->more = exs_context_max_attempts(ctx);
}

TEST(batch, runs_functions_of_the_calls)
{
	struct scene s;
	exs_retry_options twice = {.max_attempts = 2, .sleep = EXS_NONE};
	unsigned max_attempts = 0;

	s.ex = exs_with_retry(batch(&s, exs_with_retry(pool_of(&s, 1), &twice), 1, 10), &twice);
	s.service.orders[0] = RUN;
	s.jobs[0].failures = 1; /* its second attempt is a second batch */
	s.jobs[0].error = s.service.error;
	s.jobs[0].inside = look_around;
	s.jobs[0].more = &max_attempts;
	submit(&s, 1);
	expect_values(&s, 0, 1);
	CHECK_INT(s.jobs[0].starts, 2);
	CHECK_INT(max_attempts, 2);
	CHECK_INT(s.service.calls, 2);
	scene_end(&s);
}

TEST(batch, fails_with_nothing)
{
	struct scene s;

	scene_init(&s, 1, 10);
	s.service.orders[0] = FAIL_WITH_NOTHING;
	submit(&s, 1);
	expect_code(exs_future_ref(s.f[0]), &exs_domain_exs, EXS_EINVAL);
	CHECK(strstr(exs_error_message(exs_future_error(s.f[0])), "error is NULL"));
	scene_end(&s);
}

static exs_result make_good(void *ctx, exs_result error)
{
	exs_result_clear(&error);
	return exs_ok(ctx, NULL);
}

/* A value that a layer below makes of the error of all is the outcome of none. */
TEST(batch, error_of_all_made_good_below)
{
	struct scene s;
	exs_executor *ex = pool_of(&s, 1);

	s.ex = batch(&s, exs_with_map(ex, NULL, make_good, &s, NULL), 2, 10);
	s.service.orders[0] = LEAVE;
	s.service.failures = 1;
	submit(&s, 2);
	expect_code(exs_future_ref(s.f[0]), &exs_domain_exs, EXS_EINVAL);
	expect_values(&s, 1, 1);
	scene_end(&s);
}

TEST(batch, rejected_by_the_delegate)
{
	struct scene s;
	exs_thread_pool_options options = {.workers = 1, .queue_limit = 1, .when_full = EXS_FULL_REJECT};
	struct job gate[2];
	exs_future *f[2];

	exs_executor_free(pool_of(&s, 0)); /* not this one */
	exs_executor *pool = exs_with_clock(exs_thread_pool_with(&options), s.clock);
	s.ex = batch(&s, exs_borrow(pool), 3, 10);
	for (int i = 0; i < 2; i++) {
		job_init(&gate[i]);
		gate[i].gated = true;
		f[i] = job_submit(pool, &gate[i]);
		if (i == 0)
			sem_take(&gate[i].entered);
	}
	submit(&s, 3);
	for (int i = 0; i < 3; i++)
		expect_code(exs_future_ref(s.f[i]), &exs_domain_exs, EXS_EREJECTED);
	CHECK_INT(s.service.calls, 0);
	for (int i = 0; i < 2; i++) {
		sem_post(&gate[i].open);
		expect_value(f[i], &gate[i]);
		job_fini(&gate[i]);
	}
	scene_end(&s);
	exs_executor_free(pool);
}

/* Both of the batch, the error of a timeout below is the one error of all. */
TEST(batch, timed_out_below)
{
	struct scene s;
	exs_executor *pool = pool_of(&s, 1);
	struct job gate;

	job_init(&gate);
	gate.gated = true;
	exs_future *f = job_submit(pool, &gate);
	sem_take(&gate.entered);
	s.ex = batch(&s, exs_with_timeout(pool, 5), 3, 10);
	submit(&s, 3);
	advance(s.clock, 5);
	for (int i = 0; i < 3; i++) {
		CHECK(exs_error_is(exs_future_error(s.f[i]), &exs_domain_exs, EXS_ETIMEDOUT));
		CHECK(exs_future_error(s.f[i]) == exs_future_error(s.f[0]));
		CHECK_INT(s.jobs[i].freed, 1);
	}
	sem_post(&gate.open);
	expect_value(f, &gate);
	scene_end(&s);
	CHECK_INT(s.service.calls, 0);
	job_fini(&gate);
}

/* --- retries --- */

/* Below: start_many is called again, with those that have no outcome yet. */
TEST(batch, retry_below)
{
	struct scene s;
	exs_retry_options twice = {.max_attempts = 2, .sleep = 1};

	s.ex = batch(&s, exs_with_retry(pool_of(&s, 1), &twice), 3, 10);
	s.service.failures = 1;
	s.service.orders[0] = s.service.orders[2] = LEAVE;
	submit(&s, 3);
	expect_values(&s, 1, 1);
	CHECK_INT(exs_clock_wait_armed(s.clock, 1, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_state(s.f[0]), EXS_STATE_PENDING);
	s.service.orders[0] = s.service.orders[2] = YIELD;
	advance(s.clock, 1);
	expect_values(&s, 0, 3);
	expect_sizes(&s, 2, 2);
	CHECK_INT(s.service.attempt, 2);
	scene_end(&s);
}

/* Between two attempts a call does not run: it is taken out; with the last the batch is cancelled, backoff and all. */
TEST(batch, cancel_between_two_attempts)
{
	struct scene s;

	s.ex = batch(&s, exs_with_retry(pool_of(&s, 1), NULL), 2, 10);
	s.service.failures = 1;
	s.service.orders[0] = s.service.orders[1] = LEAVE;
	submit(&s, 2);
	CHECK_INT(exs_clock_wait_armed(s.clock, 1, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
	CHECK_INT(exs_clock_armed(s.clock), 1);
	CHECK_INT(exs_future_cancel(s.f[1]), EXS_CANCELLED);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	expect_all_cancelled(&s, EXS_CAUSE_USER);
	scene_end(&s);
	CHECK_INT(s.service.calls, 1);
}

/* Above: per call. */
TEST(batch, retry_above)
{
	struct scene s;

	s.ex = exs_with_retry(batch(&s, pool_of(&s, 1), 2, 10), NULL);
	s.service.orders[1] = FAIL;
	submit(&s, 2);
	expect_values(&s, 0, 1);
	CHECK_INT(exs_clock_wait_armed(s.clock, 1, EXS_FOREVER), EXS_OK);
	s.service.orders[1] = YIELD;
	advance(s.clock, 1);
	CHECK_INT(exs_clock_wait_armed(s.clock, 1, EXS_FOREVER), EXS_OK);
	advance(s.clock, 10);
	expect_values(&s, 1, 1);
	expect_sizes(&s, 2, 1);
	scene_end(&s);
}

/* --- cancel --- */

TEST(batch, cancel_of_gathered_calls)
{
	struct scene s;

	scene_init(&s, 3, 10);
	submit(&s, 2);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
	CHECK_INT(s.jobs[0].freed, 1);
	CHECK_INT(exs_clock_armed(s.clock), 1);
	CHECK_INT(exs_future_cancel(s.f[1]), EXS_CANCELLED);
	CHECK_INT(exs_clock_armed(s.clock), 0); /* the timer went with the last */
	expect_all_cancelled(&s, EXS_CAUSE_USER);
	submit(&s, 3);
	expect_values(&s, 2, 3);
	expect_sizes(&s, 1, 3);
	scene_end(&s);
}

/* While the batch waits for a worker. */
TEST(batch, cancel_of_calls_whose_batch_is_queued)
{
	struct scene s;
	exs_executor *pool = pool_of(&s, 1);
	struct job gate;
	exs_thread_pool_stats stats;

	job_init(&gate);
	gate.gated = true;
	s.ex = batch(&s, exs_borrow(pool), 2, 10);
	exs_future *f = job_submit(pool, &gate);
	sem_take(&gate.entered);
	submit(&s, 4);
	for (int i = 0; i < 3; i++)
		CHECK_INT(exs_future_cancel(s.f[i]), EXS_CANCELLED);
	CHECK_INT(exs_thread_pool_get_stats(pool, &stats), EXS_OK);
	CHECK_INT(stats.queued, 1); /* the batch of the first two has been cancelled */
	sem_post(&gate.open);
	expect_values(&s, 3, 1);
	expect_sizes(&s, 1, 1);
	expect_value(f, &gate);
	scene_end(&s);
	exs_executor_free(pool);
	job_fini(&gate);
}

/* A request: the outcome stands. Asked to stop are the call, and the whole batch once all of it is. */
TEST(batch, cancel_while_start_many_runs)
{
	struct scene s;

	scene_init(&s, 3, 10);
	s.service.waits_stopped = true;
	s.service.orders[1] = FAIL;
	s.service.orders[2] = LEAVE;
	submit(&s, 3);
	sem_take(&s.service.entered);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(exs_future_state(s.f[i]), EXS_STATE_RUNNING);
		exs_answer answer = exs_future_cancel(s.f[i]);
		CHECK(answer == EXS_STOP_REQUESTED || i == 2); /* after the last it ends at once */
	}
	expect_values(&s, 0, 1);
	expect_error(exs_future_ref(s.f[1]), s.service.error);
	expect_cancelled(exs_future_ref(s.f[2]), EXS_CAUSE_USER); /* left without an outcome */
	for (int i = 0; i < 3; i++)
		CHECK(s.service.item_stopped[i]);
	CHECK(s.service.context_stopped);
	scene_end(&s);
}

/* One that is asked to stop and left, by a start_many that fails, has that error, and no further attempt. */
TEST(batch, stopped_call_is_not_started_again)
{
	struct scene s;
	exs_retry_options twice = {.max_attempts = 2, .sleep = EXS_NONE};

	s.ex = batch(&s, exs_with_retry(pool_of(&s, 1), &twice), 2, 10);
	s.service.gated = true;
	s.service.failures = 1;
	s.service.orders[0] = s.service.orders[1] = LEAVE;
	submit(&s, 2);
	sem_take(&s.service.entered);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_STOP_REQUESTED);
	sem_post(&s.service.open);
	expect_error(exs_future_ref(s.f[0]), s.service.answer);
	sem_take(&s.service.entered);
	CHECK(!s.service.context_stopped);
	s.service.orders[1] = YIELD;
	sem_post(&s.service.open);
	expect_values(&s, 1, 1);
	expect_sizes(&s, 2, 1);
	scene_end(&s);
}

/* A function that has begun is asked to stop as any other; one that has not is not begun. */
TEST(batch, cancel_of_functions_of_the_calls)
{
	struct scene s;

	scene_init(&s, 2, 10);
	for (int i = 0; i < 2; i++) {
		s.service.orders[i] = RUN;
		s.jobs[i].gated = s.jobs[i].polite = true;
	}
	submit(&s, 2);
	sem_take(&s.jobs[0].entered);
	CHECK_INT(exs_future_cancel(s.f[1]), EXS_STOP_REQUESTED);
	CHECK(exs_future_cancel(s.f[0]) != EXS_TOO_LATE); /* it ends at once */
	expect_all_cancelled(&s, EXS_CAUSE_USER);
	CHECK(s.jobs[0].stops == 1 && s.jobs[1].starts == 0);
	scene_end(&s);
}

/* --- timeouts above --- */

TEST(batch, timeouts_above)
{
	exs_timeout_mode modes[] = {EXS_WAIT, EXS_ABANDON};

	for (int m = 0; m < 2; m++) {
		struct scene s;
		s.ex = exs_with_timeout_mode(batch(&s, pool_of(&s, 1), 2, 100), 10, modes[m]);
		submit(&s, 1); /* gathered */
		advance(s.clock, 10);
		expect_code(exs_future_ref(s.f[0]), &exs_domain_exs, EXS_ETIMEDOUT);
		CHECK_INT(exs_clock_armed(s.clock), 0);
		s.service.gated = true;
		submit(&s, 2); /* the first of two batches runs */
		sem_take(&s.service.entered);
		submit(&s, 2); /* the second is queued */
		advance(s.clock, 10);
		for (int i = 3; i < 5; i++)
			expect_code(exs_future_ref(s.f[i]), &exs_domain_exs, EXS_ETIMEDOUT);
		for (int i = 1; i < 3; i++) {
			CHECK_INT(exs_future_is_done(s.f[i]), modes[m] == EXS_ABANDON);
			CHECK_INT(s.jobs[i].freed, 0);
		}
		sem_post(&s.service.open);
		if (modes[m] == EXS_WAIT)
			expect_values(&s, 1, 2); /* what runs has its own outcome */
		else
			for (int i = 1; i < 3; i++)
				expect_code(exs_future_ref(s.f[i]), &exs_domain_exs, EXS_ETIMEDOUT);
		scene_end(&s);
		CHECK_INT(s.service.calls, 1);
	}
}

/* --- left behind: ABANDON below --- */

TEST(batch, abandoned_below)
{
	struct scene s;
	exs_executor *ex = exs_with_timeout_mode(pool_of(&s, 2), 10, EXS_ABANDON);

	s.ex = batch(&s, ex, 2, 100);
	s.service.gated = true;
	s.service.orders[1] = LEAVE;
	submit(&s, 2);
	sem_take(&s.service.entered);
	advance(s.clock, 10);
	for (int i = 0; i < 2; i++) {
		expect_code(exs_future_ref(s.f[i]), &exs_domain_exs, EXS_ETIMEDOUT);
		CHECK_INT(s.jobs[i].freed, 0); /* start_many may still read it */
	}
	s.service.orders[0] = LEAVE;
	sem_post(&s.service.open);
	wait_count(&s.jobs[0].freed, 1);
	scene_end(&s);
}

/* A scope waits for it: what it reads may lie on the stack of who closes the scope. */
struct closer {
	exs_scope *scope;
	atomic_bool closed;
};

static void *close_scope(void *arg)
{
	struct closer *c = arg;
	exs_error *error = exs_scope_close(c->scope);

	CHECK(exs_error_is(error, &exs_domain_exs, EXS_ETIMEDOUT));
	exs_error_unref(error);
	atomic_store(&c->closed, true);
	return NULL;
}

TEST(batch, scope_waits_for_what_was_abandoned_below)
{
	struct scene s;
	struct closer c = {exs_scope_new(), false};

	s.ex = batch(&s, exs_with_timeout_mode(pool_of(&s, 2), 10, EXS_ABANDON), 1, 100);
	s.service.gated = true;
	exs_task task = {.fn = job_run, .arg = &s.jobs[0], .arg_free = job_free_arg, .name = "item"};
	s.f[s.n++] = exs_scope_submit_with(c.scope, s.ex, &task);
	sem_take(&s.service.entered);
	s.service.orders[0] = LEAVE;
	advance(s.clock, 10);
	expect_code(exs_future_ref(s.f[0]), &exs_domain_exs, EXS_ETIMEDOUT);
	pthread_t thread = thread_start(close_scope, &c);
	give_time();
	CHECK(!c.closed && !s.jobs[0].freed);
	sem_post(&s.service.open);
	thread_join(thread);
	CHECK_INT(s.jobs[0].freed, 1);
	scene_end(&s);
}

/* And a retry below starts another, beside the one that was left behind. */
static void abandoned_and_retried(bool above)
{
	struct scene s;
	exs_retry_options twice = {.max_attempts = 2, .sleep = 1};
	exs_executor *ex = exs_with_timeout_mode(pool_of(&s, 2), 10, EXS_ABANDON);

	s.ex = batch(&s, exs_with_retry(ex, &twice), 2, 100);
	if (above)
		s.ex = exs_with_timeout_mode(s.ex, 1000, EXS_ABANDON);
	s.service.gated = true;
	s.service.orders[0] = s.service.orders[1] = LEAVE;
	submit(&s, 2);
	sem_take(&s.service.entered);
	advance(s.clock, 10);
	CHECK_INT(exs_clock_wait_armed(s.clock, above ? 3 : 1, EXS_FOREVER), EXS_OK);
	advance(s.clock, 1);
	sem_take(&s.service.entered);
	CHECK_INT(s.service.attempt, 2);
	CHECK_INT(exs_future_cancel(s.f[1]), EXS_STOP_REQUESTED);
	sem_post(&s.service.open);
	sem_post(&s.service.open);
	wait_done(s.f[0]);
	wait_done(s.f[1]); /* cancelled, if the one left behind is the first to end */
	CHECK(exs_future_state(s.f[1]) != EXS_STATE_VALUE);
	expect_code(exs_future_ref(s.f[0]), &exs_domain_exs, EXS_EINVAL);
	scene_end(&s);
	CHECK_INT(s.service.calls, 2);
}

TEST(batch, abandoned_and_retried_below)
{
	abandoned_and_retried(false);
}

TEST(batch, abandoned_and_retried_below_and_above)
{
	abandoned_and_retried(true);
}

/* What the one left behind yields comes too late, once the other has begun. */
struct twice {
	atomic_uint calls;
	sem_t entered, open[2], yielded;
	bool counts[2];
	int values[2];
};

static exs_error *yield_when_open(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	struct twice *t = ctx;
	unsigned call = atomic_fetch_add(&t->calls, 1);

	(void)context;
	CHECK_INT(n, 1);
	sem_post(&t->entered);
	sem_take(&t->open[call]);
	t->counts[call] = exs_batch_yield_result(items[0], &t->values[call], NULL);
	sem_post(&t->yielded);
	return NULL;
}

TEST(batch, yields_of_one_left_behind)
{
	struct twice t = {.calls = 0};
	exs_retry_options retry = {.max_attempts = 2, .sleep = 1};
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout_mode(exs_with_clock(exs_thread_pool(2), clock), 10, EXS_ABANDON);
	sem_t *sems[] = {&t.entered, &t.open[0], &t.open[1], &t.yielded};

	for (int i = 0; i < 4; i++)
		CHECK(!sem_init(sems[i], 0, 0));
	ex = exs_with_batch(exs_with_retry(ex, &retry), yield_when_open, &t, &(exs_batch_options){.max = 1});
	exs_future *f = exs_submit(ex, job_run, NULL);
	sem_take(&t.entered);
	advance(clock, 10);
	CHECK_INT(exs_clock_wait_armed(clock, 1, EXS_FOREVER), EXS_OK);
	advance(clock, 1);
	sem_take(&t.entered);
	for (int i = 0; i < 2; i++) {
		CHECK(!exs_future_is_done(f));
		sem_post(&t.open[i]);
		sem_take(&t.yielded);
	}
	wait_done(f);
	CHECK(!t.counts[0] && t.counts[1] && exs_future_value(f) == &t.values[1]);
	exs_future_unref(f);
	exs_executor_free(ex);
	exs_clock_unref(clock);
	for (int i = 0; i < 4; i++)
		sem_destroy(sems[i]);
}

/* A function that runs is waited for. */
TEST(batch, abandoned_below_while_a_function_runs)
{
	struct scene s;
	exs_executor *ex = exs_with_timeout_mode(pool_of(&s, 2), 10, EXS_ABANDON);

	s.ex = batch(&s, ex, 2, 100);
	s.service.orders[0] = s.service.orders[1] = RUN;
	s.jobs[0].gated = true;
	submit(&s, 2);
	sem_take(&s.jobs[0].entered);
	advance(s.clock, 10);
	expect_code(exs_future_ref(s.f[1]), &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK(!exs_future_is_done(s.f[0]));
	sem_post(&s.jobs[0].open);
	expect_values(&s, 0, 1);
	scene_end(&s);
	CHECK_INT(s.jobs[1].starts, 0);
}

/* --- shutdown --- */

static void *drain(void *ex)
{
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	return NULL;
}

TEST(batch, shutdown_drains_at_once)
{
	struct scene s;

	scene_init(&s, 5, 10);
	submit(&s, 3);
	drain(s.ex);
	expect_values(&s, 0, 3);
	expect_sizes(&s, 1, 3);
	scene_end(&s);
}

/* What comes to be gathered after that does not wait either. */
TEST(batch, shutdown_drains_a_backoff)
{
	struct scene s;

	s.ex = exs_with_retry(batch(&s, pool_of(&s, 1), 5, 100), NULL);
	s.service.orders[0] = FAIL;
	submit(&s, 1);
	advance(s.clock, 100);
	wait_next(s.clock, 1);
	s.service.orders[0] = YIELD;
	pthread_t thread = thread_start(drain, s.ex);
	for (bool closed = false; !closed; sched_yield()) {
		exs_future *f = exs_submit(s.ex, NULL, NULL);
		closed = exs_error_code(exs_future_error(f)) == EXS_ESHUTDOWN;
		exs_future_unref(f);
	}
	advance(s.clock, 1);
	thread_join(thread);
	expect_values(&s, 0, 1);
	scene_end(&s);
}

TEST(batch, shutdown_of_a_borrower_drains_at_once)
{
	struct scene s;

	scene_init(&s, 5, 10);
	exs_executor *owner = s.ex;
	s.ex = exs_borrow(owner);
	submit(&s, 3);
	drain(s.ex);
	expect_values(&s, 0, 3);
	exs_executor_free(s.ex);
	s.ex = owner;
	scene_end(&s);
}

TEST(batch, shutdown_cancels_what_was_gathered)
{
	exs_mode modes[] = {EXS_CANCEL_QUEUED, EXS_CANCEL_ALL};

	for (int m = 0; m < 2; m++) {
		struct scene s;
		scene_init(&s, 5, 10);
		submit(&s, 3);
		CHECK_INT(exs_shutdown(s.ex, modes[m], EXS_FOREVER), 0);
		expect_all_cancelled(&s, EXS_CAUSE_SHUTDOWN);
		scene_end(&s);
		CHECK_INT(s.service.calls, 0);
	}
}

static void *cancel_queued(void *ex)
{
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
	return NULL;
}

/* What runs is not even asked; what is queued is cancelled, and only the borrower's, if it is a borrower that closes. */
TEST(batch, shutdown_cancels_what_is_queued)
{
	for (int borrower = 0; borrower < 2; borrower++) {
		struct scene s;
		scene_init(&s, 2, 10);
		exs_executor *owner = s.ex, *b = exs_borrow(owner);
		s.service.gated = true;
		submit(&s, 2);
		sem_take(&s.service.entered);
		submit(&s, 1);
		s.ex = borrower ? b : owner;
		submit(&s, 2); /* the first with the other's */
		pthread_t thread = thread_start(cancel_queued, s.ex);
		expect_cancelled(exs_future_ref(s.f[3]), EXS_CAUSE_SHUTDOWN);
		expect_cancelled(exs_future_ref(s.f[4]), EXS_CAUSE_SHUTDOWN);
		CHECK(!exs_future_is_done(s.f[0]) && exs_future_cause(s.f[0]) == EXS_CAUSE_NONE);
		sem_post(&s.service.open);
		sem_post(&s.service.open);
		thread_join(thread);
		expect_values(&s, 0, 2);
		if (borrower)
			expect_values(&s, 2, 1);
		else
			expect_cancelled(exs_future_ref(s.f[2]), EXS_CAUSE_SHUTDOWN);
		CHECK(!s.service.item_stopped[0]);
		exs_executor_free(b);
		s.ex = owner;
		scene_end(&s);
	}
}

TEST(batch, shutdown_asks_what_runs_to_stop)
{
	struct scene s;

	scene_init(&s, 2, 10);
	s.service.waits_stopped = true;
	s.service.orders[1] = LEAVE;
	submit(&s, 3);
	sem_take(&s.service.entered);
	CHECK_INT(exs_shutdown(s.ex, EXS_CANCEL_ALL, EXS_FOREVER), 0); /* with no help from here */
	expect_values(&s, 0, 1);
	expect_cancelled(exs_future_ref(s.f[1]), EXS_CAUSE_SHUTDOWN);
	expect_cancelled(exs_future_ref(s.f[2]), EXS_CAUSE_SHUTDOWN);
	scene_end(&s);
}

TEST(batch, shutdown_whose_time_is_up)
{
	struct scene s;

	scene_init(&s, 2, 10);
	s.service.gated = true;
	submit(&s, 3);
	sem_take(&s.service.entered);
	CHECK(exs_shutdown(s.ex, EXS_CANCEL_QUEUED, 0) >= 2);
	for (int i = 0; i < 2; i++)
		expect_code(exs_future_ref(s.f[i]), &exs_domain_exs, EXS_ESHUTDOWN);
	expect_cancelled(exs_future_ref(s.f[2]), EXS_CAUSE_SHUTDOWN);
	scene_end(&s);
}

/* Inside start_many, which works for every chain that stands on the batch. */
static exs_error *shut_down_inside(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	exs_executor *b = *(exs_executor **)ctx;

	(void)context;
	CHECK(exs_shutdown(b, EXS_DRAIN, EXS_FOREVER) >= 1);
	for (size_t i = 0; i < n; i++)
		CHECK(exs_batch_run(items[i]));
	exs_executor_free(b);
	return NULL;
}

TEST(batch, freed_inside_start_many)
{
	exs_executor *b, *ex = exs_with_batch(exs_thread_pool(1), shut_down_inside, &b, &(exs_batch_options){.max = 1});
	struct job job;

	job_init(&job);
	b = exs_borrow(ex);
	expect_value(job_submit(b, &job), &job);
	exs_executor_free(ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	job_fini(&job);
}

/* --- in company --- */

/* The usual use: what start_many yields becomes a descriptor. */
TEST(batch, under_poll)
{
	struct scene s;

	s.ex = batch(&s, pool_of(&s, 1), 4, 10);
	s.ex = exs_with_timeout(exs_with_poll(s.ex, job_poll, job_cancel, NULL, NULL), 1000);
	s.service.orders[2] = FAIL;
	s.jobs[1].held = true;
	submit(&s, 4);
	sem_take(&s.jobs[1].in_set);
	expect_values(&s, 0, 1);
	expect_values(&s, 3, 1);
	expect_error(exs_future_ref(s.f[2]), s.service.error);
	CHECK_INT(exs_future_cancel(s.f[1]), EXS_CANCELLED);
	CHECK_INT(s.jobs[1].told, 1);
	expect_sizes(&s, 1, 4);
	scene_end(&s);
}

/* A worker that waits for a call of a batch of its own pool runs the batch itself. */
static void wait_inside(struct job *job, exs_context *ctx)
{
	struct scene *s = job->more;

	(void)ctx;
	submit(s, 2);
	expect_values(s, 1, 2);
}

TEST(batch, waited_for_on_the_only_worker)
{
	struct scene s;
	exs_thread_pool_options options = {.workers = 1, .max_spares = EXS_NONE};

	exs_executor_free(pool_of(&s, 0)); /* not this one */
	exs_executor *pool = exs_with_clock(exs_thread_pool_with(&options), s.clock);
	struct job job;
	job_init(&job);
	job.inside = wait_inside;
	job.more = &s;
	s.ex = batch(&s, exs_borrow(pool), 2, 10);
	s.n = 1;
	s.jobs[0].freed = 1;
	s.f[0] = NULL;
	expect_value(job_submit(pool, &job), &job);
	expect_sizes(&s, 1, 2);
	scene_end(&s);
	exs_executor_free(pool);
	job_fini(&job);
}

/* Options that only a layer below the batch could see to. */
TEST(batch, options_of_a_call)
{
	struct scene s;
	exs_retry_options none = {.max_attempts = 1};
	exs_task tasks[] = {{.fn = job_run, .timeout = 5}, {.fn = job_run, .retry = &none}};

	s.ex = batch(&s, exs_with_timeout(exs_with_retry(pool_of(&s, 1), NULL), 1000), 1, 10);
	for (int i = 0; i < 2; i++) {
		exs_future *f = exs_submit_with(s.ex, &tasks[i]);
		CHECK(strstr(exs_error_message(exs_future_error(f)), "above the batch"));
		expect_code(f, &exs_domain_exs, EXS_EINVAL);
	}
	s.ex = exs_with_timeout(s.ex, 1000);
	tasks[0].arg = &s.jobs[0];
	tasks[0].arg_free = job_free_arg;
	tasks[0].name = "item";
	expect_value(exs_submit_with(s.ex, &tasks[0]), &s.jobs[0]);
	s.jobs[0].freed = 0;
	scene_end(&s);
}

/* --- races --- */

enum { THREADS = 3, CALLS = 1000 };

struct race {
	exs_executor *ex;
	atomic_uint values, cancelled, failed;
};

static exs_error *yield_some(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	(void)ctx, (void)context;
	for (size_t i = 0; i < n; i++) {
		uintptr_t number = (uintptr_t)exs_batch_arg(items[i]);
		if (number % 5 == 0)
			continue;
		if (number % 7 == 0)
			exs_batch_run(items[i]);
		else
			exs_batch_yield_result(items[i], NULL, NULL);
	}
	return exs_error_new(&test_domain, 1, "not all");
}

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

static atomic_uint freed;

static void count_free(void *arg)
{
	(void)arg;
	atomic_fetch_add(&freed, 1);
}

static void note_end(exs_future *f, void *arg)
{
	struct race *r = arg;
	exs_state state = exs_future_state(f);

	atomic_fetch_add(state == EXS_STATE_VALUE	? &r->values
			 : state == EXS_STATE_CANCELLED ? &r->cancelled
							: &r->failed,
			 1);
}

static void *submit_and_cancel(void *arg)
{
	struct race *r = arg;
	exs_future *f[CALLS];

	for (uintptr_t i = 0; i < CALLS; i++) {
		exs_task task = {.fn = nothing, .arg = (void *)i, .arg_free = count_free, .name = "race"};
		f[i] = exs_submit_with(r->ex, &task);
		CHECK_INT(exs_future_on_done(f[i], note_end, r, NULL), EXS_OK);
		if (i % 3 == 0)
			exs_future_cancel(f[i / 2]);
		if (i % 50 == 0)
			exs_batch_flush(r->ex);
	}
	for (int i = 0; i < CALLS; i++)
		exs_future_unref(f[i]);
	return NULL;
}

static exs_executor *race_chain(unsigned which)
{
	exs_retry_options twice = {.max_attempts = 2, .sleep = EXS_NONE};
	exs_batch_options options = {.max = 4, .seconds = 1e-4};
	exs_executor *ex = exs_thread_pool(2);

	if (which & 1)
		ex = exs_with_timeout_mode(ex, 1e-4, EXS_ABANDON);
	if (which & 2)
		ex = exs_with_retry(ex, &twice);
	ex = exs_with_batch(ex, yield_some, NULL, &options);
	if (which & 4)
		ex = exs_with_timeout_mode(exs_with_retry(ex, &twice), 1e-4, which & 1 ? EXS_WAIT : EXS_ABANDON);
	return ex;
}

TEST(batch, races)
{
	for (unsigned long round = 0; round < harness_rounds(16); round++) {
		struct race r = {.values = 0};
		pthread_t threads[THREADS];
		atomic_store(&freed, 0);
		r.ex = race_chain(round % 8);
		CHECK(r.ex);
		for (int i = 0; i < THREADS; i++)
			threads[i] = thread_start(submit_and_cancel, &r);
		for (int i = 0; i < THREADS; i++)
			thread_join(threads[i]);
		exs_shutdown(r.ex, (exs_mode)(1 + round / 8 % 3), EXS_FOREVER);
		exs_executor_free(r.ex);
		CHECK_INT(r.values + r.cancelled + r.failed, THREADS * CALLS);
		CHECK_INT(freed, THREADS * CALLS);
	}
}

/* --- made --- */

TEST(batch, bad_options)
{
	struct service service = {.calls = 0};
	exs_batch_options wrong[] = {{.max = EXS_NONE, .ctx_free = service_free},
				     {.max = EXS_UNLIMITED + 1u, .ctx_free = service_free},
				     {.seconds = -1, .ctx_free = service_free},
				     {.seconds = NAN, .ctx_free = service_free}};
	exs_batch_options good = {.ctx_free = service_free};
	struct {
		exs_batch_options known;
		int unknown;
	} newer = {.known = good, .unknown = 1};

	for (int i = 0; i < 4; i++) {
		CHECK(!exs_with_batch(exs_inline(), start_many, &service, &wrong[i]));
		CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
	}
	CHECK(!exs_with_batch(exs_inline(), NULL, &service, &good));
	CHECK(strstr(exs_error_message(exs_last_error()), "start_many is NULL"));
	CHECK(!exs_with_batch_sized(exs_inline(), start_many, &service, &newer.known, sizeof(newer)));
	CHECK(!exs_with_batch(NULL, start_many, &service, &good));
	CHECK_INT(service.freed, 7);
}
