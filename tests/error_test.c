/* Errors, results, the last error of a thread. */
#include "base/backtrace.h"
#include "future/error.h"
#include "support.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TEST(error, carries_what_it_was_made_of)
{
	exs_error *e = exs_error_new(&test_domain, -7, "%s %d of %s", "HTTP", 503, "POST http://x");

	CHECK(exs_error_domain(e) == &test_domain);
	CHECK_INT(exs_error_code(e), -7);
	CHECK_STR(exs_error_message(e), "HTTP 503 of POST http://x");
	CHECK(exs_error_retry_after(e) < 0);
	CHECK(exs_error_is(e, &test_domain, -7));
	CHECK(!exs_error_is(e, &test_domain, 7));
	CHECK(!exs_error_is(e, &exs_domain_exs, -7));
	CHECK(!exs_error_is(NULL, &test_domain, -7));
	exs_error_unref(e);
}

TEST(error, of_no_domain)
{
	exs_error *e = exs_error_new(NULL, 7, "lost %d", 1);

	CHECK(exs_error_is(e, &exs_domain_exs, EXS_EINVAL));
	CHECK_STR(exs_error_message(e), "lost 1");
	exs_error_unref(e);
	exs_set_last_error(NULL, 7, "lost too");
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
}

TEST(error, without_a_message)
{
	const char *volatile none = NULL;
	exs_error *e = exs_error_new(&test_domain, 7, none, 0);
	exs_error *later = exs_error_new_retry_after(&test_domain, 7, 1, none, 0);

	CHECK(exs_error_is(e, &test_domain, 7) && exs_error_is(later, &test_domain, 7));
	CHECK_STR(exs_error_message(e), "");
	CHECK_STR(exs_error_message(later), "");
	exs_error_unref(e);
	exs_error_unref(later);
	exs_set_last_error(&test_domain, 7, none, 0);
	CHECK_STR(exs_error_message(exs_last_error()), "");
}

TEST(error, long_messages_are_whole)
{
	char text[5000];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	exs_error *e = exs_error_new(&exs_domain_errno, ENOENT, "%s", text);
	CHECK_STR(exs_error_message(e), text);
	exs_error_unref(e);
}

TEST(error, retry_hints)
{
	struct {
		double given, kept; /* kept -1: no hint */
	} cases[] = {{0, 0}, {2.5, 2.5}, {EXS_FOREVER, EXS_FOREVER}, {-1, -1}, {NAN, -1}, {-EXS_FOREVER, -1}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		exs_error *e = exs_error_new_retry_after(&test_domain, 1, cases[i].given, "later");
		if (cases[i].kept < 0)
			CHECK(exs_error_retry_after(e) < 0);
		else
			CHECK(exs_error_retry_after(e) == cases[i].kept);
		CHECK_STR(exs_error_message(e), "later");
		exs_error_unref(e);
	}
}

static void *ref_and_unref(void *error)
{
	for (int i = 0; i < 10000; i++)
		exs_error_unref(exs_error_ref(error));
	exs_error_unref(error);
	return NULL;
}

TEST(error, references_from_many_threads)
{
	exs_error *e = exs_error_new(&test_domain, 1, "shared");
	pthread_t threads[4];

	for (int i = 0; i < 4; i++) {
		CHECK(exs_error_ref(e) == e);
		threads[i] = thread_start(ref_and_unref, e);
	}
	for (int i = 0; i < 4; i++)
		thread_join(threads[i]);
	CHECK_STR(exs_error_message(e), "shared");
	exs_error_unref(e);
	CHECK(!exs_error_ref(NULL));
	exs_error_unref(NULL);
}

TEST(error, codes_have_texts)
{
	for (int code = EXS_OK; code <= EXS_EALL; code++) {
		CHECK(strlen(exs_strerror(code)) > 4);
		CHECK_STR(exs_domain_exs.describe(code), exs_strerror(code));
		for (int other = EXS_OK; other < code; other++)
			CHECK(strcmp(exs_strerror(code), exs_strerror(other)));
	}
	CHECK_STR(exs_strerror(-1), exs_strerror(1 << 20));
	CHECK(!exs_domain_exs.describe(-1) && !exs_domain_exs.describe(EXS_EALL + 1));
	CHECK_STR(exs_domain_exs.name, "exs");
	CHECK_STR(exs_domain_errno.name, "errno");
	CHECK_INT(exs_domain_exs.size, sizeof(exs_domain));
}

