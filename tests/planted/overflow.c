/* Planted: a signed overflow. */
#include "harness.h"

#include <limits.h>

TEST(planted, overflow)
{
	volatile int n = INT_MAX;

	n++;
}
