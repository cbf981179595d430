/* as_completed: members tell the set when they are done; readers take them in that order. */
#include "base/event.h"
#include "base/inbox.h"
#include "base/memory.h"
#include "future/wait.h"

#include <executors/set.h>
#include <limits.h>
#include <string.h>

/* A member lives from add until it is read, or the set is freed. It is in the future's list; or in the hands of a thread that completes
   the future; or ready, in the inbox at first. */
struct member {
	struct exsi_node node;
	struct exsi_inbox_node ready;
	exs_set *set;
	exs_future *future;	    /* one user reference */
	struct member *next, *prev; /* in the order of addition */
	uint64_t number;
};

/* lock guards what follows it. Members become ready without it: who pushes onto an empty inbox tells the readers. A reader says that it sleeps, then looks
   into the inbox once more; one that has made a descriptor says so, then looks: so one of the two sees the other. */
struct exs_set {
	atomic_uint refs;    /* the user's, and of those that tell the readers */
	atomic_uint changes; /* readers sleep on it */
	atomic_bool sleeps;  /* a reader does, or is about to, that nobody has woken */
	atomic_bool has_fd;
	struct exsi_inbox inbox;
	pthread_mutex_t lock;
	struct member **table; /* open addressing by the future's address; capacity is 0 or a power of two */
	size_t capacity, count;
	struct member *first, *last;
	uint64_t added, erased;		       /* members so far */
	struct exsi_inbox_node *ready, *ahead; /* ahead: some members after ready, or NULL */
	int failed;			       /* a code to be told once */
	uint64_t deadline;
	struct exsi_event event;
};

static struct member *member_of(struct exsi_inbox_node *ready)
{
	return EXSI_CONTAINER_OF(ready, struct member, ready);
}

