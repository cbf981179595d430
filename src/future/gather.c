/* One future made of many, and those that one of them decides: or, and, any_ok. */
#include "future/gather.h"
#include "base/memory.h"
#include "future/error.h"

#include <string.h>

_Static_assert(offsetof(struct exsi_gather, kept) == sizeof(exs_future), "where release looks for what is kept");

enum { ADDED = 1, DECIDED = 2 };

static bool claim(struct exsi_gather *g)
{
	return atomic_fetch_and(&g->future.state, ~EXSI_PARKED) & EXSI_PARKED;
}

static bool is_decided(struct exsi_gather *g)
{
	return !(atomic_load(&g->future.state) & EXSI_PARKED);
}

/* --- what is given back --- */

/* The last one's. */
static void gather_end(struct exsi_gather *g)
{
	if (g->rule->free)
		g->rule->free(g);
	if (g->ctx_free)
		g->ctx_free(g->ctx);
	exsi_drop(&g->future);
}

static bool is_last(struct exsi_gather *g)
{
	return atomic_fetch_sub(&g->left, 1) == 1;
}

/* As it is no longer in its slot. */
static void give_up(struct exsi_gather *g, exs_future *input)
{
	exsi_look_over(&g->future);
	exs_future_unref(input);
}

static void stop_done(struct exsi_stop *stop)
{
	struct exsi_slot *slot = EXSI_CONTAINER_OF(stop, struct exsi_slot, stop);
	struct exsi_gather *g = slot->all;

	give_up(g, stop->future);
	if (is_last(g))
		gather_end(g);
}

/* Of all inputs that are not done, in their order. */
static struct exsi_stop *take_rest(struct exsi_gather *g)
{
	struct exsi_stop *first = NULL, **last = &first;

	for (size_t i = 0; i < g->n; i++) {
		struct exsi_slot *slot = &g->slots[i];
		exs_future *input = atomic_load(&slot->input) ? atomic_exchange(&slot->input, NULL) : NULL;
		if (!input)
			continue;
		if (!exsi_node_remove(input, &slot->node)) { /* it has been called: who does that goes on without */
			give_up(g, input);
			continue;
		}
		slot->stop = (struct exsi_stop){.future = input, .done = stop_done};
		*last = &slot->stop;
		last = &slot->stop.next;
	}
	return first;
}

/* Whoever comes last of those that have decided it and those that have added all nodes. */
static void reach(struct exsi_gather *g, unsigned stage)
{
	if ((atomic_fetch_or(&g->stage, stage) | stage) == (ADDED | DECIDED))
		exsi_cancel_these(take_rest(g), EXS_CAUSE_SIBLING);
}

/* --- inputs that are done --- */

/* With the token. */
static void decide(struct exsi_gather *g, exs_future *input)
{
	bool shared;
	exs_result r = exsi_outcome(input, &shared);

	g->kept = input;
	exsi_settle_from(&g->future, &r, input, shared);
	reach(g, DECIDED);
	exsi_drop(&g->future);
}

static void end_undecided(struct exsi_gather *g, exs_future *input)
{
	if (!g->rule->end) {
		decide(g, input);
		return;
	}
	exs_result r = g->rule->end(g);
	exsi_complete(&g->future, &r);
}

/* Takes over input, which may be NULL; answers it where it is still to be had. */
static exs_future *look_at(struct exsi_gather *g, size_t i, exs_future *input)
{
	if (!input)
		return NULL;
	exsi_look_over(&g->future);
	if (is_decided(g))
		return input;
	if (!g->rule->decides(g, input)) {
		if (!g->rule->collect)
			return input;
		g->rule->collect(g, i, input);
		return NULL;
	}
	if (!claim(g))
		return input;
	decide(g, input);
	return NULL;
}

static void slot_run(exs_future *none, struct exsi_node *node)
{
	struct exsi_slot *slot = EXSI_CONTAINER_OF(node, struct exsi_slot, node);
	struct exsi_gather *g = slot->all;
	exs_future *input = look_at(g, (size_t)(slot - g->slots), atomic_exchange(&slot->input, NULL));

	(void)none;
	bool last = is_last(g); /* otherwise g may be gone */
	if (last && claim(g)) {
		end_undecided(g, input);
		input = g->rule->end ? input : NULL;
	}
	exs_future_unref(input);
	if (last)
		gather_end(g);
}

