/* Stress: random schedules over random chains from a seed. Each round makes a few chains over a shared pool and lets several
   threads submit, cancel, wait, gather, shut down and free; every submit is a token that is checked against the table of
   stress.c. Invariants that are the round's, not a token's, stand at the end of round().

   EXS_TEST_SEED replays the same plan (threads still interleave as they like), EXS_STRESS_ROUND begins at a round,
   EXS_STRESS_SECONDS says how long (default 5, times EXS_TEST_SOAK). */
#define _GNU_SOURCE
#include "limit.h"
#include "stress.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ACTORS = 4, CHAINS = 6, MAX_LAYERS = 4, TOKENS = 800, STEPS = 60, PICK = 8, HANG_SECONDS = 60 };

/* The context of a poll or retry layer. */
struct layer {
	struct chain *chain;
	unsigned level;	   /* of a poll */
	unsigned attempts; /* of a retry policy */
	atomic_uint ctx_freed, ctx_given;
	/* lock guards the batch of the poll under way, as far as other threads may yield from it: they are counted as users. */
	pthread_mutex_t lock;
	exs_descriptor **batch;
	size_t n;
	unsigned users;
};

static struct world {
	uint64_t seed;
	exs_clock *clock; /* NULL: the real one */
	exs_executor *pool;
	exs_executor *elsewhere; /* where the functions of flat_map submit */
	unsigned pool_features;
	pthread_t turner; /* where that is a loop */
	atomic_bool pool_shut;
	struct chain chains[CHAINS];
	struct layer layers[CHAINS * MAX_LAYERS];
	unsigned n_layers;
	struct token *tokens;
	atomic_uint n_tokens; /* may run beyond TOKENS */
	exs_set *set;
	atomic_bool over;
} w;

static atomic_long live_blocks;
static atomic_uint strangers; /* threads that are not the test's and have asked for a random number */

/* --- chance --- */

static _Thread_local uint64_t random_state;
static _Thread_local bool must_not_wait; /* the thread that everybody would wait for: a poll thread, the clock's */

static unsigned below(unsigned n)
{
	if (!random_state)
		random_state = w.seed + UINT64_C(0x1234567) * (1 + atomic_fetch_add(&strangers, 1));
	return (unsigned)harness_below(&random_state, n);
}

static bool one_in(unsigned n)
{
	return below(n) == 0;
}

/* Seconds up to max, often 0. */
static double brief(double max)
{
	return one_in(4) ? 0 : max * below(1000) / 1000;
}

static void dawdle(unsigned most)
{
	for (unsigned n = below(most + 1); n; n--)
		sched_yield();
}

/* --- the allocator: nothing may be left at the end of a round --- */

static void *count_alloc(size_t size)
{
	atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
	return malloc(size);
}

static void count_free(void *p)
{
	atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
	free(p);
}

/* --- the tokens of the round --- */

static unsigned n_tokens(void)
{
	unsigned n = atomic_load(&w.n_tokens);

	return n < TOKENS ? n : TOKENS;
}

/* A random token, with a reference to its future; NULL: it has none. */
static struct token *pick(exs_future **f)
{
	unsigned n = n_tokens();
	struct token *t = n ? &w.tokens[below(n)] : NULL;

	*f = NULL;
	if (!t || !atomic_load(&t->submitted))
		return NULL;
	pthread_mutex_lock(&t->lock);
	*f = exs_future_ref(t->future);
	pthread_mutex_unlock(&t->lock);
	return *f ? t : NULL;
}

/* Up to PICK different ones. */
static unsigned pick_some(struct token **t, exs_future **f)
{
	unsigned k = 0;

	for (unsigned tries = below(PICK + 1); tries; tries--) {
		t[k] = pick(&f[k]);
		bool again = !t[k];
		for (unsigned i = 0; i < k && !again; i++)
			again = t[i] == t[k];
		if (again)
			exs_future_unref(f[k]);
		else
			k++;
	}
	return k;
}

static void put_back(exs_future **f, unsigned k)
{
	while (k)
		exs_future_unref(f[--k]);
}

static bool enter(struct chain *c)
{
	atomic_fetch_add(&c->users, 1);
	if (!atomic_load(&c->closed))
		return true;
	atomic_fetch_sub(&c->users, 1);
	return false;
}

static void leave(struct chain *c)
{
	atomic_fetch_sub(&c->users, 1);
}

/* --- submitting --- */

static exs_result task(void *arg, exs_context *ctx);
static void in_callback(struct token *t);

static void plan_retry(struct token *t, exs_task *options, exs_retry_options *retry)
{
	*retry = (exs_retry_options){.max_attempts = 1 + below(4), .sleep = one_in(2) ? EXS_NONE : 1e-4};
	options->retry = retry;
	t->max_runs = t->chain->inner_runs * retry->max_attempts;
	t->max_shown =
		t->chain->inner_shown == EXS_UNLIMITED ? EXS_UNLIMITED : t->chain->inner_shown * retry->max_attempts;
}

static exs_future *submit_planned(struct token *t, bool may_block)
{
	struct chain *c = t->chain;
	exs_retry_options retry;
	exs_task options = {.fn = task, .name = *t->name ? t->name : NULL};

	options.arg_free = t->has_arg_free ? arg_free : NULL;
	options.arg = token_arg(t);
	if (c->features & HAS_TIMEOUT && one_in(4))
		options.timeout = 1e-5 + brief(2e-3);
	if (c->features & HAS_RETRY && one_in(4))
		plan_retry(t, &options, &retry);
	if (!may_block || one_in(6) || c->features & REJECTS)
		token_note(t, TRIED);
	if (!may_block || one_in(6)) {
		token_note(t, TRIED);
		return exs_try_submit(c->ex, &options);
	}
	return exs_submit_with(c->ex, &options);
}

