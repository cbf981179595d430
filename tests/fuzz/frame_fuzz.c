/* Fuzzer of the frame decoder and of what reads the messages it lets through (libFuzzer; tests/check_fuzz.sh builds and runs it).
   Input: packets, each its length (u16, little-endian), a byte of flags and its bytes. What is not so is a trap, which libFuzzer reports. */
#define _GNU_SOURCE
#include "base/bytes.h"
#include "process/frame.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { MAX = 300 << 10 };

/* Flags: what descriptor comes along; and that only the header's bytes follow, the others are all alike. */
enum { NONE = 0, GOOD = 1, UNSEALED = 2, NO_MEMORY = 3, DESCRIPTOR = 3, FILLED = 4 };

static volatile unsigned sink;

static void require(bool condition)
{
	if (!condition)
		__builtin_trap();
}

static void touch(const void *data, size_t size)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < size; i++)
		sink += bytes[i];
}

/* --- what is made of a message: here others that read one can be added, by its type --- */

static void read_begin(struct exsi_reader r)
{
	sink += (unsigned)exsi_get_u64(&r) + exsi_get_u8(&r);
	for (uint32_t n = exsi_get_u32(&r); n > 0 && !r.failed; n--) {
		const char *text = exsi_get_text(&r);
		touch(text, strlen(text) + 1);
	}
	require(!exsi_reader_ends(&r) || r.size == 0);
}

static void read_task(struct exsi_reader r)
{
	size_t n;
	const void *head = exsi_get_bytes(&r, &n);
	struct exsi_reader steps = {.data = head, .size = n};

	for (uint32_t count = exsi_get_u32(&steps); count > 0 && !steps.failed; count--) {
		const char *name = exsi_get_text(&steps);
		touch(name, strlen(name) + 1);
		sink += exsi_get_u8(&steps) + (unsigned)exsi_get_u64(&steps);
	}
	require(!r.failed || (exsi_get_u64(&r) == 0 && *exsi_get_text(&r) == '\0'));
	touch(r.data, r.failed ? 0 : r.size);
}

static void read_message(const struct exsi_message *m)
{
	struct exsi_reader r = {.data = m->head ? m->head->data : NULL, .size = m->head ? m->head->size : 0};

	switch (m->type) {
	case EXSI_FRAME_BEGIN:
		read_begin(r);
		break;
	case EXSI_FRAME_TASK:
		read_task(r);
		break;
	default: /* EXSI_FRAME_VALUE */
		touch(r.data, r.size);
	}
}

/* --- packets --- */

static int memory(size_t size, bool sealed)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	require(fd >= 0 && !ftruncate(fd, (off_t)size));
	if (sealed)
		require(!fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
	return fd;
}

/* The descriptor that comes with a packet; a good one has the size that the packet says. */
static int descriptor(unsigned flags, const unsigned char *packet, size_t n)
{
	uint32_t size = 0;

	for (size_t i = 0; i < 4 && n >= EXSI_FRAME_HEADER; i++)
		size |= (uint32_t)packet[4 + i] << 8 * i;
	switch (flags & DESCRIPTOR) {
	case GOOD:
	case UNSEALED:
		return memory(size <= MAX ? size : 1, (flags & DESCRIPTOR) == GOOD);
	case NO_MEMORY:
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	default:
		return -1;
	}
}

static void check_message(struct exsi_message *m)
{
	size_t head = m->head ? m->head->size : 0, body = m->body ? m->body->size : 0;

	require(head + body <= MAX && (!m->head || head > 0) && (!m->body || body > 0));
	if (m->body)
		touch(m->body->data, body);
	read_message(m);
	exsi_message_fini(m);
}

/* The next packet in a block of its very size. Answers how much of the input it takes; 0: there is none. */
static size_t next_packet(const unsigned char *data, size_t size, unsigned char **packet, size_t *n)
{
	if (size < 3)
		return 0;
	*n = (data[0] | (size_t)data[1] << 8) % (EXSI_FRAME_PACKET + 2);
	size_t given = data[2] & FILLED && *n > EXSI_FRAME_HEADER ? EXSI_FRAME_HEADER : *n;
	if (given > size - 3)
		return 0;
	*packet = malloc(*n > 0 ? *n : 1);
	require(*packet != NULL);
	memset(*packet, data[2], *n);
	memcpy(*packet, data + 3, given);
	return 3 + given;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct exsi_decoder d = {.max = MAX,
				 .types = 1u << EXSI_FRAME_BEGIN | 1u << EXSI_FRAME_TASK | 1u << EXSI_FRAME_VALUE};
	enum exsi_decoded rc = EXSI_INCOMPLETE;
	size_t arrived = 0, taken, n;
	unsigned char *packet;
	int before = dup(0), after;

	close(before);
	for (; rc <= EXSI_INCOMPLETE && (taken = next_packet(data, size, &packet, &n)); data += taken, size -= taken) {
		struct exsi_message message = {0};
		const char *why = NULL;
		rc = exsi_decode(&d, packet, n, descriptor(data[2], packet, n), &message, &why);
		free(packet);
		arrived = d.partial ? arrived + n : 0;
		require(rc <= EXSI_INCOMPLETE || (why && !message.head && !message.body && !d.message.head));
		require(!d.partial || d.message.head->size <= 4 * EXSI_FRAME_DATA ||
			d.message.head->size <= 2 * arrived);
		if (rc == EXSI_DECODED)
			check_message(&message);
	}
	exsi_decoder_fini(&d);
	after = dup(0);
	close(after);
	require(after == before); /* the lowest that is free: none is left */
	return 0;
}
