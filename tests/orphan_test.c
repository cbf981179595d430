/* The process that has a pool is killed (SIGKILL): all of its workers, whatever they do, are gone within a second, which is what the pool promises, and
   their children with them. */
#define _GNU_SOURCE
#include "spawning.h"
#include "storm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char parent_mark[] = "--orphan-parent", setup_mark[] = "--orphan-setup";

/* --- in the workers --- */

/* Its parent tells the test: what a worker writes becomes a line of the log. */
static void tell(pid_t pid)
{
	dprintf(STDERR_FILENO, "PID %d\n", (int)pid);
}

static void block_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
}

static exs_result orphan_spin(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	block_signals();
	tell(getpid());
	for (volatile int i = 0; !i;)
		;
	return exs_ok(NULL, NULL);
}

static exs_result orphan_sleep(const exs_bytes *input, exs_context *ctx)
{
	(void)input;
	tell(getpid());
	return exs_context_sleep(ctx, 1000) ? exs_cancelled() : exs_ok(NULL, NULL);
}

static exs_result orphan_read(const exs_bytes *input, exs_context *ctx)
{
	int fds[2];
	char c;

	(void)input, (void)ctx;
	if (pipe(fds))
		return exs_cancelled();
	tell(getpid());
	while (read(fds[0], &c, 1) < 0)
		;
	return exs_ok(NULL, NULL);
}

/* With a child that hears no signal, in the worker's group. */
static exs_result orphan_family(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	pid_t pid = fork();
	if (!pid) {
		block_signals();
		for (;;)
			pause();
	}
	tell(pid);
	return orphan_spin(input, ctx);
}

static exs_result orphan_idle(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	tell(getpid());
	return exs_ok(NULL, NULL);
}

static exs_error *set_up(void *ctx, unsigned number, void **state)
{
	(void)number, (void)state;
	if (ctx)
		orphan_spin(NULL, NULL);
	return NULL;
}

/* --- the process between --- */

static void tell_test(void *ctx, exs_log_level level, const char *executor, const char *message)
{
	const char *pid = strstr(message, "PID ");

	(void)ctx, (void)level, (void)executor;
	if (pid)
		dprintf(STDOUT_FILENO, "%s\n", pid + 4);
}

static exs_executor *pool(unsigned workers, const char *arg)
{
	exs_executor *ex = exs_process_pool(
		&(exs_process_pool_options){.workers = workers, .args = arg ? &arg : NULL, .n_args = arg ? 1 : 0});

	if (!ex)
		abort();
	return ex;
}

enum { PIDS = 8 };

/* PIDS lines in all; it never ends by itself. */
static void be_parent(void)
{
	static const char *const functions[] = {"orphan_spin", "orphan_sleep", "orphan_read", "orphan_family"};

	exs_set_log(tell_test, NULL, EXS_LOG_INFO);
	exs_executor *busy = pool(4, NULL), *idle = pool(1, NULL), *updated = pool(1, NULL);
	exs_executor *begun = pool(1, setup_mark);
	for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++)
		exs_submit_function(busy, functions[i], NULL, 0);
	exs_submit_function(idle, "orphan_idle", NULL, 0);
	exs_submit_function(begun, "orphan_idle", NULL, 0);
	exs_future_wait(exs_process_pool_update(updated, exs_invocation_new("orphan_spin", NULL, 0), false), 1000);
	exs_submit_function(updated, "orphan_idle", NULL, 0);
	for (;;)
		pause();
}

__attribute__((constructor)) static void be_another(int argc, char **argv)
{
	exs_register("orphan_spin", orphan_spin);
	exs_register("orphan_sleep", orphan_sleep);
	exs_register("orphan_read", orphan_read);
	exs_register("orphan_family", orphan_family);
	exs_register("orphan_idle", orphan_idle);
	exs_process_worker_hooks(set_up, NULL, argc > 2 && !strcmp(argv[1], setup_mark) ? argv : NULL);
	exs_process_main(argc, argv);
	if (argc == 2 && !strcmp(argv[1], parent_mark))
		be_parent();
}

/* --- here --- */

extern char **environ;

static pid_t spawn_parent(FILE **said)
{
	const char *argv[] = {"/proc/self/exe", parent_mark, NULL};
	posix_spawn_file_actions_t actions;
	int fds[2];
	pid_t pid;

	CHECK(!pipe2(fds, O_CLOEXEC));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	CHECK_INT(posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	*said = fdopen(fds[0], "r");
	CHECK(*said);
	return pid;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Answers how long it took. */
static double kill_and_wait(pid_t parent, const int *pidfds)
{
	struct pollfd at = {.events = POLLIN};
	double begun = now();

	CHECK(!kill(parent, SIGKILL));
	for (int i = 0; i < PIDS; i++) {
		double left = 1 - (now() - begun);
		at.fd = pidfds[i];
		int n = poll(&at, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
		if (n != 1)
			fprintf(stderr, "number %d lives\n", i);
		CHECK_INT(n, 1);
	}
	double took = now() - begun;
	CHECK_INT(waitpid(parent, NULL, 0), parent);
	return took;
}

static double leave_orphans(void)
{
	int pidfds[PIDS];
	char line[32];
	FILE *said;
	pid_t parent = spawn_parent(&said);

	for (int i = 0; i < PIDS; i++) {
		CHECK(fgets(line, sizeof(line), said));
		pidfds[i] = spawned_open(atoi(line));
	}
	double took = kill_and_wait(parent, pidfds);
	for (int i = 0; i < PIDS; i++)
		close(pidfds[i]);
	fclose(said);
	return took;
}

TEST(orphan, all_are_gone_within_a_second)
{
	unsigned long rounds = harness_rounds(3);
	int descriptors = spawned_descriptors();
	double most = 0;

	for (unsigned long i = 0; i < rounds; i++) {
		double took = leave_orphans();
		most = took > most ? took : most;
	}
	fprintf(stderr, "%lu times %d processes, gone within %.3f s\n", rounds, PIDS, most);
	CHECK(most < 1);
	CHECK_INT(spawned_descriptors(), descriptors);
}