static void slot_fire(exs_future *input, struct exsi_node *node)
{
	(void)input;
	exsi_defer(node, slot_run);
}

/* --- as a source --- */

static void gather_cancel(exs_future *f, exs_cause cause)
{
	struct exsi_gather *g = (struct exsi_gather *)(void *)f;
	exs_result r = exs_cancelled();

	(void)cause;
	exsi_settle(f, &r);
	exsi_cancel_next_all(take_rest(g));
	exsi_drop(f);
}

static void gather_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	for (size_t i = 0; i < n; i++)
		gather_cancel(futures[i], cause);
}

/* With the lock of f's nodes: what lies in a slot has its reference. */
static exs_future *pending(exs_future *f, struct exsi_slot *slot)
{
	exs_future *input = exs_future_is_done(f) ? NULL : atomic_load(&slot->input);

	if (!input || exs_future_is_done(input))
		return NULL;
	exsi_hold(input);
	return input;
}

static exs_future *gather_input(exs_future *f, size_t *cursor)
{
	struct exsi_gather *g = (struct exsi_gather *)(void *)f;
	exs_future *input = NULL;

	while (!input && *cursor < g->n) {
		struct exsi_slot *slot = &g->slots[(*cursor)++];
		if (!atomic_load(&slot->input))
			continue;
		struct exsi_node *last = exsi_nodes_lock(f);
		input = pending(f, slot);
		exsi_nodes_unlock(f, last);
	}
	if (*cursor == g->n)
		*cursor = SIZE_MAX;
	return input;
}

static bool gather_any(exs_future *f)
{
	return ((struct exsi_gather *)(void *)f)->rule->any;
}

static const struct exsi_source gathers = {
	.cancel = gather_cancel,
	.cancel_many = gather_cancel_many,
	.input = gather_input,
	.any = gather_any,
	.what = "made of futures",
};

/* --- made --- */

static void unref_all(exs_future *const *futures, size_t n)
{
	for (size_t i = 0; i < n; i++)
		exs_future_unref(futures[i]);
}

bool exsi_inputs_are_there(const char *who, const char *what, exs_future *const *futures, size_t n, exs_future **failed)
{
	size_t i = 0;

	while (futures && i < n && futures[i])
		i++;
	if (i == n)
		return true;
	if (futures)
		unref_all(futures, n);
	*failed = futures ? exsi_failed("%s: %s[%zu] of %zu is NULL", who, what, i, n)
			  : exsi_failed("%s: %s is NULL, but n is %zu", who, what, n);
	return false;
}

static struct exsi_gather *alloc_gather(size_t n)
{
	bool fits = n <= (SIZE_MAX - sizeof(struct exsi_gather)) / sizeof(struct exsi_slot);

	return fits ? exsi_alloc(sizeof(struct exsi_gather) + n * sizeof(struct exsi_slot)) : NULL;
}

static void add_nodes(struct exsi_gather *g, exs_future *const *futures)
{
	for (size_t i = 0; i < g->n; i++) {
		struct exsi_slot *slot = &g->slots[i];
		slot->node = (struct exsi_node){.fn = slot_fire, .kind = EXSI_CONTINUATION};
		slot->all = g;
		atomic_init(&slot->input, futures[i]);
	}
	for (size_t i = 0; i < g->n; i++)
		if (!exsi_node_add(futures[i], &g->slots[i].node))
			slot_fire(futures[i], &g->slots[i].node);
	reach(g, ADDED);
}

exs_future *exsi_gather(const struct exsi_rule *rule, exs_future *const *futures, size_t n, void *collected,
			exs_truth_fn *truth, void *ctx, exs_free_fn *ctx_free)
{
	struct exsi_gather *g = alloc_gather(n);

	if (!g) {
		unref_all(futures, n);
		if (ctx_free)
			ctx_free(ctx);
		return exsi_fail_null(EXS_ENOMEM, "%s: out of memory", rule->who);
	}
	exsi_future_init(&g->future, &gathers, EXSI_PARKED);
	atomic_init(&g->future.refs, EXSI_USER_REF + 2 * EXSI_LIB_REF); /* the token's, the slots' */
	g->rule = rule;
	g->truth = truth;
	g->ctx = ctx;
	g->ctx_free = ctx_free;
	g->collected = collected;
	g->n = n;
	atomic_init(&g->stage, 0);
	atomic_init(&g->left, n);
	exsi_future_made(&g->future);
	add_nodes(g, futures);
	return &g->future;
}

