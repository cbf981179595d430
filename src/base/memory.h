/* Memory and log hooks. */
#ifndef EXSI_BASE_MEMORY_H
#define EXSI_BASE_MEMORY_H

#include <executors/base.h>

/* NULL when memory is short. exsi_free(NULL) does nothing. */
void *exsi_alloc(size_t size);
void *exsi_zalloc(size_t size);
void *exsi_alloc_array(size_t n, size_t size); /* NULL also when n * size overflows */
void exsi_free(void *ptr);

/* Counts threads whose turner may refuse memory: 1 or -1. */
void exsi_count_faulty(int by);

/* Never under a lock. */
void exsi_log(exs_log_level level, const char *executor, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* An options struct as given by the caller (size bytes) into one of ours (known bytes), the rest 0. false: it has non-zero bytes
   that this library does not know. src NULL: all 0. */
bool exsi_options(void *dst, size_t known, const void *src, size_t size);

/* Ours (known bytes) into a struct of the caller's (size bytes): what is there that this library does not know becomes 0. */
void exsi_fill_in(void *dst, size_t size, const void *src, size_t known);

/* Seconds in an options struct: 0 is `otherwise`, EXS_NONE is 0, EXS_UNLIMITED is EXS_FOREVER. */
double exsi_option_seconds(double given, double otherwise);

#endif
