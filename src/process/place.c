/* The worker process from inside: its limits, its watchdog, and what it says when it crashes. */
#define _GNU_SOURCE
#include "process/place.h"
#include "base/backtrace.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- limits --- */

/* Never above what it is already. */
static int lower(int resource, rlim_t soft, rlim_t hard)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit))
		return errno;
	limit.rlim_max = hard < limit.rlim_max ? hard : limit.rlim_max;
	limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
	return setrlimit(resource, &limit) ? errno : 0;
}

static int restrict_it(const char **what)
{
	static const struct {
		int resource;
		rlim_t most;
		const char *what;
	} limits[] = {
		{RLIMIT_CORE, 0, "RLIMIT_CORE"},
		{RLIMIT_NOFILE, 64, "RLIMIT_NOFILE"},
		{RLIMIT_FSIZE, 0, "RLIMIT_FSIZE"},
		{RLIMIT_NPROC, 0, "RLIMIT_NPROC"},
	};

	*what = "PR_SET_NO_NEW_PRIVS";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return errno;
	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		*what = limits[i].what;
		int rc = lower(limits[i].resource, limits[i].most, limits[i].most);
		if (rc)
			return rc;
	}
	return 0;
}

int exsi_place_limit(const struct exsi_place_limits *limits, const char **what)
{
	int rc = 0;

	*what = "RLIMIT_CPU";
	if (limits->cpu_seconds) /* SIGXCPU, and a second later, should that be handled, SIGKILL */
		rc = lower(RLIMIT_CPU, limits->cpu_seconds, limits->cpu_seconds + 1);
	if (!rc && limits->restricted)
		rc = restrict_it(what);
	if (rc || !limits->memory)
		return rc;
	*what = "RLIMIT_AS";
	return lower(RLIMIT_AS, limits->memory, limits->memory);
}

/* --- the watchdog --- */

enum { WATCH_STACK = 64 << 10, DYING_MS = 100 };

static struct {
	struct exsi_crew crew;
	int control, parent;
} watchdog;

/* Once poll has answered. The socket closes a moment before the process that held it is gone; if that lives on, it is the one to kill the rest
   of the process group. */
static void end_process(void)
{
	struct pollfd parent = {.fd = watchdog.parent, .events = POLLIN};

	if (poll(&parent, 1, DYING_MS) != 0 && getpgrp() == getpid())
		kill(0, SIGKILL);
	_exit(EXSI_PLACE_ORPHAN);
}

static void watch(void *unused)
{
	struct pollfd fds[] = {{.fd = watchdog.control}, {.fd = watchdog.parent, .events = POLLIN}};

	(void)unused;
	while (poll(fds, 2, -1) < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOMEM))
		;
	end_process();
}

/* Whoever made the socket: the parent, or the parent of a script that runs this program. 0 or an errno. */
static int open_parent(int control)
{
	struct ucred maker;
	socklen_t size = sizeof(maker);

	if (getsockopt(control, SOL_SOCKET, SO_PEERCRED, &maker, &size))
		return errno;
	watchdog.parent = pidfd_open(maker.pid, 0);
	return watchdog.parent < 0 ? errno : 0;
}

int exsi_place_watch(int control)
{
	size_t stack = exsi_stack_min() > WATCH_STACK ? exsi_stack_min() : WATCH_STACK;
	int rc = open_parent(control);

	if (rc)
		return rc;
	watchdog.control = control;
	exsi_crew_init(&watchdog.crew);
	rc = exsi_crew_start(&watchdog.crew, "exs-watchdog", stack, watch, NULL);
	if (rc) {
		exsi_crew_fini(&watchdog.crew);
		close(watchdog.parent);
	}
	return rc;
}

/* --- crashes --- */

enum { CRASH_STACK = 64 << 10, CRASH_LINE = 64 };

static struct {
	int number;
	const char *name;
	char line[CRASH_LINE];
} crashes[] = {
	{.number = SIGSEGV, .name = "Segmentation fault"},
	{.number = SIGBUS, .name = "Bus error"},
	{.number = SIGFPE, .name = "Floating point exception"},
	{.number = SIGILL, .name = "Illegal instruction"},
	{.number = SIGABRT, .name = "Aborted"},
};
enum { CRASHES = sizeof(crashes) / sizeof(*crashes) };

/* Only what a signal handler may call. The default action is back when it begins, and follows when it has returned. */
static void on_crash(int number)
{
	ssize_t told = 0;

	for (size_t i = 0; i < CRASHES; i++)
		if (crashes[i].number == number)
			told = write(STDERR_FILENO, crashes[i].line, strlen(crashes[i].line));
	if (told > 0)
		exsi_backtrace_write(STDERR_FILENO);
	raise(number);
}

/* For a fault that is an overflow of this thread's own. */
static void give_stack(void)
{
	static char stack[CRASH_STACK];
	stack_t old, ours = {.ss_sp = stack, .ss_size = sizeof(stack)};

	sigaltstack(NULL, &old);
	if (old.ss_flags & SS_DISABLE) /* a sanitizer has one */
		sigaltstack(&ours, NULL);
}

void exsi_place_tell_crashes(void)
{
	struct sigaction old, ours = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND};
	void *frame;

	exsi_backtrace(&frame, 1); /* the first loads what it needs */
	give_stack();
	sigemptyset(&ours.sa_mask);
	for (size_t i = 0; i < CRASHES; i++) {
		snprintf(crashes[i].line, CRASH_LINE, "signal %d (%s)\n", crashes[i].number, crashes[i].name);
		sigaction(crashes[i].number, NULL, &old);
		if (old.sa_handler == SIG_DFL)
			sigaction(crashes[i].number, &ours, NULL);
	}
}
