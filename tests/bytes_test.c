/* Bytes: made, grown, sealed and handed on; and memory that others sealed badly. */
#define _GNU_SOURCE
#include "base/bytes.h"
#include "faulty.h"
#include "support.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGE = EXSI_BYTES_INLINE + 1 };

static void fill(exs_bytes *b)
{
	for (size_t i = 0; i < b->size; i++)
		b->data[i] = (unsigned char)(i * 7 + i / 251);
}

static bool is_filled(const exs_bytes *b)
{
	for (size_t i = 0; i < b->size; i++)
		if (b->data[i] != (unsigned char)(i * 7 + i / 251))
			return false;
	return true;
}

static exs_bytes *filled(size_t size)
{
	exs_bytes *b = exs_bytes_new(size);

	CHECK(b);
	CHECK_INT(b->size, size);
	fill(b);
	return b;
}

TEST(bytes, of_each_size)
{
	static const size_t sizes[] = {0, 1, 7, 4096, EXSI_BYTES_INLINE, LARGE, 5 << 20};
	int before = descriptors();

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		exs_bytes *b = filled(sizes[i]), *copy = exs_bytes_copy(b->data, b->size);
		CHECK(copy);
		CHECK(copy->data != b->data || b->size == 0);
		CHECK_INT(copy->size, b->size);
		CHECK(is_filled(copy));
		CHECK_INT((uintptr_t)b->data % _Alignof(max_align_t), 0);
		exs_bytes_free(b);
		CHECK(is_filled(copy));
		exs_bytes_free(copy);
	}
	exs_bytes_free(NULL);
	CHECK_INT(descriptors(), before);
}

TEST(bytes, copy_of_nothing)
{
	exs_bytes *b = exs_bytes_copy(NULL, 0);

	CHECK(b);
	CHECK_INT(b->size, 0);
	exs_bytes_free(b);
	CHECK(!exs_bytes_copy(NULL, 1));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
}

TEST(bytes, too_many)
{
	CHECK(!exs_bytes_new(SIZE_MAX));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_ENOMEM));
	CHECK(!exs_bytes_new(SIZE_MAX / 2));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_ENOMEM));
}

TEST(bytes, as_results)
{
	exs_bytes *b = filled(10);
	exs_result r = exs_ok_bytes(b);

	CHECK_INT(r.kind, EXS_KIND_VALUE);
	CHECK(r.value == b);
	exs_result_clear(&r);
	r = exs_ok_copy("abc", 3);
	CHECK_INT(r.kind, EXS_KIND_VALUE);
	CHECK(!memcmp(((exs_bytes *)r.value)->data, "abc", 3));
	exs_result_clear(&r);
	r = exs_ok_bytes(exs_bytes_new(SIZE_MAX));
	CHECK_INT(r.kind, EXS_KIND_ERROR);
	CHECK(exs_error_is(r.error, &exs_domain_exs, EXS_ENOMEM));
	exs_result_clear(&r);
	r = exs_ok_copy(NULL, 3);
	CHECK_INT(r.kind, EXS_KIND_ERROR);
	CHECK(exs_error_is(r.error, &exs_domain_exs, EXS_EINVAL));
	exs_result_clear(&r);
}

TEST(bytes, grow_with_what_they_hold)
{
	static const size_t sizes[] = {1, 100, EXSI_BYTES_INLINE, LARGE, 3 * (size_t)LARGE};
	exs_bytes *b = filled(0);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		size_t had = b->size;
		b = exsi_bytes_grow(b, sizes[i]);
		CHECK(b);
		CHECK_INT(b->size, sizes[i]);
		b->size = had;
		CHECK(is_filled(b));
		b->size = sizes[i];
		fill(b);
	}
	exs_bytes_free(b);
}

static void make_and_grow(bool may_fail)
{
	exs_bytes *b = exsi_bytes_new(LARGE), *more = b ? exsi_bytes_grow(b, 2 * (size_t)LARGE) : NULL;

	CHECK((b && more) || may_fail);
	exs_bytes_free(more ? more : b);
	exs_result r = exs_ok_copy("abc", 3);
	CHECK(r.kind == EXS_KIND_VALUE || may_fail);
	CHECK(r.kind == EXS_KIND_VALUE || exs_error_is(r.error, &exs_domain_exs, EXS_ENOMEM));
	exs_result_clear(&r);
}

