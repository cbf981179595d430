/* A future that is done on a thread of an executor: a call carries the outcome there. */
#include "base/memory.h"
#include "executor/link.h"

#include <executors/functions.h>

/* Parked, at first, until the input is done; then, again, until the carrier's function runs, or never will. Who has the token owns the
   reference of the carrier. */
struct via {
	struct exsi_link link; /* first */
	exs_executor *ex;
	exs_future *carrier;	  /* NULL: the input is not done; written under the lock of the nodes */
	struct exsi_node carried; /* in the list of the carrier; has the reference of the link's node then */
};

static struct via *of(exs_future *f)
{
	return (struct via *)(void *)f;
}

/* --- carried --- */

/* With the token; it is done. */
static void let_carrier_go(struct via *v)
{
	exsi_look_over(&v->link.future);
	exs_future_unref(v->carrier);
	exsi_drop(&v->link.future);
}

static void deliver(struct via *v)
{
	exsi_link_pass(&v->link);
	let_carrier_go(v);
}

/* The carrier's function. It succeeds, whatever the outcome: that is none of the executor's. */
static exs_result carry(void *via, exs_context *ctx)
{
	struct via *v = via;

	(void)ctx;
	if (exsi_link_claim(&v->link))
		deliver(v);
	return exs_ok(NULL, NULL);
}

static void carrier_freed(void *via)
{
	exsi_drop(via);
}

/* The carrier is done, perhaps without having run: refused, or cancelled. */
static void carried(exs_future *none, struct exsi_node *node)
{
	struct via *v = EXSI_CONTAINER_OF(node, struct via, carried);
	exs_future *f = &v->link.future;

	(void)none;
	if (exsi_link_claim(&v->link)) {
		exs_result r = exs_future_result(v->carrier);
		if (r.kind == EXS_KIND_VALUE) { /* some layer had another idea */
			deliver(v);
		} else {
			if (r.kind == EXS_KIND_ERROR)
				exs_error_ref(r.error);
			else
				exsi_note_cause(f, exs_future_cause(v->carrier));
			exsi_hold(f);
			exsi_link_leave(&v->link, r, EXS_CAUSE_NONE, false);
			let_carrier_go(v);
		}
	}
	exsi_drop(f);
}

static void carrier_done(exs_future *carrier, struct exsi_node *node)
{
	(void)carrier;
	exsi_defer(node, carried);
}

/* --- the input is done --- */

/* false: a stop was asked for. */
static bool park(exs_future *f)
{
	unsigned s = atomic_load(&f->state);

	do {
		if (exsi_stop(s))
			return false;
	} while (!atomic_compare_exchange_weak(&f->state, &s, s | EXSI_PARKED));
	return true;
}

static void end_cancelled(struct via *v)
{
	exs_future *f = &v->link.future, *carrier = v->carrier;

	exsi_cancel(carrier, EXSI_STOP_ALL, exs_future_cause(f));
	exsi_hold(f);
	exsi_link_leave(&v->link, exs_cancelled(), EXS_CAUSE_NONE, false);
	let_carrier_go(v);
}

/* With the token. The carrier is in its place before it is queued: a worker that waits for f, and is told of what is queued, finds it. */
static void send(struct via *v, exs_future *carrier)
{
	exs_future *f = &v->link.future;
	struct exsi_node *last = exsi_nodes_lock(f);

	v->carrier = carrier;
	exsi_nodes_unlock(f, last);
	exsi_hold(f); /* the carrier's, as its argument */
	v->carried = (struct exsi_node){.fn = carrier_done, .kind = EXSI_CONTINUATION};
	exsi_node_add(carrier, &v->carried);
	if (!park(f))
		end_cancelled(v);
	exsi_enter_call(carrier);
}

static void input_is_done(exs_future *none, struct exsi_node *node)
{
	struct via *v = EXSI_CONTAINER_OF(node, struct via, link.node);

	(void)none;
	if (!exsi_link_claim(&v->link)) {
		exsi_drop(&v->link.future);
		return;
	}
	exs_future *carrier = exsi_new_call(v->ex, &(exs_task){.fn = carry, .arg = v, .arg_free = carrier_freed});
	if (carrier) {
		send(v, carrier);
		return;
	}
	exsi_link_leave(&v->link, exs_fail(exsi_error(EXS_ENOMEM)), EXS_CAUSE_NONE, false);
	exsi_drop(&v->link.future);
}

static void input_done(exs_future *input, struct exsi_node *node)
{
	(void)input;
	exsi_defer(node, input_is_done);
}

/* --- hooks --- */

static void via_cancel(exs_future *f, exs_cause cause)
{
	struct via *v = of(f);
	exs_future *carrier = v->carrier;

	if (!carrier) {
		exsi_link_leave(&v->link, exs_cancelled(), cause, true);
		return;
	}
	exsi_hold(carrier);
	exsi_hold(f);
	exsi_link_leave(&v->link, exs_cancelled(), cause, true);
	let_carrier_go(v);
	exsi_cancel_next(carrier, cause);
}

static void via_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	for (size_t i = 0; i < n; i++)
		via_cancel(futures[i], cause);
}

/* What there is to be run for it: first its input, then the carrier. */
static exs_future *via_input(exs_future *f, size_t *cursor)
{
	struct exsi_node *last = exsi_nodes_lock(f);
	exs_future *work = NULL;

	*cursor = SIZE_MAX;
	if (!exs_future_is_done(f)) {
		work = of(f)->carrier ? of(f)->carrier : of(f)->link.input;
		exsi_hold(work);
	}
	exsi_nodes_unlock(f, last);
	return work;
}

static const struct exsi_source vias = {
	.cancel = via_cancel,
	.cancel_many = via_cancel_many,
	.input = via_input,
	.what = "via",
};

/* --- made --- */

exs_future *exs_future_via(exs_future *future, exs_executor *ex)
{
	struct via *v = future && ex ? exsi_alloc(sizeof(*v)) : NULL;

	if (!v) {
		exs_future_unref(future);
		if (future && ex)
			return exsi_fail_null(EXS_ENOMEM, "exs_future_via: out of memory");
		return exsi_failed("exs_future_via: %s is NULL", future ? "executor" : "future");
	}
	exsi_link_init(&v->link, &vias, future);
	v->ex = ex;
	v->carrier = NULL;
	exs_future *f = &v->link.future;
	exsi_link_follow(&v->link, input_done);
	return f;
}
