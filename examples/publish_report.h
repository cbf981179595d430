/* What publish prints: a line for each completion, progress, warnings, the summary. */
#ifndef PUBLISH_REPORT_H
#define PUBLISH_REPORT_H

#include <executors/base.h>

enum publish_outcome { FINISHED, FAILED, TIMED_OUT, CANCELLED, PUBLISH_OUTCOMES };

struct publish_report {
	bool quiet, bar; /* constant */
	int broken;	 /* errno of a standard output that can't be written any more */
	size_t total, counts[PUBLISH_OUTCOMES];
	double begun;
};

void publish_report_begin(struct publish_report *r, size_t total, bool quiet);

/* Prints one completion; control characters in the message become blanks. Once the output is broken only counts. */
void publish_report_line(struct publish_report *r, const char *id, enum publish_outcome outcome, const char *message);

void publish_report_progress(struct publish_report *r);
void publish_report_end(struct publish_report *r);

/* An exs_log_fn, ctx the report: a line on standard error. Any thread. */
void publish_report_log(void *report, exs_log_level level, const char *executor, const char *message);

#endif
