/* Retry: every rule of its table in semantics.md, on the manual clock. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A job that fails, on retry > inline and a manual clock. */
struct scene {
	exs_clock *clock;
	exs_executor *ex;
	exs_error *error;
	struct job job;
	exs_future *f;
};

static void scene_init(struct scene *s, const exs_retry_options *options)
{
	s->clock = exs_clock_manual_new();
	s->ex = exs_with_retry(exs_with_clock(exs_inline(), s->clock), options);
	CHECK(s->ex);
	s->error = exs_error_new(&test_domain, 503, "HTTP 503");
	job_init(&s->job);
	s->job.failures = ALWAYS;
	s->job.error = s->error;
}

static void scene_start(struct scene *s, const exs_retry_options *options)
{
	scene_init(s, options);
	s->f = job_submit(s->ex, &s->job);
}

static void scene_end(struct scene *s)
{
	CHECK_INT(exs_clock_armed(s->clock), 0);
	exs_executor_free(s->ex);
	exs_clock_unref(s->clock);
	job_fini(&s->job);
	exs_error_unref(s->error);
}

/* --- the default policy --- */

TEST(retry, backs_off_exponentially)
{
	exs_retry_options options[] = {
		{0},
		{.max_attempts = 1},
		{.max_attempts = 5, .sleep = 3},
		{.max_attempts = 5, .exponent = 10, .max_sleep = 50},
		{.max_attempts = 4, .exponent = 1},
		{.max_attempts = 6, .sleep = 50},
		{.max_attempts = 6, .sleep = 50, .max_sleep = EXS_UNLIMITED},
		{.max_attempts = 3, .sleep = 500},
		{.max_attempts = 5, .sleep = EXS_NONE},
		{.max_attempts = 3, .max_sleep = EXS_NONE},
		{.max_attempts = 3, .sleep = EXS_FOREVER},
	};
	double delays[][6] = {{1, 2},
			      {0},
			      {3, 6, 12, 24},
			      {1, 10, 50, 50},
			      {1, 1, 1},
			      {50, 100, 120, 120, 120},
			      {50, 100, 200, 400, 800},
			      {120, 120},
			      {0},
			      {0},
			      {120, 120}};

	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		struct scene s;
		unsigned n = 0;
		scene_start(&s, &options[i]);
		for (; delays[i][n] > 0; n++) {
			CHECK_INT(s.job.starts, n + 1);
			CHECK(exs_clock_next(s.clock) == delays[i][n]);
			advance(s.clock, delays[i][n] / 2);
			CHECK_INT(s.job.starts, n + 1);
			CHECK(!exs_future_is_done(s.f));
			advance(s.clock, delays[i][n] / 2);
		}
		CHECK_INT(s.job.starts, options[i].max_attempts ? options[i].max_attempts : 3);
		expect_error(s.f, s.error);
		scene_end(&s);
	}
}

TEST(retry, defaults_without_options)
{
	struct scene s;

	scene_start(&s, NULL);
	advance(s.clock, 1);
	advance(s.clock, 2);
	CHECK_INT(s.job.starts, 3);
	expect_error(s.f, s.error);
	scene_end(&s);
}

TEST(retry, unlimited_attempts)
{
	exs_retry_options options = {.max_attempts = EXS_UNLIMITED, .max_sleep = 1};
	struct scene s;

	scene_start(&s, &options);
	advance(s.clock, 999);
	CHECK_INT(s.job.starts, 1000);
	s.job.failures = 1000;
	advance(s.clock, 1);
	expect_value(s.f, &s.job);
	scene_end(&s);
}

/* The state between two attempts, and what the sentence says. */
TEST(retry, last_error_itself_and_the_attempts_explained)
{
	struct scene s;
	char text[100];

	scene_start(&s, NULL);
	CHECK_INT(exs_future_state(s.f), EXS_STATE_PENDING);
	exs_future_explain(s.f, text, sizeof(text));
	CHECK_STR(text, "task: attempt 1 of 3: pending");
	exs_error *other = s.job.error = exs_error_new(&test_domain, 500, "HTTP 500");
	advance(s.clock, 3);
	exs_future_explain(s.f, text, sizeof(text));
	CHECK_STR(text, "task: attempt 3 of 3: HTTP 500");
	expect_error(s.f, other); /* not the first one's */
	exs_error_unref(other);
	scene_end(&s);
}

