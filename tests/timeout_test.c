/* Timeouts, WAIT and ABANDON: every rule of their table in semantics.md, on the manual clock. */
#include "support.h"

#include <math.h>
#include <string.h>

static const exs_timeout_mode modes[] = {EXS_WAIT, EXS_ABANDON};

/* A chain that borrows a pool of one worker, which the gate's job can keep busy from outside. */
struct scene {
	exs_clock *clock;
	exs_executor *pool, *ex;
	exs_error *error;
	struct job job, gate;
	exs_future *f, *gate_f;
};

static exs_executor *pool_of(struct scene *s)
{
	*s = (struct scene){.clock = exs_clock_manual_new()};
	s->error = exs_error_new(&test_domain, 1, "no");
	job_init(&s->job);
	job_init(&s->gate);
	s->job.error = s->error;
	s->gate.gated = true;
	s->pool = exs_with_clock(exs_thread_pool(1), s->clock);
	return exs_borrow(s->pool);
}

static void scene_init(struct scene *s, exs_timeout_mode mode)
{
	s->ex = exs_with_timeout_mode(pool_of(s), 10, mode);
	CHECK(s->ex);
}

/* The job, behind the gate. */
static void start_queued(struct scene *s)
{
	s->gate_f = job_submit(s->pool, &s->gate);
	sem_take(&s->gate.entered);
	s->f = job_submit(s->ex, &s->job);
}

static void start_running(struct scene *s)
{
	s->job.gated = true;
	s->f = job_submit(s->ex, &s->job);
	sem_take(&s->job.entered);
}

static void scene_end(struct scene *s)
{
	sem_post(&s->gate.open);
	if (s->gate_f)
		expect_value(s->gate_f, &s->gate);
	else
		job_free_arg(&s->gate);
	exs_executor_free(s->ex);
	exs_executor_free(s->pool);
	CHECK_INT(exs_clock_armed(s->clock), 0);
	exs_clock_unref(s->clock);
	job_fini(&s->job);
	job_fini(&s->gate);
	exs_error_unref(s->error);
}

static void expect_timeout(exs_future *f, const char *message)
{
	CHECK(exs_future_is_done(f));
	CHECK(exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ETIMEDOUT));
	CHECK_STR(exs_error_message(exs_future_error(f)), message);
	CHECK_INT(exs_future_cancel(f), EXS_TOO_LATE);
	exs_future_unref(f);
}

/* --- both modes: what no function runs --- */

/* The deadline counts from the submit, queueing included; work not started fails and never starts. */
TEST(timeout, of_a_queued_call)
{
	for (int m = 0; m < 2; m++) {
		struct scene s;
		scene_init(&s, modes[m]);
		start_queued(&s);
		advance(s.clock, 9.5);
		CHECK(!exs_future_is_done(s.f));
		CHECK(exs_clock_next(s.clock) == 0.5);
		advance(s.clock, 0.5);
		CHECK_INT(s.job.freed, 1);
		expect_timeout(s.f, "timed out after 10s");
		CHECK_INT(exs_timeout_abandoned(s.ex), 0);
		scene_end(&s);
		CHECK_INT(s.job.starts, 0);
	}
}

TEST(timeout, of_a_backoff)
{
	for (int m = 0; m < 2; m++) {
		struct scene s;
		exs_retry_options options = {.sleep = 50};
		s.ex = exs_with_timeout_mode(exs_with_retry(pool_of(&s), &options), 10, modes[m]);
		s.job.failures = ALWAYS;
		s.f = job_submit(s.ex, &s.job);
		CHECK_INT(exs_clock_wait_armed(s.clock, 2, EXS_FOREVER), EXS_OK);
		advance(s.clock, 10);
		expect_timeout(s.f, "timed out after 10s");
		CHECK_INT(exs_clock_armed(s.clock), 0);
		scene_end(&s);
		CHECK_INT(s.job.starts, 1);
	}
}

/* A pending descriptor is not running work: the cancel function is told, its answer does not count. */
TEST(timeout, of_a_pending_descriptor)
{
	for (int m = 0; m < 4; m++) {
		struct scene s;
		exs_executor *ex = exs_with_poll(pool_of(&s), job_poll, job_cancel, NULL, NULL);
		s.ex = exs_with_timeout_mode(ex, 10, modes[m / 2]);
		s.job.held = true;
		s.job.refuses = m % 2;
		s.f = job_submit(s.ex, &s.job);
		sem_take(&s.job.in_set);
		advance(s.clock, 10);
		wait_done(s.f); /* it is the poll thread that tells */
		expect_timeout(s.f, "timed out after 10s");
		scene_end(&s);
		CHECK_INT(s.job.told, 1);
		CHECK_INT(s.job.made, 1);
	}
}

