/* The functions that workers run in the tests of the process pool, and how these begin. */
#define _GNU_SOURCE
#include "process_functions.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

const exs_domain known_domain = {.size = sizeof(exs_domain), .name = "known"};
static const exs_domain strange_domain = {.size = sizeof(exs_domain), .name = "strange"};

/* --- in the worker --- */

/* The input as text. */
static const char *text_in(const exs_bytes *in, char *text, size_t size)
{
	size_t n = in->size < size ? in->size : size - 1;

	if (n)
		memcpy(text, in->data, n);
	text[n] = '\0';
	return text;
}

static exs_result answer(const char *text)
{
	return exs_ok_copy(text, strlen(text));
}

static int say(exs_context *ctx, const char *text)
{
	return exs_send(ctx, text, strlen(text));
}

static exs_result echo(const exs_bytes *in, exs_context *ctx)
{
	(void)ctx;
	return exs_ok_copy(in->data, in->size);
}

static exs_result nothing(const exs_bytes *in, exs_context *ctx)
{
	(void)in, (void)ctx;
	return exs_ok(NULL, NULL);
}

static exs_result no_bytes(const exs_bytes *in, exs_context *ctx)
{
	(void)in, (void)ctx;
	return exs_ok((void *)(uintptr_t) "text", NULL);
}

/* So many bytes, of which each is the low one of its number. */
static exs_result make(const exs_bytes *in, exs_context *ctx)
{
	char text[32];
	exs_bytes *bytes = exs_bytes_new(strtoul(text_in(in, text, sizeof(text)), NULL, 10));

	(void)ctx;
	for (size_t i = 0; bytes && i < bytes->size; i++)
		bytes->data[i] = (unsigned char)i;
	return exs_ok_bytes(bytes);
}

/* How many bytes there are, if each is as above. */
static exs_result check(const exs_bytes *in, exs_context *ctx)
{
	char text[64];
	bool right = true;

	(void)ctx;
	for (size_t i = 0; i < in->size; i++)
		right = right && in->data[i] == (unsigned char)i;
	snprintf(text, sizeof(text), "%zu %s", in->size, right ? "right" : "wrong");
	return answer(text);
}

static exs_result fail(const exs_bytes *in, exs_context *ctx)
{
	char text[300];

	(void)ctx;
	return exs_fail(exs_error_new_retry_after(&known_domain, -5, 2.5, "%s", text_in(in, text, sizeof(text))));
}

static exs_result fail_strangely(const exs_bytes *in, exs_context *ctx)
{
	(void)in, (void)ctx;
	return exs_fail(exs_error_new(&strange_domain, 9, "how strange"));
}

static exs_result fail_all(const exs_bytes *in, exs_context *ctx)
{
	exs_future *f[2];

	for (int i = 0; i < 2; i++) {
		exs_promise *p = exs_promise_new(&f[i]);
		exs_promise_complete(p, exs_fail(exs_error_new(&known_domain, i, "number %d", i)));
		exs_promise_free(p);
	}
	exs_future *any = exs_future_any_ok(f, 2);
	exs_result r = exs_fail(exs_error_ref(exs_future_error(any)));
	exs_future_unref(any);
	(void)in, (void)ctx;
	return r;
}

static exs_result give_up(const exs_bytes *in, exs_context *ctx)
{
	(void)in, (void)ctx;
	return exs_cancelled();
}

/* "NUMBER TEXT": writes the text on standard error, and dies by the signal; or ends itself. */
static exs_result die(const exs_bytes *in, exs_context *ctx)
{
	char text[10000], *rest;
	int number = (int)strtol(text_in(in, text, sizeof(text)), &rest, 10);

	(void)ctx;
	if (*rest && write(STDERR_FILENO, rest + 1, strlen(rest + 1)) < 0)
		return exs_cancelled();
	raise(number);
	return answer("alive");
}

static exs_result leave(const exs_bytes *in, exs_context *ctx)
{
	char text[32];

	(void)ctx;
	_exit((int)strtol(text_in(in, text, sizeof(text)), NULL, 10));
}

