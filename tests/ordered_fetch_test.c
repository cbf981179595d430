/* ordered_fetch as a program, against an HTTP server in this process: what it writes, how it ends. */
#define _GNU_SOURCE
#include "harness.h"
#include "pages.h"
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS = 512 };

/* --- its arguments and what it should write --- */

struct args {
	const char *list[ARGS + 1];
	char *made[ARGS];
	size_t n, n_made;
};

static void add(struct args *a, const char *arg)
{
	CHECK(a->n < ARGS);
	a->list[a->n++] = arg;
}

__attribute__((format(printf, 3, 4))) static void add_page(struct args *a, struct pages *pages, const char *format, ...)
{
	char path[64], *url;
	va_list values;

	va_start(values, format);
	vsnprintf(path, sizeof(path), format, values);
	va_end(values);
	CHECK(asprintf(&url, "%s%s", pages_url(pages), path) > 0);
	a->made[a->n_made++] = url;
	add(a, url);
}

static void args_free(struct args *a)
{
	for (size_t i = 0; i < a->n_made; i++)
		free(a->made[i]);
}

static void start(struct program *p, const struct args *a, const char *input)
{
	program_start(p, "ordered_fetch", a->list, program_file(input));
}

/* At `at` stand n bytes of page id; answers what follows them. */
static const char *check_bytes(const char *at, size_t n, size_t id)
{
	for (size_t i = 0; i < n; i++)
		if (at[i] != pages_byte(id, i))
			CHECK_INT(at[i], pages_byte(id, i));
	return at + n;
}

/* All that is written are `count` pages of n bytes, from 0 on. */
static void check_pages(const struct program *p, size_t n, size_t count)
{
	const char *at = p->texts[0];

	CHECK_INT(p->sizes[0], n * count);
	for (size_t id = 0; id < count; id++)
		at = check_bytes(at, n, id);
}

static void check_said(const struct program *p, const char *part)
{
	if (!strstr(p->texts[1], part))
		CHECK_STR(p->texts[1], part);
}

static void check_unsaid(const struct program *p, const char *part)
{
	if (strstr(p->texts[1], part))
		CHECK_STR(p->texts[1], "");
}

static char *temporary_name(void)
{
	char *name = strdup("/tmp/ordered_fetch_XXXXXX");
	int fd = mkstemp(name);

	CHECK(fd >= 0);
	close(fd);
	return name;
}

/* --- in order --- */

TEST(ordered_fetch, writes_in_the_order_of_the_names_whatever_is_slow)
{
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;

	add_page(&args, pages, "/late/100/0");
	for (int i = 1; i < 32; i++)
		add_page(&args, pages, i % 5 ? "/bytes/100/%d" : "/late/100/%d", i);
	for (int i = 32; i < 100; i++)
		add_page(&args, pages, "/bytes/100/%d", i);
	start(&p, &args, "");
	pages_wait_requests(pages, 32); /* as many as are in flight; the first is not answered yet */
	pages_wait_held(pages, 7);
	pages_release(pages);
	program_check(&p, 0);
	check_pages(&p, 100, 100);
	check_said(&p, "ordered_fetch: 100 written, 0 failed, of 100: 10 kB in ");
	check_unsaid(&p, "\033");
	program_free(&p);
	args_free(&args);
	pages_stop(pages);
}

TEST(ordered_fetch, files_and_urls_and_a_list_on_standard_input)
{
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;
	char *name = temporary_name(), *input;
	FILE *file = fopen(name, "w");

	fputs("a file\n", file);
	fclose(file);
	CHECK(asprintf(&input, "\n%s/bytes/10/1\r\n%s\n\n%s/bytes/10/2", pages_url(pages), name, pages_url(pages)) > 0);
	add_page(&args, pages, "/bytes/10/0");
	add(&args, "-");
	add(&args, name);
	start(&p, &args, input);
	program_check(&p, 0);
	CHECK_INT(p.sizes[0], 3 * 10 + 2 * 7);
	check_bytes(p.texts[0], 10, 0);
	check_bytes(p.texts[0] + 10, 10, 1);
	CHECK(!memcmp(p.texts[0] + 20, "a file\n", 7));
	check_bytes(p.texts[0] + 27, 10, 2);
	CHECK(!memcmp(p.texts[0] + 37, "a file\n", 7));
	program_free(&p);
	unlink(name);
	free(name);
	free(input);
	args_free(&args);
	pages_stop(pages);
}

