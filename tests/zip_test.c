/* zip, sequence, traverse, apply. */
#include "support.h"

enum { MANY = 100000 };

static void expect_numbers(exs_future *f, const long *n, size_t count)
{
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	const exs_values *v = exs_future_value(f);
	CHECK_INT(v->n, count);
	for (size_t i = 0; i < count; i++)
		CHECK_INT(*(long *)v->values[i], n[i]);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(zip, values_in_the_order_of_the_inputs)
{
	exs_promise *p[3];
	exs_future *f[3];

	for (int i = 0; i < 3; i++)
		p[i] = promise_made(&f[i]);
	exs_future *g = exs_future_zip(f, 3);
	promise_done(p[2], number(3));
	promise_done(p[0], number(1));
	CHECK(!exs_future_is_done(g));
	promise_done(p[1], number(2));
	expect_numbers(g, (const long[]){1, 2, 3}, 3);
}

TEST(zip, nothing_is_done_at_once)
{
	exs_future *f = exs_future_zip(NULL, 0);

	CHECK(exs_future_is_done(f));
	expect_numbers(f, NULL, 0);
	f = exs_future_sequence(NULL, 0);
	expect_numbers(f, NULL, 0);
}

TEST(zip, sequence_is_another_name)
{
	exs_future *const f[] = {number_returned(4), number_returned(5)};

	expect_numbers(exs_future_sequence(f, 2), (const long[]){4, 5}, 2);
}

TEST(zip, the_first_error_wins)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	exs_promise *p[3];
	exs_future *f[3];

	for (int i = 0; i < 3; i++)
		p[i] = promise_made(&f[i]);
	exs_future *last = exs_future_ref(f[2]);
	exs_future *g = exs_future_zip(f, 3);
	promise_done(p[0], number(1));
	promise_done(p[1], exs_fail(exs_error_ref(error)));
	expect_error(g, error);
	CHECK_INT(atomic_load(&numbers), 0);
	expect_cancelled(last, EXS_CAUSE_SIBLING);
	exs_promise_free(p[2]);
	exs_error_unref(error);
}

TEST(zip, an_input_cancelled)
{
	exs_promise *p[2];
	exs_future *f[2];

	for (int i = 0; i < 2; i++)
		p[i] = promise_made(&f[i]);
	exs_future *first = exs_future_ref(f[0]), *second = exs_future_ref(f[1]);
	exs_future *g = exs_future_zip(f, 2);
	CHECK_INT(exs_future_cancel(second), EXS_CANCELLED);
	expect_cancelled(g, EXS_CAUSE_USER);
	expect_cancelled(first, EXS_CAUSE_SIBLING);
	exs_future_unref(second);
	exs_promise_free(p[0]);
	exs_promise_free(p[1]);
}

