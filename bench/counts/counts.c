/* Preloaded into a program: at its end adds how often it allocated and how often its threads were switched to the file that COUNTS
   in the environment names. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

/* What glibc's own malloc, calloc and realloc are called underneath. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static atomic_ulong allocations;

static void count(void)
{
	atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
	count();
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	count();
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	count();
	return __libc_realloc(p, size);
}

__attribute__((destructor)) static void write_counts(void)
{
	unsigned long n = atomic_load(&allocations);
	struct rusage use;
	const char *name = getenv("COUNTS");
	FILE *f = name ? fopen(name, "a") : NULL;

	if (!f)
		return;
	getrusage(RUSAGE_SELF, &use);
	fprintf(f, "\"mallocs\":%lu\n\"switches\":%ld\n", n, use.ru_nvcsw + use.ru_nivcsw);
	fclose(f);
}
