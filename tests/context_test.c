/* What a running task can ask: stop requests and their handlers, sleep, deadline, attempts, name. */
#include "support.h"

#include <math.h>

/* One call on a pool of one worker: what the task does, and what the test and the task tell each other. */
struct scene {
	exs_executor *ex;
	exs_future *f;
	exs_context *ctx;
	sem_t began, go, entered, leave;
	atomic_uint calls, ended;
	pthread_t caller;
};

static void scene_init(struct scene *s)
{
	*s = (struct scene){.ex = exs_thread_pool(1)};
	CHECK(s->ex);
	sem_init(&s->began, 0, 0);
	sem_init(&s->go, 0, 0);
	sem_init(&s->entered, 0, 0);
	sem_init(&s->leave, 0, 0);
}

static void scene_start(struct scene *s, exs_task_fn *fn)
{
	scene_init(s);
	s->f = exs_submit(s->ex, fn, s);
	sem_take(&s->began);
}

static void scene_end(struct scene *s)
{
	expect_value(s->f, s);
	exs_executor_free(s->ex);
	sem_destroy(&s->began);
	sem_destroy(&s->go);
	sem_destroy(&s->entered);
	sem_destroy(&s->leave);
}

static void handler(void *arg)
{
	struct scene *s = arg;

	s->caller = pthread_self();
	atomic_fetch_add(&s->calls, 1);
}

/* --- on_cancel, off_cancel --- */

static exs_result handle(void *arg, exs_context *ctx)
{
	struct scene *s = arg;

	CHECK_INT(exs_context_on_cancel(ctx, handler, s), EXS_OK);
	sem_post(&s->began);
	sem_take(&s->go);
	CHECK(exs_context_stop_requested(ctx));
	CHECK_INT(exs_context_cause(ctx), EXS_CAUSE_USER);
	return exs_ok(s, NULL);
}

TEST(context, handler_runs_once_on_the_cancelling_thread)
{
	struct scene s;

	scene_start(&s, handle);
	CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
	CHECK_INT(s.calls, 1);
	CHECK(pthread_equal(s.caller, pthread_self()));
	CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
	CHECK_INT(s.calls, 1);
	sem_post(&s.go);
	scene_end(&s);
	CHECK_INT(s.calls, 1);
}

static exs_result do_not_cancel(void *arg, exs_context *ctx)
{
	struct scene *s = arg;

	CHECK_INT(exs_context_on_cancel(ctx, handler, s), EXS_OK);
	CHECK(!exs_context_stop_requested(ctx));
	CHECK_INT(exs_context_cause(ctx), EXS_CAUSE_NONE);
	sem_post(&s->began);
	return exs_ok(s, NULL);
}

TEST(context, handler_does_not_run_without_a_cancel)
{
	struct scene s;

	scene_start(&s, do_not_cancel);
	wait_done(s.f);
	CHECK_INT(exs_future_cancel(s.f), EXS_TOO_LATE);
	scene_end(&s);
	CHECK_INT(s.calls, 0);
}

static exs_result handle_late(void *arg, exs_context *ctx)
{
	struct scene *s = arg;

	sem_post(&s->began);
	sem_take(&s->go);
	CHECK_INT(exs_context_on_cancel(ctx, handler, s), EXS_OK); /* at once, here */
	CHECK_INT(s->calls, 1);
	CHECK(pthread_equal(s->caller, pthread_self()));
	CHECK_INT(exs_context_on_cancel(ctx, NULL, s), EXS_EINVAL);
	return exs_ok(s, NULL);
}

TEST(context, handler_added_after_the_cancel_runs_at_once)
{
	struct scene s;

	scene_start(&s, handle_late);
	CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
	sem_post(&s.go);
	scene_end(&s);
	CHECK_INT(s.calls, 1);
}

static void other_handler(void *arg)
{
	atomic_fetch_add(&((struct scene *)arg)->calls, 100);
}

static exs_result take_back(void *arg, exs_context *ctx)
{
	struct scene *s = arg;
	int unknown;

	for (int i = 0; i < 2; i++)
		CHECK_INT(exs_context_on_cancel(ctx, handler, s), EXS_OK);
	CHECK_INT(exs_context_on_cancel(ctx, other_handler, s), EXS_OK);
	exs_context_off_cancel(ctx, handler, s); /* one of the two */
	exs_context_off_cancel(ctx, other_handler, s);
	exs_context_off_cancel(ctx, other_handler, s); /* unknown by now */
	exs_context_off_cancel(ctx, handler, &unknown);
	exs_context_off_cancel(ctx, NULL, NULL);
	sem_post(&s->began);
	sem_take(&s->go);
	exs_context_off_cancel(ctx, handler, s); /* it has run */
	return exs_ok(s, NULL);
}

