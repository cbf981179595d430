/* The counterparts of CPython's tests of concurrent.futures, named as there: futures, wait, as_completed. See
   concurrent_futures.md for which is which, concurrent_futures_pool_test.c for the executors. */
#define _GNU_SOURCE
#include "support.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- a future in each state; of some executors, each of which does as the others --- */

enum { PENDING, RUNNING, CANCELLED, FAILED, VALUE, STATES };

struct fixed {
	exs_promise *p[STATES];
	exs_future *f[STATES];
	exs_error *error;
};

static exs_result integer(intptr_t n)
{
	return exs_ok((void *)n, NULL);
}

static void fixed_init(struct fixed *s)
{
	s->error = exs_error_new(&test_domain, 5, "no such host");
	for (int i = 0; i < STATES; i++) {
		s->p[i] = exs_promise_new(&s->f[i]);
		CHECK(s->p[i]);
	}
	CHECK(exs_promise_start(s->p[RUNNING]));
	CHECK_INT(exs_future_cancel(s->f[CANCELLED]), EXS_CANCELLED);
	CHECK_INT(exs_promise_complete(s->p[FAILED], exs_fail(exs_error_ref(s->error))), EXS_OK);
	CHECK_INT(exs_promise_complete(s->p[VALUE], integer(42)), EXS_OK);
}

static void fixed_end(struct fixed *s)
{
	for (int i = 0; i < STATES; i++) {
		exs_promise_free(s->p[i]);
		exs_future_unref(s->f[i]);
	}
	exs_error_unref(s->error);
}

enum { POOLS = 3, EXECUTORS };

static exs_executor *executor(int which)
{
	exs_thread_pool_options options = {.workers = 5, .order = which ? EXS_ANY_ORDER : EXS_IN_ORDER};
	exs_retry_options once = {.max_attempts = 1};
	exs_sim_options on_threads = {.threads = true};

	if (which == POOLS)
		sim_begin(harness_seed(), &on_threads);
	exs_executor *ex = support_sim ? exs_sim_pool(support_sim, 5) : exs_thread_pool_with(&options);
	if (which == 2)
		ex = exs_with_timeout(exs_with_retry(ex, &once), 1000);
	CHECK(ex);
	return ex;
}

static void executor_end(exs_executor *ex)
{
	exs_executor_free(ex);
	if (support_sim)
		sim_end();
}

static void init_gated(struct job *job)
{
	job_init(job);
	job->gated = true;
}

/* The letters: d for those that are done, p for the others. */
static void check_done(exs_future *const *f, const char *letters)
{
	for (size_t i = 0; letters[i]; i++)
		CHECK_INT(exs_future_is_done(f[i]), letters[i] == 'd');
}

/* --- FutureTests --- */

struct note {
	exs_promise *promise;
	exs_state state;
	intptr_t value;
	exs_error *error;
	unsigned calls, frees;
};

static void take_note(exs_future *f, void *ctx)
{
	struct note *note = ctx;

	note->calls++;
	note->state = exs_future_state(f);
	note->value = (intptr_t)exs_future_value(f);
	note->error = exs_future_error(f);
}

static void count_free(void *ctx)
{
	((struct note *)ctx)->frees++;
}

static exs_promise *noted(struct note *note, exs_future **f)
{
	exs_promise *p = exs_promise_new(f);

	CHECK(p);
	*note = (struct note){.promise = p};
	CHECK_INT(exs_future_on_done(*f, take_note, note, count_free), EXS_OK);
	CHECK_INT(note->calls, 0);
	return p;
}

static void check_note(const struct note *note, exs_state state, intptr_t value, const exs_error *error)
{
	CHECK_INT(note->calls, 1);
	CHECK_INT(note->frees, 1);
	CHECK_INT(note->state, state);
	CHECK_INT(note->value, value);
	CHECK(note->error == error);
}

TEST(cf_future, done_callback_with_result)
{
	struct note note;
	exs_future *f;
	exs_promise *p = noted(&note, &f);

	CHECK_INT(exs_promise_complete(p, integer(5)), EXS_OK);
	check_note(&note, EXS_STATE_VALUE, 5, NULL);
	exs_promise_free(p);
	exs_future_unref(f);
}

