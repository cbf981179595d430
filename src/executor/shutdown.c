/* Shutdown in its three modes, free, and the release of a chain by another thread. */
#include "base/memory.h"
#include "executor/metrics.h"
#include "future/wait.h"

/* --- waiting for calls to end --- */

/* lock guards the waiting on `ended`, and news, which counts what the waiters were told; waiters tells the completers whether
   anybody waits. Counters are the executors' own. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t ended_once = PTHREAD_ONCE_INIT;
static pthread_cond_t ended;
static atomic_uint waiters;
static unsigned news;

static void ended_init(void)
{
	exsi_cond_init(&ended);
}

void exsi_tell_waiters(void)
{
	if (!atomic_load(&waiters))
		return;
	pthread_mutex_lock(&lock);
	news++;
	pthread_cond_broadcast(&ended);
	pthread_mutex_unlock(&lock);
}

void exsi_count_done(exs_executor *x)
{
	/* Pairs with the wait: it counts itself in, then reads completed; we count, then read waiters. x may be gone after. */
	atomic_fetch_add(&x->counts[exsi_stripe()].completed, 1);
	exsi_tell_waiters();
}

void exsi_count_child_done(exs_executor *x)
{
	atomic_fetch_sub(&x->children, 1); /* pairs as in exsi_count_done */
	exsi_tell_waiters();
}

static bool quiet(void *arg)
{
	return exs_executor_pending(arg) == 0;
}

/* Waits under the lock until done(arg); false: the deadline has passed, or on a turner's thread: nothing is left that it
   could come of. */
static bool wait_for(bool (*done)(void *), void *arg, uint64_t deadline)
{
	struct exsi_turner *turner = exsi_self()->turner;
	bool in_time = true, ok;

	if (turner)
		return turner->until(turner, done, arg, deadline) == EXS_OK;
	pthread_once(&ended_once, ended_init);
	pthread_mutex_lock(&lock);
	atomic_fetch_add(&waiters, 1);
	while (!(ok = done(arg)) && in_time) /* it may be otherwise again at once */
		in_time = exsi_cond_wait(&ended, &lock, deadline);
	atomic_fetch_sub(&waiters, 1);
	pthread_mutex_unlock(&lock);
	return ok;
}

static unsigned count_news(void)
{
	pthread_mutex_lock(&lock);
	unsigned n = news;
	pthread_mutex_unlock(&lock);
	return n;
}

struct look {
	bool (*done)(void *);
	void *arg;
	unsigned seen;
};

static bool has_news(void *arg)
{
	struct look *look = arg;

	return count_news() != look->seen || look->done(look->arg);
}

/* Until done, or there is news; false: the deadline has passed. */
static bool sleep_for_news(struct look *look, uint64_t deadline)
{
	struct exsi_turner *turner = exsi_self()->turner;
	bool in_time = true;

	if (turner)
		return turner->until(turner, has_news, look, deadline) == EXS_OK;
	pthread_mutex_lock(&lock);
	while (in_time && news == look->seen && !look->done(look->arg))
		in_time = exsi_cond_wait(&ended, &lock, deadline);
	pthread_mutex_unlock(&lock);
	return in_time;
}

bool exsi_wait_turning(exs_executor *leaf, bool (*done)(void *), void *arg, uint64_t deadline)
{
	struct look look = {done, arg, 0};
	bool in_time = true, ok;

	pthread_once(&ended_once, ended_init);
	atomic_fetch_add(&waiters, 1); /* pairs as in exsi_count_done */
	while (!(ok = done(arg)) && in_time) {
		look.seen = count_news();
		bool ran = exsi_thread_now() < deadline && leaf->turn && leaf->turn(leaf);
		if (!ran)
			in_time = sleep_for_news(&look, deadline);
	}
	atomic_fetch_sub(&waiters, 1);
	return ok;
}