/* Nor does it after a user's cancel that was refused: that is no cancel. */
TEST(timeout, of_a_pending_descriptor_that_refused_a_cancel)
{
	for (int m = 0; m < 2; m++) {
		struct scene s;
		exs_executor *ex = exs_with_poll(pool_of(&s), job_poll, job_cancel, NULL, NULL);
		s.ex = exs_with_timeout_mode(ex, 10, modes[m]);
		s.job.held = s.job.refuses = true;
		s.f = job_submit(s.ex, &s.job);
		sem_take(&s.job.in_set);
		CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
		CHECK_INT(s.job.told, 1);
		advance(s.clock, 10);
		wait_done(s.f);
		expect_timeout(s.f, "timed out after 10s");
		scene_end(&s);
		CHECK_INT(s.job.told, 2);
	}
}

TEST(timeout, done_in_time)
{
	for (int m = 0; m < 2; m++) {
		struct scene s;
		scene_init(&s, modes[m]);
		start_running(&s);
		CHECK_INT(exs_clock_armed(s.clock), 1);
		advance(s.clock, 9.5);
		sem_post(&s.job.open);
		wait_done(s.f);
		CHECK_INT(exs_future_cause(s.f), EXS_CAUSE_NONE);
		CHECK_INT(exs_clock_armed(s.clock), 0);
		expect_value(s.f, &s.job);
		advance(s.clock, 100);
		scene_end(&s);
		CHECK_INT(s.job.stops, 0);
	}
}

TEST(timeout, users_cancel_is_no_timeout)
{
	for (int m = 0; m < 2; m++) {
		struct scene s;
		scene_init(&s, modes[m]);
		start_queued(&s);
		CHECK_INT(exs_future_cancel(s.f), EXS_CANCELLED);
		CHECK_INT(exs_clock_armed(s.clock), 0);
		advance(s.clock, 20);
		expect_cancelled(s.f, EXS_CAUSE_USER);
		scene_end(&s);
		scene_init(&s, modes[m]);
		s.job.cancels = true; /* the task's own */
		expect_cancelled(job_submit(s.ex, &s.job), EXS_CAUSE_NONE);
		scene_end(&s);
	}
}

TEST(timeout, at_once_and_never)
{
	for (int m = 0; m < 2; m++) {
		struct scene s;
		s.ex = exs_with_timeout_mode(pool_of(&s), 0, modes[m]);
		start_queued(&s);
		CHECK(!exs_future_is_done(s.f)); /* the clock stands */
		advance(s.clock, 0);
		expect_timeout(s.f, "timed out after 0s");
		scene_end(&s);
		s.ex = exs_with_timeout_mode(pool_of(&s), EXS_FOREVER, modes[m]);
		start_running(&s);
		CHECK_INT(exs_clock_armed(s.clock), 0);
		advance(s.clock, 1e9);
		sem_post(&s.job.open);
		expect_value(s.f, &s.job);
		scene_end(&s);
	}
}

/* A call's own time, shorter or longer, counts instead of the outermost timeout layer's; that one lies below a borrow here. */
TEST(timeout, own_time_of_a_call)
{
	struct {
		double own, due;
		const char *message;
	} cases[] = {
		{3, 3, "timed out after 3s"},
		{EXS_NONE, 0, "timed out after 0s"},
		{15, 15, "timed out after 15s"},
		{EXS_UNLIMITED, 20, "timed out after 20s"},
		{EXS_FOREVER, 20, "timed out after 20s"},
		{0, 10, "timed out after 10s"},
	};

	for (size_t i = 0; i < 4 * sizeof(cases) / sizeof(*cases); i++) {
		struct scene s;
		exs_task task = {.fn = job_run, .arg = &s.job, .arg_free = job_free_arg, .timeout = cases[i / 4].own};
		exs_executor *inner = exs_with_timeout_mode(pool_of(&s), 20, modes[i % 2]);
		exs_executor *outer = exs_with_timeout_mode(inner, 10, modes[i / 2 % 2]);
		s.ex = exs_borrow(outer);
		s.gate_f = job_submit(s.pool, &s.gate);
		sem_take(&s.gate.entered);
		s.f = exs_submit_with(s.ex, &task);
		advance(s.clock, cases[i / 4].due > 0 ? cases[i / 4].due - 0.5 : 0);
		CHECK_INT(exs_future_is_done(s.f), cases[i / 4].due == 0);
		advance(s.clock, 0.5);
		expect_timeout(s.f, cases[i / 4].message);
		exs_executor_free(s.ex);
		s.ex = outer;
		scene_end(&s);
		CHECK_INT(s.job.starts, 0);
	}
}