TEST(cf_future, done_callback_with_exception)
{
	exs_error *error = exs_error_new(&test_domain, 1, "test");
	struct note note;
	exs_future *f;
	exs_promise *p = noted(&note, &f);

	CHECK_INT(exs_promise_complete(p, exs_fail(exs_error_ref(error))), EXS_OK);
	check_note(&note, EXS_STATE_ERROR, 0, error);
	exs_promise_free(p);
	exs_future_unref(f);
	exs_error_unref(error);
}

TEST(cf_future, done_callback_with_cancel)
{
	struct note note;
	exs_future *f;
	exs_promise *p = noted(&note, &f);

	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	check_note(&note, EXS_STATE_CANCELLED, 0, NULL);
	exs_promise_free(p);
	exs_future_unref(f);
}

/* What in C is nearest to a callback that raises: it does all that it should not, and leaves an error behind. */
static void misbehave(exs_future *f, void *ctx)
{
	struct note *note = ctx;
	exs_result r;

	note->calls++;
	if (note->promise)
		CHECK_INT(exs_promise_complete(note->promise, integer(6)), EXS_EALREADY);
	CHECK_INT(exs_future_cancel(f), EXS_TOO_LATE);
	CHECK_INT(exs_future_take(f, &r), EXS_EBUSY);
	CHECK_INT(exs_future_take(NULL, &r), EXS_EINVAL);
	CHECK_INT(exs_future_on_done(f, NULL, NULL, NULL), EXS_EINVAL);
	exs_set_last_error(&test_domain, 1, "doh!");
}

TEST(cf_future, done_callback_raises)
{
	struct note raising = {.frees = 0}, note;
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	raising.promise = p;
	CHECK_INT(exs_future_on_done(f, misbehave, &raising, count_free), EXS_OK);
	note = (struct note){.frees = 0};
	CHECK_INT(exs_future_on_done(f, take_note, &note, count_free), EXS_OK);
	CHECK_INT(exs_promise_complete(p, integer(5)), EXS_OK);
	CHECK_INT(raising.calls, 1);
	CHECK_INT(raising.frees, 1);
	check_note(&note, EXS_STATE_VALUE, 5, NULL); /* the next one runs, and sees what it would have seen */
	exs_promise_free(p);
	CHECK_INT((intptr_t)exs_future_value(f), 5);
	exs_future_unref(f);
}

static void check_late_callback(struct fixed *s, int which, exs_state state, intptr_t value, const exs_error *error)
{
	struct note note = {.calls = 0};

	CHECK_INT(exs_future_on_done(s->f[which], take_note, &note, count_free), EXS_OK);
	check_note(&note, state, value, error); /* at once */
}

TEST(cf_future, done_callback_already_successful)
{
	struct fixed s;

	fixed_init(&s);
	check_late_callback(&s, VALUE, EXS_STATE_VALUE, 42, NULL);
	fixed_end(&s);
}

TEST(cf_future, done_callback_already_failed)
{
	struct fixed s;

	fixed_init(&s);
	check_late_callback(&s, FAILED, EXS_STATE_ERROR, 0, s.error);
	fixed_end(&s);
}

TEST(cf_future, done_callback_already_cancelled)
{
	struct fixed s;

	fixed_init(&s);
	check_late_callback(&s, CANCELLED, EXS_STATE_CANCELLED, 0, NULL);
	fixed_end(&s);
}

TEST(cf_future, done_callback_raises_already_succeeded)
{
	struct fixed s;
	struct note raising = {.calls = 0};

	fixed_init(&s);
	raising.promise = s.p[VALUE];
	CHECK_INT(exs_future_on_done(s.f[VALUE], misbehave, &raising, count_free), EXS_OK);
	CHECK_INT(raising.calls, 1);
	CHECK_INT(raising.frees, 1);
	CHECK_INT((intptr_t)exs_future_value(s.f[VALUE]), 42);
	fixed_end(&s);
}

