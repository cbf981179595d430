/* For tests of parts that no thread shares: an allocator whose n-th allocation fails, and descriptors that are counted. */
#ifndef FAULTY_H
#define FAULTY_H

#include "harness.h"

#include <dirent.h>
#include <executors/base.h>
#include <stdlib.h>

static long faulty_left; /* allocations until one fails; negative: it has */
static long faulty_blocks;

static inline void *faulty_alloc(size_t size)
{
	void *p = faulty_left-- == 0 ? NULL : malloc(size);

	faulty_blocks += p != NULL;
	return p;
}

static inline void faulty_free(void *p)
{
	faulty_blocks--;
	free(p);
}

static inline int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Runs scenario with each allocation failing in turn, until none does: true then. No block and no descriptor may be left by it. */
static inline void fail_each(void (*scenario)(bool may_fail))
{
	int before = descriptors();

	for (long n = 0;; n++) {
		faulty_left = n;
		faulty_blocks = 0;
		exs_set_allocator(&(exs_allocator){faulty_alloc, faulty_free});
		scenario(true);
		exs_set_allocator(NULL);
		CHECK_INT(faulty_blocks, 0);
		CHECK_INT(descriptors(), before);
		if (faulty_left >= 0)
			break;
		CHECK(n < 10000);
	}
	scenario(false);
}

#endif