/* --- WAIT: what runs is asked to stop, and its outcome stands --- */

TEST(timeout, wait_lets_a_running_task_decide)
{
	for (int kind = 0; kind < 3; kind++) {
		struct scene s;
		scene_init(&s, EXS_WAIT);
		s.job.cancels = kind == EXS_KIND_CANCELLED;
		s.job.failures = kind == EXS_KIND_ERROR ? ALWAYS : 0;
		start_running(&s);
		advance(s.clock, 10);
		CHECK(!exs_future_is_done(s.f));
		CHECK_INT(exs_future_state(s.f), EXS_STATE_RUNNING);
		CHECK_INT(exs_future_cause(s.f), EXS_CAUSE_TIMEOUT);
		sem_post(&s.job.open);
		wait_done(s.f);
		if (kind == EXS_KIND_VALUE)
			expect_value(s.f, &s.job);
		else if (kind == EXS_KIND_ERROR)
			expect_error(s.f, s.error);
		else /* it stopped because of the time-out: that is what it is */
			expect_timeout(s.f, "timed out after 10s");
		CHECK_INT(s.job.cause, EXS_CAUSE_TIMEOUT);
		scene_end(&s);
		CHECK_INT(s.job.stops, 1);
	}
}

static void note_thread(exs_future *f, void *arg)
{
	(void)f;
	*(pthread_t *)arg = pthread_self();
}

/* The handler runs where the expiry runs: within the advance of a manual clock. */
TEST(timeout, wait_wakes_a_polite_task)
{
	struct scene s;

	scene_init(&s, EXS_WAIT);
	s.job.polite = true;
	start_running(&s);
	advance(s.clock, 10);
	wait_done(s.f);
	expect_timeout(s.f, "timed out after 10s");
	scene_end(&s);
	CHECK_INT(s.job.stops, 1);
}

/* No further attempt below the layer; one above retries, since it is no user's cancel. */
TEST(timeout, wait_between_two_retries)
{
	struct scene s;
	exs_retry_options inner = {.sleep = EXS_NONE}, outer = {.max_attempts = 2, .sleep = 5};

	s.ex = exs_with_timeout(exs_with_retry(pool_of(&s), &inner), 10);
	s.ex = exs_with_retry(s.ex, &outer);
	s.job.failures = ALWAYS;
	start_running(&s);
	advance(s.clock, 10);
	sem_post(&s.job.open);
	wait_next(s.clock, 5); /* the outer's backoff: the inner one has given up at once */
	CHECK_INT(s.job.starts, 1);
	CHECK_INT(exs_future_state(s.f), EXS_STATE_PENDING);
	CHECK_INT(exs_future_cause(s.f), EXS_CAUSE_NONE); /* the stop was taken back */
	advance(s.clock, 5);
	for (int i = 0; i < 3; i++) {
		sem_take(&s.job.entered);
		sem_post(&s.job.open);
	}
	expect_error(s.f, s.error);
	scene_end(&s);
	CHECK_INT(s.job.starts, 4);
	CHECK_INT(s.job.stops, 1);
}

/* What comes back cancelled because of the time-out has timed out: a retry above runs it again. */
TEST(timeout, what_it_cancelled_is_retried_above)
{
	enum { RUNNING, PENDING };
	for (int i = 0; i < 4; i++) {
		struct scene s;
		int where = i / 2;
		exs_executor *ex = pool_of(&s);
		exs_poll_options rarely = {.interval = 1000};
		if (where == PENDING)
			ex = exs_with_poll(ex, job_poll, job_cancel, NULL, &rarely);
		s.ex = exs_with_retry(exs_with_timeout_mode(ex, 10, modes[i % 2]), NULL);
		s.job.gated = s.job.polite = where == RUNNING;
		s.job.held = where == PENDING;
		s.f = job_submit(s.ex, &s.job);
		for (unsigned attempt = 1; attempt < 3; attempt++) {
			sem_take(where == RUNNING ? &s.job.entered : &s.job.in_set);
			CHECK_INT(s.job.starts, attempt);
			advance(s.clock, 10);
			wait_next(s.clock, attempt); /* the backoffs are 1 and 2 */
			CHECK_INT(exs_future_state(s.f), EXS_STATE_PENDING);
			CHECK_INT(exs_future_cause(s.f), EXS_CAUSE_NONE);
			while (sem_taken(&s.job.in_set)) /* polled once more */
				;
			advance(s.clock, attempt);
		}
		sem_take(where == RUNNING ? &s.job.entered : &s.job.in_set);
		s.job.held = false;
		sem_post(&s.job.open);
		exs_poll_notify(s.ex);
		expect_value(s.f, &s.job);
		scene_end(&s);
		CHECK_INT(s.job.starts, 3);
		CHECK_INT(s.job.stops, where == RUNNING ? 2 : 0);
		CHECK_INT(s.job.told, where == PENDING ? 2 : 0);
	}
}

