/* Planted: a check that fails. */
#include "harness.h"

TEST(planted, check)
{
	CHECK_INT(1 + 1, 3);
}
