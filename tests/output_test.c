/* What a child has written: its tail, lines for the log hook, the file. */
#define _GNU_SOURCE
#include "harness.h"
#include "spawning.h"

#include <errno.h>
#include <executors/base.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Lines of the log hook, one after the other, as "level executor: message". */
static char *logged;
static size_t logged_size;
static FILE *log_file;

static void on_log(void *ctx, exs_log_level level, const char *executor, const char *message)
{
	(void)ctx;
	fprintf(log_file, "%d %s: %s\n", (int)level, executor, message);
}

struct pipe_and_output {
	int write_end;
	struct exsi_output o;
	char text[EXSI_TAIL + 1];
};

static int begin(struct pipe_and_output *p, const char *file)
{
	int fds[2];

	CHECK_INT(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	p->write_end = fds[1];
	log_file = open_memstream(&logged, &logged_size);
	CHECK(log_file);
	exs_set_log(on_log, NULL, EXS_LOG_INFO);
	return exsi_output_init(&p->o, fds[0], file, "pool", 3);
}

static void say(struct pipe_and_output *p, const char *data, size_t n)
{
	while (n) {
		size_t most = n < 4096 ? n : 4096;
		CHECK_INT(write(p->write_end, data, most), most);
		CHECK(exsi_output_read(&p->o));
		data += most;
		n -= most;
	}
	CHECK(exsi_output_read(&p->o)); /* of nothing it does not block */
}

static void say_text(struct pipe_and_output *p, const char *text)
{
	say(p, text, strlen(text));
}

/* The end of file; then `logged` is complete, and p->text the tail. */
static void finish(struct pipe_and_output *p)
{
	close(p->write_end);
	CHECK(!exsi_output_read(&p->o));
	CHECK(!exsi_output_read(&p->o));
	size_t n = exsi_output_tail(&p->o, p->text);
	CHECK_INT(n, strlen(p->text));
	exsi_output_fini(&p->o);
	CHECK_INT(p->o.file, -1);
	close(p->o.fd);
	exs_set_log(NULL, NULL, EXS_LOG_ERROR);
	fclose(log_file);
}

static void end(void)
{
	free(logged);
	logged = NULL;
}

static void check(const char *text, const char *tail, const char *lines)
{
	struct pipe_and_output p;

	CHECK_INT(begin(&p, NULL), 0);
	say_text(&p, text);
	finish(&p);
	CHECK_STR(p.text, tail);
	CHECK_STR(logged, lines);
	end();
}

TEST(output, few_lines)
{
	check("", "", "");
	check("one\n", "one", "2 pool: worker 3: one\n");
	check("\n", "", "2 pool: worker 3: \n");
	check("no end", "no end", "2 pool: worker 3: no end\n");
	check("a\n\nb", "a\n\nb", "2 pool: worker 3: a\n2 pool: worker 3: \n2 pool: worker 3: b\n");
	check("a\n\n", "a\n", "2 pool: worker 3: a\n2 pool: worker 3: \n");
}

TEST(output, a_line_in_pieces_is_one)
{
	struct pipe_and_output p;

	CHECK_INT(begin(&p, NULL), 0);
	for (const char *c = "in pieces\nand"; *c; c++)
		say(&p, c, 1);
	fflush(log_file);
	CHECK_STR(logged, "2 pool: worker 3: in pieces\n");
	finish(&p);
	CHECK_STR(logged, "2 pool: worker 3: in pieces\n2 pool: worker 3: and\n");
	CHECK_STR(p.text, "in pieces\nand");
	end();
}

TEST(output, what_is_not_printable)
{
	struct pipe_and_output p;

	CHECK_INT(begin(&p, NULL), 0);
	say(&p, "a\0b\x01\t\x7f\x1b[0m\r\n", 12);
	say_text(&p, "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xc3( \xff \xc2\x9b \xc2\xa7 \xed\xa0\x80 \xc3");
	finish(&p);
	CHECK_STR(p.text, "a?b?\t??[0m?\ngr\xc3\xbc\xc3\x9f \xe2\x82\xac ?( ? ?? \xc2\xa7 ??? ?");
	CHECK(strstr(logged, "worker 3: a?b?\t??[0m?\n"));
	end();
}

static void check_long(size_t n)
{
	char *text = malloc(n + 1), expected[600];
	struct pipe_and_output p;
	size_t shown = n < 400 ? n : 400;

	memset(text, 'x', n);
	text[n] = '\0';
	CHECK_INT(begin(&p, NULL), 0);
	say_text(&p, text);
	say_text(&p, "\nand\n");
	finish(&p);
	snprintf(expected, sizeof(expected), "2 pool: worker 3: %.*s\n2 pool: worker 3: and\n", (int)shown, text);
	CHECK_STR(logged, expected);
	CHECK_STR(strrchr(p.text, 'x') ? strrchr(p.text, 'x') : p.text, n + 5 <= EXSI_TAIL ? "x\nand" : "and");
	free(text);
	end();
}

TEST(output, long_lines_are_cut)
{
	static const size_t sizes[] = {1, 399, 400, 401, 799, 801, 4090, 4091, 4092, 4096, 5000, 100000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		check_long(sizes[i]);
}

TEST(output, one_line_longer_than_the_tail)
{
	static char text[3 * EXSI_TAIL];
	struct pipe_and_output p;

	memset(text, 'y', sizeof(text) - 1);
	CHECK_INT(begin(&p, NULL), 0);
	say_text(&p, text);
	finish(&p);
	CHECK_INT(strlen(p.text), EXSI_TAIL);
	CHECK_INT(strspn(p.text, "y"), EXSI_TAIL);
	end();
	text[sizeof(text) - 2] = '\n';
	CHECK_INT(begin(&p, NULL), 0);
	say_text(&p, text);
	finish(&p);
	CHECK_INT(strlen(p.text), EXSI_TAIL - 1);
	CHECK_INT(strspn(p.text, "y"), EXSI_TAIL - 1);
	end();
}

/* The tail begins with a line, has all that fits, and ends with the last. */
TEST(output, a_mebibyte_of_lines)
{
	enum { LINES = (1 << 20) / 8 };
	struct pipe_and_output p;
	char line[16];

	CHECK_INT(begin(&p, NULL), 0);
	for (int i = 0; i < LINES; i++) {
		snprintf(line, sizeof(line), "%07d\n", i);
		say_text(&p, line);
	}
	finish(&p);
	CHECK_INT(strlen(p.text), EXSI_TAIL - 8 - 1);
	for (int i = 0; i < EXSI_TAIL / 8 - 1; i++)
		CHECK_INT(atoi(p.text + (size_t)i * 8), LINES - EXSI_TAIL / 8 + 1 + i);
	CHECK_INT(logged_size, LINES * strlen("2 pool: worker 3: 0000000\n"));
	CHECK(!strncmp(logged, "2 pool: worker 3: 0000000\n", 26));
	end();
}

/* One read takes a part of what there is: others have their turn. */
TEST(output, a_read_is_bounded)
{
	enum { FILLED = 1 << 18 };
	static char text[FILLED];
	struct pipe_and_output p;

	CHECK_INT(begin(&p, NULL), 0);
	CHECK(fcntl(p.write_end, F_SETPIPE_SZ, FILLED) >= FILLED);
	memset(text, 'z', FILLED);
	CHECK_INT(write(p.write_end, text, FILLED), FILLED);
	CHECK(exsi_output_read(&p.o));
	CHECK(p.o.written > 0 && p.o.written < FILLED);
	while (p.o.written < FILLED)
		CHECK(exsi_output_read(&p.o));
	finish(&p);
	end();
}

/* --- the file --- */

static char folder[] = "/tmp/exs-output-XXXXXX";

static void make_path(char *path, const char *name)
{
	if (strstr(folder, "XXXXXX"))
		CHECK(mkdtemp(folder));
	sprintf(path, "%s/%s", folder, name);
}

static void remove_path(const char *path)
{
	unlink(path);
	rmdir(folder);
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
}

static void check_file(const char *path, const char *expected)
{
	char text[256] = "";
	FILE *file = fopen(path, "re");

	CHECK(file);
	CHECK_INT(fread(text, 1, sizeof(text) - 1, file), strlen(expected));
	fclose(file);
	CHECK_STR(text, expected);
}

TEST(output, a_file_is_appended_to)
{
	char path[64];
	struct pipe_and_output p;

	make_path(path, "log.3");
	for (int i = 0; i < 2; i++) {
		CHECK_INT(begin(&p, path), 0);
		CHECK(p.o.file > EXSI_CHILD_CONTROL);
		CHECK_INT(fcntl(p.o.file, F_GETFD), FD_CLOEXEC);
		say_text(&p, i ? "and \x01more" : "first\n");
		finish(&p);
		CHECK_STR(p.text, i ? "and ?more" : "first");
		CHECK_STR(logged, "");
		end();
	}
	check_file(path, "first\nand \x01more");
	remove_path(path);
}

static void check_no_file(const char *path, int error)
{
	int before = spawned_descriptors();
	struct pipe_and_output p;

	CHECK_INT(begin(&p, path), error);
	CHECK_INT(p.o.file, -1);
	say_text(&p, "still told\n");
	finish(&p);
	CHECK_STR(p.text, "still told");
	CHECK_STR(logged, "2 pool: worker 3: still told\n");
	CHECK_INT(spawned_descriptors(), before);
	end();
}

TEST(output, a_file_that_can_not_be_opened)
{
	char path[64];

	check_no_file("/nonexistent/log.3", ENOENT);
	check_no_file("/tmp", EISDIR);
	make_path(path, "fifo");
	CHECK_INT(mkfifo(path, 0600), 0);
	check_no_file(path, ENXIO);
	remove_path(path);
}

TEST(output, a_file_that_takes_no_more)
{
	struct pipe_and_output p;

	CHECK_INT(begin(&p, "/dev/full"), 0);
	say_text(&p, "lost\n");
	CHECK_INT(p.o.file, -1);
	say_text(&p, "told\n");
	finish(&p);
	CHECK_STR(p.text, "lost\ntold");
	CHECK_STR(logged, "1 pool: worker 3: its log file takes no more: No space left on device\n"
			  "2 pool: worker 3: told\n");
	end();
}
