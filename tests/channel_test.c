/* Channels: messages there and back over a socket pair, in order and whole; and what a sender can do who means harm. */
#define _GNU_SOURCE
#include "process/channel.h"

#include "base/bytes.h"
#include "faulty.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATA = EXSI_FRAME_DATA, MAX = 64 << 20, LARGE = EXSI_BYTES_INLINE + 1 };
static const uint32_t types = 1u << EXSI_FRAME_TASK | 1u << EXSI_FRAME_VALUE;

struct pair {
	struct exsi_channel a, b; /* a sends, b receives */
};

static void make_pair(struct pair *p, bool blocks)
{
	int fd[2];

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd));
	exsi_channel_init(&p->a, fd[0], blocks, MAX, types);
	exsi_channel_init(&p->b, fd[1], false, MAX, types);
}

static void end_pair(struct pair *p)
{
	exsi_channel_fini(&p->a);
	exsi_channel_fini(&p->b);
}

static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 7 + i / 251);
}

static exs_bytes *filled(size_t size)
{
	exs_bytes *b = exs_bytes_new(size);

	CHECK(b);
	for (size_t i = 0; i < size; i++)
		b->data[i] = byte_at(i);
	return b;
}

static void expect_bytes(const exs_bytes *b, size_t from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (b->data[from + i] != byte_at(i))
			CHECK_INT(b->data[from + i], byte_at(i));
}

static void expect_none(struct exsi_channel *c)
{
	struct exsi_message message;
	const char *why;

	CHECK_INT(exsi_channel_receive(c, &message, &why), EXSI_NONE_NOW);
}

static void expect_broken(struct exsi_channel *c, const char *text)
{
	struct exsi_message message;
	const char *why = NULL;

	CHECK_INT(exsi_channel_receive(c, &message, &why), EXSI_BROKEN);
	CHECK_STR(why, text);
}

/* Receives one, the sender sending on what it kept in between. */
static void receive(struct pair *p, struct exsi_message *message)
{
	const char *why;
	enum exsi_received rc;

	while ((rc = exsi_channel_receive(&p->b, message, &why)) == EXSI_NONE_NOW || rc == EXSI_PARTLY) {
		CHECK(rc == EXSI_PARTLY || exsi_channel_is_full(&p->a));
		exsi_channel_flush(&p->a);
	}
	CHECK_INT(rc, EXSI_RECEIVED);
}

/* --- there --- */

static void send_and_receive(struct pair *p, size_t head, size_t body, bool by_descriptor)
{
	exs_bytes *h = filled(head), *b = filled(body);
	struct exsi_message m;

	CHECK_INT(exsi_channel_send(&p->a, EXSI_FRAME_TASK, 77, h->data, head, b), 0);
	receive(p, &m);
	CHECK_INT(m.type, EXSI_FRAME_TASK);
	CHECK_INT(m.id, 77);
	size_t in_head = head + (by_descriptor ? 0 : body);
	CHECK_INT(m.head ? m.head->size : 0, in_head);
	CHECK_INT(m.body ? m.body->size : 0, head + body - in_head);
	if (m.head)
		expect_bytes(m.head, 0, head);
	if (body > 0)
		expect_bytes(by_descriptor ? m.body : m.head, by_descriptor ? 0 : head, body);
	exsi_message_fini(&m);
	exs_bytes_free(h);
	exs_bytes_free(b);
	expect_none(&p->b);
}

static void of_each_size(bool nul)
{
	static const size_t sizes[] = {0, 1, DATA - 1, DATA, DATA + 1, 3 * DATA, EXSI_BYTES_INLINE};
	int before = descriptors();
	struct pair p;

	make_pair(&p, false);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		send_and_receive(&p, nul ? 0 : 10, sizes[i], false);
		if (sizes[i] <= DATA)
			send_and_receive(&p, sizes[i], 100, false);
	}
	end_pair(&p);
	CHECK_INT(descriptors(), before);
}

TEST(channel, messages_of_each_size)
{
	of_each_size(false);
	of_each_size(true);
}

