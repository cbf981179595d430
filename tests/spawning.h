/* Spawns the program that is made of spawned.c, and sees to its end. */
#ifndef TESTING_SPAWNING_H
#define TESTING_SPAWNING_H

#include "process/spawn.h"

struct spawned {
	struct exsi_child child;
	struct exsi_death death;
	char text[16384]; /* its output */
	size_t size;
};

/* The program: as EXS_TEST_SPAWNED says, or beside the test's own. */
const char *spawned_path(void);

/* Starts it with args (NULL at the end). */
void spawned_start(struct spawned *s, const char *const *args);

/* Reads its output up to a line's end; up to its end. */
void spawned_read_line(struct spawned *s);
void spawned_read(struct spawned *s);

/* Receives a packet on our end of its data socket, as text. */
void spawned_receive(struct spawned *s, char *text, size_t size);

/* Waits for its end and reaps it; closes everything. */
void spawned_end(struct spawned *s);

/* All of it. */
void spawned_run(struct spawned *s, const char *const *args);

/* Waits up to so many milliseconds (-1: for long) until the process of a pidfd, closed here, has ended. */
bool spawned_gone(int pidfd, int ms);

/* The process's pidfd. */
int spawned_open(pid_t pid);

/* Descriptors of this process that are open. */
int spawned_descriptors(void);

/* Does this process run under a sanitizer that handles faults? */
bool spawned_sanitized(void);

#endif
