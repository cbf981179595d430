/* A log, part by part: of a file its parts are places, to be read by who counts them; of a pipe they are text. */
#ifndef LOG_COUNT_LOG_H
#define LOG_COUNT_LOG_H

#include "log_count_counts.h"

#include <executors/error.h>
#include <sys/types.h>

/* Bytes; what has longer lines is no log. */
enum { LOG_LINE_MAX = 64 << 20 };

struct log_reader {
	int fd;		  /* borrowed */
	const char *name; /* for errors */
	enum log_by by;
	size_t part_size; /* bytes, at least; up to the end of a line */
	bool in_place;	  /* a file, of which what there was at the beginning counts: from at to end */
	off_t at, end;
	struct log_part *rest; /* of a pipe: the beginning of the next part, a line that was cut */
	bool ended;
};

/* Whole lines. It goes to workers as it is in memory: they are the same program. */
struct log_part {
	enum log_by by;
	bool in_place;
	char path
		[40]; /* in place: what this user's processes open, whatever becomes of its name, while this one has it */
	off_t at;     /* the same */
	size_t size, room; /* bytes */
	char text[];
};
size_t log_part_size(const struct log_part *part); /* with its text, in bytes */

/* For log_count_part; begins as 0. */
struct log_buffer {
	size_t room;
	char *data;
};

/* At the beginning of what fd is. */
void log_reader_init(struct log_reader *log, int fd, const char *name, enum log_by by, size_t part_size);
void log_reader_fini(struct log_reader *log);

/* *part gets the next one, to be freed with free, or NULL at the end. Answers NULL or an error, after which nothing is to be read. */
exs_error *log_read(struct log_reader *log, struct log_part **part);

/* Counts the lines of a part, which is `size` bytes at `data`; several threads and processes may, each with a buffer of its own. Answers NULL or
   an error. counts or buffer NULL: EXS_ENOMEM. */
exs_error *log_count_part(const void *data, size_t size, struct log_buffer *buffer, struct log_counts *counts);

#endif
