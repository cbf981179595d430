/* What is counted of a log: lines, statuses, bytes sent, and how often each path (or host) occurs. */
#ifndef LOG_COUNT_COUNTS_H
#define LOG_COUNT_COUNTS_H

#include <executors/bytes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STATUSES = 1000 };

enum log_by { BY_PATH, BY_HOST };

struct log_key {
	uint64_t count;
	size_t at; /* in the texts */
	uint32_t hash, size;
};

struct log_counts {
	uint64_t lines, odd; /* odd: those that are none of an access log; they count as lines */
	uint64_t sent;	     /* bytes */
	bool no_memory;	     /* not all is counted */
	bool damaged;	     /* nor is this: what was merged were no counts */
	uint64_t statuses[STATUSES];
	size_t n, room;	      /* keys; slots, a power of two or 0 */
	struct log_key *keys; /* open addressing; a count of 0 is a free slot */
	char *texts;
	size_t texts_size, texts_room;
};

/* New, all 0, or NULL. */
struct log_counts *log_counts_new(void);
void log_counts_free(void *counts); /* NULL is allowed */

/* Counts each line of a text, of which the last needs no line feed. Answers !no_memory. */
bool log_counts_add(struct log_counts *counts, enum log_by by, const char *text, size_t size);

/* Counts, as they are handed from a worker, which is the same program, to who adds them up; the caller's, or NULL and exs_last_error. The latter
   believes nothing of what it is given. Answers !no_memory && !damaged. */
exs_bytes *log_counts_pack(const struct log_counts *counts);
bool log_counts_merge(struct log_counts *into, const exs_bytes *packed);

bool log_counts_are_equal(const struct log_counts *a, const struct log_counts *b);

/* Prints lines, bytes, statuses, and the `top` most frequent keys; those as frequent in the order of the alphabet. false: no memory. */
bool log_counts_print(const struct log_counts *counts, enum log_by by, size_t top);

#endif