/* The library's own errors cost no memory; their references may be counted as those of any other. */
TEST(error, of_the_library_are_immortal)
{
	exs_future *f[2];

	for (int i = 0; i < 2; i++)
		exs_promise_free(exs_promise_new(&f[i]));
	exs_error *e = exs_future_error(f[0]);
	CHECK(e && e == exs_future_error(f[1]));
	CHECK(exs_error_is(e, &exs_domain_exs, EXS_EBROKEN));
	CHECK_STR(exs_error_message(e), exs_strerror(EXS_EBROKEN));
	for (int i = 0; i < 2; i++)
		exs_future_unref(f[i]);
	for (int i = 0; i < 3; i++)
		exs_error_unref(e);
	CHECK_INT(exs_error_code(e), EXS_EBROKEN);
	CHECK(exs_error_retry_after(e) < 0);
}

static void *fail_here(void *main_error)
{
	CHECK(!exs_last_error());
	CHECK(!exs_with_timeout(exs_inline(), -1));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK(exs_last_error() != main_error);
	return NULL;
}

TEST(error, last_error_is_the_threads_own)
{
	CHECK_INT(exs_future_wait(NULL, 0), EXS_EINVAL);
	const exs_error *last = exs_last_error();
	CHECK(exs_error_is(last, &exs_domain_exs, EXS_EINVAL));
	CHECK(strstr(exs_error_message(last), "exs_future_wait"));
	thread_join(thread_start(fail_here, (void *)(uintptr_t)last));
	CHECK(strstr(exs_error_message(exs_last_error()), "exs_future_wait")); /* success does not clear it */
	CHECK_INT(exs_quiesce(-1), EXS_EINVAL);
	CHECK(strstr(exs_error_message(exs_last_error()), "exs_quiesce"));
}

TEST(error, last_error_of_ones_own)
{
	static const exs_domain mine = {.size = sizeof(exs_domain), .name = "mine"};

	exs_set_last_error(&mine, 4, "with_mine: %d is %s", 3, "too many");
	CHECK(exs_error_is(exs_last_error(), &mine, 4));
	CHECK(!strcmp(exs_error_message(exs_last_error()), "with_mine: 3 is too many"));
}

static void count(void *n)
{
	++*(int *)n;
}

TEST(result, clear_destroys_once)
{
	int n = 0;
	exs_result r = exs_ok(&n, count);

	exs_result_clear(&r);
	CHECK_INT(n, 1);
	CHECK(r.kind == EXS_KIND_VALUE && !r.value && !r.destroy);
	exs_result_clear(&r);
	CHECK_INT(n, 1);
	r = exs_ok(&n, NULL);
	exs_result_clear(&r);
	CHECK(!r.value);
	r = exs_fail(exs_error_new(&test_domain, 1, "freed, or it leaks"));
	exs_result_clear(&r);
	CHECK(r.kind == EXS_KIND_VALUE && !r.value);
	r = exs_cancelled();
	exs_result_clear(&r);
	CHECK(r.kind == EXS_KIND_VALUE);
}

TEST(error, none_at_all)
{
	exs_result_clear(NULL);
	CHECK(exs_error_domain(NULL) == &exs_domain_exs);
	CHECK_INT(exs_error_code(NULL), EXS_OK);
	CHECK_STR(exs_error_message(NULL), exs_strerror(EXS_OK));
	CHECK(exs_error_retry_after(NULL) < 0);
	CHECK(!exs_error_is(NULL, &exs_domain_exs, EXS_OK));
	CHECK(!exs_error_ref(NULL));
	exs_error_unref(NULL);
}

/* A message that can't be formatted costs it, as a lack of memory does. */
TEST(error, message_that_is_no_text)
{
	static const wchar_t no_text[] = {0x10ffff, 0};
	exs_error *error = exs_error_new(&exs_domain_errno, 5, "%ls", no_text);

	CHECK(exs_error_is(error, &exs_domain_exs, EXS_ENOMEM));
	exs_error_unref(error);
}

/* --- backtraces --- */