TEST(context, off_cancel_takes_one_back)
{
	struct scene s;

	scene_start(&s, take_back);
	CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
	CHECK_INT(s.calls, 1);
	sem_post(&s.go);
	scene_end(&s);
	CHECK_INT(s.calls, 1);
}

static void slow_handler(void *arg)
{
	struct scene *s = arg;

	sem_post(&s->entered);
	give_time(); /* for whoever does not wait for it */
	atomic_store(&s->ended, 1);
}

static exs_result off_while_it_runs(void *arg, exs_context *ctx)
{
	struct scene *s = arg;

	CHECK_INT(exs_context_on_cancel(ctx, slow_handler, s), EXS_OK);
	sem_post(&s->began);
	sem_take(&s->entered);
	exs_context_off_cancel(ctx, slow_handler, s);
	CHECK_INT(s->ended, 1);
	return exs_ok(s, NULL);
}

TEST(context, off_cancel_waits_for_a_handler_under_way)
{
	struct scene s;

	scene_start(&s, off_while_it_runs);
	exs_future_cancel(s.f);
	scene_end(&s);
}

static exs_result return_while_it_runs(void *arg, exs_context *ctx)
{
	struct scene *s = arg;

	CHECK_INT(exs_context_on_cancel(ctx, slow_handler, s), EXS_OK);
	sem_post(&s->began);
	sem_take(&s->entered);
	return exs_ok(s, NULL);
}

static void check_ended(exs_future *f, void *arg)
{
	(void)f;
	CHECK_INT(((struct scene *)arg)->ended, 1);
}

TEST(context, task_waits_for_a_handler_under_way)
{
	struct scene s;

	scene_start(&s, return_while_it_runs);
	CHECK_INT(exs_future_on_done(s.f, check_ended, &s, NULL), EXS_OK);
	exs_future_cancel(s.f);
	scene_end(&s);
	CHECK_INT(s.ended, 1);
}

static void nested_handler(void *arg)
{
	struct scene *s = arg;

	exs_context_off_cancel(s->ctx, nested_handler, s); /* does not wait for itself */
	CHECK_INT(exs_context_on_cancel(s->ctx, handler, s), EXS_OK);
	CHECK_INT(exs_future_cancel(s->f), EXS_STOP_REQUESTED);
}

static exs_result nest(void *arg, exs_context *ctx)
{
	struct scene *s = arg;

	s->ctx = ctx;
	CHECK_INT(exs_context_on_cancel(ctx, nested_handler, s), EXS_OK);
	sem_post(&s->began);
	sem_take(&s->go);
	return exs_ok(s, NULL);
}

TEST(context, handler_may_add_and_take_back_handlers)
{
	struct scene s;

	scene_start(&s, nest);
	CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
	CHECK_INT(s.calls, 1);
	sem_post(&s.go);
	scene_end(&s);
}

struct row {
	unsigned order[8], n;
};

static void in_row(struct row *row, unsigned i)
{
	row->order[row->n++] = i;
}

static void first_in_row(void *row)
{
	in_row(row, 1);
}

static void second_in_row(void *row)
{
	in_row(row, 2);
}

static void third_in_row(void *row)
{
	in_row(row, 3);
}

static exs_result add_row(void *arg, exs_context *ctx)
{
	struct row *row = arg;
	exs_free_fn *fns[] = {first_in_row, second_in_row, third_in_row};

	for (int i = 0; i < 3; i++)
		CHECK_INT(exs_context_on_cancel(ctx, fns[i], row), EXS_OK);
	CHECK_INT(exs_context_sleep(ctx, EXS_FOREVER), EXS_ECANCELLED);
	return exs_ok(row, NULL);
}

TEST(context, handlers_run_in_the_order_of_adding)
{
	struct row row = {.n = 0};
	exs_executor *ex = exs_thread_pool(1);
	exs_future *f = exs_submit(ex, add_row, &row);

	while (exs_future_state(f) != EXS_STATE_RUNNING)
		sched_yield();
	exs_future_cancel(f);
	expect_value(f, &row);
	for (unsigned i = 0; i < row.n; i++)
		CHECK_INT(row.order[i], i + 1);
	CHECK_INT(row.n, 3);
	exs_executor_free(ex);
}

static exs_result fail_first(void *arg, exs_context *ctx)
{
	struct scene *s = arg;

	if (exs_context_attempt(ctx) == 1) {
		CHECK_INT(exs_context_on_cancel(ctx, other_handler, s), EXS_OK);
		return exs_fail(exs_error_new(&test_domain, 1, "first"));
	}
	CHECK_INT(exs_context_on_cancel(ctx, handler, s), EXS_OK);
	sem_post(&s->began);
	sem_take(&s->go);
	return exs_ok(s, NULL);
}

