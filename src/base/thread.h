/* Library threads, and what a thread must know of itself. */
#ifndef EXSI_BASE_THREAD_H
#define EXSI_BASE_THREAD_H

#include "base/sync.h"

#include <executors/base.h>
#include <pthread.h>

/* A crew: threads that end by themselves and are joined without anybody keeping a list: each that ends joins the one that
   ended before it. lock guards all fields. */
struct exsi_crew {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned alive;
	bool has_last;
	pthread_t last; /* ended, not yet joined */
};

void exsi_crew_init(struct exsi_crew *crew);

/* Starts fn(arg) with all signals blocked but those of faults (SIGSEGV ...). 0 or an errno. */
int exsi_crew_start(struct exsi_crew *crew, const char *name, size_t stack_size, void (*fn)(void *), void *arg);

/* The smallest stack in bytes that a thread may have. */
size_t exsi_stack_min(void);

/* Is half of the calling thread's stack left? true where that is not known: if it is no library thread, or not on Linux. */
bool exsi_has_stack(void);

/* Processors of this machine, numbered from 0; 0: a thread can't be bound to any here. */
unsigned exsi_processors(void);

/* Binds the calling thread to these. 0 or an errno. */
int exsi_bind(const unsigned *cpus, size_t n);

/* Waits until all have ended and are joined. The caller must not be one of them. */
void exsi_crew_join(struct exsi_crew *crew);
void exsi_crew_fini(struct exsi_crew *crew);

/* Wakes a thread that waits for a future, to look again whether it can help: fn(arg), which takes no lock but that of the parking. */
struct exsi_nudge {
	void (*fn)(void *arg);
	void *arg;
};

enum { EXSI_AGAIN = -1 };

/* What the layers above hang on a thread whose blocking matters to others (a pool's worker, the callback thread). */
struct exsi_worker {
	/* Does part of what future waits for on this thread; false: could not. */
	bool (*help)(struct exsi_worker *worker, exs_future *future);
	/* Could future need a thread of this worker's kind? */
	bool (*concerns)(struct exsi_worker *worker, exs_future *future);
	/* This thread is about to block; concerned: on a future of that sort. 0, EXS_EDEADLK (only if concerned), or EXSI_AGAIN (only with
	   a nudge): help may find now what it did not find before. From 0 to unblock the worker may call the nudge, when help may find more. */
	int (*block)(struct exsi_worker *worker, bool concerned, const struct exsi_nudge *nudge);
	void (*unblock)(struct exsi_worker *worker);
	/* No other thread can do what this one does: is that something of the scope's? NULL: there are others. */
	bool (*holds)(struct exsi_worker *worker, const void *scope);
	/* What was made on this thread for tasks like the one of future, or NULL. The hook may be NULL. */
	void *(*state)(struct exsi_worker *worker, exs_future *future);
	/* It is blocked: does another thread stand in for it, or could one? NULL: yes. */
	bool (*replaced)(struct exsi_worker *worker);
};

/* The work of a library thread, as steps that a turner does in its place. */
struct exsi_chore {
	struct exsi_chore *next, *prev;
	bool (*ready)(struct exsi_chore *chore); /* is there something to do? No side effects */
	void (*turn)(struct exsi_chore
			     *chore); /* does some of it; sets up the frame and the worker that the thread would have */
	bool busy;		      /* in the middle of a turn */
};

/* Hangs on a thread that does itself what other threads would do for it meanwhile (a simulation's), and on its clock.
   Whatever would block on this thread turns it instead. All of it belongs to that one thread, or to several that take turns. */
struct exsi_turner {
	/* Turns until done(arg), which has no side effects. EXS_OK; EXS_ETIMEDOUT: `deadline` (as of now) has passed; EXS_EDEADLK: nothing
	   is left to do, and exs_last_error says so. */
	int (*until)(struct exsi_turner *turner, bool (*done)(void *), void *arg, uint64_t deadline);
	uint64_t (*now)(struct exsi_turner *turner); /* the time that waits are measured in, ns */
	double (*random)(struct exsi_turner *turner);
	bool (*no_memory)(struct exsi_turner *turner); /* is this allocation to fail? */
	struct exs_clock *clock;		       /* that it hangs on */
	struct exsi_chore chores;		       /* sentinel */
	exs_executor *to_reap; /* chains to be released later, in the order in which they came */
};
void exsi_enlist(struct exsi_turner *turner, struct exsi_chore *chore);
void exsi_dismiss(struct exsi_chore *chore); /* and waits, if another thread is in the middle of it */

