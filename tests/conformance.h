/* The conformance suite: what every executor and every chain must do. It runs over a list that the program defines:

	#include "conformance.h"
	static exs_executor *mine(void)
	{
		return with_mine(exs_with_clock(exs_thread_pool(2), conformance_clock()));
	}
	static exs_executor *mine_on_sim(void)
	{
		return with_mine(exs_sim_pool(conformance_sim(), 2));
	}
	const struct conformance_chain conformance_chains[] = {
		{"mine > thread_pool(2)", mine, NULL, NULL, false},
		{"mine > sim(2)", mine_on_sim, NULL, NULL, true},
	};
	const size_t conformance_n = sizeof(conformance_chains) / sizeof(*conformance_chains);

   A program outside the tree is this file with conformance.c, support.c, harness.c and plain_main.c, linked with the installed
   library. What the suite asks of a chain:
   - every task's argument is a struct job (support.h);
   - it runs fewer than 12 calls at a time (or all, each within its submit); a limit of its own is at least 9, since four tasks
     may each wait for a second call, which waits for a third;
   - its timers read conformance_clock(); timeouts and poll intervals are at least 1000 s; a retry retries errors of
     test_domain at once, and waits for as long as their hint (7 s) says: conformance_retry() does;
   - its poll layers have job_poll and job_cancel as their functions: conformance_poll() adds such a layer.

   On a simulation (sim.h, with `threads`) each test has a seed of its own for each chain; one run in eight is made twice and must
   be the same. There one test more injects failures, lost results, cancels, delays, early timers and failed allocations into
   a thousand calls. EXS_TEST_SOAK=n makes n runs of each. A failure tells seed, chain and test: these, as it says
   (EXS_TEST_SEED, EXS_TEST_CHAIN, --only), run it alone, with EXS_SIM_TRACE=1 step by step. */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include <executors/executors.h>

struct conformance_chain {
	const char *name;
	exs_executor *(*make)(void);		  /* a new one; not NULL */
	void (*set_up)(void), (*tear_down)(void); /* before make, after the release; may be NULL */
	bool on_sim;				  /* it stands on pools of conformance_sim() */
};
extern const struct conformance_chain conformance_chains[];
extern const size_t conformance_n;

/* The clock of the chain that is being tested. */
exs_clock *conformance_clock(void);

/* The simulation that it stands on, or NULL; does that inject faults? */
exs_sim *conformance_sim(void);
bool conformance_faults(void);

exs_executor *conformance_retry(exs_executor *ex, unsigned max_attempts);
exs_executor *conformance_poll(exs_executor *ex);

#endif
