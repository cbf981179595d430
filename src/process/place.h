/* The worker process from inside: what it is made to be before user code runs, and how it is ended. */
#ifndef EXSI_PROCESS_PLACE_H
#define EXSI_PROCESS_PLACE_H

#include <stdbool.h>
#include <stdint.h>

/* What the BEGIN message brings. */
struct exsi_place_limits {
	uint64_t memory;      /* bytes; 0: none */
	uint64_t cpu_seconds; /* rounded up; 0: none */
	bool restricted;
};

/* Sets them. 0 or an errno: *what says which. */
int exsi_place_limit(const struct exsi_place_limits *limits, const char **what);

/* Starts the watchdog: a thread that ends this process at once (status EXSI_PLACE_ORPHAN) when the other end of the control socket is
   closed, or the process that spawned this one has gone; whatever the rest of the process does. 0 or an errno. */
enum { EXSI_PLACE_ORPHAN = 113 };
int exsi_place_watch(int control);

/* From now on a signal of a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) writes what it was and a backtrace to standard error before it
   takes its course. */
void exsi_place_tell_crashes(void);

#endif
