/* Clocks: the manual one's order and arithmetic, and on the real one where things run. */
#define _GNU_SOURCE
#include "base/timer.h"
#include "support.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* --- the manual clock --- */

TEST(clock, stands_until_it_is_advanced)
{
	exs_clock *clock = exs_clock_manual_new();

	CHECK(exs_clock_now(clock) == 0);
	advance(clock, 0);
	CHECK(exs_clock_now(clock) == 0);
	advance(clock, 2.5);
	advance(clock, 1e9);
	CHECK(exs_clock_now(clock) == 1e9 + 2.5);
	CHECK_INT(exs_clock_armed(clock), 0);
	CHECK(exs_clock_next(clock) == EXS_FOREVER);
	exs_clock_unref(clock);
	exs_clock_unref(NULL);
}

TEST(clock, nonsense)
{
	exs_clock *clock = exs_clock_manual_new();
	double wrong[] = {NAN, -1, -EXS_FOREVER};

	for (int i = 0; i < 3; i++) {
		CHECK_INT(exs_clock_advance(clock, wrong[i]), EXS_EINVAL);
		CHECK_INT(exs_clock_wait_armed(clock, 1, wrong[i]), EXS_EINVAL);
	}
	CHECK_INT(exs_clock_advance(clock, EXS_FOREVER), EXS_EINVAL);
	CHECK_INT(exs_clock_advance(NULL, 1), EXS_EINVAL);
	CHECK(strstr(exs_error_message(exs_last_error()), "exs_clock_manual_new"));
	CHECK_INT(exs_clock_wait_armed(NULL, 1, 1), EXS_EINVAL);
	CHECK_INT(exs_clock_wait_armed(clock, 1, 0), EXS_ETIMEDOUT);
	CHECK_INT(exs_clock_wait_armed(clock, 1, 1e-4), EXS_ETIMEDOUT);
	CHECK_INT(exs_clock_wait_armed(clock, 0, 0), EXS_OK);
	CHECK(exs_clock_now(clock) == 0);
	CHECK(!exs_with_clock(NULL, clock));
	exs_clock_unref(clock);
}

/* Nanoseconds in 64 bits: it never goes back. */
TEST(clock, goes_no_further_than_it_can_count)
{
	exs_clock *clock = exs_clock_manual_new();

	advance(clock, 8.9e9);
	advance(clock, 8.9e9);
	CHECK(exs_clock_now(clock) > 1.7e10);
	CHECK_INT(exs_clock_advance(clock, 8.9e9), EXS_EINVAL);
	CHECK(strstr(exs_error_message(exs_last_error()), "exs_clock_advance: 8.9e+09 seconds"));
	CHECK(exs_clock_now(clock) > 1.7e10);
	advance(clock, 1);
	exs_clock_unref(clock);
}

TEST(clock, the_real_one_goes_on)
{
	double before = exs_clock_now(NULL);

	CHECK(before > 0);
	while (exs_clock_now(NULL) <= before)
		;
	CHECK(exs_clock_next(NULL) == EXS_FOREVER);
	CHECK_INT(exs_clock_armed(NULL), 0);
}

/* Timers that note when they fire, and may do something then. */
struct note {
	struct exsi_timer timer;
	exs_clock *clock;
	double due;
	unsigned *order, place; /* place: the how manieth it must be */
	double then;		/* advance by so much in the expiry */
	struct note *rearm;
	pthread_t thread;
	atomic_uint fired;
};

static bool claim_note(struct exsi_timer *timer)
{
	(void)timer;
	return true;
}

static void fire_note(struct exsi_timer *timer)
{
	struct note *n = EXSI_CONTAINER_OF(timer, struct note, timer);

	CHECK(exs_clock_now(n->clock) == n->due);
	CHECK_INT((*n->order)++, n->place);
	n->thread = pthread_self();
	atomic_fetch_add(&n->fired, 1);
	if (n->rearm)
		exsi_timer_arm(n->clock, &n->rearm->timer, (uint64_t)(n->rearm->due * 1e9), NULL);
	if (n->then > 0) {
		advance(n->clock, n->then); /* adds to the advance under way, and returns at once */
		CHECK(exs_clock_now(n->clock) == n->due);
	}
}

