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
	union {
		struct exsi_node node;
		struct { /* from when it has fired */
			struct exsi_inbox_node ready;
			const void *later; /* one EXSI_STEPS on in the list it is in, as it seemed: may be gone */
		};
	};
	exs_set *set;
	exs_future *future; /* one user reference */
	uint32_t index;	    /* among the set's members; its lock guards it */
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
	/* In the order of addition; NULL: has been read. count of the first used places are members, room (0 or a power of two) there are. */
	struct member **members;
	uint32_t *table; /* 2 * room places, open addressing by the future's address: 0, or an index + 1 */
	size_t room, used, count;
	uint64_t moved;			       /* times that members got other indices */
	size_t helped;			       /* the index of the member that a reader helped last, or about */
	struct exsi_inbox_node *ready, *ahead; /* ahead: some members after ready, or NULL */
	int failed;			       /* a code to be told once */
	uint64_t deadline;
	struct exsi_event event;
};

static struct member *member_of(struct exsi_inbox_node *ready)
{
	return EXSI_CONTAINER_OF(ready, struct member, ready);
}

static void look_ahead(exs_set *set)
{
	if (!set->ahead)
		return;
	const struct member *m = member_of(set->ahead);
	__builtin_prefetch(m->later, 1);
	__builtin_prefetch(m->future, 1);
	__builtin_prefetch(&set->members[m->index], 1);
	set->ahead = m->ready.next;
}

/* Now that all are known: exactly. */
static void point_ahead(struct exsi_inbox_node *node, void *trail)
{
	struct member *m = member_of(node);

	__builtin_prefetch(m->later, 1);
	m->later = exsi_trail_add(trail, m);
}

/* With the lock. */
static void refill(exs_set *set)
{
	struct exsi_trail trail = {.n = 0};

	if (set->ready)
		return;
	set->ready = set->ahead = exsi_inbox_take(&set->inbox, point_ahead, &trail);
	for (int i = 0; i < EXSI_STEPS && set->ahead; i++)
		look_ahead(set);
}

static void assign_event(exs_set *set)
{
	if (atomic_load_explicit(&set->has_fd, memory_order_relaxed)) /* the lock orders it */
		exsi_event_assign(&set->event, set->ready || !exsi_inbox_is_empty(&set->inbox) || set->failed);
}

/* --- the members --- */

enum { FIRST_ROOM = 8 };

static struct member *member_at(const exs_set *set, const uint32_t *at)
{
	return *at ? set->members[*at - 1] : NULL;
}

/* Where the member with this future is in the table, or else may be put. What has been read leaves its place behind: a search goes past
   it, an addition takes it. */
static uint32_t *place(const exs_set *set, const exs_future *f)
{
	size_t mask = 2 * set->room - 1;
	size_t i = (size_t)((uintptr_t)f / sizeof(void *) * UINT64_C(0x9E3779B97F4A7C15) >> 20) & mask;
	uint32_t *left = NULL;

	for (; set->table[i]; i = (i + 1) & mask) {
		const struct member *m = member_at(set, &set->table[i]);
		if (m && m->future == f)
			return &set->table[i];
		if (!m && !left)
			left = &set->table[i];
	}
	return left ? left : &set->table[i];
}

static void append(exs_set *set, struct member *m, uint32_t *at)
{
	m->index = (uint32_t)set->used;
	set->members[set->used++] = m;
	*at = (uint32_t)set->used;
}

/* Moves the members together. Half of the room is free then; what has got far too large is used in part only, so that this takes
   as long as there were places used. */
static void compact(exs_set *set)
{
	size_t n = set->used;

	while (set->room > FIRST_ROOM && set->room > 4 * set->count)
		set->room /= 2;
	memset(set->table, 0, 2 * set->room * sizeof(*set->table));
	set->used = 0;
	set->moved++;
	set->helped = 0;
	for (size_t i = 0; i < n; i++) {
		struct member *m = set->members[i];
		if (m)
			append(set, m, place(set, m->future));
	}
}

static bool grow(exs_set *set)
{
	size_t room = set->room ? 2 * set->room : FIRST_ROOM;
	struct member **members = NULL;

	if (room <= UINT32_MAX / 2)
		members = exsi_alloc_array(room, sizeof(*members) + 2 * sizeof(*set->table));
	if (!members)
		return false;
	if (set->used)
		memcpy(members, set->members, set->used * sizeof(*members));
	exsi_free(set->members);
	set->members = members;
	set->table = (uint32_t *)(void *)(members + room);
	set->room = room;
	return true;
}

/* For one more. */
static bool make_room(exs_set *set)
{
	if (set->used < set->room)
		return true;
	if (2 * set->count >= set->room && !grow(set))
		return false;
	compact(set);
	return true;
}

