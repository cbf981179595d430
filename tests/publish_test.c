/* publish as a program, against a job service in this process: what it prints,
   how it ends, and what the service saw. */
#define _GNU_SOURCE
#include "harness.h"
#include "job_service.h"
#include "program.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double LONG = 60; /* the watchdog comes first */

/* --- running it --- */

static pid_t spawn(const char *const *args, int in, int out, int err)
{
	return program_spawn("publish", args, in, out, err);
}

static void run_start(struct program *r, const char *const *args, const char *input)
{
	program_start(r, "publish", args, program_file(input));
}

static size_t lines(const struct program *r)
{
	size_t n = 0;

	for (const char *p = r->texts[0]; p && (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

/* Reads until n lines have come on standard output, or both outputs are at their end. */
static void run_read(struct program *r, size_t n)
{
	while (lines(r) < n && program_read(r))
		;
}

/* The part of the output from the line of an id on; NULL if there is none. */
static const char *line_of(const struct program *r, const char *id)
{
	const char *p = r->texts[0];
	size_t size = strlen(id);

	while (p && *p && (strncmp(p, id, size) || p[size] != '\t'))
		p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL;
	return p && *p ? p : NULL;
}

/* The line of an id has this outcome, and a message with `part` in it. */
static void check_line(const struct program *r, const char *id, const char *outcome, const char *part)
{
	char expected[600], line[4096] = "";
	const char *found = line_of(r, id);

	CHECK(found);
	memcpy(line, found, strcspn(found, "\n") < sizeof(line) - 1 ? strcspn(found, "\n") : sizeof(line) - 1);
	snprintf(expected, sizeof(expected), "%s\t%s\t", id, outcome);
	if (strncmp(line, expected, strlen(expected)) || !strstr(line, part))
		CHECK_STR(line, expected);
}

static size_t count(const struct program *r, const char *outcome)
{
	char word[32];
	size_t n = 0;

	snprintf(word, sizeof(word), "\t%s\t", outcome);
	for (const char *p = r->texts[0]; (p = strstr(p, word)); p++)
		n++;
	return n;
}

/* --- the service --- */

static struct job_service *serve(const struct job_service_options *options)
{
	struct job_service *service = job_service_start(options);

	CHECK(service);
	return service;
}

static const struct job_service_options quick = {.job_seconds = 1e-9};
static const struct job_service_options for_ever = {.job_seconds = -1};

/* Runs it to the end with --url, a short interval and backoff, and up to 8 further arguments. */
static void run_all(struct program *r, struct job_service *service, const char *const *more)
{
	const char *args[32] = {"--url", job_service_url(service), "--interval", "0.05", "--backoff", "0"};
	size_t n = 6;

	for (; *more; more++)
		args[n++] = *more;
	run_start(r, args, "");
}

/* --- what it prints --- */

TEST(publish, prints_a_line_for_each_job)
{
	struct job_service *service = serve(&quick);
	struct program r;
	char id[16];
	const char *args[] = {"--url", job_service_url(service), "--interval", "0.05", "-", NULL};

	run_start(&r, args, "1\n2\n3\r\n4\n5\n6\n7\n8\n9\n10");
	program_check(&r, 0);
	CHECK_INT(lines(&r), 10);
	for (int i = 1; i <= 10; i++) {
		snprintf(id, sizeof(id), "%d", i);
		check_line(&r, id, "finished", "task ");
	}
	CHECK(strstr(r.texts[1], "publish: 10 of 10 finished"));
	CHECK(!strchr(r.texts[1], '\033'));
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, starts_a_service_of_its_own)
{
	struct program r;

	run_start(&r, (const char *[]){"--interval", "0.2", "1", "2", "bad3", NULL}, "");
	program_check(&r, 1);
	check_line(&r, "1", "finished", "task ");
	check_line(&r, "2", "finished", "task ");
	check_line(&r, "bad3", "error", "object bad3 is bad");
	program_free(&r);
}

TEST(publish, repeated_ids_are_each_published)
{
	struct job_service *service = serve(&quick);
	struct program r;

	run_all(&r, service, (const char *[]){"7", "7", "7", NULL});
	program_check(&r, 0);
	CHECK_INT(lines(&r), 3);
	CHECK_INT(job_service_counts(service).jobs_created, 3);
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, control_characters_of_a_message_do_not_break_its_line)
{
	struct job_service *service = serve(&quick);
	struct program r;

	run_all(&r, service, (const char *[]){"bad\xc3\xbc", NULL});
	program_check(&r, 1);
	check_line(&r, "bad\xc3\xbc", "error", "object bad\xc3\xbc is bad");
	CHECK_INT(lines(&r), 1);
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, help)
{
	struct program r;

	run_start(&r, (const char *[]){"--help", NULL}, "");
	program_check(&r, 0);
	CHECK(strstr(r.texts[0], "--cancel-after SECONDS"));
	program_free(&r);
}

TEST(publish, wrong_usage)
{
	static char long_id[600];
	static const struct {
		const char *args[4], *input, *part;
	} cases[] = {
		{{NULL}, "", "no ids"},
		{{"-"}, "", "no ids"},
		{{"--nonsense", "1"}, "", "nonsense"},
		{{"--workers"}, "", "workers"},
		{{"--workers", "0", "1"}, "", "--workers 0: not a number from 1 to 1000"},
		{{"--workers", "4x", "1"}, "", "--workers 4x"},
		{{"--workers", "-4", "1"}, "", "--workers -4"},
		{{"--workers", "99999999999999999999", "1"}, "", "--workers 9"},
		{{"--attempts", "", "1"}, "", "--attempts"},
		{{"--tolerate", "1.5", "1"}, "", "--tolerate 1.5"},
		{{"--timeout", "0", "1"}, "", "--timeout 0: not a number of seconds above 0"},
		{{"--timeout", "1e300", "1"}, "", "--timeout 1e300: not a number of seconds above 0 and below 1e9"},
		{{"--backoff", "1e9", "1"}, "", "--backoff 1e9: not a number of seconds below 1e9"},
		{{"--timeout", "nan", "1"}, "", "--timeout nan"},
		{{"--timeout", "inf", "1"}, "", "--timeout inf"},
		{{"--interval", "-1", "1"}, "", "--interval -1"},
		{{"--cancel-after", "1s", "1"}, "", "--cancel-after 1s"},
		{{"--url", "nonsense", "1"}, "", "nonsense: not the URL of a service"},
		{{"--url", "ftp://host", "1"}, "", "ftp://host: not the URL of a service"},
		{{"1", ""}, "", "an empty id"},
		{{"a\tb"}, "", "a control character"},
		{{"a\nb"}, "", "a control character"},
		{{long_id}, "", "more than 512 bytes"},
		{{"-"}, "1\n\n2\n", "standard input, line 2: an empty id"},
		{{"-"}, "1\na\tb\n", "standard input, line 2: an id with a control character"},
	};

	memset(long_id, 'x', sizeof(long_id) - 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct program r;
		const char *args[5] = {cases[i].args[0], cases[i].args[1], cases[i].args[2], NULL};
		run_start(&r, args, cases[i].input);
		program_check(&r, 2);
		if (!strstr(r.texts[1], cases[i].part))
			CHECK_STR(r.texts[1], cases[i].part);
		CHECK_STR(r.texts[0], "");
		program_free(&r);
	}
}

TEST(publish, an_output_nobody_reads)
{
	struct job_service *service = serve(&for_ever);
	const char *args[] = {"--url", job_service_url(service), "--interval", "0.05", "1", "2", NULL};
	struct program r = {.fds = {-1, -1}};
	int out[2], err[2];

	CHECK(!pipe2(out, O_CLOEXEC) && !pipe2(err, O_CLOEXEC));
	close(out[0]);
	r.pid = spawn(args, program_file(""), out[1], err[1]);
	r.fds[1] = err[0];
	CHECK(job_service_wait_searches(service, 2, LONG));
	CHECK(job_service_finish(service, 1));
	program_check(&r, 1);
	CHECK(strstr(r.texts[1], "standard output: Broken pipe"));
	CHECK_INT(job_service_counts(service).jobs_cancelled, 1);
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, closed_descriptors)
{
	struct job_service *service = serve(&for_ever);
	const char *args[] = {"--url", job_service_url(service), "--interval", "0.05", "1", "2", NULL};
	struct program r = {.fds = {-1, -1}};
	int err[2];

	CHECK(!pipe2(err, O_CLOEXEC));
	r.pid = spawn(args, -1, -1, err[1]);
	r.fds[1] = err[0];
	CHECK(job_service_wait_searches(service, 2, LONG));
	CHECK(job_service_finish(service, 1));
	program_check(&r, 1);
	CHECK(strstr(r.texts[1], "standard output: Bad file descriptor"));
	CHECK(strstr(r.texts[1], "1 of 2 finished"));
	program_free(&r);
	job_service_stop(service);
}

/* What comes out of a terminal that is its error output. */
static char *on_terminal(struct job_service *service, const char *more)
{
	const char *args[] = {"--url", job_service_url(service), "--interval", "0.05", "1", more, NULL};
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), out[2];
	struct program r = {.fds = {-1, master}};

	CHECK(master >= 0 && !grantpt(master) && !unlockpt(master) && !pipe2(out, O_CLOEXEC));
	r.pid = spawn(args, program_file(""), out[1], open(ptsname(master), O_WRONLY | O_NOCTTY | O_CLOEXEC));
	close(out[0]);
	program_end(&r);
	free(r.texts[0]);
	return r.texts[1];
}

TEST(publish, progress_on_a_terminal_only)
{
	struct job_service *service = serve(&quick);
	char *text = on_terminal(service, "2");

	CHECK(strstr(text, "\033[K[........"));
	free(text);
	text = on_terminal(service, "--quiet");
	CHECK(!strchr(text, '\033') && !strstr(text, "finished"));
	free(text);
	job_service_stop(service);
}

/* --- a service that misbehaves --- */

struct misbehaviour {
	const char *name;
	struct job_service_faults faults;
	const char *option, *value; /* an argument more; NULL: none */
	int status;		    /* exit */
	const char *outcome, *part; /* of both jobs; in both messages */
	size_t publishes;	    /* 0: as many as there was time for */
	int64_t first_id;
};

static const struct misbehaviour misbehaviours[] = {
	{"5xx", {.publish = {.fail = 2, .status = 503}}, "--workers", "1", 0, "finished", "task", 4, 0},
	{"5xx always", {.publish.fail = -1}, "--attempts", "2", 1, "error", "attempt 2 of 2: HTTP 500", 4, 0},
	{"dropped", {.publish.drop = 2}, "--workers", "1", 0, "finished", "task", 4, 0},
	{"dropped after", {.publish.drop_after = 2}, "--workers", "1", 0, "finished", "task", 4, 0},
	{"dropped, one attempt", {.publish.drop_after = -1}, "--attempts", "1", 1, "error", "/publish: ", 2, 0},
	{"never answers", {.publish.hang = -1}, "--timeout", "0.3", 1, "timeout", "", 0, 0},
	{"truncated", {.publish.truncate = -1}, NULL, NULL, 1, "error", "is not JSON", 2, 0},
	{"wrong JSON", {.publish.wrong_type = -1}, NULL, NULL, 1, "error", "not a JSON object", 2, 0},
	{"no id", {.publish_no_id = -1}, NULL, NULL, 1, "error", "no task_id; the job may exist", 2, 0},
	{"string id", {.publish_string_id = -1}, NULL, NULL, 1, "error", "not an integer; the job may exist", 2, 0},
	{"float id", {.publish_float_id = -1}, NULL, NULL, 1, "error", "not an integer; the job may exist", 2, 0},
	{"huge answer", {.publish.huge = -1}, NULL, NULL, 1, "error", "over the limit of 67108864 bytes", 2, 0},
	{"limit",
	 {.publish = {.huge = -1, .huge_bytes = 2000}},
	 "--body-limit",
	 "999",
	 1,
	 "error",
	 "of 999 bytes",
	 2,
	 0},
	{"redirect", {.publish.redirect = -1}, NULL, NULL, 1, "error", "HTTP 302", 2, 0},
	{"search never answers", {.search.hang = -1}, "--timeout", "0.3", 1, "timeout", "", 0, 0},
	{"search tolerated", {.search.fail = 2}, "--tolerate", "2", 0, "finished", "task", 2, 0},
	{"search truncated", {.search.truncate = -1}, NULL, NULL, 1, "error", "is not JSON", 2, 0},
	{"search wrong", {.search.wrong_type = -1}, NULL, NULL, 1, "error", "is not a JSON array", 2, 0},
	{"search redirected", {.search.redirect = -1}, NULL, NULL, 1, "error", "/elsewhere", 2, 0},
	{"search huge", {.search.huge_chunked = -1}, NULL, NULL, 1, "error", "over the limit", 2, 0},
	{"unknown task", {.search_extra = -1}, NULL, NULL, 0, "finished", "task", 2, 0},
	{"doubled", {.search_twice = -1}, NULL, NULL, 0, "finished", "task", 2, 0},
	{"unknown state", {.search_odd_state = -1}, NULL, NULL, 1, "error", "unknown state \"paused?\"", 2, 0},
	{"id above 2^53", {.search_twice = 0}, NULL, NULL, 0, "finished", "task 90071992547409", 2, 9007199254740993},
};

static void check_misbehaviour(const struct misbehaviour *m)
{
	struct job_service *service =
		serve(&(struct job_service_options){.job_seconds = 1e-9, .first_id = m->first_id, .faults = m->faults});
	struct program r;

	fprintf(stderr, "%s\n", m->name);
	run_all(&r, service,
		m->option ? (const char *[]){m->option, m->value, "1", "2", NULL} : (const char *[]){"1", "2", NULL});
	program_check(&r, m->status);
	CHECK_INT(lines(&r), 2);
	check_line(&r, "1", m->outcome, m->part);
	check_line(&r, "2", m->outcome, m->part);
	CHECK(!m->publishes || job_service_counts(service).publishes == m->publishes);
	CHECK(!m->publishes || job_service_counts(service).keys == 2);
	CHECK(job_service_counts(service).jobs_created <= 2);
	CHECK_INT(job_service_counts(service).elsewhere, 0);
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, survives_a_service_that_misbehaves)
{
	for (size_t i = 0; i < sizeof(misbehaviours) / sizeof(*misbehaviours); i++)
		check_misbehaviour(&misbehaviours[i]);
}

TEST(publish, a_task_missing_from_an_answer_fails_and_the_rest_go_on)
{
	struct job_service *service = serve(&(struct job_service_options){.job_seconds = -1});
	struct job_service_faults faults = {.search_omit = 1};
	struct program r;

	run_all(&r, service, (const char *[]){"--workers", "1", "1", "2", NULL});
	CHECK(job_service_wait(service, offsetof(struct job_service_counts, search_ids_max), 2, LONG));
	job_service_set_faults(service, &faults);
	run_read(&r, 1);
	CHECK(job_service_finish(service, 2));
	program_check(&r, 1);
	check_line(&r, "1", "error", "task 1: the service does not know it");
	check_line(&r, "2", "finished", "task 2");
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, one_failed_search_fails_those_it_asked_for)
{
	struct job_service *service = serve(&for_ever);
	struct job_service_faults faults = {.search.fail = 1};
	struct program r;

	run_all(&r, service, (const char *[]){"--backoff", "0.1", "--workers", "1", "1", "2", NULL});
	CHECK(job_service_wait(service, offsetof(struct job_service_counts, search_ids_max), 2, LONG));
	job_service_set_faults(service, &faults);
	program_check(&r, 1);
	CHECK_INT(count(&r, "error"), 2);
	check_line(&r, "1", "error", "HTTP 500 from POST ");
	program_free(&r);
	job_service_stop(service);
}

/* --- cancel --- */

static void check_all_cancelled(struct program *r, size_t n)
{
	program_check(r, 1);
	CHECK_INT(lines(r), n);
	CHECK_INT(count(r, "cancelled"), n);
}

TEST(publish, ctrl_c_cancels_what_is_left_at_the_service_too)
{
	struct job_service *service = serve(&for_ever);
	struct program r;

	run_all(&r, service, (const char *[]){"1", "2", "3", "4", "5", "6", NULL});
	CHECK(job_service_wait(service, offsetof(struct job_service_counts, search_ids_max), 6, LONG));
	CHECK(job_service_finish(service, 1));
	run_read(&r, 1);
	CHECK(!kill(r.pid, SIGINT));
	program_check(&r, 1);
	CHECK_INT(count(&r, "finished"), 1);
	CHECK_INT(count(&r, "cancelled"), 5);
	CHECK_INT(job_service_counts(service).jobs_cancelled, 5);
	CHECK_INT(job_service_counts(service).cancels, 5);
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, ctrl_c_while_publishing)
{
	struct job_service *service =
		serve(&(struct job_service_options){.job_seconds = -1, .faults.publish.latency = 0.1});
	struct program r;

	run_all(&r, service, (const char *[]){"--workers", "2", "1", "2", "3", "4", NULL});
	CHECK(job_service_wait_publishes(service, 2, LONG));
	CHECK(!kill(r.pid, SIGINT));
	check_all_cancelled(&r, 4);
	CHECK_INT(job_service_counts(service).jobs_created, job_service_counts(service).jobs_cancelled);
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, ctrl_c_where_publish_never_answers)
{
	struct job_service *service = serve(&(struct job_service_options){.faults.publish.hang = -1});
	struct program r;

	run_all(&r, service, (const char *[]){"--workers", "2", "1", "2", "3", "4", NULL});
	CHECK(job_service_wait(service, offsetof(struct job_service_counts, hung), 2, LONG));
	CHECK(!kill(r.pid, SIGTERM));
	check_all_cancelled(&r, 4);
	CHECK_INT(job_service_counts(service).publishes, 2);
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, ctrl_c_where_nothing_answers_any_more)
{
	struct job_service *service = serve(&for_ever);
	struct job_service_faults faults = {.publish.hang = -1, .search.hang = -1, .cancel.hang = -1};
	struct program r;

	run_all(&r, service, (const char *[]){"--grace", "0.2", "1", "2", "3", NULL});
	CHECK(job_service_wait(service, offsetof(struct job_service_counts, search_ids_max), 3, LONG));
	job_service_set_faults(service, &faults);
	CHECK(job_service_wait(service, offsetof(struct job_service_counts, hung), 1, LONG)); /* a search */
	CHECK(!kill(r.pid, SIGINT));
	check_all_cancelled(&r, 3);
	CHECK(strstr(r.texts[1], "is not cancelled: DELETE "));
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, a_second_ctrl_c_leaves_at_once)
{
	struct job_service *service = serve(&(struct job_service_options){.job_seconds = -1, .faults.cancel.hang = -1});
	struct program r;

	run_all(&r, service, (const char *[]){"--grace", "3600", "1", "2", "3", NULL});
	CHECK(job_service_wait(service, offsetof(struct job_service_counts, search_ids_max), 3, LONG));
	CHECK(!kill(r.pid, SIGINT));
	CHECK(job_service_wait(service, offsetof(struct job_service_counts, hung), 3, LONG)); /* it is in the DELETEs */
	CHECK(!kill(r.pid, SIGINT));
	program_check(&r, 130);
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, a_delete_that_comes_too_late)
{
	struct job_service *service =
		serve(&(struct job_service_options){.job_seconds = -1, .faults.cancel = {.fail = -1, .status = 409}});
	struct program r;

	run_all(&r, service, (const char *[]){"1", "2", NULL});
	CHECK(job_service_wait(service, offsetof(struct job_service_counts, search_ids_max), 2, LONG));
	CHECK(!kill(r.pid, SIGINT));
	CHECK(job_service_wait(service, offsetof(struct job_service_counts, cancels), 2, LONG));
	CHECK(job_service_finish(service, 1) && job_service_finish(service, 2));
	program_check(&r, 0);
	CHECK_INT(count(&r, "finished"), 2);
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, cancel_after)
{
	struct job_service *service = serve(&for_ever);
	struct program r;

	run_all(&r, service, (const char *[]){"--cancel-after", "0.3", "1", "2", "3", NULL});
	check_all_cancelled(&r, 3);
	CHECK_INT(job_service_counts(service).jobs_created, job_service_counts(service).jobs_cancelled);
	program_free(&r);
	run_all(&r, service, (const char *[]){"--cancel-after", "0", "1", "2", "3", NULL});
	check_all_cancelled(&r, 3);
	CHECK_INT(job_service_counts(service).jobs_created, job_service_counts(service).jobs_cancelled);
	program_free(&r);
	job_service_stop(service);
}

TEST(publish, a_timeout_cancels_at_the_service)
{
	struct job_service *service = serve(&for_ever);
	struct program r;

	run_all(&r, service, (const char *[]){"--timeout", "0.5", "1", "2", "3", NULL});
	program_check(&r, 1);
	CHECK_INT(count(&r, "timeout"), 3);
	CHECK_INT(job_service_counts(service).jobs_created, job_service_counts(service).jobs_cancelled);
	program_free(&r);
	job_service_stop(service);
}

/* --- many --- */

/* The least time between two searches, from the service's own log. */
static double least_gap(struct job_service *service, size_t *searches)
{
	char *text = NULL, *rest;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	double at, last = -1e9, gap = 1e9;
	char path[64];

	CHECK(file && job_service_log_write(service, file) && !fclose(file));
	*searches = 0;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (sscanf(line, "%lf POST %63s", &at, path) != 2 || strcmp(path, "/tasks/search") != 0)
			continue;
		gap = at - last < gap ? at - last : gap;
		last = at;
		++*searches;
	}
	free(text);
	return gap;
}

TEST(publish, a_thousand_jobs)
{
	enum { N = 1000, WORKERS = 3 };
	static char ids[N * 8];
	struct job_service *service = serve(&(struct job_service_options){.job_seconds = 0.3, .job_seconds_max = 1.5});
	const char *args[] = {"--url", job_service_url(service), "--workers", "3", "--interval", "0.3", "-", NULL};
	struct program r;
	size_t used = 0, searches;

	for (int i = 1; i <= N; i++)
		used += (size_t)snprintf(ids + used, sizeof(ids) - used, "%d\n", i);
	run_start(&r, args, ids);
	program_check(&r, 0);
	CHECK_INT(count(&r, "finished"), N);
	struct job_service_counts c = job_service_counts(service);
	CHECK_INT(c.publishes, N);
	CHECK_INT(c.jobs_created, N);
	CHECK_INT(c.keys, N);
	CHECK(c.publishing_max <= WORKERS);
	CHECK(c.connections <= WORKERS + 1); /* and one for the searches */
	CHECK_INT(c.gets + c.strays + c.cancels, 0);
	CHECK(least_gap(service, &searches) >= 0.3); /* however many jobs join in between */
	CHECK_INT(c.searches, searches);
	program_free(&r);
	job_service_stop(service);
}
