/* The stream inside: a window of items, filled at one end by its kind, read at the other. */
#ifndef EXSI_STREAM_STREAM_H
#define EXSI_STREAM_STREAM_H

#include "base/event.h"
#include "base/inbox.h"
#include "base/list.h"
#include "base/lock.h"
#include "executor/executor.h"
#include "executor/time.h"

#include <executors/stream.h>

/* An input that an attempt may read while another is begun, or that lies in a future. */
struct exsi_input {
	atomic_uint refs;
	exs_task_fn *fn;
	exs_result value;
	exs_future *from; /* or NULL: value's destroy counts */
};

enum exsi_item_state {
	EXSI_COMING, /* it has no future yet */
	EXSI_AWAITED, /* watched: its node is with the future, fires or was just removed; else who looks sees whether that is done */
	EXSI_READY,  /* the future is done; or is NULL: there was no memory for it */
	EXSI_DROPPED /* it is not in the window any more */
};

/* An item. Its references, under the lock of the stream: the window's; the node's, or of who fills it; of those who look at it without
   the lock. In the window it is COMING, AWAITED or READY. The future is exchanged, under the lock, only by who has removed the node, and not
   once it is DROPPED. */
struct exsi_place {
	struct exsi_node node; /* what who completes the item touches comes first */
	exs_stream *stream;
	struct exsi_inbox_node arrived;
	unsigned refs;
	enum exsi_item_state state;
	bool watched;
	struct exsi_input *input; /* of one that may be begun again; NULL: arg is all */
	exs_future *future;	  /* one user reference */
	uint64_t number;
	struct exsi_list link;	  /* in the window, or among those that are dropped */
	struct exsi_place *after; /* among the ready ones, or the free ones */
	struct exsi_place *lost;  /* among those that were awaited for too long */
	exs_future *suspect;	  /* the future of then */
	void *arg;
};

enum exsi_pulled {
	EXSI_PULLED,	 /* the place has its future */
	EXSI_NOTHING,	 /* now; it will be told (exsi_stream_pump) */
	EXSI_PULLED_LAST /* there will be no more; *error is the reason, if there is one */
};

/* What a stream takes its items from. No lock is held. */
struct exsi_stream_kind {
	/* Where the pump runs, so never twice at a time. place has its number. NULL: items are pushed. */
	enum exsi_pulled (*pull)(exs_stream *s, struct exsi_place *place, exs_error **error);
	/* With the lock, which it gives back: the timer's time has come. Answers when it is to come again; EXSI_NEVER,
	   after exsi_tick_no_more: not. NULL: exsi_stall_tick. */
	uint64_t (*tick)(exs_stream *s, uint64_t now);
	void (*cancel)(exs_stream *s); /* it ends now; may be NULL */
	/* What brings the items, with a reference of exsi_hold, or NULL. The hook may be NULL: then the items that are awaited do. */
	exs_future *(*input)(exs_stream *s);
	void (*fini)(exs_stream *s); /* may be NULL */
};

struct exsi_stream_contexts {
	void *source;
	exs_free_fn *source_free;
	void *codec;
	exs_free_fn *codec_free;
};

/* lock guards what follows it; those constant from the start stand before. refs: the user's; of all nodes together; of the timer while it
   is armed or fires; of a stage below that tells it (sink). waited: somebody may have to be told of a change: gate, room, fd or sink_asked. */
struct exs_stream {
	const struct exsi_stream_kind *kind;
	exs_executor *ex; /* a reference; or NULL */
	exs_clock *clock;
	exs_task_fn *fn;
	exs_task task; /* the options of each call */
	bool has_task;
	bool lazy; /* tasks run within their submits: ahead of the reader there is nothing to be gained */
	bool as_completed;
	bool stop_on_error;
	bool arrives; /* what is done comes into the inbox */
	bool looks; /* nobody but who reads needs to know what is done: only the first place is watched, and while somebody waits for it */
	size_t max;
	uint64_t timeout; /* ns; EXSI_NEVER */
	unsigned max_retries;
	bool tells; /* there is a timeout, on a manual clock */
	exs_map_fn *encode, *decode;
	exs_source_fn *source;
	struct exsi_stream_contexts contexts;
	exs_stream *in; /* of a stage */
	bool followed;	/* by a stage: so it may be pumped while the user frees */
	void *extra;	/* of the kind */

