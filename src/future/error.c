/* Errors: immutable, refcounted; those of the library itself are immortal. */
#include "future/error.h"
#include "base/backtrace.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Where it was made: the frames, and their text once somebody has asked for it; or only the text, where it came from elsewhere. */
struct trace {
	_Atomic(char *) text;
	size_t n;
	void *frames[];
};

struct exs_error {
	atomic_uint refs; /* 0: immortal */
	int code;
	const exs_domain *domain;
	double retry_after;
	union {
		const char *message; /* NULL: that of the code; otherwise the text behind the struct, or last_text */
		exs_error *next;     /* once the last reference is gone */
	};
	size_t n; /* errors that it is made of: */
	exs_error **of;
	struct trace *trace; /* NULL: not known */
};

static const char *const texts[] = {
	[EXS_OK] = "no error",
	[EXS_EINVAL] = "invalid argument",
	[EXS_ENOMEM] = "out of memory",
	[EXS_ETIMEDOUT] = "timed out",
	[EXS_ESHUTDOWN] = "the executor was shut down",
	[EXS_EREJECTED] = "rejected: the queue is full",
	[EXS_EDROPPED] = "dropped from a full queue",
	[EXS_EDEADLK] = "the wait could never end: every worker that could do the work is waiting",
	[EXS_EBUSY] = "not done yet, or still used by somebody else",
	[EXS_EALREADY] = "already done",
	[EXS_EBROKEN] = "the promise was freed before it was completed",
	[EXS_EFORK] = "used in a forked child: executors do not survive fork",
	[EXS_ETHREAD] = "no thread could be made",
	[EXS_ECANCELLED] = "stopped by a cancel",
	[EXS_EALL] = "all failed",
};
enum { N_TEXTS = sizeof(texts) / sizeof(*texts) };

static const char *describe_exs(int code)
{
	return code >= 0 && code < N_TEXTS ? texts[code] : NULL;
}

const exs_domain exs_domain_exs = {.size = sizeof(exs_domain), .name = "exs", .describe = describe_exs};
const exs_domain exs_domain_errno = {.size = sizeof(exs_domain), .name = "errno"};

const char *exs_strerror(int code)
{
	const char *text = describe_exs(code);

	return text ? text : "unknown error";
}

static struct exs_error immortal[N_TEXTS] = {
	[EXS_OK] = {.code = EXS_OK, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_EINVAL] = {.code = EXS_EINVAL, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_ENOMEM] = {.code = EXS_ENOMEM, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_ETIMEDOUT] = {.code = EXS_ETIMEDOUT, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_ESHUTDOWN] = {.code = EXS_ESHUTDOWN, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_EREJECTED] = {.code = EXS_EREJECTED, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_EDROPPED] = {.code = EXS_EDROPPED, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_EDEADLK] = {.code = EXS_EDEADLK, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_EBUSY] = {.code = EXS_EBUSY, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_EALREADY] = {.code = EXS_EALREADY, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_EBROKEN] = {.code = EXS_EBROKEN, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_EFORK] = {.code = EXS_EFORK, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_ETHREAD] = {.code = EXS_ETHREAD, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_ECANCELLED] = {.code = EXS_ECANCELLED, .domain = &exs_domain_exs, .retry_after = -1},
	[EXS_EALL] = {.code = EXS_EALL, .domain = &exs_domain_exs, .retry_after = -1},
};

exs_error *exsi_error(exs_code code)
{
	return &immortal[code];
}

/* A code of no domain means nothing. */
static void check_domain(const exs_domain **domain, int *code)
{
	if (*domain)
		return;
	*domain = &exs_domain_exs;
	*code = EXS_EINVAL;
}

/* --- where it was made --- */

enum { FRAMES = 32, OWN = 8 };
static atomic_bool tracing;

void exsi_errors_trace(bool on)
{
	atomic_store(&tracing, on);
}

/* The frames from the one on that is returned to at `caller`: those before it are ours. */
static struct trace *trace_from(const void *caller)
{
	void *frames[OWN + FRAMES];
	size_t n = exsi_backtrace(frames, OWN + FRAMES), first = 0;

	while (first < n && frames[first] != caller)
		first++;
	first = first < n ? first : 0;
	n = n - first < FRAMES ? n - first : FRAMES;
	struct trace *t = n ? exsi_alloc(sizeof(*t) + n * sizeof(*frames)) : NULL;
	if (!t)
		return NULL;
	atomic_init(&t->text, NULL);
	t->n = n;
	memcpy(t->frames, frames + first, n * sizeof(*frames));
	return t;
}

