/* Links: futures that get the outcome of another, unless something else decides first. */
#ifndef EXSI_EXECUTOR_LINK_H
#define EXSI_EXECUTOR_LINK_H

#include "executor/executor.h"

/* PARKED at depth 0 until somebody takes the token: who passes the outcome on, a canceller, or what decides otherwise. One reference is
   the node's: from the start until its turn has come, or never will. */
struct exsi_link {
	exs_future future;
	exs_future *input; /* one user reference, until it is done; and further, if story says EXSI_KEEPS */
	struct exsi_node node;
};

/* Takes over a reference of the input. */
void exsi_link_init(struct exsi_link *link, const struct exsi_source *source, exs_future *input);

/* Has `fired` called once the input is done, perhaps at once: it is to exsi_defer the node. */
void exsi_link_follow(struct exsi_link *link, void (*fired)(exs_future *input, struct exsi_node *node));

/* Takes the token. false: somebody else has, or had it. */
static inline bool exsi_link_claim(struct exsi_link *link)
{
	return atomic_fetch_and(&link->future.state, ~EXSI_PARKED) & EXSI_PARKED;
}

/* With the token: completes it with the outcome of the input, which is done. Drops no reference of the link. */
void exsi_link_pass(struct exsi_link *link);

/* With the token: completes it with r, and drops the token's reference. If the input is not done, a stop with this cause goes on to it;
   in a cancel hook (next): after the hook. */
void exsi_link_leave(struct exsi_link *link, exs_result r, exs_cause cause, bool next);

#endif
