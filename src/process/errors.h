/* Errors as they travel, and those of dead workers. */
#ifndef EXSI_PROCESS_ERRORS_H
#define EXSI_PROCESS_ERRORS_H

#include "future/error.h"
#include "process/frame.h"

/* Never more bytes than so many are put. */
enum { EXSI_ERROR_SIZE = 320 << 10 };

/* Domain, code, message, retry hint, backtrace, and the errors that it is made of: down to 4 levels below it and 64 errors in all, itself
   included; what is beyond is left out, the nearest to it last. A message or backtrace over 64 KiB is cut, and all of them together at what
   EXSI_ERROR_SIZE leaves. */
void exsi_put_error(struct exsi_writer *w, const exs_error *error);

/* A reference, never NULL unless r->failed: then nothing was made. Domains as exs_register_domain says; the message of one that is not known here
   is "NAME CODE: message". When memory is short, an error or one of those that it is made of is EXS_ENOMEM instead, or has no backtrace. */
exs_error *exsi_get_error(struct exsi_reader *r);

#endif
