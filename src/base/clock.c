/* Clocks: the real one with its timer thread and callback thread, and manual ones. */
#include "base/lock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "base/wheel.h"

#include <executors/error.h>
#include <pthread.h>

enum { MAX_CALLBACK_THREADS = 64, SHARDS = 4 };

/* Timers are spread by their address, so that threads rarely meet. lock guards the rest; nothing else is locked within. */
struct shard {
	_Alignas(EXSI_LINE) struct exsi_lock lock;
	struct exsi_wheel wheel;
};
static struct shard shards[SHARDS]; /* the real clock's */

/* lock guards everything but refs, manual, turner and, of the real clock, its timers.
   The timer thread makes soonest EXSI_NEVER, looks into all shards, says how long it will sleep, and looks at soonest once more. Who arms adds the timer
   to its shard, lowers soonest, then looks whether the thread sleeps for longer, and pokes it: so the timer is found, or
   soonest is, or the thread is poked. */
struct exs_clock {
	atomic_uint refs;
	bool manual;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* manual: armed or advanced; real: the threads came or went */
	/* manual */
	struct exsi_wheel wheel;
	uint64_t now, target;
	bool advancing;
	pthread_t advancer;
	struct exsi_turner *turner; /* set before the clock is used, and after */
	/* real */
	size_t holds;
	bool changing, stopping;	/* the threads are being started or ended; ended */
	_Atomic(uint64_t) soonest;	/* not later than any timer armed since the timer thread began to look */
	_Atomic(uint64_t) sleeps_until; /* 0: it does not sleep */
	pthread_cond_t tick;		/* wakes the timer thread */
	pthread_cond_t call;		/* wakes a callback thread */
	struct exsi_timer *expired, **expired_tail;
	unsigned callers, callers_idle, callers_blocked; /* callback threads */
	struct exsi_crew crew;
};

static struct exs_clock real;
static pthread_once_t real_once = PTHREAD_ONCE_INIT;
static _Thread_local bool on_callback_thread;

static void clock_init(exs_clock *c, bool manual)
{
	atomic_init(&c->refs, 1);
	c->manual = manual;
	pthread_mutex_init(&c->lock, NULL);
	exsi_cond_init(&c->changed);
}

static void real_init(void)
{
	clock_init(&real, false);
	for (int i = 0; i < SHARDS; i++) {
		exsi_wheel_init(&shards[i].wheel);
		shards[i].wheel.base = exsi_now();
	}
	real.expired_tail = &real.expired;
	exsi_cond_init(&real.tick);
	exsi_cond_init(&real.call);
	exsi_crew_init(&real.crew);
}

exs_clock *exsi_clock(exs_clock *clock)
{
	if (clock)
		return clock;
	pthread_once(&real_once, real_init);
	return &real;
}

exs_clock *exs_clock_manual_new(void)
{
	exs_clock *c = exsi_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	clock_init(c, true);
	exsi_wheel_init(&c->wheel);
	return c;
}

exs_clock *exsi_clock_ref(exs_clock *clock)
{
	if (clock->manual)
		atomic_fetch_add(&clock->refs, 1);
	return clock;
}

