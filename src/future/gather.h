/* One future made of many: it is decided by one of them, or by the last. */
#ifndef EXSI_FUTURE_GATHER_H
#define EXSI_FUTURE_GATHER_H

#include "future/future.h"

#include <executors/functions.h>

struct exsi_gather;

/* Of one input. Who gets input by an exchange has its reference: who completes it, in the node, or who decides, or cancels; if that then
   removes the node, there is none any more, and the stop lies in its place. */
struct exsi_slot {
	union {
		struct exsi_node node;
		struct exsi_stop stop;
	};
	_Atomic(exs_future *) input;
	struct exsi_gather *all;
};

/* On any thread, of inputs that are done, several at once. Constant. */
struct exsi_rule {
	const char *who;
	bool any; /* an outcome that one expects may decide */
	/* Is the outcome of this one the future's? Not asked any more once it is decided. */
	bool (*decides)(struct exsi_gather *g, exs_future *input);
	/* Or is it collected, as number i? Takes over input. NULL: no. */
	void (*collect)(struct exsi_gather *g, size_t i, exs_future *input);
	/* All are done, and none decided. NULL: the last one does. */
	exs_result (*end)(struct exsi_gather *g);
	/* After the last, gives back what was collected and is still there. May be NULL. */
	void (*free)(struct exsi_gather *g);
};

/* PARKED at depth 0 until it is decided. left: slots whose input is not done, and whose node is not removed; the last takes away
   their one reference. Once it is decided the rest is cancelled, but not before all nodes have been added. */
struct exsi_gather {
	exs_future future;
	exs_future *kept; /* if story says EXSI_KEEPS */
	const struct exsi_rule *rule;
	exs_truth_fn *truth;
	void *ctx;
	exs_free_fn *ctx_free;
	void *collected;
	atomic_uint stage;
	atomic_size_t left;
	size_t n;
	struct exsi_slot slots[];
};

/* false: not all inputs are; their references are dropped, and *failed says which is not: what[index]; or is NULL, out of memory. */
bool exsi_inputs_are_there(const char *who, const char *what, exs_future *const *futures, size_t n,
			   exs_future **failed);

/* n > 0. Takes over a reference of each, and the contexts, also on failure. */
exs_future *exsi_gather(const struct exsi_rule *rule, exs_future *const *futures, size_t n, void *collected,
			exs_truth_fn *truth, void *ctx, exs_free_fn *ctx_free);

#endif
