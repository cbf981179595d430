/* Process pool: its options, programs that are none of its workers, hooks, log files, statistics. */
#define _GNU_SOURCE
#include "process_functions.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- options --- */

static void check_refused(exs_process_pool_options options, const char *message)
{
	CHECK(!exs_process_pool(&options));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
	CHECK_STR(exs_error_message(exs_last_error()), message);
}

TEST(process_options, wrong_counts)
{
	processes_begin();
	check_refused((exs_process_pool_options){.workers = 4097}, "exs_process_pool: workers is 4097: at most 4096");
	check_refused((exs_process_pool_options){.workers = 2, .min_workers = 3},
		      "exs_process_pool: min_workers is 3: at most workers, which is 2");
	check_refused((exs_process_pool_options){.tasks = EXS_NONE},
		      "exs_process_pool: tasks: EXS_NONE would let a worker run none; 0 is no limit");
	check_refused((exs_process_pool_options){.max_size = EXS_NONE},
		      "exs_process_pool: max_size is 2147483646: 1 to 2147483647 bytes, or 0 (64 MiB)");
	check_refused((exs_process_pool_options){.max_size = (size_t)1 << 31},
		      "exs_process_pool: max_size is 2147483648: 1 to 2147483647 bytes, or 0 (64 MiB)");
	check_refused((exs_process_pool_options){.memory = EXS_NONE},
		      "exs_process_pool: memory: EXS_NONE would leave none at all; 0 is no limit");
	processes_end(NULL);
}

TEST(process_options, wrong_arguments)
{
	static const char *const args[] = {"a", NULL, "c"};
	static char name[4082];

	processes_begin();
	check_refused((exs_process_pool_options){.args = args}, "exs_process_pool: args is given, but n_args is 0");
	check_refused((exs_process_pool_options){.n_args = 1}, "exs_process_pool: args is NULL, but n_args is 1");
	check_refused((exs_process_pool_options){.args = args, .n_args = 3}, "exs_process_pool: args[1] is NULL");
	memset(name, 'x', sizeof(name) - 1);
	check_refused((exs_process_pool_options){.log_files = name},
		      "exs_process_pool: log_files has 4081 bytes: at most 4080");
	processes_end(NULL);
}

static void check_seconds(double *field, const exs_process_pool_options *o, const char *name, double wrong)
{
	char message[200];

	*field = wrong;
	snprintf(message, sizeof(message), "exs_process_pool: %s is %g: 0 (the default) or more", name, wrong);
	check_refused(*o, message);
	*field = 0;
}

TEST(process_options, wrong_times)
{
	exs_process_pool_options o = {.workers = 1};
	struct {
		double *field;
		const char *name;
	} fields[] = {{&o.idle_seconds, "idle_seconds"}, {&o.start_seconds, "start_seconds"},
		      {&o.stop_seconds, "stop_seconds"}, {&o.cpu_seconds, "cpu_seconds"},
		      {&o.task_seconds, "task_seconds"}, {&o.cancel_seconds, "cancel_seconds"}};

	processes_begin();
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		check_seconds(fields[i].field, &o, fields[i].name, -1);
		check_seconds(fields[i].field, &o, fields[i].name, (double)NAN);
	}
	check_refused((exs_process_pool_options){.start_seconds = EXS_NONE},
		      "exs_process_pool: start_seconds: EXS_NONE would leave no time at all");
	check_refused((exs_process_pool_options){.task_seconds = EXS_NONE},
		      "exs_process_pool: task_seconds: EXS_NONE would leave no time at all");
	check_refused((exs_process_pool_options){.cpu_seconds = EXS_NONE},
		      "exs_process_pool: cpu_seconds: EXS_NONE would leave no time at all");
	processes_end(NULL);
}

TEST(process_options, no_descriptors_for_the_pool)
{
	processes_begin();
	refuse_descriptors(true);
	exs_executor *ex = exs_process_pool(NULL);
	int code = exs_error_code(exs_last_error());
	refuse_descriptors(false);
	CHECK(!ex);
	CHECK_INT(code, EMFILE);
	CHECK(strstr(exs_error_message(exs_last_error()), "exs_process_pool: its thread, or what that waits on"));
	processes_end(NULL);
}

