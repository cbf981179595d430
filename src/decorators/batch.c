/* Batch: gathers calls, and starts many by one call of the delegate. */
#include "base/memory.h"
#include "executor/executor.h"
#include "executor/ticker.h"

#include <executors/batch.h>
#include <stdio.h>

/* Two executors: x, where the calls (the items' own) are parked from the submit to the outcome, and under it the relay, the top of the
   batches' calls. An item's call is PARKED while it is gathered or its batch is on its way, PARKED and RUNNING while start_many has it.
   Who has an outcome for it claims it under the lock. If a canceller was faster, its hook, which waits for the lock, sends the
   call up: with what has been yielded, or cancelled. */
struct exs_batch_item {
	struct batch *batch;
	exs_future *call;	     /* NULL: it has its outcome */
	struct exsi_shared_arg *arg; /* one of its users is the item; NULL: no more */
	exs_executor *top;	 /* that, and the scope, wait where an argument is read on after the outcome; or NULL */
	struct exs_scope *scope; /* or NULL */
	const char *name;
	unsigned listed; /* start_manys that have it: two, when one is left behind and a retry starts another */
	bool runs;	 /* its own function runs: it waits for that */
	bool stopped;	 /* it was asked to stop while listed */
};

struct slot {
	struct slot *next, *prev; /* gathered; prev NULL: not */
	exs_batch_item *item;	  /* of its batch, while it has no outcome */
	struct exsi_shared_arg arg;
	exs_result outcome; /* for a canceller's hook, if yielded; or on its way up, with the link */
	bool yielded;
	exs_link link;
};

/* Freed as the argument of its call: when no attempt, left behind or not, can read it any more. Keeps x. */
struct batch {
	struct batch *next, *prev;
	struct batcher *b;
	exs_future *call; /* while it is on its way */
	bool over;	  /* it has come back */
	bool list_used;
	size_t n, wanted; /* items; of these, without outcome and not asked to stop */
	exs_batch_item *items, **list;
};

/* lock guards all that follows it, the slots and the batches. Something is gathered only while the ticker is on, if it ticks. */
struct batcher {
	exs_executor *x, *relay;
	exs_start_many_fn *start_many;
	void *ctx;
	exs_batch_options options; /* constant */
	uint64_t ns;
	pthread_mutex_t lock;
	struct exsi_ticker ticker;
	struct slot gathered; /* sentinel */
	size_t n;
	struct batch batches; /* sentinel */
};

/* --- items, under the lock --- */

static void gather(struct batcher *b, struct slot *s)
{
	s->next = &b->gathered;
	s->prev = b->gathered.prev;
	s->prev->next = b->gathered.prev = s;
	b->n++;
}

static void ungather(struct batcher *b, struct slot *s)
{
	s->prev->next = s->next;
	s->next->prev = s->prev;
	s->prev = NULL;
	b->n--;
}

/* The call leaves its batch, out of the hands of so many start_manys (1: a yield). Others, left behind, may still read its argument:
   that is then freed with the batch, and what the call keeps is kept so long. */
static exs_future *part(exs_batch_item *item, unsigned hands)
{
	exs_future *f = item->call;
	struct slot *s = exsi_slot(f, item->batch->b->x);

	s->item = NULL;
	item->call = NULL;
	item->batch->wanted -= !item->stopped;
	if (item->listed > hands) {
		exs_future *root = exsi_root(f);
		exsi_keep(item->top = exsi_top(root));
		item->scope = exsi_scope(root);
		if (item->scope)
			exsi_scope_enter(item->scope);
		return f;
	}
	exsi_arg_drop(item->arg); /* not the last user: that is the call */
	item->arg = NULL;
	return f;
}

/* Without the lock, with the token. Let go, not resumed: a retry above may start it again, inline, a million times. */
static void send_up(exs_executor *x, exs_future *f, exs_result r)
{
	struct slot *s = exsi_slot(f, x);

	s->outcome = r;
	exs_call_release(f, x, EXS_UP, &s->outcome, &s->link);
}

