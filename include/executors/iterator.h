/* Iterator: a task that emits items while it runs; its future is a stream of them. */
#ifndef EXECUTORS_ITERATOR_H
#define EXECUTORS_ITERATOR_H

#include <executors/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/* New executor around ex, which it takes over, also on failure: the future of each call is done at once, and its value is a stream
   (exs_stream *, the future's) of what the task emits (exs_emit). The task is a call of its own below; the stream ends with that, with its error
   if it fails; it ends with EXS_ECANCELLED if it is cancelled; what it returns otherwise is destroyed. It stays max_results items (0: 1;
   EXS_UNLIMITED) ahead of the reader. Whoever ends the stream (exs_stream_cancel, or the future's last reference is dropped; but below a timeout that
   abandons only the former) asks the task to stop; shutdown and release of the executor wait for it. A thread that reads does not run the
   task itself: where nobody else could, EXS_EDEADLK. Layers below see to the task (a retry there has it emit anew, after what it had
   emitted before), layers above to nothing. NULL in gives NULL out; NULL and exs_last_error on failure. */
EXS_API exs_executor *exs_with_iterator(exs_executor *ex, size_t max_results);

/* The next item of the running task, which is below an iterator (of several the innermost); takes over the result in any case. Waits while max_results
   items are not read; but not on an event loop, nor where the task runs within its submit (inline): there all are kept. To be called by the
   task itself, on its thread. Answers 0; EXS_ECANCELLED: the task is asked to stop, or nobody reads any more: it should return; EXS_EINVAL
   (no iterator), EXS_ENOMEM, EXS_EDEADLK. May block; may run user code. */
EXS_API int exs_emit(exs_context *ctx, exs_result result);

#ifdef __cplusplus
}
#endif
#endif
