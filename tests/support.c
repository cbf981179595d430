/* What the functional tests share. */
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* --- the simulation --- */

exs_sim *support_sim;
static exs_executor *besides;

static void print_event(void *ctx, const exs_sim_event *e)
{
	(void)ctx;
	if (e->kind != EXS_SIM_DRAW)
		fprintf(stderr, "%6llu %10.3f s  %-9s %4llu %s %llu\n", (unsigned long long)e->step, e->time,
			exs_sim_kind_name(e->kind), (unsigned long long)e->call, e->name ? e->name : "",
			(unsigned long long)e->detail);
}

void sim_trace(exs_sim *sim)
{
	if (getenv("EXS_SIM_TRACE"))
		exs_sim_trace(sim, print_event, NULL);
}

/* Of delay.c, where there are delays. In a simulation one thread runs at a time: they would show nothing. */
void test_delays(bool on) __attribute__((weak));

void sim_begin(uint64_t seed, const exs_sim_options *options)
{
	if (test_delays)
		test_delays(false);
	support_sim = exs_sim_new(seed, options);
	CHECK(support_sim);
	sim_trace(support_sim);
	besides = exs_sim_pool(support_sim, 0);
	CHECK(besides);
}

void sim_end(void)
{
	exs_executor_free(besides);
	CHECK_INT(exs_sim_free(support_sim), EXS_OK);
	support_sim = NULL;
	if (test_delays)
		test_delays(true);
}

/* --- waiting, going on --- */

void wait_until(bool (*condition)(void *), void *arg)
{
	if (support_sim)
		CHECK_INT(exs_sim_wait(support_sim, condition, arg, EXS_FOREVER), EXS_OK);
	while (!condition(arg))
		nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

struct count {
	atomic_uint *count;
	unsigned n;
};

static bool is_reached(void *arg)
{
	struct count *c = arg;

	return atomic_load(c->count) == c->n;
}

void wait_count(atomic_uint *count, unsigned n)
{
	wait_until(is_reached, &(struct count){count, n});
}

static bool can_take(void *sem)
{
	int value;

	CHECK(!sem_getvalue(sem, &value));
	return value > 0;
}

void sem_take(sem_t *sem)
{
	if (support_sim)
		wait_until(can_take, sem);
	while (sem_wait(sem))
		CHECK_INT(errno, EINTR);
}

bool sem_taken(sem_t *sem)
{
	return !sem_trywait(sem);
}

pthread_t thread_start(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, fn, arg));
	return thread;
}

void thread_join(pthread_t thread)
{
	CHECK(!pthread_join(thread, NULL));
}

static void *run_small(void *fn)
{
	(*(void (**)(void))fn)();
	return NULL;
}

void on_small_stack(void (*fn)(void))
{
	pthread_attr_t attr;
	pthread_t thread;
	size_t size = 64 * 1024;

	CHECK(!pthread_attr_init(&attr));
	while (pthread_attr_setstacksize(&attr, size))
		size *= 2;
	CHECK(!pthread_create(&thread, &attr, run_small, &fn));
	CHECK(!pthread_join(thread, NULL));
	pthread_attr_destroy(&attr);
}

void dawdle(uint64_t *random)
{
	for (uint64_t n = harness_below(random, 200); n; n--)
		atomic_thread_fence(memory_order_seq_cst);
}

bool thread_sleeps(int tid)
{
	char path[64], text[128] = "", state = 'S';

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	FILE *file = fopen(path, "r");
	if (!file)
		return true;
	if (fgets(text, sizeof(text), file) && strrchr(text, ')'))
		sscanf(strrchr(text, ')'), ") %c", &state);
	fclose(file);
	return state == 'S';
}

void refuse_threads(bool refuse)
{
	static size_t usual;
	pthread_attr_t attr;

	CHECK(!pthread_getattr_default_np(&attr));
	if (refuse)
		CHECK(!pthread_attr_getstacksize(&attr, &usual));
	CHECK(!pthread_attr_setstacksize(&attr, refuse ? (size_t)1 << 50 : usual));
	CHECK(!pthread_setattr_default_np(&attr));
	pthread_attr_destroy(&attr);
}