void exs_clock_unref(exs_clock *c)
{
	if (!c || !c->manual || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	exsi_free(c);
}

uint64_t exsi_clock_ns(exs_clock *c)
{
	if (!c->manual)
		return exsi_now();
	pthread_mutex_lock(&c->lock);
	uint64_t now = c->now;
	pthread_mutex_unlock(&c->lock);
	return now;
}

bool exsi_clock_is_manual(const exs_clock *c)
{
	return c->manual;
}

double exs_clock_now(exs_clock *clock)
{
	return (double)exsi_clock_ns(exsi_clock(clock)) / 1e9;
}

/* --- timers --- */

/* A wheel, with what guards it: the lock of its shard, or of its manual clock. */
struct place {
	struct exsi_wheel *wheel;
	struct exsi_lock *lock;
	exs_clock *manual; /* or NULL */
};

static void place_lock(struct place place)
{
	if (place.manual)
		pthread_mutex_lock(&place.manual->lock);
	else
		exsi_lock(place.lock);
}

static void place_unlock(struct place place)
{
	if (place.manual)
		pthread_mutex_unlock(&place.manual->lock);
	else
		exsi_unlock(place.lock);
}

static struct place shard(unsigned i)
{
	return (struct place){&shards[i].wheel, &shards[i].lock, NULL};
}

static struct place of_manual(exs_clock *c)
{
	return (struct place){&c->wheel, NULL, c};
}

static struct place place_of(exs_clock *c, const struct exsi_timer *t)
{
	uint64_t hash = (uint64_t)(uintptr_t)t / 64 * UINT64_C(0x9e3779b97f4a7c15);

	return c->manual ? of_manual(c) : shard((unsigned)(hash >> 32) % SHARDS);
}

/* The i-th of the clock's; false: there is none. */
static bool nth_place(exs_clock *c, unsigned i, struct place *place)
{
	if (i >= (c->manual ? 1 : SHARDS))
		return false;
	*place = c->manual ? of_manual(c) : shard(i);
	return true;
}

static void tell_timer_thread(exs_clock *c, uint64_t at)
{
	uint64_t soonest = atomic_load(&c->soonest);

	while (at < soonest && !atomic_compare_exchange_weak(&c->soonest, &soonest, at))
		;
	if (at >= atomic_load(&c->sleeps_until))
		return;
	pthread_mutex_lock(&c->lock);
	pthread_cond_signal(&c->tick);
	pthread_mutex_unlock(&c->lock);
}

bool exsi_timer_arm(exs_clock *c, struct exsi_timer *t, uint64_t at, bool (*park)(struct exsi_timer *))
{
	struct place place = place_of(c, t);

	place_lock(place);
	if (park && !park(t)) {
		place_unlock(place);
		return false;
	}
	t->at = at;
	exsi_wheel_add(place.wheel, t);
	if (c->manual)
		pthread_cond_broadcast(&c->changed);
	place_unlock(place);
	if (!c->manual)
		tell_timer_thread(c, at);
	return true;
}

bool exsi_timer_disarm(exs_clock *c, struct exsi_timer *t)
{
	struct place place = place_of(c, t);

	place_lock(place);
	bool armed = t->prev != NULL;
	if (armed)
		exsi_wheel_remove(place.wheel, t);
	place_unlock(place);
	return armed;
}

void exsi_timer_each(exs_clock *c, const struct exsi_timer_kind *kind, void (*visit)(struct exsi_timer *, void *),
		     void *arg)
{
	struct place place;

	for (unsigned i = 0; nth_place(c, i, &place); i++) {
		place_lock(place);
		exsi_wheel_each(place.wheel, kind, visit, arg);
		place_unlock(place);
	}
}

/* --- manual --- */

/* Runs what is due until the target; with the lock, which it leaves while a timer fires. */
static void run_to_target(exs_clock *c)
{
	for (;;) {
		struct exsi_timer *t = exsi_wheel_pop(&c->wheel, c->target);
		if (!t)
			break;
		if (t->at > c->now)
			c->now = t->at;
		if (!t->kind->expire(t))
			continue;
		pthread_mutex_unlock(&c->lock);
		t->kind->fire(t);
		pthread_mutex_lock(&c->lock);
	}
	if (c->now < c->target) /* not moved beyond it by a step */
		c->now = c->target;
}

bool exsi_clock_step(exs_clock *c, uint64_t limit)
{
	pthread_mutex_lock(&c->lock);
	uint64_t at = exsi_wheel_earliest(&c->wheel);
	bool due = at != EXSI_NEVER && at <= limit;
	uint64_t to = due ? at : limit;
	if (to > c->now && to != EXSI_NEVER)
		c->now = to;
	struct exsi_timer *t = due ? exsi_wheel_pop(&c->wheel, c->now) : NULL;
	bool fires = t && t->kind->expire(t);
	pthread_mutex_unlock(&c->lock);
	if (fires)
		t->kind->fire(t);
	return due;
}

void exsi_clock_set_turner(exs_clock *c, struct exsi_turner *turner)
{
	c->turner = turner;
}

struct exsi_turner *exsi_clock_turner(exs_clock *c)
{
	return c->turner;
}

static bool has_advanced(void *clock)
{
	return !((exs_clock *)clock)->advancing;
}

/* Under the lock. */
static void wait_for_advancer(exs_clock *c)
{
	struct exsi_turner *turner = exsi_self()->turner;

	if (!turner) {
		pthread_cond_wait(&c->changed, &c->lock);
		return;
	}
	pthread_mutex_unlock(&c->lock);
	turner->until(turner, has_advanced, c, EXSI_NEVER);
	pthread_mutex_lock(&c->lock);
}

/* EXS_EINVAL, unless it is a manual clock and a time for it. */
static int check(const exs_clock *c, const char *what, double seconds, uint64_t *ns)
{
	if (c && c->manual && exsi_duration(seconds, ns))
		return EXS_OK;
	if (c && c->manual)
		exs_set_last_error(&exs_domain_exs, EXS_EINVAL, "%s: %g seconds: the time must be 0 or more", what,
				   seconds);
	else
		exs_set_last_error(&exs_domain_exs, EXS_EINVAL, "%s: the clock is none of exs_clock_manual_new", what);
	return EXS_EINVAL;
}

static int advance(exs_clock *c, uint64_t from, uint64_t ns)
{
	if (exsi_after(from, ns) == EXSI_NEVER)
		return EXS_EINVAL;
	c->target = from + ns;
	if (!c->advancing) {
		c->advancing = true;
		c->advancer = pthread_self();
		run_to_target(c);
		c->advancing = false;
		pthread_cond_broadcast(&c->changed);
	}
	return EXS_OK;
}

int exs_clock_advance(exs_clock *c, double seconds)
{
	uint64_t ns;
	int rc = check(c, "exs_clock_advance", seconds, &ns);

	if (rc)
		return rc;
	pthread_mutex_lock(&c->lock);
	bool within = c->advancing && pthread_equal(c->advancer, pthread_self());
	while (c->advancing && !within)
		wait_for_advancer(c);
	rc = advance(c, within ? c->target : c->now, ns);
	pthread_mutex_unlock(&c->lock);
	if (rc)
		exs_set_last_error(&exs_domain_exs, rc, "exs_clock_advance: %g seconds: further than the clock goes",
				   seconds);
	return rc;
}

struct armed {
	exs_clock *clock;
	size_t n;
};

static bool enough_armed(void *arg)
{
	struct armed *armed = arg;

	return exs_clock_armed(armed->clock) >= armed->n;
}

int exs_clock_wait_armed(exs_clock *c, size_t n, double seconds)
{
	uint64_t ns;
	bool in_time = true;

	if (check(c, "exs_clock_wait_armed", seconds, &ns))
		return EXS_EINVAL;
	struct exsi_turner *turner = exsi_self()->turner;
	if (turner)
		return turner->until(turner, enough_armed, &(struct armed){c, n}, exsi_after(exsi_thread_now(), ns));
	uint64_t deadline = exsi_after(exsi_now(), ns);
	pthread_mutex_lock(&c->lock);
	while (c->wheel.n < n && in_time)
		in_time = exsi_cond_wait(&c->changed, &c->lock, deadline);
	bool enough = c->wheel.n >= n;
	pthread_mutex_unlock(&c->lock);
	return enough ? EXS_OK : EXS_ETIMEDOUT;
}

size_t exs_clock_armed(exs_clock *clock)
{
	exs_clock *c = exsi_clock(clock);
	struct place place;
	size_t n = 0;

	for (unsigned i = 0; nth_place(c, i, &place); i++) {
		place_lock(place);
		n += place.wheel->n;
		place_unlock(place);
	}
	return n;
}

uint64_t exsi_clock_earliest(exs_clock *c)
{
	uint64_t earliest = EXSI_NEVER;
	struct place place;

	for (unsigned i = 0; nth_place(c, i, &place); i++) {
		place_lock(place);
		uint64_t at = exsi_wheel_earliest(place.wheel);
		place_unlock(place);
		if (at < earliest)
			earliest = at;
	}
	return earliest;
}

double exs_clock_next(exs_clock *clock)
{
	exs_clock *c = exsi_clock(clock);
	uint64_t now = exsi_clock_ns(c), next = exsi_clock_earliest(c);

	if (next == EXSI_NEVER)
		return EXS_FOREVER;
	return next > now ? (double)(next - now) / 1e9 : 0;
}

/* --- real: one thread watches the time, another runs what falls due --- */

static int caller_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge);
static void caller_unblock(struct exsi_worker *w);

