/* Examples as programs: started, read, waited for. */
#define _GNU_SOURCE
#include "program.h"
#include "harness.h"

#include <ctype.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS_MAX = 1100 };

/* --- started --- */

static const char *path_of(const char *name)
{
	static char path[PATH_MAX + 64];
	char self[PATH_MAX] = "", variable[64];

	snprintf(variable, sizeof(variable), "EXS_TEST_%s", name);
	for (char *c = variable; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	if (getenv(variable))
		return getenv(variable);
	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	snprintf(path, sizeof(path), "%s/../examples/%s", dirname(self), name);
	return path;
}

static void clean_environment(void)
{
	static const char *const proxies[] = {"http_proxy", "all_proxy", "ALL_PROXY"};

	for (size_t i = 0; i < sizeof(proxies) / sizeof(*proxies); i++)
		unsetenv(proxies[i]);
}

int program_file(const char *text)
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

static void add_descriptor(posix_spawn_file_actions_t *actions, int fd, int as)
{
	if (fd < 0)
		posix_spawn_file_actions_addclose(actions, as);
	else
		posix_spawn_file_actions_adddup2(actions, fd, as);
}

pid_t program_spawn(const char *name, const char *const *args, int in, int out, int err)
{
	const char *argv[ARGS_MAX + 2] = {name};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	pid_t pid;

	for (size_t i = 0; args[i]; i++) {
		CHECK(i < ARGS_MAX);
		argv[i + 1] = args[i];
	}
	clean_environment();
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	add_descriptor(&actions, in, 0);
	add_descriptor(&actions, out, 1);
	add_descriptor(&actions, err, 2);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	CHECK_INT(posix_spawn(&pid, path_of(name), &actions, &attributes, (char *const *)(uintptr_t)argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	close(in);
	close(out);
	close(err);
	return pid;
}

void program_start(struct program *p, const char *name, const char *const *args, int in)
{
	int out[2], err[2];

	*p = (struct program){0};
	CHECK(!pipe2(out, O_CLOEXEC) && !pipe2(err, O_CLOEXEC));
	p->pid = program_spawn(name, args, in, out[1], err[1]);
	p->fds[0] = out[0];
	p->fds[1] = err[0];
}

/* --- read --- */

static void read_some(struct program *p, int i)
{
	char block[65536];
	ssize_t n = read(p->fds[i], block, sizeof(block));

	if (n <= 0) {
		close(p->fds[i]);
		p->fds[i] = -1;
		return;
	}
	p->texts[i] = realloc(p->texts[i], p->sizes[i] + (size_t)n + 1);
	CHECK(p->texts[i]);
	memcpy(p->texts[i] + p->sizes[i], block, (size_t)n);
	p->sizes[i] += (size_t)n;
	p->texts[i][p->sizes[i]] = 0;
}

bool program_read(struct program *p)
{
	struct pollfd fds[] = {{.fd = p->fds[0], .events = POLLIN}, {.fd = p->fds[1], .events = POLLIN}};

	if (p->fds[0] < 0 && p->fds[1] < 0)
		return false;
	CHECK(poll(fds, 2, -1) > 0);
	for (int i = 0; i < 2; i++)
		if (fds[i].revents)
			read_some(p, i);
	return true;
}

/* --- its end --- */

int program_end(struct program *p)
{
	while (program_read(p))
		;
	CHECK(waitpid(p->pid, &p->status, 0) == p->pid);
	for (int i = 0; i < 2; i++)
		if (!p->texts[i])
			p->texts[i] = calloc(1, 1);
	return WIFEXITED(p->status) ? WEXITSTATUS(p->status) : -WTERMSIG(p->status);
}

void program_check(struct program *p, int status)
{
	int got = program_end(p);

	if (got != status)
		fprintf(stderr, "it printed: %s\n%s\n", p->texts[0], p->texts[1]);
	CHECK_INT(got, status);
}

void program_free(struct program *p)
{
	free(p->texts[0]);
	free(p->texts[1]);
}
