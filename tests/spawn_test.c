/* Spawned processes: what they have of their parent's, how they end, and what is left when one can't be spawned. */
#define _GNU_SOURCE
#include "harness.h"
#include "spawning.h"

#include <errno.h>
#include <executors/base.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In place of the C library's. */
static int refused_pidfds, pidfd_error;

int pidfd_open(pid_t pid, unsigned flags)
{
	if (refused_pidfds) {
		refused_pidfds--;
		errno = pidfd_error;
		return -1;
	}
	return (int)syscall(SYS_pidfd_open, pid, flags);
}

static void check_no_child(void)
{
	CHECK_INT(waitpid(-1, NULL, WNOHANG), -1);
	CHECK_INT(errno, ECHILD);
}

static void run(struct spawned *s, const char *what, const char *arg)
{
	spawned_run(s, (const char *const[]){what, arg, NULL});
}

static void check_death(const struct spawned *s, bool by_signal, int code)
{
	if (s->death.by_signal != by_signal || s->death.code != code)
		fprintf(stderr, "it said: %s\n", s->text);
	CHECK(s->death.known);
	CHECK_INT(s->death.by_signal, by_signal);
	CHECK_INT(s->death.code, code);
}

/* --- what it has --- */

TEST(spawn, packets_go_there_and_back)
{
	int before = spawned_descriptors();
	struct spawned s;
	char text[64];

	spawned_start(&s, (const char *const[]){"echo", NULL});
	CHECK_INT(recv(s.child.data, text, sizeof(text), 0), -1);
	CHECK_INT(errno, EAGAIN);
	CHECK_INT(recv(s.child.control, text, sizeof(text), 0), -1);
	CHECK_INT(errno, EAGAIN);
	CHECK_INT(read(s.child.output, text, sizeof(text)), -1);
	CHECK_INT(errno, EAGAIN);
	for (const char *const *p = (const char *const[]){"one", "and two", NULL}; *p; p++) {
		CHECK_INT(send(s.child.data, *p, strlen(*p), 0), strlen(*p));
		spawned_receive(&s, text, sizeof(text));
		CHECK_STR(text, *p);
	}
	CHECK(!exsi_child_reap(&s.child, &s.death));
	shutdown(s.child.data, SHUT_WR);
	spawned_end(&s);
	check_death(&s, false, 0);
	CHECK_INT(s.child.pidfd, -1);
	CHECK_INT(s.child.data, -1);
	CHECK_INT(spawned_descriptors(), before);
	check_no_child();
}

TEST(spawn, output_and_error_are_one_pipe)
{
	struct spawned s;

	run(&s, "say", "word");
	CHECK_STR(s.text, "word on error\nword on output\n");
}

TEST(spawn, nothing_is_inherited)
{
	int low = open("/dev/null", O_RDWR), high = fcntl(low, F_DUPFD, 300), one = dup(low);
	struct spawned s;

	CHECK(low >= 0 && high >= 300 && one >= 0);
	run(&s, "fds", NULL);
	CHECK_STR(s.text, "0 1 2 3 4 \n/dev/null blocks blocks\n");
	close(low);
	close(high);
	close(one);
}

/* So many that those that come next are above the child's; answers how many. */
static int fill_low(int *filled)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), n = 0;

	while (fd >= 0 && fd <= EXSI_CHILD_CONTROL) {
		filled[n++] = fd;
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	}
	CHECK(fd >= 0);
	close(fd);
	return n;
}

static void empty_low(int *filled, int n)
{
	while (n)
		close(filled[--n]);
}

/* Also those that had no need to be raised. */
TEST(spawn, ours_close_on_exec)
{
	int filled[EXSI_CHILD_CONTROL + 1], n_filled = fill_low(filled);
	struct spawned s;

	spawned_start(&s, (const char *const[]){"echo", NULL});
	const int fds[] = {s.child.pidfd, s.child.data, s.child.control, s.child.output};
	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		CHECK(fds[i] > EXSI_CHILD_CONTROL);
		CHECK_INT(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
	}
	exsi_child_signal(&s.child, SIGKILL);
	spawned_end(&s);
	check_death(&s, true, SIGKILL);
	empty_low(filled, n_filled);
}

