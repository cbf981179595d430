/* The line before a throttle: calls wait for their turn, first in, first out. */
#include "decorators/throttle_line.h"

/* Of one among the blocked. */
enum { WAITS, LET_GO, REFUSED };

/* --- under the lock --- */

static bool has_room(struct exsi_line *line)
{
	return line->limit == EXS_UNLIMITED || atomic_load(&line->below) < line->limit;
}

/* Without the lock too, if the limit is constant. */
static bool try_go(struct exsi_line *line)
{
	size_t below = atomic_load(&line->below);

	do
		if (line->limit != EXS_UNLIMITED && below >= line->limit)
			return false;
	while (!atomic_compare_exchange_weak(&line->below, &below, below + 1));
	return true;
}

static struct exsi_line_slot *take(struct exsi_line *line, struct exsi_list *node)
{
	atomic_fetch_sub(&line->waiting, 1);
	exsi_list_remove(node);
	return EXSI_CONTAINER_OF(node, struct exsi_line_slot, node);
}

static void wake(struct exsi_line *line, struct exsi_list *node, unsigned turn)
{
	struct exsi_line_slot *s = take(line, node);

	atomic_store(&s->turn, turn); /* it may be gone after */
	exsi_unpark(&s->turn, 1);
}

/* Those for which there is room: of the queue, a chain for unlock_and_go, with their tokens; then the blocked. */
static struct exsi_list *take_turns(struct exsi_line *line)
{
	struct exsi_list *first = NULL, **tail = &first;

	if (!atomic_load(&line->waiting)) /* the usual case */
		return NULL;
	while (!exsi_list_is_empty(&line->queue) && try_go(line)) {
		struct exsi_line_slot *s = take(line, line->queue.next);
		if (!exs_call_claim(exsi_slot_call(s, line->x))) {
			atomic_fetch_sub(&line->below, 1);
			continue; /* its canceller waits for the lock, and finds it taken out */
		}
		*tail = &s->node;
		tail = &s->node.next;
	}
	*tail = NULL;
	while (!exsi_list_is_empty(&line->blocked) && try_go(line))
		wake(line, line->blocked.next, LET_GO);
	return first;
}

/* Gives the lock back, and lets those go whose turn it is. Something keeps x, unless something is left to wait. */
static void unlock_and_go(struct exsi_line *line, struct exsi_list *first)
{
	exs_executor *x = line->x;
	bool idle = exsi_ticker_is_idle(&line->ticker);

	pthread_mutex_unlock(&line->lock);
	exsi_tell_waiters(); /* among them those that were woken */
	for (struct exsi_list *node = first, *next; node; node = next) {
		struct exsi_line_slot *s = EXSI_CONTAINER_OF(node, struct exsi_line_slot, node);
		next = node->next;
		exs_call_release(exsi_slot_call(s, x), x, EXS_DOWN, NULL, &s->link);
	}
	if (idle)
		exsi_ticker_rest(&line->ticker);
}

void exsi_line_go_on(struct exsi_line *line)
{
	unlock_and_go(line, take_turns(line));
}

/* --- the way in --- */

static exs_step sleep_until_turn(struct exsi_line *line, struct exsi_line_slot *s, exs_result *r)
{
	if (!exsi_block_while(line->x, &s->turn, WAITS)) { /* its turn will never come */
		pthread_mutex_lock(&line->lock);
		take(line, &s->node);
		unlock_and_go(line, NULL);
		*r = exs_fail(exsi_error(EXS_EDEADLK));
		return EXS_UP;
	}
	if (atomic_load(&s->turn) == LET_GO)
		return EXS_DOWN;
	*r = exs_fail(exsi_error(EXS_ESHUTDOWN));
	return EXS_UP;
}

