/* Scopes: a count of what must have ended before the close returns, a list of members to cancel or help, an arena. */
#include "base/memory.h"
#include "executor/executor.h"
#include "future/wait.h"

#include <executors/scope.h>
#include <stddef.h>

enum { ALIGN = _Alignof(max_align_t), FIRST_CHUNK = 4096, LAST_CHUNK = 1 << 20, FEW = 64 };

/* In the word `left`: the close sleeps on it, and is to be told of new members, which it may have to run itself. */
#define LISTENS (1u << 31)

struct chunk {
	struct chunk *next;
	size_t size, used; /* of the bytes behind the header */
};
enum { HEADER = (sizeof(struct chunk) + ALIGN - 1) / ALIGN * ALIGN };

struct exs_scope {
	atomic_uint left; /* members' calls, their children and all else that entered, and 1 until the close begins */
	atomic_bool closing;
	exs_on_error on_error; /* constant, as is ctx */
	exs_context *ctx;

	pthread_mutex_t lock;		      /* guards the list, cause and error */
	struct exsi_member members;	      /* sentinel; in the order of their submits */
	struct exsi_member *untried, *untold; /* where helping, and cancelling, goes on */
	size_t n;
	exs_cause cause; /* NONE: it takes submits. Set once, by who then cancels all */
	exs_error *error;

	pthread_mutex_t arena_lock; /* guards the chunks; the first is in use, the others are full or for one block */
	struct chunk *chunks;
};

/* --- the count --- */

void exsi_scope_enter(exs_scope *s)
{
	atomic_fetch_add(&s->left, 1);
}

void exsi_scope_leave(exs_scope *s)
{
	if ((atomic_fetch_sub(&s->left, 1) & ~LISTENS) == 1)
		exsi_unpark(&s->left, 1); /* by its address alone: the scope may be gone */
}

/* Is this thread in the middle of something that a member is not ended without? */
static bool within(const exs_scope *s)
{
	struct exsi_frame *frame = exsi_self()->frame;

	while (frame && frame->scope != s)
		frame = frame->prev;
	return frame;
}

/* Would a close on this thread wait for itself? */
static bool would_deadlock(const exs_scope *s)
{
	struct exsi_worker *worker = exsi_self()->worker;

	return within(s) || (worker && worker->holds && worker->holds(worker, s));
}

/* --- members, under the lock --- */

static void append(exs_scope *s, struct exsi_member *m)
{
	m->linked = true;
	m->next = &s->members;
	m->prev = s->members.prev;
	m->prev->next = m;
	s->members.prev = m;
	s->n++;
	if (s->untried == &s->members)
		s->untried = m;
	if (s->untold == &s->members)
		s->untold = m;
}

static void unlink_member(exs_scope *s, struct exsi_member *m)
{
	m->linked = false;
	m->prev->next = m->next;
	m->next->prev = m->prev;
	s->n--;
	if (s->untried == m)
		s->untried = m->next;
	if (s->untold == m)
		s->untold = m->next;
}

/* --- cancel --- */

