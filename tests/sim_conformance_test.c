/* What every chain must do, whatever the program (that of conformance.c is fixed): for each seed a few random chains, built from
   the list of layers below, and a random program on one thread that submits, cancels, waits, shuts down and frees, with faults
   injected. Every submit is a token, checked against the table of stress.c; what is the round's and not a token's stands at
   the end of round_of().

   A failure prints the round's own seed: EXS_TEST_SEED=that runs it first. EXS_SIM_TRACE=1 prints its trace; EXS_SIM_ROUNDS
   says how many rounds to make. */
#define _GNU_SOURCE
#include "limit.h"
#include "stress.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHAINS = 3, MAX_LAYERS = 5, TOKENS = 96, ACTIONS = 60, ROUNDS = 2000 };

/* The context of a poll or retry layer. */
struct layer {
	unsigned level;	   /* of a poll */
	unsigned attempts; /* of a retry policy */
	unsigned asked;	   /* of a throttle's count */
	unsigned freed;
};

static struct world {
	exs_sim *sim;
	exs_sim_options options;
	exs_executor *elsewhere;		  /* where the functions of flat_map submit */
	exs_executor *bases[CHAINS * MAX_LAYERS]; /* what chains borrow; freed after them */
	unsigned n_bases;
	struct chain chains[CHAINS];
	struct layer layers[CHAINS * MAX_LAYERS];
	unsigned n_layers;
	struct token tokens[TOKENS];
	unsigned n_tokens;
	unsigned depth; /* tasks and callbacks on the stack */
} w;

static long live_blocks;
static exs_sim_stats sums;

static unsigned below(unsigned n)
{
	return (unsigned)exs_sim_random(w.sim, n);
}

static bool one_in(unsigned n)
{
	return below(n) == 0;
}

/* Seconds, often 0, sometimes without limit. */
static double some_time(void)
{
	static const double times[] = {0, 0, 1e-3, 0.5, 1, 5, 30, 1000, EXS_FOREVER};

	return times[below(sizeof(times) / sizeof(*times))];
}

/* Around user code, in which other steps may run: those are in nobody's cancel. */
static unsigned deeper(void)
{
	unsigned before = cancelling;

	cancelling = 0;
	w.depth++;
	return before;
}

static void back(unsigned before)
{
	w.depth--;
	cancelling = before;
}

static size_t sim_steps(void)
{
	exs_sim_stats s;

	exs_sim_get_stats(w.sim, &s);
	return s.steps;
}

/* A wait's steps, by a task on top of it that waits or sleeps for ever while the count of a throttle is asked for again and again. */
static bool used_up(size_t before)
{
	return sim_steps() - before >= w.options.max_steps;
}

/* --- layers: a new one joins by a function and a line in the list --- */

static void layer_freed(void *ctx)
{
	CHECK_INT(((struct layer *)ctx)->freed++, 0);
}

static struct layer *new_layer(void)
{
	return &w.layers[w.n_layers++];
}

static exs_error *poll_fn(void *ctx, exs_descriptor **d, size_t n, double *delay);
static bool cancel_fn(void *ctx, void *value, exs_error **error);
static void cancel_many(void *ctx, exs_descriptor **d, size_t n);

static exs_executor *add_poll(struct chain *c, exs_executor *ex)
{
	static const double intervals[] = {0, 1, 20, EXS_NONE};
	struct layer *l = new_layer();
	exs_poll_options o = {.interval = intervals[below(4)], .ctx_free = layer_freed};

	if (one_in(4))
		o.first_interval = 0.25;
	if (one_in(3))
		o.cancel_many = cancel_many;
	l->level = ++c->polls;
	c->features = (c->features | HAS_POLL) & ~(unsigned)ENDS_NEVERS;
	return exs_with_poll(ex, poll_fn, one_in(4) ? NULL : cancel_fn, l, &o);
}

static exs_executor *add_timeout(struct chain *c, exs_executor *ex, exs_timeout_mode mode)
{
	bool none = one_in(8);
	static const double times[] = {0, 1e-3, 1, 7, 60, 600};

	c->features |= HAS_TIMEOUT;
	if (!none && c->features & HAS_POLL)
		c->features |= ENDS_NEVERS;
	return exs_with_timeout_mode(ex, none ? EXS_FOREVER : times[below(6)], mode);
}

