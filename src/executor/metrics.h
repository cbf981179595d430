/* Counters: series of executors with the same name and type. */
#ifndef EXSI_EXECUTOR_METRICS_H
#define EXSI_EXECUTOR_METRICS_H

#include "executor/executor.h"

enum exsi_counter {
	/* Each thread has its own stripe of these: */
	EXSI_CALLS,
	EXSI_CALLS_ENDED,
	EXSI_CALLS_CANCELLED,
	EXSI_CALLS_FAILED,
	EXSI_CALLS_NS,
	EXSI_CALLS_SHUT_DOWN,
	EXSI_RETRIES,
	EXSI_RETRIES_NS,
	EXSI_STRIPED,
	/* and all share these: */
	EXSI_POLLS = EXSI_STRIPED,
	EXSI_POLLS_FAILED,
	EXSI_POLLS_NS,
	EXSI_TIMEOUTS,
	EXSI_EXECUTORS,
	EXSI_EXECUTORS_CLOSED,
	EXSI_COUNTERS
};

enum {
	EXSI_NAME_MAX = 32,  /* of executors and types, with the terminator */
	EXSI_TASK_MAX = 64,  /* of tasks */
	EXSI_MAX_TASKS = 32, /* with "other" */
	EXSI_MAX_SERIES = 512
};

/* Never freed; the names are constant once it is found. */
struct exsi_series {
	char executor[EXSI_NAME_MAX], type[EXSI_NAME_MAX], task[EXSI_TASK_MAX];
	struct exsi_series *_Atomic by_task[EXSI_MAX_TASKS]; /* of that without task */
	_Atomic(uint64_t) shared[EXSI_COUNTERS - EXSI_STRIPED];
	struct {
		_Alignas(EXSI_LINE) _Atomic(uint64_t) n[EXSI_STRIPED];
	} stripes[EXSI_STRIPES];
};

/* Release: who reads (exsi_series_sum) that a call has ended finds, of a counter read after that, that it began. */
static inline void exsi_series_add(struct exsi_series *s, enum exsi_counter counter, uint64_t by)
{
	_Atomic(uint64_t) *n =
		counter < EXSI_STRIPED ? &s->stripes[exsi_stripe()].n[counter] : &s->shared[counter - EXSI_STRIPED];

	atomic_fetch_add_explicit(n, by, memory_order_release);
}

uint64_t exsi_series_sum(const struct exsi_series *s, enum exsi_counter counter);

/* That of x, which from the first time on counts as an executor in it. And of this task. Not of a relay. */
struct exsi_series *exsi_series_of(exs_executor *x);
struct exsi_series *exsi_series_of_task(exs_executor *x, const char *task);

/* All of them: i from 0, until it answers NULL. */
struct exsi_series *exsi_series_at(size_t i);

/* What waits in the living executors of this series. */
uint64_t exsi_series_waiting(const struct exsi_series *s);

/* Living executors: x was made, gets another name, is shut down, ends. */
void exsi_metrics_made(exs_executor *x);
void exsi_metrics_name(exs_executor *x, const char *name);
void exsi_metrics_closed(exs_executor *x);
void exsi_metrics_ends(exs_executor *x);

/* For an event of x itself, if metrics are on and know x. Takes no lock. */
void exsi_metrics_count(exs_executor *x, enum exsi_counter counter, uint64_t by);

/* All living executors have their series from now on. */
void exsi_metrics_settle(void);

#endif
