/* Counterparts of more-executors' tests of its poll executor (test_poll.py). */
#define _GNU_SOURCE
#include "more_executors.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { CALLS = 3 };
enum status { UNKNOWN, DONE, FAILED };

/* A service with a job for each call, numbered from 1: what it says of them, and what the poll function has seen. */
struct scene {
	exs_clock *clock;
	exs_executor *pool, *ex;
	exs_future *f[CALLS];
	exs_error *error;      /* of jobs that failed */
	exs_error *poll_error; /* of the polls from now on */
	atomic_int status[CALLS + 1];
	atomic_uint asked[CALLS + 1]; /* to cancel */
	atomic_uint seen[CALLS + 1];  /* 1: by a poll */
	sem_t made;		      /* lets a call be made */
	atomic_uint n;		      /* in the last poll */
	atomic_uint polls;
	atomic_int poller; /* the thread */
	atomic_bool held;  /* a poll posts began and takes go */
	sem_t began, go;
};

static long job_of(exs_descriptor *d)
{
	return (long)(intptr_t)exs_descriptor_value(d);
}

static void poll_job(struct scene *s, exs_descriptor *d)
{
	atomic_store(&s->seen[job_of(d)], 1);
	enum status status = (enum status)atomic_load(&s->status[job_of(d)]);

	if (status == DONE)
		exs_yield_result(d, num(100 + job_of(d)), NULL);
	else if (status == FAILED)
		exs_yield_error(d, exs_error_ref(s->error));
}

static exs_error *poll_jobs(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct scene *s = ctx;

	(void)delay;
	atomic_store(&s->poller, (int)syscall(SYS_gettid));
	atomic_store(&s->n, (unsigned)n);
	atomic_fetch_add(&s->polls, 1);
	if (atomic_load(&s->held)) {
		sem_post(&s->began);
		sem_take(&s->go);
	}
	if (s->poll_error)
		return exs_error_ref(s->poll_error);
	for (size_t i = 0; i < n; i++)
		poll_job(s, d[i]);
	return NULL;
}

/* The first can be cancelled, the second not; nobody knows about the third. */
static bool cancel_job(void *ctx, void *value, exs_error **error)
{
	struct scene *s = ctx;
	intptr_t n = (intptr_t)value;

	atomic_fetch_add(&s->asked[n], 1);
	if (n == 3)
		*error = exs_error_new(&test_domain, 3, "simulated cancel error");
	return n == 1;
}

static exs_result make_job(void *n, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(n, NULL);
}

static void scene_init(struct scene *s, exs_cancel_fn *cancel, double interval)
{
	exs_poll_options options = {.interval = interval, .poll_empty = true};

	*s = (struct scene){.clock = exs_clock_manual_new()};
	s->pool = more_pool(CALLS, s->clock);
	s->ex = exs_with_clock(exs_borrow(s->pool), s->clock);
	s->ex = exs_with_poll(s->ex, poll_jobs, cancel, s, &options);
	s->error = exs_error_new(&test_domain, 1, "task failed");
	CHECK(s->ex && !sem_init(&s->began, 0, 0) && !sem_init(&s->go, 0, 0) && !sem_init(&s->made, 0, 0));
}

static void scene_end(struct scene *s)
{
	for (int i = 0; i < CALLS; i++)
		exs_future_unref(s->f[i]);
	exs_executor_free(s->ex);
	exs_executor_free(s->pool);
	CHECK_INT(exs_clock_armed(s->clock), 0);
	exs_clock_unref(s->clock);
	exs_error_unref(s->error);
	exs_error_unref(s->poll_error);
}

struct gate {
	struct scene *s;
	long n;
};

static exs_result make_later(void *gate, exs_context *ctx)
{
	struct gate *g = gate;

	sem_take(&g->s->made);
	return make_job(num(g->n), ctx);
}

/* n calls, not yet in the set; and let go, until a poll has seen them all and the poll thread sleeps. */
static void submit(struct scene *s, struct gate *gates, int n)
{
	for (int i = 0; i < n; i++) {
		gates[i] = (struct gate){s, i + 1};
		s->f[i] = more_submit(s->ex, make_later, &gates[i]);
	}
	for (int i = 0; i < n; i++)
		CHECK(!exs_future_is_done(s->f[i]));
}

static bool poller_sleeps(void *scene)
{
	return thread_sleeps(atomic_load(&((struct scene *)scene)->poller));
}

/* Each that comes rings for a poll, perhaps after one that has seen it: none will ring any more once the workers sleep. */
static void let_go(struct scene *s, unsigned n, double interval)
{
	for (unsigned i = 0; i < n; i++)
		sem_post(&s->made);
	wait_count(&s->n, n);
	wait_until(pool_is_idle, s->pool);
	wait_until(poller_sleeps, s);
	wait_next(s->clock, interval);
}

/* The next poll by the clock, which has ended. */
static void next_poll(struct scene *s, double interval)
{
	unsigned polls = s->polls;

	wait_next(s->clock, interval);
	advance(s->clock, interval);
	wait_count(&s->polls, polls + 1);
	wait_next(s->clock, interval);
}

