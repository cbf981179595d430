/* Text on its way to a function that writes it. */
#ifndef EXSI_EXECUTOR_TEXT_H
#define EXSI_EXECUTOR_TEXT_H

#include <executors/base.h>

enum { EXSI_TEXT_SIZE = 2048 };

struct exsi_text {
	exs_write_fn *fn;
	void *ctx;
	size_t n;
	bool stopped; /* fn has had enough */
	char buf[EXSI_TEXT_SIZE];
};

/* Can't it be begun? Then exs_last_error says why. */
bool exsi_text_fails(const struct exsi_text *text, const char *who);

/* Writes the whole lines that are there. */
void exsi_text_flush(struct exsi_text *text);

/* Adds a line, or a part of one. A line is shorter than EXSI_TEXT_SIZE; what does not fit is left out. */
void exsi_text_add(struct exsi_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
