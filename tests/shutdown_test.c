/* Shutdown and free, where the conformance suite does not go: threads, time, order, what waits for what. */
#define _GNU_SOURCE
#include "support.h"

#include <math.h>
#include <string.h>

static void occupy(exs_executor *ex, struct job *job, exs_future **f)
{
	job_init(job);
	job->gated = true;
	*f = job_submit(ex, job);
	sem_take(&job->entered);
}

TEST(shutdown, with_nonsense_says_what_is_wrong)
{
	exs_executor *ex = exs_inline();

	exs_shutdown(ex, (exs_mode)0, 1);
	CHECK(strstr(exs_error_message(exs_last_error()), "mode is 0: EXS_DRAIN"));
	exs_shutdown(ex, EXS_DRAIN, -1);
	CHECK(strstr(exs_error_message(exs_last_error()), "-1 seconds: the time must be 0 or more"));
	exs_shutdown(NULL, EXS_DRAIN, 1);
	CHECK(strstr(exs_error_message(exs_last_error()), "executor is NULL"));
	struct job job; /* nothing has happened */
	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	exs_executor_free(ex);
	job_fini(&job);
}

TEST(shutdown, of_nothing)
{
	CHECK_INT(exs_shutdown(NULL, EXS_DRAIN, 1), 0);
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	exs_executor_free(NULL);
	CHECK_INT(exs_executor_pending(NULL), 0);
	CHECK_INT(exs_quiesce(0), EXS_OK);
	CHECK_INT(exs_quiesce(NAN), EXS_EINVAL);
	CHECK_INT(exs_quiesce(-1), EXS_EINVAL);
}

/* Out of time: waiters are woken, callbacks run once, here; the late value is destroyed, the argument freed with its task. */
TEST(shutdown, forced_future_is_done_once)
{
	exs_executor *ex = exs_thread_pool(1);
	struct seen seen;
	struct job job;
	exs_future *f;

	seen_init(&seen);
	occupy(ex, &job, &f);
	CHECK_INT(exs_future_on_done(f, seen_call, &seen, seen_free), EXS_OK);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 1e-3), 1);
	CHECK(seen.calls == 1 && seen.frees == 1 && pthread_equal(seen.thread, pthread_self()));
	CHECK_INT(exs_future_cancel(f), EXS_TOO_LATE);
	exs_result r = exs_future_result(f);
	CHECK(r.kind == EXS_KIND_ERROR && exs_error_is(r.error, &exs_domain_exs, EXS_ESHUTDOWN));
	CHECK(exs_future_error(f) == r.error);
	CHECK_INT(exs_future_take(f, &r), EXS_OK);
	CHECK_INT(job.freed, 0);
	sem_post(&job.open);
	exs_executor_free(ex);
	CHECK(job.values == 0 && job.made == 1);
	CHECK_INT(job.stops, 1); /* it could see it */
	CHECK_INT(job.cause, EXS_CAUSE_SHUTDOWN);
	expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK_INT(seen.calls, 1);
	job_fini(&job);
}

struct closer {
	exs_executor *ex;
	exs_mode mode;
	size_t left;
	pthread_t thread;
};

static void *close_it(void *arg)
{
	struct closer *c = arg;

	c->left = exs_shutdown(c->ex, c->mode, EXS_FOREVER);
	return NULL;
}

/* Several at once, in every mode; the strongest counts for all. */
TEST(shutdown, from_many_threads)
{
	for (unsigned long round = 0; round < harness_rounds(50); round++) {
		exs_executor *ex = exs_thread_pool(1);
		struct closer c[6];
		struct job job, queued;
		exs_future *f;
		occupy(ex, &job, &f);
		job_init(&queued);
		exs_future *waits = job_submit(ex, &queued);
		for (int i = 0; i < 6; i++) {
			c[i] = (struct closer){ex, (exs_mode)(1 + (i + (int)round) % 3), 1, 0};
			c[i].thread = thread_start(close_it, &c[i]);
		}
		expect_cancelled(waits, EXS_CAUSE_SHUTDOWN);
		sem_post(&job.open);
		for (int i = 0; i < 6; i++) {
			thread_join(c[i].thread);
			CHECK_INT(c[i].left, 0);
		}
		expect_value(f, &job);
		exs_executor_free(ex);
		job_fini(&job);
		job_fini(&queued);
	}
}