TEST(retry, jitter)
{
	exs_retry_options options[] = {
		{.jitter = EXS_JITTER_FULL, .sleep = 10},
		{.jitter = EXS_JITTER_FRACTION, .sleep = 10},
		{.jitter = EXS_JITTER_FRACTION, .sleep = 10, .fraction = 0.1},
		{.jitter = EXS_JITTER_FRACTION, .sleep = 10, .fraction = 1},
	};
	double from[] = {0, 5, 9, 0}, to[] = {10, 15, 11, 20};

	for (int i = 0; i < 4; i++) {
		double low = 100, high = 0;
		for (int n = 0; n < 200; n++) {
			struct scene s;
			scene_start(&s, &options[i]);
			double delay = exs_future_is_done(s.f) ? 0 : exs_clock_next(s.clock);
			CHECK(delay >= from[i] && delay <= to[i] + 1e-6);
			low = delay < low ? delay : low;
			high = delay > high ? delay : high;
			exs_future_cancel(s.f);
			exs_future_unref(s.f);
			scene_end(&s);
		}
		double width = to[i] - from[i]; /* 200 values leave out a quarter at an end once in 10^25 times */
		CHECK(low < from[i] + width / 4 && high > to[i] - width / 4);
	}
}

/* Jitter does not feed back into the exponential series: often enough, since what feeds back may by chance come to little. */
TEST(retry, jitter_leaves_the_series_alone)
{
	exs_retry_options options = {.jitter = EXS_JITTER_FRACTION, .fraction = 0.01, .sleep = 1, .max_attempts = 6};

	for (int n = 0; n < 100; n++) {
		struct scene s;
		double series = 1;
		scene_start(&s, &options);
		for (int i = 0; i < 5; i++, series *= 2) {
			double delay = exs_clock_next(s.clock);
			CHECK(fabs(delay - series) <= 0.0101 * series);
			advance(s.clock, delay);
			advance(s.clock, 1e-9);
		}
		expect_error(s.f, s.error);
		scene_end(&s);
	}
}

/* A delay that would pass the deadline fails at once; one that just meets it does not. */
TEST(retry, overall_deadline)
{
	struct {
		double deadline;
		unsigned starts;
	} cases[] = {{0.5, 1}, {1, 2}, {2.9, 2}, {3, 3}, {6.99, 3}, {7, 4}, {EXS_UNLIMITED, 5}, {EXS_FOREVER, 5}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		exs_retry_options options = {.max_attempts = 5, .deadline = cases[i].deadline};
		struct scene s;
		scene_start(&s, &options);
		for (double delay = 1; !exs_future_is_done(s.f); delay *= 2) {
			CHECK(exs_clock_next(s.clock) == delay);
			advance(s.clock, delay);
		}
		CHECK_INT(s.job.starts, cases[i].starts);
		expect_error(s.f, s.error);
		scene_end(&s);
	}
}

/* --- which errors --- */

static const exs_domain other_domain = {.size = sizeof(exs_domain), .name = "other"};

TEST(retry, only_the_listed_codes)
{
	exs_retry_code codes[] = {{&test_domain, 503}, {&other_domain, 7}};
	exs_retry_options options = {.sleep = EXS_NONE, .codes = codes, .n_codes = 2};
	struct {
		const exs_domain *domain;
		int code;
		bool retried;
	} cases[] = {
		{&test_domain, 503, true},
		{&test_domain, 7, false},
		{&other_domain, 7, true},
		{&other_domain, 503, false},
		{&exs_domain_exs, EXS_ETIMEDOUT, false},
	};

	struct scene s;
	scene_init(&s, &options);
	memset(codes, 0, sizeof(codes)); /* they were copied */
	job_free_arg(&s.job);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct job job;
		job_init(&job);
		job.failures = ALWAYS;
		job.error = exs_error_new(cases[i].domain, cases[i].code, "case");
		expect_error(job_submit(s.ex, &job), job.error);
		CHECK_INT(job.starts, cases[i].retried ? 3 : 1);
		exs_error_unref(job.error);
		job_fini(&job);
	}
	scene_end(&s);
}

