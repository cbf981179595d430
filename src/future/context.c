/* The task's view of its call: stop requests, deadline, attempts. */
#include "base/memory.h"
#include "future/future.h"
#include "future/wait.h"

#include <limits.h>

/* A context is the future of the call that runs (a child call has one of its own, and a parent). */
static exs_future *of(exs_context *ctx)
{
	return (exs_future *)(void *)ctx;
}

bool exs_context_stop_requested(exs_context *ctx)
{
	return ctx && exsi_stop(atomic_load(&of(ctx)->state)) != 0;
}

exs_cause exs_context_cause(exs_context *ctx)
{
	return ctx ? exsi_cause(atomic_load(&of(ctx)->state)) : EXS_CAUSE_NONE;
}

double exs_context_time_left(exs_context *ctx)
{
	return ctx ? of(ctx)->source->time_left(of(ctx)) : EXS_FOREVER;
}

static exs_future *parent(exs_future *f)
{
	return f->source->parent(f);
}

unsigned exs_context_attempt(exs_context *ctx)
{
	unsigned attempt = 1;

	/* Each start of a parent is max starts of its child: count the full ones before this, and those of this. */
	for (exs_future *f = of(ctx); f; f = parent(f)) {
		struct exsi_story *story = exsi_story(f);
		if (story)
			attempt += atomic_load(&story->attempt) - 1;
	}
	return attempt;
}

static unsigned times(unsigned a, unsigned b)
{
	return b >= EXS_UNLIMITED / a ? EXS_UNLIMITED : a * b;
}

/* What a child may start its parent counts among its own, or not (extra_starts). */
unsigned exs_context_max_attempts(exs_context *ctx)
{
	unsigned max = 1;

	for (exs_future *f = of(ctx), *up; f; f = up) {
		up = parent(f);
		if (exsi_story(f) && (!up || f->source->extra_starts))
			max = times(max, atomic_load(&exsi_story(f)->max));
	}
	return max;
}

const char *exs_context_name(exs_context *ctx)
{
	for (exs_future *f = of(ctx); f; f = parent(f))
		if (exsi_extra(f) && exsi_extra(f)->name)
			return exsi_extra(f)->name;
	return NULL;
}

void *exs_context_worker_state(exs_context *ctx)
{
	struct exsi_worker *worker = exsi_self()->worker;

	return ctx && worker && worker->state ? worker->state(worker, of(ctx)) : NULL;
}

/* --- on_cancel --- */

enum { WAITING, CALLED, ENDED };

/* Belongs to the call. Linked: not called yet. While it is being called, the caller and the task's thread each have a reference. */
struct hook {
	struct exsi_node node;
	exs_free_fn *fn;
	void *arg;
	atomic_uint state;
	atomic_uint refs;
	pthread_t thread; /* that calls it; valid in CALLED */
};

static struct hook *hook_of(struct exsi_node *node)
{
	return EXSI_CONTAINER_OF(node, struct hook, node);
}

static void hook_unref(struct hook *h)
{
	if (atomic_fetch_sub(&h->refs, 1) == 1)
		exsi_free(h);
}

/* A hook is never alone in a list that a completion runs: the attempt has ended before. */
static void hook_never(exs_future *f, struct exsi_node *node)
{
	(void)f;
	hook_unref(hook_of(node));
}

/* The first hook that nobody has called yet, marked as called by this thread; it stays linked, so that its end can be awaited. */
static struct hook *next_to_call(exs_future *f)
{
	struct exsi_node *last = exsi_nodes_lock(f), *n = last ? last->next : NULL;
	struct hook *found = NULL;

	for (; n && !found; n = n == last ? NULL : n->next) {
		if (n->kind != EXSI_HOOK || atomic_load(&hook_of(n)->state) != WAITING)
			continue;
		found = hook_of(n);
		found->thread = pthread_self();
		atomic_store(&found->state, CALLED);
		atomic_fetch_add(&found->refs, 1);
	}
	exsi_nodes_unlock(f, last);
	return found;
}

void exsi_hooks_run(exs_future *f)
{
	struct exsi_frame frame;
	struct hook *h;

	while ((h = next_to_call(f))) {
		exs_future *root = f, *up; /* the call can't end while a handler runs, so its executors live */
		while ((up = parent(root)))
			root = up;
		exsi_frame_push(&frame, root->source);
		frame.scope = exsi_scope(root);
		h->fn(h->arg);
		exsi_frame_pop(&frame);
		atomic_store(&h->state, ENDED);
		exsi_unpark(&h->state, INT_MAX);
		hook_unref(h);
	}
}

