/* Bytes: in one block, or in a file of memory (memfd_create) that can be sealed and handed on. */
#define _GNU_SOURCE
#include "base/bytes.h"

#include "base/lock.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* In a block of its own, or in a file of memory. */
struct block {
	exs_bytes bytes;
	size_t length;	       /* of the file, and of its mapping */
	int fd;		       /* -1: the bytes are in this block */
	struct exsi_lock lock; /* guards sealed, and the change of bytes.data from NULL */
	bool sealed;
	alignas(max_align_t) unsigned char data[];
};

static struct block *block_of(exs_bytes *bytes)
{
	return EXSI_CONTAINER_OF(bytes, struct block, bytes);
}

static struct block *new_block(size_t room, unsigned char *data, size_t size)
{
	struct block *b = exsi_alloc(sizeof(*b) + room);

	if (b)
		*b = (struct block){.bytes = {data ? data : b->data, size}, .length = size, .fd = -1};
	return b;
}

#if defined(__linux__) && !defined(EXSI_PORTABLE)

enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static unsigned char *map(int fd, size_t size, bool to_write)
{
	void *p = to_write ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
			   : mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A file longer than the limit of files would be a signal, not an error. */
static bool may_be_long(size_t size)
{
	struct rlimit limit;

	return size <= PTRDIFF_MAX && !getrlimit(RLIMIT_FSIZE, &limit) &&
	       (limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur);
}

static int make_file(size_t size)
{
	int fd = may_be_long(size) ? memfd_create("exs-bytes", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;

	if (fd < 0 || !ftruncate(fd, (off_t)size))
		return fd;
	close(fd);
	return -1;
}

/* NULL: no file of memory can be had. */
static exs_bytes *new_in_file(size_t size)
{
	int fd = make_file(size);
	unsigned char *data = fd < 0 ? NULL : map(fd, size, true);
	struct block *b = data ? new_block(0, data, size) : NULL;

	if (b) {
		b->fd = fd;
		return &b->bytes;
	}
	if (data)
		munmap(data, size);
	if (fd >= 0)
		close(fd);
	return NULL;
}

static bool seal(struct block *b)
{
	size_t size = b->bytes.size;

	/* While it is mapped for writing it can't be sealed against that. */
	munmap(b->bytes.data, b->length);
	if ((size == b->length || !ftruncate(b->fd, (off_t)size)) && !fcntl(b->fd, F_ADD_SEALS, SEALS)) {
		b->bytes.data = NULL;
		b->length = size;
		b->sealed = true;
		return true;
	}
	if (size != b->length && ftruncate(b->fd, (off_t)b->length))
		b->length = size;
	b->bytes.data = map(b->fd, b->length, true);
	return false;
}

int exsi_bytes_share(exs_bytes *bytes)
{
	struct block *b = block_of(bytes);

	if (b->fd < 0)
		return -1;
	exsi_lock(&b->lock);
	bool fits = b->sealed ? bytes->size == b->length : bytes->size && bytes->size <= b->length && bytes->data;
	bool shared = fits && (b->sealed || seal(b));
	exsi_unlock(&b->lock);
	return shared ? b->fd : -1;
}

int exsi_bytes_map(exs_bytes *bytes)
{
	struct block *b = block_of(bytes);

	if (b->fd < 0)
		return 0;
	exsi_lock(&b->lock);
	if (!bytes->data)
		bytes->data = map(b->fd, b->length, !b->sealed);
	int rc = bytes->data ? 0 : errno;
	exsi_unlock(&b->lock);
	return rc;
}

static const char *wrong_with(int fd, size_t size)
{
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0)
		return "the descriptor is not one of memory";
	if ((seals & SEALS) != SEALS)
		return "the memory is not sealed";
	if (fstat(fd, &status) || !S_ISREG(status.st_mode))
		return "the memory is not a file";
	return size == 0 || (uint64_t)status.st_size != size ? "the memory is not of the size that was said" : NULL;
}

exs_bytes *exsi_bytes_adopt(int fd, size_t size, const char **why)
{
	*why = wrong_with(fd, size);

	unsigned char *data = *why ? NULL : map(fd, size, false);
	struct block *b = data ? new_block(0, data, size) : NULL;

	if (b) {
		b->fd = fd;
		b->sealed = true;
		return &b->bytes;
	}
	if (data)
		munmap(data, size);
	close(fd);
	return NULL;
}

#else

static exs_bytes *new_in_file(size_t size)
{
	(void)size;
	return NULL;
}

int exsi_bytes_share(exs_bytes *bytes)
{
	(void)bytes;
	return -1;
}

int exsi_bytes_map(exs_bytes *bytes)
{
	(void)bytes;
	return 0;
}

exs_bytes *exsi_bytes_adopt(int fd, size_t size, const char **why)
{
	(void)size;
	close(fd);
	*why = "memory by descriptor is not known on this system";
	return NULL;
}

#endif

exs_bytes *exsi_bytes_new(size_t size)
{
	exs_bytes *bytes = size > EXSI_BYTES_INLINE ? new_in_file(size) : NULL;
	struct block *b = bytes || size > PTRDIFF_MAX - sizeof(*b) ? NULL : new_block(size, NULL, size);

	return b ? &b->bytes : bytes;
}

exs_bytes *exsi_bytes_grow(exs_bytes *bytes, size_t size)
{
	exs_bytes *more = exsi_bytes_new(size);

	if (!more)
		return NULL;
	memcpy(more->data, bytes->data, bytes->size);
	exs_bytes_free(bytes);
	return more;
}

void exs_bytes_free(void *bytes)
{
	struct block *b = bytes ? block_of(bytes) : NULL;

	if (b && b->fd >= 0) {
		if (b->bytes.data)
			munmap(b->bytes.data, b->length);
		close(b->fd);
	}
	exsi_free(b);
}
