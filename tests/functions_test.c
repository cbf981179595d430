/* Functions on futures. */
#include "support.h"

#include <executors/functions.h>
#include <sched.h>
#include <stdlib.h>

static exs_promise *promise(exs_future **f)
{
	exs_promise *p = exs_promise_new(f);

	CHECK(p);
	return p;
}

static void complete(exs_promise *p, exs_result r)
{
	CHECK_INT(exs_promise_complete(p, r), EXS_OK);
	exs_promise_free(p);
}

/* Values that count how many there are. */
static atomic_int values;

static void value_free(void *value)
{
	free(value);
	atomic_fetch_sub(&values, 1);
}

static exs_result number(long n)
{
	long *value = malloc(sizeof(*value));

	CHECK(value);
	*value = n;
	atomic_fetch_add(&values, 1);
	return exs_ok(value, value_free);
}

static long number_of(exs_future *f)
{
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	return *(long *)exs_future_value(f);
}

static exs_result plus_one(void *unused, exs_result in)
{
	exs_result r = number(*(long *)in.value + 1);

	(void)unused;
	exs_result_clear(&in);
	return r;
}

static exs_result same(void *calls, exs_result in)
{
	if (calls)
		atomic_fetch_add((atomic_uint *)calls, 1);
	return in;
}

static exs_result seven(void *unused, exs_result in)
{
	(void)unused;
	exs_result_clear(&in);
	return number(7);
}

TEST(functions, map_a_value)
{
	struct seen seen;
	exs_future *f;
	exs_promise *p = promise(&f);

	seen_init(&seen);
	exs_future *g = exs_future_map(f, plus_one, seven, &seen, seen_free);
	CHECK(!exs_future_is_done(g));
	complete(p, number(1));
	CHECK_INT(number_of(g), 2);
	CHECK_INT(atomic_load(&values), 1); /* the input is gone */
	CHECK_INT(atomic_load(&seen.frees), 1);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&values), 0);
}

TEST(functions, map_an_error)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");

	for (int fails = 0; fails < 2; fails++) {
		exs_future *f;
		exs_promise *p = promise(&f);
		exs_future *g = exs_future_map(f, plus_one, fails ? NULL : seven, NULL, NULL);
		complete(p, exs_fail(exs_error_ref(error)));
		if (fails) {
			expect_error(g, error);
			continue;
		}
		CHECK_INT(number_of(g), 7);
		exs_future_unref(g);
	}
	exs_error_unref(error);
}

TEST(functions, map_what_is_done)
{
	exs_future *f;

	complete(promise(&f), number(1));
	exs_future *g = exs_future_map(exs_future_map(f, NULL, NULL, NULL, NULL), plus_one, NULL, NULL, NULL);
	CHECK(exs_future_is_done(g));
	CHECK_INT(number_of(g), 2);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&values), 0);
}

TEST(functions, map_what_is_cancelled)
{
	atomic_uint calls = 0;
	exs_future *f;
	exs_promise *p = promise(&f);
	exs_future *g = exs_future_map(exs_future_ref(f), same, same, &calls, NULL);

	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	CHECK_INT(exs_future_state(g), EXS_STATE_CANCELLED);
	CHECK_INT(atomic_load(&calls), 0);
	exs_promise_free(p);
	exs_future_unref(f);
	exs_future_unref(g);
}

/* Who else has the input keeps its value; the new future keeps the input. */
TEST(functions, map_what_others_have)
{
	exs_future *f, *g[3];
	exs_result r;

	complete(promise(&f), number(1));
	g[0] = exs_future_map(exs_future_ref(f), same, NULL, NULL, NULL);
	g[1] = exs_future_map(exs_future_ref(f), NULL, NULL, NULL, NULL);
	g[2] = exs_future_map(exs_future_ref(g[1]), plus_one, NULL, NULL, NULL);
	CHECK_INT(number_of(f), 1);
	exs_future_unref(f);
	CHECK_INT(number_of(g[0]), 1);
	CHECK_INT(number_of(g[1]), 1);
	CHECK_INT(number_of(g[2]), 2);
	CHECK_INT(exs_future_take(g[0], &r), EXS_EBUSY);
	CHECK_INT(exs_future_take(g[2], &r), EXS_EBUSY);
	CHECK_INT(atomic_load(&values), 2);
	for (int i = 0; i < 3; i++)
		exs_future_unref(g[i]);
	CHECK_INT(atomic_load(&values), 0);
}

