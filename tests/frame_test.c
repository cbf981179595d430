/* Frames: each form of packet that is refused, messages of every size, and fields. */
#define _GNU_SOURCE
#include "process/frame.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "faulty.h"
#include "support.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DATA = EXSI_FRAME_DATA, PACKET = EXSI_FRAME_PACKET, HEADER = EXSI_FRAME_HEADER };
enum { MAX = 64 << 20 };

static struct exsi_decoder decoder(void)
{
	return (struct exsi_decoder){.max = MAX, .types = 1u << EXSI_FRAME_TASK | 1u << EXSI_FRAME_VALUE};
}

/* A packet with room for one byte more than it may have. */
struct packet {
	unsigned char bytes[PACKET + 1];
	size_t size;
};

static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 7 + i / 251);
}

static void make_packet(struct packet *p, struct exsi_header h, size_t from, size_t n)
{
	exsi_header_put(p->bytes, &h);
	for (size_t i = 0; i < n; i++)
		p->bytes[HEADER + i] = byte_at(from + i);
	p->size = HEADER + n;
}

static struct exsi_header task(uint32_t size)
{
	return (struct exsi_header){.type = EXSI_FRAME_TASK, .size = size, .id = 0x1122334455667788};
}

static struct exsi_header in_memory(uint32_t size)
{
	struct exsi_header h = task(size);

	h.flags = EXSI_FRAME_MEMORY;
	return h;
}

/* Decodes it from a block of its very size, so that ASan sees what is read beyond. */
static enum exsi_decoded decode(struct exsi_decoder *d, const struct packet *p, int fd, struct exsi_message *message,
				const char **why)
{
	unsigned char *copy = malloc(p->size ? p->size : 1);

	CHECK(copy);
	memcpy(copy, p->bytes, p->size);
	enum exsi_decoded rc = exsi_decode(d, copy, p->size, fd, message, why);
	free(copy);
	return rc;
}

static void expect_refused(struct exsi_decoder *d, const struct packet *p, int fd, const char *text)
{
	struct exsi_message message = {0};
	const char *why = NULL;
	int before = descriptors();

	CHECK_INT(decode(d, p, fd, &message, &why), EXSI_MALFORMED);
	CHECK_STR(why, text);
	CHECK(!message.head && !message.body);
	CHECK_INT(descriptors(), before - (fd >= 0));
	exsi_decoder_fini(d);
}

static void refuse(const struct packet *p, int fd, const char *text)
{
	struct exsi_decoder d = decoder();

	expect_refused(&d, p, fd, text);
}

static int any_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

/* After the first packet of a task's three. */
static void refuse_second(const struct packet *p, int fd, const char *text)
{
	struct exsi_decoder d = decoder();
	struct packet first;
	struct exsi_message message;
	const char *why;

	make_packet(&first, task(2 * DATA + 10), 0, DATA);
	CHECK_INT(decode(&d, &first, -1, &message, &why), EXSI_INCOMPLETE);
	expect_refused(&d, p, fd, text);
}

/* --- refused --- */

TEST(frame, refuses_less_than_a_header)
{
	struct packet p;

	make_packet(&p, task(0), 0, 0);
	for (p.size = 0; p.size < HEADER; p.size++)
		refuse(&p, -1, "a packet is shorter than its header");
	refuse(&p, any_descriptor(), "a descriptor comes with a packet that has no memory");
	p.size = HEADER - 1;
	refuse(&p, any_descriptor(), "a packet is shorter than its header");
}

TEST(frame, refuses_a_long_packet)
{
	struct packet p;

	make_packet(&p, task(DATA + 1), 0, DATA + 1);
	refuse(&p, -1, "a packet is too long");
}

TEST(frame, refuses_other_versions)
{
	struct packet p;

	make_packet(&p, task(0), 0, 0);
	for (int version = 0; version < 256; version++) {
		p.bytes[0] = (unsigned char)version;
		if (version != EXSI_FRAME_VERSION)
			refuse(&p, -1, "a packet has another version of the protocol");
	}
}

TEST(frame, refuses_types_not_expected)
{
	struct packet p;

	make_packet(&p, task(0), 0, 0);
	for (int type = 0; type < 256; type++) {
		p.bytes[1] = (unsigned char)type;
		if (type != EXSI_FRAME_TASK && type != EXSI_FRAME_VALUE)
			refuse(&p, -1, "a message has a type that is not expected");
	}
}

