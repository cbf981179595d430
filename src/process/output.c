/* What a child has written: to a file or the log hook, and the last of it. */
#define _GNU_SOURCE
#include "base/memory.h"
#include "base/utf8.h"
#include "process/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 4 << 10, BLOCKS = 16, LINE = 400 /* that a log line holds, with what stands before it */ };

int exsi_output_init(struct exsi_output *o, int fd, const char *file, const char *who, unsigned number)
{
	*o = (struct exsi_output){.fd = fd, .file = -1, .who = who, .number = number};
	if (!file)
		return 0;
	/* A FIFO that nobody reads is an error. */
	o->file = exsi_spawn_raise(open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666));
	return o->file < 0 ? errno : 0;
}

/* --- printable --- */

static bool is_control(const char *text)
{
	unsigned char c = (unsigned char)text[0], next = (unsigned char)(c ? text[1] : 0);

	return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || (c == 0xc2 && next < 0xa0);
}

/* text ends with a NUL behind its n bytes. */
static void make_printable(char *text, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t size = exsi_utf8(text + i);
		if (!size || is_control(text + i))
			memset(text + i, '?', size ? size : 1);
		i += size ? size : 1;
	}
}

/* n bytes from there on, of all that was written. */
static void copy(const struct exsi_output *o, size_t from, size_t n, char *text)
{
	for (size_t i = 0; i < n; i++)
		text[i] = o->tail[(from + i) % EXSI_TAIL];
	text[n] = '\0';
	make_printable(text, n);
}

size_t exsi_output_tail(const struct exsi_output *o, char *text)
{
	size_t n = o->written < EXSI_TAIL ? o->written : EXSI_TAIL;

	copy(o, o->written - n, n, text);
	const char *end = o->written > n ? memchr(text, '\n', n) : NULL;
	if (end && end + 1 < text + n) {
		n -= (size_t)(end + 1 - text);
		memmove(text, end + 1, n + 1);
	}
	if (n && text[n - 1] == '\n')
		text[--n] = '\0';
	return n;
}

/* --- told --- */

static void tell_line(const struct exsi_output *o, size_t n)
{
	char text[LINE + 1];

	copy(o, o->line, n, text);
	exsi_log(EXS_LOG_INFO, o->who, "worker %u: %s", o->number, text);
}

/* Has just been kept, at the end of the ring. */
static void tell_byte(struct exsi_output *o, char c)
{
	size_t n = o->written - o->line;

	if (c == '\n') {
		if (!o->cut)
			tell_line(o, n - 1);
		o->line = o->written;
		o->cut = false;
	} else if (n == LINE) {
		tell_line(o, n);
		o->cut = true;
	}
}

static void tell_rest(struct exsi_output *o)
{
	if (o->file < 0 && o->written > o->line && !o->cut)
		tell_line(o, o->written - o->line);
	o->line = o->written;
	o->cut = false;
}

static void write_out(struct exsi_output *o, const char *data, size_t n)
{
	while (n) {
		ssize_t done = write(o->file, data, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			exsi_log(EXS_LOG_WARNING, o->who, "worker %u: its log file takes no more: %s", o->number,
				 strerrordesc_np(errno));
			exsi_output_fini(o);
			return;
		}
		data += done;
		n -= (size_t)done;
	}
}

static void take(struct exsi_output *o, const char *data, size_t n)
{
	bool to_file = o->file >= 0;

	for (size_t i = 0; i < n; i++) {
		o->tail[o->written++ % EXSI_TAIL] = data[i];
		if (!to_file)
			tell_byte(o, data[i]);
	}
	if (!to_file)
		return;
	write_out(o, data, n);
	o->line = o->written; /* if it took no more: lines are told from here on */
}

bool exsi_output_read(struct exsi_output *o)
{
	char data[BLOCK];

	for (int i = 0; i < BLOCKS; i++) {
		ssize_t n = read(o->fd, data, sizeof(data));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0) {
			tell_rest(o);
			return false;
		}
		take(o, data, (size_t)n);
	}
	return true;
}

void exsi_output_fini(struct exsi_output *o)
{
	if (o->file >= 0)
		close(o->file);
	o->file = -1;
}
