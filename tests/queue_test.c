/* The queue: its order, what is attached to it, what becomes of calls at each stage. */
#include "support.h"

#include <executors/layer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what runs in which order --- */

/* Tasks write their letter here. */
static char order[512];
static atomic_uint order_n;

static exs_result write_letter(void *arg, exs_context *ctx)
{
	unsigned i = atomic_fetch_add(&order_n, 1);

	(void)ctx;
	CHECK(i < sizeof(order) - 1);
	order[i] = *(const char *)arg;
	order[i + 1] = '\0';
	return exs_ok(NULL, NULL);
}

static void order_begin(void)
{
	atomic_store(&order_n, 0);
	order[0] = '\0';
}

/* With these options; its letter stands for it. */
static exs_future *put(exs_executor *ex, const char *letter, exs_task options)
{
	options.fn = write_letter;
	options.arg = (void *)(uintptr_t)letter;
	exs_future *f = exs_submit_with(ex, &options);
	CHECK(f);
	return f;
}

static void put_level(exs_executor *ex, const char *letter, unsigned levels, unsigned level)
{
	exs_future_unref(put(ex, letter, (exs_task){.priority = exs_queue_priority(levels, level)}));
}

/* All that waits runs on this thread, in order. */
static void run_all(exs_executor *queue)
{
	CHECK(exs_queue_attach(queue, exs_inline(), NULL));
}

static exs_queue_stats stats_of(exs_executor *queue)
{
	exs_queue_stats stats;

	CHECK_INT(exs_queue_get_stats(queue, &stats), EXS_OK);
	return stats;
}

static exs_executor *pool(unsigned workers)
{
	return pool_made((exs_thread_pool_options){.workers = workers});
}

static exs_executor *no_spares(unsigned workers)
{
	return pool_made((exs_thread_pool_options){.workers = workers, .max_spares = EXS_NONE});
}

static exs_executor *queue_over(exs_executor *ex)
{
	exs_executor *queue = exs_queue(NULL);

	CHECK_INT(exs_queue_attach(queue, ex, NULL), 1);
	return queue;
}

static exs_executor *nice_queue(unsigned series)
{
	exs_queue_options options = {.order = EXS_BY_NICENESS, .series = series};
	exs_executor *queue = exs_queue(&options);

	CHECK(queue);
	return queue;
}

TEST(queue, first_in_first_out_in_a_level)
{
	exs_queue_options options = {.levels = 3};
	exs_executor *queue = exs_queue(&options);

	order_begin();
	CHECK(queue);
	put_level(queue, "g", 3, 2);
	put_level(queue, "d", 3, 1);
	put_level(queue, "a", 3, 0);
	put_level(queue, "e", 3, 1);
	put_level(queue, "h", 3, 2);
	put_level(queue, "b", 3, 0);
	exs_future_unref(put(queue, "f", (exs_task){.priority = 0})); /* the middle */
	put_level(queue, "c", 3, 0);
	exs_queue_stats s = stats_of(queue);
	CHECK(s.queued == 8 && s.levels[0] == 3 && s.levels[1] == 3 && s.levels[2] == 2);
	run_all(queue);
	CHECK_STR(order, "abcdefgh");
	s = stats_of(queue);
	CHECK(s.queued == 0 && s.levels[0] == 0 && s.levels[1] == 0 && s.levels[2] == 0);
	CHECK(s.given == 8 && s.dispatched == 0 && s.attached == 1);
	exs_executor_free(queue);
}

TEST(queue, two_levels_by_default)
{
	exs_executor *queue = exs_queue(NULL);

	order_begin();
	exs_future_unref(put(queue, "b", (exs_task){.priority = 0}));
	exs_future_unref(put(queue, "a", (exs_task){.priority = -1}));
	exs_future_unref(put(queue, "d", (exs_task){.place = EXS_DO_LAST, .priority = -1}));
	exs_future_unref(put(queue, "0", (exs_task){.place = EXS_DO_NEXT}));
	exs_future_unref(put(queue, "c", (exs_task){.priority = 0}));
	run_all(queue);
	CHECK_STR(order, "0abcd");
	exs_executor_free(queue);
}

/* The error says what would be right. */
static void check_refused(exs_executor *queue, exs_task options, const char *text)
{
	exs_future *f = put(queue, "x", options);

	CHECK(exs_future_is_done(f));
	CHECK_STR(exs_error_message(exs_future_error(f)), text);
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
}

TEST(queue, checked_at_the_call)
{
	static const char *const ranges[] = {"0 .. 0", "-1 .. 0", "-1 .. 1", "-2 .. 1"};
	char text[100];

	for (unsigned levels = 1; levels <= 4; levels++) {
		exs_queue_options options = {.levels = levels};
		exs_executor *queue = exs_queue(&options);
		int least = exs_queue_priority(levels, 0), most = exs_queue_priority(levels, levels - 1);
		for (int p = least; p <= most; p++)
			exs_future_unref(put(queue, "x", (exs_task){.priority = p}));
		CHECK_INT(stats_of(queue).queued, levels);
		int outside[] = {least - 1, most + 1};
		for (int i = 0; i < 2; i++) {
			snprintf(text, sizeof(text), "exs_submit: priority %d: this queue takes %s", outside[i],
				 ranges[levels - 1]);
			check_refused(queue, (exs_task){.priority = outside[i]}, text);
		}
		check_refused(queue, (exs_task){.series = 1}, "exs_submit: series 1: this queue takes 0 .. 0");
		check_refused(queue, (exs_task){.place = (exs_place)3}, "exs_submit: place 3: this queue takes 0 .. 2");
		exs_executor_free(queue);
	}
	exs_executor *queue = nice_queue(7);
	check_refused(queue, (exs_task){.priority = -21}, "exs_submit: niceness -21: this queue takes -20 .. 20");
	check_refused(queue, (exs_task){.priority = 21}, "exs_submit: niceness 21: this queue takes -20 .. 20");
	check_refused(queue, (exs_task){.series = 7}, "exs_submit: series 7: this queue takes 0 .. 6");
	CHECK_INT(stats_of(queue).queued, 0);
	exs_executor_free(queue);
}

