/* Counterparts of more-executors' tests of map, flat_map, bind and asyncio (test_map.py, test_flat_map.py, test_bind.py,
   test_asyncio.py). */
#include "more_executors.h"

#include <string.h>

enum { DIVISION = 10 };

static long as_number(exs_result r)
{
	return (long)(intptr_t)r.value;
}

/* Ten by n; by 0: an error, which names the function, as there is no traceback. */
static exs_result ten_by(long n)
{
	if (!n)
		return exs_fail(exs_error_new(&test_domain, DIVISION, "ten_by: division by zero"));
	return exs_ok(num(10 / n), NULL);
}

static exs_result run_ten_by(void *n, exs_context *ctx)
{
	(void)ctx;
	return ten_by((long)(intptr_t)n);
}

static exs_result itself(void *n, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(n, NULL);
}

static exs_result times_ten(void *ctx, exs_result in)
{
	(void)ctx;
	return exs_ok(num(10 * as_number(in)), NULL);
}

static void expect_division(exs_future *f)
{
	wait_done(f);
	CHECK_STR(exs_error_message(exs_future_error(f)), "ten_by: division by zero");
	expect_code(f, &test_domain, DIVISION);
}

static void submit_all(exs_executor *ex, exs_task_fn *fn, exs_future **f, const long *inputs, int n)
{
	CHECK(ex);
	for (int i = 0; i < n; i++)
		f[i] = more_submit(ex, fn, num(inputs[i]));
}

/* --- map --- */

TEST(more_map, basic_map)
{
	exs_executor *ex = exs_with_map(exs_thread_pool(0), times_ten, NULL, NULL, NULL);
	const long inputs[] = {1, 2, 3};
	exs_future *f[3];

	submit_all(ex, more_twice, f, inputs, 3);
	for (int i = 0; i < 3; i++)
		more_expect(f[i], 20 * inputs[i]);
	exs_executor_free(ex);
}

static exs_result minus_code(void *ctx, exs_result in)
{
	long code = exs_error_code(in.error);

	(void)ctx;
	exs_result_clear(&in);
	return exs_ok(num(-code), NULL);
}

TEST(more_map, map_error_fn)
{
	exs_executor *ex = exs_with_map(exs_thread_pool(0), NULL, minus_code, NULL, NULL);
	const long inputs[] = {1, 2, 0};
	exs_future *f[3];

	submit_all(ex, run_ten_by, f, inputs, 3);
	more_expect(f[0], 10);
	more_expect(f[1], 5);
	more_expect(f[2], -DIVISION);
	exs_executor_free(ex);
}

/* Twice n, but of 4. */
static exs_result twice_but_four(void *n, exs_context *ctx)
{
	if ((intptr_t)n == 4)
		return exs_fail(exs_error_new(&test_domain, 4, "I do not like the number 4"));
	return more_twice(n, ctx);
}

static exs_result replaced(void *ctx, exs_result in)
{
	exs_error *error = exs_error_new(&test_domain, 5, "replaced: %s", exs_error_message(in.error));

	(void)ctx;
	exs_result_clear(&in);
	return exs_fail(error);
}

TEST(more_map, map_error_fn_raised)
{
	exs_executor *ex = exs_with_map(exs_thread_pool(0), NULL, replaced, NULL, NULL);
	const long inputs[] = {1, 2, 4};
	exs_future *f[3];

	submit_all(ex, twice_but_four, f, inputs, 3);
	more_expect(f[0], 2);
	more_expect(f[1], 4);
	wait_done(f[2]);
	CHECK_STR(exs_error_message(exs_future_error(f[2])), "replaced: I do not like the number 4");
	expect_code(f[2], &test_domain, 5);
	exs_executor_free(ex);
}

static exs_result same(void *seen, exs_result in)
{
	if (seen)
		*(exs_error **)seen = in.error;
	return in;
}

static exs_result fail_with(void *error, exs_context *ctx)
{
	(void)ctx;
	return exs_fail(exs_error_ref(error));
}

TEST(more_map, map_error_fn_propagate)
{
	exs_error *error = exs_error_new(&test_domain, 4, "no"), *seen = NULL;
	exs_executor *ex = exs_with_map(exs_thread_pool(0), NULL, same, &seen, NULL);
	const long inputs[] = {1, 2};
	exs_future *f[2];

	submit_all(ex, more_twice, f, inputs, 2);
	more_expect(f[0], 2);
	more_expect(f[1], 4);
	expect_error(more_submit(ex, fail_with, error), error);
	CHECK(seen == error);
	exs_executor_free(ex);
	exs_error_unref(error);
}

static exs_result map_ten_by(void *ctx, exs_result in)
{
	(void)ctx;
	return ten_by(as_number(in));
}

