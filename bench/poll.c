/* The poll executor at so many pending: what does it cost to add one (submit, on the inline executor), to resolve one (all in one
   poll), to cancel one (one by one)?
   Usage: poll [PENDING], 1,000 without it. */
#include "ours.h"

#include <stdatomic.h>

struct service {
	atomic_size_t expected; /* resolve nothing before so many are pending */
	uint64_t begin, end;
};

static exs_error *resolve_all(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct service *s = ctx;

	*delay = EXS_FOREVER;
	if (n < atomic_load(&s->expected))
		return NULL;
	for (size_t i = 0; i < n; i++)
		exs_yield_result(d[i], exs_descriptor_value(d[i]), NULL);
	s->end = now_ns();
	return NULL;
}

static double add(exs_executor *ex, exs_future **f, long n)
{
	uint64_t begin = now_ns();

	for (long i = 0; i < n; i++)
		f[i] = exs_submit(ex, same, boxed(i));
	return (double)(now_ns() - begin) / (double)n;
}

static void once(exs_executor *ex, struct service *s, long n, int round)
{
	exs_future **f = malloc((size_t)n * sizeof(*f));

	atomic_store(&s->expected, SIZE_MAX);
	double added = add(ex, f, n);
	atomic_store(&s->expected, (size_t)n);
	s->begin = now_ns();
	exs_poll_notify(ex);
	for (long i = 0; i < n; i++)
		exs_future_wait(f[i], EXS_FOREVER);
	for (long i = 0; i < n; i++)
		exs_future_unref(f[i]);
	atomic_store(&s->expected, SIZE_MAX);
	add(ex, f, n);
	uint64_t begin = now_ns();
	for (long i = 0; i < n; i++)
		die_unless(exs_future_cancel(f[i]) == EXS_CANCELLED, "cancel");
	uint64_t end = now_ns();
	release_all(f, n);
	if (round == 2)
		emit("executors", "poll", n, added, ",\"resolve_ns\":%.1f,\"cancel_ns\":%.1f",
		     (double)(s->end - s->begin) / (double)n, (double)(end - begin) / (double)n);
}

int main(int argc, char **argv)
{
	struct service service = {0};
	exs_poll_options options = {.interval = 3600};
	exs_executor *ex = exs_with_poll(exs_inline(), resolve_all, NULL, &service, &options);

	die_unless(ex, "exs_with_poll");
	for (int round = 0; round < 3; round++)
		once(ex, &service, number(argc, argv, 1, 1000), round);
	exs_executor_free(ex);
	return 0;
}