TEST(queue, bad_options)
{
	exs_queue_options bad[] = {
		{.order = (exs_order)2},
		{.levels = 65},
		{.levels = EXS_NONE},
		{.aging = -1},
		{.series = 65537},
		{.order = EXS_BY_NICENESS, .levels = 2},
		{.order = EXS_BY_NICENESS, .aging = 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CHECK(!exs_queue(&bad[i]));
		CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	}
	struct {
		exs_queue_options options;
		int more;
	} longer = {{.levels = 1}, 1};
	CHECK(!exs_queue_sized(&longer.options, sizeof(longer)));
}

/* What runs first, those to do next, niceness, those to do last. */
TEST(queue, order_of_niceness)
{
	exs_executor *queue = nice_queue(0);
	struct job first;

	order_begin();
	job_init(&first);
	first.gated = true;
	CHECK_INT(exs_queue_attach(queue, pool(1), NULL), 1);
	exs_future *f = job_submit(queue, &first);
	sem_take(&first.entered);
	exs_future *last = put(queue, "6", (exs_task){.place = EXS_DO_LAST});
	exs_future *later = put(queue, "5", (exs_task){.priority = 10});
	exs_future *normal = put(queue, "4", (exs_task){.priority = 0});
	exs_future *soon = put(queue, "3", (exs_task){.priority = -20});
	exs_future *next = put(queue, "1", (exs_task){.place = EXS_DO_NEXT, .priority = 20});
	exs_future *then = put(queue, "2", (exs_task){.place = EXS_DO_NEXT});
	CHECK_INT(stats_of(queue).levels[0], 6);
	sem_post(&first.open);
	expect_value(f, &first);
	exs_future *all[] = {last, later, normal, soon, next, then};
	for (int i = 0; i < 6; i++)
		expect_value(all[i], NULL);
	CHECK_STR(order, "123456");
	exs_executor_free(queue);
	job_fini(&first);
}

/* Against the formula, with series of their own serials, for workers of some and of all series. */
struct entry {
	uint64_t key; /* a hundred times the formula's */
	unsigned series;
	char letter;
};

static int by_key(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->letter < y->letter ? -1 : 1; /* in the order of arrival */
}

static void run_series(exs_executor *queue, const struct entry *sorted, int n, unsigned mask)
{
	unsigned series[3], k = 0;
	char expected[128];
	size_t e = 0;

	for (unsigned i = 0; i < 3; i++)
		if (mask >> i & 1)
			series[k++] = i;
	exs_attach_options options = {.series = series, .n_series = k};
	for (int i = 0; i < n; i++)
		if (mask >> sorted[i].series & 1)
			expected[e++] = sorted[i].letter;
	expected[e] = '\0';
	order_begin();
	CHECK(exs_queue_attach(queue, exs_inline(), &options));
	CHECK_STR(order, expected);
}

TEST(queue, niceness_and_series_by_the_formula)
{
	enum { N = 90 };
	static const unsigned masks[][2] = {{7, 0}, {1, 6}, {5, 2}, {2, 5}};
	static char letters[N];
	uint64_t random = harness_seed();

	for (unsigned long round = 0; round < harness_rounds(40); round++) {
		struct entry entries[N];
		unsigned serials[3] = {0};
		exs_executor *queue = nice_queue(3);
		for (int i = 0; i < N; i++) {
			unsigned series = (unsigned)harness_below(&random, 3);
			int nice = (int)harness_below(&random, 41) - 20;
			int d = nice + 20;
			letters[i] = (char)('!' + i);
			entries[i] = (struct entry){(uint64_t)++serials[series] * (uint64_t)(100 + d * d), series,
						    letters[i]};
			exs_future_unref(put(queue, &letters[i], (exs_task){.priority = nice, .series = series}));
		}
		qsort(entries, N, sizeof(*entries), by_key);
		for (int i = 0; i < 2; i++)
			if (masks[round % 4][i])
				run_series(queue, entries, N, masks[round % 4][i]);
		CHECK_INT(stats_of(queue).queued, 0);
		exs_executor_free(queue);
	}
}

/* Also those that never waited, and those out of turn, are counted in their series: what comes after them has the later serial. */
TEST(queue, serials_count_all_calls_of_a_series)
{
	static const exs_place places[] = {EXS_IN_TURN, EXS_DO_NEXT, EXS_DO_LAST};

	for (unsigned kind = 0; kind < 5; kind++) {
		exs_executor *queue = nice_queue(2);
		order_begin();
		CHECK_INT(exs_queue_attach(queue, exs_inline(), NULL), 1);
		for (unsigned i = 0; i < 20 && kind > 0; i++) /* at once, or of the other series */
			exs_future_unref(put(queue, "x", (exs_task){.place = places[kind % 3], .series = kind == 4}));
		CHECK_INT(exs_queue_detach(queue, 1), EXS_OK);
		order_begin();
		exs_future_unref(put(queue, "a", (exs_task){.priority = 1})); /* 5.41 n */
		exs_future_unref(put(queue, "b", (exs_task){.priority = 0})); /* 5 (n + 1): before it from n = 13 on */
		run_all(queue);
		CHECK_STR(order, kind == 0 || kind == 4 ? "ab" : "ba");
		exs_executor_free(queue);
	}
}

/* A series without a worker waits, and blocks nobody. */
TEST(queue, series_without_a_worker)
{
	exs_executor *queue = nice_queue(3);
	unsigned mine[] = {0, 2}, other[] = {1};
	exs_attach_options some = {.series = mine, .n_series = 2}, rest = {.series = other, .n_series = 1};

	order_begin();
	CHECK_INT(exs_queue_attach(queue, exs_inline(), &some), 1);
	exs_future *waits = put(queue, "w", (exs_task){.series = 1, .priority = -20, .place = EXS_DO_NEXT});
	for (int i = 0; i < 3; i++) {
		exs_future_unref(put(queue, "a", (exs_task){.series = 0, .priority = 20}));
		exs_future_unref(put(queue, "c", (exs_task){.series = 2}));
	}
	CHECK_STR(order, "acacac");
	CHECK(!exs_future_is_done(waits));
	CHECK_INT(exs_queue_attach(queue, exs_inline(), &rest), 2);
	CHECK_STR(order, "acacacw");
	expect_value(waits, NULL);
	exs_executor_free(queue);
}

/* --- starvation and aging --- */

static const char *with_aging(double aging)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_queue_options options = {.levels = 3, .aging = aging};
	exs_executor *queue = exs_with_clock(exs_queue(&options), clock);

	order_begin();
	CHECK(queue);
	put_level(queue, "x", 3, 2);
	put_level(queue, "m", 3, 1);
	advance(clock, 5);
	put_level(queue, "a", 3, 0);
	advance(clock, 5.5);
	put_level(queue, "b", 3, 0); /* m has waited for more than one level */
	put_level(queue, "n", 3, 1); /* and so has x */
	advance(clock, 9);
	put_level(queue, "c", 3, 0);
	advance(clock, 0.5);
	put_level(queue, "d", 3, 0); /* x for two, n for less than one */
	run_all(queue);
	exs_executor_free(queue);
	exs_clock_unref(clock);
	return order;
}

TEST(queue, the_lowest_starves_without_aging)
{
	CHECK_STR(with_aging(0), "abcdmnx");
	CHECK_STR(with_aging(EXS_NONE), "abcdmnx");
}

TEST(queue, aging)
{
	CHECK_STR(with_aging(10), "ambcxdn");
	CHECK_STR(with_aging(EXS_UNLIMITED), "abcdmnx");
}

/* Urgent calls never run out; after how many of them does the lowest run? */
static unsigned urgent_before_the_lowest(double aging)
{
	enum { MOST = 100 };
	exs_clock *clock = exs_clock_manual_new();
	exs_queue_options options = {.levels = 3, .aging = aging};
	exs_executor *queue = exs_with_clock(exs_queue(&options), clock), *loop = exs_event_loop();
	unsigned n = 0;

	order_begin();
	CHECK(exs_queue_attach(queue, exs_borrow(loop), NULL));
	put_level(queue, "u", 3, 0);
	exs_future *lowest = put(queue, "l", (exs_task){.priority = exs_queue_priority(3, 2)});
	for (; n < MOST && !exs_future_is_done(lowest); n++) {
		put_level(queue, "u", 3, 0); /* before the one that runs has ended */
		CHECK_INT(exs_event_loop_poll(loop), 1);
		advance(clock, 1);
	}
	exs_executor_free(queue);
	exs_future_unref(lowest);
	exs_executor_free(loop);
	exs_clock_unref(clock);
	return n;
}

