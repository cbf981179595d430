/* Event loop: runs tasks, and callbacks of any future, on the thread that turns it: a program that has only this thread never
   locks. By itself, or inside epoll, libuv, GLib ... through a descriptor. As asyncio's loop, it is turned by one thread. */
#ifndef EXECUTORS_EVENT_LOOP_H
#define EXECUTORS_EVENT_LOOP_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* New event loop, the leaf of a chain: calls are queued first in, first out, and run when somebody turns it. No thread of its
   own. A task that waits on a future of this loop runs what that is about itself; if that runs already, below on the same
   thread, the wait answers EXS_EDEADLK. A wait elsewhere does not turn the loop. NULL and exs_last_error when memory is short.

   exs_shutdown never turns a loop that another thread turns, but on the loop's own thread (which turned it last, or made it if
   nobody has) it runs what it waits for. exs_executor_free ends a turn under way, and waits until it has been left. */
EXS_API exs_executor *exs_event_loop(void);

/* Turning. ex is the loop or a chain on it. Each answers how many tasks and callbacks it ran; negative and exs_last_error: EXS_EINVAL
   (no event loop at the bottom of ex, seconds), EXS_EFORK, or EXS_EBUSY: another thread is turning the loop, or this one is (inside a
   task or callback of the loop). Run user code.

   They go round by round: a round runs what was queued when it began, and leaves for the next what tasks queue meanwhile. */
EXS_API long exs_event_loop_run(
	exs_executor *ex); /* rounds until it is stopped or freed (in a simulation: or nothing is left); blocks */
/* One round; waits up to `seconds` for something to run, or for a stop. */
EXS_API long exs_event_loop_run_once(exs_executor *ex, double seconds);
EXS_API long exs_event_loop_poll(exs_executor *ex); /* one round, without waiting */

/* Makes the run or run_once under way return at the end of its round; without one, the next makes a round without waiting,
   and returns. What is queued stays queued. Answers 0 or EXS_EINVAL. MT-safe, does not block. */
EXS_API int exs_event_loop_stop(exs_executor *ex);

/* A descriptor for epoll, libuv, GLib ..., readable while there is something to run. Made on the first call, owned by the loop,
   never to be read or closed: turning the loop empties it. -1 and exs_last_error if it can't be made. MT-safe. */
EXS_API int exs_event_loop_fd(exs_executor *ex);

/* Runs fn(future, ctx) once, when the future (of any executor, or a promise's) is done, on the thread that turns the loop; never
   inside this call. Callbacks and tasks of one loop run in the order in which they were queued; those of one future in the order
   of registration. ctx_free(ctx), if not NULL, follows fn. The future is borrowed, and kept until then.
   A shutdown of the loop cancels no callback: it runs if somebody still turns the loop. Once the loop is freed the callbacks that
   have not begun do not run; their ctx is freed within exs_executor_free, or on the thread that is just completing the future; how
   many there were is logged. Answers 0, or EXS_EINVAL, EXS_ENOMEM, EXS_ESHUTDOWN (the loop was shut down before), when fn will not run and
   ctx_free has. MT-safe, does not block. */
EXS_API int exs_event_loop_on_done(exs_executor *ex, exs_future *future, exs_done_fn *fn, void *ctx,
				   exs_free_fn *ctx_free);

#ifdef __cplusplus
}
#endif
#endif
