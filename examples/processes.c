/* Worker processes: a function that may crash runs in processes of its own, through the same chain and submit as any task. */
#include <executors/executors.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* [worker] */
/* Bytes in, bytes out; in a worker process. Every other number is unlucky at first. */
static exs_result square(const exs_bytes *input, exs_context *ctx)
{
	long n;

	memcpy(&n, input->data, sizeof(n));
	if (n % 2 && exs_context_attempt(ctx) == 1)
		raise(SIGKILL);
	exs_send(ctx, "done", 4);
	n *= n;
	return exs_ok_copy(&n, sizeof(n));
}

int main(int argc, char **argv)
{
	enum { N = 8 };
	exs_retry_options again = {.sleep = EXS_NONE};
	exs_future *futures[N];
	long sum = 0, heard = 0;

	exs_register("square", square);
	exs_process_main(argc, argv); /* in a worker process it does not return */

	exs_messages *inbox = exs_messages_new();
	exs_executor *ex = exs_process_pool(&(exs_process_pool_options){.workers = 2});
	ex = exs_with_retry(ex, &again);
	ex = exs_with_messages(ex, inbox);
	if (!inbox || !ex)
		return fprintf(stderr, "%s\n", exs_error_message(exs_last_error())), 1;
	for (long i = 0; i < N; i++)
		futures[i] = exs_submit_function(ex, "square", &i, sizeof(i));
	for (exs_bytes *message; exs_messages_next(inbox, &message, EXS_FOREVER) == EXS_ITEM; heard++)
		exs_bytes_free(message);
	exs_wait_all(futures, N, EXS_FOREVER);
	for (int i = 0; i < N; i++) {
		const exs_bytes *value = exs_future_value(futures[i]);
		long n = 0;
		if (value)
			memcpy(&n, value->data, sizeof(n));
		sum += n;
		exs_future_unref(futures[i]);
	}
	exs_executor_free(ex);
	exs_messages_free(inbox);
	printf("%ld messages; the sum of squares is %ld\n", heard, sum);
	return 0;
}
/* [worker] end */