/* By default all, but those of the library where a repetition can't help. */
TEST(retry, codes_by_default)
{
	exs_retry_options options = {.sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(exs_inline(), &options);

	for (int code = EXS_EINVAL; code <= EXS_ECANCELLED; code++) {
		bool hopeless = code == EXS_ESHUTDOWN || code == EXS_EINVAL || code == EXS_EFORK;
		for (int other = 0; other < 2; other++) {
			struct job job;
			job_init(&job);
			job.failures = ALWAYS;
			job.error = exs_error_new(other ? &test_domain : &exs_domain_exs, code, "case");
			expect_error(job_submit(ex, &job), job.error);
			CHECK_INT(job.starts, hopeless && !other ? 1 : 3);
			exs_error_unref(job.error);
			job_fini(&job);
		}
	}
	exs_executor_free(ex);
}

/* Retry-After: the larger of hint and backoff; above its own ceiling the call fails at once. */
TEST(retry, hint_of_the_error)
{
	struct {
		double hint, ceiling, delay; /* 0: fails at once */
	} cases[] = {
		{5, 0, 5},	    {0.5, 0, 1},       {0, 0, 1},
		{120, 0, 120},	    {120.5, 0, 0},     {50, 20, 0},
		{20, 20, 20},	    {500, 600, 500},   {5000, EXS_UNLIMITED, 5000},
		{0.5, EXS_NONE, 0}, {-1, EXS_NONE, 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		exs_retry_options options = {.max_retry_after = cases[i].ceiling, .max_sleep = 10};
		exs_error *hinted = exs_error_new_retry_after(&test_domain, 429, cases[i].hint, "HTTP 429");
		struct scene s;
		scene_init(&s, &options);
		s.job.error = hinted;
		s.job.failures = 1;
		s.f = job_submit(s.ex, &s.job);
		if (cases[i].delay == 0) {
			expect_error(s.f, hinted);
		} else {
			CHECK(exs_clock_next(s.clock) == cases[i].delay);
			advance(s.clock, cases[i].delay);
			expect_value(s.f, &s.job);
		}
		exs_error_unref(hinted);
		scene_end(&s);
	}
}

/* A hint that would pass the deadline fails at once, too; and it does not change the series. */
TEST(retry, hint_with_deadline_and_series)
{
	exs_retry_options options = {.max_attempts = 5, .deadline = 10};
	struct scene s;
	exs_error *hinted = exs_error_new_retry_after(&test_domain, 429, 6, "HTTP 429");

	scene_init(&s, &options);
	s.job.error = hinted;
	s.f = job_submit(s.ex, &s.job);
	CHECK(exs_clock_next(s.clock) == 6);
	s.job.error = s.error;
	advance(s.clock, 6);
	CHECK(exs_clock_next(s.clock) == 2);
	s.job.error = hinted;
	advance(s.clock, 2);
	CHECK_INT(s.job.starts, 3);
	expect_error(s.f, hinted);
	exs_error_unref(hinted);
	scene_end(&s);
}

/* --- hooks and policies --- */

struct policy {
	struct scene *scene;
	unsigned asked, hooked;
	bool again;
	double delay;	  /* negative: leave the preset */
	exs_error *error; /* fails with this */
	bool cancels;	  /* the user's cancel, from within */
	exs_future *future;
	double preset, elapsed;
	exs_kind kind;
	unsigned frees;
};

static bool ask(void *ctx, const exs_attempt *a, double *delay, exs_error **error)
{
	struct policy *p = ctx;

	CHECK_INT(a->attempt, ++p->asked);
	CHECK_STR(a->name, "named");
	p->elapsed = a->elapsed;
	p->preset = *delay;
	p->kind = a->outcome->kind;
	if (p->kind == EXS_KIND_ERROR)
		CHECK(a->outcome->error == p->scene->job.error);
	else
		CHECK(a->outcome->value == &p->scene->job);
	if (p->delay >= 0 || isnan(p->delay))
		*delay = p->delay;
	*error = exs_error_ref(p->error);
	return p->again;
}

static void hook(void *ctx, const exs_attempt *a, double delay)
{
	struct policy *p = ctx;

	p->hooked++;
	CHECK_INT(a->attempt, p->hooked);
	CHECK(a->outcome->kind == EXS_KIND_ERROR && a->outcome->error == p->scene->error);
	CHECK_STR(a->name, "named");
	CHECK_INT(p->scene->job.starts, p->hooked); /* before the next attempt */
	p->delay = delay;
	p->elapsed = a->elapsed;
	if (p->cancels)
		CHECK_INT(exs_future_cancel(p->future), EXS_STOP_REQUESTED);
}

static void free_policy(void *ctx)
{
	((struct policy *)ctx)->frees++;
}

static void named_start(struct scene *s)
{
	exs_task task = {.fn = job_run, .arg = &s->job, .arg_free = job_free_arg, .name = "named"};

	s->f = exs_submit_with(s->ex, &task);
}

TEST(retry, on_retry_before_each_backoff)
{
	struct scene s;
	struct policy p = {.scene = &s};
	exs_retry_options options = {.on_retry = hook, .ctx = &p, .ctx_free = free_policy};

	scene_init(&s, &options);
	named_start(&s);
	CHECK(p.hooked == 1 && p.delay == 1 && p.elapsed == 0);
	advance(s.clock, 1);
	CHECK(p.hooked == 2 && p.delay == 2 && p.elapsed == 1);
	advance(s.clock, 2);
	CHECK_INT(p.hooked, 2);
	expect_error(s.f, s.error);
	CHECK_INT(p.frees, 0);
	scene_end(&s);
	CHECK_INT(p.frees, 1);
}

/* It sees the outcome, the attempt from 1, the time since the first, and the backoff as a default. */
TEST(retry, custom_policy)
{
	struct scene s;
	struct policy p = {.scene = &s, .again = true, .delay = -1};
	exs_retry_options options = {.policy = ask, .max_attempts = 2, .sleep = 3, .ctx = &p, .ctx_free = free_policy};

	scene_init(&s, &options);
	named_start(&s);
	CHECK(p.asked == 1 && p.elapsed == 0 && p.preset == 3 && p.kind == EXS_KIND_ERROR);
	CHECK(exs_clock_next(s.clock) == 3);
	p.delay = 10;
	advance(s.clock, 3); /* max_attempts is not its matter */
	CHECK(p.asked == 2 && p.elapsed == 3 && p.preset == 6);
	CHECK(exs_clock_next(s.clock) == 10);
	s.job.failures = 2;
	p.delay = 0;
	p.again = false;
	advance(s.clock, 10);
	CHECK(p.asked == 3 && p.elapsed == 13 && p.kind == EXS_KIND_VALUE);
	expect_value(s.f, &s.job);
	scene_end(&s);
	CHECK_INT(p.frees, 1);
}

/* A success may be retried; its value is destroyed before the next attempt. A cancelled outcome is not asked about. */
TEST(retry, policy_retries_a_success)
{
	struct scene s;
	struct policy p = {.scene = &s, .again = true, .delay = 1};
	exs_retry_options options = {.policy = ask, .ctx = &p};

	scene_init(&s, &options);
	s.job.failures = 0;
	named_start(&s);
	for (unsigned i = 1; i < 5; i++) {
		CHECK(p.asked == i && p.kind == EXS_KIND_VALUE && s.job.values == 1 && s.job.made == i);
		advance(s.clock, 1);
	}
	s.job.cancels = true;
	advance(s.clock, 1);
	CHECK_INT(p.asked, 5);
	CHECK_INT(s.job.values, 0);
	expect_cancelled(s.f, EXS_CAUSE_NONE);
	scene_end(&s);
}

/* Also of a call that brings no options along. */
static bool until_the_third(void *ctx, const exs_attempt *a, double *delay, exs_error **error)
{
	(void)ctx, (void)error;
	CHECK(a->outcome->kind == EXS_KIND_VALUE && !a->name);
	*delay = 0;
	return a->attempt < 3;
}

TEST(retry, policy_retries_a_success_of_a_plain_submit)
{
	struct scene s;
	exs_retry_options options = {.policy = until_the_third};

	scene_init(&s, &options);
	s.job.failures = 0;
	expect_value(job_submit(s.ex, &s.job), &s.job);
	CHECK_INT(s.job.starts, 3);
	scene_end(&s);
}

TEST(retry, policy_that_fails_is_logged)
{
	struct {
		exs_error *error;
		double delay;
		const char *line;
	} cases[] = {
		{exs_error_new(&test_domain, 1, "policy broke"), 1, "the policy failed: policy broke: no retry"},
		{NULL, NAN, "the policy failed: the delay is nan seconds: no retry"},
	};

	for (int i = 0; i < 2; i++) {
		struct scene s;
		struct policy p = {.scene = &s, .again = true, .delay = cases[i].delay, .error = cases[i].error};
		exs_retry_options options = {.policy = ask, .ctx = &p};
		log_begin(EXS_LOG_ERROR);
		scene_init(&s, &options);
		named_start(&s);
		expect_error(s.f, s.error);
		CHECK_INT(s.job.starts, 1);
		CHECK_INT(log_lines(cases[i].line), 1);
		scene_end(&s);
		log_end();
		exs_error_unref(cases[i].error);
	}
}

/* A policy's delay is bound by the deadline as well. */
TEST(retry, policy_within_the_deadline)
{
	struct scene s;
	struct policy p = {.scene = &s, .again = true, .delay = 4};
	exs_retry_options options = {.policy = ask, .deadline = 10, .ctx = &p};

	scene_init(&s, &options);
	named_start(&s);
	advance(s.clock, 4);
	advance(s.clock, 4);
	CHECK_INT(s.job.starts, 3);
	expect_error(s.f, s.error);
	scene_end(&s);
}

/* --- a call's own policy --- */

static exs_future *submit_own(struct scene *s, const exs_retry_options *own)
{
	exs_task task = {.fn = job_run, .arg = &s->job, .arg_free = job_free_arg, .name = "named", .retry = own};

	return s->f = exs_submit_with(s->ex, &task);
}

TEST(retry, own_policy_of_a_call)
{
	exs_retry_options own = {.max_attempts = 5, .sleep = 10, .exponent = 1};
	struct scene s;
	char text[100];

	scene_init(&s, NULL);
	submit_own(&s, &own);
	own = (exs_retry_options){.max_attempts = 1}; /* it was copied */
	for (int i = 0; i < 4; i++) {
		CHECK(exs_clock_next(s.clock) == 10);
		advance(s.clock, 10);
	}
	CHECK_INT(s.job.starts, 5);
	exs_future_explain(s.f, text, sizeof(text));
	CHECK_STR(text, "named: attempt 5 of 5: HTTP 503");
	expect_error(s.f, s.error);
	scene_end(&s);
}

TEST(retry, own_policy_function_of_a_call)
{
	struct scene s;
	struct policy p = {.scene = &s, .again = true, .delay = 7};
	exs_retry_options own = {.policy = ask, .ctx = &p};

	scene_init(&s, NULL);
	submit_own(&s, &own);
	CHECK(exs_clock_next(s.clock) == 7);
	p.again = false;
	advance(s.clock, 7);
	CHECK_INT(p.asked, 2);
	expect_error(s.f, s.error);
	scene_end(&s);
}

static void note_max(struct job *job, exs_context *ctx)
{
	*(unsigned *)job->more = exs_context_max_attempts(ctx);
}

/* Only the outermost layer's is replaced, also where a timeout in ABANDON mode lies between. */
/* The caller's options, and the codes they point to, may be gone once the submit has returned. */
TEST(retry, own_policy_is_copied)
{
	struct scene s;
	exs_retry_code codes[] = {{&test_domain, 1}, {&test_domain, 503}};
	exs_retry_options own = {.codes = codes, .n_codes = 2}, too_many = {.codes = codes, .n_codes = EXS_UNLIMITED};

	scene_init(&s, NULL);
	s.job.failures = 2;
	exs_task task = {.fn = job_run, .arg = &s.job, .arg_free = job_free_arg, .name = "x", .retry = &own};
	exs_future *f = exs_submit_with(s.ex, &task);
	CHECK_INT(exs_clock_armed(s.clock), 1);
	memset(codes, 0, sizeof(codes));
	own = (exs_retry_options){.max_attempts = 1};
	advance(s.clock, 1);
	advance(s.clock, 2);
	expect_value(f, &s.job);
	CHECK_INT(s.job.starts, 3); /* the default */
	scene_end(&s);
	job_init(&s.job);
	exs_executor *ex = exs_with_retry(exs_inline(), NULL);
	task.retry = &too_many; /* for which there is no room */
	CHECK(!exs_submit_with(ex, &task));
	CHECK_INT(s.job.freed, 1);
	exs_executor_free(ex);
	job_fini(&s.job);
}

TEST(retry, own_policy_is_for_the_outermost_layer)
{
	exs_retry_options two = {.max_attempts = 2, .sleep = EXS_NONE}, own = {.max_attempts = 4, .sleep = EXS_NONE};

	for (int abandon = 0; abandon < 3; abandon++) {
		struct scene s;
		unsigned max = 0;
		scene_init(&s, &two);
		if (abandon == 1)
			s.ex = exs_with_timeout_mode(s.ex, 100, EXS_ABANDON);
		s.ex = exs_with_retry(s.ex, &two);
		if (abandon == 2)
			s.ex = exs_with_timeout_mode(s.ex, 100, EXS_ABANDON);
		s.job.inside = note_max;
		s.job.more = &max;
		expect_error(submit_own(&s, &own), s.error);
		CHECK_INT(s.job.starts, 8);
		CHECK_INT(max, 8);
		scene_end(&s);
	}
}

TEST(retry, own_policy_with_nonsense)
{
	exs_retry_options wrong[] = {{.sleep = -1}, {.exponent = 0.5}, {.max_attempts = EXS_NONE}, {.n_codes = 1}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct scene s;
		scene_init(&s, NULL);
		expect_code(submit_own(&s, &wrong[i]), &exs_domain_exs, EXS_EINVAL);
		CHECK_INT(s.job.starts, 0);
		scene_end(&s);
	}
	exs_executor *ex = exs_inline();
	struct job job;
	job_init(&job);
	exs_task task = {.fn = job_run, .arg = &job, .arg_free = job_free_arg, .retry = &(exs_retry_options){0}};
	expect_code(exs_submit_with(ex, &task), &exs_domain_exs, EXS_EINVAL); /* there is no layer for it */
	exs_executor_free(ex);
	job_fini(&job);
}

/* --- cancel --- */

TEST(retry, cancel_in_a_backoff)
{
	struct scene s;

	scene_start(&s, NULL);
	CHECK_INT(exs_future_cancel(s.f), EXS_CANCELLED);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	advance(s.clock, 100);
	CHECK_INT(s.job.starts, 1);
	expect_cancelled(s.f, EXS_CAUSE_USER);
	scene_end(&s);
}

/* Which no time ends: the call is in its place all the same. */
TEST(retry, shutdown_in_an_endless_backoff)
{
	exs_retry_options options = {.sleep = EXS_UNLIMITED, .max_sleep = EXS_UNLIMITED};
	struct scene s;

	scene_start(&s, &options);
	CHECK_INT(exs_clock_armed(s.clock), 1);
	CHECK(exs_clock_next(s.clock) == EXS_FOREVER);
	CHECK_INT(exs_shutdown(s.ex, EXS_CANCEL_QUEUED, 0), 0);
	CHECK_INT(s.job.starts, 1);
	expect_cancelled(s.f, EXS_CAUSE_SHUTDOWN);
	scene_end(&s);
}

/* A cancel ends the retries even where it can't stop the attempt; the last outcome is delivered. */
TEST(retry, cancel_from_within_on_retry)
{
	struct scene s;
	struct policy p = {.scene = &s};

	for (int none = 0; none < 2; none++) {
		exs_retry_options options = {.on_retry = hook, .ctx = &p, .sleep = none ? EXS_NONE : 1, .max_sleep = 1};
		p = (struct policy){.scene = &s};
		scene_init(&s, &options);
		s.ex = exs_with_retry(s.ex,
				      &(exs_retry_options){.max_attempts = 2}); /* an outer one never retries it */
		s.job.failures = 1;
		exs_error *hinted = exs_error_new_retry_after(&test_domain, 1, 1, "first");
		exs_error *first = s.error;
		s.error = s.job.error = hinted;
		named_start(&s); /* in the backoff, by its hint */
		CHECK(p.hooked == 1 && exs_clock_next(s.clock) == 1);
		s.job.failures = ALWAYS;
		s.error = s.job.error = first;
		p.cancels = true;
		p.future = s.f;
		advance(s.clock, 1);
		CHECK_INT(p.hooked, 2);
		CHECK_INT(s.job.starts, 2);
		CHECK_INT(exs_future_cause(s.f), EXS_CAUSE_USER);
		expect_error(s.f, first);
		exs_error_unref(hinted);
		scene_end(&s);
	}
}

/* What the attempt that was running then answers is delivered, whatever it is; nobody is asked whether to go on. */
TEST(retry, cancel_while_an_attempt_runs)
{
	for (int i = 0; i < 6; i++) {
		struct scene s;
		struct policy p = {.scene = &s, .again = true, .delay = 1};
		exs_retry_options options = {.on_retry = hook, .policy = i % 2 ? ask : NULL, .ctx = &p};
		int kind = i / 2;
		scene_init(&s, NULL);
		exs_executor_free(s.ex);
		s.ex = exs_with_retry(exs_with_clock(exs_thread_pool(1), s.clock), &options);
		s.job.failures = kind == EXS_KIND_ERROR ? ALWAYS : 0;
		s.job.cancels = kind == EXS_KIND_CANCELLED;
		s.job.gated = true;
		named_start(&s);
		sem_take(&s.job.entered);
		CHECK_INT(exs_future_cancel(s.f), EXS_STOP_REQUESTED);
		sem_post(&s.job.open);
		if (kind == EXS_KIND_ERROR)
			expect_error(s.f, s.error);
		else if (kind == EXS_KIND_VALUE)
			expect_value(s.f, &s.job);
		else
			expect_cancelled(s.f, EXS_CAUSE_USER);
		advance(s.clock, 1000);
		CHECK(s.job.starts == 1 && p.hooked == 0 && p.asked == 0);
		scene_end(&s);
	}
}

/* The delegate's time-out is an error like any other. */
TEST(retry, delegates_timeout_is_retried)
{
	struct scene s;

	scene_init(&s, NULL);
	exs_executor_free(s.ex);
	s.ex = exs_with_retry(exs_with_timeout(exs_with_clock(exs_thread_pool(1), s.clock), 5), NULL);
	s.job.failures = 0;
	s.job.missed = 1;
	struct job gate;
	job_init(&gate);
	gate.gated = true;
	exs_future *first = job_submit(s.ex, &gate);
	sem_take(&gate.entered);
	s.f = job_submit(s.ex, &s.job); /* queued behind it */
	advance(s.clock, 5);
	CHECK_INT(exs_future_state(s.f), EXS_STATE_PENDING);
	CHECK_INT(exs_clock_armed(s.clock), 1);
	CHECK(exs_clock_next(s.clock) == 1); /* its backoff */
	advance(s.clock, 1);
	sem_post(&gate.open);
	expect_value(first, &gate);
	expect_value(s.f, &s.job);
	CHECK_INT(s.job.starts, 1);
	job_fini(&gate);
	scene_end(&s);
}

/* --- order --- */

struct arrival {
	struct job job; /* first */
	double at;
	double *last;
	exs_clock *clock;
};

static void arrive(struct job *job, exs_context *ctx)
{
	struct arrival *a = (struct arrival *)(void *)job;

	if (exs_context_attempt(ctx) == 1)
		return;
	CHECK(exs_clock_now(a->clock) == a->at);
	CHECK(*a->last <= a->at);
	*a->last = a->at;
}

TEST(retry, earliest_deadline_first)
{
	enum { N = 500 };
	exs_clock *clock = exs_clock_manual_new();
	exs_retry_options options = {.max_retry_after = EXS_UNLIMITED, .sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_inline(), clock), &options);
	struct arrival *a = malloc(N * sizeof(*a));
	exs_future *f[N];
	uint64_t seed = harness_seed();
	double last = 0;

	for (int i = 0; i < N; i++) {
		job_init(&a[i].job);
		a[i].at = (double)(1 + harness_below(&seed, 100000));
		a[i].last = &last;
		a[i].clock = clock;
		a[i].job.inside = arrive;
		a[i].job.failures = 1;
		a[i].job.error = exs_error_new_retry_after(&test_domain, 1, a[i].at, "later");
		f[i] = job_submit(ex, &a[i].job);
	}
	CHECK_INT(exs_clock_armed(clock), N);
	advance(clock, 100001);
	for (int i = 0; i < N; i++) {
		CHECK_INT(a[i].job.starts, 2);
		expect_value(f[i], &a[i].job);
		exs_error_unref(a[i].job.error);
		job_fini(&a[i].job);
	}
	exs_executor_free(ex);
	exs_clock_unref(clock);
	free(a);
}

/* --- options --- */

TEST(retry, options_with_nonsense)
{
	exs_retry_code code = {&test_domain, 503};
	exs_retry_options wrong[] = {
		{.codes = &code, .n_codes = SIZE_MAX},
		{.max_attempts = EXS_NONE},
		{.sleep = NAN},
		{.sleep = -1},
		{.exponent = 0.9},
		{.exponent = -2},
		{.exponent = NAN},
		{.max_sleep = NAN},
		{.max_sleep = -1},
		{.jitter = (exs_jitter)3},
		{.jitter = (exs_jitter)-1},
		{.fraction = 1.1},
		{.fraction = -0.1},
		{.fraction = NAN},
		{.deadline = NAN},
		{.deadline = -1},
		{.max_retry_after = NAN},
		{.max_retry_after = -1},
		{.n_codes = 2},
	};
	struct policy p = {.frees = 0};
	unsigned n = sizeof(wrong) / sizeof(*wrong);
	long futures = harness_futures();

	for (unsigned i = 0; i < n; i++) {
		wrong[i].ctx = &p;
		wrong[i].ctx_free = free_policy;
		CHECK(!exs_with_retry(exs_inline(), &wrong[i])); /* taken over: a leak otherwise */
		CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
		CHECK_INT(p.frees, i + 1);
	}
	exs_retry_options fine = {.ctx = &p, .ctx_free = free_policy};
	CHECK(!exs_with_retry(NULL, &fine));
	CHECK_INT(p.frees, n + 1);
	exs_executor_free(exs_with_retry(exs_inline(), &fine));
	CHECK_INT(p.frees, n + 2);
	CHECK_INT(harness_futures(), futures);
}

TEST(retry, options_of_any_size)
{
	struct {
		exs_retry_options options;
		char tail[8];
	} longer = {.options = {.max_attempts = 7}};
	unsigned attempts = 5;
	char text[64];
	exs_executor *ex;

	longer.tail[7] = 1;
	CHECK(!exs_with_retry_sized(exs_inline(), &longer.options, sizeof(longer)));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	longer.tail[7] = 0;
	ex = exs_with_retry_sized(exs_inline(), &longer.options, sizeof(longer));
	ex = exs_with_retry_sized(ex, (exs_retry_options *)(void *)&attempts, sizeof(attempts));
	ex = exs_with_retry(ex, &(exs_retry_options){.max_attempts = EXS_UNLIMITED});
	ex = exs_with_retry(ex, NULL);
	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "retry(3) > retry(unlimited) > retry(5) > retry(7) > inline");
	exs_executor_free(ex);
}
