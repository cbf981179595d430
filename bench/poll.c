/* The poll executor at so many pending: what does it cost to add one (submit, on the inline executor) and to cancel one while a
   poll is under way, and to resolve one (all in one poll)?
   Usage: poll [PENDING], 1,000 without it. poll PENDING count: under callgrind, with --instr-atstart=no; its dumps "add" and "cancel"
   are what 1,000 cost beside so many, and its last what it takes to resolve all. */
#include "ours.h"

#include <semaphore.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION (void)0
#define CALLGRIND_STOP_INSTRUMENTATION	(void)0
#define CALLGRIND_DUMP_STATS_AT(name)	(void)(name)
#endif

enum { MORE = 1000 };

static void take(sem_t *s)
{
	while (sem_wait(s))
		;
}

struct service {
	atomic_size_t expected; /* resolve nothing before so many are pending */
	sem_t looked, go;	/* but stay in that poll, as one that asks a remote service does */
};

static exs_error *resolve_all(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct service *s = ctx;

	*delay = EXS_FOREVER;
	if (n < atomic_load(&s->expected)) {
		sem_post(&s->looked);
		take(&s->go);
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		exs_yield_result(d[i], exs_descriptor_value(d[i]), NULL);
	return NULL;
}

static double add(exs_executor *ex, exs_future **f, long n)
{
	uint64_t begin = now_ns();

	for (long i = 0; i < n; i++)
		f[i] = exs_submit(ex, same, boxed(i));
	return (double)(now_ns() - begin) / (double)n;
}

/* The same, while the poll for the first of them is under way. */
static double fill(exs_executor *ex, struct service *s, exs_future **f, long n)
{
	add(ex, f, 1);
	take(&s->looked);
	return add(ex, f + 1, n - 1);
}

static void cancel(exs_future *f)
{
	die_unless(exs_future_cancel(f) == EXS_CANCELLED, "cancel");
}

/* Resolves all, which are n, in one poll. */
static void resolve(exs_executor *ex, struct service *s, exs_future **f, long n)
{
	atomic_store(&s->expected, (size_t)n);
	exs_poll_notify(ex);
	sem_post(&s->go);
	for (long i = 0; i < n; i++)
		exs_future_wait(f[i], EXS_FOREVER);
	atomic_store(&s->expected, SIZE_MAX);
}

static void timed(exs_executor *ex, struct service *s, long n, int round)
{
	exs_future **f = malloc((size_t)n * sizeof(*f));
	double added = fill(ex, s, f, n);
	uint64_t t0 = now_ns();

	resolve(ex, s, f, n);
	uint64_t t1 = now_ns();
	for (long i = 0; i < n; i++)
		exs_future_unref(f[i]);
	fill(ex, s, f, n);
	uint64_t t2 = now_ns();
	for (long i = 0; i < n; i++)
		cancel(f[i]);
	uint64_t t3 = now_ns();
	sem_post(&s->go);
	release_all(f, n);
	if (round)
		emit("executors", "poll", n, added, ",\"resolve_ns\":%.1f,\"cancel_ns\":%.1f",
		     (double)(t1 - t0) / (double)n, (double)(t3 - t2) / (double)n);
}

static void counted(exs_executor *ex, struct service *s, long n)
{
	long all = n + MORE;
	exs_future **f = malloc((size_t)all * sizeof(*f));

	fill(ex, s, f, n);
	CALLGRIND_START_INSTRUMENTATION;
	add(ex, f + n, MORE);
	CALLGRIND_DUMP_STATS_AT("add");
	for (long i = 0; i < MORE; i++)
		cancel(f[i * (all / MORE)]);
	CALLGRIND_DUMP_STATS_AT("cancel");
	resolve(ex, s, f, n);
	CALLGRIND_STOP_INSTRUMENTATION;
	release_all(f, all);
}

int main(int argc, char **argv)
{
	struct service service = {.expected = SIZE_MAX};
	exs_poll_options options = {.interval = 3600};
	exs_executor *ex = exs_with_poll(exs_inline(), resolve_all, NULL, &service, &options);
	long n = number(argc, argv, 1, 1000);
	bool count = word(argc, argv, 2, "count");

	at_most(2, argc, argv);
	die_unless(ex && !sem_init(&service.looked, 0, 0) && !sem_init(&service.go, 0, 0), "exs_with_poll");
	if (count)
		counted(ex, &service, n);
	for (int round = 0; round < 2 && !count; round++)
		timed(ex, &service, n, round);
	exs_executor_free(ex);
	return 0;
}
