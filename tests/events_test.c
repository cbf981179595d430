/* Events: which come, in what order, with which times; and exs_dump_alive. */
#include "scrape.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- events --- */

/* What came, as text: "submitted started(1) ..."; and the last event. */
struct record {
	pthread_mutex_t lock;
	char text[1024], name[32];
	exs_event last;
	exs_executor *of; /* events of others are left out; NULL: none is */
};

static void note(void *ctx, const exs_event *e)
{
	static const char *const kinds[] = {"submitted", "started", "attempt", "polled", "completed"};
	static const char outcomes[] = {'v', 'e', 'c'};
	struct record *r = ctx;

	pthread_mutex_lock(&r->lock);
	size_t n = strlen(r->text);
	if (!r->of || r->of == e->executor) {
		snprintf(r->text + n, sizeof(r->text) - n, "%s%s", n ? " " : "", kinds[e->kind]);
		n = strlen(r->text);
		if (e->attempt)
			snprintf(r->text + n, sizeof(r->text) - n, "(%u)", e->attempt);
		n = strlen(r->text);
		if (e->kind != EXS_EVENT_SUBMITTED && e->kind != EXS_EVENT_STARTED)
			snprintf(r->text + n, sizeof(r->text) - n, ":%c", outcomes[e->outcome]);
		snprintf(r->name, sizeof(r->name), "%s", e->name ? e->name : "-");
		r->last = *e;
	}
	pthread_mutex_unlock(&r->lock);
}

static void record_begin(struct record *r)
{
	*r = (struct record){.of = NULL};
	pthread_mutex_init(&r->lock, NULL);
	exs_set_events(note, r);
}

static void record_end(struct record *r, const char *text)
{
	exs_set_events(NULL, NULL);
	CHECK_STR(r->text, text);
	pthread_mutex_destroy(&r->lock);
}

static exs_future *submit_named(exs_executor *ex, struct job *job, const char *name)
{
	exs_task task = {.fn = job_run, .arg = job, .arg_free = job_free_arg, .name = name};
	exs_future *f = exs_submit_with(ex, &task);

	CHECK(f);
	return f;
}

static void take_time(struct job *job, exs_context *ctx)
{
	if (exs_context_attempt(ctx) == 1) /* later ones run inside an advance */
		advance(job->more, 0.25);
}

TEST(events, of_a_call)
{
	struct record r;
	exs_executor *ex = exs_thread_pool(1);
	struct job job;

	record_begin(&r);
	job_init(&job);
	expect_value(submit_named(ex, &job, "name"), &job);
	CHECK_STR(r.name, "name");
	CHECK(r.last.executor == ex && r.last.queue_seconds >= 0 && r.last.run_seconds >= 0);
	record_end(&r, "submitted started(1) attempt(1):v completed(1):v");
	exs_executor_free(ex);
	job_fini(&job);
}

/* Queue time up to the first start, run time of each attempt, and of all together. */
TEST(events, of_attempts_with_their_times)
{
	struct record r;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_inline(), clock), NULL);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job job;

	record_begin(&r);
	job_init(&job);
	job.error = error;
	job.failures = 2;
	job.inside = take_time;
	job.more = clock;
	exs_future *f = submit_named(ex, &job, "again");
	CHECK(r.last.kind == EXS_EVENT_ATTEMPT && r.last.queue_seconds == 0 && r.last.run_seconds == 0.25);
	advance(clock, 1);
	CHECK(r.last.kind == EXS_EVENT_ATTEMPT && r.last.attempt == 2 && r.last.run_seconds == 0);
	CHECK(r.last.queue_seconds == 0 && r.last.future == f && r.last.executor == ex);
	advance(clock, 2);
	CHECK(r.last.kind == EXS_EVENT_COMPLETED && r.last.queue_seconds == 0 && r.last.run_seconds == 0.25);
	expect_value(f, &job);
	record_end(&r,
		   "submitted started(1) attempt(1):e started(2) attempt(2):e started(3) attempt(3):v completed(3):v");
	exs_executor_free(ex);
	exs_clock_unref(clock);
	job_fini(&job);
	exs_error_unref(error);
}

TEST(events, of_a_call_that_waits)
{
	struct record r;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_throttle(exs_with_clock(exs_thread_pool(2), clock), 1, NULL);
	struct job first, second;

	job_init(&first);
	job_init(&second);
	first.gated = true;
	exs_future *f = job_submit(ex, &first);
	sem_take(&first.entered);
	record_begin(&r);
	exs_future *g = submit_named(ex, &second, "waits");
	advance(clock, 3);
	sem_post(&first.open);
	expect_value(g, &second);
	CHECK(r.last.queue_seconds == 3 && r.last.run_seconds == 0);
	record_end(&r, "submitted started(1) attempt(1):v completed(1):v"); /* the first is not watched */
	expect_value(f, &first);
	exs_executor_free(ex);
	exs_clock_unref(clock);
	job_fini(&first);
	job_fini(&second);
}

