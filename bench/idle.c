/* W7: a pool and chains of five layers, with nothing pending, rest: their processor time (ns_per_op) and the context switches.
   Usage: idle [CHAINS] [SECONDS]; with seconds it says "resting" and its process, and only rests, for who looks on from outside
   (tests/check_idle.sh). */
#include "ours.h"

static exs_error *resolve(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)delay;
	for (size_t i = 0; i < n; i++)
		exs_yield_result(d[i], NULL, NULL);
	return NULL;
}

/* timeout > throttle > retry > map > poll > the pool; each has done a call. */
static exs_executor *five_layers(void)
{
	exs_poll_options options = {.interval = 1e-3};
	exs_executor *ex = four_layers(exs_with_poll(exs_thread_pool(WORKERS), resolve, NULL, NULL, &options));

	die_unless(ex && !exs_call(ex, same, NULL, EXS_FOREVER, NULL), "chain");
	return ex;
}

int main(int argc, char **argv)
{
	long chains = number(argc, argv, 1, 1), seconds = number(argc, argv, 2, 0);
	exs_executor **ex = malloc((size_t)chains * sizeof(*ex));

	at_most(2, argc, argv);
	for (long i = 0; i < chains; i++)
		ex[i] = five_layers();
	if (seconds) {
		printf("resting %d\n", getpid());
		fflush(stdout);
		nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
	} else {
		idle5("executors");
	}
	for (long i = 0; i < chains; i++)
		exs_executor_free(ex[i]);
	free(ex);
	return 0;
}