/* Makes a token and submits it; NULL when there are no more. The caller has entered the chain, or is on one of its
   threads. *f: a reference. */
static struct token *submit(struct chain *c, unsigned depth, bool may_block, exs_future **f)
{
	unsigned id = atomic_fetch_add(&w.n_tokens, 1);
	struct token *t = id < TOKENS ? &w.tokens[id] : NULL;
	bool refuses = atomic_load(&c->refuses);

	if (!t)
		return NULL;
	token_init(t, c, id, (uint64_t)below(1u << 30) << 30 | below(1u << 30));
	t->depth = depth;
	t->never = c->features & ENDS_NEVERS && one_in(6);
	t->has_arg_free = !one_in(3);
	if (one_in(2))
		snprintf(t->name, sizeof(t->name), "token-%u", id);
	if (c->features & REJECTS)
		token_note(t, TRIED);
	if (may_block && !t->has_arg_free && !*t->name && one_in(2))
		*f = exs_submit(c->ex, task, token_arg(t));
	else
		*f = submit_planned(t, may_block);
	token_must(*f != NULL, t, "a submit answers NULL only when memory is short");
	token_must(!refuses || token_look(t, *f) == SHUT_DOWN, t, "after a shutdown a submit is refused");
	for (unsigned n = below(MAX_NOTES + 1); n; n--)
		token_on_done(t, *f, one_in(4) ? in_callback : NULL);
	pthread_mutex_lock(&t->lock);
	t->future = exs_future_ref(*f);
	pthread_mutex_unlock(&t->lock);
	atomic_store(&t->address, *f);
	atomic_store(&t->submitted, true);
	return t;
}

/* --- what tasks do --- */

static void handler(void *arg)
{
	struct token *t = arg;

	atomic_fetch_add(&t->handlers, 1);
	token_must(atomic_load(&t->arg_freed) == 0, t, "an on_cancel handler runs while the task does");
	token_must(atomic_fetch_add(&t->handlers_called, 1) < atomic_load(&t->handlers_set), t,
		   "each handler runs once");
	dawdle(3);
	atomic_fetch_sub(&t->handlers, 1);
}

static void with_handler(struct token *t, exs_context *ctx)
{
	atomic_fetch_add(&t->handlers_set, 1);
	CHECK_INT(exs_context_on_cancel(ctx, handler, t), EXS_OK);
	dawdle(8);
	if (one_in(2))
		exs_context_off_cancel(ctx, handler, t);
}

static void nest(struct token *t)
{
	exs_future *f;
	struct token *child = t->depth < 2 ? submit(t->chain, t->depth + 1, true, &f) : NULL;

	if (!child)
		return;
	bool for_ever = !must_not_wait && !(t->chain->features & HAS_LIMIT) && one_in(2);
	int rc = exs_future_wait(f, for_ever ? EXS_FOREVER : brief(2e-4));
	token_must(rc == EXS_OK || rc == EXS_EDEADLK || (rc == EXS_ETIMEDOUT && !for_ever), child, "a wait's answer");
	token_must(rc != EXS_OK || token_look(child, f) != NOT_DONE, child, "after a wait the future is done");
	exs_future_unref(f);
}

static void cancel_one(void)
{
	exs_future *f;
	struct token *t = pick(&f);

	if (!t)
		return;
	token_cancel(t, f);
	if (one_in(4))
		token_cancel(t, f);
	exs_future_unref(f);
}

static void sleep_in_task(struct token *t, exs_context *ctx)
{
	int rc = exs_context_sleep(ctx, brief(3e-4));

	token_must(rc == EXS_OK || rc == EXS_ECANCELLED, t, "a sleep's answer");
	token_must(rc == EXS_OK || exs_context_stop_requested(ctx), t, "a sleep ends early by a stop request");
	token_must(!exs_context_stop_requested(ctx) || exs_context_cause(ctx) != EXS_CAUSE_NONE, t,
		   "a stop has a cause");
}

static void work(struct token *t, exs_context *ctx)
{
	switch (below(16)) {
	case 0:
		for (unsigned n = below(300); n && !exs_context_stop_requested(ctx); n--)
			sched_yield();
		break;
	case 1:
		sleep_in_task(t, ctx);
		break;
	case 2:
	case 3:
		with_handler(t, ctx);
		break;
	case 4:
	case 5:
		nest(t);
		break;
	case 6:
		cancel_one();
		break;
	case 7:
		dawdle(20);
		break;
	default:
		break;
	}
}

static exs_result task(void *arg, exs_context *ctx)
{
	struct token *t = ((struct arg *)arg)->token;

	token_begin(t, ctx);
	work(t, ctx);
	CHECK(((struct arg *)arg)->token == t); /* still there: ASan */
	unsigned which = below(20);
	if (which == 0)
		return token_end(t, exs_cancelled());
	struct value *v = which < 12 ? token_value(t, 0) : NULL;
	if (v)
		return token_end(t, exs_ok(v, value_destroy));
	return token_end(t, exs_fail(token_error(t, 0)));
}

/* Callbacks run anywhere: they submit without blocking, and wait for nothing that could last. */
static void in_callback(struct token *t)
{
	exs_future *f;
	struct token *other;

	switch (below(4)) {
	case 0:
		cancel_one();
		break;
	case 1:
		other = enter(t->chain) ? submit(t->chain, 2, false, &f) : NULL;
		if (!other)
			break;
		exs_future_wait(f, brief(1e-4));
		token_look(other, f);
		exs_future_unref(f);
		leave(t->chain);
		break;
	case 2:
		dawdle(10);
		break;
	default:
		pthread_mutex_lock(&t->lock);
		f = t->future;
		t->future = NULL;
		pthread_mutex_unlock(&t->lock);
		exs_future_unref(f); /* perhaps the last user's reference but the callback's */
	}
}

