/* The thread pool's workers: retirement, setup and teardown, their state, affinity. */
#define _GNU_SOURCE
#include "base/cores.h"
#include "pools/thread_pool.h"
#include "support.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What setup and teardown see; given to a pool as ctx. */
struct crew {
	sem_t begun, ended; /* a post for each */
	atomic_uint setups, teardowns, freed, tasks, last_number;
	unsigned fails_from; /* setups from this number on fail with error; 0: none */
	exs_error *error;
	bool gated; /* setup takes open */
	sem_t open;
	exs_executor *ex;
	void (*at_end)(struct crew *crew);
};

struct local {
	struct crew *crew;
	unsigned number;
	pthread_t thread;
};

static exs_error *crew_setup(void *ctx, unsigned number, void **state)
{
	struct crew *crew = ctx;

	CHECK(!*state);
	atomic_fetch_add(&crew->setups, 1);
	sem_post(&crew->begun);
	if (crew->gated)
		sem_take(&crew->open);
	if (crew->fails_from && number >= crew->fails_from)
		return exs_error_ref(crew->error);
	struct local *local = malloc(sizeof(*local));
	CHECK(local);
	*local = (struct local){crew, number, pthread_self()};
	*state = local;
	return NULL;
}

static void crew_teardown(void *ctx, unsigned number, void *state)
{
	struct crew *crew = ctx;
	struct local *local = state;

	CHECK(local->crew == crew);
	CHECK_INT(local->number, number);
	CHECK(pthread_equal(local->thread, pthread_self()));
	free(local);
	if (crew->at_end)
		crew->at_end(crew);
	atomic_store(&crew->last_number, number);
	atomic_fetch_add(&crew->teardowns, 1);
	sem_post(&crew->ended);
}

static void crew_free(void *ctx)
{
	struct crew *crew = ctx;

	CHECK_INT(atomic_fetch_add(&crew->freed, 1), 0);
}

static void crew_init(struct crew *crew)
{
	*crew = (struct crew){.fails_from = 0};
	CHECK(!sem_init(&crew->begun, 0, 0));
	CHECK(!sem_init(&crew->ended, 0, 0));
	CHECK(!sem_init(&crew->open, 0, 0));
}

/* Setup and teardown came in pairs, and ctx was freed after the last. */
static void crew_fini(struct crew *crew, unsigned failed)
{
	CHECK_INT(crew->freed, 1);
	CHECK_INT(crew->teardowns + failed, crew->setups);
	exs_error_unref(crew->error);
	sem_destroy(&crew->begun);
	sem_destroy(&crew->ended);
	sem_destroy(&crew->open);
}

static exs_executor *crewed(struct crew *crew, exs_thread_pool_options o)
{
	o.setup = crew_setup;
	o.teardown = crew_teardown;
	o.ctx = crew;
	o.ctx_free = crew_free;
	crew->ex = pool_made(o);
	return crew->ex;
}

/* The task's own worker's state, whatever is around it. */
static void has_state(struct job *job, exs_context *ctx)
{
	struct local *local = exs_context_worker_state(ctx);

	(void)job;
	CHECK(local);
	CHECK(pthread_equal(local->thread, pthread_self()));
	atomic_fetch_add(&local->crew->tasks, 1);
}

static void has_none(struct job *job, exs_context *ctx)
{
	(void)job;
	CHECK(!exs_context_worker_state(ctx));
}

/* --- retirement --- */

TEST(thread_pool_workers, idle_ones_retire_down_to_the_minimum)
{
	const double seconds[] = {EXS_NONE, 0.01};

	for (int i = 0; i < 2; i++) {
		struct crew crew;
		struct job jobs[4];
		exs_future *f[4];
		crew_init(&crew);
		exs_executor *ex = crewed(
			&crew, (exs_thread_pool_options){.workers = 4, .min_workers = 1, .idle_seconds = seconds[i]});
		for (int round = 1; round < 3; round++) {
			pool_occupy(ex, jobs, f, 4, 4);
			CHECK_INT(pool_stats(ex).workers, 4);
			pool_let_go(jobs, f, 4);
			for (int k = 0; k < 3; k++)
				sem_take(&crew.ended);
			CHECK_INT(pool_stats(ex).workers, 1);
			CHECK_INT(pool_stats(ex).retired, 3 * round);
		}
		CHECK_INT(crew.setups, 7);
		exs_executor_free(ex);
		crew_fini(&crew, 0);
	}
}

