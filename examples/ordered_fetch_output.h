/* Where ordered_fetch writes: whole items, one behind the other. */
#ifndef ORDERED_FETCH_OUTPUT_H
#define ORDERED_FETCH_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

struct fetch_output {
	int fd;
	const char *name;
	struct stat status;
	off_t whole; /* bytes, of whole items */
	bool owned;  /* a regular file that was made, or emptied */
};

/* name NULL: standard output. `inputs`: none of these n may be it. false, having said why. */
bool fetch_output_open(struct fetch_output *out, const char *name, char *const *inputs, size_t n);

/* Writes one item; `between` is called while it is being written, whenever a part is or a signal has come. false, having said why; a
   file of our own then ends with the item before. */
bool fetch_output_write(struct fetch_output *out, const char *data, size_t size, void (*between)(void *), void *arg);

/* false, having said why. */
bool fetch_output_close(struct fetch_output *out);

#endif