/* The next members that have not been told, each held. They are not done yet, so they live. */
static size_t next_untold(exs_scope *s, exs_future **calls, size_t room)
{
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	for (; n < room && s->untold != &s->members; s->untold = s->untold->next) {
		calls[n] = s->untold->call;
		exsi_hold(calls[n++]);
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* By who set the cause, so that no member comes any more. All in one, if there is memory for it. */
static void cancel_members(exs_scope *s, exs_cause cause)
{
	struct exsi_frame frame;
	exs_future *few[FEW];

	pthread_mutex_lock(&s->lock);
	size_t n = s->n;
	pthread_mutex_unlock(&s->lock);
	exs_future **calls = n > FEW ? exsi_alloc_array(n, sizeof(exs_future *)) : few;
	size_t room = n > FEW && calls ? n : FEW;
	calls = calls ? calls : few;
	exsi_frame_push(&frame, NULL);
	frame.scope = s; /* user code may run in here */
	while ((n = next_untold(s, calls, room))) {
		exsi_cancel_all(calls, n, cause, false);
		for (size_t i = 0; i < n; i++)
			exsi_drop(calls[i]);
	}
	exsi_frame_pop(&frame);
	if (calls != few)
		exsi_free(calls);
}

/* Takes no more submits, and cancels what there is, once. */
static void stop(exs_scope *s, exs_cause cause)
{
	pthread_mutex_lock(&s->lock);
	bool first = s->cause == EXS_CAUSE_NONE;
	if (first)
		s->cause = cause;
	pthread_mutex_unlock(&s->lock);
	if (first)
		cancel_members(s, cause);
}

static void remember(exs_scope *s, exs_error *error)
{
	pthread_mutex_lock(&s->lock);
	if (!s->error)
		s->error = exs_error_ref(error);
	pthread_mutex_unlock(&s->lock);
}

static void member_failed(exs_scope *s, exs_error *error)
{
	remember(s, error);
	if (s->on_error == EXS_ON_ERROR_CANCEL)
		stop(s, EXS_CAUSE_SIBLING);
}

void exs_scope_cancel(exs_scope *s)
{
	if (!s || exsi_forked())
		return;
	exsi_scope_enter(s); /* a close under way waits for us */
	stop(s, EXS_CAUSE_USER);
	exsi_scope_leave(s);
}

/* The task that has made the scope is asked to stop. */
static void owner_stopped(void *scope)
{
	exs_scope *s = scope;

	stop(s, exs_context_cause(s->ctx));
}

const exs_error *exs_scope_error(exs_scope *s)
{
	if (!s || exsi_forked())
		return NULL;
	pthread_mutex_lock(&s->lock);
	const exs_error *error = s->error;
	pthread_mutex_unlock(&s->lock);
	return error;
}

/* --- submit --- */

/* The member's future is done; its task may run on. */
static void member_done(exs_future *f, struct exsi_node *node)
{
	struct exsi_member *m = EXSI_CONTAINER_OF(node, struct exsi_member, node);
	exs_scope *s = m->scope;
	exs_error *error = exs_future_error(f);

	pthread_mutex_lock(&s->lock);
	bool linked = m->linked;
	if (linked)
		unlink_member(s, m);
	pthread_mutex_unlock(&s->lock);
	if (linked && error)
		member_failed(s, error);
}

bool exsi_scope_join(exs_future *f)
{
	struct exsi_member *m = exsi_extra(f)->member;
	exs_scope *s = m->scope;

	atomic_init(&m->entered, false);
	m->node = (struct exsi_node){.fn = member_done, .kind = EXSI_CALLBACK};
	exsi_node_add(f, &m->node);
	exsi_scope_enter(s);
	pthread_mutex_lock(&s->lock);
	exs_cause cause = s->cause;
	if (!cause)
		append(s, m);
	pthread_mutex_unlock(&s->lock);
	if (cause)
		exsi_note_cause(f, cause);
	return !cause;
}

/* Clearing the flag makes the word differ from what the close sleeps on, or is about to. */
static void wake_close(exs_scope *s)
{
	if (atomic_fetch_and(&s->left, ~LISTENS) & LISTENS)
		exsi_unpark(&s->left, 1);
}

/* A close under way runs members itself where nobody else might. It may have tried this one before it was in a queue: it
   is to try again. */
static void tell_close(exs_scope *s, struct exsi_member *m)
{
	pthread_mutex_lock(&s->lock);
	bool again = m->linked && !s->cause; /* once cancelled, none needs help, and none is to be told twice */
	if (again) {
		unlink_member(s, m);
		append(s, m);
	}
	pthread_mutex_unlock(&s->lock);
	if (again)
		wake_close(s);
}

/* Pairs with the close, which sets closing and then looks who has entered: one of the two sees the other. */
static void entered(exs_scope *s, struct exsi_member *m)
{
	atomic_store(&m->entered, true);
	if (atomic_load(&s->closing))
		tell_close(s, m);
}

/* Why the scope can't have a member at all, or NULL. */
static exs_error *not_open(exs_scope *s)
{
	if (!s)
		return exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_scope_submit: scope is NULL");
	if (exsi_forked())
		return exsi_error(EXS_EFORK);
	if (atomic_load(&s->closing) && !within(s))
		return exs_error_new(&exs_domain_exs, EXS_EALREADY,
				     "exs_scope_submit: the scope is being closed: only its members may still submit");
	return NULL;
}

exs_future *exsi_scope_submit_within(exs_scope *s, exs_executor *x, const exs_task *t)
{
	if (!s)
		return exsi_submit_within(x, t, NULL);
	exsi_scope_enter(s);
	exs_future *f = exsi_submit_within(x, t, s);
	if (f)
		entered(s, exsi_extra(f)->member);
	exsi_scope_leave(s);
	return f;
}

static exs_future *submit(exs_scope *s, exs_executor *x, const exs_task *t, const char *wrong)
{
	exs_error *error = not_open(s);

	if (error)
		return exsi_submit_failed(t, error);
	if (x) {
		exsi_scope_enter(s); /* an inline call is over before its submit is */
		exs_future *f = exsi_submit(x, t, EXS_ENTRY_SUBMIT, wrong, s);
		if (!f)
			member_failed(s, exsi_error(EXS_ENOMEM));
		else
			entered(s, exsi_extra(f)->member);
		exsi_scope_leave(s);
		return f;
	}
	error = exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_scope_submit: executor is NULL");
	member_failed(s, error);
	return exsi_submit_failed(t, error);
}

exs_future *exs_scope_submit(exs_scope *s, exs_executor *x, exs_task_fn *fn, void *arg)
{
	exs_task task = {.fn = fn, .arg = arg};

	return submit(s, x, &task, NULL);
}

exs_future *exs_scope_submit_with_sized(exs_scope *s, exs_executor *x, const exs_task *task, size_t size)
{
	exs_task known;

	bool all = exsi_options(&known, sizeof(known), task, size);
	return submit(s, x, &known, all ? NULL : "task options that this library does not know");
}

exs_scope *exs_context_scope(exs_context *ctx)
{
	return ctx ? exsi_scope_of((exs_future *)(void *)ctx) : NULL;
}

/* --- the arena --- */

/* size is a multiple of ALIGN. */
static void *take_from(struct chunk *c, size_t size)
{
	if (!c || c->size - c->used < size)
		return NULL;
	void *p = (char *)c + HEADER + c->used;
	c->used += size;
	return p;
}

/* A new chunk, with room for more than size where that is small. */
static struct chunk *new_chunk(size_t size, size_t usual)
{
	if (size < usual / 4)
		size = usual - HEADER;
	struct chunk *c = size > SIZE_MAX - HEADER ? NULL : exsi_alloc(HEADER + size);
	if (c)
		*c = (struct chunk){.size = size};
	return c;
}

/* Under the lock: in front if it has more room than the one in use. */
static void add_chunk(exs_scope *s, struct chunk *c)
{
	struct chunk **at = &s->chunks;

	if (*at && (*at)->size - (*at)->used > c->size - c->used)
		at = &(*at)->next;
	c->next = *at;
	*at = c;
}

static size_t next_chunk_size(const struct chunk *c)
{
	size_t twice = c ? 2 * (c->size + HEADER) : FIRST_CHUNK;

	return twice < LAST_CHUNK ? twice : LAST_CHUNK;
}

void *exs_scope_alloc(exs_scope *s, size_t size)
{
	if (!s || exsi_forked())
		return exsi_fail_null(s ? EXS_EFORK : EXS_EINVAL, "exs_scope_alloc: %s",
				      s ? exs_strerror(EXS_EFORK) : "scope is NULL");
	size_t rounded = size > SIZE_MAX - ALIGN ? SIZE_MAX : ((size ? size : 1) + ALIGN - 1) / ALIGN * ALIGN;
	pthread_mutex_lock(&s->arena_lock);
	void *p = take_from(s->chunks, rounded);
	size_t usual = next_chunk_size(s->chunks);
	pthread_mutex_unlock(&s->arena_lock);
	if (p)
		return p;
	struct chunk *c = new_chunk(rounded, usual); /* without the lock: the allocator may be the user's */
	if (!c)
		return exsi_fail_null(EXS_ENOMEM, "exs_scope_alloc: out of memory (%zu bytes)", size);
	p = take_from(c, rounded);
	pthread_mutex_lock(&s->arena_lock);
	add_chunk(s, c);
	pthread_mutex_unlock(&s->arena_lock);
	return p;
}

bool exs_scope_owns(exs_scope *s, const void *ptr)
{
	bool owns = false;

	if (!s || exsi_forked())
		return false;
	pthread_mutex_lock(&s->arena_lock);
	for (struct chunk *c = s->chunks; c && !owns; c = c->next)
		owns = (uintptr_t)ptr - (uintptr_t)c - HEADER < c->used;
	pthread_mutex_unlock(&s->arena_lock);
	return owns;
}

/* --- made --- */

static void scope_free(exs_scope *s)
{
	while (s->chunks) {
		struct chunk *c = s->chunks;
		s->chunks = c->next;
		exsi_free(c);
	}
	exs_error_unref(s->error);
	pthread_mutex_destroy(&s->arena_lock);
	pthread_mutex_destroy(&s->lock);
	exsi_free(s);
}

exs_scope *exs_scope_new_sized(const exs_scope_options *options, size_t size)
{
	exs_scope_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);

	if (!known || (o.on_error != EXS_ON_ERROR_CANCEL && o.on_error != EXS_ON_ERROR_GO_ON))
		return exsi_fail_null(EXS_EINVAL, "exs_scope_new: %s",
				      known ? "on_error: EXS_ON_ERROR_CANCEL or EXS_ON_ERROR_GO_ON"
					    : "options that this library does not know");
	if (exsi_forked())
		return exsi_fail_null(EXS_EFORK, "%s", exs_strerror(EXS_EFORK));
	exs_scope *s = exsi_zalloc(sizeof(*s));
	if (!s)
		return exsi_fail_null(EXS_ENOMEM, "exs_scope_new: out of memory");
	exsi_fork_watch();
	atomic_init(&s->left, 1);
	atomic_init(&s->closing, false);
	s->on_error = o.on_error;
	s->ctx = o.ctx;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->arena_lock, NULL);
	s->members.next = s->members.prev = s->untried = s->untold = &s->members;
	if (!o.ctx || exs_context_on_cancel(o.ctx, owner_stopped, s) == EXS_OK)
		return s;
	scope_free(s);
	return NULL;
}

