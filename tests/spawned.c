/* What spawn_test.c and place_test.c spawn: a program that does the one thing that its first argument names, and says what it found on its
   output; those that are parents themselves, on their data socket. */
#define _GNU_SOURCE
#include "process/place.h"
#include "process/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { PACKET = 4096, WRONG = 99 };

static int wrong(const char *what, int error)
{
	dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(error));
	return WRONG;
}

/* --- what it is --- */

static int echo(char **args)
{
	char packet[PACKET];
	ssize_t n;

	(void)args;
	while ((n = recv(EXSI_CHILD_DATA, packet, sizeof(packet), 0)) > 0)
		if (send(EXSI_CHILD_DATA, packet, (size_t)n, MSG_NOSIGNAL) != n)
			return WRONG;
	return n < 0 ? WRONG : 0;
}

static int say(char **args)
{
	dprintf(STDERR_FILENO, "%s on error\n", args[0]);
	dprintf(STDOUT_FILENO, "%s on output\n", args[0]);
	return 0;
}

static int end_with(char **args)
{
	return atoi(args[0]);
}

static int raise_it(char **args)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	signal(atoi(args[0]), SIG_DFL); /* a sanitizer's, perhaps */
	raise(atoi(args[0]));
	return WRONG;
}

/* Into text, "0 1 2 ...", in order. */
static void list_descriptors(char *text)
{
	for (int fd = 0; fd < 4096; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			text += sprintf(text, "%d ", fd);
}

static int fds(char **args)
{
	char text[PACKET] = "", path[64] = "";

	(void)args;
	list_descriptors(text);
	if (readlink("/proc/self/fd/0", path, sizeof(path) - 1) < 0)
		return wrong("readlink", errno);
	printf("%s\n%s %s %s\n", text, path, fcntl(EXSI_CHILD_DATA, F_GETFL) & O_NONBLOCK ? "not" : "blocks",
	       fcntl(EXSI_CHILD_CONTROL, F_GETFL) & O_NONBLOCK ? "not" : "blocks");
	return 0;
}

static int print_status(const char *const *names)
{
	char line[256];
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file))
		for (size_t i = 0; names[i]; i++)
			if (!strncmp(line, names[i], strlen(names[i])))
				fputs(line, stdout);
	return file ? fclose(file) : WRONG;
}

static int signals(char **args)
{
	(void)args;
	return print_status((const char *const[]){"SigBlk:", "SigIgn:", NULL});
}

static int ids(char **args)
{
	(void)args;
	printf("%d %d %d\n", (int)getpid(), (int)getpgrp(), (int)getsid(0));
	return 0;
}

static int env(char **args)
{
	size_t n = 0;

	while (environ[n])
		n++;
	printf("%zu %s\n", n, getenv(args[0]) ? getenv(args[0]) : "none");
	return 0;
}

static int arguments(char **args)
{
	for (char **arg = args - 2; *arg; arg++) /* from the program's name on */
		printf("<%s>", *arg);
	return 0;
}

/* --- those with a process of their own --- */

static pid_t fork_sleeper(void)
{
	pid_t pid = fork();

	if (!pid)
		for (;;)
			pause();
	return pid;
}

static int grandchild(char **args)
{
	dprintf(STDOUT_FILENO, "%d\n", (int)fork_sleeper());
	if (!strcmp(args[0], "stay"))
		pause();
	return 0;
}

/* Watched, with a child that sleeps; says its number. */
static int busy(char **args)
{
	char text[32];
	int rc = exsi_place_watch(EXSI_CHILD_CONTROL);

	(void)args;
	if (rc)
		return wrong("exsi_place_watch", rc);
	snprintf(text, sizeof(text), "%d", (int)fork_sleeper());
	if (send(EXSI_CHILD_DATA, text, strlen(text), MSG_NOSIGNAL) < 0)
		return wrong("send", errno);
	for (volatile unsigned i = 0;; i++)
		;
}