enum { CODE = 4096 }; /* bytes of code of one of these functions, at most */

__attribute__((noinline)) static exs_error *made_here(bool later)
{
	exs_error *e = later ? exs_error_new_retry_after(&test_domain, 1, 2, "%d", 3)
			     : exs_error_new(&test_domain, 1, "%d", 3);

	CHECK(e); /* no tail call */
	return e;
}

__attribute__((noinline)) static exs_error *made_of_here(exs_error *part)
{
	exs_error *e = exsi_error_of(&part, 1);

	CHECK(e);
	return e;
}

static bool can_trace(void)
{
	void *frame;

	return exsi_backtrace(&frame, 1) > 0;
}

/* The address in the first line is one of the function's. */
static void check_made_in(const exs_error *e, uintptr_t function)
{
	const char *text = exs_error_backtrace(e), *at;

	CHECK(!text == !can_trace());
	if (!text)
		return;
	CHECK((at = strstr(text, "[0x")) && at < strchr(text, '\n'));
	uintptr_t address = (uintptr_t)strtoull(at + 1, NULL, 16);
	CHECK(address > function && address < function + CODE);
	CHECK(exs_error_backtrace(e) == text);
}

static exs_error *traced(bool later)
{
	exsi_errors_trace(true);
	exs_error *e = made_here(later);
	exsi_errors_trace(false);
	return e;
}

TEST(error, says_where_it_was_made)
{
	exs_error *e = traced(false), *later = traced(true);

	check_made_in(e, (uintptr_t)made_here);
	check_made_in(later, (uintptr_t)made_here);
	CHECK_STR(exs_error_message(e), "3");
	CHECK(exs_error_retry_after(later) == 2);
	exsi_errors_trace(true);
	exs_error *all = made_of_here(e);
	exsi_errors_trace(false);
	check_made_in(all, (uintptr_t)made_of_here);
	exs_error_unref(all);
	exs_error_unref(e);
	exs_error_unref(later);
}

TEST(error, does_not_say_where_unless_asked)
{
	exs_error *e = made_here(false);

	CHECK(!exs_error_backtrace(e));
	CHECK(!exs_error_backtrace(NULL) && !exs_error_backtrace(exsi_error(EXS_ENOMEM)));
	exs_error_unref(e);
}

__attribute__((noinline)) static exs_error *made_below(int depth)
{
	exs_error *e = depth ? made_below(depth - 1) : traced(false);

	CHECK(e);
	return e;
}

TEST(error, so_many_frames_are_noted)
{
	exs_error *e = made_below(100);
	const char *text = exs_error_backtrace(e);
	int lines = 0;

	for (const char *line = text; line && (line = strstr(line, "[0x")); line++)
		lines++;
	CHECK_INT(lines, can_trace() ? 32 : 0);
	exs_error_unref(e);
}

static void *ask_where(void *error)
{
	return (void *)(uintptr_t)exs_error_backtrace(error);
}

TEST(error, many_ask_at_once_where_it_was_made)
{
	for (int round = 0; round < 20; round++) {
		exs_error *e = traced(false);
		pthread_t threads[4];
		void *text;

		for (int i = 0; i < 4; i++)
			threads[i] = thread_start(ask_where, e);
		for (int i = 0; i < 4; i++) {
			CHECK(!pthread_join(threads[i], &text));
			CHECK(text == exs_error_backtrace(e));
		}
		exs_error_unref(e);
	}
}

static size_t allocations, failing;

static void *fail_nth(size_t size)
{
	return ++allocations == failing ? NULL : malloc(size);
}

TEST(error, where_is_not_known_when_memory_is_short)
{
	if (!can_trace())
		return;
	exs_set_allocator(&(exs_allocator){fail_nth, free});
	for (failing = 1; failing <= 4; failing++) {
		allocations = 0;
		exs_error *e = traced(false);
		CHECK(exs_error_is(e, &exs_domain_exs, EXS_ENOMEM) == (failing == 1));
		CHECK(!exs_error_backtrace(e) == (failing < 4)); /* the error, the frames, the text */
		CHECK(failing != 3 || exs_error_backtrace(e));	 /* asked again */
		exs_error_unref(e);
	}
	exs_set_allocator(NULL);
}