/* A stronger mode reaches what a weaker one leaves alone; a weaker one later takes nothing back. */
TEST(shutdown, stronger_modes_follow)
{
	exs_executor *ex = exs_thread_pool(1);
	struct closer c[3];
	struct job job, queued;
	exs_future *f;

	occupy(ex, &job, &f);
	job_init(&queued);
	exs_future *waits = job_submit(ex, &queued);
	for (int i = 0; i < 3; i++) {
		c[i] = (struct closer){ex, (exs_mode)(EXS_DRAIN + i), 1, 0};
		c[i].thread = thread_start(close_it, &c[i]);
		if (i == 1)
			expect_cancelled(waits, EXS_CAUSE_SHUTDOWN);
		if (i < 2)
			CHECK_INT(exs_future_cause(f), EXS_CAUSE_NONE);
	}
	while (exs_future_cause(f) != EXS_CAUSE_SHUTDOWN)
		sched_yield();
	sem_post(&job.open);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	for (int i = 0; i < 3; i++) {
		thread_join(c[i].thread);
		CHECK_INT(c[i].left, 0);
	}
	expect_value(f, &job);
	exs_executor_free(ex);
	job_fini(&job);
	job_fini(&queued);
}

/* --- the whole chain --- */

static exs_result same(void *ctx, exs_result in)
{
	(void)ctx;
	return in;
}

static exs_error *run_items(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	(void)ctx, (void)context;
	for (size_t i = 0; i < n; i++)
		exs_batch_run(items[i]);
	return NULL;
}

enum { LAYERS = 10 };

/* Layer i around ex, which it owns. */
static exs_executor *around(exs_executor *ex, int i)
{
	switch (i) {
	case 0:
		return exs_with_map(ex, same, NULL, NULL, NULL);
	case 1:
		return exs_with_flat_map(ex, NULL, NULL, NULL, NULL);
	case 2:
		return exs_with_retry(ex, NULL);
	case 3:
		return exs_with_timeout_mode(ex, 1000, EXS_WAIT);
	case 4:
		return exs_with_timeout_mode(ex, 1000, EXS_ABANDON);
	case 5:
		return exs_with_throttle(ex, 2, NULL);
	case 6:
		return exs_with_batch(ex, run_items, NULL, &(exs_batch_options){.max = 1});
	case 7:
		return exs_with_poll(ex, job_poll, job_cancel, NULL, NULL);
	case 8:
		return exs_with_cancel_on_shutdown(ex);
	default:
		return exs_with_bind(ex, job_run);
	}
}

/* Seen by those who borrow a part of it: open before, closed after. */
TEST(shutdown, of_a_chain_closes_all_that_it_owns)
{
	for (int mode = 0; mode <= EXS_CANCEL_ALL; mode++) {
		exs_executor *ex = exs_thread_pool(1), *parts[LAYERS + 1];
		struct job job;
		for (int i = 0; i <= LAYERS; i++) {
			parts[i] = exs_borrow(ex);
			ex = i < LAYERS ? around(ex, i) : ex;
			CHECK(parts[i] && ex);
			job_init(&job);
			expect_value(job_submit(parts[i], &job), &job);
			job_fini(&job);
		}
		if (mode)
			CHECK_INT(exs_shutdown(ex, (exs_mode)mode, EXS_FOREVER), 0);
		else
			exs_executor_free(ex);
		for (int i = 0; i <= LAYERS; i++) {
			job_init(&job);
			expect_code(job_submit(parts[i], &job), &exs_domain_exs, EXS_ESHUTDOWN);
			CHECK_INT(job.starts, 0);
			job_fini(&job);
			exs_executor_free(parts[i]);
		}
		if (mode)
			exs_executor_free(ex);
	}
}