#ifndef EXSI_PORTABLE
TEST(channel, large_ones_by_descriptor)
{
	int before = descriptors();
	struct pair p;

	make_pair(&p, false);
	send_and_receive(&p, 0, LARGE, true);
	send_and_receive(&p, DATA, 4 << 20, true);
	send_and_receive(&p, 10, MAX - 10, true);
	end_pair(&p);
	CHECK_INT(descriptors(), before);
}
#endif

TEST(channel, largest_in_packets)
{
	struct pair p;

	make_pair(&p, false);
	exs_bytes *plain = filled(MAX - 5);
	refuse_descriptors(true);
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_VALUE, 1, "head", 5, plain), 0);
	refuse_descriptors(false);
	struct exsi_message m;
	receive(&p, &m);
	CHECK_INT(m.head->size, MAX);
	expect_bytes(m.head, 5, MAX - 5);
	exsi_message_fini(&m);
	exs_bytes_free(plain);
	end_pair(&p);
}

/* Not as long as its packets come: others have their turn. */
TEST(channel, a_long_message_is_read_by_turns)
{
	enum { PACKETS = 100 };
	struct exsi_header h = {.type = EXSI_FRAME_VALUE, .size = PACKETS * DATA, .id = 1};
	static unsigned char packet[EXSI_FRAME_PACKET];
	unsigned sent = 0, turns = 0;
	enum exsi_received rc;
	int room = 8 << 20; /* as much as may be */
	struct exsi_message m;
	const char *why;
	struct pair p;

	make_pair(&p, false);
	setsockopt(p.a.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	exsi_header_put(packet, &h);
	do {
		while (sent < PACKETS && send(p.a.fd, packet, sizeof(packet), 0) > 0)
			sent++;
		rc = exsi_channel_receive(&p.b, &m, &why);
		turns += rc == EXSI_PARTLY;
	} while (rc == EXSI_NONE_NOW || rc == EXSI_PARTLY);
	CHECK_INT(rc, EXSI_RECEIVED);
	CHECK_INT(m.head->size, PACKETS * DATA);
	exsi_message_fini(&m);
	CHECK(turns >= 5);
	end_pair(&p);
}

TEST(channel, too_large_to_send)
{
	struct pair p;
	exs_bytes *b = filled(10);

	make_pair(&p, false);
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_TASK, 1, "", DATA + 1, NULL), EMSGSIZE);
	b->size = (size_t)UINT32_MAX;
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_TASK, 1, "a", 1, b), EMSGSIZE);
	b->size = 10;
	send_and_receive(&p, 1, 1, false);
	exs_bytes_free(b);
	end_pair(&p);
}

/* Until it keeps some: how many were sent. */
static unsigned fill_up(struct exsi_channel *c)
{
	unsigned n = 0;

	for (; !exsi_channel_is_full(c); n++)
		CHECK_INT(exsi_channel_send(c, EXSI_FRAME_TASK, n, "0123456789", 10, NULL), 0);
	return n;
}

static void expect_next(struct pair *p, unsigned id, size_t size)
{
	struct exsi_message m;

	receive(p, &m);
	CHECK_INT(m.id, id);
	CHECK_INT((m.head ? m.head->size : 0) + (m.body ? m.body->size : 0), size);
	exsi_message_fini(&m);
}

TEST(channel, keeps_what_does_not_fit_in_order)
{
	int before = descriptors();
	struct pair p;
	exs_bytes *large = filled(LARGE), *medium = filled(5 * DATA + 1);

	make_pair(&p, false);
	unsigned n = fill_up(&p.a);
	CHECK(exsi_channel_flush(&p.a));
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_TASK, n, NULL, 0, NULL), 0);
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_TASK, n + 1, "head", 5, large), 0);
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_TASK, n + 2, "head", 5, medium), 0);
	exs_bytes_free(large);
	exs_bytes_free(medium);
	for (unsigned i = 0; i < n; i++)
		expect_next(&p, i, 10);
	expect_next(&p, n, 0);
	expect_next(&p, n + 1, LARGE + 5);
	expect_next(&p, n + 2, 5 * DATA + 6);
	CHECK(!exsi_channel_is_full(&p.a));
	CHECK(!exsi_channel_flush(&p.a));
	end_pair(&p);
	CHECK_INT(descriptors(), before);
}