/* Of those that return to `caller`. */
static struct trace *trace_here(const void *caller)
{
	/* Relaxed: it is switched on before there is anything to trace. */
	return atomic_load_explicit(&tracing, memory_order_relaxed) ? trace_from(caller) : NULL;
}

static struct trace *trace_of_text(const char *text, size_t size)
{
	struct trace *t = text ? exsi_alloc(sizeof(*t) + size + 1) : NULL;

	if (!t)
		return NULL;
	char *copy = (char *)(t + 1);
	memcpy(copy, text, size);
	copy[size] = '\0';
	atomic_init(&t->text, copy);
	t->n = 0;
	return t;
}

static void trace_free(struct trace *t)
{
	if (t->n)
		exsi_free(atomic_load(&t->text));
	exsi_free(t);
}

/* The first who asks pays for the text, and whoever asks at the same time: one of them leaves it to the others. */
const char *exs_error_backtrace(const exs_error *e)
{
	struct trace *t = e ? e->trace : NULL;
	char *text = t ? atomic_load(&t->text) : NULL, *others = NULL;

	if (!t || text)
		return text;
	text = exsi_backtrace_text(t->frames, t->n);
	if (!text || atomic_compare_exchange_strong(&t->text, &others, text))
		return text;
	exsi_free(text);
	return others;
}

/* --- made --- */

static void fill(exs_error *e, const exs_domain *domain, int code, double retry_after, struct trace *trace)
{
	atomic_init(&e->refs, 1);
	e->code = code;
	e->domain = domain;
	e->retry_after = retry_after >= 0 ? retry_after : -1;
	e->n = 0;
	e->of = NULL;
	e->trace = trace;
}

static exs_error *new_error(const exs_domain *domain, int code, double retry_after, const void *caller,
			    const char *format, va_list ap)
{
	va_list again;

	check_domain(&domain, &code);
	format = format ? format : "";
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, format, again);
	va_end(again);
	exs_error *e = n < 0 ? NULL : exsi_alloc(sizeof(*e) + (size_t)n + 1);
	if (!e)
		return exsi_error(EXS_ENOMEM);
	vsnprintf((char *)(e + 1), (size_t)n + 1, format, ap);
	fill(e, domain, code, retry_after, trace_here(caller));
	e->message = (char *)(e + 1);
	return e;
}

exs_error *exs_error_new(const exs_domain *domain, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	exs_error *e = new_error(domain, code, -1, __builtin_return_address(0), format, ap);
	va_end(ap);
	return e;
}

exs_error *exs_error_new_retry_after(const exs_domain *domain, int code, double seconds, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	exs_error *e = new_error(domain, code, seconds, __builtin_return_address(0), format, ap);
	va_end(ap);
	return e;
}

/* "all 9 failed: no; no; ...": the first of them, each cut where it is long. */
enum { SAID = 3, SAID_BYTES = 160, ALL_BYTES = 64 + SAID * (SAID_BYTES + 2) };

static void say_all(char *text, exs_error *const *errors, size_t n)
{
	int at = snprintf(text, ALL_BYTES, "all %zu failed", n);

	for (size_t i = 0; i < n && i < SAID; i++)
		at += snprintf(text + at, (size_t)(ALL_BYTES - at), "%s%.*s", i ? "; " : ": ", SAID_BYTES,
			       exs_error_message(errors[i]));
	if (n > SAID)
		snprintf(text + at, (size_t)(ALL_BYTES - at), "; ...");
}

/* With a reference to each of the errors, and room for its message behind them. */
static exs_error *new_of(exs_error *const *errors, size_t n, size_t text)
{
	size_t room = SIZE_MAX - sizeof(exs_error);
	bool fits = text <= room && n <= (room - text) / sizeof(*errors);
	exs_error *e = fits ? exsi_alloc(sizeof(*e) + n * sizeof(*errors) + text) : NULL;

	if (!e)
		return NULL;
	fill(e, &exs_domain_exs, EXS_EALL, -1, NULL);
	e->n = n;
	e->of = (exs_error **)(void *)(e + 1);
	e->message = (char *)(e->of + n);
	for (size_t i = 0; i < n; i++)
		e->of[i] = exs_error_ref(errors[i]);
	return e;
}

exs_error *exsi_error_of(exs_error *const *errors, size_t n)
{
	exs_error *e = new_of(errors, n, ALL_BYTES);

	if (!e)
		return exsi_error(EXS_ENOMEM);
	say_all((char *)(e->of + n), errors, n);
	e->trace = trace_here(__builtin_return_address(0));
	return e;
}