TEST(frame, refuses_unknown_flags)
{
	struct packet p;

	for (unsigned flag = 2; flag < 1u << 16; flag <<= 1) {
		struct exsi_header h = task(0);
		h.flags = flag;
		make_packet(&p, h, 0, 0);
		refuse(&p, -1, "a packet has a flag that is not known");
		h.flags = flag | EXSI_FRAME_MEMORY;
		make_packet(&p, h, 0, 0);
		refuse(&p, any_descriptor(), "a packet has a flag that is not known");
	}
}

TEST(frame, refuses_what_is_over_the_limit)
{
	struct packet p;

	make_packet(&p, task(MAX + 1), 0, DATA);
	refuse(&p, -1, "a message is larger than the limit");
	make_packet(&p, task(UINT32_MAX), 0, DATA);
	refuse(&p, -1, "a message is larger than the limit");
	make_packet(&p, in_memory(MAX + 1), 0, 0);
	refuse(&p, any_descriptor(), "a message is larger than the limit");
	make_packet(&p, in_memory(MAX), 0, 1);
	refuse(&p, any_descriptor(), "a message is larger than the limit");
	make_packet(&p, in_memory(UINT32_MAX), 0, DATA);
	refuse(&p, any_descriptor(), "a message is larger than the limit");
}

TEST(frame, refuses_more_or_fewer_bytes_than_due)
{
	static const char text[] = "a packet has not as many bytes as it should";
	struct packet p;

	make_packet(&p, task(0), 0, 1);
	refuse(&p, -1, text);
	make_packet(&p, task(10), 0, 9);
	refuse(&p, -1, text);
	make_packet(&p, task(10), 0, 11);
	refuse(&p, -1, text);
	make_packet(&p, task(10), 0, 0);
	refuse(&p, -1, text);
	make_packet(&p, task(DATA + 1), 0, DATA - 1);
	refuse(&p, -1, text);
	make_packet(&p, task(2 * DATA + 10), 0, DATA - 1);
	refuse_second(&p, -1, text);
	make_packet(&p, task(2 * DATA + 10), 0, 10);
	refuse_second(&p, -1, text);
	make_packet(&p, task(2 * DATA + 10), 0, 0);
	refuse_second(&p, -1, text);
}

TEST(frame, refuses_more_bytes_than_due_at_the_end)
{
	struct exsi_decoder d = decoder();
	struct packet p;
	struct exsi_message message;
	const char *why;

	make_packet(&p, task(DATA + 10), 0, DATA);
	CHECK_INT(decode(&d, &p, -1, &message, &why), EXSI_INCOMPLETE);
	make_packet(&p, task(DATA + 10), DATA, 11);
	expect_refused(&d, &p, -1, "a packet has not as many bytes as it should");
}

TEST(frame, refuses_packets_of_another_message_in_between)
{
	static const char text[] = "a packet is not of the message before it, which is not whole";
	struct exsi_header h = task(2 * DATA + 10);
	struct packet p;

	h.id++;
	make_packet(&p, h, 0, DATA);
	refuse_second(&p, -1, text);
	h = task(2 * DATA + 10);
	h.type = EXSI_FRAME_VALUE;
	make_packet(&p, h, 0, DATA);
	refuse_second(&p, -1, text);
	make_packet(&p, task(2 * DATA + 11), 0, DATA);
	refuse_second(&p, -1, text);
	make_packet(&p, task(0), 0, 0);
	refuse_second(&p, -1, text);
}

TEST(frame, refuses_memory_within_a_message)
{
	struct packet p;

	make_packet(&p, in_memory(2 * DATA + 10), 0, DATA);
	refuse_second(&p, any_descriptor(), "memory comes within another message");
	refuse_second(&p, -1, "memory comes within another message");
}

TEST(frame, refuses_descriptors_without_memory)
{
	struct packet p;

	make_packet(&p, task(10), 0, 10);
	refuse(&p, any_descriptor(), "a descriptor comes with a packet that has no memory");
	make_packet(&p, task(2 * DATA + 10), 0, DATA);
	refuse(&p, any_descriptor(), "a descriptor comes with a packet that has no memory");
	refuse_second(&p, any_descriptor(), "a descriptor comes with a packet that has no memory");
}