static exs_executor *add_wait(struct chain *c, exs_executor *ex)
{
	return add_timeout(c, ex, EXS_WAIT);
}

static exs_executor *add_abandon(struct chain *c, exs_executor *ex)
{
	c->features |= HAS_ABANDON;
	return add_timeout(c, ex, EXS_ABANDON);
}

static bool policy(void *ctx, const exs_attempt *a, double *delay, exs_error **error)
{
	struct layer *l = ctx;

	CHECK(a->attempt >= 1 && a->attempt <= l->attempts);
	CHECK(a->elapsed >= 0 && a->outcome->kind != EXS_KIND_CANCELLED && *delay >= 0);
	if (one_in(16))
		*error = exs_error_new(&stress_domain, 0, "failed policy");
	if (one_in(2))
		*delay = below(4);
	return a->attempt < l->attempts && (a->outcome->kind == EXS_KIND_ERROR || one_in(4));
}

static exs_executor *add_retry(struct chain *c, exs_executor *ex)
{
	struct layer *l = new_layer();
	exs_retry_options o = {.jitter = (exs_jitter)below(3), .ctx = l, .ctx_free = layer_freed};

	if (c->max_runs > 8) { /* enough: the tables of values are small */
		w.n_layers--;
		return ex;
	}
	l->attempts = o.max_attempts = 1 + below(4);
	if (one_in(3))
		o.sleep = EXS_NONE;
	if (one_in(3))
		o.policy = policy;
	c->features |= HAS_RETRY;
	c->inner_runs = c->max_runs;
	c->inner_shown = c->max_shown;
	c->max_runs *= o.max_attempts;
	c->max_shown = o.policy || c->max_shown == EXS_UNLIMITED ? EXS_UNLIMITED : c->max_shown * o.max_attempts;
	return exs_with_retry(ex, &o);
}

static exs_executor *add_borrow(struct chain *c, exs_executor *ex)
{
	(void)c;
	w.bases[w.n_bases++] = ex;
	return exs_borrow(ex);
}

static exs_executor *add_limit(struct chain *c, exs_executor *ex)
{
	c->features |= HAS_LIMIT;
	return limit_new(ex, 1 + below(3));
}

static exs_error *count_fn(void *ctx, unsigned *count)
{
	struct layer *l = ctx;

	if (l->asked++ && one_in(16)) /* a failure of the first fails the constructor */
		return exs_error_new(&stress_domain, 0, "failed count");
	*count = one_in(8) ? 0 : 1 + below(4);
	return NULL;
}

static exs_executor *add_throttle(struct chain *c, exs_executor *ex)
{
	struct layer *l = new_layer();
	exs_throttle_options o = {.block = one_in(3), .ctx = l, .ctx_free = layer_freed};

	c->features |= HAS_LIMIT;
	if (o.block)
		c->features |= HAS_BOUND; /* for exs_try_submit */
	else if (one_in(2))
		o.count_fn = count_fn;
	return exs_with_throttle(ex, 1 + below(3), &o);
}

static exs_executor *add_cancel_on_shutdown(struct chain *c, exs_executor *ex)
{
	(void)c;
	return exs_with_cancel_on_shutdown(ex);
}

static exs_result same(void *ctx, exs_result in)
{
	CHECK(in.kind != EXS_KIND_CANCELLED && !((struct layer *)ctx)->freed);
	return in;
}

static exs_executor *add_map(struct chain *c, exs_executor *ex)
{
	(void)c;
	return exs_with_map(ex, one_in(4) ? NULL : same, one_in(4) ? NULL : same, new_layer(), layer_freed);
}

/* An outcome on its way through another executor. It is destroyed with the argument unless the task has passed it on. */
static void box_free(void *box)
{
	exs_result_clear(box);
	free(box);
}

static exs_result pass_on(void *box, exs_context *ctx)
{
	exs_result r = *(exs_result *)box;

	if (exs_context_stop_requested(ctx) && one_in(2))
		return exs_cancelled();
	*(exs_result *)box = exs_ok(NULL, NULL);
	return r;
}

