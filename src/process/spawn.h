/* Spawn: a child process with nothing of its parent's but two sockets, and how it ends. */
#ifndef EXSI_PROCESS_SPAWN_H
#define EXSI_PROCESS_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* In the child: its descriptors, beside standard input (/dev/null), output and error (both the pipe). Nothing else is open. */
enum { EXSI_CHILD_DATA = 3, EXSI_CHILD_CONTROL = 4 };

/* How a worker knows itself to be one: its last argument. */
#define EXSI_CHILD_MARK "--exs-worker"

struct exsi_spawn_plan {
	const char *program;	 /* NULL: the running one */
	const char *const *args; /* n_args between argv[0] and the mark */
	size_t n_args;
	bool empty_environment;
};

/* All descriptors close on exec. -1: none. */
struct exsi_child {
	pid_t pid;	   /* which leads its session and its process group */
	int pidfd;	   /* readable once it has ended */
	int data, control; /* SOCK_SEQPACKET, our ends */
	int output;	   /* what it writes on standard output and error; does not block */
};

/* Spawns it: in a session of its own, with all signals at their defaults and none blocked. Its ends of the sockets block, ours do not. The
   running program's argv[0] is its path. 0; or an errno, and nothing of it is left: *what (static text) says what could not be done
   ("posix_spawn": the program can't be run). MT-safe; blocks until the program has begun. */
int exsi_spawn(struct exsi_child *child, const struct exsi_spawn_plan *plan, const char **what);

/* Sends the signal to it, and to all of its process group (SIGKILL, SIGTERM). Only before it has been reaped here; if somebody else has,
   nothing happens. */
void exsi_child_signal(struct exsi_child *child, int signal);

/* SIGKILL to it alone, whatever has become of it. MT-safe. */
void exsi_child_kill(const struct exsi_child *child);

/* Is it about to end, or has it ended? Also if that can't be seen here. */
bool exsi_child_is_ending(const struct exsi_child *child);

/* How a process ended. */
struct exsi_death {
	bool known; /* false: somebody else has reaped it (SIGCHLD is ignored, or a wait for any child) */
	bool by_signal;
	int code; /* the signal, or the exit status */
};

/* Reaps it if it has ended; whatever is left of its process group is killed first (not if somebody else has reaped it: the number of the
   group may be another's by now). What has left the group (setsid) lives on, and keeps the pipe open. false: it runs. Does not block. */
bool exsi_child_reap(struct exsi_child *child, struct exsi_death *death);

/* Closes what is open. */
void exsi_child_close(struct exsi_child *child);

/* fd, or, if that is one of the standard ones or of a child's, a higher one in its place, which closes on exec. -1 and errno: fd is closed.
   -1 is fine: then errno stays as it is. */
int exsi_spawn_raise(int fd);

/* --- what it has written (output.c) --- */

enum { EXSI_TAIL = 4 << 10 };

/* The last lines of what has been read; and where they go. */
struct exsi_output {
	int fd;		      /* the child's pipe; borrowed */
	int file;	      /* the log file, or -1 */
	const char *who;      /* executor's name for the log hook's lines; borrowed */
	unsigned number;      /* of the worker */
	char tail[EXSI_TAIL]; /* a ring */
	size_t written;	      /* bytes so far; the ring's end is at written % EXSI_TAIL */
	size_t line;	      /* where the line that is not whole begins, of written */
	bool cut;	      /* that one has been told already, as far as it goes */
};

/* file: NULL, or a path, opened for appending, without waiting for who reads it: 0 or an errno, when there is no file, but the rest works:
   lines go to the log hook, as they do from when the file takes no more (which is logged as a warning). */
int exsi_output_init(struct exsi_output *o, int fd, const char *file, const char *who, unsigned number);

/* Reads what is there, a bounded amount at a time; to the file, or line by line to the log hook (EXS_LOG_INFO, "worker 3: ..."; longer
   lines are cut; what is not printable is '?'). false: end of file. Does not block. */
bool exsi_output_read(struct exsi_output *o);

/* The tail, from the beginning of a line if there is one, into text (EXSI_TAIL + 1 bytes): printable UTF-8 ('?' otherwise), with ends of line;
   without the last one. Answers its length. */
size_t exsi_output_tail(const struct exsi_output *o, char *text);
void exsi_output_fini(struct exsi_output *o);

#endif