/* With the lock, counted as waiting: the call waits (DOWN and *sleeps: among the blocked), or is refused. */
static exs_step wait(struct exsi_line *line, exs_future *f, struct exsi_line_slot *s, bool *sleeps, exs_result *r)
{
	bool may_sleep = *sleeps;

	*sleeps = false;
	if (!may_sleep && exs_call_park(f, line->x)) {
		exsi_list_append(&line->queue, &s->node);
		return EXS_HELD;
	}
	bool closing = exsi_is_closing(line->x, f);
	*sleeps = may_sleep && exs_call_entry(f) == EXS_ENTRY_SUBMIT && !closing;
	if (*sleeps) {
		atomic_init(&s->turn, WAITS);
		exsi_list_append(&line->blocked, &s->node);
		return EXS_DOWN;
	}
	atomic_fetch_sub(&line->waiting, 1);
	*r = may_sleep ? exs_fail(exsi_error(closing ? EXS_ESHUTDOWN : EXS_EREJECTED)) : exs_cancelled();
	return EXS_UP;
}

/* With the lock. Those that wait come first. */
static exs_step enter(struct exsi_line *line, exs_future *f, struct exsi_line_slot *s, bool *sleeps, exs_result *r)
{
	atomic_fetch_add(&line->waiting, 1);
	if (!try_go(line))
		return wait(line, f, s, sleeps, r);
	atomic_fetch_sub(&line->waiting, 1);
	*sleeps = false;
	return EXS_DOWN;
}

bool exsi_line_pass(struct exsi_line *line)
{
	return line->open || (!line->ticker.x && !atomic_load(&line->waiting) && try_go(line));
}

bool exsi_line_leave(struct exsi_line *line)
{
	if (line->open)
		return false;
	atomic_fetch_sub(&line->below, 1);
	return line->ticker.x || atomic_load(&line->waiting);
}

exs_step exsi_line_enter(struct exsi_line *line, exs_future *f, void *slot, bool may_block, exs_result *r)
{
	struct exsi_line_slot *s = slot;
	struct exsi_list *first = take_turns(line);
	bool sleeps = may_block;

	while (!has_room(line) && line->ticker.x && !line->ticker.on)
		exsi_ticker_start(&line->ticker);
	exs_step step = enter(line, f, s, &sleeps, r);
	unlock_and_go(line, first);
	return sleeps ? sleep_until_turn(line, s, r) : step;
}

/* --- hooks --- */

exs_step exsi_line_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct exsi_line *line = exsi_state(x);
	struct exsi_line_slot *s = slot;

	(void)f, (void)cause, (void)r;
	pthread_mutex_lock(&line->lock);
	if (s->node.prev)
		take(line, &s->node);
	unlock_and_go(line, NULL);
	return EXS_UP;
}

void exsi_line_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct exsi_line *line = exsi_state(x);

	pthread_mutex_lock(&line->lock);
	for (struct exsi_list *node = line->queue.next; node != &line->queue; node = node->next)
		visit(exsi_slot_call(node, x), arg);
	pthread_mutex_unlock(&line->lock);
}

void exsi_line_closing(exs_executor *x)
{
	struct exsi_line *line = exsi_state(x);

	pthread_mutex_lock(&line->lock);
	for (struct exsi_list *node = line->blocked.next, *next; node != &line->blocked; node = next) {
		next = node->next;
		if (exsi_is_closing(x, exsi_slot_call(node, x)))
			wake(line, node, REFUSED);
	}
	unlock_and_go(line, NULL);
}

void exsi_line_stop(exs_executor *x)
{
	struct exsi_line *line = exsi_state(x);

	pthread_mutex_destroy(&line->lock);
}

/* --- made --- */

static bool waits(exs_executor *x)
{
	const struct exsi_line *line = exsi_state(x);

	return atomic_load(&line->waiting);
}

exs_executor *exsi_line_init(exs_executor *x, uint64_t ns, void (*tick)(exs_executor *))
{
	struct exsi_line *line = exsi_state(x);

	exsi_layer_share(x, sizeof(struct exsi_line_slot));
	line->x = x;
	atomic_store(&x->waiting, &line->waiting);
	line->open = !ns && line->limit == EXS_UNLIMITED;
	pthread_mutex_init(&line->lock, NULL);
	exsi_list_init(&line->queue);
	exsi_list_init(&line->blocked);
	return ns ? exsi_ticker_init(&line->ticker, x, &line->lock, ns, waits, tick) : x;
}