/* Before a walk over all members: that takes as long as there are members, this as long as members were read since the last time. */
static void tidy(exs_set *set)
{
	if (set->used > 2 * set->count + FIRST_ROOM)
		compact(set);
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
	exsi_free(set->members);
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
	for (size_t i = 0; i < set->used; i++)
		coming += set->members[i] && !exsi_node_remove(set->members[i]->future, &set->members[i]->node);
	/* Those in the hands of completing threads come soon: no user's code runs before. */
	for (unsigned turn = 0; coming; turn++) {
		coming = skip_ready(set, coming);
		exsi_relax(turn);
	}
	for (size_t i = 0; i < set->used; i++) {
		struct member *m = set->members[i];
		if (m)
			exs_future_unref(m->future);
		exsi_free(m);
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

/* The members that this thread pushed last, to whatever sets. */
static _Thread_local struct exsi_trail pushed;

/* Onto an empty inbox, as it seemed. Once it is in the inbox nothing keeps the set, unless it was kept before. */
static void push_first(exs_set *set, struct member *m)
{
	struct exsi_inbox_node *top = NULL;

	atomic_fetch_add(&set->refs, 1);
	while (!exsi_inbox_push(&set->inbox, &top, &m->ready))
		;
	if (!top)
		tell_readers(set);
	else
		set_unref(set);
}

static void fired(exs_future *f, struct exsi_node *node)
{
	struct member *m = EXSI_CONTAINER_OF(node, struct member, node);
	exs_set *set = m->set;
	struct exsi_inbox_node *top = exsi_inbox_top(&set->inbox);

	(void)f;
	m->later = exsi_trail_add(&pushed, m);
	while (top)
		if (exsi_inbox_push(&set->inbox, &top, &m->ready))
			return;
	push_first(set, m);
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
	int rc = -1;

	pthread_mutex_lock(&set->lock);
	if (make_room(set)) {
		uint32_t *at = place(set, m->future);
		rc = !member_at(set, at);
		if (rc)
			append(set, m, at);
		set->count += (size_t)rc;
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
	bool looked_for = exsi_anyone_looks_out(); /* by who sees it among the members, or is told */
	if (looked_for)
		exsi_hold(f);
	if (!exsi_node_add(f, &m->node))
		fired(f, &m->node);
	if (!looked_for)
		return EXS_OK;
	exsi_news_of(f);
	exsi_drop(f);
	return EXS_OK;
}

/* --- reading --- */

enum next { NEXT_WAIT = -1 };

/* What can be answered at once. *deadline: the set's. */
static int take(exs_set *set, exs_future **future, uint64_t *deadline)
{
	struct member *m = NULL;
	int status = EXS_ITEM;

	pthread_mutex_lock(&set->lock);
	int failed = set->failed;
	refill(set);
	if (failed) {
		set->failed = 0;
		status = EXS_FAILED;
	} else if (set->ready) {
		m = member_of(set->ready);
		*future = m->future;
		set->ready = set->ready->next;
		look_ahead(set);
		set->members[m->index] = NULL;
		set->count--;
	} else {
		status = set->count ? NEXT_WAIT : EXS_EMPTY;
	}
	*deadline = set->deadline;
	assign_event(set);
	pthread_mutex_unlock(&set->lock);
	if (failed)
		exsi_fail(failed, "an exs_set_add failed: %s", exs_strerror(failed));
	exsi_free(m);
	return status;
}

/* A walk once round the members that leaves the lock between any two. It begins anew when they have been moved. */
struct walk {
	size_t next, left;
	uint64_t moved;
};

/* Where a member was helped last: so what has been read meanwhile is not passed again each time. */
static void walk_begin(exs_set *set, struct walk *walk)
{
	pthread_mutex_lock(&set->lock);
	tidy(set);
	*walk = (struct walk){set->helped, set->used, set->moved};
	pthread_mutex_unlock(&set->lock);
}

/* The next member's future, with a reference; NULL at the end. */
static exs_future *walk_on(exs_set *set, struct walk *walk)
{
	exs_future *f = NULL;

	pthread_mutex_lock(&set->lock);
	if (walk->moved != set->moved)
		*walk = (struct walk){0, set->used, set->moved};
	for (; !f && walk->left; walk->left--) {
		if (walk->next >= set->used)
			walk->next = 0;
		const struct member *m = set->members[walk->next++];
		f = m ? exs_future_ref(m->future) : NULL;
	}
	pthread_mutex_unlock(&set->lock);
	return f;
}

static void walk_end(exs_set *set, const struct walk *walk)
{
	pthread_mutex_lock(&set->lock);
	if (walk->moved == set->moved)
		set->helped = walk->next;
	pthread_mutex_unlock(&set->lock);
}

enum { FEW_LOOKS = 16 };

/* Where this thread can help: does work of a member on this thread (false: there is none); *concerned: a member may need its kind. */
static bool help(exs_set *set, uint64_t deadline, bool *concerned)
{
	bool without_limit = deadline == EXSI_NEVER, can = exsi_can_help(without_limit);
	size_t looks = exsi_must_help() ? SIZE_MAX : FEW_LOOKS; /* what is no duty is not to take long */
	struct walk walk;
	bool helped = false;

	*concerned = false;
	if (can)
		walk_begin(set, &walk);
	while (can && !helped && looks--) {
		exs_future *f = walk_on(set, &walk);
		if (!f)
			break;
		helped = exsi_help(f) || (without_limit && exsi_run_awaited(f));
		*concerned = *concerned || (!helped && exsi_concerns(f));
		exs_future_unref(f);
	}
	if (helped)
		walk_end(set, &walk);
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

/* Looks, and waits if it may, up to the deadline. */
static exs_set_status await_item(exs_set *set, exs_future **future, uint64_t deadline)
{
	bool in_time = true, concerned;

	for (;;) {
		uint64_t until;
		unsigned seen = atomic_load(&set->changes);
		int status = take(set, future, &until);
		if (status != NEXT_WAIT)
			return (exs_set_status)status;
		if (!in_time)
			return EXS_TIMEOUT;
		if (deadline < until)
			until = deadline;
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
	int status = seconds >= 0 ? take(set, future, &deadline) : NEXT_WAIT;
	if (status != NEXT_WAIT)
		return (exs_set_status)status;
	if (seconds == 0)
		return EXS_TIMEOUT;
	if (exsi_wait_begin("exs_set_next", seconds, &deadline))
		return EXS_FAILED;
	exsi_look_out(true);
	status = await_item(set, future, deadline);
	exsi_look_out(false);
	return (exs_set_status)status;
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
	tidy(set);
	for (size_t i = 0; i < set->used && n < room; i++)
		if (set->members[i])
			all[n++] = exs_future_ref(set->members[i]->future);
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
