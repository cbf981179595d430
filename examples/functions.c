/* Futures made of futures: every part asks two mirrors and takes the first answer; all the parts make one sum. */
#include <executors/executors.h>
#include <stdio.h>

enum { PARTS = 4 };

struct source {
	const char *name;
	int part;
	bool fails;
};

static struct source mirrors[2][PARTS];

static exs_result fetch(void *arg, exs_context *ctx)
{
	struct source *s = arg;

	(void)ctx;
	if (s->fails)
		return exs_fail(exs_error_new(&exs_domain_exs, EXS_EBROKEN, "%s has lost part %d", s->name, s->part));
	return exs_ok((void *)(intptr_t)(s->part * 100), NULL);
}

/* [functions] */
/* Called for each part: the first mirror to succeed decides, the other is cancelled. */
static exs_future *ask_both(void *ex, void *part)
{
	int i = *(int *)part;
	exs_future *const answers[] = {exs_submit(ex, fetch, &mirrors[0][i]), exs_submit(ex, fetch, &mirrors[1][i])};

	return exs_future_any_ok(answers, 2);
}

static exs_result add_up(void *unused, exs_result in)
{
	const exs_values *parts = in.value;
	intptr_t sum = 0;

	(void)unused;
	for (size_t i = 0; i < parts->n; i++)
		sum += (intptr_t)parts->values[i];
	exs_result_clear(&in);
	return exs_ok((void *)sum, NULL);
}

/* One future of all: done with the sum, or with both mirrors' errors for a part that neither has. Cancelled, it cancels all. */
static exs_future *sum_of_parts(exs_executor *ex, void *const parts[PARTS])
{
	return exs_future_map(exs_future_traverse(ask_both, ex, parts, PARTS), add_up, NULL, NULL, NULL);
}
/* [functions] end */

int main(void)
{
	exs_executor *ex =
		exs_with_retry(exs_thread_pool(4), &(exs_retry_options){.max_attempts = 2, .sleep = EXS_NONE});
	int numbers[PARTS];
	void *parts[PARTS];

	for (int i = 0; i < PARTS; i++) {
		numbers[i] = i;
		parts[i] = &numbers[i];
		mirrors[0][i] = (struct source){"the first mirror", i, i == 1};
		mirrors[1][i] = (struct source){"the second mirror", i, i == 2};
	}
	for (int round = 0; round < 2; round++) {
		exs_future *f = sum_of_parts(ex, parts);
		exs_future_wait(f, EXS_FOREVER);
		if (exs_future_error(f))
			printf("no sum: %s\n", exs_error_message(exs_future_error(f)));
		else
			printf("sum: %ld\n", (long)(intptr_t)exs_future_value(f));
		exs_future_unref(f);
		mirrors[1][1].fails = true;
	}
	exs_executor_free(ex);
}