/* The batch's call, held, if nobody waits for anything of it. */
static exs_future *unwanted(struct batch *batch)
{
	if (batch->wanted || !batch->call)
		return NULL;
	exsi_hold(batch->call);
	return batch->call;
}

static void cancel_unwanted(exs_future *call, exs_cause cause)
{
	if (!call)
		return;
	exsi_cancel(call, EXSI_STOP_ALL, cause);
	exsi_drop(call);
}

/* --- what start_many may do --- */

void *exs_batch_arg(exs_batch_item *item)
{
	return item->arg ? item->arg->arg : NULL;
}

const char *exs_batch_name(exs_batch_item *item)
{
	return item->name;
}

bool exs_batch_stop_requested(exs_batch_item *item)
{
	struct batcher *b = item->batch->b;

	pthread_mutex_lock(&b->lock);
	bool stopped = item->stopped;
	pthread_mutex_unlock(&b->lock);
	return stopped;
}

static bool is_open(const exs_batch_item *item)
{
	return item->call && item->listed;
}

/* ran: by its own function, which has ended. */
static bool yield(exs_batch_item *item, exs_result r, bool ran)
{
	struct batcher *b = item->batch->b;
	exs_executor *x = b->x;
	exs_future *f = NULL;

	pthread_mutex_lock(&b->lock);
	bool taken = is_open(item) && item->runs == ran, mine = taken && exs_call_claim(item->call);
	if (ran)
		item->runs = false;
	if (taken)
		f = part(item, 1);
	if (taken && !mine) { /* a canceller's hook waits for the lock */
		struct slot *s = exsi_slot(f, x);
		s->yielded = true;
		s->outcome = r;
	}
	pthread_mutex_unlock(&b->lock);
	if (mine)
		send_up(x, f, r);
	else if (!taken)
		exs_result_clear(&r);
	return taken;
}

bool exs_batch_yield_result(exs_batch_item *item, void *value, exs_free_fn *destroy)
{
	return yield(item, exs_ok(value, destroy), false);
}

bool exs_batch_yield_error(exs_batch_item *item, exs_error *error)
{
	return yield(item, exs_fail(error ? error : exsi_error(EXS_EINVAL)), false);
}

bool exs_batch_run(exs_batch_item *item)
{
	struct batcher *b = item->batch->b;
	exs_result r = exs_cancelled();

	pthread_mutex_lock(&b->lock);
	bool open = is_open(item) && !item->runs, stopped = item->stopped;
	exs_future *f = item->call; /* stays while it runs */
	item->runs = item->runs || (open && !stopped);
	pthread_mutex_unlock(&b->lock);
	if (!open)
		return false;
	if (!stopped)
		exs_call_run(f, &r);
	return yield(item, r, !stopped);
}

/* --- the batch's call --- */

static struct batch *batch_new(struct batcher *b, size_t room)
{
	size_t each = sizeof(exs_batch_item) + sizeof(exs_batch_item *);
	struct batch *batch =
		room > (SIZE_MAX - sizeof(*batch)) / each ? NULL : exsi_alloc(sizeof(*batch) + room * each);

	if (!batch)
		return NULL;
	*batch = (struct batch){.next = batch, .prev = batch, .b = b};
	batch->items = (exs_batch_item *)(void *)(batch + 1);
	batch->list = (exs_batch_item **)(void *)(batch->items + room);
	exsi_keep(b->x);
	return batch;
}

static void batch_free(void *arg)
{
	struct batch *batch = arg;
	struct batcher *b = batch->b;
	exs_executor *x = b->x;

	pthread_mutex_lock(&b->lock);
	batch->prev->next = batch->next;
	batch->next->prev = batch->prev;
	for (size_t i = 0; i < batch->n; i++)
		if (batch->items[i].call)
			part(&batch->items[i], 0); /* a canceller's hook will send it up */
	pthread_mutex_unlock(&b->lock);
	for (size_t i = 0; i < batch->n; i++) {
		if (!batch->items[i].top)
			continue;
		exsi_arg_drop(batch->items[i].arg);
		exsi_unkeep(batch->items[i].top);
		if (batch->items[i].scope)
			exsi_scope_leave(batch->items[i].scope);
	}
	exsi_free(batch);
	exsi_unkeep(x);
}

