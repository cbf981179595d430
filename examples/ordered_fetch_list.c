/* The names of what is to be fetched: standard input is read when it has something, and there is room for more. */
#define _GNU_SOURCE
#include "ordered_fetch_list.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const exs_domain fetch_domain_list = {.size = sizeof(exs_domain), .name = "list"};

/* --- names --- */

bool fetch_is_url(const char *name)
{
	return !strncasecmp(name, "http://", 7) || !strncasecmp(name, "https://", 8);
}

static bool has_other_scheme(const char *name)
{
	const char *colon = strstr(name, "://");

	return colon && !fetch_is_url(name) &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-") ==
		       (size_t)(colon - name);
}

const char *fetch_list_wrong(const char *name, size_t size)
{
	if (size == 0)
		return "an empty name";
	if (size > FETCH_NAME_MAX)
		return "a name of more than 8192 bytes";
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return "a control character in a name";
	return has_other_scheme(name) ? "neither a URL of http or https nor a path" : NULL;
}

void fetch_list_shown(const char *name, char shown[FETCH_NAME_MAX + 1])
{
	const char *host = fetch_is_url(name) ? strstr(name, "://") + 3 : name;
	size_t authority = strcspn(host, "/?#"), scheme = (size_t)(host - name);
	const char *at = fetch_is_url(name) ? memrchr(host, '@', authority) : NULL;

	memcpy(shown, name, scheme);
	strcpy(shown + scheme, at ? at + 1 : host);
}

size_t fetch_list_count(const struct fetch_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		if (!strcmp(list->names[i], "-"))
			return 0;
	return list->n;
}

/* --- standard input --- */

/* More into the buffer, which is not full. false: there is nothing now, or *error is set. */
static bool fill(struct fetch_list *list, exs_error **error)
{
	struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};

	if (poll(&fd, 1, 0) <= 0)
		return false;
	memmove(list->buffer, list->buffer + list->begin, list->end - list->begin);
	list->end -= list->begin;
	list->begin = 0;
	ssize_t n = read(STDIN_FILENO, list->buffer + list->end, sizeof(list->buffer) - list->end);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	list->ended = n <= 0;
	if (n < 0)
		*error = exs_error_new(&fetch_domain_list, errno, "standard input: %s", strerror(errno));
	else if (n == 0 && (list->end || list->skips)) /* the last line has no end */
		list->buffer[list->end++] = '\n';
	list->end += n > 0 ? (size_t)n : 0;
	return n >= 0;
}

/* The next line in the buffer, without its end. */
static bool find_line(struct fetch_list *list, const char **line, size_t *size)
{
	const char *begin = list->buffer + list->begin, *end = memchr(begin, '\n', list->end - list->begin);

	if (end) {
		*line = begin;
		*size = (size_t)(end - begin);
		list->begin += *size + 1;
	} else if (list->end - list->begin == sizeof(list->buffer)) {
		list->skips = true;
		list->begin = list->end = 0;
	}
	return end;
}

/* FETCH_WAIT: the line is blank. */
static enum fetch_next take_line(struct fetch_list *list, const char *line, size_t size, char *name, exs_error **error)
{
	const char *wrong;

	list->line++;
	if (size && line[size - 1] == '\r')
		size--;
	if (!size && !list->skips)
		return FETCH_WAIT;
	if (list->skips)
		size = sizeof(list->buffer);
	list->skips = false;
	if (size <= FETCH_NAME_MAX) {
		memcpy(name, line, size);
		name[size] = 0;
	}
	wrong = fetch_list_wrong(name, size);
	if (wrong)
		*error = exs_error_new(&fetch_domain_list, EINVAL, "standard input, line %zu: %s", list->line, wrong);
	return wrong ? FETCH_WRONG : FETCH_NAME;
}

/* FETCH_END: of standard input. */
static enum fetch_next next_line(struct fetch_list *list, char *name, exs_error **error)
{
	enum fetch_next next = FETCH_WAIT;
	const char *line;
	size_t size;

	do
		while (next == FETCH_WAIT && find_line(list, &line, &size))
			next = take_line(list, line, size, name, error);
	while (next == FETCH_WAIT && !list->ended && fill(list, error));
	if (next != FETCH_WAIT || !list->ended)
		return next;
	return *error ? FETCH_WRONG : FETCH_END;
}

/* --- both --- */

enum fetch_next fetch_list_next(struct fetch_list *list, char name[FETCH_NAME_MAX + 1], exs_error **error)
{
	*error = NULL;
	for (; list->next < list->n; list->next++) {
		if (strcmp(list->names[list->next], "-") != 0) {
			strcpy(name, list->names[list->next++]);
			return FETCH_NAME;
		}
		enum fetch_next next = next_line(list, name, error);
		if (next != FETCH_END)
			return next;
	}
	return FETCH_END;
}