/* How long a thread spins before it sleeps: for long if that was worth while the last times, for less and less if not; but now and then
   for longer than a wake takes. Otherwise two threads that wait for each other in turn, both asleep, would never find out that neither
   need be: each wakes the other too late for its short spin. */
struct exsi_patience {
	bool lost;	/* it has been in vain of late */
	unsigned turns; /* if lost; 0: not at all */
	unsigned times; /* that it was lost */
	uint64_t since; /* when the sleep began, ns */
};

/* Spins until done(arg), which is the answer. */
bool exsi_spin(struct exsi_patience *p, bool (*done)(void *), void *arg);

/* So many processes more (or fewer, below 0) do work that threads of this one may wait for: where processors are few, they need them. */
void exsi_spin_beside(int by);

/* Around the sleep that follows one in vain. */
void exsi_spin_slept(struct exsi_patience *p, bool begins);

/* The calling thread's own. */
struct exsi_frame;
struct exsi_self {
	struct exsi_turner *turner; /* or NULL: it blocks */
	struct exsi_worker *worker; /* innermost, or NULL */
	/* Runs what this thread has put off: before a wait, or as far as the stack allows; or NULL. */
	void (*drain)(bool wait);
	struct exsi_frame *frame;  /* innermost, or NULL */
	void (*lend)(bool begins); /* while this thread blocks and is replaced; or NULL */
	unsigned blocks;	   /* that it is in the middle of */
	unsigned stripe;	   /* + 1; 0: none yet */
	struct exsi_patience patience;
	uintptr_t half_stack; /* the address at which half of a library thread's stack is used; 0: not known */
	bool lent;
	bool (*hurry)(exs_future *future); /* may start what future waits for in a queue; or NULL */
};
extern _Thread_local struct exsi_self exsi_thread;

static inline struct exsi_self *exsi_self(void)
{
	return &exsi_thread;
}

/* This thread's stripe of counters, below EXSI_STRIPES: threads take turns. */
unsigned exsi_stripe_first(void);

static inline unsigned exsi_stripe(void)
{
	return exsi_thread.stripe ? exsi_thread.stripe - 1 : exsi_stripe_first();
}

/* While user code may run on behalf of an executor's chain on this thread. */
struct exsi_frame {
	const void *executor; /* of the call at work: of the user's, if that is a child */
	const void *layer;    /* or: a layer at work for many calls, so for every chain that stands on it */
	const void *scope;    /* that the call is a member of, or NULL: it can't end before this frame does */
	struct exsi_frame *prev;
};
static inline void exsi_frame_push(struct exsi_frame *frame, const void *executor)
{
	struct exsi_self *self = exsi_self();

	*frame = (struct exsi_frame){.executor = executor, .prev = self->frame};
	self->frame = frame;
}

static inline void exsi_frame_pop(struct exsi_frame *frame)
{
	exsi_self()->frame = frame->prev;
}

/* Before and after anything that may block for long on this thread. Neither concerned nor with a nudge: it is never refused. */
int exsi_block(bool concerned, const struct exsi_nudge *nudge); /* nudge may be NULL */
bool exsi_concerns(exs_future *future);
/* Around a wait, from before its first look for what it could help with: a worker is then one of those that news could be for. */
void exsi_look_out(bool begins);
bool exsi_anyone_looks_out(void);
bool exsi_help(exs_future *future); /* part of what future waits for was done or started here */
void exsi_unblock(void);

/* A wait without a deadline for `future`: runs it, or what it waits for, on this thread. false: it can't. The function that does so comes
   from above. */
bool exsi_run_awaited(exs_future *future);
void exsi_run_awaited_by(bool (*run)(exs_future *future));

/* What future waits for, which a thread may wait for, has become something else: that may be what it can do. By a function from above. */
void exsi_news_of(exs_future *future);
void exsi_news_of_by(void (*tell)(exs_future *future));

/* What this thread waits for may be what only it can do (exsi_help). */
bool exsi_must_help(void);

/* Could there be something that this thread can do of what it waits for (exsi_help, exsi_run_awaited)? */
bool exsi_can_help(bool without_limit);

/* Now, for the deadline of a wait on this thread: ns on CLOCK_MONOTONIC, or the turner's. */
uint64_t exsi_thread_now(void);

/* True in a child that forked from a process in which the library had been used. exsi_fork_watch begins to watch. */
bool exsi_forked(void);
void exsi_fork_watch(void);

#endif
