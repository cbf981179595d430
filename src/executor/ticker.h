/* The timer of an executor, armed only while something waits there. */
#ifndef EXSI_EXECUTOR_TICKER_H
#define EXSI_EXECUTOR_TICKER_H

#include "executor/executor.h"

/* The executor's lock guards `on`. Invariants while it is free:
   - something waits only while on;
   - on: the timer is armed, or fires, or somebody is about to arm it or has just disarmed it. Who has armed it, or taken out
     what waited last, looks whether it is still needed. On keeps x. */
struct exsi_ticker {
	exs_executor *x; /* NULL: not made */
	pthread_mutex_t *lock;
	uint64_t ns;
	bool (*waits)(exs_executor *x); /* with the lock: does something wait? */
	void (*tick)(exs_executor *x);	/* without; ns after the start, and so on; may run user code */
	struct exsi_timer_kind kind;
	struct exsi_timer timer;
	bool on;
};

/* In x's constructor, with exsi_hold_clock, whose answer it gives. */
exs_executor *exsi_ticker_init(struct exsi_ticker *t, exs_executor *x, pthread_mutex_t *lock, uint64_t ns,
			       bool (*waits)(exs_executor *), void (*tick)(exs_executor *));

/* With the lock, which it leaves for a moment, where it is not on, before something waits: it may not be on again. */
void exsi_ticker_start(struct exsi_ticker *t);

/* With the lock: it is on, and nothing waits: exsi_ticker_rest is to be called, without the lock, while something keeps x. */
bool exsi_ticker_is_idle(const struct exsi_ticker *t);
void exsi_ticker_rest(struct exsi_ticker *t);

/* Gives the lock back, and sees to that; where something keeps x, or waits. Also of one that has not been made, with its lock. */
void exsi_ticker_unlock(struct exsi_ticker *t);

#endif