TEST(frame, refuses_memory_without_a_descriptor)
{
	struct packet p;

	make_packet(&p, in_memory(10), 0, 10);
	refuse(&p, -1, "memory comes without a descriptor");
}

TEST(frame, refuses_memory_of_no_size)
{
	struct packet p;

	make_packet(&p, in_memory(0), 0, 10);
	refuse(&p, any_descriptor(), "memory of no size");
}

/* --- decoded --- */

/* Sends a task of `size` bytes through the decoder. */
static enum exsi_decoded pass(struct exsi_decoder *d, uint32_t size, struct exsi_message *message, const char **why)
{
	static struct packet p;
	enum exsi_decoded rc;
	size_t from = 0;

	do {
		size_t n = size - from < DATA ? size - from : DATA;
		make_packet(&p, task(size), from, n);
		rc = exsi_decode(d, p.bytes, p.size, -1, message, why);
		from += n;
	} while (rc == EXSI_INCOMPLETE && from < size);
	CHECK_INT(from, rc == EXSI_DECODED ? size : from);
	return rc;
}

static void expect_message(const struct exsi_message *m, uint32_t size)
{
	CHECK_INT(m->type, EXSI_FRAME_TASK);
	CHECK(m->id == task(0).id);
	CHECK((m->head != NULL) == (size > 0));
	CHECK(!m->head || m->head->size == size);
	for (size_t i = 0; i < size; i++)
		if (m->head->data[i] != byte_at(i))
			CHECK_INT(m->head->data[i], byte_at(i));
}

TEST(frame, messages_of_each_size)
{
	static const uint32_t sizes[] = {
		0, 1, DATA - 1, DATA, DATA + 1, 2 * DATA, 4 * DATA, 4 * DATA + 1, 1 << 20, (1 << 20) + 1, 3000000, MAX};
	struct exsi_decoder d = decoder();

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct exsi_message message;
		const char *why;
		CHECK_INT(pass(&d, sizes[i], &message, &why), EXSI_DECODED);
		expect_message(&message, sizes[i]);
		exsi_message_fini(&message);
		CHECK(!d.partial);
	}
	exsi_decoder_fini(&d);
}

static size_t largest;

static void *measured_alloc(size_t size)
{
	largest = size > largest ? size : largest;
	return malloc(size);
}

TEST(frame, makes_room_as_bytes_come)
{
	struct exsi_decoder d = decoder();
	struct packet p;
	struct exsi_message message;
	const char *why;

	largest = 0;
	exs_set_allocator(&(exs_allocator){measured_alloc, free});
	for (size_t i = 1; i < 20; i++) {
		make_packet(&p, task(MAX), 0, DATA);
		CHECK_INT(decode(&d, &p, -1, &message, &why), EXSI_INCOMPLETE);
		CHECK(d.message.head->size <= 2 * i * DATA || d.message.head->size <= 4 * DATA);
		CHECK(largest <= d.message.head->size + 128);
	}
	exsi_decoder_fini(&d);
	exs_set_allocator(NULL);
}

TEST(frame, one_packet_is_one_allocation)
{
	struct exsi_decoder d = decoder();
	struct exsi_message message;
	const char *why;

	faulty_left = 1; /* the second would fail */
	exs_set_allocator(&(exs_allocator){faulty_alloc, faulty_free});
	CHECK_INT(pass(&d, DATA, &message, &why), EXSI_DECODED);
	CHECK_INT(faulty_left, 0);
	exsi_message_fini(&message);
	exs_set_allocator(NULL);
}

static void pass_long(bool may_fail)
{
	struct exsi_decoder d = decoder();
	struct exsi_message message = {0};
	const char *why = NULL;
	enum exsi_decoded rc = pass(&d, 3000000, &message, &why);

	CHECK(rc == EXSI_DECODED || (may_fail && rc == EXSI_NO_MEMORY));
	if (rc == EXSI_DECODED)
		expect_message(&message, 3000000);
	else
		CHECK_STR(why, "memory is short");
	exsi_message_fini(&message);
	CHECK(!d.message.head);
}

