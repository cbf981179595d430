/* The inbox of messages, as its layers see it. */
#ifndef EXSI_DECORATORS_MESSAGES_H
#define EXSI_DECORATORS_MESSAGES_H

#include "base/list.h"

#include <executors/messages.h>

/* A call's slot, from its start to its end. */
struct exsi_messages_task {
	struct exsi_list link;
	exs_future *call;
	size_t number;
};

/* From enter to leave the inbox does not end. */
void exsi_messages_enter(exs_messages *inbox, struct exsi_messages_task *task, exs_future *call);
void exsi_messages_leave(exs_messages *inbox, struct exsi_messages_task *task);

/* Takes over the bytes, also on failure. 0 or EXS_ENOMEM. */
int exsi_messages_put(exs_messages *inbox, exs_bytes *bytes);

void exsi_messages_ref(exs_messages *inbox);
void exsi_messages_unref(exs_messages *inbox);

#endif