TEST(thread_pool_workers, all_retire_where_none_is_to_stay)
{
	int before = harness_threads();
	exs_executor *ex =
		pool_made((exs_thread_pool_options){.workers = 2, .min_workers = EXS_NONE, .idle_seconds = EXS_NONE});
	struct job job;

	for (int i = 0; i < 20; i++) {
		job_init(&job);
		expect_value(job_submit(ex, &job), &job);
		job_fini(&job);
	}
	harness_wait_threads(before);
	CHECK_INT(pool_stats(ex).workers, 0);
	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	job_fini(&job);
	exs_executor_free(ex);
}

static unsigned count_asleep(struct exsi_pool *p)
{
	unsigned n = 0;

	pthread_mutex_lock(&p->lock);
	for (struct exsi_pool_worker *w = p->newest; w; w = w->next)
		n++;
	pthread_mutex_unlock(&p->lock);
	return n;
}

/* Does the longest idle worker sleep with a deadline, and nobody else? */
static bool timed(exs_executor *ex, unsigned asleep)
{
	struct exsi_pool *p = exsi_state(ex->leaf);

	while (count_asleep(p) != asleep)
		sched_yield(); /* one may be spinning */
	pthread_mutex_lock(&p->lock);
	bool answer = p->oldest->timed;
	for (struct exsi_pool_worker *w = p->newest; w; w = w->next)
		CHECK(!w->timed || w == p->oldest);
	pthread_mutex_unlock(&p->lock);
	return answer;
}

/* Idle means idle: those that are to stay have nothing to wake up for. */
TEST(thread_pool_workers, who_stays_sleeps_without_end)
{
	const unsigned least[] = {0, 3, 2, EXS_NONE};

	for (int i = 0; i < 4; i++) {
		exs_executor *ex = pool_made(
			(exs_thread_pool_options){.workers = 3, .min_workers = least[i], .idle_seconds = 100000});
		struct job jobs[3];
		exs_future *f[3];
		pool_occupy(ex, jobs, f, 2, 2);
		pool_let_go(jobs, f, 2);
		CHECK_INT(timed(ex, 2), least[i] == EXS_NONE); /* two: as many as stay, or fewer */
		pool_occupy(ex, jobs, f, 3, 3);
		pool_let_go(jobs, f, 3);
		CHECK_INT(timed(ex, 3), i > 1);
		exs_executor_free(ex);
	}
}

/* The one that slept last is woken first, so that the others can grow old; the oldest goes. */
TEST(thread_pool_workers, longest_idle_one_retires)
{
	struct crew crew;
	struct job jobs[2], job;
	exs_future *f[2];

	crew_init(&crew);
	exs_executor *ex =
		crewed(&crew, (exs_thread_pool_options){.workers = 2, .min_workers = 1, .idle_seconds = 0.05});
	pool_occupy(ex, jobs, f, 2, 2);
	pool_let_go(jobs + 1, f + 1, 1);
	while (!count_asleep(exsi_state(ex->leaf)) && pool_stats(ex).retired != 1) /* it may spin first */
		sched_yield();
	pool_let_go(jobs, f, 1);
	sem_take(&crew.ended);
	CHECK_INT(crew.last_number, 2);
	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	exs_executor_free(ex);
	CHECK_INT(crew.setups, 2);
	job_fini(&job);
	crew_fini(&crew, 0);
}

