/* Shared measurement helpers for the peer benchmarks (C and C++). */
#ifndef PEER_BENCH_H
#define PEER_BENCH_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}
/* VmHWM (peak), VmRSS (now), in kB */
static inline long vm_kb(const char *key)
{
	FILE *f = fopen("/proc/self/status", "r");
	char l[256];
	long v = 0;
	size_t k = strlen(key);
	while (f && fgets(l, sizeof l, f))
		if (!strncmp(l, key, k) && l[k] == ':') {
			v = atol(l + k + 1);
			break;
		}
	if (f)
		fclose(f);
	return v;
}
static inline void reset_hwm(void)
{
	FILE *f = fopen("/proc/self/clear_refs", "w");
	if (f) {
		fputs("5", f);
		fclose(f);
	}
}
static inline uint64_t cpu_ns(void)
{
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000ull +
	       (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000ull;
}
static inline long vcsw(void)
{
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return r.ru_nvcsw;
}
static inline long ivcsw(void)
{
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return r.ru_nivcsw;
}
/* One JSON line; extra is a printf format of further members, each led by a comma, or "" */
static inline void emit(const char *peer, const char *w, long n, double ns, const char *extra, ...)
{
	va_list ap;
	va_start(ap, extra);
	printf("{\"peer\":\"%s\",\"workload\":\"%s\",\"n\":%ld,\"threads\":2,\"ns_per_op\":%.2f,\"peak_rss_kb\":%ld",
	       peer, w, n, ns, vm_kb("VmHWM"));
	vprintf(extra, ap);
	printf("}\n");
	fflush(stdout);
	va_end(ap);
}
static inline int cmp_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}
static inline void emit_lat(const char *peer, const char *w, uint32_t *s, long n)
{
	qsort(s, n, sizeof *s, cmp_u32);
	double sum = 0;
	for (long i = 0; i < n; i++)
		sum += s[i];
	emit(peer, w, n, s[n / 2], ",\"p99_ns\":%u,\"p10_ns\":%u,\"mean_ns\":%.1f", s[n * 99 / 100], s[n / 10],
	     sum / n);
}
/* the resting pool: 5 s, CPU time and voluntary context switches (the sleeping main thread's own is 1) */
static inline void idle5(const char *peer)
{
	struct timespec d = {0, 200 * 1000 * 1000};
	nanosleep(&d, 0);
	uint64_t c0 = cpu_ns();
	long v0 = vcsw(), i0 = ivcsw();
	struct timespec t = {5, 0};
	nanosleep(&t, 0);
	uint64_t c1 = cpu_ns();
	long v1 = vcsw(), i1 = ivcsw();
	emit(peer, "W7", 1, (double)(c1 - c0), ",\"vol_ctx\":%ld,\"invol_ctx\":%ld", v1 - v0, i1 - i0);
}
static inline uint64_t rng(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}
static inline void shuffle(uint32_t *a, long n)
{
	uint64_t s = 88172645463325252ull;
	for (long i = 0; i < n; i++)
		a[i] = (uint32_t)i;
	for (long i = n - 1; i > 0; i--) {
		long j = rng(&s) % (i + 1);
		uint32_t t = a[i];
		a[i] = a[j];
		a[j] = t;
	}
}
#define OPS1   1000000L
#define OPS2   100000L
#define OPS5   100000L
#define OPS6   1000000L
#define OPS8   100000L
#define DEPTH3 19 /* 2^20-1 tasks */
#define OPS3   ((1L << 20) - 1)
#endif
