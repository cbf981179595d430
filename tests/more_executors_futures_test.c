/* Counterparts of more-executors' tests of its other functions on futures (futures/test_return.py, test_map.py, test_flat_map.py,
   test_apply.py, test_zip.py, test_traverse.py, test_nocancel.py, test_timeout.py, test_proxy.py, test_checks.py). */
#include "more_executors.h"

#include <stdlib.h>
#include <string.h>

static exs_future *returned(long n)
{
	exs_future *f = exs_future_return(num(n), NULL);

	CHECK(f);
	return f;
}

static long as_number(exs_result r)
{
	return (long)(intptr_t)r.value;
}

/* --- return --- */

TEST(more_f_return, f_return)
{
	char quux[] = "quux";

	expect_value(exs_future_return(quux, NULL), quux);
}

TEST(more_f_return, f_return_no_value)
{
	expect_value(exs_future_return(NULL, NULL), NULL);
}

TEST(more_f_return, f_return_error)
{
	exs_error *error = exs_error_new(&test_domain, 1, "simulated error");

	expect_error(exs_future_return_error(exs_error_ref(error)), error);
	exs_error_unref(error);
}

/* --- map, flat_map --- */

static exs_error *division(void)
{
	return exs_error_new(&test_domain, 1, "division by zero");
}

/* Ten by n. */
static exs_result ten_by(void *ctx, exs_result in)
{
	long n = as_number(in);

	(void)ctx;
	return n ? exs_ok(num(10 / n), NULL) : exs_fail(division());
}

static char said[100];

/* What the error says. */
static exs_result message_of(void *ctx, exs_result in)
{
	(void)ctx;
	strncpy(said, exs_error_message(in.error), sizeof(said) - 1);
	exs_result_clear(&in);
	return exs_ok(said, NULL);
}

TEST(more_f_map, map_nothing)
{
	more_expect(exs_future_map(returned(10), NULL, NULL, NULL, NULL), 10);
}

TEST(more_f_map, map)
{
	more_expect(exs_future_map(returned(10), ten_by, NULL, NULL, NULL), 1);
}

TEST(more_f_map, map_error)
{
	exs_future *f = exs_future_map(returned(0), ten_by, NULL, NULL, NULL);

	expect_value(exs_future_map(f, NULL, message_of, NULL, NULL), said);
	CHECK_STR(said, "division by zero");
}

static exs_future *future_of(exs_result r)
{
	return r.kind == EXS_KIND_VALUE ? exs_future_return(r.value, r.destroy) : exs_future_return_error(r.error);
}

static exs_future *flat_ten_by(void *ctx, exs_result in)
{
	return future_of(ten_by(ctx, in));
}

static exs_future *flat_message_of(void *ctx, exs_result in)
{
	return future_of(message_of(ctx, in));
}

/* A function that fails: it answers none, and says why. */
static exs_future *raise(void *ctx, exs_result in)
{
	(void)ctx;
	exs_set_last_error(&test_domain, 2, "oops, an error: %s", exs_error_message(in.error));
	exs_result_clear(&in);
	return NULL;
}

TEST(more_f_flat_map, flat_map_nothing)
{
	more_expect(exs_future_flat_map(returned(10), NULL, NULL, NULL, NULL), 10);
}

TEST(more_f_flat_map, flat_map)
{
	more_expect(exs_future_flat_map(returned(10), flat_ten_by, NULL, NULL, NULL), 1);
}

TEST(more_f_flat_map, flat_map_error)
{
	exs_future *f = exs_future_flat_map(returned(0), flat_ten_by, NULL, NULL, NULL);

	memset(said, 0, sizeof(said));
	expect_value(exs_future_flat_map(f, NULL, flat_message_of, NULL, NULL), said);
	CHECK_STR(said, "division by zero");
}

