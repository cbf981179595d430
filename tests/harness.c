/* The harness: checks, the watchdog, a table of the futures that are alive, threads, seeds. */
#define _GNU_SOURCE
#include "harness.h"

#include <dirent.h>
#include <executors/future.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* As in src/future/future.h. Weak, so that the tests also link against an installed library, which does not show it. */
extern void (*exsi_observer)(exs_future *future, int done) __attribute__((weak));

/* LeakSanitizer's; present under ASan only. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* A sanitizer's: calls fn before it ends the process. */
void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

/* gcov's; present where branches are counted. */
void __gcov_dump(void) __attribute__((weak));

struct harness_test *harness_tests;
void (*harness_on_fail)(void), (*harness_tell_more)(void);

static const char *_Atomic current = "(no test)";
static _Atomic uint64_t seed;
static atomic_bool seed_used;

void harness_add(struct harness_test *test)
{
	struct harness_test **end = &harness_tests;

	while (*end)
		end = &(*end)->next;
	*end = test;
}

/* --- failing --- */

static atomic_flag failing = ATOMIC_FLAG_INIT;

static void say_how_to_replay(void)
{
	if (atomic_load(&seed_used))
		fprintf(stderr, "replay with EXS_TEST_SEED=%llu\n", (unsigned long long)atomic_load(&seed));
	if (harness_tell_more)
		harness_tell_more();
	if (harness_on_fail)
		harness_on_fail();
}

/* Ends the process; of several threads that fail together one does. */
static _Noreturn void end_failed(void)
{
	while (atomic_flag_test_and_set(&failing))
		pause();
	say_how_to_replay();
	fflush(NULL);
	abort();
}

_Noreturn void harness_end_child(int status)
{
	if (__gcov_dump)
		__gcov_dump();
	_exit(status);
}

_Noreturn void harness_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s: failed: %s\n", file, line, atomic_load(&current), what);
	end_failed();
}

void harness_check_int(const char *file, int line, const char *a_text, const char *b_text, long long a, long long b)
{
	if (a == b)
		return;
	fprintf(stderr, "%s:%d: %s: failed: %s is %lld, %s is %lld\n", file, line, atomic_load(&current), a_text, a,
		b_text, b);
	end_failed();
}

void harness_check_str(const char *file, int line, const char *a_text, const char *b_text, const char *a, const char *b)
{
	if (a == b || (a && b && !strcmp(a, b)))
		return;
	fprintf(stderr, "%s:%d: %s: failed: %s is \"%s\", %s is \"%s\"\n", file, line, atomic_load(&current), a_text,
		a ? a : "(NULL)", b_text, b ? b : "(NULL)");
	end_failed();
}

/* A sanitizer has made its report, or the process crashes. */
static void on_death(void)
{
	if (!atomic_flag_test_and_set(&failing))
		say_how_to_replay();
}

static struct sigaction before_us; /* a sanitizer's, perhaps */

/* Once more, for whoever was to handle it. */
static void on_crash(int number)
{
	on_death();
	sigaction(number, &before_us, NULL);
}

static void watch_for_death(void)
{
	struct sigaction ours = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK};

	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(on_death);
	sigaction(SIGSEGV, &ours, &before_us);
}

/* --- the futures that are alive ---
   An open hash table of atomic words without a lock: a lock would serialise the library under test, and hide its races from
   TSan. An entry is the future's address, plus 1 once it is done, 0 when free. */

enum { TABLE_SIZE = 1 << 22, PROBES = 4096 };
static atomic_uintptr_t table[TABLE_SIZE];
static atomic_long undone, unrecorded;
static atomic_ulong alive; /* and PRINTING: the watchdog reads futures, none may be freed */
static const unsigned long PRINTING = ~(~0ul >> 1);

