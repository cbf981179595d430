/* A simulation inside. One thread's, or several's of which one goes on at a time: so nothing in it has a lock, but the baton. */
#ifndef EXSI_POOLS_SIM_H
#define EXSI_POOLS_SIM_H

#include "executor/executor.h"

#include <executors/sim.h>

enum { EXSI_SIM_PLANS = 32, EXSI_SIM_MAX_DEPTH = 64, EXSI_SIM_MAX_CHORES = 64 };

/* A cancel to be made. The future's own list holds the node while the plan is on, so no reference is needed, which the program
   could see; done futures leave by themselves. */
struct exsi_plan {
	struct exsi_node node;
	exs_future *call; /* NULL: no plan */
	uint64_t number;
	uint64_t at; /* step */
};

struct exsi_sim_pool;

/* A call whose function is on a stack. */
struct exsi_sim_run {
	struct exsi_sim_run *next, *prev; /* in its pool */
	struct exsi_sim_run *below;	  /* on the same stack */
	struct exsi_sim_pool *pool;
	exs_future *call;
};

/* What belongs to a stack: the program's, or (options.threads) that of a thread which makes steps. */
struct exsi_sim_seat {
	exs_sim *sim;
	struct exsi_sim_seat *next; /* that makes no steps */
	pthread_cond_t passed;	    /* the baton, to this one */
	unsigned depth;		    /* steps on the stack */
	struct exsi_sim_run *run;   /* the innermost, or NULL */
	struct exsi_sim_wait *wait; /* the innermost, or NULL: those below can't go on before it has */
};

/* A wait under way, the latest first. */
struct exsi_sim_wait {
	bool (*done)(void *);
	void *arg;
	uint64_t deadline, last_step;
	struct exsi_sim_seat *seat;
	struct exsi_sim_wait *below;
	struct exsi_sim_wait *within; /* that below it on its stack, or NULL */
	bool idles;		      /* until nothing is left to do */
	bool told;		      /* that it is in vain */
};

struct exs_sim {
	struct exsi_turner turner;
	struct exsi_worker worker; /* a task's thread as one that waits */
	bool over;		   /* freed: only pools are left */
	bool faultless;		   /* no more faults */
	unsigned refs;		   /* the user's, and its pools' */
	unsigned chores_done;	   /* since something else was */
	uint64_t random;	   /* state */
	uint64_t digest;
	exs_sim_options options;
	exs_clock *clock;
	struct exsi_sim_pool *pools, **last_pool;
	struct exsi_sim_wait *wait;
	struct exsi_sim_seat seat; /* the program's */
	struct exsi_sim_seat
		*current; /* which has the baton: only its thread touches the simulation. Written under `baton` */
	struct exsi_sim_seat *idle; /* whose threads wait for something to do */
	unsigned seats, idles;	    /* threads that make steps; of these, idle */
	bool ends;		    /* these threads are to end. Under `baton` */
	pthread_mutex_t baton;
	struct exsi_crew crew;
	struct exsi_plan plans[EXSI_SIM_PLANS];
	exs_sim_trace_fn *trace;
	void *trace_ctx;
	exs_sim_stats stats;
};

void exsi_sim_unref(exs_sim *sim);

/* Draws that the trace does not show. */
uint64_t exsi_sim_below(exs_sim *sim, uint64_t n);
bool exsi_sim_fault(exs_sim *sim, double p); /* false: no draw, if p is 0 or faults have ended */
void exsi_sim_event(exs_sim *sim, exs_sim_kind kind, uint64_t call, const char *name, uint64_t detail);

/* Perhaps plans a cancel of a call that has reached a pool. */
void exsi_sim_plan_cancel(exs_sim *sim, exs_future *call, uint64_t number);

/* Around what a step does. */
void exsi_sim_enter(exs_sim *sim);
void exsi_sim_leave(exs_sim *sim);

/* One step, not beyond `deadline`. EXS_OK; EXS_ETIMEDOUT: that has come; EXS_EDEADLK: nothing is left to do. */
int exsi_sim_turn(exs_sim *sim, uint64_t deadline);

/* The same where waits have threads of their own: perhaps, instead of a step, one of them goes on (*next). */
int exsi_sim_choose(exs_sim *sim, struct exsi_sim_wait **next);

/* Lets others go on until this thread's wait is chosen. false: there is no thread for that. */
bool exsi_sim_let_go_on(exs_sim *sim);

/* false: some are in the middle of something that never ends. */
bool exsi_sim_end_threads(exs_sim *sim);
int exsi_sim_until(struct exsi_turner *turner, bool (*done)(void *), void *arg, uint64_t deadline);
void exsi_sim_drop_plans(exs_sim *sim);

/* Pools: has it a call that may run now? Runs one of them. The next of the simulation's pools. */
bool exsi_sim_pool_ready(const struct exsi_sim_pool *pool);
void exsi_sim_pool_run(struct exsi_sim_pool *pool);
struct exsi_sim_pool *exsi_sim_pool_next(struct exsi_sim_pool *pool);
bool exsi_sim_pool_help(struct exsi_worker *worker, exs_future *future);

#endif
