/* Planted: two threads write one word. */
#include "harness.h"

#include <pthread.h>

static int word;

static void *count(void *unused)
{
	(void)unused;
	for (int i = 0; i < 1000; i++)
		word++;
	return NULL;
}

TEST(planted, race)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, count, NULL));
	count(NULL);
	pthread_join(thread, NULL);
}