void refuse_descriptors(bool refuse)
{
	static struct rlimit usual;

	if (refuse)
		CHECK(!getrlimit(RLIMIT_NOFILE, &usual));
	CHECK(!setrlimit(RLIMIT_NOFILE, &(struct rlimit){refuse ? 0 : usual.rlim_cur, usual.rlim_max}));
}

static exs_result run_beside(void *beside, exs_context *ctx)
{
	struct beside *b = beside;

	(void)ctx;
	b->fn(b->arg);
	return exs_ok(NULL, NULL);
}

void beside_start(struct beside *b, void *(*fn)(void *), void *arg)
{
	*b = (struct beside){.fn = fn, .arg = arg};
	if (support_sim)
		b->task = exs_submit(besides, run_beside, b);
	else
		b->thread = thread_start(fn, arg);
	CHECK(b->task || !support_sim);
}

void beside_end(struct beside *b)
{
	if (b->task)
		expect_value(b->task, NULL);
	else
		thread_join(b->thread);
}

void let_others_go_on(void)
{
	if (support_sim)
		CHECK(exs_sim_step(support_sim));
	else
		sched_yield();
}

static bool never(void *unused)
{
	(void)unused;
	return false;
}

void let_all_go_on(void)
{
	if (support_sim)
		CHECK_INT(exs_sim_wait(support_sim, never, NULL, 1e-3), EXS_ETIMEDOUT);
}

const exs_domain test_domain = {.size = sizeof(exs_domain), .name = "test"};

/* --- a task --- */

void job_init(struct job *job)
{
	*job = (struct job){.failures = 0};
	CHECK(!sem_init(&job->entered, 0, 0));
	CHECK(!sem_init(&job->open, 0, 0));
	CHECK(!sem_init(&job->in_set, 0, 0));
}

struct job *job_new(void)
{
	struct job *job = malloc(sizeof(*job));

	CHECK(job);
	job_init(job);
	return job;
}

static void job_open(void *job)
{
	sem_post(&((struct job *)job)->open);
}

static void job_destroy_value(void *job)
{
	CHECK(atomic_fetch_sub(&((struct job *)job)->values, 1) > 0); /* the last touch of the job */
}

exs_result job_value(struct job *job)
{
	atomic_fetch_add(&job->made, 1);
	atomic_fetch_add(&job->values, 1);
	return exs_ok(job, job_destroy_value);
}

void job_free_arg(void *job)
{
	struct job *j = job;

	CHECK_INT(atomic_fetch_add(&j->freed, 1), 0);
}

static void job_enter(struct job *j, exs_context *ctx)
{
	CHECK_INT(j->freed, 0);
	j->thread = pthread_self();
	unsigned expected = atomic_fetch_add(&j->starts, 1) + 1 + j->missed;
	if (j->unsteady)
		CHECK(exs_context_attempt(ctx) >= expected);
	else
		CHECK_INT(exs_context_attempt(ctx), expected);
	if (!j->gated)
		return;
	if (j->polite)
		CHECK_INT(exs_context_on_cancel(ctx, job_open, j), EXS_OK);
	sem_post(&j->entered);
	sem_take(&j->open);
}

exs_result job_run(void *arg, exs_context *ctx)
{
	struct job *j = arg;

	job_enter(j, ctx);
	unsigned start = atomic_load(&j->starts);
	if (j->inside)
		j->inside(j, ctx);
	bool stop = exs_context_stop_requested(ctx);
	if (stop) {
		atomic_store(&j->cause, exs_context_cause(ctx));
		atomic_fetch_add(&j->stops, 1);
	}
	CHECK_INT(j->freed, 0);
	atomic_fetch_add(&j->ends, 1);
	if (j->failures >= start)
		return exs_fail(exs_error_ref(j->error));
	if (j->cancels || (stop && j->polite))
		return exs_cancelled();
	return job_value(j);
}

