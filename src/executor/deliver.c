/* Delivery: a message of a running task finds the layer that it is for. */
#include "executor/home.h"

#include <executors/bytes.h>

static exs_executor *outermost(exs_executor *x)
{
	while (x && !x->message)
		x = x->inner;
	return x;
}

int exsi_messages_deliver(exs_future *task, exs_bytes *message)
{
	exs_executor *layer = NULL;

	for (exs_future *f = task; f; f = exsi_parent(f)) {
		exs_executor *above = outermost(exsi_top(f));
		layer = above ? above : layer;
	}
	if (layer)
		return layer->message(layer, message);
	exs_bytes_free(message);
	return EXS_OK;
}
