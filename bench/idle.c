/* W7: a pool and chains of five layers, with nothing pending, rest: their processor time (ns_per_op) and the context switches.
   Usage: idle [CHAINS] [SECONDS]; with seconds it only rests, for who looks on from outside. */
#include "ours.h"

int main(int argc, char **argv)
{
	long chains = number(argc, argv, 1, 1), seconds = number(argc, argv, 2, 0);
	exs_executor **ex = malloc((size_t)chains * sizeof(*ex));

	for (long i = 0; i < chains; i++) {
		ex[i] = four_layers(exs_thread_pool(WORKERS));
		die_unless(ex[i] && !exs_call(ex[i], same, NULL, EXS_FOREVER, NULL), "chain");
	}
	if (seconds)
		nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
	else
		idle5("executors");
	for (long i = 0; i < chains; i++)
		exs_executor_free(ex[i]);
	free(ex);
	return 0;
}