exs_error *exsi_error_with(const struct exsi_error_parts *p)
{
	size_t before = strlen(p->prefix ? p->prefix : "");
	exs_error *e = new_of(p->errors, p->n, before + p->size + 1);

	if (!e)
		return exsi_error(EXS_ENOMEM);
	char *text = (char *)(e->of + e->n);
	memcpy(text, p->prefix ? p->prefix : "", before);
	memcpy(text + before, p->message, p->size);
	text[before + p->size] = '\0';
	e->domain = p->domain;
	e->code = p->code;
	e->retry_after = p->retry_after >= 0 ? p->retry_after : -1;
	e->trace = trace_of_text(p->backtrace, p->backtrace_size);
	return e;
}

size_t exs_error_count(const exs_error *e)
{
	return e ? e->n : 0;
}

exs_error *exs_error_of(const exs_error *e, size_t i)
{
	return e && i < e->n ? e->of[i] : NULL;
}

exs_error *exs_error_ref(exs_error *e)
{
	/* Relaxed: who adds a reference has one. refs of an immortal error is never written. */
	if (e && atomic_load_explicit(&e->refs, memory_order_relaxed))
		atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
	return e;
}

static bool drop(exs_error *e)
{
	return e && atomic_load_explicit(&e->refs, memory_order_relaxed) && atomic_fetch_sub(&e->refs, 1) == 1;
}

static void error_free(exs_error *e)
{
	if (e->trace)
		trace_free(e->trace);
	exsi_free(e);
}

/* Errors of errors of errors: those that are to be freed are a list, through their first place, while the others are dropped. */
void exs_error_unref(exs_error *e)
{
	exs_error *list = NULL;

	if (!drop(e))
		return;
	if (!e->n) {
		error_free(e);
		return;
	}
	for (list = e, e->next = NULL; (e = list);) {
		list = e->next;
		for (size_t i = 0; i < e->n; i++) {
			exs_error *part = e->of[i];
			if (!drop(part))
				continue;
			part->next = list;
			list = part;
		}
		error_free(e);
	}
}

const exs_domain *exs_error_domain(const exs_error *e)
{
	return e ? e->domain : &exs_domain_exs;
}

int exs_error_code(const exs_error *e)
{
	return e ? e->code : EXS_OK;
}

const char *exs_error_message(const exs_error *e)
{
	if (!e)
		return exs_strerror(EXS_OK);
	return e->message ? e->message : exs_strerror(e->code);
}

double exs_error_retry_after(const exs_error *e)
{
	return e ? e->retry_after : -1;
}

bool exs_error_is(const exs_error *e, const exs_domain *domain, int code)
{
	return e && e->domain == domain && e->code == code;
}

void exs_result_clear(exs_result *r)
{
	if (!r)
		return;
	exs_result old = *r;
	*r = exs_ok(NULL, NULL);
	if (old.kind == EXS_KIND_ERROR)
		exs_error_unref(old.error);
	else if (old.kind == EXS_KIND_VALUE && old.destroy)
		old.destroy(old.value);
}

/* --- the last error of each thread --- */

static _Thread_local struct exs_error last;
static _Thread_local char last_text[256];
static _Thread_local unsigned failures;

unsigned exsi_failures(void)
{
	return failures;
}

const exs_error *exs_last_error(void)
{
	return last.domain ? &last : NULL;
}

static void remember(const exs_domain *domain, int code, const char *format, va_list ap)
{
	check_domain(&domain, &code);
	vsnprintf(last_text, sizeof(last_text), format ? format : "", ap);
	last.domain = domain;
	last.code = code;
	last.retry_after = -1;
	last.message = last_text;
	failures++;
}

void exs_set_last_error(const exs_domain *domain, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	remember(domain, code, format, ap);
	va_end(ap);
}

int exsi_fail(int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	remember(&exs_domain_exs, code, format, ap);
	va_end(ap);
	return code;
}

void *exsi_fail_null(int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	remember(&exs_domain_exs, code, format, ap);
	va_end(ap);
	return NULL;
}

static void remember_errno(int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	remember(&exs_domain_errno, error, format, ap);
	va_end(ap);
}

void *exsi_fail_errno(int error, const char *what)
{
	char text[128] = "";

	/* strerror_r has two forms; %m has one, but is glibc's. strerror of a known errno is what all agree on. */
	snprintf(text, sizeof(text), "%s", strerror(error));
	remember_errno(error, "%s: %s", what, text);
	return NULL;
}