/* There is room again, but what was kept has not been sent yet. */
TEST(channel, overtakes_nothing_that_is_kept)
{
	struct pair p;
	struct exsi_message m;
	const char *why;

	make_pair(&p, false);
	unsigned n = fill_up(&p.a);
	for (unsigned i = 0; i < n - 1; i++) {
		CHECK_INT(exsi_channel_receive(&p.b, &m, &why), EXSI_RECEIVED);
		exsi_message_fini(&m);
	}
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_TASK, n, NULL, 0, NULL), 0);
	expect_next(&p, n - 1, 10);
	expect_next(&p, n, 0);
	end_pair(&p);
}

/* One that reads nothing costs no more than so much. */
TEST(channel, keeps_only_so_many)
{
	struct pair p;
	unsigned sent = 0;
	int rc;

	make_pair(&p, false);
	while (!(rc = exsi_channel_send(&p.a, EXSI_FRAME_TASK, sent, NULL, 0, NULL)))
		CHECK(++sent < 100 * EXSI_CHANNEL_KEPT);
	CHECK_INT(rc, ENOBUFS);
	CHECK(sent > EXSI_CHANNEL_KEPT);
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_TASK, sent, NULL, 0, NULL), EPIPE);
	CHECK(!exsi_channel_is_full(&p.a));
	end_pair(&p);
}

TEST(channel, ends_with_some_kept)
{
	int before = descriptors();
	struct pair p;
	exs_bytes *large = filled(LARGE);

	make_pair(&p, false);
	fill_up(&p.a);
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_TASK, 1, "head", 5, large), 0);
	exs_bytes_free(large);
	end_pair(&p);
	CHECK_INT(descriptors(), before);
}

/* --- with a thread at the other end --- */

struct sender {
	struct exsi_channel *c;
	uint64_t id;
	unsigned n;
};

static void *send_many(void *arg)
{
	struct sender *s = arg;
	exs_bytes *b = filled(2 * DATA + 100);

	for (unsigned i = 0; i < s->n; i++) {
		b->size = i % 7 == 0 ? 2 * DATA + 100 : 100;
		CHECK_INT(exsi_channel_send(s->c, EXSI_FRAME_VALUE, s->id << 32 | i, "head", 4, b), 0);
	}
	exs_bytes_free(b);
	return NULL;
}

TEST(channel, several_send_and_wait_for_room)
{
	enum { SENDERS = 3 };
	struct pair p;
	struct sender s[SENDERS];
	pthread_t threads[SENDERS];
	unsigned next[SENDERS] = {0}, n = (unsigned)harness_many(2000);

	make_pair(&p, true);
	CHECK(!fcntl(p.b.fd, F_SETFL, 0)); /* it waits as well */
	for (unsigned i = 0; i < SENDERS; i++) {
		s[i] = (struct sender){&p.a, i, n};
		threads[i] = thread_start(send_many, &s[i]);
	}
	for (unsigned i = 0; i < SENDERS * n; i++) {
		struct exsi_message m;
		const char *why;
		CHECK_INT(exsi_channel_receive(&p.b, &m, &why), EXSI_RECEIVED);
		unsigned from = (unsigned)(m.id >> 32), number = (unsigned)m.id;
		CHECK(from < SENDERS);
		CHECK_INT(number, next[from]);
		next[from]++;
		CHECK_INT(m.head->size, number % 7 == 0 ? 2 * DATA + 104 : 104);
		expect_bytes(m.head, 4, m.head->size - 4);
		exsi_message_fini(&m);
	}
	for (unsigned i = 0; i < SENDERS; i++)
		thread_join(threads[i]);
	end_pair(&p);
}

