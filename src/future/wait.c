/* Waiting: on one future, on any, on all, for the first error. */
#include "future/wait.h"
#include "base/memory.h"
#include "future/future.h"

#include <limits.h>

int exsi_wait_begin(const char *what, double seconds, uint64_t *deadline)
{
	uint64_t ns;

	if (!exsi_duration(seconds, &ns))
		return exsi_fail(EXS_EINVAL, "%s: %g seconds: the time must be 0 or more, or EXS_FOREVER", what,
				 seconds);
	*deadline = ns == EXSI_NEVER ? ns : exsi_after(exsi_thread_now(), ns);
	return EXS_OK;
}

void exsi_drain(void)
{
	exsi_continue();
	if (exsi_self()->drain)
		exsi_self()->drain(true);
}

/* A thread that sleeps on f and may be nudged. */
struct sleeper {
	exs_future *f;
	atomic_bool nudged;
};

/* Who sleeps on f finds the word changed: the others note again that they do. */
static void nudge_sleeper(void *arg)
{
	struct sleeper *sleeper = arg;

	atomic_store(&sleeper->nudged,
		     true); /* before the bit is looked at: the sleeper sets the bit, then looks here */
	if (atomic_fetch_and(&sleeper->f->state, ~EXSI_WAITER) & EXSI_WAITER)
		exsi_unpark(&sleeper->f->state, INT_MAX);
}

static bool has_news(void *arg)
{
	struct sleeper *sleeper = arg;

	return exsi_is_done(sleeper->f) || atomic_load(&sleeper->nudged);
}

static int turn_until_done(struct exsi_turner *turner, struct sleeper *sleeper, uint64_t deadline)
{
	int rc = turner->until(turner, has_news, sleeper, deadline);

	return rc || exsi_is_done(sleeper->f) ? rc : (int)EXSI_AGAIN;
}

static int sleep_until_done(struct sleeper *sleeper, uint64_t deadline)
{
	exs_future *f = sleeper->f;
	struct exsi_turner *turner = exsi_self()->turner;
	unsigned s = atomic_load(&f->state);
	bool in_time = true;

	if (turner)
		return turn_until_done(turner, sleeper, deadline);
	while (!(s & EXSI_DONE)) {
		if (!in_time)
			return EXS_ETIMEDOUT;
		if (!(s & EXSI_WAITER) && !atomic_compare_exchange_weak(&f->state, &s, s | EXSI_WAITER))
			continue;
		if (atomic_load(&sleeper->nudged))
			return EXSI_AGAIN;
		in_time = exsi_park(&f->state, s | EXSI_WAITER, deadline);
		s = atomic_load(&f->state);
	}
	return EXS_OK;
}

static bool is_done_now(void *f)
{
	return exsi_is_done(f);
}

/* A result is often a moment away. */
static bool spin(exs_future *f)
{
	return exsi_spin(&exsi_self()->patience, is_done_now, f);
}

static bool help(exs_future *f, uint64_t deadline)
{
	return exsi_help(f) || (deadline == EXSI_NEVER && exsi_run_awaited(f));
}

/* Or EXSI_AGAIN. */
static int help_or_sleep(exs_future *f, uint64_t deadline)
{
	struct sleeper sleeper = {f, false};
	struct exsi_nudge nudge = {nudge_sleeper, &sleeper};

	do /* what has been done may have put off more */
		exsi_drain();
	while (!exsi_is_done(f) && help(f, deadline));
	if (exsi_is_done(f) || (!exsi_self()->turner && spin(f)))
		return EXS_OK;
	int rc = exsi_block(exsi_concerns(f), &nudge);
	if (rc == EXSI_AGAIN)
		return rc;
	if (rc)
		return exsi_fail(rc, "%s", exs_strerror(rc));
	exsi_spin_slept(&exsi_self()->patience, true);
	rc = sleep_until_done(&sleeper, deadline);
	exsi_spin_slept(&exsi_self()->patience, false);
	exsi_unblock();
	return rc;
}

int exsi_wait(exs_future *f, uint64_t deadline)
{
	int rc = EXSI_AGAIN;

	if (exsi_is_done(f))
		return EXS_OK;
	if (exsi_forked())
		return exsi_fail(EXS_EFORK, "waiting on a future of the parent process: executors do not survive fork");
	exsi_look_out(true);
	while (rc == EXSI_AGAIN)
		rc = help_or_sleep(f, deadline);
	exsi_look_out(false);
	return rc;
}