static exs_result print(const exs_bytes *in, exs_context *ctx)
{
	(void)ctx;
	if (write(STDOUT_FILENO, in->data, in->size) < 0)
		return exs_cancelled();
	return exs_ok(NULL, NULL);
}

static exs_result tell_pid(const exs_bytes *in, exs_context *ctx)
{
	char text[32];

	(void)in, (void)ctx;
	snprintf(text, sizeof(text), "%d", (int)getpid());
	return answer(text);
}

static exs_result tell_context(const exs_bytes *in, exs_context *ctx)
{
	const char *name = exs_context_name(ctx);
	char text[400];

	(void)in;
	snprintf(text, sizeof(text), "%u of %u, %s, cause %d, %s", exs_context_attempt(ctx),
		 exs_context_max_attempts(ctx), name ? name : "no name", (int)exs_context_cause(ctx),
		 isinf(exs_context_time_left(ctx)) ? "no deadline" : "deadline");
	return answer(text);
}

static exs_result tell_time_left(const exs_bytes *in, exs_context *ctx)
{
	char text[32];

	(void)in;
	snprintf(text, sizeof(text), "%.9g", exs_context_time_left(ctx));
	return answer(text);
}

static exs_result fail_until_third(const exs_bytes *in, exs_context *ctx)
{
	char text[64];

	(void)in;
	snprintf(text, sizeof(text), "%u of %u", exs_context_attempt(ctx), exs_context_max_attempts(ctx));
	say(ctx, text);
	return exs_context_attempt(ctx) < 3 ? exs_fail(exs_error_new(&known_domain, 1, "%s", text)) : answer(text);
}

/* "N": dies, but in the N-th worker. */
static exs_result die_in_others(const exs_bytes *in, exs_context *ctx)
{
	char text[32], number[32];

	snprintf(number, sizeof(number), "%s", (char *)exs_context_worker_state(ctx));
	say(ctx, number);
	if (strcmp(text_in(in, text, sizeof(text)), number) != 0)
		raise(SIGKILL);
	return answer(number);
}

static void on_cancel(void *ctx)
{
	say(ctx, "told");
}

/* Sleeps until it is asked to stop. */
static exs_result sleep_on(const exs_bytes *in, exs_context *ctx)
{
	char text[64];

	(void)in;
	exs_context_on_cancel(ctx, on_cancel, ctx);
	say(ctx, "entered");
	int rc = exs_context_sleep(ctx, 1000);
	snprintf(text, sizeof(text), "slept %d, cause %d", rc, (int)exs_context_cause(ctx));
	say(ctx, text);
	return exs_cancelled();
}

/* Waits for the gate of that path, heedless of a cancel. */
static exs_result wait_at_gate(const exs_bytes *in, exs_context *ctx)
{
	char path[300], byte;
	int fd = open(text_in(in, path, sizeof(path)), O_RDONLY | O_CLOEXEC);

	say(ctx, "entered");
	bool open = read(fd, &byte, 1) == 1;
	close(fd);
	snprintf(path, sizeof(path), "%s, cause %d", open ? "open" : "not open", (int)exs_context_cause(ctx));
	return answer(path);
}

static exs_result gate_then_schedule(const exs_bytes *in, exs_context *ctx)
{
	char text[32];

	exs_result r = wait_at_gate(in, ctx);
	for (int i = 0; i < 3; i++)
		if (exs_schedule(ctx, exs_invocation_new("tell", "scheduled", 9), NULL))
			say(ctx, "refused");
	snprintf(text, sizeof(text), "over");
	say(ctx, text);
	return r;
}

static exs_result tell(const exs_bytes *in, exs_context *ctx)
{
	exs_send(ctx, in->data, in->size);
	return exs_ok(NULL, NULL);
}

static exs_result ignore_term(const exs_bytes *in, exs_context *ctx)
{
	(void)in;
	signal(SIGTERM, SIG_IGN);
	say(ctx, "entered");
	for (;;)
		pause();
	return exs_cancelled();
}

