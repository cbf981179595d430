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

/* Sets them, none above what it is already; restricted: no new privileges, no core dumps, files of no bytes (those in memory are files too:
   memfd_create works, its ftruncate and write kill), at most 64 descriptors, no further processes, nor threads (but for root): so whatever needs
   one begins before. 0 or an errno: *what (static text) says which; those before it are set. */
int exsi_place_limit(const struct exsi_place_limits *limits, const char **what);

/* Starts the watchdog: a thread that ends this process when the other end of the control socket is closed, or the process that made the socket
   has gone; whatever the rest of this process does, and whatever still waits in the socket. If that one has gone, with all of this process's
   group, if it leads it (SIGKILL); if it lives, within a moment, with status EXSI_PLACE_ORPHAN. Takes a descriptor of its own. 0 or an errno;
   ESRCH: it has gone already. Once in a process. */
enum { EXSI_PLACE_ORPHAN = 113 };
int exsi_place_watch(int control);

/* From now on a signal of a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) writes what it was and a backtrace to standard error before it
   takes its course, on a stack of its own on the calling thread. Signals that are handled already are left as they are (a sanitizer's). */
void exsi_place_tell_crashes(void);

#endif