/* Unlinks the first hook that matches (fn NULL: any); with a reference. */
static struct hook *take_hook(exs_future *f, exs_free_fn *fn, void *arg)
{
	struct exsi_node *last = exsi_nodes_lock(f), *n = last ? last->next : NULL;
	struct hook *found = NULL;

	for (; n && !found; n = n == last ? NULL : n->next)
		if (n->kind == EXSI_HOOK && (!fn || (hook_of(n)->fn == fn && hook_of(n)->arg == arg)))
			found = hook_of(n);
	if (found)
		last = exsi_nodes_unlink(last, &found->node);
	exsi_nodes_unlock(f, last);
	return found;
}

static bool is_called(void *hook)
{
	return atomic_load(&((struct hook *)hook)->state) != CALLED;
}

static void end_hook(struct hook *h)
{
	struct exsi_turner *turner = exsi_self()->turner;
	bool elsewhere = atomic_load(&h->state) == CALLED && !pthread_equal(h->thread, pthread_self());

	if (elsewhere && turner)
		turner->until(turner, is_called, h, EXSI_NEVER);
	while (elsewhere && atomic_load(&h->state) == CALLED)
		exsi_park(&h->state, CALLED, EXSI_NEVER);
	hook_unref(h);
}

void exsi_hooks_end(exs_future *f)
{
	struct hook *h;

	while ((h = take_hook(f, NULL, NULL)))
		end_hook(h);
	atomic_fetch_and(&f->state, ~EXSI_HOOKS);
}

int exs_context_on_cancel(exs_context *ctx, exs_free_fn *fn, void *arg)
{
	exs_future *f = of(ctx);
	struct hook *h;

	if (!fn)
		return exsi_fail(EXS_EINVAL, "exs_context_on_cancel: fn is NULL");
	if (!f)
		return EXS_OK; /* it is never asked to stop */
	h = exsi_alloc(sizeof(*h));
	if (!h)
		return exsi_fail(EXS_ENOMEM, "exs_context_on_cancel: out of memory");
	*h = (struct hook){.node = {.fn = hook_never, .kind = EXSI_HOOK}, .fn = fn, .arg = arg};
	atomic_init(&h->state, WAITING);
	atomic_init(&h->refs, 1);
	exsi_nodes_unlock(f, exsi_nodes_append(exsi_nodes_lock(f), &h->node));
	/* Who asks to stop looks for the flag after setting STOP: if it came first, the handler is ours to call. */
	if (exsi_stop(atomic_fetch_or(&f->state, EXSI_HOOKS)))
		exsi_hooks_run(f);
	return EXS_OK;
}

void exs_context_off_cancel(exs_context *ctx, exs_free_fn *fn, void *arg)
{
	struct hook *h = ctx && fn ? take_hook(of(ctx), fn, arg) : NULL;

	if (h)
		end_hook(h);
}

/* --- sleep --- */

static void ring(void *arg)
{
	atomic_store((atomic_uint *)arg, 1);
	exsi_unpark(arg, INT_MAX);
}

static bool has_rung(void *bell)
{
	return atomic_load((atomic_uint *)bell);
}

static int sleep_until_rung(atomic_uint *bell, uint64_t deadline)
{
	struct exsi_turner *turner = exsi_self()->turner;
	int rc = turner ? turner->until(turner, has_rung, bell, deadline) : EXS_OK;

	while (!turner && !atomic_load(bell) && exsi_park(bell, 0, deadline))
		;
	return rc == EXS_EDEADLK ? rc : EXS_OK;
}

int exs_context_sleep(exs_context *ctx, double seconds)
{
	atomic_uint bell;
	uint64_t deadline;
	int rc = exsi_wait_begin("exs_context_sleep", seconds, &deadline);

	if (rc)
		return rc;
	atomic_init(&bell, 0);
	rc = exs_context_on_cancel(ctx, ring, &bell);
	if (rc)
		return rc;
	rc = sleep_until_rung(&bell, deadline);
	exs_context_off_cancel(ctx, ring, &bell);
	return atomic_load(&bell) ? EXS_ECANCELLED : rc;
}
