/* Bytes: in one block, and when they are shared also in a sealed file of memory (memfd_create), which is handed on. */
#define _GNU_SOURCE
#include "base/bytes.h"

#include "base/memory.h"
#include "base/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* The bytes are in this block, or mapped from another process's file. */
struct block {
	exs_bytes bytes;
	size_t room; /* so many there are, or are mapped */
	bool mapped;
	atomic_int fd; /* of a sealed file of the bytes; -1: none (yet) */
	alignas(max_align_t) unsigned char data[];
};

static struct block *block_of(exs_bytes *bytes)
{
	return EXSI_CONTAINER_OF(bytes, struct block, bytes);
}

/* NULL: memory is short. Without data it has bytes of its own. */
static struct block *new_block(unsigned char *data, size_t size, int fd)
{
	size_t own = data ? 0 : size;
	struct block *b = own > PTRDIFF_MAX - sizeof(*b) ? NULL : exsi_alloc(sizeof(*b) + own);

	if (!b)
		return NULL;
	b->bytes = (exs_bytes){data ? data : b->data, size};
	b->room = size;
	b->mapped = data != NULL;
	atomic_init(&b->fd, fd);
	return b;
}

#if defined(__linux__) && !defined(EXSI_PORTABLE)

enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* A file longer than the limit of files would be a signal, not an error. */
static bool may_be_long(size_t size)
{
	struct rlimit limit;

	return !getrlimit(RLIMIT_FSIZE, &limit) && (limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur);
}

static bool write_all(int fd, const exs_bytes *bytes)
{
	for (size_t done = 0; done < bytes->size;) {
		ssize_t n = write(fd, bytes->data + done, bytes->size - done);

		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* -1: none can be had. It is written, not mapped: so each new page is filled without a fault, and without being zeroed before. */
static int sealed_file(const exs_bytes *bytes)
{
	int fd = may_be_long(bytes->size) ? memfd_create("exs-bytes", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;

	if (fd < 0 || (write_all(fd, bytes) && !fcntl(fd, F_ADD_SEALS, SEALS)))
		return fd;
	close(fd);
	return -1;
}

static bool has_size(int fd, size_t size)
{
	struct stat status;

	return !fstat(fd, &status) && (uint64_t)status.st_size == size;
}

int exsi_bytes_share(exs_bytes *bytes)
{
	struct block *b = block_of(bytes);
	int none = -1, fd = atomic_load(&b->fd);

	if (fd >= 0)
		return has_size(fd, bytes->size) ? fd : -1;
	if (bytes->size <= EXSI_BYTES_INLINE || bytes->size > b->room)
		return -1;
	fd = sealed_file(bytes);
	if (fd < 0 || atomic_compare_exchange_strong(&b->fd, &none, fd))
		return fd;
	close(fd); /* another thread was as fast */
	return none;
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

	void *data = *why ? MAP_FAILED : mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	struct block *b = data == MAP_FAILED ? NULL : new_block(data, size, fd);

	if (b) {
		/* Read once, mostly: unmapping then costs less, as Linux need not mark each page as used. */
		(void)madvise(data, size, MADV_SEQUENTIAL);
		return &b->bytes;
	}
	if (data != MAP_FAILED)
		munmap(data, size);
	close(fd);
	return NULL;
}

#else

int exsi_bytes_share(exs_bytes *bytes)
{
	(void)bytes;
	return -1;
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
	struct block *b = new_block(NULL, size, -1);

	return b ? &b->bytes : NULL;
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
	int fd = b ? atomic_load(&b->fd) : -1;

	if (b && b->mapped)
		munmap(b->bytes.data, b->room);
	if (fd >= 0)
		close(fd);
	exsi_free(b);
}