TEST(queue, lowest_under_a_stream_of_urgent_ones)
{
	CHECK_INT(urgent_before_the_lowest(0), 100);
	CHECK_INT(urgent_before_the_lowest(EXS_NONE), 100);
	unsigned n = urgent_before_the_lowest(5), later = urgent_before_the_lowest(20);
	CHECK(n >= 10 && n <= 15); /* two levels, 5 s each, one a second; with what was given before */
	CHECK(later >= 40 && later <= 45);
}

/* --- several workers --- */

enum { RUNS = 30 };

/* Waits until one of the jobs enters that has not been seen to yet; its number. */
static int next_entered(struct job *jobs, bool *seen)
{
	for (;;) {
		for (int i = 0; i < RUNS; i++)
			if (!seen[i] && sem_taken(&jobs[i].entered)) {
				seen[i] = true;
				return i;
			}
		sched_yield();
	}
}

/* Who frees first takes the next: one that is twice as fast gets twice as many. */
TEST(queue, fast_and_slow_two_to_one)
{
	struct job *jobs = calloc(RUNS, sizeof(*jobs));
	exs_future *f[RUNS];
	bool seen[RUNS] = {false};
	exs_executor *queue = exs_queue(NULL);

	CHECK(jobs);
	for (int i = 0; i < 2; i++)
		CHECK(exs_queue_attach(queue, pool(1), NULL));
	for (int i = 0; i < RUNS; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = true;
		f[i] = job_submit(queue, &jobs[i]);
	}
	int fast = next_entered(jobs, seen), slow = next_entered(jobs, seen), counts[2] = {1, 1};
	pthread_t fast_thread = jobs[fast].thread;
	CHECK(!pthread_equal(fast_thread, jobs[slow].thread));
	for (int tick = 1, left = RUNS - 2; left; tick++) {
		sem_post(&jobs[fast].open);
		fast = next_entered(jobs, seen);
		CHECK(pthread_equal(jobs[fast].thread, fast_thread));
		counts[0]++;
		if (!--left || tick % 2)
			continue;
		sem_post(&jobs[slow].open);
		slow = next_entered(jobs, seen);
		CHECK(!pthread_equal(jobs[slow].thread, fast_thread));
		counts[1]++;
		left--;
	}
	CHECK(counts[0] >= 2 * counts[1] - 2 && counts[0] <= 2 * counts[1] + 2);
	sem_post(&jobs[fast].open);
	sem_post(&jobs[slow].open);
	for (int i = 0; i < RUNS; i++)
		expect_value(f[i], &jobs[i]);
	exs_executor_free(queue);
	for (int i = 0; i < RUNS; i++)
		job_fini(&jobs[i]);
	free(jobs);
}

/* At most so many at a time; by default the workers of the pool, below whatever layers, or one. */
TEST(queue, capacity)
{
	static const size_t expected[] = {3, 3, 1, 2, 8};
	exs_attach_options two = {.capacity = 2}, any = {.capacity = EXS_UNLIMITED};

	for (int kind = 0; kind < 5; kind++) {
		exs_executor *queue = exs_queue(NULL), *shared = pool(3);
		struct job jobs[8];
		exs_executor *ex = kind == 1   ? exs_with_timeout(exs_with_retry(exs_borrow(shared), NULL), 1000)
				   : kind == 2 ? queue_over(exs_borrow(shared))
					       : exs_borrow(shared);
		CHECK(exs_queue_attach(queue, ex, kind == 3 ? &two : kind == 4 ? &any : NULL));
		for (int i = 0; i < 8; i++) {
			job_init(&jobs[i]);
			jobs[i].gated = true;
			exs_future_unref(job_submit(queue, &jobs[i]));
		}
		CHECK_INT(stats_of(queue).dispatched, expected[kind]);
		CHECK_INT(stats_of(queue).queued, 8 - expected[kind]);
		for (int i = 0; i < 8; i++)
			sem_post(&jobs[i].open);
		CHECK_INT(exs_shutdown(queue, EXS_DRAIN, EXS_FOREVER), 0);
		exs_executor_free(queue);
		exs_executor_free(shared);
		for (int i = 0; i < 8; i++)
			job_fini(&jobs[i]);
	}
}

/* --- cancel, timeout, retry, shutdown --- */

/* A worker that is busy, a call that is queued below it, and one in the queue. */
struct three {
	exs_executor *ex; /* the chain */
	struct job jobs[3];
	exs_future *f[3];
};

static void three_start(struct three *t, exs_executor *ex, bool polite)
{
	exs_attach_options two = {.capacity = 2};

	t->ex = ex;
	CHECK(exs_queue_attach(ex, pool(1), &two));
	for (int i = 0; i < 3; i++) {
		job_init(&t->jobs[i]);
		t->jobs[i].gated = true;
		t->jobs[i].polite = polite;
		t->f[i] = job_submit(ex, &t->jobs[i]);
	}
	sem_take(&t->jobs[0].entered);
	CHECK_INT(stats_of(ex).dispatched, 2);
	CHECK_INT(stats_of(ex).queued, 1);
}

static void three_end(struct three *t)
{
	for (int i = 0; i < 3; i++)
		sem_post(&t->jobs[i].open);
	if (t->ex)
		exs_executor_free(t->ex);
	for (int i = 0; i < 3; i++)
		job_fini(&t->jobs[i]);
}

TEST(queue, cancel_at_each_stage)
{
	struct three t;

	three_start(&t, exs_queue(NULL), false);
	CHECK_INT(exs_future_cancel(t.f[2]), EXS_CANCELLED);
	CHECK_INT(stats_of(t.ex).queued, 0);
	CHECK_INT(exs_future_cancel(t.f[1]), EXS_CANCELLED);
	CHECK_INT(stats_of(t.ex).dispatched, 1);
	CHECK_INT(exs_future_cancel(t.f[0]), EXS_STOP_REQUESTED);
	sem_post(&t.jobs[0].open);
	expect_value(t.f[0], &t.jobs[0]);
	CHECK_INT(t.jobs[0].stops, 1);
	expect_cancelled(t.f[1], EXS_CAUSE_USER);
	expect_cancelled(t.f[2], EXS_CAUSE_USER);
	CHECK_INT(t.jobs[1].starts + t.jobs[2].starts, 0);
	three_end(&t);
}

