/* Fields: numbers, texts and bytes in a payload. */
#include "base/memory.h"
#include "process/frame.h"

#include <string.h>

/* --- written --- */

enum { LEAST_ROOM = 256 };

static bool make_room(struct exsi_writer *w, size_t size)
{
	if (w->failed || size <= w->room - w->size)
		return !w->failed;

	size_t room = w->room < LEAST_ROOM ? LEAST_ROOM : w->room;
	while (room - w->size < size && room < SIZE_MAX / 2)
		room *= 2;
	unsigned char *data = room - w->size < size ? NULL : exsi_alloc(room);

	w->failed = !data;
	if (!data)
		return false;
	if (w->size > 0)
		memcpy(data, w->data, w->size);
	if (w->own)
		exsi_free(w->data);
	w->data = data;
	w->room = room;
	w->own = true;
	return true;
}

static void put(struct exsi_writer *w, const void *data, size_t size)
{
	if (!make_room(w, size))
		return;
	if (size > 0)
		memcpy(w->data + w->size, data, size);
	w->size += size;
}

static void put_number(struct exsi_writer *w, uint64_t value, size_t size)
{
	unsigned char bytes[8];

	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(value >> 8 * i);
	put(w, bytes, size);
}

void exsi_put_u8(struct exsi_writer *w, unsigned value)
{
	put_number(w, value, 1);
}

void exsi_put_u32(struct exsi_writer *w, uint32_t value)
{
	put_number(w, value, 4);
}

void exsi_put_u64(struct exsi_writer *w, uint64_t value)
{
	put_number(w, value, 8);
}

void exsi_put_bytes(struct exsi_writer *w, const void *data, size_t size)
{
	if (size > UINT32_MAX) {
		w->failed = true;
		return;
	}
	exsi_put_u32(w, (uint32_t)size);
	put(w, data, size);
}

void exsi_put_text(struct exsi_writer *w, const char *text)
{
	text = text ? text : "";
	exsi_put_bytes(w, text, strlen(text));
	exsi_put_u8(w, 0);
}

void exsi_writer_fini(struct exsi_writer *w)
{
	if (w->own)
		exsi_free(w->data);
	*w = (struct exsi_writer){.failed = w->failed};
}

/* --- read --- */

/* The next size bytes, or NULL. */
static const unsigned char *get(struct exsi_reader *r, size_t size)
{
	const unsigned char *at = r->data;

	r->failed = r->failed || size > r->size;
	if (r->failed || size == 0)
		return r->failed ? NULL : (const unsigned char *)"";
	r->data += size;
	r->size -= size;
	return at;
}

static uint64_t get_number(struct exsi_reader *r, size_t size)
{
	const unsigned char *bytes = get(r, size);
	uint64_t value = 0;

	for (size_t i = 0; bytes && i < size; i++)
		value |= (uint64_t)bytes[i] << 8 * i;
	return value;
}

unsigned exsi_get_u8(struct exsi_reader *r)
{
	return (unsigned)get_number(r, 1);
}

uint32_t exsi_get_u32(struct exsi_reader *r)
{
	return (uint32_t)get_number(r, 4);
}

uint64_t exsi_get_u64(struct exsi_reader *r)
{
	return get_number(r, 8);
}

const void *exsi_get_bytes(struct exsi_reader *r, size_t *size)
{
	size_t n = exsi_get_u32(r);
	const unsigned char *bytes = get(r, n);

	*size = bytes ? n : 0;
	return bytes ? bytes : (const unsigned char *)"";
}

const char *exsi_get_text(struct exsi_reader *r)
{
	size_t n;
	const char *text = exsi_get_bytes(r, &n);

	/* The NUL may be missing, in which case nothing behind the text is looked at. */
	if (exsi_get_u8(r) != 0 || memchr(text, '\0', n))
		r->failed = true;
	return r->failed || n == 0 ? "" : text;
}

bool exsi_reader_ends(const struct exsi_reader *r)
{
	return !r->failed && r->size == 0;
}
