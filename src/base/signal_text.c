/* What signals are called: glibc's table, which strsignal would translate. */
#define _GNU_SOURCE
#include "base/signal_text.h"

#include <string.h>

#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 32)

const char *exsi_signal_text(int signal)
{
	return sigdescr_np(signal);
}

#else

const char *exsi_signal_text(int signal)
{
	(void)signal;
	return NULL;
}

#endif