static bool caller_help(struct exsi_worker *w, exs_future *future)
{
	(void)w, (void)future;
	return false;
}

static bool caller_concerns(struct exsi_worker *w, exs_future *future)
{
	(void)w, (void)future;
	return true; /* any future may hang on a timer */
}

static void caller_main(void *arg)
{
	exs_clock *c = arg;
	struct exsi_worker worker = {caller_help, caller_concerns, caller_block, caller_unblock, NULL, NULL, NULL};

	on_callback_thread = true;
	exsi_self()->worker = &worker;
	pthread_mutex_lock(&c->lock);
	for (;;) {
		struct exsi_timer *t = c->expired;
		if (c->callers - c->callers_blocked > 1 || (!t && c->stopping))
			break;
		if (!t) {
			c->callers_idle++;
			pthread_cond_wait(&c->call, &c->lock);
			c->callers_idle--;
			continue;
		}
		c->expired = t->next;
		if (!c->expired)
			c->expired_tail = &c->expired;
		pthread_mutex_unlock(&c->lock);
		t->kind->fire(t);
		pthread_mutex_lock(&c->lock);
	}
	c->callers--;
	pthread_mutex_unlock(&c->lock);
}

/* With the lock, which it leaves for a moment: sees to it that somebody will run what has expired. false: no thread. */
static bool provide_caller(exs_clock *c)
{
	if (c->callers_idle) {
		pthread_cond_signal(&c->call);
		return true;
	}
	if (c->callers > c->callers_blocked)
		return true;
	if (c->callers >= MAX_CALLBACK_THREADS)
		return false;
	c->callers++;
	pthread_mutex_unlock(&c->lock);
	int rc = exsi_crew_start(&c->crew, "exs-callback", 0, caller_main, c);
	if (rc)
		exsi_log(EXS_LOG_ERROR, "timer", "no callback thread could be made (error %d)", rc);
	pthread_mutex_lock(&c->lock);
	if (rc)
		c->callers--;
	return !rc;
}