/* From now on it waits to be read: what handles a signal would be lost now and then under TSan. */
static sigset_t hold_term(void)
{
	sigset_t term;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	return term;
}

static exs_result hold(const exs_bytes *in, exs_context *ctx)
{
	(void)in, (void)ctx;
	hold_term();
	return exs_ok(NULL, NULL);
}

static void await_term(exs_context *ctx)
{
	sigset_t term = hold_term();
	int number;

	say(ctx, "entered");
	sigwait(&term, &number);
}

static exs_result heed_term(const exs_bytes *in, exs_context *ctx)
{
	(void)in;
	await_term(ctx);
	_exit(17);
}

/* Answers when it has been asked to end, and does not end. */
static exs_result outlive_term(const exs_bytes *in, exs_context *ctx)
{
	(void)in;
	await_term(ctx);
	return exs_ok_copy("late", 4);
}

static exs_result spin(const exs_bytes *in, exs_context *ctx)
{
	(void)in;
	say(ctx, "entered");
	for (volatile unsigned i = 0;; i++)
		;
	return exs_cancelled();
}

static exs_result take_memory(const exs_bytes *in, exs_context *ctx)
{
	char text[32];
	void *volatile p =
		malloc(strtoul(text_in(in, text, sizeof(text)), NULL, 10)); /* not to be left out as unused */

	(void)ctx;
	free(p);
	return answer(p ? "there is" : "there is not");
}

static unsigned long long limit_of(int resource)
{
	struct rlimit limit = {0, 0};

	getrlimit(resource, &limit);
	return (unsigned long long)limit.rlim_max;
}

static int no_new_privileges(void)
{
	char line[256];
	int value = -1;
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "NoNewPrivs: %d", &value);
	if (file)
		fclose(file);
	return value;
}

static exs_result tell_limits(const exs_bytes *in, exs_context *ctx)
{
	char text[300];
	int variables = 0;

	(void)in, (void)ctx;
	while (environ && environ[variables])
		variables++;
	snprintf(text, sizeof(text), "privileges %d, core %llu, files %llu, size %llu, processes %llu, variables %s",
		 no_new_privileges(), limit_of(RLIMIT_CORE), limit_of(RLIMIT_NOFILE), limit_of(RLIMIT_FSIZE),
		 limit_of(RLIMIT_NPROC), variables ? "some" : "none");
	return answer(text);
}

/* "PATH TEXT": the file gets the text, and the worker's number. */
static exs_result append(const exs_bytes *in, exs_context *ctx)
{
	char text[400], line[200];
	char *space = strchr(text_in(in, text, sizeof(text)), ' ');
	const char *state = exs_context_worker_state(ctx);

	if (!space)
		return exs_cancelled();
	*space = '\0';
	int n = snprintf(line, sizeof(line), "%s %s;", space + 1, state ? state : "?");
	int fd = open(text, O_WRONLY | O_APPEND | O_CREAT, 0666);
	ssize_t done = write(fd, line, (size_t)n);
	close(fd);
	return done == n ? exs_ok(NULL, NULL) : exs_cancelled();
}

/* "COUNT END": that many items from 0 on, each also a message once it is out, every fourth an error; then as END says. */
static exs_result emit(const exs_bytes *in, exs_context *ctx)
{
	char text[64], end[32] = "";
	int n = 0;

	sscanf(text_in(in, text, sizeof(text)), "%d %31s", &n, end);
	for (int i = 0; i < n; i++) {
		int size = snprintf(text, sizeof(text), "%d", i);
		bool bad = i % 4 == 3;
		int rc = exs_emit(ctx, bad ? exs_fail(exs_error_new(&known_domain, i, "item %d", i))
					   : exs_ok_copy(text, (size_t)size));
		if (rc)
			snprintf(text, sizeof(text), "refused %d", rc);
		say(ctx, text);
		if (rc)
			return exs_cancelled();
	}
	if (!strcmp(end, "die"))
		raise(SIGKILL);
	if (!strcmp(end, "fail") || (!strcmp(end, "retry") && exs_context_attempt(ctx) < 2))
		return exs_fail(exs_error_new(&known_domain, 77, "at the end"));
	return exs_ok(NULL, NULL);
}