/* A user's cancel that follows or precedes the expiry is a user's cancel. */
TEST(timeout, wait_and_a_users_cancel)
{
	for (int before = 0; before < 2; before++) {
		struct scene s;
		scene_init(&s, EXS_WAIT);
		s.job.cancels = true;
		start_running(&s);
		if (before)
			CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
		advance(s.clock, 10);
		if (!before)
			CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
		sem_post(&s.job.open);
		expect_cancelled(s.f, EXS_CAUSE_USER);
		scene_end(&s);
	}
}

/* Of two layers the inner falls due first: what is above goes on with its outcome; then the other way round. */
TEST(timeout, nested_waits)
{
	double inner[] = {5, 20};
	const char *messages[] = {"timed out after 5s", "timed out after 10s"};

	for (int i = 0; i < 2; i++) {
		struct scene s;
		s.ex = exs_with_timeout(exs_with_timeout(pool_of(&s), inner[i]), 10);
		s.job.cancels = true;
		start_running(&s);
		advance(s.clock, i ? 10 : 5);
		CHECK_INT(exs_clock_armed(s.clock), 1);
		sem_post(&s.job.open);
		wait_done(s.f);
		expect_timeout(s.f, messages[i]);
		scene_end(&s);
	}
}

/* --- ABANDON: what runs is left behind --- */

TEST(timeout, abandon_fails_at_once)
{
	for (int kind = 0; kind < 3; kind++) {
		struct scene s;
		pthread_t thread = 0;
		scene_init(&s, EXS_ABANDON);
		s.job.cancels = kind == EXS_KIND_CANCELLED;
		s.job.failures = kind == EXS_KIND_ERROR ? ALWAYS : 0;
		start_running(&s);
		CHECK_INT(exs_future_on_done(s.f, note_thread, &thread, NULL), EXS_OK);
		CHECK_INT(exs_timeout_abandoned(s.ex), 0);
		advance(s.clock, 10);
		CHECK(pthread_equal(thread, pthread_self()));
		expect_timeout(s.f, "timed out after 10s");
		CHECK_INT(exs_timeout_abandoned(s.ex), 1);
		CHECK_INT(exs_executor_pending(s.ex), 0); /* the call is done, its function runs on */
		CHECK(s.job.ends == 0 && s.job.freed == 0);
		sem_post(&s.job.open);
		while (exs_timeout_abandoned(s.ex))
			sched_yield();
		scene_end(&s); /* the late value is destroyed, the late error dropped */
		CHECK(s.job.stops == 1 && s.job.cause == EXS_CAUSE_TIMEOUT);
	}
}

TEST(timeout, abandon_wakes_a_polite_task)
{
	struct scene s;

	scene_init(&s, EXS_ABANDON);
	s.job.polite = true;
	start_running(&s);
	advance(s.clock, 10);
	expect_timeout(s.f, "timed out after 10s");
	scene_end(&s);
	CHECK_INT(s.job.stops, 1);
}

/* The child of an inline executor runs within the start of its parent, and is told there of what comes. */
struct submitter {
	exs_executor *ex;
	exs_future *f;
	struct job job;
};

static void *submit_inline(void *arg)
{
	struct submitter *s = arg;

	s->f = job_submit(s->ex, &s->job);
	return NULL;
}