TEST(cf_future, repr)
{
	static const char *const expected[STATES] = {[PENDING] = "pending",
						     [RUNNING] = "running",
						     [CANCELLED] = "cancelled",
						     [FAILED] = "no such host",
						     [VALUE] = "done"};
	struct fixed s;
	char text[80];

	fixed_init(&s);
	for (int i = 0; i < STATES; i++) {
		exs_future_explain(s.f[i], text, sizeof(text));
		if (!strstr(text, expected[i]))
			CHECK_STR(text, expected[i]);
	}
	fixed_end(&s);
}

TEST(cf_future, cancel)
{
	static const exs_answer answers[STATES] = {EXS_CANCELLED, EXS_STOP_REQUESTED, EXS_CANCELLED, EXS_TOO_LATE,
						   EXS_TOO_LATE};
	static const exs_state states[STATES] = {EXS_STATE_CANCELLED, EXS_STATE_RUNNING, EXS_STATE_CANCELLED,
						 EXS_STATE_ERROR, EXS_STATE_VALUE};
	struct fixed s;

	fixed_init(&s);
	for (int twice = 0; twice < 2; twice++) {
		for (int i = 0; i < STATES; i++) {
			CHECK_INT(exs_future_cancel(s.f[i]), answers[i]);
			CHECK_INT(exs_future_state(s.f[i]), states[i]);
		}
	}
	fixed_end(&s);
}

static void check_states(int yes, int also, exs_state state)
{
	struct fixed s;

	fixed_init(&s);
	for (int i = 0; i < STATES; i++)
		CHECK_INT(exs_future_state(s.f[i]) == state, i == yes || i == also);
	fixed_end(&s);
}

TEST(cf_future, cancelled)
{
	check_states(CANCELLED, CANCELLED, EXS_STATE_CANCELLED);
}

TEST(cf_future, running)
{
	check_states(RUNNING, RUNNING, EXS_STATE_RUNNING);
}

TEST(cf_future, done)
{
	struct fixed s;

	fixed_init(&s);
	check_done(s.f, "ppddd");
	fixed_end(&s);
}

TEST(cf_future, result_with_timeout)
{
	struct fixed s;

	fixed_init(&s);
	for (int i = 0; i < STATES; i++) {
		CHECK_INT(exs_future_wait(s.f[i], 0), i <= RUNNING ? EXS_ETIMEDOUT : EXS_OK);
		exs_result r = exs_future_result(s.f[i]);
		if (i <= RUNNING)
			CHECK(r.kind == EXS_KIND_ERROR && exs_error_is(r.error, &exs_domain_exs, EXS_EBUSY));
		else if (i == CANCELLED)
			CHECK_INT(r.kind, EXS_KIND_CANCELLED);
		else if (i == FAILED)
			CHECK(r.kind == EXS_KIND_ERROR && r.error == s.error);
		else
			CHECK(r.kind == EXS_KIND_VALUE && (intptr_t)r.value == 42);
	}
	fixed_end(&s);
}

TEST(cf_future, exception_with_timeout)
{
	struct fixed s;

	fixed_init(&s);
	for (int i = 0; i < STATES; i++) {
		CHECK_INT(exs_future_wait(s.f[i], 0), i <= RUNNING ? EXS_ETIMEDOUT : EXS_OK);
		CHECK(exs_future_error(s.f[i]) == (i == FAILED ? s.error : NULL));
	}
	fixed_end(&s);
}

/* Waits for its result: what the main thread does in theirs. */
struct waiter {
	exs_future *f;
	int rc;
	exs_result result;
	atomic_int tid;
	pthread_t thread;
};

static bool waiter_sleeps(void *arg)
{
	int tid = atomic_load(&((struct waiter *)arg)->tid);

	return tid && thread_sleeps(tid);
}

static void *wait_for_result(void *arg)
{
	struct waiter *w = arg;

	atomic_store(&w->tid, (int)syscall(SYS_gettid));
	w->rc = exs_future_wait(w->f, 600);
	w->result = exs_future_result(w->f);
	return NULL;
}

