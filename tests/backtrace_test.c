/* Backtraces: a line for each frame, in memory and on a descriptor; without memory, and of nothing. */
#define _GNU_SOURCE
#include "base/backtrace.h"
#include "base/memory.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FRAMES = 32 };

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

TEST(backtrace, has_a_line_for_each_frame)
{
	void *frames[FRAMES];
	size_t n = exsi_backtrace(frames, FRAMES);

	CHECK(n >= 2 && n <= FRAMES);
	char *text = exsi_backtrace_text(frames, n);
	CHECK(text && strstr(text, "0x"));
	CHECK_INT(count_lines(text), n);
	CHECK_INT(text[strlen(text) - 1], '\n');
	exsi_free(text);
}

TEST(backtrace, is_cut_at_n_and_empty_without_room)
{
	void *frames[2] = {NULL, NULL};

	CHECK_INT(exsi_backtrace(frames, 1), 1);
	CHECK(frames[0] && !frames[1]);
	CHECK_INT(exsi_backtrace(frames, 0), 0);
	CHECK(!exsi_backtrace_text(frames, 0));
}

static void *no_memory(size_t size)
{
	(void)size;
	return NULL;
}

TEST(backtrace, text_is_none_when_memory_is_short)
{
	void *frames[FRAMES];
	size_t n = exsi_backtrace(frames, FRAMES);

	exs_set_allocator(&(exs_allocator){no_memory, free});
	char *text = exsi_backtrace_text(frames, n);
	exs_set_allocator(NULL);
	CHECK(!text);
}

TEST(backtrace, is_written_to_a_descriptor)
{
	char text[4096] = "";
	int fd = memfd_create("backtrace", MFD_CLOEXEC);

	CHECK(fd >= 0);
	exsi_backtrace_write(fd);
	CHECK(pread(fd, text, sizeof(text) - 1, 0) > 0);
	CHECK(strstr(text, "0x") && count_lines(text) >= 2);
	close(fd);
}