TEST(timeout, abandon_leaves_an_inline_child_behind)
{
	exs_clock *clock = exs_clock_manual_new();
	struct submitter s = {.ex = exs_with_timeout_mode(exs_with_clock(exs_inline(), clock), 10, EXS_ABANDON)};

	job_init(&s.job);
	s.job.gated = s.job.polite = true;
	pthread_t thread = thread_start(submit_inline, &s);
	sem_take(&s.job.entered);
	advance(clock, 10);
	thread_join(thread);
	CHECK(exs_future_is_done(s.f));
	expect_code(s.f, &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_INT(s.job.cause, EXS_CAUSE_TIMEOUT);
	job_fini(&s.job);
	exs_executor_free(s.ex);
	exs_clock_unref(clock);
}

static void *pass_second(void *clock)
{
	advance(clock, 1);
	return NULL;
}

/* The first attempt fails, so that there is a future when the second runs, on the thread that advances the clock. */
TEST(timeout, abandon_cancels_an_inline_child)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout_mode(exs_with_clock(exs_inline(), clock), 10, EXS_ABANDON);
	struct job job;

	ex = exs_with_retry(ex, NULL);
	CHECK(ex);
	job_init(&job);
	job.failures = 1;
	job.error = exs_error_new(&test_domain, 1, "no");
	exs_future *f = job_submit(ex, &job);
	job.gated = job.polite = true;
	pthread_t thread = thread_start(pass_second, clock);
	sem_take(&job.entered);
	exs_future_cancel(f);
	expect_cancelled(f, EXS_CAUSE_USER);
	thread_join(thread);
	CHECK_INT(job.starts, 2);
	CHECK_INT(job.cause, EXS_CAUSE_USER);
	exs_executor_free(ex);
	exs_error_unref(job.error);
	job_fini(&job);
	exs_clock_unref(clock);
}

struct freer {
	exs_executor *ex;
	atomic_int freed;
};

static void *free_it(void *arg)
{
	struct freer *freer = arg;

	exs_executor_free(freer->ex);
	atomic_store(&freer->freed, 1);
	return NULL;
}

static void check_not_freed(struct job *job, exs_context *ctx)
{
	struct freer *freer = job->more;

	(void)ctx;
	give_time();
	CHECK_INT(freer->freed, 0);
}

/* Free waits for those left behind. */
TEST(timeout, abandoned_calls_outlive_no_executor)
{
	struct scene s;

	scene_init(&s, EXS_ABANDON);
	struct freer freer = {.ex = s.ex};
	s.job.inside = check_not_freed;
	s.job.more = &freer;
	start_running(&s);
	advance(s.clock, 10);
	expect_timeout(s.f, "timed out after 10s");
	pthread_t thread = thread_start(free_it, &freer);
	sem_post(&s.job.open);
	thread_join(thread);
	CHECK_INT(s.job.ends, 1);
	CHECK_INT(s.job.freed, 1);
	s.ex = NULL;
	scene_end(&s);
}

/* The second attempt runs while the first still does; the argument is freed once, after both. */
TEST(timeout, abandon_under_retry)
{
	struct scene s;
	exs_retry_options options = {.sleep = 2};

	exs_executor_free(pool_of(&s));
	s.ex = exs_with_timeout_mode(exs_with_clock(exs_thread_pool(3), s.clock), 10, EXS_ABANDON);
	s.ex = exs_with_retry(s.ex, &options);
	start_running(&s);
	for (unsigned i = 1; i < 3; i++) {
		advance(s.clock, 10);
		CHECK(!exs_future_is_done(s.f));
		CHECK_INT(exs_timeout_abandoned(s.ex), i);
		advance(s.clock, 2 * i); /* the backoffs are 2 and 4 */
		sem_take(&s.job.entered);
	}
	CHECK_INT(s.job.starts, 3);
	CHECK_INT(s.job.freed, 0);
	for (int i = 0; i < 3; i++)
		sem_post(&s.job.open);
	expect_value(s.f, &s.job);
	scene_end(&s);
	CHECK_INT(s.job.ends, 3);
}

/* A backoff below the layer ends with it: nothing is left behind that starts again. */
TEST(timeout, abandon_over_retry)
{
	struct scene s;
	exs_retry_options options = {.sleep = EXS_NONE};

	s.ex = exs_with_timeout_mode(exs_with_retry(pool_of(&s), &options), 10, EXS_ABANDON);
	s.job.failures = ALWAYS;
	start_running(&s);
	sem_post(&s.job.open);
	sem_take(&s.job.entered);
	advance(s.clock, 10);
	expect_timeout(s.f, "timed out after 10s");
	sem_post(&s.job.open);
	scene_end(&s);
	CHECK_INT(s.job.starts, 2);
	CHECK_INT(s.job.stops, 1);
}

