/* Event loop: tasks and callbacks run on the thread that turns it. */
#include "base/event.h"
#include "base/memory.h"
#include "executor/executor.h"
#include "future/wait.h"

#include <executors/event_loop.h>
#include <limits.h>

enum { MAX_HELP = 256 };

/* What is to be run: a call, or a callback. prev NULL: in no list. */
struct item {
	struct item *next, *prev;
	struct callback *callback; /* NULL: it is the slot of a call */
};

/* A callback on its way. Registered: in its future's list and in loop->registered. Then in the hands of the thread that completes the
   future, until `deliver` has queued it. Of a loop that was freed: whoever has it last disposes of it (see retract). */
struct callback {
	struct item item; /* in registered, queue or round */
	struct exsi_node node;
	struct loop *loop; /* one reference */
	exs_future *future;
	exs_done_fn *fn;
	void *ctx;
	exs_free_fn *ctx_free;
	bool retracting; /* the loop has been freed, and sees to it */
	bool delivered;	 /* meanwhile its future was done */
};

/* A call whose function runs, on the stack of the thread that turns the loop. */
struct run {
	struct run *next, *prev;
	exs_future *call;
};

/* Outlives its executor for as long as there are callbacks. lock guards all but refs, and what belongs to the thread that turns the
   loop: while `turning` one thread does, `owner`. */
struct loop {
	exs_executor *x;  /* constant; gone once freed */
	atomic_uint refs; /* the executor's, those of callbacks and of a turn */
	pthread_mutex_t lock;
	pthread_cond_t work, left;
	struct item queue, round, registered; /* sentinels; round: what is left of the one under way */
	struct run running;		      /* sentinel */
	struct exsi_event event;	      /* set while there is something in queue or round */
	bool turning, stop, freed;
	pthread_t owner;		/* turned it last, or made it */
	unsigned news;			/* so far: pushes, and adoptions of what was pushed; wraps */
	const struct exsi_nudge *nudge; /* of the turning thread, where it waits inside a task */
	/* The turning thread's alone. */
	struct exsi_worker worker, *outer;
	unsigned heard; /* news at the last block */
	unsigned depth; /* calls run inside waits of others, one in the other: bounded, as the stack is */
};

static void loop_unref(struct loop *l)
{
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	pthread_cond_destroy(&l->work);
	pthread_cond_destroy(&l->left);
	pthread_mutex_destroy(&l->lock);
	exsi_free(l);
}

static struct loop *loop_of(exs_executor *x); /* at the bottom of a chain; NULL: there is none */

/* --- lists, under the lock --- */

static void list_init(struct item *list)
{
	list->next = list->prev = list;
}

static bool is_empty(const struct item *list)
{
	return list->next == list;
}

static void append(struct item *list, struct item *item)
{
	item->next = list;
	item->prev = list->prev;
	item->prev->next = item;
	list->prev = item;
}

static void unlink_item(struct item *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	item->prev = NULL;
}

static bool has_work(const struct loop *l)
{
	return !is_empty(&l->queue) || !is_empty(&l->round);
}

static void take_out(struct loop *l, struct item *item)
{
	unlink_item(item);
	if (!has_work(l))
		exsi_event_assign(&l->event, false);
}

static void count_news(struct loop *l)
{
	l->news++;
	if (l->nudge)
		l->nudge->fn(l->nudge->arg);
}

/* To be followed by exsi_tell_waiters, without the lock. */
static void push(struct loop *l, struct item *item)
{
	append(&l->queue, item);
	exsi_event_assign(&l->event, true);
	pthread_cond_signal(&l->work);
	count_news(l);
}

static void begin_run(struct loop *l, struct run *run, exs_future *f)
{
	run->call = f;
	run->next = &l->running;
	run->prev = l->running.prev;
	run->prev->next = run;
	l->running.prev = run;
}

/* --- callbacks --- */

/* Without the lock, and in no list. */
static void callback_free(struct callback *cb)
{
	struct loop *l = cb->loop;

	if (cb->ctx_free)
		cb->ctx_free(cb->ctx);
	exs_future_unref(cb->future);
	exsi_free(cb);
	loop_unref(l);
}