/* --- every future is done, whatever the order of shutdown: more-executors leaves these three unresolved for ever --- */

/* A chain over a borrowed pool, and a call that waits in the chain, with nobody who would let it go. */
struct waiting {
	exs_clock *clock;
	exs_executor *pool, *chain;
	struct job job;
	exs_future *f;
};

static void wait_in_a_backoff(struct waiting *w, exs_executor *ex)
{
	w->chain = exs_with_retry(ex, NULL);
	w->job.failures = ALWAYS;
	w->job.error = exs_error_new(&test_domain, 1, "no");
	w->f = job_submit(w->chain, &w->job);
	wait_next(w->clock, 1);
}

static void wait_in_a_throttle(struct waiting *w, exs_executor *ex)
{
	w->chain = exs_with_throttle(ex, 0, NULL);
	w->f = job_submit(w->chain, &w->job);
	CHECK_INT(exs_throttle_waiting(w->chain), 1);
}

static void wait_in_a_poll_set(struct waiting *w, exs_executor *ex)
{
	w->chain = exs_with_poll(ex, job_poll, job_cancel, NULL, NULL);
	w->job.held = w->job.refuses = true;
	w->f = job_submit(w->chain, &w->job);
	sem_take(&w->job.in_set);
}

/* DRAIN is given no time (the poll thread may be about to tell the cancel function when it returns); mode 0 frees. */
static void end_one(exs_executor **ex, int mode)
{
	if (mode == EXS_DRAIN)
		exs_shutdown(*ex, EXS_DRAIN, 0);
	else if (mode)
		CHECK_INT(exs_shutdown(*ex, (exs_mode)mode, EXS_FOREVER), 0);
	else
		exs_executor_free(*ex);
	*ex = mode ? *ex : NULL;
}

/* The pool before the chain, or after it; each in every mode. */
static void left_waiting(void (*wait)(struct waiting *w, exs_executor *ex))
{
	for (int i = 0; i < 2 * 4 * 4; i++) {
		struct waiting w = {.clock = exs_clock_manual_new()};
		int mode = i % 4, pool_mode = i / 4 % 4;
		w.pool = exs_with_clock(exs_thread_pool(1), w.clock);
		job_init(&w.job);
		wait(&w, exs_borrow(w.pool));
		unsigned starts = w.job.starts;
		if (i / 16)
			end_one(&w.pool, pool_mode);
		CHECK(!exs_future_is_done(w.f));
		end_one(&w.chain, mode);
		CHECK(exs_future_is_done(w.f));
		if (!(i / 16))
			end_one(&w.pool, pool_mode);
		if (mode == EXS_DRAIN)
			expect_code(w.f, &exs_domain_exs, EXS_ESHUTDOWN);
		else
			expect_cancelled(w.f, EXS_CAUSE_SHUTDOWN);
		exs_executor_free(w.chain);
		exs_executor_free(w.pool);
		CHECK_INT(exs_clock_armed(w.clock), 0);
		CHECK_INT(w.job.starts, starts);
		exs_error_unref(w.job.error);
		job_fini(&w.job);
		exs_clock_unref(w.clock);
	}
}

TEST(shutdown, leaves_no_call_in_a_backoff)
{
	left_waiting(wait_in_a_backoff);
}

TEST(shutdown, leaves_no_call_in_a_throttle)
{
	left_waiting(wait_in_a_throttle);
}

TEST(shutdown, leaves_no_call_in_a_poll_set)
{
	left_waiting(wait_in_a_poll_set);
}

/* --- submits that race it --- */

struct submitter {
	exs_executor *ex;
	unsigned ended[3]; /* values, cancelled, refused */
	atomic_uint submits;
	pthread_t thread;
};

