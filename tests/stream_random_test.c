/* Streams drawn at random, from a seed: of a source, or pushed by several threads; in stages, in batches, in order or as completed; items
   that fail, are cancelled, come late, are lost; readers that dawdle, stop early, use the descriptor, are workers; paused, stopped,
   cancelled meanwhile. Among threads, and in a simulation.

   Invariants: where all is in order, the number and the value of each item are those of its input; each input is read once, or dropped after
   a cancel; the end is told once; each input is destroyed once, not before the last attempt at it has ended; at most as many
   items as the streams have room for are there at a time; no value and no future is left. */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 128, STAGES = 3, READERS = 3, PRODUCERS = 3, ACTS = 5, GRAIN = 1 << 20 };
enum fate { VALUE, LATE, LOST, FAILS, CANCELLED };

/* How one of the readers reads. */
struct reader {
	struct beside beside;
	exs_future *task; /* it is a worker's */
	uint64_t random;
	double seconds; /* of each call; 0: with the descriptor */
	long quits;	/* after so many items; -1: not */
	bool dawdles, on_worker;
};

struct producer {
	struct beside beside;
	uint64_t random;
	int number;
};

/* One at a time. What is drawn stands first. */
static struct run {
	uint64_t seed;
	bool pushed, as_completed, encoded, with_task, freed_by_a_task, on_time;
	bool ends_on_error; /* of the last stream */
	bool is_inline[STAGES];
	long n, fails_at; /* inputs; the source fails instead of this one, -1: it does not */
	int n_stages;	  /* the first stream counts */
	size_t batch;	  /* 0: none */
	size_t room;	  /* items that may be there */
	unsigned workers, n_readers, n_producers;
	struct reader readers[READERS];
	struct producer producers[PRODUCERS];
	struct beside disturber;

	exs_executor *ex[STAGES];
	exs_stream *first, *s; /* the same, or that is the last one's in the end */
	int fd;
	long asked; /* the source's next */
	atomic_int in_source;
	atomic_long given, alive, inputs, read, unnamed; /* unnamed: read, but it does not say which input it was */
	atomic_int ended, told, active, producing, source_frees;
	atomic_bool cancelled, stopped, stopped_with_error;
	atomic_bool named[MOST], refused[MOST], touched[MOST]; /* read; not accepted; cancelled on its own */
	atomic_bool numbered[MOST];			       /* items of the last stream, by number */
	atomic_uint destroyed[MOST], starts[STAGES][MOST];
	long ids[MOST];
} run;

/* --- drawn --- */

static uint64_t draw_of(long id, int stage)
{
	uint64_t state = run.seed ^ (uint64_t)id * GRAIN ^ (uint64_t)stage;

	return harness_random(&state);
}

static enum fate fate_at(long id, int stage)
{
	switch (draw_of(id, stage) % 32) {
	case 0:
	case 1:
		return FAILS;
	case 2:
		return CANCELLED;
	case 3:
		return run.on_time || (run.pushed && !stage) || run.is_inline[stage] ? LATE : LOST;
	case 4:
	case 5:
	case 6:
	case 7:
		return LATE;
	default:
		return VALUE;
	}
}

/* What is read of it, if nobody interferes: VALUE, FAILS or CANCELLED. */
static enum fate fate(long id)
{
	for (int stage = 0; stage < run.n_stages; stage++) {
		enum fate f = fate_at(id, stage);
		if (f == FAILS || f == CANCELLED)
			return f;
	}
	return VALUE;
}

/* --- a moment --- */

static bool never(void *unused)
{
	(void)unused;
	return false;
}

static void linger(uint64_t *random)
{
	uint64_t n = harness_below(random, 8);

	if (support_sim)
		exs_sim_wait(support_sim, never, NULL, (double)n * 1e-3);
	for (; !support_sim && n; n--) {
		dawdle(random);
		if (n > 5)
			sched_yield();
	}
}

static void linger_in_task(exs_context *ctx, uint64_t random)
{
	if (support_sim)
		exs_context_sleep(ctx, (double)(random % 64) * 1e-3);
	else
		linger(&random);
}

/* --- inputs, functions --- */

