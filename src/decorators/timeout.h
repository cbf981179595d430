/* What the two modes of a timeout share. */
#ifndef EXSI_DECORATORS_TIMEOUT_H
#define EXSI_DECORATORS_TIMEOUT_H

#include "executor/call_timer.h"

#include <executors/timeout.h>

/* Begins the state of both, and is constant. The hooks stand in the operations tables as they are. */
struct exsi_timeout {
	uint64_t ns;	  /* EXSI_NEVER: only calls with a timeout of their own have one */
	exs_error *error; /* of a call that took longer than this */
	const char *mode; /* as it is described */
};

void exsi_timeout_init(exs_executor *x, uint64_t ns, const char *mode);
void exsi_timeout_stop(exs_executor *x);
int exsi_timeout_describe(exs_executor *x, char *buf, size_t size);

/* When the call is due that starts now, on the chain's clock: its own timeout counts where x is the outermost such layer. */
uint64_t exsi_timeout_due(exs_executor *x, exs_future *f);

/* The outcome of a call that took longer. */
exs_result exsi_timed_out(exs_executor *x, exs_future *f);

/* Constructors; ex is not NULL. */
exs_executor *exsi_with_wait(exs_executor *ex, uint64_t ns);
exs_executor *exsi_with_abandon(exs_executor *ex, uint64_t ns);

#endif
