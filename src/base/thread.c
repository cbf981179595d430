/* Library threads: crews, blocking, fork. */
#define _GNU_SOURCE
#include "base/thread.h"
#include "base/memory.h"
#include "base/sync.h"
#include "base/timer.h"

#include <errno.h>
#include <executors/error.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

_Thread_local struct exsi_self exsi_thread;

int exsi_block(bool concerned, const struct exsi_nudge *nudge)
{
	struct exsi_worker *worker = exsi_thread.worker;

	for (;;) {
		int rc = worker ? worker->block(worker, concerned, nudge) : EXS_OK;
		if (rc)
			return rc;
		if (!exsi_thread.blocks++ && exsi_thread.lend &&
		    (!worker || !worker->replaced || worker->replaced(worker))) {
			exsi_thread.lent = true;
			exsi_thread.lend(true);
		}
		if (!exsi_thread.drain)
			return EXS_OK;
		exsi_unblock(); /* what it has put off may block */
		exsi_thread.drain(true);
	}
}

static atomic_size_t looking_out;

void exsi_look_out(bool begins)
{
	if (exsi_thread.worker)
		atomic_fetch_add(&looking_out, begins ? 1 : (size_t)-1);
}

/* --- spinning --- */

enum { PATIENCE = 300, SHORT_SLEEP = 30000 /* ns */, LONG_TURNS = 5000, LONG_EVERY = 32 };

/* Those that this process may use; 0: not known. Without an allocation. */
static unsigned count_processors(void)
{
#ifdef __linux__
	cpu_set_t set;

	if (!sched_getaffinity(0, sizeof(set), &set))
		return (unsigned)CPU_COUNT(&set);
#endif
	return 0;
}

static atomic_uint elsewhere;

void exsi_spin_beside(int by)
{
	atomic_fetch_add_explicit(&elsewhere, (unsigned)by, memory_order_relaxed); /* a hint alone */
}

/* With one processor there is nobody who could do meanwhile what is waited for; nor if other processes need all others, and the thread that
   hears of them one more. */
static unsigned most_turns(void)
{
	static atomic_uint known;
	unsigned n = atomic_load_explicit(&known, memory_order_relaxed);
	unsigned busy = atomic_load_explicit(&elsewhere, memory_order_relaxed);

	if (!n) {
		n = count_processors();
		n = n ? n : UINT_MAX;
		atomic_store_explicit(&known, n, memory_order_relaxed);
	}
	return n > 1 && (!busy || n - 2 >= busy) ? PATIENCE : 0;
}

bool exsi_spin(struct exsi_patience *p, bool (*done)(void *), void *arg)
{
	unsigned most = most_turns(), turns = p->lost && p->turns < most ? p->turns : most, half = turns / 2;

	if (!most)
		return done(arg); /* nothing is learnt of it */
	if (p->lost && ++p->times % LONG_EVERY == 0)
		turns = LONG_TURNS;
	for (unsigned turn = 0; turn < turns; turn++) {
		if (done(arg)) {
			p->lost = false;
			return true;
		}
		exsi_pause();
	}
	p->turns = half;
	p->lost = true;
	return done(arg);
}

void exsi_spin_slept(struct exsi_patience *p, bool begins)
{
	uint64_t now = exsi_now();

	if (begins)
		p->since = now;
	else if (now - p->since < SHORT_SLEEP) /* it would have been worth while */
		p->lost = false;
}

unsigned exsi_stripe_first(void)
{
	static atomic_uint next;

	exsi_thread.stripe = atomic_fetch_add(&next, 1) % EXSI_STRIPES + 1;
	return exsi_thread.stripe - 1;
}

bool exsi_anyone_looks_out(void)
{
	return atomic_load(&looking_out);
}

bool exsi_help(exs_future *future)
{
	return (exsi_thread.worker && exsi_thread.worker->help(exsi_thread.worker, future)) ||
	       (exsi_thread.hurry && exsi_thread.hurry(future));
}

typedef bool run_fn(exs_future *future);