/* Cancelled before it begins, and refused: no start. */
TEST(events, of_calls_that_never_start)
{
	struct record r;
	exs_executor *ex = exs_thread_pool(1);
	struct job gate, job, late;

	job_init(&gate);
	job_init(&job);
	job_init(&late);
	gate.gated = true;
	exs_future *f = job_submit(ex, &gate);
	sem_take(&gate.entered);
	record_begin(&r);
	exs_future *g = job_submit(ex, &job);
	CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	exs_future_unref(g);
	CHECK_STR(r.text, "submitted completed:c");
	sem_post(&gate.open);
	expect_value(f, &gate);
	exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER);
	expect_code(job_submit(ex, &late), &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK_STR(r.name, "-");
	record_end(&r, "submitted completed:c submitted completed:e");
	exs_executor_free(ex);
	job_fini(&gate);
	job_fini(&job);
	job_fini(&late);
}

static void knows_its_name(struct job *job, exs_context *ctx)
{
	(void)job;
	CHECK_STR(exs_context_name(ctx), "left");
}

/* Left behind by its timeout: it is told of when it ends, as a part of the user's call. */
TEST(events, of_an_abandoned_attempt)
{
	struct record r;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout_mode(exs_with_clock(exs_thread_pool(1), clock), 10, EXS_ABANDON);
	struct job job;

	record_begin(&r);
	job_init(&job);
	job.gated = true;
	job.inside = knows_its_name;
	exs_future *f = submit_named(ex, &job, "left");
	sem_take(&job.entered);
	advance(clock, 10);
	expect_code(exs_future_ref(f), &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_STR(r.text, "submitted started(1) completed(1):e");
	CHECK(r.last.run_seconds == 0);
	sem_post(&job.open);
	exs_executor_free(ex);
	CHECK(r.last.kind == EXS_EVENT_ATTEMPT && r.last.future == f && r.last.run_seconds == 10);
	CHECK_STR(r.name, "left");
	record_end(&r, "submitted started(1) completed(1):e attempt(1):v");
	exs_future_unref(f);
	exs_clock_unref(clock);
	job_fini(&job);
}

TEST(events, of_polls)
{
	struct record r;
	exs_poll_options options = {.interval = 1000};
	exs_executor *ex = exs_with_poll(exs_inline(), job_poll, NULL, NULL, &options);
	struct job job;

	record_begin(&r);
	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	exs_executor_free(ex); /* its thread has ended */
	CHECK(r.last.kind == EXS_EVENT_POLLED && r.last.n == 1 && !r.last.future && !r.last.name);
	CHECK(r.last.executor == ex && r.last.run_seconds >= 0);
	record_end(&r, "submitted started(1) attempt(1):v completed(1):v polled:v");
	job_fini(&job);
}

/* Of a batch's calls those start that it runs one by one; what does the work of all is no call of the user's. */
static exs_error *run_first(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	(void)ctx, (void)context;
	exs_batch_run(items[0]);
	for (size_t i = 1; i < n; i++)
		exs_batch_yield_result(items[i], NULL, NULL);
	return NULL;
}

TEST(events, of_a_batch)
{
	struct record r;
	exs_batch_options options = {.max = 2, .seconds = EXS_UNLIMITED};
	exs_executor *ex = exs_with_batch(exs_inline(), run_first, NULL, &options);
	struct job jobs[2];

	record_begin(&r);
	job_init(&jobs[0]);
	job_init(&jobs[1]);
	exs_future *f = job_submit(ex, &jobs[0]), *g = job_submit(ex, &jobs[1]);
	expect_value(f, &jobs[0]);
	expect_value(g, NULL);
	record_end(&r, "submitted submitted started(1) attempt(1):v completed(1):v completed:v");
	exs_executor_free(ex);
	job_fini(&jobs[0]);
	job_fini(&jobs[1]);
}

/* Anything goes in the function: it looks at the future, submits, frees the executor. */
struct within {
	exs_executor *ex, *other;
	exs_future *f;
	atomic_uint events;
};

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static void do_much(void *ctx, const exs_event *e)
{
	struct within *w = ctx;
	char text[64];

	atomic_fetch_add(&w->events, 1);
	if (e->executor == w->other)
		return;
	exs_future_explain(e->future, text, sizeof(text));
	CHECK(!exs_future_is_done(e->future));
	alive_lines("");
	if (e->kind == EXS_EVENT_SUBMITTED)
		w->f = exs_submit(w->other, nothing, w);
	if (e->kind == EXS_EVENT_STARTED)
		exs_executor_free(w->ex);
}

TEST(events, the_function_may_call_anything)
{
	struct within w = {.ex = exs_thread_pool(1), .other = exs_inline()};

	exs_set_events(do_much, &w);
	exs_future *f = exs_submit(w.ex, nothing, NULL);
	expect_value(f, NULL);
	expect_value(w.f, &w);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	exs_set_events(NULL, NULL);
	CHECK_INT(w.events, 8);
	exs_executor_free(w.other);
}

/* Switched to and fro while calls run: each event goes to one of the two, with its own ctx. */
struct ear {
	struct ear *self;
	atomic_ulong heard;
};

static void hear(void *ctx, const exs_event *e)
{
	struct ear *ear = ctx;

	CHECK(ear->self == ear && e->executor);
	atomic_fetch_add(&ear->heard, 1);
}

static void hear_too(void *ctx, const exs_event *e)
{
	CHECK(((struct ear *)ctx)->self != ctx);
	atomic_fetch_add(&((struct ear *)ctx)->heard, 1);
	(void)e;
}

static void *submit_on(void *ex)
{
	for (int i = 0; i < 2000; i++)
		exs_future_unref(exs_submit(ex, nothing, NULL));
	return NULL;
}

TEST(events, switched_while_calls_run)
{
	struct ear one = {.self = &one}, two = {.self = NULL};
	exs_executor *ex = exs_thread_pool(2);
	pthread_t threads[2] = {thread_start(submit_on, ex), thread_start(submit_on, ex)};

	for (int i = 0; i < 300; i++) {
		exs_set_events(hear, &one);
		exs_set_events(hear_too, &two);
		if (i % 10 == 0)
			exs_set_events(NULL, NULL);
	}
	thread_join(threads[0]);
	thread_join(threads[1]);
	exs_executor_free(ex);
	exs_set_events(NULL, NULL);
}

/* --- alive --- */

TEST(alive, off_lists_nothing)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	exs_alive_enable(false);
	CHECK_INT(alive_lines(""), 0);
	exs_promise_free(p);
	exs_future_unref(f);
	CHECK(!exs_dump_alive(NULL, NULL));
	CHECK_STR(exs_error_message(exs_last_error()), "exs_dump_alive: fn is NULL");
}