TEST(more_map, map_exception)
{
	exs_executor *ex = exs_with_map(exs_thread_pool(0), map_ten_by, NULL, NULL, NULL);
	const long inputs[] = {1, 2, 0};
	exs_future *f[3];

	submit_all(ex, itself, f, inputs, 3);
	more_expect(f[0], 10);
	more_expect(f[1], 5);
	expect_division(f[2]);
	exs_executor_free(ex);
}

TEST(more_map, exception_propagate)
{
	exs_executor *ex = exs_with_map(exs_thread_pool(0), same, NULL, NULL, NULL);

	expect_division(more_submit(ex, run_ten_by, num(0)));
	exs_executor_free(ex);
}

/* --- flat map --- */

static exs_result run_times_ten(void *n, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(num(10 * (long)(intptr_t)n), NULL);
}

static exs_result run_plus_one(void *n, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(num((long)(intptr_t)n + 1), NULL);
}

static exs_future *submit_times_ten(void *ex, exs_result in)
{
	return exs_submit(ex, run_times_ten, in.value);
}

static exs_future *submit_plus_one(void *ex, exs_result in)
{
	return exs_submit(ex, run_plus_one, in.value);
}

static exs_future *submit_ten_by(void *ex, exs_result in)
{
	return exs_submit(ex, run_ten_by, in.value);
}

/* Two flat maps at most around a borrow of a pool, whose functions submit to it. */
struct flat {
	exs_executor *pool, *ex;
};

static void flat_init(struct flat *s, exs_flat_map_fn *first, exs_flat_map_fn *second)
{
	s->pool = exs_thread_pool(0);
	s->ex = exs_with_flat_map(exs_borrow(s->pool), first, NULL, s->pool, NULL);
	if (second)
		s->ex = exs_with_flat_map(s->ex, second, NULL, s->pool, NULL);
	CHECK(s->pool && s->ex);
}

static void flat_end(struct flat *s)
{
	exs_executor_free(s->ex);
	exs_executor_free(s->pool);
}

TEST(more_flat_map, basic_flat_map)
{
	const long inputs[] = {1, 2, 3};
	exs_future *f[3];
	struct flat s;

	flat_init(&s, submit_times_ten, NULL);
	submit_all(s.ex, more_twice, f, inputs, 3);
	for (int i = 0; i < 3; i++)
		more_expect(f[i], 20 * inputs[i]);
	flat_end(&s);
}

TEST(more_flat_map, flat_map_exception)
{
	const long inputs[] = {1, 2, 0};
	exs_future *f[3];
	struct flat s;

	flat_init(&s, submit_ten_by, NULL);
	submit_all(s.ex, itself, f, inputs, 3);
	more_expect(f[0], 10);
	more_expect(f[1], 5);
	expect_division(f[2]);
	flat_end(&s);
}

/* A C function can't answer anything else than a future, but none. */
static exs_future *only_for_two(void *ex, exs_result in)
{
	return as_number(in) == 2 ? submit_times_ten(ex, in) : NULL;
}

TEST(more_flat_map, flat_map_nofuture)
{
	const long inputs[] = {1, 2, 3};
	exs_future *f[3];
	struct flat s;

	flat_init(&s, only_for_two, NULL);
	submit_all(s.ex, itself, f, inputs, 3);
	more_expect(f[1], 20);
	expect_code(f[0], &exs_domain_exs, EXS_EINVAL);
	expect_code(f[2], &exs_domain_exs, EXS_EINVAL);
	flat_end(&s);
}

TEST(more_flat_map, chained_flat_map)
{
	const long inputs[] = {1, 2};
	exs_future *f[2];
	struct flat s;

	flat_init(&s, submit_times_ten, submit_plus_one);
	submit_all(s.ex, itself, f, inputs, 2);
	more_expect(f[0], 11);
	more_expect(f[1], 21);
	flat_end(&s);
}

static exs_error *the_error;

static exs_future *fail_first(void *ex, exs_result in)
{
	exs_result_clear(&in);
	return exs_submit(ex, fail_with, the_error);
}

static exs_future *never(void *ex, exs_result in)
{
	(void)ex, (void)in;
	CHECK(false);
	return NULL;
}

TEST(more_flat_map, chained_flat_map_exception)
{
	const long inputs[] = {1, 2};
	exs_future *f[2];
	struct flat s;

	the_error = exs_error_new(&test_domain, 1, "testing");
	flat_init(&s, fail_first, never);
	submit_all(s.ex, itself, f, inputs, 2);
	for (int i = 0; i < 2; i++)
		expect_error(f[i], the_error);
	flat_end(&s);
	exs_error_unref(the_error);
}

/* --- bind --- */

static void expect_bound(exs_executor *ex, void *const *args, const long *values, int n)
{
	exs_future *f[3];

	CHECK(ex && n <= 3);
	for (int i = 0; i < n; i++)
		f[i] = exs_submit_bound(ex, args[i]);
	for (int i = 0; i < n; i++)
		more_expect(f[i], values[i]);
	exs_executor_free(ex);
}

