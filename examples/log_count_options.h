/* The command line of log_count. */
#ifndef LOG_COUNT_OPTIONS_H
#define LOG_COUNT_OPTIONS_H

#include "log_count_counts.h"

struct log_count_options {
	unsigned workers;
	size_t part_size; /* bytes */
	size_t top;
	enum log_by by;
	bool compare;
	bool processes;
	uint64_t sample; /* bytes of a sample to be written first; 0: none */
	uint64_t seed;
	const char *path; /* NULL: a sample in a temporary file; "-": standard input */
};

/* Reads the command line. Answers -1 to go on, otherwise the exit status, having said why. */
int log_count_options_read(struct log_count_options *o, int argc, char **argv);

#endif