TEST(thread_pool_workers, newest_idle_one_is_woken)
{
	exs_executor *ex = exs_thread_pool(2);
	struct job jobs[2], job;
	exs_future *f[2];

	pool_occupy(ex, jobs, f, 2, 2);
	for (int last = 0; last < 2; last++) {
		pthread_t thread = jobs[last].thread;
		pool_let_go(jobs + !last, f + !last, 1);
		while (count_asleep(exsi_state(ex->leaf)) != 1)
			sched_yield();
		pool_let_go(jobs + last, f + last, 1);
		wait_until(pool_is_idle, ex);
		for (int i = 0; i < 5; i++) {
			job_init(&job);
			expect_value(job_submit(ex, &job), &job);
			CHECK(pthread_equal(job.thread, thread));
			job_fini(&job);
			wait_until(pool_is_idle, ex);
		}
		pool_occupy(ex, jobs, f, 2, 2);
	}
	pool_let_go(jobs, f, 2);
	exs_executor_free(ex);
}

struct nest {
	exs_executor *ex;
	struct job job; /* is waited for; */
	exs_future *f;	/* its future, or a promise's */
	exs_promise *promise;
};

static void wait_inside(struct job *job, exs_context *ctx)
{
	struct nest *nest = job->more;

	(void)ctx;
	CHECK_INT(exs_future_wait(nest->f, EXS_FOREVER), EXS_OK);
}

/* Workers that wait do not count as those that stay: one for work is left, and a spare ends when they come back. */
TEST(thread_pool_workers, waiting_ones_and_the_minimum)
{
	struct crew crew;
	struct nest nest;
	struct job waiter, jobs[2];
	exs_future *f[2];

	crew_init(&crew);
	exs_executor *ex =
		crewed(&crew, (exs_thread_pool_options){.workers = 2, .min_workers = 1, .idle_seconds = EXS_NONE});
	nest.promise = exs_promise_new(&nest.f);
	job_init(&waiter);
	waiter.inside = wait_inside;
	waiter.more = &nest;
	exs_future *waiting = job_submit(ex, &waiter);
	while (pool_stats(ex).waiting != 1)
		sched_yield();
	pool_occupy(ex, jobs, f, 2, 2); /* a worker and a spare */
	CHECK_INT(pool_stats(ex).workers, 3);
	pool_let_go(jobs, f, 2);
	sem_take(&crew.ended);
	CHECK(!timed(ex, 1));
	CHECK_INT(pool_stats(ex).workers, 2);
	CHECK_INT(exs_promise_complete(nest.promise, exs_ok(NULL, NULL)), EXS_OK);
	exs_promise_free(nest.promise);
	expect_value(waiting, &waiter);
	sem_take(&crew.ended);
	CHECK_INT(pool_stats(ex).workers, 1);
	expect_value(nest.f, NULL);
	exs_executor_free(ex);
	job_fini(&waiter);
	crew_fini(&crew, 0);
}

/* --- setup and teardown --- */

TEST(thread_pool_workers, tasks_see_their_workers_state)
{
	struct crew crew;
	struct job jobs[50];
	exs_future *f[50];

	crew_init(&crew);
	exs_executor *ex = crewed(&crew, (exs_thread_pool_options){.workers = 3});
	for (int i = 0; i < 50; i++) {
		job_init(&jobs[i]);
		jobs[i].inside = has_state;
		f[i] = job_submit(ex, &jobs[i]);
	}
	for (int i = 0; i < 50; i++) {
		expect_value(f[i], &jobs[i]);
		job_fini(&jobs[i]);
	}
	CHECK_INT(crew.tasks, 50);
	CHECK_INT(crew.freed, 0);
	exs_executor_free(ex);
	CHECK(crew.setups >= 1 && crew.setups <= 3);
	crew_fini(&crew, 0);
}

static void in_a_nested_wait(struct job *job, exs_context *ctx)
{
	struct nest *nest = job->more;

	has_state(job, ctx);
	nest->f = job_submit(nest->ex, &nest->job);
	wait_inside(job, ctx);
	has_state(job, ctx);
}