static const struct exsi_timer_kind notes = {claim_note, fire_note};

static struct note note(exs_clock *clock, unsigned *order, unsigned place, double due)
{
	return (struct note){.timer = {.kind = &notes}, .clock = clock, .order = order, .place = place, .due = due};
}

static void arm(struct note *n)
{
	CHECK(exsi_timer_arm(n->clock, &n->timer, (uint64_t)(n->due * 1e9), NULL));
}

TEST(clock, fires_in_the_order_of_deadlines)
{
	enum { N = 200 };
	exs_clock *clock = exs_clock_manual_new();
	struct note *n = malloc(N * sizeof(*n));
	unsigned order = 0;

	for (unsigned i = 0; i < N; i++) {
		unsigned k = (i * 77) % N; /* a permutation */
		n[k] = note(clock, &order, k, k);
		arm(&n[k]);
	}
	CHECK_INT(exs_clock_armed(clock), N);
	CHECK_INT(exs_clock_wait_armed(clock, N, 0), EXS_OK);
	CHECK(exs_clock_next(clock) == 0);
	advance(clock, 50);
	CHECK_INT(order, 51);
	CHECK(exs_clock_next(clock) == 1);
	advance(clock, 0.5);
	CHECK_INT(order, 51);
	CHECK(exs_clock_next(clock) == 0.5);
	advance(clock, 1000);
	CHECK_INT(order, N);
	for (unsigned i = 0; i < N; i++)
		CHECK(n[i].fired == 1 && pthread_equal(n[i].thread, pthread_self()));
	CHECK(exs_clock_now(clock) == 1050.5);
	free(n);
	exs_clock_unref(clock);
}

TEST(clock, disarmed_timers_do_not_fire)
{
	exs_clock *clock = exs_clock_manual_new();
	unsigned order = 0;
	struct note n[] = {note(clock, &order, 0, 1), note(clock, &order, 1, 2), note(clock, &order, 1, 2)};

	for (int i = 0; i < 3; i++)
		arm(&n[i]);
	CHECK(exsi_timer_disarm(clock, &n[1].timer));
	CHECK(!exsi_timer_disarm(clock, &n[1].timer));
	advance(clock, 5);
	CHECK(!exsi_timer_disarm(clock, &n[0].timer));
	CHECK_INT(n[1].fired, 0);
	CHECK_INT(order, 2);
	n[1].due = 5; /* a deadline that has passed fires at once */
	n[1].place = 2;
	exsi_timer_arm(clock, &n[1].timer, 3, NULL);
	CHECK(exs_clock_next(clock) == 0);
	advance(clock, 0);
	CHECK_INT(n[1].fired, 1);
	exs_clock_unref(clock);
}

/* From within an expiry: the advance goes on for as long, and fires what falls due by it, also what was armed meanwhile. */
TEST(clock, advanced_from_within)
{
	exs_clock *clock = exs_clock_manual_new();
	unsigned order = 0;
	struct note n[] = {note(clock, &order, 0, 1), note(clock, &order, 2, 4), note(clock, &order, 1, 3),
			   note(clock, &order, 3, 50)};

	n[0].then = 3;
	n[0].rearm = &n[2];
	arm(&n[0]);
	arm(&n[1]);
	arm(&n[3]);
	advance(clock, 1);
	CHECK_INT(order, 3);
	CHECK(exs_clock_now(clock) == 4);
	advance(clock, 46);
	CHECK_INT(order, 4);
	exs_clock_unref(clock);
}

static void *advance_often(void *clock)
{
	for (int i = 0; i < 100; i++)
		advance(clock, 1);
	return NULL;
}

TEST(clock, advanced_from_many_threads)
{
	exs_clock *clock = exs_clock_manual_new();
	pthread_t threads[3];
	unsigned order = 0;
	struct note n[100];

	for (unsigned i = 0; i < 100; i++) {
		n[i] = note(clock, &order, i, 3 * i);
		arm(&n[i]);
	}
	for (int i = 0; i < 3; i++)
		threads[i] = thread_start(advance_often, clock);
	for (int i = 0; i < 3; i++)
		thread_join(threads[i]);
	CHECK(exs_clock_now(clock) == 300);
	CHECK_INT(order, 100);
	exs_clock_unref(clock);
}