static void list_slowly(const char *width)
{
	struct pages *pages = pages_start();
	const char *args[] = {width, "-", NULL};
	struct program p;
	int in[2];

	CHECK(!pipe2(in, O_CLOEXEC));
	program_start(&p, "ordered_fetch", args, in[0]);
	for (size_t i = 0; i < 5; i++) { /* each is written before the next one is named */
		CHECK(dprintf(in[1], "%s/bytes/1000/%zu\n", pages_url(pages), i) > 0);
		while (p.sizes[0] < 1000 * (i + 1))
			CHECK(program_read(&p));
	}
	close(in[1]);
	program_check(&p, 0);
	check_pages(&p, 1000, 5);
	check_said(&p, "5 written, 0 failed, of 5");
	program_free(&p);
	pages_stop(pages);
}

TEST(ordered_fetch, a_list_that_comes_slowly_holds_nothing_up)
{
	static const char *const widths[] = {"--in-flight=32", "--in-flight=1"};

	for (int width = 0; width < 2; width++)
		list_slowly(widths[width]);
}

TEST(ordered_fetch, empty_answers_and_an_empty_list)
{
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;

	add_page(&args, pages, "/bytes/0/1");
	add(&args, "-");
	add_page(&args, pages, "/bytes/0/2");
	start(&p, &args, "");
	program_check(&p, 0);
	CHECK_INT(p.sizes[0], 0);
	check_said(&p, "2 written, 0 failed, of 2: 0 B");
	program_free(&p);
	args_free(&args);
	pages_stop(pages);
}

/* --- failures --- */

TEST(ordered_fetch, a_failed_item_is_told_and_left_out)
{
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;

	add(&args, "--backoff");
	add(&args, "0");
	add_page(&args, pages, "/bytes/50/0");
	add_page(&args, pages, "/status/404/1");
	add_page(&args, pages, "/fail/2/7");
	add_page(&args, pages, "/fail/9/8");
	add(&args, "/nowhere");
	add(&args, "-");
	add_page(&args, pages, "/bytes/50/1");
	start(&p, &args, "ftp://x\n");
	program_check(&p, 1);
	CHECK_INT(p.sizes[0], 50 + 2 + 50);
	CHECK(!memcmp(check_bytes(p.texts[0], 50, 0), "7\n", 2));
	check_bytes(p.texts[0] + 52, 50, 1);
	check_said(&p, "ordered_fetch: item 2: http://127.0.0.1:");
	check_said(&p, "/status/404/1: attempt 1 of 3: HTTP 404 from GET http://");
	check_said(&p, "ordered_fetch: item 4: http://127.0.0.1:");
	check_said(&p, "/fail/9/8: attempt 3 of 3: HTTP 503 from GET http://");
	check_said(&p, "ordered_fetch: item 5: /nowhere: attempt 1 of 3: No such file or directory\n");
	check_said(&p, "ordered_fetch: item 6: standard input, line 1: neither a URL of http or https nor a path\n");
	check_said(&p, "ordered_fetch: 3 written, 4 failed, of 7");
	program_free(&p);
	args_free(&args);
	pages_stop(pages);
}

TEST(ordered_fetch, the_first_failure_ends_the_run_where_that_is_asked_for)
{
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;

	add(&args, "--stop-on-error");
	add_page(&args, pages, "/bytes/50/0");
	add_page(&args, pages, "/bytes/50/1");
	add_page(&args, pages, "/status/404/2");
	add_page(&args, pages, "/hang/3");
	add_page(&args, pages, "/bytes/50/4");
	start(&p, &args, "");
	program_check(&p, 1);
	check_pages(&p, 50, 2);
	check_said(&p, "ordered_fetch: item 3: ");
	check_said(&p, "ordered_fetch: stopped: 2 written, 1 failed, of 5");
	program_free(&p);
	args_free(&args);
	pages_stop(pages);
}