/* The future is done. */
static void deliver(exs_future *f, struct exsi_node *node)
{
	struct callback *cb = EXSI_CONTAINER_OF(node, struct callback, node);
	struct loop *l = cb->loop;

	(void)f;
	pthread_mutex_lock(&l->lock);
	bool mine = l->freed && !cb->retracting;
	cb->delivered = true;
	if (cb->item.prev) /* not yet taken out to be retracted */
		unlink_item(&cb->item);
	if (!l->freed)
		push(l, &cb->item);
	pthread_mutex_unlock(&l->lock);
	if (mine)
		callback_free(cb);
	else
		exsi_tell_waiters();
}

/* The loop has been freed, and the callback taken out of its list: disposes of it, or leaves that to a thread that is about to
   deliver it. */
static void retract(struct loop *l, struct callback *cb)
{
	bool mine = exsi_node_remove(cb->future, &cb->node);

	pthread_mutex_lock(&l->lock);
	mine = mine || cb->delivered;
	cb->retracting = false;
	pthread_mutex_unlock(&l->lock);
	if (mine)
		callback_free(cb);
}

/* Answers how many did not run. */
static size_t drop_callbacks(struct loop *l)
{
	size_t n = 0;

	for (;; n++) {
		pthread_mutex_lock(&l->lock);
		struct item *list = !is_empty(&l->round)   ? &l->round
				    : !is_empty(&l->queue) ? &l->queue
							   : &l->registered;
		struct callback *cb = is_empty(list) ? NULL : list->next->callback; /* no call is left */
		if (cb) {
			unlink_item(&cb->item);
			cb->retracting = true;
		}
		pthread_mutex_unlock(&l->lock);
		if (!cb)
			return n;
		retract(l, cb);
	}
}

static int refuse(int code, const char *why, void *ctx, exs_free_fn *ctx_free)
{
	if (ctx_free)
		ctx_free(ctx);
	return exsi_fail(code, "exs_event_loop_on_done: %s", why);
}

int exs_event_loop_on_done(exs_executor *x, exs_future *f, exs_done_fn *fn, void *ctx, exs_free_fn *ctx_free)
{
	struct loop *l = loop_of(x);

	if (!l || !f || !fn)
		return refuse(EXS_EINVAL,
			      !l  ? "no event loop at the bottom of the chain"
			      : f ? "fn is NULL"
				  : "future is NULL",
			      ctx, ctx_free);
	if (atomic_load(&x->leaf->closing))
		return refuse(EXS_ESHUTDOWN, exs_strerror(EXS_ESHUTDOWN), ctx, ctx_free);
	struct callback *cb = exsi_alloc(sizeof(*cb));
	if (!cb)
		return refuse(EXS_ENOMEM, "out of memory", ctx, ctx_free);
	*cb = (struct callback){.item.callback = cb,
				.node = {.fn = deliver, .kind = EXSI_CALLBACK},
				.loop = l,
				.future = exs_future_ref(f),
				.fn = fn,
				.ctx = ctx,
				.ctx_free = ctx_free};
	atomic_fetch_add(&l->refs, 1);
	pthread_mutex_lock(&l->lock);
	append(&l->registered, &cb->item);
	pthread_mutex_unlock(&l->lock);
	if (!exsi_node_add(f, &cb->node))
		deliver(f, &cb->node);
	return EXS_OK;
}

/* --- running --- */

/* Without the lock. The running list is left before the call goes on: it may be gone then. */
static void run_call(struct loop *l, struct run *run)
{
	exs_future *f = run->call;
	exs_result r;

	exs_call_run(f, &r);
	pthread_mutex_lock(&l->lock);
	run->prev->next = run->next;
	run->next->prev = run->prev;
	pthread_mutex_unlock(&l->lock);
	exs_call_resume(f, l->x, EXS_UP, &r);
}

/* Runs the first of the list. false: there is none, or the loop was freed. */
static bool run_next(struct loop *l, struct item *list)
{
	struct callback *cb = NULL;
	struct run run = {.call = NULL};
	struct item *item;

	pthread_mutex_lock(&l->lock);
	while (!cb && !run.call && !l->freed && (item = list->next) != list) {
		take_out(l, item);
		cb = item->callback;
		exs_future *f = cb ? NULL : exsi_slot_call(item, l->x);
		if (f && exsi_call_claim_run(f)) /* if not, its canceller waits for the lock, and finds it unlinked */
			begin_run(l, &run, f);
	}
	pthread_mutex_unlock(&l->lock);
	if (run.call)
		run_call(l, &run);
	if (cb) {
		cb->fn(cb->future, cb->ctx);
		callback_free(cb);
	}
	return cb || run.call;
}