/* What exs_emit answers where nobody asks for items, and without bytes. */
static exs_result emit_wrongly(const exs_bytes *in, exs_context *ctx)
{
	char text[64];
	int none = exs_emit(ctx, exs_ok((void *)(uintptr_t) "text", NULL));
	int null = exs_emit(ctx, exs_ok(NULL, NULL));

	(void)in;
	snprintf(text, sizeof(text), "%d %d", none, null);
	say(ctx, text);
	return exs_ok(NULL, NULL);
}

/* Depth D: schedules two of depth D - 1. */
static exs_result grow(const exs_bytes *in, exs_context *ctx)
{
	char text[32];
	int depth = atoi(text_in(in, text, sizeof(text)));

	int size = snprintf(text, sizeof(text), "%d", depth - 1);
	for (int i = 0; depth && i < 2; i++)
		if (exs_schedule(ctx, exs_invocation_new("grow", text, (size_t)size), NULL))
			say(ctx, "refused");
	say(ctx, "grown");
	return exs_ok(NULL, NULL);
}

/* "SERIES PRIORITY FUNCTION": schedules that with these options. */
static exs_result schedule_with(const exs_bytes *in, exs_context *ctx)
{
	char text[100], function[64];
	exs_task task = {.name = "a name"};

	sscanf(text_in(in, text, sizeof(text)), "%u %d %63[^\n]", &task.series, &task.priority, function);
	int rc = exs_schedule(ctx, exs_invocation_new(function, NULL, 0), &task);
	return rc ? exs_fail(exs_error_new(&known_domain, rc, "refused")) : exs_ok(NULL, NULL);
}

static exs_result send_name(const exs_bytes *in, exs_context *ctx)
{
	char text[100];

	(void)in;
	snprintf(text, sizeof(text), "%s in %s", exs_context_name(ctx),
		 exs_context_worker_state(ctx) ? "a worker" : "a thread");
	say(ctx, text);
	return exs_ok(NULL, NULL);
}

/* What is refused to a task in its worker. */
static exs_result ask_wrongly(const exs_bytes *in, exs_context *ctx)
{
	exs_task timed = {.timeout = 1};
	static char much[5000];
	char text[100];

	(void)in;
	snprintf(text, sizeof(text), "%d %d %d %d %d", exs_schedule(ctx, NULL, NULL),
		 exs_schedule(NULL, exs_invocation_new("echo", NULL, 0), NULL),
		 exs_schedule(ctx, exs_invocation_new("echo", NULL, 0), &timed), exs_send(ctx, NULL, 1),
		 exs_send(ctx, much, sizeof(much)));
	return answer(text);
}

static exs_result send_many(const exs_bytes *in, exs_context *ctx)
{
	char text[32];
	int n = atoi(text_in(in, text, sizeof(text)));

	for (int i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%d", i);
		say(ctx, text);
	}
	return exs_ok(NULL, NULL);
}

static exs_context *left_behind;

/* As a thread of its own would that goes on: its context stays, lest the next task's be in the same place. */
static exs_result leave_behind(const exs_bytes *in, exs_context *ctx)
{
	(void)in;
	left_behind = ctx;
	exs_future_ref((exs_future *)(void *)ctx);
	say(ctx, "in time");
	return exs_ok(NULL, NULL);
}

/* In the name of the task before, which has ended. */
static exs_result say_late(const exs_bytes *in, exs_context *ctx)
{
	char text[64];
	int sent = say(left_behind, "late");
	int scheduled = exs_schedule(left_behind, exs_invocation_new("tell", "late", 4), NULL);
	int emitted = exs_emit(left_behind, exs_ok(NULL, NULL));

	(void)in;
	exs_future_unref((exs_future *)(void *)left_behind);
	say(ctx, "of the next");
	snprintf(text, sizeof(text), "%d %d %d", sent, scheduled, emitted);
	return answer(text);
}

