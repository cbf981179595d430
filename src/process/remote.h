/* Remote pool: calls of registered functions, given to workers elsewhere. What a worker is, and how it is reached, the transport knows. */
#ifndef EXSI_PROCESS_REMOTE_H
#define EXSI_PROCESS_REMOTE_H

#include "base/list.h"
#include "executor/executor.h"
#include "process/frame.h"
#include "process/invocation.h"

#include <executors/process_pool.h>
#include <executors/stream.h>

struct exsi_remote;
struct exsi_remote_pool;

/* Calls that a worker has at a time, at most. */
enum { EXSI_REMOTE_DEPTH = 8 };

enum exsi_parting {
	EXSI_PART_POLITELY, /* it is to end when it has read this */
	EXSI_PART_TERM,
	EXSI_PART_KILL
};

/* All but send and release on the pool's own thread, which is the transport's; none with the pool's lock. */
struct exsi_transport {
	/* Begins a worker, which it makes; then exsi_remote_joins. 0, or an error. */
	exs_error *(*open)(struct exsi_remote_pool *p, unsigned number);
	/* Sends it a message; urgent: past the others, to be heard while it runs a task. As exsi_channel_send. Any thread. */
	int (*send)(struct exsi_remote *w, bool urgent, enum exsi_frame_type type, uint64_t id, const void *head,
		    size_t size, exs_bytes *body);
	void (*part)(struct exsi_remote *w, enum exsi_parting how);
	/* The last reference has gone. Any thread. */
	void (*release)(struct exsi_remote *w);
	/* Wakes the pool's thread, so that it calls exsi_remote_turn. Any thread, also with the lock. */
	void (*ring)(struct exsi_remote_pool *p);
};

enum exsi_remote_state {
	EXSI_REMOTE_STARTING,
	EXSI_REMOTE_IDLE, /* in the list of these */
	EXSI_REMOTE_BUSY,
	EXSI_REMOTE_PARTING, /* gets no more; `how` is how far it has come */
	EXSI_REMOTE_GONE
};

struct exsi_update;

/* A worker. The pool's lock guards all that is not constant. refs: the transport's; of each thread that sends to it. */
struct exsi_remote {
	struct exsi_remote_pool *pool;		/* not to be touched when no call and no submit keeps it */
	const struct exsi_transport *transport; /* the pool's */
	unsigned number;
	atomic_uint refs;
	atomic_ullong given;	     /* id of the last that is on its way: its giver has done with the call before */
	struct exsi_list node, idle; /* of the pool's lists */
	enum exsi_remote_state state;
	enum exsi_parting how;
	/* What it has. A call belongs to the pool's thread until that has taken it out; but while it is being given (giving == id), and the
	   worker goes meanwhile, to who gives it. */
	uint64_t id, giving; /* id 0: none */
	exs_future *call;
	/* What it will do after that: calls that were given to it, by the pool's thread, while it had one, because it had been quick. It begins
	   them in order, each once it has answered the one before; so when it goes, all but `call` have not been begun. */
	struct exsi_list ahead;	 /* of their slots */
	unsigned n_ahead, depth; /* depth: calls that it may have in all */
	uint64_t last;		 /* id given */
	uint64_t recall;	 /* when those ahead are asked back, if it has not answered; ns */
	uint64_t recalled;	 /* up to this id they have been, and it has not answered that; 0: no */
	struct exsi_update *update;
	uint64_t updated;   /* number of the last update that it has been given, or that is not for it */
	uint64_t since;	    /* when it got that, or became idle; ns */
	uint64_t deadline;  /* of its start, its task, its parting; EXSI_NEVER */
	bool reported;	    /* it was READY */
	bool able;	    /* and has run the updates before its first task */
	uint64_t overdue;   /* id of what it has run for too long; 0: none */
	bool asked;	    /* to stop it: the deadline is that of this */
	uint64_t heedless;  /* id of what did not do so in time; 0: none */
	exs_error *said;    /* why it can't begin, as it says; or NULL */
	const char *broken; /* how it has not kept to the protocol; or NULL */
	exs_error *death;   /* GONE */
	size_t tasks;
	uint64_t busy; /* ns, of tasks that have ended */
};

/* A function that each worker runs once. Under the lock. */
struct exsi_update {
	struct exsi_list node;
	exs_invocation *invocation;
	exs_promise *promise; /* NULL: completed */
	exs_future *future;   /* its, if not */
	exs_error *error;     /* the first */
	uint64_t number;
	unsigned last;	/* number of the last worker that it waits for */
	size_t waiting; /* for so many */
	bool ephemeral;
};

/* A call's slot. link: in the queue, or ahead at a worker; prev NULL: it is in neither. The rest belongs to who has the token, but worker, id
   and asked: under the lock. */
struct exsi_remote_slot {
	struct exsi_list link;
	struct exsi_remote *worker; /* that has it; or NULL */
	uint64_t id;
	bool asked; /* to stop, since it has been given */
	uint64_t begun;
	struct exsi_items *items; /* of an iterator */
	unsigned deaths;
};

