/* What the parts of batch share. */
#ifndef EXSI_DECORATORS_BATCH_H
#define EXSI_DECORATORS_BATCH_H

#include "executor/hand.h"
#include "executor/ticker.h"

#include <executors/batch.h>

/* Two executors: x, where the calls are parked from their submit to their outcome, first in `gathered`, then in their batch; and under
   it the relay, the top of the batches' calls. A call is RUNNING too while start_many has it in hand. Who has an outcome for one
   claims it under the lock. If a canceller was faster, its hook, which waits for the lock, sends the call up: with what has been
   yielded, or cancelled. */
struct exsi_batch_slot {
	struct exsi_held held; /* outcome: also on its way up, with the link */
	exs_link link;
	struct exsi_shared_arg arg; /* where the argument must outlive the call */
	bool runs;		    /* its own function runs: the call stays, and nobody yields, until that ends */
	bool stopped;		    /* asked to stop while in hand */
};

struct exs_batch_item {
	struct exsi_item item;
	void *arg;
	const char *name;
	bool stopped;
	/* Where the call went without a yield: its argument, and what that needs, to the end of start_many; otherwise NULL. */
	struct exsi_shared_arg *kept;
	exs_executor *top;
	struct exs_scope *scope; /* or NULL */
};

/* In the relay's slot of the batch's call, whose argument it is: it lasts until no attempt, left behind or not, can read it. Keeps x. */
struct exsi_batch {
	struct exsi_batch *next, *prev;
	struct exsi_batcher *b;
	struct exsi_calls calls; /* those that have not left */
	size_t wanted;		 /* of these, not asked to stop */
	bool under_way;		 /* its call has gone down and has not come back */
};

/* hand.lock guards all that follows it, the slots and the batches. Something is gathered only while the ticker is on, if it ticks. */
struct exsi_batcher {
	exs_executor *relay;
	exs_start_many_fn *start_many;
	void *ctx;
	exs_batch_options options; /* constant */
	uint64_t ns;
	struct exsi_hand hand;
	struct exsi_ticker ticker;
	struct exsi_calls gathered;
	struct exsi_batch batches; /* sentinel */
};

static inline struct exsi_batch_slot *exsi_batch_slot(struct exsi_held *held)
{
	return (struct exsi_batch_slot *)(void *)held; /* its first member */
}

static inline exs_future *exsi_batch_call(struct exsi_batch *batch)
{
	return exsi_slot_call(batch, batch->b->relay);
}

/* Under the lock: the batch that the call is in, or NULL: it is gathered, or the batch is over. */
static inline struct exsi_batch *exsi_batch_of(struct exsi_batcher *b, struct exsi_held *held)
{
	bool none = !held->in || held->in == &b->gathered;

	return none ? NULL : EXSI_CONTAINER_OF(held->in, struct exsi_batch, calls);
}

/* --- batch_gather.c --- */

/* Without the lock; something keeps x. Starts a batch of what is gathered, as far as there is something, up to its size; or as many
   as it takes for all. */
void exsi_batch_begin(struct exsi_batcher *b, exs_entry entry);
void exsi_batch_flush(exs_executor *x);

/* As exsi_ticker_init. ticker.x stays NULL if it does not tick. */
exs_executor *exsi_batch_ticker_init(struct exsi_batcher *b);

/* Of a call of a borrower too: it is not to be gathered for long. The hook starts such; other modes cancel what is gathered. */
bool exsi_batch_drains(const exs_executor *x, exs_future *f);
void exsi_batch_closing(exs_executor *x);

/* --- batch_run.c --- */

/* x and the relay around ex, which they take over, also on failure; of the state, all that is not a matter of options. */
exs_executor *exsi_batch_new(exs_executor *ex, const exs_layer_ops *ops);

/* The function of a batch's call, and the end of its argument. */
exs_result exsi_batch_run(void *batch, exs_context *context);
void exsi_batch_free(void *batch);

/* The hook. */
void exsi_batch_child(exs_executor *x, exs_future *f, void *slot, exs_visit_fn *visit, void *arg);

/* Under the lock: one that is in hand is asked to stop; or the call leaves what it is in. */
void exsi_batch_stop(struct exsi_batch *batch, struct exsi_held *held);
void exsi_batch_leave(exs_executor *x, struct exsi_held *held);

/* Without the lock, with their tokens: calls that have left, linked by next, go up with this error, or (NULL) cancelled. */
void exsi_batch_send(exs_executor *x, struct exsi_held *first, exs_error *error, exs_cause cause);

/* --- batch_item.c --- */

/* The items of one start_many. */
struct exsi_batch_items {
	size_t n;
	exs_batch_item *items, **list;
};

/* Into the hand of start_many: the calls of the batch that have no outcome. false: no memory. */
bool exsi_batch_give(struct exsi_batch *batch, struct exsi_batch_items *items);

/* After start_many: out of its hand. Those that were asked to stop end now, with the error or (NULL) cancelled. Answers how many
   others are left for the outcome of the batch, or another attempt. */
size_t exsi_batch_take_back(struct exsi_batcher *b, struct exsi_batch_items *items, exs_error *error);

/* Under the lock: a call leaves the hand of a start_many that goes on, and may read its argument. */
void exsi_batch_tear(exs_executor *x, struct exsi_held *held);

#endif
