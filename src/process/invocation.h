/* Invocations inside: named functions with their inputs, as they travel. */
#ifndef EXSI_PROCESS_INVOCATION_H
#define EXSI_PROCESS_INVOCATION_H

#include "base/sync.h"
#include "process/frame.h"

#include <executors/registry.h>

/* head: packed steps: their number (u32), for each the function (text), whether it has an input of its own (u8), and that one's size (u64).
   body: the inputs, one after the other. Constant once made. */
struct exs_invocation {
	atomic_uint refs; /* exs_invocation_free drops one */
	unsigned char *head;
	size_t head_size; /* at most EXSI_INVOCATION_HEAD */
	exs_bytes *body;  /* NULL: none of them has any bytes */
};
enum { EXSI_INVOCATION_HEAD = 16 << 10 };

/* Has it the length of one? (registry.c) */
enum { EXSI_FUNCTION_NAME = 255 };
bool exsi_is_function_name(const char *name);

exs_invocation *exsi_invocation_ref(exs_invocation *invocation);

/* Of one that has arrived: reads the head from r, as it was written by exsi_put_bytes; the body is what is left in r, or else `body`, if it
   is not NULL, which it takes over, also on failure. All is checked: the sizes are those of the body. NULL: *why (static text). */
exs_invocation *exsi_invocation_read(struct exsi_reader *r, exs_bytes *body, const char **why);

/* Runs it here, on this thread. */
exs_result exsi_invocation_run(exs_invocation *invocation, exs_context *ctx);

/* The name of the first function; lives as long as it. */
const char *exsi_invocation_name(const exs_invocation *invocation);

/* With the running task's call (of this process): submits the invocation, of which it takes over a reference, to what the call was
   submitted to: exs_schedule where there is no home. 0 or a code. */
int exsi_schedule_at(exs_future *task, exs_invocation *invocation, const exs_task *options);

#endif