static exs_error *without_result(void)
{
	return exs_error_new(&exs_domain_exs, EXS_EINVAL, "batch: start_many left the call without a result");
}

/* For one call that is left. A value, whoever made it one, is none. */
static exs_result outcome_of(const exs_result *r)
{
	if (r->kind == EXS_KIND_CANCELLED)
		return exs_cancelled();
	return exs_fail(r->kind == EXS_KIND_ERROR ? exs_error_ref(r->error) : without_result());
}

/* The batch's outcome is that of those left. Those whose own function runs are not left: they get theirs. */
static void settle(struct batch *batch, const exs_result *r, exs_cause cause)
{
	struct batcher *b = batch->b;

	for (size_t i = 0; i < batch->n; i++) {
		exs_batch_item *item = &batch->items[i];
		exs_future *f = NULL;
		pthread_mutex_lock(&b->lock);
		if (item->call && !item->runs && exs_call_claim(item->call))
			f = part(item, 0);
		pthread_mutex_unlock(&b->lock);
		if (!f)
			continue;
		if (r->kind == EXS_KIND_CANCELLED)
			exsi_note_cause(f, cause);
		send_up(b->x, f, outcome_of(r));
	}
}

static exs_step relay_start(exs_executor *relay, exs_future *f, void *slot, exs_result *r)
{
	struct batch *batch = exs_call_arg(f);

	(void)relay, (void)slot;
	pthread_mutex_lock(&batch->b->lock);
	bool wanted = batch->wanted;
	batch->call = wanted ? f : NULL;
	pthread_mutex_unlock(&batch->b->lock);
	*r = exs_cancelled();
	return wanted ? EXS_DOWN : EXS_UP;
}

static exs_step relay_done(exs_executor *relay, exs_future *f, void *slot, exs_result *r)
{
	struct batch *batch = exs_call_arg(f);

	(void)relay, (void)slot;
	pthread_mutex_lock(&batch->b->lock);
	batch->call = NULL;
	batch->over = true; /* from now on no item stays parked, but those whose own function runs */
	pthread_mutex_unlock(&batch->b->lock);
	settle(batch, r, exs_future_cause(f));
	return EXS_UP;
}

static exs_future *no_parent(exs_executor *relay, exs_future *f)
{
	(void)relay, (void)f;
	return NULL;
}

static const exs_layer_ops relay_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "relay",
	.start = relay_start,
	.done = relay_done,
	.cancel = exs_pass_cancel,
};

/* --- its function --- */

/* Those without an outcome that no canceller has. NULL: no memory. */
static exs_batch_item **list_items(struct batch *batch, size_t *n)
{
	pthread_mutex_lock(&batch->b->lock);
	exs_batch_item **list = batch->list_used ? NULL : batch->list;
	batch->list_used = true;
	pthread_mutex_unlock(&batch->b->lock);
	if (!list)
		list = exsi_alloc_array(batch->n, sizeof(*list));
	if (!list)
		return NULL;
	pthread_mutex_lock(&batch->b->lock);
	for (size_t i = *n = 0; i < batch->n; i++) {
		exs_batch_item *item = &batch->items[i];
		if (!item->call || !exsi_call_set_running(item->call))
			continue;
		item->listed++;
		list[(*n)++] = item;
	}
	pthread_mutex_unlock(&batch->b->lock);
	return list;
}

/* Answers how many are left for the outcome of the batch, or a further attempt; not those that were asked to stop. */
static size_t unlist_items(struct batch *batch, exs_batch_item **list, size_t n, exs_error *error)
{
	struct batcher *b = batch->b;
	size_t left = 0;

	for (size_t i = 0; i < n; i++) {
		exs_batch_item *item = list[i];
		exs_future *f = NULL;
		pthread_mutex_lock(&b->lock);
		bool open = is_open(item) && !item->runs;
		if (--item->listed == 0 && open) {
			atomic_fetch_and(&item->call->state, ~EXSI_RUNNING);
			if (item->stopped && exs_call_claim(item->call))
				f = part(item, 0);
		}
		left += open && !item->stopped;
		pthread_mutex_unlock(&b->lock);
		if (f)
			send_up(b->x, f, error ? exs_fail(exs_error_ref(error)) : exs_cancelled());
	}
	return left;
}