static exs_executor *chain(exs_clock *clock)
{
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_thread_pool(1), clock), NULL);

	exs_alive_enable(true);
	return exs_with_timeout(ex, 3000);
}

/* Each state and place of a call. */
TEST(alive, lists_calls)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = chain(clock);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job runs, waits, fails;

	job_init(&runs);
	job_init(&waits);
	job_init(&fails);
	fails.error = error;
	fails.failures = 1;
	runs.gated = true;
	exs_future *c = submit_named(ex, &fails, "fails\n\x7f");
	wait_next(clock, 1);
	exs_future *a = submit_named(ex, &runs, "runs");
	sem_take(&runs.entered);
	exs_future *b = job_submit(ex, &waits);
	CHECK_INT(alive_lines(""), 3);
	CHECK_INT(alive_lines(" runs: attempt 1 of 3: timeout(3000s) > retry(3) > thread_pool(1)"), 1);
	CHECK_INT(alive_lines("running "), 1);
	CHECK_INT(alive_lines(" task: attempt 1 of 3: timeout(3000s) > retry(3) > thread_pool(1)"), 1);
	CHECK_INT(alive_lines(" fails\?\?: attempt 1 of 3: timeout(3000s) > retry(3) > thread_pool(1), at retry"), 1);
	CHECK_INT(alive_lines("pending "), 2);
	advance(clock, 1);
	CHECK_INT(alive_lines(" fails\?\?: attempt 2 of 3: timeout(3000s) > retry(3) > thread_pool(1)"), 1);
	sem_post(&runs.open);
	expect_value(a, &runs);
	expect_value(b, &waits);
	expect_value(c, &fails);
	CHECK_INT(alive_lines(""), 0);
	exs_alive_enable(false);
	exs_executor_free(ex);
	exs_clock_unref(clock);
	job_fini(&runs);
	job_fini(&waits);
	job_fini(&fails);
	exs_error_unref(error);
}

