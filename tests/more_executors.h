/* What the counterparts of more-executors' own tests (tests/more_executors.md) share: its matrix of executors, and ours. */
#ifndef MORE_EXECUTORS_H
#define MORE_EXECUTORS_H

#include "support.h"

/* One executor of the matrix. Its timers read a clock that stands still unless a test advances it. */
struct more_env {
	const char *name;
	exs_clock *clock;
	exs_executor *ex;   /* NULL: the test has freed it */
	exs_executor *base; /* the leaf, which ex borrows */
	bool here;	    /* a task runs inside its submit */
	bool one_by_one;    /* so that no task may wait for a later one */
	bool elsewhere;	    /* its task runs as another call, for which it waits: pending */
	bool cancels;	    /* a shutdown in any mode cancels */
	bool late;	    /* a call that was asked to stop may yet be cancelled, whatever its task answers */
};

/* Runs the test on each executor, and on those of threads in a simulation as well; afterwards no thread, future or timer is left. EXS_TEST_CHAIN=PATTERN: on these only. */
void more_over_matrix(void (*test)(struct more_env *env));

/* TEST(suite, name) over the matrix; `env` is the executor. */
#define OVER_MATRIX(suite, name)                                                                                       \
	static void suite##_##name(struct more_env *env);                                                              \
	TEST(suite, name)                                                                                              \
	{                                                                                                              \
		more_over_matrix(suite##_##name);                                                                      \
	}                                                                                                              \
	static void suite##_##name(struct more_env *env)

/* Numbers as arguments and values. */
static inline void *num(long n)
{
	return (void *)(intptr_t)n;
}
exs_result more_twice(void *n, exs_context *ctx);		       /* a task: 2 n */
exs_future *more_submit(exs_executor *ex, exs_task_fn *fn, void *arg); /* never NULL */
void more_expect(exs_future *f, long n);			       /* it answers that; drops the reference */

/* An executor of n workers at most, and of the thread that submits, on the clock. */
exs_executor *more_pool(unsigned workers, exs_clock *clock);
exs_executor *more_inline(exs_clock *clock);

/* The poll function that resolves all with what they are. */
exs_error *more_poll_noop(void *ctx, exs_descriptor **d, size_t n, double *delay);

/* A retry that never does: a policy that always says no. */
exs_executor *more_no_retry(exs_executor *ex);

#endif