/* A call that has been answered, and goes up as soon as other answers have been looked for: who waits for them all is woken once. */
struct exsi_answer {
	exs_future *call;
	exs_result result;
};

/* Begins the state of the leaf. answers are the pool's thread's. lock guards all that follows it. Whenever it is free, and nobody gives: no call is queued while a worker is idle. */
struct exsi_remote_pool {
	exs_executor *x;
	const struct exsi_transport *transport;
	exs_process_pool_options options; /* with the defaults in place; text and arrays are the pool's */
	struct exsi_answer answers[EXSI_REMOTE_DEPTH];
	unsigned n_answers;
	uint64_t idle_ns, start_ns, stop_ns, task_ns, cancel_ns;
	pthread_mutex_t lock;
	struct exsi_list queue, workers, idle, updates;
	size_t queued, running;
	unsigned starting, usable; /* workers: STARTING; and all but those that are PARTING or GONE */
	unsigned numbers, joined;  /* of workers: the last one made, the last one in the list */
	uint64_t update_numbers;
	unsigned failed; /* starts in a row */
	uint64_t again;	 /* then, while there are other workers, or nothing waits for one, none is begun before; ns */
	exs_error *why;	 /* the last of these */
	uint64_t next;	 /* no deadline comes before; ns */
	atomic_bool killing; /* workers are killed, and no call is let in any more */
	bool stopping;	     /* no call is left, nor will there be one */
	exs_process_pool_stats stats;
};

static inline struct exsi_remote_slot *exsi_remote_slot(struct exsi_remote_pool *p, exs_future *call)
{
	return exsi_slot(call, p->x);
}

/* On the pool's thread, which alone gives ahead: is it worth looking for another answer now? */
static inline bool exsi_remote_has_more(const struct exsi_remote *w)
{
	return w->n_ahead > 0;
}

/* --- the queue, the hooks of the leaf (remote.c) --- */

void exsi_remote_pool_init(struct exsi_remote_pool *p, exs_executor *x, const struct exsi_transport *transport);
void exsi_remote_pool_fini(struct exsi_remote_pool *p);

exs_step exsi_remote_start(exs_executor *x, exs_future *call, void *slot, exs_result *r);
exs_step exsi_remote_cancel(exs_executor *x, exs_future *call, void *slot, exs_cause cause, exs_result *r);
void exsi_remote_each(exs_executor *x, exs_visit_fn *visit, void *arg);
void exsi_remote_closing(exs_executor *x);

/* Is a call of the scope's queued or with a worker? */
bool exsi_remote_holds(struct exsi_remote_pool *p, const void *scope);

/* With the lock: the first that waits, with its token; NULL: there is none. */
exs_future *exsi_remote_shift(struct exsi_remote_pool *p);

/* The same, if it is one that can be given ahead: short to say, and nobody looks at when it begins. */
exs_future *exsi_remote_shift_ahead(struct exsi_remote_pool *p);

/* Back into the queue, before the others; with the token, without the lock. false: a stop was asked for. */
bool exsi_remote_requeue(struct exsi_remote_pool *p, exs_future *call);

/* No worker can be had: all that wait fail with the error, which is borrowed. NULL: workers are killed, and they are cancelled. */
void exsi_remote_fail_queued(struct exsi_remote_pool *p, exs_error *error);

/* With the lock: there is a deadline then. */
static inline void exsi_remote_by(struct exsi_remote_pool *p, uint64_t deadline)
{
	if (deadline >= p->next)
		return;
	p->next = deadline;
	p->transport->ring(p);
}

/* With the lock: so many calls more are with workers. */
static inline void exsi_remote_count_running(struct exsi_remote_pool *p, int by)
{
	p->running += (size_t)by;
	exsi_spin_beside(by);
}

/* With the lock: w comes into this state, and so into the pool's counts, and into or out of the list of the idle ones. */
void exsi_remote_becomes(struct exsi_remote *w, enum exsi_remote_state state);

/* With the lock: how many more workers are to be begun now. */
unsigned exsi_remote_lacks(const struct exsi_remote_pool *p);

/* With the lock: it has not kept to the protocol, in this way (static text); the first counts. */
static inline void exsi_remote_broke(struct exsi_remote *w, const char *how)
{
	w->pool->stats.malformed += !w->broken;
	w->broken = w->broken ? w->broken : how;
}

/* --- giving and taking (remote_give.c) --- */

void exsi_remote_unref(struct exsi_remote *w);

/* With the lock: it has this call from now on, whose token the caller has; then, without the lock, exsi_remote_give. */
void exsi_remote_assign(struct exsi_remote *w, exs_future *call);
void exsi_remote_give(struct exsi_remote *w, exs_future *call, uint64_t id);

/* With the lock, which it gives back: what w, which is STARTING, BUSY or IDLE and has nothing, is to do next: an update, a call, its end,
   or nothing. */
void exsi_remote_next(struct exsi_remote *w);

/* To each idle worker its next, as long as there is something for it. On the pool's thread. */
void exsi_remote_dispatch(struct exsi_remote_pool *p);

/* With the lock, which it gives back: w has answered its call, or that was recalled, and goes on with those ahead, or exsi_remote_next. */
void exsi_remote_go_on(struct exsi_remote *w);

