/* Logs, cut at the ends of lines. */
#define _GNU_SOURCE
#include "log_count_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 256 << 10 };

static exs_error *no_memory(void)
{
	return exs_error_new(&exs_domain_exs, EXS_ENOMEM, "out of memory");
}

static exs_error *failed(const char *name, int code)
{
	return exs_error_new(&exs_domain_errno, code, "%s: %s", name, strerror(code));
}

static exs_error *no_log(const struct log_reader *log)
{
	return exs_error_new(&exs_domain_errno, EMSGSIZE, "%s: a line of more than %d bytes: no log", log->name,
			     LOG_LINE_MAX);
}

void log_reader_init(struct log_reader *log, int fd, const char *name, enum log_by by, size_t part_size)
{
	struct stat status;

	*log = (struct log_reader){.fd = fd, .name = name, .by = by, .part_size = part_size};
	log->at = lseek(fd, 0, SEEK_CUR);
	log->in_place = log->at >= 0 && !fstat(fd, &status) && S_ISREG(status.st_mode) && status.st_size > 0;
	log->end = log->in_place ? status.st_size : 0;
}

void log_reader_fini(struct log_reader *log)
{
	free(log->rest);
	log->rest = NULL;
}

/* --- a file: the places of its parts --- */

static exs_error *read_at(int fd, const char *name, char *to, size_t n, off_t at)
{
	while (n) {
		ssize_t rc = pread(fd, to, n, at);
		if (rc < 0 && errno != EINTR)
			return failed(name, errno);
		if (rc == 0)
			return exs_error_new(&exs_domain_errno, EIO, "%s: it has become shorter", name);
		to += rc > 0 ? rc : 0;
		at += rc > 0 ? rc : 0;
		n -= rc > 0 ? (size_t)rc : 0;
	}
	return NULL;
}

static size_t smaller(size_t a, off_t b)
{
	return (off_t)a < b ? a : (size_t)b;
}

/* *at goes behind the end of the line that it is in. */
static exs_error *find_line_end(const struct log_reader *log, off_t *at)
{
	const char *end = NULL;
	char block[4096];

	for (off_t begin = *at; !end && *at < log->end;) {
		size_t n = smaller(sizeof(block), log->end - *at);
		exs_error *error =
			*at - begin > LOG_LINE_MAX ? no_log(log) : read_at(log->fd, log->name, block, n, *at);
		if (error)
			return error;
		end = memchr(block, '\n', n);
		*at += (off_t)(end ? (size_t)(end - block) + 1 : n);
	}
	return NULL;
}

static exs_error *next_place(struct log_reader *log, struct log_part **part)
{
	off_t begin = log->at;
	exs_error *error = NULL;

	if (begin >= log->end)
		return NULL;
	log->at = log->end;
	if ((off_t)log->part_size < log->end - begin) {
		log->at = begin + (off_t)log->part_size - 1;
		error = find_line_end(log, &log->at);
	}
	if (error || !(*part = malloc(sizeof(**part))))
		return error ? error : no_memory();
	**part = (struct log_part){.by = log->by, .in_place = true, .at = begin, .size = (size_t)(log->at - begin)};
	snprintf((*part)->path, sizeof((*part)->path), "/proc/%ld/fd/%d", (long)getpid(), log->fd);
	return NULL;
}

/* --- a pipe: the text of its parts --- */

static bool make_room(struct log_part **part, size_t room)
{
	struct log_part *p = realloc(*part, sizeof(*p) + room);

	if (!p)
		return false;
	if (!*part)
		p->size = 0;
	p->room = room;
	*part = p;
	return true;
}

static exs_error *fill(struct log_reader *log, struct log_part *p)
{
	while (p->size < p->room && !log->ended) {
		ssize_t n = read(log->fd, p->text + p->size, p->room - p->size);
		if (n < 0 && errno != EINTR)
			return failed(log->name, errno);
		log->ended = n == 0;
		p->size += n > 0 ? (size_t)n : 0;
	}
	return NULL;
}

