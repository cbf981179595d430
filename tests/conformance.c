/* The conformance suite: public headers and the harness only, so that it also builds against an installed library. */
#include "conformance.h"
#include "support.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More calls than a chain runs at a time. A hint that sends a call into a backoff, and a time that ends it, but no timeout. */
enum { CROWD = 12, HINT = 7, LONG = 500 };

/* A chain under test, and what it says of itself. */
struct env {
	exs_executor *ex; /* NULL: the test has freed it */
	exs_scope *scope; /* NULL, or what all calls of the test are members of */
	bool here;	  /* a task runs inside its submit */
	bool polls;
	bool cancels;	   /* what a shutdown in any mode finds below a cancel_on_shutdown, running or not */
	bool goes_on;	   /* a value is not the end: it becomes a descriptor, or a function answers a future for it */
	bool batches;	   /* a task that was asked to stop may be left out, though its batch runs */
	unsigned attempts; /* starts of a task that always fails */
	exs_error *error;  /* retried at once */
	exs_error *hinted; /* retried after HINT */
	sem_t freed;	   /* posted by free_within */
};

static exs_clock *the_clock;
static const char *_Atomic test_name, *_Atomic chain_name;
static void (*fail_next)(void);
static bool faulty; /* the simulation injects faults */

exs_clock *conformance_clock(void)
{
	return the_clock;
}

exs_sim *conformance_sim(void)
{
	return support_sim;
}

exs_executor *conformance_retry(exs_executor *ex, unsigned max_attempts)
{
	exs_retry_options options = {.max_attempts = max_attempts, .sleep = EXS_NONE};

	return exs_with_retry(ex, &options);
}

exs_executor *conformance_poll(exs_executor *ex)
{
	exs_poll_options options = {.interval = 1000};

	return exs_with_poll(ex, job_poll, job_cancel, NULL, &options);
}

bool conformance_faults(void)
{
	return faulty;
}

/* --- the run over all chains --- */

static void say_chain(void)
{
	fprintf(stderr, "chain: %s\n", atomic_load(&chain_name));
	if (support_sim)
		fprintf(stderr,
			"alone: EXS_TEST_SEED=%llu EXS_TEST_CHAIN='%s' conformance_plain --only 'conformance/%s'\n",
			(unsigned long long)harness_seed(), atomic_load(&chain_name), atomic_load(&test_name));
	if (fail_next)
		fail_next();
}

static void note_attempts(struct job *job, exs_context *ctx)
{
	*(unsigned *)job->more = exs_context_max_attempts(ctx);
}

static bool is_idle(void *ex)
{
	return !exs_executor_pending(ex);
}

static void probe(struct env *env)
{
	char text[1024];
	struct job job;

	job_init(&job);
	job.inside = note_attempts;
	job.more = &env->attempts;
	expect_value(job_submit(env->ex, &job), &job);
	CHECK(exs_describe(env->ex, text, sizeof(text)) < sizeof(text));
	env->here = pthread_equal(job.thread, pthread_self());
	env->polls = strstr(text, "poll(");
	env->cancels = strstr(text, "cancel_on_shutdown");
	env->goes_on = env->polls || strstr(text, "flat_map");
	env->batches = strstr(text, "batch(");
	wait_until(is_idle, env->ex); /* a call counts until its callbacks have run */
	job_fini(&job);
}

/* --- with EXS_TEST_WATCH=1: all is watched, and at the end of each chain what was counted adds up --- */

static bool watched;
static atomic_ulong events[EXS_EVENT_COMPLETED + 1];

static void on_event(void *ctx, const exs_event *event)
{
	char text[256];

	(void)ctx;
	CHECK(event->executor && event->queue_seconds >= 0 && event->run_seconds >= 0);
	CHECK(event->kind == EXS_EVENT_POLLED || event->future);
	if (event->future)
		exs_future_explain(event->future, text, sizeof(text));
	if (event->kind == EXS_EVENT_COMPLETED)
		CHECK(!exs_future_is_done(event->future) || exs_future_error(event->future));
	atomic_fetch_add(&events[event->kind], 1);
}

/* Of metrics as of lines about those alive. In what is written nothing is under way any more. */
static bool rests(void *ctx, const char *text, size_t n)
{
	(void)ctx;
	for (const char *end = text + n, *line = text, *next; line < end; line = next) {
		next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
		const char *labels = memchr(line, '{', (size_t)(next - line));
		bool gauge = labels && (!strncmp(labels - 10, "inprogress", 10) || !strncmp(labels - 5, "queue", 5));
		if (!strncmp(line, "executors_exec_", 15))
			gauge = gauge && !support_sim; /* that is still there */
		if (gauge && strncmp(next - 3, " 0\n", 3) != 0)
			fprintf(stderr, "%.*s", (int)(next - line), line);
		CHECK(!gauge || !strncmp(next - 3, " 0\n", 3));
	}
	return true;
}

static bool no_lines(void *ctx, const char *text, size_t n)
{
	(void)ctx, (void)n;
	CHECK_INT(strtoul(text, NULL, 10), 0);
	CHECK(strstr(text, " not done"));
	return true;
}

static bool any_text(void *ctx, const char *text, size_t n)
{
	(void)ctx;
	CHECK(n && text[n - 1] == '\n');
	return true;
}

/* So many; under TSan, where each takes its time, a tenth with all watched: with nothing watched it runs them all. */
static int many(int n)
{
	return watched ? harness_many(n) : n;
}

static void watch_begin(void)
{
	watched = getenv("EXS_TEST_WATCH");
	if (!watched)
		return;
	exs_metrics_enable(true);
	exs_alive_enable(true);
	exs_set_events(on_event, NULL);
	for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
		atomic_store(&events[i], 0);
}

/* While calls may be under way, on a thread of the test's. */
static void watch_look(void)
{
	if (!watched)
		return;
	CHECK(exs_dump_alive(any_text, NULL));
	CHECK(exs_metrics_write(any_text, NULL));
}

static void watch_end(void)
{
	if (!watched)
		return;
	CHECK_INT(atomic_load(&events[EXS_EVENT_SUBMITTED]), atomic_load(&events[EXS_EVENT_COMPLETED]));
	CHECK_INT(atomic_load(&events[EXS_EVENT_STARTED]), atomic_load(&events[EXS_EVENT_ATTEMPT]));
	CHECK(atomic_load(&events[EXS_EVENT_SUBMITTED]) > 0);
	CHECK(exs_metrics_write(rests, NULL));
	CHECK(exs_dump_alive(no_lines, NULL));
}

/* Some of all, drawn. */
static exs_sim_options draw_faults(void)
{
	exs_sim_options o = {.threads = true};
	double *all[] = {&o.fail, &o.lose, &o.cancel, &o.delay, &o.time, &o.no_memory};
	uint64_t state = harness_seed();

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (harness_below(&state, 2))
			*all[i] = 1.0 / (double)(10 + harness_below(&state, 300));
	return o;
}

static void begin_clock(const struct conformance_chain *chain)
{
	exs_sim_options options = {.threads = true};

	if (!chain->on_sim) {
		the_clock = exs_clock_manual_new();
		return;
	}
	if (faulty)
		options = draw_faults();
	sim_begin(harness_seed(), &options);
	the_clock = exs_sim_clock(support_sim);
}

static uint64_t end_clock(void)
{
	uint64_t digest = 0;

	CHECK_INT(exs_clock_armed(the_clock), 0);
	if (support_sim) {
		digest = exs_sim_digest(support_sim);
		sim_end();
	} else {
		exs_clock_unref(the_clock);
	}
	return digest;
}

