/* Frames: messages put together of packets that nobody vouches for. */
#define _POSIX_C_SOURCE 200809L
#include "process/frame.h"

#include "base/bytes.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* What is made ready for a long message before it has come. */
enum { FIRST_ROOM = 4 * EXSI_FRAME_DATA };

void exsi_message_fini(struct exsi_message *message)
{
	exs_bytes_free(message->head);
	exs_bytes_free(message->body);
	message->head = message->body = NULL;
}

void exsi_decoder_fini(struct exsi_decoder *d)
{
	exsi_message_fini(&d->message);
	d->partial = false;
}

static void put(unsigned char *to, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		to[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t get(const unsigned char *from, size_t size)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)from[i] << 8 * i;
	return value;
}

void exsi_header_put(unsigned char *to, const struct exsi_header *header)
{
	to[0] = EXSI_FRAME_VERSION;
	to[1] = (unsigned char)header->type;
	put(to + 2, header->flags, 2);
	put(to + 4, header->size, 4);
	put(to + 8, header->id, 8);
}

static struct exsi_header get_header(const unsigned char *packet)
{
	return (struct exsi_header){.type = (enum exsi_frame_type)packet[1],
				    .flags = (unsigned)get(packet + 2, 2),
				    .size = (uint32_t)get(packet + 4, 4),
				    .id = get(packet + 8, 8)};
}

static const char *wrong_with_packet(const struct exsi_decoder *d, const unsigned char *packet, size_t size)
{
	if (size < EXSI_FRAME_HEADER)
		return "a packet is shorter than its header";
	if (size > EXSI_FRAME_PACKET)
		return "a packet is too long";
	if (packet[0] != EXSI_FRAME_VERSION)
		return "a packet has another version of the protocol";
	if (packet[1] > 31 || !(d->types >> packet[1] & 1))
		return "a message has a type that is not expected";
	return (get(packet + 2, 2) & ~(uint64_t)EXSI_FRAME_MEMORY) ? "a packet has a flag that is not known" : NULL;
}

/* n: the bytes behind the header. */
static const char *wrong_with_memory(const struct exsi_decoder *d, const struct exsi_header *h, size_t n, int fd)
{
	if (d->partial)
		return "memory comes within another message";
	if (fd < 0)
		return "memory comes without a descriptor";
	if (h->size == 0)
		return "memory of no size";
	return h->size > d->max || n > d->max - h->size ? "a message is larger than the limit" : NULL;
}

static const char *wrong_with_data(const struct exsi_decoder *d, const struct exsi_header *h, size_t n, int fd)
{
	const struct exsi_message *m = &d->message;

	if (fd >= 0)
		return "a descriptor comes with a packet that has no memory";
	if (h->size > d->max)
		return "a message is larger than the limit";
	if (d->partial && (h->type != m->type || h->id != m->id || h->size != d->size))
		return "a packet is not of the message before it, which is not whole";

	size_t left = h->size - (d->partial ? d->got : 0);

	return n != (left < EXSI_FRAME_DATA ? left : EXSI_FRAME_DATA) ? "a packet has not as many bytes as it should"
								      : NULL;
}

/* Room for what was said to come, but no more than twice what has come. false: memory is short. */
static bool make_room(struct exsi_decoder *d, size_t n)
{
	exs_bytes *head = d->message.head;
	size_t had = head ? head->size : 0;
	size_t room = head ? 2 * had : FIRST_ROOM;

	if (d->got + n <= had)
		return true;
	/* The first packet of several is full, and room stays a multiple of that; so doubled once it is enough. */
	room = room < d->size ? room : d->size;
	head = head ? exsi_bytes_grow(head, room) : exsi_bytes_new(room);
	if (head)
		d->message.head = head;
	return head != NULL;
}

static enum exsi_decoded whole(struct exsi_decoder *d, struct exsi_message *message)
{
	*message = d->message;
	d->message = (struct exsi_message){0};
	d->partial = false;
	return EXSI_DECODED;
}

static enum exsi_decoded take_data(struct exsi_decoder *d, const struct exsi_header *h, const unsigned char *data,
				   size_t n, struct exsi_message *message)
{
	if (!d->partial) {
		d->message = (struct exsi_message){.type = h->type, .id = h->id};
		d->got = 0;
		d->size = h->size;
	}
	if (n > 0 && !make_room(d, n))
		return EXSI_NO_MEMORY;
	if (n > 0)
		memcpy(d->message.head->data + d->got, data, n);
	d->got += n;
	d->partial = d->got < d->size;
	return d->partial ? EXSI_INCOMPLETE : whole(d, message);
}

/* Takes over fd. */
static enum exsi_decoded take_memory(struct exsi_decoder *d, const struct exsi_header *h, const unsigned char *data,
				     size_t n, int fd, struct exsi_message *message, const char **why)
{
	d->message = (struct exsi_message){.type = h->type, .id = h->id, .body = exsi_bytes_adopt(fd, h->size, why)};
	if (!d->message.body)
		return *why ? EXSI_MALFORMED : EXSI_NO_MEMORY;
	d->message.head = n > 0 ? exsi_bytes_new(n) : NULL;
	if (n > 0 && !d->message.head)
		return EXSI_NO_MEMORY;
	if (n > 0)
		memcpy(d->message.head->data, data, n);
	return whole(d, message);
}

enum exsi_decoded exsi_decode(struct exsi_decoder *d, const void *packet, size_t size, int fd,
			      struct exsi_message *message, const char **why)
{
	const unsigned char *bytes = packet;
	size_t n = size - EXSI_FRAME_HEADER;
	struct exsi_header h = {0};
	enum exsi_decoded rc = EXSI_MALFORMED;

	*why = wrong_with_packet(d, bytes, size);
	if (!*why) {
		h = get_header(bytes);
		*why = h.flags & EXSI_FRAME_MEMORY ? wrong_with_memory(d, &h, n, fd) : wrong_with_data(d, &h, n, fd);
	}
	if (*why && fd >= 0)
		close(fd);
	else if (!*why && h.flags & EXSI_FRAME_MEMORY)
		rc = take_memory(d, &h, bytes + EXSI_FRAME_HEADER, n, fd, message, why);
	else if (!*why)
		rc = take_data(d, &h, bytes + EXSI_FRAME_HEADER, n, message);
	if (rc == EXSI_NO_MEMORY)
		*why = "memory is short";
	if (rc == EXSI_MALFORMED || rc == EXSI_NO_MEMORY)
		exsi_decoder_fini(d);
	return rc;
}
