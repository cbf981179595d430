/* exs_dump_alive: a line for each future that is not done. */
#include "executor/executor.h"
#include "executor/text.h"

#include <executors/dump.h>
#include <stdio.h>

/* Under the lock of the list: reads, and keeps the executors. */
static const char *state_of(exs_future *f, const exs_executor *at)
{
	unsigned s = atomic_load(&f->state);
	exs_future *parent = exsi_parent(f);

	if (parent && exs_future_is_done(parent))
		return "abandoned";
	if (s & EXSI_RUNNING)
		return "running";
	return s & EXSI_BEGUN && at && exsi_has_children(at) ? "begun" : "pending";
}

static void look_at_call(exs_future *f, struct exsi_seen *seen)
{
	struct exsi_story *story = exsi_story(f);
	const char *name = exs_call_name(f);

	seen->top = exsi_top(f);
	exsi_keep(seen->top);
	seen->at = exsi_parked_at(f);
	seen->state = state_of(f, seen->at);
	seen->attempt = story ? atomic_load(&story->attempt) : 0;
	seen->max = story ? atomic_load(&story->max) : 0;
	snprintf(seen->name, sizeof(seen->name), "%s", name ? name : "task");
	if (!exs_future_is_done(f))
		return;
	atomic_fetch_sub(&seen->top->children, 1); /* they may have ended before they were kept, and go with the pin */
	*seen = (struct exsi_seen){.state = NULL};
}

static void look(exs_future *f, struct exsi_seen *seen)
{
	exsi_pin();
	if (exsi_is_call(f)) {
		look_at_call(f, seen);
	} else if (!exs_future_is_done(f)) {
		seen->what = f->source->what;
		seen->state = exs_future_state(f) == EXS_STATE_RUNNING ? "running" : "pending";
	}
	exsi_unpin();
}

enum { CHAIN = 1024, ROOM = EXSI_TEXT_SIZE - CHAIN - 400 };

struct dump {
	struct exsi_text text;
	size_t n;
};

static void write_attempt(struct exsi_text *t, const struct exsi_seen *seen)
{
	if (seen->max == EXS_UNLIMITED)
		exsi_text_add(t, "attempt %u: ", seen->attempt);
	else if (seen->max > 1)
		exsi_text_add(t, "attempt %u of %u: ", seen->attempt, seen->max);
}

static void write_call(struct exsi_text *t, struct exsi_seen *seen)
{
	char chain[CHAIN];

	for (char *c = seen->name; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	exs_describe(seen->top, chain, sizeof(chain));
	exsi_text_add(t, "%s %.3fs %s: ", seen->state, seen->age, seen->name);
	write_attempt(t, seen);
	exsi_text_add(t, "%s", chain);
	if (seen->at && seen->at != seen->top->leaf)
		exsi_text_add(t, ", at %.100s", seen->at->ops.type);
	exsi_text_add(t, "\n");
}

static void visit(struct exsi_seen *seen, void *arg)
{
	struct dump *d = arg;

	if (seen->state && seen->top)
		write_call(&d->text, seen);
	else if (seen->state)
		exsi_text_add(&d->text, "%s %.3fs %s\n", seen->state, seen->age, seen->what);
	else
		exsi_tell_waiters(); /* perhaps of what was kept for a moment */
	d->n += seen->state != NULL;
	if (seen->top) /* before fn, which may wait for its end: so there is always room for a line */
		exsi_unkeep(seen->top);
	if (d->text.n > ROOM)
		exsi_text_flush(&d->text);
}

bool exs_dump_alive(exs_write_fn *fn, void *ctx)
{
	struct dump d = {.text = {.fn = fn, .ctx = ctx}};

	if (exsi_text_fails(&d.text, "exs_dump_alive"))
		return false;
	size_t unlisted = exsi_alive_each(look, visit, &d);
	exsi_text_add(&d.text, "%zu not done", d.n);
	if (unlisted)
		exsi_text_add(&d.text, "; %zu more were made for which there was no memory", unlisted);
	exsi_text_add(&d.text, "\n");
	exsi_text_flush(&d.text);
	return !d.text.stopped;
}
