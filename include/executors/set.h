/* as_completed: a set of futures, read in the order in which they are done; it may grow while it is being read. */
#ifndef EXECUTORS_SET_H
#define EXECUTORS_SET_H

#include <executors/future.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct exs_set exs_set;

typedef enum exs_set_status {
	EXS_ITEM = 0,	 /* *future is the next one that is done; its reference is the reader's */
	EXS_TIMEOUT = 1, /* none within the time, or the set's deadline has passed */
	EXS_EMPTY = 2,	 /* no member is left */
	EXS_FAILED =
		3 /* an add had failed, or the wait could not be made: exs_last_error says why; told once, the set goes on */
} exs_set_status;

/* New empty set; NULL when memory is short (exs_last_error). */
EXS_API exs_set *exs_set_new(void);

/* Drops the members that were not read (nothing is cancelled) and frees the set. NULL is allowed. No other call on the set
   may be under way. */
EXS_API void exs_set_free(exs_set *set);

/* Adds a future and takes over one reference of it, also on failure. One that is a member already is counted once (the
   second reference is dropped). NULL, as a submit that found no memory gives it, and a failed add are remembered: the next
   exs_set_next answers EXS_FAILED. Answers 0, EXS_ENOMEM or EXS_EINVAL. MT-safe. */
EXS_API int exs_set_add(exs_set *set, exs_future *future);

/* Hands out the next member that is done, waiting up to `seconds` (0: does not block). Those done when they were added come
   first. On EXS_ITEM the member's reference goes to the caller; otherwise *future is NULL. MT-safe. */
EXS_API exs_set_status exs_set_next(exs_set *set, exs_future **future, double seconds);

/* Bounds every later exs_set_next: none waits beyond `seconds` from now. EXS_FOREVER lifts it. Answers 0 or EXS_EINVAL. */
EXS_API int exs_set_deadline(exs_set *set, double seconds);

/* Members not yet read. */
EXS_API size_t exs_set_count(exs_set *set);

/* exs_future_cancel_all on every member; answers how many are cancelled on return, or 0 and exs_last_error when memory is short.
   They still come out of exs_set_next. */
EXS_API size_t exs_set_cancel(exs_set *set);

/* A descriptor for epoll, poll, libuv, GLib ..., readable while completions (or a remembered failure) wait. Made on the first
   call, owned by the set, never to be read or closed: exs_set_next with 0 seconds drains it. -1 and exs_last_error if it can't
   be made. MT-safe. */
EXS_API int exs_set_fd(exs_set *set);

#ifdef __cplusplus
}
#endif
#endif