/* Answers the digest of a simulation. */
static uint64_t over_one(const struct conformance_chain *chain, void (*test)(struct env *env))
{
	int threads = harness_threads();
	long futures = harness_futures();
	struct env env = {.error = exs_error_new(&test_domain, 1, "no")};

	CHECK(!sem_init(&env.freed, 0, 0));
	env.hinted = exs_error_new_retry_after(&test_domain, 2, HINT, "not now");
	atomic_store(&chain_name, chain->name);
	begin_clock(chain);
	watch_begin();
	if (chain->set_up)
		chain->set_up();
	env.ex = chain->make();
	CHECK(env.ex);
	if (!faulty)
		probe(&env);
	test(&env);
	watch_look();
	exs_executor_free(env.ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	if (chain->tear_down)
		chain->tear_down();
	watch_end();
	uint64_t digest = end_clock();
	exs_error_unref(env.error);
	exs_error_unref(env.hinted);
	harness_wait_threads(threads);
	harness_wait_futures(futures);
	return digest;
}

/* On a simulation the same seed gives the same steps. */
static void over_rounds(const struct conformance_chain *chain, void (*test)(struct env *env))
{
	for (unsigned long n = chain->on_sim ? harness_rounds(1) : !faulty; n; n--) {
		uint64_t digest = over_one(chain, test), seed = harness_seed();
		if (chain->on_sim && seed % 8 == 0)
			CHECK(over_one(chain, test) == digest);
		if (chain->on_sim)
			harness_set_seed(seed + 1);
	}
}

static void over_chains(const char *name, void (*test)(struct env *env))
{
	const char *only = getenv("EXS_TEST_CHAIN"); /* to look at one, or some: 'sim: *' */

	atomic_store(&test_name, name);
	fail_next = harness_on_fail;
	harness_on_fail = say_chain;
	for (size_t i = 0; i < conformance_n; i++)
		if (!only || !fnmatch(only, conformance_chains[i].name, 0))
			over_rounds(&conformance_chains[i], test);
	harness_on_fail = fail_next;
}

/* TEST(conformance, name) over all chains; `env` is the chain. */
#define OVER_CHAINS(name)                                                                                              \
	static void name(struct env *env);                                                                             \
	TEST(conformance, name)                                                                                        \
	{                                                                                                              \
		over_chains(#name, name);                                                                              \
	}                                                                                                              \
	static void name(struct env *env)

static void release(struct env *env)
{
	exs_executor_free(env->ex);
	env->ex = NULL;
}

/* --- calls and where they can be --- */

static exs_future *submit(struct env *env, struct job *job)
{
	exs_task task = {.fn = job_run, .arg = job, .arg_free = job_free_arg};

	if (!env->scope)
		return job_submit(env->ex, job);
	exs_future *f = exs_scope_submit_with(env->scope, env->ex, &task);
	CHECK(f);
	return f;
}

/* A call whose submit may not return before the task ends. */
struct call {
	struct job job;
	struct env *env;
	exs_future *f;
	bool is_beside;
	struct beside beside;
};

static void *call_main(void *arg)
{
	struct call *c = arg;

	c->f = submit(c->env, &c->job);
	return NULL;
}

static void call_start(struct env *env, struct call *c)
{
	c->env = env;
	c->is_beside = env->here;
	if (c->is_beside)
		beside_start(&c->beside, call_main, c);
	else
		call_main(c);
}

static exs_future *call_future(struct call *c)
{
	if (c->is_beside)
		beside_end(&c->beside);
	c->is_beside = false;
	return c->f;
}

/* Gated calls, the first of which runs; where not all do, a call submitted after them waits. Polite ones end when they are
   asked to. */
struct crowd {
	unsigned n;
	struct call calls[CROWD];
};

static struct crowd *crowd_start(struct env *env, bool polite)
{
	struct crowd *crowd = malloc(sizeof(*crowd));

	CHECK(crowd);
	crowd->n = env->here ? 2 : CROWD;
	for (unsigned i = 0; i < crowd->n; i++) {
		job_init(&crowd->calls[i].job);
		crowd->calls[i].job.gated = true;
		crowd->calls[i].job.polite = polite;
		call_start(env, &crowd->calls[i]);
		if (i == 0 || env->here)
			sem_take(&crowd->calls[i].job.entered);
	}
	let_all_go_on();
	return crowd;
}

static void crowd_open(struct crowd *crowd)
{
	for (unsigned i = 0; i < crowd->n; i++)
		sem_post(&crowd->calls[i].job.open);
}

static unsigned crowd_started(struct crowd *crowd)
{
	unsigned n = 0;

	for (unsigned i = 0; i < crowd->n; i++)
		n += atomic_load(&crowd->calls[i].job.starts);
	return n;
}

/* After the release of the executor; drops the futures not yet dropped. */
static void crowd_end(struct crowd *crowd)
{
	for (unsigned i = 0; i < crowd->n; i++) {
		exs_future_unref(call_future(&crowd->calls[i]));
		job_fini(&crowd->calls[i].job);
	}
	free(crowd);
}

enum stage { QUEUED, RUNNING, BACKOFF, POLLED, STAGES };

static bool has_stage(const struct env *env, enum stage stage)
{
	return stage == BACKOFF ? env->attempts > 1 : stage == POLLED ? env->polls : !env->here;
}

/* Submits the job and returns when it is there; queued: behind a crowd. */
static exs_future *bring(struct env *env, enum stage stage, struct job *job)
{
	job->gated = stage == RUNNING || stage == QUEUED;
	atomic_store(&job->held, stage == POLLED);
	if (stage == BACKOFF) {
		job->failures = job->failures ? job->failures : ALWAYS;
		job->error = env->hinted;
	}
	exs_future *f = submit(env, job);
	if (stage == RUNNING)
		sem_take(&job->entered);
	else if (stage == POLLED)
		sem_take(&job->in_set);
	else if (stage == BACKOFF)
		wait_next(the_clock, HINT);
	return f;
}

/* A call in each stage that the chain has. RUNNING is the crowd's first. QUEUED may come to run, where a worker is late, as
   soon as those before it are cancelled: then it is one of the crowd. */
struct stages {
	struct crowd *crowd;
	struct job jobs[STAGES];
	exs_future *f[STAGES]; /* NULL: the chain has no such stage, or it is one of the crowd */
};

static void stages_start(struct env *env, struct stages *s, bool polite)
{
	*s = (struct stages){.crowd = NULL};
	for (int i = 0; i < STAGES; i++)
		job_init(&s->jobs[i]);
	s->jobs[BACKOFF].failures = 1;
	if (has_stage(env, POLLED))
		s->f[POLLED] = bring(env, POLLED, &s->jobs[POLLED]);
	if (has_stage(env, BACKOFF))
		s->f[BACKOFF] = bring(env, BACKOFF, &s->jobs[BACKOFF]);
	s->crowd = crowd_start(env, polite);
	s->jobs[QUEUED].polite = polite;
	if (has_stage(env, QUEUED))
		s->f[QUEUED] = bring(env, QUEUED, &s->jobs[QUEUED]);
}

static void stages_open(struct stages *s)
{
	crowd_open(s->crowd);
	sem_post(&s->jobs[QUEUED].open);
}

static unsigned stages_started(struct stages *s)
{
	return crowd_started(s->crowd) + atomic_load(&s->jobs[QUEUED].starts);
}

/* Releases the executor while all may go on, and checks what is left. */
static void stages_end(struct env *env, struct stages *s)
{
	stages_open(s);
	release(env);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	for (int i = 0; i < STAGES; i++) {
		if (!s->jobs[i].freed) /* never submitted */
			job_free_arg(&s->jobs[i]);
		exs_future_unref(s->f[i]);
		job_fini(&s->jobs[i]);
	}
	crowd_end(s->crowd);
}

/* --- results --- */

OVER_CHAINS(value)
{
	struct job job;
	exs_result r;

	job_init(&job);
	exs_future *f = job_submit(env->ex, &job);
	wait_done(f);
	CHECK_INT(exs_future_cause(f), EXS_CAUSE_NONE);
	CHECK_INT(exs_future_result(f).kind, EXS_KIND_VALUE);
	CHECK_INT(exs_future_take(exs_future_ref(f), &r), EXS_EBUSY);
	exs_future_unref(f);
	CHECK_INT(exs_future_take(f, &r), EXS_OK);
	CHECK(r.kind == EXS_KIND_VALUE && r.value == &job);
	expect_value(f, NULL);
	exs_result_clear(&r);
	CHECK_INT(job.starts, 1);
	job_fini(&job);
}

/* The very error, through any number of layers; after as many starts as the chain allows. */
OVER_CHAINS(error_keeps_its_identity)
{
	struct job job;

	job_init(&job);
	job.failures = ALWAYS;
	job.error = env->error;
	expect_error(job_submit(env->ex, &job), env->error);
	CHECK_INT(job.starts, env->attempts);
	job_fini(&job);
}

OVER_CHAINS(last_attempt_may_succeed)
{
	struct job job;

	job_init(&job);
	job.failures = env->attempts - 1;
	job.error = env->error;
	expect_value(job_submit(env->ex, &job), &job);
	CHECK_INT(job.starts, env->attempts);
	job_fini(&job);
}

OVER_CHAINS(task_cancels_itself)
{
	struct job job;

	job_init(&job);
	job.cancels = true;
	exs_future *f = job_submit(env->ex, &job);
	wait_done(f);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	expect_cancelled(f, EXS_CAUSE_NONE);
	CHECK_INT(job.starts, 1);
	job_fini(&job);
}

/* One of a thousand calls: its task answers a value, fails at first, fails always, cancels itself; or the user cancels it. */
enum outcome { VALUE, FAILS_ONCE, FAILS, CANCELS, IS_CANCELLED, OUTCOMES };

struct one {
	struct job job;
	enum outcome outcome;
	exs_future *f; /* the set's */
	unsigned came; /* out of the set */
	struct seen seen;
};

static void one_submit(struct env *env, struct one *one, exs_set *set)
{
	job_init(&one->job);
	seen_init(&one->seen);
	one->job.failures = one->outcome == FAILS ? ALWAYS : one->outcome == FAILS_ONCE;
	one->job.error = env->error;
	one->job.cancels = one->outcome == CANCELS;
	one->job.unsteady = faulty;
	one->f = submit(env, &one->job);
	one->seen.last = one->f;
	CHECK_INT(exs_future_on_done(one->f, seen_call, &one->seen, seen_free), EXS_OK);
	CHECK_INT(exs_set_add(set, one->f), EXS_OK);
	if (one->outcome == IS_CANCELLED)
		exs_future_cancel(one->f);
}

static void check_one(struct env *env, struct one *one)
{
	exs_kind kind = exs_future_result(one->f).kind, expected = EXS_KIND_VALUE;

	if (one->outcome == FAILS || (one->outcome == FAILS_ONCE && env->attempts == 1))
		expected = EXS_KIND_ERROR;
	else if (one->outcome == CANCELS)
		expected = EXS_KIND_CANCELLED;
	if (one->outcome == IS_CANCELLED) /* or it came too late */
		CHECK(kind == EXS_KIND_VALUE || exs_future_cause(one->f) == EXS_CAUSE_USER);
	else
		CHECK_INT(kind, expected);
	CHECK(kind != EXS_KIND_VALUE || exs_future_value(one->f) == &one->job);
	CHECK(kind != EXS_KIND_ERROR || exs_future_error(one->f) == env->error);
}

/* A failure, a cancel or a lost result may have come instead, none of which is another's. */
static void check_faulty(struct env *env, struct one *one)
{
	exs_result r = exs_future_result(one->f);

	CHECK(r.kind != EXS_KIND_VALUE || r.value == &one->job);
	CHECK(r.kind != EXS_KIND_ERROR || r.error == env->error || exs_error_domain(r.error) != &test_domain);
}

/* Once everything is over. */
static void one_end(struct env *env, struct one *one)
{
	static const char retried[OUTCOMES] = {[FAILS_ONCE] = 2, [FAILS] = 127};
	unsigned most = retried[one->outcome] ? (unsigned)retried[one->outcome] : 1;

	most = most < env->attempts ? most : env->attempts;
	CHECK_INT(one->came, 1);
	wait_count(&one->seen.frees, 1);
	CHECK_INT(one->seen.calls, 1);
	CHECK(faulty || one->job.starts <= most);
	CHECK(faulty || one->outcome == IS_CANCELLED || one->job.starts == most);
	job_fini(&one->job); /* its argument freed once, its values destroyed */
}

/* The one whose future it is. They come in their order, more or less: so it is looked for from the last one on. */
static struct one *one_of(exs_future *f, struct one *ones, unsigned all, unsigned *at)
{
	for (unsigned tries = 0; tries < all; tries++, *at = (*at + 1) % all)
		if (ones[*at].f == f)
			return &ones[*at];
	CHECK(false);
	return NULL;
}

static void thousand(struct env *env)
{
	unsigned all = (unsigned)many(1000), n = 0, at = 0;
	struct one *ones = calloc(all, sizeof(*ones));
	exs_set *set = exs_set_new();
	exs_future *f;

	CHECK(ones && set);
	for (unsigned i = 0; i < all; i++) {
		ones[i].outcome = (enum outcome)(i * i / 7 % OUTCOMES);
		one_submit(env, &ones[i], set);
	}
	for (; exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM; n++) {
		struct one *one = one_of(f, ones, all, &at);
		faulty ? check_faulty(env, one) : check_one(env, one);
		one->came++;
		one->f = NULL;
		exs_future_unref(f);
	}
	CHECK_INT(n, all);
	wait_until(is_idle, env->ex);
	for (unsigned i = 0; i < all; i++)
		one_end(env, &ones[i]);
	exs_set_free(set);
	free(ones);
}

/* Every result once, every callback once, every argument freed once. */
OVER_CHAINS(thousand_submits)
{
	thousand(env);
}

/* Every result once, every callback once, every argument freed once, whatever fails. */
TEST(conformance, thousand_submits_with_faults)
{
	faulty = true;
	over_chains("thousand_submits_with_faults", thousand);
	faulty = false;
}

static void *submit_many(void *ex)
{
	for (int i = many(100); i; i--) {
		struct job job;
		job_init(&job);
		expect_value(job_submit(ex, &job), &job);
		job_fini(&job);
	}
	return NULL;
}

OVER_CHAINS(submits_from_many_threads)
{
	struct beside threads[4];

	for (int i = 0; i < 4; i++)
		beside_start(&threads[i], submit_many, env->ex);
	for (int i = 0; i < 4; i++)
		beside_end(&threads[i]);
}

OVER_CHAINS(call_and_try_submit)
{
	struct job jobs[2];
	exs_task task = {.fn = job_run, .arg = &jobs[1], .arg_free = job_free_arg, .name = "tried"};
	exs_result r;

	for (int i = 0; i < 2; i++)
		job_init(&jobs[i]);
	CHECK_INT(exs_call(env->ex, job_run, &jobs[0], EXS_FOREVER, &r), EXS_OK);
	CHECK(r.kind == EXS_KIND_VALUE && r.value == &jobs[0]);
	exs_result_clear(&r);
	expect_value(exs_try_submit(env->ex, &task), &jobs[1]);
	jobs[0].freed = 1; /* exs_call has no arg_free */
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

OVER_CHAINS(pending_counts_calls)
{
	struct crowd *crowd = crowd_start(env, false);

	CHECK_INT(exs_executor_pending(env->ex), crowd->n);
	crowd_open(crowd);
	wait_until(is_idle, env->ex);
	CHECK_INT(exs_shutdown(env->ex, EXS_DRAIN, EXS_FOREVER), 0);
	CHECK_INT(exs_executor_pending(env->ex), 0);
	crowd_end(crowd);
}

/* --- the task's surroundings --- */

static exs_result look_around(void *arg, exs_context *ctx)
{
	struct job *job = arg;

	CHECK_STR(exs_context_name(ctx), "look");
	CHECK_INT(exs_context_attempt(ctx), atomic_fetch_add(&job->starts, 1) + 1);
	CHECK(exs_context_time_left(ctx) >= LONG);
	CHECK(!exs_context_stop_requested(ctx));
	CHECK_INT(exs_context_cause(ctx), EXS_CAUSE_NONE);
	atomic_fetch_add(&job->ends, 1);
	return exs_fail(exs_error_ref(job->error));
}

OVER_CHAINS(context_tells)
{
	struct job job;
	exs_task task = {.fn = look_around, .arg = &job, .arg_free = job_free_arg, .name = "look"};
	char text[256], expected[64];

	job_init(&job);
	job.error = env->error;
	exs_future *f = exs_submit_with(env->ex, &task);
	wait_done(f);
	CHECK_INT(job.starts, env->attempts);
	if (env->attempts > 1)
		snprintf(expected, sizeof(expected), "look: attempt %u of %u: no", env->attempts, env->attempts);
	else
		snprintf(expected, sizeof(expected), "look: no");
	CHECK_INT(exs_future_explain(f, text, sizeof(text)), strlen(expected));
	CHECK_STR(text, expected);
	exs_future_unref(f);
	job_fini(&job);
}

/* --- callbacks --- */

struct order {
	atomic_uint next, wrong;
	sem_t last;
};

struct place {
	struct order *order;
	unsigned number;
	atomic_uint frees;
};

enum { PLACES = 8 };

static void note_place(exs_future *f, void *ctx)
{
	struct place *place = ctx;

	CHECK(exs_future_is_done(f));
	CHECK_INT(place->frees, 0);
	CHECK_INT(atomic_fetch_add(&place->order->next, 1), place->number);
}

static void free_place(void *ctx)
{
	struct place *place = ctx;

	CHECK_INT(atomic_fetch_add(&place->frees, 1), 0);
	CHECK_INT(place->order->next, place->number + 1);
	if (place->number == PLACES - 1)
		sem_post(&place->order->last);
}

/* Before it is done, and (at once, on this thread) when it is done. */
OVER_CHAINS(callbacks_once_and_in_order)
{
	struct order order = {.next = 0};
	struct place places[PLACES];
	struct call c;

	job_init(&c.job);
	c.job.gated = true;
	CHECK(!sem_init(&order.last, 0, 0));
	call_start(env, &c);
	sem_take(&c.job.entered);
	if (env->here) {
		sem_post(&c.job.open);
		wait_done(call_future(&c)); /* otherwise the poll thread would run some, and this thread the others */
	}
	exs_future *f = call_future(&c);
	for (unsigned i = 0; i < PLACES; i++) {
		places[i] = (struct place){.order = &order, .number = i};
		CHECK_INT(exs_future_on_done(f, note_place, &places[i], free_place), EXS_OK);
	}
	if (!env->here) {
		CHECK_INT(order.next, 0);
		sem_post(&c.job.open);
	}
	sem_take(&order.last);
	CHECK_INT(order.next, PLACES);
	expect_value(f, &c.job);
	sem_destroy(&order.last);
	CHECK_INT(order.next, PLACES);
	for (unsigned i = 0; i < PLACES; i++)
		CHECK_INT(places[i].frees, 1);
	job_fini(&c.job);
}

OVER_CHAINS(callback_on_a_done_future_at_once)
{
	for (int kind = 0; kind < 3; kind++) {
		struct job job;
		struct seen seen;
		job_init(&job);
		seen_init(&seen);
		job.failures = kind == EXS_KIND_ERROR ? ALWAYS : 0;
		job.error = env->error;
		job.cancels = kind == EXS_KIND_CANCELLED;
		exs_future *f = job_submit(env->ex, &job);
		wait_done(f);
		CHECK_INT(exs_future_result(f).kind, kind);
		CHECK_INT(exs_future_on_done(f, seen_call, &seen, seen_free), EXS_OK);
		CHECK(seen.calls == 1 && seen.frees == 1 && seen.last == f);
		CHECK(pthread_equal(seen.thread, pthread_self()));
		exs_future_unref(f);
		job_fini(&job);
	}
}

static void drop(exs_future *f, void *seen)
{
	exs_future_unref(f); /* the user's */
	seen_call(f, seen);
}

OVER_CHAINS(last_reference_dropped_in_a_callback)
{
	struct seen seen;
	struct call c;

	job_init(&c.job);
	seen_init(&seen);
	c.job.gated = !env->here;
	call_start(env, &c);
	CHECK_INT(exs_future_on_done(call_future(&c), drop, &seen, NULL), EXS_OK);
	if (!env->here)
		sem_post(&c.job.open);
	sem_take(&seen.called);
	release(env);
	CHECK_INT(seen.calls, 1);
	job_fini(&c.job); /* its value is destroyed */
}

OVER_CHAINS(future_dropped_before_it_is_done)
{
	struct crowd *crowd = crowd_start(env, false);
	struct job job;

	job_init(&job);
	exs_future_unref(job_submit(env->ex, &job));
	for (unsigned i = 0; i < crowd->n && !env->here; i++) {
		exs_future_unref(crowd->calls[i].f);
		crowd->calls[i].f = NULL;
	}
	crowd_open(crowd);
	wait_until(is_idle, env->ex);
	CHECK_INT(exs_shutdown(env->ex, EXS_DRAIN, EXS_FOREVER), 0);
	CHECK_INT(crowd_started(crowd), crowd->n); /* nothing was cancelled */
	release(env);
	CHECK_INT(job.starts, 1);
	job_fini(&job);
	crowd_end(crowd);
}

/* --- submits and waits from within --- */

struct inner {
	struct env *env;
	struct job job;
	exs_future *f;
	int waited;
	sem_t done;
};

static void inner_init(struct inner *inner, struct env *env)
{
	*inner = (struct inner){.env = env, .waited = -1};
	job_init(&inner->job);
	CHECK(!sem_init(&inner->done, 0, 0));
}

static void inner_end(struct inner *inner)
{
	sem_destroy(&inner->done);
	job_fini(&inner->job);
}

static void submit_inner(struct job *job, exs_context *ctx)
{
	struct inner *inner = job->more;

	(void)ctx;
	inner->f = job_submit(inner->env->ex, &inner->job);
}

OVER_CHAINS(submit_in_a_task)
{
	struct inner inner;
	struct job job;

	job_init(&job);
	inner_init(&inner, env);
	job.inside = submit_inner;
	job.more = &inner;
	expect_value(job_submit(env->ex, &job), &job);
	expect_value(inner.f, &inner.job);
	inner_end(&inner);
	job_fini(&job);
}

static void wait_inner(struct job *job, exs_context *ctx)
{
	struct inner *inner = job->more;

	submit_inner(job, ctx);
	expect_value(inner->f, &inner->job);
}

/* Three deep, four times at once. */
OVER_CHAINS(wait_in_a_task)
{
	enum { N = 4 };
	struct inner inner[N][2];
	struct job jobs[N];
	exs_future *f[N];

	for (int i = 0; i < N; i++) {
		inner_init(&inner[i][0], env);
		inner_init(&inner[i][1], env);
		job_init(&jobs[i]);
		jobs[i].inside = inner[i][0].job.inside = wait_inner;
		jobs[i].more = &inner[i][0];
		inner[i][0].job.more = &inner[i][1];
		f[i] = job_submit(env->ex, &jobs[i]);
	}
	for (int i = 0; i < N; i++) {
		expect_value(f[i], &jobs[i]);
		inner_end(&inner[i][1]);
		inner_end(&inner[i][0]);
		job_fini(&jobs[i]);
	}
}

static void submit_after(exs_future *f, void *arg)
{
	struct inner *inner = arg;

	(void)f;
	inner->f = job_submit(inner->env->ex, &inner->job);
	sem_post(&inner->done);
}

static void wait_after(exs_future *f, void *arg)
{
	struct inner *inner = arg;

	(void)f;
	inner->f = job_submit(inner->env->ex, &inner->job);
	inner->waited = exs_future_wait(inner->f, EXS_FOREVER);
	sem_post(&inner->done);
}

/* A call whose callback goes on. Answers the future of what it submitted. */
static exs_future *go_on(struct env *env, struct inner *inner, exs_done_fn *fn)
{
	struct call c;

	job_init(&c.job);
	c.job.gated = !env->here;
	call_start(env, &c);
	exs_future *f = call_future(&c);
	CHECK_INT(exs_future_on_done(f, fn, inner, NULL), EXS_OK);
	if (!env->here)
		sem_post(&c.job.open);
	sem_take(&inner->done);
	expect_value(f, &c.job);
	job_fini(&c.job);
	return inner->f;
}

OVER_CHAINS(submit_in_a_callback)
{
	struct inner inner;

	inner_init(&inner, env);
	expect_value(go_on(env, &inner, submit_after), &inner.job);
	inner_end(&inner);
}

/* On the poll thread the wait can't be made: who would poll? */
OVER_CHAINS(wait_in_a_callback)
{
	struct inner inner;

	inner_init(&inner, env);
	expect_value(go_on(env, &inner, wait_after), &inner.job);
	if (env->polls)
		CHECK(inner.waited == EXS_OK || inner.waited == EXS_EDEADLK);
	else
		CHECK_INT(inner.waited, EXS_OK);
	inner_end(&inner);
}

/* --- cancel --- */

static void cancel_parked(struct env *env, enum stage stage, struct job *job)
{
	struct seen seen;
	exs_future *f = bring(env, stage, job);

	seen_init(&seen);
	CHECK_INT(exs_future_on_done(f, seen_call, &seen, seen_free), EXS_OK);
	CHECK_INT(exs_future_state(f), EXS_STATE_PENDING);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	CHECK(seen.calls == 1 && seen.frees == 1);
	CHECK(pthread_equal(seen.thread, pthread_self()));
	CHECK_INT(job->told, stage == POLLED);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	advance(the_clock, LONG); /* nothing is left that would start it again */
	expect_cancelled(f, EXS_CAUSE_USER);
}

OVER_CHAINS(cancel_what_does_not_run)
{
	for (enum stage stage = QUEUED; stage < STAGES; stage++) {
		struct crowd *crowd;
		struct job job;
		if (stage == RUNNING || !has_stage(env, stage))
			continue;
		crowd = stage == QUEUED ? crowd_start(env, false) : NULL;
		job_init(&job);
		cancel_parked(env, stage, &job);
		if (crowd)
			crowd_open(crowd);
		wait_until(is_idle, env->ex);
		CHECK_INT(job.starts, stage != QUEUED);
		job_fini(&job);
		if (crowd)
			crowd_end(crowd);
	}
}

/* A running one is asked to stop; what it then answers stands, and is not tried again. */
OVER_CHAINS(cancel_what_runs)
{
	for (int kind = 0; kind < 4 && !env->here; kind++) {
		struct job job;
		job_init(&job);
		job.failures = kind == EXS_KIND_ERROR || kind == 3 ? ALWAYS : 0;
		job.error = kind == 3 ? env->hinted : env->error;
		job.cancels = kind == EXS_KIND_CANCELLED;
		exs_future *f = bring(env, RUNNING, &job);
		CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
		CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
		CHECK(!exs_future_is_done(f));
		CHECK_INT(exs_future_cause(f), EXS_CAUSE_USER);
		sem_post(&job.open);
		if (job.failures)
			expect_error(f, job.error);
		else if (job.cancels || env->goes_on) /* it does not when asked to stop */
			expect_cancelled(f, EXS_CAUSE_USER);
		else
			expect_value(f, &job);
		advance(the_clock, LONG);
		CHECK_INT(job.starts, 1);
		CHECK_INT(job.stops, 1);
		CHECK_INT(job.cause, EXS_CAUSE_USER);
		CHECK_INT(job.told, 0);
		job_fini(&job);
	}
}

/* The handler runs on the thread that cancels. */
OVER_CHAINS(cancel_wakes_a_polite_task)
{
	struct job job;

	if (env->here)
		return;
	job_init(&job);
	job.polite = true;
	exs_future *f = bring(env, RUNNING, &job);
	CHECK(exs_future_cancel(f) != EXS_TOO_LATE);
	expect_cancelled(f, EXS_CAUSE_USER);
	release(env);
	CHECK_INT(job.stops, 1);
	job_fini(&job);
}

OVER_CHAINS(cancel_what_is_done)
{
	for (int kind = 0; kind < 2; kind++) {
		struct job job;
		job_init(&job);
		job.failures = kind ? ALWAYS : 0;
		job.error = env->error;
		exs_future *f = job_submit(env->ex, &job);
		wait_done(f);
		CHECK_INT(exs_future_cancel(f), EXS_TOO_LATE);
		CHECK_INT(exs_future_cause(f), EXS_CAUSE_NONE);
		if (kind)
			expect_error(f, env->error);
		else
			expect_value(f, &job);
		job_fini(&job);
	}
}

/* All at once; the answer counts those that are cancelled on return, one that is given twice twice. */
OVER_CHAINS(cancel_all_stages_together)
{
	struct stages s;
	exs_future *all[STAGES + CROWD + 1];
	size_t n = 0, cancelled = 0;

	if (env->here)
		return;
	stages_start(env, &s, false);
	for (int i = 0; i < STAGES; i++)
		all[n++] = s.f[i]; /* NULLs among them */
	for (int i = 0; i < CROWD; i++)
		all[n++] = s.crowd->calls[i].f;
	all[n++] = s.f[QUEUED];
	size_t answer = exs_future_cancel_all(all, n);
	for (size_t i = 0; i < n; i++)
		cancelled += all[i] && exs_future_state(all[i]) == EXS_STATE_CANCELLED;
	CHECK_INT(answer, cancelled);
	for (int i = 0; i < STAGES; i++)
		CHECK(!s.f[i] || exs_future_state(s.f[i]) == EXS_STATE_CANCELLED);
	CHECK_INT(s.jobs[POLLED].told, env->polls);
	CHECK_INT(exs_future_state(s.crowd->calls[0].f) == EXS_STATE_CANCELLED, false);
	CHECK_INT(exs_future_cause(s.crowd->calls[0].f), EXS_CAUSE_USER);
	stages_end(env, &s);
}

/* --- arguments --- */

OVER_CHAINS(refused_submits_free_the_argument)
{
	exs_retry_options nonsense = {.sleep = -1};
	struct longer {
		exs_task task;
		int more;
	};
	struct longer wrong[] = {
		{{.fn = NULL}, 0},
		{{.fn = job_run, .timeout = NAN}, 0},
		{{.fn = job_run, .timeout = -1}, 0},
		{{.fn = job_run, .retry = &nonsense}, 0},
		{{.fn = job_run}, 1},
	};

	for (size_t i = 0; i < 2 * sizeof(wrong) / sizeof(*wrong); i++) {
		struct longer *w = &wrong[i / 2];
		struct job job;
		job_init(&job);
		w->task.arg = &job;
		w->task.arg_free = job_free_arg;
		exs_future *f = i % 2 ? exs_try_submit_sized(env->ex, &w->task, sizeof(*w))
				      : exs_submit_with_sized(env->ex, &w->task, sizeof(*w));
		CHECK(f && exs_future_is_done(f));
		CHECK_INT(job.freed, 1);
		CHECK_INT(job.starts, 0);
		CHECK_INT(exs_future_cancel(f), EXS_TOO_LATE);
		expect_code(f, &exs_domain_exs, EXS_EINVAL);
		job_fini(&job);
	}
}

OVER_CHAINS(waits_with_nonsense)
{
	struct job job;

	if (env->here)
		return;
	job_init(&job);
	exs_future *f = bring(env, RUNNING, &job);
	CHECK_INT(exs_future_wait(f, 0), EXS_ETIMEDOUT);
	CHECK_INT(exs_future_wait(f, NAN), EXS_EINVAL);
	CHECK_INT(exs_future_wait(f, -1), EXS_EINVAL);
	CHECK(!exs_future_is_done(f));
	sem_post(&job.open);
	expect_value(f, &job);
	job_fini(&job);
}

/* --- shutdown --- */

OVER_CHAINS(submit_after_shutdown)
{
	struct job jobs[3];
	exs_task task = {.fn = job_run, .arg = &jobs[2], .arg_free = job_free_arg, .name = "late"};
	exs_mode modes[] = {EXS_DRAIN, EXS_CANCEL_ALL};

	for (int i = 0; i < 3; i++)
		job_init(&jobs[i]);
	for (int i = 0; i < 2; i++) {
		CHECK_INT(exs_shutdown(env->ex, modes[i], EXS_FOREVER), 0);
		exs_future *f = job_submit(env->ex, &jobs[i]);
		CHECK(exs_future_is_done(f));
		CHECK_INT(jobs[i].freed, 1);
		CHECK_INT(exs_future_cancel(f), EXS_TOO_LATE);
		expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
	}
	expect_code(exs_try_submit(env->ex, &task), &exs_domain_exs, EXS_ESHUTDOWN);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(jobs[i].starts, 0);
		job_fini(&jobs[i]);
	}
}

/* Nonsense does nothing. */
OVER_CHAINS(shutdown_with_nonsense)
{
	struct job job;
	struct {
		int mode;
		double seconds;
	} wrong[] = {{0, 1}, {4, 1}, {-1, 1}, {EXS_DRAIN, NAN}, {EXS_CANCEL_ALL, -1}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		CHECK_INT(exs_shutdown(env->ex, (exs_mode)wrong[i].mode, wrong[i].seconds), 0);
		CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	}
	job_init(&job);
	expect_value(job_submit(env->ex, &job), &job);
	job_fini(&job);
}

/* After a shutdown that had no time: everything is done, and failed where it was not cancelled. */
static void check_out_of_time(struct env *env, struct stages *s, exs_mode mode)
{
	for (int i = 0; i < STAGES; i++) {
		exs_future *f = s->f[i];
		if (!f)
			continue;
		bool drains = mode == EXS_DRAIN && !env->cancels;
		if (i == POLLED && !drains)
			wait_done(f); /* the poll thread may have it, to tell the cancel function */
		CHECK(exs_future_is_done(f));
		CHECK_INT(exs_future_cause(f), EXS_CAUSE_SHUTDOWN);
		bool left = exs_future_state(f) == EXS_STATE_ERROR && (mode == EXS_DRAIN || i != BACKOFF);
		if (drains || left)
			expect_code(exs_future_ref(f), &exs_domain_exs, EXS_ESHUTDOWN);
		else
			expect_cancelled(exs_future_ref(f), EXS_CAUSE_SHUTDOWN);
	}
	for (unsigned i = 0; i < s->crowd->n && !env->here; i++)
		CHECK(exs_future_is_done(s->crowd->calls[i].f));
}

/* Nothing is left undone; what runs runs on, and counts as left. Twice, then stronger ones. */
static void shut_down_now(struct env *env, exs_mode mode)
{
	struct stages s;

	stages_start(env, &s, false);
	struct call *first = &s.crowd->calls[0];
	size_t left = exs_shutdown(env->ex, mode, 0);
	check_out_of_time(env, &s, mode);
	CHECK(first->job.freed == 0 && first->job.ends == 0);
	for (int again = mode; again <= EXS_CANCEL_ALL; again++)
		CHECK(exs_shutdown(env->ex, (exs_mode)again, 0) <= left);
	stages_open(&s);
	CHECK_INT(exs_shutdown(env->ex, EXS_DRAIN, EXS_FOREVER), 0);
	unsigned started = stages_started(&s);
	CHECK(started >= 1 && left >= started && (left <= started + env->goes_on || env->batches));
	expect_code(exs_future_ref(call_future(first)), &exs_domain_exs, EXS_ESHUTDOWN);
	stages_end(env, &s);
}

OVER_CHAINS(drain_without_time)
{
	shut_down_now(env, EXS_DRAIN);
}

OVER_CHAINS(cancel_queued_without_time)
{
	shut_down_now(env, EXS_CANCEL_QUEUED);
}

OVER_CHAINS(cancel_all_without_time)
{
	shut_down_now(env, EXS_CANCEL_ALL);
}

struct closer {
	exs_executor *ex;
	exs_mode mode; /* 0: free it */
	size_t left;
};

static void *close_it(void *arg)
{
	struct closer *c = arg;

	if (c->mode)
		c->left = exs_shutdown(c->ex, c->mode, EXS_FOREVER);
	else
		exs_executor_free(c->ex);
	return NULL;
}

/* Submits until that is refused. Answers the jobs that were taken before, a list. */
static struct job *submit_until_refused(struct env *env)
{
	struct job *jobs = NULL;

	for (;;) {
		struct job *job = job_new();
		job->more = jobs;
		jobs = job;
		exs_future *f = job_submit(env->ex, job);
		bool refused = exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ESHUTDOWN);
		exs_future_unref(f);
		if (refused)
			return jobs;
		let_others_go_on();
	}
}

static void delete_jobs(struct job *jobs)
{
	while (jobs) {
		struct job *next = jobs->more;
		job_delete(jobs);
		jobs = next;
	}
}

/* Everything submitted runs to its end: queued, in a backoff, in the poll set. */
OVER_CHAINS(shutdown_drains)
{
	struct stages s;
	struct closer c = {env->ex, EXS_DRAIN, 1};

	if (env->cancels)
		return;
	stages_start(env, &s, false);
	struct beside thread;
	beside_start(&thread, close_it, &c);
	struct job *taken = submit_until_refused(env);
	for (int i = 0; i < STAGES; i++)
		CHECK(!s.f[i] || !exs_future_is_done(s.f[i]));
	stages_open(&s);
	atomic_store(&s.jobs[POLLED].held, false);
	exs_poll_notify(env->ex);
	advance(the_clock, HINT);
	beside_end(&thread);
	CHECK_INT(c.left, 0);
	for (int i = 0; i < STAGES; i++)
		if (s.f[i])
			expect_value(exs_future_ref(s.f[i]), &s.jobs[i]);
	for (unsigned i = 0; i < s.crowd->n; i++)
		expect_value(exs_future_ref(call_future(&s.crowd->calls[i])), &s.crowd->calls[i].job);
	CHECK_INT(s.jobs[BACKOFF].starts, env->attempts > 1 ? 2 : 0);
	stages_end(env, &s);
	delete_jobs(taken);
}

static bool queued_settled(void *stages)
{
	struct stages *s = stages;

	return exs_future_is_done(s->f[QUEUED]) || s->jobs[QUEUED].starts;
}

static void check_cancelled_by(struct stages *s, exs_cause cause)
{
	if (s->f[QUEUED])
		wait_until(queued_settled, s);
	for (int i = 0; i < STAGES; i++)
		if (s->f[i] && !(i == QUEUED && s->jobs[i].starts))
			expect_cancelled(exs_future_ref(s->f[i]), cause);
	CHECK_INT(s->jobs[POLLED].told, s->f[POLLED] != NULL);
}

static void check_cancelled(struct stages *s)
{
	check_cancelled_by(s, EXS_CAUSE_SHUTDOWN);
}

/* What no function runs is cancelled, before what runs has ended; that is not even asked to stop (but by cancel_on_shutdown). */
static void close_queued(struct env *env, exs_mode mode)
{
	struct stages s;
	struct closer c = {env->ex, mode, 0};

	stages_start(env, &s, false);
	struct beside thread;
	beside_start(&thread, close_it, &c);
	check_cancelled(&s);
	CHECK_INT(s.crowd->calls[0].job.ends, 0);
	if (!env->here && !env->cancels)
		CHECK_INT(exs_future_cause(s.crowd->calls[0].f), EXS_CAUSE_NONE);
	struct job *taken = env->here ? submit_until_refused(env) : NULL; /* the shutdown has begun */
	stages_open(&s);
	beside_end(&thread);
	CHECK_INT(c.left, 0);
	exs_future *f = exs_future_ref(call_future(&s.crowd->calls[0]));
	if (env->goes_on)
		expect_cancelled(f, EXS_CAUSE_SHUTDOWN); /* it comes too late */
	else
		expect_value(f, &s.crowd->calls[0].job);
	CHECK(s.crowd->calls[0].job.stops == 0 || env->cancels);
	env->ex = mode ? env->ex : NULL;
	stages_end(env, &s);
	delete_jobs(taken);
}

OVER_CHAINS(shutdown_cancels_what_is_queued)
{
	close_queued(env, EXS_CANCEL_QUEUED);
}

OVER_CHAINS(free_cancels_what_is_queued)
{
	close_queued(env, (exs_mode)0);
}

/* Running tasks are asked to stop as well, and see by whom. */
OVER_CHAINS(shutdown_cancels_all)
{
	struct stages s;

	stages_start(env, &s, true);
	CHECK_INT(exs_shutdown(env->ex, EXS_CANCEL_ALL, EXS_FOREVER), 0); /* with no help from here */
	check_cancelled(&s);
	expect_cancelled(exs_future_ref(call_future(&s.crowd->calls[0])), EXS_CAUSE_SHUTDOWN);
	CHECK_INT(s.crowd->calls[0].job.cause, EXS_CAUSE_SHUTDOWN);
	CHECK_INT(s.crowd->calls[0].job.stops, 1);
	stages_end(env, &s);
}

/* Inside a task it does not wait, least of all for that task. */
static void shut_down_inside(struct job *job, exs_context *ctx)
{
	struct inner *inner = job->more;

	(void)ctx;
	CHECK(exs_shutdown(inner->env->ex, EXS_DRAIN, EXS_FOREVER) >= 1);
	submit_inner(job, ctx);
	expect_code(inner->f, &exs_domain_exs, EXS_ESHUTDOWN);
}

OVER_CHAINS(shutdown_in_a_task)
{
	struct inner inner;
	struct job job;

	job_init(&job);
	inner_init(&inner, env);
	job.inside = shut_down_inside;
	job.more = &inner;
	exs_future *f = job_submit(env->ex, &job);
	if (env->cancels && env->goes_on)
		expect_cancelled(f, EXS_CAUSE_SHUTDOWN); /* asked to stop, it does not join the poll set */
	else
		expect_value(f, &job);
	CHECK_INT(inner.job.starts, 0);
	inner_end(&inner);
	job_fini(&job);
}

/* --- scopes --- */

static void close_scope(struct env *env, const exs_error *error)
{
	exs_error *e = exs_scope_close(env->scope);

	CHECK(e == error);
	exs_error_unref(e);
	env->scope = NULL;
}

OVER_CHAINS(thousand_members)
{
	exs_scope_options options = {.on_error = EXS_ON_ERROR_GO_ON};

	env->scope = exs_scope_new_with(&options);
	thousand(env);
	close_scope(env, env->error);
}

/* All is over when the close returns: callbacks, arguments, values. */
OVER_CHAINS(scope_awaits_its_members)
{
	enum { N = 20 };
	struct job jobs[N];
	struct seen seen;

	seen_init(&seen);
	env->scope = exs_scope_new();
	for (int i = 0; i < N; i++) {
		job_init(&jobs[i]);
		exs_future *f = submit(env, &jobs[i]);
		CHECK_INT(exs_future_on_done(f, seen_call, &seen, NULL), EXS_OK);
		exs_future_unref(f);
	}
	close_scope(env, NULL);
	CHECK_INT(seen.calls, N);
	CHECK_INT(exs_executor_pending(env->ex), 0);
	for (int i = 0; i < N; i++) {
		CHECK_INT(jobs[i].freed, 1);
		CHECK_INT(jobs[i].values, 0);
		job_fini(&jobs[i]);
	}
}

/* Wherever they are: queued, running, in a backoff, in the poll set. */
static void cancel_scope(struct env *env, exs_error *error)
{
	exs_executor *other = exs_inline();
	struct stages s;
	struct job bad;

	env->scope = exs_scope_new();
	stages_start(env, &s, true);
	job_init(&bad);
	bad.failures = ALWAYS;
	bad.error = error;
	exs_task task = {.fn = job_run, .arg = &bad, .arg_free = job_free_arg};
	if (error)
		expect_error(exs_scope_submit_with(env->scope, other, &task), error);
	else
		exs_scope_cancel(env->scope);
	check_cancelled_by(&s, error ? EXS_CAUSE_SIBLING : EXS_CAUSE_USER);
	close_scope(env, error);
	for (unsigned i = 0; i < s.crowd->n; i++) {
		struct call *c = &s.crowd->calls[i];
		expect_cancelled(exs_future_ref(call_future(c)), error ? EXS_CAUSE_SIBLING : EXS_CAUSE_USER);
		CHECK_INT(c->job.freed, 1);
	}
	if (!error)
		job_free_arg(&bad);
	job_fini(&bad);
	stages_end(env, &s);
	exs_executor_free(other);
}

OVER_CHAINS(scope_cancels_what_is_left)
{
	cancel_scope(env, env->error);
}

OVER_CHAINS(scope_is_cancelled)
{
	cancel_scope(env, NULL);
}

/* Its time up, the chain fails the futures; the tasks run on, and the close waits for them. */
static void *close_failed(void *scope)
{
	exs_error *e = exs_scope_close(scope);

	CHECK(exs_error_is(e, &exs_domain_exs, EXS_ESHUTDOWN));
	return NULL;
}

OVER_CHAINS(scope_of_a_chain_that_is_shut_down)
{
	struct call c;

	env->scope = exs_scope_new();
	job_init(&c.job);
	c.job.gated = true;
	call_start(env, &c);
	sem_take(&c.job.entered);
	exs_shutdown(env->ex, EXS_CANCEL_QUEUED, 0);
	struct beside thread;
	if (!env->here)
		beside_start(&thread, close_failed, env->scope); /* otherwise the submit is not over */
	CHECK_INT(c.job.freed, 0);
	sem_post(&c.job.open);
	expect_code(call_future(&c), &exs_domain_exs, EXS_ESHUTDOWN);
	if (env->here)
		close_failed(env->scope);
	else
		beside_end(&thread);
	env->scope = NULL;
	CHECK_INT(c.job.freed, 1);
	CHECK_INT(c.job.values, 0);
	job_fini(&c.job);
}

/* --- freed from within --- */

static void free_within(void *arg)
{
	struct env *env = arg;

	exs_executor_free(env->ex);
	env->ex = NULL;
	sem_post(&env->freed);
}

static void free_in_task(struct job *job, exs_context *ctx)
{
	(void)ctx;
	free_within(job->more);
}

/* A value that comes after that no longer joins a poll set. */
OVER_CHAINS(freed_in_a_task)
{
	struct job job;

	job_init(&job);
	job.inside = free_in_task;
	job.more = env;
	exs_future *f = job_submit(env->ex, &job);
	sem_take(&env->freed);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	if (env->goes_on)
		expect_cancelled(f, EXS_CAUSE_SHUTDOWN);
	else
		expect_value(f, &job);
	job_fini(&job);
}

static void free_in_callback(exs_future *f, void *env)
{
	(void)f;
	free_within(env);
}

/* While others run, wait in the queue, in a backoff and in the poll set; those are cancelled. */
OVER_CHAINS(freed_in_a_callback)
{
	struct stages s;

	stages_start(env, &s, false);
	struct call *first = &s.crowd->calls[0];
	if (env->here)
		crowd_open(
			s.crowd); /* it will be done: the callback is on no thread of the chain, and waits for them all */
	CHECK_INT(exs_future_on_done(call_future(first), free_in_callback, env, NULL), EXS_OK);
	sem_post(&first->job.open);
	sem_take(&env->freed);
	check_cancelled(&s);
	expect_value(exs_future_ref(first->f), &first->job);
	stages_end(env, &s);
}

static exs_result free_when_cancelled(void *arg, exs_context *ctx)
{
	struct job *job = arg;

	CHECK_INT(exs_context_on_cancel(ctx, free_within, job->more), EXS_OK);
	return job_run(job, ctx);
}

OVER_CHAINS(freed_in_an_on_cancel_handler)
{
	struct job job;
	exs_task task = {.fn = free_when_cancelled, .arg = &job, .arg_free = job_free_arg};

	if (env->here)
		return;
	job_init(&job);
	job.gated = true;
	job.more = env;
	exs_future *f = exs_submit_with(env->ex, &task);
	sem_take(&job.entered);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	sem_take(&env->freed);
	sem_post(&job.open);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	if (env->goes_on)
		expect_cancelled(f, EXS_CAUSE_USER);
	else
		expect_value(f, &job);
	job_fini(&job);
}

static void free_when_told(struct job *job)
{
	free_within(job->more);
}

OVER_CHAINS(freed_in_a_cancel_function)
{
	struct stages s;

	if (!env->polls)
		return;
	stages_start(env, &s, false);
	s.jobs[POLLED].when_told = free_when_told;
	s.jobs[POLLED].more = env;
	CHECK_INT(exs_future_cancel(s.f[POLLED]), EXS_CANCELLED);
	sem_take(&env->freed);
	expect_cancelled(s.f[POLLED], EXS_CAUSE_USER);
	s.f[POLLED] = NULL;
	CHECK_INT(s.jobs[POLLED].told, 1);
	s.jobs[POLLED].told = 0;
	check_cancelled(&s);
	stages_end(env, &s);
}

static exs_result nothing_of(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_cancelled();
}

static void free_with_arg(void *arg)
{
	struct job *job = arg;

	job_free_arg(job);
	free_within(job->more);
}

OVER_CHAINS(freed_in_an_arg_free)
{
	struct job job;
	exs_task task = {.fn = nothing_of, .arg = &job, .arg_free = free_with_arg};

	job_init(&job);
	job.more = env;
	exs_future *f = exs_submit_with(env->ex, &task);
	sem_take(&env->freed);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	expect_cancelled(f, EXS_CAUSE_NONE);
	job_fini(&job);
}

/* Futures live on: with their results, and able to answer anything. */
OVER_CHAINS(futures_outlive_the_executor)
{
	struct job jobs[3];
	struct seen seen;
	exs_future *f[3];
	char text[64];
	size_t first;

	seen_init(&seen);
	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		jobs[i].error = env->error;
		jobs[i].failures = i == EXS_KIND_ERROR ? ALWAYS : 0;
		jobs[i].cancels = i == EXS_KIND_CANCELLED;
		f[i] = job_submit(env->ex, &jobs[i]);
		wait_done(f[i]);
	}
	release(env);
	CHECK_INT(exs_wait_any(f, 3, EXS_FOREVER, &first), EXS_OK);
	CHECK_INT(exs_wait_all(f, 3, EXS_FOREVER), EXS_OK);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(exs_future_result(f[i]).kind, i);
		CHECK_INT(exs_future_cancel(f[i]), i == EXS_KIND_CANCELLED ? EXS_CANCELLED : EXS_TOO_LATE);
		CHECK(exs_future_explain(f[i], text, sizeof(text)) > 0);
		CHECK_INT(exs_future_on_done(f[i], seen_call, &seen, NULL), EXS_OK);
		CHECK_INT(seen.calls, i + 1);
	}
	expect_value(f[0], &jobs[0]);
	expect_error(f[1], env->error);
	expect_cancelled(f[2], EXS_CAUSE_NONE);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

