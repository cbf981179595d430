/* Functions on futures. */
#define _GNU_SOURCE
#include "support.h"

#include <executors/functions.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

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
	exs_promise *p = promise_made(&f);

	seen_init(&seen);
	exs_future *g = exs_future_map(f, plus_one, seven, &seen, seen_free);
	CHECK(!exs_future_is_done(g));
	promise_done(p, number(1));
	CHECK_INT(number_of(g), 2);
	CHECK_INT(atomic_load(&numbers), 1); /* the input is gone */
	CHECK_INT(atomic_load(&seen.frees), 1);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(functions, map_an_error)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");

	for (int fails = 0; fails < 2; fails++) {
		exs_future *f;
		exs_promise *p = promise_made(&f);
		exs_future *g = exs_future_map(f, plus_one, fails ? NULL : seven, NULL, NULL);
		promise_done(p, exs_fail(exs_error_ref(error)));
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

	promise_done(promise_made(&f), number(1));
	exs_future *g = exs_future_map(exs_future_map(f, NULL, NULL, NULL, NULL), plus_one, NULL, NULL, NULL);
	CHECK(exs_future_is_done(g));
	CHECK_INT(number_of(g), 2);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(functions, map_what_is_cancelled)
{
	atomic_uint calls = 0;
	exs_future *f;
	exs_promise *p = promise_made(&f);
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

	promise_done(promise_made(&f), number(1));
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
	CHECK_INT(atomic_load(&numbers), 2);
	for (int i = 0; i < 3; i++)
		exs_future_unref(g[i]);
	CHECK_INT(atomic_load(&numbers), 0);
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

	promise_done(promise_made(&f), exs_ok(NULL, NULL));
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

/* --- return --- */

TEST(functions, return_a_value)
{
	exs_future *f = number_returned(3);

	CHECK(exs_future_is_done(f));
	CHECK_INT(exs_future_cancel(f), EXS_TOO_LATE);
	CHECK_INT(number_of(f), 3);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(functions, return_error_and_cancelled)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");

	expect_error(exs_future_return_error(exs_error_ref(error)), error);
	exs_error_unref(error);
	expect_code(exs_future_return_error(NULL), &exs_domain_exs, EXS_EINVAL);
	exs_future *f = exs_future_return_cancelled();
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	expect_cancelled(f, EXS_CAUSE_NONE);
}

TEST(functions, return_to_a_set_and_callbacks)
{
	struct seen seen;
	exs_set *set = exs_set_new();
	exs_future *f = exs_future_return(&seen, NULL), *next;

	seen_init(&seen);
	CHECK_INT(exs_future_on_done(f, seen_call, &seen, seen_free), EXS_OK);
	CHECK_INT(atomic_load(&seen.calls), 1);
	exs_set_add(set, f);
	CHECK_INT(exs_set_next(set, &next, 0), EXS_ITEM);
	expect_value(next, &seen);
	exs_set_free(set);
}

/* --- recover --- */

TEST(functions, recover)
{
	exs_future *f = exs_future_return_error(exs_error_new(&test_domain, 1, "no"));

	f = exs_future_recover(f, seven, NULL, NULL);
	CHECK_INT(number_of(f), 7);
	f = exs_future_recover(f, plus_one, NULL, NULL);
	CHECK_INT(number_of(f), 7);
	exs_future_unref(f);
	expect_cancelled(exs_future_recover(exs_future_return_cancelled(), seven, NULL, NULL), EXS_CAUSE_NONE);
}

/* --- flat_map --- */

/* What the function answers, and what it was given. */
struct flat {
	exs_future *inner;
	long in;
	int calls;
	exs_executor *ex;
	struct job *job;
};

static exs_future *answer_inner(void *ctx, exs_result in)
{
	struct flat *flat = ctx;

	flat->calls++;
	flat->in = in.kind == EXS_KIND_VALUE ? *(long *)in.value : -1;
	exs_result_clear(&in);
	return flat->inner;
}

TEST(functions, flat_map_a_value)
{
	struct seen seen;
	struct flat flat = {0};
	exs_future *f;
	exs_promise *p = promise_made(&f), *q = promise_made(&flat.inner);
	exs_future *g = exs_future_flat_map(f, answer_inner, NULL, &flat, NULL);

	seen_init(&seen);
	promise_done(p, number(1));
	CHECK_INT(flat.in, 1);
	CHECK(!exs_future_is_done(g));
	CHECK_INT(exs_future_state(g), EXS_STATE_PENDING);
	promise_done(q, number(2));
	CHECK_INT(number_of(g), 2);
	CHECK_INT(atomic_load(&numbers), 1);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
}

/* error_fn takes its place; it is not asked about the future that it answered, or fn. */
TEST(functions, flat_map_an_error)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no"), *other = exs_error_new(&test_domain, 2, "nor this");

	for (int fails = 0; fails < 2; fails++) {
		struct flat flat = {.inner = exs_future_return_error(exs_error_ref(other))};
		exs_future *f = fails ? exs_future_return_error(exs_error_ref(error)) : number_returned(1);
		f = exs_future_flat_map(f, answer_inner, answer_inner, &flat, NULL);
		expect_error(f, other);
		CHECK_INT(flat.calls, 1);
		CHECK_INT(flat.in, fails ? -1 : 1);
	}
	CHECK_INT(atomic_load(&numbers), 0);
	expect_error(exs_future_flat_map(exs_future_return_error(exs_error_ref(error)), answer_inner, NULL, NULL, NULL),
		     error);
	exs_error_unref(error);
	exs_error_unref(other);
}

TEST(functions, flat_map_without_a_function_or_a_value)
{
	struct seen seen;

	seen_init(&seen);
	expect_value(exs_future_flat_map(exs_future_return(&seen, NULL), NULL, NULL, &seen, seen_free), &seen);
	expect_cancelled(
		exs_future_flat_map(exs_future_return_cancelled(), answer_inner, answer_inner, &seen, seen_free),
		EXS_CAUSE_NONE);
	expect_code(exs_future_flat_map(NULL, answer_inner, NULL, &seen, seen_free), &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(atomic_load(&seen.frees), 3);
}

static exs_future *answer_null(void *says, exs_result in)
{
	exs_result_clear(&in);
	if (says)
		exs_set_last_error(&test_domain, 9, "%s", (char *)says);
	return NULL;
}

TEST(functions, flat_map_answers_no_future)
{
	exs_future *f = exs_future_flat_map(exs_future_return(NULL, NULL), answer_null, NULL, NULL, NULL);

	CHECK_STR(exs_error_message(exs_future_error(f)), "exs_future_flat_map: fn answered no future");
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	f = exs_future_return_error(exs_error_new(&test_domain, 1, "no"));
	f = exs_future_flat_map(f, NULL, answer_null, (void *)"no room", NULL);
	CHECK_STR(exs_error_message(exs_future_error(f)), "exs_future_flat_map: error_fn answered no future: no room");
	expect_code(f, &test_domain, 9);
}

TEST(functions, flat_map_answers_itself)
{
	struct flat flat = {0};
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_flat_map(f, answer_inner, NULL, &flat, NULL);

	flat.inner = exs_future_ref(g);
	promise_done(p, number(1));
	expect_code(g, &exs_domain_exs, EXS_EDEADLK);
	CHECK_INT(atomic_load(&numbers), 0);
}

/* Input and answer belong to others as well: both live until the new one does not need them. */
TEST(functions, flat_map_what_others_have)
{
	struct flat flat = {0};
	exs_future *f;
	exs_result r;
	exs_promise *p = promise_made(&f), *q = promise_made(&flat.inner);
	exs_future *inner = exs_future_ref(flat.inner);
	exs_future *g = exs_future_flat_map(exs_future_ref(f), answer_inner, NULL, &flat, NULL);

	promise_done(p, number(1));
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 1); /* what the function has started may read it */
	promise_done(q, number(2));
	CHECK_INT(atomic_load(&numbers), 1);
	CHECK_INT(exs_future_take(g, &r), EXS_EBUSY);
	exs_future_unref(inner);
	CHECK_INT(number_of(g), 2);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(functions, flat_map_cancelled_before)
{
	struct seen seen;
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_flat_map(exs_future_ref(f), answer_null, NULL, &seen, seen_free);

	seen_init(&seen);
	CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	CHECK_INT(atomic_load(&seen.frees), 1);
	exs_promise_free(p);
	exs_future_unref(f);
	exs_future_unref(g);
}

/* The one that the function answered gets it; running, it is asked to stop, and what it reads lives on until it ends. */
TEST(functions, flat_map_cancelled_after)
{
	for (int runs = 0; runs < 2; runs++) {
		struct flat flat = {0};
		exs_future *f;
		exs_promise *p = promise_made(&f), *q = promise_made(&flat.inner);
		exs_future *inner = exs_future_ref(flat.inner);
		exs_future *g = exs_future_flat_map(exs_future_ref(f), answer_inner, NULL, &flat, NULL);
		promise_done(p, number(1));
		exs_future_unref(f);
		if (runs)
			CHECK(exs_promise_start(q));
		CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
		CHECK_INT(exs_future_state(inner), runs ? EXS_STATE_RUNNING : EXS_STATE_CANCELLED);
		CHECK_INT(exs_promise_stop_requested(q), 1);
		CHECK_INT(atomic_load(&numbers), runs);
		CHECK_INT(exs_promise_complete(q, number(2)), runs ? EXS_OK : EXS_EALREADY);
		exs_promise_free(q);
		exs_future_unref(inner);
		expect_cancelled(g, EXS_CAUSE_USER);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

static exs_future *cancel_and_answer(void *ctx, exs_result in)
{
	struct flat *flat = ctx;

	exs_result_clear(&in);
	CHECK_INT(exs_future_cancel(*(exs_future **)flat->job), EXS_STOP_REQUESTED);
	return flat->inner;
}

/* While the function runs: what it answers is cancelled, and that decides. */
TEST(functions, flat_map_cancelled_while_the_function_runs)
{
	struct flat flat = {0};
	exs_future *f, *g;
	exs_promise *p = promise_made(&f), *q = promise_made(&flat.inner);

	flat.job = (struct job *)(void *)&g;
	g = exs_future_flat_map(f, cancel_and_answer, NULL, &flat, NULL);
	promise_done(p, number(1));
	expect_cancelled(g, EXS_CAUSE_USER);
	CHECK_INT(exs_promise_complete(q, number(2)), EXS_EALREADY);
	exs_promise_free(q);
	CHECK_INT(atomic_load(&numbers), 0);
}

static exs_future *submit_again(void *ctx, exs_result in)
{
	struct flat *flat = ctx;

	exs_result_clear(&in);
	return job_submit(flat->ex, flat->job);
}

/* The only worker waits, and runs both calls itself. */
static void wait_for_flat(struct job *job, exs_context *ctx)
{
	struct flat *flat = job->more;
	struct job first;

	(void)ctx;
	job_init(&first);
	exs_future *f = exs_future_flat_map(job_submit(flat->ex, &first), submit_again, NULL, flat, NULL);
	expect_value(f, flat->job);
	job_fini(&first);
}

TEST(functions, flat_map_awaited_inside_a_task)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	struct job outer, second;
	struct flat flat = {.ex = ex, .job = &second};

	job_init(&outer);
	job_init(&second);
	outer.inside = wait_for_flat;
	outer.more = &flat;
	expect_value(job_submit(ex, &outer), &outer);
	job_fini(&outer);
	job_fini(&second);
	exs_executor_free(ex);
}

/* It sleeps when the function, on another thread, submits what it is then to run. */
struct late {
	struct flat flat;
	exs_promise *p;
	exs_future *f;
	atomic_int tid;
};

/* What is queued wakes the worker, which finds nothing yet, and sleeps again. */
static exs_future *submit_and_let_it_look(void *ctx, exs_result in)
{
	exs_future *f = submit_again(ctx, in);

	give_time();
	return f;
}

static void wait_for_what_comes(struct job *job, exs_context *ctx)
{
	struct late *late = job->more;

	(void)ctx;
	exs_future *f = exs_future_flat_map(late->f, submit_and_let_it_look, NULL, &late->flat, NULL);
	atomic_store(&late->tid, (int)syscall(SYS_gettid));
	expect_value(f, late->flat.job);
}

static bool sleeps(void *late)
{
	int tid = atomic_load(&((struct late *)late)->tid);

	return tid && thread_sleeps(tid);
}

TEST(functions, flat_map_wakes_a_worker_that_waits_for_it)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	struct job outer, second;
	struct late late = {.flat = {.ex = ex, .job = &second}};

	late.p = promise_made(&late.f);
	job_init(&outer);
	job_init(&second);
	outer.inside = wait_for_what_comes;
	outer.more = &late;
	exs_future *f = job_submit(ex, &outer);
	wait_until(sleeps, &late);
	promise_done(late.p, exs_ok(NULL, NULL));
	expect_value(f, &outer);
	job_fini(&outer);
	job_fini(&second);
	exs_executor_free(ex);
}

enum { STEPS = 100000 };

static exs_future *next_step(void *left, exs_result in)
{
	long n = *(long *)in.value;

	exs_result_clear(&in);
	if (n == STEPS)
		return number_returned(n);
	return exs_future_flat_map(number_returned(n + 1), next_step, NULL, left, NULL);
}

/* Each answers the next: adopted one in the other. */
TEST(functions, flat_map_a_loop_of_steps)
{
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_flat_map(f, next_step, NULL, NULL, NULL);

	promise_done(p, number(0));
	CHECK_INT(number_of(g), STEPS);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
}

static exs_future *pass_on(void *unused, exs_result in)
{
	(void)unused;
	return exs_future_return(in.value, in.destroy);
}

TEST(functions, flat_map_a_deep_chain)
{
	for (int cancels = 0; cancels < 2; cancels++) {
		exs_future *f;
		exs_promise *p = promise_made(&f);
		for (int i = 0; i < STEPS; i++)
			f = exs_future_flat_map(f, pass_on, NULL, NULL, NULL);
		if (cancels)
			CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
		CHECK_INT(exs_promise_complete(p, number(5)), cancels ? EXS_EALREADY : EXS_OK);
		exs_promise_free(p);
		if (!cancels)
			CHECK_INT(number_of(f), 5);
		exs_future_unref(f);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

/* --- cancel --- */

TEST(functions, cancel_goes_to_the_input)
{
	struct seen seen;
	exs_future *f;
	exs_promise *p = promise_made(&f);
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
	exs_promise *p = promise_made(&f);
	exs_future *last = chain(f, LINKS, same, &calls);

	promise_done(p, number(3));
	CHECK_INT(number_of(last), 3);
	CHECK_INT(atomic_load(&calls), LINKS);
	exs_future_unref(last);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(functions, a_million_links_cancelled)
{
	atomic_uint calls = 0;
	exs_future *f;
	exs_promise *p = promise_made(&f);
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

	promise_done(promise_made(&f), number(1));
	last = exs_future_ref(f);
	for (int i = 0; i < LINKS; i++) {
		exs_future *next = exs_future_map(exs_future_ref(last), NULL, NULL, NULL, NULL);
		exs_future_unref(last);
		last = next;
	}
	CHECK_INT(number_of(last), 1);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 1);
	exs_future_unref(last);
	CHECK_INT(atomic_load(&numbers), 0);
}

/* --- many of one --- */

/* More than a half of the counter of references has places for. */
enum { BEYOND = 70000 };

static exs_result same_value(void *expected, exs_result in)
{
	CHECK(!in.destroy && in.value == expected);
	return in;
}

static void do_nothing(void *unused, const exs_result *outcome)
{
	(void)unused, (void)outcome;
}

static exs_future *one_of(int kind, exs_future *f)
{
	if (kind == 0)
		return exs_future_map(f, NULL, NULL, NULL, NULL);
	if (kind == 1)
		return exs_future_ensure(f, do_nothing, NULL, NULL);
	return exs_future_timeout(f, EXS_FOREVER);
}

/* The value stays where all see it. */
TEST(functions, map_one_very_often)
{
	exs_future *f, **all = calloc(BEYOND, sizeof(exs_future *));
	exs_promise *p = promise_made(&f);
	exs_result value = number(1);
	exs_result taken;

	for (int i = 0; i < BEYOND; i++)
		all[i] = exs_future_map(exs_future_ref(f), same_value, NULL, value.value, NULL);
	promise_done(p, value);
	for (int i = 0; i < BEYOND; i++) {
		CHECK(exs_future_value(all[i]) == value.value);
		CHECK_INT(exs_future_take(f, &taken), EXS_EBUSY);
		exs_future_unref(all[i]);
	}
	free(all);
	CHECK_INT(exs_future_take(f, &taken), EXS_OK);
	CHECK(taken.value == value.value);
	exs_result_clear(&taken);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 0);
}

/* The stops for it, as many, are passed on together. */
TEST(functions, cancel_very_many_of_one)
{
	for (int kind = 0; kind < 3; kind++) {
		exs_future *f, **all = calloc(BEYOND, sizeof(exs_future *));
		exs_promise *p = promise_made(&f);
		for (int i = 0; i < BEYOND; i++)
			all[i] = one_of(kind, i ? exs_future_ref(f) : f);
		CHECK_INT(exs_future_cancel_all(all, BEYOND), BEYOND);
		CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), EXS_EALREADY);
		exs_promise_free(p);
		for (int i = 0; i < BEYOND; i++)
			exs_future_unref(all[i]);
		free(all);
	}
}

/* Inside a function another's turn comes later, or when it waits. */
static exs_result map_and_wait(void *waits, exs_result in)
{
	exs_future *f;

	promise_done(promise_made(&f), number(1));
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
		promise_done(promise_made(&f), exs_ok(NULL, NULL));
		expect_value(exs_future_map(f, map_and_wait, NULL, waits ? &waits : NULL, NULL), NULL);
		CHECK_INT(atomic_load(&numbers), 0);
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
		exs_promise *p = promise_made(&f);
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
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

static exs_future *same_future(void *unused, exs_result in)
{
	(void)unused;
	exs_result_clear(&in);
	return number_returned(0);
}

static void count_ensured(void *seen, const exs_result *outcome)
{
	CHECK_INT(outcome->kind, EXS_KIND_CANCELLED);
	atomic_fetch_add(&((struct seen *)seen)->calls, 1);
}

/* Several of a kind at once, with and without others between. */
TEST(functions, cancelled_together)
{
	enum { KINDS = 3, EACH = 4 };
	exs_promise *p[KINDS * EACH];
	exs_future *f[KINDS * EACH], *in;
	struct seen seen;

	for (int apart = 0; apart < 2; apart++) {
		seen_init(&seen);
		for (int i = 0; i < KINDS * EACH; i++) {
			int kind = apart ? i % KINDS : i / EACH;
			p[i] = promise_made(&in);
			if (kind == 0)
				f[i] = exs_future_map(in, same, NULL, NULL, NULL);
			else if (kind == 1)
				f[i] = exs_future_flat_map(in, same_future, NULL, &seen, seen_free);
			else
				f[i] = exs_future_ensure(in, count_ensured, &seen, seen_free);
		}
		CHECK_INT(exs_future_cancel_all(f, KINDS * EACH), KINDS * EACH);
		for (int i = 0; i < KINDS * EACH; i++) {
			CHECK_INT(exs_promise_complete(p[i], exs_ok(NULL, NULL)), EXS_EALREADY);
			exs_promise_free(p[i]);
			expect_cancelled(f[i], EXS_CAUSE_USER);
		}
		CHECK_INT(seen.frees, 2 * EACH);
		CHECK_INT(seen.calls, EACH); /* an ensure's function runs whatever the outcome */
	}
}

static exs_result answer_cancelled(void *unused, exs_result in)
{
	(void)unused;
	exs_result_clear(&in);
	return exs_cancelled();
}

static void explained(exs_future *f, const char *expected)
{
	char text[64];

	exs_future_explain(f, text, sizeof(text));
	CHECK_STR(text, expected);
}

/* By the function, not by whoever cancelled the input. */
TEST(functions, map_answers_cancelled)
{
	exs_future *f = exs_future_map(number_returned(1), answer_cancelled, NULL, NULL, NULL);

	explained(f, "task: cancelled by the task");
	expect_cancelled(f, EXS_CAUSE_NONE);
}

TEST(functions, explained_while_it_keeps_its_input)
{
	exs_future *f = number_returned(1), *g = exs_future_map(exs_future_ref(f), same, NULL, NULL, NULL);

	explained(g, "task: done");
	exs_future_unref(f);
	CHECK_INT(number_of(g), 1);
	exs_future_unref(g);
}

/* Without a function that frees it a context is not touched. */
TEST(functions, of_nothing_with_a_context_of_ones_own)
{
	int own = 0;
	exs_future *none[] = {NULL}, *wrong[] = {
					     exs_future_map(NULL, same, NULL, &own, NULL),
					     exs_future_flat_map(NULL, same_future, NULL, &own, NULL),
					     exs_future_recover(NULL, same, &own, NULL),
					     exs_future_ensure(NULL, count_ensured, &own, NULL),
					     exs_future_ensure(number_returned(1), NULL, &own, NULL),
					     exs_future_or(none, 1, NULL, &own, NULL),
					     exs_future_and(none, 0, NULL, &own, NULL),
				     };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		expect_code(wrong[i], &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(own, 0);
	CHECK_INT(atomic_load(&numbers), 0);
}