TEST(more_f_flat_map, flat_map_error_fn_raises)
{
	exs_future *f = exs_future_flat_map(returned(0), flat_ten_by, NULL, NULL, NULL);

	f = exs_future_flat_map(f, NULL, raise, NULL, NULL);
	wait_done(f);
	CHECK(strstr(exs_error_message(exs_future_error(f)), "oops, an error: division by zero"));
	expect_code(f, &test_domain, 2);
}

/* --- apply --- */

static exs_result answer(void *ctx, void *const *args, size_t n)
{
	(void)ctx, (void)args;
	CHECK_INT(n, 0);
	return exs_ok(num(42), NULL);
}

static exs_result multiply(void *ctx, void *const *args, size_t n)
{
	long product = (long)(intptr_t)ctx;

	for (size_t i = 0; i < n; i++)
		product *= (long)(intptr_t)args[i];
	return exs_ok(num(product), NULL);
}

/* As the digits of a number. */
static exs_result in_order(void *ctx, void *const *args, size_t n)
{
	long digits = 0;

	(void)ctx;
	for (size_t i = 0; i < n; i++)
		digits = 10 * digits + (long)(intptr_t)args[i];
	return exs_ok(num(digits), NULL);
}

static exs_future *applied(exs_function *function, const long *args, size_t n)
{
	exs_future *f[6];

	for (size_t i = 0; i < n; i++)
		f[i] = returned(args[i]);
	return exs_future_apply(exs_future_return(function, NULL), f, n);
}

TEST(more_f_apply, f_apply_no_arg)
{
	exs_function function = {answer, NULL};

	more_expect(applied(&function, NULL, 0), 42);
}

TEST(more_f_apply, f_apply_single_arg)
{
	exs_function function = {multiply, num(2)};

	more_expect(applied(&function, (long[]){42}, 1), 84);
}

TEST(more_f_apply, f_apply_multi_arg)
{
	exs_function function = {multiply, num(1)};

	more_expect(applied(&function, (long[]){3, 4, 2}, 3), 24);
}

/* C has no names for arguments: they come in their order. */
TEST(more_f_apply, f_apply_mixed)
{
	exs_function function = {in_order, NULL};

	more_expect(applied(&function, (long[]){1, 2, 3, 4, 5, 6}, 6), 123456);
}

/* --- zip --- */

/* A zip of the numbers from 1 to n. */
static void zip_numbers(size_t n)
{
	exs_future **f = calloc(n + 1, sizeof(*f));

	CHECK(f);
	for (size_t i = 0; i < n; i++)
		f[i] = returned((long)i + 1);
	exs_future *zip = exs_future_zip(f, n);
	wait_done(zip);
	exs_values *values = exs_future_value(zip);
	CHECK(values);
	CHECK_INT(values->n, n);
	for (size_t i = 0; i < n; i++)
		CHECK(values->values[i] == num((long)i + 1));
	exs_future_unref(zip);
	free(f);
}

TEST(more_f_zip, zip_none)
{
	zip_numbers(0);
}

TEST(more_f_zip, zip_single)
{
	zip_numbers(1);
}

TEST(more_f_zip, zip_two)
{
	zip_numbers(2);
}

TEST(more_f_zip, zip_three)
{
	zip_numbers(3);
}

TEST(more_f_zip, zip_large)
{
	zip_numbers(100000);
}

/* One of three has failed. */
static void fail_of_three(exs_future *(*fn)(exs_future *const *futures, size_t n))
{
	exs_error *error = exs_error_new(&test_domain, 1, "simulated error");
	exs_future *f[] = {returned(1), exs_future_return_error(exs_error_ref(error)), returned(3)};

	expect_error(fn(f, 3), error);
	exs_error_unref(error);
}

TEST(more_f_zip, zip_error)
{
	fail_of_three(exs_future_zip);
}

