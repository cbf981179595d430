/* Messages: what running tasks say to whoever submitted them, before they end. */
#ifndef EXECUTORS_MESSAGES_H
#define EXECUTORS_MESSAGES_H

#include <executors/bytes.h>
#include <executors/context.h>
#include <executors/set.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One inbox for the messages of the tasks of any number of chains. It ends when it is empty and no task is left, both seen under one lock:
   what a task has sent before it ended is never missed.

     exs_messages *inbox = exs_messages_new();
     ex = exs_with_messages(exs_process_pool(NULL), inbox);
     for (i = 0; i < n; i++) exs_future_unref(exs_submit_function(ex, "work", &i, sizeof(i)));
     while (exs_messages_next(inbox, &message, EXS_FOREVER) == EXS_ITEM) { ...; exs_bytes_free(message); } */
typedef struct exs_messages exs_messages;

/* New inbox; the caller's. NULL and exs_last_error on failure. */
EXS_API exs_messages *exs_messages_new(void);

/* Frees it with what is in it; what is sent from then on is dropped. No thread may be reading it. NULL is allowed. */
EXS_API void exs_messages_free(exs_messages *inbox);

/* New executor around ex, which it takes over, also on failure: calls through it count as tasks of the inbox until they are done, and may send to
   it; so it belongs outside of what starts them again or lets them wait (retry, throttle), and inside an iterator, whose calls are done
   before their tasks. What a task sends that a timeout has left behind below it may come after the end. The inbox is borrowed, and may be freed before. NULL in gives NULL out; NULL and exs_last_error on failure. */
EXS_API exs_executor *exs_with_messages(exs_executor *ex, exs_messages *inbox);

/* The next message, in the order of their arrival (those of one task in the order in which it sent them), waiting up to `seconds`.
   EXS_ITEM: *message, the caller's to free; EXS_EMPTY: there is none, and no task is left that could send one (a later submit begins anew);
   EXS_TIMEOUT; EXS_FAILED: exs_last_error. MT-safe; blocks. */
EXS_API exs_set_status exs_messages_next(exs_messages *inbox, exs_bytes **message, double seconds);

/* In a running task: sends a copy of size bytes of data to the inbox of the outermost exs_with_messages above it. Answers 0, also where
   there is none, and for ctx NULL: it is dropped; EXS_EINVAL (data NULL with a size), EXS_ENOMEM. Any thread of the task's, until the task
   returns; in a worker process what comes after that is dropped, with EXS_ECANCELLED, and the call may block until the pool's thread reads: it
   never waits for whoever reads the inbox. */
EXS_API int exs_send(exs_context *ctx, const void *data, size_t size);

#ifdef __cplusplus
}
#endif
#endif
