/* job_service_main.c - the job service as a program: prints its URL, serves until SIGINT or SIGTERM. */
#define _POSIX_C_SOURCE 200809L

#include "job_service.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { WRONG_USAGE = 2, BAD_OBJECTS_MAX = 64 };

/* --- Faults by name --- */

enum type { INT, INT64, SECONDS, TEXT };

struct member {
	const char *name;
	enum type type;
	size_t offset;
};

static const struct member ROUTES[] = {
	{"publish-", INT, offsetof(struct job_service_faults, publish)},
	{"search-", INT, offsetof(struct job_service_faults, search)},
	{"get-", INT, offsetof(struct job_service_faults, get)},
	{"cancel-", INT, offsetof(struct job_service_faults, cancel)},
	{NULL, INT, 0},
};

static const struct member ROUTE_FAULTS[] = {
	{"drop", INT, offsetof(struct job_service_route_faults, drop)},
	{"hang", INT, offsetof(struct job_service_route_faults, hang)},
	{"fail", INT, offsetof(struct job_service_route_faults, fail)},
	{"redirect", INT, offsetof(struct job_service_route_faults, redirect)},
	{"drop-after", INT, offsetof(struct job_service_route_faults, drop_after)},
	{"hang-after", INT, offsetof(struct job_service_route_faults, hang_after)},
	{"truncate", INT, offsetof(struct job_service_route_faults, truncate)},
	{"wrong-type", INT, offsetof(struct job_service_route_faults, wrong_type)},
	{"huge", INT, offsetof(struct job_service_route_faults, huge)},
	{"huge-chunked", INT, offsetof(struct job_service_route_faults, huge_chunked)},
	{"status", INT, offsetof(struct job_service_route_faults, status)},
	{"retry-after", TEXT, offsetof(struct job_service_route_faults, retry_after)},
	{"huge-bytes", INT64, offsetof(struct job_service_route_faults, huge_bytes)},
	{"latency", SECONDS, offsetof(struct job_service_route_faults, latency)},
	{NULL, INT, 0},
};

static const struct member OTHER_FAULTS[] = {
	{"publish-no-id", INT, offsetof(struct job_service_faults, publish_no_id)},
	{"publish-string-id", INT, offsetof(struct job_service_faults, publish_string_id)},
	{"publish-float-id", INT, offsetof(struct job_service_faults, publish_float_id)},
	{"search-omit", INT, offsetof(struct job_service_faults, search_omit)},
	{"search-extra", INT, offsetof(struct job_service_faults, search_extra)},
	{"search-twice", INT, offsetof(struct job_service_faults, search_twice)},
	{"search-odd-state", INT, offsetof(struct job_service_faults, search_odd_state)},
	{NULL, INT, 0},
};

static bool parse_integer(const char *text, long long min, long long max, long long *value)
{
	char *end;

	errno = 0;
	*value = strtoll(text, &end, 10);
	return end != text && !*end && !errno && *value >= min && *value <= max;
}

/* Reads seconds up to the character `end`, and moves text behind it. */
static bool parse_seconds(const char **text, char end, double *seconds)
{
	char *rest;

	*seconds = strtod(*text, &rest);
	if (rest == *text || *rest != end || !(*seconds > -1e9 && *seconds < 1e9))
		return false;
	*text = rest + 1;
	return true;
}

static bool parse_member(void *base, const struct member *member, const char *text)
{
	size_t retry_after_size = sizeof(((struct job_service_route_faults *)base)->retry_after);
	void *field = (char *)base + member->offset;
	long long value;

	switch (member->type) {
	case INT:
		if (!parse_integer(text, INT_MIN, INT_MAX, &value))
			return false;
		*(int *)field = (int)value;
		return true;
	case INT64:
		if (!parse_integer(text, 0, INT64_MAX / 2, &value))
			return false;
		*(int64_t *)field = value;
		return true;
	case SECONDS:
		return parse_seconds(&text, '\0', field);
	case TEXT:
		return snprintf(field, retry_after_size, "%s", text) < (int)retry_after_size;
	}
	return false;
}

static const struct member *member_named(const struct member *members, const char *name, size_t length)
{
	for (; members->name; members++) {
		if (strlen(members->name) == length && memcmp(members->name, name, length) == 0)
			return members;
	}
	return NULL;
}

/* Reads NAME=VALUE. */
static bool parse_fault(struct job_service_faults *faults, const char *text)
{
	const char *equals = strchr(text, '=');
	size_t length = equals ? (size_t)(equals - text) : 0;
	const struct member *member = member_named(OTHER_FAULTS, text, length);

	if (!equals)
		return false;
	if (member)
		return parse_member(faults, member, equals + 1);
	for (const struct member *route = ROUTES; route->name; route++) {
		size_t prefix = strlen(route->name);

		if (length <= prefix || memcmp(route->name, text, prefix) != 0)
			continue;
		member = member_named(ROUTE_FAULTS, text + prefix, length - prefix);
		return member && parse_member((char *)faults + route->offset, member, equals + 1);
	}
	return false;
}