/* --- waiting inside a task --- */

static struct loop *of_worker(struct exsi_worker *w)
{
	return EXSI_CONTAINER_OF(w, struct loop, worker);
}

/* Is it itself what does the work, and not another? */
static bool is_innermost(exs_future *f)
{
	size_t cursor = 0;
	exs_future *child = exsi_child(f, &cursor);

	if (child)
		exsi_drop(child);
	return !child;
}

static bool needs_loop(exs_future *f, void *loop)
{
	struct loop *l = loop;

	if (!is_innermost(f))
		return false;
	return (exsi_stands_on(f, l->x) && (l->depth >= MAX_HELP || exs_future_state(f) == EXS_STATE_RUNNING)) ||
	       exsi_needs(f, l->x);
}

/* Here it can run only below what waits for it; or it is not to run any deeper. */
static bool loop_concerns(struct exsi_worker *w, exs_future *f)
{
	return exsi_find_need(f, needs_loop, of_worker(w));
}

static bool run_here(struct loop *l, exs_future *f)
{
	struct run run;

	pthread_mutex_lock(&l->lock);
	bool mine = exsi_call_claim_run(f);
	if (mine) {
		take_out(l, exsi_slot(f, l->x));
		begin_run(l, &run, f);
	}
	pthread_mutex_unlock(&l->lock);
	if (!mine)
		return false;
	l->depth++;
	run_call(l, &run);
	l->depth--;
	return true;
}

static bool help_here(exs_future *f, void *loop)
{
	struct loop *l = loop;

	return exsi_stands_on(f, l->x) && run_here(l, f);
}

static bool loop_help(struct exsi_worker *w, exs_future *f)
{
	struct loop *l = of_worker(w);

	return (l->depth < MAX_HELP && exsi_do_work(f, help_here, l)) || (l->outer && l->outer->help(l->outer, f));
}

static void unhook(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->nudge = NULL;
	pthread_mutex_unlock(&l->lock);
}

static int loop_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge)
{
	struct loop *l = of_worker(w);

	pthread_mutex_lock(&l->lock);
	bool again = nudge && l->news != l->heard; /* the last look may have been before the last news */
	l->heard = l->news;
	l->nudge = again || concerned ? NULL : nudge;
	pthread_mutex_unlock(&l->lock);
	if (again || concerned)
		return again ? EXSI_AGAIN : EXS_EDEADLK;
	int rc = l->outer ? l->outer->block(l->outer, false, nudge) : EXS_OK;
	if (rc)
		unhook(l);
	return rc;
}

static void loop_unblock(struct exsi_worker *w)
{
	struct loop *l = of_worker(w);

	unhook(l);
	if (l->outer)
		l->outer->unblock(l->outer);
}

static bool loop_replaced(struct exsi_worker *w)
{
	(void)w;
	return false;
}

/* --- turning --- */

/* With the lock. */
static void begin_turn(struct loop *l)
{
	l->turning = true;
	l->owner = pthread_self();
	atomic_fetch_add(&l->refs, 1);
}

static void end_turn(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->turning = false;
	pthread_cond_broadcast(&l->left);
	pthread_mutex_unlock(&l->lock);
	loop_unref(l);
}

/* Runs what is in the list, up to `most`. */
static long run_list(struct loop *l, struct item *list, long most)
{
	struct exsi_self *self = exsi_self();
	struct exsi_frame frame;
	long n = 0;

	l->outer = self->worker;
	self->worker = &l->worker;
	exsi_frame_push(&frame, NULL);
	frame.layer = l->x; /* what runs here is inside every chain that stands on the loop */
	while (n < most && run_next(l, list))
		n++;
	exsi_frame_pop(&frame);
	self->worker = l->outer;
	return n;
}

static long run_round(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	struct item *first = l->queue.next, *last = l->queue.prev;
	if (!is_empty(&l->queue)) { /* all of it becomes the round */
		first->prev = last->next = &l->round;
		l->round.next = first;
		l->round.prev = last;
		list_init(&l->queue);
	}
	pthread_mutex_unlock(&l->lock);
	return run_list(l, &l->round, LONG_MAX);
}