/* Either may be absent, and a state is not needed: they are start and stop hooks of each thread, first and last on it. */
struct hooks {
	atomic_uint starts, stops;
	unsigned numbers; /* a bit each */
	atomic_bool running;
	sem_t stopped;
};

static exs_error *hook_start(void *ctx, unsigned number, void **state)
{
	struct hooks *h = ctx;

	CHECK(!*state);
	CHECK_INT(atomic_fetch_add(&h->starts, 1) + 1, number);
	CHECK(!atomic_exchange(&h->running, true));
	return NULL;
}

static void hook_stop(void *ctx, unsigned number, void *state)
{
	struct hooks *h = ctx;

	CHECK(!state);
	CHECK_INT(atomic_fetch_add(&h->stops, 1) + 1, number);
	atomic_store(&h->running, false);
	sem_post(&h->stopped);
}

static void within_hooks(struct job *job, exs_context *ctx)
{
	struct hooks *h = job->more;

	CHECK(!exs_context_worker_state(ctx));
	CHECK(atomic_load(&h->running));
}

TEST(thread_pool_workers, start_and_stop_hooks)
{
	for (int which = 1; which < 4; which++) { /* start, stop, both */
		struct hooks h = {.running = which == 2};
		struct job job;
		CHECK(!sem_init(&h.stopped, 0, 0));
		exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1,
								       .min_workers = EXS_NONE,
								       .idle_seconds = EXS_NONE,
								       .setup = which & 1 ? hook_start : NULL,
								       .teardown = which & 2 ? hook_stop : NULL,
								       .ctx = &h});
		for (unsigned i = 1; i < 4; i++) { /* a thread each */
			job_init(&job);
			job.inside = within_hooks;
			job.more = &h;
			expect_value(job_submit(ex, &job), &job);
			while (pool_stats(ex).workers)
				sched_yield();
			if (which & 2)
				sem_take(&h.stopped);
			CHECK_INT(h.starts, which & 1 ? i : 0);
			CHECK_INT(h.stops, which & 2 ? i : 0);
			atomic_store(&h.running, which == 2);
			job_fini(&job);
		}
		exs_executor_free(ex);
		sem_destroy(&h.stopped);
	}
}