TEST(spawn, signals_are_at_their_defaults)
{
	static const int ignored[] = {SIGPIPE, SIGHUP, SIGUSR2, SIGCHLD};
	void (*before[4])(int);
	static const unsigned long long C_LIBRARYS = 3ull << 31; /* 32 and 33, which it uses for itself */
	unsigned long long blocked, ignoring;
	sigset_t all, old;
	struct spawned s;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (int i = 0; i < 4; i++)
		before[i] = signal(ignored[i], ignored[i] == SIGCHLD ? SIG_DFL : SIG_IGN);
	run(&s, "signals", NULL);
	for (int i = 0; i < 4; i++)
		signal(ignored[i], before[i]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	CHECK_INT(sscanf(s.text, "SigBlk: %llx SigIgn: %llx", &blocked, &ignoring), 2);
	CHECK_INT(blocked, 0);
	CHECK_INT(ignoring & ~C_LIBRARYS, 0);
}

TEST(spawn, it_is_in_a_session_of_its_own)
{
	struct spawned s;
	int pid, group, session;

	spawned_start(&s, (const char *const[]){"ids", NULL});
	int expected = (int)s.child.pid;
	spawned_read(&s);
	spawned_end(&s);
	CHECK_INT(sscanf(s.text, "%d %d %d", &pid, &group, &session), 3);
	CHECK_INT(pid, expected);
	CHECK_INT(group, expected);
	CHECK_INT(session, expected);
}

TEST(spawn, environment_is_ours_or_empty)
{
	const char *args[] = {"env", "EXS_TEST_WORD"}, *what;
	struct exsi_spawn_plan plan = {.program = spawned_path(), .args = args, .n_args = 2, .empty_environment = true};
	struct spawned s = {0};

	setenv("EXS_TEST_WORD", "word", 1);
	run(&s, "env", "EXS_TEST_WORD");
	CHECK(strstr(s.text, " word\n"));
	s = (struct spawned){0};
	CHECK_INT(exsi_spawn(&s.child, &plan, &what), 0);
	spawned_read(&s);
	spawned_end(&s);
	unsetenv("EXS_TEST_WORD");
	CHECK_STR(s.text, "0 none\n");
}

TEST(spawn, arguments_stand_before_the_mark)
{
	char expected[PATH_MAX + 100];
	struct spawned s;

	spawned_run(&s, (const char *const[]){"arguments", "one", "", "three", NULL});
	snprintf(expected, sizeof(expected), "<%s><arguments><one><><three><" EXSI_CHILD_MARK ">", spawned_path());
	CHECK_STR(s.text, expected);
}

TEST(spawn, the_program_itself_has_its_path_for_a_name)
{
	char expected[PATH_MAX + 100], path[PATH_MAX];
	struct spawned s;

	run(&s, "again", NULL);
	CHECK(realpath(spawned_path(), path));
	snprintf(expected, sizeof(expected), "<%s><arguments><" EXSI_CHILD_MARK ">\n", path);
	CHECK_STR(s.text, expected);
}

/* The ends of sockets and pipes would be 0 to 4 themselves. */
TEST(spawn, with_standard_descriptors_closed)
{
	static const char expected[] = "0 1 2 3 4 \n/dev/null blocks blocks\n";
	char text[4096];
	struct spawned s;

	spawned_start(&s, (const char *const[]){"closed", NULL});
	spawned_receive(&s, text, sizeof(text));
	CHECK(!strncmp(text, expected, strlen(expected)));
	CHECK_INT(atoi(text + strlen(expected)), EXSI_CHILD_CONTROL + 1);
	spawned_end(&s);
	check_death(&s, false, 0);
}

/* --- its end --- */

TEST(spawn, death_is_told)
{
	static const int codes[] = {0, 1, 255}, numbers[] = {SIGKILL, SIGSEGV, SIGTERM, SIGABRT};
	struct spawned s;
	char text[16];

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		snprintf(text, sizeof(text), "%d", codes[i]);
		run(&s, "exit", text);
		check_death(&s, false, codes[i]);
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		snprintf(text, sizeof(text), "%d", numbers[i]);
		run(&s, "raise", text);
		check_death(&s, true, numbers[i]);
	}
	check_no_child();
}

TEST(spawn, what_is_left_of_its_group_is_killed)
{
	struct spawned s;

	spawned_start(&s, (const char *const[]){"grandchild", "leave", NULL});
	spawned_read_line(&s);
	int left = spawned_open((pid_t)atoi(s.text));
	spawned_end(&s);
	check_death(&s, false, 0);
	CHECK(spawned_gone(left, -1));
}

TEST(spawn, a_signal_goes_to_its_group)
{
	struct spawned s;

	spawned_start(&s, (const char *const[]){"grandchild", "stay", NULL});
	spawned_read_line(&s);
	int left = spawned_open((pid_t)atoi(s.text));
	exsi_child_signal(&s.child, SIGTERM);
	CHECK(spawned_gone(left, -1)); /* before it is reaped */
	spawned_end(&s);
	check_death(&s, true, SIGTERM);
}

static void await_end(struct exsi_child *child)
{
	struct pollfd at = {.fd = child->pidfd, .events = POLLIN};

	while (poll(&at, 1, -1) != 1)
		;
}