/* At the deadline: WAIT asks the one that runs, and its answer stands; ABANDON leaves it behind. */
TEST(queue, timeouts_above)
{
	for (int mode = EXS_WAIT; mode <= EXS_ABANDON; mode++) {
		exs_clock *clock = exs_clock_manual_new();
		exs_executor *ex = exs_with_clock(exs_queue(NULL), clock);
		struct three t;
		three_start(&t, exs_with_timeout_mode(ex, 10, (exs_timeout_mode)mode), false);
		advance(clock, 10);
		expect_code(t.f[1], &exs_domain_exs, EXS_ETIMEDOUT);
		expect_code(t.f[2], &exs_domain_exs, EXS_ETIMEDOUT);
		CHECK(stats_of(t.ex).queued == 0);
		CHECK_INT(exs_future_is_done(t.f[0]), mode == EXS_ABANDON);
		sem_post(&t.jobs[0].open);
		if (mode == EXS_ABANDON)
			expect_code(t.f[0], &exs_domain_exs, EXS_ETIMEDOUT);
		else
			expect_value(t.f[0], &t.jobs[0]);
		three_end(&t);
		CHECK_INT(t.jobs[0].stops, 1);
		CHECK_INT(t.jobs[1].starts + t.jobs[2].starts, 0);
		exs_clock_unref(clock);
	}
}

/* A deadline in front of the queue is seen by the task, whatever the clocks. */
static void see_time(struct job *job, exs_context *ctx)
{
	*(double *)job->more = exs_context_time_left(ctx);
}

TEST(queue, time_left_through_the_queue)
{
	exs_clock *clocks[2] = {exs_clock_manual_new(), exs_clock_manual_new()};
	exs_executor *ex = exs_with_timeout(exs_with_clock(exs_queue(NULL), clocks[0]), 100);
	double left = 0;
	struct job job;

	job_init(&job);
	job.inside = see_time;
	job.more = &left;
	advance(clocks[0], 1000);
	exs_future *f = job_submit(ex, &job);
	advance(clocks[0], 40);
	CHECK(exs_queue_attach(ex, exs_with_timeout(exs_with_clock(pool(1), clocks[1]), 1000), NULL));
	expect_value(f, &job);
	CHECK(left > 59.9 && left < 60.1);
	exs_executor_free(ex);
	job_fini(&job);
	for (int i = 0; i < 2; i++)
		exs_clock_unref(clocks[i]);
}

/* A call that is started again comes behind those of its level, and before the lower ones. */
static exs_result fail_first(void *arg, exs_context *ctx)
{
	write_letter(arg, ctx);
	return exs_context_attempt(ctx) == 1 ? exs_fail(exs_error_new(&test_domain, 1, "no")) : exs_ok(NULL, NULL);
}

