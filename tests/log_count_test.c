/* log_count as a program: what it counts, in parts of any size, and what it refuses. */
#define _GNU_SOURCE
#include "harness.h"
#include "program.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void run(struct program *p, const char *const *args, const char *input, int status)
{
	program_start(p, "log_count", args, program_file(input));
	program_check(p, status);
}

static void check_output(const char *const *args, const char *input, const char *expected)
{
	struct program p;

	run(&p, args, input, 0);
	CHECK_STR(p.texts[0], expected);
	program_free(&p);
}

static const char log_text[] = "10.0.0.1 - - [21/Nov/2026:10:00:00 +0000] \"GET /a HTTP/1.1\" 200 100 \"-\" \"x\"\n"
			       "10.0.0.2 - - [21/Nov/2026:10:00:00 +0000] \"GET /b?c=1 HTTP/1.1\" 404 -\n"
			       "no line of an access log\n"
			       "\n"
			       "10.0.0.1 - - [21/Nov/2026:10:00:01 +0000] \"POST /b HTTP/1.1\" 200 7\n"
			       "10.0.0.1 - - [21/Nov/2026:10:00:01 +0000] \"GET /say\\\"hi\\\" HTTP/1.0\" 304\n"
			       "10.0.0.3 - - [21/Nov/2026:10:00:02 +0000] \"GET /a\x07 HTTP/1.1\" 200 1\n"
			       "::1 - - [21/Nov/2026:10:00:02 +0000] \"GET\" 400 0\n"
			       "::1 - - [21/Nov/2026:10:00:02 +0000] \"GET /c HTTP/1.1\" 99 0\n"
			       "::1 - - [21/Nov/2026:10:00:02 +0000] \"GET /c HTTP/1.1\" 2000 0\n"
			       "::1 - - [21/Nov/2026:10:00:02 +0000] \"GET /c HTTP/1.1\n"
			       "::1 - - [21/Nov/2026:10:00:02 +0000] \"GET /c HTTP/1.1\" 200 5";

static const char counts[] = "12 lines, 6 of them odd; 113 bytes sent\n"
			     "status\n"
			     "           4  200\n"
			     "           1  304\n"
			     "           1  404\n"
			     "path, 5 different\n"
			     "           2  /b\n"
			     "           1  /a\n"
			     "           1  /a?\n"
			     "           1  /c\n"
			     "           1  /say\\\"hi\\\"\n";

TEST(log_count, parts_of_any_size_make_the_same_counts)
{
	static const char *const sizes[] = {"1", "2", "10", "63", "64", "100", "500", "1K", "1M"};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (int workers = 1; workers <= 3; workers++) {
			char text[16];
			snprintf(text, sizeof(text), "%d", workers);
			check_output((const char *[]){"--part", sizes[i], "--workers", text, "-", NULL}, log_text,
				     counts);
			check_output((const char *[]){"--part", sizes[i], "--workers", text, "--processes", "-", NULL},
				     log_text, counts);
		}
}

TEST(log_count, an_empty_log)
{
	check_output((const char *[]){"-", NULL}, "",
		     "0 lines, 0 of them odd; 0 bytes sent\nstatus\npath, 0 different\n");
}

TEST(log_count, the_most_frequent_of_the_hosts)
{
	check_output((const char *[]){"--by=host", "--top=2", "-", NULL}, log_text,
		     "12 lines, 6 of them odd; 113 bytes sent\n"
		     "status\n"
		     "           4  200\n"
		     "           1  304\n"
		     "           1  404\n"
		     "host, 4 different\n"
		     "           3  10.0.0.1\n"
		     "           1  10.0.0.2\n");
}

static void count_pipe(const char *part, const char *mode)
{
	const char *args[] = {"--part", part, "-", mode, NULL};
	struct program p;
	int in[2];

	CHECK(!pipe2(in, O_CLOEXEC));
	program_start(&p, "log_count", args, in[0]);
	for (const char *c = log_text; *c; c++)
		CHECK_INT(write(in[1], c, 1), 1);
	close(in[1]);
	program_check(&p, 0);
	CHECK_STR(p.texts[0], counts);
	program_free(&p);
}

TEST(log_count, a_pipe_that_is_written_slowly)
{
	static const char *const sizes[] = {"1", "10", "63", "64", "200", "4M"};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (int processes = 0; processes < 2; processes++)
			count_pipe(sizes[i], processes ? "--processes" : NULL);
}