TEST(alive, attempts_without_limit)
{
	exs_retry_options retry = {.max_attempts = EXS_UNLIMITED};
	exs_executor *ex = exs_with_retry(exs_thread_pool(1), &retry);
	struct job job;

	exs_alive_enable(true);
	job_init(&job);
	job.gated = true;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	CHECK_INT(alive_lines(" task: attempt 1: retry(unlimited) > thread_pool(1)"), 1);
	sem_post(&job.open);
	expect_value(f, &job);
	exs_alive_enable(false);
	exs_executor_free(ex);
	job_fini(&job);
}

/* A call of its own: what waits for it has begun; then nobody waits for it. */
TEST(alive, lists_what_was_abandoned)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout_mode(exs_with_clock(exs_thread_pool(1), clock), 10, EXS_ABANDON);
	struct job job;

	exs_alive_enable(true);
	job_init(&job);
	job.gated = true;
	exs_future *f = submit_named(ex, &job, "left");
	sem_take(&job.entered);
	CHECK_INT(alive_lines(""), 2);
	CHECK_INT(alive_lines("begun "), 1);
	CHECK_INT(alive_lines(" left: timeout(10s, abandon) > thread_pool(1), at timeout"), 1);
	CHECK_INT(alive_lines(" left: thread_pool(1)"), 1);
	CHECK_INT(alive_lines("running "), 1);
	advance(clock, 10);
	expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_INT(alive_lines(""), 1);
	CHECK_INT(alive_lines("abandoned "), 1);
	CHECK_INT(alive_lines(" left: thread_pool(1)"), 1);
	sem_post(&job.open);
	exs_executor_free(ex);
	CHECK_INT(alive_lines(""), 0);
	exs_alive_enable(false);
	exs_clock_unref(clock);
	job_fini(&job);
}

/* Promises, and futures made of futures. */
TEST(alive, lists_promises_and_what_is_made_of_them)
{
	exs_future *f;

	exs_alive_enable(true);
	exs_promise *p = exs_promise_new(&f);
	exs_future *g = exs_future_map(exs_future_ref(f), NULL, NULL, NULL, NULL);
	CHECK_INT(alive_lines(""), 2);
	CHECK_INT(alive_lines("s promise"), 1);
	CHECK_INT(alive_lines("s map"), 1);
	CHECK_INT(alive_lines("pending 0."), 2);
	CHECK(exs_promise_start(p));
	CHECK_INT(alive_lines("running "), 1);
	exs_alive_enable(false); /* those that are listed stay listed */
	CHECK_INT(alive_lines(""), 2);
	exs_promise_complete(p, exs_ok(NULL, NULL));
	CHECK_INT(alive_lines(""), 0);
	exs_promise_free(p);
	exs_future_unref(f);
	exs_future_unref(g);
}

static exs_future *the_same(void *ctx, exs_result in)
{
	exs_result_clear(&in);
	return ctx;
}

static void nothing_more(void *ctx, const exs_result *outcome)
{
	(void)ctx, (void)outcome;
}

static bool never(void *ctx, exs_result *result)
{
	(void)ctx, (void)result;
	return false;
}

/* Each kind of them by its name. */
TEST(alive, lists_each_kind)
{
	static const char *const kinds[] = {"promise", "made of futures", "flat_map", "ensure", "nocancel",
					    "via",     "timeout",	  "until",    "tracker"};
	exs_executor *ex = exs_inline();
	exs_tracker *t = exs_tracker_new();
	exs_future *f[9];

	exs_alive_enable(true);
	exs_promise *p = exs_promise_new(&f[0]);
	for (int i = 0; i < 7; i++)
		exs_future_ref(f[0]);
	f[1] = exs_future_zip((exs_future *[]){exs_future_ref(f[0]), exs_future_return(NULL, NULL)}, 2);
	f[2] = exs_future_flat_map(f[0], the_same, NULL, exs_future_return(NULL, NULL), NULL);
	f[3] = exs_future_ensure(f[0], nothing_more, NULL, NULL);
	f[4] = exs_future_nocancel(f[0]);
	f[5] = exs_future_via(f[0], ex);
	f[6] = exs_future_timeout(f[0], 1000);
	f[7] = exs_until(never, NULL, NULL);
	CHECK_INT(exs_tracker_add(t, f[0]), EXS_OK);
	f[8] = exs_tracker_all(t);
	for (int i = 0; i < 9; i++) {
		char line[64];
		snprintf(line, sizeof(line), "s %s", kinds[i]);
		CHECK(f[i] && alive_lines(line) == 1);
	}
	CHECK_INT(alive_lines(""), 9);
	CHECK_INT(exs_future_cancel(f[7]), EXS_CANCELLED);
	exs_promise_complete(p, exs_ok(NULL, NULL));
	exs_promise_free(p);
	exs_executor_free(ex);
	CHECK_INT(alive_lines(""), 0);
	for (int i = 0; i < 9; i++)
		exs_future_unref(f[i]);
	exs_tracker_free(t);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	exs_alive_enable(false);
}

