/* Options, strings and signals: the small things that the other files need. */
#define _GNU_SOURCE
#include "http/http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool exsi_http_options(void *out, size_t known, const void *options, size_t size)
{
	memset(out, 0, known);
	if (!options)
		return true;
	memcpy(out, options, size < known ? size : known);
	for (size_t i = known; i < size; i++)
		if (((const char *)options)[i])
			return false;
	return true;
}

double exsi_http_seconds(double given, double otherwise)
{
	if (given == EXS_NONE)
		return 0;
	if (given == EXS_UNLIMITED)
		return EXS_FOREVER;
	return given == 0 ? otherwise : given;
}

size_t exsi_http_count(size_t given, size_t otherwise)
{
	if (given == EXS_NONE)
		return 0;
	if (given == EXS_UNLIMITED)
		return SIZE_MAX;
	return given == 0 ? otherwise : given;
}

bool exsi_http_is_duration(double seconds)
{
	return seconds >= 0; /* NaN is not */
}

char *exsi_http_format(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	char *text = n < 0 ? NULL : malloc((size_t)n + 1);
	if (!text)
		return NULL;
	va_start(args, format);
	vsnprintf(text, (size_t)n + 1, format, args);
	va_end(args);
	return text;
}

void exsi_http_give(exs_error **error, exs_error *given)
{
	if (error)
		*error = given;
	else
		exs_error_unref(given);
}

static bool sigpipe_pending(void)
{
	sigset_t pending;

	return !sigpending(&pending) && sigismember(&pending, SIGPIPE) == 1;
}

void exsi_http_sigpipe_hold(struct exsi_http_sigpipe *held)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	held->pending = sigpipe_pending();
	pthread_sigmask(SIG_BLOCK, &set, &held->old);
}

void exsi_http_sigpipe_release(struct exsi_http_sigpipe *held)
{
	const struct timespec at_once = {0};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	if (!held->pending && sigpipe_pending())
		sigtimedwait(&set, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, &held->old, NULL);
}
