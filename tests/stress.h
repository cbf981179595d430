/* The stress test's tokens: one per submit, with all that has happened to it, checked against a table of what may. */
#ifndef STRESS_H
#define STRESS_H

#include "harness.h"

#include <executors/executors.h>
#include <pthread.h>
#include <stdatomic.h>

/* What a chain has. */
enum feature {
	HAS_POLL = 1,
	HAS_TIMEOUT = 2,
	HAS_ABANDON = 4,
	HAS_RETRY = 8,
	HAS_BOUND = 16, /* a queue that can be full */
	REJECTS = 32,	/* and then rejects, whoever submits */
	DROPS = 8192,	/* or drops what waits in it */
	HAS_INLINE = 64,
	HAS_LIMIT = 256, /* a task must not wait for another call of its chain */
	HAS_LOOP = 512,
	HAS_ELSEWHERE = 1024, /* a call may wait for another executor */
	HAS_FAULTS = 2048,    /* a simulation that injects errors of its own */
	HAS_NO_MEMORY = 4096, /* allocations fail */
	HAS_QUEUE = 16384,
	ENDS_NEVERS = 128 /* a descriptor that the poll function never resolves ends by a timeout */
};

/* What has happened to a token. Those that allow an outcome are noted before it can come of them, the others afterwards. */
enum event {
	RAN_VALUE = 1, /* a run of the task answered that */
	RAN_ERROR = 2,
	RAN_CANCELLED = 4,
	YIELDED_VALUE = 8, /* a poll function */
	YIELDED_ERROR = 16,
	BATCH_FAILED = 32,     /* a poll function that had it in its list answered an error */
	CANCEL_CALLED = 64,    /* by the user */
	CANCEL_AGREED = 128,   /* the cancel function said yes to the user */
	SHUT = 256,	       /* shutdown or free of the chain, or of the pool below it, has begun */
	TRIED = 512,	       /* submitted by exs_try_submit, or to a chain that rejects */
	SAID_CANCELLED = 1024, /* answers of cancel */
	SAID_REQUESTED = 2048,
	SAID_TOO_LATE = 4096
};

enum outcome {
	NOT_DONE,
	TASK_VALUE,
	TASK_ERROR,
	YIELD_VALUE,
	YIELD_ERROR,
	BATCH_ERROR,
	CANCELLED,
	TIMED_OUT,
	SHUT_DOWN,
	REJECTED,
	INJECTED,
	NO_MEMORY,
	DROPPED,
	N_OUTCOMES
};

/* What a chain's tokens need to know of it. */
struct chain {
	exs_executor *ex;
	unsigned features;   /* of enum feature */
	unsigned inner_runs; /* of the task of one call, without the outermost retry layer, and with it; */
	unsigned max_runs;
	unsigned inner_shown; /* and the same as exs_context_max_attempts answers it */
	unsigned max_shown;
	unsigned polls;		     /* poll layers, numbered from 1, the outermost the highest */
	atomic_bool shut, *below;    /* shutdown has begun here, in the pool below */
	atomic_bool closed;	     /* nobody may enter any more */
	atomic_bool refuses;	     /* a shutdown has returned */
	atomic_bool freed, released; /* before exs_executor_free, and after */
	char text[160];		     /* exs_describe */
	atomic_int users;	     /* threads that have entered */
};

/* A value that a token's task or poll function made. */
struct value {
	struct token *token;
	unsigned level; /* 0: the task; otherwise the number of the poll layer */
	bool stopped;	/* its run ended after a stop request: it must not become pending */
	atomic_int state;
};
enum { FRESH, LIVE, DESTROYED };

/* A done callback that the submitter registered. */
struct note {
	struct token *token;
	void (*inside)(struct token *); /* what else to do in it, or NULL */
	atomic_uint called, freed;
	pthread_t thread; /* that called it */
	unsigned order;	  /* among the token's callbacks; from 0 */
};

enum { MAX_VALUES = 64, MAX_ERRORS = 64, MAX_NOTES = 3 };

/* What a task gets. */
struct arg {
	struct token *token;
};

struct token {
	struct chain *chain;
	struct arg own_arg; /* without arg_free */
	unsigned id;
	uint64_t seed;		      /* of what the task does */
	unsigned max_runs, max_shown; /* of this call */
	unsigned depth;		      /* 0: an actor's; otherwise submitted by a task of depth - 1 */
	bool never;		      /* no poll function is to resolve it */
	bool has_arg_free;
	char name[24]; /* or "" */

	/* lock guards future, the table's reference (NULL: not there yet, or dropped). */
	pthread_mutex_t lock;
	exs_future *future;
	_Atomic(exs_future *) address; /* for comparison */
	atomic_int in_set;	       /* the shared set: 0 never, 1 in it, 2 read from it */
	atomic_bool submitted;

	atomic_uint events;
	atomic_int outcome;	  /* the first one that was seen; 0: none yet */
	atomic_uint begun, ended; /* runs */
	atomic_uint last_attempt, after_request;
	atomic_uint arg_freed, handlers, handlers_called, handlers_set;
	atomic_uint n_values, n_errors, called;
	struct value values[MAX_VALUES];
	_Atomic(exs_error *) errors[MAX_ERRORS]; /* addresses only */
	struct note notes[MAX_NOTES];
	unsigned n_notes;
	pthread_t submitter;
};

/* How often each happened, over all rounds. */
struct totals {
	atomic_ulong outcomes[N_OUTCOMES], answers[3], tokens, runs, callbacks, values, polls, rounds;
};
extern struct totals totals;
extern const exs_domain stress_domain;
extern const char *const outcome_names[N_OUTCOMES];

/* A fresh token on a chain. */
void token_init(struct token *t, struct chain *chain, unsigned id, uint64_t seed);

void token_note(struct token *t, unsigned events);

/* Fails, with the token's story, unless good. */
void token_must(bool good, struct token *t, const char *what);

/* A value, an error of the token. value: its destructor is value_destroy; NULL when it has made too many. */
struct value *token_value(struct token *t, unsigned level);
exs_error *token_error(struct token *t, unsigned level);
exs_error *token_error_after(struct token *t, unsigned level, double retry_after);
void value_destroy(void *value);

/* The argument of its task, and what frees it. Of a token without arg_free the argument is the token's own. */
struct arg *token_arg(struct token *t);
void arg_free(void *arg);

/* At the beginning and at the end of a run of its task, with what the run answers. */
void token_begin(struct token *t, exs_context *ctx);
exs_result token_end(struct token *t, exs_result result);

/* Looks at a future of the token: if it is done, the outcome must be one that the table allows, and the same as ever. */
enum outcome token_look(struct token *t, exs_future *f);

/* More than 0 while this thread is in a user's cancel. */
extern _Thread_local unsigned cancelling;

/* Cancels, and checks the answer. */
exs_answer token_cancel(struct token *t, exs_future *f);
void token_answered(struct token *t, exs_future *f, exs_answer answer);

/* Registers the next of the submitter's callbacks; then runs inside(t) in it, if not NULL. */
void token_on_done(struct token *t, exs_future *f, void (*inside)(struct token *));

/* After the chains have been freed: all that can only be said at the end. f: a reference, or NULL. */
void token_finish(struct token *t, exs_future *f);

/* Where it stands, to standard error. */
void token_print(struct token *t);

#endif