static exs_result nonsense(void *unused, exs_result in)
{
	(void)unused;
	in.kind = (exs_kind)9;
	return in;
}

TEST(functions, map_answers_nonsense)
{
	exs_future *f;

	complete(promise(&f), exs_ok(NULL, NULL));
	exs_future *g = exs_future_map(f, nonsense, NULL, NULL, NULL);
	CHECK_STR(exs_error_message(exs_future_error(g)), "the function of exs_future_map answered no valid result: "
							  "use exs_ok, exs_fail(error) or exs_cancelled");
	expect_code(g, &exs_domain_exs, EXS_EINVAL);
}

TEST(functions, map_null_frees_its_context)
{
	struct seen seen;

	seen_init(&seen);
	expect_code(exs_future_map(NULL, same, NULL, &seen, seen_free), &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(atomic_load(&seen.frees), 1);
}

/* --- cancel --- */

TEST(functions, cancel_goes_to_the_input)
{
	struct seen seen;
	exs_future *f;
	exs_promise *p = promise(&f);
	exs_future *g = exs_future_map(exs_future_ref(f), same, NULL, &seen, seen_free);

	seen_init(&seen);
	CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	CHECK_INT(atomic_load(&seen.frees), 1);
	CHECK_INT(exs_future_cause(g), EXS_CAUSE_USER);
	exs_promise_free(p);
	exs_future_unref(f);
	exs_future_unref(g);
}

TEST(functions, cancel_goes_to_a_queued_call)
{
	exs_executor *ex = exs_thread_pool(1);
	struct job gate, job;
	exs_future *first;

	pool_occupy(ex, &gate, &first, 1, 1);
	job_init(&job);
	exs_future *g = exs_future_map(job_submit(ex, &job), same, NULL, NULL, NULL);
	CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	CHECK_INT(exs_executor_pending(ex), 1);
	exs_future_unref(g);
	pool_let_go(&gate, &first, 1);
	job_fini(&job);
	exs_executor_free(ex);
}

struct hold_up {
	sem_t entered, open;
};

static exs_result hold_up(void *arg, exs_result in)
{
	struct hold_up *h = arg;

	sem_post(&h->entered);
	sem_take(&h->open);
	return in;
}

TEST(functions, cancel_while_the_function_runs)
{
	exs_executor *ex = exs_thread_pool(1);
	struct hold_up h;
	struct job job;

	sem_init(&h.entered, 0, 0);
	sem_init(&h.open, 0, 0);
	job_init(&job);
	job.gated = true; /* were it done, the function would run here */
	exs_future *g = exs_future_map(job_submit(ex, &job), hold_up, NULL, &h, NULL);
	sem_post(&job.open);
	sem_take(&h.entered);
	CHECK_INT(exs_future_state(g), EXS_STATE_RUNNING);
	CHECK_INT(exs_future_cancel(g), EXS_STOP_REQUESTED);
	sem_post(&h.open);
	expect_value(g, &job);
	job_fini(&job);
	exs_executor_free(ex);
}

/* --- chains --- */

enum { LINKS = 1000000 };

static exs_future *chain(exs_future *f, unsigned long links, exs_map_fn *fn, void *ctx)
{
	for (unsigned long i = 0; i < links; i++)
		f = exs_future_map(f, fn, NULL, ctx, NULL);
	return f;
}

TEST(functions, a_million_links)
{
	atomic_uint calls = 0;
	exs_future *f;
	exs_promise *p = promise(&f);
	exs_future *last = chain(f, LINKS, same, &calls);

	complete(p, number(3));
	CHECK_INT(number_of(last), 3);
	CHECK_INT(atomic_load(&calls), LINKS);
	exs_future_unref(last);
	CHECK_INT(atomic_load(&values), 0);
}

TEST(functions, a_million_links_cancelled)
{
	atomic_uint calls = 0;
	exs_future *f;
	exs_promise *p = promise(&f);
	exs_future *last = chain(f, LINKS, same, &calls);

	CHECK_INT(exs_future_cancel(last), EXS_CANCELLED);
	CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), EXS_EALREADY);
	CHECK_INT(atomic_load(&calls), 0);
	exs_promise_free(p);
	exs_future_unref(last);
}