static bool some_are_there(const char *who, exs_future *const *futures, size_t n, exs_future **failed)
{
	if (n)
		return exsi_inputs_are_there(who, "futures", futures, n, failed);
	*failed = exsi_failed("%s: n is 0: there must be one future at least", who);
	return false;
}

/* --- or, and --- */

static bool is_true(struct exsi_gather *g, exs_future *input)
{
	void *value = exs_future_value(input);

	if (exs_future_state(input) != EXS_STATE_VALUE)
		return false;
	return g->truth ? g->truth(g->ctx, value) : value != NULL;
}

static bool is_false(struct exsi_gather *g, exs_future *input)
{
	return !is_true(g, input);
}

static exs_future *choose(const struct exsi_rule *rule, exs_future *const *futures, size_t n, exs_truth_fn *truth,
			  void *ctx, exs_free_fn *ctx_free)
{
	exs_future *failed;

	if (some_are_there(rule->who, futures, n, &failed))
		return exsi_gather(rule, futures, n, NULL, truth, ctx, ctx_free);
	if (ctx_free)
		ctx_free(ctx);
	return failed;
}

exs_future *exs_future_or(exs_future *const *futures, size_t n, exs_truth_fn *truth, void *ctx, exs_free_fn *ctx_free)
{
	static const struct exsi_rule rule = {.who = "exs_future_or", .any = true, .decides = is_true};

	return choose(&rule, futures, n, truth, ctx, ctx_free);
}

exs_future *exs_future_and(exs_future *const *futures, size_t n, exs_truth_fn *truth, void *ctx, exs_free_fn *ctx_free)
{
	static const struct exsi_rule rule = {.who = "exs_future_and", .any = true, .decides = is_false};

	return choose(&rule, futures, n, truth, ctx, ctx_free);
}

/* --- any_ok --- */

static bool is_ok(struct exsi_gather *g, exs_future *input)
{
	(void)g;
	return exs_future_state(input) == EXS_STATE_VALUE;
}

static void collect_error(struct exsi_gather *g, size_t i, exs_future *input)
{
	((exs_error **)g->collected)[i] = exs_error_ref(exs_future_error(input)); /* NULL: cancelled */
	exs_future_unref(input);
}

static exs_result all_errors(struct exsi_gather *g)
{
	exs_error **errors = g->collected;
	bool any = false;

	for (size_t i = 0; i < g->n; i++)
		any = any || errors[i];
	for (size_t i = 0; any && i < g->n; i++)
		errors[i] = errors[i] ? errors[i] : exsi_error(EXS_ECANCELLED);
	return any ? exs_fail(exsi_error_of(errors, g->n)) : exs_cancelled();
}

static void free_errors(struct exsi_gather *g)
{
	for (size_t i = 0; i < g->n; i++)
		exs_error_unref(((exs_error **)g->collected)[i]);
	exsi_free(g->collected);
}

exs_future *exs_future_any_ok(exs_future *const *futures, size_t n)
{
	static const struct exsi_rule rule = {.who = "exs_future_any_ok",
					      .any = true,
					      .decides = is_ok,
					      .collect = collect_error,
					      .end = all_errors,
					      .free = free_errors};
	exs_future *failed;

	if (!some_are_there(rule.who, futures, n, &failed))
		return failed;
	exs_error **errors = exsi_alloc_array(n, sizeof(exs_error *));
	if (!errors) {
		unref_all(futures, n);
		return exsi_fail_null(EXS_ENOMEM, "%s: out of memory", rule.who);
	}
	memset(errors, 0, n * sizeof(*errors));
	exs_future *f = exsi_gather(&rule, futures, n, errors, NULL, NULL, NULL);
	if (!f)
		exsi_free(errors);
	return f;
}
