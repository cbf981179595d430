/* W6: arm 1,000,000 timers of 1 to 60 s, cancel all. What does a timer cost? Each belongs to a call that a timeout of its own
   watches over (the cost of the whole call is in it), or is the library's timer alone. */
#include "base/timer.h"
#include "ours.h"

static bool never(struct exsi_timer *timer)
{
	(void)timer;
	abort();
}

static void fire(struct exsi_timer *timer)
{
	never(timer);
}

static void alone(int round)
{
	static const struct exsi_timer_kind kind = {.expire = never, .fire = fire};
	exs_clock *clock = exsi_clock(NULL);
	uint64_t seed = 88172645463325252ull, t0 = now_ns();
	struct exsi_timer **v = malloc(OPS6 * sizeof(*v));

	for (long i = 0; i < OPS6; i++) {
		v[i] = malloc(sizeof(**v));
		*v[i] = (struct exsi_timer){.kind = &kind};
		exsi_timer_arm(clock, v[i], exsi_clock_ns(clock) + (1000 + rng(&seed) % 59000) * 1000000, NULL);
	}
	uint64_t t1 = now_ns();
	for (long i = 0; i < OPS6; i++) {
		die_unless(exsi_timer_disarm(clock, v[i]), "disarm");
		free(v[i]);
	}
	uint64_t t2 = now_ns();
	free(v);
	emit("executors", round ? "W6w" : "W6", OPS6, (double)(t2 - t0) / OPS6, ",\"arm_ns\":%.1f,\"cancel_ns\":%.1f",
	     (double)(t1 - t0) / OPS6, (double)(t2 - t1) / OPS6);
}

int main(int argc, char **argv)
{
	exs_clock *clock = exsi_clock(NULL);

	at_most(0, argc, argv);
	die_unless(exsi_clock_hold(clock) == 0, "exsi_clock_hold");
	for (int round = 0; round < 2; round++)
		alone(round);
	exsi_clock_unhold(clock);
	return 0;
}
