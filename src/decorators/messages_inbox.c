/* The inbox: messages in their order, the tasks that may send more, and a gate for those who wait. */
#include "base/lock.h"
#include "base/memory.h"
#include "decorators/messages.h"
#include "executor/executor.h"
#include "future/wait.h"

struct message {
	struct message *next;
	exs_bytes *bytes;
};

/* lock guards what follows it. refs: the user's, of each layer, of who looks at it through a gate. */
struct exs_messages {
	atomic_uint refs;
	struct exsi_lock lock;
	bool closed; /* the user's has gone: what comes is dropped */
	struct message *first, **end;
	struct exsi_list tasks;	  /* in the order of their numbers; empty: none is left */
	struct exsi_list *looked; /* the one that a waiting thread looked at last; or NULL */
	size_t number;		  /* of the next task */
	exs_future *gate; /* done when there is something to be told: for readers that wait; the token's reference */
};

void exsi_messages_ref(exs_messages *inbox)
{
	atomic_fetch_add(&inbox->refs, 1);
}

void exsi_messages_unref(exs_messages *inbox)
{
	if (atomic_fetch_sub(&inbox->refs, 1) == 1)
		exsi_free(inbox);
}

/* With the lock: what open_gate is to have. */
static exs_future *take_gate(exs_messages *inbox)
{
	exs_future *gate = inbox->gate;

	inbox->gate = NULL;
	return gate;
}

/* Without the lock. */
static void open_gate(exs_future *gate)
{
	exs_result r = exs_ok(NULL, NULL);

	if (gate)
		exsi_complete(gate, &r);
}

/* --- the gate: what readers that wait wait for; it is made of the tasks --- */

struct gate {
	exs_future future; /* first */
	exs_messages *inbox;
};

static void gate_cancel(exs_future *f, exs_cause cause)
{
	(void)f, (void)cause; /* nobody does */
}

static void gate_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	(void)futures, (void)n, (void)cause;
}

static struct exsi_messages_task *task_of(struct exsi_list *link)
{
	return EXSI_CONTAINER_OF(link, struct exsi_messages_task, link);
}

/* With the lock: the first task whose number is at least this, or NULL. It is often behind that of the last time. */
static struct exsi_messages_task *find(exs_messages *inbox, size_t number)
{
	struct exsi_list *link = inbox->looked ? inbox->looked : &inbox->tasks;

	if (link == &inbox->tasks || task_of(link)->number >= number)
		link = inbox->tasks.next;
	while (link != &inbox->tasks && task_of(link)->number < number)
		link = link->next;
	inbox->looked = link;
	return link == &inbox->tasks ? NULL : task_of(link);
}

/* A call that is counted is not done yet, but for one that was made to fail: it lives. */
static exs_future *next_task(exs_messages *inbox, size_t *cursor)
{
	exs_future *f = NULL;
	struct exsi_messages_task *t;

	exsi_lock(&inbox->lock);
	while (!f && (t = find(inbox, *cursor))) {
		f = exs_future_is_done(t->call) ? NULL : t->call;
		*cursor = t->number + 1;
	}
	if (f)
		exsi_hold(f);
	else
		*cursor = SIZE_MAX;
	exsi_unlock(&inbox->lock);
	return f;
}

static exs_future *gate_input(exs_future *f, size_t *cursor)
{
	struct exsi_node *last = exsi_nodes_lock(f);
	exs_messages *inbox = exs_future_is_done(f) ? NULL : ((struct gate *)(void *)f)->inbox;

	if (inbox)
		exsi_messages_ref(inbox);
	exsi_nodes_unlock(f, last);
	exs_future *input = inbox ? next_task(inbox, cursor) : NULL;
	if (inbox)
		exsi_messages_unref(inbox);
	else
		*cursor = SIZE_MAX;
	return input;
}

/* Each may send the next one. */
static bool gate_any(exs_future *f)
{
	(void)f;
	return true;
}

static const struct exsi_source gates = {.cancel = gate_cancel,
					 .cancel_many = gate_cancel_many,
					 .input = gate_input,
					 .any = gate_any,
					 .what = "messages"};

/* With the lock. */
static bool has_news(const exs_messages *inbox)
{
	return inbox->first || exsi_list_is_empty(&inbox->tasks);
}

/* What to wait for, with a user reference. NULL: no memory. */
static exs_future *gate_of(exs_messages *inbox)
{
	struct gate *g = exsi_alloc(sizeof(*g));
	exs_future *f = NULL;

	if (!g)
		return NULL;
	exsi_future_init(&g->future, &gates, 0);
	g->inbox = inbox;
	exsi_lock(&inbox->lock);
	bool closed = !has_news(inbox);
	if (closed && !inbox->gate)
		f = inbox->gate = &g->future;
	else if (closed)
		f = exs_future_ref(inbox->gate);
	exsi_unlock(&inbox->lock);
	if (f == &g->future)
		return f;
	open_gate(&g->future);
	if (!f)
		return &g->future;
	exs_future_unref(&g->future);
	return f;
}

