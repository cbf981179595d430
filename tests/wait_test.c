/* Waiting on one, any, all, for the first error: what decides, time, nonsense, deadlock. */
#define _GNU_SOURCE
#include "support.h"

#include <math.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { N = 4 };

/* Promises in states named by letters: p pending, v value, e error, c cancelled. */
struct group {
	size_t n;
	exs_promise *p[N];
	exs_future *f[N];
};

static void settle(struct group *g, size_t i, char how)
{
	if (how == 'v')
		CHECK_INT(exs_promise_complete(g->p[i], exs_ok(g, NULL)), EXS_OK);
	else if (how == 'e')
		CHECK_INT(exs_promise_complete(g->p[i], exs_fail(exs_error_new(&test_domain, 1, "no"))), EXS_OK);
	else if (how == 'c')
		CHECK_INT(exs_future_cancel(g->f[i]), EXS_CANCELLED);
}

static void group_init(struct group *g, const char *states)
{
	for (g->n = 0; states[g->n]; g->n++) {
		g->p[g->n] = exs_promise_new(&g->f[g->n]);
		settle(g, g->n, states[g->n]);
	}
}

static void group_end(struct group *g)
{
	for (size_t i = 0; i < g->n; i++) {
		exs_promise_free(g->p[i]);
		exs_future_unref(g->f[i]);
	}
}

TEST(wait, what_decides)
{
	enum { YES = EXS_OK, NO = EXS_ETIMEDOUT };
	struct {
		const char *states;
		int any, all, error;
		size_t first_any, first_error;
	} cases[] = {
		{"", YES, YES, YES, 0, 0},     {"p", NO, NO, NO, 1, 1},	     {"v", YES, YES, YES, 0, 1},
		{"e", YES, YES, YES, 0, 0},    {"c", YES, YES, YES, 0, 1}, /* a cancel is no error */
		{"pv", YES, NO, NO, 1, 2},     {"ppc", YES, NO, NO, 2, 3},   {"pcep", YES, NO, YES, 1, 2},
		{"vvve", YES, YES, YES, 0, 3}, {"eppe", YES, NO, YES, 0, 0}, {"vcvc", YES, YES, YES, 0, 4},
		{"pppp", NO, NO, NO, 4, 4},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct group g;
		size_t first = 99;
		group_init(&g, cases[i].states);
		CHECK_INT(exs_wait_any(g.f, g.n, 0, &first), cases[i].any);
		CHECK_INT(first, cases[i].first_any);
		CHECK_INT(exs_wait_all(g.f, g.n, 0), cases[i].all);
		CHECK_INT(exs_wait_first_error(g.f, g.n, 0, &first), cases[i].error);
		CHECK_INT(first, cases[i].first_error);
		double seconds = cases[i].any == YES ? EXS_FOREVER : 1e-4;
		CHECK_INT(exs_wait_any(g.f, g.n, seconds, NULL), cases[i].any);
		seconds = cases[i].all == YES ? EXS_FOREVER : 1e-4;
		CHECK_INT(exs_wait_all(g.f, g.n, seconds), cases[i].all);
		seconds = cases[i].error == YES ? EXS_FOREVER : 1e-4;
		CHECK_INT(exs_wait_first_error(g.f, g.n, seconds, NULL), cases[i].error);
		for (size_t k = 0; k < g.n; k++) /* a time-out changes nothing */
			CHECK_INT(exs_future_is_done(g.f[k]), cases[i].states[k] != 'p');
		group_end(&g);
	}
}

TEST(wait, nonsense)
{
	struct group g;
	size_t first = 99;
	double wrong[] = {NAN, -1, -EXS_FOREVER};

	group_init(&g, "vp");
	for (size_t i = 0; i < 3; i++) {
		CHECK_INT(exs_wait_any(g.f, 2, wrong[i], &first), EXS_EINVAL);
		CHECK_INT(exs_wait_all(g.f, 2, wrong[i]), EXS_EINVAL);
		CHECK_INT(exs_wait_first_error(g.f, 2, wrong[i], &first), EXS_EINVAL);
		CHECK_INT(exs_future_wait(g.f[1], wrong[i]), EXS_EINVAL);
		CHECK_INT(exs_future_wait(g.f[0], wrong[i]), EXS_EINVAL); /* done or not */
		CHECK_INT(first, 2);
	}
	CHECK_INT(exs_future_wait(NULL, 0), EXS_EINVAL);
	CHECK_INT(exs_wait_any(NULL, 2, 0, NULL), EXS_EINVAL);
	CHECK_INT(exs_wait_all(NULL, 2, 0), EXS_EINVAL);
	CHECK_INT(exs_wait_any(NULL, 0, 0, NULL), EXS_OK);
	exs_future *with_null[] = {g.f[0], NULL};
	CHECK_INT(exs_wait_any(with_null, 2, 0, NULL), EXS_EINVAL);
	CHECK_INT(exs_wait_all(with_null, 2, EXS_FOREVER), EXS_EINVAL);
	CHECK_INT(exs_wait_first_error(with_null, 2, 0, NULL), EXS_EINVAL);
	group_end(&g);
}

