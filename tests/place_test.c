/* The worker process from inside: limits, the watchdog, crashes. */
#define _GNU_SOURCE
#include "harness.h"
#include "spawning.h"

#include "process/place.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Within which an orphan is gone. */
enum { SOON_MS = 1000 };

static void check_death(const struct spawned *s, bool by_signal, int code)
{
	if (s->death.by_signal != by_signal || s->death.code != code)
		fprintf(stderr, "it said: %s\n", s->text);
	CHECK(s->death.known);
	CHECK_INT(s->death.by_signal, by_signal);
	CHECK_INT(s->death.code, code);
}

static void check_says(const struct spawned *s, const char *part)
{
	if (!strstr(s->text, part))
		CHECK_STR(s->text, part);
}

static void run_limits(struct spawned *s, const char *what, const char *memory, const char *cpu, const char *restricted)
{
	spawned_run(s, (const char *const[]){what, memory, cpu, restricted, NULL});
}

/* --- limits --- */

TEST(place, limits_are_set)
{
	struct spawned s;

	run_limits(&s, "limits", "0", "7", "1");
	check_death(&s, false, 0);
	check_says(&s, "cpu 7 8\n");
	check_says(&s, "core 0 0\n");
	check_says(&s, "nofile 64 64\n");
	check_says(&s, "fsize 0 0\n");
	check_says(&s, "nproc 0 0\n");
	check_says(&s, "NoNewPrivs:\t1\n");
}

TEST(place, the_processor_time_alone)
{
	struct spawned s;

	run_limits(&s, "limits", "0", "700", "0");
	check_death(&s, false, 0);
	check_says(&s, "cpu 700 701\n");
}

TEST(place, limits_that_are_not_asked_for_are_not_set)
{
	struct spawned asked, not ;

	run_limits(&not, "limits", "0", "0", "0");
	check_death(&not, false, 0);
	check_says(&not, "cpu -1 -1\n");
	check_says(&not, "as -1 -1\n");
	check_says(&not, "fsize -1 -1\n");
	check_says(&not, "NoNewPrivs:\t0\n");
	run_limits(&asked, "limits", "0", "5", "0");
	check_says(&asked, "cpu 5 6\n");
	CHECK_STR(strstr(asked.text, "core"), strstr(not .text, "core"));
}

TEST(place, limits_are_never_raised)
{
	struct spawned s;

	run_limits(&s, "lowered", "0", "1000", "1");
	check_death(&s, false, 0);
	check_says(&s, "nofile 30 30\n");
	check_says(&s, "cpu 600 600\n");
}

TEST(place, memory_beyond_the_limit_is_refused)
{
	struct spawned s;

	if (spawned_sanitized()) /* whose shadow is larger than any limit */
		return;
	run_limits(&s, "use_memory", "268435456", "0", "0");
	check_death(&s, false, 0);
	CHECK_STR(s.text, "fits none\n");
	run_limits(&s, "limits", "268435456", "0", "0");
	check_says(&s, "as 268435456 268435456\n");
}

TEST(place, processor_time_beyond_the_limit_kills)
{
	struct spawned s;

	run_limits(&s, "use_processor", "0", "1", "0");
	check_death(&s, true, SIGXCPU);
}

TEST(place, a_restricted_one_writes_no_file)
{
	struct spawned s;

	run_limits(&s, "write_file", "0", "0", "0");
	check_death(&s, false, 0);
	run_limits(&s, "write_file", "0", "0", "1");
	check_death(&s, true, SIGXFSZ);
}

/* --- the watchdog --- */

TEST(place, a_busy_one_ends_when_its_control_socket_closes)
{
	struct spawned s;
	char text[64];

	spawned_start(&s, (const char *const[]){"busy", NULL});
	spawned_receive(&s, text, sizeof(text));
	CHECK_INT(send(s.child.control, "never read", 10, 0), 10);
	close(s.child.control);
	s.child.control = -1;
	spawned_end(&s);
	check_death(&s, false, EXSI_PLACE_ORPHAN);
}

/* A process spawns the busy one, and is killed; keep: another, which still has its descriptors, is not. Numbers: of the busy one, and of its
   child. */
static void kill_parent(const char *keep)
{
	struct spawned s;
	char text[64];
	int numbers[2];

	spawned_start(&s, (const char *const[]){"parent", keep, NULL});
	spawned_receive(&s, text, sizeof(text));
	CHECK_INT(sscanf(text, "%d %d", &numbers[0], &numbers[1]), 2);
	int busy = spawned_open((pid_t)numbers[0]), left = spawned_open((pid_t)numbers[1]);
	CHECK_INT(kill(s.child.pid, SIGKILL), 0); /* it alone */
	CHECK(spawned_gone(busy, SOON_MS));
	CHECK(spawned_gone(left, SOON_MS));
	spawned_end(&s);
	check_death(&s, true, SIGKILL);
}

TEST(place, a_busy_one_ends_when_its_parent_is_killed)
{
	kill_parent("no");
}

TEST(place, a_busy_one_ends_when_its_parent_is_killed_but_the_socket_is_open)
{
	kill_parent("keep");
}

/* Its parent is a shell then. */
TEST(place, a_busy_one_that_a_script_runs_ends_too)
{
	const char *const args[] = {"-c", "\"$0\" busy \"$@\"; exit $?", spawned_path()};
	struct exsi_spawn_plan plan = {.program = "/bin/sh", .args = args, .n_args = 3};
	struct spawned s = {0};
	const char *what;
	char text[64];

	CHECK_INT(exsi_spawn(&s.child, &plan, &what), 0);
	spawned_receive(&s, text, sizeof(text));
	close(s.child.control);
	s.child.control = -1;
	spawned_end(&s);
	check_death(&s, false, EXSI_PLACE_ORPHAN);
}

TEST(place, whoever_has_gone_can_not_be_watched)
{
	struct spawned s;

	spawned_run(&s, (const char *const[]){"stranger", NULL});
	check_death(&s, false, 0);
}

/* --- crashes --- */

static void check_crash(const char *how, int number, const char *line)
{
	struct spawned s;

	spawned_run(&s, (const char *const[]){"crash", how, NULL});
	check_death(&s, true, number);
	CHECK(!strncmp(s.text, line, strlen(line)));
	check_says(&s, "[0x");
}

TEST(place, a_crash_says_where)
{
	check_crash("abort", SIGABRT, "signal 6 (Aborted)\n");
	if (spawned_sanitized()) /* which says so itself */
		return;
	check_crash("fault", SIGSEGV, "signal 11 (Segmentation fault)\n");
	check_crash("kill", SIGBUS, "signal 7 (Bus error)\n");
	check_crash("overflow", SIGSEGV, "signal 11 (Segmentation fault)\n");
}

TEST(place, a_handler_that_was_there_stays)
{
	struct spawned s;

	spawned_run(&s, (const char *const[]){"handled", NULL});
	check_death(&s, false, 0);
}
