/* Backtraces: where the calling thread is. */
#include "base/backtrace.h"
#include "base/memory.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GLIBC__

#include <execinfo.h>

enum { WRITTEN = 24 }; /* so few that what stood before it is still among the last 4 KiB, as a rule */

size_t exsi_backtrace(void **frames, size_t n)
{
	int got = n ? backtrace(frames, n < INT_MAX ? (int)n : INT_MAX) : 0;

	return got > 0 ? (size_t)got : 0;
}

static char *join(char *const *lines, size_t n)
{
	size_t size = 1;

	for (size_t i = 0; i < n; i++)
		size += strlen(lines[i]) + 1;
	char *text = exsi_alloc(size), *end = text;
	for (size_t i = 0; text && i < n; i++) {
		size_t length = strlen(lines[i]);
		memcpy(end, lines[i], length);
		end += length;
		*end++ = '\n';
	}
	if (text)
		*end = '\0';
	return text;
}

char *exsi_backtrace_text(void *const *frames, size_t n)
{
	char **lines = n && n < INT_MAX ? backtrace_symbols(frames, (int)n) : NULL;
	char *text = lines ? join(lines, n) : NULL;

	free(lines); /* not of exsi_alloc */
	return text;
}

void exsi_backtrace_write(int fd)
{
	void *frames[WRITTEN];
	size_t n = exsi_backtrace(frames, WRITTEN);

	backtrace_symbols_fd(frames, (int)n, fd);
}

#else

size_t exsi_backtrace(void **frames, size_t n)
{
	(void)frames, (void)n;
	return 0;
}

char *exsi_backtrace_text(void *const *frames, size_t n)
{
	(void)frames, (void)n;
	return NULL;
}

void exsi_backtrace_write(int fd)
{
	(void)fd;
}

#endif