/* Cancelled before its time it stays with the task, as in any chain. */
TEST(timeout, abandon_and_a_users_cancel)
{
	for (int late = 0; late < 2; late++) {
		struct scene s;
		scene_init(&s, EXS_ABANDON);
		s.job.cancels = true;
		start_running(&s);
		CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
		CHECK(!exs_future_is_done(s.f));
		if (late) { /* asked to stop by the user, it still has no more time than others */
			advance(s.clock, 10);
			CHECK(exs_future_is_done(s.f));
			exs_future_unref(s.f);
			CHECK_INT(exs_timeout_abandoned(s.ex), 1);
		}
		sem_post(&s.job.open);
		if (!late)
			expect_cancelled(s.f, EXS_CAUSE_USER);
		scene_end(&s);
		CHECK_INT(s.job.cause, EXS_CAUSE_USER);
	}
}

/* Two layers deep: the outer falls due first, and everything below is left behind; or the inner, and the outer goes on. */
TEST(timeout, nested_abandons)
{
	double inner[] = {5, 20};
	const char *messages[] = {"timed out after 5s", "timed out after 10s"};

	for (int i = 0; i < 2; i++) {
		struct scene s;
		exs_executor *ex = exs_with_timeout_mode(pool_of(&s), inner[i], EXS_ABANDON);
		s.ex = exs_with_timeout_mode(ex, 10, EXS_ABANDON);
		start_running(&s);
		advance(s.clock, i ? 10 : 5);
		expect_timeout(s.f, messages[i]);
		CHECK_INT(exs_timeout_abandoned(s.ex),
			  i); /* of the outermost layer: its child has ended with the inner one */
		sem_post(&s.job.open);
		scene_end(&s);
		CHECK_INT(s.job.ends, 1);
	}
}

/* The count is the outermost ABANDON layer's, found from any layer above; without one it is 0. */
TEST(timeout, abandoned_count_through_a_chain)
{
	struct scene s;
	exs_retry_options options = {.max_attempts = 1};

	s.ex = exs_with_timeout_mode(pool_of(&s), 10, EXS_ABANDON);
	s.ex = exs_with_retry(exs_with_timeout(s.ex, 500), &options);
	start_running(&s);
	advance(s.clock, 10);
	expect_timeout(s.f, "timed out after 10s");
	CHECK_INT(exs_timeout_abandoned(s.ex), 1);
	CHECK_INT(exs_timeout_abandoned(s.pool), 0);
	CHECK_INT(exs_timeout_abandoned(NULL), 0);
	sem_post(&s.job.open);
	scene_end(&s);
}

/* --- options --- */

TEST(timeout, options_with_nonsense)
{
	struct {
		double seconds;
		int mode;
	} wrong[] = {{NAN, EXS_WAIT}, {-1, EXS_WAIT}, {-EXS_FOREVER, EXS_ABANDON}, {1, 2}, {1, -1}, {NAN, EXS_ABANDON}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		CHECK(!exs_with_timeout_mode(exs_inline(), wrong[i].seconds, (exs_timeout_mode)wrong[i].mode));
		CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	}
	CHECK(!exs_with_timeout(NULL, 1));
	CHECK(!exs_with_timeout(NULL, NAN));
}

TEST(timeout, own_time_with_nonsense)
{
	exs_executor *ex[] = {exs_with_timeout(exs_inline(), 10), exs_inline()};
	double wrong[] = {NAN, -1, 5};

	for (int i = 0; i < 4; i++) {
		struct job job;
		exs_task task = {.fn = job_run, .arg = &job, .arg_free = job_free_arg, .timeout = wrong[i % 3]};
		job_init(&job);
		exs_future *f = exs_submit_with(ex[i > 1], &task); /* 5 s, but no layer for it */
		expect_code(f, &exs_domain_exs, EXS_EINVAL);
		job_fini(&job);
	}
	for (int i = 0; i < 2; i++)
		exs_executor_free(ex[i]);
}

TEST(timeout, describes_itself)
{
	exs_executor *ex = exs_with_timeout_mode(exs_inline(), EXS_FOREVER, EXS_ABANDON);
	char text[128];

	ex = exs_with_timeout(exs_with_timeout(exs_with_timeout_mode(ex, 0.25, EXS_ABANDON), 30), EXS_FOREVER);
	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "timeout(none) > timeout(30s) > timeout(0.25s, abandon) > timeout(none, abandon) > inline");
	exs_executor_free(ex);
}
