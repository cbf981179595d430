/* Frames: what parent and worker say to each other, packet by packet, over a socket that keeps their boundaries (SOCK_SEQPACKET).

   A message has a type, an id and a payload. It takes one packet for each EXSI_FRAME_DATA bytes of payload, in order: a header, then the
   bytes. All numbers little-endian:

   0 version (u8)   1 type (u8)   2 flags (u16)   4 size of the payload (u32)   8 id (u64)   16 ...

   size is that of the whole payload in every packet of the message, so what a packet must hold is known from those before it. With
   EXSI_FRAME_MEMORY the packet carries one descriptor, of a sealed file of `size` bytes that come behind the payload that stands in the
   packet (whose length is the packet's own, at most EXSI_FRAME_DATA): there is one packet. Nothing else carries one. */
#ifndef EXSI_PROCESS_FRAME_H
#define EXSI_PROCESS_FRAME_H

#include <executors/bytes.h>

enum { EXSI_FRAME_VERSION = 1, EXSI_FRAME_HEADER = 16, EXSI_FRAME_DATA = 32 << 10 };
enum { EXSI_FRAME_PACKET = EXSI_FRAME_HEADER + EXSI_FRAME_DATA };

#define EXSI_FRAME_MEMORY 1u

enum exsi_frame_type {
	/* to a worker */
	EXSI_FRAME_BEGIN = 1, /* struct of its options, first of all */
	EXSI_FRAME_TASK = 2,
	EXSI_FRAME_END = 3,    /* no further task: tear down, and end */
	EXSI_FRAME_CANCEL = 4, /* of task id */
	EXSI_FRAME_CREDIT = 5, /* task id may emit so many items more; 0: nobody reads any more */
	EXSI_FRAME_RECALL = 6, /* tasks up to id that have not been begun are not to be any more */
	/* from a worker */
	EXSI_FRAME_READY = 16,
	EXSI_FRAME_VALUE = 17, /* of task id; the payload is the bytes */
	EXSI_FRAME_NULL = 18,  /* the same, but no bytes at all (NULL) */
	EXSI_FRAME_ERROR = 19,
	EXSI_FRAME_CANCELLED = 20,
	EXSI_FRAME_ITEM = 21,
	EXSI_FRAME_MESSAGE = 22,
	EXSI_FRAME_SCHEDULE = 23,
	EXSI_FRAME_ITEM_NULL = 24, /* as of a value */
	EXSI_FRAME_ITEM_ERROR = 25,
	EXSI_FRAME_RECALLED = 26 /* those from id have not been, and will not be */
};

/* A message that has arrived. head: what stood in the packets; body: what came by a descriptor, or NULL. */
struct exsi_message {
	enum exsi_frame_type type;
	uint64_t id;
	exs_bytes *head; /* NULL: none; never of no size */
	exs_bytes *body; /* NULL: none */
};
void exsi_message_fini(struct exsi_message *message);

/* What has arrived of a message. Zeroed it is empty. */
struct exsi_decoder {
	size_t max;	/* bytes of a payload, with the body; constant */
	uint32_t types; /* bit (1 << type) of those that may come; constant */
	bool partial;	/* the following is of a message that is not whole */
	struct exsi_message message;
	size_t got, size;
};

enum exsi_decoded {
	EXSI_DECODED, /* *message is whole: the caller's */
	EXSI_INCOMPLETE,
	EXSI_MALFORMED, /* *why: static text; the decoder is of no use any more */
	EXSI_NO_MEMORY	/* as malformed */
};

/* One packet of `size` bytes as it was received, with a descriptor or -1, which is taken over in any case. Never reads beyond the packet,
   trusts nothing in it. */
enum exsi_decoded exsi_decode(struct exsi_decoder *d, const void *packet, size_t size, int fd,
			      struct exsi_message *message, const char **why);
void exsi_decoder_fini(struct exsi_decoder *d);

/* The header of a packet, EXSI_FRAME_HEADER bytes. */
struct exsi_header {
	enum exsi_frame_type type;
	unsigned flags;
	uint32_t size;
	uint64_t id;
};
void exsi_header_put(unsigned char *to, const struct exsi_header *header);

/* --- fields of a payload: numbers little-endian, text and bytes with their length before them (u32) --- */

/* Written. Begins with a buffer of the caller's (which may be of no size) and moves to memory of its own when that is full; `failed` stays
   set once memory was short. */
struct exsi_writer {
	unsigned char *data;
	size_t size, room;
	bool own, failed;
};
void exsi_put_u8(struct exsi_writer *w, unsigned value);
void exsi_put_u32(struct exsi_writer *w, uint32_t value);
void exsi_put_u64(struct exsi_writer *w, uint64_t value);
void exsi_put_bytes(struct exsi_writer *w, const void *data, size_t size); /* more than UINT32_MAX: failed */
void exsi_put_text(struct exsi_writer *w, const char *text);		   /* NULL as "" */
void exsi_writer_fini(struct exsi_writer *w);

/* Read. After the first that is not there, or is wrong, `failed` is set, and all are 0 and empty. */
struct exsi_reader {
	const unsigned char *data;
	size_t size; /* what is left */
	bool failed;
};
unsigned exsi_get_u8(struct exsi_reader *r);
uint32_t exsi_get_u32(struct exsi_reader *r);
uint64_t exsi_get_u64(struct exsi_reader *r);
const void *exsi_get_bytes(struct exsi_reader *r, size_t *size); /* into the payload */
/* The same for text: without a NUL in it, and followed by one in the payload (exsi_put_text writes it). */
const char *exsi_get_text(struct exsi_reader *r);
/* Is all read, and nothing wrong? */
bool exsi_reader_ends(const struct exsi_reader *r);

/* Of what stood in the message's packets. */
static inline struct exsi_reader exsi_message_reader(const struct exsi_message *m)
{
	return (struct exsi_reader){.data = m->head ? m->head->data : NULL, .size = m->head ? m->head->size : 0};
}

#endif