/* --- seen through a borrow, described --- */

OVER_CHAINS(borrowed)
{
	struct job jobs[4];
	exs_executor *b[2] = {exs_borrow(env->ex), exs_borrow(env->ex)};

	for (int i = 0; i < 4; i++)
		job_init(&jobs[i]);
	expect_value(job_submit(b[0], &jobs[0]), &jobs[0]);
	CHECK_INT(exs_shutdown(b[0], EXS_CANCEL_ALL, EXS_FOREVER), 0);
	expect_code(job_submit(b[0], &jobs[1]), &exs_domain_exs, EXS_ESHUTDOWN);
	jobs[2].failures = ALWAYS;
	jobs[2].error = env->error;
	expect_error(job_submit(b[1], &jobs[2]), env->error);
	CHECK_INT(jobs[2].starts, env->attempts);
	release(env);
	expect_code(job_submit(b[1], &jobs[3]), &exs_domain_exs, EXS_ESHUTDOWN);
	for (int i = 0; i < 2; i++)
		exs_executor_free(b[i]);
	for (int i = 0; i < 4; i++)
		job_fini(&jobs[i]);
}

OVER_CHAINS(described)
{
	char all[1024], part[1024];
	size_t n = exs_describe(env->ex, all, sizeof(all));

	CHECK_INT(n, strlen(all));
	CHECK_INT(exs_describe(env->ex, NULL, 0), n);
	for (size_t size = 1; size <= n + 1; size++) {
		memset(part, '#', sizeof(part));
		CHECK_INT(exs_describe(env->ex, part, size), n);
		CHECK_INT(strlen(part), size - 1);
		CHECK(!memcmp(part, all, size - 1) && part[size] == '#');
	}
}