exs_scope *exs_scope_new(void)
{
	return exs_scope_new_sized(NULL, 0);
}

/* --- close --- */

/* For a worker that closes. */
struct closer {
	exs_scope *scope;
	struct exsi_worker *worker;
	bool helps;	/* it can run members, or a queue that it runs in can */
	bool concerned; /* a member may need its kind */
	bool sure;	/* stuck, though all have been tried once more */
	bool given_up;
	atomic_bool nudged;
};

static void try_all_again(struct closer *c)
{
	exs_scope *s = c->scope;

	c->concerned = false; /* who was done meanwhile needs nobody */
	pthread_mutex_lock(&s->lock);
	s->untried = s->members.next;
	pthread_mutex_unlock(&s->lock);
}

static void nudge_closer(void *closer)
{
	struct closer *c = closer;

	atomic_store(&c->nudged, true);
	wake_close(c->scope);
}

/* The next member that the close has not tried to run, held; or NULL. in_time: it waits, if it does, where it can be found. */
static exs_future *next_untried(exs_scope *s, bool *in_time)
{
	exs_future *f = NULL;

	pthread_mutex_lock(&s->lock);
	if (s->untried != &s->members) {
		struct exsi_member *m = s->untried;
		s->untried = m->next;
		*in_time = atomic_load(&m->entered);
		f = m->call;
		exsi_hold(f);
	}
	pthread_mutex_unlock(&s->lock);
	return f;
}