static exs_result batch_run(void *arg, exs_context *context)
{
	struct batch *batch = arg;
	struct batcher *b = batch->b;
	size_t n;
	exs_batch_item **list = list_items(batch, &n);

	if (!list)
		return exs_fail(exsi_error(EXS_ENOMEM));
	exs_error *error = n ? b->start_many(b->ctx, list, n, context) : NULL;
	size_t left = unlist_items(batch, list, n, error);
	pthread_mutex_lock(&b->lock);
	batch->list_used = batch->list_used && list != batch->list;
	pthread_mutex_unlock(&b->lock);
	if (list != batch->list)
		exsi_free(list);
	if (left)
		return exs_fail(error ? error : without_result());
	exs_error_unref(error);
	return exs_ok(NULL, NULL);
}

/* --- gathering --- */

/* No memory for a batch of so many. */
static void fail_gathered(struct batcher *b, size_t n)
{
	for (; n; n--) {
		pthread_mutex_lock(&b->lock);
		struct slot *s = b->n ? b->gathered.next : NULL;
		exs_future *f = s ? exsi_slot_call(s, b->x) : NULL;
		if (s)
			ungather(b, s);
		if (f && !exs_call_claim(f))
			f = NULL; /* its canceller waits for the lock */
		bool idle = exsi_ticker_is_idle(&b->ticker);
		pthread_mutex_unlock(&b->lock);
		if (f)
			send_up(b->x, f, exs_fail(exsi_error(EXS_ENOMEM)));
		if (idle)
			exsi_ticker_rest(&b->ticker);
	}
}

/* The oldest, up to so many. */
static void fill(struct batch *batch, size_t room)
{
	struct batcher *b = batch->b;

	pthread_mutex_lock(&b->lock);
	while (b->n && batch->n < room) {
		struct slot *s = b->gathered.next;
		exs_future *f = exsi_slot_call(s, b->x);
		exs_batch_item *item = &batch->items[batch->n++];
		ungather(b, s);
		*item = (exs_batch_item){.batch = batch, .call = f, .arg = f->arg, .name = exs_call_name(f)};
		atomic_fetch_add(&item->arg->users, 1);
		s->item = item;
	}
	batch->wanted = batch->n;
	batch->next = &b->batches;
	batch->prev = b->batches.prev;
	batch->prev->next = b->batches.prev = batch;
	bool idle = exsi_ticker_is_idle(&b->ticker);
	pthread_mutex_unlock(&b->lock);
	if (idle)
		exsi_ticker_rest(&b->ticker);
}