static void *submit_until_refused(void *arg)
{
	struct submitter *s = arg;

	while (!s->ended[2]) {
		struct job job;
		job_init(&job);
		exs_future *f = job_submit(s->ex, &job);
		atomic_fetch_add(&s->submits, 1);
		wait_done(f); /* every future ever returned is done some day */
		if (exs_future_state(f) == EXS_STATE_ERROR) {
			CHECK(exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ESHUTDOWN));
			CHECK_INT(job.starts, 0);
			s->ended[2]++;
		} else {
			s->ended[exs_future_state(f) == EXS_STATE_CANCELLED]++;
		}
		exs_future_unref(f);
		job_fini(&job);
	}
	return NULL;
}

TEST(shutdown, races_submits)
{
	for (unsigned long round = 0; round < harness_rounds(60); round++) {
		exs_executor *ex = exs_with_retry(exs_thread_pool(2), NULL);
		struct submitter s[3];
		if (round % 2)
			ex = exs_with_timeout_mode(ex, EXS_FOREVER, EXS_ABANDON);
		for (int i = 0; i < 3; i++) {
			s[i] = (struct submitter){.ex = ex};
			s[i].thread = thread_start(submit_until_refused, &s[i]);
		}
		while (s[0].submits + s[1].submits + s[2].submits < round)
			sched_yield();
		CHECK_INT(exs_shutdown(ex, (exs_mode)(1 + round % 3), EXS_FOREVER), 0);
		for (int i = 0; i < 3; i++) {
			thread_join(s[i].thread);
			CHECK_INT(s[i].ended[2], 1);
			CHECK(s[i].ended[1] == 0 || round % 3 != 0); /* DRAIN cancels nothing */
		}
		exs_executor_free(ex);
	}
}

/* --- what free waits for --- */

struct slow {
	struct job job; /* first */
	atomic_int ended;
};

static void end_slowly(struct slow *slow)
{
	give_time(); /* for a free that does not wait */
	atomic_store(&slow->ended, 1);
}

static void slow_callback(exs_future *f, void *slow)
{
	(void)f;
	end_slowly(slow);
}

static void slow_arg_free(void *slow)
{
	job_free_arg(slow);
	end_slowly(slow);
}

TEST(shutdown, free_returns_after_the_last_callback_and_arg_free)
{
	for (int i = 0; i < 4; i++) {
		exs_executor *ex = exs_thread_pool(1);
		struct slow slow = {.ended = 0};
		exs_task task = {.fn = job_run, .arg = &slow.job, .arg_free = i / 2 ? slow_arg_free : job_free_arg};
		if (i % 2)
			ex = exs_with_timeout_mode(ex, EXS_FOREVER, EXS_ABANDON);
		job_init(&slow.job);
		slow.job.gated = true;
		exs_future *f = exs_submit_with(ex, &task);
		if (i / 2 == 0)
			CHECK_INT(exs_future_on_done(f, slow_callback, &slow, NULL), EXS_OK);
		sem_post(&slow.job.open);
		exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER);
		exs_executor_free(ex);
		CHECK_INT(slow.ended, 1);
		expect_value(f, &slow.job);
		job_fini(&slow.job);
	}
}

/* On a thread of another chain it waits as on any other thread. */
static void free_other(struct job *job, exs_context *ctx)
{
	struct job *inner = ((void **)job->more)[0];

	(void)ctx;
	exs_executor_free(((void **)job->more)[1]);
	CHECK_INT(inner->ends, 1);
}

TEST(shutdown, freed_on_a_thread_of_another_chain)
{
	exs_executor *a = exs_thread_pool(1), *b = exs_thread_pool(1);
	struct job job, inner;
	exs_future *f;

	occupy(b, &inner, &f);
	job_init(&job);
	job.inside = free_other;
	job.more = (void *[]){&inner, b};
	exs_future *freer = job_submit(a, &job);
	sem_post(&inner.open);
	expect_value(freer, &job);
	expect_value(f, &inner);
	exs_executor_free(a);
	job_fini(&job);
	job_fini(&inner);
}

/* --- quiesce --- */

static void free_own(struct job *job, exs_context *ctx)
{
	(void)ctx;
	exs_executor_free(job->more);
	sem_post(&job->entered);
	sem_take(&job->open);
}