/* A worker runs what has not begun, or a task of a queue starts it. false: there was nothing to try. */
static bool help(struct closer *c)
{
	bool in_time = false; /* otherwise it will be to try again */
	exs_future *f = next_untried(c->scope, &in_time);

	if (!f)
		return false;
	while (!exs_future_is_done(f) && exsi_help(f))
		exsi_drain();
	c->concerned = c->concerned || (in_time && exsi_concerns(f));
	exsi_drop(f);
	return true;
}

/* Runs what can be run on this thread; the flag is set before the last look, so that what comes after it is heard of. */
static void help_all(struct closer *c)
{
	atomic_fetch_or(&c->scope->left, LISTENS);
	if (atomic_exchange(&c->nudged, false))
		try_all_again(c);
	while (help(c))
		;
}

static bool is_over(exs_scope *s)
{
	return !(atomic_load(&s->left) & ~LISTENS);
}

/* A short spin: the last end is often a moment away. */
static bool spin(exs_scope *s)
{
	for (unsigned turn = 0; turn < 64 && !is_over(s) && !exsi_self()->turner; turn++)
		exsi_relax(turn);
	return is_over(s);
}

/* Nothing is left, or a worker has something to try. */
static bool has_news(void *closer)
{
	struct closer *c = closer;
	unsigned left = atomic_load(&c->scope->left);

	return !(left & ~LISTENS) || (c->helps && !(left & LISTENS));
}

