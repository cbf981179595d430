/* A program outside the tree: submits to a thread pool, waits, prints. Compiled as C and, being both, as C++. */
#include <executors/executors.h>
#include <stdio.h>

static exs_result square(void *arg, exs_context *ctx)
{
	int *n = (int *)arg;

	(void)ctx;
	*n *= *n;
	return exs_ok(n, NULL);
}

int main(void)
{
	int n = 12;
	exs_executor *ex = exs_with_timeout(exs_with_retry(exs_thread_pool(2), NULL), 30.0);
	exs_future *f = exs_submit(ex, square, &n);

	if (!f || exs_future_wait(f, EXS_FOREVER) || exs_future_state(f) != EXS_STATE_VALUE)
		return 1;
	printf("%d\n", *(int *)exs_future_value(f));
	exs_future_unref(f);
	exs_executor_free(ex);
	return 0;
}
