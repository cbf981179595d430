/* Sample logs. */
#ifndef LOG_COUNT_SAMPLE_H
#define LOG_COUNT_SAMPLE_H

#include <stdint.h>

/* Writes about `size` bytes of an access log, the same for the same seed. Answers 0 or errno. */
int log_write_sample(int fd, uint64_t size, uint64_t seed);

#endif