TEST(queue, restarts_at_its_priority)
{
	exs_retry_options options = {.sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(exs_queue(NULL), &options);
	exs_task again = {.fn = fail_first, .arg = "A", .priority = -1};

	order_begin();
	put_level(ex, "m", 2, 1);
	exs_future *f = exs_submit_with(ex, &again);
	put_level(ex, "b", 2, 0);
	put_level(ex, "c", 2, 0);
	run_all(ex);
	CHECK_STR(order, "AbcAm");
	expect_value(f, NULL);
	exs_executor_free(ex);
}

/* Attempts made below count. */
static exs_result fail_thrice(void *arg, exs_context *ctx)
{
	CHECK_INT(exs_context_attempt(ctx), ++*(unsigned *)arg);
	CHECK_INT(exs_context_max_attempts(ctx), 6);
	return *(unsigned *)arg < 4 ? exs_fail(exs_error_new(&test_domain, 1, "no")) : exs_ok(NULL, NULL);
}

TEST(queue, attempts_of_attached_retries)
{
	exs_retry_options two = {.sleep = EXS_NONE, .max_attempts = 2}, three = {.sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(queue_over(exs_with_retry(pool(1), &two)), &three);
	unsigned starts = 0;
	char text[64];
	exs_task task = {.fn = fail_thrice, .arg = &starts, .name = "counted"};
	exs_future *f = exs_submit_with(ex, &task);

	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	exs_future_explain(f, text, sizeof(text));
	CHECK_STR(text, "counted: attempt 4 of 4: done");
	expect_value(f, NULL);
	exs_executor_free(ex);
	ex = queue_over(pool(1));
	f = put(ex, "x", (exs_task){.name = "plain"});
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	exs_future_explain(f, text, sizeof(text));
	CHECK_STR(text, "plain: done");
	exs_future_unref(f);
	exs_executor_free(ex);
}

TEST(queue, shutdown_in_each_mode)
{
	for (int mode = EXS_DRAIN; mode <= EXS_CANCEL_ALL; mode++) {
		struct three t;
		three_start(&t, exs_queue(NULL), mode == EXS_CANCEL_ALL);
		if (mode == EXS_DRAIN)
			for (int i = 0; i < 3; i++)
				sem_post(&t.jobs[i].open);
		if (mode == EXS_CANCEL_QUEUED) { /* without time: what runs fails, and runs on */
			CHECK_INT(exs_shutdown(t.ex, EXS_CANCEL_QUEUED, 0), 1);
			expect_code(t.f[0], &exs_domain_exs, EXS_ESHUTDOWN);
		} else {
			CHECK_INT(exs_shutdown(t.ex, (exs_mode)mode, EXS_FOREVER), 0);
		}
		for (int i = mode == EXS_CANCEL_QUEUED; i < 3; i++) {
			if (mode == EXS_DRAIN)
				expect_value(t.f[i], &t.jobs[i]);
			else
				expect_cancelled(t.f[i], EXS_CAUSE_SHUTDOWN);
		}
		CHECK_INT(t.jobs[1].starts + t.jobs[2].starts, mode == EXS_DRAIN ? 2 : 0);
		CHECK_INT(exs_queue_attach(t.ex, pool(1), NULL), 0);
		CHECK_INT(exs_error_code(exs_last_error()), EXS_ESHUTDOWN);
		CHECK_INT(stats_of(t.ex).attached, 1);
		three_end(&t);
	}
}

/* With nothing attached calls wait, until they are cancelled or fail. */
TEST(queue, nothing_attached)
{
	for (int mode = 0; mode <= EXS_CANCEL_ALL; mode++) {
		exs_executor *queue = exs_queue(NULL);
		struct job job;
		job_init(&job);
		exs_future *f = job_submit(queue, &job);
		CHECK_INT(exs_future_wait(f, 0), EXS_ETIMEDOUT);
		if (mode == EXS_DRAIN) {
			CHECK_INT(exs_shutdown(queue, EXS_DRAIN, 0), 0);
			expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
		} else {
			if (mode)
				CHECK_INT(exs_shutdown(queue, (exs_mode)mode, EXS_FOREVER), 0);
			else
				exs_executor_free(queue);
			expect_cancelled(f, EXS_CAUSE_SHUTDOWN);
		}
		if (mode)
			exs_executor_free(queue);
		CHECK_INT(job.starts, 0);
		job_fini(&job);
	}
}

/* --- waits within --- */

struct nested {
	exs_executor *ex, *other;
	struct job job;
	exs_future *f;
	int rc;
	exs_task options;
};

static void nested_init(struct nested *n, exs_executor *ex)
{
	*n = (struct nested){.ex = ex, .rc = -1};
	job_init(&n->job);
}

static void submit_and_wait(struct job *job, exs_context *ctx)
{
	struct nested *n = job->more;
	exs_task task = n->options;

	(void)ctx;
	task.fn = job_run;
	task.arg = &n->job;
	task.arg_free = job_free_arg;
	n->f = exs_submit_with(n->ex, &task);
	n->rc = exs_future_wait(n->f, EXS_FOREVER);
}

static void run_nested(struct nested *n, exs_executor *ex)
{
	struct job job;

	job_init(&job);
	job.inside = submit_and_wait;
	job.more = n;
	expect_value(job_submit(ex, &job), &job);
	job_fini(&job);
}

static void check_waited(struct nested *n)
{
	CHECK_INT(n->rc, EXS_OK);
	expect_value(n->f, &n->job);
}

/* A task that waits for a queued call starts it, before more urgent ones, and runs it itself: there is no other thread. */
TEST(queue, wait_in_a_task)
{
	exs_executor *chains[] = {
		queue_over(no_spares(1)), queue_over(exs_inline()),
		exs_with_timeout_mode(queue_over(exs_with_retry(no_spares(1), NULL)), 1000, EXS_ABANDON),
		queue_over(queue_over(no_spares(1)))};

	for (size_t i = 0; i < sizeof(chains) / sizeof(*chains); i++) {
		struct nested n[2];
		for (int k = 0; k < 2; k++) {
			nested_init(&n[k], chains[i]);
			n[k].options.place = EXS_DO_LAST;
		}
		n[0].job.inside = submit_and_wait;
		n[0].job.more = &n[1];
		run_nested(&n[0], chains[i]);
		check_waited(&n[0]);
		check_waited(&n[1]);
		exs_executor_free(chains[i]);
		for (int k = 0; k < 2; k++)
			job_fini(&n[k].job);
	}
}

/* Also one that another executor has been given, and can't start: it is taken back. */
TEST(queue, wait_for_one_that_was_given_away)
{
	exs_executor *queue = nice_queue(2);
	unsigned zero = 0;
	exs_attach_options two = {.capacity = 2, .series = &zero, .n_series = 1};
	struct nested n;
	struct job gate, waiter;

	CHECK_INT(exs_queue_attach(queue, no_spares(1), &two), 1);
	job_init(&gate);
	gate.gated = true;
	exs_future *f = job_submit(queue, &gate);
	sem_take(&gate.entered);
	CHECK_INT(exs_queue_attach(queue, no_spares(1), NULL), 2);
	nested_init(&n, queue);
	job_init(&waiter);
	waiter.inside = submit_and_wait;
	waiter.more = &n;
	exs_task task = {.fn = job_run, .arg = &waiter, .arg_free = job_free_arg, .series = 1};
	exs_future *w = exs_submit_with(queue, &task);
	expect_value(w, &waiter); /* while the first is busy */
	check_waited(&n);
	CHECK(pthread_equal(n.job.thread, waiter.thread));
	sem_post(&gate.open);
	expect_value(f, &gate);
	exs_executor_free(queue);
	job_fini(&n.job);
	job_fini(&waiter);
	job_fini(&gate);
}

/* One that comes back into the queue while its waiter sleeps finds its place. */
static void *submit_waiter(void *arg)
{
	struct nested *n = arg;

	run_nested(n, n->ex);
	return NULL;
}

/* However deep on the stack: what comes back meanwhile has been put off, and is taken up before the thread sleeps. */
struct deep {
	exs_executor *inline_ex, *queue;
	struct nested *n;
	unsigned depth;
};

static exs_result go_deeper(void *arg, exs_context *ctx)
{
	struct deep *d = arg;

	(void)ctx;
	if (!d->depth--)
		run_nested(d->n, d->queue);
	else
		CHECK_INT(exs_call(d->inline_ex, go_deeper, d, EXS_FOREVER, NULL), EXS_OK);
	return exs_ok(NULL, NULL);
}

TEST(queue, wait_deep_on_the_stack)
{
	exs_executor *inline_ex = exs_inline(), *queue = nice_queue(2), *pool = no_spares(1);
	unsigned one = 1;
	exs_attach_options for_one = {.capacity = 2, .series = &one, .n_series = 1};
	struct job gate;
	struct nested n;

	job_init(&gate);
	gate.gated = true;
	exs_future *f = job_submit(pool, &gate);
	sem_take(&gate.entered);
	CHECK_INT(exs_queue_attach(queue, exs_inline(), NULL), 1);
	CHECK_INT(exs_queue_attach(queue, exs_borrow(pool), &for_one), 2);
	for (unsigned depth = 0; depth < 20; depth++) {
		nested_init(&n, queue);
		n.options.series = 1; /* to the pool, which is not at it when the task waits */
		CHECK_INT(
			exs_call(inline_ex, go_deeper, &(struct deep){inline_ex, queue, &n, depth}, EXS_FOREVER, NULL),
			EXS_OK);
		check_waited(&n);
		job_fini(&n.job);
	}
	sem_post(&gate.open);
	expect_value(f, &gate);
	exs_executor_free(queue);
	exs_executor_free(pool);
	exs_executor_free(inline_ex);
	job_fini(&gate);
}

TEST(queue, wait_for_one_that_is_tried_again)
{
	for (int kind = 0; kind < 2; kind++) {
		exs_clock *clock = exs_clock_manual_new();
		exs_retry_options options = {.sleep = 5, .jitter = EXS_JITTER_NONE};
		exs_executor *ex =
			exs_with_retry(exs_with_clock(queue_over(kind ? pool(1) : exs_inline()), clock), &options);
		struct nested n;
		nested_init(&n, ex);
		n.job.failures = 1;
		n.job.error = exs_error_new(&test_domain, 1, "no");
		pthread_t thread = thread_start(submit_waiter, &n);
		wait_next(clock, 5);
		while (!stats_of(ex).lent)
			sched_yield();
		advance(clock, 5);
		thread_join(thread);
		check_waited(&n);
		exs_error_unref(n.job.error);
		exs_executor_free(ex);
		job_fini(&n.job);
		exs_clock_unref(clock);
	}
}

/* A task waits for one elsewhere, which waits for one of the queue: the first lends its place. */
TEST(queue, a_waiting_task_lends_its_place)
{
	exs_attach_options one = {.capacity = 1};
	exs_executor *queue = exs_queue(NULL), *other = pool(1);
	struct nested n[2];

	CHECK(exs_queue_attach(queue, pool(1), &one));
	nested_init(&n[0], other);
	nested_init(&n[1], queue);
	n[0].job.inside = submit_and_wait;
	n[0].job.more = &n[1];
	run_nested(&n[0], queue);
	check_waited(&n[0]);
	check_waited(&n[1]);
	exs_queue_stats s = stats_of(queue);
	CHECK(s.lent == 0);
	exs_executor_free(queue);
	exs_executor_free(other);
	for (int k = 0; k < 2; k++)
		job_fini(&n[k].job);
}

/* For a call that only the waiter's own thread could run, and may not. */
TEST(queue, wait_that_would_never_end)
{
	exs_executor *shared = no_spares(1), *queue = nice_queue(2);
	unsigned zero = 0, one = 1;
	exs_attach_options first = {.series = &zero, .n_series = 1}, second = {.series = &one, .n_series = 1};
	struct nested n;
	struct job gate;

	CHECK(exs_queue_attach(queue, exs_borrow(shared), &first));
	CHECK(exs_queue_attach(queue, exs_borrow(shared), &second));
	nested_init(&n, queue);
	n.options.series = 1;
	job_init(&gate);
	gate.gated = true;
	gate.inside = submit_and_wait;
	gate.more = &n;
	exs_future *f = job_submit(queue, &gate);
	sem_take(&gate.entered);
	exs_future *before = put(queue, "x", (exs_task){.series = 1}); /* takes the second's place, behind the gate */
	sem_post(&gate.open);
	expect_value(f, &gate);
	CHECK_INT(n.rc, EXS_EDEADLK);
	expect_value(before, NULL);
	expect_value(n.f, &n.job); /* now that the waiter has gone */
	exs_executor_free(queue);
	exs_executor_free(shared);
	job_fini(&n.job);
	job_fini(&gate);
}

/* --- attach and detach --- */

TEST(queue, attach_refuses)
{
	exs_executor *queue = exs_queue(NULL), *lone = pool(1);
	unsigned beyond = 1, zero = 0;
	exs_attach_options bad[] = {
		{.capacity = EXS_NONE}, {.series = &beyond, .n_series = 1}, {.series = &zero}, {.n_series = 1}};
	struct {
		exs_attach_options options;
		int more;
	} longer = {{.capacity = 1}, 1};
	int threads = harness_threads();

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CHECK_INT(exs_queue_attach(queue, pool(1), &bad[i]), 0);
		CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	}
	CHECK_INT(exs_queue_attach_sized(queue, pool(1), &longer.options, sizeof(longer)), 0);
	CHECK_INT(exs_queue_attach(queue, NULL, NULL), 0);
	CHECK_INT(exs_queue_attach(lone, pool(1), NULL), 0);
	CHECK_INT(exs_queue_attach(NULL, pool(1), NULL), 0);
	CHECK_INT(exs_queue_attach(queue, exs_with_retry(exs_borrow(queue), NULL), NULL), 0);
	CHECK_STR(exs_error_message(exs_last_error()), "exs_queue_attach: the executor stands on this queue");
	CHECK_INT(exs_queue_detach(queue, 1), EXS_EINVAL);
	CHECK_INT(exs_queue_detach(lone, 1), EXS_EINVAL);
	CHECK_INT(exs_queue_detach(NULL, 1), EXS_EINVAL);
	CHECK_INT(exs_queue_get_stats(lone, &(exs_queue_stats){0}), EXS_EINVAL);
	CHECK_INT(exs_queue_get_stats(queue, NULL), EXS_EINVAL);
	exs_executor_free(queue);
	exs_executor_free(lone);
	harness_wait_threads(threads);
}

/* As an older and a newer program have them: shorter, longer. */
TEST(queue, statistics_of_other_versions)
{
	struct {
		exs_queue_stats known;
		size_t more;
	} newer = {.more = 1};
	exs_queue_stats older = {.leaving = 77};
	exs_executor *queue = exs_queue(NULL);

	CHECK_INT(exs_queue_attach(queue, exs_thread_pool(1), NULL), 1);
	CHECK_INT(exs_queue_get_stats_sized(queue, &newer.known, sizeof(newer)), EXS_OK);
	CHECK(newer.known.attached == 1 && !newer.more);
	CHECK_INT(exs_queue_get_stats_sized(queue, &older, offsetof(exs_queue_stats, leaving)), EXS_OK);
	CHECK(older.attached == 1 && older.leaving == 77);
	exs_executor_free(queue);
}

/* What has not begun goes back, to its place; what runs ends where it is. Twice: the second number is gone. */
TEST(queue, detach_gives_back)
{
	static const char *const letters[] = {"a", "b", "c", "d"};
	for (int kind = 0; kind < 3; kind++) {
		exs_executor *queue = exs_queue(NULL), *ex = pool(1);
		exs_attach_options three = {.capacity = 3};
		exs_future *f[4];
		struct job runs;
		order_begin();
		job_init(&runs);
		runs.gated = true;
		ex = kind == 0 ? ex : kind == 1 ? exs_with_timeout_mode(ex, 1000, EXS_ABANDON) : queue_over(ex);
		CHECK_INT(exs_queue_attach(queue, ex, &three), 1);
		exs_future *first = job_submit(queue, &runs);
		sem_take(&runs.entered);
		for (int i = 0; i < 4; i++)
			f[i] = put(queue, letters[i], (exs_task){0});
		CHECK_INT(stats_of(queue).dispatched, 3);
		CHECK_INT(exs_queue_detach(queue, 1), EXS_OK);
		CHECK_INT(exs_queue_detach(queue, 1), EXS_EINVAL);
		exs_queue_stats s = stats_of(queue);
		CHECK(s.attached == 0 && s.leaving == 1 && s.queued == 4 && s.dispatched == 1 && s.given_back == 2);
		for (int i = 0; i < 4; i++) {
			CHECK_INT(exs_future_state(f[i]), EXS_STATE_PENDING);
			CHECK_INT(exs_future_cause(f[i]), EXS_CAUSE_NONE);
		}
		put_level(queue, "e", 2, 1);
		run_all(queue);
		CHECK_STR(order, "abcde");
		for (int i = 0; i < 4; i++)
			expect_value(f[i], NULL);
		CHECK(!exs_future_is_done(first));
		sem_post(&runs.open);
		expect_value(first, &runs);
		CHECK_INT(runs.stops, 0);
		CHECK_INT(exs_shutdown(queue, EXS_DRAIN, EXS_FOREVER), 0);
		CHECK_INT(stats_of(queue).leaving, 0);
		exs_executor_free(queue);
		job_fini(&runs);
	}
}

/* What has failed once and waits to be started again has begun: it ends where it is. */
TEST(queue, detach_leaves_what_has_begun)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *queue = exs_queue(NULL);
	exs_retry_options options = {.sleep = 5, .jitter = EXS_JITTER_NONE};
	struct job job;

	job_init(&job);
	job.failures = 1;
	job.error = exs_error_new(&test_domain, 1, "no");
	CHECK(exs_queue_attach(queue, exs_with_retry(exs_with_clock(pool(1), clock), &options), NULL));
	exs_future *f = job_submit(queue, &job);
	wait_next(clock, 5);
	CHECK_INT(exs_queue_detach(queue, 1), EXS_OK);
	CHECK_INT(stats_of(queue).leaving, 1);
	advance(clock, 5);
	expect_value(f, &job);
	CHECK_INT(job.starts, 2);
	exs_executor_free(queue);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	exs_error_unref(job.error);
	job_fini(&job);
	exs_clock_unref(clock);
}