/* --- poll layers --- */

static void yield_value(struct layer *l, exs_descriptor *d, struct token *t)
{
	struct value *v = token_value(t, l->level);

	token_note(t, v ? YIELDED_VALUE : YIELDED_ERROR);
	if (!v)
		exs_yield_error(d, token_error(t, l->level));
	else if (!exs_yield_result(d, v, value_destroy))
		token_must(atomic_load(&v->state) == DESTROYED, t, "a value of a yield that is ignored is destroyed");
}

static void yield_error(struct layer *l, exs_descriptor *d, struct token *t)
{
	token_note(t, YIELDED_ERROR);
	exs_yield_error(d, token_error(t, l->level));
}

static void check_descriptor(struct layer *l, exs_descriptor *d)
{
	struct value *v = exs_descriptor_value(d);
	const char *name = exs_descriptor_name(d);
	struct token *t = v->token;

	token_must(atomic_load(&v->state) == LIVE, t, "a descriptor's value lives until the poll function returns");
	token_must(v->level < l->level, t, "a descriptor's value is the delegate's");
	token_must(!v->stopped, t, "after a stop request nothing becomes pending");
	token_must(*t->name ? name && !strcmp(name, t->name) : !name, t, "a descriptor has the task's name");
}

static void resolve(struct layer *l, exs_descriptor *d)
{
	struct token *t = ((struct value *)exs_descriptor_value(d))->token;
	unsigned which = t->never ? 0 : below(8);

	check_descriptor(l, d);
	if (which >= 3 && which != 5)
		yield_value(l, d, t);
	if (which == 5 || which == 6)
		yield_error(l, d, t);
	if (which == 7)
		yield_value(l, d, t);
}

/* While the poll function runs, other threads yield as well. */
static void share_batch(struct layer *l, exs_descriptor **d, size_t n)
{
	pthread_mutex_lock(&l->lock);
	l->batch = d;
	l->n = n;
	pthread_mutex_unlock(&l->lock);
	dawdle(20);
	pthread_mutex_lock(&l->lock);
	l->n = 0;
	while (l->users) {
		pthread_mutex_unlock(&l->lock);
		sched_yield();
		pthread_mutex_lock(&l->lock);
	}
	pthread_mutex_unlock(&l->lock);
}

static void act_yield(void)
{
	struct layer *l = w.n_layers ? &w.layers[below(w.n_layers)] : NULL;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	exs_descriptor *d = l->n ? l->batch[below((unsigned)l->n)] : NULL;
	l->users += d != NULL;
	pthread_mutex_unlock(&l->lock);
	if (!d)
		return;
	must_not_wait = true; /* the poll thread waits for us */
	resolve(l, d);
	must_not_wait = false;
	pthread_mutex_lock(&l->lock);
	l->users--;
	pthread_mutex_unlock(&l->lock);
}

static exs_error *poll_fn(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct layer *l = ctx;
	bool fails = one_in(24);

	must_not_wait = true;
	atomic_fetch_add(&totals.polls, 1);
	CHECK(*delay >= 0);
	for (size_t i = 0; i < n && fails; i++)
		token_note(((struct value *)exs_descriptor_value(d[i]))->token, BATCH_FAILED);
	for (size_t i = 0; i < n; i++)
		if (!one_in(4))
			resolve(l, d[i]);
	if (one_in(3))
		share_batch(l, d, n);
	dawdle(4);
	for (size_t i = 0; i < n; i++)
		check_descriptor(l, d[i]);
	if (one_in(3))
		*delay = one_in(8) ? -1.0 : brief(3e-4);
	return fails ? exs_error_new(&stress_domain, -(int)l->level, "failed poll") : NULL;
}

