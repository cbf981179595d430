/* Scopes: calls that have all ended when the scope is closed, so that what they were given may lie on the stack. */
#ifndef EXECUTORS_SCOPE_H
#define EXECUTORS_SCOPE_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A scope follows the nurseries of Trio, coroutineScope of Kotlin, TaskGroup of Python:
   - what is submitted in it is its member until its task has ended: until the last attempt that could read the argument,
     also one that a timeout (EXS_ABANDON) or a shutdown left behind, and its arg_free and done callbacks are over, a result
     that came too late is destroyed, and no poll function looks at its descriptor;
   - exs_scope_close waits for all of them, and answers the first error;
   - a member that fails has the others cancelled (EXS_CAUSE_SIBLING), and further submits. A submit that is refused (shut
     down, full, wrong options, no memory) is a failed member. A cancelled member is not: it cancels nobody.

     exs_scope *scope = exs_scope_new();
     for (i = 0; i < 4; i++)
	     exs_future_unref(exs_scope_submit(scope, ex, sum, &parts[i]));
     exs_error *error = exs_scope_close(scope);

   Its members may run in any executors; it owns none of them, and they may be shut down and freed before it is closed. What a
   task submits is a member only if it is submitted in the scope, too; a future that a flat_map's function answers is not. */
typedef struct exs_scope exs_scope;

typedef enum exs_on_error {
	EXS_ON_ERROR_CANCEL = 0, /* the first error cancels the other members and all later submits */
	EXS_ON_ERROR_GO_ON = 1	 /* it changes nothing, but is remembered */
} exs_on_error;

/* 0 or NULL is the default. */
typedef struct exs_scope_options {
	exs_on_error on_error;
	/* Of the running task that makes the scope, and closes it before it returns: when that task is asked to stop, the scope
	   is cancelled, for the same cause. */
	exs_context *ctx;
} exs_scope_options;

/* New scope, to be ended by exs_scope_close. NULL and exs_last_error on failure; every function here takes NULL, and the
   close of it is an error. */
EXS_API exs_scope *exs_scope_new(void);
EXS_API exs_scope *exs_scope_new_sized(const exs_scope_options *options, size_t size);

static inline exs_scope *exs_scope_new_with(const exs_scope_options *options)
{
	return exs_scope_new_sized(options, sizeof(*options));
}

/* As exs_submit and exs_submit_with; the call is a member of the scope. NULL only when memory is short, and arg_free has run.
   Costs no allocation of its own. In a scope that has failed or was cancelled the task does not run: the future is
   cancelled, its cause the scope's. MT-safe until the close begins (which waits for submits under way); after that only tasks
   and callbacks of members may submit, for others it is an error EXS_EALREADY. The future may outlive the scope. */
EXS_API exs_future *exs_scope_submit(exs_scope *scope, exs_executor *ex, exs_task_fn *fn, void *arg);
EXS_API exs_future *exs_scope_submit_with_sized(exs_scope *scope, exs_executor *ex, const exs_task *task, size_t size);

static inline exs_future *exs_scope_submit_with(exs_scope *scope, exs_executor *ex, const exs_task *task)
{
	return exs_scope_submit_with_sized(scope, ex, task, sizeof(*task));
}

/* Cancels all members (EXS_CAUSE_USER) and all later submits. May run user code, as exs_future_cancel_all. MT-safe; it must begin
   before the close has returned. */
EXS_API void exs_scope_cancel(exs_scope *scope);

/* The first error so far, borrowed until the close; NULL: none. MT-safe. */
EXS_API const exs_error *exs_scope_error(exs_scope *scope);

/* Waits until all members have ended, those that they submit meanwhile included, and frees the arena and the scope. Answers
   NULL if none has failed, or the first error, a reference of the caller's. A worker of a pool or a task on an event loop that
   waits here runs members that have not begun. Where exs_future_wait would answer EXS_EDEADLK, because nobody is left to run
   them, the scope fails with EXS_EDEADLK, its members are cancelled, and it waits on; a loop that nobody turns is not noticed.
   These errors leave the scope as it is: EXS_EDEADLK inside a task, callback or hook of a member, or on a poll executor's
   thread that a member needs: this would wait for itself; or if a simulation finds that a cancelled member never ends.
   EXS_EALREADY while another thread closes it; EXS_EFORK in a forked child. May block, may run user code; needs no memory. */
EXS_API exs_error *exs_scope_close(exs_scope *scope)
#if defined(__GNUC__)
	__attribute__((warn_unused_result))
#endif
	;

/* The arena: memory for arguments and results, uninitialised, aligned for any type, freed with the scope: a value in it is gone
   when the scope is closed, however long its future lives. Read results before that, or copy them. NULL and exs_last_error
   when memory is short. MT-safe, does not block; O(1) but for the pages it takes from the allocator. */
EXS_API void *exs_scope_alloc(exs_scope *scope, size_t size);

/* Does ptr point into the arena, so that it must not outlive the scope? MT-safe. */
EXS_API bool exs_scope_owns(exs_scope *scope, const void *ptr);

/* The scope that the running task is a member of; NULL: none. */
EXS_API exs_scope *exs_context_scope(exs_context *ctx);

#ifdef __cplusplus
}
#endif
#endif