TEST(context, handlers_go_with_their_attempt)
{
	struct scene s;
	exs_retry_options options = {.sleep = EXS_NONE};

	scene_init(&s);
	s.ex = exs_with_retry(s.ex, &options);
	s.f = exs_submit(s.ex, fail_first, &s);
	sem_take(&s.began);
	CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
	CHECK_INT(s.calls, 1); /* not 101 */
	sem_post(&s.go);
	scene_end(&s);
}

/* --- sleep --- */

static exs_result sleep_in_vain(void *arg, exs_context *ctx)
{
	struct scene *s = arg;

	CHECK_INT(exs_context_sleep(ctx, 0), EXS_OK);
	CHECK_INT(exs_context_sleep(ctx, 1e-4), EXS_OK);
	CHECK_INT(exs_context_sleep(ctx, NAN), EXS_EINVAL);
	CHECK_INT(exs_context_sleep(ctx, -1), EXS_EINVAL);
	sem_post(&s->began);
	CHECK_INT(exs_context_sleep(ctx, EXS_FOREVER), EXS_ECANCELLED);
	CHECK_INT(exs_context_sleep(ctx, EXS_FOREVER), EXS_ECANCELLED); /* it stays asked to stop */
	CHECK_INT(exs_context_sleep(ctx, 0), EXS_ECANCELLED);
	return exs_ok(s, NULL);
}

TEST(context, sleep_ends_with_a_cancel)
{
	struct scene s;

	scene_start(&s, sleep_in_vain);
	exs_future_cancel(s.f);
	scene_end(&s);
}

/* --- deadline --- */

struct left {
	exs_clock *clock;
	double expected[2];
	unsigned starts;
};

static exs_result look_at_time(void *arg, exs_context *ctx)
{
	struct left *left = arg;
	double expected = left->expected[left->starts++];

	CHECK(exs_context_time_left(ctx) == expected);
	return exs_fail(exs_error_new(&test_domain, 1, "again"));
}

static exs_executor *retry_after(exs_executor *ex, double seconds)
{
	exs_retry_options options = {.max_attempts = 2, .sleep = seconds};

	return exs_with_retry(ex, &options);
}

static exs_executor *limit(exs_executor *ex, double seconds, exs_timeout_mode mode)
{
	return exs_with_timeout_mode(ex, seconds, mode);
}

/* The smallest of all layers', parents included; the second start is 4 s later. 0 does not go below. */
TEST(context, time_left)
{
	for (int i = 0; i < 6; i++) {
		struct left left = {.clock = exs_clock_manual_new()};
		exs_executor *ex = exs_with_clock(exs_inline(), left.clock);
		double expected[2] = {20, 16};
		if (i == 0) {
			ex = retry_after(ex, 4);
			expected[0] = expected[1] = EXS_FOREVER;
		} else if (i == 1) {
			ex = limit(retry_after(ex, 4), 20, EXS_WAIT);
		} else if (i == 2) {
			ex = limit(retry_after(limit(ex, 30, EXS_WAIT), 4), 20, EXS_WAIT);
		} else if (i == 3) {
			ex = limit(retry_after(limit(ex, 18, EXS_ABANDON), 4), 20, EXS_WAIT);
			expected[0] = 18;
		} else if (i == 4) {
			ex = limit(limit(retry_after(ex, 4), 40, EXS_ABANDON), 20, EXS_WAIT);
		} else {
			ex = limit(limit(retry_after(ex, 4), EXS_FOREVER, EXS_WAIT), 20, EXS_ABANDON);
		}
		for (int k = 0; k < 2; k++)
			left.expected[k] = expected[k];
		exs_future *f = exs_submit(ex, look_at_time, &left);
		advance(left.clock, 4);
		CHECK_INT(left.starts, 2);
		expect_code(f, &test_domain, 1);
		exs_executor_free(ex);
		exs_clock_unref(left.clock);
	}
}

static exs_result run_over(void *arg, exs_context *ctx)
{
	exs_clock *clock = arg;

	CHECK(exs_context_time_left(ctx) == 3);
	advance(clock, 2);
	CHECK(exs_context_time_left(ctx) == 1);
	CHECK(!exs_context_stop_requested(ctx));
	advance(clock, 2);
	CHECK(exs_context_time_left(ctx) == 0);
	CHECK(exs_context_stop_requested(ctx));
	CHECK_INT(exs_context_cause(ctx), EXS_CAUSE_TIMEOUT);
	return exs_ok(clock, NULL);
}

