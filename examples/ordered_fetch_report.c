/* What ordered_fetch tells. The bar stands on the last line of a terminal, and is erased before anything else. */
#define _GNU_SOURCE
#include "ordered_fetch_report.h"

#include <executors/clock.h>
#include <stdio.h>
#include <unistd.h>

enum { WIDTH = 30 };
static const double REDRAW = 0.1; /* seconds */

void fetch_report_begin(struct fetch_report *r, size_t total, bool progress, bool quiet)
{
	*r = (struct fetch_report){
		.quiet = quiet, .bar = progress || (!quiet && isatty(STDERR_FILENO)), .total = total};
	r->since = exs_clock_now(NULL);
}

void fetch_report_hide(struct fetch_report *r)
{
	if (r->shown)
		fputs("\r\033[K", stderr);
	r->shown = false;
}

void fetch_report_failure(struct fetch_report *r, uint64_t number, const char *text)
{
	fetch_report_hide(r);
	fputs("ordered_fetch: ", stderr);
	if (number)
		fprintf(stderr, "item %llu: ", (unsigned long long)number);
	for (; *text; text++)
		fputc((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text, stderr);
	fputc('\n', stderr);
}

/* As "4.5 MB". */
static const char *amount(char text[32], double bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
	size_t i = 0;

	for (; bytes >= 999.5 && i + 1 < sizeof(units) / sizeof(*units); i++)
		bytes /= 1000;
	snprintf(text, 32, bytes < 9.95 && i ? "%.1f %s" : "%.0f %s", bytes, units[i]);
	return text;
}

static double rate(const struct fetch_report *r)
{
	double seconds = exs_clock_now(NULL) - r->since;

	return seconds > 0 ? (double)r->bytes / seconds : 0;
}

void fetch_report_progress(struct fetch_report *r)
{
	static const char full[] = "##############################", empty[] = "..............................";
	size_t done = r->written + r->failed;
	int filled = r->total ? (int)(done * WIDTH / r->total) : 0;
	char bytes[32], per_second[32];
	double now = exs_clock_now(NULL);

	if (!r->bar || (r->shown && now < r->drawn + REDRAW))
		return;
	fetch_report_hide(r);
	if (r->total)
		fprintf(stderr, "[%.*s%.*s] %zu of %zu", filled, full, WIDTH - filled, empty, done, r->total);
	else
		fprintf(stderr, "%zu done", done);
	fprintf(stderr, ", %zu ahead, %zu failed, %s, %s/s", r->begun - done, r->failed,
		amount(bytes, (double)r->bytes), amount(per_second, rate(r)));
	r->shown = true;
	r->drawn = now;
}

void fetch_report_end(struct fetch_report *r, const char *how)
{
	char bytes[32], per_second[32];

	fetch_report_hide(r);
	if (r->quiet)
		return;
	fprintf(stderr, "ordered_fetch: %s%zu written, %zu failed", how, r->written, r->failed);
	if (r->total)
		fprintf(stderr, ", of %zu", r->total);
	fprintf(stderr, ": %s in %.1f s, %s/s\n", amount(bytes, (double)r->bytes), exs_clock_now(NULL) - r->since,
		amount(per_second, rate(r)));
}
