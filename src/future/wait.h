/* Pieces of waiting that the set uses too. */
#ifndef EXSI_FUTURE_WAIT_H
#define EXSI_FUTURE_WAIT_H

#include "future/future.h"

/* Checks seconds and turns them into a deadline of this thread (exsi_thread_now). EXS_OK or EXS_EINVAL. */
int exsi_wait_begin(const char *what, double seconds, uint64_t *deadline);

/* Waits until done. EXS_OK, EXS_ETIMEDOUT, EXS_EDEADLK, EXS_EFORK. */
int exsi_wait(exs_future *f, uint64_t deadline);

/* Runs what this thread has put off: before it blocks. */
void exsi_drain(void);

#endif