/* In a simulation the age is simulated. */
TEST(alive, age)
{
	sim_begin(7, NULL);
	exs_alive_enable(true);
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);
	CHECK_INT(alive_lines("pending 0.000s promise"), 1);
	CHECK_INT(exs_future_wait(f, 12.5), EXS_ETIMEDOUT);
	CHECK_INT(alive_lines("pending 12.500s promise"), 1);
	exs_promise_free(p);
	exs_future_unref(f);
	exs_alive_enable(false);
	sim_end();
}

/* More than are read at a time; a member of a scope. */
TEST(alive, lists_many)
{
	enum { MANY = 500 };
	static exs_promise *p[MANY];
	static exs_future *f[MANY];

	exs_alive_enable(true);
	for (int i = 0; i < MANY; i++)
		p[i] = exs_promise_new(&f[i]);
	CHECK_INT(alive_lines("promise"), MANY);
	for (int i = 0; i < MANY; i += 2)
		exs_promise_free(p[i]);
	CHECK_INT(alive_lines("promise"), MANY / 2);
	for (int i = 1; i < MANY; i += 2)
		exs_promise_free(p[i]);
	CHECK_INT(alive_lines(""), 0);
	exs_alive_enable(false);
	for (int i = 0; i < MANY; i++)
		exs_future_unref(f[i]);
}

/* A line is written while its executor can't be freed, its function called while it can. */
struct freeing {
	exs_executor *ex;
	unsigned pieces;
};

static bool free_in_the_middle(void *ctx, const char *text, size_t n)
{
	struct freeing *s = ctx;

	(void)text, (void)n;
	if (!s->pieces++)
		exs_executor_free(s->ex);
	return true;
}

TEST(alive, the_writer_may_free_the_executor)
{
	struct freeing s = {.ex = exs_thread_pool(1)};
	struct job gate, jobs[40];
	exs_future *f[40];

	exs_alive_enable(true);
	job_init(&gate);
	gate.gated = gate.polite = true;
	exs_future *g = job_submit(s.ex, &gate);
	sem_take(&gate.entered);
	for (int i = 0; i < 40; i++) {
		job_init(&jobs[i]);
		f[i] = submit_named(s.ex, &jobs[i], "a name that is rather long, so that there are several pieces");
	}
	sem_post(&gate.open);
	CHECK(exs_dump_alive(free_in_the_middle, &s));
	CHECK(s.pieces > 0);
	exs_alive_enable(false);
	exs_future_unref(g);
	for (int i = 0; i < 40; i++)
		exs_future_unref(f[i]);
	job_fini(&gate);
	for (int i = 0; i < 40; i++)
		job_fini(&jobs[i]);
}

/* Chains come and go while they are described. */
static atomic_bool over;

static void *make_and_free(void *unused)
{
	(void)unused;
	for (int i = 0; i < 150; i++) {
		exs_retry_options options = {.sleep = EXS_NONE};
		exs_executor *ex = exs_with_retry(exs_thread_pool(1), &options);
		ex = exs_with_throttle(exs_with_timeout_mode(ex, 100, i % 2 ? EXS_WAIT : EXS_ABANDON), 2, NULL);
		for (int k = 0; k < 10; k++) {
			exs_task task = {.fn = nothing, .name = "short"};
			exs_future *f = exs_submit_with(ex, &task);
			exs_future_unref(exs_future_map(f, NULL, NULL, NULL, NULL));
		}
		if (i % 3 == 0)
			exs_shutdown(ex, EXS_DRAIN, 0);
		exs_executor_free(ex);
	}
	return NULL;
}

static void *dump_on(void *unused)
{
	(void)unused;
	while (!atomic_load(&over))
		alive_lines("short");
	return NULL;
}

TEST(alive, while_chains_come_and_go)
{
	exs_alive_enable(true);
	atomic_store(&over, false);
	pthread_t makers[2] = {thread_start(make_and_free, NULL), thread_start(make_and_free, NULL)};
	pthread_t readers[2] = {thread_start(dump_on, NULL), thread_start(dump_on, NULL)};

	for (int i = 0; i < 2; i++)
		thread_join(makers[i]);
	atomic_store(&over, true);
	for (int i = 0; i < 2; i++)
		thread_join(readers[i]);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(alive_lines(""), 0);
	exs_alive_enable(false);
}