static size_t place(const exs_future *f, size_t probe)
{
	return (((uintptr_t)f >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 40 ^ probe) & (TABLE_SIZE - 1);
}

/* Replaces the entry `from` by `to`; false if there is none. Relaxed: entries order nothing between the library's threads. */
static bool replace(const exs_future *f, uintptr_t from, uintptr_t to)
{
	for (size_t i = 0; i < PROBES; i++) {
		uintptr_t seen = from;
		atomic_uintptr_t *entry = &table[place(f, i)];
		if (atomic_load_explicit(entry, memory_order_relaxed) == from &&
		    atomic_compare_exchange_strong_explicit(entry, &seen, to, memory_order_relaxed,
							    memory_order_relaxed))
			return true;
	}
	return false;
}

static void add_to(atomic_long *count, long n)
{
	atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

static void observe(exs_future *f, int done)
{
	uintptr_t entry = (uintptr_t)f;

	switch (done) {
	case 0:
		atomic_fetch_add_explicit(&alive, 1, memory_order_relaxed);
		add_to(&undone, 1);
		if (!replace(f, 0, entry))
			add_to(&unrecorded, 1);
		break;
	case 1:
		if (replace(f, entry, entry | 1))
			add_to(&undone, -1);
		break;
	default:
		if (!replace(f, entry | 1, 0) && replace(f, entry, 0))
			add_to(&undone, -1); /* a submit that failed */
		/* Pairs with print_futures: it sees the entry gone, or this sees PRINTING and keeps the block. */
		while (atomic_fetch_sub_explicit(&alive, 1, memory_order_release) & PRINTING)
			pause();
	}
}

bool harness_observing(void)
{
	return &exsi_observer && exsi_observer == observe;
}

long harness_futures(void)
{
	return (long)(atomic_load(&alive) & ~PRINTING);
}

long harness_undone(void)
{
	return atomic_load(&undone);
}

static void print_futures(void)
{
	char text[512];
	long shown = 0;

	if (!harness_observing()) {
		fprintf(stderr, "futures not done: unknown, without the observer\n");
		return;
	}
	atomic_fetch_or_explicit(&alive, PRINTING, memory_order_acquire);
	fprintf(stderr, "futures not done: %ld of %ld alive (%ld not recorded)\n", harness_undone(), harness_futures(),
		atomic_load(&unrecorded));
	for (size_t i = 0; i < TABLE_SIZE && shown < 100; i++) {
		uintptr_t entry = atomic_load(&table[i]);
		if (!entry || entry & 1)
			continue;
		exs_future_explain((exs_future *)entry, text, sizeof(text));
		fprintf(stderr, "  %p: %s\n", (void *)entry, text);
		shown++;
	}
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

void harness_wait_futures(long n)
{
	while (harness_observing() && harness_futures() != n)
		nap();
}

void harness_wait_undone(long n)
{
	while (harness_observing() && harness_undone() != n)
		nap();
}

/* --- the watchdog --- */

/* watch_lock guards the deadline: 0 while no test runs; and the wish to end. */
static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t watch_change;
static time_t watch_until;
static bool watch_ending, watching;
static pthread_t watchdog;
static int threads_at_rest; /* before the first test */

static double number_of(const char *variable, double otherwise)
{
	const char *text = getenv(variable);

	return text && *text ? strtod(text, NULL) : otherwise;
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static void *watch(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&watch_lock);
	watching = true;
	pthread_cond_signal(&watch_change);
	while (!watch_ending && (!watch_until || now() < watch_until)) {
		struct timespec at = {.tv_sec = watch_until};
		if (watch_until)
			pthread_cond_timedwait(&watch_change, &watch_lock, &at);
		else
			pthread_cond_wait(&watch_change, &watch_lock);
	}
	bool ending = watch_ending;
	pthread_mutex_unlock(&watch_lock);
	if (ending)
		return NULL;
	alarm(10); /* in case a lock of the library keeps even this thread */
	fprintf(stderr, "%s: failed: the watchdog's time is up\n", atomic_load(&current));
	fprintf(stderr, "threads: %d, before the first test %d\n", harness_threads(), threads_at_rest);
	print_futures();
	end_failed();
}

static void watch_start(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&watch_change, &attr);
	pthread_condattr_destroy(&attr);
	if (&exsi_observer && number_of("EXS_TEST_OBSERVE", 1) != 0)
		exsi_observer = observe;
	CHECK(!pthread_create(&watchdog, NULL, watch, NULL));
	pthread_mutex_lock(&watch_lock);
	while (!watching) /* a sanitizer allocates while a thread starts, which alloc_test.c would count */
		pthread_cond_wait(&watch_change, &watch_lock);
	pthread_mutex_unlock(&watch_lock);
	threads_at_rest = harness_threads();
}

static void watch_set(time_t until)
{
	pthread_mutex_lock(&watch_lock);
	watch_until = until;
	pthread_cond_signal(&watch_change);
	pthread_mutex_unlock(&watch_lock);
}

static void begin(void)
{
	watch_for_death();
	watch_start();
}

void harness_run(const char *name, void (*run)(void))
{
	static pthread_once_t started = PTHREAD_ONCE_INIT;

	atomic_store(&current, name);
	pthread_once(&started, begin);
	watch_set(now() + 1 + (time_t)number_of("EXS_TEST_TIMEOUT", 60));
	run();
	if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
		harness_fail(name, 0, "it leaks");
	harness_wait_threads(threads_at_rest);
	watch_set(0);
}

void harness_end(void)
{
	pthread_mutex_lock(&watch_lock);
	watch_ending = true;
	pthread_cond_signal(&watch_change);
	pthread_mutex_unlock(&watch_lock);
	pthread_join(watchdog, NULL);
}

/* --- threads, seeds, rounds --- */

void give_time(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

/* A thread that has been joined is listed for a moment more: the flags in its state (the ninth field) say that it is ending. */
static bool is_ending(const char *tid)
{
	enum { ENDING = 4 }; /* PF_EXITING */
	char path[300], text[512] = "";
	unsigned flags = ENDING;

	snprintf(path, sizeof(path), "/proc/self/task/%s/stat", tid);
	FILE *file = fopen(path, "r");
	if (!file)
		return true;
	if (fgets(text, sizeof(text), file) && strrchr(text, ')'))
		sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %*d %*d %u", &flags);
	fclose(file);
	return flags & ENDING;
}

int harness_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = 0;

	CHECK(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		n += entry->d_name[0] != '.' && !is_ending(entry->d_name);
	closedir(dir);
	return n;
}

void harness_wait_threads(int n)
{
	while (harness_threads() != n)
		nap();
}

static void seed_init(void)
{
	const char *text = getenv("EXS_TEST_SEED");
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	uint64_t own = ((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec) ^ (uint64_t)getpid() << 32;
	atomic_store(&seed, text && *text ? strtoull(text, NULL, 0) : own);
	atomic_store(&seed_used, true);
	fprintf(stderr, "%s: EXS_TEST_SEED=%llu\n", atomic_load(&current), (unsigned long long)atomic_load(&seed));
}

uint64_t harness_seed(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, seed_init);
	return atomic_load(&seed);
}

void harness_set_seed(uint64_t s)
{
	harness_seed();
	atomic_store(&seed, s);
}

uint64_t harness_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t harness_below(uint64_t *state, uint64_t n)
{
	return harness_random(state) % n;
}

void __tsan_init(void) __attribute__((weak)); /* present under TSan only */

int harness_many(int n)
{
	return __tsan_init ? n / 10 : n;
}

unsigned long harness_rounds(unsigned long n)
{
	double factor = number_of("EXS_TEST_SOAK", 1);

	return factor > 1 ? (unsigned long)((double)n * factor) : n;
}
