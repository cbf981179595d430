/* A log, read part by part; and sample logs. */
#ifndef LOG_COUNT_LOG_H
#define LOG_COUNT_LOG_H

#include "log_count_counts.h"

#include <executors/error.h>

/* Whole lines. */
struct log_part {
	enum log_by by;	   /* the reader's */
	size_t size, room; /* bytes */
	char text[];
};

struct log_reader {
	int fd;		       /* borrowed */
	const char *name;      /* for errors */
	size_t part_size;      /* bytes of a part; more for a line that is longer */
	struct log_part *rest; /* the beginning of the next part: a line that was cut */
	bool ended;
	enum log_by by; /* handed on */
};

/* *part gets the next one, to be freed with free, or NULL at the end. Answers NULL or an error, after which nothing is to be read. */
exs_error *log_read(struct log_reader *log, struct log_part **part);
void log_reader_fini(struct log_reader *log);

/* Writes about `size` bytes of an access log, the same for the same seed. Answers 0 or errno. */
int log_write_sample(int fd, uint64_t size, uint64_t seed);

#endif
