/* What the functional tests share: a task that does as it is told and counts what becomes of it, callbacks that count, a log
   that remembers. Public headers and the harness only, so that it also builds against an installed library. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include "harness.h"

#include <executors/executors.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

/* The simulation in which the test runs, or NULL: among threads. What waits here then turns it. */
extern exs_sim *support_sim;
void sim_begin(uint64_t seed, const exs_sim_options *options); /* not within another */
void sim_end(void);
void sim_trace(exs_sim *sim); /* prints its events, if EXS_SIM_TRACE is set */

/* Waits until condition(arg) holds, which the watchdog bounds. */
void wait_until(bool (*condition)(void *arg), void *arg);
void wait_count(atomic_uint *count, unsigned n); /* until *count is n */

void sem_take(sem_t *sem);
bool sem_taken(sem_t *sem); /* takes it if that does not block */

/* A thread that is to end. */
pthread_t thread_start(void *(*fn)(void *), void *arg);
void thread_join(pthread_t thread);

/* Does it sleep, the thread of that number (gettid)? Also if it has ended, or this can't be seen here. For wait_until before a
   check that must hold earlier as well, or does so only by chance. */
bool thread_sleeps(int tid);

/* Runs fn on a thread with a stack of 64 KiB, or what a sanitizer needs. */
void on_small_stack(void (*fn)(void));

/* For races: a moment of random length. */
void dawdle(uint64_t *random);

/* What goes on beside the caller: on such a thread, or as a task of the simulation. let_others_go_on: in a loop that waits. */
struct beside {
	void *(*fn)(void *);
	void *arg;
	pthread_t thread;
	exs_future *task; /* NULL: a thread */
};
void beside_start(struct beside *b, void *(*fn)(void *), void *arg);
void beside_end(struct beside *b);
void let_others_go_on(void);

/* Simulation: as far as they can, without time for timers. Any call that waits in a pool may be the next, not just the first. */
void let_all_go_on(void);

/* Until it is taken back the system makes no thread that has not a stack of a given size; no descriptor. */
void refuse_threads(bool refuse);
void refuse_descriptors(bool refuse);

/* The domain of the tests' own errors. */
extern const exs_domain test_domain;

/* --- a task --- */

enum { ALWAYS = 1 << 30 };

/* One call's argument, and by default its value as well. Orders first, zero is: answer the value. */
struct job {
	bool gated;	   /* each start posts entered, and takes open */
	bool polite;	   /* a stop request opens the gate, and the answer to it is "cancelled" */
	unsigned failures; /* so many starts fail with error; ALWAYS: all */
	exs_error *error;  /* borrowed */
	bool cancels;	   /* then answers "cancelled" */
	unsigned missed;   /* attempts that end before they start it */
	bool unsteady;	   /* so may any */
	atomic_bool held;  /* the poll function leaves it in the set */
	bool refuses;	   /* the cancel function says no */
	void (*inside)(struct job *job, exs_context *ctx); /* in each start, behind the gate */
	void (*when_told)(struct job *job);		   /* in the cancel function */
	void *more;					   /* for these two */

	atomic_uint starts, ends;
	atomic_uint stops; /* ends that saw a stop request */
	atomic_uint cause; /* of the last of them */
	atomic_uint freed; /* times the argument was freed */
	atomic_uint made;  /* values it answered, or a poll function resolved it with */
	atomic_int values; /* of these, not yet destroyed */
	atomic_uint told;  /* times the cancel function was asked */
	atomic_uint polls;
	pthread_t thread; /* of the last start */
	sem_t entered, open, in_set;
};

void job_init(struct job *job);
struct job *job_new(void);
exs_result job_run(void *job, exs_context *ctx);
void job_free_arg(void *job);				   /* arg_free */
exs_result job_value(struct job *);			   /* one more value */
exs_future *job_submit(exs_executor *ex, struct job *job); /* never NULL */

/* Wait until every value that was made is destroyed and the argument freed; each more than once fails at once. */
void job_fini(struct job *job);
void job_delete(struct job *job);

/* For poll layers whose values are jobs: resolves with the job itself all that are not held, and posts in_set of the others. */
exs_error *job_poll(void *ctx, exs_descriptor **d, size_t n, double *delay);
bool job_cancel(void *ctx, void *value, exs_error **error);

/* --- thread pools --- */

exs_executor *pool_made(exs_thread_pool_options options); /* not NULL */
exs_thread_pool_stats pool_stats(exs_executor *ex);
bool pool_is_idle(void *ex); /* for wait_until: its workers sleep */

/* n gated jobs, submitted, of which the first `running` have begun; and their ends. */
void pool_occupy(exs_executor *ex, struct job *jobs, exs_future **f, unsigned n, unsigned running);
void pool_let_go(struct job *jobs, exs_future **f, unsigned n);

/* --- futures --- */

void wait_done(exs_future *f);
/* Waits, checks how it ended, and drops the reference. */
void expect_value(exs_future *f, const void *value);
void expect_error(exs_future *f, const exs_error *error); /* this very one */
void expect_code(exs_future *f, const exs_domain *domain, int code);
void expect_cancelled(exs_future *f, exs_cause cause);

exs_promise *promise_made(exs_future **f);
void promise_done(exs_promise *p, exs_result r); /* completes and frees it */

void promise_end(exs_promise *p, exs_result r); /* the same, or it is too late */

/* Values that are numbers, counted while they live. */
extern atomic_int numbers;
void number_free(void *value);
exs_result number(long n);
exs_future *number_returned(long n); /* done */
long number_of(exs_future *f);	     /* waits for it */

/* A task: of a number, twice that. */
exs_result twice_number(void *arg, exs_context *ctx);

/* A stream's source of numbers from 0. */
struct number_source {
	atomic_long n; /* the next */
	long end;      /* LONG_MAX: without end */
	long fails;    /* instead of this one, with code 7; 0: none does */
	atomic_long asked;
	atomic_int freed;
};
bool number_next(void *source, exs_result *input);
void number_source_free(void *source);

/* Callbacks and frees that count. */
struct seen {
	atomic_uint calls, frees;
	exs_future *_Atomic last;
	_Atomic pthread_t thread; /* of the last call */
	sem_t called;
};
void seen_init(struct seen *seen);
void seen_call(exs_future *f, void *seen); /* exs_done_fn */
void seen_free(void *seen);		   /* exs_free_fn */

/* --- clock, log --- */

void advance(exs_clock *clock, double seconds);
void wait_next(exs_clock *clock, double seconds); /* until a timer is due within so many */

/* Remembers the lines of the log until log_end; a failure until then prints them. */
void log_begin(exs_log_level level);
unsigned log_lines(const char *part); /* lines that contain part */
void log_end(void);

#endif