TEST(more_poll, basic_poll)
{
	struct gate gates[CALLS];
	struct scene s;

	scene_init(&s, NULL, 5);
	submit(&s, gates, 3);
	s.status[1] = DONE;
	s.status[2] = FAILED;
	for (int i = 0; i < 3; i++)
		sem_post(&s.made);
	more_expect(exs_future_ref(s.f[0]), 101);
	expect_error(exs_future_ref(s.f[1]), s.error);
	wait_count(&s.seen[3], 1);
	next_poll(&s, 5);
	CHECK_INT(s.n, 1);
	CHECK(!exs_future_is_done(s.f[2]));
	scene_end(&s);
}

static void expect_undecided(struct scene *s)
{
	for (int i = 0; i < CALLS; i++)
		CHECK_INT(exs_future_wait(s->f[i], 0), EXS_ETIMEDOUT);
}

TEST(more_poll, poll_notify)
{
	struct gate gates[CALLS];
	struct scene s;

	scene_init(&s, NULL, 60);
	submit(&s, gates, 3);
	expect_undecided(&s);
	let_go(&s, 3, 60);
	expect_undecided(&s);
	unsigned polls = s.polls;
	s.status[1] = DONE;
	s.status[2] = FAILED;
	advance(s.clock, 59);
	CHECK_INT(s.polls, polls);
	expect_undecided(&s);
	exs_poll_notify(s.ex);
	more_expect(exs_future_ref(s.f[0]), 101);
	expect_error(exs_future_ref(s.f[1]), s.error);
	CHECK_INT(s.polls, polls + 1);
	CHECK(!exs_future_is_done(s.f[2]));
	scene_end(&s);
}

TEST(more_poll, cancel_fn)
{
	struct gate gates[CALLS];
	struct scene s;

	log_begin(EXS_LOG_ERROR);
	scene_init(&s, cancel_job, 5);
	submit(&s, gates, 3);
	let_go(&s, 3, 5);
	for (unsigned i = 1; i < 4; i++) {
		CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
		CHECK_INT(exs_future_cancel(s.f[1]), EXS_STOP_REQUESTED);
		CHECK_INT(exs_future_cancel(s.f[2]), EXS_STOP_REQUESTED);
		CHECK(s.asked[1] == 1 && s.asked[2] == i && s.asked[3] == i);
	}
	CHECK_INT(exs_future_state(s.f[0]), EXS_STATE_CANCELLED);
	CHECK(!exs_future_is_done(s.f[1]) && !exs_future_is_done(s.f[2]));
	CHECK_INT(log_lines("poll: the cancel function failed: simulated cancel error"), 3);
	s.status[2] = s.status[3] = DONE; /* they go on as if nothing had been */
	next_poll(&s, 5);
	more_expect(exs_future_ref(s.f[1]), 102);
	more_expect(exs_future_ref(s.f[2]), 103);
	scene_end(&s);
	log_end();
}

/* While its descriptor is in the set: it leaves that. */
TEST(more_poll, cancel_during_poll)
{
	struct gate gates[CALLS];
	struct scene s;

	scene_init(&s, NULL, 5);
	submit(&s, gates, 1);
	let_go(&s, 1, 5);
	CHECK_INT(exs_future_state(s.f[0]), EXS_STATE_PENDING);
	next_poll(&s, 5);
	CHECK_INT(s.n, 1);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
	next_poll(&s, 5);
	CHECK_INT(s.n, 0);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
	scene_end(&s);
}

/* While the poll function runs, which resolves it afterwards: too late. */
TEST(more_poll, cancel_during_poll_fn)
{
	struct gate gates[CALLS];
	struct scene s;

	scene_init(&s, NULL, 5);
	submit(&s, gates, 2);
	let_go(&s, 2, 5);
	s.held = true;
	exs_poll_notify(s.ex);
	sem_take(&s.began);
	for (int i = 0; i < 2; i++)
		CHECK_INT(exs_future_cancel(s.f[i]), EXS_CANCELLED);
	s.status[1] = DONE;
	s.status[2] = FAILED;
	s.held = false;
	sem_post(&s.go);
	next_poll(&s, 5);
	CHECK_INT(s.n, 0);
	for (int i = 0; i < 2; i++)
		expect_cancelled(exs_future_ref(s.f[i]), EXS_CAUSE_USER);
	scene_end(&s);
}

TEST(more_poll, poll_fail)
{
	struct gate gates[CALLS];
	struct scene s;

	scene_init(&s, NULL, 5);
	submit(&s, gates, 3);
	let_go(&s, 3, 5);
	s.status[1] = DONE;
	next_poll(&s, 5);
	more_expect(exs_future_ref(s.f[0]), 101);
	s.poll_error = exs_error_new(&test_domain, 2, "simulated poll error");
	next_poll(&s, 5);
	for (int i = 1; i < 3; i++)
		expect_error(exs_future_ref(s.f[i]), s.poll_error);
	next_poll(&s, 5);
	CHECK_INT(s.n, 0);
	scene_end(&s);
}