/* Starts a batch of up to n, as far as there are so many. Something keeps x. */
static void start_batch(struct batcher *b, size_t n, exs_entry entry)
{
	struct batch *batch = batch_new(b, n);

	if (!batch) {
		fail_gathered(b, n);
		return;
	}
	fill(batch, n);
	exs_task task = {.fn = batch_run, .arg = batch, .arg_free = batch_free};
	exs_future *f = batch->n ? exsi_submit_relayed(b->relay, &task, entry, NULL, NULL) : NULL;
	if (!f) {
		exs_result r = exs_fail(exsi_error(EXS_ENOMEM));
		settle(batch, &r, EXS_CAUSE_NONE);
		batch_free(batch);
	}
	exs_future_unref(f);
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void flush(exs_executor *x)
{
	struct batcher *b = exsi_state(x);

	pthread_mutex_lock(&b->lock);
	size_t n = b->n;
	pthread_mutex_unlock(&b->lock);
	for (size_t k; n; n -= k)
		start_batch(b, k = least(n, b->options.max), EXS_ENTRY_RESTART);
}

static bool waits(exs_executor *x)
{
	struct batcher *b = exsi_state(x);

	return b->n;
}

static bool is_batch(const exs_executor *x);

void exs_batch_flush(exs_executor *x)
{
	for (; x; x = x->inner)
		if (is_batch(x))
			flush(x);
}

/* --- hooks --- */

/* A layer below sees to an option of the call that only layers above the batch can. */
static bool is_out_of_reach(const exs_executor *x, exs_future *f)
{
	struct exsi_extra *extra = exsi_extra(exsi_root(f));

	if (!extra || (extra->timeout == 0 && !extra->retry))
		return false;
	for (x = x->inner; x; x = x->inner)
		if ((extra->timeout != 0 && exsi_is_outermost(x, f, EXS_OPTION_TIMEOUT)) ||
		    (extra->retry && exsi_is_outermost(x, f, EXS_OPTION_RETRY)))
			return true;
	return false;
}

static bool drains(const exs_executor *x, exs_future *f)
{
	return atomic_load(&x->closing) == EXS_DRAIN || atomic_load(&exsi_top(f)->closing) == EXS_DRAIN;
}

static exs_step batch_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct batcher *b = exsi_state(x);
	struct slot *s = slot;
	exs_entry entry = exs_call_entry(f);

	if (is_out_of_reach(x, f)) {
		*r = exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL,
					    "batch: a timeout or retry of one call needs its layer above the batch"));
		return EXS_UP;
	}
	if (!exsi_arg_is_shared(f)) /* the first attempt, and f no child */
		exsi_arg_share(f, &s->arg);
	pthread_mutex_lock(&b->lock);
	while (b->ticker.x && !b->n && !b->ticker.on)
		exsi_ticker_start(&b->ticker);
	s->item = NULL;
	s->prev = NULL;
	s->yielded = false;
	bool parked = exs_call_park(f, x);
	if (parked)
		gather(b, s);
	bool full = parked && (b->n % b->options.max == 0 || b->ns == 0 || drains(x, f));
	bool idle = exsi_ticker_is_idle(&b->ticker);
	size_t n = least(b->n, b->options.max);
	if (full)
		exsi_keep(x); /* the call may go, and all with it */
	pthread_mutex_unlock(&b->lock);
	if (full) {
		start_batch(b, n, entry);
		exsi_unkeep(x);
	}
	if (parked)
		return EXS_HELD;
	if (idle)
		exsi_ticker_rest(&b->ticker);
	*r = exs_cancelled();
	return EXS_UP;
}

/* A call that start_many has stays with it, parked: it will have an outcome. */
static exs_step batch_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct batcher *b = exsi_state(x);
	struct slot *s = slot;
	exs_future *call = NULL;
	exs_step step = EXS_UP;

	pthread_mutex_lock(&b->lock);
	exs_batch_item *item = s->item;
	if (s->prev)
		ungather(b, s);
	if (item && item->listed && (item->runs || !item->batch->over)) {
		item->batch->wanted -= !item->stopped;
		item->stopped = true;
		call = unwanted(item->batch);
		exsi_call_park_running(f, x);
		step = EXS_HELD;
	} else if (item) {
		part(item, 0);
		call = unwanted(item->batch);
	} else if (s->yielded) {
		*r = s->outcome;
	}
	bool idle = step == EXS_UP && exsi_ticker_is_idle(&b->ticker);
	pthread_mutex_unlock(&b->lock);
	cancel_unwanted(call, cause);
	if (idle)
		exsi_ticker_rest(&b->ticker);
	return step;
}

static void batch_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct batcher *b = exsi_state(x);

	pthread_mutex_lock(&b->lock);
	for (struct batch *batch = b->batches.next; batch != &b->batches; batch = batch->next)
		for (size_t i = 0; i < batch->n; i++)
			if (batch->items[i].call)
				visit(batch->items[i].call, arg);
	for (struct slot *s = b->gathered.next; s != &b->gathered; s = s->next)
		visit(exsi_slot_call(s, x), arg);
	pthread_mutex_unlock(&b->lock);
}

/* Of a borrower too. Other modes cancel what is gathered. */
static void batch_closing(exs_executor *x)
{
	struct batcher *b = exsi_state(x);
	bool drain = false;

	pthread_mutex_lock(&b->lock);
	for (struct slot *s = b->gathered.next; s != &b->gathered && !drain; s = s->next)
		drain = drains(x, exsi_slot_call(s, x));
	pthread_mutex_unlock(&b->lock);
	if (drain)
		flush(x);
}

