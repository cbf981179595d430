/* Spawn: a child process with nothing of its parent's but two sockets, and how it ends. */
#define _GNU_SOURCE
#include "process/spawn.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char self[] = "/proc/self/exe";

/* First of those that the child must not see. */
enum { ABOVE_CHILD = EXSI_CHILD_CONTROL + 1 };

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* --- descriptors --- */

int exsi_spawn_raise(int fd)
{
	if (fd < 0 || fd >= ABOVE_CHILD)
		return fd;
	int above = fcntl(fd, F_DUPFD_CLOEXEC, ABOVE_CHILD);
	int error = errno == EINVAL ? EMFILE : errno; /* the limit is lower still */
	close(fd);
	errno = error;
	return above;
}

/* The child's ends. */
struct ends {
	int data, control, output;
};

/* Raises a pair that has just been made, and makes its first (ours) not block. */
static int raise_pair(const int *made, int *ours, int *theirs, const char **what)
{
	int error = 0;

	*ours = exsi_spawn_raise(made[0]);
	if (*ours < 0)
		error = errno;
	*theirs = exsi_spawn_raise(made[1]);
	if (*theirs < 0 && !error)
		error = errno;
	if (!error && fcntl(*ours, F_SETFL, fcntl(*ours, F_GETFL) | O_NONBLOCK))
		error = errno;
	if (error)
		*what = "fcntl";
	return error;
}

static int make_socket(int *ours, int *theirs, const char **what)
{
	int made[2];

	*what = "socketpair";
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, made))
		return errno;
	return raise_pair(made, ours, theirs, what);
}

static int make_pipe(int *ours, int *theirs, const char **what)
{
	int made[2];

	*what = "pipe2";
	if (pipe2(made, O_CLOEXEC))
		return errno;
	return raise_pair(made, ours, theirs, what);
}

static int make_ends(struct exsi_child *child, struct ends *ends, const char **what)
{
	int rc = make_pipe(&child->output, &ends->output, what);

	if (!rc)
		rc = make_socket(&child->data, &ends->data, what);
	return rc ? rc : make_socket(&child->control, &ends->control, what);
}

static void close_ends(struct ends *ends)
{
	close_one(&ends->data);
	close_one(&ends->control);
	close_one(&ends->output);
}

/* --- the program --- */

/* What it is started as, in one block with the name of the running program. */
struct line {
	const char *program;
	char name[PATH_MAX];
	const char *argv[];
};

/* NULL: memory is short. */
static struct line *make_line(const struct exsi_spawn_plan *plan)
{
	size_t most = (SIZE_MAX / 2 - sizeof(struct line)) / sizeof(char *) - 3, n = plan->n_args;
	struct line *line = n > most ? NULL : exsi_alloc(sizeof(*line) + (n + 3) * sizeof(*line->argv));

	if (!line)
		return NULL;
	ssize_t length = plan->program ? 0 : readlink(self, line->name, sizeof(line->name) - 1);
	line->name[length > 0 ? length : 0] = '\0';
	line->program = plan->program ? plan->program : self;
	line->argv[0] = *line->name ? line->name : line->program;
	for (size_t i = 0; i < n; i++)
		line->argv[i + 1] = plan->args[i];
	line->argv[n + 1] = EXSI_CHILD_MARK;
	line->argv[n + 2] = NULL;
	return line;
}

static int set_actions(posix_spawn_file_actions_t *actions, const struct ends *ends)
{
	int rc = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

	if (!rc)
		rc = posix_spawn_file_actions_adddup2(actions, ends->output, STDOUT_FILENO);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(actions, ends->output, STDERR_FILENO);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(actions, ends->data, EXSI_CHILD_DATA);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(actions, ends->control, EXSI_CHILD_CONTROL);
	return rc ? rc : posix_spawn_file_actions_addclosefrom_np(actions, ABOVE_CHILD);
}

