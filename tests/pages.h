/* An HTTP server for tests, on a loopback address:
     /bytes/N/ID    N bytes: pages_byte of ID
     /late/N/ID     the same, once pages_release was called
     /fail/K/ID     503 to the first K requests for this path (Retry-After: 0), then "ID\n"
     /status/CODE/ID
     /hang/ID       no answer
   ID is a number. */
#ifndef TESTING_PAGES_H
#define TESTING_PAGES_H

#include <stddef.h>
#include <stdint.h>

struct pages;

struct pages *pages_start(void);
void pages_stop(struct pages *pages); /* closes all connections */

/* "http://127.0.0.1:PORT", without a slash at the end. */
const char *pages_url(const struct pages *pages);

static inline char pages_byte(size_t id, size_t i)
{
	return (char)('a' + (id * 7 + i / 61) % 26);
}

/* Blocks until so many requests in all have come; so many wait, late ones or hanging. */
void pages_wait_requests(struct pages *pages, size_t n);
void pages_wait_held(struct pages *pages, size_t n);

/* The late ones are answered from now on. */
void pages_release(struct pages *pages);

/* Tells how many answers have been used; the most requests there ever were beyond these. */
void pages_used(struct pages *pages, size_t n);
size_t pages_most_ahead(struct pages *pages);

size_t pages_requests(struct pages *pages);

#endif
