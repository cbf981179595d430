/* The output: a file is cut to its last whole item when it can't be written further. */
#define _GNU_SOURCE
#include "ordered_fetch_output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PART = 1 << 20 };

static bool fail(const char *name, const char *why)
{
	fprintf(stderr, "ordered_fetch: %s: %s\n", name, why);
	return false;
}

static bool is_same(const struct stat *a, const char *path)
{
	struct stat b;

	return !stat(path, &b) && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

bool fetch_output_open(struct fetch_output *out, const char *name, char *const *inputs, size_t n)
{
	*out = (struct fetch_output){.fd = STDOUT_FILENO, .name = name ? name : "standard output"};
	if (name)
		out->fd = open(name, O_WRONLY | O_CREAT | O_NOCTTY | O_CLOEXEC, 0666);
	if (out->fd < 0 || fstat(out->fd, &out->status))
		return fail(out->name, strerror(errno));
	out->owned = name && S_ISREG(out->status.st_mode);
	for (size_t i = 0; i < n && out->owned; i++)
		if (is_same(&out->status, inputs[i])) {
			out->owned = false;
			return fail(inputs[i], "it is the output");
		}
	return !out->owned || !ftruncate(out->fd, 0) || fail(out->name, strerror(errno));
}

/* One that does not block is waited for. */
static bool goes_on(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	if (errno == EAGAIN)
		poll(&p, 1, -1);
	return errno == EAGAIN || errno == EINTR;
}

bool fetch_output_write(struct fetch_output *out, const char *data, size_t size, void (*between)(void *), void *arg)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = write(out->fd, data + done, size - done < PART ? size - done : PART);
		if (n < 0 && !goes_on(out->fd)) {
			fail(out->name, strerror(errno));
			if (out->owned && ftruncate(out->fd, out->whole))
				fail(out->name, strerror(errno));
			return false;
		}
		done += n > 0 ? (size_t)n : 0;
		between(arg);
	}
	out->whole += (off_t)size;
	return true;
}

bool fetch_output_close(struct fetch_output *out)
{
	int fd = out->fd;

	if (fd <= STDERR_FILENO)
		return true;
	out->fd = -1;
	return !close(fd) || fail(out->name, strerror(errno));
}
