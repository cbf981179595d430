/* Spawns the program that is made of spawned.c, and sees to its end. */
#define _GNU_SOURCE
#include "spawning.h"
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Present under these only. */
void __asan_init(void) __attribute__((weak));
void __tsan_init(void) __attribute__((weak));

bool spawned_sanitized(void)
{
	return __asan_init || __tsan_init;
}

const char *spawned_path(void)
{
	static char path[PATH_MAX + 16];
	char self[PATH_MAX] = "";

	if (getenv("EXS_TEST_SPAWNED"))
		return getenv("EXS_TEST_SPAWNED");
	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	snprintf(path, sizeof(path), "%s/spawned", dirname(self));
	return path;
}

void spawned_start(struct spawned *s, const char *const *args)
{
	struct exsi_spawn_plan plan = {.program = spawned_path(), .args = args};
	const char *what = "";

	while (args[plan.n_args])
		plan.n_args++;
	*s = (struct spawned){0};
	int rc = exsi_spawn(&s->child, &plan, &what);
	if (rc)
		fprintf(stderr, "%s: %s: %s\n", plan.program, what, strerror(rc));
	CHECK_INT(rc, 0);
}

static void await(int fd)
{
	struct pollfd at = {.fd = fd, .events = POLLIN};

	while (poll(&at, 1, -1) < 0)
		CHECK_INT(errno, EINTR);
}

static bool read_some(struct spawned *s)
{
	await(s->child.output);
	CHECK(s->size < sizeof(s->text) - 1);
	ssize_t n = read(s->child.output, s->text + s->size, sizeof(s->text) - 1 - s->size);
	CHECK(n >= 0);
	s->size += (size_t)n;
	return n > 0;
}

void spawned_read_line(struct spawned *s)
{
	while (!strchr(s->text, '\n'))
		CHECK(read_some(s));
}

void spawned_read(struct spawned *s)
{
	while (read_some(s))
		;
}

void spawned_receive(struct spawned *s, char *text, size_t size)
{
	await(s->child.data);
	ssize_t n = recv(s->child.data, text, size - 1, 0);
	if (n <= 0) {
		spawned_read(s);
		fprintf(stderr, "it said: %s\n", s->text);
	}
	CHECK(n > 0);
	text[n] = '\0';
}

void spawned_end(struct spawned *s)
{
	await(s->child.pidfd);
	CHECK(exsi_child_reap(&s->child, &s->death));
	exsi_child_close(&s->child);
}

void spawned_run(struct spawned *s, const char *const *args)
{
	spawned_start(s, args);
	spawned_read(s);
	spawned_end(s);
}

bool spawned_gone(int pidfd, int ms)
{
	struct pollfd at = {.fd = pidfd, .events = POLLIN};
	int n = poll(&at, 1, ms);

	close(pidfd);
	return n == 1;
}

int spawned_open(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	CHECK(pid > 0 && fd >= 0);
	return fd;
}

int spawned_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* . and .. and its own */
}