/* Retried, timed, left behind, in the wait of another: it is the running worker's own. */
TEST(thread_pool_workers, state_in_any_chain)
{
	for (int i = 0; i < 4; i++) {
		struct crew crew;
		struct nest nest;
		struct job job;
		crew_init(&crew);
		exs_executor *pool = crewed(&crew, (exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
		exs_executor *ex = i == 3 ? exs_borrow(pool) : pool;
		if (i >= 1)
			ex = exs_with_timeout_mode(exs_with_retry(ex, NULL), 1000, EXS_ABANDON);
		if (i >= 2)
			ex = exs_with_timeout_mode(exs_with_retry(ex, NULL), 1000, EXS_ABANDON);
		nest.ex = ex;
		job_init(&nest.job);
		nest.job.inside = has_state;
		job_init(&job);
		job.inside = in_a_nested_wait;
		job.more = &nest;
		expect_value(job_submit(ex, &job), &job);
		expect_value(nest.f, &nest.job);
		CHECK_INT(crew.tasks, 3);
		CHECK_INT(crew.setups, 1);
		exs_executor_free(ex);
		if (i == 3)
			exs_executor_free(pool);
		job_fini(&job);
		job_fini(&nest.job);
		crew_fini(&crew, 0);
	}
}

static void submit_elsewhere(struct job *job, exs_context *ctx)
{
	struct nest *nest = job->more;

	has_state(job, ctx);
	expect_value(job_submit(nest->ex, &nest->job), &nest->job);
}

/* A worker's state is for the tasks of its pool: not for those of an inline executor, of another pool, or of one whose queue is
   full. */
TEST(thread_pool_workers, no_state_elsewhere)
{
	for (int i = 0; i < 3; i++) {
		struct crew crew;
		struct nest nest;
		struct job job, jobs[2];
		exs_future *f[2];
		crew_init(&crew);
		exs_executor *ex = crewed(&crew, (exs_thread_pool_options){.workers = 1});
		nest.ex = i == 0 ? exs_inline()
				 : pool_made((exs_thread_pool_options){
					   .workers = 1, .queue_limit = 1, .when_full = EXS_FULL_CALLER_RUNS});
		if (i == 2)
			pool_occupy(nest.ex, jobs, f, 2, 1);
		job_init(&nest.job);
		nest.job.inside = has_none;
		job_init(&job);
		job.inside = submit_elsewhere;
		job.more = &nest;
		expect_value(job_submit(ex, &job), &job);
		CHECK_INT(pthread_equal(job.thread, nest.job.thread), i != 1);
		if (i == 2)
			pool_let_go(jobs, f, 2);
		exs_executor_free(nest.ex);
		exs_executor_free(ex);
		job_fini(&job);
		job_fini(&nest.job);
		crew_fini(&crew, 0);
	}
}

static exs_error *no_setup(void)
{
	return exs_error_new(&test_domain, 7, "no connection");
}

/* Where it is the only one, what waits for it fails with its error; the next call tries again. */
TEST(thread_pool_workers, setup_of_the_only_one_fails)
{
	struct crew crew;
	struct job jobs[4];
	exs_future *f[4];

	log_begin(EXS_LOG_WARNING);
	crew_init(&crew);
	crew.fails_from = 1;
	crew.error = no_setup();
	crew.gated = true;
	exs_executor *ex = crewed(&crew, (exs_thread_pool_options){.workers = 1, .name = "db"});
	for (int i = 0; i < 4; i++) {
		job_init(&jobs[i]);
		f[i] = job_submit(ex, &jobs[i]);
	}
	CHECK_INT(pool_stats(ex).queued, 4);
	CHECK_INT(exs_future_cancel(f[2]), EXS_CANCELLED);
	expect_cancelled(f[2], EXS_CAUSE_USER);
	sem_post(&crew.open);
	for (int i = 0; i < 4; i++)
		if (i != 2)
			expect_error(f[i], crew.error);
	CHECK_INT(crew.setups, 1);
	CHECK_INT(log_lines("db: thread pool: no further thread (setup of worker 1: no connection)"), 1);
	for (int i = 0; i < 4; i++) {
		CHECK_INT(jobs[i].starts, 0);
		job_fini(&jobs[i]);
	}
	CHECK_INT(pool_stats(ex).workers, 0);
	crew.gated = false;
	job_init(&jobs[0]);
	expect_error(job_submit(ex, &jobs[0]), crew.error);
	job_fini(&jobs[0]);
	crew.fails_from = 0;
	job_init(&jobs[0]);
	jobs[0].inside = has_state;
	expect_value(job_submit(ex, &jobs[0]), &jobs[0]);
	job_fini(&jobs[0]);
	unsigned setups = crew.setups;
	CHECK(setups >= 3);
	exs_executor_free(ex);
	crew_fini(&crew, setups - 1);
	log_end();
}

/* Where there is another, it does the work. */
TEST(thread_pool_workers, setup_of_a_further_one_fails)
{
	struct crew crew;
	struct job jobs[3];
	exs_future *f[3];

	crew_init(&crew);
	crew.fails_from = 2;
	crew.error = no_setup();
	exs_executor *ex = crewed(&crew, (exs_thread_pool_options){.workers = 2});
	pool_occupy(ex, jobs, f, 3, 1);
	sem_take(&crew.begun);
	sem_take(&crew.begun);
	while (pool_stats(ex).workers != 1)
		sched_yield();
	CHECK_INT(pool_stats(ex).queued, 2);
	pool_let_go(jobs, f, 3);
	unsigned setups = crew.setups;
	exs_executor_free(ex);
	crew_fini(&crew, setups - 1);
}

/* A waiting worker does not wait for ever for what a spare was to do. */
TEST(thread_pool_workers, setup_of_a_spare_fails)
{
	struct crew crew;
	struct nest nest;
	struct job waiter, later;
	exs_clock *clock = exs_clock_manual_new();

	crew_init(&crew);
	crew.fails_from = 2;
	crew.error = no_setup();
	exs_executor *pool = crewed(&crew, (exs_thread_pool_options){.workers = 1});
	exs_retry_options once = {.max_attempts = 2};
	exs_executor *ex = exs_with_retry(exs_with_clock(pool, clock), &once);
	job_init(&later);
	later.failures = 1;
	later.error = crew.error;
	nest.f = job_submit(ex, &later); /* in its backoff, */
	CHECK_INT(exs_clock_wait_armed(clock, 1, EXS_FOREVER), EXS_OK);
	job_init(&waiter);
	waiter.inside = wait_inside;
	waiter.more = &nest;
	exs_future *waiting = job_submit(ex, &waiter);
	while (pool_stats(ex).waiting != 1)
		sched_yield();
	advance(clock, 1); /* after which nobody is there to run it */
	expect_value(waiting, &waiter);
	expect_error(nest.f, crew.error);
	unsigned setups = crew.setups;
	exs_executor_free(ex);
	exs_clock_unref(clock);
	job_fini(&waiter);
	job_fini(&later);
	crew_fini(&crew, setups - 1);
}

static void free_pool(struct crew *crew)
{
	exs_executor *ex = crew->ex;

	crew->ex = NULL;
	exs_executor_free(ex);
}

static exs_error *setup_that_frees(void *ctx, unsigned number, void **state)
{
	struct crew *crew = ctx;

	(void)number, (void)state;
	free_pool(crew);
	sem_post(&crew->begun);
	return NULL;
}

/* They run within the chain: freeing it does not wait for them. */
TEST(thread_pool_workers, pool_freed_in_teardown_and_in_setup)
{
	struct crew crew;
	struct job job;

	crew_init(&crew);
	crew.at_end = free_pool;
	exs_executor *ex = crewed(
		&crew, (exs_thread_pool_options){.workers = 1, .min_workers = EXS_NONE, .idle_seconds = EXS_NONE});
	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	sem_take(&crew.ended);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	job_fini(&job);
	crew_fini(&crew, 0);
	crew_init(&crew);
	crew.ex = pool_made((exs_thread_pool_options){
		.workers = 1, .setup = setup_that_frees, .ctx = &crew, .ctx_free = crew_free});
	job_init(&job);
	exs_future *f = job_submit(crew.ex, &job);
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	exs_future_unref(f);
	sem_take(&crew.begun);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	job_fini(&job);
	crew_fini(&crew, 0);
}

/* --- affinity, options --- */

static void is_bound(struct job *job, exs_context *ctx)
{
	cpu_set_t set;
	unsigned *cpu = job->more;

	(void)ctx;
	CHECK(!sched_getaffinity(0, sizeof(set), &set));
	CHECK_INT(CPU_COUNT(&set), 1);
	CHECK(CPU_ISSET(*cpu, &set));
}

TEST(thread_pool_workers, bound_to_processors)
{
	cpu_set_t set;
	unsigned cpus[CPU_SETSIZE], given, n = 0;
	char text[64];

	CHECK(!sched_getaffinity(0, sizeof(set), &set));
	for (unsigned i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			cpus[n++] = i;
	for (unsigned i = 0; i < n && i < 4; i++) {
		struct job job;
		given = cpus[i];
		exs_executor *ex = pool_made((exs_thread_pool_options){.cpus = &given, .n_cpus = 1});
		given = ~0u; /* it was copied */
		exs_describe(ex, text, sizeof(text));
		CHECK_STR(text, "thread_pool(1)");
		job_init(&job);
		job.inside = is_bound;
		job.more = &cpus[i];
		expect_value(job_submit(ex, &job), &job);
		exs_executor_free(ex);
		job_fini(&job);
	}
	exs_executor *ex = pool_made((exs_thread_pool_options){.cpus = cpus, .n_cpus = n});
	exs_describe(ex, text, sizeof(text));
	exs_executor_free(ex);
	char expected[64];
	snprintf(expected, sizeof(expected), "thread_pool(%u)", exsi_cores());
	CHECK_STR(text, expected);
}

/* Says what is wrong and what would be right; and frees ctx. */
TEST(thread_pool_workers, options_with_nonsense)
{
	const unsigned twice[] = {0, 0}, none[] = {1000000};
	const struct {
		exs_thread_pool_options options;
		const char *says;
	} wrong[] = {
		{{.workers = 65537}, "workers is 65537: at most 65536"},
		{{.workers = 2, .min_workers = 3}, "min_workers is 3: at most workers, which is 2"},
		{{.workers = 2, .min_workers = EXS_UNLIMITED}, "at most workers, which is 2"},
		{{.idle_seconds = -1}, "idle_seconds is -1: 0 (60 s), EXS_NONE or more"},
		{{.idle_seconds = NAN}, "idle_seconds is"},
		{{.queue_limit = EXS_NONE}, "0 is no limit"},
		{{.when_full = (exs_full)4}, "when_full is 4"},
		{{.when_full = (exs_full)-1}, "when_full is -1"},
		{{.when_full = EXS_FULL_REJECT, .block_seconds = 1}, "block_seconds is for EXS_FULL_BLOCK alone"},
		{{.block_seconds = -2}, "block_seconds is -2"},
		{{.block_seconds = NAN}, "block_seconds is"},
		{{.stack_size = 1}, "stack_size is 1 bytes: at least "},
		{{.stack_size = 1000}, "stack_size is 1000 bytes: at least "},
		{{.n_cpus = 2}, "cpus is NULL, but n_cpus is 2"},
		{{.cpus = twice}, "cpus is given, but n_cpus is 0"},
		{{.cpus = twice, .n_cpus = 2}, "cpus: 0 is there twice"},
		{{.cpus = none, .n_cpus = 1}, "cpus[0] is 1000000: this machine has 0 to "},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		exs_thread_pool_options o = wrong[i].options;
		struct seen seen;
		seen_init(&seen);
		o.ctx = &seen;
		o.ctx_free = seen_free;
		CHECK(!exs_thread_pool_with(&o));
		CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
		CHECK(strstr(exs_error_message(exs_last_error()), wrong[i].says));
		CHECK_INT(seen.frees, 1);
	}
}

/* --- stacks --- */

enum { SMALL_STACK = 512 * 1024, LEVELS = 40 };

struct levels {
	exs_executor *ex;
	int left;
};

/* Needs some of its stack, and the next level: together they need more than there is. */
static exs_result nest_run(void *arg, exs_context *ctx)
{
	struct levels *nest = arg;
	volatile char needed[SMALL_STACK / 16];

	(void)ctx;
	for (size_t i = 0; i < sizeof(needed); i += 1024)
		needed[i] = 1;
	if (!nest->left--)
		return exs_ok(nest, NULL);
	exs_future *next = exs_submit(nest->ex, nest_run, nest);
	CHECK_INT(exs_future_wait(next, EXS_FOREVER), EXS_OK);
	void *value = exs_future_value(next);
	exs_future_unref(next);
	return exs_ok(needed[1024] ? value : NULL, NULL);
}

static void nests_in(exs_thread_pool_options options)
{
	struct levels nest = {.ex = pool_made(options), .left = LEVELS};
	exs_future *f = exs_submit(nest.ex, nest_run, &nest);

	while (exs_future_wait(f, 1000)) /* with a limit: this thread does not run it */
		;
	expect_value(f, &nest);
	exs_executor_free(nest.ex);
}

TEST(thread_pool_workers, waits_in_each_other_fit_the_stack)
{
	exs_thread_pool_options options = {.workers = 1, .stack_size = SMALL_STACK};

	nests_in(options);
	options.waiters_run = true;
	nests_in(options);
	options.order = EXS_ANY_ORDER;
	nests_in(options);
}
