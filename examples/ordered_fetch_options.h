/* The command line of ordered_fetch. */
#ifndef ORDERED_FETCH_OPTIONS_H
#define ORDERED_FETCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct fetch_options {
	unsigned in_flight, attempts;
	size_t ahead;
	size_t body_limit;	 /* bytes */
	double timeout, backoff; /* seconds */
	const char *output;	 /* NULL: standard output */
	bool stop_on_error, progress, quiet;
	char **names; /* URLs, paths, "-": those on standard input; in argv */
	size_t n_names;
};

/* Reads the command line. Answers -1 to go on, otherwise the exit status, having said why. */
int fetch_options_read(struct fetch_options *o, int argc, char **argv);

#endif