TEST(process_options, no_thread_for_the_pool)
{
	processes_begin();
	refuse_threads(true);
	exs_executor *ex = exs_process_pool(NULL);
	refuse_threads(false);
	CHECK(!ex);
	CHECK(strstr(exs_error_message(exs_last_error()), "exs_process_pool: its thread, or what that waits on"));
	processes_end(NULL);
}

/* It is tried again, for the next call. */
TEST(process_options, no_descriptors_for_a_worker)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	refuse_descriptors(true);
	exs_future *f = call(ex, "echo", "x");
	wait_done(f);
	refuse_descriptors(false);
	expect_failure(f, &exs_domain_errno, EMFILE, "worker 3 could not be begun: pipe2: Too many open files");
	expect_text(call(ex, "echo", "x"), "x");
	CHECK_INT(process_stats(ex).spawned, 1);
	processes_end(ex);
}

struct larger {
	exs_process_pool_options options;
	unsigned char tail[16];
};

TEST(process_options, of_another_version)
{
	struct larger larger = {.options = {.workers = 1}};
	struct {
		exs_process_pool_stats stats;
		size_t tail;
	} stats = {.tail = 7};

	processes_begin();
	exs_executor *ex = exs_process_pool_sized(&larger.options, sizeof(larger));
	CHECK(ex);
	expect_text(call(ex, "echo", "x"), "x");
	CHECK_INT(exs_process_pool_get_stats_sized(ex, &stats.stats, sizeof(stats)), EXS_OK);
	CHECK_INT(stats.tail, 0);
	CHECK_INT(stats.stats.completed, 1);
	stats.stats = (exs_process_pool_stats){.completed = 5};
	CHECK_INT(exs_process_pool_get_stats_sized(ex, &stats.stats, sizeof(size_t)), EXS_OK);
	CHECK_INT(stats.stats.workers, 1);
	CHECK_INT(stats.stats.completed, 5);
	exs_executor_free(ex);
	larger.tail[15] = 1;
	CHECK(!exs_process_pool_sized(&larger.options, sizeof(larger)));
	CHECK_STR(exs_error_message(exs_last_error()), "exs_process_pool: options that this library does not know");
	ex = exs_process_pool_sized(&larger.options, sizeof(unsigned)); /* an older one */
	CHECK(ex);
	processes_end(ex);
}

TEST(process_options, that_say_none_or_unlimited)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2,
								.min_workers = EXS_NONE,
								.idle_seconds = EXS_UNLIMITED,
								.stop_seconds = EXS_NONE,
								.start_seconds = EXS_UNLIMITED,
								.death_retries = EXS_UNLIMITED,
								.memory = EXS_UNLIMITED,
								.cpu_seconds = EXS_UNLIMITED,
								.tasks = EXS_UNLIMITED,
								.task_seconds = EXS_UNLIMITED});
	CHECK_INT(process_stats(ex).spawned, 0);
	expect_text(call(ex, "echo", "x"), "x");
	CHECK_INT(process_stats(ex).spawned, 1);
	processes_end(ex);
}

TEST(process_options, times_of_hours)
{
	processes_begin();
	exs_executor *ex =
		processes((exs_process_pool_options){.workers = 1, .task_seconds = 1e5, .idle_seconds = 1e5});
	expect_text(call(ex, "echo", "x"), "x");
	expect_text(call(ex, "echo", "y"), "y");
	CHECK_INT(process_stats(ex).spawned, 1);
	processes_end(ex);
}

TEST(process_options, not_in_a_simulation)
{
	sim_begin(1, NULL);
	check_refused((exs_process_pool_options){0}, "exs_process_pool: processes can't be part of a simulation");
	sim_end();
}

/* --- other programs --- */

static void check_program(exs_process_pool_options options, const exs_domain *domain, int code, const char *part)
{
	exs_future *f[3];

	processes_begin();
	options.workers = 2;
	exs_executor *ex = processes(options);
	for (int i = 0; i < 3; i++)
		f[i] = call(ex, "echo", "x");
	for (int i = 0; i < 3; i++)
		expect_failure(f[i], domain, code, part);
	CHECK(log_lines(part) >= 1);
	expect_failure(call(ex, "echo", "x"), domain, code, part); /* it is tried again */
	exs_process_pool_stats stats = process_stats(ex);
	CHECK_INT(stats.started, 0);
	CHECK_INT(stats.queued, 0);
	processes_end(ex);
}

