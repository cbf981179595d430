/* Backtraces: where the calling thread is. None where the system has no such thing (it is glibc's). */
#ifndef EXSI_BASE_BACKTRACE_H
#define EXSI_BASE_BACKTRACE_H

#include <stddef.h>

/* Return addresses of the calling thread, at most n, the innermost first, from this function's own on; answers how many. Takes no memory and
   is safe in a signal handler from the second call in the process on. */
size_t exsi_backtrace(void **frames, size_t n);

/* One line for each: "program(function+0x12) [0x55...]". exsi_free'd by the caller; NULL: memory is short, or there is nothing to say. */
char *exsi_backtrace_text(void *const *frames, size_t n);

/* The calling thread's, such lines, to the descriptor. Takes no memory: as exsi_backtrace. */
void exsi_backtrace_write(int fd);

#endif
