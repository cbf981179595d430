/* Counts per key: a hash table with open addressing, and the lines of an access log, which look like this:
   192.0.2.7 - - [21/Nov/2026:10:00:00 +0000] "GET /shop/12?page=2 HTTP/1.1" 200 5120 "-" "Mozilla/5.0" */
#include "log_count_counts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct log_counts *log_counts_new(void)
{
	return calloc(1, sizeof(struct log_counts));
}

void log_counts_free(void *counts)
{
	struct log_counts *c = counts;

	if (!c)
		return;
	free(c->keys);
	free(c->texts);
	free(c);
}

/* --- the table --- */

static uint32_t hash_of(const char *key, size_t size)
{
	uint64_t h = size, block = 0;

	for (; size >= sizeof(block); key += sizeof(block), size -= sizeof(block)) {
		memcpy(&block, key, sizeof(block));
		h = (h ^ block) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	block = 0;
	memcpy(&block, key, size);
	h = (h ^ block) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h >> 32);
}

static bool is_key(const struct log_counts *c, const struct log_key *k, uint32_t hash, const char *key, size_t size)
{
	return k->hash == hash && k->size == size && !memcmp(c->texts + k->at, key, size);
}

/* The slot of the key, or the free one where it belongs; there is one. */
static struct log_key *find(const struct log_counts *c, uint32_t hash, const char *key, size_t size)
{
	size_t i = hash & (c->room - 1);

	while (c->keys[i].count && !is_key(c, &c->keys[i], hash, key, size))
		i = (i + 1) & (c->room - 1);
	return &c->keys[i];
}

/* At least a quarter of the slots stays free. */
static bool grow(struct log_counts *c)
{
	struct log_counts larger = {.room = c->room ? 2 * c->room : 256, .texts = c->texts};

	if (c->n < c->room / 4 * 3)
		return true;
	if (!(larger.keys = calloc(larger.room, sizeof(*larger.keys))))
		return false;
	for (size_t i = 0; i < c->room; i++) {
		const struct log_key *k = &c->keys[i];
		if (k->count)
			*find(&larger, k->hash, c->texts + k->at, k->size) = *k;
	}
	free(c->keys);
	c->keys = larger.keys;
	c->room = larger.room;
	return true;
}

static bool keep_text(struct log_counts *c, const char *key, size_t size)
{
	size_t room = c->texts_room ? c->texts_room : 4096;

	while (room - c->texts_size < size)
		room *= 2;
	if (room != c->texts_room) {
		char *texts = realloc(c->texts, room);
		if (!texts)
			return false;
		c->texts = texts;
		c->texts_room = room;
	}
	memcpy(c->texts + c->texts_size, key, size);
	c->texts_size += size;
	return true;
}

static bool count_key(struct log_counts *c, uint32_t hash, const char *key, size_t size, uint64_t times)
{
	if (!grow(c))
		return false;
	struct log_key *k = find(c, hash, key, size);
	if (!k->count) {
		*k = (struct log_key){0, c->texts_size, hash, (uint32_t)size};
		if (!keep_text(c, key, size))
			return false;
		c->n++;
	}
	k->count += times;
	return true;
}

/* --- lines --- */

struct field {
	const char *text;
	size_t size;
};

struct request {
	struct field host, path;
	unsigned status;
	uint64_t sent;
};

/* The quote that ends what begins at p; those after a backslash are part of it. */
static const char *end_quote(const char *p, const char *end)
{
	for (; (p = memchr(p, '"', (size_t)(end - p))); p++)
		if (p[-1] != '\\')
			return p;
	return NULL;
}

static const char *number(const char *p, const char *end, uint64_t *n)
{
	for (*n = 0; p < end && *p >= '0' && *p <= '9'; p++)
		*n = *n * 10 + (uint64_t)(*p - '0');
	return p;
}

/* " 200 5120" or " 304 -": behind the request. */
static bool read_answer(struct request *r, const char *p, const char *end)
{
	uint64_t status;

	if (end - p < 4 || *p != ' ')
		return false;
	const char *behind = number(p + 1, end, &status);
	r->status = (unsigned)status;
	if (behind - p != 4 || status < 100)
		return false;
	if (behind < end)
		number(behind + 1, end, &r->sent);
	return true;
}

/* Of the path without what follows a question mark. */
static bool read_line(struct request *r, const char *line, const char *end)
{
	const char *quote = memchr(line, '"', (size_t)(end - line)), *last, *blank, *path;

	if (!quote || !(last = end_quote(quote + 1, end)) || !(blank = memchr(line, ' ', (size_t)(quote - line))))
		return false;
	r->host = (struct field){line, (size_t)(blank - line)};
	if (!(path = memchr(quote, ' ', (size_t)(last - quote))))
		return false;
	r->path.text = ++path;
	while (path < last && *path != ' ' && *path != '?')
		path++;
	r->path.size = (size_t)(path - r->path.text);
	return r->path.size <= UINT32_MAX && r->host.size <= UINT32_MAX && read_answer(r, last + 1, end);
}

static bool add_line(struct log_counts *c, enum log_by by, const char *line, const char *end)
{
	struct request r = {.sent = 0};

	c->lines++;
	if (!read_line(&r, line, end)) {
		c->odd++;
		return true;
	}
	c->statuses[r.status]++;
	c->sent += r.sent;
	const struct field *key = by == BY_HOST ? &r.host : &r.path;
	return count_key(c, hash_of(key->text, key->size), key->text, key->size, 1);
}