TEST(more_f_zip, zip_cancel)
{
	exs_promise *p[2];
	exs_future *f[3] = {returned(1)}, *held[2];

	for (int i = 0; i < 2; i++) {
		p[i] = promise_made(&f[i + 1]);
		held[i] = exs_future_ref(f[i + 1]);
	}
	exs_future *zip = exs_future_zip(f, 3);
	CHECK(!exs_future_is_done(zip));
	CHECK_INT(exs_future_cancel(zip), EXS_CANCELLED);
	for (int i = 0; i < 2; i++) {
		CHECK_INT(exs_future_state(held[i]), EXS_STATE_CANCELLED);
		exs_promise_free(p[i]);
		exs_future_unref(held[i]);
	}
	CHECK_INT(exs_future_wait(zip, 0), EXS_OK); /* of theirs a wait never ends */
	expect_cancelled(zip, EXS_CAUSE_USER);
}

/* --- sequence, traverse --- */

static void expect_values(exs_future *f, const long *expected, size_t n)
{
	wait_done(f);
	exs_values *values = exs_future_value(f);
	CHECK(values);
	CHECK_INT(values->n, n);
	for (size_t i = 0; i < n; i++)
		CHECK_INT((long)(intptr_t)values->values[i], expected[i]);
	exs_future_unref(f);
}

TEST(more_f_traverse, sequence)
{
	exs_future *f[] = {returned('a'), returned('b'), returned('c')};

	expect_values(exs_future_sequence(f, 3), (long[]){'a', 'b', 'c'}, 3);
}

TEST(more_f_traverse, sequence_error)
{
	fail_of_three(exs_future_sequence);
}

static exs_future *hundred_by(void *error, void *item)
{
	long n = (long)(intptr_t)item;

	return n ? returned(100 / n) : exs_future_return_error(exs_error_ref(error));
}

TEST(more_f_traverse, traverse)
{
	void *items[] = {num(10), num(25), num(50)};

	expect_values(exs_future_traverse(hundred_by, NULL, items, 3), (long[]){10, 4, 2}, 3);
}

/* There are no generators: items that are made before. */
TEST(more_f_traverse, traverse_generator)
{
	void *items[4];

	for (int i = 0; i < 4; i++)
		items[i] = num(10 + 5 * i);
	expect_values(exs_future_traverse(hundred_by, NULL, items, 4), (long[]){10, 6, 5, 4}, 4);
}

TEST(more_f_traverse, traverse_error)
{
	void *items[] = {num(10), num(0), num(50)};
	exs_error *error = division();

	expect_error(exs_future_traverse(hundred_by, error, items, 3), error);
	exs_error_unref(error);
}

/* --- nocancel --- */

TEST(more_f_nocancel, nocancel)
{
	enum { CALLS = 5 };
	exs_executor *pool = exs_thread_pool(2);
	struct job jobs[CALLS];
	exs_future *f[CALLS];

	pool_occupy(pool, jobs, f, CALLS, 2);
	for (int i = 0; i < CALLS; i++) {
		f[i] = exs_future_nocancel(f[i]);
		CHECK_INT(exs_future_cancel(f[i]), EXS_STOP_REQUESTED);
		CHECK(!exs_future_is_done(f[i]));
	}
	pool_let_go(jobs, f, CALLS);
	for (int i = 0; i < CALLS; i++)
		CHECK(jobs[i].stops == 0);
	exs_executor_free(pool);
}

/* --- timeout --- */

/* Two run, three wait, the fourth of all can't be cancelled. Theirs goes on where a cancel is refused; ours has failed by then, and what
   it was made of goes on. */