static int set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t all, none;

	sigfillset(&all);
	sigemptyset(&none);
	posix_spawnattr_setsigdefault(attributes, &all);
	posix_spawnattr_setsigmask(attributes, &none);
	return posix_spawnattr_setflags(attributes,
					POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

static int start(pid_t *pid, const struct line *line, const struct ends *ends, bool empty_environment)
{
	static char *const none[] = {NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;

	int rc = posix_spawn_file_actions_init(&actions);
	if (rc)
		return rc;
	rc = posix_spawnattr_init(&attributes);
	if (rc) {
		posix_spawn_file_actions_destroy(&actions);
		return rc;
	}
	rc = set_actions(&actions, ends);
	if (!rc)
		rc = set_attributes(&attributes);
	/* It changes none of the arguments. */
	if (!rc)
		rc = posix_spawn(pid, line->program, &actions, &attributes, (char *const *)(uintptr_t)line->argv,
				 empty_environment ? none : environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

/* --- started --- */

/* Of a child without a pidfd, which nobody else knows of. */
static void put_down(pid_t pid)
{
	kill(-pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static int start_child(struct exsi_child *child, struct ends *ends, const struct exsi_spawn_plan *plan,
		       const char **what)
{
	pid_t pid;
	struct line *line = make_line(plan);

	*what = "the arguments";
	if (!line)
		return ENOMEM;
	*what = "posix_spawn";
	int rc = start(&pid, line, ends, plan->empty_environment);
	exsi_free(line);
	close_ends(ends); /* before the next descriptor, that it has room */
	if (rc)
		return rc;
	*what = "pidfd_open";
	int pidfd = pidfd_open(pid, 0);
	rc = errno;
	child->pidfd = exsi_spawn_raise(pidfd);
	if (child->pidfd < 0) {
		rc = pidfd < 0 ? rc : errno;
		if (rc != ESRCH) /* reaped by somebody else */
			put_down(pid);
		return rc;
	}
	child->pid = pid;
	return 0;
}

int exsi_spawn(struct exsi_child *child, const struct exsi_spawn_plan *plan, const char **what)
{
	struct ends ends = {-1, -1, -1};

	*child = (struct exsi_child){-1, -1, -1, -1, -1};
	int rc = make_ends(child, &ends, what);
	if (!rc)
		rc = start_child(child, &ends, plan, what);
	close_ends(&ends);
	if (rc)
		exsi_child_close(child);
	return rc;
}

/* --- its end --- */

void exsi_child_signal(struct exsi_child *child, int signal)
{
	/* Its number is its own as long as it has not been reaped, be it by somebody else. It leads the group, which it can't leave. */
	if (!pidfd_send_signal(child->pidfd, 0, NULL, 0))
		kill(-child->pid, signal);
}

void exsi_child_kill(const struct exsi_child *child)
{
	pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0);
}

/* The flags in its state (the ninth field) tell it before its descriptors are closed. */
bool exsi_child_is_ending(const struct exsi_child *child)
{
	enum { ENDING = 4 }; /* PF_EXITING */
	char path[64], text[512];
	unsigned flags = ENDING;

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)child->pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *name_end = strrchr(text, ')');
	if (name_end)
		sscanf(name_end, ") %*c %*d %*d %*d %*d %*d %u", &flags);
	return flags & ENDING;
}

static void describe(struct exsi_death *death, const siginfo_t *info)
{
	*death = (struct exsi_death){true, info->si_code != CLD_EXITED, info->si_status};
}

bool exsi_child_reap(struct exsi_child *child, struct exsi_death *death)
{
	siginfo_t info = {0};

	*death = (struct exsi_death){0};
	if (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG | WNOWAIT))
		return errno == ECHILD;
	if (!info.si_pid)
		return false;
	describe(death, &info);
	kill(-child->pid, SIGKILL); /* while the number is still the dead one's */
	waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG);
	return true;
}

void exsi_child_close(struct exsi_child *child)
{
	close_one(&child->pidfd);
	close_one(&child->data);
	close_one(&child->control);
	close_one(&child->output);
}
