/* What the two modes of a timeout share. */
#ifndef EXSI_DECORATORS_TIMEOUT_H
#define EXSI_DECORATORS_TIMEOUT_H

#include "executor/executor.h"

/* The timeout of this call at layer x, in ns: its own where x is the outermost timeout layer, otherwise `ns`. */
uint64_t exsi_timeout_of(exs_executor *x, exs_future *f, uint64_t ns);

/* The error of a call that took longer than ns; layers keep one ready for their own time. */
exs_error *exsi_timeout_error(uint64_t ns);

exs_executor *exsi_with_abandon(exs_executor *ex, uint64_t ns);

/* How exs_timeout_abandoned finds the layer. */
bool exsi_is_abandon(const exs_executor *x);
size_t exsi_abandoned(exs_executor *x);

#endif
