/* What exs_metrics_write and exs_dump_alive write, for tests. */
#ifndef SCRAPE_H
#define SCRAPE_H

#include <stdbool.h>
#include <stddef.h>

/* Gathers text; begins anew with scrape_begin. */
struct scrape {
	char *text; /* terminated */
	size_t n, room, pieces;
};
bool scrape_add(void *scrape, const char *text, size_t n); /* exs_write_fn */
void scrape_end(struct scrape *s);

/* The value of a metric, without its prefix: of this executor, type and task ("": none). NAN: there is none. In the text; and now. */
double scrape_metric(const struct scrape *s, const char *metric, const char *executor, const char *type,
		     const char *task);
double metric_of_task(const char *metric, const char *executor, const char *type, const char *task);
double metric(const char *metric, const char *executor, const char *type);

/* Lines of exs_dump_alive that contain part, but for the last. */
unsigned alive_lines(const char *part);

#endif