/* While another waits for it, the promise is completed with `with`; cancelled: its future is. */
static exs_result result_for_waiter(exs_result with)
{
	struct waiter w = {.rc = -1};
	exs_promise *p = exs_promise_new(&w.f);

	CHECK(p);
	w.thread = thread_start(wait_for_result, &w);
	wait_until(waiter_sleeps, &w);
	if (with.kind == EXS_KIND_CANCELLED)
		CHECK_INT(exs_future_cancel(w.f), EXS_CANCELLED);
	else
		CHECK_INT(exs_promise_complete(p, with), EXS_OK);
	thread_join(w.thread);
	CHECK_INT(w.rc, EXS_OK);
	exs_promise_free(p);
	exs_future_unref(w.f);
	return w.result;
}

TEST(cf_future, result_with_success)
{
	exs_result r = result_for_waiter(integer(42));

	CHECK(r.kind == EXS_KIND_VALUE && (intptr_t)r.value == 42);
}

TEST(cf_future, result_with_cancel)
{
	CHECK_INT(result_for_waiter(exs_cancelled()).kind, EXS_KIND_CANCELLED);
}

TEST(cf_future, exception_with_success)
{
	exs_error *error = exs_error_new(&exs_domain_errno, 5, "input/output error");
	exs_result r = result_for_waiter(exs_fail(exs_error_ref(error)));

	CHECK(r.kind == EXS_KIND_ERROR && r.error == error);
	exs_error_unref(error);
}

static void count_destroyed(void *count)
{
	++*(unsigned *)count;
}

TEST(cf_future, multiple_set_result)
{
	struct fixed s;
	unsigned destroyed = 0;

	fixed_init(&s);
	CHECK_INT(exs_promise_complete(s.p[VALUE], exs_ok(&destroyed, count_destroyed)), EXS_EALREADY);
	CHECK_INT(destroyed, 1); /* the second, refused */
	CHECK(exs_future_is_done(s.f[VALUE]));
	CHECK_INT((intptr_t)exs_future_value(s.f[VALUE]), 42);
	fixed_end(&s);
}

TEST(cf_future, multiple_set_exception)
{
	struct fixed s;

	fixed_init(&s);
	CHECK_INT(exs_promise_complete(s.p[FAILED], exs_fail(exs_error_new(&test_domain, 6, "another"))), EXS_EALREADY);
	CHECK(exs_future_error(s.f[FAILED]) == s.error);
	fixed_end(&s);
}

struct snapshots {
	exs_future *f;
	atomic_bool begun;
};

/* Who sees that it is done sees all of it. */
static void *look_at_it(void *arg)
{
	struct snapshots *s = arg;

	for (int seen = 0; seen < 1000;) {
		exs_state state = exs_future_state(s->f);
		exs_result r = exs_future_result(s->f);
		CHECK(state == EXS_STATE_PENDING || state == EXS_STATE_VALUE);
		if (state == EXS_STATE_VALUE) {
			CHECK(exs_future_is_done(s->f));
			CHECK(r.kind == EXS_KIND_VALUE && (intptr_t)r.value == 100);
			CHECK(!exs_future_error(s->f));
			seen++;
		}
		atomic_store(&s->begun, true);
	}
	return NULL;
}

TEST(cf_future, get_snapshot)
{
	struct snapshots s = {.f = NULL};
	exs_promise *p = exs_promise_new(&s.f);
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		threads[i] = thread_start(look_at_it, &s);
	while (!atomic_load(&s.begun))
		let_others_go_on();
	CHECK_INT(exs_promise_complete(p, integer(100)), EXS_OK);
	for (int i = 0; i < 4; i++)
		thread_join(threads[i]);
	exs_promise_free(p);
	exs_future_unref(s.f);
}

/* --- WaitTests --- */

static void open_and_end(struct job *job, exs_future *f)
{
	sem_post(&job->open);
	expect_value(f, job);
	job_fini(job);
}

TEST(cf_wait, issue_20369)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct job job;
		job_init(&job);
		exs_future *f = job_submit(ex, &job), *twice[] = {f, f};
		CHECK_INT(exs_wait_all(twice, 2, EXS_FOREVER), EXS_OK);
		check_done(twice, "dd");
		expect_value(f, &job);
		executor_end(ex);
		job_fini(&job);
	}
}

