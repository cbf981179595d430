/* Channel: messages over a socket that keeps packets apart. What does not fit waits in order. */
#define _GNU_SOURCE
#include "process/channel.h"

#include "base/bytes.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Packets read at once of one that does not block: some more than a socket holds by default. */
enum { TURN = 8 };

/* A message on its way: head, then body, of which `done` bytes have been sent. */
struct outgoing {
	struct exsi_header header;
	const unsigned char *head, *body;
	size_t head_size, body_size, done;
	int fd; /* -1: none; borrowed */
};

/* What did not fit, all copied into one block. */
struct kept {
	struct exsi_list node;
	struct outgoing rest;
	unsigned char data[];
};

/* Room for a descriptor, as the system aligns it: there may be more in it than one. */
union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

void exsi_channel_init(struct exsi_channel *c, int fd, bool blocks, size_t max, uint32_t types)
{
	int flags = fcntl(fd, F_GETFL);

	*c = (struct exsi_channel){.fd = fd, .blocks = blocks, .in = {.max = max, .types = types}};
	fcntl(fd, F_SETFL, blocks ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
	pthread_mutex_init(&c->lock, NULL);
	exsi_list_init(&c->out);
}

static void drop(struct exsi_channel *c, struct kept *k)
{
	c->kept--;
	exsi_list_remove(&k->node);
	if (k->rest.fd >= 0)
		close(k->rest.fd);
	exsi_free(k);
}

static void drop_all(struct exsi_channel *c)
{
	while (!exsi_list_is_empty(&c->out))
		drop(c, EXSI_CONTAINER_OF(c->out.next, struct kept, node));
}

void exsi_channel_fini(struct exsi_channel *c)
{
	drop_all(c);
	exsi_decoder_fini(&c->in);
	close(c->fd);
	c->fd = -1;
	pthread_mutex_destroy(&c->lock);
}

/* --- sending --- */

/* Those of size bytes at data that are in [from, from + n) of the payload, if data is at `at` there. */
static struct iovec part(const unsigned char *data, size_t size, size_t at, size_t from, size_t n)
{
	size_t begin = from > at ? from - at : 0;
	size_t end = from + n > at ? from + n - at : 0;

	begin = begin < size ? begin : size;
	end = end < size ? end : size;
	return (struct iovec){begin < end ? (void *)(data + begin) : NULL, end - begin};
}

/* One packet, with n bytes of payload. 0 or an errno. */
static int send_packet(int fd, const struct outgoing *o, size_t n)
{
	unsigned char header[EXSI_FRAME_HEADER];
	union control control = {{0}};
	struct iovec io[3] = {{header, sizeof(header)},
			      part(o->head, o->head_size, 0, o->done, n),
			      part(o->body, o->body_size, o->head_size, o->done, n)};
	struct msghdr message = {.msg_iov = io, .msg_iovlen = o->body_size > 0 ? 3 : 2};

	exsi_header_put(header, &o->header);
	if (o->fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), &o->fd, sizeof(int));
	}
	while (sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return errno;
	return 0;
}

/* What is left, as far as there is room. 0: all has gone; EAGAIN; or what is wrong with the other side. */
static int send_rest(struct exsi_channel *c, struct outgoing *o)
{
	size_t size = o->head_size + o->body_size;

	do {
		size_t left = size - o->done;
		size_t n = left < EXSI_FRAME_DATA ? left : EXSI_FRAME_DATA;
		int rc = send_packet(c->fd, o, n);

		if (rc)
			return rc;
		o->done += n;
	} while (o->done < size);
	return 0;
}

/* 0 or ENOMEM. */
static int keep(struct exsi_channel *c, const struct outgoing *o)
{
	struct iovec head = part(o->head, o->head_size, 0, o->done, SIZE_MAX / 2);
	struct iovec body = part(o->body, o->body_size, o->head_size, o->done, SIZE_MAX / 2);
	struct kept *k = exsi_alloc(sizeof(*k) + head.iov_len + body.iov_len);
	int fd = k && o->fd >= 0 ? fcntl(o->fd, F_DUPFD_CLOEXEC, 0) : -1;

	if (!k || (o->fd >= 0 && fd < 0)) {
		exsi_free(k);
		return ENOMEM;
	}
	k->rest = (struct outgoing){
		.header = o->header, .head = k->data, .head_size = head.iov_len + body.iov_len, .fd = fd};
	if (head.iov_len > 0)
		memcpy(k->data, head.iov_base, head.iov_len);
	if (body.iov_len > 0)
		memcpy(k->data + head.iov_len, body.iov_base, body.iov_len);
	exsi_list_append(&c->out, &k->node);
	c->kept++;
	return 0;
}

/* Under the lock. */
static void break_off(struct exsi_channel *c)
{
	c->broken = true;
	drop_all(c);
	/* If it was for want of memory the other side has to learn that the message it waits for does not come. */
	shutdown(c->fd, SHUT_WR);
}

