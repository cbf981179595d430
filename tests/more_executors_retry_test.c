/* Counterparts of more-executors' tests of its retry executor (test_retry.py, retry/test_retry.py, retry/test_broken_retry.py). */
#include "more_executors.h"

#include <stdlib.h>
#include <string.h>

/* As theirs: ten attempts, 1 ms, 2 ms ... at most 10 ms apart. */
static const exs_retry_options ten = {.max_attempts = 10, .exponent = 2, .sleep = 0.001, .max_sleep = 0.010};

struct scene {
	exs_clock *clock;
	exs_executor *ex;
};

static void scene_init(struct scene *s, const exs_retry_options *options)
{
	s->clock = exs_clock_manual_new();
	s->ex = exs_with_retry(more_inline(s->clock), options);
	CHECK(s->ex);
}

static void scene_end(struct scene *s)
{
	CHECK_INT(exs_clock_armed(s->clock), 0);
	exs_executor_free(s->ex);
	exs_clock_unref(s->clock);
}

/* --- the default policy --- */

/* A job that fails so often, and its one callback. */
static void fail_at_first(struct scene *s, unsigned failures)
{
	struct seen seen;
	struct job job;

	job_init(&job);
	seen_init(&seen);
	job.failures = failures;
	job.error = exs_error_new(&test_domain, 1, "no");
	exs_future *f = job_submit(s->ex, &job);
	CHECK_INT(exs_future_on_done(f, seen_call, &seen, seen_free), EXS_OK);
	for (unsigned i = 1; i <= failures; i++) {
		CHECK_INT(job.starts, i);
		CHECK_INT(seen.calls, 0);
		advance(s->clock, exs_clock_next(s->clock));
	}
	CHECK(!exs_future_error(f));
	CHECK(seen.calls == 1 && seen.last == f && seen.frees == 1);
	CHECK_INT(job.starts, failures + 1);
	expect_value(f, &job);
	exs_error_unref(job.error);
	job_fini(&job);
}

TEST(more_retry, basic_retry)
{
	struct scene s;

	scene_init(&s, &ten);
	for (int i = 0; i < 100; i++)
		fail_at_first(&s, 3);
	scene_end(&s);
}

static exs_result fail_with_number(void *calls, exs_context *ctx)
{
	unsigned n = ++*(unsigned *)calls;

	CHECK_INT(exs_context_attempt(ctx), n);
	return exs_fail(exs_error_new(&test_domain, (int)n, "error %u", n));
}

TEST(more_retry, fail)
{
	struct seen seen;
	struct scene s;
	unsigned calls = 0;

	scene_init(&s, &ten);
	seen_init(&seen);
	exs_future *f = more_submit(s.ex, fail_with_number, &calls);
	CHECK_INT(exs_future_on_done(f, seen_call, &seen, seen_free), EXS_OK);
	advance(s.clock, 1);
	CHECK_INT(calls, 10);
	CHECK_STR(exs_error_message(exs_future_error(f)), "error 10");
	CHECK(exs_future_result(f).error == exs_future_error(f));
	CHECK(seen.calls == 1 && seen.last == f);
	expect_code(f, &test_domain, 10);
	scene_end(&s);
}

/* --- two that back off --- */

enum { ATTEMPTS = 6 };

struct ordered {
	struct scene s;
	unsigned attempts[2], n;
	struct {
		int who;
		double at; /* in units of 40 ms */
	} calls[2 * ATTEMPTS];
	exs_future *f[2];
};

struct pair {
	struct ordered *o;
	int who;
};

static exs_future *submit_ordered(struct pair *p);

static exs_result run_ordered(void *pair, exs_context *ctx)
{
	struct pair *p = pair;
	struct ordered *o = p->o;
	unsigned attempt = ++o->attempts[p->who];

	(void)ctx;
	o->calls[o->n].who = p->who;
	o->calls[o->n++].at = exs_clock_now(o->s.clock) / 0.040;
	if (p->who == 0 && attempt == 3)
		o->f[1] = submit_ordered(p + 1);
	if (attempt < ATTEMPTS)
		return exs_fail(exs_error_new(&test_domain, (int)attempt, "simulated error %u", attempt));
	return exs_ok(p, NULL);
}