/* The same outcome: of a future that is done, or of a call elsewhere. */
static exs_future *same_later(void *ctx, exs_result in)
{
	exs_future *f;

	CHECK(in.kind != EXS_KIND_CANCELLED && !((struct layer *)ctx)->freed);
	if (one_in(3)) {
		exs_promise *p = exs_promise_new(&f);
		exs_promise_complete(p, in);
		exs_promise_free(p);
		return f;
	}
	exs_result *box = malloc(sizeof(*box));
	CHECK(box);
	*box = in;
	return exs_submit_with(w.elsewhere, &(exs_task){.fn = pass_on, .arg = box, .arg_free = box_free});
}

static exs_executor *add_flat_map(struct chain *c, exs_executor *ex)
{
	if (w.options.no_memory > 0) /* its functions would have to cope with that */
		return ex;
	c->features |= HAS_ELSEWHERE;
	return exs_with_flat_map(ex, one_in(4) ? NULL : same_later, one_in(4) ? NULL : same_later, new_layer(),
				 layer_freed);
}

static exs_executor *add_pass(struct chain *c, exs_executor *ex)
{
	static const exs_layer_ops ops = {.size = sizeof(ops),
					  .type = "pass",
					  .start = exs_pass_start,
					  .done = exs_pass_done,
					  .cancel = exs_pass_cancel};

	(void)c;
	return exs_layer_new(&ops, ex, 0, 0);
}

static exs_executor *(*const layers[])(struct chain *, exs_executor *) = {
	add_retry, add_wait,	 add_abandon,
	add_poll,  add_borrow,	 add_limit,
	add_pass,  add_throttle, add_cancel_on_shutdown,
	add_map,   add_flat_map,
};

static exs_executor *new_leaf(struct chain *c)
{
	if (one_in(6)) {
		c->features |= HAS_INLINE;
		return exs_with_clock(exs_inline(), exs_sim_clock(w.sim));
	}
	return exs_sim_pool(w.sim, below(5));
}

static void make_chain(struct chain *c)
{
	c->max_runs = c->inner_runs = c->max_shown = c->inner_shown = 1;
	if (w.options.fail + w.options.lose > 0)
		c->features |= HAS_FAULTS;
	if (w.options.no_memory > 0)
		c->features |= HAS_NO_MEMORY;
	c->ex = new_leaf(c);
	for (unsigned n = below(MAX_LAYERS + 1); n; n--)
		c->ex = layers[below(sizeof(layers) / sizeof(*layers))](c, c->ex);
	CHECK(c->ex);
	exs_describe(c->ex, c->text, sizeof(c->text));
}

/* --- tokens --- */

/* A random token whose future is there, with a reference; or NULL. */
static struct token *pick(exs_future **f)
{
	struct token *t = w.n_tokens ? &w.tokens[below(w.n_tokens)] : NULL;

	*f = t ? exs_future_ref(t->future) : NULL;
	return *f ? t : NULL;
}

static exs_result task(void *arg, exs_context *ctx);
static void in_callback(struct token *t);

static struct token *new_token(struct chain *c, unsigned depth)
{
	struct token *t = w.n_tokens < TOKENS ? &w.tokens[w.n_tokens] : NULL;

	if (!t)
		return NULL;
	token_init(t, c, w.n_tokens++, below(1u << 30));
	t->depth = depth;
	t->never = c->features & ENDS_NEVERS && one_in(6);
	if (w.options.cancel > 0)
		token_note(t, CANCEL_CALLED);
	return t;
}

static exs_future *submit_planned(struct token *t)
{
	struct chain *c = t->chain;
	exs_retry_options retry = {.max_attempts = 1 + below(4), .sleep = one_in(2) ? EXS_NONE : 1.5};
	exs_task options = {.fn = task, .name = *t->name ? t->name : NULL, .arg = token_arg(t)};

	options.arg_free = t->has_arg_free ? arg_free : NULL;
	if (c->features & HAS_TIMEOUT && one_in(4))
		options.timeout = 1e-3 + below(20);
	if (c->features & HAS_RETRY && one_in(4)) {
		options.retry = &retry;
		t->max_runs = c->inner_runs * retry.max_attempts;
		t->max_shown = c->inner_shown == EXS_UNLIMITED ? EXS_UNLIMITED : c->inner_shown * retry.max_attempts;
	}
	if (!one_in(6))
		return exs_submit_with(c->ex, &options);
	token_note(t, TRIED);
	return exs_try_submit(c->ex, &options);
}

