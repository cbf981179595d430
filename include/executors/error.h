/* Errors: an immutable, refcounted (domain, code) pair with a message made for a person. */
#ifndef EXECUTORS_ERROR_H
#define EXECUTORS_ERROR_H

#include <executors/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct exs_error exs_error;

/* Where a code belongs. A domain is a static object; its address is its identity. */
typedef struct exs_domain {
	size_t size;			   /* sizeof(exs_domain) */
	const char *name;		   /* "exs", "errno", ... */
	const char *(*describe)(int code); /* may be NULL; static text, NULL for an unknown code */
} exs_domain;

/* The codes of the library's own domain; functions that answer int answer one of these. */
typedef enum exs_code {
	EXS_OK = 0,
	EXS_EINVAL = 1,	     /* an argument is wrong */
	EXS_ENOMEM = 2,	     /* out of memory */
	EXS_ETIMEDOUT = 3,   /* time was up */
	EXS_ESHUTDOWN = 4,   /* the executor was shut down */
	EXS_EREJECTED = 5,   /* the queue is full and its policy is to reject */
	EXS_EDROPPED = 6,    /* dropped from a full queue */
	EXS_EDEADLK = 7,     /* the wait could never end */
	EXS_EBUSY = 8,	     /* somebody else still uses it */
	EXS_EALREADY = 9,    /* already done */
	EXS_EBROKEN = 10,    /* a promise was freed before it was completed */
	EXS_EFORK = 11,	     /* used in a forked child */
	EXS_ETHREAD = 12,    /* no thread could be made */
	EXS_ECANCELLED = 13, /* stopped by a cancel */
	EXS_EALL = 14	     /* all failed: exs_error_of */
} exs_code;

EXS_API extern const exs_domain exs_domain_exs;	  /* codes: exs_code */
EXS_API extern const exs_domain exs_domain_errno; /* codes: errno */

/* New error with one reference, the caller's; the message is formatted as by printf. Never NULL: when memory is short it
   answers the immortal out-of-memory error. domain NULL: EXS_EINVAL, with the message; format NULL: "". MT-safe, does not block. */
EXS_API exs_error *exs_error_new(const exs_domain *domain, int code, const char *format, ...)
#if defined(__GNUC__)
	__attribute__((format(printf, 3, 4)))
#endif
	;

/* As exs_error_new, with a hint to a retry above: not again before `seconds` (Retry-After). NaN or negative: no hint. */
EXS_API exs_error *exs_error_new_retry_after(const exs_domain *domain, int code, double seconds, const char *format,
					     ...)
#if defined(__GNUC__)
	__attribute__((format(printf, 4, 5)))
#endif
	;

/* Adds, drops a reference; NULL is allowed and ignored. MT-safe. */
EXS_API exs_error *exs_error_ref(exs_error *error);
EXS_API void exs_error_unref(exs_error *error);

/* What it says; NULL is "no error" (EXS_OK). */
EXS_API const exs_domain *exs_error_domain(const exs_error *error);
EXS_API int exs_error_code(const exs_error *error);
EXS_API const char *exs_error_message(const exs_error *error);			       /* lives as long as the error */
EXS_API double exs_error_retry_after(const exs_error *error);			       /* seconds; negative: no hint */
EXS_API bool exs_error_is(const exs_error *error, const exs_domain *domain, int code); /* false for NULL */

/* Where it was made, one line for each function, the innermost first, in the form of glibc's backtrace_symbols; lives as long as the error. NULL: not
   known. It is noted only in worker processes (process_pool.h), and travels with the error. */
EXS_API const char *exs_error_backtrace(const exs_error *error);

/* The errors that one with EXS_EALL is made of: how many, and number i from 0; borrowed, they live as long as it. 0 and NULL for others. */
EXS_API size_t exs_error_count(const exs_error *error);
EXS_API exs_error *exs_error_of(const exs_error *error, size_t i);

/* Why the last constructor or function of this thread failed: borrowed, valid until the next failure on this thread;
   NULL if none has failed. Success does not clear it. */
EXS_API const exs_error *exs_last_error(void);

/* For constructors of one's own: makes this exs_last_error of the calling thread. A message over 255 bytes is cut. */
EXS_API void exs_set_last_error(const exs_domain *domain, int code, const char *format, ...)
#if defined(__GNUC__)
	__attribute__((format(printf, 3, 4)))
#endif
	;

/* Static text for a code of the library's domain; never NULL. */
EXS_API const char *exs_strerror(int code);

#ifdef __cplusplus
}
#endif
#endif