TEST(cf_wait, first_completed)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct fixed s;
		struct job gated, job;
		size_t first;
		fixed_init(&s);
		init_gated(&gated);
		job_init(&job);
		exs_future *f[] = {job_submit(ex, &gated), job_submit(ex, &job), s.f[CANCELLED]};
		CHECK_INT(exs_wait_any(f, 2, EXS_FOREVER, &first), EXS_OK);
		CHECK_INT(first, 1);
		check_done(f, "pd");
		expect_value(f[1], &job);
		f[1] = f[2], f[2] = s.f[PENDING];
		CHECK_INT(exs_wait_any(f, 3, EXS_FOREVER, &first), EXS_OK); /* a cancelled one is done */
		CHECK_INT(first, 1);
		check_done(f, "pdp");
		open_and_end(&gated, f[0]);
		executor_end(ex);
		fixed_end(&s);
		job_fini(&job);
	}
}

TEST(cf_wait, first_completed_some_already_completed)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct fixed s;
		struct job gated;
		size_t first;
		fixed_init(&s);
		init_gated(&gated);
		exs_future *f[] = {job_submit(ex, &gated), s.f[CANCELLED], s.f[VALUE]};
		CHECK_INT(exs_wait_any(f, 3, EXS_FOREVER, &first), EXS_OK);
		CHECK_INT(first, 1);
		check_done(f, "pdd");
		open_and_end(&gated, f[0]);
		executor_end(ex);
		fixed_end(&s);
	}
}

static void fail_always(struct job *job, exs_error *error)
{
	job_init(job);
	job->failures = ALWAYS;
	job->error = error;
}

struct opener {
	exs_future *f;
	struct job *next;
};

static void *open_after(void *arg)
{
	struct opener *o = arg;

	wait_done(o->f);
	sem_post(&o->next->open);
	return NULL;
}

TEST(cf_wait, first_exception)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		exs_error *error = exs_error_new(&test_domain, 1, "this is an error");
		struct job jobs[3];
		exs_future *f[3];
		size_t first;
		job_init(&jobs[0]);
		fail_always(&jobs[1], error);
		jobs[1].gated = true;
		init_gated(&jobs[2]);
		for (int k = 0; k < 3; k++)
			f[k] = job_submit(ex, &jobs[k]);
		struct opener o = {f[0], &jobs[1]}; /* the second fails only once the first is done */
		struct beside beside;
		beside_start(&beside, open_after, &o);
		CHECK_INT(exs_wait_first_error(f, 3, EXS_FOREVER, &first), EXS_OK);
		CHECK_INT(first, 1);
		check_done(f, "ddp");
		beside_end(&beside);
		open_and_end(&jobs[2], f[2]);
		expect_value(f[0], &jobs[0]);
		expect_error(f[1], error);
		executor_end(ex);
		job_fini(&jobs[0]);
		job_fini(&jobs[1]);
		exs_error_unref(error);
	}
}

TEST(cf_wait, first_exception_some_already_complete)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct fixed s;
		struct job gated, failing;
		size_t first;
		fixed_init(&s);
		init_gated(&gated);
		fail_always(&failing, s.error);
		exs_future *f[] = {s.f[VALUE], s.f[CANCELLED], job_submit(ex, &failing), job_submit(ex, &gated)};
		CHECK_INT(exs_wait_first_error(f, 4, EXS_FOREVER, &first), EXS_OK);
		CHECK_INT(first, 2); /* a cancelled one is no error */
		check_done(f, "dddp");
		open_and_end(&gated, f[3]);
		expect_error(f[2], s.error);
		executor_end(ex);
		job_fini(&failing);
		fixed_end(&s);
	}
}

TEST(cf_wait, first_exception_one_already_failed)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct fixed s;
		struct job gated;
		size_t first;
		fixed_init(&s);
		init_gated(&gated);
		exs_future *f[] = {s.f[FAILED], job_submit(ex, &gated)};
		CHECK_INT(exs_wait_first_error(f, 2, EXS_FOREVER, &first), EXS_OK);
		CHECK_INT(first, 0);
		check_done(f, "dp");
		open_and_end(&gated, f[1]);
		executor_end(ex);
		fixed_end(&s);
	}
}

