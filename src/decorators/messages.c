/* Messages: the tasks below may send to an inbox, which does not end before they have. */
#include "decorators/messages.h"
#include "executor/home.h"

/* --- sent --- */

int exs_send(exs_context *ctx, const void *data, size_t size)
{
	exs_future *task = (exs_future *)(void *)ctx;
	const struct exsi_home *home = task ? exsi_home(task) : NULL;

	if (size && !data)
		return exsi_fail(EXS_EINVAL, "exs_send: data is NULL, its size is not 0");
	if (home)
		return home->send(task, data, size);
	exs_bytes *bytes = task ? exs_bytes_copy(data, size) : NULL;
	if (!bytes)
		return task ? EXS_ENOMEM : EXS_OK;
	return exsi_messages_deliver(task, bytes);
}

/* --- hooks --- */

static exs_messages *inbox_of(exs_executor *x)
{
	return *(exs_messages **)exsi_state(x);
}

static int messages_message(exs_executor *x, exs_bytes *bytes)
{
	return exsi_messages_put(inbox_of(x), bytes);
}

static exs_step messages_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	(void)r;
	exsi_messages_enter(inbox_of(x), slot, f);
	return EXS_DOWN;
}

static exs_step messages_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	(void)f, (void)r;
	exsi_messages_leave(inbox_of(x), slot);
	return EXS_UP;
}

static void messages_stop(exs_executor *x)
{
	exsi_messages_unref(inbox_of(x));
}

static const exs_layer_ops messages_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "messages",
	.start = messages_start,
	.done = messages_done,
	.cancel = exs_pass_cancel,
	.stop = messages_stop,
};

exs_executor *exs_with_messages(exs_executor *ex, exs_messages *inbox)
{
	ex = exsi_checked(ex, "exs_with_messages", true, inbox ? NULL : "inbox is NULL");
	exs_executor *x = exsi_wrap(&messages_ops, ex, sizeof(inbox), sizeof(struct exsi_messages_task));

	if (!x)
		return NULL;
	exsi_messages_ref(inbox);
	*(exs_messages **)exsi_state(x) = inbox;
	x->message = messages_message;
	return x;
}
