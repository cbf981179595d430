/* Channel: messages over one socket. */
#ifndef EXSI_PROCESS_CHANNEL_H
#define EXSI_PROCESS_CHANNEL_H

#include "base/list.h"
#include "base/sync.h"
#include "process/frame.h"

/* How many messages are kept for one that does not read: a worker is told of one task at a time, and little of that. */
enum { EXSI_CHANNEL_KEPT = 8192 };

/* lock guards out, kept, broken and the sending: the packets of one message are not mixed with those of another. Whoever receives is one thread
   at a time. */
struct exsi_channel {
	int fd;	     /* -1: closed */
	bool blocks; /* a send waits for room: a worker's; the parent's keeps what does not fit in `out` */
	struct exsi_decoder in;
	pthread_mutex_t lock;
	struct exsi_list out; /* messages that did not fit, in order */
	size_t kept;	      /* so many */
	bool broken;	      /* nothing more can be sent: the other side has gone */
};

/* Takes over the descriptor, which is set to block or not. */
void exsi_channel_init(struct exsi_channel *c, int fd, bool blocks, size_t max, uint32_t types);
void exsi_channel_fini(struct exsi_channel *c); /* closes it */

/* Sends a message whose payload is head, and then the bytes of body, if it is not NULL. Those that can be shared are sent by a descriptor
   (exsi_bytes_share), others in packets. The caller keeps both. 0; ENOMEM (nothing was sent); EMSGSIZE (over UINT32_MAX, or head over
   EXSI_FRAME_DATA); ENOBUFS (too many are kept: it reads nothing, and nothing more is sent); EPIPE or another errno: the other side has gone
   (what becomes of it the receiver sees). MT-safe; blocks if the channel does. */
int exsi_channel_send(struct exsi_channel *c, enum exsi_frame_type type, uint64_t id, const void *head, size_t size,
		      exs_bytes *body);

/* Of one that does not block: sends what has been kept, as far as there is room. Answers whether some is left. */
bool exsi_channel_flush(struct exsi_channel *c);
bool exsi_channel_is_full(struct exsi_channel *c);

enum exsi_received {
	EXSI_RECEIVED, /* *message: the caller's */
	EXSI_NONE_NOW, /* only of one that does not block; the following too */
	EXSI_PARTLY,   /* as much has been read as is at once, so that others have their turn: there may be more */
	EXSI_END,      /* the other side has closed it, or is gone */
	EXSI_BROKEN    /* *why: static text; the channel is of no use any more */
};
enum exsi_received exsi_channel_receive(struct exsi_channel *c, struct exsi_message *message, const char **why);

#endif