static void input_free(void *value)
{
	long id = *(long *)value;

	CHECK_INT(atomic_fetch_add(&run.destroyed[id], 1), 0);
	atomic_fetch_sub(&run.alive, 1);
	free(value);
}

static exs_result input_made(long id)
{
	long *value = malloc(sizeof(*value));

	CHECK(value);
	*value = id;
	atomic_fetch_add(&run.inputs, 1);
	long alive = atomic_fetch_add(&run.alive, 1) + 1;
	CHECK(run.pushed || alive <= (long)(run.room + run.workers + run.n_readers + 1));
	return exs_ok(value, input_free);
}

/* One more is there. */
static void give(void)
{
	long there = atomic_fetch_add(&run.given, 1) + 1 - atomic_load(&run.read);

	CHECK(there <= (long)(run.room + run.n_readers * (run.batch + 1)));
}

static bool source(void *ctx, exs_result *input)
{
	CHECK(ctx == &run);
	CHECK_INT(atomic_fetch_add(&run.in_source, 1), 0);
	CHECK_INT(atomic_load(&run.ended), 0);
	if (run.asked == run.fails_at)
		*input = exs_fail(exs_error_new(&test_domain, MOST + 1, "the source"));
	else if (run.asked < run.n)
		give();
	bool more = run.asked < run.n || run.asked == run.fails_at;
	if (run.asked < run.n && run.asked != run.fails_at)
		*input = input_made(run.asked);
	if (run.asked % 8 == 7)
		linger(&(uint64_t){run.seed + (uint64_t)run.asked});
	run.asked++;
	atomic_fetch_sub(&run.in_source, 1);
	return more;
}

static void source_free(void *ctx)
{
	CHECK(ctx == &run);
	CHECK_INT(atomic_fetch_add(&run.source_frees, 1), 0);
}

static exs_result answer(enum fate f, int stage, long id, exs_context *ctx)
{
	unsigned before = atomic_fetch_add(&run.starts[stage][id], 1);

	if (f == LATE)
		linger_in_task(ctx, draw_of(id, stage) / 32);
	if (f == LOST && before == 0 && exs_context_sleep(ctx, 1000))
		return exs_cancelled();
	if (f == FAILS)
		return exs_fail(exs_error_new(&test_domain, (int)id, "stage %d", stage));
	return f == CANCELLED ? exs_cancelled() : number(id + (long)MOST * (stage + 1));
}

/* The value that comes to a stage tells from which it is. */
static exs_result work(int stage, const long *value, exs_context *ctx)
{
	long id = *value % MOST;
	bool is_input = !stage && !run.pushed && !run.encoded;

	CHECK_INT(*value / MOST, stage);
	CHECK(!is_input || !atomic_load(&run.destroyed[id]));
	exs_result r = answer(fate_at(id, stage), stage, id, ctx);
	CHECK(!is_input || !atomic_load(&run.destroyed[id]));
	return r;
}

static exs_result work_0(void *value, exs_context *ctx)
{
	return work(0, value, ctx);
}

static exs_result work_1(void *value, exs_context *ctx)
{
	return work(1, value, ctx);
}

static exs_result work_2(void *value, exs_context *ctx)
{
	return work(2, value, ctx);
}

static exs_task_fn *const works[STAGES] = {work_0, work_1, work_2};

static exs_result recode(void *ctx, exs_result in)
{
	long n = *(long *)in.value;

	CHECK(!ctx);
	exs_result_clear(&in);
	return number(n);
}

/* --- what is read --- */

static bool in_order(void)
{
	return !run.as_completed && !run.pushed;
}

static void name(long id)
{
	CHECK(id >= 0 && id < run.n);
	CHECK(!atomic_exchange(&run.named[id], true));
	CHECK(!atomic_load(&run.refused[id]));
}

/* Fails: by itself, or for being lost. Answers whether it says which it is. */
static bool check_error(const exs_error *e, uint64_t number)
{
	if (exs_error_is(e, &exs_domain_exs, EXS_ETIMEDOUT)) {
		CHECK(!run.on_time);
		return false;
	}
	CHECK_STR(exs_error_domain(e)->name, "test");
	long id = exs_error_code(e);
	name(id);
	CHECK_INT(fate(id), FAILS);
	CHECK(!in_order() || number == (uint64_t)id);
	return true;
}