static bool block_for(bool (*done)(void *), exs_executor *x, uint64_t deadline)
{
	if (done(x))
		return true;
	exsi_drain();
	exsi_block(false, NULL);
	bool ok = x->leaf->turn ? exsi_wait_turning(x->leaf, done, x, deadline) : wait_for(done, x, deadline);
	exsi_unblock();
	return ok;
}

struct word {
	atomic_uint *at;
	unsigned value;
};

static bool has_changed(void *word)
{
	const struct word *w = word;

	return atomic_load(w->at) != w->value;
}

bool exsi_block_while(exs_executor *x, atomic_uint *at, unsigned value)
{
	struct word word = {at, value};
	bool turns = exsi_self()->turner;

	exsi_drain();
	exsi_block(false, NULL);
	if (x->leaf->turn || turns)
		exsi_wait_turning(x->leaf, has_changed, &word, EXSI_NEVER); /* nobody else may run what it waits for */
	while (!turns && !has_changed(&word))
		exsi_park(at, value, EXSI_NEVER);
	exsi_unblock();
	return has_changed(&word);
}

bool exsi_wait_quiet(exs_executor *x, uint64_t deadline)
{
	return block_for(quiet, x, deadline);
}

/* Quiet, and nothing is left behind. */
static bool over(void *arg)
{
	exs_executor *x = arg;

	return quiet(x) && atomic_load(&x->children) == 0;
}

/* --- sweeping: what the layers hold --- */

enum { FEW = 64 };

struct harvest {
	const exs_executor *x;
	bool owned, only_parked, force;
	exs_future **calls;
	size_t room, n, more;
};

/* A call in a layer that x borrows is x's if it came through x, or is a child of one that did. */
static bool came_through(const exs_executor *x, exs_future *f)
{
	const exs_executor *top = exsi_root_top(f);

	while (top && top != x)
		top = top->inner;
	return top;
}

static bool wanted(const struct harvest *h, exs_future *f)
{
	unsigned s = atomic_load(&f->state);

	bool runs = !(s & EXSI_PARKED) || s & EXSI_RUNNING;

	if (s & EXSI_DONE || (h->only_parked && runs))
		return false;
	if (!h->force && runs && exsi_stop(s) == EXSI_STOP_ALL)
		return false; /* told already */
	return h->owned || came_through(h->x, f);
}

static void visit(exs_future *f, void *arg)
{
	struct harvest *h = arg;

	if (!wanted(h, f))
		return;
	if (h->n == h->room) {
		h->more++;
		return;
	}
	exsi_hold(f); /* it is in the layer's structure, so it is not gone */
	h->calls[h->n++] = f;
}

static void deal_with(struct harvest *h)
{
	if (!h->force)
		exsi_cancel_all(h->calls, h->n, EXS_CAUSE_SHUTDOWN, h->only_parked);
	for (size_t i = 0; i < h->n; i++) {
		if (h->force)
			exsi_force(h->calls[i]);
		exsi_drop(h->calls[i]);
	}
}

static void sweep_layer(exs_executor *layer, struct harvest h)
{
	exs_future *few[FEW];
	struct harvest count = h;

	layer->ops.each(layer, visit, &count); /* no room: it only counts */
	h.room = count.more > FEW ? count.more : FEW;
	h.calls = h.room > FEW ? exsi_alloc_array(h.room, sizeof(exs_future *)) : few;
	if (!h.calls) {
		h.calls = few;
		h.room = FEW;
	}
	do {
		h.n = h.more = 0;
		layer->ops.each(layer, visit, &h);
		deal_with(&h);
	} while (h.more);
	if (h.calls != few)
		exsi_free(h.calls);
}

/* The calls parked where their work is a child's, in a block of its own, are told through the child, if one can't see from them
   what it does. */
static bool sweep_one(exs_executor *layer, bool owned, void *harvest)
{
	struct harvest h = *(struct harvest *)harvest;

	h.owned = owned;
	if (layer->ops.each && (h.force || !exsi_has_children(layer) || layer->marks_running))
		sweep_layer(layer, h);
	return false;
}