exs_future *job_submit(exs_executor *ex, struct job *job)
{
	exs_task task = {.fn = job_run, .arg = job, .arg_free = job_free_arg};
	exs_future *f = exs_submit_with(ex, &task);

	CHECK(f);
	return f;
}

static bool job_settled(void *job)
{
	struct job *j = job;

	return j->freed == 1 && j->values == 0 && j->ends == j->starts;
}

/* The order is not fixed: a call may be done before its argument is freed, a descriptor's value may outlive its call. */
void job_fini(struct job *job)
{
	wait_until(job_settled, job);
	sem_destroy(&job->entered);
	sem_destroy(&job->open);
	sem_destroy(&job->in_set);
}

void job_delete(struct job *job)
{
	job_fini(job);
	free(job);
}

exs_error *job_poll(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)delay;
	for (size_t i = 0; i < n; i++) {
		struct job *job = exs_descriptor_value(d[i]);
		atomic_fetch_add(&job->polls, 1);
		if (atomic_load(&job->held)) {
			sem_post(&job->in_set);
			continue;
		}
		exs_result r = job_value(job);
		exs_yield_result(d[i], r.value, r.destroy);
	}
	return NULL;
}

bool job_cancel(void *ctx, void *value, exs_error **error)
{
	struct job *job = value;

	(void)ctx, (void)error;
	atomic_fetch_add(&job->told, 1);
	if (job->when_told)
		job->when_told(job);
	return !job->refuses;
}

/* --- thread pools --- */

exs_executor *pool_made(exs_thread_pool_options options)
{
	exs_executor *ex = exs_thread_pool_with(&options);

	CHECK(ex);
	return ex;
}

exs_thread_pool_stats pool_stats(exs_executor *ex)
{
	exs_thread_pool_stats s;

	CHECK_INT(exs_thread_pool_get_stats(ex, &s), EXS_OK);
	return s;
}

bool pool_is_idle(void *ex)
{
	exs_thread_pool_stats s = pool_stats(ex);

	return s.idle == s.workers && !s.running && !s.queued;
}

void pool_occupy(exs_executor *ex, struct job *jobs, exs_future **f, unsigned n, unsigned running)
{
	for (unsigned i = 0; i < n; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = true;
		f[i] = job_submit(ex, &jobs[i]);
		if (i < running)
			sem_take(&jobs[i].entered);
	}
}

void pool_let_go(struct job *jobs, exs_future **f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sem_post(&jobs[i].open);
	for (unsigned i = 0; i < n; i++) {
		expect_value(f[i], &jobs[i]);
		job_fini(&jobs[i]);
	}
}

/* --- futures --- */

void wait_done(exs_future *f)
{
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK(exs_future_is_done(f));
}

void expect_value(exs_future *f, const void *value)
{
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	CHECK(exs_future_value(f) == value);
	CHECK(!exs_future_error(f));
	exs_future_unref(f);
}

void expect_error(exs_future *f, const exs_error *error)
{
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_ERROR);
	CHECK(exs_future_error(f) == error);
	CHECK(!exs_future_value(f));
	exs_future_unref(f);
}

void expect_code(exs_future *f, const exs_domain *domain, int code)
{
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_ERROR);
	CHECK_STR(exs_error_domain(exs_future_error(f))->name, domain->name);
	CHECK_INT(exs_error_code(exs_future_error(f)), code);
	exs_future_unref(f);
}

void expect_cancelled(exs_future *f, exs_cause cause)
{
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	CHECK_INT(exs_future_cause(f), cause);
	CHECK(!exs_future_value(f) && !exs_future_error(f));
	exs_future_unref(f);
}

exs_promise *promise_made(exs_future **f)
{
	exs_promise *p = exs_promise_new(f);

	CHECK(p);
	return p;
}

void promise_done(exs_promise *p, exs_result r)
{
	CHECK_INT(exs_promise_complete(p, r), EXS_OK);
	exs_promise_free(p);
}

