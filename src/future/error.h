/* Errors inside the library. */
#ifndef EXSI_FUTURE_ERROR_H
#define EXSI_FUTURE_ERROR_H

#include <executors/error.h>
#include <executors/result.h>

/* The immortal error of a library code: no memory, no count. */
exs_error *exsi_error(exs_code code);

/* New error EXS_EALL of n others, each of which gains a reference. */
exs_error *exsi_error_of(exs_error *const *errors, size_t n);

/* How often exs_last_error of this thread was set; wraps. */
unsigned exsi_failures(void);

/* Remembers why this thread's call failed (exs_last_error). Answers code, or NULL for constructors. */
int exsi_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *exsi_fail_null(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *exsi_fail_errno(int error, const char *what); /* domain errno */

#endif