TEST(wait, the_same_future_twice)
{
	struct group g;
	size_t first;

	group_init(&g, "pe");
	exs_future *twice[] = {g.f[0], g.f[0], g.f[1], g.f[1]};
	CHECK_INT(exs_wait_any(twice, 4, EXS_FOREVER, &first), EXS_OK);
	CHECK_INT(first, 2);
	CHECK_INT(exs_wait_all(twice, 4, 0), EXS_ETIMEDOUT);
	settle(&g, 0, 'v');
	CHECK_INT(exs_wait_all(twice, 4, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_wait_first_error(twice, 4, EXS_FOREVER, &first), EXS_OK);
	CHECK_INT(first, 2);
	group_end(&g);
}

/* --- woken by others --- */

enum kind { ONE, ANY, ALL, ERROR, KINDS };

struct waiter {
	struct group *g;
	enum kind kind;
	int rc;
	size_t first;
	atomic_int tid; /* once it runs */
	pthread_t thread;
};

static bool waiter_sleeps(void *arg)
{
	int tid = atomic_load(&((struct waiter *)arg)->tid);

	return tid && thread_sleeps(tid);
}

static void *wait_for_group(void *arg)
{
	struct waiter *w = arg;

	atomic_store(&w->tid, (int)syscall(SYS_gettid));
	if (w->kind == ONE)
		w->rc = exs_future_wait(w->g->f[w->g->n - 1], EXS_FOREVER);
	else if (w->kind == ANY)
		w->rc = exs_wait_any(w->g->f, w->g->n, EXS_FOREVER, &w->first);
	else if (w->kind == ALL)
		w->rc = exs_wait_all(w->g->f, w->g->n, EXS_FOREVER);
	else
		w->rc = exs_wait_first_error(w->g->f, w->g->n, EXS_FOREVER, &w->first);
	return NULL;
}

/* Two waiters of each kind, in every order of completion; each is woken by what decides it. */
TEST(wait, wakes_all_waiters)
{
	static const char *const outcomes[] = {"vvev", "ecvv", "vvvv", "cccc"};

	for (unsigned long round = 0; round < harness_rounds(40); round++) {
		const char *how = outcomes[round % 4];
		struct group g;
		struct waiter w[2 * KINDS];
		group_init(&g, "pppp");
		for (int i = 0; i < 2 * KINDS; i++) {
			w[i] = (struct waiter){.g = &g, .kind = (enum kind)(i / 2), .rc = -1};
			w[i].thread = thread_start(wait_for_group, &w[i]);
		}
		for (int i = 0; i < 2 * KINDS && round % 2; i++) /* otherwise they still spin, or have not begun */
			wait_until(waiter_sleeps, &w[i]);
		for (size_t i = 0; i < N; i++)
			settle(&g, (i + round) % N, how[(i + round) % N]);
		for (int i = 0; i < 2 * KINDS; i++) {
			thread_join(w[i].thread);
			CHECK_INT(w[i].rc, EXS_OK);
			if (w[i].kind == ANY)
				CHECK(w[i].first < N);
			if (w[i].kind == ERROR)
				CHECK_INT(w[i].first, round % 4 == 0 ? 2 : round % 4 == 1 ? 0 : N);
		}
		group_end(&g);
	}
}

/* A waiter that has given up leaves nothing behind in the futures that stay. */
TEST(wait, many_waits_that_time_out)
{
	struct group g;

	group_init(&g, "pppp");
	for (int i = 0; i < 1000; i++) {
		CHECK_INT(exs_wait_any(g.f, N, 0, NULL), EXS_ETIMEDOUT);
		CHECK_INT(exs_wait_first_error(g.f, N, 1e-9, NULL), EXS_ETIMEDOUT);
	}
	for (size_t i = 0; i < N; i++)
		settle(&g, i, 'v');
	CHECK_INT(exs_wait_all(g.f, N, EXS_FOREVER), EXS_OK);
	group_end(&g);
}

/* --- waits that could never end --- */

struct stuck {
	exs_executor *ex;
	exs_future *backoff[2]; /* need the only worker, but have not come to its queue */
	int rc[KINDS];
	exs_set_status status;
	int set_code;
};

static exs_result wait_stuck(void *arg, exs_context *ctx)
{
	struct stuck *s = arg;
	exs_set *set = exs_set_new();
	exs_future *f;

	(void)ctx;
	s->rc[ONE] = exs_future_wait(s->backoff[0], EXS_FOREVER);
	s->rc[ANY] = exs_wait_any(s->backoff, 2, EXS_FOREVER, NULL);
	s->rc[ALL] = exs_wait_all(s->backoff, 2, EXS_FOREVER);
	s->rc[ERROR] = exs_wait_first_error(s->backoff, 2, EXS_FOREVER, NULL);
	for (int i = 0; i < 2; i++)
		CHECK_INT(exs_set_add(set, exs_future_ref(s->backoff[i])), EXS_OK);
	s->status = exs_set_next(set, &f, EXS_FOREVER);
	s->set_code = exs_error_code(exs_last_error());
	exs_set_free(set);
	return exs_ok(s, NULL);
}

/* The only worker, with no spare allowed, waits for a call that needs it. */
TEST(wait, deadlock_is_answered)
{
	exs_thread_pool_options options = {.workers = 1, .max_spares = EXS_NONE};
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_thread_pool_with(&options), clock), NULL);
	struct stuck s = {.ex = ex};
	struct job jobs[2];

	for (int i = 0; i < 2; i++) {
		job_init(&jobs[i]);
		jobs[i].failures = 1;
		jobs[i].error = exs_error_new(&test_domain, 1, "no");
		s.backoff[i] = job_submit(ex, &jobs[i]);
	}
	CHECK_INT(exs_clock_wait_armed(clock, 2, EXS_FOREVER), EXS_OK);
	expect_value(exs_submit(ex, wait_stuck, &s), &s);
	for (int i = 0; i < KINDS; i++)
		CHECK_INT(s.rc[i], EXS_EDEADLK);
	CHECK_INT(s.status, EXS_FAILED);
	CHECK_INT(s.set_code, EXS_EDEADLK);
	advance(clock, 1);
	for (int i = 0; i < 2; i++)
		expect_value(s.backoff[i], &jobs[i]); /* they did not suffer */
	exs_executor_free(ex);
	exs_clock_unref(clock);
	for (int i = 0; i < 2; i++) {
		exs_error_unref(jobs[i].error);
		job_fini(&jobs[i]);
	}
}

