/* The command line of ordered_fetch. */
#define _GNU_SOURCE
#include "ordered_fetch_options.h"
#include "option_values.h"
#include "ordered_fetch_list.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { FAILED = 1, WRONG_USAGE = 2 };
enum { IN_FLIGHT = 256, AHEAD, ATTEMPTS, BACKOFF, TIMEOUT, BODY_LIMIT, STOP_ON_ERROR, PROGRESS };

static const char help[] =
	"usage: ordered_fetch [OPTION]... URL|PATH|-...\n"
	"Fetches many URLs (http, https) and files at a time, and writes what they hold, one behind the other, in the "
	"order in "
	"which\n"
	"they are given. - stands for those on standard input, one a line, read as they are needed.\n\n"
	"  --in-flight N      fetched at a time (32)\n"
	"  --ahead N          fetched, or fetched and waiting for their turn, at a time (as --in-flight)\n"
	"  --attempts N       for each (3)\n"
	"  --backoff SECONDS  before the second attempt, twice as long before each further one (1)\n"
	"  --timeout SECONDS  for each, attempts and what lies between them included (60)\n"
	"  --body-limit SIZE  bytes of each, with K, M or G (16M)\n"
	"  --output FILE      instead of standard output\n"
	"  --stop-on-error    the first that fails ends the run; otherwise it is left out\n"
	"  --progress         shows the progress even if standard error is no terminal\n"
	"  --quiet            no progress, no summary; failures are told\n"
	"  --help\n\n"
	"However slow the output is, no more than --ahead of them are in memory, each up to --body-limit bytes, and "
	"that which is\n"
	"being written.\n"
	"Ctrl-C cancels what is in flight; the item that is being written is written to its end. A second one leaves "
	"at once.\n"
	"Exit status: 0, 1 if something failed, 2 on wrong usage, 130 after Ctrl-C (128 + the signal).\n";

static const struct option options[] = {
	{"in-flight", required_argument, NULL, IN_FLIGHT},
	{"ahead", required_argument, NULL, AHEAD},
	{"attempts", required_argument, NULL, ATTEMPTS},
	{"backoff", required_argument, NULL, BACKOFF},
	{"timeout", required_argument, NULL, TIMEOUT},
	{"body-limit", required_argument, NULL, BODY_LIMIT},
	{"output", required_argument, NULL, 'o'},
	{"stop-on-error", no_argument, NULL, STOP_ON_ERROR},
	{"progress", no_argument, NULL, PROGRESS},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* --- options --- */

static bool read_size(int code, uint64_t most, bool suffix, size_t *size)
{
	uint64_t n = 0;
	bool ok = option_size(options, code, 1, most, suffix, &n);

	*size = (size_t)n;
	return ok;
}

static bool read_number(struct fetch_options *o, int code)
{
	switch (code) {
	case IN_FLIGHT:
		return option_unsigned(options, code, 1, 1000, &o->in_flight);
	case AHEAD:
		return read_size(code, 1000000, false, &o->ahead);
	case ATTEMPTS:
		return option_unsigned(options, code, 1, 1000000, &o->attempts);
	case BACKOFF:
		return option_seconds(options, code, true, &o->backoff);
	case TIMEOUT:
		return option_seconds(options, code, false, &o->timeout);
	case BODY_LIMIT:
		return read_size(code, (uint64_t)1 << 40, true, &o->body_limit);
	default: /* getopt has said why */
		return false;
	}
}

static int read_option(struct fetch_options *o, int code)
{
	switch (code) {
	case 'o':
		o->output = optarg;
		return -1;
	case STOP_ON_ERROR:
		o->stop_on_error = true;
		return -1;
	case PROGRESS:
		o->progress = true;
		return -1;
	case 'q':
		o->quiet = true;
		return -1;
	case 'h':
		fputs(help, stdout);
		return fflush(stdout) ? FAILED : 0;
	default:
		return read_number(o, code) ? -1 : WRONG_USAGE;
	}
}

static int complain(const char *what, const char *wrong)
{
	fprintf(stderr, "ordered_fetch: %s%s%s\n", what, *what ? ": " : "", wrong);
	return WRONG_USAGE;
}

static int check(struct fetch_options *o)
{
	if (!o->ahead)
		o->ahead = o->in_flight;
	if (o->ahead < o->in_flight)
		return complain("", "--ahead is less than --in-flight: so many can't be in flight");
	if (o->quiet && o->progress)
		return complain("", "--progress and --quiet can't both be");
	if (o->output && !*o->output)
		return complain("--output", "an empty name");
	if (!o->n_names)
		return complain("", "nothing to fetch");
	for (size_t i = 0; i < o->n_names; i++) {
		const char *wrong = fetch_list_wrong(o->names[i], strlen(o->names[i]));
		if (wrong)
			return complain(o->names[i], wrong);
	}
	return -1;
}

int fetch_options_read(struct fetch_options *o, int argc, char **argv)
{
	int code, status = -1;

	*o = (struct fetch_options){.in_flight = 32, .attempts = 3, .backoff = 1, .timeout = 60};
	o->body_limit = 16 << 20;
	while (status < 0 && (code = getopt_long(argc, argv, "", options, NULL)) != -1)
		status = read_option(o, code);
	o->names = argv + optind;
	o->n_names = (size_t)(argc - optind);
	if (status < 0)
		status = check(o);
	if (status == WRONG_USAGE)
		fputs("ordered_fetch --help tells more\n", stderr);
	return status;
}
