/* Batch: gathers calls, and starts many by one call of the delegate. */
#include "decorators/batch.h"
#include "base/memory.h"

#include <stdio.h>

static exs_step batch_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct exsi_batcher *b = exsi_state(x);
	struct exsi_batch_slot *s = slot;
	exs_entry entry = exs_call_entry(f);

	pthread_mutex_lock(&b->hand.lock);
	while (b->ticker.x && !b->gathered.n && !b->ticker.on)
		exsi_ticker_start(&b->ticker);
	s->held = (struct exsi_held){.in = NULL};
	s->runs = s->stopped = false; /* but arg may be in use, of an attempt before this */
	bool parked = exs_call_park(f, x);
	if (parked)
		exsi_calls_append(&b->gathered, &s->held);
	bool full = parked && (b->gathered.n % b->options.max == 0 || b->ns == 0 || exsi_batch_drains(x, f));
	if (full)
		exsi_keep(x); /* the call may go, and all with it */
	exsi_ticker_unlock(&b->ticker);
	if (full) {
		exsi_batch_begin(b, entry);
		exsi_unkeep(x);
	}
	*r = exs_cancelled();
	return parked ? EXS_HELD : EXS_UP;
}

/* A call that start_many has stays with it, parked: it will have an outcome. A batch of which nobody waits for anything goes. */
static exs_step batch_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct exsi_batcher *b = exsi_state(x);
	struct exsi_batch_slot *s = slot;
	exs_future *unwanted = NULL;

	pthread_mutex_lock(&b->hand.lock);
	struct exsi_batch *batch = exsi_batch_of(b, &s->held);
	bool stays = s->held.item && !s->held.yielded;
	if (stays)
		exsi_batch_stop(batch, &s->held);
	else
		exsi_batch_leave(x, &s->held);
	if (s->held.yielded)
		*r = s->held.outcome;
	else if (batch && batch->under_way && !batch->wanted)
		exsi_hold(unwanted = exsi_batch_call(batch));
	if (stays) {
		exsi_call_park_running(f, x);
		pthread_mutex_unlock(&b->hand.lock); /* after it the call may be gone, and all with it */
	} else {
		exsi_ticker_unlock(&b->ticker);
	}
	if (unwanted)
		exsi_cancel_next(unwanted, cause);
	return stays ? EXS_HELD : EXS_UP;
}

static void batch_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct exsi_batcher *b = exsi_state(x);

	pthread_mutex_lock(&b->hand.lock);
	for (struct exsi_batch *batch = b->batches.next; batch != &b->batches; batch = batch->next)
		exsi_calls_each(&batch->calls, x, visit, arg);
	exsi_calls_each(&b->gathered, x, visit, arg);
	pthread_mutex_unlock(&b->hand.lock);
}

static void batch_stop(exs_executor *x)
{
	struct exsi_batcher *b = exsi_state(x);

	exsi_hand_fini(&b->hand);
}

static int batch_describe(exs_executor *x, char *buf, size_t size)
{
	struct exsi_batcher *b = exsi_state(x);
	char seconds[32];

	snprintf(seconds, sizeof(seconds), ", %gs", b->options.seconds);
	return exsi_describe_count(buf, size, b->options.max, seconds);
}

static const exs_layer_ops batch_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "batch",
	.start = batch_start,
	.done = exs_pass_done,
	.cancel = batch_cancel,
	.each = batch_each,
	.closing = exsi_batch_closing,
	.stop = batch_stop,
	.describe = batch_describe,
	.child = exsi_batch_child,
};

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

exs_executor *exs_with_batch_sized(exs_executor *ex, exs_start_many_fn *start_many, void *ctx,
				   const exs_batch_options *options, size_t size)
{
	exs_batch_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);
	const char *wrong = check(start_many, &o);

	ex = exsi_checked(ex, "exs_with_batch", known, wrong);
	exs_executor *x = exsi_batch_new(ex, &batch_ops);
	if (!exsi_own(x, ctx, o.ctx_free))
		return NULL;
	struct exsi_batcher *b = exsi_state(x);
	b->start_many = start_many;
	b->ctx = ctx;
	b->options = o;
	return exsi_batch_ticker_init(b);
}
