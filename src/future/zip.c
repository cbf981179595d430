/* One future made of many, with all their values: zip, and what is made of that: traverse, apply. */
#include "base/memory.h"
#include "future/error.h"
#include "future/gather.h"

#include <string.h>

/* The value of a zip: one block. */
struct values {
	exs_values values; /* first */
	struct values *next;
	struct owned *owned; /* n; how to free each value: */
};

struct owned {
	exs_free_fn *destroy;
	exs_future *input; /* it is this one's: one user reference; otherwise NULL */
};

static struct values *values_new(size_t n)
{
	struct values *v = NULL;

	if (n <= (SIZE_MAX - sizeof(*v)) / (sizeof(void *) + sizeof(struct owned)))
		v = exsi_zalloc(sizeof(*v) + n * (sizeof(void *) + sizeof(struct owned)));
	if (!v)
		return NULL;
	v->owned = (struct owned *)(void *)(v + 1);
	v->values = (exs_values){.n = n, .values = (void **)(void *)(v->owned + n)};
	return v;
}

static void free_one(struct values *v)
{
	for (size_t i = 0; i < v->values.n; i++) {
		struct owned *o = &v->owned[i];
		if (o->input)
			exs_future_unref(o->input);
		else if (o->destroy)
			o->destroy(v->values.values[i]);
	}
	exsi_free(v);
}

/* Values of values of values: one after the other, in constant stack. */
static _Thread_local struct {
	struct values *first;
	bool running;
} to_free;

static void values_free(void *value)
{
	struct values *v = value;

	v->next = to_free.first;
	to_free.first = v;
	if (to_free.running)
		return;
	to_free.running = true;
	while ((v = to_free.first)) {
		to_free.first = v->next;
		free_one(v);
	}
	to_free.running = false;
}

/* --- zip --- */

static bool is_no_value(struct exsi_gather *g, exs_future *input)
{
	(void)g;
	return exs_future_state(input) != EXS_STATE_VALUE;
}

static void collect_value(struct exsi_gather *g, size_t i, exs_future *input)
{
	struct values *v = g->collected;
	bool shared;
	exs_result r = exsi_outcome(input, &shared);

	v->values.values[i] = r.value;
	v->owned[i] = (struct owned){.destroy = r.destroy, .input = shared ? input : NULL};
	if (!shared)
		exs_future_unref(input);
}

static exs_result all_values(struct exsi_gather *g)
{
	exs_result r = exs_ok(g->collected, values_free);

	g->collected = NULL;
	return r;
}

static void free_collected(struct exsi_gather *g)
{
	if (g->collected)
		values_free(g->collected);
}

static const struct exsi_rule zip_rule = {.who = "exs_future_zip",
					  .decides = is_no_value,
					  .collect = collect_value,
					  .end = all_values,
					  .free = free_collected};

/* The inputs are all there. */
static exs_future *zip(const char *who, exs_future *const *futures, size_t n)
{
	struct values *v = values_new(n);
	exs_future *f = NULL;

	if (v && !n)
		return exsi_returned(exs_ok(v, values_free));
	if (v)
		f = exsi_gather(&zip_rule, futures, n, v, NULL, NULL, NULL);
	else
		for (size_t i = 0; i < n; i++)
			exs_future_unref(futures[i]);
	if (f)
		return f;
	exsi_free(v);
	return exsi_fail_null(EXS_ENOMEM, "%s: out of memory", who);
}

exs_future *exs_future_zip(exs_future *const *futures, size_t n)
{
	static const char who[] = "exs_future_zip";
	exs_future *failed;

	return exsi_inputs_are_there(who, "futures", futures, n, &failed) ? zip(who, futures, n) : failed;
}

/* --- traverse --- */

static void cancel_made(exs_future **futures, size_t n)
{
	exsi_cancel_all(futures, n, EXS_CAUSE_SIBLING, false);
	for (size_t i = 0; i < n; i++)
		exs_future_unref(futures[i]);
}

static exs_future *traverse(exs_traverse_fn *fn, void *ctx, void *const *items, size_t n, exs_future **futures)
{
	unsigned failures = exsi_failures();

	for (size_t i = 0; i < n; i++) {
		futures[i] = fn(ctx, items[i]);
		if (futures[i])
			continue;
		exs_result r = exsi_no_future("exs_future_traverse: fn", failures);
		cancel_made(futures, i);
		return exsi_returned(r);
	}
	return zip("exs_future_traverse", futures, n);
}

exs_future *exs_future_traverse(exs_traverse_fn *fn, void *ctx, void *const *items, size_t n)
{
	if (!fn || (n && !items))
		return exsi_failed("exs_future_traverse: %s is NULL", fn ? "items" : "fn");
	exs_future **futures = exsi_alloc_array(n ? n : 1, sizeof(*futures));
	if (!futures)
		return exsi_fail_null(EXS_ENOMEM, "exs_future_traverse: out of memory");
	exs_future *f = traverse(fn, ctx, items, n, futures);
	exsi_free(futures);
	return f;
}

/* --- apply --- */

static exs_result call_function(void *ctx, exs_result in)
{
	const exs_values *all = in.value;
	const exs_function *function = all->values[0];
	exs_result r;

	(void)ctx;
	if (function && function->fn)
		r = function->fn(function->ctx, all->values + 1, all->n - 1);
	else
		r = exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL,
					   "exs_future_apply: the value of function is no exs_function with a fn"));
	exsi_check_result(&r, "the function of exs_future_apply");
	exs_result_clear(&in);
	return r;
}

static exs_future *zip_with(exs_future *function, exs_future *const *args, size_t n)
{
	exs_future **all = n < SIZE_MAX ? exsi_alloc_array(n + 1, sizeof(exs_future *)) : NULL;

	if (!all) {
		exs_future_unref(function);
		for (size_t i = 0; i < n; i++)
			exs_future_unref(args[i]);
		return exsi_fail_null(EXS_ENOMEM, "exs_future_apply: out of memory");
	}
	all[0] = function;
	if (n)
		memcpy(all + 1, args, n * sizeof(exs_future *));
	exs_future *f = zip("exs_future_apply", all, n + 1);
	exsi_free(all);
	return f;
}

exs_future *exs_future_apply(exs_future *function, exs_future *const *args, size_t n)
{
	exs_future *failed;

	if (!exsi_inputs_are_there("exs_future_apply", "args", args, n, &failed)) {
		exs_future_unref(function);
		return failed;
	}
	if (!function) {
		for (size_t i = 0; i < n; i++)
			exs_future_unref(args[i]);
		return exsi_failed("exs_future_apply: function is NULL");
	}
	exs_future *values = zip_with(function, args, n);
	return values ? exs_future_map(values, call_function, NULL, NULL, NULL) : NULL;
}