TEST(bytes, memory_is_short)
{
	fail_each(make_and_grow);
}

TEST(bytes, small_ones_are_not_shared)
{
	exs_bytes *b = filled(EXSI_BYTES_INLINE);

	CHECK_INT(exsi_bytes_share(b), -1);
	CHECK(is_filled(b));
	exs_bytes_free(b);
}

#ifdef EXSI_PORTABLE

TEST(bytes, large_ones_are_not_shared_here)
{
	exs_bytes *b = filled(LARGE);
	const char *why = NULL;
	int before = descriptors();

	CHECK_INT(exsi_bytes_share(b), -1);
	CHECK(is_filled(b));
	exs_bytes_free(b);
	CHECK(!exsi_bytes_adopt(open("/dev/null", O_RDONLY), 1, &why));
	CHECK(why);
	CHECK_INT(descriptors(), before);
}

#else

static void expect_same(int fd, const exs_bytes *b)
{
	struct stat status;

	CHECK(!fstat(fd, &status));
	CHECK_INT(status.st_size, b->size);
	void *there = mmap(NULL, b->size, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(there != MAP_FAILED);
	CHECK(!memcmp(there, b->data, b->size));
	munmap(there, b->size);
}

TEST(bytes, shared_are_sealed_and_stay_where_they_are)
{
	exs_bytes *b = filled(LARGE);
	const unsigned char *data = b->data;
	int fd = exsi_bytes_share(b), all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

	CHECK(fd >= 0);
	CHECK_INT(fcntl(fd, F_GET_SEALS) & all, all);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK_INT(exsi_bytes_share(b), fd);
	CHECK(b->data == data);
	CHECK(is_filled(b));
	expect_same(fd, b);
	CHECK(mmap(NULL, LARGE, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	exs_bytes_free(b);
}

TEST(bytes, shared_at_their_lowered_size)
{
	exs_bytes *b = filled(2 * (size_t)LARGE);

	b->size = EXSI_BYTES_INLINE;
	CHECK_INT(exsi_bytes_share(b), -1);
	b->size = LARGE;
	int fd = exsi_bytes_share(b);
	CHECK(fd >= 0);
	expect_same(fd, b);
	b->size = LARGE + 1;
	CHECK_INT(exsi_bytes_share(b), -1);
	b->size = 9;
	CHECK_INT(exsi_bytes_share(b), -1);
	exs_bytes_free(b);
}

TEST(bytes, not_shared_without_any_or_with_more_than_there_are)
{
	exs_bytes *b = filled(LARGE);

	b->size = 0;
	CHECK_INT(exsi_bytes_share(b), -1);
	b->size = 2 * (size_t)LARGE;
	CHECK_INT(exsi_bytes_share(b), -1);
	b->size = LARGE;
	CHECK(is_filled(b));
	exs_bytes_free(b);
}

struct sharer {
	exs_bytes *bytes;
	pthread_barrier_t *barrier;
	int fd;
};

static void *share_and_read(void *arg)
{
	struct sharer *s = arg;

	pthread_barrier_wait(s->barrier);
	s->fd = exsi_bytes_share(s->bytes);
	CHECK(is_filled(s->bytes));
	return NULL;
}

TEST(bytes, several_threads_share_the_same)
{
	enum { SHARERS = 3 };
	int before = descriptors();

	for (int round = 0; round < 10; round++) {
		pthread_barrier_t barrier;
		pthread_t threads[SHARERS];
		struct sharer s[SHARERS];
		exs_bytes *b = filled(LARGE);

		pthread_barrier_init(&barrier, NULL, SHARERS);
		for (int i = 0; i < SHARERS; i++) {
			s[i] = (struct sharer){b, &barrier, -1};
			threads[i] = thread_start(share_and_read, &s[i]);
		}
		for (int i = 0; i < SHARERS; i++)
			thread_join(threads[i]);
		for (int i = 0; i < SHARERS; i++)
			CHECK_INT(s[i].fd, exsi_bytes_share(b));
		expect_same(s[0].fd, b);
		CHECK_INT(descriptors(), before + 1);
		exs_bytes_free(b);
		pthread_barrier_destroy(&barrier);
	}
	CHECK_INT(descriptors(), before);
}

TEST(bytes, not_shared_while_there_are_no_descriptors)
{
	exs_bytes *b = filled(LARGE);

	refuse_descriptors(true);
	CHECK_INT(exsi_bytes_share(b), -1);
	refuse_descriptors(false);
	CHECK(is_filled(b));
	CHECK(exsi_bytes_share(b) >= 0);
	exs_bytes_free(b);
}

/* Without a signal. */
TEST(bytes, not_shared_where_files_may_not_be_as_long)
{
	struct rlimit usual;
	exs_bytes *b = filled(LARGE);

	CHECK(!getrlimit(RLIMIT_FSIZE, &usual));
	CHECK(!setrlimit(RLIMIT_FSIZE, &(struct rlimit){LARGE - 1, usual.rlim_max}));
	int refused = exsi_bytes_share(b), before = descriptors();
	CHECK(!setrlimit(RLIMIT_FSIZE, &(struct rlimit){LARGE, usual.rlim_max}));
	int shared = exsi_bytes_share(b);
	CHECK(!setrlimit(RLIMIT_FSIZE, &usual));
	CHECK_INT(refused, -1);
	CHECK(shared >= 0);
	CHECK_INT(descriptors(), before + 1);
	exs_bytes_free(b);
}

/* --- adopted --- */

static int memory(size_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(fd >= 0);
	CHECK(!ftruncate(fd, (off_t)size));
	CHECK(!fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

static void refused(int fd, size_t size, const char *text)
{
	const char *why = NULL;
	int before = descriptors();

	CHECK(fd >= 0);
	CHECK(!exsi_bytes_adopt(fd, size, &why));
	CHECK_STR(why, text);
	CHECK_INT(descriptors(), before - 1);
}

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

TEST(bytes, adopt_needs_each_seal)
{
	static const int seals[] = {F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, ALL_SEALS};

	for (size_t i = 0; i < sizeof(seals) / sizeof(*seals); i++)
		refused(memory(100, ALL_SEALS & ~seals[i]), 100, "the memory is not sealed");
}

TEST(bytes, adopt_needs_the_very_size)
{
	refused(memory(100, ALL_SEALS), 99, "the memory is not of the size that was said");
	refused(memory(100, ALL_SEALS), 101, "the memory is not of the size that was said");
	refused(memory(100, ALL_SEALS), 0, "the memory is not of the size that was said");
	refused(memory(0, ALL_SEALS), 0, "the memory is not of the size that was said");
	refused(memory(0, ALL_SEALS), 1, "the memory is not of the size that was said");
}

TEST(bytes, adopt_needs_memory)
{
	int ends[2];

	CHECK(!pipe(ends));
	refused(ends[0], 1, "the descriptor is not one of memory");
	refused(ends[1], 1, "the descriptor is not one of memory");
	refused(open("/", O_RDONLY | O_DIRECTORY), 4096, "the descriptor is not one of memory");
	refused(open("/proc/self/exe", O_RDONLY), 100, "the descriptor is not one of memory");
	refused(open("/dev/zero", O_RDWR), 100, "the descriptor is not one of memory");
}

TEST(bytes, adopt_what_was_shared)
{
	exs_bytes *b = filled(LARGE);
	const char *why;
	exs_bytes *there = exsi_bytes_adopt(dup(exsi_bytes_share(b)), LARGE, &why);

	CHECK(there);
	exs_bytes_free(b);
	CHECK(is_filled(there));
	CHECK(exsi_bytes_share(there) >= 0);
	CHECK(is_filled(there));
	exs_bytes_free(there);
}

static void adopt_one(bool may_fail)
{
	const char *why = "";
	exs_bytes *b = exsi_bytes_adopt(memory(100, ALL_SEALS), 100, &why);

	CHECK(b || may_fail);
	CHECK(!why);
	exs_bytes_free(b);
}

TEST(bytes, adopt_while_memory_is_short)
{
	fail_each(adopt_one);
}

#endif
