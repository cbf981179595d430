/* W1: one thread submits 1,000,000 empty tasks to 2 workers, keeps every future, waits for all, reads every value. What does one
   cost, cold (the first round of a process) and warm (the third), and how much memory does it hold?
   Usage: submit [TASKS] */
#include "ours.h"

static void once(exs_executor *ex, long n, int round)
{
	reset_hwm();
	long before = vm_kb("VmRSS");
	uint64_t t0 = now_ns();
	exs_future **f = malloc((size_t)n * sizeof(*f));
	for (long i = 0; i < n; i++)
		f[i] = exs_submit(ex, same, boxed(i));
	uint64_t t1 = now_ns();
	read_all(f, n);
	uint64_t t2 = now_ns();
	long peak = vm_kb("VmHWM");
	release_all(f, n);
	uint64_t t3 = now_ns();
	if (round != 1)
		emit(our_name(), round ? "W1w" : "W1", n, (double)(t2 - t0) / (double)n,
		     ",\"submit_ns\":%.1f,\"release_ns\":%.1f,\"rss_per_op\":%.1f", (double)(t1 - t0) / (double)n,
		     (double)(t3 - t2) / (double)n, (double)(peak - before) * 1024.0 / (double)n);
}

int main(int argc, char **argv)
{
	long n = number(argc, argv, 1, OPS1);
	exs_executor *ex = pool(WORKERS);

	at_most(1, argc, argv);
	die_unless(ex, "exs_thread_pool");
	for (int round = 0; round < 3; round++)
		once(ex, n, round);
	exs_executor_free(ex);
	return 0;
}
