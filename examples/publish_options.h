/* The command line of publish. */
#ifndef PUBLISH_OPTIONS_H
#define PUBLISH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct publish_options {
	const char *url; /* NULL: start a service of our own */
	unsigned workers, attempts, tolerate;
	size_t body_limit;		   /* bytes */
	double timeout, interval, backoff; /* seconds; timeout may be infinite */
	double cancel_after;		   /* seconds; infinite: never */
	double grace;			   /* seconds */
	bool quiet;
	char **ids; /* owned, as are the strings */
	size_t n_ids;
};

/* Reads the command line and, for "-", the ids from standard input. Answers -1
   to go on, otherwise the exit status, having said why. To be freed in either
   case. */
int publish_options_read(struct publish_options *o, int argc, char **argv);
void publish_options_free(struct publish_options *o);

#endif
