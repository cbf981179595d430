/* Planted: a block that nobody frees. */
#include "harness.h"

#include <stdlib.h>

TEST(planted, leak)
{
	void *volatile p = malloc(10);

	p = NULL;
	(void)p;
}