/* Its threads end, while the queue lives on. */
TEST(queue, detached_executors_are_freed)
{
	int threads = harness_threads();
	exs_executor *queue = queue_over(pool(2));
	struct job job;

	job_init(&job);
	expect_value(job_submit(queue, &job), &job);
	CHECK_INT(exs_queue_detach(queue, 1), EXS_OK);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	harness_wait_threads(threads);
	exs_executor_free(queue);
	job_fini(&job);
}

/* In a task of the very executor. */
static void detach_own(struct job *job, exs_context *ctx)
{
	exs_executor *queue = job->more;

	(void)ctx;
	CHECK_INT(exs_queue_detach(queue, 1), EXS_OK);
	CHECK_INT(exs_queue_attach(queue, pool(1), NULL), 2);
}

TEST(queue, detach_from_within)
{
	for (int kind = 0; kind < 2; kind++) {
		exs_executor *queue = queue_over(kind ? exs_inline() : pool(1));
		struct job jobs[2];
		for (int i = 0; i < 2; i++)
			job_init(&jobs[i]);
		jobs[0].inside = detach_own;
		jobs[0].more = queue;
		exs_future *f = job_submit(queue, &jobs[0]);
		expect_value(job_submit(queue, &jobs[1]), &jobs[1]);
		expect_value(f, &jobs[0]);
		exs_executor_free(queue);
		for (int i = 0; i < 2; i++)
			job_fini(&jobs[i]);
	}
}