TEST(context, time_left_ends_at_zero)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout(exs_with_clock(exs_inline(), clock), 3);

	expect_value(exs_submit(ex, run_over, clock), clock);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

/* --- attempts, name --- */

struct tries {
	unsigned starts, max;
};

static exs_result count_tries(void *arg, exs_context *ctx)
{
	struct tries *t = arg;

	CHECK_INT(exs_context_attempt(ctx), ++t->starts);
	t->max = exs_context_max_attempts(ctx);
	CHECK_STR(exs_context_name(ctx), "tries");
	return exs_fail(exs_error_new(&test_domain, 1, "again"));
}

/* r: two attempts, R: three, w and a: timeouts. */
static exs_executor *build(const char *layers)
{
	exs_retry_options two = {.max_attempts = 2, .sleep = EXS_NONE}, three = {.sleep = EXS_NONE};
	exs_executor *ex = exs_inline();

	for (; *layers; layers++)
		ex = *layers == 'r'   ? exs_with_retry(ex, &two)
		     : *layers == 'R' ? exs_with_retry(ex, &three)
				      : limit(ex, EXS_FOREVER, *layers == 'a' ? EXS_ABANDON : EXS_WAIT);
	return ex;
}

TEST(context, attempts_through_nested_layers)
{
	struct {
		const char *layers; /* the innermost first */
		unsigned starts;
	} cases[] = {{"", 1},	 {"w", 1},    {"a", 1},	   {"r", 2},	  {"rR", 6},	{"ra", 2},
		     {"ar", 2},	 {"raR", 6},  {"arw", 2},  {"raRar", 12}, {"aaa", 1},	{"rwRaa", 6},
		     {"rar", 4}, {"aRaR", 9}, {"Raar", 6}, {"rrr", 8},	  {"rarar", 8}, {"waraw", 2}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct tries t = {0, 0};
		exs_task task = {.fn = count_tries, .arg = &t, .name = "tries"};
		exs_executor *ex = build(cases[i].layers);
		expect_code(exs_submit_with(ex, &task), &test_domain, 1);
		CHECK_INT(t.starts, cases[i].starts);
		CHECK_INT(t.max, cases[i].starts);
		exs_executor_free(ex);
	}
}

static exs_result no_name(void *arg, exs_context *ctx)
{
	CHECK(!exs_context_name(ctx));
	CHECK_INT(exs_context_attempt(ctx), 1);
	CHECK_INT(exs_context_max_attempts(ctx), EXS_UNLIMITED);
	return exs_ok(arg, NULL);
}

TEST(context, unlimited_attempts_and_no_name)
{
	exs_retry_options options = {.max_attempts = EXS_UNLIMITED};
	exs_executor *ex = limit(exs_with_retry(exs_with_retry(exs_inline(), NULL), &options), 10, EXS_ABANDON);
	exs_task task = {.fn = no_name, .arg = &options, .priority = 1};

	expect_value(exs_submit(ex, no_name, &options), &options);
	expect_value(exs_submit_with(ex, &task), &options);
	exs_executor_free(ex);
}

/* --- none --- */

static exs_result run_alone(void *arg, exs_context *ctx)
{
	struct scene *s = arg;

	(void)ctx;
	CHECK(!exs_context_stop_requested(NULL));
	CHECK_INT(exs_context_cause(NULL), EXS_CAUSE_NONE);
	CHECK(exs_context_time_left(NULL) == EXS_FOREVER);
	CHECK(exs_context_attempt(NULL) == 1 && exs_context_max_attempts(NULL) == 1);
	CHECK(!exs_context_name(NULL) && !exs_context_worker_state(NULL));
	CHECK_INT(exs_context_on_cancel(NULL, handler, s), EXS_OK);
	CHECK_INT(exs_context_on_cancel(NULL, NULL, s), EXS_EINVAL);
	exs_context_off_cancel(NULL, handler, s);
	exs_context_off_cancel(NULL, NULL, s);
	CHECK_INT(exs_context_sleep(NULL, 1e-4), EXS_OK);
	CHECK_INT(exs_context_sleep(NULL, -1), EXS_EINVAL);
	return exs_ok(s, NULL);
}

TEST(context, of_nothing)
{
	struct scene s = {.calls = 0};
	exs_executor *ex = exs_thread_pool(1);

	CHECK(run_alone(&s, NULL).value == &s);
	expect_value(exs_submit(ex, run_alone, &s), &s); /* on a worker, too */
	CHECK_INT(s.calls, 0);
	exs_executor_free(ex);
}
