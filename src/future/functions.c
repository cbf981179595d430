/* What functions on futures have in common: done futures, whose turn it is, outcomes. */
#include "base/memory.h"
#include "future/future.h"

#include <executors/functions.h>
#include <stdarg.h>
#include <stdio.h>

/* --- done at once --- */

exs_future *exsi_returned(exs_result r)
{
	exs_future *f = exsi_alloc(sizeof(*f));

	if (!f) {
		exs_result_clear(&r);
		return exsi_fail_null(EXS_ENOMEM, "a future that is done: out of memory");
	}
	exsi_future_init(f, NULL, EXSI_DONE);
	atomic_init(&f->refs, EXSI_USER_REF);
	f->result = r;
	if (exsi_observer)
		exsi_observer(f, 1);
	return f;
}

exs_future *exsi_failed(const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return exsi_returned(exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL, "%s", text)));
}

exs_future *exs_future_return(void *value, exs_free_fn *destroy)
{
	return exsi_returned(exs_ok(value, destroy));
}

exs_future *exs_future_return_error(exs_error *error)
{
	return error ? exsi_returned(exs_fail(error)) : exsi_failed("exs_future_return_error: error is NULL");
}

exs_future *exs_future_return_cancelled(void)
{
	return exsi_returned(exs_cancelled());
}

/* --- one after the other --- */

/* Nodes whose turn has not come on this thread: so functions run in constant stack. */
static _Thread_local struct {
	struct exsi_node *first, **last;
	bool running;
} due;

void exsi_run_due(void)
{
	while (due.first) {
		struct exsi_node *node = due.first;
		due.first = node->next;
		node->fn(NULL, node);
	}
}

void exsi_defer(struct exsi_node *node, void (*fn)(exs_future *none, struct exsi_node *node))
{
	node->fn = fn;
	node->next = NULL;
	if (!due.first)
		due.last = &due.first;
	*due.last = node;
	due.last = &node->next;
	if (due.running)
		return;
	due.running = true;
	exsi_run_due();
	due.running = false;
}

/* --- outcomes --- */

exs_result exsi_outcome(exs_future *input, bool *shared)
{
	exs_result r;

	*shared = exsi_take(input, &r) != EXS_OK;
	if (!*shared)
		return r;
	r = exs_future_result(input);
	r.destroy = NULL;
	if (r.kind == EXS_KIND_ERROR)
		exs_error_ref(r.error);
	return r;
}

void exsi_look_over(exs_future *f)
{
	exsi_nodes_unlock(f, exsi_nodes_lock(f));
}

void exsi_settle_from(exs_future *f, exs_result *r, exs_future *input, bool shared)
{
	bool keeps = shared && r->kind == EXS_KIND_VALUE; /* it may be the input's, or part of it */

	if (keeps)
		f->story = EXSI_KEEPS;
	if (r->kind == EXS_KIND_CANCELLED && exs_future_state(input) == EXS_STATE_CANCELLED)
		exsi_note_cause(f, exs_future_cause(input));
	unsigned before = exsi_settle(f, r);
	if (keeps)
		return;
	if (!(before & EXSI_NODES)) /* otherwise the lock was had */
		exsi_look_over(f);
	exs_future_unref(input);
}

exs_future *exsi_input(exs_future *f, size_t *cursor)
{
	struct exsi_node *last = exsi_nodes_lock(f);
	exs_future *input = exs_future_is_done(f) ? NULL : *(exs_future **)(void *)(f + 1);
	if (input)
		exsi_hold(input);
	exsi_nodes_unlock(f, last);
	*cursor = SIZE_MAX;
	return input;
}

exs_result exsi_no_future(const char *who, unsigned failures)
{
	const exs_error *why = exs_last_error();

	if (exsi_failures() == failures)
		return exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL, "%s answered no future", who));
	return exs_fail(exs_error_new(exs_error_domain(why), exs_error_code(why), "%s answered no future: %s", who,
				      exs_error_message(why)));
}
