/* A link of a chain of futures: what waits for its input, and lets it go. */
#include "executor/link.h"

_Static_assert(offsetof(struct exsi_link, input) == sizeof(exs_future), "where release looks for what is kept");

void exsi_link_init(struct exsi_link *link, const struct exsi_source *source, exs_future *input)
{
	exsi_future_init(&link->future, source, EXSI_PARKED);
	atomic_init(&link->future.refs, EXSI_USER_REF + 2 * EXSI_LIB_REF); /* the token's, the node's */
	link->input = input;
}

void exsi_link_follow(struct exsi_link *link, void (*fired)(exs_future *, struct exsi_node *))
{
	exs_future *input = link->input;

	link->node = (struct exsi_node){.fn = fired, .kind = EXSI_CONTINUATION};
	exsi_future_made(&link->future);
	if (!exsi_node_add(input, &link->node))
		fired(input, &link->node);
}

void exsi_link_pass(struct exsi_link *link)
{
	bool shared;
	exs_result r = exsi_outcome(link->input, &shared);

	exsi_settle_from(&link->future, &r, link->input, shared);
}

void exsi_link_leave(struct exsi_link *link, exs_result r, exs_cause cause, bool next)
{
	exs_future *f = &link->future, *input = link->input;
	bool removed = exsi_node_remove(input, &link->node); /* otherwise its turn comes, and finds the token gone */

	if (removed)
		exsi_hold(input);
	exsi_settle(f, &r);
	exsi_look_over(f);
	exs_future_unref(input);
	exsi_drop(f);
	if (!removed)
		return;
	if (next) {
		exsi_cancel_next(input, cause);
	} else {
		exsi_cancel(input, EXSI_STOP_ALL, cause);
		exsi_drop(input);
	}
	exsi_drop(f);
}