static exs_result frees_own(void *ex, exs_context *ctx)
{
	(void)ctx;
	exs_executor_free(ex);
	return exs_ok(NULL, NULL);
}

static atomic_bool come_and_gone;

static void *come_and_go(void *unused)
{
	for (int i = 0; i < 2000; i++) {
		exs_executor *ex = exs_thread_pool(1);
		exs_future *f = exs_submit(ex, frees_own, ex);
		CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
		exs_future_unref(f);
	}
	atomic_store(&come_and_gone, true);
	return unused;
}

/* That all were released stands, though the next one is to be just then. */
TEST(shutdown, quiesce_while_others_come_and_go)
{
	atomic_store(&come_and_gone, false);
	pthread_t t = thread_start(come_and_go, NULL);
	while (!atomic_load(&come_and_gone))
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	thread_join(t);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
}

TEST(shutdown, quiesce_waits_for_what_was_freed_from_within)
{
	int threads = harness_threads();
	exs_executor *ex = exs_with_timeout(exs_thread_pool(2), 1000);
	struct job job;

	job_init(&job);
	job.inside = free_own;
	job.more = ex;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	CHECK_INT(exs_quiesce(0), EXS_ETIMEDOUT);
	CHECK_INT(exs_quiesce(1e-3), EXS_ETIMEDOUT);
	CHECK_INT(job.ends, 0);
	sem_post(&job.open);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	expect_value(f, &job);
	harness_wait_threads(threads);
	job_fini(&job);
}

static void note_released(void *released)
{
	sem_post(released);
}

/* The last that was freed can be released first. */
TEST(shutdown, freed_from_within_holds_up_no_other)
{
	int threads = harness_threads();
	struct job jobs[9];
	exs_future *f[9];
	sem_t released[9];

	for (int i = 0; i < 9; i++) {
		CHECK(!sem_init(&released[i], 0, 0));
		job_init(&jobs[i]);
		jobs[i].inside = free_own;
		jobs[i].more = exs_with_map(exs_thread_pool(1), NULL, NULL, &released[i], note_released);
		f[i] = job_submit(jobs[i].more, &jobs[i]);
		sem_take(&jobs[i].entered);
	}
	for (int i = 8; i >= 0; i--) {
		CHECK(!sem_taken(&released[i]));
		sem_post(&jobs[i].open);
		sem_take(&released[i]);
	}
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	for (int i = 0; i < 9; i++) {
		expect_value(f[i], &jobs[i]);
		job_fini(&jobs[i]);
		sem_destroy(&released[i]);
	}
	harness_wait_threads(threads);
}

/* On the callback thread free does not wait either, whatever the chain: that thread serves them all. */
static void free_on_callback_thread(exs_future *f, void *arg)
{
	exs_executor **ex = arg;
	char name[16];

	(void)f;
	CHECK(!pthread_getname_np(pthread_self(), name, sizeof(name)));
	if (strcmp(name, "exs-callback"))
		return; /* it was done before the callback was added: once more */
	for (int i = 0; i < 2; i++) {
		exs_executor_free(ex[i]);
		ex[i] = NULL;
	}
}

TEST(shutdown, freed_on_the_callback_thread)
{
	int threads = harness_threads();
	exs_executor *ex[2] = {exs_with_timeout(exs_thread_pool(1), EXS_FOREVER), exs_thread_pool(1)};
	struct job gates[2];
	exs_future *f[2];

	for (int i = 0; i < 2; i++)
		occupy(ex[i], &gates[i], &f[i]);
	while (ex[0]) {
		struct job job;
		struct seen seen;
		exs_task task = {.fn = job_run, .arg = &job, .arg_free = job_free_arg, .timeout = 1e-3};
		job_init(&job);
		seen_init(&seen);
		exs_future *late = exs_submit_with(ex[0], &task);
		CHECK_INT(exs_future_on_done(late, free_on_callback_thread, ex, NULL), EXS_OK);
		CHECK_INT(exs_future_on_done(late, seen_call, &seen, NULL), EXS_OK);
		sem_take(&seen.called); /* though both still run something */
		expect_code(late, &exs_domain_exs, EXS_ETIMEDOUT);
		job_fini(&job);
	}
	for (int i = 0; i < 2; i++)
		sem_post(&gates[i].open);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	for (int i = 0; i < 2; i++) {
		expect_value(f[i], &gates[i]);
		job_fini(&gates[i]);
	}
	harness_wait_threads(threads);
}