/* Where the search for a member of this future begins. */
static size_t home(const exs_set *set, const exs_future *f)
{
	return (size_t)((uintptr_t)f / sizeof(void *) * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (set->capacity - 1);
}

enum { AHEAD = 8 };

/* Has what the reading of a later member touches brought near. */
static void look_ahead(exs_set *set)
{
	if (!set->ahead)
		return;
	const struct member *m = member_of(set->ahead);
	__builtin_prefetch(m->future, 1);
	__builtin_prefetch(&set->table[home(set, m->future)], 1);
	__builtin_prefetch(m->next, 1);
	__builtin_prefetch(m->prev, 1);
	set->ahead = set->ahead->next;
}

/* With the lock. */
static void refill(exs_set *set)
{
	if (set->ready)
		return;
	set->ready = set->ahead = exsi_inbox_take(&set->inbox);
	for (int i = 0; i < AHEAD; i++)
		look_ahead(set);
}

static void assign_event(exs_set *set)
{
	exsi_event_assign(&set->event, set->ready || !exsi_inbox_is_empty(&set->inbox) || set->failed);
}

/* --- the table of members --- */

static size_t place(const exs_set *set, const exs_future *f)
{
	size_t i = home(set, f);

	while (set->table[i] && set->table[i]->future != f)
		i = (i + 1) & (set->capacity - 1);
	return i;
}

static bool grow(exs_set *set)
{
	size_t old = set->capacity, next = old ? 2 * old : 16;
	struct member **before = set->table, **table = exsi_alloc_array(next, sizeof(struct member *));

	if (!table)
		return false;
	memset(table, 0, next * sizeof(struct member *));
	set->table = table;
	set->capacity = next;
	for (size_t i = 0; i < old; i++)
		if (before[i])
			table[place(set, before[i]->future)] = before[i];
	exsi_free(before);
	return true;
}

/* Whatever is done to all members is done in the order of their addition: the table's order is that of addresses. */
static void link_member(exs_set *set, struct member *m)
{
	m->number = ++set->added;
	m->next = NULL;
	m->prev = set->last;
	*(m->prev ? &m->prev->next : &set->first) = m;
	set->last = m;
}

static void unlink_member(exs_set *set, struct member *m)
{
	*(m->prev ? &m->prev->next : &set->first) = m->next;
	*(m->next ? &m->next->prev : &set->last) = m->prev;
	set->erased++;
}

static void erase(exs_set *set, struct member *m)
{
	size_t hole = place(set, m->future), mask = set->capacity - 1;

	unlink_member(set, m);
	set->table[hole] = NULL;
	set->count--;
	for (size_t i = (hole + 1) & mask; set->table[i]; i = (i + 1) & mask) { /* close the gap */
		struct member *moved = set->table[i];
		set->table[i] = NULL;
		set->table[place(set, moved->future)] = moved;
	}
}

/* --- made, freed --- */

exs_set *exs_set_new(void)
{
	exs_set *set = exsi_zalloc(sizeof(*set));

	if (!set)
		return exsi_fail_null(EXS_ENOMEM, "exs_set_new: out of memory");
	atomic_init(&set->refs, 1);
	atomic_init(&set->changes, 0);
	pthread_mutex_init(&set->lock, NULL);
	set->deadline = EXSI_NEVER;
	set->event.read_fd = set->event.write_fd = -1;
	return set;
}

static void set_unref(exs_set *set)
{
	if (atomic_fetch_sub(&set->refs, 1) != 1)
		return;
	exsi_event_close(&set->event);
	pthread_mutex_destroy(&set->lock);
	exsi_free(set->table);
	exsi_free(set);
}

/* Takes up to n, which are not to be read any more. Answers how many are to come yet. */
static size_t skip_ready(exs_set *set, size_t n)
{
	pthread_mutex_lock(&set->lock); /* one that tells readers may look */
	refill(set);
	for (; set->ready; n--)
		set->ready = set->ready->next;
	pthread_mutex_unlock(&set->lock);
	return n;
}

void exs_set_free(exs_set *set)
{
	size_t coming = 0;

	if (!set)
		return;
	for (struct member *m = set->first; m; m = m->next)
		coming += !exsi_node_remove(m->future, &m->node);
	/* Those in the hands of completing threads come soon: no user's code runs before. */
	for (unsigned turn = 0; coming; turn++) {
		coming = skip_ready(set, coming);
		exsi_relax(turn);
	}
	for (struct member *m = set->first, *next; m; m = next) {
		exs_future *f = m->future;
		next = m->next;
		exsi_free(m);
		exs_future_unref(f);
	}
	set_unref(set);
}

/* --- members come and are done --- */

/* With a reference, which it drops. */
static void tell_readers(exs_set *set)
{
	if (atomic_load(&set->has_fd)) {
		pthread_mutex_lock(&set->lock);
		assign_event(set);
		pthread_mutex_unlock(&set->lock);
	}
	atomic_fetch_add(&set->changes, 1);
	if (atomic_load(&set->sleeps) && atomic_exchange(&set->sleeps, false))
		exsi_unpark(&set->changes, INT_MAX);
	set_unref(set);
}

/* Once it is in the inbox nothing keeps the set, unless it was kept before. */
static void fired(exs_future *f, struct exsi_node *node)
{
	struct member *m = EXSI_CONTAINER_OF(node, struct member, node);
	exs_set *set = m->set;
	struct exsi_inbox_node *top = exsi_inbox_top(&set->inbox);
	bool kept = false;

	(void)f;
	do
		if (!top && !kept) {
			atomic_fetch_add(&set->refs, 1);
			kept = true;
		}
	while (!exsi_inbox_push(&set->inbox, &top, &m->ready));
	if (!top)
		tell_readers(set);
	else if (kept)
		set_unref(set);
}

static int add_failed(exs_set *set, int code)
{
	pthread_mutex_lock(&set->lock);
	set->failed = code;
	assign_event(set);
	atomic_fetch_add(&set->changes, 1);
	pthread_mutex_unlock(&set->lock);
	exsi_unpark(&set->changes, INT_MAX);
	return exsi_fail(code, "exs_set_add: out of memory, or a submit had been");
}

/* 1: added, 0: was a member, -1: no memory. */
static int insert(exs_set *set, struct member *m)
{
	int rc = 1;

	pthread_mutex_lock(&set->lock);
	if (set->capacity < 2 * (set->count + 1) && !grow(set))
		rc = -1;
	size_t i = rc < 0 ? 0 : place(set, m->future);
	if (rc > 0 && set->table[i])
		rc = 0;
	if (rc > 0) {
		set->table[i] = m;
		set->count++;
		link_member(set, m);
	}
	pthread_mutex_unlock(&set->lock);
	return rc;
}

int exs_set_add(exs_set *set, exs_future *f)
{
	if (!set) {
		exs_future_unref(f);
		return exsi_fail(EXS_EINVAL, "exs_set_add: set is NULL");
	}
	struct member *m = f ? exsi_alloc(sizeof(*m)) : NULL;
	int rc = -1;
	if (m) {
		*m = (struct member){.node = {.fn = fired, .kind = EXSI_WATCHER}, .set = set, .future = f};
		rc = insert(set, m);
	}
	if (rc < 1) {
		exsi_free(m);
		exs_future_unref(f);
		return rc ? add_failed(set, EXS_ENOMEM) : EXS_OK;
	}
	if (!exsi_node_add(f, &m->node))
		fired(f, &m->node);
	return EXS_OK;
}

/* --- reading --- */

enum next { NEXT_WAIT = -1 };

/* What can be answered at once, under the lock. */
static int take_ready(exs_set *set, exs_future **future, int *failed)
{
	int status = EXS_ITEM;

	refill(set);
	*failed = set->failed;
	if (set->failed) {
		set->failed = 0;
		status = EXS_FAILED;
	} else if (set->ready) {
		struct member *m = member_of(set->ready);
		*future = m->future;
		set->ready = set->ready->next;
		look_ahead(set);
		erase(set, m);
		exsi_free(m);
	} else {
		status = set->count ? NEXT_WAIT : EXS_EMPTY;
	}
	assign_event(set);
	return status;
}

/* A walk over the members that leaves the lock between any two. */
struct walk {
	struct member *at;
	uint64_t number; /* of at */
	uint64_t erased; /* as it was then: at is still a member if it is so now */
};

/* The next member's future, with a reference; NULL at the end. */
static exs_future *walk_on(exs_set *set, struct walk *walk)
{
	pthread_mutex_lock(&set->lock);
	struct member *m = walk->at && walk->erased == set->erased ? walk->at->next : set->first;
	while (m && m->number <= walk->number)
		m = m->next;
	exs_future *f = m ? exs_future_ref(m->future) : NULL;
	if (m)
		*walk = (struct walk){m, m->number, set->erased};
	pthread_mutex_unlock(&set->lock);
	return f;
}

/* Where this thread can help: does work of a member on this thread (false: there is none); *concerned: a member may need its kind. */
static bool help(exs_set *set, uint64_t deadline, bool *concerned)
{
	bool without_limit = deadline == EXSI_NEVER, can = exsi_can_help(without_limit);
	struct walk walk = {.at = NULL};
	bool helped = false;

	*concerned = false;
	while (can && !helped) {
		exs_future *f = walk_on(set, &walk);
		if (!f)
			break;
		helped = exsi_help(f) || (without_limit && exsi_run_awaited(f));
		*concerned = *concerned || (!helped && exsi_concerns(f));
		exs_future_unref(f);
	}
	return helped;
}

struct look {
	exs_set *set;
	unsigned seen;
};

static bool has_changed(void *arg)
{
	struct look *look = arg;

	return atomic_load(&look->set->changes) != look->seen;
}

static void nudge_reader(void *arg)
{
	exs_set *set = arg;

	atomic_fetch_add(&set->changes, 1);
	exsi_unpark(&set->changes, INT_MAX);
}

static int sleep_for_change(exs_set *set, unsigned seen, uint64_t deadline, bool concerned, bool *in_time)
{
	struct exsi_turner *turner = exsi_self()->turner;
	struct look look = {set, seen};
	struct exsi_nudge nudge = {nudge_reader, set};
	int rc = exsi_block(concerned, &nudge);

	if (rc == EXSI_AGAIN)
		return EXS_OK;
	if (rc)
		return exsi_fail(rc, "exs_set_next: %s", exs_strerror(rc));
	if (turner) {
		rc = turner->until(turner, has_changed, &look, deadline);
		*in_time = rc != EXS_ETIMEDOUT;
	} else {
		*in_time = exsi_park(&set->changes, seen, deadline);
	}
	exsi_unblock();
	return rc == EXS_EDEADLK ? rc : EXS_OK;
}

/* false: something has changed. Else who changes it finds this thread asleep, or about to be. */
static bool fall_asleep(exs_set *set, unsigned seen)
{
	atomic_store(&set->sleeps, true);
	return exsi_inbox_is_empty(&set->inbox) && atomic_load(&set->changes) == seen;
}

static exs_set_status next_item(exs_set *set, exs_future **future, uint64_t deadline, bool may_wait)
{
	bool in_time = may_wait, concerned;
	int failed;

	for (;;) {
		pthread_mutex_lock(&set->lock);
		unsigned seen = atomic_load(&set->changes);
		int status = take_ready(set, future, &failed);
		uint64_t until = set->deadline < deadline ? set->deadline : deadline;
		pthread_mutex_unlock(&set->lock);
		if (status == EXS_FAILED)
			exsi_fail(failed, "an exs_set_add failed: %s", exs_strerror(failed));
		if (status != NEXT_WAIT)
			return (exs_set_status)status;
		if (!in_time)
			return EXS_TIMEOUT;
		exsi_drain();
		if (atomic_load(&set->changes) != seen || help(set, until, &concerned))
			continue;
		if (exsi_forked()) {
			exsi_fail(EXS_EFORK, "exs_set_next: %s", exs_strerror(EXS_EFORK));
			return EXS_FAILED;
		}
		struct look look = {set, seen};
		if (!exsi_self()->turner &&
		    (exsi_spin(&exsi_self()->patience, has_changed, &look) || !fall_asleep(set, seen)))
			continue;
		exsi_spin_slept(&exsi_self()->patience, true);
		int rc = sleep_for_change(set, seen, until, concerned, &in_time);
		exsi_spin_slept(&exsi_self()->patience, false);
		if (rc)
			return EXS_FAILED;
	}
}

exs_set_status exs_set_next(exs_set *set, exs_future **future, double seconds)
{
	uint64_t deadline;

	if (!set || !future) {
		exsi_fail(EXS_EINVAL, "exs_set_next: %s is NULL", set ? "future" : "set");
		return EXS_FAILED;
	}
	*future = NULL;
	if (exsi_wait_begin("exs_set_next", seconds, &deadline))
		return EXS_FAILED;
	exsi_look_out(true);
	exs_set_status status = next_item(set, future, deadline, seconds > 0);
	exsi_look_out(false);
	return status;
}

int exs_set_deadline(exs_set *set, double seconds)
{
	uint64_t deadline;

	if (!set)
		return exsi_fail(EXS_EINVAL, "exs_set_deadline: set is NULL");
	int rc = exsi_wait_begin("exs_set_deadline", seconds, &deadline);
	if (rc)
		return rc;
	pthread_mutex_lock(&set->lock);
	set->deadline = deadline;
	atomic_fetch_add(&set->changes, 1); /* readers look again */
	pthread_mutex_unlock(&set->lock);
	exsi_unpark(&set->changes, INT_MAX);
	return EXS_OK;
}

size_t exs_set_count(exs_set *set)
{
	if (!set)
		return 0;
	pthread_mutex_lock(&set->lock);
	size_t n = set->count;
	pthread_mutex_unlock(&set->lock);
	return n;
}

size_t exs_set_cancel(exs_set *set)
{
	size_t n = 0, room = exs_set_count(set), cancelled;
	exs_future **all = exsi_alloc_array(room + 1, sizeof(exs_future *));

	if (!set || !all) {
		exsi_free(all);
		exsi_fail(set ? EXS_ENOMEM : EXS_EINVAL, "exs_set_cancel: %s", set ? "out of memory" : "set is NULL");
		return 0;
	}
	pthread_mutex_lock(&set->lock);
	for (struct member *m = set->first; m && n < room; m = m->next)
		all[n++] = exs_future_ref(m->future);
	pthread_mutex_unlock(&set->lock);
	cancelled = exs_future_cancel_all(all, n);
	for (size_t i = 0; i < n; i++)
		exs_future_unref(all[i]);
	exsi_free(all);
	return cancelled;
}

int exs_set_fd(exs_set *set)
{
	if (!set) {
		exsi_fail(EXS_EINVAL, "exs_set_fd: set is NULL");
		return -1;
	}
	pthread_mutex_lock(&set->lock);
	int rc = set->event.read_fd < 0 ? exsi_event_make(&set->event) : 0;
	if (!rc) {
		atomic_store(&set->has_fd, true);
		assign_event(set);
	}
	int fd = set->event.read_fd;
	pthread_mutex_unlock(&set->lock);
	if (rc)
		exsi_fail_errno(rc, "exs_set_fd");
	return fd;
}
