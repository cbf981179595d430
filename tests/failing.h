/* For tests among threads: an allocator whose n-th allocation fails, and counts blocks. For tests of one thread: faulty.h. */
#ifndef FAILING_H
#define FAILING_H

#include <stdatomic.h>
#include <stdlib.h>

static atomic_ulong seen, fail_at; /* allocations so far; the one that fails, from 1; 0: none */
static atomic_long blocks;

static inline void *failing_alloc(size_t size)
{
	void *p = atomic_fetch_add(&seen, 1) + 1 == atomic_load(&fail_at) ? NULL : malloc(size);

	if (p)
		atomic_fetch_add(&blocks, 1);
	return p;
}

static inline void failing_free(void *p)
{
	atomic_fetch_sub(&blocks, 1);
	free(p);
}

#endif