/* Its answer counts for a user's cancel only, which asks on the cancelling thread. */
static bool agrees(struct value *v)
{
	bool yes = !one_in(3);

	token_must(atomic_load(&v->state) == LIVE, v->token, "the cancel function gets a live value");
	dawdle(6);
	token_must(atomic_load(&v->state) == LIVE, v->token, "its value lives until the cancel function returns");
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

/* --- chains --- */

static void layer_freed(void *ctx)
{
	struct layer *l = ctx;

	CHECK(atomic_fetch_add(&l->ctx_freed, 1) == 0);
}

static struct layer *new_layer(struct chain *c)
{
	struct layer *l = &w.layers[w.n_layers++];

	l->chain = c;
	atomic_store(&l->ctx_given, 1);
	pthread_mutex_init(&l->lock, NULL);
	return l;
}

static exs_executor *add_poll(struct chain *c, exs_executor *ex)
{
	struct layer *l = new_layer(c);
	static const double intervals[] = {1e-4, 5e-4, 1e-3, EXS_NONE};
	exs_poll_options o = {.interval = intervals[below(4)], .poll_empty = one_in(8), .ctx_free = layer_freed};

	if (one_in(4))
		o.first_interval = 2e-5;
	if (one_in(3))
		o.cancel_many = cancel_many;
	l->level = ++c->polls;
	c->features = (c->features | HAS_POLL) & ~(unsigned)ENDS_NEVERS;
	return exs_with_poll(ex, poll_fn, one_in(4) ? NULL : cancel_fn, l, &o);
}

static exs_executor *add_timeout(struct chain *c, exs_executor *ex)
{
	bool abandon = one_in(2), none = one_in(8);
	double seconds = none ? EXS_FOREVER : one_in(8) ? 0 : 2e-5 + brief(2e-3);

	c->features |= HAS_TIMEOUT | (abandon ? (unsigned)HAS_ABANDON : 0);
	if (!none && c->features & HAS_POLL)
		c->features |= ENDS_NEVERS;
	return exs_with_timeout_mode(ex, seconds, abandon ? EXS_ABANDON : EXS_WAIT);
}

static bool policy(void *ctx, const exs_attempt *a, double *delay, exs_error **error)
{
	struct layer *l = ctx;

	CHECK(a->attempt >= 1 && a->attempt <= l->attempts);
	CHECK(a->elapsed >= 0 && a->outcome->kind != EXS_KIND_CANCELLED && *delay >= 0);
	if (one_in(16))
		*error = exs_error_new(&stress_domain, 0, "failed policy");
	*delay = brief(1e-4);
	return a->attempt < l->attempts && (a->outcome->kind == EXS_KIND_ERROR || one_in(4));
}

static void on_retry(void *ctx, const exs_attempt *a, double delay)
{
	struct layer *l = ctx;

	CHECK(a->attempt >= 1 && a->attempt < l->attempts);
	CHECK(delay >= 0);
}

static exs_executor *add_retry(struct chain *c, exs_executor *ex)
{
	struct layer *l = new_layer(c);
	static const double sleeps[] = {EXS_NONE, 1e-5, 1e-4};
	exs_retry_options o = {
		.sleep = sleeps[below(3)], .jitter = (exs_jitter)below(3), .ctx = l, .ctx_free = layer_freed};

	l->attempts = o.max_attempts = 1 + below(4);
	if (one_in(3))
		o.policy = policy;
	if (one_in(3))
		o.on_retry = on_retry;
	c->features |= HAS_RETRY;
	c->inner_runs = c->max_runs;
	c->inner_shown = c->max_shown;
	c->max_runs *= o.max_attempts;
	c->max_shown = o.policy || c->max_shown == EXS_UNLIMITED ? EXS_UNLIMITED : c->max_shown * o.max_attempts;
	return exs_with_retry(ex, &o);
}

static exs_result same(void *ctx, exs_result in)
{
	struct layer *l = ctx;

	CHECK(in.kind != EXS_KIND_CANCELLED && !atomic_load(&l->ctx_freed));
	return in;
}

static exs_executor *add_map(struct chain *c, exs_executor *ex)
{
	return exs_with_map(ex, one_in(4) ? NULL : same, one_in(4) ? NULL : same, new_layer(c), layer_freed);
}

/* An outcome on its way through another executor. It is destroyed with the argument unless the task has passed it on. */
struct box {
	exs_result r;
};

static void box_free(void *arg)
{
	struct box *box = arg;

	exs_result_clear(&box->r);
	free(box);
}

static exs_result pass_on(void *arg, exs_context *ctx)
{
	struct box *box = arg;
	exs_result r = box->r;

	dawdle(20);
	if (exs_context_stop_requested(ctx) && one_in(2))
		return exs_cancelled();
	box->r = exs_ok(NULL, NULL);
	return r;
}

/* The same outcome: of a future that is done, or of a call elsewhere. */
static exs_future *same_later(void *ctx, exs_result in)
{
	struct layer *l = ctx;
	exs_future *f;

	CHECK(in.kind != EXS_KIND_CANCELLED && !atomic_load(&l->ctx_freed));
	if (one_in(3)) {
		exs_promise *p = exs_promise_new(&f);
		CHECK(p);
		exs_promise_complete(p, in);
		exs_promise_free(p);
		return f;
	}
	struct box *box = malloc(sizeof(*box));
	CHECK(box);
	box->r = in;
	f = exs_submit_with(w.elsewhere, &(exs_task){.fn = pass_on, .arg = box, .arg_free = box_free});
	CHECK(f);
	return f;
}

static exs_executor *add_flat_map(struct chain *c, exs_executor *ex)
{
	c->features |= HAS_ELSEWHERE;
	return exs_with_flat_map(ex, one_in(4) ? NULL : same_later, one_in(4) ? NULL : same_later, new_layer(c),
				 layer_freed);
}

/* It fails, and changes; but lets one go at least. */
static exs_error *count_fn(void *ctx, unsigned *count)
{
	struct layer *l = ctx;

	CHECK_INT(l->ctx_freed, 0);
	if (*count && one_in(10)) /* not when it is asked first */
		return exs_error_new(&exs_domain_exs, EXS_EINVAL, "count");
	*count = one_in(10) ? EXS_UNLIMITED : 1 + below(3);
	return NULL;
}

static exs_executor *add_limit(struct chain *c, exs_executor *ex)
{
	c->features |= HAS_LIMIT;
	if (one_in(2))
		return limit_new(ex, 1 + below(3));
	exs_throttle_options o = {.ctx = new_layer(c), .ctx_free = layer_freed};
	if (one_in(2))
		o.count_fn = count_fn;
	return exs_with_throttle(ex, o.count_fn ? 0 : 1 + below(3), &o);
}

static exs_error *run_most(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	struct layer *l = ctx;

	(void)context;
	CHECK_INT(l->ctx_freed, 0);
	for (size_t i = 0; i < n; i++)
		exs_batch_run(items[i]);
	return NULL;
}

/* Calls of a batch run one after the other: they must not wait for each other. It is rejected as a whole. Not above layers that
   would see the batch instead of a token, or that a token's options could not reach. */
static exs_executor *add_batch(struct chain *c, exs_executor *ex)
{
	if (c->features & (HAS_POLL | HAS_RETRY | HAS_TIMEOUT))
		return ex;
	exs_batch_options o = {.max = 1 + below(3), .seconds = one_in(4) ? EXS_NONE : 1e-5, .ctx_free = layer_freed};

	c->features |= HAS_LIMIT | (c->features & HAS_BOUND ? (unsigned)REJECTS : 0);
	return exs_with_batch(ex, run_most, new_layer(c), &o);
}

static unsigned bound(exs_thread_pool_options *o)
{
	o->queue_limit = 1 + below(6);
	o->when_full = (exs_full)below(4);
	if (o->when_full == EXS_FULL_BLOCK && one_in(2))
		o->block_seconds = one_in(4) ? EXS_NONE : brief(1e-3);
	if (o->when_full == EXS_FULL_REJECT || o->block_seconds > 0)
		return HAS_BOUND | REJECTS;
	return HAS_BOUND | (o->when_full == EXS_FULL_DROP_OLDEST ? (unsigned)DROPS : 0);
}

static exs_executor *new_pool(unsigned *features)
{
	exs_thread_pool_options o = {
		.workers = 1 + below(3), .max_spares = one_in(3) ? EXS_NONE : 1 + below(8), .name = "stress"};

	if (one_in(2)) {
		o.min_workers = one_in(2) ? EXS_NONE : 1 + below(o.workers);
		o.idle_seconds = one_in(3) ? EXS_NONE : brief(1e-3);
	}
	*features = one_in(3) ? bound(&o) : 0;
	o.order = one_in(2) ? EXS_ANY_ORDER : EXS_IN_ORDER;
	o.waiters_run = one_in(3);
	return exs_thread_pool_with(&o);
}

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_cancelled(); /* so that no poll function sees it */
}

