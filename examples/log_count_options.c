/* The command line of log_count. */
#define _GNU_SOURCE
#include "log_count_options.h"
#include "option_values.h"

#include <stdio.h>
#include <string.h>

enum { FAILED = 1, WRONG_USAGE = 2 };
enum { WORKERS = 256, PROCESSES, PART, TOP, BY, COMPARE, GENERATE, SEED };

static const char help[] =
	"usage: log_count [OPTION]... [FILE]\n"
	"Counts the lines of an access log per status and per path, in parts, on several threads or processes. FILE "
	"may be -, "
	"standard input.\n\n"
	"  --workers N      threads that count (2)\n"
	"  --processes      processes instead\n"
	"  --part SIZE      bytes of a part, with K, M or G (4M)\n"
	"  --by path|host   what is counted beside the statuses (path)\n"
	"  --top N          so many of these are printed, the most frequent first (10)\n"
	"  --compare        counts in a plain loop, too, three times each; prints both times and their ratio on "
	"standard "
	"error,\n"
	"                   and checks that the counts are equal\n"
	"  --generate SIZE  writes a sample log first: to FILE, which must not exist, or to a temporary file\n"
	"  --seed N         of the sample (1)\n"
	"  --help\n\n"
	"Of standard input and other pipes at most 2 * N + 2 parts are in memory, of a file a block for each worker. "
	"Exit status: 0, 1 on failure, 2 on wrong usage.\n";

static const struct option options[] = {
	{"workers", required_argument, NULL, WORKERS},
	{"processes", no_argument, NULL, PROCESSES},
	{"part", required_argument, NULL, PART},
	{"top", required_argument, NULL, TOP},
	{"by", required_argument, NULL, BY},
	{"compare", no_argument, NULL, COMPARE},
	{"generate", required_argument, NULL, GENERATE},
	{"seed", required_argument, NULL, SEED},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static bool read_by(enum log_by *by)
{
	*by = !strcmp(optarg, "host") ? BY_HOST : BY_PATH;
	if (*by == BY_HOST || !strcmp(optarg, "path"))
		return true;
	fprintf(stderr, "log_count: --by %s: neither path nor host\n", optarg);
	return false;
}

static int read_option(struct log_count_options *o, int code)
{
	uint64_t n = 0;
	bool ok = true;

	switch (code) {
	case WORKERS:
		ok = option_unsigned(options, code, 1, 1000, &o->workers);
		break;
	case PROCESSES:
		o->processes = true;
		break;
	case PART:
		ok = option_size(options, code, 1, 64 << 20, true, &n);
		o->part_size = (size_t)n;
		break;
	case TOP:
		ok = option_size(options, code, 0, 1000000000, false, &n);
		o->top = (size_t)n;
		break;
	case BY:
		ok = read_by(&o->by);
		break;
	case COMPARE:
		o->compare = true;
		break;
	case GENERATE:
		ok = option_size(options, code, 1, (uint64_t)1 << 40, true, &o->sample);
		break;
	case SEED:
		ok = option_size(options, code, 0, UINT32_MAX, false, &o->seed);
		break;
	case 'h':
		fputs(help, stdout);
		return fflush(stdout) ? FAILED : 0;
	default: /* getopt has said why */
		ok = false;
	}
	return ok ? -1 : WRONG_USAGE;
}

static const char *wrong_file(const struct log_count_options *o, int n)
{
	bool is_input = o->path && !strcmp(o->path, "-");

	if (n > 1)
		return "more than one file";
	if (!n && !o->sample)
		return "no file";
	if (is_input && o->sample)
		return "a sample can't be written to standard input";
	return is_input && o->compare ? "--compare reads the log several times: standard input can't be" : NULL;
}

int log_count_options_read(struct log_count_options *o, int argc, char **argv)
{
	int code, status = -1;

	*o = (struct log_count_options){.workers = 2, .part_size = 4 << 20, .top = 10, .seed = 1};
	while (status < 0 && (code = getopt_long(argc, argv, "", options, NULL)) != -1)
		status = read_option(o, code);
	o->path = optind < argc ? argv[optind] : NULL;
	const char *wrong = status < 0 ? wrong_file(o, argc - optind) : NULL;
	if (wrong) {
		fprintf(stderr, "log_count: %s\n", wrong);
		status = WRONG_USAGE;
	}
	if (status == WRONG_USAGE)
		fputs("log_count --help tells more\n", stderr);
	return status;
}
