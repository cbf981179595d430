/* Bytes inside: memory that another process can be given. */
#ifndef EXSI_BASE_BYTES_H
#define EXSI_BASE_BYTES_H

#include <executors/bytes.h>

/* More than so many lie in a file of memory. */
enum { EXSI_BYTES_INLINE = 1 << 20 };

/* New bytes, uninitialised; NULL: memory is short. data is never NULL. */
exs_bytes *exsi_bytes_new(size_t size);

/* Bytes of more room, with what the old ones hold, which are freed. NULL: memory is short, and they are as they were. Never of shared ones. */
exs_bytes *exsi_bytes_grow(exs_bytes *bytes, size_t size);

/* Of bytes that lie in such a file: seals it against all further change, at the size that bytes has, unmaps what could be written (data
   becomes NULL, or a mapping that can only be read), and answers its descriptor, which stays the bytes' own; once sealed, answers it again.
   -1: they do not lie in one, there are none (size is 0), they are more than were made, or it can't be sealed: then they are as they were
   (data is NULL only if memory for mapping them again is short). MT-safe; but until the first call has returned nobody else may read data. */
int exsi_bytes_share(exs_bytes *bytes);

/* data of bytes that were shared, mapped again if need be; 0 or an errno. MT-safe. */
int exsi_bytes_map(exs_bytes *bytes);

/* New bytes of a descriptor that came from elsewhere, which it takes over, also on failure. All four seals (seal, shrink, grow, write) must
   be there, and it must have exactly `size` bytes, more than 0: looked at before it is mapped, only for reading. NULL: *why says what is
   wrong (static text), or is NULL: memory is short. */
exs_bytes *exsi_bytes_adopt(int fd, size_t size, const char **why);

#endif