static void *turn(void *loop)
{
	CHECK(exs_event_loop_run(loop) > 0); /* until it is freed */
	return NULL;
}

/* What the chains of a round share: a pool, or an event loop with a thread that turns it. */
static void make_shared(void)
{
	if (!one_in(3)) {
		w.pool = new_pool(&w.pool_features);
		return;
	}
	w.pool = exs_event_loop();
	w.pool_features = HAS_LOOP;
	CHECK(w.pool && !pthread_create(&w.turner, NULL, turn, w.pool));
	CHECK_INT(exs_call(w.pool, nothing, NULL, EXS_FOREVER, NULL),
		  EXS_OK); /* it turns: from now on it may be freed */
}

/* One or two executors more, which come and go; the first two are always there: so a task
   that waits on a thread that nobody stands in for (a loop, a pool without spares) does not wait for ever. */
static exs_executor *pool_of_queue(void)
{
	exs_executor *ex = exs_thread_pool(1 + below(2));

	return one_in(3) ? exs_with_timeout_mode(ex, 1000, EXS_ABANDON) : ex;
}

static exs_executor *new_queue(struct chain *c)
{
	exs_queue_options o = {.levels = 1 + below(3), .aging = one_in(2) ? 1e-3 : 0};
	exs_attach_options some = {.capacity = below(4)};
	exs_executor *queue = exs_queue(&o);

	c->features = HAS_QUEUE | (w.pool_features & (unsigned)DROPS);
	c->below = &w.pool_shut;
	CHECK_INT(exs_queue_attach(queue, exs_with_retry(exs_borrow(w.pool), &(exs_retry_options){.max_attempts = 1}),
				   &some),
		  1);
	CHECK_INT(exs_queue_attach(queue, pool_of_queue(), NULL), 2);
	return queue;
}

static exs_executor *new_leaf(struct chain *c)
{
	unsigned which = below(6);

	if (which == 5)
		return new_queue(c);

	if (which == 0) {
		c->features = HAS_INLINE;
		return exs_inline();
	}
	if (which == 1)
		return new_pool(&c->features);
	c->features = w.pool_features;
	c->below = &w.pool_shut;
	return exs_borrow(w.pool);
}

static void make_chain(struct chain *c)
{
	unsigned retries = 0;

	c->max_runs = c->inner_runs = c->max_shown = c->inner_shown = 1;
	exs_executor *ex = new_leaf(c);
	ex = exs_with_clock(ex, w.clock);
	for (unsigned n = below(MAX_LAYERS + 1); n; n--) {
		unsigned which = below(12);
		if (which < 2)
			ex = add_poll(c, ex);
		else if (which == 11)
			ex = add_batch(c, ex);
		else if (which == 10)
			ex = exs_with_cancel_on_shutdown(ex);
		else if (which > 7)
			ex = add_flat_map(c, ex);
		else if (which == 7)
			ex = add_map(c, ex);
		else if (which == 6)
			ex = add_limit(c, ex);
		else if (which < 4 || retries == 2)
			ex = add_timeout(c, ex);
		else
			ex = add_retry(c, ex), retries++;
	}
	CHECK(ex);
	exs_describe(ex, c->text, sizeof(c->text));
	c->ex = ex;
}

static void free_chain(struct chain *c)
{
	if (atomic_exchange(&c->freed, true))
		return;
	exs_executor_free(c->ex);
	atomic_store(&c->released, true);
}

static exs_result free_in_task(void *arg, exs_context *ctx)
{
	(void)ctx;
	free_chain(arg);
	return exs_cancelled(); /* so that no poll function sees it */
}

static void free_in_callback(exs_future *f, void *ctx)
{
	(void)f;
	free_chain(ctx);
}

/* The last use of a chain, in one of several ways; the caller is no thread of it. */
static void end_chain(struct chain *c)
{
	exs_future *f = NULL;

	atomic_store(&c->closed, true);
	while (atomic_load(&c->users))
		sched_yield();
	atomic_store(&c->shut, true);
	switch (below(5)) {
	case 0:
		f = exs_submit(c->ex, free_in_task, c); /* if the chain was shut down it does not run */
		break;
	case 1:
		f = exs_submit(c->ex, nothing, NULL);
		break;
	case 2:
		exs_shutdown(c->ex, (exs_mode)(1 + below(3)), brief(2e-3));
		break;
	case 3:
		CHECK_INT(exs_shutdown(c->ex, EXS_DRAIN, EXS_FOREVER), 0); /* no limit: nothing is left */
		break;
	default:
		break;
	}
	if (!f)
		free_chain(c);
	else
		CHECK_INT(exs_future_on_done(f, free_in_callback, c, NULL), EXS_OK);
	exs_future_unref(f);
}