static void *wait_armed(void *clock)
{
	CHECK_INT(exs_clock_wait_armed(clock, 2, EXS_FOREVER), EXS_OK);
	return NULL;
}

TEST(clock, wait_armed_is_woken)
{
	exs_clock *clock = exs_clock_manual_new();
	unsigned order = 0;
	struct note n[] = {note(clock, &order, 0, 1), note(clock, &order, 1, 2)};
	pthread_t thread = thread_start(wait_armed, clock);

	arm(&n[0]);
	arm(&n[1]);
	thread_join(thread);
	advance(clock, 2);
	CHECK_INT(order, 2);
	exs_clock_unref(clock);
}

/* Layers keep the clock that they were wrapped with; executors hold references. */
TEST(clock, read_by_the_layers_wrapped_after_it)
{
	exs_clock *first = exs_clock_manual_new(), *second = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_inline(), first);
	struct job job;

	ex = exs_with_retry(ex, NULL);
	ex = exs_with_timeout(exs_with_clock(ex, second), 10);
	exs_clock_unref(first);
	job_init(&job);
	job.failures = ALWAYS;
	job.error = exs_error_new(&test_domain, 1, "no");
	exs_future *f = job_submit(ex, &job);
	CHECK_INT(exs_clock_armed(second), 1);
	CHECK(exs_clock_next(second) == 10);
	CHECK_INT(exs_clock_armed(first), 1);
	CHECK(exs_clock_next(first) == 1);
	advance(first, 1);
	CHECK_INT(job.starts, 2);
	advance(second, 10);
	expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
	exs_clock_unref(second);
	exs_executor_free(ex);
	exs_error_unref(job.error);
	job_fini(&job);
}

/* --- the real clock: where things run --- */

/* A call that waits behind a gate until its time is up. Its callback notes where it runs, starts the next and waits for it. */
struct link {
	exs_executor *ex;
	struct job job;
	exs_future *f;
	char thread[16];
	bool signals_blocked;
	int wait;
	sem_t done;
};

static void note_thread(struct link *link)
{
	sigset_t mask;

	CHECK(!pthread_getname_np(pthread_self(), link->thread, sizeof(link->thread)));
	CHECK(!pthread_sigmask(SIG_SETMASK, NULL, &mask));
	link->signals_blocked =
		sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) && sigismember(&mask, SIGCHLD);
}

static void link_start(struct link *link, exs_done_fn *fn)
{
	exs_task task = {.fn = job_run, .arg = &link->job, .arg_free = job_free_arg, .timeout = 1e-3};

	job_init(&link->job);
	CHECK(!sem_init(&link->done, 0, 0));
	link->f = exs_submit_with(link->ex, &task);
	CHECK_INT(exs_future_on_done(link->f, fn, link, NULL), EXS_OK);
}

static void link_end(struct link *link)
{
	sem_take(&link->done);
	expect_code(link->f, &exs_domain_exs, EXS_ETIMEDOUT);
	sem_destroy(&link->done);
	job_fini(&link->job);
}

static void last_link(exs_future *f, void *arg)
{
	struct link *link = arg;

	(void)f;
	note_thread(link);
	sem_post(&link->done);
}

static void wait_for_next(struct link *link, exs_done_fn *fn)
{
	note_thread(link);
	if (!strcmp(link->thread, "exs-callback")) { /* otherwise it was done before the callback was added */
		link_start(link + 1, fn);
		link->wait = exs_future_wait(link[1].f, EXS_FOREVER);
	}
	sem_post(&link->done);
}

static void second_link(exs_future *f, void *arg)
{
	(void)f;
	wait_for_next(arg, last_link);
}

static void first_link(exs_future *f, void *arg)
{
	(void)f;
	wait_for_next(arg, second_link);
}

