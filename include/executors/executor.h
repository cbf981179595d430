/* Executors: submit a task, get a future; describe, shut down, free. */
#ifndef EXECUTORS_EXECUTOR_H
#define EXECUTORS_EXECUTOR_H

#include <executors/future.h>
#include <executors/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Submits fn(arg). Answers the future (one reference, the caller's); NULL only when memory is short. Whatever else is wrong
   (shut down, full, no such layer, forked child) is the future's error. May block while a bounded queue is full, may run
   the task itself (inline). MT-safe. ex NULL: a future with EXS_EINVAL. */
EXS_API exs_future *exs_submit(exs_executor *ex, exs_task_fn *fn, void *arg);

/* The same with options. A timeout or retry for which the chain has no layer is an error EXS_EINVAL. */
EXS_API exs_future *exs_submit_with_sized(exs_executor *ex, const exs_task *task, size_t size);

static inline exs_future *exs_submit_with(exs_executor *ex, const exs_task *task)
{
	return exs_submit_with_sized(ex, task, sizeof(*task));
}

/* The same, but never blocks: where exs_submit would, the future fails with EXS_EREJECTED. */
EXS_API exs_future *exs_try_submit_sized(exs_executor *ex, const exs_task *task, size_t size);

static inline exs_future *exs_try_submit(exs_executor *ex, const exs_task *task)
{
	return exs_try_submit_sized(ex, task, sizeof(*task));
}

/* Submits, waits up to `seconds`, and moves the result out to the caller. When time is up the call is cancelled and the answer
   is EXS_ETIMEDOUT: a task that runs then may still read arg. Answers 0, EXS_ETIMEDOUT, EXS_ENOMEM, EXS_EINVAL (seconds: nothing is
   submitted), EXS_EDEADLK, EXS_EFORK; *result is cancelled with each but 0. */
EXS_API int exs_call(exs_executor *ex, exs_task_fn *fn, void *arg, double seconds, exs_result *result);

typedef enum exs_mode {
	EXS_DRAIN = 1,	       /* everything submitted runs to its end, retries and polls included */
	EXS_CANCEL_QUEUED = 2, /* what no user function runs (queues, backoffs, poll sets) is cancelled */
	EXS_CANCEL_ALL = 3     /* running tasks are asked to stop as well */
} exs_mode;

/* Refuses further submits, and waits up to `seconds` for the calls of this chain to end. When time is up the futures of those
   that are left fail with EXS_ESHUTDOWN and their tasks run on. Answers the number of calls left. Again with the same
   mode it only waits; with a stronger one it does that too. Applies to all layers that ex owns. From a thread of the chain
   (inside a task, callback or hook of it) it does not wait and fails nothing. An invalid argument does nothing, and answers the
   number of calls left (exs_last_error). MT-safe. */
EXS_API size_t exs_shutdown(exs_executor *ex, exs_mode mode, double seconds);

/* EXS_CANCEL_QUEUED without limit, then releases the chain: all layers ex owns. Returns after the last callback and destructor
   of a call's argument. From a thread of the chain it returns at once and the chain is released when its last call has
   ended. With live borrows the executor refuses submits and lives on until the last borrow is freed. NULL is allowed. */
EXS_API void exs_executor_free(exs_executor *ex);

/* A new executor that forwards to ex without owning it, so that several chains share it. NULL and exs_last_error when memory
   is short; NULL in gives NULL out. MT-safe. */
EXS_API exs_executor *exs_borrow(exs_executor *ex);

/* Names an executor, copied (longer than 31 bytes is cut). Layers wrapped around it later inherit the name; it shows in
   thread names (15 bytes), log lines and metrics. Answers ex; to be called before the first submit. NULL in gives NULL out. */
EXS_API exs_executor *exs_with_name(exs_executor *ex, const char *name);
EXS_API const char *exs_executor_name(exs_executor *ex);

/* Writes "timeout(30s) > poll(5s) > retry(3) > thread_pool(4)" into buf (size bytes, terminated if size > 0; NULL: nothing is
   written). Answers the length it needs, without the terminator. */
EXS_API size_t exs_describe(exs_executor *ex, char *buf, size_t size);

/* Calls submitted through ex itself and not yet ended. MT-safe. */
EXS_API size_t exs_executor_pending(exs_executor *ex);

#ifdef __cplusplus
}
#endif
#endif