TEST(cf_wait, all_completed)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct fixed s;
		struct job failing, job;
		fixed_init(&s);
		fail_always(&failing, s.error);
		job_init(&job);
		exs_future *f[] = {s.f[VALUE], s.f[CANCELLED], s.f[FAILED], job_submit(ex, &failing),
				   job_submit(ex, &job)};
		CHECK_INT(exs_wait_all(f, 5, EXS_FOREVER), EXS_OK);
		check_done(f, "ddddd");
		expect_error(f[3], s.error);
		expect_value(f[4], &job);
		executor_end(ex);
		job_fini(&failing);
		job_fini(&job);
		fixed_end(&s);
	}
}

TEST(cf_wait, timeout)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct fixed s;
		struct job gated;
		fixed_init(&s);
		init_gated(&gated);
		exs_future *f[] = {s.f[CANCELLED], s.f[FAILED], s.f[VALUE], job_submit(ex, &gated)};
		CHECK_INT(exs_wait_all(f, 4, 0.05), EXS_ETIMEDOUT);
		check_done(f, "dddp");
		CHECK_INT(exs_future_cause(f[3]), EXS_CAUSE_NONE); /* it is as it was */
		open_and_end(&gated, f[3]);
		executor_end(ex);
		fixed_end(&s);
	}
}

enum { MANY = 100 };

static exs_result pass_gate(void *gate, exs_context *ctx)
{
	(void)ctx;
	sem_take(gate);
	sem_post(gate);
	return exs_ok(gate, NULL);
}

/* All pass a gate while somebody begins to wait for all. */
TEST(cf_wait, pending_calls_race)
{
	for (unsigned long round = 0; round < harness_rounds(60); round++) {
		exs_executor *ex = executor((int)(round % EXECUTORS));
		exs_future *f[MANY];
		sem_t gate;
		CHECK(!sem_init(&gate, 0, 0));
		for (int i = 0; i < MANY; i++)
			f[i] = exs_submit(ex, pass_gate, &gate);
		sem_post(&gate);
		CHECK_INT(exs_wait_all(f, MANY, EXS_FOREVER), EXS_OK);
		for (int i = 0; i < MANY; i++)
			expect_value(f[i], &gate);
		executor_end(ex);
		sem_destroy(&gate);
	}
}

/* --- AsCompletedTests --- */

static exs_set *set_of(exs_future *const *f, size_t n)
{
	exs_set *set = exs_set_new();

	CHECK(set);
	for (size_t i = 0; i < n; i++)
		CHECK_INT(exs_set_add(set, exs_future_ref(f[i])), EXS_OK);
	return set;
}

/* Reads until the set says `end`, waiting up to `seconds` each time: exactly the members with the letter d came, once each. */
static void read_all(exs_set *set, exs_future *const *f, const char *letters, exs_set_status end, double seconds)
{
	unsigned came[8] = {0};
	exs_set_status status;
	exs_future *item;
	size_t n = strlen(letters);

	while ((status = exs_set_next(set, &item, seconds)) == EXS_ITEM) {
		size_t i = 0;
		while (i < n && f[i] != item)
			i++;
		CHECK(i < n);
		came[i]++;
		exs_future_unref(item);
	}
	CHECK_INT(status, end);
	for (size_t i = 0; i < n; i++)
		CHECK_INT(came[i], letters[i] == 'd');
}

TEST(cf_as_completed, no_timeout)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct fixed s;
		struct job jobs[2];
		fixed_init(&s);
		job_init(&jobs[0]);
		job_init(&jobs[1]);
		exs_future *f[] = {s.f[CANCELLED], s.f[FAILED], s.f[VALUE], job_submit(ex, &jobs[0]),
				   job_submit(ex, &jobs[1])};
		exs_set *set = set_of(f, 5);
		read_all(set, f, "ddddd", EXS_EMPTY, EXS_FOREVER);
		exs_set_free(set);
		expect_value(f[3], &jobs[0]);
		expect_value(f[4], &jobs[1]);
		executor_end(ex);
		job_fini(&jobs[0]);
		job_fini(&jobs[1]);
		fixed_end(&s);
	}
}