void exsi_sweep(exs_executor *x, bool only_parked, bool force)
{
	struct harvest h = {.x = x, .only_parked = only_parked, .force = force};
	struct exsi_frame frame;

	exsi_frame_push(&frame, x); /* callbacks run in here */
	exsi_walk(x, true, sweep_one, &h);
	exsi_frame_pop(&frame);
}

static void hand_to_reaper(exs_executor *x);

void exsi_executor_unref_within(exs_executor *x)
{
	unsigned refs = atomic_load(&x->refs);

	do {
		if (refs == 1) {
			hand_to_reaper(x);
			return;
		}
	} while (!atomic_compare_exchange_weak(&x->refs, &refs, refs - 1));
}

/* --- shutdown --- */

static bool close_one(exs_executor *x, bool owned, void *arg)
{
	int mode = *(int *)arg, now = owned ? atomic_load(&x->closing) : mode;

	while (now < mode && !atomic_compare_exchange_weak(&x->closing, &now, mode))
		;
	if (owned)
		exsi_metrics_closed(x);
	if (x->ops.closing) /* of borrowed ones too: submitters of this chain may block there */
		x->ops.closing(x);
	return false;
}

static void begin_closing(exs_executor *x, int mode)
{
	exsi_walk(x, true, close_one, &mode);
}

static void close_down(exs_executor *x, exs_mode mode)
{
	begin_closing(x, mode);
	if (mode >= EXS_CANCEL_QUEUED)
		exsi_sweep(x, true, false);
	if (mode == EXS_CANCEL_ALL)
		exsi_sweep(x, false, false);
}

static int check(const exs_executor *x, exs_mode mode, double seconds, uint64_t *ns)
{
	if (!x)
		return exsi_fail(EXS_EINVAL, "exs_shutdown: executor is NULL");
	if (mode < EXS_DRAIN || mode > EXS_CANCEL_ALL)
		return exsi_fail(EXS_EINVAL, "exs_shutdown: mode is %d: EXS_DRAIN, EXS_CANCEL_QUEUED or EXS_CANCEL_ALL",
				 (int)mode);
	if (!exsi_duration(seconds, ns))
		return exsi_fail(EXS_EINVAL, "exs_shutdown: %g seconds: the time must be 0 or more, or EXS_FOREVER",
				 seconds);
	return exsi_forked() ? exsi_fail(EXS_EFORK, "%s", exs_strerror(EXS_EFORK)) : EXS_OK;
}

size_t exs_shutdown(exs_executor *x, exs_mode mode, double seconds)
{
	uint64_t ns;

	if (check(x, mode, seconds, &ns))
		return exs_executor_pending(x);
	uint64_t deadline = exsi_after(exsi_thread_now(), ns);
	bool within = exsi_inside(x);
	atomic_fetch_add(&x->refs, 1); /* a callback that runs in here may free it */
	close_down(x, mode);
	bool all_ended = !within && exsi_wait_quiet(x, deadline);
	if (!within && !all_ended) {
		begin_closing(x, EXSI_TIME_IS_UP); /* for those in a hook: they fail when it returns */
		exsi_sweep(x, false, true);
	}
	size_t left =
		all_ended ? 0 : exs_executor_pending(x); /* by now it may count a submit that is just being refused */
	if (within)
		exsi_executor_unref_within(x);
	else
		exsi_executor_unref(x);
	return left;
}

/* --- release --- */

static atomic_size_t unfinished; /* handed to a reaper, or to be reaped later; or about to hand something over */
static atomic_uint pins;
atomic_size_t exsi_executors;

void exsi_pin(void)
{
	atomic_fetch_add(&pins, 1);
}

void exsi_unpin(void)
{
	atomic_fetch_sub(&pins, 1);
}

