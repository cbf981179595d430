/* Planted: a read of freed memory. */
#include "harness.h"

#include <stdlib.h>

TEST(planted, use_after_free)
{
	char *volatile p = malloc(10);

	CHECK(p);
	p[0] = 1;
	free(p);
	CHECK_INT(p[0], p[0]);
}
