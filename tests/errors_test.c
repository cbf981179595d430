/* Errors as they travel: what comes back, what is cut, each form that is rejected; domains. */
#include "process/errors.h"
#include "support.h"

#include <errno.h>
#include <executors/process_pool.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct exsi_writer written(const exs_error *e)
{
	struct exsi_writer w = {.size = 0};

	exsi_put_error(&w, e);
	CHECK(!w.failed && w.size <= EXSI_ERROR_SIZE);
	return w;
}

/* Of exactly so many bytes, that none beyond them is read unseen. all: is all of it read? */
static exs_error *read_from(const void *data, size_t size, bool *all)
{
	unsigned char *copy = malloc(size ? size : 1);

	CHECK(copy);
	memcpy(copy, data, size);
	struct exsi_reader r = {.data = copy, .size = size};
	exs_error *e = exsi_get_error(&r);
	CHECK(!e == r.failed);
	*all = exsi_reader_ends(&r);
	free(copy);
	return e;
}

static exs_error *sent(const exs_error *e)
{
	struct exsi_writer w = written(e);
	bool all;
	exs_error *back = read_from(w.data, w.size, &all);

	CHECK(back && all);
	exsi_writer_fini(&w);
	return back;
}

static void check_sent(exs_error *e, const exs_domain *domain, const char *message)
{
	exs_error *back = sent(e);

	CHECK(exs_error_is(back, domain, exs_error_code(e)));
	CHECK_STR(exs_error_message(back), message);
	CHECK(exs_error_retry_after(back) == exs_error_retry_after(e));
	CHECK_STR(exs_error_backtrace(back), exs_error_backtrace(e));
	CHECK_INT(exs_error_count(back), exs_error_count(e));
	exs_error_unref(back);
	exs_error_unref(e);
}

TEST(errors, come_back_as_they_went)
{
	check_sent(exs_error_new(&exs_domain_exs, EXS_EINVAL, "what is wrong"), &exs_domain_exs, "what is wrong");
	check_sent(exs_error_new(&exs_domain_exs, -70000, "%s", ""), &exs_domain_exs, "");
	check_sent(exs_error_new_retry_after(&exs_domain_errno, EAGAIN, 2.5, "later"), &exs_domain_errno, "later");
	check_sent(exs_error_new_retry_after(&exs_domain_errno, EAGAIN, 0, "now"), &exs_domain_errno, "now");
	check_sent(exs_error_new_retry_after(&exs_domain_errno, EAGAIN, INFINITY, "never"), &exs_domain_errno, "never");
	check_sent(exs_error_new(&exs_domain_signal, SIGKILL, "killed"), &exs_domain_signal, "killed");
	check_sent(exs_error_new(&exs_domain_exit, 3, "ended"), &exs_domain_exit, "ended");
	check_sent(exsi_error(EXS_EBROKEN), &exs_domain_exs, exs_strerror(EXS_EBROKEN));
	check_sent(NULL, &exs_domain_exs, exs_strerror(EXS_OK));
}

TEST(errors, of_an_unknown_domain)
{
	static const exs_domain unknown = {.size = sizeof(exs_domain), .name = "elsewhere"};
	static const exs_domain nameless = {.size = sizeof(exs_domain), .name = NULL};

	check_sent(exs_error_new(&unknown, -5, "%s", "lost"), &exs_domain_remote, "elsewhere -5: lost");
	check_sent(exs_error_new(&nameless, 5, "lost"), &exs_domain_remote, "? 5: lost");
	/* sent on, it does not change any more */
	check_sent(exs_error_new(&exs_domain_remote, 5, "elsewhere 5: lost"), &exs_domain_remote, "elsewhere 5: lost");
}

TEST(errors, with_a_backtrace)
{
	exs_error *e = exsi_error_with(&(struct exsi_error_parts){.domain = &exs_domain_errno,
								  .code = 7,
								  .retry_after = -1,
								  .message = "here",
								  .size = 4,
								  .backtrace = "one\ntwo\nthree",
								  .backtrace_size = 7});

	CHECK_STR(exs_error_backtrace(e), "one\ntwo");
	check_sent(e, &exs_domain_errno, "here");
	exsi_errors_trace(true);
	e = exs_error_new(&exs_domain_errno, 7, "here");
	exsi_errors_trace(false);
	check_sent(e, &exs_domain_errno, "here");
}

/* --- domains --- */

