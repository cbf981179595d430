/* Errors as they travel, the domains by which they are known again, and those of dead workers. */
#define _GNU_SOURCE
#include "process/errors.h"
#include "base/memory.h"
#include "base/signal_text.h"

#include <executors/process_pool.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

const exs_domain exs_domain_signal = {.size = sizeof(exs_domain), .name = "signal", .describe = exsi_signal_text};
const exs_domain exs_domain_exit = {.size = sizeof(exs_domain), .name = "exit"};
const exs_domain exs_domain_remote = {.size = sizeof(exs_domain), .name = "remote"};

/* --- domains --- */

enum { NAME = 255 };

static const exs_domain *const ours[] = {&exs_domain_exs, &exs_domain_errno, &exs_domain_signal, &exs_domain_exit,
					 &exs_domain_remote};

/* Those made known: only ever added to, in front, by whoever holds the lock. */
struct known {
	const exs_domain *domain;
	struct known *next;
};
static _Atomic(struct known *) known;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_called(const exs_domain *domain, const char *name, size_t size)
{
	return strlen(domain->name) == size && !memcmp(domain->name, name, size);
}

static const exs_domain *find(const char *name, size_t size)
{
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
		if (is_called(ours[i], name, size))
			return ours[i];
	for (struct known *k = atomic_load(&known); k; k = k->next)
		if (is_called(k->domain, name, size))
			return k->domain;
	return NULL;
}

/* Under the lock. */
static int add(const exs_domain *domain)
{
	const exs_domain *found = find(domain->name, strlen(domain->name));
	struct known *k = found ? NULL : exsi_alloc(sizeof(*k));

	if (found)
		return found == domain ? EXS_OK : EXS_EINVAL;
	if (!k)
		return EXS_ENOMEM;
	k->domain = domain;
	k->next = atomic_load(&known);
	atomic_store(&known, k);
	return EXS_OK;
}

int exs_register_domain(const exs_domain *domain)
{
	size_t size = domain && domain->name ? strlen(domain->name) : 0;

	if (!size || size > NAME)
		return exsi_fail(EXS_EINVAL, "exs_register_domain: a domain with a name of 1 to %d bytes is needed",
				 NAME);
	pthread_mutex_lock(&lock);
	int code = add(domain);
	pthread_mutex_unlock(&lock);
	if (code == EXS_EINVAL)
		exsi_fail(code, "exs_register_domain: there is another domain called %s", domain->name);
	else if (code)
		exsi_fail(code, "exs_register_domain: %s", exs_strerror(code));
	return code;
}

/* --- written --- */

enum { LEVELS = 4, ERRORS = 64, TEXT = 64 << 10, TEXTS = EXSI_ERROR_SIZE - ERRORS * (NAME + 32) };

/* What an error and those that it is made of may still take. */
struct budget {
	size_t errors, text;
};

/* At most so many bytes of it; a character of UTF-8 is not divided. */
static size_t put_cut(struct exsi_writer *w, const char *text, size_t most)
{
	size_t size = strnlen(text, most);

	for (int i = 0; i < 3 && size && ((unsigned char)text[size] & 0xc0) == 0x80; i++)
		size--;
	exsi_put_bytes(w, text, size);
	return size;
}

static void put_text(struct exsi_writer *w, struct budget *left, const char *text)
{
	left->text -= put_cut(w, text, left->text < TEXT ? left->text : TEXT);
}

static void put(struct exsi_writer *w, struct budget *left, const exs_error *e, unsigned levels)
{
	const char *name = exs_error_domain(e)->name, *backtrace = exs_error_backtrace(e);
	double retry_after = exs_error_retry_after(e);
	size_t n = levels ? exs_error_count(e) : 0;
	uint64_t bits;

	n = n < left->errors ? n : left->errors;
	left->errors -= n;
	memcpy(&bits, &retry_after, sizeof(bits));
	put_cut(w, name ? name : "", NAME);
	exsi_put_u32(w, (uint32_t)exs_error_code(e));
	exsi_put_u64(w, bits);
	put_text(w, left, exs_error_message(e));
	exsi_put_u8(w, backtrace != NULL);
	if (backtrace)
		put_text(w, left, backtrace);
	exsi_put_u8(w, (unsigned)n);
	for (size_t i = 0; i < n; i++)
		put(w, left, exs_error_of(e, i), levels - 1);
}

void exsi_put_error(struct exsi_writer *w, const exs_error *error)
{
	struct budget left = {.errors = ERRORS - 1, .text = TEXTS};

	put(w, &left, error, LEVELS);
}

/* --- read --- */

/* Empty after a failure; text has no NUL in it. */
static const char *get_cut(struct exsi_reader *r, size_t most, size_t *size)
{
	const char *text = exsi_get_bytes(r, size);

	if (!r->failed && (*size > most || (*size && memchr(text, '\0', *size))))
		r->failed = true;
	if (!r->failed && *size)
		return text;
	*size = 0;
	return "";
}

/* What stands before the errors that it is made of. prefix: room for that of a domain that is not known here. */
static void get_parts(struct exsi_reader *r, struct exsi_error_parts *p, char *prefix, size_t room)
{
	size_t size;
	const char *name = get_cut(r, NAME, &size);
	uint64_t bits;

	p->domain = find(name, size);
	p->code = (int)exsi_get_u32(r);
	bits = exsi_get_u64(r);
	memcpy(&p->retry_after, &bits, sizeof(bits));
	p->message = get_cut(r, TEXT, &p->size);
	unsigned traced = exsi_get_u8(r);
	if (traced == 1)
		p->backtrace = get_cut(r, TEXT, &p->backtrace_size);
	p->n = exsi_get_u8(r);
	r->failed |= traced > 1;
	if (p->domain)
		return;
	snprintf(prefix, room, "%.*s %d: ", size ? (int)size : 1, size ? name : "?", p->code);
	p->prefix = prefix;
	p->domain = &exs_domain_remote;
}

static exs_error *get(struct exsi_reader *r, size_t *left, unsigned levels)
{
	struct exsi_error_parts p = {.n = 0};
	char prefix[NAME + 16];
	exs_error *errors[ERRORS], *e = NULL;
	size_t n, got = 0;

	get_parts(r, &p, prefix, sizeof(prefix));
	n = p.n;
	bool may = p.domain == &exs_domain_exs && p.code == EXS_EALL && levels && n <= *left;
	r->failed |= n && !may;
	if (r->failed)
		return NULL;
	*left -= n;
	while (got < n && (errors[got] = get(r, left, levels - 1)))
		got++;
	p.errors = errors;
	if (got == n)
		e = exsi_error_with(&p);
	while (got)
		exs_error_unref(errors[--got]);
	return e;
}

exs_error *exsi_get_error(struct exsi_reader *r)
{
	size_t left = ERRORS - 1;

	return get(r, &left, LEVELS);
}
