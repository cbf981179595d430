/* What ordered_fetch tells on standard error: failures, progress, the summary. */
#ifndef ORDERED_FETCH_REPORT_H
#define ORDERED_FETCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fetch_report {
	bool quiet, bar; /* constant */
	bool shown;	 /* the bar is */
	size_t total;	 /* 0: not known */
	size_t begun, written, failed;
	uint64_t bytes;	     /* written */
	double since, drawn; /* seconds on the clock */
};

void fetch_report_begin(struct fetch_report *r, size_t total, bool progress, bool quiet);

/* One line, number from 1; 0: of no item. Control characters become blanks. */
void fetch_report_failure(struct fetch_report *r, uint64_t number, const char *text);

/* Draws the bar, some times a second; takes it away, for what else is written. */
void fetch_report_progress(struct fetch_report *r);
void fetch_report_hide(struct fetch_report *r);

/* how: "", or why it ended before all was done, with a colon and a blank behind it. */
void fetch_report_end(struct fetch_report *r, const char *how);

#endif
