/* Batch: what is gathered is started: when it is full, on time, flushed, at a shutdown. */
#include "decorators/batch.h"

/* The oldest of what is gathered. */
static void fill(void *slot, void *batcher)
{
	struct exsi_batcher *b = batcher;
	struct exsi_batch *batch = slot;

	*batch = (struct exsi_batch){.b = b, .next = &b->batches};
	exsi_batch_call(batch)->arg = batch;
	exsi_keep(b->hand.x);
	pthread_mutex_lock(&b->hand.lock);
	for (struct exsi_held *held; batch->calls.n < b->options.max && (held = b->gathered.first);) {
		exsi_calls_remove(held);
		exsi_calls_append(&batch->calls, held);
	}
	batch->wanted = batch->calls.n;
	batch->prev = b->batches.prev;
	batch->prev->next = b->batches.prev = batch;
	exsi_ticker_unlock(&b->ticker);
}

/* There is no memory for a batch. */
static void fail(struct exsi_batcher *b)
{
	struct exsi_held *held, *up = NULL, **last = &up;

	pthread_mutex_lock(&b->hand.lock);
	for (size_t n = b->options.max; n && (held = b->gathered.first); n--) {
		exsi_batch_leave(b->hand.x, held);
		if (!exs_call_claim(exsi_slot_call(held, b->hand.x)))
			continue; /* its canceller waits for the lock */
		*last = held;
		last = &held->next;
	}
	*last = NULL;
	exsi_ticker_unlock(&b->ticker);
	exsi_batch_send(b->hand.x, up, exsi_error(EXS_ENOMEM), EXS_CAUSE_NONE);
}

void exsi_batch_begin(struct exsi_batcher *b, exs_entry entry)
{
	exs_task task = {.fn = exsi_batch_run, .arg_free = exsi_batch_free};
	exs_future *f = exsi_submit_relayed(b->relay, &task, entry, fill, b);

	if (!f)
		fail(b);
	exs_future_unref(f);
}

void exsi_batch_flush(exs_executor *x)
{
	struct exsi_batcher *b = exsi_state(x);

	pthread_mutex_lock(&b->hand.lock);
	size_t n = b->gathered.n, batches = n / b->options.max + (n % b->options.max > 0);
	pthread_mutex_unlock(&b->hand.lock);
	for (; batches; batches--)
		exsi_batch_begin(b, EXS_ENTRY_RESTART);
}

/* --- on time --- */

static bool waits(exs_executor *x)
{
	struct exsi_batcher *b = exsi_state(x);

	return b->gathered.n;
}

exs_executor *exsi_batch_ticker_init(struct exsi_batcher *b)
{
	exsi_duration(b->options.seconds, &b->ns);
	b->ticker.lock = &b->hand.lock;
	if (b->options.max == 1 || b->ns == 0 || b->ns == EXSI_NEVER)
		return b->hand.x;
	return exsi_ticker_init(&b->ticker, b->hand.x, &b->hand.lock, b->ns, waits, exsi_batch_flush);
}

/* --- at a shutdown --- */

bool exsi_batch_drains(const exs_executor *x, exs_future *f)
{
	return atomic_load(&x->closing) == EXS_DRAIN || atomic_load(&exsi_top(f)->closing) == EXS_DRAIN;
}

void exsi_batch_closing(exs_executor *x)
{
	struct exsi_batcher *b = exsi_state(x);
	bool drain = false;

	pthread_mutex_lock(&b->hand.lock);
	for (struct exsi_held *held = b->gathered.first; held && !drain; held = held->next)
		drain = exsi_batch_drains(x, exsi_slot_call(held, x));
	pthread_mutex_unlock(&b->hand.lock);
	if (drain)
		exsi_batch_flush(x);
}

/* --- flushed --- */

static bool flush_layer(exs_executor *x, bool owned, void *arg)
{
	(void)owned, (void)arg;
	if (x->ops.closing == exsi_batch_closing)
		exsi_batch_flush(x);
	return false;
}

void exs_batch_flush(exs_executor *x)
{
	exsi_walk(x, true, flush_layer, NULL);
}
