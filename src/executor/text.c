/* Text, gathered and written in pieces. */
#include "executor/text.h"
#include "base/thread.h"
#include "future/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool exsi_text_fails(const struct exsi_text *t, const char *who)
{
	if (!t->fn)
		exsi_fail(EXS_EINVAL, "%s: fn is NULL", who);
	else if (exsi_forked())
		exsi_fail(EXS_EFORK, "%s", exs_strerror(EXS_EFORK));
	return !t->fn || exsi_forked();
}

void exsi_text_flush(struct exsi_text *t)
{
	size_t whole = t->n;

	while (whole && t->buf[whole - 1] != '\n')
		whole--;
	if (whole && !t->stopped)
		t->stopped = !t->fn(t->ctx, t->buf, whole);
	t->n -= whole;
	memmove(t->buf, t->buf + whole, t->n);
}

static size_t try_add(struct exsi_text *t, const char *format, va_list ap)
{
	int n = vsnprintf(t->buf + t->n, EXSI_TEXT_SIZE - t->n, format, ap);

	return n < 0 ? 0 : (size_t)n;
}

void exsi_text_add(struct exsi_text *t, const char *format, ...)
{
	va_list ap, again;

	va_start(ap, format);
	va_copy(again, ap);
	size_t n = try_add(t, format, ap);
	if (t->n + n >= EXSI_TEXT_SIZE) {
		exsi_text_flush(t);
		n = try_add(t, format, again);
	}
	t->n += t->n + n < EXSI_TEXT_SIZE ? n : 0;
	va_end(again);
	va_end(ap);
}