/* --- what actors do --- */

static void act_submit(void)
{
	struct chain *c = &w.chains[below(CHAINS)];
	exs_future *f;

	if (!enter(c))
		return;
	struct token *t = submit(c, 0, true, &f);
	/* On a bare inline executor the future is done on return. */
	if (t && c->features == HAS_INLINE)
		token_must(token_look(t, f) != NOT_DONE, t, "inline: done on return");
	if (t)
		exs_future_unref(f);
	leave(c);
}

static void act_call(void)
{
	struct chain *c = &w.chains[below(CHAINS)];
	unsigned id = atomic_fetch_add(&w.n_tokens, 1);
	struct token *t = id < TOKENS ? &w.tokens[id] : NULL;
	double seconds = one_in(3) ? EXS_FOREVER : brief(5e-4);
	exs_result r;

	if (!t || !enter(c))
		return;
	token_init(t, c, id, 0);
	token_note(t, CANCEL_CALLED | TRIED); /* exs_call cancels when its time is up */
	int rc = exs_call(c->ex, task, token_arg(t), seconds, &r);
	token_must(rc == EXS_OK || (rc == EXS_ETIMEDOUT && seconds < 1), t, "a call's answer");
	token_must(rc == EXS_OK || r.kind == EXS_KIND_CANCELLED, t, "a call whose time is up is cancelled");
	exs_result_clear(&r);
	leave(c);
}

static void act_cancel_all(void)
{
	struct token *t[PICK];
	exs_future *f[PICK];
	unsigned k = pick_some(t, f), cancelled = 0;

	for (unsigned i = 0; i < k; i++)
		token_note(t[i], CANCEL_CALLED);
	cancelling++;
	size_t n = exs_future_cancel_all(f, k);
	cancelling--;
	for (unsigned i = 0; i < k; i++)
		cancelled += token_look(t[i], f[i]) == CANCELLED;
	CHECK(n <= cancelled); /* a cancelled one stays so */
	put_back(f, k);
}

static void act_wait(void)
{
	exs_future *f;
	struct token *t = pick(&f);
	bool for_ever = one_in(4);

	if (!t)
		return;
	int rc = exs_future_wait(f, for_ever ? EXS_FOREVER : brief(5e-4));
	token_must(rc == EXS_OK || (rc == EXS_ETIMEDOUT && !for_ever), t, "a wait's answer");
	token_must(rc != EXS_OK || token_look(t, f) != NOT_DONE, t, "after a wait the future is done");
	exs_future_unref(f);
}

static bool failed(exs_future *f)
{
	return exs_future_state(f) == EXS_STATE_ERROR;
}

static void act_wait_some(void)
{
	struct token *t[PICK];
	exs_future *f[PICK];
	unsigned k = pick_some(t, f), which = below(3);
	double seconds = one_in(4) ? EXS_FOREVER : brief(5e-4);
	size_t first = 99;
	int rc = which == 0   ? exs_wait_any(f, k, seconds, &first)
		 : which == 1 ? exs_wait_first_error(f, k, seconds, &first)
			      : exs_wait_all(f, k, seconds);

	CHECK(rc == EXS_OK || (rc == EXS_ETIMEDOUT && seconds < 1));
	if (which == 0 && !rc)
		CHECK(first < k ? exs_future_is_done(f[first]) : first == k && k == 0);
	if (which == 1 && !rc && first < k)
		CHECK(failed(f[first]));
	for (unsigned i = 0; i < k && !rc && (which == 2 || (which == 1 && first == k)); i++) {
		CHECK(exs_future_is_done(f[i])); /* all are done; and for first_error none failed */
		CHECK(which == 2 || !failed(f[i]));
	}
	put_back(f, k);
}

static struct token *token_in_set(exs_future *f)
{
	for (unsigned i = 0; i < n_tokens(); i++)
		if (atomic_load(&w.tokens[i].in_set) == 1 && atomic_load(&w.tokens[i].address) == f)
			return &w.tokens[i];
	harness_fail(__FILE__, __LINE__, "the set hands out what was added, once");
}

static exs_set_status next_shared(double seconds)
{
	exs_future *f;
	exs_set_status status = exs_set_next(w.set, &f, seconds);

	if (status != EXS_ITEM) {
		CHECK(!f && status != EXS_FAILED);
		return status;
	}
	struct token *t = token_in_set(f);
	int in = 1;
	CHECK(atomic_compare_exchange_strong(&t->in_set, &in, 2)); /* once */
	token_must(token_look(t, f) != NOT_DONE, t, "what a set hands out is done");
	exs_future_unref(f);
	return status;
}