TEST(more_f_timeout, timeout)
{
	enum { CALLS = 5, KEPT = 3 };
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *pool = more_pool(2, clock);
	exs_future *calls[CALLS], *f[CALLS];
	struct job jobs[CALLS];

	pool_occupy(pool, jobs, calls, CALLS, 2);
	for (int i = 0; i < CALLS; i++) {
		f[i] = exs_future_ref(calls[i]);
		f[i] = exs_future_timeout(i == KEPT ? exs_future_nocancel(f[i]) : f[i], 0.02);
	}
	advance(clock, 0.01);
	for (int i = 0; i < CALLS; i++)
		CHECK(!exs_future_is_done(f[i]));
	advance(clock, 0.01);
	for (int i = 0; i < CALLS; i++) {
		CHECK_INT(exs_future_state(calls[i]) == EXS_STATE_CANCELLED, i == 2 || i == 4);
		CHECK_INT(exs_future_cause(calls[i]), i == KEPT ? EXS_CAUSE_NONE : EXS_CAUSE_TIMEOUT);
		expect_code(f[i], &exs_domain_exs, EXS_ETIMEDOUT);
		sem_post(&jobs[i].open);
	}
	for (int i = 0; i < CALLS; i++) {
		if (i == 2 || i == 4)
			expect_cancelled(calls[i], EXS_CAUSE_TIMEOUT);
		else
			expect_value(calls[i], &jobs[i]);
	}
	exs_executor_free(pool);
	CHECK_INT(exs_clock_armed(clock), 0);
	exs_clock_unref(clock);
	for (int i = 0; i < CALLS; i++)
		job_fini(&jobs[i]);
}

/* --- proxy: C has none, but what two of its tests show of others --- */

static exs_result instead(void *value, exs_result in)
{
	exs_result_clear(&in);
	return exs_ok(value, NULL);
}

/* Mapping a future does not wait for it. */
TEST(more_f_proxy, map)
{
	exs_executor *pool = exs_thread_pool(1);
	struct job job;
	exs_future *f;

	pool_occupy(pool, &job, &f, 1, 1);
	f = exs_future_map(f, instead, NULL, num(123), NULL);
	CHECK(!exs_future_is_done(f));
	sem_post(&job.open);
	more_expect(f, 123);
	exs_executor_free(pool);
	job_fini(&job);
}

/* An error is had in each way, and is this very one. */
TEST(more_f_proxy, attribute_error)
{
	exs_error *error = exs_error_new(&test_domain, 1, "quux");
	exs_future *f = exs_future_return_error(exs_error_ref(error));

	CHECK(exs_future_error(f) == error && exs_future_result(f).error == error && !exs_future_value(f));
	expect_error(exs_future_map(f, instead, NULL, NULL, NULL), error);
	exs_error_unref(error);
}

/* --- checks: what is no future is NULL here --- */

static void expect_einval(exs_future *f, const char *name)
{
	CHECK(f);
	wait_done(f);
	CHECK(strstr(exs_error_message(exs_future_error(f)), name));
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
}

TEST(more_f_checks, or_error)
{
	exs_future *f[] = {returned(0), NULL};

	expect_einval(exs_future_or(f, 2, NULL, NULL, NULL), "exs_future_or");
}

TEST(more_f_checks, and_error)
{
	exs_future *f[] = {returned(1), NULL};

	expect_einval(exs_future_and(f, 2, NULL, NULL, NULL), "exs_future_and");
}

TEST(more_f_checks, map_error)
{
	expect_einval(exs_future_map(NULL, ten_by, NULL, NULL, NULL), "exs_future_map");
}

TEST(more_f_checks, flat_map_error)
{
	expect_einval(exs_future_flat_map(NULL, flat_ten_by, NULL, NULL, NULL), "exs_future_flat_map");
}

TEST(more_f_checks, zip_error)
{
	exs_future *f[] = {returned(1), NULL, returned(3)};

	expect_einval(exs_future_zip(f, 3), "exs_future_zip");
}

TEST(more_f_checks, apply_error)
{
	exs_function function = {answer, NULL};
	exs_future *f[] = {returned(1), NULL};

	expect_einval(exs_future_apply(NULL, NULL, 0), "exs_future_apply");
	expect_einval(exs_future_apply(exs_future_return(&function, NULL), f, 2), "exs_future_apply");
}

TEST(more_f_checks, nocancel)
{
	expect_einval(exs_future_nocancel(NULL), "exs_future_nocancel");
}

TEST(more_f_checks, timeout)
{
	expect_einval(exs_future_timeout(NULL, 123), "exs_future_timeout");
}
