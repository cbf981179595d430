/* Planted: a thread that outlives its test. */
#include "support.h"

static void *stay(void *unused)
{
	for (;;)
		give_time();
	return unused;
}

TEST(planted, left_thread)
{
	pthread_detach(thread_start(stay, NULL));
}