/* NULL: there are no more tokens, the chain is freed, or memory was short. */
static struct token *submit(struct chain *c, unsigned depth)
{
	bool refuses = c->refuses;
	struct token *t = c->freed ? NULL : new_token(c, depth);

	if (!t)
		return NULL;
	t->has_arg_free = !one_in(3);
	if (one_in(2))
		snprintf(t->name, sizeof(t->name), "token-%u", t->id);
	t->future = submit_planned(t);
	token_must(t->future || (w.depth && c->features & HAS_NO_MEMORY), t,
		   "a submit answers NULL if memory is short");
	if (!t->future)
		return NULL;
	token_must(!refuses || token_look(t, t->future) == SHUT_DOWN, t, "after a shutdown a submit is refused");
	exs_future *f = exs_future_ref(t->future); /* a callback may drop the token's */
	for (unsigned n = w.depth && c->features & HAS_NO_MEMORY ? 0 : below(MAX_NOTES + 1); n; n--)
		token_on_done(t, f, one_in(3) ? in_callback : NULL);
	exs_future_unref(f);
	return t;
}

static void cancel_one(void)
{
	exs_future *f;
	struct token *t = pick(&f);

	if (!t)
		return;
	exs_answer first = token_cancel(t, f);
	if (one_in(3)) {
		exs_answer second = token_cancel(t, f);
		token_must(first == EXS_STOP_REQUESTED || second == first, t, "the answer to a cancel is stable");
	}
	exs_future_unref(f);
}

/* On the bottom of the stack nothing is in the way: a wait for ever ends well. */
static void wait_for(struct token *t, exs_future *f)
{
	double seconds = some_time();
	size_t before = sim_steps();
	int rc = exs_future_wait(f, seconds);

	exs_sim_note(w.sim, (uint64_t)rc);
	token_must(rc == EXS_OK || (rc == EXS_ETIMEDOUT && seconds < EXS_FOREVER) ||
			   (rc == EXS_EDEADLK && (w.depth || used_up(before))),
		   t, "a wait's answer");
	token_must(rc != EXS_OK || token_look(t, f) != NOT_DONE, t, "after a wait the future is done");
}

static void wait_for_one(void)
{
	exs_future *f;
	struct token *t = pick(&f);

	if (t)
		wait_for(t, f);
	exs_future_unref(f);
}

static void nest(struct token *t)
{
	struct token *child = t->depth < 2 ? submit(t->chain, t->depth + 1) : NULL;
	exs_future *f = child ? exs_future_ref(child->future) : NULL;

	if (f)
		wait_for(child, f);
	exs_future_unref(f);
}

static void drop(struct token *t)
{
	exs_future *f = t->future;

	t->future = NULL;
	exs_future_unref(f);
}

static void free_chain(struct chain *c)
{
	if (c->freed)
		return;
	c->freed = c->shut = true;
	exs_executor_free(c->ex);
	c->released = true;
}

static void shut_down(struct chain *c)
{
	exs_mode mode = (exs_mode)(1 + below(3));
	double seconds = some_time();

	if (c->freed)
		return;
	c->shut = true;
	size_t before = sim_steps(), left = exs_shutdown(c->ex, mode, seconds);
	CHECK(w.depth || left == 0 || seconds < EXS_FOREVER || used_up(before));
	if (!c->freed)
		c->refuses = true;
	exs_sim_note(w.sim, left);
}

/* --- tasks and callbacks --- */

static void handler(void *arg)
{
	struct token *t = arg;

	token_must(t->arg_freed == 0, t, "an on_cancel handler runs while the task does");
	token_must(t->handlers_called++ < t->handlers_set, t, "each handler runs once");
}

static void with_handler(struct token *t, exs_context *ctx)
{
	t->handlers_set++;
	int rc = exs_context_on_cancel(ctx, handler, t);

	token_must(rc == EXS_OK || t->chain->features & HAS_NO_MEMORY, t, "a handler can be set");
	if (one_in(2))
		wait_for_one();
	if (one_in(2))
		exs_context_off_cancel(ctx, handler, t);
}