TEST(more_bind, single_bind)
{
	void *args[] = {num(0), num(1), num(2)};

	expect_bound(exs_with_bind(exs_thread_pool(0), more_twice), args, (long[]){0, 2, 4}, 3);
}

/* C has no partial functions and no callable objects: the argument brings the operand along. */
struct product {
	long (*of)(long x, long y);
	long x, y;
};

static long multiply(long x, long y)
{
	return x * y;
}

static exs_result multiply_both(void *product, exs_context *ctx)
{
	struct product *p = product;

	(void)ctx;
	return exs_ok(num(multiply(p->x, p->y)), NULL);
}

TEST(more_bind, bind_with_partial)
{
	struct product p[] = {{.x = 2, .y = 0}, {.x = 2, .y = 1}, {.x = 2, .y = 2}};
	void *args[] = {&p[0], &p[1], &p[2]};

	expect_bound(exs_with_bind(exs_thread_pool(0), multiply_both), args, (long[]){0, 2, 4}, 3);
}

static exs_result call_object(void *product, exs_context *ctx)
{
	struct product *p = product;

	(void)ctx;
	return exs_ok(num(p->of(p->x, p->y)), NULL);
}

TEST(more_bind, bind_with_callable)
{
	struct product p[] = {{multiply, 2, 0}, {multiply, 2, 1}, {multiply, 2, 2}};
	void *args[] = {&p[0], &p[1], &p[2]};

	expect_bound(exs_with_bind(exs_thread_pool(0), call_object), args, (long[]){0, 2, 4}, 3);
}

static exs_executor *with_times_ten(exs_executor *ex)
{
	return exs_with_map(ex, times_ten, NULL, NULL, NULL);
}

TEST(more_bind, bind_then_map)
{
	void *args[] = {num(0), num(1), num(2)};
	exs_executor *ex = exs_with_bind(with_times_ten(exs_thread_pool(0)), more_twice);

	expect_bound(with_times_ten(ex), args, (long[]){0, 200, 400}, 3);
}

static exs_executor *elsewhere;

static exs_future *multiply_elsewhere(void *product, exs_context *ctx)
{
	(void)ctx;
	return exs_submit(elsewhere, multiply_both, product);
}

TEST(more_bind, flat_bind)
{
	struct product p[] = {{.x = 0, .y = 1}, {.x = 2, .y = 3}, {.x = 4, .y = 5}};
	void *args[] = {&p[0], &p[1], &p[2]};

	elsewhere = exs_inline();
	expect_bound(exs_with_flat_bind(exs_thread_pool(0), multiply_elsewhere), args, (long[]){0, 6, 20}, 3);
	exs_executor_free(elsewhere);
}

/* Theirs can't be bound again. Ours can, as any layer can be wrapped: the outermost function counts, and alone. */
TEST(more_bind, no_rebind)
{
	void *args[] = {num(1), num(2)};
	exs_executor *ex = exs_with_bind(exs_with_bind(exs_inline(), run_times_ten), more_twice);

	expect_bound(ex, args, (long[]){2, 4}, 2);
	CHECK(!exs_with_bind(exs_inline(), NULL));
}

/* --- asyncio: our event loop --- */

/* A loop, and what its callback has seen. */
struct looped {
	exs_executor *loop, *ex;
	struct job job;
	exs_future *f;
	unsigned calls;
};

static void note_and_stop(exs_future *f, void *looped)
{
	struct looped *l = looped;

	CHECK(f == l->f && exs_future_is_done(f));
	l->calls++;
	CHECK_INT(exs_event_loop_stop(l->loop), EXS_OK);
}

static void run_until_complete(exs_executor *ex, void *value)
{
	struct looped l = {.loop = exs_event_loop(), .ex = ex};

	CHECK(l.loop && l.ex);
	job_init(&l.job);
	l.job.gated = true;
	l.f = job_submit(l.ex, &l.job);
	CHECK(exs_error_is(exs_future_result(l.f).error, &exs_domain_exs, EXS_EBUSY));
	CHECK_INT(exs_event_loop_on_done(l.loop, l.f, note_and_stop, &l, NULL), EXS_OK);
	CHECK_INT(exs_event_loop_poll(l.loop), 0);
	sem_post(&l.job.open);
	CHECK_INT(exs_event_loop_run(l.loop), 1);
	CHECK_INT(l.calls, 1);
	expect_value(l.f, value ? value : &l.job);
	exs_executor_free(l.ex);
	exs_executor_free(l.loop);
	job_fini(&l.job);
}

TEST(more_asyncio, run)
{
	run_until_complete(exs_thread_pool(0), NULL);
}

static exs_result instead(void *value, exs_result in)
{
	exs_result_clear(&in);
	return exs_ok(value, NULL);
}

TEST(more_asyncio, with_map)
{
	static char two[] = "abc abc";

	run_until_complete(exs_with_map(exs_thread_pool(0), instead, NULL, two, NULL), two);
}
