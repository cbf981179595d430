/* Children of a benchmark that is its own child program: spawned, with a socket each. The floor beside the process pool. */
#ifndef BENCH_CHILDREN_H
#define BENCH_CHILDREN_H

#include "ours.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { CHILD_FD = 3, MOST_CHILDREN = 4 };

struct children {
	int n, fd[MOST_CHILDREN]; /* the parent's end of each */
	pid_t pid[MOST_CHILDREN];
};

static inline int spawn_child(const char *role, int fd, pid_t *pid)
{
	char *const argv[] = {(char[]){"child"}, (char *)(uintptr_t)role, NULL};
	posix_spawn_file_actions_t actions;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
	int rc = posix_spawn(pid, "/proc/self/exe", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

/* n children that play the role (their first argument) on a socket of that type, which is their CHILD_FD. */
static inline struct children begin_children(const char *role, int type, int n)
{
	struct children c = {.n = n};

	for (int i = 0; i < n; i++) {
		int pair[2];
		die_unless(!socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), "socketpair");
		/* dup2 of a descriptor to itself would leave it to be closed. */
		int other = fcntl(pair[1], F_DUPFD_CLOEXEC, CHILD_FD + 1);
		die_unless(other >= 0 && !spawn_child(role, other, &c.pid[i]), "spawn");
		close(pair[1]);
		close(other);
		c.fd[i] = pair[0];
	}
	return c;
}

static inline void end_children(struct children *c)
{
	for (int i = 0; i < c->n; i++) {
		close(c->fd[i]);
		waitpid(c->pid[i], NULL, 0);
	}
}

/* All of size bytes; false: the other side has closed. */
static inline bool read_fully(int fd, void *data, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = read(fd, (char *)data + done, size - done);
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static inline bool write_fully(int fd, const void *data, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = send(fd, (const char *)data + done, size - done, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

/* A pool of so many processes, all of them begun. */
static inline exs_executor *process_pool(unsigned workers)
{
	const exs_process_pool_options options = {.workers = workers, .min_workers = workers};
	exs_process_pool_stats stats = {.workers = 0};
	exs_executor *ex = exs_process_pool(&options);

	die_unless(ex, "exs_process_pool");
	while (stats.idle < workers) {
		die_unless(!exs_process_pool_get_stats(ex, &stats), "statistics");
		usleep(1000);
	}
	return ex;
}

#endif