static void sleep_in_task(struct token *t, exs_context *ctx)
{
	int rc = exs_context_sleep(ctx, some_time());

	token_must(rc == EXS_OK || rc == EXS_ECANCELLED || rc == EXS_EDEADLK ||
			   (rc == EXS_ENOMEM && t->chain->features & HAS_NO_MEMORY),
		   t, "a sleep's answer");
	token_must(rc != EXS_ECANCELLED || exs_context_stop_requested(ctx), t, "a sleep ends early by a stop request");
}

static void work(struct token *t, exs_context *ctx)
{
	switch (below(20)) {
	case 0:
	case 1:
		sleep_in_task(t, ctx);
		break;
	case 2:
	case 3:
		with_handler(t, ctx);
		break;
	case 4:
	case 5:
	case 6:
		nest(t);
		break;
	case 7:
		cancel_one();
		break;
	case 8:
		wait_for_one();
		break;
	case 9:
		if (one_in(4))
			shut_down(&w.chains[below(CHAINS)]);
		break;
	case 10:
		if (one_in(8))
			free_chain(&w.chains[below(CHAINS)]);
		break;
	default:
		break;
	}
}

static exs_result outcome(struct token *t)
{
	unsigned which = below(20);
	struct value *v = which > 0 && which < 12 ? token_value(t, 0) : NULL;

	if (which == 0)
		return exs_cancelled();
	if (v)
		return exs_ok(v, value_destroy);
	return exs_fail(which < 18 ? token_error(t, 0) : token_error_after(t, 0, below(200)));
}

static exs_result task(void *arg, exs_context *ctx)
{
	struct token *t = ((struct arg *)arg)->token;

	token_begin(t, ctx);
	unsigned before = deeper();
	work(t, ctx);
	back(before);
	CHECK(((struct arg *)arg)->token == t); /* still there: ASan */
	return token_end(t, outcome(t));
}

static void in_callback(struct token *t)
{
	unsigned before = deeper();

	switch (below(8)) {
	case 0:
		cancel_one();
		break;
	case 1:
	case 2:
		submit(t->chain, 2);
		break;
	case 3:
		nest(t);
		break;
	case 4:
		drop(t);
		break;
	case 5:
		wait_for_one();
		break;
	case 6:
		if (one_in(6))
			free_chain(t->chain);
		break;
	default:
		break;
	}
	back(before);
}

/* --- poll functions --- */

static void yield_value(struct layer *l, exs_descriptor *d, struct token *t)
{
	struct value *v = token_value(t, l->level);

	token_note(t, v ? YIELDED_VALUE : YIELDED_ERROR);
	if (!v)
		exs_yield_error(d, token_error(t, l->level));
	else if (!exs_yield_result(d, v, value_destroy))
		token_must(v->state == DESTROYED, t, "a value of a yield that is ignored is destroyed");
}

static void resolve(struct layer *l, exs_descriptor *d)
{
	struct value *v = exs_descriptor_value(d);
	struct token *t = v->token;
	const char *name = exs_descriptor_name(d);
	unsigned which = t->never ? 0 : below(8);

	token_must(v->state == LIVE && v->level < l->level, t, "a descriptor's value is the delegate's, and alive");
	token_must(!v->stopped, t, "after a stop request nothing becomes pending");
	token_must(*t->name ? name && !strcmp(name, t->name) : !name, t, "a descriptor has the task's name");
	if (which >= 3 && which != 5)
		yield_value(l, d, t);
	if (which == 5 || which == 6) {
		token_note(t, YIELDED_ERROR);
		exs_yield_error(d, token_error(t, l->level));
	}
}

static exs_error *poll_fn(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct layer *l = ctx;
	bool fails = one_in(24);
	unsigned before = deeper();

	for (size_t i = 0; i < n && fails; i++)
		token_note(((struct value *)exs_descriptor_value(d[i]))->token, BATCH_FAILED);
	for (size_t i = 0; i < n; i++)
		if (!one_in(4))
			resolve(l, d[i]);
	if (one_in(8))
		wait_for_one();
	for (size_t i = 0; i < n; i++)
		token_must(((struct value *)exs_descriptor_value(d[i]))->state == LIVE,
			   ((struct value *)exs_descriptor_value(d[i]))->token,
			   "a descriptor's value lives until the poll function returns");
	if (one_in(4))
		*delay = one_in(8) ? -1.0 : below(3);
	back(before);
	return fails ? exs_error_new(&stress_domain, -(int)l->level, "failed poll") : NULL;
}