static exs_result shout(const exs_bytes *in, exs_context *ctx)
{
	char text[200];

	(void)ctx;
	text_in(in, text, sizeof(text));
	for (char *c = text; *c; c++)
		*c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
	return answer(text);
}

static const struct {
	const char *name;
	exs_registered_fn *fn;
} functions[] = {
	{"echo", echo},
	{"nothing", nothing},
	{"no bytes", no_bytes},
	{"make", make},
	{"check", check},
	{"fail", fail},
	{"fail strangely", fail_strangely},
	{"fail all", fail_all},
	{"give up", give_up},
	{"die", die},
	{"leave", leave},
	{"print", print},
	{"pid", tell_pid},
	{"context", tell_context},
	{"time left", tell_time_left},
	{"fail until third", fail_until_third},
	{"die in others", die_in_others},
	{"sleep", sleep_on},
	{"gate", wait_at_gate},
	{"gate, schedule", gate_then_schedule},
	{"tell", tell},
	{"ignore TERM", ignore_term},
	{"hold TERM", hold},
	{"heed TERM", heed_term},
	{"outlive TERM", outlive_term},
	{"spin", spin},
	{"memory", take_memory},
	{"limits", tell_limits},
	{"append", append},
	{"emit", emit},
	{"emit wrongly", emit_wrongly},
	{"grow", grow},
	{"schedule", schedule_with},
	{"name", send_name},
	{"ask wrongly", ask_wrongly},
	{"send many", send_many},
	{"leave behind", leave_behind},
	{"say late", say_late},
	{"shout", shout},
};

/* --- the worker's beginning --- */

/* What EXS_TEST_HOOK says: "fail"; or a path, to which beginning and end are written. */
static exs_error *set_up(void *ctx, unsigned number, void **state)
{
	const char *hook = getenv("EXS_TEST_HOOK");
	char *name = malloc(32);

	if (hook && !strcmp(hook, "fail")) {
		free(name);
		return exs_error_new(&known_domain, 12, "no worker today");
	}
	snprintf(name, 32, "%u", number);
	*state = name;
	if (ctx != &known_domain)
		return exs_error_new(&known_domain, 13, "not what was given");
	return NULL;
}

static void tear_down(void *ctx, unsigned number, void *state)
{
	const char *hook = getenv("EXS_TEST_HOOK");
	FILE *file = hook && ctx == &known_domain && (unsigned)atoi(state) == number ? fopen(hook, "a") : NULL;

	if (file) {
		fprintf(file, "end of %u;", number);
		fclose(file);
	}
	free(state);
}

/* Until the parent has gone. */
static void stay(void)
{
	struct pollfd control = {.fd = 4};

	while (poll(&control, 1, -1) != 1)
		;
	_exit(0);
}

/* A worker that does not keep to the rules, as its first argument says. */
static void misbehave(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "--silent"))
		stay();
	if (argc > 2 && !strcmp(argv[1], "--garbage") && write(3, "garbage", 7) == 7)
		stay();
	if (argc > 3 && !strcmp(argv[1], "--greet") && !strcmp(argv[2], "worker"))
		setenv("EXS_TEST_GREETED", "yes", 1);
}

static exs_result greeted(const exs_bytes *in, exs_context *ctx)
{
	const char *text = getenv("EXS_TEST_GREETED");

	(void)in, (void)ctx;
	return answer(text ? text : "no");
}

__attribute__((constructor)) static void be_worker(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++)
		exs_register(functions[i].name, functions[i].fn);
	exs_register("greeted", greeted);
	exs_register_domain(&known_domain);
	if (argc > 1 && !strcmp(argv[argc - 1], "--exs-worker"))
		misbehave(argc, argv);
	exs_process_worker_hooks(set_up, tear_down, NULL); /* would fail: the last one counts */
	exs_process_worker_hooks(set_up, tear_down, (void *)(uintptr_t)&known_domain);
	exs_process_main(argc, argv);
}