/* On the callback thread; what a callback waits for there may need the timer and a callback thread of its own. */
TEST(clock, callbacks_run_and_wait_on_the_callback_thread)
{
	int threads = harness_threads();
	exs_executor *ex = exs_with_timeout(exs_thread_pool(1), EXS_FOREVER);
	struct link links[3];
	struct job gate;

	job_init(&gate);
	gate.gated = true;
	exs_future *first = job_submit(ex, &gate);
	do {
		for (int i = 0; i < 3; i++)
			links[i] = (struct link){.ex = ex, .wait = -1};
		link_start(&links[0], first_link);
		link_end(&links[0]);
	} while (strcmp(links[0].thread, "exs-callback"));
	for (int i = 1; i < 3; i++)
		link_end(&links[i]);
	for (int i = 0; i < 3; i++) {
		CHECK_STR(links[i].thread, "exs-callback");
		CHECK(links[i].signals_blocked);
		CHECK_INT(links[i].wait, i < 2 ? EXS_OK : -1);
	}
	sem_post(&gate.open);
	expect_value(first, &gate);
	exs_executor_free(ex);
	harness_wait_threads(threads);
	job_fini(&gate);
}

/* The threads come with the first executor that needs a timer, and go with the last; any number of times. */
/* Timers that are armed while the timer thread looks for others, and as it goes to sleep: each fires. */
struct alarm {
	struct exsi_timer timer;
	sem_t rings;
};

static bool alarm_expire(struct exsi_timer *timer)
{
	(void)timer;
	return true;
}

static void alarm_fire(struct exsi_timer *timer)
{
	sem_post(&EXSI_CONTAINER_OF(timer, struct alarm, timer)->rings);
}

struct alarms {
	uint64_t random;
	unsigned long rounds;
};

static void *set_alarms(void *arg)
{
	static const struct exsi_timer_kind kind = {.expire = alarm_expire, .fire = alarm_fire};
	exs_clock *clock = exsi_clock(NULL);
	struct alarms *alarms = arg;

	for (unsigned long round = alarms->rounds; round; round--) {
		struct alarm *a = calloc(1, sizeof(*a)); /* somewhere else each time */
		CHECK(a && !sem_init(&a->rings, 0, 0));
		a->timer.kind = &kind;
		uint64_t due = exsi_now() + harness_below(&alarms->random, 100000);
		exsi_timer_arm(clock, &a->timer, due, NULL);
		sem_take(&a->rings);
		CHECK(exsi_now() >= due);
		sem_destroy(&a->rings);
		free(a);
	}
	return NULL;
}

TEST(clock, armed_while_it_looks)
{
	struct alarms alarms = {harness_seed(), harness_rounds(4000)};

	CHECK_INT(exsi_clock_hold(exsi_clock(NULL)), 0);
	set_alarms(&alarms); /* alone: nobody else's would wake the timer thread */
	exsi_clock_unhold(exsi_clock(NULL));
}

TEST(clock, armed_by_several_threads)
{
	pthread_t threads[3];
	struct alarms alarms[3];

	CHECK_INT(exsi_clock_hold(exsi_clock(NULL)), 0);
	for (int i = 0; i < 3; i++) {
		alarms[i] = (struct alarms){harness_seed() + (uint64_t)i, harness_rounds(300)};
		CHECK(!pthread_create(&threads[i], NULL, set_alarms, &alarms[i]));
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	exsi_clock_unhold(exsi_clock(NULL));
}

TEST(clock, threads_come_and_go)
{
	int threads = harness_threads();

	for (int i = 0; i < 20; i++) {
		exs_executor *a = exs_with_timeout(exs_inline(), 100), *b = exs_with_timeout(exs_inline(), 100);
		struct job job;
		job_init(&job);
		harness_wait_threads(threads + 1); /* one timer for both */
		expect_value(job_submit(a, &job), &job);
		CHECK_INT(exs_clock_armed(NULL), 0);
		exs_executor_free(a);
		harness_wait_threads(threads + 1);
		exs_executor_free(b);
		harness_wait_threads(threads);
		job_fini(&job);
	}
}