TEST(errors, domains_made_known)
{
	static const exs_domain mine = {.size = sizeof(exs_domain), .name = "errors_test"};
	static const exs_domain other = {.size = sizeof(exs_domain), .name = "errors_test"};
	static const exs_domain false_errno = {.size = sizeof(exs_domain), .name = "errno"};
	static const exs_domain nameless = {.size = sizeof(exs_domain), .name = NULL};
	static const exs_domain empty = {.size = sizeof(exs_domain), .name = ""};
	char long_name[257];

	CHECK_INT(exs_register_domain(&mine), EXS_OK);
	CHECK_INT(exs_register_domain(&mine), EXS_OK);
	check_sent(exs_error_new(&mine, 8, "known"), &mine, "known");
	check_sent(exs_error_new(&other, 8, "known by name"), &mine, "known by name");
	CHECK_INT(exs_register_domain(&other), EXS_EINVAL);
	CHECK(strstr(exs_error_message(exs_last_error()),
		     "exs_register_domain: there is another domain called errors_test"));
	CHECK_INT(exs_register_domain(&false_errno), EXS_EINVAL);
	CHECK_INT(exs_register_domain(&exs_domain_errno), EXS_OK);
	CHECK_INT(exs_register_domain(NULL), EXS_EINVAL);
	CHECK_INT(exs_register_domain(&nameless), EXS_EINVAL);
	CHECK_INT(exs_register_domain(&empty), EXS_EINVAL);
	memset(long_name, 'n', 256);
	long_name[256] = '\0';
	exs_domain domain = {.size = sizeof(exs_domain), .name = long_name};
	CHECK_INT(exs_register_domain(&domain), EXS_EINVAL);
	exs_error *long_named = exs_error_new(&domain, 1, "x"), *e = sent(long_named);
	exs_error_unref(long_named);
	CHECK_INT(strlen(exs_error_message(e)), 255 + strlen(" 1: x"));
	exs_error_unref(e);
}

static atomic_bool refused;

static void *refuse_once(size_t size)
{
	return atomic_exchange(&refused, false) ? NULL : malloc(size);
}

TEST(errors, domains_when_memory_is_short)
{
	static const exs_domain late = {.size = sizeof(exs_domain), .name = "errors_test.late"};

	exs_set_allocator(&(exs_allocator){refuse_once, free});
	atomic_store(&refused, true);
	CHECK_INT(exs_register_domain(&late), EXS_ENOMEM);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_ENOMEM));
	CHECK_INT(exs_register_domain(&late), EXS_OK);
	exs_set_allocator(NULL);
}

enum { DOMAINS = 50, THREADS = 4 };
static exs_domain many[DOMAINS];
static char many_names[DOMAINS][32];

static void *register_many(void *unused)
{
	(void)unused;
	for (int i = 0; i < DOMAINS; i++) {
		CHECK_INT(exs_register_domain(&many[i]), EXS_OK);
		check_sent(exs_error_new(&many[i], i, "x"), &many[i], "x");
	}
	return NULL;
}

TEST(errors, domains_from_many_threads)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < DOMAINS; i++) {
		snprintf(many_names[i], sizeof(many_names[i]), "errors_test.%d", i);
		many[i] = (exs_domain){.size = sizeof(exs_domain), .name = many_names[i]};
	}
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_start(register_many, NULL);
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
}

TEST(errors, of_dead_workers_have_texts)
{
	const char *text = exs_domain_signal.describe(SIGSEGV);

	CHECK(!text || strstr(text, "fault"));
	CHECK(!exs_domain_signal.describe(-1) && !exs_domain_signal.describe(100000));
	CHECK_STR(exs_domain_signal.name, "signal");
	CHECK_STR(exs_domain_exit.name, "exit");
	CHECK_STR(exs_domain_remote.name, "remote");
}

/* --- errors of errors --- */

static exs_error *all_of(exs_error **errors, size_t n)
{
	exs_error *e = exsi_error_of(errors, n);

	for (size_t i = 0; i < n; i++)
		exs_error_unref(errors[i]);
	return e;
}

/* A tree: `levels` below it, each of them of n. */
static exs_error *tree(unsigned levels, size_t n)
{
	exs_error *of[128];

	if (!levels)
		return exs_error_new(&exs_domain_errno, 9, "leaf");
	for (size_t i = 0; i < n; i++)
		of[i] = tree(levels - 1, n);
	return all_of(of, n);
}

static size_t count_all(const exs_error *e)
{
	size_t n = 1;

	for (size_t i = 0; i < exs_error_count(e); i++)
		n += count_all(exs_error_of(e, i));
	return n;
}