TEST(ordered_fetch, the_time_of_each_is_limited)
{
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;

	add(&args, "--timeout=0.3");
	add_page(&args, pages, "/hang/0");
	add_page(&args, pages, "/fail/9/1"); /* in a backoff */
	start(&p, &args, "");
	program_check(&p, 1);
	CHECK(strstr(p.texts[1], "/hang/0: attempt 1 of 3: timed out after 0.3s\n") ||
	      strstr(p.texts[1], ": no answer in time\n"));
	check_said(&p, "/fail/9/1: attempt 1 of 3: timed out after 0.3s\n");
	program_free(&p);
	args_free(&args);
	pages_stop(pages);
}

TEST(ordered_fetch, answers_and_files_over_the_limit)
{
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;

	add(&args, "--body-limit=10K");
	add_page(&args, pages, "/bytes/10240/0");
	add_page(&args, pages, "/bytes/10241/1");
	add(&args, "/proc/self/exe");
	add(&args, "/");
	add(&args, "/dev/zero");
	start(&p, &args, "");
	program_check(&p, 1);
	check_pages(&p, 10240, 1);
	check_said(&p, "over the limit of 10240 bytes");
	check_said(&p, "item 3: /proc/self/exe: attempt 1 of 3: larger than the body limit\n");
	check_said(&p, "item 4: /: attempt 1 of 3: Is a directory\n");
	check_said(&p, "item 5: /dev/zero: attempt 1 of 3: not a regular file\n");
	program_free(&p);
	args_free(&args);
	pages_stop(pages);
}

TEST(ordered_fetch, no_password_is_shown)
{
	struct args args = {.n = 0};
	struct program p;

	add(&args, "--attempts=1");
	add(&args, "http://me:secret@127.0.0.1:1/x");
	start(&p, &args, "");
	program_check(&p, 1);
	check_said(&p, "item 1: http://127.0.0.1:1/x: GET http://127.0.0.1:1/x: ");
	check_unsaid(&p, "secret");
	program_free(&p);
}

/* --- a slow output --- */

TEST(ordered_fetch, no_more_is_fetched_than_may_be_ahead_of_a_slow_output)
{
	enum { SIZE = 256 << 10, COUNT = 60, AHEAD = 6 };
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;

	add(&args, "--in-flight=3");
	add(&args, "--ahead=6");
	for (int i = 0; i < COUNT; i++)
		add_page(&args, pages, "/bytes/%d/%d", SIZE, i);
	start(&p, &args, "");
	pages_wait_requests(pages, AHEAD + 1); /* nothing is read: one is being written, the others wait */
	while (program_read(&p))
		pages_used(pages, p.sizes[0] / SIZE);
	program_check(&p, 0);
	check_pages(&p, SIZE, COUNT);
	CHECK(pages_most_ahead(pages) >= AHEAD + 1);
	CHECK(pages_most_ahead(pages) <= AHEAD + 2); /* the end of one in the pipe, and one that is being written */
	CHECK_INT(pages_requests(pages), COUNT);
	program_free(&p);
	args_free(&args);
	pages_stop(pages);
}

/* --- signals --- */

TEST(ordered_fetch, an_interrupt_cancels_what_is_in_flight)
{
	static const int signals[] = {SIGINT, SIGTERM};

	for (int i = 0; i < 2; i++) {
		struct pages *pages = pages_start();
		struct args args = {.n = 0};
		struct program p;
		for (int id = 0; id < 3; id++)
			add_page(&args, pages, "/bytes/500/%d", id);
		for (int id = 3; id < 50; id++)
			add_page(&args, pages, "/hang/%d", id);
		start(&p, &args, "");
		while (p.sizes[0] < 1500)
			CHECK(program_read(&p));
		pages_wait_held(pages, 32);
		CHECK(!kill(p.pid, signals[i]));
		program_check(&p, 128 + signals[i]);
		check_pages(&p, 500, 3);
		check_said(&p, "ordered_fetch: interrupted: 3 written, 0 failed, of 50");
		CHECK_INT(pages_requests(pages), 35);
		program_free(&p);
		args_free(&args);
		pages_stop(pages);
	}
}

/* A program of which the output is full of the beginning of a large item. */
static void start_large(struct program *p, struct pages *pages, struct args *args, size_t size)
{
	for (int i = 0; i < 40; i++)
		add_page(args, pages, "/bytes/%zu/%d", size, i);
	start(p, args, "");
	struct pollfd fd = {.fd = p->fds[0], .events = POLLIN};
	CHECK(poll(&fd, 1, -1) == 1);
}

