/* A result, by value: a pointer with its destructor, an error, or "cancelled". */
#ifndef EXECUTORS_RESULT_H
#define EXECUTORS_RESULT_H

#include <executors/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum exs_kind { EXS_KIND_VALUE = 0, EXS_KIND_ERROR = 1, EXS_KIND_CANCELLED = 2 } exs_kind;

/* Make one with exs_ok, exs_fail or exs_cancelled. Who holds it owns what it points to. */
typedef struct exs_result {
	union {
		void *value;	  /* EXS_KIND_VALUE; an integer fits: (void *)(intptr_t)n */
		exs_error *error; /* EXS_KIND_ERROR: one reference */
	};
	exs_free_fn *destroy; /* EXS_KIND_VALUE: frees value, or NULL */
	exs_kind kind;
} exs_result;

static inline exs_result exs_ok(void *value, exs_free_fn *destroy)
{
	exs_result r;
	r.value = value;
	r.destroy = destroy;
	r.kind = EXS_KIND_VALUE;
	return r;
}

/* Takes over one reference of the error. */
static inline exs_result exs_fail(exs_error *error)
{
	exs_result r;
	r.error = error;
	r.destroy = NULL;
	r.kind = EXS_KIND_ERROR;
	return r;
}

static inline exs_result exs_cancelled(void)
{
	exs_result r;
	r.value = NULL;
	r.destroy = NULL;
	r.kind = EXS_KIND_CANCELLED;
	return r;
}

/* Destroys the value or drops the error, and leaves an empty value. May run user code (the destructor). */
EXS_API void exs_result_clear(exs_result *result);

/* Takes over `in`, a value or an error, and answers the outcome that takes its place (exs_ok, exs_fail or exs_cancelled). in itself
   may be answered: then the value, or the error's identity, is kept. Anything else is an error EXS_EINVAL. */
typedef exs_result exs_map_fn(void *ctx, exs_result in);

/* The same, but answers a future (its reference is taken over) whose outcome takes the place: of a submit, of a promise, of anything. NULL
   is an error: the one that the function has just caused (exs_last_error), or EXS_EINVAL. */
typedef exs_future *exs_flat_map_fn(void *ctx, exs_result in);

#ifdef __cplusplus
}
#endif
#endif