TEST(spawn, reaped_by_somebody_else)
{
	struct spawned s;

	spawned_start(&s, (const char *const[]){"echo", NULL});
	exsi_child_signal(&s.child, SIGKILL);
	CHECK_INT(waitpid(s.child.pid, NULL, 0), s.child.pid);
	exsi_child_signal(&s.child, SIGKILL); /* to nobody */
	s.death.known = true;
	CHECK(exsi_child_reap(&s.child, &s.death));
	CHECK(!s.death.known);
	exsi_child_close(&s.child);
}

TEST(spawn, reaped_by_itself)
{
	void (*before)(int) = signal(SIGCHLD, SIG_IGN);
	struct spawned s;

	spawned_start(&s, (const char *const[]){"echo", NULL});
	shutdown(s.child.data, SHUT_WR);
	await_end(&s.child);
	while (!kill(s.child.pid, 0)) /* until the kernel has done so */
		sched_yield();
	CHECK(exsi_child_reap(&s.child, &s.death));
	CHECK(!s.death.known);
	exsi_child_close(&s.child);
	signal(SIGCHLD, before);
}

/* --- what can't be spawned --- */

static void check_nothing_left(const struct exsi_child *child, int descriptors)
{
	CHECK_INT(child->pid, -1);
	CHECK_INT(child->pidfd, -1);
	CHECK_INT(child->data, -1);
	CHECK_INT(child->control, -1);
	CHECK_INT(child->output, -1);
	CHECK_INT(spawned_descriptors(), descriptors);
	check_no_child();
}

TEST(spawn, no_such_program)
{
	static const struct {
		const char *program;
		int error;
	} bad[] = {{"/nonexistent/program", ENOENT}, {"/etc/passwd", EACCES}, {"/tmp", EACCES}, {"", ENOENT}};
	int before = spawned_descriptors();
	struct exsi_child child;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct exsi_spawn_plan plan = {.program = bad[i].program};
		const char *what = NULL;
		CHECK_INT(exsi_spawn(&child, &plan, &what), bad[i].error);
		CHECK_STR(what, "posix_spawn");
		check_nothing_left(&child, before);
	}
}

/* With one descriptor more each time each call that makes some fails in turn. */
TEST(spawn, too_many_descriptors)
{
	struct exsi_spawn_plan plan = {.program = "/nonexistent/program"};
	int filled[EXSI_CHILD_CONTROL + 1], n_filled = fill_low(filled), before = spawned_descriptors(), rc = EMFILE;
	char failed[64] = "";
	struct exsi_child child;
	struct rlimit old;

	CHECK_INT(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (rlim_t n = 0; rc == EMFILE; n++) {
		const char *what = "nothing";
		CHECK_INT(setrlimit(RLIMIT_NOFILE, &(struct rlimit){n, old.rlim_max}), 0);
		rc = exsi_spawn(&child, &plan, &what);
		CHECK_INT(setrlimit(RLIMIT_NOFILE, &old), 0);
		check_nothing_left(&child, before);
		if (!strstr(failed, what))
			strcat(strcat(failed, what), " ");
	}
	CHECK_INT(rc, ENOENT);
	CHECK_STR(failed, "pipe2 socketpair posix_spawn ");
	empty_low(filled, n_filled);
}

/* The same in a process that has 0 to 4 closed. */
TEST(spawn, too_many_descriptors_with_low_ones_free)
{
	char text[4096];
	struct spawned s;

	spawned_start(&s, (const char *const[]){"few", NULL});
	spawned_receive(&s, text, sizeof(text));
	CHECK_STR(text, "pipe2 fcntl posix_spawn");
	spawned_end(&s);
	check_death(&s, false, 0);
}

TEST(spawn, no_pidfd)
{
	static const int errors[] = {EMFILE, EPERM, ENOSYS};
	struct exsi_spawn_plan plan = {.program = spawned_path(), .args = (const char *const[]){"echo"}, .n_args = 1};
	int before = spawned_descriptors();
	struct exsi_child child;
	const char *what = NULL;

	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		refused_pidfds = 1;
		pidfd_error = errors[i];
		CHECK_INT(exsi_spawn(&child, &plan, &what), errors[i]);
		CHECK_STR(what, "pidfd_open");
		check_nothing_left(&child, before);
	}
}

static void *no_memory(size_t size)
{
	(void)size;
	return NULL;
}

TEST(spawn, no_memory)
{
	struct exsi_spawn_plan plan = {.program = spawned_path()};
	int before = spawned_descriptors();
	struct exsi_child child;
	const char *what = NULL;

	exs_set_allocator(&(exs_allocator){no_memory, free});
	int rc = exsi_spawn(&child, &plan, &what);
	exs_set_allocator(NULL);
	CHECK_INT(rc, ENOMEM);
	CHECK(what);
	check_nothing_left(&child, before);
	plan.n_args = SIZE_MAX / sizeof(char *);
	CHECK_INT(exsi_spawn(&child, &plan, &what), ENOMEM);
	check_nothing_left(&child, before);
}