static _Atomic(run_fn *) run_awaited;

void exsi_run_awaited_by(run_fn *run)
{
	atomic_store(&run_awaited, run);
}

/* Not for a turner, nor on the callback thread: while that waits another stands in for it, while it runs a task none does. */
static run_fn *runs_here(void)
{
	return exsi_thread.turner || exsi_on_callback_thread() ? NULL : atomic_load(&run_awaited);
}

bool exsi_run_awaited(exs_future *future)
{
	run_fn *run = runs_here();

	return run && run(future);
}

typedef void tell_fn(exs_future *future);

static _Atomic(tell_fn *) tell_of;

void exsi_news_of_by(tell_fn *tell)
{
	atomic_store(&tell_of, tell);
}

/* Who waits has begun to look out before this looks, or looks after it. */
void exsi_news_of(exs_future *future)
{
	tell_fn *tell = exsi_anyone_looks_out() ? atomic_load(&tell_of) : NULL;

	if (tell)
		tell(future);
}

bool exsi_must_help(void)
{
	return exsi_thread.worker || exsi_thread.hurry;
}

bool exsi_can_help(bool without_limit)
{
	return exsi_must_help() || (without_limit && runs_here());
}

bool exsi_concerns(exs_future *future)
{
	return exsi_thread.worker && exsi_thread.worker->concerns(exsi_thread.worker, future);
}

void exsi_unblock(void)
{
	if (!--exsi_thread.blocks && exsi_thread.lent) {
		exsi_thread.lent = false;
		exsi_thread.lend(false);
	}
	if (exsi_thread.worker)
		exsi_thread.worker->unblock(exsi_thread.worker);
}

uint64_t exsi_thread_now(void)
{
	return exsi_thread.turner ? exsi_thread.turner->now(exsi_thread.turner) : exsi_now();
}

/* --- chores --- */

void exsi_enlist(struct exsi_turner *turner, struct exsi_chore *chore)
{
	chore->next = &turner->chores;
	chore->prev = turner->chores.prev;
	chore->prev->next = chore;
	turner->chores.prev = chore;
}

static bool is_rested(void *chore)
{
	return !((struct exsi_chore *)chore)->busy;
}

void exsi_dismiss(struct exsi_chore *chore)
{
	struct exsi_turner *turner = exsi_thread.turner;

	if (turner && chore->busy)
		turner->until(turner, is_rested, chore, EXSI_NEVER);
	chore->prev->next = chore->next;
	chore->next->prev = chore->prev;
}

/* --- crews --- */

struct recruit {
	struct exsi_crew *crew;
	void (*fn)(void *);
	void *arg;
	char name[16];
};

void exsi_crew_init(struct exsi_crew *crew)
{
	*crew = (struct exsi_crew){.alive = 0};
	pthread_mutex_init(&crew->lock, NULL);
	pthread_cond_init(&crew->ended, NULL);
}

void exsi_crew_fini(struct exsi_crew *crew)
{
	pthread_cond_destroy(&crew->ended);
	pthread_mutex_destroy(&crew->lock);
}

static void crew_leave(struct exsi_crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	bool has = crew->has_last;
	pthread_t before = crew->last;
	crew->has_last = true;
	crew->last = pthread_self();
	crew->alive--;
	pthread_cond_broadcast(&crew->ended);
	pthread_mutex_unlock(&crew->lock); /* last touch of the crew: who joins us knows that we are past it */
	if (has)
		pthread_join(before, NULL);
}

/* Of this thread, as it begins; it grows downwards. */
static uintptr_t half_stack(void)
{
	uintptr_t half = 0;
#ifdef __linux__
	pthread_attr_t attr;
	void *end;
	size_t size;

	if (pthread_getattr_np(pthread_self(), &attr))
		return 0;
	if (!pthread_attr_getstack(&attr, &end, &size))
		half = (uintptr_t)end + ((uintptr_t)__builtin_frame_address(0) - (uintptr_t)end) / 2;
	pthread_attr_destroy(&attr);
#endif
	return half;
}

