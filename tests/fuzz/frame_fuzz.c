/* Fuzzer of the frame decoder and of what reads the messages it lets through (libFuzzer; tests/check_fuzz.sh builds and runs it).
   Input: packets, each its length (u16, little-endian), a byte of flags and its bytes. What is not so is a trap, which libFuzzer reports. */
#define _GNU_SOURCE
#include "base/bytes.h"
#include "process/errors.h"
#include "process/remote.h"

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

/* --- what is made of a message: what parent and worker make of it --- */

static void read_text(const char *text)
{
	if (text)
		touch(text, strlen(text) + 1);
}

/* The body is taken over. Runs it: no function is registered. */
static void read_invocation(struct exsi_reader *r, struct exsi_message *m)
{
	const char *why = NULL;
	exs_bytes *body = m->body;

	m->body = NULL;
	exs_invocation *invocation = exsi_invocation_read(r, body, &why);
	require(!invocation == !!why);
	if (!invocation)
		return;
	exs_result result = exsi_invocation_run(invocation, NULL);
	require(result.kind == EXS_KIND_ERROR);
	exs_result_clear(&result);
	read_text(exsi_invocation_name(invocation));
	exs_invocation_free(invocation);
}

static void read_task(struct exsi_reader *r, struct exsi_message *m)
{
	struct exsi_task_frame task;

	exsi_get_task(r, &task);
	read_text(task.name);
	read_invocation(r, m);
}

static void read_schedule(struct exsi_reader *r, struct exsi_message *m)
{
	exs_task task;

	exsi_get_schedule(r, &task);
	require(task.place <= EXS_DO_LAST);
	read_text(task.name);
	read_invocation(r, m);
}

static void read_error(struct exsi_reader *r)
{
	exs_error *error = exsi_get_error(r);

	require(!error == r->failed);
	if (!error)
		return;
	read_text(exs_error_message(error));
	read_text(exs_error_backtrace(error));
	for (size_t i = 0; i < exs_error_count(error); i++)
		read_text(exs_error_message(exs_error_of(error, i)));
	exs_error_unref(error);
}

static void read_message(struct exsi_message *m)
{
	struct exsi_reader r = exsi_message_reader(m);
	struct exsi_begin_frame begin;

	switch (m->type) {
	case EXSI_FRAME_BEGIN:
		exsi_get_begin(&r, &begin);
		sink += begin.number + begin.restricted;
		break;
	case EXSI_FRAME_TASK:
		read_task(&r, m);
		break;
	case EXSI_FRAME_SCHEDULE:
		read_schedule(&r, m);
		break;
	case EXSI_FRAME_ERROR:
	case EXSI_FRAME_ITEM_ERROR:
		read_error(&r);
		break;
	default: /* bytes, or a number or two */
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
	struct exsi_decoder d = {.max = MAX, .types = UINT32_MAX};
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
