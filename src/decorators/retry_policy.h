/* The policy of retry: what its options mean, what is retried and when. */
#ifndef EXSI_DECORATORS_RETRY_POLICY_H
#define EXSI_DECORATORS_RETRY_POLICY_H

#include <executors/retry.h>

/* Of options as the user gave them: what is wrong with them, or NULL; and the same with the defaults filled in. */
const char *exsi_retry_check(const exs_retry_options *o);
exs_retry_options exsi_retry_resolved(const exs_retry_options *given);

/* At most so many; EXS_UNLIMITED. Given or resolved. */
unsigned exsi_retry_attempts(const exs_retry_options *o);

/* With resolved options, after an attempt: is there to be another, after *delay seconds? *backoff, before jitter, is kept from one attempt to the next. Says
   so to on_retry; runs user code. name: of the executor, for the log. */
bool exsi_retry_decide(const exs_retry_options *o, const exs_attempt *a, const char *name, double *backoff,
		       double *delay);

#endif