void promise_end(exs_promise *p, exs_result r)
{
	exs_promise_complete(p, r);
	exs_promise_free(p);
}

atomic_int numbers;

void number_free(void *value)
{
	free(value);
	atomic_fetch_sub(&numbers, 1);
}

exs_result number(long n)
{
	long *value = malloc(sizeof(*value));

	CHECK(value);
	*value = n;
	atomic_fetch_add(&numbers, 1);
	return exs_ok(value, number_free);
}

exs_result twice_number(void *arg, exs_context *ctx)
{
	(void)ctx;
	return number(2 * *(long *)arg);
}

bool number_next(void *source, exs_result *input)
{
	struct number_source *s = source;

	atomic_fetch_add(&s->asked, 1);
	if (s->fails && s->n == s->fails) {
		*input = exs_fail(exs_error_new(&test_domain, 7, "the source has failed"));
		return true;
	}
	if (s->n == s->end)
		return false;
	*input = number(s->n++);
	return true;
}

void number_source_free(void *source)
{
	atomic_fetch_add(&((struct number_source *)source)->freed, 1);
}

exs_future *number_returned(long n)
{
	exs_result r = number(n);
	exs_future *f = exs_future_return(r.value, r.destroy);

	CHECK(f);
	return f;
}

long number_of(exs_future *f)
{
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	return *(long *)exs_future_value(f);
}

void seen_init(struct seen *seen)
{
	*seen = (struct seen){.last = NULL};
	CHECK(!sem_init(&seen->called, 0, 0));
}

void seen_call(exs_future *f, void *ctx)
{
	struct seen *seen = ctx;

	atomic_store(&seen->last, f);
	atomic_store(&seen->thread, pthread_self());
	atomic_fetch_add(&seen->calls, 1);
	sem_post(&seen->called);
}

void seen_free(void *ctx)
{
	atomic_fetch_add(&((struct seen *)ctx)->frees, 1);
}

/* --- clock, log --- */

void advance(exs_clock *clock, double seconds)
{
	CHECK_INT(exs_clock_advance(clock, seconds), EXS_OK);
}

struct due {
	exs_clock *clock;
	double within;
};

static bool is_due(void *arg)
{
	struct due *due = arg;

	return exs_clock_next(due->clock) <= due->within;
}

void wait_next(exs_clock *clock, double seconds)
{
	wait_until(is_due, &(struct due){clock, seconds});
}

/* log_lock guards the lines. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char *log_text;

static void log_line(void *ctx, exs_log_level level, const char *executor, const char *message)
{
	char *longer;

	(void)ctx;
	pthread_mutex_lock(&log_lock);
	if (log_text) {
		CHECK(asprintf(&longer, "%s%d %s: %s\n", log_text, (int)level, executor, message) > 0);
		free(log_text);
		log_text = longer;
	}
	pthread_mutex_unlock(&log_lock);
}

/* The lock may be another thread's, which has failed. */
static void tell_log(void)
{
	if (pthread_mutex_trylock(&log_lock))
		return;
	if (log_text && *log_text)
		fprintf(stderr, "logged:\n%s", log_text);
	pthread_mutex_unlock(&log_lock);
}

void log_begin(exs_log_level level)
{
	harness_tell_more = tell_log;
	pthread_mutex_lock(&log_lock);
	log_text = strdup("");
	pthread_mutex_unlock(&log_lock);
	exs_set_log(log_line, NULL, level);
}

unsigned log_lines(const char *part)
{
	unsigned n = 0;

	pthread_mutex_lock(&log_lock);
	for (const char *line = log_text, *end; line && *line; line = end + 1) {
		end = strchr(line, '\n');
		const char *found = strstr(line, part);
		n += found && found < end;
	}
	pthread_mutex_unlock(&log_lock);
	return n;
}

void log_end(void)
{
	exs_set_log(NULL, NULL, EXS_LOG_ERROR);
	pthread_mutex_lock(&log_lock);
	free(log_text);
	log_text = NULL;
	pthread_mutex_unlock(&log_lock);
}
