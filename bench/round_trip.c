/* W2: submit one empty task, wait for it, release it, 100,000 times: the median time. */
#include "ours.h"

int main(int argc, char **argv)
{
	static uint32_t ns[OPS2];
	exs_executor *ex = pool(WORKERS);

	at_most(0, argc, argv);
	die_unless(ex, "exs_thread_pool");
	for (long i = 0; i < OPS2; i++) {
		uint64_t begin = now_ns();
		exs_future *f = exs_submit(ex, same, NULL);
		exs_future_wait(f, EXS_FOREVER);
		exs_future_unref(f);
		ns[i] = (uint32_t)(now_ns() - begin);
	}
	emit_lat(our_name(), "W2", ns, OPS2);
	exs_executor_free(ex);
	return 0;
}