static unsigned depth_of(const exs_error *e)
{
	unsigned most = 0;

	for (size_t i = 0; i < exs_error_count(e); i++) {
		unsigned depth = 1 + depth_of(exs_error_of(e, i));
		most = depth > most ? depth : most;
	}
	return most;
}

TEST(errors, that_are_made_of_others)
{
	exs_error *inner[] = {exs_error_new(&exs_domain_errno, 2, "two"),
			      exs_error_new_retry_after(&test_domain, 3, 1, "three")};
	exs_error *outer[] = {exs_error_new(&exs_domain_exit, 1, "one"), all_of(inner, 2)};
	exs_error *e = all_of(outer, 2), *back = sent(e);

	CHECK(exs_error_is(back, &exs_domain_exs, EXS_EALL));
	CHECK_STR(exs_error_message(back), exs_error_message(e));
	CHECK_INT(exs_error_count(back), 2);
	CHECK(exs_error_is(exs_error_of(back, 0), &exs_domain_exit, 1));
	const exs_error *second = exs_error_of(back, 1);
	CHECK_INT(exs_error_count(second), 2);
	CHECK(exs_error_is(exs_error_of(second, 0), &exs_domain_errno, 2));
	CHECK(exs_error_is(exs_error_of(second, 1), &exs_domain_remote, 3));
	CHECK(exs_error_retry_after(exs_error_of(second, 1)) == 1);
	exs_error_unref(back);
	exs_error_unref(e);
}

static void check_tree(unsigned levels, size_t n, unsigned kept_levels, size_t kept, size_t kept_n)
{
	exs_error *e = tree(levels, n), *back = sent(e);

	CHECK_INT(depth_of(back), kept_levels);
	CHECK_INT(exs_error_count(back), kept_n);
	CHECK_INT(count_all(back), kept);
	CHECK_STR(exs_error_message(back), exs_error_message(e));
	exs_error_unref(back);
	exs_error_unref(e);
}

TEST(errors, too_many_are_left_out)
{
	check_tree(4, 1, 4, 5, 1);
	check_tree(5, 1, 4, 5, 1);
	check_tree(1, 63, 1, 64, 63);
	check_tree(1, 64, 1, 64, 63);
	check_tree(2, 100, 1, 64, 63);
	check_tree(2, 10, 2, 64, 10);
	check_tree(4, 3, 4, 64, 3);
}

/* --- long texts --- */

static exs_error *long_error(char of, size_t size)
{
	char *text = malloc(size + 1);

	CHECK(text);
	memset(text, of, size);
	text[size] = '\0';
	exs_error *e = exsi_error_with(&(struct exsi_error_parts){
		.domain = &exs_domain_errno, .message = text, .size = size, .backtrace = text, .backtrace_size = size});
	free(text);
	return e;
}

TEST(errors, long_texts_are_cut)
{
	enum { MOST = 64 << 10 };
	static const size_t sizes[] = {MOST - 1, MOST, MOST + 1, 5 * MOST};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		size_t kept = sizes[i] < MOST ? sizes[i] : MOST;
		exs_error *e = long_error('x', sizes[i]), *back = sent(e);
		CHECK_INT(strlen(exs_error_message(back)), kept);
		CHECK_INT(strlen(exs_error_backtrace(back)), kept);
		exs_error_unref(back);
		exs_error_unref(e);
	}
}

TEST(errors, many_long_texts_are_cut_further)
{
	exs_error *of[70];

	for (int i = 0; i < 70; i++)
		of[i] = long_error('x', 70000);
	exs_error *e = all_of(of, 70), *back = sent(e);
	CHECK_INT(exs_error_count(back), 63);
	CHECK_INT(strlen(exs_error_message(exs_error_of(back, 0))), 64 << 10);
	CHECK_STR(exs_error_message(exs_error_of(back, 62)), "");
	exs_error_unref(back);
	exs_error_unref(e);
}

TEST(errors, no_character_is_divided)
{
	static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

	for (size_t i = 0; i < 3; i++) {
		size_t size = strlen(characters[i]);
		for (size_t shift = 0; shift < size; shift++) {
			char *text = calloc(1, 66000 + 1);
			CHECK(text);
			memset(text, 'x', shift);
			for (size_t at = shift; at + size <= 66000; at += size)
				memcpy(text + at, characters[i], size);
			exs_error *e = exs_error_new(&exs_domain_errno, 1, "%s", text), *back = sent(e);
			size_t kept = strlen(exs_error_message(back));
			CHECK(kept <= 65536 && kept > 65536 - size && (kept - shift) % size == 0);
			exs_error_unref(back);
			exs_error_unref(e);
			free(text);
		}
	}
	exs_error *e = long_error('\x80', 70000), *back = sent(e); /* that is none at all */
	CHECK_INT(strlen(exs_error_message(back)), 65536 - 3);
	exs_error_unref(back);
	exs_error_unref(e);
}

