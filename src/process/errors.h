/* Errors as they travel, and those of dead workers. */
#ifndef EXSI_PROCESS_ERRORS_H
#define EXSI_PROCESS_ERRORS_H

#include "future/error.h"
#include "process/frame.h"

/* Domain, code, message, retry hint, backtrace, and the errors that it is made of (down to 4 levels and 64 errors in all; what is beyond is
   left out). A message over 64 KiB is cut. */
void exsi_put_error(struct exsi_writer *w, const exs_error *error);

/* A reference, never NULL unless r->failed: then nothing was made. domains as exs_register_domain says. */
exs_error *exsi_get_error(struct exsi_reader *r);

#endif