/* A socket of a process that has gone, which shared its descriptors; and what is no socket. */
static int stranger(char **args)
{
	enum { AT = 50 };
	int pair[2], before = dup(0);
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

	(void)args;
	if (!pid)
		_exit(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) || dup2(pair[0], AT) != AT);
	if (waitpid(pid, NULL, 0) != pid || exsi_place_watch(AT) != ESRCH)
		return WRONG;
	if (exsi_place_watch(STDIN_FILENO) != ENOTSOCK)
		return WRONG;
	return dup(0) == before + 3 ? 0 : WRONG; /* the pair is between */
}

/* What is answered to its own parent: the number of the child, and what that says. */
static int spawn_one(const char *what, struct exsi_child *child, char *text)
{
	const char *args[] = {what}, *why;
	struct exsi_spawn_plan plan = {.args = args, .n_args = 1};
	int rc = exsi_spawn(child, &plan, &why);

	if (rc)
		sprintf(text, "%s: %s", why, strerror(rc));
	else
		sprintf(text, "%d ", (int)child->pid);
	return rc;
}

/* keep: a child that is forked has all of its descriptors as well. */
static int parent(char **args)
{
	char text[PACKET] = "";
	struct exsi_child child;

	if (spawn_one("busy", &child, text))
		return wrong(text, 0);
	int flags = fcntl(child.data, F_GETFL);
	fcntl(child.data, F_SETFL, flags & ~O_NONBLOCK);
	char *end = text + strlen(text);
	ssize_t n = recv(child.data, end, 64, 0);
	if (n <= 0)
		return wrong("recv", errno);
	if (!strcmp(args[0], "keep"))
		fork_sleeper();
	send(EXSI_CHILD_DATA, text, strlen(text), MSG_NOSIGNAL);
	for (;;)
		pause();
}

/* Into text, all that the child writes; answers the end. */
static char *read_all(struct exsi_child *child, char *text, size_t size)
{
	char *end = text;
	ssize_t n;

	fcntl(child->output, F_SETFL, 0);
	while ((n = read(child->output, end, (size_t)(text + size - 1 - end))) > 0)
		end += n;
	*end = '\0';
	return end;
}

/* Its standard descriptors, and those below the child's, are closed when it spawns. */
static int closed(char **args)
{
	char text[PACKET] = "";
	struct exsi_child child;
	int answer = fcntl(EXSI_CHILD_DATA, F_DUPFD_CLOEXEC, 100);

	(void)args;
	for (int fd = 0; fd < 100; fd++)
		close(fd);
	if (!spawn_one("fds", &child, text))
		list_descriptors(read_all(&child, text, PACKET / 2));
	return send(answer, text, strlen(text), MSG_NOSIGNAL) > 0 ? 0 : WRONG;
}

/* As many descriptors as can be, one more each time, with 0 to 4 free at first: what failed, in turn. */
static int few(char **args)
{
	struct exsi_spawn_plan plan = {.program = "/nonexistent/program"};
	char text[PACKET] = "";
	const char *what = "", *last = "";
	struct exsi_child child;
	int answer = fcntl(EXSI_CHILD_DATA, F_DUPFD_CLOEXEC, 100), rc = EMFILE;

	(void)args;
	for (int fd = 0; fd < 100; fd++)
		close(fd);
	for (rlim_t n = 0; rc == EMFILE; n++, last = what) {
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){n, 1000});
		rc = exsi_spawn(&child, &plan, &what);
		if (strcmp(what, last) != 0 && !strstr(text, what))
			sprintf(text + strlen(text), "%s%s", *text ? " " : "", what);
	}
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){1000, 1000});
	for (int fd = 0; fd < 100; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			sprintf(text + strlen(text), " %d is open", fd);
	return send(answer, text, strlen(text), MSG_NOSIGNAL) > 0 && rc == ENOENT ? 0 : WRONG;
}

/* Its own program once more. */
static int again(char **args)
{
	char text[PACKET] = "";
	struct exsi_child child;

	(void)args;
	if (!spawn_one("arguments", &child, text))
		read_all(&child, text, sizeof(text));
	puts(text);
	return 0;
}

/* --- limits and crashes --- */