TEST(process_options, program_that_is_no_worker)
{
	check_program((exs_process_pool_options){.program = "/bin/true"}, &exs_domain_exit, 0, "ended with status 0");
	check_program((exs_process_pool_options){.program = "/bin/false"}, &exs_domain_exit, 1, "ended with status 1");
}

TEST(process_options, program_that_does_not_exist)
{
	check_program((exs_process_pool_options){.program = "/nonexistent"}, &exs_domain_errno, ENOENT,
		      "could not be begun: posix_spawn: No such file or directory");
	check_program((exs_process_pool_options){.program = "/"}, &exs_domain_errno, EACCES, "Permission denied");
}

TEST(process_options, program_that_never_reports)
{
	static const char *const silent[] = {"--silent"};

	check_program((exs_process_pool_options){.args = silent, .n_args = 1, .start_seconds = 0.05},
		      &exs_domain_signal, SIGKILL, "it has not reported in time: does its main call exs_process_main?");
}

static bool three_have_been_spawned(void *ex)
{
	return process_stats(ex).spawned >= 3;
}

/* Those that are to be there without any work are not begun again as fast as they end. */
TEST(process_options, min_workers_of_a_program_that_is_none)
{
	processes_begin();
	exs_executor *ex =
		processes((exs_process_pool_options){.workers = 3, .min_workers = 3, .program = "/bin/true"});
	wait_until(three_have_been_spawned, ex);
	for (int i = 0; i < 10; i++)
		give_time();
	CHECK(process_stats(ex).spawned < 30);
	expect_failure(call(ex, "echo", "x"), &exs_domain_exit, 0, "ended with status 0");
	processes_end(ex);
}

TEST(process_options, program_that_speaks_otherwise)
{
	static const char *const garbage[] = {"--garbage"};

	check_program((exs_process_pool_options){.args = garbage, .n_args = 1}, &exs_domain_signal, SIGKILL,
		      "died by signal 9 (Killed): ");
}

TEST(process_options, named_program_with_arguments)
{
	char self[4096] = "";
	const char *args[] = {"--greet", "worker"};

	processes_begin();
	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	exs_executor *ex =
		processes((exs_process_pool_options){.workers = 1, .program = self, .args = args, .n_args = 2});
	self[0] = 'x'; /* it has copies */
	args[0] = NULL;
	expect_text(call(ex, "greeted", ""), "yes");
	processes_end(ex);
	processes_begin();
	ex = processes((exs_process_pool_options){.workers = 1});
	expect_text(call(ex, "greeted", ""), "no");
	processes_end(ex);
}

/* --- hooks --- */

TEST(process_options, set_up_and_torn_down)
{
	processes_begin();
	const char *path = new_path(), *said = new_path();
	char input[200];
	CHECK_INT(setenv("EXS_TEST_HOOK", path, 1), 0);
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .tasks = 2});
	snprintf(input, sizeof(input), "%s in", said);
	for (int i = 0; i < 5; i++)
		expect_text(call(ex, "append", input), NULL);
	exs_executor_free(ex);
	CHECK_STR(content(said), "in 1;in 1;in 2;in 2;in 3;");
	CHECK(strstr(content(path), "end of 1;")); /* the next begins meanwhile */
	CHECK(strstr(content(path), "end of 2;"));
	CHECK(strstr(content(path), "end of 3;"));
	CHECK_INT(strlen(content(path)), 3 * strlen("end of 1;"));
	unsetenv("EXS_TEST_HOOK");
	processes_end(NULL);
}

TEST(process_options, setup_that_fails)
{
	processes_begin();
	CHECK_INT(setenv("EXS_TEST_HOOK", "fail", 1), 0);
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	expect_failure(call(ex, "echo", "x"), &known_domain, 12, "no worker today");
	CHECK_INT(process_stats(ex).spawned, 3);
	CHECK_INT(process_stats(ex).died, 3);
	unsetenv("EXS_TEST_HOOK");
	expect_text(call(ex, "echo", "x"), "x");
	processes_end(ex);
}

/* --- what they print --- */

