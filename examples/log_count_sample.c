/* A sample log: lines drawn at random, the same for the same seed. */
#include "log_count_sample.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static uint64_t draw(uint64_t *state, uint64_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1du % below;
}

/* Some paths are asked for much more often than others. */
static int write_path(char *text, size_t size, uint64_t *state)
{
	unsigned a = (unsigned)draw(state, 64), b = (unsigned)draw(state, 64), page = a * b * a / 64;

	switch (draw(state, 4)) {
	case 0:
		return snprintf(text, size, "/static/%u/app-%u.js", page % 7, page % 40);
	case 1:
		return snprintf(text, size, "/search?words=%u&page=%u", b, a);
	default:
		return snprintf(text, size, "/shop/item/%u", page);
	}
}

static unsigned draw_status(uint64_t *state)
{
	static const unsigned statuses[] = {200, 200, 200, 200, 200, 200, 200, 200, 200, 200,
					    200, 200, 304, 304, 301, 404, 404, 403, 500, 503};

	return statuses[draw(state, sizeof(statuses) / sizeof(*statuses))];
}

static int write_line(char *line, size_t size, uint64_t n, uint64_t *state)
{
	char path[64];
	unsigned seconds = (unsigned)(n / 50 % 86400), host = (unsigned)draw(state, 5000);

	if (draw(state, 1000) == 0)
		return snprintf(line, size, "[warn] child %u: no answer\n", host);
	write_path(path, sizeof(path), state);
	unsigned bytes = (unsigned)draw(state, 65536), status = draw_status(state);
	return snprintf(line, size,
			"10.7.%u.%u - - [21/Nov/2026:%02u:%02u:%02u +0000] \"GET %s HTTP/1.1\" %u %u \"-\" "
			"\"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\"\n",
			host / 250, host % 250, seconds / 3600, seconds / 60 % 60, seconds % 60, path, status, bytes);
}

static int write_all(int fd, const char *text, size_t size)
{
	while (size) {
		ssize_t n = write(fd, text, size);
		if (n < 0 && errno != EINTR)
			return errno;
		text += n > 0 ? n : 0;
		size -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int log_write_sample(int fd, uint64_t size, uint64_t seed)
{
	char block[65536];
	size_t filled = 0;
	int rc = 0;
	uint64_t state = seed * 2 + 1, written = 0;

	for (uint64_t n = 0; written < size && !rc; n++) {
		int line = write_line(block + filled, sizeof(block) - filled, n, &state);
		filled += (size_t)line;
		written += (uint64_t)line;
		if (filled > sizeof(block) - 512 || written >= size) {
			rc = write_all(fd, block, filled);
			filled = 0;
		}
	}
	return rc;
}
