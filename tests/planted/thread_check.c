/* Planted: a check that fails on another thread than the test's. */
#include "harness.h"

#include <pthread.h>

static void *fail(void *arg)
{
	CHECK_STR(arg, "right");
	return NULL;
}

TEST(planted, thread_check)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, fail, "wrong"));
	pthread_join(thread, NULL);
}