	/* Who finds it empty tells those who wait, or sweeps if it is cut; they say that they wait, then look into it: one sees the other. Its nodes count
	   as being with their futures until they are taken out with the lock. */
	struct exsi_inbox arrived;
	atomic_bool ticking; /* the timer is armed, about to be, or fires */
	atomic_size_t refs;
	struct exsi_lock lock;
	/* what who completes an item touches comes first */
	unsigned retries;
	uint64_t since; /* while it ticks: when something was begun last, or answered, as far as is known; not before */
	bool moved;	/* something was, after the last tick */
	size_t nodes;	/* that are with a future or fire, those of dropped ones, too */
	atomic_bool waited;
	struct exsi_list window;      /* in the order of their numbers */
	size_t count;		      /* in the window, and those that the pump or a producer is at */
	struct exsi_place *free;      /* by after */
	struct exsi_place *ready;     /* as_completed: the first one, by after */
	struct exsi_place **ready_to; /* the end of that */
	struct exsi_list *looked;     /* in the window: the place that a waiting thread looked at last; or NULL */
	uint64_t number;	      /* of the next item */
	bool closed;		      /* no more will come than there are */
	bool cancelled;
	atomic_bool cut; /* cancelled, or an item has failed and ends it: what comes now is dropped */
	bool paused;
	atomic_bool interrupted; /* who waits for room is to give up */
	bool told;		 /* the end's error has been */
	bool pump_again;	 /* something has changed for it */
	bool pumping;		 /* a thread does */
	pthread_t pumper;	 /* which */
	atomic_uint
		asking; /* 1: it is about to ask the source, or does; begins under the lock; 2: who frees waits for the end of that */
	exs_error *error;    /* why it ends; NULL: not yet, or with its items */
	int failed;	     /* a code to be told once, it goes on */
	exs_future *gate;    /* done when there is something to read: for readers that wait; the token's reference */
	exs_future *room;    /* the same for producers */
	exs_promise *resume; /* to be completed when it is not paused any more; NULL: nothing waits for that */
	exs_future *resumed; /* of that */
	bool has_fd;
	bool sink_asked;  /* the stage above has found nothing */
	exs_stream *sink; /* the stage that reads this, or NULL */
	struct exsi_event event;
	/* time (tick.c) */
	struct exsi_timer timer;
	struct exsi_time time;
	bool has_time;	     /* time is there; it stays. Of who has set it ticking */
	atomic_bool stopped; /* it is not to be armed any more */
};

/* --- made, freed (stream.c) --- */

struct exsi_stream_plan {
	const char *who;
	const struct exsi_stream_kind *kind;
	exs_executor *ex; /* or NULL */
	exs_task_fn *fn;
	void *ctx; /* of the source */
	const exs_stream_options *options;
	size_t size, max_default;
	const char *wrong; /* an argument, or NULL */
};

/* Takes over the contexts in any case. Nothing is begun. NULL and exs_last_error on failure. */
exs_stream *exsi_stream_make(const struct exsi_stream_plan *plan);

static inline void exsi_stream_ref(exs_stream *s)
{
	atomic_fetch_add(&s->refs, 1);
}
void exsi_stream_unref(exs_stream *s);

/* s reads `in`, which it owns from now on. */
void exsi_stream_follow(exs_stream *s, exs_stream *in);

/* --- waiting (read.c) --- */

/* What to wait for until open(s), with a user reference: *at, s->gate or s->room, which is made if need be. NULL: no memory. */
exs_future *exsi_stream_gate(exs_stream *s, exs_future **at, bool (*open)(exs_stream *s));

/* --- pushed (produce.c) --- */

/* A place in the window, COMING, with a reference of who fills it. EXS_OK, EXS_EREJECTED (no room now, unless it may go beyond max), EXS_EALREADY
   (the end), EXS_ENOMEM; reserve waits for room: also EXS_ETIMEDOUT, EXS_EDEADLK, EXS_EFORK, EXS_ECANCELLED (interrupted). */
