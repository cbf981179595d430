/* The command line of publish: options, and ids from it and from standard input. */
#define _GNU_SOURCE
#include "publish_options.h"
#include "option_values.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILED = 1, WRONG_USAGE = 2, ID_MAX = 512 };
enum { URL = 256, WORKERS, ATTEMPTS, BACKOFF, TIMEOUT, INTERVAL, TOLERATE, CANCEL_AFTER, GRACE, BODY_LIMIT };

static const char help[] =
	"usage: publish [OPTION]... ID...\n"
	"Publishes each object at a job service, and prints a line for each as its job completes:\n"
	"ID<TAB>finished|error|timeout|cancelled<TAB>message. The ID - stands for those on standard input, one a "
	"line.\n\n"
	"  --url URL               the service; without it one of our own is started\n"
	"  --workers N             publish requests at a time (4)\n"
	"  --attempts N            to publish each; more than 1 is consent to repeat a POST (3)\n"
	"  --backoff SECONDS       before the second attempt, twice as long before each further one (1)\n"
	"  --timeout SECONDS       for each job from now on (none)\n"
	"  --interval SECONDS      between two searches for the jobs' states (1)\n"
	"  --tolerate K            failed searches in a row that fail no job (0)\n"
	"  --cancel-after SECONDS  cancels what is left then, as Ctrl-C does; a second Ctrl-C leaves at once\n"
	"  --grace SECONDS         for the service to answer a cancel (5)\n"
	"  --body-limit BYTES      of an answer's body (67108864)\n"
	"  --quiet                 no progress, warnings or summary\n"
	"  --help\n\n"
	"Exit status: 0 if all finished, 1 if some did not, 2 on wrong usage, 130 after a second Ctrl-C.\n";

static const struct option options[] = {
	{"url", required_argument, NULL, URL},
	{"workers", required_argument, NULL, WORKERS},
	{"attempts", required_argument, NULL, ATTEMPTS},
	{"backoff", required_argument, NULL, BACKOFF},
	{"timeout", required_argument, NULL, TIMEOUT},
	{"interval", required_argument, NULL, INTERVAL},
	{"tolerate", required_argument, NULL, TOLERATE},
	{"cancel-after", required_argument, NULL, CANCEL_AFTER},
	{"grace", required_argument, NULL, GRACE},
	{"body-limit", required_argument, NULL, BODY_LIMIT},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* --- options --- */

static int read_option(struct publish_options *o, int code)
{
	uint64_t bytes;
	bool ok = true;

	switch (code) {
	case URL:
		o->url = optarg;
		break;
	case WORKERS:
		ok = option_unsigned(options, code, 1, 1000, &o->workers);
		break;
	case ATTEMPTS:
		ok = option_unsigned(options, code, 1, 1000000, &o->attempts);
		break;
	case TOLERATE:
		ok = option_unsigned(options, code, 0, 1000000, &o->tolerate);
		break;
	case BODY_LIMIT:
		ok = option_size(options, code, 1, (uint64_t)1 << 40, false, &bytes);
		o->body_limit = ok ? (size_t)bytes : 0;
		break;
	case BACKOFF:
		ok = option_seconds(options, code, true, &o->backoff);
		break;
	case TIMEOUT:
		ok = option_seconds(options, code, false, &o->timeout);
		break;
	case INTERVAL:
		ok = option_seconds(options, code, false, &o->interval);
		break;
	case CANCEL_AFTER:
		ok = option_seconds(options, code, true, &o->cancel_after);
		break;
	case GRACE:
		ok = option_seconds(options, code, false, &o->grace);
		break;
	case 'q':
		o->quiet = true;
		break;
	case 'h':
		fputs(help, stdout);
		return fflush(stdout) ? FAILED : 0;
	default: /* getopt has said why */
		ok = false;
	}
	return ok ? -1 : WRONG_USAGE;
}

/* --- ids --- */

/* Says what is wrong with an id of `size` bytes, or answers NULL. */
static const char *check_id(const char *id, size_t size)
{
	if (size == 0)
		return "an empty id";
	if (size > ID_MAX)
		return "an id of more than 512 bytes";
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)id[i] < 0x20 || id[i] == 0x7f)
			return "an id with a control character";
	return NULL;
}

static int add_id(struct publish_options *o, const char *id)
{
	size_t room = o->n_ids ? 2 * o->n_ids : 64;

	if (o->n_ids == 0 || (o->n_ids >= 64 && !(o->n_ids & (o->n_ids - 1)))) { /* full: sizes are powers of two */
		char **ids = realloc(o->ids, room * sizeof(*ids));
		if (!ids)
			return ENOMEM;
		o->ids = ids;
	}
	o->ids[o->n_ids] = strdup(id);
	return o->ids[o->n_ids++] ? 0 : ENOMEM;
}

static int no_memory(void)
{
	fputs("publish: out of memory\n", stderr);
	return FAILED;
}

static int read_line(struct publish_options *o, char *line, size_t size, size_t number)
{
	const char *wrong;

	if (size && line[size - 1] == '\n')
		line[--size] = 0;
	if (size && line[size - 1] == '\r')
		line[--size] = 0;
	wrong = check_id(line, size);
	if (wrong) {
		fprintf(stderr, "publish: standard input, line %zu: %s\n", number, wrong);
		return WRONG_USAGE;
	}
	return add_id(o, line) ? no_memory() : -1;
}

static int read_stdin(struct publish_options *o)
{
	char *line = NULL;
	size_t room = 0, number = 0;
	ssize_t size;
	int status = -1;

	errno = 0;
	while (status < 0 && (size = getline(&line, &room, stdin)) >= 0)
		status = read_line(o, line, (size_t)size, ++number);
	if (status < 0 && (ferror(stdin) || errno == ENOMEM)) {
		fprintf(stderr, "publish: standard input: %s\n", strerror(errno));
		status = FAILED;
	}
	free(line);
	return status;
}

static int read_id(struct publish_options *o, const char *id)
{
	const char *wrong = check_id(id, strlen(id));

	if (!strcmp(id, "-"))
		return read_stdin(o);
	if (wrong) {
		fprintf(stderr, "publish: %s\n", wrong);
		return WRONG_USAGE;
	}
	return add_id(o, id) ? no_memory() : -1;
}

int publish_options_read(struct publish_options *o, int argc, char **argv)
{
	int code, status = -1;

	*o = (struct publish_options){.workers = 4, .attempts = 3, .interval = 1, .backoff = 1, .grace = 5};
	o->timeout = o->cancel_after = INFINITY;
	while (status < 0 && (code = getopt_long(argc, argv, "", options, NULL)) != -1)
		status = read_option(o, code);
	while (status < 0 && optind < argc)
		status = read_id(o, argv[optind++]);
	if (status < 0 && o->n_ids == 0) {
		fputs("publish: no ids\n", stderr);
		status = WRONG_USAGE;
	}
	if (status == WRONG_USAGE)
		fputs("publish --help tells more\n", stderr);
	return status;
}

void publish_options_free(struct publish_options *o)
{
	for (size_t i = 0; i < o->n_ids; i++)
		free(o->ids[i]);
	free(o->ids);
}