static bool has_news(void *loop)
{
	struct loop *l = loop;

	pthread_mutex_lock(&l->lock);
	bool news = has_work(l) || l->stop || l->freed;
	pthread_mutex_unlock(&l->lock);
	return news;
}

/* Waits for work or a stop; false: the deadline has passed. */
static bool wait_for_work(struct loop *l, uint64_t deadline)
{
	struct exsi_turner *turner = exsi_self()->turner;
	bool in_time = true;

	if (turner)
		return turner->until(turner, has_news, l, deadline) == EXS_OK;

	pthread_mutex_lock(&l->lock);
	while (!has_work(l) && !l->stop && !l->freed && in_time)
		in_time = exsi_cond_wait(&l->work, &l->lock, deadline);
	pthread_mutex_unlock(&l->lock);
	return in_time;
}

/* As wait_for_work; without a limit it answers false only where nothing is left that work could come of (a turner's thread). */
static bool block_for_work(struct loop *l, uint64_t deadline)
{
	exsi_drain();
	if (wait_for_work(l, 0))
		return true;
	exsi_block(false, NULL);
	bool work = wait_for_work(l, deadline);
	exsi_unblock();
	return work;
}

static bool heed_stop(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	bool stop = l->stop || l->freed;
	l->stop = false;
	pthread_mutex_unlock(&l->lock);
	return stop;
}

/* With a turn begun; NULL: exs_last_error. */
static struct loop *enter(exs_executor *x, const char *what)
{
	struct loop *l = loop_of(x);
	int code = !l ? EXS_EINVAL : exsi_forked() ? EXS_EFORK : EXS_OK;

	if (code) {
		exsi_fail(code, "%s: %s", what, l ? exs_strerror(code) : "no event loop at the bottom of the chain");
		return NULL;
	}
	pthread_mutex_lock(&l->lock);
	bool busy = l->turning;
	if (!busy)
		begin_turn(l);
	pthread_mutex_unlock(&l->lock);
	if (busy)
		exsi_fail(EXS_EBUSY, "%s: the loop is being turned: by another thread, or by this one", what);
	return busy ? NULL : l;
}

long exs_event_loop_run(exs_executor *x)
{
	struct loop *l = enter(x, "exs_event_loop_run");
	long n = 0;

	if (!l)
		return -1;
	do {
		if (!block_for_work(l, EXSI_NEVER))
			break;
		n += run_round(l);
	} while (!heed_stop(l));
	end_turn(l);
	return n;
}

long exs_event_loop_run_once(exs_executor *x, double seconds)
{
	uint64_t deadline = 0;

	if (exsi_wait_begin("exs_event_loop_run_once", seconds, &deadline))
		return -1;
	struct loop *l = enter(x, "exs_event_loop_run_once");
	if (!l)
		return -1;
	block_for_work(l, deadline);
	long n = run_round(l);
	heed_stop(l);
	end_turn(l);
	return n;
}

long exs_event_loop_poll(exs_executor *x)
{
	struct loop *l = enter(x, "exs_event_loop_poll");

	if (!l)
		return -1;
	long n = run_round(l);
	end_turn(l);
	return n;
}

/* A shutdown waits for calls: on the loop's own thread it runs them. */
static bool loop_turn(exs_executor *x)
{
	struct loop *l = loop_of(x);

	pthread_mutex_lock(&l->lock);
	bool mine = !l->turning && pthread_equal(l->owner, pthread_self()) && !is_empty(&l->queue);
	if (mine)
		begin_turn(l);
	pthread_mutex_unlock(&l->lock);
	if (!mine)
		return false;
	run_list(l, &l->queue, 1);
	end_turn(l);
	return true;
}

int exs_event_loop_stop(exs_executor *x)
{
	struct loop *l = loop_of(x);

	if (!l)
		return exsi_fail(EXS_EINVAL, "exs_event_loop_stop: no event loop at the bottom of the chain");
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_signal(&l->work);
	pthread_mutex_unlock(&l->lock);
	return EXS_OK;
}