static void check_item(const exs_item *item)
{
	exs_state state = exs_future_state(item->future);

	CHECK(exs_future_is_done(item->future));
	if (state == EXS_STATE_ERROR) {
		atomic_fetch_add(&run.unnamed, !check_error(exs_future_error(item->future), item->number));
	} else if (state == EXS_STATE_CANCELLED) {
		long id = (long)item->number;
		CHECK(!in_order() || fate(id) == CANCELLED || fate_at(id, 0) == LOST || fate_at(id, 1) == LOST ||
		      fate_at(id, 2) == LOST);
		atomic_fetch_add(&run.unnamed, 1);
	} else {
		long value = *(long *)exs_future_value(item->future), id = value % MOST;
		name(id);
		CHECK_INT(value / MOST, run.n_stages);
		CHECK_INT(fate(id), VALUE);
		CHECK(!in_order() || item->number == (uint64_t)id);
	}
	atomic_fetch_add(&run.read, 1);
	exs_future_unref(item->future);
}

/* Their numbers follow each other: answers the next. */
static void check_items(exs_future *f)
{
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	const exs_items *items = exs_future_value(f);

	CHECK(items->n >= 1 && items->n <= run.batch);
	for (size_t i = 0; i < items->n; i++) {
		CHECK(run.as_completed || items->items[i].number == items->items[0].number + i);
		exs_item item = {items->items[i].number, exs_future_ref(items->items[i].future)};
		check_item(&item);
	}
	exs_future_unref(f);
}

static void read_item(const exs_item *item, int64_t *last)
{
	CHECK(item->number < MOST);
	CHECK(!atomic_exchange(&run.numbered[item->number], true));
	CHECK((run.as_completed && !run.batch) || (int64_t)item->number > *last);
	CHECK(run.n_readers > 1 || (run.as_completed && !run.batch) || (int64_t)item->number == *last + 1);
	*last = (int64_t)item->number;
	if (run.batch)
		check_items(item->future);
	else
		check_item(item);
}

static void read_failure(void)
{
	const exs_error *e = exs_last_error();

	CHECK_INT(atomic_fetch_add(&run.told, 1), 0);
	CHECK(exs_error_is(exs_stream_error(run.s), exs_error_domain(e), exs_error_code(e)));
	if (run.ends_on_error) /* an item may have failed behind another error */
		atomic_store(&run.stopped_with_error, true);
	if (exs_error_is(e, &test_domain, MOST + 1)) {
		CHECK(run.fails_at >= 0);
	} else if (exs_error_is(e, &test_domain, MOST + 2)) {
		CHECK(atomic_load(&run.stopped));
	} else {
		CHECK(run.ends_on_error);
		CHECK(exs_error_is(e, &test_domain, exs_error_code(e)) ||
		      (!run.on_time && exs_error_is(e, &exs_domain_exs, EXS_ETIMEDOUT)));
	}
}

static bool is_readable(void *milliseconds)
{
	struct pollfd p = {.fd = run.fd, .events = POLLIN};

	return poll(&p, 1, *(int *)milliseconds) > 0;
}

/* Of several another may be quicker. */
static exs_set_status read_with_fd(exs_item *item)
{
	exs_set_status status;
	int at_once = 0, in_time = run.n_readers > 1 ? 1 : -1;

	while ((status = exs_stream_next(run.s, item, 0)) == EXS_TIMEOUT)
		if (support_sim)
			wait_until(is_readable, &at_once);
		else
			is_readable(&in_time);
	return status;
}

static exs_set_status read_one(struct reader *r, exs_item *item)
{
	exs_set_status status;

	if (r->seconds == 0)
		return read_with_fd(item);
	while ((status = exs_stream_next(run.s, item, r->seconds)) == EXS_TIMEOUT)
		linger(&r->random);
	return status;
}

static void cancel(void)
{
	atomic_store(&run.cancelled, true);
	exs_stream_cancel(run.s);
}

/* The last one that leaves before the end has to say so: producers would wait. */
static void *read_all(void *reader)
{
	struct reader *r = reader;
	exs_set_status status;
	exs_item item;
	int64_t last = -1;

	for (long i = 0; i != r->quits; i++) {
		status = read_one(r, &item);
		if (status == EXS_EMPTY)
			break;
		if (status == EXS_FAILED)
			read_failure();
		else
			read_item(&item, &last);
		if (r->dawdles)
			linger(&r->random);
	}
	if (atomic_fetch_sub(&run.active, 1) == 1 && r->quits >= 0)
		cancel();
	return NULL;
}

