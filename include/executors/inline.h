/* Inline executor: runs each task in the thread that submits it; the future is done on return. */
#ifndef EXECUTORS_INLINE_H
#define EXECUTORS_INLINE_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* New inline executor. A task may submit to the same executor. NULL and exs_last_error when memory is short. */
EXS_API exs_executor *exs_inline(void);

#ifdef __cplusplus
}
#endif
#endif
