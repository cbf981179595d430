/* Bytes inside: memory that another process can be given. */
#ifndef EXSI_BASE_BYTES_H
#define EXSI_BASE_BYTES_H

#include <executors/bytes.h>

/* More than so many are shared by a file of memory. */
enum { EXSI_BYTES_INLINE = 1 << 20 };

/* New bytes, uninitialised; NULL: memory is short. data is never NULL. */
exs_bytes *exsi_bytes_new(size_t size);

/* Bytes of more room, with what the old ones hold, which are freed. NULL: memory is short, and they are as they were. */
exs_bytes *exsi_bytes_grow(exs_bytes *bytes, size_t size);

/* A descriptor, which stays the bytes' own, of a file of memory that holds them, of the size that bytes has, sealed against all change. The
   first call makes it, and copies them into it; later ones answer it again. data stays as it is: so until they are freed they take their
   memory twice. -1: they are no more than EXSI_BYTES_INLINE, or more than were made, their size is not that of the file they have, or none
   can be had. MT-safe. */
int exsi_bytes_share(exs_bytes *bytes);

/* New bytes of a descriptor that came from elsewhere, which it takes over, also on failure. All four seals (seal, shrink, grow, write) must
   be there, and it must have exactly `size` bytes, more than 0: looked at before it is mapped, only for reading. When they are shared, it
   is by that descriptor. NULL: *why says what is wrong (static text), or is NULL: memory is short. */
exs_bytes *exsi_bytes_adopt(int fd, size_t size, const char **why);

#endif