/* On a turner's thread there are no reapers: its steps release. */
static void reap_later(exs_executor *x)
{
	exs_executor **end = &exsi_self()->turner->to_reap;

	while (*end)
		end = &(*end)->next_unreaped;
	*end = x;
	x->next_unreaped = NULL;
	atomic_fetch_add(&unfinished, 1);
}

bool exsi_executor_try_ref(exs_executor *x)
{
	unsigned refs = atomic_load(&x->refs);

	while (refs && !atomic_compare_exchange_weak(&x->refs, &refs, refs + 1))
		;
	return refs;
}

void exsi_executor_unref(exs_executor *x)
{
	while (x && atomic_fetch_sub(&x->refs, 1) == 1) { /* from the top: a layer below may have calls of its own */
		exs_executor *inner = x->inner;
		if (!block_for(over, x, EXSI_NEVER)) {
			atomic_fetch_add(&x->refs, 1);
			reap_later(x);
			return;
		}
		for (unsigned turn = 0; atomic_load(&pins); turn++) /* a later pin finds the calls done */
			exsi_relax(turn);
		exsi_metrics_ends(x);
		if (x->ops.stop)
			x->ops.stop(x);
		if (x->holds_clock)
			exsi_clock_unhold(x->clock);
		if (x->ctx_free)
			x->ctx_free(x->ctx);
		exs_clock_unref(x->clock_above);
		exs_clock_unref(x->clock);
		atomic_fetch_sub(&exsi_executors, !x->hidden);
		exsi_free(x);
		x = inner;
	}
}

static void free_now(exs_executor *x)
{
	if (block_for(over, x, EXSI_NEVER))
		exsi_executor_unref(x);
	else
		reap_later(x);
}

/* Reapers: threads that release what was freed from within. Under `lock`: what waits for one, from the first, and how many are on
   their way to take one. Unless no thread could be made, one is on its way as long as any waits: none waits for a release that blocks. */
static struct exsi_crew reapers;
static pthread_once_t reapers_once = PTHREAD_ONCE_INIT;
static exs_executor *unreaped, **unreaped_end = &unreaped;
static unsigned coming;

static void reapers_init(void)
{
	exsi_crew_init(&reapers);
}

static void reap(void *arg)
{
	free_now(arg);
	atomic_fetch_sub(&unfinished, 1);
	exsi_tell_waiters();
}

/* Under the lock. */
static exs_executor *take_unreaped(void)
{
	exs_executor *x = unreaped;

	if (x)
		unreaped = x->next_unreaped;
	if (!unreaped)
		unreaped_end = &unreaped;
	return x;
}

static void start_reaper(void);

static void reap_what_waits(void *unused)
{
	exs_executor *x;

	(void)unused;
	for (;;) {
		pthread_mutex_lock(&lock);
		x = take_unreaped();
		bool last = unreaped && coming == 1;
		coming -= !last;
		pthread_mutex_unlock(&lock);
		if (!x)
			return;
		if (last)
			start_reaper();
		reap(x);
		pthread_mutex_lock(&lock);
		coming++;
		pthread_mutex_unlock(&lock);
	}
}

/* It counts as coming already. */
static void start_reaper(void)
{
	pthread_once(&reapers_once, reapers_init);
	int rc = exsi_crew_start(&reapers, "exs-reaper", 0, reap_what_waits, NULL);

	if (!rc)
		return;
	exsi_log(EXS_LOG_WARNING, "", "no thread to release chains (error %d): they are released later", rc);
	pthread_mutex_lock(&lock);
	coming--;
	pthread_mutex_unlock(&lock);
}

static void add_unreaped(exs_executor *x)
{
	atomic_fetch_add(&unfinished, 1);
	x->next_unreaped = NULL;
	pthread_mutex_lock(&lock);
	*unreaped_end = x;
	unreaped_end = &x->next_unreaped;
	pthread_mutex_unlock(&lock);
}