/* --- what is no error --- */

/* An encoding, field by field. */
struct fields {
	const char *name, *message, *backtrace;
	size_t name_size, message_size, backtrace_size;
	uint32_t code;
	double retry_after;
	unsigned traced, n;
};

static const struct fields plain = {.name = "exs",
				    .name_size = 3,
				    .message = "hm",
				    .message_size = 2,
				    .backtrace = "main",
				    .backtrace_size = 4,
				    .code = EXS_EALL,
				    .retry_after = -1,
				    .traced = 1};

static void put_fields(struct exsi_writer *w, const struct fields *f)
{
	uint64_t bits;

	memcpy(&bits, &f->retry_after, sizeof(bits));
	exsi_put_bytes(w, f->name, f->name_size);
	exsi_put_u32(w, f->code);
	exsi_put_u64(w, bits);
	exsi_put_bytes(w, f->message, f->message_size);
	exsi_put_u8(w, f->traced);
	if (f->traced)
		exsi_put_bytes(w, f->backtrace, f->backtrace_size);
	exsi_put_u8(w, f->n);
}

/* The fields, then so many errors without any. */
static exs_error *read_fields(const struct fields *f, unsigned behind)
{
	struct exsi_writer w = {.size = 0};
	bool all;

	put_fields(&w, f);
	for (unsigned i = 0; i < behind; i++)
		put_fields(&w, &plain);
	CHECK(!w.failed);
	exs_error *e = read_from(w.data, w.size, &all);
	CHECK(!e || all);
	exsi_writer_fini(&w);
	return e;
}

static void check_rejected(struct fields f, unsigned behind)
{
	CHECK(!read_fields(&f, behind));
}

TEST(errors, each_rejected_form)
{
	static char text[70000];
	struct fields f = plain;

	memset(text, 't', sizeof(text));
	exs_error *e = read_fields(&f, 0);
	CHECK(e);
	exs_error_unref(e);

	f = plain, f.name = text, f.name_size = 256; /* a name that is too long */
	check_rejected(f, 0);
	f = plain, f.name = "e\0s"; /* with a NUL */
	check_rejected(f, 0);
	f = plain, f.message = text, f.message_size = 65537;
	check_rejected(f, 0);
	f = plain, f.message = "\0m";
	check_rejected(f, 0);
	f = plain, f.backtrace = text, f.backtrace_size = 65537;
	check_rejected(f, 0);
	f = plain, f.backtrace = "mai\0";
	check_rejected(f, 0);
	f = plain, f.traced = 2; /* neither yes nor no */
	check_rejected(f, 0);
	f = plain, f.n = 1; /* one that is not there */
	check_rejected(f, 0);
	f.code = EXS_EINVAL; /* none that is made of others */
	check_rejected(f, 1);
	f = plain, f.n = 1, f.name = "errno", f.name_size = 5;
	check_rejected(f, 1);
	f = plain, f.n = 1, f.name = "nowhere", f.name_size = 7;
	check_rejected(f, 1);
	f = plain, f.n = 64; /* too many */
	check_rejected(f, 64);
	f = plain, f.n = 255;
	check_rejected(f, 255);
}

TEST(errors, too_many_in_all_are_rejected)
{
	struct exsi_writer w = {.size = 0};
	struct fields f = plain;
	bool all;

	f.n = 8;
	put_fields(&w, &f);
	for (int i = 0; i < 8; i++) {
		f.n = 7 + (i == 7); /* 8 and 7 * 7 + 8 */
		put_fields(&w, &f);
		for (unsigned k = 0; k < f.n; k++)
			put_fields(&w, &plain);
	}
	CHECK(!read_from(w.data, w.size, &all));
	exsi_writer_fini(&w);
}

TEST(errors, too_deep_ones_are_rejected)
{
	for (unsigned levels = 1; levels <= 6; levels++) {
		struct exsi_writer w = {.size = 0};
		struct fields f = plain;
		bool all;

		f.n = 1;
		for (unsigned i = 0; i < levels; i++)
			put_fields(&w, &f);
		put_fields(&w, &plain);
		exs_error *e = read_from(w.data, w.size, &all);
		CHECK(!e == (levels > 4));
		CHECK(!e || depth_of(e) == levels);
		exs_error_unref(e);
		exsi_writer_fini(&w);
	}
}