static void batch_stop(exs_executor *x)
{
	struct batcher *b = exsi_state(x);

	if (b->ticker.x)
		exsi_ticker_fini(&b->ticker);
	pthread_mutex_destroy(&b->lock);
	if (b->options.ctx_free)
		b->options.ctx_free(b->ctx);
}

static int batch_describe(exs_executor *x, char *buf, size_t size)
{
	struct batcher *b = exsi_state(x);

	if (b->options.max == EXS_UNLIMITED)
		return snprintf(buf, size, "unlimited, %gs", b->options.seconds);
	return snprintf(buf, size, "%u, %gs", b->options.max, b->options.seconds);
}

static void batch_child(exs_executor *x, exs_future *f, void *slot, exs_visit_fn *visit, void *arg)
{
	struct batcher *b = exsi_state(x);
	struct slot *s = slot;

	(void)f;
	pthread_mutex_lock(&b->lock);
	if (s->item && s->item->batch->call)
		visit(s->item->batch->call, arg);
	pthread_mutex_unlock(&b->lock);
}

static const exs_layer_ops batch_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "batch",
	.start = batch_start,
	.done = exs_pass_done,
	.cancel = batch_cancel,
	.each = batch_each,
	.closing = batch_closing,
	.stop = batch_stop,
	.describe = batch_describe,
	.child = batch_child,
};

static bool is_batch(const exs_executor *x)
{
	return x->ops.start == batch_start;
}

/* --- made --- */

static const char *check(exs_start_many_fn *start_many, exs_batch_options *o)
{
	uint64_t ns;

	if (!start_many)
		return "start_many is NULL";
	if (o->max == EXS_NONE || o->max > EXS_UNLIMITED)
		return "max: at least 1, or EXS_UNLIMITED; 0 is 100";
	if (!exsi_duration(o->seconds, &ns))
		return "seconds: 0 or more";
	o->max = o->max ? o->max : 100;
	o->seconds = exsi_option_seconds(o->seconds, 0.01);
	return NULL;
}

static exs_executor *give_up(exs_executor *ex, void *ctx, const exs_batch_options *o)
{
	exs_executor_free(ex);
	if (o->ctx_free)
		o->ctx_free(ctx);
	return NULL;
}

exs_executor *exs_with_batch_sized(exs_executor *ex, exs_start_many_fn *start_many, void *ctx,
				   const exs_batch_options *options, size_t size)
{
	exs_batch_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);
	const char *wrong = known ? check(start_many, &o) : "options that this library does not know";

	if (ex && wrong)
		exsi_fail(EXS_EINVAL, "exs_with_batch: %s", wrong);
	if (!ex || wrong)
		return give_up(ex, ctx, &o);
	exs_executor *relay = exs_layer_new(&relay_ops, ex, 0, 0);
	exs_executor *x = relay ? exs_layer_new(&batch_ops, relay, sizeof(struct batcher), sizeof(struct slot)) : NULL;
	if (!x)
		return give_up(NULL, ctx, &o);
	relay->parent = no_parent;
	exsi_layer_new_block(x, false);
	x->marks_running = true;
	struct batcher *b = exsi_state(x);
	*b = (struct batcher){.x = x, .relay = relay, .start_many = start_many, .ctx = ctx, .options = o};
	pthread_mutex_init(&b->lock, NULL);
	b->gathered.next = b->gathered.prev = &b->gathered;
	b->batches.next = b->batches.prev = &b->batches;
	exsi_duration(o.seconds, &b->ns);
	bool ticks = o.max > 1 && b->ns && b->ns != EXSI_NEVER;
	int rc = ticks ? exsi_ticker_init(&b->ticker, x, &b->lock, b->ns, waits, flush) : 0;
	if (!rc)
		return x;
	b->ticker.x = NULL;
	exs_executor_free(x); /* frees ctx as well */
	return exsi_fail_errno(rc, "batch: no timer thread");
}