static void act_shared_set(void)
{
	exs_future *f;
	struct token *t = one_in(2) ? pick(&f) : NULL;
	int in = 0;

	if (!t) {
		next_shared(brief(2e-4));
		return;
	}
	if (atomic_compare_exchange_strong(&t->in_set, &in, 1))
		CHECK_INT(exs_set_add(w.set, f), EXS_OK);
	else
		exs_future_unref(f);
	if (one_in(16))
		exs_set_fd(w.set);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Reads all members, perhaps stopping early: each comes once, done. */
static void read_own_set(exs_set *set, struct token **t, exs_future **f, unsigned k, int fd)
{
	bool seen[PICK] = {false};
	unsigned n = 0, i;
	exs_future *got;
	exs_set_status status;

	while ((status = exs_set_next(set, &got, one_in(2) ? EXS_FOREVER : brief(3e-4))) == EXS_ITEM) {
		for (i = 0; i < k && f[i] != got; i++)
			;
		CHECK(i < k && !seen[i]);
		seen[i] = true;
		n++;
		token_must(token_look(t[i], got) != NOT_DONE, t[i], "what a set hands out is done");
		exs_future_unref(got);
		if (one_in(12))
			return;
	}
	CHECK(status == EXS_EMPTY ? n == k : status == EXS_TIMEOUT);
	if (status == EXS_EMPTY && fd >= 0)
		CHECK(!readable(fd)); /* nothing waits */
}

static void act_own_set(void)
{
	struct token *t[PICK];
	exs_future *f[PICK];
	unsigned k = pick_some(t, f);
	exs_set *set = exs_set_new();
	int fd = one_in(3) ? exs_set_fd(set) : -1;

	for (unsigned i = 0; i < k; i++) {
		CHECK_INT(exs_set_add(set, exs_future_ref(f[i])), EXS_OK);
		if (one_in(4)) /* a second time counts once */
			CHECK_INT(exs_set_add(set, exs_future_ref(f[i])), EXS_OK);
	}
	CHECK_INT(exs_set_count(set), k);
	if (one_in(8))
		exs_set_deadline(set, brief(5e-4));
	if (one_in(6)) {
		for (unsigned i = 0; i < k; i++)
			token_note(t[i], CANCEL_CALLED);
		cancelling++;
		CHECK(exs_set_cancel(set) <= k);
		cancelling--;
	}
	read_own_set(set, t, f, k, fd);
	exs_set_free(set);
	put_back(f, k);
}

static void act_shut_down(void)
{
	struct chain *c = &w.chains[below(CHAINS)];

	if (!enter(c))
		return;
	atomic_store(&c->shut, true);
	exs_shutdown(c->ex, (exs_mode)(1 + below(3)), one_in(3) ? EXS_FOREVER : brief(1e-3));
	atomic_store(&c->refuses, true);
	leave(c);
}

static void act_look(void)
{
	char text[256];
	exs_future *f;
	struct token *t = pick(&f);
	struct chain *c = &w.chains[below(CHAINS)];
	exs_thread_pool_stats stats;

	if (t) {
		exs_future_explain(f, text, sizeof(text));
		token_must(!strncmp(text, *t->name ? t->name : "task", strlen(*t->name ? t->name : "task")), t,
			   "explain names it");
		token_look(t, f);
		exs_future_unref(f);
	}
	if (!enter(c))
		return;
	exs_poll_notify(c->ex);
	exs_describe(c->ex, text, sizeof(text));
	exs_timeout_abandoned(c->ex);
	exs_executor_pending(c->ex);
	CHECK_INT(exs_thread_pool_get_stats(c->ex, &stats) == EXS_OK,
		  !(c->features & (HAS_INLINE | HAS_LOOP | HAS_QUEUE)));
	if (c->features & HAS_QUEUE && one_in(3))
		exs_queue_attach(c->ex, pool_of_queue(), NULL);
	else if (c->features & HAS_QUEUE)
		exs_queue_detach(c->ex, 3 + below(6));
	leave(c);
}

static void act_drop(void)
{
	exs_future *f;
	struct token *t = pick(&f);

	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	exs_future *mine = t->future;
	t->future = NULL;
	pthread_mutex_unlock(&t->lock);
	exs_future_unref(mine);
	token_look(t, f);
	exs_future_unref(f);
}

static void act(void)
{
	static void (*const acts[])(void) = {act_submit,     act_submit,     act_submit,     act_submit, act_submit,
					     act_submit,     cancel_one,     cancel_one,     cancel_one, act_call,
					     act_cancel_all, act_wait,	     act_look,	     act_drop,	 act_wait_some,
					     act_own_set,    act_shared_set, act_shared_set, act_yield,	 act_yield};

	acts[below(sizeof(acts) / sizeof(*acts))]();
	if (one_in(300))
		act_shut_down();
	if (one_in(6))
		dawdle(10);
}

static void end_pool(void)
{
	if (!atomic_exchange(&w.pool_shut, true))
		exs_executor_free(w.pool);
}

/* Actor i also ends the chains i, i + ACTORS, ... */
static void *actor(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	random_state = w.seed + 77777 * (me + 1);
	for (unsigned steps = STEPS + below(STEPS); steps; steps--)
		act();
	if (me == 0 && one_in(3))
		end_pool();
	for (unsigned i = me; i < CHAINS; i += ACTORS)
		end_chain(&w.chains[i]);
	return NULL;
}

/* Moves a manual clock until the round is over. */
static void *advancer(void *arg)
{
	(void)arg;
	must_not_wait = true;
	random_state = w.seed + 99;
	while (!atomic_load(&w.over)) {
		CHECK_INT(exs_clock_advance(w.clock, brief(3e-4)), EXS_OK);
		dawdle(4);
	}
	return NULL;
}

/* --- rounds --- */

static void begin_round(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	w.seed = seed;
	random_state = seed;
	atomic_store(&strangers, 0);
	w.tokens = calloc(TOKENS, sizeof(*w.tokens));
	CHECK(w.tokens);
	for (unsigned i = 0; i < TOKENS; i++)
		pthread_mutex_init(&w.tokens[i].lock, NULL);
	w.clock = one_in(3) ? exs_clock_manual_new() : NULL;
	make_shared();
	w.elsewhere = one_in(3) ? exs_inline() : exs_thread_pool(1 + below(2));
	w.set = exs_set_new();
	CHECK(w.pool && w.elsewhere && w.set);
	for (unsigned i = 0; i < CHAINS; i++)
		make_chain(&w.chains[i]);
}

/* Everything is done: the shared set has what was added and not read, and then nothing. */
static void end_shared_set(void)
{
	if (one_in(3)) {
		exs_set_free(w.set);
		return;
	}
	while (next_shared(EXS_FOREVER) == EXS_ITEM)
		;
	CHECK_INT(exs_set_count(w.set), 0);
	for (unsigned i = 0; i < n_tokens(); i++)
		token_must(atomic_load(&w.tokens[i].in_set) != 1, &w.tokens[i], "a set hands out every member");
	exs_set_free(w.set);
}

static void end_tokens(void)
{
	for (unsigned i = 0; i < TOKENS; i++) {
		struct token *t = &w.tokens[i];
		if (t->chain)
			token_finish(t, t->future);
		pthread_mutex_destroy(&t->lock);
	}
	free(w.tokens);
}

static void run_actors(void)
{
	pthread_t threads[ACTORS], clock;

	if (w.clock)
		CHECK(!pthread_create(&clock, NULL, advancer, NULL));
	for (uintptr_t i = 0; i < ACTORS; i++)
		CHECK(!pthread_create(&threads[i], NULL, actor, (void *)i));
	for (unsigned i = 0; i < ACTORS; i++)
		CHECK(!pthread_join(threads[i], NULL));
	for (unsigned i = 0; i < CHAINS; i++)
		while (!atomic_load(&w.chains[i].released)) /* a task or callback of the chain is to do it */
			sched_yield();
	end_pool();
	/* Those freed from within are gone then: no flat_map submits any more. */
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	exs_executor_free(w.elsewhere);
	atomic_store(&w.over, true);
	if (w.pool_features & HAS_LOOP)
		CHECK(!pthread_join(w.turner, NULL));
	if (w.clock)
		CHECK(!pthread_join(clock, NULL));
}

static void round_of(uint64_t seed)
{
	int threads = harness_threads();

	begin_round(seed);
	run_actors();
	/* Every executor is freed: every future is done, every callback and destructor of an argument has run. */
	end_shared_set();
	end_tokens();
	for (unsigned i = 0; i < w.n_layers; i++) { /* each context is freed once */
		CHECK_INT(atomic_load(&w.layers[i].ctx_freed), atomic_load(&w.layers[i].ctx_given));
		pthread_mutex_destroy(&w.layers[i].lock);
	}
	CHECK_INT(w.clock ? exs_clock_armed(w.clock) : 0, 0); /* no timer is left */
	exs_clock_unref(w.clock);
	CHECK_INT(atomic_load(&live_blocks), 0); /* nor any block, */
	harness_wait_threads(threads);		 /* nor a thread */
	atomic_fetch_add(&totals.rounds, 1);
}

/* --- the watch over rounds: in a soak the harness's own watchdog has a day --- */

static _Atomic unsigned long current_round;
static atomic_bool ending;

static void *watch_rounds(void *arg)
{
	unsigned long seen = atomic_load(&current_round);
	int still = 0;

	(void)arg;
	while (!atomic_load(&ending) && still < HANG_SECONDS * 10) {
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
		still = atomic_load(&current_round) == seen ? still + 1 : 0;
		seen = atomic_load(&current_round);
	}
	if (atomic_load(&ending))
		return NULL;
	harness_fail(__FILE__, __LINE__, "a round hangs");
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned long number_of(const char *variable, unsigned long otherwise)
{
	const char *text = getenv(variable);

	return text && *text ? strtoul(text, NULL, 0) : otherwise;
}

static void print_totals(void)
{
	fprintf(stderr,
		"stress: %lu rounds, %lu tokens, %lu runs, %lu polls, %lu callbacks, %lu values; answers: %lu "
		"cancelled, %lu "
		"requested, %lu too late;",
		atomic_load(&totals.rounds), atomic_load(&totals.tokens), atomic_load(&totals.runs),
		atomic_load(&totals.polls), atomic_load(&totals.callbacks), atomic_load(&totals.values),
		atomic_load(&totals.answers[0]), atomic_load(&totals.answers[1]), atomic_load(&totals.answers[2]));
	for (int i = 0; i < N_OUTCOMES; i++)
		fprintf(stderr, " %s %lu%s", outcome_names[i], atomic_load(&totals.outcomes[i]),
			i + 1 < N_OUTCOMES ? "," : "\n");
}

/* The tokens whose futures are there and not done: if the round hangs, it hangs on one of these. */
static void print_round(void)
{
	fprintf(stderr, "and with EXS_STRESS_ROUND=%lu\n", atomic_load(&current_round));
	for (unsigned i = 0, shown = 0; i < n_tokens() && shown < 20; i++) {
		struct token *t = &w.tokens[i];
		exs_future *f = atomic_load(&t->submitted) ? t->future : NULL;
		if (!f || exs_future_is_done(f))
			continue;
		token_print(t);
		shown++;
	}
}

static void (*on_fail_before)(void);
static void on_fail(void)
{
	print_round();
	if (on_fail_before)
		on_fail_before();
}

TEST(stress, random_schedules)
{
	static const exs_allocator counting = {count_alloc, count_free};
	uint64_t seed = harness_seed();
	double until = now() + (double)number_of("EXS_STRESS_SECONDS", harness_rounds(5));
	unsigned long first = number_of("EXS_STRESS_ROUND", 0);
	pthread_t watcher;

	on_fail_before = harness_on_fail;
	harness_on_fail = on_fail;
	exs_set_allocator(&counting);
	CHECK(!pthread_create(&watcher, NULL, watch_rounds, NULL));
	for (unsigned long i = first; i == first || now() < until; i++) {
		atomic_store(&current_round, i);
		uint64_t state = seed + i * UINT64_C(0x100000001b3);
		round_of(harness_random(&state) | 1);
	}
	atomic_store(&ending, true);
	CHECK(!pthread_join(watcher, NULL));
	exs_set_allocator(NULL);
	harness_on_fail = on_fail_before;
	print_totals();
}