/* --- the end --- */

TEST(channel, ends_after_the_last_message)
{
	struct pair p;
	struct exsi_message m;
	const char *why;

	make_pair(&p, false);
	CHECK_INT(exsi_channel_send(&p.b, EXSI_FRAME_TASK, 9, "not read", 8, NULL), 0);
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_TASK, 1, "last", 4, NULL), 0);
	exsi_channel_fini(&p.a);
	CHECK_INT(exsi_channel_receive(&p.b, &m, &why), EXSI_RECEIVED);
	CHECK_INT(m.id, 1);
	exsi_message_fini(&m);
	CHECK_INT(exsi_channel_receive(&p.b, &m, &why), EXSI_END);
	CHECK_INT(exsi_channel_receive(&p.b, &m, &why), EXSI_END);
	CHECK_INT(exsi_channel_send(&p.b, EXSI_FRAME_TASK, 1, "last", 4, NULL), EPIPE);
	CHECK(p.b.broken);
	CHECK_INT(exsi_channel_send(&p.b, EXSI_FRAME_TASK, 1, "last", 4, NULL), EPIPE);
	exsi_channel_fini(&p.b);
}

TEST(channel, what_is_kept_for_one_who_has_gone_is_dropped)
{
	int before = descriptors();
	struct pair p;

	make_pair(&p, false);
	fill_up(&p.a);
	exsi_channel_fini(&p.b);
	CHECK(!exsi_channel_flush(&p.a));
	CHECK(p.a.broken);
	CHECK(!exsi_channel_is_full(&p.a));
	exsi_channel_fini(&p.a);
	CHECK_INT(descriptors(), before);
}

/* --- memory is short --- */

static void send_some(bool may_fail)
{
	struct pair p;
	unsigned kept = 0;

	exs_set_allocator(NULL);
	exs_bytes *large = filled(LARGE), *medium = filled(5 * DATA + 1);
	make_pair(&p, false);
	if (may_fail)
		exs_set_allocator(&(exs_allocator){faulty_alloc, faulty_free});
	for (unsigned i = 0; i < 20 && !p.a.broken; i++) {
		int rc = exsi_channel_send(&p.a, EXSI_FRAME_TASK, kept, "head", 5, i % 3 ? medium : large);
		CHECK(rc == 0 || (may_fail && (rc == ENOMEM || (rc == EPIPE && p.a.broken))));
		kept += rc == 0;
	}
	for (unsigned i = 0; i < kept; i++) {
		struct exsi_message m;
		const char *why;
		enum exsi_received rc;
		while ((rc = exsi_channel_receive(&p.b, &m, &why)) == EXSI_NONE_NOW || rc == EXSI_PARTLY)
			exsi_channel_flush(&p.a);
		if (may_fail && (rc == EXSI_BROKEN || rc == EXSI_END))
			break;
		CHECK_INT(rc, EXSI_RECEIVED);
		CHECK_INT(m.id, i);
		exsi_message_fini(&m);
	}
	end_pair(&p);
	exs_set_allocator(NULL);
	exs_bytes_free(large);
	exs_bytes_free(medium);
}

TEST(channel, memory_is_short)
{
	fail_each(send_some);
}

TEST(channel, a_message_that_cannot_be_finished_ends_it)
{
	struct pair p;
	struct exsi_message m;
	const char *why;
	exs_bytes *b = filled(EXSI_BYTES_INLINE);

	make_pair(&p, false);
	faulty_left = 0;
	exs_set_allocator(&(exs_allocator){faulty_alloc, faulty_free});
	CHECK_INT(exsi_channel_send(&p.a, EXSI_FRAME_TASK, 1, NULL, 0, b), EPIPE);
	exs_set_allocator(NULL);
	CHECK(p.a.broken);
	CHECK_INT(exsi_channel_receive(&p.b, &m, &why), EXSI_END);
	exs_bytes_free(b);
	end_pair(&p);
}

/* --- a sender who means harm --- */