/* --- while a call is on its way down --- */

/* A layer that, once armed, shuts the chain down before it lets a call pass. */
struct door {
	exs_executor *top;
	exs_mode mode;
	bool armed;
};

static exs_step door_start(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	struct door *d = exs_layer_state(ex);

	(void)call, (void)slot, (void)result;
	if (d->armed)
		CHECK(exs_shutdown(d->top, d->mode, EXS_FOREVER) >= 1);
	return EXS_DOWN;
}

static const exs_layer_ops door_ops = {.size = sizeof(exs_layer_ops),
				       .type = "door",
				       .start = door_start,
				       .done = exs_pass_done,
				       .cancel = exs_pass_cancel};

enum { BEHIND = 8 };

/* Something with one worker, behind the door; *n: so many calls make it full. */
static exs_executor *behind(int which, unsigned *n)
{
	exs_throttle_options block = {.block = true};
	exs_thread_pool_options full = {.workers = 1, .queue_limit = 1};
	exs_executor *queue;

	*n = which < 2 ? 1 : 2;
	switch (which) {
	case 0:
		return exs_with_throttle(exs_thread_pool(1), 1, &block);
	case 1:
		return exs_with_throttle(exs_thread_pool(1), 1, NULL);
	case 2:
		queue = exs_queue(NULL);
		CHECK(exs_queue_attach(queue, exs_thread_pool(1), NULL));
		return queue;
	case 3:
		return exs_with_timeout(exs_thread_pool(1), 1000);
	case 4:
		return exs_thread_pool(1);
	default:
		full.when_full = (exs_full)(which - 5);
		return exs_thread_pool_with(&full);
	}
}

static void go_through_the_door(int which, exs_mode mode)
{
	struct job jobs[2], job;
	exs_future *f[2];
	unsigned n;
	exs_executor *ex = exs_layer_new(&door_ops, behind(which, &n), sizeof(struct door), 0);
	struct door *d = exs_layer_state(ex);

	d->top = ex = exs_with_timeout(ex, 1000);
	d->mode = mode;
	pool_occupy(ex, jobs, f, n, 1);
	d->armed = true;
	job_init(&job);
	exs_future *late = job_submit(ex, &job);
	for (unsigned i = 0; i < n; i++)
		sem_post(&jobs[i].open);
	wait_done(late);
	if (exs_future_state(late) == EXS_STATE_VALUE)
		CHECK(mode == EXS_DRAIN && job.starts == 1);
	else
		CHECK(job.starts == 0);
	if (exs_future_state(late) == EXS_STATE_ERROR)
		CHECK(exs_error_is(exs_future_error(late), &exs_domain_exs,
				   which == 6 ? EXS_EREJECTED : EXS_ESHUTDOWN));
	if (exs_future_state(late) == EXS_STATE_CANCELLED)
		CHECK(mode != EXS_DRAIN && exs_future_cause(late) == EXS_CAUSE_SHUTDOWN);
	exs_future_unref(late);
	expect_value(f[0], &jobs[0]);
	if (n == 2)
		exs_future_unref(f[1]);
	exs_executor_free(ex);
	for (unsigned i = 0; i < n; i++)
		job_fini(&jobs[i]);
	job_fini(&job);
}

/* It runs only if all are to run; or it is cancelled, or refused where it would have had to wait. */
TEST(shutdown, begins_while_a_call_is_on_its_way)
{
	for (int which = 0; which < BEHIND; which++)
		for (int mode = EXS_DRAIN; mode <= EXS_CANCEL_ALL; mode++)
			go_through_the_door(which, (exs_mode)mode);
}
