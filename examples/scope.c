/* Parallel work over an array on the stack: a scope waits for all of it, also when a part fails. */
#include <executors/executors.h>
#include <stdio.h>

enum { N = 1000, PARTS = 8 };

struct part {
	const int *numbers;
	int n;
	long sum;
};

static exs_result add_up(void *arg, exs_context *ctx)
{
	struct part *part = arg;

	for (int i = 0; i < part->n; i++) {
		if (exs_context_stop_requested(ctx)) /* another part has failed */
			return exs_cancelled();
		if (part->numbers[i] < 0)
			return exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL, "%d is negative", part->numbers[i]));
		part->sum += part->numbers[i];
	}
	return exs_ok(NULL, NULL);
}

/* [scope] */
/* NULL, or the first error: a reference of the caller's. */
static exs_error *parallel_sum(exs_executor *ex, const int numbers[N], long *sum)
{
	struct part parts[PARTS];
	exs_scope *scope = exs_scope_new();

	for (int i = 0; i < PARTS; i++) {
		parts[i] = (struct part){numbers + i * N / PARTS, N / PARTS, 0};
		exs_future_unref(exs_scope_submit(scope, ex, add_up, &parts[i]));
	}
	exs_error *error = exs_scope_close(scope); /* from here on nobody uses parts */
	*sum = 0;
	for (int i = 0; i < PARTS; i++)
		*sum += parts[i].sum;
	return error;
}
/* [scope] end */

int main(void)
{
	exs_executor *ex = exs_with_timeout(exs_thread_pool(4), 30.0);
	int numbers[N];
	long sum;

	for (int i = 0; i < N; i++)
		numbers[i] = i;
	for (int round = 0; round < 2; round++) {
		exs_error *error = parallel_sum(ex, numbers, &sum);
		if (error)
			printf("no sum: %s\n", exs_error_message(error));
		else
			printf("sum: %ld\n", sum);
		exs_error_unref(error);
		numbers[700] = -1;
	}
	exs_executor_free(ex);
}
