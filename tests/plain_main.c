/* The tests as a plain program: one after the other in this process, or each in a process of its own. */
#define _GNU_SOURCE
#include "harness.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] = "usage: %s [--list] [--only SUITE/NAME] [--isolate] [--seed N]\n"
			    "  --only takes * and ?; --isolate runs each test in a process of its own\n";

static struct options {
	bool list, isolate, child;
	const char *only;
} options;

static unsigned passed, failed;

static void print_counts(void)
{
	printf("%u passed, %u failed\n", passed, failed);
	fflush(stdout);
}

/* A failure in this process: the counts so far, since abort follows. */
static void count_failure(void)
{
	failed++;
	print_counts();
}

static bool parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--list"))
			options.list = true;
		else if (!strcmp(argv[i], "--isolate"))
			options.isolate = true;
		else if (!strcmp(argv[i], "--child"))
			options.child = true;
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			options.only = argv[++i];
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			setenv("EXS_TEST_SEED", argv[++i], 1);
		else
			return false;
	}
	return true;
}

static bool run_isolated(const struct harness_test *t)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		execl("/proc/self/exe", "test", "--child", "--only", t->name, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	if (status)
		fprintf(stderr, "%s: failed: %s %d\n", t->name, WIFSIGNALED(status) ? "signal" : "exit status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return !status;
}

static void run(const struct harness_test *t)
{
	bool ok = true;

	if (options.isolate)
		ok = run_isolated(t);
	else
		harness_run(t->name, t->run);
	passed += ok;
	failed += !ok;
}

int main(int argc, char **argv)
{
	if (!parse(argc, argv)) {
		fprintf(stderr, usage, argv[0]);
		return 2;
	}
	if (!options.isolate && !options.child)
		harness_on_fail = count_failure;
	for (const struct harness_test *t = harness_tests; t; t = t->next) {
		if (options.only && fnmatch(options.only, t->name, 0))
			continue;
		if (options.list)
			puts(t->name);
		else
			run(t);
	}
	if (options.list)
		return 0;
	if (!options.isolate && passed)
		harness_end();
	if (!options.child)
		print_counts();
	if (passed + failed == 0)
		fprintf(stderr, "no test is called %s\n", options.only ? options.only : "anything");
	return failed || !passed;
}