bool log_counts_add(struct log_counts *c, enum log_by by, const char *text, size_t size)
{
	const char *end = text + size, *line_end;

	for (; text < end; text = line_end + 1) {
		line_end = memchr(text, '\n', (size_t)(end - text));
		if (!line_end)
			line_end = end;
		c->no_memory |= !add_line(c, by, text, line_end);
	}
	return !c->no_memory;
}

/* --- several --- */

/* Behind it n keys, then the texts. */
struct packed {
	uint64_t lines, odd, sent, statuses[STATUSES];
	size_t n, texts_size;
};

exs_bytes *log_counts_pack(const struct log_counts *c)
{
	struct packed p = {.lines = c->lines, .odd = c->odd, .sent = c->sent, .n = c->n, .texts_size = c->texts_size};
	exs_bytes *packed = exs_bytes_new(sizeof(p) + c->n * sizeof(*c->keys) + c->texts_size);

	if (!packed)
		return NULL;
	unsigned char *to = packed->data + sizeof(p);
	memcpy(p.statuses, c->statuses, sizeof(p.statuses));
	memcpy(packed->data, &p, sizeof(p));
	for (size_t i = 0; i < c->room; i++)
		if (c->keys[i].count)
			to = (unsigned char *)memcpy(to, &c->keys[i], sizeof(*c->keys)) + sizeof(*c->keys);
	if (c->texts_size)
		memcpy(to, c->texts, c->texts_size);
	return packed;
}

static bool read_packed(struct packed *p, const exs_bytes *packed)
{
	if (!packed || packed->size < sizeof(*p))
		return false;
	memcpy(p, packed->data, sizeof(*p));
	size_t rest = packed->size - sizeof(*p);
	return p->n <= rest / sizeof(struct log_key) && p->texts_size == rest - p->n * sizeof(struct log_key);
}

bool log_counts_merge(struct log_counts *into, const exs_bytes *packed)
{
	struct packed p;

	if (!read_packed(&p, packed))
		return !(into->damaged = true);
	const unsigned char *keys = packed->data + sizeof(p);
	const char *texts = (const char *)(keys + p.n * sizeof(struct log_key));
	into->lines += p.lines;
	into->odd += p.odd;
	into->sent += p.sent;
	for (size_t i = 0; i < STATUSES; i++)
		into->statuses[i] += p.statuses[i];
	for (size_t i = 0; i < p.n && !into->damaged; i++) {
		struct log_key k;
		memcpy(&k, keys + i * sizeof(k), sizeof(k));
		into->damaged = !k.count || k.at > p.texts_size || k.size > p.texts_size - k.at;
		if (!into->damaged)
			into->no_memory |= !count_key(into, k.hash, texts + k.at, k.size, k.count);
	}
	return !into->no_memory && !into->damaged;
}

bool log_counts_are_equal(const struct log_counts *a, const struct log_counts *b)
{
	bool equal = a->lines == b->lines && a->odd == b->odd && a->sent == b->sent && a->n == b->n &&
		     !memcmp(a->statuses, b->statuses, sizeof(a->statuses));

	for (size_t i = 0; i < a->room && equal; i++) {
		const struct log_key *k = &a->keys[i];
		if (k->count)
			equal = find(b, k->hash, a->texts + k->at, k->size)->count == k->count;
	}
	return equal;
}

/* --- printed --- */

struct ranked {
	uint64_t count;
	struct field key;
};

static int by_rank(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	size_t common = x->key.size < y->key.size ? x->key.size : y->key.size;
	int order = memcmp(x->key.text, y->key.text, common);

	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return order ? order : (x->key.size > y->key.size) - (x->key.size < y->key.size);
}

static void print_key(const struct ranked *r)
{
	printf("%12" PRIu64 "  ", r->count);
	for (size_t i = 0; i < r->key.size; i++) {
		unsigned char byte = (unsigned char)r->key.text[i];
		putchar(byte < 0x20 || byte == 0x7f ? '?' : byte);
	}
	putchar('\n');
}

static bool print_top(const struct log_counts *c, size_t top)
{
	struct ranked *ranked = malloc((c->n + 1) * sizeof(*ranked));
	size_t n = 0;

	if (!ranked)
		return false;
	for (size_t i = 0; i < c->room; i++) {
		const struct log_key *k = &c->keys[i];
		if (k->count)
			ranked[n++] = (struct ranked){k->count, {c->texts + k->at, k->size}};
	}
	qsort(ranked, n, sizeof(*ranked), by_rank);
	for (size_t i = 0; i < n && i < top; i++)
		print_key(&ranked[i]);
	free(ranked);
	return true;
}

bool log_counts_print(const struct log_counts *c, enum log_by by, size_t top)
{
	printf("%" PRIu64 " lines, %" PRIu64 " of them odd; %" PRIu64 " bytes sent\n", c->lines, c->odd, c->sent);
	puts("status");
	for (size_t i = 0; i < STATUSES; i++)
		if (c->statuses[i])
			printf("%12" PRIu64 "  %zu\n", c->statuses[i], i);
	printf("%s, %zu different\n", by == BY_HOST ? "host" : "path", c->n);
	return print_top(c, top);
}
