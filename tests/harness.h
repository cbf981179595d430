/* Tests written once, built on Criterion (EXSI_TEST_CRITERION) or as a plain program (plain_main.c).

	TEST(retry, gives_up_after_three)
	{
		CHECK_INT(attempts, 3);
	}

   Every test stands under a watchdog (EXS_TEST_TIMEOUT seconds, 60 by default) which prints the futures that are not done
   and ends the process. Under ASan each test is followed by a search for leaks. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Usable on any thread, also after the test's function has returned. A failure prints the place, what was compared and the
   seed, and aborts the process; the runner counts the test as failed. */
#define CHECK(condition) ((condition) ? (void)0 : harness_fail(__FILE__, __LINE__, #condition))
#define CHECK_INT(a, b)	 harness_check_int(__FILE__, __LINE__, #a, #b, (long long)(a), (long long)(b))
#define CHECK_STR(a, b)	 harness_check_str(__FILE__, __LINE__, #a, #b, (a), (b)) /* NULL equals NULL */

_Noreturn void harness_fail(const char *file, int line, const char *what);
void harness_check_int(const char *file, int line, const char *a_text, const char *b_text, long long a, long long b);
void harness_check_str(const char *file, int line, const char *a_text, const char *b_text, const char *a,
		       const char *b);

/* Some milliseconds in which whoever should wait, and does not, gets ahead and is seen. No test passes because of them. */
void give_time(void);

/* Threads of this process, the watchdog's own included. */
int harness_threads(void);

/* Wait until this process has n threads; until n futures made by the library are alive, or not done. The watchdog bounds
   them. Without the observer (EXS_TEST_OBSERVE=0, or an installed library) those about futures return at once. */
void harness_wait_threads(int n);
void harness_wait_futures(long n);
void harness_wait_undone(long n);

/* Futures made by the library and not yet freed; of these, not done. 0 without the observer. */
bool harness_observing(void);
long harness_futures(void);
long harness_undone(void);

/* The end of a forked child: without what follows a process, but with what it counted (tests/check_coverage.sh). */
_Noreturn void harness_end_child(int status);

/* The seed of this process: EXS_TEST_SEED, or one of its own. The first call prints it. */
uint64_t harness_seed(void);

/* What a failure from now on says to replay with: a test that goes through many seeds. */
void harness_set_seed(uint64_t seed);

/* The next number of a sequence (SplitMix64), any state is fine to begin with; and one below n (n > 0). */
uint64_t harness_random(uint64_t *state);
uint64_t harness_below(uint64_t *state, uint64_t n);

/* How many rounds to make where an ordinary run makes n: n times EXS_TEST_SOAK, which tests/run.sh --soak sets. */
unsigned long harness_rounds(unsigned long n);

/* n of something; under TSan, where that would take minutes, a tenth. */
int harness_many(int n);

/* --- what TEST and plain_main.c need --- */

struct harness_test {
	const char *name; /* "suite/name" */
	void (*run)(void);
	struct harness_test *next;
};
extern struct harness_test *harness_tests; /* in the order of their definition; the plain form's */
void harness_add(struct harness_test *test);

/* Runs one test under the watchdog; ends the watchdog, after at least one test. harness_tell_more and harness_on_fail,
   if set, are called once before a failure, a sanitizer or a crash ends the process. */
void harness_run(const char *name, void (*run)(void));
void harness_end(void);
extern void (*harness_on_fail)(void), (*harness_tell_more)(void);

#ifdef EXSI_TEST_CRITERION
#include <criterion/criterion.h>
#define TEST(suite, name)                                                                                              \
	static void suite##_##name##_test(void);                                                                       \
	Test(suite, name)                                                                                              \
	{                                                                                                              \
		harness_run(#suite "/" #name, suite##_##name##_test);                                                  \
	}                                                                                                              \
	static void suite##_##name##_test(void)
#else
#define TEST(suite, name)                                                                                              \
	static void suite##_##name##_test(void);                                                                       \
	__attribute__((constructor)) static void suite##_##name##_add(void)                                            \
	{                                                                                                              \
		static struct harness_test test = {#suite "/" #name, suite##_##name##_test, NULL};                     \
		harness_add(&test);                                                                                    \
	}                                                                                                              \
	static void suite##_##name##_test(void)
#endif

#endif
