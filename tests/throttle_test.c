/* Throttle: never above its count, which it reaches; first in, first out; counts that change, that fail; blocked submitters. */
#include "support.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* --- a count that can be set, and a chain --- */

struct counter {
	atomic_uint count, asked, freed;
	atomic_bool fails;
	atomic_uint last; /* what *count was preset to */
};

static exs_error *count_fn(void *ctx, unsigned *count)
{
	struct counter *c = ctx;

	c->last = *count;
	atomic_fetch_add(&c->asked, 1);
	if (atomic_load(&c->fails))
		return exs_error_new(&test_domain, 5, "ask again later");
	*count = atomic_load(&c->count);
	return NULL;
}

static void counter_free(void *ctx)
{
	atomic_fetch_add(&((struct counter *)ctx)->freed, 1);
}

enum { N = 24 };

struct scene {
	exs_clock *clock;
	exs_executor *ex;
	struct counter counter;
	struct job jobs[N];
	exs_future *f[N];
	int n;
};

static exs_executor *pool_of(struct scene *s)
{
	*s = (struct scene){.clock = exs_clock_manual_new()};
	return exs_with_clock(exs_thread_pool(N), s->clock);
}

static void scene_init(struct scene *s, unsigned count)
{
	s->ex = exs_with_throttle(pool_of(s), count, NULL);
	CHECK(s->ex);
}

static void scene_init_counter(struct scene *s, unsigned count, bool block)
{
	exs_executor *pool = pool_of(s);
	exs_throttle_options options = {
		.count_fn = count_fn, .block = block, .ctx = &s->counter, .ctx_free = counter_free};

	s->counter.count = count;
	s->ex = exs_with_throttle(pool, 3, &options);
	CHECK(s->ex);
	CHECK_INT(s->counter.last, 3);
	CHECK_INT(s->counter.asked, 1);
}

/* Submits n jobs more, each with a gate. */
static void submit(struct scene *s, int n)
{
	for (; n; n--, s->n++) {
		job_init(&s->jobs[s->n]);
		s->jobs[s->n].gated = true;
		s->f[s->n] = job_submit(s->ex, &s->jobs[s->n]);
	}
}

/* Jobs first..first+n-1 run, and no other of the not yet done. */
static void expect_running(struct scene *s, int first, int n)
{
	for (int i = 0; i < s->n; i++) {
		if (i >= first && i < first + n && !exs_future_is_done(s->f[i]))
			wait_count(&s->jobs[i].starts, 1);
		CHECK_INT(s->jobs[i].starts, i < first + n);
	}
}

static void end(struct scene *s, int i)
{
	sem_post(&s->jobs[i].open);
	wait_done(s->f[i]);
}

/* Opens all, and frees the chain. */
static void scene_end(struct scene *s)
{
	for (int i = 0; i < s->n; i++)
		sem_post(&s->jobs[i].open);
	exs_executor_free(s->ex);
	CHECK_INT(exs_clock_armed(s->clock), 0);
	exs_clock_unref(s->clock);
	for (int i = 0; i < s->n; i++) {
		exs_future_unref(s->f[i]);
		job_fini(&s->jobs[i]);
	}
}

/* --- a constant count --- */

TEST(throttle, reaches_its_limit_and_keeps_it)
{
	struct scene s;

	scene_init(&s, 4);
	submit(&s, 10);
	expect_running(&s, 0, 4);
	for (int i = 0; i < 6; i++) {
		end(&s, i);
		expect_running(&s, i + 1, 4); /* first in, first out: one ends, the next begins */
	}
	CHECK_INT(exs_clock_armed(s.clock), 0); /* a number needs no timer */
	scene_end(&s);
}

TEST(throttle, unlimited)
{
	struct scene s;

	scene_init(&s, EXS_UNLIMITED);
	submit(&s, N);
	expect_running(&s, 0, N);
	scene_end(&s);
}