/* With the lock: those ahead from this id on leave w, in the order of their ids, into list. */
void exsi_remote_take_ahead(struct exsi_remote *w, uint64_t from, struct exsi_list *list);

/* On the pool's thread, without the lock: they go back to where they came from. */
void exsi_remote_give_back(struct exsi_remote_pool *p, struct exsi_list *list);

/* With the lock, which it gives back: w has not answered for a while: what is ahead is asked back. */
void exsi_remote_recall(struct exsi_remote *w);

/* With the call's token, without the lock: its worker has gone, and it was not its doing. */
void exsi_remote_bereave(struct exsi_remote *w, exs_future *call);

/* With the call's token, without the lock: it goes up. Takes over the result. */
void exsi_remote_complete(struct exsi_remote_pool *p, exs_future *call, exs_result *r);

/* --- from the transport, on its thread, without the lock (remote_event.c) --- */

/* A new worker, whose begin it has been sent; the reference is the transport's. */
void exsi_remote_joins(struct exsi_remote_pool *p, struct exsi_remote *w, unsigned number);

/* A message has come, which is taken over. NULL, or how it does not keep to the protocol (static text): then the transport parts with it, by KILL. */
const char *exsi_remote_received(struct exsi_remote *w, struct exsi_message *message);

/* What it has been given, for a person: " while it ran \"render\"", or "". */
void exsi_remote_doing(struct exsi_remote *w, char *text, size_t size);

/* No other answer is there for now: those that have come go up. */
void exsi_remote_settle(struct exsi_remote_pool *p);

/* Which frames may come: for the decoder. */
uint32_t exsi_remote_types(void);

/* It has ended: error says how, a reference, taken over. The transport still has its own reference. */
void exsi_remote_gone(struct exsi_remote *w, exs_error *error);

/* What is due now: workers begun and parted with. Answers when it is to be called next at the latest; ns. */
uint64_t exsi_remote_turn(struct exsi_remote_pool *p);

/* Is none left, and none needed any more? */
bool exsi_remote_is_over(struct exsi_remote_pool *p);

/* Parts with it, by the next stronger way. With the lock, which it gives back. */
void exsi_remote_part(struct exsi_remote *w, enum exsi_parting how);

/* --- updates (remote_update.c), with the lock --- */

/* The next one that w has not been given, or NULL. */
struct exsi_update *exsi_update_next(struct exsi_remote *w);

/* A promise to be completed, without the lock. */
struct exsi_update_end {
	exs_promise *promise; /* NULL: none */
	exs_result result;
};
void exsi_update_complete(struct exsi_update_end end);

/* w has run it, or has gone: error or NULL, taken over. */
struct exsi_update_end exsi_update_ran(struct exsi_remote *w, struct exsi_update *u, exs_error *error);

/* w has gone without having been given this one: the next such one that has waited for it is answered, and waits no more; NULL: there is none. */
struct exsi_update *exsi_update_left(struct exsi_remote *w);
void exsi_updates_drop(struct exsi_remote_pool *p); /* without the lock */

/* Without the lock: is it the future of one that has not been completed? */
bool exsi_update_is(struct exsi_remote_pool *p, const exs_future *f);

/* --- items (remote_items.c) --- */

/* Of the call of an iterator; NULL: no memory. credit: what the worker may emit at once. */
struct exsi_items *exsi_items_new(struct exsi_remote *w, uint64_t id, exs_stream *s, uint32_t *credit);

/* An item has come, taken over. NULL, or how that is wrong. */
const char *exsi_items_put(struct exsi_items *items, exs_result r);
void exsi_items_end(struct exsi_items *items); /* the call ends; NULL is allowed */

/* --- the invocation of a call (invocation.h) --- */

/* What the call is to run, borrowed; NULL: nothing that can be run elsewhere. stream: of an iterator that its items go to, or NULL. */
exs_invocation *exsi_remote_invocation(exs_future *call, exs_stream **stream);

/* --- a task as it travels (task_frame.c) --- */

/* What the worker needs to know of a call. */
struct exsi_task_frame {
	uint32_t attempt, max_attempts;
	uint64_t left;	/* ns until its deadline; EXSI_NEVER */
	uint32_t items; /* that it may emit for now */
	bool emits;
	const char *name; /* or "" */
};

void exsi_put_task(struct exsi_writer *w, const struct exsi_task_frame *task, const exs_invocation *invocation);
void exsi_get_task(struct exsi_reader *r, struct exsi_task_frame *task);

/* The options of what a task schedules. */
void exsi_put_schedule(struct exsi_writer *w, const exs_task *task, const exs_invocation *invocation);
void exsi_get_schedule(struct exsi_reader *r, exs_task *task);

/* What a worker is to be. */
struct exsi_begin_frame {
	unsigned number;
	uint64_t max_size, memory, cpu_seconds;
	bool restricted;
};
void exsi_put_begin(struct exsi_writer *w, const struct exsi_begin_frame *begin);
void exsi_get_begin(struct exsi_reader *r, struct exsi_begin_frame *begin);

#endif