static exs_result read_on_worker(void *reader, exs_context *ctx)
{
	(void)ctx;
	read_all(reader);
	return exs_ok(NULL, NULL);
}

/* --- producers --- */

static exs_future *made_elsewhere(void *id)
{
	return exs_submit(run.ex[0], work_0, id);
}

static exs_future *produce(struct producer *p, long *id)
{
	exs_task task = {.fn = work_0, .arg = id};
	exs_future *f;

	switch (harness_below(&p->random, 4)) {
	case 0:
		return exs_stream_produce(run.first, work_0, id);
	case 1:
		task.arg = input_made(*id).value;
		task.arg_free = input_free;
		return exs_stream_produce_with(run.first, &task);
	case 2:
		while ((f = exs_stream_try_produce(run.first, &task)) &&
		       exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_EREJECTED)) {
			exs_future_unref(f);
			if (support_sim)
				linger(&p->random);
			else
				sched_yield();
		}
		return f;
	default:
		return exs_stream_produce_async(run.first, made_elsewhere, id);
	}
}

static void refuse(long id)
{
	CHECK_INT(atomic_load(&run.starts[0][id]), 0);
	CHECK(atomic_load(&run.stopped) || atomic_load(&run.cancelled) || run.ends_on_error);
	atomic_store(&run.refused[id], true);
}

/* As an item of a function, or as its value. */
static void produce_one(struct producer *p, long id)
{
	if (fate_at(id, 0) == VALUE && !harness_below(&p->random, 4)) {
		int rc = exs_stream_push(run.first, number(id + MOST), EXS_FOREVER);
		CHECK(rc == EXS_OK || rc == EXS_EALREADY);
		if (rc)
			refuse(id);
		else
			give();
		return;
	}
	exs_future *f = produce(p, &run.ids[id]);
	CHECK(f);
	if (exs_future_state(f) == EXS_STATE_VALUE && !exs_future_value(f))
		refuse(id);
	else
		give();
	if (!harness_below(&p->random, 16)) {
		atomic_store(&run.touched[id], true);
		exs_future_cancel(f);
	}
	exs_future_unref(f);
}

static void *produce_all(void *producer)
{
	struct producer *p = producer;

	for (long id = p->number; id < run.n; id += (long)run.n_producers) {
		produce_one(p, id);
		if (!harness_below(&p->random, 8))
			linger(&p->random);
	}
	if (atomic_fetch_sub(&run.producing, 1) == 1) {
		atomic_store(&run.stopped, true);
		exs_stream_stop(run.s, NULL);
	}
	return NULL;
}

/* --- who interferes --- */

static void stop(bool with_error)
{
	atomic_store(&run.stopped, true);
	exs_stream_stop(run.s, with_error ? exs_error_new(&test_domain, MOST + 2, "enough") : NULL);
}

static void *disturb(void *unused)
{
	uint64_t random = run.seed ^ 99;
	uint64_t acts = harness_below(&random, ACTS);

	(void)unused;
	for (; acts; acts--) {
		for (uint64_t n = harness_below(&random, 20); n; n--)
			linger(&random);
		switch (harness_below(&random, 10)) {
		case 0:
			cancel();
			break;
		case 1:
		case 2:
			stop(harness_below(&random, 2));
			break;
		case 3:
			CHECK(exs_stream_count(run.s) <= run.room);
			break;
		default:
			exs_stream_pause(run.s);
			linger(&random);
			exs_stream_resume(run.s);
			break;
		}
	}
	return NULL;
}

/* --- one round --- */

static exs_executor *some_executor(uint64_t *random, bool *is_inline)
{
	unsigned workers = 1 + (unsigned)harness_below(random, 3);
	uint64_t kind = harness_below(random, 4);

	run.workers += workers;
	*is_inline = kind == 0;
	if (kind == 0)
		return exs_inline();
	exs_executor *ex = support_sim ? exs_sim_pool(support_sim, workers) : exs_thread_pool(workers);
	for (unsigned i = 0; i < run.n_readers; i++) /* it would take a turn */
		kind = run.readers[i].on_worker ? 2 : kind;
	return kind == 1 ? exs_with_throttle(ex, 1 + (unsigned)harness_below(random, 3), NULL) : ex;
}