int exs_future_wait(exs_future *f, double seconds)
{
	uint64_t deadline = 0;

	if (!f)
		return exsi_fail(EXS_EINVAL, "exs_future_wait: future is NULL");
	if (exsi_is_done(f) && seconds >= 0)
		return EXS_OK;
	int rc = exsi_wait_begin("exs_future_wait", seconds, &deadline);
	if (rc)
		return rc;
	return seconds == 0 ? EXS_ETIMEDOUT : exsi_wait(f, deadline);
}

static int check(const char *what, exs_future *const *futures, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!futures || !futures[i])
			return exsi_fail(EXS_EINVAL, "%s: future %zu of %zu is NULL", what, i, n);
	return EXS_OK;
}

int exs_wait_all(exs_future *const *futures, size_t n, double seconds)
{
	uint64_t deadline = 0;
	int rc = check("exs_wait_all", futures, n);

	if (!rc)
		rc = exsi_wait_begin("exs_wait_all", seconds, &deadline);
	for (size_t i = 0; !rc && i < n; i++) {
		if (seconds == 0)
			rc = exsi_is_done(futures[i]) ? EXS_OK : EXS_ETIMEDOUT;
		else
			rc = exsi_wait(futures[i], deadline);
	}
	return rc;
}

/* --- any, first error: one waiter, a watcher on each future --- */

enum { DECIDED = 1, NUDGED = 2 };

struct watch {
	struct exsi_node node;
	struct waiter *waiter;
	size_t index;
};

/* Lives until the wait has returned and the last watcher has fired or been removed. */
struct waiter {
	atomic_uint refs;
	atomic_uint decided; /* DECIDED: first is set, or none is left; NUDGED: for the sleeper */
	atomic_size_t first; /* n: none */
	atomic_size_t left;  /* not yet done */
	size_t n;
	size_t helped; /* the one that its thread helped last */
	bool only_errors;
	struct watch watches[];
};

static bool is_decided(struct waiter *w)
{
	return atomic_load(&w->decided) & DECIDED;
}

static void waiter_unref(struct waiter *w, unsigned refs)
{
	if (atomic_fetch_sub(&w->refs, refs) == refs)
		exsi_free(w);
}

static void note(struct waiter *w, exs_future *f, size_t index)
{
	bool counts = !w->only_errors || exs_future_state(f) == EXS_STATE_ERROR;
	size_t none = w->n;

	if (counts)
		atomic_compare_exchange_strong(&w->first, &none, index);
	if (atomic_fetch_sub(&w->left, 1) != 1 && !counts)
		return;
	atomic_fetch_or(&w->decided, DECIDED);
	exsi_unpark(&w->decided, INT_MAX);
}

static void nudge_waiter(void *arg)
{
	struct waiter *w = arg;

	atomic_fetch_or(&w->decided, NUDGED);
	exsi_unpark(&w->decided, INT_MAX);
}

static void fired(exs_future *f, struct exsi_node *node)
{
	struct watch *watch = EXSI_CONTAINER_OF(node, struct watch, node);

	note(watch->waiter, f, watch->index);
	waiter_unref(watch->waiter, 1);
}

static struct waiter *waiter_new(size_t n, bool only_errors)
{
	if (n > (SIZE_MAX - sizeof(struct waiter)) / sizeof(struct watch) / 2)
		return NULL;
	struct waiter *w = exsi_alloc(sizeof(*w) + n * sizeof(struct watch));
	if (!w)
		return NULL;
	atomic_init(&w->refs, 1);
	atomic_init(&w->decided, n == 0 ? DECIDED : 0);
	atomic_init(&w->first, n);
	atomic_init(&w->left, n);
	w->n = n;
	w->helped = 0;
	w->only_errors = only_errors;
	return w;
}

static void watch_all(struct waiter *w, exs_future *const *futures, size_t *watched)
{
	for (*watched = 0; *watched < w->n && !is_decided(w); ++*watched) {
		size_t i = *watched;
		w->watches[i] = (struct watch){.node = {.fn = fired, .kind = EXSI_WATCHER}, .waiter = w, .index = i};
		atomic_fetch_add(&w->refs, 1);
		if (!exsi_node_add(futures[i], &w->watches[i].node))
			fired(futures[i], &w->watches[i].node);
	}
}

