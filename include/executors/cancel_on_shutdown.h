/* Cancel on shutdown: a shutdown in any mode cancels what is not done. Follows more-executors' CancelOnShutdownExecutor. */
#ifndef EXECUTORS_CANCEL_ON_SHUTDOWN_H
#define EXECUTORS_CANCEL_ON_SHUTDOWN_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* New executor around ex, which it takes over, also on failure. When it is shut down or freed, by itself or with the chain that
   owns it, in any mode, every call that has come through it and is not back is cancelled first (EXS_CAUSE_SHUTDOWN; what
   runs is asked to stop, its own outcome stands), then ex is shut down. Callbacks run on the thread that shuts down, under no
   lock; a submit inside them fails with EXS_ESHUTDOWN.
   A call in a layer above it (in a backoff, in a poll set) is not below it: it is cancelled when it comes down again. Wrap it around
   the whole chain to end all. A borrower's own shutdown is not a shutdown of this executor: its calls end as that one's mode says;
   while a shutdown of this executor cancels those of the borrowers as well.
   NULL in gives NULL out; NULL and exs_last_error when memory is short. */
EXS_API exs_executor *exs_with_cancel_on_shutdown(exs_executor *ex);

#ifdef __cplusplus
}
#endif
#endif
