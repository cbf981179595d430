/* UTF-8. */
#ifndef EXSI_BASE_UTF8_H
#define EXSI_BASE_UTF8_H

#include <stddef.h>

/* Bytes of the character that begins here, of a text that ends with a NUL; 0: none does. That of the NUL is one byte. */
size_t exsi_utf8(const char *text);

#endif