/* Nothing begins; what waits counts as queued for a shutdown. */
TEST(throttle, zero_lets_nothing_begin)
{
	unsigned zeroes[] = {0, EXS_NONE};

	for (int i = 0; i < 2; i++) {
		struct scene s;
		scene_init(&s, zeroes[i]);
		submit(&s, 3);
		CHECK_INT(exs_throttle_waiting(s.ex), 3);
		CHECK_INT(exs_future_wait(s.f[0], 0), EXS_ETIMEDOUT);
		CHECK_INT(exs_shutdown(s.ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
		for (int j = 0; j < 3; j++)
			expect_cancelled(exs_future_ref(s.f[j]), EXS_CAUSE_SHUTDOWN);
		expect_running(&s, 0, 0);
		scene_end(&s);
	}
}

/* Every way in which a call can come back gives its place to the next. */
TEST(throttle, place_is_given_back_whatever_becomes_of_the_call)
{
	struct scene s;
	exs_error *error = exs_error_new(&test_domain, 1, "no");

	scene_init(&s, 1);
	submit(&s, 5);
	expect_running(&s, 0, 1);
	s.jobs[0].failures = ALWAYS;
	s.jobs[0].error = error;
	s.jobs[1].cancels = true;
	for (int i = 0; i < 3; i++) {
		end(&s, i);
		expect_running(&s, i + 1, 1);
	}
	CHECK(exs_future_error(s.f[0]) == error);
	CHECK_INT(exs_future_state(s.f[1]), EXS_STATE_CANCELLED);
	CHECK_INT(exs_future_cancel(s.f[3]), EXS_STOP_REQUESTED); /* running: it still counts */
	expect_running(&s, 3, 1);
	end(&s, 3);
	expect_running(&s, 4, 1);
	scene_end(&s);
	exs_error_unref(error);
}

/* A function that a timeout above left behind still counts. */
TEST(throttle, abandoned_call_holds_its_place)
{
	struct scene s;

	s.ex = exs_with_timeout_mode(exs_with_throttle(pool_of(&s), 1, NULL), 10, EXS_ABANDON);
	submit(&s, 1);
	expect_running(&s, 0, 1);
	advance(s.clock, 10);
	expect_code(exs_future_ref(s.f[0]), &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_INT(exs_timeout_abandoned(s.ex), 1);
	submit(&s, 1);
	CHECK_INT(s.jobs[1].starts, 0);
	sem_post(&s.jobs[0].open);
	expect_running(&s, 1, 1);
	end(&s, 1);
	scene_end(&s);
}

TEST(throttle, cancel_removes_a_waiting_call)
{
	struct scene s;

	scene_init(&s, 1);
	submit(&s, 6);
	expect_running(&s, 0, 1);
	CHECK_INT(exs_throttle_waiting(s.ex), 5);
	int order[] = {3, 1, 5}; /* in the middle, first, last */
	for (int i = 0; i < 3; i++) {
		CHECK_INT(exs_future_cancel(s.f[order[i]]), EXS_CANCELLED);
		CHECK_INT(exs_throttle_waiting(s.ex), 4 - i);
		CHECK_INT(s.jobs[order[i]].freed, 1);
		expect_cancelled(exs_future_ref(s.f[order[i]]), EXS_CAUSE_USER);
	}
	end(&s, 0);
	wait_count(&s.jobs[2].starts, 1);
	end(&s, 2);
	wait_count(&s.jobs[4].starts, 1);
	end(&s, 4);
	CHECK(s.jobs[1].starts == 0 && s.jobs[3].starts == 0 && s.jobs[5].starts == 0);
	scene_end(&s);
}

TEST(throttle, timeout_of_a_waiting_call)
{
	struct scene s;

	s.ex = exs_with_timeout(exs_with_throttle(pool_of(&s), 1, NULL), 10);
	submit(&s, 2);
	expect_running(&s, 0, 1);
	advance(s.clock, 10);
	expect_code(exs_future_ref(s.f[1]), &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_INT(s.jobs[1].starts, 0);
	scene_end(&s);
}

/* A retry above gives the place back for its backoff, and queues again. */
TEST(throttle, under_a_retry)
{
	struct scene s;
	exs_error *error = exs_error_new(&test_domain, 1, "no");

	s.ex = exs_with_retry(exs_with_throttle(pool_of(&s), 1, NULL), NULL);
	submit(&s, 2);
	s.jobs[0].failures = 1;
	s.jobs[0].error = error;
	sem_post(&s.jobs[0].open);
	wait_count(&s.jobs[1].starts, 1); /* in the other's backoff */
	CHECK_INT(exs_clock_wait_armed(s.clock, 1, EXS_FOREVER), EXS_OK);
	advance(s.clock, 1);
	CHECK_INT(s.jobs[0].starts, 1);
	sem_post(&s.jobs[0].open);
	end(&s, 1);
	expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
	CHECK_INT(s.jobs[0].starts, 2);
	scene_end(&s);
	exs_error_unref(error);
}

TEST(throttle, shutdown_drains_what_waits)
{
	struct scene s;

	scene_init(&s, 2);
	submit(&s, 8);
	for (int i = 0; i < 8; i++)
		sem_post(&s.jobs[i].open);
	CHECK_INT(exs_shutdown(s.ex, EXS_DRAIN, EXS_FOREVER), 0);
	for (int i = 0; i < 8; i++)
		expect_value(exs_future_ref(s.f[i]), &s.jobs[i]);
	scene_end(&s);
}

TEST(throttle, shutdown_whose_time_is_up)
{
	struct scene s;

	scene_init(&s, 1);
	submit(&s, 3);
	expect_running(&s, 0, 1);
	CHECK(exs_shutdown(s.ex, EXS_DRAIN, 0) >= 1);
	for (int i = 0; i < 3; i++)
		expect_code(exs_future_ref(s.f[i]), &exs_domain_exs, EXS_ESHUTDOWN);
	scene_end(&s);
	CHECK(s.jobs[1].starts == 0 && s.jobs[2].starts == 0);
}

/* --- a count that changes --- */

TEST(throttle, count_changes_while_calls_wait)
{
	struct scene s;

	scene_init_counter(&s, 0, false);
	submit(&s, 12);
	expect_running(&s, 0, 0);
	advance(s.clock, 2);
	expect_running(&s, 0, 0);
	atomic_store(&s.counter.count, 1);
	advance(s.clock, 1.5);
	expect_running(&s, 0, 0); /* not asked yet */
	advance(s.clock, 0.5);
	expect_running(&s, 0, 1);
	atomic_store(&s.counter.count, 2);
	advance(s.clock, 2);
	expect_running(&s, 0, 2);
	atomic_store(&s.counter.count, EXS_UNLIMITED);
	advance(s.clock, 2);
	expect_running(&s, 0, 12);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	atomic_store(&s.counter.count, 0);
	submit(&s, 8);
	for (int i = 0; i < 12; i++)
		end(&s, i);
	advance(s.clock, 2);
	expect_running(&s, 12, 0);
	atomic_store(&s.counter.count, 6);
	advance(s.clock, 2);
	expect_running(&s, 12, 6);
	end(&s, 12);
	expect_running(&s, 13, 6);
	scene_end(&s);
	CHECK_INT(s.counter.freed, 1);
}

TEST(throttle, limit_where_there_was_none)
{
	struct scene s;

	scene_init_counter(&s, EXS_UNLIMITED, false);
	submit(&s, 3);
	expect_running(&s, 0, 3);
	atomic_store(&s.counter.count, 3);
	submit(&s, 2);
	CHECK_INT(exs_throttle_waiting(s.ex), 2); /* those that went down without a limit count */
	expect_running(&s, 0, 3);
	end(&s, 0);
	expect_running(&s, 1, 3);
	scene_end(&s);
}

/* Asked at each submit and completion; and no more while nothing waits: no timer is armed. */
TEST(throttle, asked_when_something_happens_and_every_two_seconds)
{
	struct scene s;

	scene_init_counter(&s, 1, false);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	submit(&s, 1);
	CHECK_INT(s.counter.asked, 2);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	submit(&s, 1);
	CHECK_INT(s.counter.asked, 3);
	CHECK_INT(exs_clock_armed(s.clock), 1);
	advance(s.clock, 1);
	CHECK_INT(s.counter.asked, 3);
	advance(s.clock, 1);
	CHECK_INT(s.counter.asked, 4);
	advance(s.clock, 10);
	CHECK_INT(s.counter.asked, 9);
	CHECK_INT(s.counter.last, 1);
	atomic_store(&s.counter.count, 2); /* the next that is submitted lets the one before go */
	submit(&s, 1);
	CHECK_INT(s.counter.asked, 10);
	expect_running(&s, 0, 2);
	atomic_store(&s.counter.count, 0); /* one that ends gives no place to the next */
	end(&s, 0);
	wait_count(&s.counter.asked, 11);
	CHECK_INT(exs_clock_armed(s.clock), 1);
	CHECK_INT(exs_future_cancel(s.f[2]), EXS_CANCELLED);
	CHECK_INT(exs_clock_armed(s.clock), 0); /* nothing waits */
	end(&s, 1);
	scene_end(&s);
}

/* The last count stays, and it is logged; so with one out of range. */
TEST(throttle, count_function_that_fails)
{
	struct scene s;

	scene_init_counter(&s, 2, false);
	log_begin(EXS_LOG_ERROR);
	atomic_store(&s.counter.fails, true);
	submit(&s, 4);
	expect_running(&s, 0, 2);
	CHECK_INT(log_lines("ask again later"), 4);
	end(&s, 0);
	expect_running(&s, 1, 2);
	CHECK_INT(log_lines("ask again later"), 5);
	atomic_store(&s.counter.fails, false);
	atomic_store(&s.counter.count, EXS_UNLIMITED + 1u);
	advance(s.clock, 2);
	expect_running(&s, 1, 2);
	CHECK_INT(log_lines("2147483648"), 1);
	atomic_store(&s.counter.count, EXS_NONE);
	end(&s, 1);
	expect_running(&s, 2, 1);
	scene_end(&s);
	log_end();
}

/* The constructor fails with what the function failed with. */
TEST(throttle, count_function_that_fails_at_first)
{
	struct counter c = {.fails = true};
	exs_throttle_options options = {.count_fn = count_fn, .ctx = &c, .ctx_free = counter_free};

	CHECK(!exs_with_throttle(exs_thread_pool(1), 1, &options));
	CHECK(exs_error_is(exs_last_error(), &test_domain, 5));
	CHECK(strstr(exs_error_message(exs_last_error()), "exs_with_throttle"));
	CHECK(strstr(exs_error_message(exs_last_error()), "ask again later"));
	c.fails = false;
	c.count = EXS_UNLIMITED + 1u;
	CHECK(!exs_with_throttle(exs_thread_pool(1), 1, &options));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
	CHECK_INT(c.freed, 2);
}

/* An answer is overtaken: the older one, which comes later, is ignored. */
struct slow {
	atomic_uint calls;
	sem_t asked, answer;
};

static exs_error *slow_count(void *ctx, unsigned *count)
{
	struct slow *slow = ctx;

	if (atomic_fetch_add(&slow->calls, 1) == 1) { /* the second: after the constructor's */
		sem_post(&slow->asked);
		sem_take(&slow->answer);
		*count = EXS_UNLIMITED;
		return NULL;
	}
	*count = 0;
	return NULL;
}

static void *submit_one(void *scene)
{
	submit(scene, 1);
	return NULL;
}

TEST(throttle, late_answer_is_ignored)
{
	struct scene s;
	struct slow slow = {.calls = 0};
	exs_executor *pool = pool_of(&s);

	CHECK(!sem_init(&slow.asked, 0, 0) && !sem_init(&slow.answer, 0, 0));
	s.ex = exs_with_throttle(pool, 1, &(exs_throttle_options){.count_fn = slow_count, .ctx = &slow});
	pthread_t thread = thread_start(submit_one, &s);
	sem_take(&slow.asked);
	struct job job;
	job_init(&job);
	exs_future *f = job_submit(s.ex, &job);
	sem_post(&slow.answer);
	thread_join(thread);
	give_time(); /* to start */
	CHECK(s.jobs[0].starts == 0 && job.starts == 0);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	exs_future_unref(f);
	scene_end(&s);
	CHECK_INT(s.jobs[0].starts, 0);
	job_fini(&job);
}

/* Any call of the library is legal inside the count function: here on the callback of the timer. */
static exs_error *count_and_free(void *ctx, unsigned *count)
{
	struct scene *s = ctx;

	*count = 0;
	if (atomic_fetch_add(&s->counter.asked, 1) != 2)
		return NULL;
	exs_shutdown(s->ex, EXS_DRAIN, EXS_FOREVER);
	exs_executor_free(s->ex);
	s->ex = NULL;
	return NULL;
}

TEST(throttle, freed_in_the_count_function)
{
	struct scene s;
	exs_executor *pool = pool_of(&s);

	s.ex = exs_with_throttle(pool, 0, &(exs_throttle_options){.count_fn = count_and_free, .ctx = &s});
	submit(&s, 1);
	advance(s.clock, 2);
	expect_cancelled(exs_future_ref(s.f[0]), EXS_CAUSE_SHUTDOWN);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	scene_end(&s);
}

/* --- submitters that block --- */

struct submitter {
	exs_executor *ex;
	struct job job;
	exs_future *f;
	atomic_bool back;
	unsigned place; /* in which it ran */
	pthread_t thread;
};

static atomic_uint places;

static void note_place(struct job *job, exs_context *ctx)
{
	(void)ctx;
	((struct submitter *)job->more)->place = atomic_fetch_add(&places, 1);
}

static void *submitter_main(void *arg)
{
	struct submitter *s = arg;

	s->f = job_submit(s->ex, &s->job);
	atomic_store(&s->back, true);
	return NULL;
}

static void submitter_start(struct submitter *s, exs_executor *ex)
{
	s->ex = ex;
	atomic_store(&s->back, false);
	job_init(&s->job);
	s->job.inside = note_place;
	s->job.more = s;
	s->thread = thread_start(submitter_main, s);
}

static void scene_init_block(struct scene *s, unsigned count)
{
	s->ex = exs_with_throttle(pool_of(s), count, &(exs_throttle_options){.block = true});
	CHECK(s->ex);
}

struct wanted {
	exs_executor *ex;
	size_t n;
};

static bool they_wait(void *arg)
{
	struct wanted *w = arg;

	return exs_throttle_waiting(w->ex) == w->n;
}

static void wait_waiting(exs_executor *ex, size_t n)
{
	wait_until(they_wait, &(struct wanted){ex, n});
}

static void try_rejected(exs_executor *ex)
{
	struct job job;
	exs_task task = {.fn = job_run, .arg = &job, .arg_free = job_free_arg};

	job_init(&job);
	exs_future *f = exs_try_submit(ex, &task);
	CHECK_INT(job.freed, 1);
	expect_code(f, &exs_domain_exs, EXS_EREJECTED);
	job_fini(&job);
}

TEST(throttle, submit_blocks_until_there_is_room)
{
	struct scene s;
	struct submitter one;

	scene_init_block(&s, 2);
	submit(&s, 2);
	expect_running(&s, 0, 2);
	try_rejected(s.ex);
	submitter_start(&one, s.ex);
	wait_waiting(s.ex, 1);
	CHECK(!one.back && one.job.starts == 0);
	end(&s, 1);
	thread_join(one.thread);
	expect_value(one.f, &one.job);
	scene_end(&s);
	job_fini(&one.job);
}

enum { SUBMITTERS = 4 };

static void block_some(struct scene *s, struct submitter *some)
{
	for (int i = 0; i < SUBMITTERS; i++)
		submitter_start(&some[i], s->ex);
	wait_waiting(s->ex, SUBMITTERS);
	for (int i = 0; i < SUBMITTERS; i++)
		CHECK(!some[i].back);
}

TEST(throttle, blocked_submitters_woken_by_shutdown)
{
	exs_mode modes[] = {EXS_DRAIN, EXS_CANCEL_QUEUED, EXS_CANCEL_ALL};

	for (int m = 0; m < 3; m++) {
		struct scene s;
		struct submitter some[SUBMITTERS];
		scene_init_block(&s, 1);
		submit(&s, 1);
		block_some(&s, some);
		exs_shutdown(s.ex, modes[m], 0);
		for (int i = 0; i < SUBMITTERS; i++) {
			thread_join(some[i].thread);
			expect_code(some[i].f, &exs_domain_exs, EXS_ESHUTDOWN);
			CHECK_INT(some[i].job.starts, 0);
			job_fini(&some[i].job);
		}
		scene_end(&s);
	}
}

/* Only those that came through it; the others stay blocked. */
TEST(throttle, blocked_submitters_woken_by_shutdown_of_a_borrower)
{
	struct scene s;
	struct submitter two[2];

	scene_init_block(&s, 1);
	submit(&s, 1);
	exs_executor *b[2] = {exs_borrow(s.ex), exs_borrow(s.ex)};
	for (int i = 0; i < 2; i++)
		submitter_start(&two[i], b[i]);
	wait_waiting(s.ex, 2);
	exs_shutdown(b[0], EXS_DRAIN, 0);
	thread_join(two[0].thread);
	expect_code(two[0].f, &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK(!two[1].back);
	end(&s, 0);
	thread_join(two[1].thread);
	expect_value(two[1].f, &two[1].job);
	for (int i = 0; i < 2; i++) {
		exs_executor_free(b[i]);
		job_fini(&two[i].job);
	}
	scene_end(&s);
}

TEST(throttle, blocked_submitters_woken_by_a_change)
{
	struct scene s;
	struct submitter some[SUBMITTERS];

	scene_init_counter(&s, 0, true);
	block_some(&s, some);
	CHECK_INT(exs_clock_wait_armed(s.clock, 1, EXS_FOREVER), EXS_OK);
	advance(s.clock, 4);
	for (int i = 0; i < SUBMITTERS; i++)
		CHECK(!some[i].back);
	atomic_store(&s.counter.count, EXS_UNLIMITED);
	advance(s.clock, 2);
	for (int i = 0; i < SUBMITTERS; i++) {
		thread_join(some[i].thread);
		expect_value(some[i].f, &some[i].job);
		job_fini(&some[i].job);
	}
	CHECK_INT(exs_clock_armed(s.clock), 0);
	scene_end(&s);
}

/* 0, 1, 2: no more of them than the count says come to run. */
TEST(throttle, blocked_submitters_let_go_by_number)
{
	struct scene s;
	struct submitter some[SUBMITTERS];

	scene_init_counter(&s, 0, true);
	for (unsigned i = 0; i < SUBMITTERS; i++) {
		submitter_start(&some[i], s.ex);
		some[i].job.gated = true;
		wait_waiting(s.ex, i + 1);
	}
	CHECK_INT(exs_clock_wait_armed(s.clock, 1, EXS_FOREVER), EXS_OK);
	for (unsigned count = 1; count < 3; count++) {
		atomic_store(&s.counter.count, count);
		advance(s.clock, 2);
		CHECK_INT(exs_throttle_waiting(s.ex), SUBMITTERS - count);
		sem_take(&some[count - 1].job.entered);
		CHECK(!some[count].back && some[count].job.starts == 0);
	}
	for (int i = 0; i < SUBMITTERS; i++)
		sem_post(&some[i].job.open);
	for (int i = 0; i < SUBMITTERS; i++) {
		thread_join(some[i].thread);
		expect_value(some[i].f, &some[i].job);
		job_fini(&some[i].job);
	}
	scene_end(&s);
}

/* A timeout above ends the call, not the wait of its submitter. */
TEST(throttle, timeout_of_a_blocked_submit)
{
	struct scene s;
	struct submitter one;

	s.ex = exs_with_throttle(pool_of(&s), 1, &(exs_throttle_options){.block = true});
	s.ex = exs_with_timeout(s.ex, 10);
	submit(&s, 1);
	expect_running(&s, 0, 1);
	submitter_start(&one, s.ex);
	wait_waiting(s.ex, 1);
	advance(s.clock, 20);
	CHECK(!one.back);
	end(&s, 0);
	thread_join(one.thread);
	expect_code(one.f, &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_INT(one.job.starts, 0);
	scene_end(&s);
	job_fini(&one.job);
}

/* Blocked ones come in the order in which they blocked. */
TEST(throttle, blocked_submitters_in_order)
{
	struct scene s;
	struct submitter some[SUBMITTERS];

	scene_init_block(&s, 1);
	submit(&s, 1);
	for (unsigned i = 0; i < SUBMITTERS; i++) {
		submitter_start(&some[i], s.ex);
		wait_waiting(s.ex, i + 1);
	}
	atomic_store(&places, 0);
	end(&s, 0);
	for (unsigned i = 0; i < SUBMITTERS; i++) {
		thread_join(some[i].thread);
		expect_value(some[i].f, &some[i].job);
		CHECK_INT(some[i].place, i);
		job_fini(&some[i].job);
	}
	CHECK_INT(exs_throttle_waiting(s.ex), 0);
	scene_end(&s);
}

/* From within nothing blocks: a task's submits are queued, on a pool's worker and inline, and a retry's restarts. */
struct inside {
	exs_executor *ex;
	struct job jobs[3];
	exs_future *f[3];
};

static exs_result submit_inside(void *arg, exs_context *ctx)
{
	struct inside *in = arg;
	exs_task task = {.fn = job_run, .arg = &in->jobs[2], .arg_free = job_free_arg};

	(void)ctx;
	for (int i = 0; i < 2; i++)
		in->f[i] = job_submit(in->ex, &in->jobs[i]);
	in->f[2] = exs_try_submit(in->ex, &task);
	for (int i = 0; i < 3; i++)
		CHECK_INT(in->jobs[i].starts, 0);
	return exs_ok(NULL, NULL);
}

static void check_inside(exs_executor *ex)
{
	struct inside in = {.ex = ex};

	CHECK(ex);
	for (int i = 0; i < 3; i++)
		job_init(&in.jobs[i]);
	expect_value(exs_submit(ex, submit_inside, &in), NULL);
	for (int i = 0; i < 3; i++)
		expect_value(in.f[i], &in.jobs[i]);
	exs_executor_free(ex);
	for (int i = 0; i < 3; i++)
		job_fini(&in.jobs[i]);
}

TEST(throttle, submits_from_within_never_block)
{
	exs_throttle_options block = {.block = true};

	check_inside(exs_with_throttle(exs_thread_pool(1), 1, &block));
	check_inside(exs_with_throttle(exs_inline(), 1, &block));
	check_inside(exs_with_timeout_mode(exs_with_throttle(exs_inline(), 1, &block), 1e6, EXS_ABANDON));
	check_inside(exs_with_throttle(exs_with_timeout_mode(exs_thread_pool(2), 1e6, EXS_ABANDON), 1, &block));
}

/* On an event loop's own thread a submit that blocks runs what it waits for. */
TEST(throttle, blocked_on_the_thread_of_an_event_loop)
{
	exs_executor *ex = exs_with_throttle(exs_event_loop(), 1, &(exs_throttle_options){.block = true});
	struct job jobs[3];
	exs_future *f[3];

	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		f[i] = job_submit(ex, &jobs[i]);
		CHECK_INT(jobs[i].starts, 0);
		CHECK(i == 0 || exs_future_is_done(f[i - 1]));
	}
	CHECK_INT(exs_event_loop_poll(ex), 1);
	for (int i = 0; i < 3; i++) {
		expect_value(f[i], &jobs[i]);
		job_fini(&jobs[i]);
	}
	exs_executor_free(ex);
}

/* Also what is queued there only later, after a backoff. */
TEST(throttle, blocked_there_until_a_backoff_is_over)
{
	exs_executor *ex = exs_with_retry(exs_event_loop(), &(exs_retry_options){.sleep = 1e-2});
	struct job jobs[2];
	exs_future *f[2];

	ex = exs_with_throttle(ex, 1, &(exs_throttle_options){.block = true});
	for (int i = 0; i < 2; i++)
		job_init(&jobs[i]);
	jobs[0].failures = 1;
	jobs[0].error = exs_error_new(&test_domain, 1, "not yet");
	for (int i = 0; i < 2; i++)
		f[i] = job_submit(ex, &jobs[i]);
	CHECK_INT(jobs[0].starts, 2);
	CHECK_INT(exs_event_loop_poll(ex), 1);
	for (int i = 0; i < 2; i++)
		expect_value(f[i], &jobs[i]);
	exs_executor_free(ex);
	exs_error_unref(jobs[0].error);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

TEST(throttle, restarts_never_block)
{
	struct scene s;
	exs_error *error = exs_error_new(&test_domain, 1, "no");

	s.ex = exs_with_throttle(pool_of(&s), 1, &(exs_throttle_options){.block = true});
	s.ex = exs_with_retry(s.ex, NULL);
	submit(&s, 1);
	s.jobs[0].failures = 1;
	s.jobs[0].error = error;
	sem_post(&s.jobs[0].open);
	CHECK_INT(exs_clock_wait_armed(s.clock, 1, EXS_FOREVER), EXS_OK);
	submit(&s, 1);	     /* in its place */
	advance(s.clock, 1); /* would not come back */
	end(&s, 1);
	sem_post(&s.jobs[0].open);
	expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
	scene_end(&s);
	exs_error_unref(error);
}

/* --- races --- */

/* Never above the highest count there was, whoever submits, cancels and changes it. */
struct race {
	exs_executor *ex;
	struct counter counter;
	atomic_uint inside, most, ended;
	atomic_bool over;
};

static exs_result count_inside(void *arg, exs_context *ctx)
{
	struct race *r = arg;
	unsigned n = atomic_fetch_add(&r->inside, 1) + 1, most = atomic_load(&r->most);

	(void)ctx;
	while (n > most && !atomic_compare_exchange_weak(&r->most, &most, n))
		;
	sched_yield();
	atomic_fetch_sub(&r->inside, 1);
	return exs_ok(NULL, NULL);
}

static void note_end(exs_future *f, void *arg)
{
	(void)f;
	atomic_fetch_add(&((struct race *)arg)->ended, 1);
}

enum { CALLS = 2000, THREADS = 3 };

static void *submit_and_cancel(void *arg)
{
	struct race *r = arg;

	for (int i = 0; i < CALLS; i++) {
		exs_future *f = exs_submit(r->ex, count_inside, r);
		CHECK_INT(exs_future_on_done(f, note_end, r, NULL), EXS_OK);
		if (i % 3 == 0)
			exs_future_cancel(f);
		exs_future_unref(f);
	}
	return NULL;
}

static void *change_count(void *arg)
{
	struct race *r = arg;

	for (unsigned i = 0; !atomic_load(&r->over); i++) {
		atomic_store(&r->counter.count, i % 4);
		sched_yield();
	}
	atomic_store(&r->counter.count, 3);
	return NULL;
}

static void race(bool block, bool cancel_rest)
{
	exs_clock *clock = exs_clock_manual_new();
	struct race r = {.counter = {.count = 3}};
	exs_throttle_options options = {.count_fn = count_fn, .block = block, .ctx = &r.counter};
	pthread_t threads[THREADS], changer = thread_start(change_count, &r);

	r.ex = exs_with_throttle(exs_with_clock(exs_thread_pool(8), clock), 3, &options);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_start(submit_and_cancel, &r);
	while (atomic_load(&r.ended) < CALLS) {
		advance(clock, 2);
		sched_yield();
	}
	if (cancel_rest)
		exs_shutdown(r.ex, EXS_CANCEL_QUEUED, EXS_FOREVER);
	while (atomic_load(&r.ended) < THREADS * CALLS) {
		advance(clock, 2);
		sched_yield();
	}
	atomic_store(&r.over, true);
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	thread_join(changer);
	exs_executor_free(r.ex);
	CHECK_INT(exs_clock_armed(clock), 0);
	exs_clock_unref(clock);
	CHECK(r.most <= 3);
}

TEST(throttle, races)
{
	for (unsigned long i = 0; i < harness_rounds(2); i++) {
		race(false, false);
		race(true, false);
		race(false, true);
		race(true, true);
	}
}

/* --- made, described --- */

TEST(throttle, bad_options)
{
	struct counter c = {.count = 1};
	exs_throttle_options options = {.ctx = &c, .ctx_free = counter_free};
	struct {
		exs_throttle_options known;
		int unknown;
	} newer = {.known = options, .unknown = 1};

	CHECK(!exs_with_throttle(exs_thread_pool(1), EXS_UNLIMITED + 1u, &options));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
	CHECK(strstr(exs_error_message(exs_last_error()), "count: at most EXS_UNLIMITED"));
	CHECK(!exs_with_throttle_sized(exs_thread_pool(1), 1, &newer.known, sizeof(newer)));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
	CHECK(!exs_with_throttle(NULL, 1, &options));
	CHECK_INT(c.freed, 3);
	CHECK_INT(c.asked, 0);
}

TEST(throttle, nobody_waits_where_there_is_none)
{
	exs_executor *ex = exs_with_retry(exs_inline(), NULL);

	CHECK_INT(exs_throttle_waiting(ex), 0);
	CHECK_INT(exs_throttle_waiting(NULL), 0);
	exs_executor_free(ex);
}

TEST(throttle, described)
{
	struct counter c = {.count = 7};
	exs_executor *ex = exs_with_throttle(exs_inline(), 3, NULL);
	char text[128];

	ex = exs_with_throttle(ex, EXS_UNLIMITED, &(exs_throttle_options){.block = true});
	ex = exs_with_throttle(ex, 0, &(exs_throttle_options){.count_fn = count_fn, .ctx = &c});
	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "throttle(7) > throttle(unlimited, block) > throttle(3) > inline");
	exs_executor_free(ex);
}
