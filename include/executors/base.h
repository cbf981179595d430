/* Common ground: export mark, constants, library-wide hooks. */
#ifndef EXECUTORS_BASE_H
#define EXECUTORS_BASE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define EXS_API __attribute__((visibility("default")))
#else
#define EXS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define EXS_VERSION "0.1.0"

/* Time is double seconds on a monotonic clock. NaN and negative values are errors (EXS_EINVAL), never "no limit". */
#define EXS_FOREVER ((double)INFINITY)

/* In an options struct 0 means "the default". These say what 0 cannot; they fit counts and seconds alike. */
#define EXS_NONE      2147483646 /* none, at once */
#define EXS_UNLIMITED 2147483647 /* without limit */

typedef struct exs_executor exs_executor;
typedef struct exs_future exs_future;

/* Frees what a pointer stands for. Called once, with no lock of the library held. */
typedef void exs_free_fn(void *ptr);

typedef enum exs_log_level { EXS_LOG_ERROR, EXS_LOG_WARNING, EXS_LOG_INFO, EXS_LOG_DEBUG } exs_log_level;

/* One line, no newline. May run on any thread, never under a lock of the library; must not block for long. */
typedef void exs_log_fn(void *ctx, exs_log_level level, const char *executor, const char *message);

/* Sets (fn NULL: removes) the process's log hook; by default nothing is logged. Lines above `level` are left out.
   MT-safe against logging: a line under way may still reach the old hook after the return. */
EXS_API void exs_set_log(exs_log_fn *fn, void *ctx, exs_log_level level);

/* Takes a piece of text, not terminated. false: no more of it. */
typedef bool exs_write_fn(void *ctx, const char *text, size_t length);

/* An exs_write_fn that writes to ctx, a FILE *. */
EXS_API bool exs_write_file(void *file, const char *text, size_t length);

typedef struct exs_allocator {
	void *(*alloc)(size_t size); /* NULL: out of memory */
	void (*free)(void *ptr);     /* never called with NULL */
} exs_allocator;

/* Replaces malloc and free for all memory of the library; NULL restores them. Not MT-safe: call it while nothing of the
   library is alive. */
EXS_API void exs_set_allocator(const exs_allocator *allocator);

/* Waits until every executor freed from one of its own threads has been released, up to `seconds`. When no executor is
   left, the library has no thread left either. Answers 0, EXS_ETIMEDOUT, EXS_EINVAL, or EXS_EDEADLK (sim.h). Blocks; MT-safe. */
EXS_API int exs_quiesce(double seconds);

#ifdef __cplusplus
}
#endif
#endif
