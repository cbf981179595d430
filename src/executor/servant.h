/* A thread of an executor's own, which sleeps until there is something to do. Where the clock has a turner, that does its work. */
#ifndef EXSI_EXECUTOR_SERVANT_H
#define EXSI_EXECUTOR_SERVANT_H

#include "executor/executor.h"

/* On no thread but the servant's, but for ready and holds; without locks. */
struct exsi_servant_ops {
	const char *name;		/* of the thread, behind that of the executor */
	bool (*ready)(exs_executor *x); /* is there something to do? No side effects */
	void (*turn)(exs_executor *x);	/* does some of it; may run user code */
	bool (*holds)(exs_executor *x,
		      const void *scope); /* is something of the scope's waiting for it, or in its hands? */
};

struct exsi_servant {
	exs_executor *x;
	const struct exsi_servant_ops *ops;
	struct exsi_timer_kind kind;
	struct exsi_timer timer;
	struct exsi_crew crew;
	struct exsi_worker worker; /* the thread as one that waits: in vain for a call that it has to see to itself */
	struct exsi_chore chore;   /* instead of the thread, where the clock has a turner: then next is not NULL */
	bool holds_clock;
	atomic_bool due;  /* it was called, now or by the timer */
	atomic_bool stop; /* once set: it does nothing more */
	atomic_uint bell; /* the thread sleeps on it */
};

/* 0 or an errno; stop is to be called in any case. Not on its thread. Its x has no calls left, or has had none. */
int exsi_servant_start(struct exsi_servant *s, exs_executor *x, const struct exsi_servant_ops *ops);
void exsi_servant_stop(struct exsi_servant *s);

/* Something may be ready. Also under a lock: after it the executor may be gone. */
void exsi_servant_ring(struct exsi_servant *s);

/* Sets `due` and rings: at once; or, by the servant alone, after so many ns. */
void exsi_servant_call(struct exsi_servant *s);
void exsi_servant_call_after(struct exsi_servant *s, uint64_t ns);

/* The servant comes when called: `due` is false, and the timer off. */
void exsi_servant_come(struct exsi_servant *s);

#endif
