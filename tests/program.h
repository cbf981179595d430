/* Runs an example as a program: what it prints, how it ends. */
#ifndef TESTING_PROGRAM_H
#define TESTING_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct program {
	pid_t pid;
	int fds[2]; /* of its output and error output; -1 once closed */
	char *texts[2];
	size_t sizes[2];
	int status; /* as of waitpid */
};

/* A file from which `text` is read. */
int program_file(const char *text);

/* Starts ../examples/NAME, as seen from the test's own program (or what EXS_TEST_ and the name in capitals say), with args (NULL at the
   end) on three descriptors, which are closed here; -1: it finds that one closed. No proxy stands between it and the loopback. */
pid_t program_spawn(const char *name, const char *const *args, int in, int out, int err);

/* Starts it with its input, closed here, on a descriptor, and its outputs in pipes. */
void program_start(struct program *p, const char *name, const char *const *args, int in);

/* Reads what comes next on its outputs, waits for it. false: both are at their end. */
bool program_read(struct program *p);

/* Waits for the end, reading; answers the exit status, or minus the signal. */
int program_end(struct program *p);

/* program_end, which answers this status. */
void program_check(struct program *p, int status);

void program_free(struct program *p);

#endif
