/* Numbers from a command line. */
#define _GNU_SOURCE
#include "option_values.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *name_of(const struct option *options, int code)
{
	while (options->val != code)
		options++;
	return options->name;
}

bool option_seconds(const struct option *options, int code, bool zero, double *seconds)
{
	char *end;

	*seconds = strtod(optarg, &end);
	if (end != optarg && !*end && *seconds < 1e9 && (*seconds > 0 || (zero && *seconds == 0)))
		return true;
	fprintf(stderr, "%s: --%s %s: not a number of seconds%s below 1e9\n", program_invocation_short_name,
		name_of(options, code), optarg, zero ? "" : " above 0 and");
	return false;
}

bool option_number(const struct option *options, int code, double least, double most, double *n)
{
	char *end;

	*n = strtod(optarg, &end);
	if (end != optarg && !*end && *n >= least && *n <= most)
		return true;
	fprintf(stderr, "%s: --%s %s: not a number from %g to %g\n", program_invocation_short_name,
		name_of(options, code), optarg, least, most);
	return false;
}

bool option_size(const struct option *options, int code, uint64_t least, uint64_t most, bool suffix, uint64_t *n)
{
	static const char suffixes[] = "KMG";
	char *end;

	errno = 0;
	*n = strtoull(optarg, &end, 10);
	const char *unit = suffix && *end ? strchr(suffixes, *end) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - suffixes + 1) : 0;
	bool fits = *n <= most >> shift;
	*n <<= shift;
	if (*optarg >= '0' && *optarg <= '9' && !end[unit != NULL] && !errno && fits && *n >= least)
		return true;
	fprintf(stderr, "%s: --%s %s: not a number from %llu to %llu%s\n", program_invocation_short_name,
		name_of(options, code), optarg, (unsigned long long)least, (unsigned long long)most,
		suffix ? ", K, M and G allowed" : "");
	return false;
}

bool option_unsigned(const struct option *options, int code, unsigned least, unsigned most, unsigned *n)
{
	uint64_t wide = 0;
	bool ok = option_size(options, code, least, most, false, &wide);

	*n = (unsigned)wide;
	return ok;
}
