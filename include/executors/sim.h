/* Simulation: a pool and a clock that run whole chains on one thread, in an order drawn from a seed, with faults drawn from
   it as well. A failure is replayed from its seed. In the spirit of FoundationDB's simulator.

	for (uint64_t seed = 1; seed <= 1000; seed++) {
		exs_sim *sim = exs_sim_new(seed, &(exs_sim_options){.fail = 0.1, .lose = 0.1});
		exs_executor *ex = exs_with_retry(exs_sim_pool(sim, 4), &policy);
		... submit, cancel, wait; check what came of it, printing the seed if it is wrong ...
		exs_executor_free(ex);
		exs_sim_free(sim);
	}

   What is simulated. Everything that the chain's threads would do is done in steps on the thread that made the simulation,
   whenever it waits: a wait on a future or set, exs_call, exs_context_sleep, exs_shutdown, exs_executor_free, exs_scope_close and
   exs_quiesce turn the simulation until they have what they wait for, and so do exs_sim_run and exs_sim_step. A step is one
   of: run a call that waits in a pool (any of them, not the first), one turn of a poll layer, one timer, one planned
   cancel, the release of a chain that was freed from within. Time is the simulation's clock: it stands still while there is
   something else to do (but see `time`; and a poll layer that polls again at once does not stop it for ever), and moves on
   to the next timer or to the end of the wait when there is not; the seconds of all waits on this thread are measured on
   it. Draws of the library (jitter) come from the seed. No thread is made (but see `threads`).

   When nothing is left to do, what is waited for will never be: the wait answers EXS_EDEADLK and exs_last_error says why;
   exs_shutdown fails what is left, as when its time is up; a chain that was freed is released later, or never.

   With `threads`, steps are made on threads of the simulation's own, one of which goes on at a time, or the program's, or
   none: who waits, in a task, callback or hook, does so on a stack of its own, beside the program and other tasks that wait,
   and which goes on next is drawn like any other step. So tasks can be held at gates (exs_sim_wait) while the program
   cancels or shuts down what they belong to. In a pool, a task that waits for a future has a spare, as in a thread pool with
   many; one in exs_sim_wait has not. Of several that wait in vain the latest is told first. No wait is inverted, and
   the steps are still those of the seed; but a wait costs some microseconds.

   What is not. Steps are atomic: races between threads within the library or within tasks do not happen (for these, use
   threads and TSan). Without `threads`, a wait inside a task or callback runs other steps on top of it, so that a call which runs there and
   waits for the one below cannot be helped: it gets EXS_EDEADLK where threads would go on; such an answer is counted as
   `inverted`. For the same reason exs_shutdown and exs_executor_free of a chain that is in the middle of something below
   are "from a thread of the chain". A task that neither returns nor waits is not interrupted; a wait of 0 seconds does not
   turn. Other leaves than exs_sim_pool, exs_inline and exs_event_loop bring real threads, which do not belong here. The
   order of the steps may change with the library's version; the same program with the same library gives the same trace,
   as long as it draws from nothing else (addresses, the real time).

   sim NULL, which a constructor that failed answers: the functions do nothing, and answer EXS_EINVAL, NULL, 0 or false.

   Threads: all calls on a simulation, its clock and the chains that stand on it are made on the thread that made it, or in
   its steps. */
#ifndef EXECUTORS_SIM_H
#define EXECUTORS_SIM_H

#include <executors/clock.h>
#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct exs_sim exs_sim;

/* Injected errors. */
EXS_API extern const exs_domain exs_domain_sim; /* codes: exs_sim_code */
typedef enum exs_sim_code {
	EXS_SIM_EFAILED = 1, /* the task's function was not run */
	EXS_SIM_ELOST = 2    /* it ran, and its outcome was lost */
} exs_sim_code;

/* Probabilities are in [0, 1]; 0 or EXS_NONE: never. */
typedef struct exs_sim_options {
	double fail; /* instead of its function, a call gets an error EXS_SIM_EFAILED */
	double lose; /* its function's value or error is destroyed, it gets an error EXS_SIM_ELOST */
	double cancel; /* a call that reaches a pool is cancelled as by its user within 64 steps (at most 32 are planned) */
	double delay;	  /* a call that reaches a pool can't be run before some time has passed, */
	double max_delay; /* seconds, up to this; 0: 10 s */
	double time;	  /* a step lets time pass, up to the next timer, though there is something else to do */
	double no_memory; /* an allocation of the library within a step fails */
	size_t max_steps; /* of one wait or run, which answers EXS_EDEADLK then; 0: 1,000,000; EXS_UNLIMITED */
	bool threads;	  /* steps are made on threads of their own: see above */
} exs_sim_options;

/* New simulation for this thread, which can have one at a time; options NULL: no faults, the order alone is drawn. The same
   seed, options and program give the same steps. NULL and exs_last_error on failure (EXS_EINVAL; EXS_EBUSY: this thread has
   one). */
EXS_API exs_sim *exs_sim_new_sized(uint64_t seed, const exs_sim_options *options, size_t size);

static inline exs_sim *exs_sim_new(uint64_t seed, const exs_sim_options *options)
{
	return exs_sim_new_sized(seed, options, sizeof(*options));
}

/* Runs what is left, without faults, and ends the simulation: from now on this thread blocks again. Its chains should have
   been freed: one that has not been refuses calls. Not within a step (EXS_EBUSY: nothing happens). Answers 0, EXS_EBUSY, or
   EXS_EDEADLK: calls or freed chains were left that will never end (the log says which). NULL is allowed. */