TEST(frame, memory_is_short)
{
	fail_each(pass_long);
}

TEST(frame, ended_within_a_message)
{
	struct exsi_decoder d = decoder();
	struct packet p;
	struct exsi_message message;
	const char *why;

	make_packet(&p, task(MAX), 0, DATA);
	CHECK_INT(decode(&d, &p, -1, &message, &why), EXSI_INCOMPLETE);
	exsi_decoder_fini(&d);
	exsi_decoder_fini(&d);
}

TEST(frame, header_is_little_endian)
{
	struct exsi_header h = {EXSI_FRAME_VALUE, 0x0201, 0x06050403, 0x0e0d0c0b0a090807};
	static const unsigned char expected[] = {1, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
	unsigned char bytes[HEADER];

	exsi_header_put(bytes, &h);
	CHECK(!memcmp(bytes, expected, HEADER));
}

#ifndef EXSI_PORTABLE

enum { LARGE = EXSI_BYTES_INLINE + 1 };

/* A descriptor of sealed memory. */
static int shared(void)
{
	exs_bytes *b = exs_bytes_new(LARGE);

	CHECK(b);
	for (size_t i = 0; i < LARGE; i++)
		b->data[i] = byte_at(i);
	int fd = fcntl(exsi_bytes_share(b), F_DUPFD_CLOEXEC, 0);
	CHECK(fd >= 0);
	exs_bytes_free(b);
	return fd;
}

static void pass_memory(bool may_fail)
{
	struct exsi_decoder d = decoder();
	struct exsi_message message = {0};
	struct packet p;
	const char *why;
	int fd;

	exs_set_allocator(NULL); /* not for what shared makes */
	fd = shared();
	if (may_fail)
		exs_set_allocator(&(exs_allocator){faulty_alloc, faulty_free});
	make_packet(&p, in_memory(LARGE), 0, 10);
	enum exsi_decoded rc = exsi_decode(&d, p.bytes, p.size, fd, &message, &why);
	CHECK(rc == EXSI_DECODED || (may_fail && rc == EXSI_NO_MEMORY));
	if (rc == EXSI_DECODED) {
		expect_message(&message, 10);
		CHECK_INT(message.body->size, LARGE);
		CHECK_INT(message.body->data[LARGE - 1], byte_at(LARGE - 1));
	} else {
		CHECK_STR(why, "memory is short");
	}
	exsi_message_fini(&message);
}

TEST(frame, memory_by_descriptor)
{
	fail_each(pass_memory);
}

TEST(frame, memory_with_nothing_in_the_packet)
{
	struct exsi_decoder d = decoder();
	struct exsi_message message;
	struct packet p;
	const char *why;

	make_packet(&p, in_memory(LARGE), 0, 0);
	CHECK_INT(decode(&d, &p, shared(), &message, &why), EXSI_DECODED);
	CHECK(!message.head);
	CHECK_INT(message.body->size, LARGE);
	exsi_message_fini(&message);
}

TEST(frame, refuses_bad_memory)
{
	struct packet p;
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	make_packet(&p, in_memory(LARGE - 1), 0, 10);
	refuse(&p, shared(), "the memory is not of the size that was said");
	make_packet(&p, in_memory(10), 0, 10);
	refuse(&p, any_descriptor(), "the descriptor is not one of memory");
	CHECK(!ftruncate(fd, 10));
	refuse(&p, fd, "the memory is not sealed");
}

#endif

/* --- fields --- */

static void put_all(struct exsi_writer *w)
{
	exsi_put_u8(w, 0xfe);
	exsi_put_u32(w, 0xfedcba98);
	exsi_put_u64(w, 0xfedcba9876543210);
	exsi_put_text(w, "text");
	exsi_put_text(w, NULL);
	exsi_put_bytes(w, "by\0tes", 6);
	exsi_put_bytes(w, NULL, 0);
}

static void expect_all(struct exsi_reader *r)
{
	size_t n;

	CHECK_INT(exsi_get_u8(r), 0xfe);
	CHECK_INT(exsi_get_u32(r), 0xfedcba98);
	CHECK(exsi_get_u64(r) == 0xfedcba9876543210);
	CHECK_STR(exsi_get_text(r), "text");
	CHECK_STR(exsi_get_text(r), "");
	const void *bytes = exsi_get_bytes(r, &n);
	CHECK_INT(n, 6);
	CHECK(!memcmp(bytes, "by\0tes", 6));
	CHECK(!exsi_reader_ends(r));
	exsi_get_bytes(r, &n);
	CHECK_INT(n, 0);
	CHECK(exsi_reader_ends(r));
}

/* Those of put_all, with so much room of the caller's. */
static void write_and_read(size_t room)
{
	unsigned char buffer[256];
	struct exsi_writer w = {.data = buffer, .room = room};

	put_all(&w);
	CHECK(!w.failed);
	CHECK_INT(w.size, 1 + 4 + 8 + 9 + 5 + 10 + 4);
	CHECK_INT(w.own, room < w.size);
	struct exsi_reader r = {.data = w.data, .size = w.size};
	expect_all(&r);
	exsi_writer_fini(&w);
}

TEST(frame, fields)
{
	for (size_t room = 0; room <= 64; room++)
		write_and_read(room);
}

TEST(frame, fields_in_no_buffer_at_all)
{
	struct exsi_writer w = {0};

	for (int i = 0; i < 1000; i++)
		put_all(&w);
	CHECK(!w.failed);
	struct exsi_reader r = {.data = w.data, .size = w.size};
	for (int i = 0; i < 1000; i++) {
		struct exsi_reader one = {.data = r.data, .size = w.size / 1000};
		expect_all(&one);
		r.data += w.size / 1000;
	}
	exsi_writer_fini(&w);
}

static void write_many(bool may_fail)
{
	struct exsi_writer w = {0};

	for (int i = 0; i < 100; i++)
		put_all(&w);
	CHECK(!w.failed || may_fail);
	bool failed = w.failed;
	exsi_writer_fini(&w);
	CHECK_INT(w.failed, failed);
}

TEST(frame, fields_while_memory_is_short)
{
	fail_each(write_many);
}

TEST(frame, fields_of_too_many_bytes)
{
	struct exsi_writer w = {0};

	exsi_put_bytes(&w, "", (size_t)UINT32_MAX + 1);
	CHECK(w.failed);
	exsi_put_u8(&w, 1);
	CHECK(w.failed);
	CHECK_INT(w.size, 0);
	exsi_writer_fini(&w);
}

TEST(frame, fields_that_are_cut)
{
	struct exsi_writer w = {0};

	put_all(&w);
	for (size_t size = 0; size < w.size; size++) {
		unsigned char *copy = malloc(size ? size : 1);
		struct exsi_reader r = {.data = copy, .size = size};
		size_t n;

		CHECK(copy);
		memcpy(copy, w.data, size);
		exsi_get_u8(&r), exsi_get_u32(&r), exsi_get_u64(&r);
		exsi_get_text(&r), exsi_get_text(&r), exsi_get_bytes(&r, &n), exsi_get_bytes(&r, &n);
		CHECK(r.failed);
		CHECK(!exsi_reader_ends(&r));
		CHECK_INT(n, 0);
		CHECK_INT(exsi_get_u8(&r), 0);
		CHECK_INT(exsi_get_u32(&r), 0);
		CHECK_INT(exsi_get_u64(&r), 0);
		CHECK_STR(exsi_get_text(&r), "");
		CHECK(exsi_get_bytes(&r, &n));
		CHECK_INT(n, 0);
		free(copy);
	}
	exsi_writer_fini(&w);
}

static void refuse_text(const char *bytes, size_t size)
{
	struct exsi_reader r = {.data = (const unsigned char *)bytes, .size = size};

	CHECK_STR(exsi_get_text(&r), "");
	CHECK(r.failed);
}

TEST(frame, fields_of_text_that_is_none)
{
	refuse_text("\3\0\0\0a\0b\0", 8);   /* a NUL within */
	refuse_text("\3\0\0\0abcd", 8);	    /* none behind */
	refuse_text("\3\0\0\0abc", 7);	    /* nothing behind */
	refuse_text("\4\0\0\0abc\0", 8);    /* the NUL is within */
	refuse_text("\377\377\377\377", 4); /* longer than all */
	refuse_text("\0\0\0\0a", 5);
	refuse_text("\0\0\0\0", 4);
}
