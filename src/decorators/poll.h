/* What the parts of poll share. */
#ifndef EXSI_DECORATORS_POLL_H
#define EXSI_DECORATORS_POLL_H

#include "executor/hand.h"
#include "executor/servant.h"

#include <executors/poll.h>

/* A call of this layer. In `pending`: parked, or with a user's canceller at work. In `leaving`: claimed for another cause; the poll
   thread will tell the cancel function and send it up. */
struct exsi_poll_slot {
	struct exsi_held held;
	void *value; /* the delegate's */
	exs_free_fn *destroy;
	uint64_t joined; /* on the chain's clock */
};

struct exs_descriptor {
	struct exsi_item item; /* in hand only in a batch */
	exs_future *call;      /* in a batch it may be gone */
	exs_future *root;      /* in a batch with a reference of the library's: the name lies in its block */
	void *value;
	const char *name;
	exs_free_fn *destroy;	 /* of a value that left the set during the batch: to be destroyed after it */
	struct exs_scope *scope; /* in a batch: the root's, which waits for its end, or NULL: the value may be its */
	bool refused;
};

enum { EXSI_POLL_FEW = 32 };

/* As many descriptors as there is room for. */
struct exsi_descriptors {
	exs_descriptor *d, **list;
	size_t room, n;
	exs_descriptor few_d[EXSI_POLL_FEW], *few_list[EXSI_POLL_FEW];
};

/* hand.lock guards pending and leaving. Only the poll thread touches batch. */
struct exsi_poll {
	struct exsi_hand hand;
	exs_poll_fn *poll_fn;
	exs_cancel_fn *cancel_fn;
	void *ctx;
	exs_poll_options options;    /* constant */
	struct exsi_servant servant; /* due: to poll as soon as something is pending */
	struct exsi_calls pending, leaving;
	struct exsi_descriptors batch; /* n: until those are let go */
};

/* Under the lock: a call leaves. Its value stays, for who has the token to destroy, unless the poll function may be reading it. */
void exsi_poll_leave(exs_executor *x, struct exsi_held *held);

/* n becomes 0, with room for this many, or (false) as many as before. */
void exsi_descriptors_init(struct exsi_descriptors *set);
bool exsi_descriptors_reserve(struct exsi_descriptors *set, size_t n);
void exsi_descriptors_fini(struct exsi_descriptors *set);
exs_descriptor *exsi_descriptors_add(struct exsi_descriptors *set, struct exsi_poll *p, exs_future *call);

/* The poll thread. */
extern const struct exsi_servant_ops exsi_poll_servant;

/* Calls that a canceller has claimed for a cause that can't be refused: to leaving. Then, on the poll thread, from there up. */
void exsi_poll_send_off(struct exsi_poll *p, exs_future **calls, size_t n);
void exsi_poll_see_off(struct exsi_poll *p);

/* Calls that a user cancels: asks the cancel function, and sends up those that are cancelled. */
void exsi_poll_ask(struct exsi_poll *p, exs_future **calls, size_t n);

#endif