EXS_API int exs_sim_free(exs_sim *sim);

/* New pool of the simulation: a leaf on which to build a chain whose layers read the simulation's clock. At most `workers`
   of its calls are in the middle of running at a time, those that wait included (but a call that one of them waits for may
   run on top): as a thread pool without spares; 0: no limit. Any number of pools. NULL and exs_last_error on failure; sim
   NULL gives NULL. */
EXS_API exs_executor *exs_sim_pool(exs_sim *sim, unsigned workers);

/* The simulation's clock, borrowed: for exs_with_clock(exs_inline(), ...), exs_clock_now, exs_clock_advance. */
EXS_API exs_clock *exs_sim_clock(exs_sim *sim);

/* Steps until nothing is left to do. Answers 0, or EXS_EDEADLK after max_steps. May be called anywhere on the thread, also
   inside tasks. */
EXS_API int exs_sim_run(exs_sim *sim);

/* One step. false: nothing is left to do. */
EXS_API bool exs_sim_step(exs_sim *sim);

/* Steps until done(arg), which has no side effects: a condition of the program's own, such as a gate at which a task waits.
   Answers 0, EXS_ETIMEDOUT, EXS_EDEADLK, EXS_EINVAL (a time that is none). May be called anywhere, also inside tasks. */
EXS_API int exs_sim_wait(exs_sim *sim, bool (*done)(void *arg), void *arg, double seconds);

/* Steps until the future is done: exs_future_wait without limit. */
EXS_API int exs_sim_run_until(exs_sim *sim, exs_future *future);

/* For the program's own decisions: uniform below n (n 0: 0), in [0, 1); and a truth of probability p. */
EXS_API uint64_t exs_sim_random(exs_sim *sim, uint64_t n);
EXS_API double exs_sim_uniform(exs_sim *sim);
EXS_API bool exs_sim_chance(exs_sim *sim, double p);

/* --- seeing what happens --- */

typedef enum exs_sim_kind {
	EXS_SIM_QUEUED = 1,	/* a call reached a pool */
	EXS_SIM_DELAYED = 2,	/* ... where it has to wait; detail: ns */
	EXS_SIM_RUN = 3,	/* its function begins */
	EXS_SIM_END = 4,	/* and has ended; detail: exs_kind */
	EXS_SIM_FAIL = 5,	/* EXS_SIM_EFAILED was injected */
	EXS_SIM_LOSE = 6,	/* EXS_SIM_ELOST was */
	EXS_SIM_CANCEL = 7,	/* a planned cancel; detail: exs_answer */
	EXS_SIM_TIMER = 8,	/* time moves on to a timer, which expires; detail: its time in ns */
	EXS_SIM_POLL = 9,	/* a turn of a poll layer, or of another layer that has a thread */
	EXS_SIM_RELEASE = 10,	/* a chain that was freed from within is released */
	EXS_SIM_NO_MEMORY = 11, /* an allocation was made to fail */
	EXS_SIM_STUCK = 12,	/* a wait answers EXS_EDEADLK; detail: 1 if it is inverted, 2 after max_steps */
	EXS_SIM_DRAW = 13,	/* exs_sim_random and the like; detail: what was drawn */
	EXS_SIM_NOTE = 14	/* exs_sim_note; detail: its value */
} exs_sim_kind;

typedef struct exs_sim_event {
	uint64_t step; /* steps begun so far */
	double time;   /* seconds, of the simulation's clock */
	exs_sim_kind kind;
	uint64_t call;	  /* the number of a call's arrival at a pool, from 1 (a retry arrives again); 0: of no call */
	const char *name; /* the task's, or NULL; borrowed */
	uint64_t detail;
} exs_sim_event;

/* Calls fn for each event from now on (NULL: no more). It must not call the library. */
typedef void exs_sim_trace_fn(void *ctx, const exs_sim_event *event);
EXS_API void exs_sim_trace(exs_sim *sim, exs_sim_trace_fn *fn, void *ctx);

/* Static text: "queued", "run", ... */
EXS_API const char *exs_sim_kind_name(exs_sim_kind kind);

/* A number of all events so far: the same for the same trace, and for hardly any other. */
EXS_API uint64_t exs_sim_digest(exs_sim *sim);

/* Puts a value of the program's (a result, a decision) into trace and digest. */
EXS_API void exs_sim_note(exs_sim *sim, uint64_t value);

typedef struct exs_sim_stats {
	uint64_t steps;
	uint64_t calls; /* arrivals at pools */
	uint64_t runs;
	uint64_t failed, lost, delayed, cancelled; /* injected; cancelled: cancels made, whatever their answer */
	uint64_t no_memory;
	uint64_t timers, polls;
	uint64_t stuck;	   /* waits that got EXS_EDEADLK */
	uint64_t inverted; /* of these, those that threads might have brought to an end */
} exs_sim_stats;

/* sim NULL: all 0. stats NULL is allowed. What a newer program's struct has beyond this library's is 0; of an older program's, as much
   is written as it has. */
EXS_API void exs_sim_get_stats_sized(exs_sim *sim, exs_sim_stats *stats, size_t size);

static inline void exs_sim_get_stats(exs_sim *sim, exs_sim_stats *stats)
{
	exs_sim_get_stats_sized(sim, stats, sizeof(*stats));
}

#ifdef __cplusplus
}
#endif
#endif
