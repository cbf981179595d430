/* [first] */
#include <executors/executors.h>
#include <stdio.h>

static exs_result square(void *arg, exs_context *ctx)
{
	intptr_t n = *(int *)arg;
	return exs_context_stop_requested(ctx) ? exs_cancelled() : exs_ok((void *)(n * n), NULL);
}

int main(void)
{
	int numbers[] = {1, 2, 3, 4}, sum = 0;
	exs_executor *ex = exs_with_timeout(exs_with_retry(exs_thread_pool(2), NULL), 30.0);
	exs_set *set = exs_set_new();
	exs_future *f;

	for (int i = 0; i < 4; i++)
		exs_set_add(set, exs_submit(ex, square, &numbers[i]));
	while (exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM) { /* in the order in which they are done */
		sum += (int)(intptr_t)exs_future_value(f);
		exs_future_unref(f);
	}
	printf("sum of squares: %d\n", sum);
	exs_set_free(set);
	exs_executor_free(ex);
}
/* [first] end */