/* A packet on a raw socket, with n descriptors. */
static void send_raw(int fd, unsigned flags, uint32_t size, size_t n_bytes, const int *fds, size_t n)
{
	static unsigned char packet[EXSI_FRAME_PACKET + 1];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(8 * sizeof(int))];
	} control = {{0}};
	struct iovec io = {packet, n_bytes};
	struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1};

	exsi_header_put(packet, &(struct exsi_header){.type = EXSI_FRAME_TASK, .flags = flags, .size = size, .id = 1});
	if (n > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(n * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	}
	CHECK_INT(sendmsg(fd, &message, 0), n_bytes);
}

struct raw {
	int fd, before;
	struct exsi_channel c;
};

static void make_raw(struct raw *r)
{
	int fd[2];

	r->before = descriptors();
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd));
	r->fd = fd[0];
	exsi_channel_init(&r->c, fd[1], false, MAX, types);
}

static void end_raw(struct raw *r)
{
	exsi_channel_fini(&r->c);
	close(r->fd);
	CHECK_INT(descriptors(), r->before);
}

/* Sends it with so many descriptors, all fd, which it closes. */
static void expect_refused(unsigned flags, uint32_t size, size_t bytes, int fd, size_t n, const char *text)
{
	struct raw r;
	int fds[8];

	make_raw(&r);
	for (size_t i = 0; i < n; i++)
		fds[i] = fd;
	send_raw(r.fd, flags, size, bytes, fds, n);
	if (fd >= 0)
		close(fd);
	r.before -= fd >= 0;
	expect_broken(&r.c, text);
	end_raw(&r);
}

static const char *const too_many = "too many descriptors come at once, or no more can be had";

static int any_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

TEST(channel, refuses_descriptors_too_many)
{
	for (size_t n = 2; n <= 8; n++) {
		expect_refused(EXSI_FRAME_MEMORY, 10, EXSI_FRAME_HEADER, any_descriptor(), n, too_many);
		expect_refused(0, 0, EXSI_FRAME_HEADER, any_descriptor(), n, too_many);
	}
	expect_refused(0, 0, EXSI_FRAME_HEADER, any_descriptor(), 1,
		       "a descriptor comes with a packet that has no memory");
}

TEST(channel, refuses_packets_too_long_or_short)
{
	expect_refused(0, DATA + 1, EXSI_FRAME_PACKET + 1, -1, 0, "a packet is too long");
	expect_refused(EXSI_FRAME_MEMORY, 10, EXSI_FRAME_PACKET + 1, any_descriptor(), 1, "a packet is too long");
	expect_refused(0, 0, 1, -1, 0, "a packet is shorter than its header");
	expect_refused(0, 100, EXSI_FRAME_HEADER, -1, 0, "a packet has not as many bytes as it should");
}

TEST(channel, an_empty_packet_is_an_end)
{
	struct raw r;
	struct exsi_message m;
	const char *why;
	int fd = any_descriptor();

	make_raw(&r);
	send_raw(r.fd, 0, 0, 0, &fd, 1);
	close(fd);
	r.before--;
	CHECK_INT(exsi_channel_receive(&r.c, &m, &why), EXSI_END);
	end_raw(&r);
}

TEST(channel, an_end_within_a_message)
{
	struct raw r;
	struct exsi_message m;
	const char *why;

	make_raw(&r);
	send_raw(r.fd, 0, MAX, EXSI_FRAME_PACKET, NULL, 0);
	expect_none(&r.c);
	shutdown(r.fd, SHUT_WR);
	CHECK_INT(exsi_channel_receive(&r.c, &m, &why), EXSI_END);
	end_raw(&r);
}

TEST(channel, refuses_when_no_descriptor_can_be_had)
{
	struct raw r;
	int fd = any_descriptor();

	make_raw(&r);
	send_raw(r.fd, EXSI_FRAME_MEMORY, 10, EXSI_FRAME_HEADER, &fd, 1);
	close(fd);
	r.before--;
	refuse_descriptors(true);
	expect_broken(&r.c, too_many);
	refuse_descriptors(false);
	end_raw(&r);
}