/* A callback waits for something: another thread takes over, or nothing that the wait is for could ever fall due. */
static int caller_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge)
{
	(void)w, (void)concerned, (void)nudge;
	pthread_mutex_lock(&real.lock);
	real.callers_blocked++;
	bool ok = provide_caller(&real);
	if (!ok)
		real.callers_blocked--;
	pthread_mutex_unlock(&real.lock);
	return ok ? EXS_OK : EXS_EDEADLK;
}

static void caller_unblock(struct exsi_worker *w)
{
	(void)w;
	pthread_mutex_lock(&real.lock);
	real.callers_blocked--;
	pthread_cond_signal(&real.call); /* one too many now: an idle one leaves */
	pthread_mutex_unlock(&real.lock);
}

/* Puts it into its place among what has expired in the same look: mostly the last. */
static void sort_in(struct exsi_timer **first, struct exsi_timer *t)
{
	struct exsi_timer **at = first;

	while (*at && (*at)->at <= t->at)
		at = &(*at)->next;
	t->next = *at;
	*at = t;
}

/* What has expired, in the order of deadlines; *next is when to look again. */
static struct exsi_timer *look_at_shards(uint64_t *next)
{
	struct exsi_timer *expired = NULL, **from = &expired, *t;
	struct place place;

	*next = EXSI_NEVER;
	for (unsigned i = 0; nth_place(&real, i, &place); i++) {
		from = &expired;
		place_lock(place);
		while ((t = exsi_wheel_pop(place.wheel, exsi_now()))) {
			if (!t->kind->expire(t))
				continue;
			sort_in(from, t);
			from = &t->next; /* the next of this wheel comes after it */
		}
		uint64_t at = exsi_wheel_next(place.wheel);
		place_unlock(place);
		*next = at < *next ? at : *next;
	}
	return expired;
}

