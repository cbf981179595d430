/* What publish prints. The progress bar stands on the last line of a terminal, and is erased before anything else. */
#define _GNU_SOURCE
#include "publish_report.h"

#include <errno.h>
#include <executors/clock.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 40 };

static const char *const words[] = {
	[FINISHED] = "finished",
	[FAILED] = "error",
	[TIMED_OUT] = "timeout",
	[CANCELLED] = "cancelled",
};

static const char *erase(const struct publish_report *r)
{
	return r->bar ? "\r\033[K" : "";
}

static size_t done(const struct publish_report *r)
{
	return r->counts[FINISHED] + r->counts[FAILED] + r->counts[TIMED_OUT] + r->counts[CANCELLED];
}

void publish_report_begin(struct publish_report *r, size_t total, bool quiet)
{
	*r = (struct publish_report){.quiet = quiet, .bar = !quiet && isatty(STDERR_FILENO), .total = total};
	r->begun = exs_clock_now(NULL);
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

static void print_blanked(const char *text)
{
	for (; *text; text++)
		putchar((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text);
}

void publish_report_line(struct publish_report *r, const char *id, enum publish_outcome outcome, const char *message)
{
	r->counts[outcome]++;
	if (r->broken)
		return;
	if (r->bar)
		fputs(erase(r), stderr);
	errno = 0;
	printf("%s\t%s\t", id, words[outcome]);
	print_blanked(message);
	putchar('\n');
	if (!ferror(stdout))
		return;
	r->broken = errno ? errno : EIO;
	fprintf(stderr, "%spublish: standard output: %s\n", erase(r), strerror(r->broken));
}

void publish_report_progress(struct publish_report *r)
{
	static const char full[] = "########################################",
			  empty[] = "........................................";
	int filled = r->total ? (int)(done(r) * WIDTH / r->total) : 0;

	if (r->bar)
		fprintf(stderr, "%s[%.*s%.*s] %zu of %zu, %zu not finished", erase(r), filled, full, WIDTH - filled,
			empty, done(r), r->total, done(r) - r->counts[FINISHED]);
}

void publish_report_end(struct publish_report *r)
{
	if (!r->quiet)
		fprintf(stderr, "%spublish: %zu of %zu finished, %zu failed, %zu timed out, %zu cancelled in %.1f s\n",
			erase(r), r->counts[FINISHED], r->total, r->counts[FAILED], r->counts[TIMED_OUT],
			r->counts[CANCELLED], exs_clock_now(NULL) - r->begun);
}

void publish_report_log(void *report, exs_log_level level, const char *executor, const char *message)
{
	const struct publish_report *r = report;

	(void)level;
	if (!r->quiet)
		fprintf(stderr, "%spublish: %s%s%s\n", erase(r), executor ? executor : "", executor ? ": " : "",
			message);
}