static exs_stream_options some_options(uint64_t *random)
{
	static const exs_task task = {.name = "item", .priority = 1};
	exs_stream_options o = {
		.max_results = 1 + harness_below(random, harness_below(random, 2) ? 64 : 4),
		.as_completed = !harness_below(random, 3),
		.timeout = run.on_time	 ? EXS_UNLIMITED
			   : support_sim ? 10
					 : 0.002,
		.max_retries = harness_below(random, 2) ? EXS_NONE : 1 + (unsigned)harness_below(random, 3),
		.task = run.with_task ? &task : NULL,
	};

	run.as_completed = run.as_completed || o.as_completed;
	run.room += o.max_results;
	return o;
}

static void plan_readers(uint64_t *random)
{
	bool early = !harness_below(random, 4);

	run.n_readers = harness_below(random, 2) ? 1 : 1 + (unsigned)harness_below(random, READERS);
	atomic_store(&run.active, (int)run.n_readers);
	for (unsigned i = 0; i < run.n_readers; i++) {
		static const double seconds[] = {EXS_FOREVER, EXS_FOREVER, 0, 1e-4};
		run.readers[i] = (struct reader){
			.random = harness_random(random),
			.seconds = seconds[harness_below(random, 4)],
			.quits = early ? (long)harness_below(random, 30) : -1,
			.dawdles = harness_below(random, 2),
			.on_worker = !harness_below(random, 4),
		};
		if (run.readers[i].on_worker && run.readers[i].seconds == 0) /* nobody stands in for who polls */
			run.readers[i].seconds = EXS_FOREVER;
	}
}

static void plan(uint64_t seed)
{
	uint64_t random = seed;

	memset(&run, 0, sizeof(run));
	run.seed = seed;
	run.pushed = !harness_below(&random, 3);
	run.on_time = harness_below(&random, 4);
	run.encoded = !harness_below(&random, 6);
	run.with_task = harness_below(&random, 2);
	run.freed_by_a_task = !harness_below(&random, 4);
	run.n = (long)harness_below(&random, harness_below(&random, 8) ? MOST : 3);
	run.fails_at = run.pushed || harness_below(&random, 6) ? -1 : (long)harness_below(&random, MOST);
	run.n_stages = 1 + (int)harness_below(&random, STAGES);
	run.batch = harness_below(&random, 3) ? 0 : 1 + harness_below(&random, 9);
	run.n_producers = 1 + (unsigned)harness_below(&random, PRODUCERS);
	run.fd = -1;
	plan_readers(&random);
	for (long id = 0; id < MOST; id++)
		run.ids[id] = id;
	for (int i = 0; i < run.n_stages; i++)
		CHECK((run.ex[i] = some_executor(&random, &run.is_inline[i])));
}

/* The stream begins at once: the plan is complete before. */
static void begin(void)
{
	uint64_t random = run.seed ^ 7;
	exs_stream_options o[STAGES + 1];
	static const double seconds[] = {0, 1e-3, EXS_FOREVER};

	for (int i = 0; i < run.n_stages; i++)
		o[i] = some_options(&random);
	o[run.n_stages] = (exs_stream_options){.max_results = 1 + harness_below(&random, 3)};
	run.room += run.batch * o[run.n_stages].max_results;
	run.ends_on_error = !harness_below(&random, 8);
	o[run.n_stages - 1].stop_on_error = run.ends_on_error;
	o[run.n_stages - !run.batch].decode = run.encoded && !run.batch ? recode : NULL;
	o[run.n_stages - 1].encode = run.encoded && (run.n_stages > 1 || !run.pushed) ? recode : NULL;
	o[0].source_free = run.pushed ? NULL : source_free;
	exs_stream *s = exs_stream_new(run.ex[0], run.pushed ? NULL : work_0, run.pushed ? NULL : source,
				       run.pushed ? NULL : &run, &o[0]);
	run.first = s;
	for (int i = 1; i < run.n_stages; i++)
		s = exs_stream_map(s, run.ex[i], works[i], &o[i]);
	if (run.batch)
		s = exs_stream_batch(s, run.batch, seconds[harness_below(&random, 3)], &o[run.n_stages]);
	CHECK(s);
	run.s = s;
	run.fd = exs_stream_fd(s);
	CHECK(run.fd >= 0);
}