/* With a policy of its own. */
static exs_future *submit_ordered(struct pair *p)
{
	exs_retry_options own = {.max_attempts = 10, .exponent = 2, .sleep = 0.040, .max_sleep = 0.400};
	exs_task task = {.fn = run_ordered, .arg = p, .retry = &own};

	return exs_submit_with(p->o->s.ex, &task);
}

TEST(more_retry, order)
{
	static const int who[] = {0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1};
	static const double at[] = {0, 1, 3, 3, 4, 6, 7, 10, 15, 18, 25, 28};
	struct ordered o = {.n = 0};
	struct pair pair[2] = {{&o, 0}, {&o, 1}};

	scene_init(&o.s, &ten);
	o.f[0] = submit_ordered(&pair[0]);
	advance(o.s.clock, 10);
	for (int i = 0; i < 2; i++)
		expect_value(o.f[i], &pair[i]);
	CHECK_INT(o.n, 2 * ATTEMPTS);
	for (int i = 0; i < 2 * ATTEMPTS; i++) {
		CHECK_INT(o.calls[i].who, who[i]);
		CHECK(fabs(o.calls[i].at - at[i]) < 0.01);
	}
	scene_end(&o.s);
}

/* --- policies --- */

static exs_result count_up(void *calls, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(num(++*(unsigned *)calls), NULL);
}

static bool below_three(void *ctx, const exs_attempt *attempt, double *delay, exs_error **error)
{
	(void)ctx, (void)delay, (void)error;
	return (intptr_t)attempt->outcome->value < 3;
}

TEST(more_retry, override_policy)
{
	exs_retry_options own = {.policy = below_three};
	struct scene s;
	unsigned calls = 0;
	exs_task task = {.fn = count_up, .arg = &calls, .retry = &own};

	scene_init(&s, &ten);
	exs_future *f = exs_submit_with(s.ex, &task);
	advance(s.clock, 10);
	more_expect(f, 3);
	CHECK_INT(calls, 3);
	scene_end(&s);
}

/* The error whose turn it is. */
struct errors {
	exs_error *error[3];
	unsigned calls;
};

static exs_result fail_in_turn(void *errors, exs_context *ctx)
{
	struct errors *e = errors;

	(void)ctx;
	CHECK(e->calls < 3);
	return exs_fail(exs_error_ref(e->error[e->calls++]));
}

/* Theirs names classes of exceptions; ours, domains and codes. */
TEST(more_retry, only_retry_exception_type)
{
	exs_retry_code codes[] = {{&test_domain, 1}, {&test_domain, 2}, {&exs_domain_errno, 4}};
	exs_retry_options own = {.codes = codes, .n_codes = 3, .max_attempts = 10, .max_sleep = 0.01};
	struct errors e = {.calls = 0};
	exs_task task = {.fn = fail_in_turn, .arg = &e, .retry = &own};
	struct scene s;

	e.error[0] = exs_error_new(&test_domain, 2, "error 1");
	e.error[1] = exs_error_new(&exs_domain_errno, 4, "error 2");
	e.error[2] = exs_error_new(&test_domain, 4, "error 3");
	scene_init(&s, &ten);
	exs_future *f = exs_submit_with(s.ex, &task);
	advance(s.clock, 10);
	expect_error(f, e.error[2]);
	CHECK_INT(e.calls, 3);
	scene_end(&s);
	for (int i = 0; i < 3; i++)
		exs_error_unref(e.error[i]);
}

struct broken {
	exs_error *error;
	atomic_uint asked;
};

static bool fail_to_decide(void *ctx, const exs_attempt *attempt, double *delay, exs_error **error)
{
	struct broken *b = ctx;

	(void)delay;
	CHECK(attempt->outcome->error == b->error);
	atomic_fetch_add(&b->asked, 1);
	*error = exs_error_new(&test_domain, 7, "error from policy");
	return true;
}

static exs_result fail_so(void *error, exs_context *ctx)
{
	(void)ctx;
	return exs_fail(exs_error_ref(error));
}

