/* What do four layers (timeout > throttle > retry > map) on a pool cost over the bare pool? 200,000 calls, five rounds in turn.
   Beside them the two that the chain can't do without: arming and disarming a timer in a wheel, and one look at the clock.
   Usage: layers [bare|layers|floor]; without a name all three in turn. */
#include "base/wheel.h"
#include "ours.h"

enum { N = 200000, ROUNDS = 5 };

static double calls(exs_executor *ex)
{
	uint64_t begin = now_ns();
	exs_future **f = malloc(N * sizeof(exs_future *));

	for (long i = 0; i < N; i++)
		f[i] = exs_submit(ex, same, boxed(i));
	read_all(f, N);
	uint64_t end = now_ns();
	release_all(f, N);
	return (double)(end - begin) / N;
}

static double clock_and_wheel(void)
{
	static struct exsi_wheel wheel;
	static struct exsi_timer timers[N];
	uint64_t begin = now_ns();

	exsi_wheel_init(&wheel);
	wheel.base = begin;
	for (long i = 0; i < N; i++) {
		timers[i].at = now_ns() + 60000000000u;
		exsi_wheel_add(&wheel, &timers[i]);
	}
	for (long i = 0; i < N; i++)
		exsi_wheel_remove(&wheel, &timers[i]);
	return (double)(now_ns() - begin) / N;
}

int main(int argc, char **argv)
{
	const char *only = word(argc, argv, 1, "bare|layers|floor");
	exs_executor *bare = exs_thread_pool(WORKERS), *chain = four_layers(exs_thread_pool(WORKERS));

	at_most(1, argc, argv);
	die_unless(bare && chain, "chain");
	for (int round = 0; round < ROUNDS; round++) {
		if (!only || !strcmp(only, "bare"))
			emit("executors", "bare", N, calls(bare), "");
		if (!only || !strcmp(only, "layers"))
			emit("executors", "layers", N, calls(chain), "");
		if (!only || !strcmp(only, "floor"))
			emit("floor_wheel_and_clock", "layers", N, clock_and_wheel(), "");
	}
	exs_executor_free(bare);
	exs_executor_free(chain);
	return 0;
}