/* --- the inbox --- */

exs_messages *exs_messages_new(void)
{
	exs_messages *inbox = exsi_zalloc(sizeof(*inbox));

	if (!inbox)
		return exsi_fail_null(EXS_ENOMEM, "exs_messages_new: out of memory");
	atomic_init(&inbox->refs, 1);
	inbox->end = &inbox->first;
	exsi_list_init(&inbox->tasks);
	return inbox;
}

void exs_messages_free(exs_messages *inbox)
{
	if (!inbox)
		return;
	exsi_lock(&inbox->lock);
	struct message *m = inbox->first;
	inbox->first = NULL;
	inbox->closed = true;
	exsi_unlock(&inbox->lock);
	while (m) {
		struct message *next = m->next;
		exs_bytes_free(m->bytes);
		exsi_free(m);
		m = next;
	}
	exsi_messages_unref(inbox);
}

int exsi_messages_put(exs_messages *inbox, exs_bytes *bytes)
{
	struct message *m = exsi_alloc(sizeof(*m));
	exs_future *gate = NULL;

	if (!m) {
		exs_bytes_free(bytes);
		return exsi_fail(EXS_ENOMEM, "exs_send: out of memory");
	}
	*m = (struct message){.bytes = bytes};
	exsi_lock(&inbox->lock);
	bool closed = inbox->closed;
	if (!closed) {
		*inbox->end = m;
		inbox->end = &m->next;
		gate = take_gate(inbox);
	}
	exsi_unlock(&inbox->lock);
	open_gate(gate);
	if (closed) {
		exs_bytes_free(bytes);
		exsi_free(m);
	}
	return EXS_OK;
}

/* --- its tasks --- */

void exsi_messages_enter(exs_messages *inbox, struct exsi_messages_task *t, exs_future *call)
{
	t->call = call;
	exsi_lock(&inbox->lock);
	t->number = inbox->number++;
	exsi_list_append(&inbox->tasks, &t->link);
	exsi_unlock(&inbox->lock);
}

void exsi_messages_leave(exs_messages *inbox, struct exsi_messages_task *t)
{
	exsi_lock(&inbox->lock);
	if (inbox->looked == &t->link)
		inbox->looked = t->link.prev;
	exsi_list_remove(&t->link);
	exs_future *gate = exsi_list_is_empty(&inbox->tasks) ? take_gate(inbox) : NULL;
	exsi_unlock(&inbox->lock);
	open_gate(gate);
}

/* --- read --- */

/* TIMEOUT: there is none now, but there are tasks. */
static exs_set_status take(exs_messages *inbox, exs_bytes **message)
{
	exsi_lock(&inbox->lock);
	struct message *m = inbox->first;
	bool over = exsi_list_is_empty(&inbox->tasks);
	if (m)
		inbox->first = m->next;
	if (!inbox->first)
		inbox->end = &inbox->first;
	exsi_unlock(&inbox->lock);
	if (!m)
		return over ? EXS_EMPTY : EXS_TIMEOUT;
	*message = m->bytes;
	exsi_free(m);
	return EXS_ITEM;
}

static exs_set_status await(exs_messages *inbox, exs_bytes **message, uint64_t deadline)
{
	exs_set_status status = EXS_TIMEOUT;

	while (status == EXS_TIMEOUT) {
		exs_future *gate = gate_of(inbox);
		int rc = gate ? exsi_wait(gate, deadline) : exsi_fail(EXS_ENOMEM, "exs_messages_next: out of memory");
		if (gate)
			exsi_look_over(gate); /* the inbox may go, once this is done */
		exs_future_unref(gate);
		if (rc == EXS_ETIMEDOUT)
			return take(inbox, message);
		if (rc)
			return EXS_FAILED;
		status = take(inbox, message);
	}
	return status;
}

exs_set_status exs_messages_next(exs_messages *inbox, exs_bytes **message, double seconds)
{
	uint64_t deadline = 0;

	if (message)
		*message = NULL;
	if (!inbox || !message) {
		exsi_fail(EXS_EINVAL, "exs_messages_next: %s is NULL", inbox ? "message" : "inbox");
		return EXS_FAILED;
	}
	if (exsi_wait_begin("exs_messages_next", seconds, &deadline))
		return EXS_FAILED;
	exs_set_status status = take(inbox, message);
	return status != EXS_TIMEOUT || seconds == 0 ? status : await(inbox, message, deadline);
}