/* Its answer counts for a user's cancel only. */
static bool agrees(struct value *v)
{
	bool yes = !one_in(3);

	token_must(v->state == LIVE, v->token, "the cancel function gets a live value");
	if (yes && cancelling)
		token_note(v->token, CANCEL_AGREED);
	return yes;
}

static bool cancel_fn(void *ctx, void *value, exs_error **error)
{
	(void)ctx;
	if (one_in(16)) {
		*error = exs_error_new(&stress_domain, 0, "failed cancel");
		return one_in(2);
	}
	return agrees(value);
}

static void cancel_many(void *ctx, exs_descriptor **d, size_t n)
{
	(void)ctx;
	for (size_t i = 0; i < n; i++)
		if (!agrees(exs_descriptor_value(d[i])))
			exs_refuse(d[i]);
}

/* --- the program --- */

static void act_submit(void)
{
	struct chain *c = &w.chains[below(CHAINS)];
	struct token *t = submit(c, 0);

	if (t && t->future && c->features == HAS_INLINE)
		token_must(token_look(t, t->future) != NOT_DONE, t, "inline: done on return");
}

static void act_call(void)
{
	struct chain *c = &w.chains[below(CHAINS)];
	struct token *t = c->freed ? NULL : new_token(c, 0);
	double seconds = some_time();
	exs_result r;

	if (!t)
		return;
	size_t before = sim_steps();
	token_note(t, CANCEL_CALLED); /* exs_call does when its time is up */
	int rc = exs_call(c->ex, task, token_arg(t), seconds, &r);
	token_must(rc == EXS_OK || (rc == EXS_ETIMEDOUT && seconds < EXS_FOREVER) ||
			   (rc == EXS_EDEADLK && used_up(before)),
		   t, "a call's answer");
	token_must(rc == EXS_OK || r.kind == EXS_KIND_CANCELLED, t, "a call whose time is up is cancelled");
	exs_result_clear(&r);
}

static void act_step(void)
{
	for (unsigned n = below(12); n && exs_sim_step(w.sim); n--)
		;
}

static void act_read_set(void)
{
	exs_set *set = exs_set_new();
	exs_future *f;
	exs_set_status status;
	size_t before;

	for (unsigned n = below(6); n; n--)
		if (pick(&f))
			CHECK_INT(exs_set_add(set, f), EXS_OK);
	while (before = sim_steps(), (status = exs_set_next(set, &f, some_time())) == EXS_ITEM) {
		CHECK(exs_future_is_done(f));
		exs_future_unref(f);
	}
	CHECK(status == EXS_EMPTY ? !exs_set_count(set)
				  : status == EXS_TIMEOUT || (status == EXS_FAILED && used_up(before)));
	exs_set_free(set);
}

static void act_look(void)
{
	char text[256];
	exs_future *f;
	struct token *t = pick(&f);

	if (t) {
		exs_future_explain(f, text, sizeof(text));
		exs_sim_note(w.sim, token_look(t, f));
	}
	exs_future_unref(f);
	struct chain *c = &w.chains[below(CHAINS)];
	if (!c->freed)
		exs_poll_notify(c->ex);
}

static void act_drop(void)
{
	if (w.n_tokens)
		drop(&w.tokens[below(w.n_tokens)]);
}

static void act(void)
{
	static void (*const acts[])(void) = {act_submit,   act_submit, act_submit, act_submit,	 act_submit,
					     act_step,	   act_step,   cancel_one, wait_for_one, act_call,
					     act_read_set, act_look,   act_drop};

	acts[below(sizeof(acts) / sizeof(*acts))]();
	if (one_in(60))
		shut_down(&w.chains[below(CHAINS)]);
	if (one_in(120))
		free_chain(&w.chains[below(CHAINS)]);
}

static exs_result free_in_task(void *arg, exs_context *ctx)
{
	(void)ctx;
	free_chain(arg);
	return exs_cancelled(); /* so that no poll function sees it */
}

static void end_chain(struct chain *c)
{
	if (c->freed)
		return;
	if (one_in(3)) {
		c->shut = true;
		exs_future_unref(exs_submit(c->ex, free_in_task, c)); /* perhaps refused, lost, cancelled ... */
		CHECK_INT(exs_sim_run(w.sim), EXS_OK);
	} else if (one_in(3)) {
		shut_down(c);
	}
	free_chain(c);
}