TEST(process_options, lines_of_the_log)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .name = "printer"});
	expect_text(call(ex, "print", "one\ntwo\nthr"), NULL);
	expect_text(call(ex, "print", "ee\nfo\tur\001\nrest"), NULL);
	exs_executor_free(ex);
	CHECK_INT(log_lines("2 printer: worker 1: one"), 1);
	CHECK_INT(log_lines("2 printer: worker 1: two"), 1);
	CHECK_INT(log_lines("2 printer: worker 1: three"), 1);
	CHECK_INT(log_lines("2 printer: worker 1: fo\tur?"), 1);
	CHECK_INT(log_lines("2 printer: worker 1: rest"), 1);
	processes_end(NULL);
}

TEST(process_options, log_files)
{
	char files[100], path[120];

	processes_begin();
	snprintf(files, sizeof(files), "%s", new_path());
	for (int i = 0; i < 2; i++) { /* appended to */
		exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .log_files = files});
		expect_text(call(ex, "print", "one\n"), NULL);
		expect_failure(call(ex, "die", "9 last words"), &exs_domain_signal, SIGKILL,
			       "it last wrote:\none\nlast words");
		expect_text(call(ex, "print", "other\n"), NULL);
		exs_executor_free(ex);
	}
	snprintf(path, sizeof(path), "%s.1", files);
	CHECK_STR(content(path), "one\nlast wordsone\nlast words");
	unlink(path);
	snprintf(path, sizeof(path), "%s.2", files);
	CHECK_STR(content(path), "other\nother\n");
	unlink(path);
	CHECK_INT(log_lines("worker 1: one"), 0);
	processes_end(NULL);
}

TEST(process_options, log_files_that_cannot_be_made)
{
	processes_begin();
	exs_executor *ex =
		processes((exs_process_pool_options){.workers = 1, .log_files = "/nonexistent/directory/file"});
	expect_text(call(ex, "print", "one\n"), NULL);
	exs_executor_free(ex);
	CHECK_INT(log_lines("worker 1: its log file /nonexistent/directory/file.1 can't be opened: No such file"), 1);
	CHECK_INT(log_lines("worker 1: one"), 1);
	processes_end(NULL);
}

/* --- told of the pool --- */

TEST(process_options, statistics)
{
	exs_executor *threads = exs_thread_pool(1);
	exs_process_pool_stats stats;

	processes_begin();
	const char *path = gate();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2, .min_workers = 1});
	exs_future *f = call(ex, "gate", path), *g = call(ex, "gate", path);
	expect_message("entered");
	expect_message("entered");
	exs_future *h = call(ex, "echo", "12345");
	stats = process_stats(ex);
	CHECK_INT(stats.workers, 2);
	CHECK_INT(stats.idle, 0);
	CHECK_INT(stats.running, 2);
	CHECK_INT(stats.queued, 1);
	CHECK_INT(stats.started, 2);
	CHECK_INT(stats.completed, 0);
	CHECK_INT(stats.sent, 2 * strlen(path));
	CHECK_INT(stats.received, 2 * strlen("entered"));
	CHECK_INT(stats.messages, 2);
	gate_open(2);
	expect_text(f, "open, cause 0");
	expect_text(g, "open, cause 0");
	expect_text(h, "12345");
	CHECK(!next_message());
	stats = process_stats(ex);
	CHECK_INT(stats.completed, 3);
	CHECK_INT(stats.sent, 2 * strlen(path) + 5);
	CHECK_INT(stats.received, 2 * (strlen("entered") + strlen("open, cause 0")) + 5);
	CHECK_INT(stats.idle, 2);
	CHECK_INT(exs_process_pool_get_stats(ex, NULL), EXS_EINVAL);
	CHECK_STR(exs_error_message(exs_last_error()), "exs_process_pool_get_stats: stats is NULL");
	CHECK_INT(exs_process_pool_get_stats(threads, &stats), EXS_EINVAL);
	CHECK_INT(exs_process_pool_get_stats(NULL, &stats), EXS_EINVAL);
	exs_executor_free(threads);
	processes_end(ex);
}

