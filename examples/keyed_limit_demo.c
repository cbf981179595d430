/* At most two requests at a time to each of three hosts, over a pool of eight workers. */
#include "keyed_limit.h"

#include <stdatomic.h>
#include <stdio.h>

enum { HOSTS = 3, REQUESTS = 60, LIMIT = 2 };

static atomic_int under_way[HOSTS], most[HOSTS];

static uint64_t host_of(void *arg)
{
	return (uint64_t)(uintptr_t)arg % HOSTS;
}

static exs_result request(void *arg, exs_context *ctx)
{
	uint64_t host = host_of(arg);
	int now = atomic_fetch_add(&under_way[host], 1) + 1, before = atomic_load(&most[host]);

	while (now > before && !atomic_compare_exchange_weak(&most[host], &before, now))
		;
	exs_context_sleep(ctx, 0.002);
	atomic_fetch_sub(&under_way[host], 1);
	return exs_ok(arg, NULL);
}

int main(void)
{
	exs_executor *ex = with_keyed_limit(exs_thread_pool(8), LIMIT, host_of);
	exs_set *set = exs_set_new();
	exs_future *f;
	uintptr_t sum = 0;

	for (uintptr_t i = 1; i <= REQUESTS; i++)
		exs_set_add(set, exs_submit(ex, request, (void *)i));
	while (exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM) {
		sum += (uintptr_t)exs_future_value(f);
		exs_future_unref(f);
	}
	for (int host = 0; host < HOSTS; host++)
		printf("host %d: %s than %d at a time\n", host, atomic_load(&most[host]) > LIMIT ? "more" : "no more",
		       LIMIT);
	printf("sum of %d results: %zu\n", REQUESTS, (size_t)sum);
	exs_set_free(set);
	exs_executor_free(ex);
	if (!with_keyed_limit(exs_inline(), 0, host_of))
		printf("%s\n", exs_error_message(exs_last_error()));
	return 0;
}