/* In a callback, when the executor has just been given the next call: that goes back too. */
static void detach_first(exs_future *f, void *queue)
{
	(void)f;
	CHECK_INT(exs_queue_detach(queue, 1), EXS_OK);
}

TEST(queue, detach_when_the_next_is_on_its_way)
{
	exs_executor *queue = exs_queue(NULL);

	order_begin();
	exs_future *first = put(queue, "a", (exs_task){0}), *next = put(queue, "b", (exs_task){0});
	CHECK_INT(exs_future_on_done(first, detach_first, queue, NULL), EXS_OK);
	CHECK_INT(exs_queue_attach(queue, exs_inline(), NULL), 1);
	CHECK_STR(order, "a");
	exs_queue_stats s = stats_of(queue);
	CHECK(s.queued == 1 && s.given_back == 1 && s.leaving == 0);
	run_all(queue);
	CHECK_STR(order, "ab");
	expect_value(first, NULL);
	expect_value(next, NULL);
	exs_executor_free(queue);
}

/* What is detached lives until the last driver of a call in it has returned, children of children included, also those left behind. */
static atomic_bool stopped;

static void note_stop(exs_executor *ex)
{
	(void)ex;
	atomic_store(&stopped, true);
}

static const exs_layer_ops stop_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "stop",
	.start = exs_pass_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
	.stop = note_stop,
};

static void not_stopped(void *job)
{
	for (int i = 0; i < 10000; i++) {
		sched_yield();
		CHECK(!atomic_load(&stopped));
	}
	job_free_arg(job);
}

TEST(queue, detached_with_a_child_of_a_child)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *queue = exs_queue(NULL), *attached = exs_with_clock(pool(1), clock);
	struct job job;
	exs_task task = {.fn = job_run, .arg = &job, .arg_free = not_stopped};

	atomic_store(&stopped, false);
	job_init(&job);
	job.gated = true;
	attached = exs_layer_new(&stop_ops, exs_with_timeout_mode(attached, 1, EXS_ABANDON), 0, 0);
	CHECK(exs_queue_attach(queue, attached, NULL));
	exs_future *f = exs_submit_with(queue, &task);
	sem_take(&job.entered);
	CHECK_INT(exs_queue_detach(queue, 1), EXS_OK);
	CHECK_INT(exs_clock_advance(clock, 1), EXS_OK);
	expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
	sem_post(&job.open);
	exs_executor_free(queue);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK(atomic_load(&stopped));
	job_fini(&job);
	exs_clock_unref(clock);
}

/* A cancel of one that is given back, while nothing is attached. */
TEST(queue, cancel_what_was_given_back)
{
	struct three t;

	three_start(&t, exs_queue(NULL), false);
	CHECK_INT(exs_queue_detach(t.ex, 1), EXS_OK);
	CHECK_INT(stats_of(t.ex).queued, 2);
	CHECK_INT(exs_future_cancel(t.f[1]), EXS_CANCELLED);
	CHECK_INT(stats_of(t.ex).queued, 1);
	sem_post(&t.jobs[0].open);
	expect_value(t.f[0], &t.jobs[0]);
	expect_cancelled(t.f[1], EXS_CAUSE_USER);
	exs_executor_free(t.ex);
	t.ex = NULL;
	expect_cancelled(t.f[2], EXS_CAUSE_SHUTDOWN);
	CHECK_INT(t.jobs[1].starts + t.jobs[2].starts, 0);
	three_end(&t);
}

/* A shared pool under a queue is not shut down with it, and its other users go on. */
TEST(queue, over_a_borrowed_pool)
{
	exs_executor *shared = pool(1), *queue = queue_over(exs_borrow(shared));
	struct job jobs[3];
	exs_future *f[3];

	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = true;
		f[i] = job_submit(i == 1 ? shared : queue, &jobs[i]);
	}
	sem_take(&jobs[0].entered);
	CHECK_INT(exs_shutdown(queue, EXS_CANCEL_QUEUED, 0), 1);
	expect_code(f[0], &exs_domain_exs, EXS_ESHUTDOWN);
	expect_cancelled(f[2], EXS_CAUSE_SHUTDOWN);
	sem_post(&jobs[0].open);
	sem_post(&jobs[1].open);
	expect_value(f[1], &jobs[1]);
	exs_executor_free(queue);
	exs_executor_free(shared);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

TEST(queue, described)
{
	char text[200];
	exs_executor *queue = exs_with_retry(exs_queue(NULL), NULL), *nice = nice_queue(0);

	exs_describe(queue, text, sizeof(text));
	CHECK_STR(text, "retry(3) > queue(2) > []");
	CHECK(exs_queue_attach(queue, exs_with_timeout(pool(4), 30), NULL));
	CHECK(exs_queue_attach(nice, exs_inline(), NULL));
	CHECK(exs_queue_attach(queue, nice, NULL));
	exs_describe(queue, text, sizeof(text));
	CHECK_STR(text, "retry(3) > queue(2) > [timeout(30s) > thread_pool(4) | queue(niceness) > [inline]]");
	exs_executor_free(queue);
}

/* An executor of one's own sees what the call brought along. */
static exs_step see_start(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	(void)slot, (void)result;
	snprintf(exs_layer_state(ex), 32, "%d %u %d", exs_call_priority(call), exs_call_series(call),
		 exs_call_place(call));
	return EXS_DOWN;
}

static const exs_layer_ops see_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "see",
	.start = see_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
};

TEST(queue, options_reach_what_is_attached)
{
	exs_executor *see = exs_layer_new(&see_ops, exs_inline(), 32, 0), *queue = nice_queue(3);

	CHECK(exs_queue_attach(queue, see, NULL));
	expect_value(put(queue, "x", (exs_task){.priority = -7, .series = 2, .place = EXS_DO_LAST}), NULL);
	CHECK_STR(exs_layer_state(see), "-7 2 2");
	expect_value(put(queue, "x", (exs_task){0}), NULL);
	CHECK_STR(exs_layer_state(see), "0 0 0");
	exs_executor_free(queue);
}