#ifndef EXSI_PORTABLE

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static int memory(size_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(fd >= 0);
	CHECK(!ftruncate(fd, (off_t)size));
	CHECK(!fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

static void refuse_memory(int fd, uint32_t size, const char *text)
{
	CHECK(fd >= 0);
	expect_refused(EXSI_FRAME_MEMORY, size, EXSI_FRAME_HEADER, fd, 1, text);
}

TEST(channel, refuses_descriptors_that_are_not_sealed_memory)
{
	int ends[2];

	CHECK(!pipe2(ends, O_CLOEXEC));
	refuse_memory(ends[0], 100, "the descriptor is not one of memory");
	close(ends[1]);
	refuse_memory(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), 4096, "the descriptor is not one of memory");
	refuse_memory(memory(100, 0), 100, "the memory is not sealed");
	refuse_memory(memory(100, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_WRITE), 100, "the memory is not sealed");
	refuse_memory(memory(100, ALL_SEALS), 101, "the memory is not of the size that was said");
	refuse_memory(memory(0, ALL_SEALS), 1, "the memory is not of the size that was said");
}

TEST(channel, memory_that_is_resized_before_it_is_taken)
{
	struct raw r;
	int shrunk = memory(LARGE, 0), grown = memory(100, 0);

	make_raw(&r);
	send_raw(r.fd, EXSI_FRAME_MEMORY, LARGE, EXSI_FRAME_HEADER, &shrunk, 1);
	CHECK(!ftruncate(shrunk, 10));
	CHECK(!fcntl(shrunk, F_ADD_SEALS, ALL_SEALS));
	expect_broken(&r.c, "the memory is not of the size that was said");
	end_raw(&r);
	make_raw(&r);
	send_raw(r.fd, EXSI_FRAME_MEMORY, 100, EXSI_FRAME_HEADER, &grown, 1);
	CHECK(!ftruncate(grown, LARGE));
	CHECK(!fcntl(grown, F_ADD_SEALS, ALL_SEALS));
	expect_broken(&r.c, "the memory is not of the size that was said");
	end_raw(&r);
	close(shrunk);
	close(grown);
}

TEST(channel, memory_that_can_still_be_written_is_not_taken)
{
	struct raw r;
	int fd = memory(LARGE, 0);
	unsigned char *kept = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(kept != MAP_FAILED);
	CHECK(fcntl(fd, F_ADD_SEALS, ALL_SEALS)); /* the system refuses that while it is mapped so */
	CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	make_raw(&r);
	send_raw(r.fd, EXSI_FRAME_MEMORY, LARGE, EXSI_FRAME_HEADER, &fd, 1);
	kept[0] = 1;
	expect_broken(&r.c, "the memory is not sealed");
	end_raw(&r);
	munmap(kept, LARGE);
	close(fd);
}

TEST(channel, memory_that_was_taken_stays_as_it_is)
{
	struct raw r;
	struct exsi_message m;
	const char *why;
	int fd = memory(LARGE, 0);

	CHECK_INT(pwrite(fd, "abc", 3, 0), 3);
	CHECK(!fcntl(fd, F_ADD_SEALS, ALL_SEALS));
	make_raw(&r);
	send_raw(r.fd, EXSI_FRAME_MEMORY, LARGE, EXSI_FRAME_HEADER, &fd, 1);
	CHECK_INT(exsi_channel_receive(&r.c, &m, &why), EXSI_RECEIVED);
	CHECK(ftruncate(fd, 0));
	CHECK(ftruncate(fd, 2 * LARGE));
	CHECK_INT(pwrite(fd, "xyz", 3, 0), -1);
	CHECK_INT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	CHECK(mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	CHECK(!memcmp(m.body->data, "abc", 4));
	for (size_t i = 4; i < LARGE; i++)
		CHECK(m.body->data[i] == 0);
	exsi_message_fini(&m);
	end_raw(&r);
	close(fd);
}

#endif