static void print_limit(const char *name, int resource)
{
	struct rlimit limit;

	getrlimit(resource, &limit);
	printf("%s %lld %lld\n", name, (long long)limit.rlim_cur, (long long)limit.rlim_max);
}

static int set_limits(char **args)
{
	struct exsi_place_limits limits = {strtoull(args[0], NULL, 10), strtoull(args[1], NULL, 10), atoi(args[2])};
	const char *what = "nothing";
	int rc = exsi_place_limit(&limits, &what);

	return rc ? wrong(what, rc) : 0;
}

static int limits(char **args)
{
	if (set_limits(args))
		return WRONG;
	print_limit("as", RLIMIT_AS);
	print_limit("cpu", RLIMIT_CPU);
	print_limit("core", RLIMIT_CORE);
	print_limit("nofile", RLIMIT_NOFILE);
	print_limit("fsize", RLIMIT_FSIZE);
	print_limit("nproc", RLIMIT_NPROC);
	int rc = print_status((const char *const[]){"NoNewPrivs:", NULL});
	fflush(stdout);
	_exit(rc); /* at an exit it might write the counts of its branches to a file, which it may not any more */
}

static int lowered(char **args)
{
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){20, 30});
	setrlimit(RLIMIT_CPU, &(struct rlimit){500, 600});
	return limits(args);
}

static int use_memory(char **args)
{
	if (set_limits(args))
		return WRONG;
	/* For compilers that leave out what nobody uses. */
	void *volatile fits = malloc(1 << 20);
	void *volatile block = malloc((size_t)1 << 30);
	printf("%s %s\n", fits ? "fits" : "none", block ? "fits" : "none");
	free(block);
	free(fits);
	return 0;
}

static int use_processor(char **args)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	if (set_limits(args))
		return WRONG;
	for (volatile unsigned i = 0;; i++)
		;
}

static int write_file(char **args)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	if (set_limits(args))
		return WRONG;
	return write(fd, "x", 1) == 1 ? 0 : WRONG;
}

static int overflow(volatile char *above)
{
	volatile char here[4096];

	here[0] = *above;
	if (here[0])
		return 0;
	return here[0] + overflow(here) + here[0];
}

static int crash(char **args)
{
	volatile char none = 0;
	volatile int *volatile nowhere = NULL;

	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	setrlimit(RLIMIT_STACK, &(struct rlimit){1 << 20, 1 << 20});
	exsi_place_tell_crashes();
	if (!strcmp(args[0], "abort"))
		abort();
	if (!strcmp(args[0], "kill"))
		kill(getpid(), SIGBUS);
	if (!strcmp(args[0], "overflow"))
		return overflow(&none);
	*nowhere = 1;
	return WRONG;
}

/* One that was there before is still there. */
static int handled(char **args)
{
	struct sigaction before;

	(void)args;
	signal(SIGFPE, SIG_IGN);
	exsi_place_tell_crashes();
	sigaction(SIGFPE, NULL, &before);
	return before.sa_handler == SIG_IGN ? 0 : WRONG;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(char **args);
	} things[] = {
		{"echo", echo},
		{"say", say},
		{"exit", end_with},
		{"raise", raise_it},
		{"fds", fds},
		{"signals", signals},
		{"ids", ids},
		{"env", env},
		{"arguments", arguments},
		{"grandchild", grandchild},
		{"busy", busy},
		{"parent", parent},
		{"closed", closed},
		{"few", few},
		{"again", again},
		{"stranger", stranger},
		{"limits", limits},
		{"lowered", lowered},
		{"use_memory", use_memory},
		{"use_processor", use_processor},
		{"write_file", write_file},
		{"crash", crash},
		{"handled", handled},
	};

	if (argc < 3 || strcmp(argv[argc - 1], EXSI_CHILD_MARK) != 0)
		return WRONG;
	for (size_t i = 0; i < sizeof(things) / sizeof(*things); i++)
		if (!strcmp(argv[1], things[i].name))
			return things[i].run(argv + 2);
	return WRONG;
}
