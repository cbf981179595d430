/* Bytes: what goes to a worker process and comes back from it. */
#ifndef EXECUTORS_BYTES_H
#define EXECUTORS_BYTES_H

#include <executors/result.h>

#ifdef __cplusplus
extern "C" {
#endif

/* So many bytes at data. Whoever made it may lower size, and write data until it is handed over as a result, an input or an item: from then
   on it is read only. On Linux more than 1 MiB of them go to another process by a sealed file of memory (memfd_create), into which they are
   copied once, and which the other one maps; until they are freed here they take their memory twice. */
typedef struct exs_bytes {
	unsigned char *data; /* NULL only if size is 0 */
	size_t size;
} exs_bytes;

/* New bytes, uninitialised or copied; the caller's. data NULL: size is to be 0. NULL and exs_last_error on failure. MT-safe. */
EXS_API exs_bytes *exs_bytes_new(size_t size);
EXS_API exs_bytes *exs_bytes_copy(const void *data, size_t size);

/* Frees an exs_bytes; its type is that of a destructor. NULL is allowed. */
EXS_API void exs_bytes_free(void *bytes);

/* A result of them, which owns them: what a registered function answers. The second copies size bytes of data; when memory is short it is
   the error EXS_ENOMEM. bytes NULL: what exs_bytes_new just failed with. */
EXS_API exs_result exs_ok_bytes(exs_bytes *bytes);
EXS_API exs_result exs_ok_copy(const void *data, size_t size);

#ifdef __cplusplus
}
#endif
#endif