int exsi_stream_try_reserve(exs_stream *s, bool beyond, struct exsi_place **place);
int exsi_stream_reserve(exs_stream *s, uint64_t deadline, struct exsi_place **place);

/* Takes over a reference; NULL: there was no memory for it. */
void exsi_stream_fill(exs_stream *s, struct exsi_place *p, exs_future *f);

/* --- the pump (pump.c) --- */

/* With the lock, which it gives back: begins items while there is room for them. for_reader: only until there is something to read, if
   it is lazy, and they are done as soon as they are begun. Answers whether it has tried. */
bool exsi_stream_pump(exs_stream *s, bool for_reader);

/* A future of fn of the input, which it takes over; with `from`, one reference of it, the input is that one's. For p, which keeps what
   it needs to begin again. NULL: no memory. */
exs_future *exsi_item_begin(exs_stream *s, struct exsi_place *p, exs_result *input, exs_future *from);
exs_future *exsi_item_begin_again(exs_stream *s, struct exsi_place *p);

extern const struct exsi_stream_kind exsi_of_source __attribute__((visibility("hidden")));

/* The task of an item that has one: fn of the input, which is its argument. */
exs_result exsi_input_run(void *input, exs_context *ctx);

/* One is dropped; of struct exsi_input. NULL is allowed. */
void exsi_input_unref(void *input);

/* r, taken over, what an encode or decode has answered: an error says what can't be, with the item's number. */
exs_result exsi_item_coded(uint64_t number, const char *what, exs_result r);

/* --- stages (stream_map.c) --- */

/* Takes over `in`, also on failure; NULL in gives NULL out. Nothing is begun. */
exs_stream *exsi_stage(exs_stream *in, const struct exsi_stream_plan *plan);

/* For pull: there is no item; status and why as exsi_stream_take answers them. */
enum exsi_pulled exsi_stage_end(exs_stream *s, exs_set_status status, exs_error *why, exs_error **error);

/* For pull: no memory; the reader is told. */
enum exsi_pulled exsi_stage_no_memory(exs_stream *s);

/* --- time (tick.c, stall.c) --- */

/* Before anything else. */
void exsi_tick_init(exs_stream *s);

/* With the lock: the timer is off, and is to be set now, without the lock, by exsi_tick_at. */
static inline bool exsi_ticks_from_now(exs_stream *s)
{
	if (atomic_load(&s->ticking))
		return false;
	atomic_store(&s->ticking, true);
	exsi_stream_ref(s);
	return true;
}
void exsi_tick_at(exs_stream *s, uint64_t at);

/* With the lock, in a tick. */
static inline void exsi_tick_no_more(exs_stream *s)
{
	atomic_store(&s->ticking, false);
}

/* The timer goes off for ever, now or soon. */
void exsi_tick_end(exs_stream *s);

/* With the lock, for an item that is awaited: is the timer off that looks whether something is lost? */
static inline bool exsi_stall_is_due(const exs_stream *s)
{
	return s->timeout != EXSI_NEVER && !atomic_load(&s->ticking);
}

/* With the lock: an item is awaited from now on. Then, if it answers true, without the lock, exsi_stall_begin. */
static inline bool exsi_stall_begins(exs_stream *s)
{
	if (s->timeout == EXSI_NEVER || !exsi_ticks_from_now(s))
		return false;
	s->since = exsi_clock_ns(s->clock);
	s->moved = false;
	return true;
}
void exsi_stall_begin(exs_stream *s);

/* With the lock: something is begun, or has been answered, now at the latest. When that was the next tick is to tell; only with a clock that
   stands still it is told at once. */
static inline void exsi_stall_moves(exs_stream *s)
{
	if (!s->tells)
		s->moved = true;
	else if (atomic_load(&s->ticking))
		s->since = exsi_clock_ns(s->clock);
}

/* The tick. */
uint64_t exsi_stall_tick(exs_stream *s, uint64_t now);

#endif