/* What follows the last line's end is kept for the next part. false: no memory. */
static bool cut(struct log_reader *log, struct log_part *p, const char *end)
{
	size_t whole = (size_t)(end - p->text), rest = p->size - whole;

	if (!make_room(&log->rest, rest > log->part_size ? rest : log->part_size))
		return false;
	memcpy(log->rest->text, end, rest);
	log->rest->size = rest;
	p->size = whole;
	return true;
}

/* Reads until there is a line's end, or the log's. */
static exs_error *read_part(struct log_reader *log, struct log_part **p)
{
	const char *end = NULL;

	if (!*p && !make_room(p, log->part_size))
		return no_memory();
	while (!end) {
		if ((*p)->size == (*p)->room && (*p)->room >= LOG_LINE_MAX)
			return no_log(log);
		if ((*p)->size == (*p)->room && !make_room(p, 2 * (*p)->room))
			return no_memory();
		exs_error *error = fill(log, *p);
		if (error || log->ended)
			return error;
		end = memrchr((*p)->text, '\n', (*p)->size);
	}
	return cut(log, *p, end + 1) ? NULL : no_memory();
}

static exs_error *next_text(struct log_reader *log, struct log_part **part)
{
	struct log_part *p = log->rest;

	log->rest = NULL;
	exs_error *error = log->ended ? NULL : read_part(log, &p);
	if (error || !p || !p->size) {
		free(p);
		return error;
	}
	p->by = log->by;
	p->in_place = false;
	memset(p->path, 0, sizeof(p->path));
	p->at = 0;
	*part = p;
	return NULL;
}

exs_error *log_read(struct log_reader *log, struct log_part **part)
{
	*part = NULL;
	return log->in_place ? next_place(log, part) : next_text(log, part);
}

/* --- counted --- */

/* Room for the longest line there was, or more. */
static bool grow(struct log_buffer *b)
{
	size_t room = b->room ? 2 * b->room : BLOCK;
	char *data = realloc(b->data, room);

	if (!data)
		return false;
	b->data = data;
	b->room = room;
	return true;
}

/* Some whole lines of the part's rest, *size bytes; 0: a line needs more room, which there is now. */
static exs_error *count_block(const struct log_part *rest, int fd, struct log_buffer *b, struct log_counts *counts,
			      size_t *size)
{
	size_t n = rest->size < b->room ? rest->size : b->room;
	exs_error *error = read_at(fd, rest->path, b->data, n, rest->at);

	*size = 0;
	if (error)
		return error;
	const char *end = n < rest->size ? memrchr(b->data, '\n', n) : b->data + n - 1;
	if (!end)
		return grow(b) ? NULL : no_memory();
	*size = (size_t)(end + 1 - b->data);
	return log_counts_add(counts, rest->by, b->data, *size) ? NULL : no_memory();
}

static exs_error *count_place(struct log_part rest, struct log_buffer *b, struct log_counts *counts)
{
	exs_error *error = b->room || grow(b) ? NULL : no_memory();
	int fd = error ? -1 : open(rest.path, O_RDONLY | O_CLOEXEC);
	size_t n;

	if (fd < 0)
		return error ? error : failed(rest.path, errno);
	while (!error && rest.size) {
		error = count_block(&rest, fd, b, counts, &n);
		rest.at += (off_t)n;
		rest.size -= n;
	}
	close(fd);
	return error;
}

size_t log_part_size(const struct log_part *part)
{
	return sizeof(*part) + (part->in_place ? 0 : part->size);
}

exs_error *log_count_part(const void *data, size_t size, struct log_buffer *buffer, struct log_counts *counts)
{
	struct log_part part;

	if (!counts || !buffer)
		return no_memory();
	if (size >= sizeof(part))
		memcpy(&part, data, sizeof(part));
	if (size < sizeof(part) || size != log_part_size(&part))
		return exs_error_new(&exs_domain_errno, EINVAL, "no part of a log");
	if (part.in_place)
		return count_place(part, buffer, counts);
	const char *text = (const char *)data + sizeof(part);
	return log_counts_add(counts, part.by, text, part.size) ? NULL : no_memory();
}