int exs_event_loop_fd(exs_executor *x)
{
	struct loop *l = loop_of(x);

	if (!l) {
		exsi_fail(EXS_EINVAL, "exs_event_loop_fd: no event loop at the bottom of the chain");
		return -1;
	}
	pthread_mutex_lock(&l->lock);
	int rc = l->event.read_fd < 0 ? exsi_event_make(&l->event) : 0;
	if (!rc)
		exsi_event_assign(&l->event, has_work(l));
	int fd = l->event.read_fd;
	pthread_mutex_unlock(&l->lock);
	if (rc)
		exsi_fail_errno(rc, "exs_event_loop_fd");
	return fd;
}

/* --- hooks --- */

static exs_step loop_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct loop *l = loop_of(x);
	struct item *item = slot;

	item->callback = NULL;
	pthread_mutex_lock(&l->lock);
	bool parked = exs_call_park(f, x);
	if (parked)
		push(l, item);
	pthread_mutex_unlock(&l->lock);
	if (parked) {
		exsi_tell_waiters();
		return EXS_HELD;
	}
	*r = exs_cancelled();
	return EXS_UP;
}

static exs_step loop_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct loop *l = loop_of(x);
	struct item *item = slot;

	(void)f, (void)cause, (void)r;
	pthread_mutex_lock(&l->lock);
	if (item->prev)
		take_out(l, item);
	pthread_mutex_unlock(&l->lock);
	return EXS_UP;
}

static void visit_calls(exs_executor *x, struct item *list, exs_visit_fn *visit, void *arg)
{
	for (struct item *item = list->next; item != list; item = item->next)
		if (!item->callback)
			visit(exsi_slot_call(item, x), arg);
}

static void loop_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct loop *l = loop_of(x);

	pthread_mutex_lock(&l->lock);
	visit_calls(x, &l->round, visit, arg);
	visit_calls(x, &l->queue, visit, arg);
	for (struct run *run = l->running.next; run != &l->running; run = run->next)
		visit(run->call, arg);
	pthread_mutex_unlock(&l->lock);
}

static void loop_news(exs_executor *x)
{
	struct loop *l = loop_of(x);

	pthread_mutex_lock(&l->lock);
	count_news(l);
	pthread_mutex_unlock(&l->lock);
}

static void loop_stop(exs_executor *x)
{
	struct loop *l = loop_of(x);

	pthread_mutex_lock(&l->lock);
	l->freed = true;
	pthread_cond_signal(&l->work);
	while (l->turning)
		pthread_cond_wait(&l->left, &l->lock);
	exsi_event_close(&l->event);
	pthread_mutex_unlock(&l->lock);
	size_t n = drop_callbacks(l);
	if (n)
		exsi_log(EXS_LOG_WARNING, x->name, "event loop: freed before %zu callbacks could run", n);
	loop_unref(l);
}

static const exs_layer_ops loop_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "event_loop",
	.start = loop_start,
	.done = exs_pass_done,
	.cancel = loop_cancel,
	.each = loop_each,
	.stop = loop_stop,
};

static struct loop *loop_of(exs_executor *x)
{
	return x && x->leaf->ops.start == loop_start ? *(struct loop **)exsi_state(x->leaf) : NULL;
}

/* --- made --- */

exs_executor *exs_event_loop(void)
{
	struct loop *l = exsi_zalloc(sizeof(*l));
	exs_executor *x = l ? exs_layer_new(&loop_ops, NULL, sizeof(struct loop *), sizeof(struct item)) : NULL;

	if (!x) {
		exsi_free(l);
		return l ? NULL : exsi_fail_null(EXS_ENOMEM, "exs_event_loop: out of memory");
	}
	*(struct loop **)exsi_state(x) = l;
	x->turn = loop_turn;
	x->news = loop_news;
	l->x = x;
	atomic_init(&l->refs, 1);
	pthread_mutex_init(&l->lock, NULL);
	exsi_cond_init(&l->work);
	exsi_cond_init(&l->left);
	list_init(&l->queue);
	list_init(&l->round);
	list_init(&l->registered);
	l->running.next = l->running.prev = &l->running;
	l->event.read_fd = l->event.write_fd = -1;
	l->owner = pthread_self();
	l->worker = (struct exsi_worker){loop_help, loop_concerns, loop_block, loop_unblock, NULL, NULL, loop_replaced};
	return x;
}