/* With the lock, which it leaves. Answers when to look again. */
static uint64_t timer_look(exs_clock *c)
{
	uint64_t next;

	atomic_store(&c->soonest, EXSI_NEVER);
	pthread_mutex_unlock(&c->lock);
	struct exsi_timer *expired = look_at_shards(&next);
	pthread_mutex_lock(&c->lock);
	*c->expired_tail = expired;
	while (*c->expired_tail)
		c->expired_tail = &(*c->expired_tail)->next;
	if (c->expired && !provide_caller(c)) /* try again soon: nothing may be lost */
		return exsi_now() + 100000000u;
	return next;
}

/* With the lock. Until then, or until something is due sooner. */
static void timer_sleep(exs_clock *c, uint64_t until)
{
	uint64_t soonest;

	atomic_store(&c->sleeps_until, until);
	while ((soonest = atomic_load(&c->soonest)) < until) {
		until = soonest;
		atomic_store(&c->sleeps_until, until);
	}
	exsi_cond_wait(&c->tick, &c->lock, until);
	atomic_store(&c->sleeps_until, 0);
}

static void timer_main(void *arg)
{
	exs_clock *c = arg;

	pthread_mutex_lock(&c->lock);
	while (!c->stopping) {
		uint64_t next = timer_look(c);
		if (!c->stopping)
			timer_sleep(c, next);
	}
	pthread_mutex_unlock(&c->lock);
}

int exsi_clock_hold(exs_clock *c)
{
	int rc = 0;

	if (c->manual)
		return 0;
	pthread_mutex_lock(&c->lock);
	while (c->changing)
		pthread_cond_wait(&c->changed, &c->lock);
	if (!c->holds) {
		c->changing = true;
		pthread_mutex_unlock(&c->lock);
		rc = exsi_crew_start(&c->crew, "exs-timer", 0, timer_main, c);
		pthread_mutex_lock(&c->lock);
		c->changing = false;
		pthread_cond_broadcast(&c->changed);
	}
	c->holds += !rc;
	pthread_mutex_unlock(&c->lock);
	return rc;
}

void exsi_clock_unhold(exs_clock *c)
{
	if (c->manual)
		return;
	pthread_mutex_lock(&c->lock);
	while (c->changing)
		pthread_cond_wait(&c->changed, &c->lock);
	if (--c->holds) {
		pthread_mutex_unlock(&c->lock);
		return;
	}
	c->changing = c->stopping = true;
	pthread_cond_broadcast(&c->tick);
	pthread_cond_broadcast(&c->call);
	pthread_mutex_unlock(&c->lock);
	exsi_crew_join(&c->crew);
	pthread_mutex_lock(&c->lock);
	c->changing = c->stopping = false;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

bool exsi_on_callback_thread(void)
{
	return on_callback_thread;
}