/* May return for no reason. false: there will never be news. */
static bool sleep_for_news(struct closer *c)
{
	struct exsi_turner *turner = exsi_self()->turner;
	unsigned left = atomic_load(&c->scope->left);

	if (turner)
		return turner->until(turner, has_news, c, EXSI_NEVER) != EXS_EDEADLK;
	if (left & ~LISTENS && (!c->helps || left & LISTENS))
		exsi_park(&c->scope->left, left, EXSI_NEVER);
	return true;
}

/* Nobody else does what the members wait for: they are given up, and end without it. false: they had been. */
static bool give_up(struct closer *c)
{
	if (c->given_up)
		return false;
	c->given_up = true;
	exsi_log(EXS_LOG_WARNING, "", "exs_scope_close: nobody is left to run the members: they are cancelled");
	remember(c->scope, exsi_error(EXS_EDEADLK));
	stop(c->scope, EXS_CAUSE_SIBLING);
	return true;
}

/* To wait would be in vain, or is refused on the members' account. false: this thread can't see them end. */
static bool go_on_stuck(struct closer *c)
{
	bool sure = c->sure, alone = c->worker && c->worker->holds;

	c->sure = !sure;
	if (!sure)
		try_all_again(c);
	return !sure || (!alone && give_up(c));
}

/* Until all have left. false: this thread must not wait for them. */
static bool wait_for_all(exs_scope *s)
{
	struct closer c = {.scope = s, .worker = exsi_self()->worker};
	c.helps = c.worker || exsi_self()->hurry;
	struct exsi_nudge nudge = {nudge_closer, &c};
	bool goes_on = true;

	exsi_look_out(true);
	while (goes_on && !is_over(s)) {
		exsi_drain();
		if (c.helps)
			help_all(&c);
		if (spin(s))
			break;
		int rc = exsi_block(c.concerned && !c.given_up, &nudge);
		if (rc == EXSI_AGAIN) {
			atomic_store(&c.nudged, true);
			continue;
		}
		bool stuck = rc && c.concerned && !c.given_up;
		if (!stuck)
			stuck = !sleep_for_news(&c);
		if (!rc)
			exsi_unblock();
		if (stuck)
			goes_on = go_on_stuck(&c);
		else
			c.sure = false;
	}
	exsi_look_out(false);
	return goes_on;
}

static exs_error *refuse_close(int code, const char *why)
{
	exs_error *error = exs_error_new(&exs_domain_exs, code, "exs_scope_close: %s", why);

	exsi_log(EXS_LOG_ERROR, "", "%s", exs_error_message(error));
	return error;
}

exs_error *exs_scope_close(exs_scope *s)
{
	if (!s)
		return refuse_close(EXS_EINVAL, "scope is NULL");
	if (exsi_forked())
		return exsi_error(EXS_EFORK);
	if (would_deadlock(s))
		return refuse_close(EXS_EDEADLK, "in a task, callback or hook of a member: it would wait for itself");
	if (atomic_exchange(&s->closing, true))
		return refuse_close(EXS_EALREADY, "another thread is closing the scope");
	exsi_scope_leave(s); /* what it has held since it was made */
	if (!wait_for_all(s)) {
		exsi_scope_enter(s);
		atomic_store(&s->closing, false);
		return refuse_close(EXS_EDEADLK, "a member needs this very thread");
	}
	if (s->ctx)
		exs_context_off_cancel(s->ctx, owner_stopped, s);
	exs_error *error = exs_error_ref(s->error);
	scope_free(s);
	return error;
}
