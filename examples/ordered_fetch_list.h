/* What is to be fetched: names from the command line, and from standard input as they are needed. */
#ifndef ORDERED_FETCH_LIST_H
#define ORDERED_FETCH_LIST_H

#include <executors/error.h>
#include <stdbool.h>
#include <stddef.h>

enum { FETCH_NAME_MAX = 8192 };

struct fetch_list {
	char **names; /* borrowed */
	size_t n, next;
	/* standard input */
	bool ended;
	bool skips;  /* what is read belongs to a line that is too long */
	size_t line; /* from 1 */
	size_t begin, end;
	char buffer[FETCH_NAME_MAX + 2];
};

/* Errors of names on standard input; codes: errno. */
extern const exs_domain fetch_domain_list;

enum fetch_next { FETCH_NAME, FETCH_WRONG, FETCH_WAIT, FETCH_END };

/* The next name, in name. FETCH_WRONG: something that can't be fetched, *error (a new one) says why. FETCH_WAIT: none now; it will come from
   standard input. Does not wait. */
enum fetch_next fetch_list_next(struct fetch_list *list, char name[FETCH_NAME_MAX + 1], exs_error **error);

/* How many there are; 0: that is not known. */
size_t fetch_list_count(const struct fetch_list *list);

/* What is wrong with a name of `size` bytes, or NULL. */
const char *fetch_list_wrong(const char *name, size_t size);

/* Is it a URL, and not a path? */
bool fetch_is_url(const char *name);

/* The name, of a URL without user and password. */
void fetch_list_shown(const char *name, char shown[FETCH_NAME_MAX + 1]);

#endif