TEST(more_broken_retry, broken_policy)
{
	struct broken b = {.error = exs_error_new(&test_domain, 1, "error from fn")};
	exs_retry_options options = {.policy = fail_to_decide, .ctx = &b};

	log_begin(EXS_LOG_ERROR);
	exs_executor *ex = exs_with_retry(exs_with_name(exs_thread_pool(0), "broken"), &options);
	expect_error(more_submit(ex, fail_so, b.error), b.error);
	exs_executor_free(ex);
	CHECK_INT(b.asked, 1);
	CHECK_INT(log_lines("broken: retry: the policy failed"), 1);
	CHECK_INT(log_lines("error from policy"), 1);
	log_end();
	exs_error_unref(b.error);
}

/* --- cancel --- */

static exs_result never(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	CHECK(false);
	return exs_cancelled();
}

static void cancel_again(exs_future *f, void *calls)
{
	++*(unsigned *)calls;
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
}

/* On a loop that nobody turns. */
TEST(more_retry, cancel_delegate)
{
	exs_executor *loop = exs_event_loop(), *ex = exs_with_retry(exs_borrow(loop), NULL);
	unsigned calls = 0;

	CHECK(loop && ex);
	exs_future *f = more_submit(ex, never, NULL);
	CHECK_INT(exs_future_on_done(f, cancel_again, &calls, NULL), EXS_OK);
	CHECK_INT(exs_executor_pending(ex), 1);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	CHECK_INT(calls, 1);
	CHECK_INT(exs_executor_pending(ex), 0);
	CHECK_INT(exs_event_loop_poll(loop), 0);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	expect_cancelled(f, EXS_CAUSE_USER);
	exs_executor_free(ex);
	exs_executor_free(loop);
}

/* Fails always; its second attempt cancels it, if it is to. */
struct canceller {
	exs_future *f;
	exs_error *error;
	bool cancels;
	unsigned calls;
	int answer;
};

static exs_result fail_and_cancel(void *canceller, exs_context *ctx)
{
	struct canceller *c = canceller;

	(void)ctx;
	if (++c->calls == 2 && c->cancels)
		c->answer = exs_future_cancel(c->f);
	return exs_fail(exs_error_ref(c->error));
}

TEST(more_retry, cancel_stops_retry)
{
	exs_error *error = exs_error_new(&test_domain, 1, "simulated error");
	struct canceller c[2] = {{.error = error, .answer = -1}, {.error = error, .answer = -1, .cancels = true}};
	struct scene s;

	scene_init(&s, &ten);
	for (int i = 0; i < 2; i++)
		c[i].f = more_submit(s.ex, fail_and_cancel, &c[i]);
	advance(s.clock, 1);
	for (int i = 0; i < 2; i++)
		expect_error(c[i].f, error);
	CHECK(c[0].calls == 10 && c[0].answer == -1);
	CHECK(c[1].calls == 2 && c[1].answer == EXS_STOP_REQUESTED);
	scene_end(&s);
	exs_error_unref(error);
}

/* A policy that takes its time. */
struct thinker {
	sem_t in, out;
};

static bool think(void *ctx, const exs_attempt *attempt, double *delay, exs_error **error)
{
	struct thinker *t = ctx;

	(void)attempt, (void)delay, (void)error;
	sem_post(&t->in);
	sem_take(&t->out);
	return true;
}

TEST(more_retry, cancel_stops_retry_race)
{
	struct thinker t;
	exs_retry_options options = {.policy = think, .ctx = &t};
	exs_executor *ex = exs_with_retry(exs_thread_pool(0), &options);
	struct job job;

	CHECK(ex && !sem_init(&t.in, 0, 0) && !sem_init(&t.out, 0, 0));
	job_init(&job);
	job.failures = ALWAYS;
	job.error = exs_error_new(&test_domain, 1, "simulated error");
	exs_future *f = job_submit(ex, &job);
	sem_take(&t.in);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	CHECK(!exs_future_is_done(f));
	sem_post(&t.out);
	expect_error(f, job.error);
	CHECK_INT(job.starts, 1);
	exs_executor_free(ex);
	exs_error_unref(job.error);
	job_fini(&job);
}
