/* W4: several threads submit 1,000,000 empty tasks together, wait and read. What does one cost?
   Usage: producers [PRODUCERS WORKERS], four and two as W4 has it; with numbers it is called "scaling", and there is a
   quarter of the tasks. */
#include "ours.h"

static exs_executor *ex;
static pthread_barrier_t barrier;
static long tasks, each;

static void *produce(void *arg)
{
	exs_future **f = malloc((size_t)each * sizeof(*f));

	pthread_barrier_wait(&barrier);
	for (long i = 0; i < each; i++)
		f[i] = exs_submit(ex, same, boxed(i));
	read_all(f, each);
	pthread_barrier_wait(&barrier);
	release_all(f, each);
	return arg;
}

/* In ns a task. */
static double once(long producers)
{
	pthread_t *threads = malloc((size_t)producers * sizeof(*threads));

	each = tasks / producers;
	pthread_barrier_init(&barrier, NULL, (unsigned)producers + 1);
	for (long i = 0; i < producers; i++)
		pthread_create(&threads[i], NULL, produce, NULL);
	pthread_barrier_wait(&barrier);
	uint64_t begin = now_ns();
	pthread_barrier_wait(&barrier);
	uint64_t end = now_ns();
	for (long i = 0; i < producers; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	free(threads);
	return (double)(end - begin) / (double)(each * producers);
}

int main(int argc, char **argv)
{
	long producers = number(argc, argv, 1, 4), workers = number(argc, argv, 2, WORKERS);
	bool scaling = argc > 1;

	at_most(2, argc, argv);
	tasks = scaling ? OPS1 / 4 : OPS1;
	ex = pool(workers);
	die_unless(ex, "exs_thread_pool");
	for (int round = 0; round < 2; round++) {
		double ns = once(producers);
		if (round || !scaling)
			emit(our_name(),
			     scaling ? "scaling"
			     : round ? "W4w"
				     : "W4",
			     tasks, ns, ",\"producers\":%ld,\"workers\":%ld", producers, workers);
	}
	exs_executor_free(ex);
	return 0;
}