/* Each keeps the one before it; dropped at once. */
TEST(functions, a_million_links_that_keep)
{
	exs_future *f, *last;

	complete(promise(&f), number(1));
	last = exs_future_ref(f);
	for (int i = 0; i < LINKS; i++) {
		exs_future *next = exs_future_map(exs_future_ref(last), NULL, NULL, NULL, NULL);
		exs_future_unref(last);
		last = next;
	}
	CHECK_INT(number_of(last), 1);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&values), 1);
	exs_future_unref(last);
	CHECK_INT(atomic_load(&values), 0);
}

/* Inside a function another's turn comes later, or when it waits. */
static exs_result map_and_wait(void *waits, exs_result in)
{
	exs_future *f;

	complete(promise(&f), number(1));
	exs_future *g = exs_future_map(f, plus_one, NULL, NULL, NULL);
	CHECK(!exs_future_is_done(g));
	if (waits)
		CHECK_INT(number_of(g), 2);
	exs_future_unref(g);
	return in;
}

TEST(functions, map_inside_a_function)
{
	for (int waits = 0; waits < 2; waits++) {
		exs_future *f;
		complete(promise(&f), exs_ok(NULL, NULL));
		expect_value(exs_future_map(f, map_and_wait, NULL, waits ? &waits : NULL, NULL), NULL);
		CHECK_INT(atomic_load(&values), 0);
	}
}

/* --- with executors --- */

struct nest {
	exs_executor *ex;
	struct job job;
	int rc;
};

static void wait_for_mapped(struct job *job, exs_context *ctx)
{
	struct nest *nest = job->more;
	exs_future *g = chain(job_submit(nest->ex, &nest->job), 3, same, NULL);

	(void)ctx;
	nest->rc = exs_future_wait(g, EXS_FOREVER);
	exs_future_unref(g);
}

/* The only worker runs itself what the future that it waits for is made of. */
TEST(functions, wait_inside_a_task)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	struct nest nest = {.ex = ex, .rc = -1};
	struct job job;

	job_init(&nest.job);
	job_init(&job);
	job.inside = wait_for_mapped;
	job.more = &nest;
	expect_value(job_submit(ex, &job), &job);
	CHECK_INT(nest.rc, EXS_OK);
	CHECK(pthread_equal(nest.job.thread, job.thread));
	job_fini(&nest.job);
	job_fini(&job);
	exs_executor_free(ex);
}

static void *cancel_it(void *f)
{
	exs_future_cancel(f);
	return NULL;
}

/* Complete and cancel at once: either wins, and all is given back. */
TEST(functions, complete_and_cancel)
{
	for (unsigned long round = 0; round < harness_rounds(1000); round++) {
		struct seen seen;
		exs_future *f;
		exs_promise *p = promise(&f);
		exs_future *last = exs_future_map(chain(f, round % 3, same, NULL), same, NULL, &seen, seen_free);
		pthread_t thread;
		seen_init(&seen);
		CHECK(!pthread_create(&thread, NULL, cancel_it, last));
		exs_promise_complete(p, number(1)); /* or it is too late */
		exs_promise_free(p);
		wait_done(last);
		pthread_join(thread, NULL);
		CHECK(exs_future_state(last) == EXS_STATE_VALUE || exs_future_state(last) == EXS_STATE_CANCELLED);
		exs_future_unref(last);
		CHECK_INT(atomic_load(&seen.frees), 1);
		CHECK_INT(atomic_load(&values), 0);
	}
}