static void *crew_main(void *arg)
{
	struct recruit r = *(struct recruit *)arg;

	exsi_free(arg);
#ifdef __linux__
	pthread_setname_np(pthread_self(), r.name);
#endif
	exsi_thread.half_stack = half_stack();
	r.fn(r.arg);
	crew_leave(r.crew);
	return NULL;
}

/* All but those of a fault of the thread's own: blocked, they end the process before a handler can tell where. */
static void fill_blocked(sigset_t *set)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};

	sigfillset(set);
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
		sigdelset(set, faults[i]);
}

static int create_blocked(const char *name, size_t stack_size, struct recruit *r)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;

	snprintf(r->name, sizeof(r->name), "%s", name);
	int rc = pthread_attr_init(&attr);
	if (rc)
		return rc;
	if (stack_size)
		rc = pthread_attr_setstacksize(&attr, stack_size);
	fill_blocked(&all);
	if (!rc) {
		pthread_sigmask(SIG_SETMASK, &all, &old);
		rc = pthread_create(&thread, &attr, crew_main, r);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	return rc;
}

int exsi_crew_start(struct exsi_crew *crew, const char *name, size_t stack_size, void (*fn)(void *), void *arg)
{
	struct recruit *r = exsi_alloc(sizeof(*r));

	if (!r)
		return ENOMEM;
	*r = (struct recruit){.crew = crew, .fn = fn, .arg = arg};
	pthread_mutex_lock(&crew->lock);
	crew->alive++;
	pthread_mutex_unlock(&crew->lock);
	int rc = create_blocked(name, stack_size, r);
	if (!rc)
		return 0;
	exsi_free(r);
	pthread_mutex_lock(&crew->lock);
	crew->alive--;
	pthread_cond_broadcast(&crew->ended);
	pthread_mutex_unlock(&crew->lock);
	return rc;
}

void exsi_crew_join(struct exsi_crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	while (crew->alive)
		pthread_cond_wait(&crew->ended, &crew->lock);
	bool has = crew->has_last;
	pthread_t last = crew->last;
	crew->has_last = false;
	pthread_mutex_unlock(&crew->lock);
	if (has)
		pthread_join(last, NULL); /* it has joined those before it */
}

/* --- what a thread may be given --- */

bool exsi_has_stack(void)
{
	return (uintptr_t)__builtin_frame_address(0) > exsi_thread.half_stack;
}

size_t exsi_stack_min(void)
{
	long least = PTHREAD_STACK_MIN;

#ifdef _SC_THREAD_STACK_MIN
	if (sysconf(_SC_THREAD_STACK_MIN) > least)
		least = sysconf(_SC_THREAD_STACK_MIN);
#endif
	return (size_t)least;
}

#ifdef __linux__

unsigned exsi_processors(void)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);

	return n > 0 ? (unsigned)n : 1;
}

int exsi_bind(const unsigned *cpus, size_t n)
{
	size_t size = CPU_ALLOC_SIZE(exsi_processors());
	cpu_set_t *set = exsi_zalloc(size);

	if (!set)
		return ENOMEM;
	for (size_t i = 0; i < n; i++)
		CPU_SET_S(cpus[i], size, set);
	int rc = pthread_setaffinity_np(pthread_self(), size, set);
	exsi_free(set);
	return rc;
}

#else

unsigned exsi_processors(void)
{
	return 0;
}

int exsi_bind(const unsigned *cpus, size_t n)
{
	(void)cpus, (void)n;
	return ENOTSUP;
}

#endif

/* --- fork --- */

static atomic_bool forked;

static void in_child(void)
{
	atomic_store_explicit(&forked, true, memory_order_relaxed); /* one thread: nothing to pair with */
}

static void watch(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

void exsi_fork_watch(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, watch);
}

bool exsi_forked(void)
{
	return atomic_load_explicit(&forked, memory_order_relaxed); /* set before the child runs any other code */
}