static void unwatch_all(struct waiter *w, exs_future *const *futures, size_t watched)
{
	unsigned removed = 0;

	for (size_t i = 0; i < watched; i++)
		removed += exsi_node_remove(futures[i], &w->watches[i].node);
	waiter_unref(w, removed + 1);
}

/* Does work of the futures on this thread; false: nobody needs help. It goes on where it was: many that are done are not passed again
   for each that is not. */
static bool help_any(struct waiter *w, exs_future *const *futures, uint64_t deadline)
{
	bool can = exsi_can_help(deadline == EXSI_NEVER);

	for (size_t i = 0; can && i < w->n; i++) {
		if (!exsi_is_done(futures[w->helped]) && help(futures[w->helped], deadline))
			return true;
		w->helped = w->helped + 1 < w->n ? w->helped + 1 : 0;
	}
	return false;
}

static bool has_word(void *waiter)
{
	return atomic_load(&((struct waiter *)waiter)->decided);
}

/* Until the word is set: EXS_OK. */
static int sleep_for_word(struct waiter *w, uint64_t deadline)
{
	struct exsi_turner *turner = exsi_self()->turner;
	bool in_time = true;

	if (turner)
		return turner->until(turner, has_word, w, deadline);
	while (!atomic_load(&w->decided) && in_time)
		in_time = exsi_park(&w->decided, 0, deadline);
	return in_time ? EXS_OK : EXS_ETIMEDOUT;
}

/* Or EXSI_AGAIN. */
static int help_or_sleep_any(struct waiter *w, exs_future *const *futures, uint64_t deadline)
{
	struct exsi_nudge nudge = {nudge_waiter, w};
	bool concerned = false;

	exsi_drain();
	while (!is_decided(w) && help_any(w, futures, deadline))
		;
	if (is_decided(w))
		return EXS_OK;
	for (size_t i = 0; i < w->n && !concerned; i++)
		concerned = exsi_concerns(futures[i]);
	int rc = exsi_block(concerned, &nudge);
	if (rc == EXSI_AGAIN)
		return rc;
	if (rc)
		return exsi_fail(rc, "%s", exs_strerror(rc));
	rc = sleep_for_word(w, deadline);
	exsi_unblock();
	if (is_decided(w))
		return EXS_OK;
	atomic_fetch_and(&w->decided, ~(unsigned)NUDGED);
	return rc ? rc : (int)EXSI_AGAIN;
}

static int sleep_until_decided(struct waiter *w, exs_future *const *futures, uint64_t deadline)
{
	int rc = EXSI_AGAIN;

	if (is_decided(w))
		return EXS_OK;
	if (exsi_forked())
		return exsi_fail(EXS_EFORK, "%s", exs_strerror(EXS_EFORK));
	exsi_look_out(true);
	while (rc == EXSI_AGAIN)
		rc = help_or_sleep_any(w, futures, deadline);
	exsi_look_out(false);
	return rc;
}

static int wait_some(const char *what, exs_future *const *futures, size_t n, double seconds, size_t *first,
		     bool only_errors)
{
	uint64_t deadline = 0;
	size_t watched;
	int rc = check(what, futures, n);

	if (first)
		*first = n;
	if (!rc)
		rc = exsi_wait_begin(what, seconds, &deadline);
	if (rc)
		return rc;
	struct waiter *w = waiter_new(n, only_errors);
	if (!w)
		return exsi_fail(EXS_ENOMEM, "%s: out of memory", what);
	watch_all(w, futures, &watched);
	if (seconds == 0)
		rc = is_decided(w) ? EXS_OK : EXS_ETIMEDOUT;
	else
		rc = sleep_until_decided(w, futures, deadline);
	if (first && !rc)
		*first = atomic_load(&w->first);
	unwatch_all(w, futures, watched);
	return rc;
}

int exs_wait_any(exs_future *const *futures, size_t n, double seconds, size_t *first)
{
	return wait_some("exs_wait_any", futures, n, seconds, first, false);
}

int exs_wait_first_error(exs_future *const *futures, size_t n, double seconds, size_t *first)
{
	return wait_some("exs_wait_first_error", futures, n, seconds, first, true);
}