/* Longer than what is read at a time, and than a part. */
TEST(log_count, a_long_line)
{
	enum { LONG = 1 << 20 };
	char *text = malloc(LONG + sizeof(log_text));
	struct program p;

	CHECK(text);
	memset(text, 'x', LONG);
	text[LONG - 1] = '\n';
	strcpy(text + LONG, log_text);
	for (int processes = 0; processes < 2; processes++) {
		run(&p, (const char *[]){"--part=1000", "-", processes ? "--processes" : NULL, NULL}, text, 0);
		CHECK(!strncmp(p.texts[0], "13 lines, 7 of them odd;", 24));
		CHECK_STR(strchr(p.texts[0], '\n'), strchr(counts, '\n'));
		program_free(&p);
	}
	free(text);
}

TEST(log_count, a_sample_is_a_file_that_can_be_counted_again)
{
	char name[] = "/tmp/log_count_XXXXXX";
	struct program made, again, other;
	int fd = mkstemp(name);

	CHECK(fd >= 0);
	close(fd);
	run(&made, (const char *[]){"--generate=1K", name, NULL}, "", 1);
	CHECK(strstr(made.texts[1], ": File exists\n"));
	program_free(&made);
	unlink(name);
	run(&made, (const char *[]){"--generate=300K", "--seed=7", name, NULL}, "", 0);
	run(&again, (const char *[]){"--compare", "--part=10K", name, NULL}, "", 0);
	CHECK_STR(made.texts[0], again.texts[0]);
	CHECK(strstr(again.texts[1], "times as fast; equal counts\n"));
	run(&other, (const char *[]){"--generate=300K", "--seed=8", NULL}, "", 0);
	CHECK(strcmp(made.texts[0], other.texts[0]) != 0);
	program_free(&again);
	run(&again, (const char *[]){"--compare", "--part=10K", "--processes", name, NULL}, "", 0);
	CHECK_STR(made.texts[0], again.texts[0]);
	program_free(&again);
	program_free(&made);
	program_free(&other);
	unlink(name);
}

TEST(log_count, what_can_not_be_read_or_written)
{
	static const struct {
		const char *args[3], *part;
	} cases[] = {
		{{"/nowhere"}, "log_count: /nowhere: No such file or directory\n"},
		{{"/"}, "log_count: /: Is a directory\n"},
		{{"--generate=1K", "/nowhere/x"}, "log_count: /nowhere/x: No such file or directory\n"},
		{{"/dev/zero"}, "log_count: /dev/zero: a line of more than 67108864 bytes: no log\n"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct program p;
		run(&p, cases[i].args, "", 1);
		if (!strstr(p.texts[1], cases[i].part))
			CHECK_STR(p.texts[1], cases[i].part);
		CHECK_STR(p.texts[0], "");
		program_free(&p);
	}
}

TEST(log_count, an_output_that_is_full)
{
	const char *args[] = {"--generate=1K", NULL};
	struct program p = {.fds = {-1, -1}};
	int err[2];

	CHECK(!pipe2(err, O_CLOEXEC));
	p.pid = program_spawn("log_count", args, program_file(""), open("/dev/full", O_WRONLY | O_CLOEXEC), err[1]);
	p.fds[1] = err[0];
	program_check(&p, 1);
	CHECK_STR(p.texts[1], "log_count: standard output: No space left on device\n");
	program_free(&p);
}

TEST(log_count, wrong_usage)
{
	static const struct {
		const char *args[4], *part;
	} cases[] = {
		{{NULL}, "no file"},
		{{"--nonsense", "x"}, "nonsense"},
		{{"--workers"}, "workers"},
		{{"--workers", "0", "x"}, "--workers 0: not a number from 1 to 1000"},
		{{"--workers", "2K", "x"}, "--workers 2K: not a number from 1 to 1000\n"},
		{{"--part", "0", "x"}, "--part 0: not a number from 1 to 67108864, K, M and G allowed"},
		{{"--part", "65M", "x"}, "--part 65M"},
		{{"--part", "1KK", "x"}, "--part 1KK"},
		{{"--top", "-1", "x"}, "--top -1"},
		{{"--seed", "99999999999999999999", "x"}, "--seed 9"},
		{{"--generate", "", "x"}, "--generate"},
		{{"--by", "status", "x"}, "--by status: neither path nor host"},
		{{"x", "y"}, "more than one file"},
		{{"--generate=1K", "-"}, "a sample can't be written to standard input"},
		{{"--compare", "-"}, "standard input can't be"},
	};
	struct program p;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		run(&p, cases[i].args, "", 2);
		if (!strstr(p.texts[1], cases[i].part))
			CHECK_STR(p.texts[1], cases[i].part);
		CHECK_STR(p.texts[0], "");
		program_free(&p);
	}
	run(&p, (const char *[]){"--help", NULL}, "", 0);
	CHECK(strstr(p.texts[0], "--compare"));
	program_free(&p);
}
