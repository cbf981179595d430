/* The values of a command line's options, for getopt_long: read from optarg, checked, complained about on standard error. */
#ifndef OPTION_VALUES_H
#define OPTION_VALUES_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

/* Of the option of that code. 0 only where it means something. false: it is no such value, which has been said. */
bool option_seconds(const struct option *options, int code, bool zero, double *seconds);

bool option_number(const struct option *options, int code, double least, double most, double *n);

/* suffix: K, M and G may follow, powers of 1024. */
bool option_size(const struct option *options, int code, uint64_t least, uint64_t most, bool suffix, uint64_t *n);

bool option_unsigned(const struct option *options, int code, unsigned least, unsigned most, unsigned *n);

#endif
