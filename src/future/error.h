/* Errors inside the library. */
#ifndef EXSI_FUTURE_ERROR_H
#define EXSI_FUTURE_ERROR_H

#include <executors/error.h>
#include <executors/result.h>

/* The immortal error of a library code: no memory, no count. */
exs_error *exsi_error(exs_code code);

/* New error EXS_EALL of n others, each of which gains a reference. */
exs_error *exsi_error_of(exs_error *const *errors, size_t n);

/* New error of these, of which it keeps copies and references. */
struct exsi_error_parts {
	const exs_domain *domain;
	int code;
	double retry_after;
	const char *prefix;  /* of the message; NULL: none */
	const char *message; /* size bytes, not NULL, without a NUL; the backtrace likewise, but NULL: not known */
	size_t size;
	const char *backtrace;
	size_t backtrace_size;
	exs_error *const *errors; /* that it is made of: n */
	size_t n;
};
exs_error *exsi_error_with(const struct exsi_error_parts *parts);

/* From now on errors note where they are made (exs_error_backtrace). To be called before there are any of interest. */
void exsi_errors_trace(bool on);

/* How often exs_last_error of this thread was set; wraps. */
unsigned exsi_failures(void);

/* Remembers why this thread's call failed (exs_last_error). Answers code, or NULL for constructors. */
int exsi_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *exsi_fail_null(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *exsi_fail_errno(int error, const char *what); /* domain errno */

#endif
