/* Bind: exs_bound stands for the function of the outermost bind below. */
#include "support.h"

#include <string.h>

/* Values are the argument with a digit of the function's own behind it. */
static exs_result digit(void *arg, unsigned d)
{
	return exs_ok((void *)((uintptr_t)arg * 10 + d), NULL);
}

static exs_result fn_1(void *arg, exs_context *ctx)
{
	(void)ctx;
	return digit(arg, 1);
}

static exs_result fn_2(void *arg, exs_context *ctx)
{
	(void)ctx;
	return digit(arg, 2);
}

static void *const seven = (void *)7;

static void expect_digits(exs_future *f, uintptr_t digits)
{
	expect_value(f, (void *)digits);
}

TEST(bind, runs_the_bound_function)
{
	exs_executor *ex = exs_with_bind(exs_thread_pool(1), fn_1);
	exs_task task = {.fn = exs_bound, .arg = seven, .name = "by options"};

	CHECK(ex);
	expect_digits(exs_submit_bound(ex, seven), 71);
	expect_digits(exs_submit_with(ex, &task), 71);
	expect_digits(exs_try_submit(ex, &task), 71);
	exs_executor_free(ex);
}

TEST(bind, other_functions_pass)
{
	exs_executor *ex = exs_with_bind(exs_inline(), fn_1);
	struct job job;

	expect_digits(exs_submit(ex, fn_2, seven), 72);
	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	exs_executor_free(ex);
	job_fini(&job);
}

TEST(bind, outermost_counts)
{
	exs_executor *ex = exs_with_bind(exs_with_retry(exs_with_bind(exs_inline(), fn_1), NULL), fn_2);

	expect_digits(exs_submit_bound(ex, seven), 72);
	exs_executor_free(ex);
}

TEST(bind, marker_without_a_bind_layer)
{
	exs_executor *ex = exs_inline();
	exs_future *f = exs_submit_bound(ex, seven);

	CHECK(strstr(exs_error_message(exs_future_error(f)), "exs_with_bind"));
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	exs_executor_free(ex);
	expect_code(exs_submit_bound(NULL, seven), &exs_domain_exs, EXS_EINVAL);
}

static exs_executor *retry(exs_executor *ex)
{
	exs_retry_options options = {.sleep = EXS_NONE};

	return exs_with_retry(ex, &options);
}

static exs_executor *abandon(exs_executor *ex)
{
	return exs_with_timeout_mode(ex, 100, EXS_ABANDON);
}

static exs_result add_3(void *ctx, exs_result in)
{
	(void)ctx;
	return digit(in.value, 3);
}

static exs_executor *map(exs_executor *ex)
{
	return exs_with_map(ex, add_3, NULL, NULL, NULL);
}

/* All chains of three of these around a bind, the bind at each height. */
TEST(bind, chained_with_others_above_and_below)
{
	exs_executor *(*const layers[])(exs_executor *) = {retry, abandon, map, exs_borrow};
	enum { N = 4 };

	for (int n = 0; n < N * N * N * 4; n++) {
		int which[3] = {n % N, n / N % N, n / N / N % N}, at = n / N / N / N;
		exs_executor *chain[5] = {exs_thread_pool(1)}, *ex = chain[0];
		uintptr_t expected = 71;
		int owned = 0;
		for (int i = 0; i < 4; i++) {
			if (i == at)
				ex = exs_with_bind(ex, fn_1);
			if (i == 3)
				break;
			if (which[i] == 3)
				chain[++owned] = NULL; /* the borrowed one is freed below */
			if (which[i] == 3)
				chain[owned - 1] = ex;
			ex = layers[which[i]](ex);
			expected = which[i] == 2 ? expected * 10 + 3 : expected;
		}
		CHECK(ex);
		expect_digits(exs_submit_bound(ex, seven), expected);
		exs_executor_free(ex);
		while (owned)
			exs_executor_free(chain[--owned]);
	}
}

/* The same function at each attempt; a child call has it too. */
struct often {
	atomic_uint starts;
	exs_error *error;
};

static exs_result fail_twice(void *arg, exs_context *ctx)
{
	struct often *often = arg;

	CHECK_INT(exs_context_attempt(ctx), atomic_fetch_add(&often->starts, 1) + 1);
	return often->starts < 3 ? exs_fail(exs_error_ref(often->error)) : exs_ok(often, NULL);
}

TEST(bind, under_retry_and_abandon)
{
	for (int i = 0; i < 4; i++) {
		struct often often = {.error = exs_error_new(&test_domain, 1, "no")};
		exs_executor *ex = exs_thread_pool(1);
		ex = i & 1 ? exs_with_bind(abandon(ex), fail_twice) : abandon(exs_with_bind(ex, fail_twice));
		ex = i & 2 ? abandon(retry(ex)) : retry(ex);
		expect_value(exs_submit_bound(ex, &often), &often);
		CHECK_INT(often.starts, 3);
		exs_executor_free(ex);
		exs_error_unref(often.error);
	}
}

static exs_result wait_for_second(void *arg, exs_context *ctx)
{
	(void)ctx;
	return arg ? exs_ok(exs_future_value(arg), NULL) : exs_ok(seven, NULL);
}

TEST(bind, shared_by_chains)
{
	exs_executor *ex = exs_with_bind(exs_thread_pool(2), wait_for_second), *a = exs_with_bind(exs_borrow(ex), fn_1);
	exs_executor *b = exs_borrow(ex);

	expect_digits(exs_submit_bound(a, seven), 71);
	expect_digits(exs_submit_bound(b, NULL), 7);
	expect_digits(exs_submit_bound(ex, NULL), 7);
	exs_executor_free(a);
	exs_executor_free(b);
	exs_executor_free(ex);
}

TEST(bind, misuse)
{
	CHECK(!exs_with_bind(NULL, fn_1));
	CHECK(!exs_with_bind(exs_inline(), NULL));
	CHECK_STR(exs_error_message(exs_last_error()), "exs_with_bind: fn is NULL");
}