TEST(errors, odd_ones_that_are_let_in)
{
	struct fields f = plain;

	f.retry_after = NAN;
	exs_error *e = read_fields(&f, 0);
	CHECK(exs_error_retry_after(e) == -1);
	exs_error_unref(e);
	f = plain, f.name_size = f.message_size = f.backtrace_size = 0;
	e = read_fields(&f, 0);
	CHECK(exs_error_is(e, &exs_domain_remote, EXS_EALL));
	CHECK_STR(exs_error_message(e), "? 14: ");
	CHECK_STR(exs_error_backtrace(e), "");
	exs_error_unref(e);
}

static exs_error *rich_error(void)
{
	static const exs_domain elsewhere = {.size = sizeof(exs_domain), .name = "elsewhere"};
	exs_error *inner[] = {exs_error_new(&elsewhere, 1, "a"), long_error('b', 5)};
	exs_error *outer[] = {exs_error_new_retry_after(&exs_domain_errno, 2, 3, "c"), all_of(inner, 2)};

	return all_of(outer, 2);
}

TEST(errors, each_truncation_is_rejected)
{
	exs_error *e = rich_error();
	struct exsi_writer w = written(e);
	bool all;

	for (size_t size = 0; size < w.size; size++)
		CHECK(!read_from(w.data, size, &all));
	exsi_writer_fini(&w);
	exs_error_unref(e);
}

/* Looks at all of what was read. */
static size_t look_at(const exs_error *e)
{
	size_t size = strlen(exs_error_message(e)) + strlen(exs_error_domain(e)->name);
	const char *backtrace = exs_error_backtrace(e);

	for (size_t i = 0; i < exs_error_count(e); i++)
		size += look_at(exs_error_of(e, i));
	return size + (backtrace ? strlen(backtrace) : 0);
}

TEST(errors, each_byte_changed_does_no_harm)
{
	exs_error *e = rich_error();
	struct exsi_writer w = written(e);
	size_t most = 0;
	bool all;

	for (size_t i = 0; i < w.size; i++) {
		unsigned char was = w.data[i];
		for (int byte = 0; byte < 256; byte++) {
			w.data[i] = (unsigned char)byte;
			exs_error *back = read_from(w.data, w.size, &all);
			size_t size = look_at(back);
			most = size > most ? size : most;
			exs_error_unref(back);
		}
		w.data[i] = was;
	}
	CHECK(most > 0 && most < w.size + 64);
	exsi_writer_fini(&w);
	exs_error_unref(e);
}

/* --- memory that is short --- */

static size_t allocations, failing;

static void *fail_nth(size_t size)
{
	return ++allocations == failing ? NULL : malloc(size);
}

static void check_kept(const exs_error *e)
{
	bool none = exs_error_is(e, &exs_domain_exs, EXS_ENOMEM);

	CHECK(none || exs_error_is(e, &exs_domain_exs, EXS_EALL));
	CHECK_INT(exs_error_count(e), none ? 0 : 2);
	look_at(e);
}

TEST(errors, each_allocation_of_reading_fails_in_turn)
{
	exs_error *e = rich_error();
	struct exsi_writer w = written(e);
	bool all;

	exs_set_allocator(&(exs_allocator){fail_nth, free});
	for (failing = 0, allocations = 1; allocations >= failing;) {
		failing++;
		allocations = 0;
		exs_error *back = read_from(w.data, w.size, &all);
		CHECK(back && all);
		check_kept(back);
		exs_error_unref(back);
	}
	CHECK_INT(failing, 6 + 1); /* five errors, one of them with a backtrace; then none failed */
	failing = 0;
	exs_set_allocator(NULL);
	exsi_writer_fini(&w);
	exs_error_unref(e);
}

TEST(errors, each_allocation_of_writing_fails_in_turn)
{
	exs_error *e = rich_error();

	exs_set_allocator(&(exs_allocator){fail_nth, free});
	for (failing = 0, allocations = 1; allocations >= failing;) {
		struct exsi_writer w = {.size = 0};
		failing++;
		allocations = 0;
		exsi_put_error(&w, e);
		CHECK(w.failed == (allocations >= failing));
		exsi_writer_fini(&w);
	}
	CHECK(failing > 1);
	failing = 0;
	exs_set_allocator(NULL);
	exs_error_unref(e);
}