TEST(process_options, workers)
{
	exs_executor *threads = exs_thread_pool(1);
	exs_process_worker w[3] = {{.number = 77}, {.number = 77}, {.number = 77}};

	processes_begin();
	const char *path = gate();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2});
	CHECK_INT(exs_process_pool_workers(ex, w, 3), 0);
	long pid = atol(text_of(call(ex, "pid", "")));
	exs_future *f = call(ex, "gate", path), *g = call(ex, "gate", path);
	expect_message("entered");
	expect_message("entered");
	CHECK_INT(exs_process_pool_workers(ex, w, 3), 2);
	CHECK_INT(w[0].number, 1);
	CHECK_INT(w[0].pid, pid);
	CHECK(w[0].busy);
	CHECK_INT(w[0].tasks, 2);
	CHECK(w[0].busy_seconds > 0);
	CHECK(w[0].memory > 100000);
	CHECK_INT(w[1].number, 2);
	CHECK_INT(w[1].tasks, 1);
	CHECK_INT(w[2].number, 77);
	w[1].number = 77;
	CHECK_INT(exs_process_pool_workers(ex, w, 1), 2);
	CHECK_INT(w[1].number, 77);
	CHECK_INT(exs_process_pool_workers(ex, NULL, 0), 2);
	CHECK_INT(exs_process_pool_workers(ex, NULL, 1), 0);
	CHECK_STR(exs_error_message(exs_last_error()), "exs_process_pool_workers: workers is NULL");
	CHECK_INT(exs_process_pool_workers(threads, w, 3), 0);
	CHECK(strstr(exs_error_message(exs_last_error()), "no process pool"));
	CHECK_INT(exs_process_pool_workers_sized(ex, w, 2, sizeof(unsigned)), 2); /* an older program's */
	CHECK_INT(((unsigned *)w)[0], 1);
	CHECK_INT(((unsigned *)w)[1], 2);
	gate_open(2);
	expect_text(f, "open, cause 0");
	expect_text(g, "open, cause 0");
	CHECK_INT(exs_process_pool_workers(ex, w, 3), 2);
	CHECK(!w[0].busy && !w[1].busy);
	exs_executor_free(threads);
	processes_end(ex);
}

/* --- events, metrics --- */

struct told {
	atomic_uint kinds[5];
	atomic_uint attempts;
	atomic_bool ran;
};

static void on_event(void *ctx, const exs_event *event)
{
	struct told *told = ctx;

	atomic_fetch_add(&told->kinds[event->kind], 1);
	if (event->kind == EXS_EVENT_ATTEMPT)
		atomic_store(&told->attempts, event->attempt);
	if (event->kind == EXS_EVENT_ATTEMPT && event->run_seconds > 0)
		atomic_store(&told->ran, true);
}

TEST(process_options, events)
{
	struct told told = {.attempts = 0};

	processes_begin();
	exs_executor *ex = exs_with_retry(processes((exs_process_pool_options){.workers = 1}),
					  &(exs_retry_options){.sleep = EXS_NONE});
	exs_set_events(on_event, &told);
	expect_text(call(ex, "fail until third", ""), "3 of 3");
	CHECK_INT(told.kinds[EXS_EVENT_SUBMITTED], 1);
	CHECK_INT(told.kinds[EXS_EVENT_STARTED], 3);
	CHECK_INT(told.kinds[EXS_EVENT_ATTEMPT], 3);
	CHECK_INT(told.kinds[EXS_EVENT_COMPLETED], 1);
	CHECK_INT(told.attempts, 3);
	CHECK(told.ran);
	expect_failure(call(ex, "die", "9"), &exs_domain_signal, SIGKILL, "");
	CHECK_INT(told.kinds[EXS_EVENT_STARTED], 6);
	CHECK_INT(told.kinds[EXS_EVENT_ATTEMPT], 6);
	CHECK_INT(told.kinds[EXS_EVENT_COMPLETED], 2);
	exs_executor_free(ex);
	exs_set_events(NULL, NULL);
	processes_end(NULL);
}

static bool keep(void *ctx, const char *text, size_t length)
{
	strncat(ctx, text, length);
	return true;
}

TEST(process_options, metrics)
{
	static char text[1 << 20];

	processes_begin();
	exs_metrics_enable(true);
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .name = "measured"});
	expect_text(call(ex, "echo", "x"), "x");
	expect_failure(call(ex, "die", "9"), &exs_domain_signal, SIGKILL, "");
	CHECK(exs_metrics_write(keep, text));
	exs_metrics_enable(false);
	CHECK(strstr(text, "executors_future_total{executor=\"measured\",type=\"process_pool\""));
	CHECK(strstr(text, "executors_future_error_total{executor=\"measured\",type=\"process_pool\""));
	processes_end(ex);
}