static void *count_alloc(size_t size)
{
	live_blocks++;
	return malloc(size);
}

static void count_free(void *p)
{
	live_blocks--;
	free(p);
}

static double rarely(unsigned n)
{
	return one_in(3) ? 1.0 / (2 + below(n)) : 0;
}

static void begin_round(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	w.sim = exs_sim_new(seed, NULL); /* its own draws decide on the faults of the next */
	w.options = (exs_sim_options){.fail = rarely(20), .lose = rarely(20), .cancel = rarely(20), .delay = rarely(8)};
	w.options.time = rarely(20);
	w.options.no_memory = rarely(60);
	w.options.max_steps = 100000;
	CHECK_INT(exs_sim_free(w.sim), EXS_OK);
	w.sim = exs_sim_new(seed, &w.options);
	CHECK(w.sim);
	sim_trace(w.sim);
	w.elsewhere = one_in(3) ? exs_inline() : exs_sim_pool(w.sim, 1 + below(2));
	for (int i = 0; i < CHAINS; i++)
		make_chain(&w.chains[i]);
}

static void add_up(void)
{
	exs_sim_stats s;

	exs_sim_get_stats(w.sim, &s);
	sums.steps += s.steps;
	sums.runs += s.runs;
	sums.failed += s.failed + s.lost;
	sums.cancelled += s.cancelled;
	sums.no_memory += s.no_memory;
	sums.timers += s.timers;
	sums.stuck += s.stuck;
	sums.inverted += s.inverted;
}

/* Answers the digest of all that happened. */
static uint64_t round_of(uint64_t seed)
{
	begin_round(seed);
	for (unsigned n = below(ACTIONS) + ACTIONS / 2; n; n--)
		act();
	for (int i = 0; i < CHAINS; i++)
		end_chain(&w.chains[i]);
	while (w.n_bases) /* the last made stands upon the others */
		exs_executor_free(w.bases[--w.n_bases]);
	exs_executor_free(w.elsewhere);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK); /* those freed from within */
	for (unsigned i = 0; i < w.n_tokens; i++)
		token_finish(&w.tokens[i], w.tokens[i].future);
	for (unsigned i = 0; i < w.n_layers; i++)
		CHECK_INT(w.layers[i].freed, 1);
	CHECK_INT(exs_clock_armed(exs_sim_clock(w.sim)), 0);
	uint64_t digest = exs_sim_digest(w.sim);
	add_up();
	CHECK_INT(exs_sim_free(w.sim), EXS_OK);
	CHECK_INT(live_blocks, 0);
	CHECK_INT(harness_futures(), 0);
	return digest;
}

static unsigned long rounds(void)
{
	const char *text = getenv("EXS_SIM_ROUNDS");

	return text && *text ? strtoul(text, NULL, 0) : harness_rounds(ROUNDS);
}

TEST(sim_conformance, random_chains)
{
	static const exs_allocator counting = {count_alloc, count_free};
	uint64_t seed = harness_seed();
	int threads = harness_threads();

	exs_set_allocator(&counting);
	for (unsigned long i = 0, n = rounds(); i < n; i++) {
		harness_set_seed(seed + i);
		uint64_t digest = round_of(seed + i);
		if (i % 8 == 0) /* again: all the same */
			CHECK(round_of(seed + i) == digest);
		if (i % 64 == 0)
			CHECK_INT(harness_threads(), threads); /* none was made */
	}
	exs_set_allocator(NULL);
	fprintf(stderr,
		"sim: %llu steps, %llu runs, %llu faults, %llu cancels, %llu timers, %llu allocations failed, %llu "
		"waits stuck, of these %llu inverted;",
		(unsigned long long)sums.steps, (unsigned long long)sums.runs, (unsigned long long)sums.failed,
		(unsigned long long)sums.cancelled, (unsigned long long)sums.timers, (unsigned long long)sums.no_memory,
		(unsigned long long)sums.stuck, (unsigned long long)sums.inverted);
	for (int i = 0; i < N_OUTCOMES; i++)
		fprintf(stderr, " %s %lu%s", outcome_names[i], totals.outcomes[i], i + 1 < N_OUTCOMES ? "," : "\n");
}
