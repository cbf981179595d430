/* A first program: a flaky task through retry and timeout over a pool of two threads. */
#include <executors/executors.h>
#include <stdio.h>

static exs_result square(void *arg, exs_context *ctx)
{
	intptr_t n = *(int *)arg;

	if (exs_context_attempt(ctx) == 1) /* the first attempt always fails */
		return exs_fail(exs_error_new(&exs_domain_errno, 5, "no luck"));
	return exs_ok((void *)(n * n), NULL);
}

int main(void)
{
	int numbers[] = {1, 2, 3, 4};
	exs_executor *ex = exs_thread_pool(2);
	ex = exs_with_retry(ex, &(exs_retry_options){.sleep = 0.01});
	ex = exs_with_timeout(ex, 30.0);
	exs_set *set = exs_set_new();
	exs_future *f;
	intptr_t sum = 0;

	for (int i = 0; i < 4; i++)
		exs_set_add(set, exs_submit(ex, square, &numbers[i]));
	while (exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM) { /* in the order in which they are done */
		sum += (intptr_t)exs_future_value(f);
		exs_future_unref(f);
	}
	printf("sum of squares: %d\n", (int)sum);
	exs_set_free(set);
	exs_executor_free(ex);
	return 0;
}