/* --- The program --- */

static void print_usage(FILE *file)
{
	fputs("usage: job_service [--port N] [--job-seconds S[:MAX]] [--seed N] [--first-id N] [--bad OBJECT]...\n"
	      "                   [--fault NAME=VALUE]... [--log FILE]\n"
	      "Serves jobs over HTTP on 127.0.0.1; prints its URL; writes its log at SIGINT or SIGTERM.\n"
	      "A fault's value is the number of requests it happens to; negative: all. NAME is one of\n ",
	      file);
	for (const struct member *member = OTHER_FAULTS; member->name; member++)
		fprintf(file, " %s", member->name);
	fputs("\nor publish-, search-, get- or cancel- and one of\n ", file);
	for (const struct member *member = ROUTE_FAULTS; member->name; member++)
		fprintf(file, " %s", member->name);
	fputs("\n(see job_service.h; status, retry-after, huge-bytes and latency are no numbers of requests).\n", file);
}

/* Reads S or S:MAX. */
static bool parse_job_seconds(struct job_service_options *options, const char *text)
{
	if (!strchr(text, ':'))
		return parse_seconds(&text, '\0', &options->job_seconds);
	return parse_seconds(&text, ':', &options->job_seconds) &&
	       parse_seconds(&text, '\0', &options->job_seconds_max) && options->job_seconds >= 0 &&
	       options->job_seconds <= options->job_seconds_max;
}

static bool add_bad_object(const char **bad_objects, const char *object)
{
	size_t size = 0;

	while (bad_objects[size])
		size++;
	if (size == BAD_OBJECTS_MAX)
		return false;
	bad_objects[size] = object;
	return true;
}

struct arguments {
	struct job_service_options service;
	const char *bad_objects[BAD_OBJECTS_MAX + 1];
	const char *log;
};

static bool parse_option(struct arguments *arguments, int option, const char *text)
{
	struct job_service_options *service = &arguments->service;
	long long value = 0;
	bool valid = true;

	switch (option) {
	case 'p':
		valid = parse_integer(text, 0, UINT16_MAX, &value);
		service->port = (uint16_t)value;
		return valid;
	case 'j':
		return parse_job_seconds(service, text);
	case 's':
		valid = parse_integer(text, 0, UINT_MAX, &value);
		service->seed = (unsigned)value;
		return valid;
	case 'i':
		valid = parse_integer(text, 1, INT64_MAX - UINT32_MAX, &value);
		service->first_id = value;
		return valid;
	case 'b':
		return add_bad_object(arguments->bad_objects, text);
	case 'f':
		return parse_fault(&service->faults, text);
	case 'l':
		arguments->log = text;
		return true;
	default:
		return false;
	}
}

/* Fills in the arguments, or says what is wrong, or prints the help asked for, and exits. */
static void parse_arguments(struct arguments *arguments, int argc, char **argv)
{
	static const struct option options[] = {
		{"port", required_argument, NULL, 'p'},
		{"job-seconds", required_argument, NULL, 'j'},
		{"seed", required_argument, NULL, 's'},
		{"first-id", required_argument, NULL, 'i'},
		{"bad", required_argument, NULL, 'b'},
		{"fault", required_argument, NULL, 'f'},
		{"log", required_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option, index = 0;

	while ((option = getopt_long(argc, argv, "", options, &index)) != -1) {
		if (option == '?') { /* getopt has said why */
			print_usage(stderr);
			exit(WRONG_USAGE);
		}
		if (option == 'h') {
			print_usage(stdout);
			exit(EXIT_SUCCESS);
		}
		if (!parse_option(arguments, option, optarg)) {
			fprintf(stderr, "job_service: wrong --%s: %s\n", options[index].name, optarg);
			exit(WRONG_USAGE);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "job_service: unexpected argument: %s\n", argv[optind]);
		exit(WRONG_USAGE);
	}
	arguments->service.bad_objects = arguments->bad_objects;
}

static int fail(const char *what)
{
	fprintf(stderr, "job_service: %s: %s\n", what, strerror(errno));
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {.log = NULL};
	struct job_service *service;
	FILE *log = NULL;
	bool logged = true;
	sigset_t signals;
	int signal;

	parse_arguments(&arguments, argc, argv);
	if (arguments.log) {
		log = fopen(arguments.log, "w");
		if (!log)
			return fail(arguments.log);
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL); /* in the threads of the service, too */
	service = job_service_start(&arguments.service);
	if (!service)
		return fail("cannot start");
	puts(job_service_url(service));
	fflush(stdout);
	sigwait(&signals, &signal);
	if (log)
		logged = job_service_log_write(service, log) && fclose(log) == 0;
	job_service_stop(service);
	return logged ? EXIT_SUCCESS : fail(arguments.log);
}