static void call_reaper(void)
{
	pthread_mutex_lock(&lock);
	bool first = unreaped && !coming;
	coming += first;
	pthread_mutex_unlock(&lock);
	if (first)
		start_reaper();
}

static void hand_to_reaper(exs_executor *x)
{
	if (exsi_self()->turner) {
		reap_later(x);
		return;
	}
	add_unreaped(x);
	call_reaper();
}

/* It is added, then this looks for others; who frees the last of them looks after that for what was added. */
void exsi_executor_unref_at_last(exs_executor *x)
{
	unsigned refs = atomic_load(&x->refs);

	while (refs > 1)
		if (atomic_compare_exchange_weak(&x->refs, &refs, refs - 1))
			return;
	add_unreaped(x);
	if (atomic_load(&exsi_executors))
		exsi_tell_waiters();
	else
		call_reaper();
}

exs_executor *exsi_reapable(void)
{
	exs_executor *x = exsi_self()->turner->to_reap;

	while (x && (!over(x) || exsi_inside(x))) /* the stack below us may be in the middle of it */
		x = x->next_unreaped;
	return x;
}

static void take_from_list(exs_executor *x)
{
	exs_executor **at = &exsi_self()->turner->to_reap;

	while (*at != x)
		at = &(*at)->next_unreaped;
	*at = x->next_unreaped;
}

void exsi_reap(exs_executor *x)
{
	take_from_list(x);
	reap(x);
}

void exsi_reap_none(void)
{
	for (exs_executor *x = exsi_self()->turner->to_reap; x; x = x->next_unreaped) {
		exsi_log(EXS_LOG_ERROR, x->name, "the chain is never released: %zu calls of it have not ended",
			 exs_executor_pending(x));
		atomic_fetch_sub(&unfinished, 1);
	}
}

/* On a thread that may block: what no reaper could be made for. */
static void reap_leftovers(void)
{
	for (;;) {
		pthread_mutex_lock(&lock);
		exs_executor *x = coming ? NULL : take_unreaped();
		pthread_mutex_unlock(&lock);
		if (!x)
			return;
		reap(x);
	}
}

void exs_executor_free(exs_executor *x)
{
	if (!x || exsi_forked())
		return;
	bool within = exsi_inside(x) || exsi_on_callback_thread();
	close_down(x, EXS_CANCEL_QUEUED);
	if (within) {
		hand_to_reaper(x);
		return;
	}
	free_now(x);
	reap_leftovers();
}

static _Thread_local size_t own_ends; /* of the unfinished */

void exsi_end_begin(void)
{
	atomic_fetch_add(&unfinished, 1);
	own_ends++;
}

void exsi_end_over(void)
{
	own_ends--;
	atomic_fetch_sub(&unfinished, 1);
	exsi_tell_waiters();
}

static bool all_reaped(void *arg)
{
	(void)arg;
	return atomic_load(&unfinished) == own_ends;
}

/* Under the lock: or somebody has left something to those who come by. */
static bool reaped_or_left(void *arg)
{
	return all_reaped(arg) || (unreaped && !coming);
}

static bool none_to_reap(void *turner)
{
	return !((struct exsi_turner *)turner)->to_reap;
}

int exs_quiesce(double seconds)
{
	uint64_t ns;

	if (!exsi_duration(seconds, &ns))
		return exsi_fail(EXS_EINVAL, "exs_quiesce: %g seconds: the time must be 0 or more, or EXS_FOREVER",
				 seconds);
	struct exsi_turner *turner = exsi_self()->turner;
	uint64_t deadline = exsi_after(exsi_thread_now(), ns);
	if (turner)
		return turner->until(turner, none_to_reap, turner, deadline);
	do {
		reap_leftovers();
		if (!wait_for(reaped_or_left, NULL, deadline))
			return EXS_ETIMEDOUT;
	} while (!all_reaped(NULL));
	pthread_once(&reapers_once, reapers_init);
	exsi_crew_join(&reapers);
	return EXS_OK;
}