TEST(ordered_fetch, an_interrupt_leaves_whole_items_also_where_the_output_is_slow)
{
	enum { SIZE = 1 << 20 };
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;

	start_large(&p, pages, &args, SIZE);
	CHECK(!kill(p.pid, SIGINT));
	program_check(&p, 130);
	check_pages(&p, SIZE, 1);
	program_free(&p);
	args_free(&args);
	pages_stop(pages);
}

TEST(ordered_fetch, a_second_interrupt_leaves_at_once)
{
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;
	int status;

	start_large(&p, pages, &args, 1 << 20);
	while (waitpid(p.pid, &status, WNOHANG) == 0) { /* nobody reads the output */
		kill(p.pid, SIGINT);
		sched_yield();
	}
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), 130);
	close(p.fds[0]);
	close(p.fds[1]);
	args_free(&args);
	pages_stop(pages);
}

TEST(ordered_fetch, an_interrupt_while_it_waits_for_names)
{
	struct pages *pages = pages_start();
	const char *args[] = {"-", NULL};
	struct program p;
	int in[2];

	CHECK(!pipe2(in, O_CLOEXEC));
	program_start(&p, "ordered_fetch", args, in[0]);
	CHECK(dprintf(in[1], "%s/bytes/10/0\n", pages_url(pages)) > 0);
	while (p.sizes[0] < 10)
		CHECK(program_read(&p));
	CHECK(!kill(p.pid, SIGINT));
	program_check(&p, 130);
	check_pages(&p, 10, 1);
	close(in[1]);
	program_free(&p);
	pages_stop(pages);
}

/* --- the output --- */

static size_t size_of(const char *name)
{
	struct stat status;

	CHECK(!stat(name, &status));
	return (size_t)status.st_size;
}

TEST(ordered_fetch, a_file_that_can_not_be_written_further_ends_with_a_whole_item)
{
	struct rlimit limit, lower;
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;
	char *name = temporary_name();

	add(&args, "--output");
	add(&args, name);
	for (int i = 0; i < 10; i++)
		add_page(&args, pages, "/bytes/10000/%d", i);
	CHECK(!getrlimit(RLIMIT_FSIZE, &limit));
	lower = limit;
	lower.rlim_cur = 34567;
	CHECK(!setrlimit(RLIMIT_FSIZE, &lower));
	program_start(&p, "ordered_fetch", args.list, open("/dev/null", O_RDONLY | O_CLOEXEC));
	CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
	program_check(&p, 1);
	check_said(&p, ": File too large\n");
	check_said(&p, "ordered_fetch: stopped: 3 written, 0 failed, of 10");
	CHECK_INT(size_of(name), 30000);
	program_free(&p);
	unlink(name);
	free(name);
	args_free(&args);
	pages_stop(pages);
}

TEST(ordered_fetch, the_output_is_emptied_first_and_is_no_input)
{
	struct args args = {.n = 0};
	struct program p;
	char *name = temporary_name(), *other = temporary_name();
	FILE *file = fopen(name, "w");

	fputs("what was there\n", file);
	fclose(file);
	add(&args, "--output");
	add(&args, name);
	add(&args, name);
	start(&p, &args, "");
	program_check(&p, 1);
	check_said(&p, ": it is the output\n");
	CHECK_INT(size_of(name), 15);
	program_free(&p);
	args.list[2] = other;
	start(&p, &args, "");
	program_check(&p, 0);
	CHECK_INT(size_of(name), 0);
	program_free(&p);
	unlink(name);
	unlink(other);
	free(name);
	free(other);
}

TEST(ordered_fetch, an_output_nobody_reads)
{
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p = {.fds = {-1, -1}};
	int out[2], err[2];

	add_page(&args, pages, "/bytes/10/0");
	add_page(&args, pages, "/hang/1");
	for (int closed = 0; closed < 2; closed++) {
		CHECK(!pipe2(out, O_CLOEXEC) && !pipe2(err, O_CLOEXEC));
		close(out[0]);
		if (closed)
			close(out[1]);
		p.pid = program_spawn("ordered_fetch", args.list, program_file(""), closed ? -1 : out[1], err[1]);
		p.fds[1] = err[0];
		program_check(&p, 1);
		check_said(&p, closed ? "standard output: Bad file descriptor\n" : "standard output: Broken pipe\n");
		check_said(&p, "stopped: 0 written");
		program_free(&p);
		p = (struct program){.fds = {-1, -1}};
	}
	args_free(&args);
	pages_stop(pages);
}