/* Both ways to bound it: each wait, and all of them together. */
static void times_out(exs_executor *ex, double each, double all)
{
	struct fixed s;
	struct job gated;

	fixed_init(&s);
	init_gated(&gated);
	exs_future *f[] = {s.f[CANCELLED], s.f[FAILED], s.f[VALUE], job_submit(ex, &gated)};
	exs_set *set = set_of(f, 4);
	CHECK_INT(exs_set_deadline(set, all), EXS_OK);
	read_all(set, f, "dddp", EXS_TIMEOUT, each);
	check_done(f, "dddp");
	CHECK_INT(exs_set_deadline(set, EXS_FOREVER), EXS_OK);
	sem_post(&gated.open);
	read_all(set, &f[3], "d", EXS_EMPTY, EXS_FOREVER); /* the set goes on */
	exs_set_free(set);
	expect_value(f[3], &gated);
	job_fini(&gated);
	fixed_end(&s);
}

TEST(cf_as_completed, zero_timeout)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		times_out(ex, 0, EXS_FOREVER);
		times_out(ex, EXS_FOREVER, 0);
		executor_end(ex);
	}
}

TEST(cf_as_completed, future_times_out)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		times_out(ex, 0.1, EXS_FOREVER);
		times_out(ex, EXS_FOREVER, 0.1);
		executor_end(ex);
	}
}

TEST(cf_as_completed, duplicate_futures)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct job gated;
		init_gated(&gated);
		exs_future *f = job_submit(ex, &gated), *thrice[] = {f, f, f};
		exs_set *set = set_of(thrice, 3);
		CHECK_INT(exs_set_count(set), 1);
		sem_post(&gated.open);
		read_all(set, thrice, "d", EXS_EMPTY, EXS_FOREVER);
		exs_set_free(set);
		expect_value(f, &gated);
		executor_end(ex);
		job_fini(&gated);
	}
}

/* All that are done, each of which nobody else has: with `take` its result too. Answers how many. */
static unsigned read_for_oneself(exs_set *set, bool take)
{
	unsigned n = 0;
	exs_future *f;
	exs_result r;

	for (; exs_set_next(set, &f, 0) == EXS_ITEM; n++) {
		if (take) {
			CHECK_INT(exs_future_take(f, &r), EXS_OK);
			exs_result_clear(&r);
		}
		exs_future_unref(f);
	}
	return n;
}

/* What is read is the reader's alone: its value goes with it, while others are still to come. */
TEST(cf_as_completed, free_reference_yielded_future)
{
	exs_set *set = exs_set_new();
	unsigned destroyed = 0, read = 0;
	exs_promise *p[10];
	exs_future *f;

	for (int i = 0; i < 10; i++) {
		p[i] = exs_promise_new(&f);
		if (i == 9)
			CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
		CHECK_INT(exs_set_add(set, f), EXS_OK);
	}
	exs_promise_free(p[9]);
	for (unsigned i = 9; i--;) {
		CHECK_INT(exs_promise_complete(p[i], exs_ok(&destroyed, count_destroyed)), EXS_OK);
		exs_promise_free(p[i]);
		read += read_for_oneself(set, i % 2);
		CHECK_INT(destroyed, 9 - i);
		CHECK_INT(exs_set_count(set), i);
	}
	CHECK_INT(read, 10);
	CHECK_INT(exs_set_next(set, &f, 0), EXS_EMPTY);
	exs_set_free(set);
}

TEST(cf_as_completed, correct_timeout_exception_msg)
{
	struct fixed s;

	fixed_init(&s);
	exs_set *set = set_of(s.f, 5);
	CHECK_INT(exs_set_count(set), 5);
	read_all(set, s.f, "ppddd", EXS_TIMEOUT, 0);
	CHECK_INT(exs_set_count(set), 2); /* of 5 are not done */
	exs_set_free(set);
	fixed_end(&s);
}
