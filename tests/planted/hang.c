/* Planted: a wait that never ends. */
#include "harness.h"

#include <executors/future.h>

TEST(planted, hang)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	CHECK(p);
	exs_future_wait(f, EXS_FOREVER);
}