/* Under the lock. */
static int send_or_keep(struct exsi_channel *c, struct outgoing *o)
{
	int rc = exsi_list_is_empty(&c->out) ? send_rest(c, o) : EAGAIN;

	if (rc == EAGAIN) {
		rc = c->kept < EXSI_CHANNEL_KEPT ? keep(c, o) : ENOBUFS;
		if (rc == 0 || (rc == ENOMEM && o->done == 0))
			return rc;
		rc = rc == ENOBUFS ? rc : EPIPE;
	}
	if (rc)
		break_off(c);
	return rc;
}

/* What is to go: the body by a descriptor, if it can be had. 0 or EMSGSIZE. */
static int prepare(struct outgoing *o, exs_bytes *body)
{
	o->fd = -1;
	if (body && body->size > UINT32_MAX - o->head_size)
		return EMSGSIZE;
	o->fd = body ? exsi_bytes_share(body) : -1;
	if (o->fd >= 0) {
		o->header.flags = EXSI_FRAME_MEMORY;
		o->header.size = (uint32_t)body->size;
		return 0;
	}
	if (body && body->size > 0) {
		o->body = body->data;
		o->body_size = body->size;
	}
	o->header.size = (uint32_t)(o->head_size + o->body_size);
	return 0;
}

int exsi_channel_send(struct exsi_channel *c, enum exsi_frame_type type, uint64_t id, const void *head, size_t size,
		      exs_bytes *body)
{
	struct outgoing o = {.header = {.type = type, .id = id}, .head = head, .head_size = size};
	int rc = size > EXSI_FRAME_DATA ? EMSGSIZE : prepare(&o, body);

	if (rc)
		return rc;
	pthread_mutex_lock(&c->lock);
	rc = c->broken ? EPIPE : send_or_keep(c, &o);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

bool exsi_channel_flush(struct exsi_channel *c)
{
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	while (rc == 0 && !exsi_list_is_empty(&c->out)) {
		struct kept *k = EXSI_CONTAINER_OF(c->out.next, struct kept, node);

		rc = send_rest(c, &k->rest);
		if (rc == 0)
			drop(c, k);
	}
	if (rc != 0 && rc != EAGAIN)
		break_off(c);
	bool left = !exsi_list_is_empty(&c->out);
	pthread_mutex_unlock(&c->lock);
	return left;
}

bool exsi_channel_is_full(struct exsi_channel *c)
{
	pthread_mutex_lock(&c->lock);
	bool full = !exsi_list_is_empty(&c->out);
	pthread_mutex_unlock(&c->lock);
	return full;
}

/* --- receiving --- */

/* The descriptors that came: the only one, or -1 if there is none; -2 if there are several, which are closed. */
static int take_descriptors(struct msghdr *message)
{
	int one = -1;
	size_t count = 0;

	for (struct cmsghdr *m = CMSG_FIRSTHDR(message); m; m = CMSG_NXTHDR(message, m)) {
		bool has = m->cmsg_level == SOL_SOCKET && m->cmsg_type == SCM_RIGHTS;
		size_t n = has ? (m->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(m) + i * sizeof(fd), sizeof(fd));
			if (one >= 0)
				close(one);
			one = fd;
			count++;
		}
	}
	if (count < 2)
		return one;
	close(one);
	return -2;
}

/* The next packet: its size, which may be more than there was room for; 0: the end; or -errno. */
static ssize_t receive_packet(int socket, unsigned char *packet, int *fd, bool *cut)
{
	union control control;
	struct iovec io = {packet, EXSI_FRAME_PACKET};
	struct msghdr message = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_TRUNC);

	*fd = -1;
	if (n < 0)
		return -errno;
	*fd = take_descriptors(&message);
	*cut = *fd == -2 || (message.msg_flags & MSG_CTRUNC);
	return n;
}

static enum exsi_received broken(int fd, const char **why, const char *text)
{
	if (fd >= 0)
		close(fd);
	*why = text;
	return EXSI_BROKEN;
}

enum exsi_received exsi_channel_receive(struct exsi_channel *c, struct exsi_message *message, const char **why)
{
	unsigned char packet[EXSI_FRAME_PACKET];

	for (unsigned packets = 0; c->blocks || packets < TURN; packets++) {
		int fd;
		bool cut = false;
		ssize_t n = receive_packet(c->fd, packet, &fd, &cut);

		/* ECONNRESET: the other side has gone without reading all that was sent to it, and is told once; what it sent itself
		   is still to come. */
		if (n == -EINTR || n == -ECONNRESET)
			continue;
		if (n == -EAGAIN)
			return EXSI_NONE_NOW;
		if (n < 0)
			return broken(-1, why, "nothing can be received");
		if (cut)
			return broken(fd, why, "too many descriptors come at once, or no more can be had");
		if (n == 0) {
			broken(fd, why, "");
			return EXSI_END;
		}
		enum exsi_decoded rc = exsi_decode(&c->in, packet, (size_t)n, fd, message, why);
		if (rc == EXSI_MALFORMED || rc == EXSI_NO_MEMORY)
			return EXSI_BROKEN;
		if (rc == EXSI_DECODED)
			return EXSI_RECEIVED;
	}
	return EXSI_PARTLY;
}
