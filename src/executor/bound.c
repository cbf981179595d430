/* The marker that stands for a bound function. */
#include "future/error.h"

#include <executors/bound.h>

exs_result exs_bound(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL,
				      "exs_bound: no function is bound to this executor: wrap it in exs_with_bind or "
				      "exs_with_flat_bind"));
}
