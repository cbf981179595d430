/* How much memory do 1,000,000 pending calls hold, their handles included, and how much of it is kept when all are done: by the
   process, and after malloc_trim? (What malloc alone kept is gone then: glibc puts small blocks into fast bins, which it empties at a
   later large allocation.)
   Usage: memory [bare|layers], bare without a name. */
#include "ours.h"

#include <malloc.h>
#include <semaphore.h>

static sem_t begun, gate;

static exs_result block(void *arg, exs_context *ctx)
{
	(void)ctx;
	sem_post(&begun);
	while (sem_wait(&gate))
		;
	return exs_ok(arg, NULL);
}

/* Both workers are held at the gate while this counts. */
static double pending_kb(exs_executor *ex, exs_future **f, long before)
{
	for (long i = 0; i < OPS1; i++) {
		f[i] = exs_submit(ex, i < WORKERS ? block : same, boxed(i));
		while (i < WORKERS && sem_wait(&begun))
			;
	}
	double kb = (double)(vm_kb("VmRSS") - before);
	for (int i = 0; i < WORKERS; i++)
		sem_post(&gate);
	return kb;
}

int main(int argc, char **argv)
{
	const char *which = word(argc, argv, 1, "bare|layers");
	bool layers = which && !strcmp(which, "layers");
	exs_executor *ex = exs_thread_pool(WORKERS);

	at_most(1, argc, argv);
	ex = layers ? four_layers(ex) : ex;
	die_unless(ex && !sem_init(&begun, 0, 0) && !sem_init(&gate, 0, 0), "memory");
	long before = vm_kb("VmRSS");
	exs_future **f = malloc(OPS1 * sizeof(exs_future *));
	double pending = pending_kb(ex, f, before);
	read_all(f, OPS1);
	release_all(f, OPS1);
	long kept = vm_kb("VmRSS") - before;
	malloc_trim(0);
	printf("{\"peer\":\"executors\",\"workload\":\"memory "
	       "%s\",\"n\":%ld,\"bytes_per_op\":%.1f,\"kept_kb\":%ld,\"trimmed_kb\":%ld}\n",
	       layers ? "layers" : "bare", OPS1, pending * 1024 / OPS1, kept, vm_kb("VmRSS") - before);
	exs_executor_free(ex);
	return 0;
}
