/* Registry: functions known by a name, bytes in and bytes out, that run in any executor: in a thread, in a worker process. */
#ifndef EXECUTORS_REGISTRY_H
#define EXECUTORS_REGISTRY_H

#include <executors/bytes.h>
#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A function that can be run elsewhere. input is never NULL (no bytes: its size is 0), and borrowed until it returns. Answers exs_ok_bytes (or exs_ok(NULL, NULL): no bytes), exs_fail
   or exs_cancelled; any other value is an error EXS_EINVAL. ctx is as in a task: it knows of a cancel, the deadline, the attempt and the
   worker's state wherever the function runs; NULL: it was called with no executor at all. In a worker process a cause of a
   cancel, and the options of what called it, are as they are in the parent. */
typedef exs_result exs_registered_fn(const exs_bytes *input, exs_context *ctx);

/* Makes fn known in this process as `name` (1 to 255 bytes; copied), for ever: to be called by the parent and by each worker, so before
   exs_process_main. The same pair again does nothing. Answers 0, EXS_EINVAL (a name that is empty, too long or known as another function;
   NULL), EXS_ENOMEM. MT-safe. */
EXS_API int exs_register(const char *name, exs_registered_fn *fn);

/* The function of that name, or NULL. MT-safe. */
EXS_API exs_registered_fn *exs_registered(const char *name);

/* --- a call of such a function, as the argument of a task --- */

typedef struct exs_invocation exs_invocation;

/* One step of a chain: the function and its input, copied. input NULL and size 0: what the step before answered (the first: no bytes). */
typedef struct exs_invocation_step {
	const char *function;
	const void *input;
	size_t size;
} exs_invocation_step;

/* New invocation of one function with a copy of size bytes of input; with bytes that it takes over, also on failure; or of several
   functions, which run one after the other in one worker, up to the first that fails: its value is that of the last one, its error that of
   the step, with all but its message ("step 2 of 3 (NAME): ..."); asked to stop between two it is cancelled. The names are to fit into
   16 KiB. NULL for bytes gives NULL: there was no memory for them. The functions need not be registered in this process if they are in those that run them. The caller's. NULL and
   exs_last_error on failure. */
EXS_API exs_invocation *exs_invocation_new(const char *function, const void *input, size_t size);
EXS_API exs_invocation *exs_invocation_of(const char *function, exs_bytes *input);
EXS_API exs_invocation *exs_invocation_chain(const exs_invocation_step *steps, size_t n);
EXS_API void exs_invocation_free(void *invocation); /* NULL is allowed */

/* The task of an invocation, its arg: its value is the function's (exs_bytes *, or NULL). On a process pool it runs in a worker process; on
   anything else here, on the thread that runs the task. A function that is not registered where it is to run is an error EXS_EINVAL
   that names it. It may be called with ctx NULL, too. */
EXS_API exs_result exs_invoke(void *invocation, exs_context *ctx);

/* Submits such a task, with a copy of input, as exs_submit does; its name is the function's (the first one's), unless task has one. NULL only when memory is short; whatever else is wrong is the future's
   error. The second takes over the invocation, also on failure, and has the options of task; its fn, arg and arg_free are ignored. */
EXS_API exs_future *exs_submit_function(exs_executor *ex, const char *function, const void *input, size_t size);
EXS_API exs_future *exs_submit_invocation_sized(exs_executor *ex, exs_invocation *invocation, const exs_task *task,
						size_t size);

static inline exs_future *exs_submit_invocation(exs_executor *ex, exs_invocation *invocation, const exs_task *task)
{
	return exs_submit_invocation_sized(ex, invocation, task, sizeof(*task));
}

/* --- for a function that runs --- */

/* Submits a further task to what the running one was submitted to (the whole chain), wherever that is, as if from within: it waits for no
   room, and is let in as long as the running task is, also while a shutdown with EXS_DRAIN is under way. Nobody waits for it alone: what it
   answers is dropped, an error logged. task: its options, or NULL; fn, arg, arg_free, timeout and retry are to be 0. Takes over the
   invocation. It is of the running task's scope, if there is one; below an iterator it goes to what that is around; on an inline executor it
   runs before this returns. Answers 0; EXS_EINVAL: ctx NULL, or that of a batch (there is nothing to submit to), invocation NULL, options
   that it has no use for; EXS_ENOMEM; EXS_ECANCELLED (the running task has been asked to stop: nothing further is begun); EXS_ESHUTDOWN (the
   chain cancels what has not begun). To be called by the task itself, on its thread. */
EXS_API int exs_schedule_sized(exs_context *ctx, exs_invocation *invocation, const exs_task *task, size_t size);

static inline int exs_schedule(exs_context *ctx, exs_invocation *invocation, const exs_task *task)
{
	return exs_schedule_sized(ctx, invocation, task, sizeof(*task));
}

#ifdef __cplusplus
}
#endif
#endif