/* Also where the inputs can only be asked to stop. */
TEST(zip, a_cancelled_one_is_done_for_wait)
{
	exs_promise *p[2];
	exs_future *f[2];

	for (int i = 0; i < 2; i++) {
		p[i] = promise_made(&f[i]);
		CHECK(exs_promise_start(p[i]));
	}
	exs_future *g = exs_future_zip(f, 2);
	CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	CHECK_INT(exs_future_wait(g, 0), EXS_OK);
	CHECK_INT(exs_wait_all(&g, 1, 0), EXS_OK);
	for (int i = 0; i < 2; i++) {
		CHECK(exs_promise_stop_requested(p[i]));
		promise_done(p[i], number(1));
	}
	expect_cancelled(g, EXS_CAUSE_USER);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(zip, the_same_input_twice)
{
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *const both[] = {f, exs_future_ref(f)};
	exs_future *g = exs_future_zip(both, 2);

	promise_done(p, number(6));
	expect_numbers(g, (const long[]){6, 6}, 2);
}

TEST(zip, what_others_have)
{
	exs_future *f = number_returned(1);
	exs_future *const both[] = {exs_future_ref(f), number_returned(2)};
	exs_future *g = exs_future_zip(both, 2);
	exs_result r;

	CHECK_INT(number_of(f), 1);
	exs_future_unref(f);
	CHECK_INT(exs_future_take(g, &r), EXS_OK); /* the values go along */
	exs_future_unref(g);
	CHECK_INT(*(long *)((exs_values *)r.value)->values[0], 1);
	CHECK_INT(atomic_load(&numbers), 2);
	exs_result_clear(&r);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(zip, null_among_the_inputs)
{
	exs_future *const f[] = {number_returned(1), NULL, number_returned(2)};
	exs_future *g = exs_future_zip(f, 3);

	CHECK_STR(exs_error_message(exs_future_error(g)), "exs_future_zip: futures[1] of 3 is NULL");
	expect_code(g, &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(atomic_load(&numbers), 0);
	g = exs_future_zip(NULL, 2);
	CHECK_STR(exs_error_message(exs_future_error(g)), "exs_future_zip: futures is NULL, but n is 2");
	expect_code(g, &exs_domain_exs, EXS_EINVAL);
}

static exs_promise *promises[MANY];
static exs_future *futures[MANY];

TEST(zip, a_hundred_thousand_inputs)
{
	for (int i = 0; i < MANY; i++)
		promises[i] = promise_made(&futures[i]);
	exs_future *g = exs_future_zip(futures, MANY);
	for (size_t i = 0; i < MANY; i++)
		promise_done(promises[i * 7919 % MANY], number((long)(i * 7919 % MANY)));
	const exs_values *v = exs_future_value(g);
	CHECK_INT(v->n, MANY);
	for (long i = 0; i < MANY; i++)
		CHECK_INT(*(long *)v->values[i], i);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
}

/* Each the values of the one before, and one more; kept by others (then each keeps its input) or not. */
TEST(zip, a_hundred_thousand_deep)
{
	for (int how = 0; how < 3; how++) {
		exs_future *f, *first;
		exs_promise *p = promise_made(&f);
		first = how == 1 ? exs_future_ref(f) : NULL;
		for (int i = 0; i < MANY; i++) {
			exs_future *const both[] = {number_returned(i), f};
			f = exs_future_zip(both, 2);
		}
		if (how == 2)
			CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
		CHECK_INT(exs_promise_complete(p, number(1)), how == 2 ? EXS_EALREADY : EXS_OK);
		exs_promise_free(p);
		CHECK(exs_future_is_done(f));
		exs_future_unref(first);
		CHECK_INT(atomic_load(&numbers), how == 2 ? 0 : MANY + 1);
		exs_future_unref(f);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

/* --- traverse --- */

static exs_future *twice(void *calls, void *item)
{
	++*(int *)calls;
	return number_returned(2 * *(int *)item);
}

TEST(traverse, in_order)
{
	int numbers_in[] = {3, 4, 5}, calls = 0;
	void *const items[] = {&numbers_in[0], &numbers_in[1], &numbers_in[2]};

	expect_numbers(exs_future_traverse(twice, &calls, items, 3), (const long[]){6, 8, 10}, 3);
	CHECK_INT(calls, 3);
	expect_numbers(exs_future_traverse(twice, &calls, NULL, 0), NULL, 0);
	CHECK_INT(calls, 3);
}

/* The second item has no future: the first one's is cancelled, the third is not asked for. */
struct unwilling {
	exs_future *first;
	int calls;
	bool says;
};

static exs_future *only_the_first(void *ctx, void *item)
{
	struct unwilling *u = ctx;

	(void)item;
	if (!u->calls++)
		return exs_future_ref(u->first);
	if (u->says)
		exs_set_last_error(&test_domain, 7, "sold out");
	return NULL;
}

TEST(traverse, an_item_without_a_future)
{
	void *const items[3] = {NULL};

	for (int says = 0; says < 2; says++) {
		struct unwilling u = {.says = says};
		exs_promise *p = promise_made(&u.first);
		exs_future *f = exs_future_traverse(only_the_first, &u, items, 3);
		CHECK_INT(u.calls, 2);
		CHECK_STR(exs_error_message(exs_future_error(f)),
			  says ? "exs_future_traverse: fn answered no future: sold out"
			       : "exs_future_traverse: fn answered no future");
		expect_code(f, says ? &test_domain : &exs_domain_exs, says ? 7 : EXS_EINVAL);
		expect_cancelled(u.first, EXS_CAUSE_SIBLING);
		exs_promise_free(p);
	}
}

TEST(traverse, without_a_function_or_items)
{
	exs_future *f = exs_future_traverse(NULL, NULL, NULL, 0);

	CHECK_STR(exs_error_message(exs_future_error(f)), "exs_future_traverse: fn is NULL");
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	f = exs_future_traverse(twice, NULL, NULL, 1);
	CHECK_STR(exs_error_message(exs_future_error(f)), "exs_future_traverse: items is NULL");
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
}

/* --- apply --- */

static exs_result add_up(void *ctx, void *const *args, size_t n)
{
	long sum = *(long *)ctx;

	for (size_t i = 0; i < n; i++)
		sum += *(long *)args[i];
	return number(sum);
}

TEST(apply, a_function_to_values)
{
	long ten = 10;
	exs_function function = {add_up, &ten};
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *const args[] = {number_returned(1), number_returned(2)};
	exs_future *g = exs_future_apply(f, args, 2);

	CHECK(!exs_future_is_done(g));
	promise_done(p, exs_ok(&function, NULL));
	CHECK_INT(number_of(g), 13);
	CHECK_INT(atomic_load(&numbers), 1); /* the arguments are gone */
	exs_future_unref(g);
	g = exs_future_apply(exs_future_return(&function, NULL), NULL, 0);
	CHECK_INT(number_of(g), 10);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(apply, a_failed_function_or_argument)
{
	long ten = 10;
	exs_function function = {add_up, &ten};
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	exs_future *arg = number_returned(1);

	expect_error(exs_future_apply(exs_future_return_error(exs_error_ref(error)), &arg, 1), error);
	arg = exs_future_return_error(exs_error_ref(error));
	expect_error(exs_future_apply(exs_future_return(&function, NULL), &arg, 1), error);
	arg = exs_future_return_cancelled();
	expect_cancelled(exs_future_apply(exs_future_return(&function, NULL), &arg, 1), EXS_CAUSE_NONE);
	exs_error_unref(error);
	CHECK_INT(atomic_load(&numbers), 0);
}

static exs_result nonsense(void *ctx, void *const *args, size_t n)
{
	exs_result r = exs_ok(NULL, NULL);

	(void)ctx, (void)args, (void)n;
	r.kind = (exs_kind)9;
	return r;
}

TEST(apply, what_is_wrong)
{
	exs_function none = {NULL, NULL}, wrong = {nonsense, NULL};
	exs_future *const args[] = {number_returned(1), NULL};

	exs_future *f = exs_future_apply(exs_future_return(&none, NULL), args, 2);
	CHECK_STR(exs_error_message(exs_future_error(f)), "exs_future_apply: args[1] of 2 is NULL");
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	exs_future *arg = number_returned(1);
	f = exs_future_apply(NULL, &arg, 1);
	CHECK_STR(exs_error_message(exs_future_error(f)), "exs_future_apply: function is NULL");
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_future_apply(exs_future_return(&none, NULL), NULL, 0), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_future_apply(exs_future_return(NULL, NULL), NULL, 0), &exs_domain_exs, EXS_EINVAL);
	f = exs_future_apply(exs_future_return(&wrong, NULL), NULL, 0);
	CHECK_STR(exs_error_message(exs_future_error(f)), "the function of exs_future_apply answered no valid result: "
							  "use exs_ok, exs_fail(error) or exs_cancelled");
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(apply, cancelled)
{
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *arg = number_returned(1), *function = exs_future_ref(f);
	exs_future *g = exs_future_apply(f, &arg, 1);

	CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	expect_cancelled(g, EXS_CAUSE_USER);
	expect_cancelled(function, EXS_CAUSE_USER);
	exs_promise_free(p);
	CHECK_INT(atomic_load(&numbers), 0);
}

static exs_function with_next;

/* Answers a function that has seen its argument: for a chain. */
static exs_result same_again(void *ctx, void *const *args, size_t n)
{
	(void)ctx, (void)args, (void)n;
	return exs_ok(&with_next, NULL);
}

TEST(apply, a_hundred_thousand_deep)
{
	exs_future *f;
	exs_promise *p = promise_made(&f);

	with_next = (exs_function){same_again, NULL};
	for (int i = 0; i < MANY; i++) {
		exs_future *arg = number_returned(i);
		f = exs_future_apply(f, &arg, 1);
	}
	promise_done(p, exs_ok(&with_next, NULL));
	expect_value(f, &with_next);
	CHECK_INT(atomic_load(&numbers), 0);
}
