/* Home: where a task runs for a call elsewhere, as in a worker process, what it says to that call's surroundings goes through here. */
#ifndef EXSI_EXECUTOR_HOME_H
#define EXSI_EXECUTOR_HOME_H

#include "executor/executor.h"

struct exs_invocation;

/* Of the top executor of such tasks (exs_executor.home). On the task's thread, but for send. Answers as exs_send, exs_schedule, exs_emit,
   whose checks of arguments are done. */
struct exsi_home {
	int (*send)(exs_future *task, const void *data, size_t size);
	/* Borrows the invocation. */
	int (*schedule)(exs_future *task, struct exs_invocation *invocation, const exs_task *options);
	/* Takes over the result. */
	int (*emit)(exs_future *task, exs_result result);
};

/* Of the task, or NULL. */
static inline const struct exsi_home *exsi_home(exs_future *task)
{
	return exsi_top(task)->home;
}

/* Hands a message of a task that runs, of which it takes over the bytes, also on failure, to the outermost layer above it that is for messages
   (exs_executor.message); dropped if there is none. 0 or EXS_ENOMEM. Any thread, while the task's call lives. */
int exsi_messages_deliver(exs_future *task, struct exs_bytes *message);

#endif