static void *complete_it(void *p)
{
	exs_promise_complete(p, exs_ok(p, NULL));
	exs_promise_free(p);
	return NULL;
}

/* Its completing thread may still be about to tell a wait that has ended with the other. */
TEST(wait, taken_while_it_is_watched)
{
	for (unsigned round = harness_rounds(1000); round--;) {
		exs_future *f[2];
		pthread_t threads[2];
		for (int i = 0; i < 2; i++)
			CHECK(!pthread_create(&threads[i], NULL, complete_it, exs_promise_new(&f[i])));
		exs_wait_first_error(f, 2, 1e-6 * round, NULL); /* in time or not */
		for (int i = 0; i < 2; i++) {
			exs_result r;
			while (!exs_future_is_done(f[i]))
				sched_yield();
			CHECK_INT(exs_future_take(f[i], &r), EXS_OK);
			exs_future_unref(f[i]);
		}
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
	}
}

static exs_result a_number(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static exs_result wait_on_three(void *ex, exs_context *ctx)
{
	exs_future *f[3];
	size_t first = 0;

	(void)ctx;
	for (long i = 0; i < 3; i++)
		f[i] = exs_submit(ex, a_number, (void *)(intptr_t)i);
	CHECK_INT(exs_wait_first_error(f, 3, EXS_FOREVER, &first), EXS_OK);
	CHECK_INT(first, 3);
	for (long i = 0; i < 3; i++)
		expect_value(f[i], (void *)(intptr_t)i);
	return exs_ok(NULL, NULL);
}

/* The only worker runs one after the other, and passes those that are done. */
TEST(wait, for_the_first_error_on_the_only_worker)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});

	expect_value(exs_submit(ex, wait_on_three, ex), NULL);
	exs_executor_free(ex);
}