/* --- progress --- */

/* What comes out of a terminal that is its error output. */
static char *on_terminal(const struct args *args)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), out[2];
	struct program p = {.fds = {-1, master}};

	CHECK(master >= 0 && !grantpt(master) && !unlockpt(master) && !pipe2(out, O_CLOEXEC));
	p.pid = program_spawn("ordered_fetch", args->list, program_file(""), out[1],
			      open(ptsname(master), O_WRONLY | O_NOCTTY | O_CLOEXEC));
	p.fds[0] = out[0];
	CHECK_INT(program_end(&p), 0);
	free(p.texts[0]);
	return p.texts[1];
}

TEST(ordered_fetch, progress_on_a_terminal_or_where_it_is_asked_for)
{
	struct pages *pages = pages_start();
	struct args args = {.n = 0};
	struct program p;

	add_page(&args, pages, "/bytes/1000/0");
	add_page(&args, pages, "/bytes/1000/1");
	char *text = on_terminal(&args);
	CHECK(strstr(text, "[..............................] 0 of 2, 2 ahead, 0 failed, 0 B, "));
	CHECK(strstr(text, "\r\033[Kordered_fetch: 2 written"));
	free(text);
	add(&args, "--quiet");
	text = on_terminal(&args);
	CHECK_STR(text, "");
	free(text);
	args.list[2] = "--progress";
	start(&p, &args, "");
	program_check(&p, 0);
	check_said(&p, "0 of 2, 2 ahead");
	program_free(&p);
	args_free(&args);
	pages_stop(pages);
}

/* --- the command line --- */

TEST(ordered_fetch, help)
{
	const char *args[] = {"--help", NULL};
	struct program p;

	program_start(&p, "ordered_fetch", args, program_file(""));
	program_check(&p, 0);
	CHECK(strstr(p.texts[0], "--in-flight N"));
	program_free(&p);
}

TEST(ordered_fetch, wrong_usage)
{
	static char long_name[9000];
	static const struct {
		const char *args[5], *part;
	} cases[] = {
		{{NULL}, "nothing to fetch"},
		{{"--nonsense", "x"}, "nonsense"},
		{{"--in-flight"}, "in-flight"},
		{{"--in-flight", "0", "x"}, "--in-flight 0: not a number from 1 to 1000"},
		{{"--in-flight", "1001", "x"}, "--in-flight 1001"},
		{{"--in-flight", "4x", "x"}, "--in-flight 4x"},
		{{"--in-flight", "-4", "x"}, "--in-flight -4"},
		{{"--in-flight", "99999999999999999999", "x"}, "--in-flight 9"},
		{{"--ahead", "31", "x"}, "--ahead is less than --in-flight"},
		{{"--attempts", "", "x"}, "--attempts"},
		{{"--timeout", "0", "x"}, "--timeout 0: not a number of seconds above 0 and below 1e9"},
		{{"--timeout", "nan", "x"}, "--timeout nan"},
		{{"--backoff", "-1", "x"}, "--backoff -1: not a number of seconds below 1e9"},
		{{"--body-limit", "0", "x"},
		 "--body-limit 0: not a number from 1 to 1099511627776, K, M and G allowed"},
		{{"--body-limit", "1025G", "x"}, "--body-limit 1025G"},
		{{"--body-limit", "1Kx", "x"}, "--body-limit 1Kx"},
		{{"--body-limit", "99999999999999999G", "x"}, "--body-limit 9"},
		{{"--quiet", "--progress", "x"}, "--progress and --quiet"},
		{{"--output", "", "x"}, "--output: an empty name"},
		{{"x", ""}, "an empty name"},
		{{"a\tb"}, "a control character"},
		{{"ftp://host/x"}, "ftp://host/x: neither a URL of http or https nor a path"},
		{{long_name}, "more than 8192 bytes"},
	};

	memset(long_name, 'x', sizeof(long_name) - 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct program p;
		program_start(&p, "ordered_fetch", cases[i].args, program_file(""));
		program_check(&p, 2);
		check_said(&p, cases[i].part);
		CHECK_STR(p.texts[0], "");
		program_free(&p);
	}
}
