/* Memory and log hooks. */
#include "base/memory.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static exs_allocator allocator = {malloc, free};

void exs_set_allocator(const exs_allocator *a)
{
	allocator = a ? *a : (exs_allocator){malloc, free};
}

static atomic_int faulty; /* threads; 0 in ordinary life */

void exsi_count_faulty(int by)
{
	atomic_fetch_add(&faulty, by);
}

static bool refused(void)
{
	struct exsi_turner *turner = exsi_self()->turner;

	return turner && turner->no_memory(turner);
}

void *exsi_alloc(size_t size)
{
	/* Relaxed: the thread that is concerned counted itself. */
	if (atomic_load_explicit(&faulty, memory_order_relaxed) && refused())
		return NULL;
	return allocator.alloc(size);
}

void *exsi_zalloc(size_t size)
{
	void *p = exsi_alloc(size);

	return p ? memset(p, 0, size) : NULL;
}

void *exsi_alloc_array(size_t n, size_t size)
{
	return n > SIZE_MAX / 2 / size ? NULL : exsi_alloc(n * size);
}

void exsi_free(void *ptr)
{
	if (ptr)
		allocator.free(ptr);
}

bool exsi_options(void *dst, size_t known, const void *src, size_t size)
{
	const char *tail = src;

	memset(dst, 0, known);
	if (!src)
		return true;
	memcpy(dst, src, size < known ? size : known);
	for (size_t i = known; i < size; i++)
		if (tail[i])
			return false;
	return true;
}

void exsi_fill_in(void *dst, size_t size, const void *src, size_t known)
{
	memset(dst, 0, size);
	memcpy(dst, src, size < known ? size : known);
}

double exsi_option_seconds(double given, double otherwise)
{
	if (given == EXS_NONE)
		return 0;
	if (given == EXS_UNLIMITED)
		return EXS_FOREVER;
	return given == 0 ? otherwise : given;
}

bool exs_write_file(void *file, const char *text, size_t length)
{
	return fwrite(text, 1, length, file) == length;
}

/* log_lock guards the three words of the hook. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static exs_log_fn *log_fn;
static void *log_ctx;
static exs_log_level log_level;

void exs_set_log(exs_log_fn *fn, void *ctx, exs_log_level level)
{
	pthread_mutex_lock(&log_lock);
	log_fn = fn;
	log_ctx = ctx;
	log_level = level;
	pthread_mutex_unlock(&log_lock);
}

void exsi_log(exs_log_level level, const char *executor, const char *format, ...)
{
	char line[512];
	va_list ap;

	pthread_mutex_lock(&log_lock);
	exs_log_fn *fn = level <= log_level ? log_fn : NULL;
	void *ctx = log_ctx;
	pthread_mutex_unlock(&log_lock);
	if (!fn)
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	fn(ctx, level, executor ? executor : "", line);
}