/* --- all at once --- */

enum { SUBMITTERS = 3, EACH = 60, EXECUTORS = 4 };

struct storm {
	exs_executor *ex;
	atomic_bool over;
	_Atomic(exs_future *) victims[8]; /* to be cancelled; a reference each */
	atomic_uint seeds;
	uint64_t seed;
};

static uint64_t storm_seed(struct storm *s)
{
	return s->seed + 1000 * atomic_fetch_add(&s->seeds, 1);
}

struct shot {
	struct storm *storm;
	exs_future *f;
	atomic_uint starts, freed;
	bool waits; /* its task waits for one more */
	uint64_t random;
};

static exs_result shoot(void *arg, exs_context *ctx)
{
	struct shot *shot = arg;
	struct shot inner = {.storm = shot->storm};

	(void)ctx;
	CHECK_INT(atomic_fetch_add(&shot->starts, 1), 0); /* given back only if it has not begun */
	if (!shot->waits)
		return exs_ok(shot, NULL);
	exs_task task = {.fn = shoot, .arg = &inner, .priority = -1};
	exs_future *f = exs_submit_with(shot->storm->ex, &task);
	int rc = exs_future_wait(f, EXS_FOREVER);
	CHECK(rc == EXS_OK);
	exs_future_unref(f);
	return exs_ok(shot, NULL);
}

static void shot_freed(void *arg)
{
	CHECK_INT(atomic_fetch_add(&((struct shot *)arg)->freed, 1), 0);
}

static void *submit_shots(void *arg)
{
	struct storm *s = arg;
	struct shot shots[EACH];
	uint64_t random = storm_seed(s);

	for (int i = 0; i < EACH; i++) {
		shots[i] = (struct shot){.storm = s, .waits = harness_below(&random, 4) == 0};
		exs_task task = {.fn = shoot,
				 .arg = &shots[i],
				 .arg_free = shot_freed,
				 .priority = -(int)harness_below(&random, 2),
				 .series = (unsigned)harness_below(&random, 2),
				 .place = (exs_place)harness_below(&random, 3)};
		shots[i].f = exs_submit_with(s->ex, &task);
		exs_future *old = atomic_exchange(&s->victims[harness_below(&random, 8)], exs_future_ref(shots[i].f));
		exs_future_unref(old);
	}
	for (int i = 0; i < EACH; i++) {
		CHECK_INT(exs_future_wait(shots[i].f, EXS_FOREVER), EXS_OK);
		bool cancelled = exs_future_state(shots[i].f) == EXS_STATE_CANCELLED;
		CHECK(cancelled ? exs_future_cause(shots[i].f) == EXS_CAUSE_USER
				: exs_future_value(shots[i].f) == &shots[i]);
		CHECK(cancelled || shots[i].starts == 1);
		while (!shots[i].freed)
			sched_yield();
		exs_future_unref(shots[i].f);
	}
	return NULL;
}

static exs_executor *queue_of_two_series(exs_executor *ex)
{
	exs_queue_options options = {.series = 2};
	exs_executor *queue = exs_queue(&options);

	CHECK_INT(exs_queue_attach(queue, ex, NULL), 1);
	return queue;
}

static exs_executor *some_executor(uint64_t *random)
{
	exs_executor *ex = exs_thread_pool(1 + (unsigned)harness_below(random, 2));

	switch (harness_below(random, 5)) {
	case 0:
		return exs_with_timeout_mode(ex, 1000, EXS_ABANDON);
	case 1:
		return exs_with_retry(ex, NULL);
	case 2:
		return queue_of_two_series(ex);
	case 3:
		exs_executor_free(ex);
		return exs_inline();
	default:
		return ex;
	}
}

static void *attach_and_detach(void *arg)
{
	struct storm *s = arg;
	uint64_t random = storm_seed(s), attached[EXECUTORS] = {0};
	unsigned series[] = {0, 1};

	for (unsigned n = 0; n < EACH && !atomic_load(&s->over); n++) {
		unsigned i = (unsigned)harness_below(&random, EXECUTORS);
		exs_attach_options options = {.capacity = (unsigned)harness_below(&random, 4)};
		if (harness_below(&random, 2)) {
			options.series = &series[harness_below(&random, 2)];
			options.n_series = 1;
		}
		if (attached[i])
			CHECK_INT(exs_queue_detach(s->ex, attached[i]), EXS_OK);
		attached[i] = harness_below(&random, 3) ? exs_queue_attach(s->ex, some_executor(&random), &options) : 0;
		stats_of(s->ex);
	}
	return NULL;
}

static void *cancel_some(void *arg)
{
	struct storm *s = arg;
	uint64_t random = storm_seed(s);

	while (!atomic_load(&s->over)) {
		exs_future *f = atomic_exchange(&s->victims[harness_below(&random, 8)], NULL);
		if (f && harness_below(&random, 3) == 0)
			exs_future_cancel(f);
		exs_future_unref(f);
		sched_yield();
	}
	return NULL;
}

static void storm_round(uint64_t seed)
{
	exs_queue_options options = {.series = 2, .aging = seed % 2 ? 1 : 0};
	struct storm s = {.ex = exs_queue(&options), .seed = seed};
	pthread_t submitters[SUBMITTERS], others[3];

	CHECK(s.ex && exs_queue_attach(s.ex, exs_thread_pool(1), NULL)); /* stays */
	others[0] = thread_start(attach_and_detach, &s);
	others[1] = thread_start(attach_and_detach, &s);
	others[2] = thread_start(cancel_some, &s);
	for (int i = 0; i < SUBMITTERS; i++)
		submitters[i] = thread_start(submit_shots, &s);
	for (int i = 0; i < SUBMITTERS; i++)
		thread_join(submitters[i]);
	atomic_store(&s.over, true);
	for (int i = 0; i < 3; i++)
		thread_join(others[i]);
	for (int i = 0; i < 8; i++)
		exs_future_unref(atomic_load(&s.victims[i]));
	CHECK_INT(exs_shutdown(s.ex, EXS_DRAIN, EXS_FOREVER), 0);
	exs_queue_stats last = stats_of(s.ex);
	CHECK(last.queued == 0 && last.dispatched == 0 && last.lent == 0);
	CHECK(last.levels[0] == 0 && last.levels[1] == 0 && last.leaving == 0);
	exs_executor_free(s.ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
}

TEST(queue, attach_and_detach_under_load)
{
	int threads = harness_threads();

	for (unsigned long round = 0; round < harness_rounds(10); round++)
		storm_round(harness_seed() + round);
	harness_wait_threads(threads);
}

/* More than there can be: the array is not read. */
TEST(queue, attached_with_too_many_series)
{
	const unsigned series[] = {0};
	exs_executor *queue = exs_queue(NULL);

	CHECK(!exs_queue_attach(queue, exs_inline(), &(exs_attach_options){.series = series, .n_series = SIZE_MAX}));
	CHECK(strstr(exs_error_message(exs_last_error()), "n_series: at most 65536"));
	exs_executor_free(queue);
}