/* An executor may be inline: what runs there comes last. */
static void go_on(void)
{
	atomic_store(&run.producing, (int)run.n_producers);
	for (unsigned i = 0; run.pushed && i < run.n_producers; i++) {
		run.producers[i] = (struct producer){.random = run.seed + i, .number = (int)i};
		beside_start(&run.producers[i].beside, produce_all, &run.producers[i]);
	}
	beside_start(&run.disturber, disturb, NULL);
	for (unsigned i = 0; i < run.n_readers; i++)
		if (!run.readers[i].on_worker)
			beside_start(&run.readers[i].beside, read_all, &run.readers[i]);
	for (unsigned i = 0; i < run.n_readers; i++)
		if (run.readers[i].on_worker)
			run.readers[i].task = exs_submit(run.ex[run.n_stages - 1], read_on_worker, &run.readers[i]);
}

static void wait_for_all(void)
{
	for (unsigned i = 0; i < run.n_readers; i++)
		if (run.readers[i].on_worker)
			expect_value(run.readers[i].task, NULL);
		else
			beside_end(&run.readers[i].beside);
	for (unsigned i = 0; run.pushed && i < run.n_producers; i++)
		beside_end(&run.producers[i].beside);
	beside_end(&run.disturber);
}

/* Nothing is lost: all that was given has been read. */
static void check_all_read(void)
{
	long known = 0, highest = -1, read = 0;

	for (long i = 0; i < MOST; i++) {
		known += run.named[i];
		read += run.numbered[i];
		highest = run.numbered[i] ? i : highest;
	}
	bool cut = run.cancelled || run.stopped_with_error;
	CHECK((cut && run.as_completed) || read == highest + 1);
	CHECK_INT(known + run.unnamed, run.read);
	CHECK(cut || run.read == run.given);
}

static exs_result free_it(void *stream, exs_context *ctx)
{
	(void)ctx;
	exs_stream_free(stream);
	return exs_ok(NULL, NULL);
}

static void finish(void)
{
	check_all_read();
	if (run.freed_by_a_task)
		expect_value(exs_submit(run.ex[0], free_it, run.s), NULL);
	else
		exs_stream_free(run.s);
	CHECK_INT(run.in_source, 0);
	atomic_store(&run.ended, 1);
	for (int i = 0; i < run.n_stages; i++)
		exs_executor_free(run.ex[i]);
}

/* After what was on its way has ended. */
static void check_nothing_left(void)
{
	CHECK_INT(run.alive, 0);
	while (run.source_frees != !run.pushed)
		sched_yield();
	CHECK_INT(atomic_load(&numbers), 0);
}

/* A stream's timer that has expired, and fires yet, is not waited for by exs_quiesce; what it leaves ends soon. */
static void end_threads(int before)
{
	while (harness_threads() > before)
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
}

TEST(stream_random, among_threads)
{
	uint64_t seed = harness_seed();
	int threads = harness_threads();

	for (unsigned long round = 0; round < harness_rounds(200); round++) {
		uint64_t one = round ? harness_random(&seed) : seed; /* so that a seed is replayed */
		harness_set_seed(one);
		plan(one);
		begin();
		go_on();
		wait_for_all();
		finish();
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
		harness_wait_futures(0);
		check_nothing_left();
	}
	end_threads(threads);
}

TEST(stream_random, in_a_simulation)
{
	uint64_t seed = harness_seed();

	for (unsigned long round = 0; round < harness_rounds(200); round++) {
		uint64_t one = round ? harness_random(&seed) : seed; /* so that a seed is replayed */
		harness_set_seed(one);
		sim_begin(one, &(exs_sim_options){.threads = true, .delay = one % 2 ? 0.2 : 0, .max_delay = 0.01});
		plan(one);
		begin();
		go_on();
		wait_for_all();
		finish();
		sim_end();
		check_nothing_left();
	}
}
