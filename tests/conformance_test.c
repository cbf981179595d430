/* The conformance suite over the library's executors and chains of them. A new one joins by one line. */
#include "conformance.h"
#include "support.h"

#include <stdlib.h>

static exs_executor *pool(unsigned workers)
{
	exs_sim *sim = conformance_sim();

	return sim ? exs_sim_pool(sim, workers) : exs_with_clock(exs_thread_pool(workers), conformance_clock());
}

static exs_executor *inline_(void)
{
	return exs_with_clock(exs_inline(), conformance_clock());
}

static exs_executor *wait_(exs_executor *ex)
{
	return exs_with_timeout_mode(ex, 2000, EXS_WAIT);
}

static exs_executor *abandon(exs_executor *ex)
{
	return exs_with_timeout_mode(ex, 3000, EXS_ABANDON);
}

static exs_executor *retry(exs_executor *ex)
{
	return conformance_retry(ex, 2);
}

static exs_executor *poll_(exs_executor *ex)
{
	return conformance_poll(ex);
}

/* Below the suite's crowds, so that calls wait; above what its tasks need that wait for each other. */
static exs_executor *throttle(exs_executor *ex)
{
	return exs_with_throttle(ex, 9, NULL);
}

static exs_error *nine(void *ctx, unsigned *count)
{
	(void)ctx;
	*count = 9;
	return NULL;
}

static exs_executor *asking(exs_executor *ex)
{
	exs_throttle_options options = {.count_fn = nine};

	return exs_with_throttle(ex, 0, &options);
}

static exs_executor *messages(exs_executor *ex)
{
	exs_messages *inbox = exs_messages_new();

	ex = exs_with_messages(ex, inbox);
	exs_messages_free(inbox); /* the layer keeps what it needs */
	return ex;
}

static exs_executor *gate(exs_executor *ex)
{
	return exs_with_cancel_on_shutdown(ex);
}

/* A call alone in its batch: otherwise one that the suite holds up would hold up the others. */
static exs_error *run_each(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	(void)ctx, (void)context;
	for (size_t i = 0; i < n; i++)
		exs_batch_run(items[i]);
	return NULL;
}

static exs_executor *batch(exs_executor *ex)
{
	return exs_with_batch(ex, run_each, NULL, &(exs_batch_options){.max = 1});
}

/* A decorator written against the public headers. */

static const exs_layer_ops pass_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "pass",
	.start = exs_pass_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
};

static exs_executor *pass(exs_executor *ex)
{
	return ex ? exs_layer_new(&pass_ops, ex, 0, 0) : NULL;
}

static exs_result same(void *ctx, exs_result in)
{
	(void)ctx;
	return in;
}

static exs_executor *map(exs_executor *ex)
{
	return exs_with_map(ex, same, same, NULL, NULL);
}

/* The same outcome, in a future that is done. */
static exs_future *same_at_once(void *ctx, exs_result in)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	(void)ctx;
	if (!p) {
		exs_result_clear(&in);
		return NULL;
	}
	exs_promise_complete(p, in);
	exs_promise_free(p);
	return f;
}

static exs_executor *flat(exs_executor *ex)
{
	return exs_with_flat_map(ex, same_at_once, same_at_once, NULL, NULL);
}

/* The same outcome by way of another pool. */
static exs_executor *elsewhere;

struct box {
	exs_result outcome;
};

static void box_free(void *arg)
{
	struct box *box = arg;

	exs_result_clear(&box->outcome); /* if it was not taken out */
	free(box);
}

static exs_result take_out(void *arg, exs_context *ctx)
{
	struct box *box = arg;
	exs_result r = box->outcome;

	(void)ctx;
	box->outcome = exs_ok(NULL, NULL);
	return r;
}

static exs_future *same_later(void *ctx, exs_result in)
{
	struct box *box = malloc(sizeof(*box));
	exs_task task = {.fn = take_out, .arg = box, .arg_free = box_free};

	(void)ctx;
	CHECK(box);
	box->outcome = in;
	return exs_submit_with(elsewhere, &task);
}

/* A refused submit is done on return. */
static exs_future *error_later(void *ctx, exs_result in)
{
	return exs_error_domain(in.error) == &test_domain ? same_later(ctx, in) : same_at_once(ctx, in);
}

static exs_executor *flat_later(exs_executor *ex)
{
	return exs_with_flat_map(ex, same_later, error_later, NULL, NULL);
}

static void begin_elsewhere(void)
{
	elsewhere = pool(1);
}

static void end_elsewhere(void)
{
	exs_executor_free(elsewhere);
}

/* Calls of others than the bound functions. */
static exs_future *never(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	CHECK(false);
	return NULL;
}

static exs_executor *binds(exs_executor *ex)
{
	return exs_with_flat_bind(exs_with_bind(ex, exs_bound), never);
}

/* A queue over one or two executors. */
static exs_executor *queue(exs_executor *a, exs_executor *b)
{
	exs_executor *ex = exs_with_clock(exs_queue(NULL), conformance_clock());

	CHECK(exs_queue_attach(ex, a, NULL) == 1);
	CHECK(!b || exs_queue_attach(ex, b, NULL) == 2);
	return ex;
}

/* All at once: each call runs within its submit; or waits in what is attached. */
static exs_executor *queue_all(exs_executor *only)
{
	exs_attach_options options = {.capacity = EXS_UNLIMITED};
	exs_executor *ex = exs_with_clock(exs_queue(NULL), conformance_clock());

	CHECK(exs_queue_attach(ex, only, &options) == 1);
	return ex;
}

/* A pool or queue that a chain borrows, and another chain that borrows it too. */
static exs_executor *shared, *sharer;

static void share(exs_executor *ex)
{
	shared = ex;
	sharer = retry(abandon(exs_borrow(shared)));
	CHECK(sharer);
}

static void share_pool(void)
{
	share(pool(2));
}

static void share_queue(void)
{
	share(queue(pool(2), pool(1)));
}

static void end_shared(void)
{
	struct job job;

	job_init(&job);
	if (conformance_faults())
		job.freed = 1;
	else
		expect_value(job_submit(sharer, &job), &job); /* untouched by what the chain under test went through */
	exs_executor_free(sharer);
	exs_executor_free(shared);
	job_fini(&job);
}

static exs_executor *pool_with(exs_thread_pool_options options)
{
	return exs_with_clock(exs_thread_pool_with(&options), conformance_clock());
}

/* An event loop with a thread that turns it. */
static pthread_t turner;

static void *turn(void *ex)
{
	CHECK(exs_event_loop_run(ex) > 0); /* until it is freed */
	return NULL;
}

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

static exs_executor *loop_(void)
{
	exs_executor *ex = exs_with_clock(exs_event_loop(), conformance_clock());

	CHECK(ex);
	turner = thread_start(turn, ex);
	CHECK_INT(exs_call(ex, nothing, NULL, EXS_FOREVER, NULL), EXS_OK); /* it turns: from now on it may be freed */
	return ex;
}

static void end_loop(void)
{
	thread_join(turner);
}

/* A loop that a chain borrows. */
static void share_loop(void)
{
	shared = loop_();
}

static void end_shared_loop(void)
{
	exs_executor_free(shared);
	end_loop();
}

static exs_executor *bounded_pool(exs_full when_full)
{
	/* What drops must not: the limit is beyond all that the suite submits. */
	size_t limit = when_full == EXS_FULL_DROP_OLDEST ? 1000000 : 20;

	return pool_with((exs_thread_pool_options){
		.workers = 2, .queue_limit = limit, .when_full = when_full, .name = "bounded"});
}

static exs_executor *blocking_pool(void)
{
	return pool_with((exs_thread_pool_options){.workers = 2, .queue_limit = 20, .block_seconds = 1000});
}

static exs_executor *any_order_pool(unsigned workers)
{
	return pool_with((exs_thread_pool_options){.workers = workers, .order = EXS_ANY_ORDER, .waiters_run = true});
}

static exs_executor *retiring_pool(unsigned workers)
{
	return pool_with(
		(exs_thread_pool_options){.workers = workers, .min_workers = EXS_NONE, .idle_seconds = EXS_NONE});
}

static exs_executor *default_pool(void)
{
	return exs_with_clock(exs_thread_pool_default(), conformance_clock());
}

/* Nineteen layers on a leaf. One retry tries twice, the others once: attempts multiply. */
static exs_executor *deep(exs_executor *ex, exs_executor *(*const layers[])(exs_executor *), int n)
{
	for (int i = 0; i < 19; i++)
		ex = i >= n && layers[i % n] == retry ? conformance_retry(ex, 1) : layers[i % n](ex);
	return ex;
}

static exs_executor *twenty(exs_executor *ex)
{
	static exs_executor *(*const layers[])(exs_executor *) = {retry, wait_, pass, poll_, abandon};

	return deep(ex, layers, 5);
}

static exs_executor *twenty_kinds(exs_executor *ex)
{
	static exs_executor *(*const layers[])(exs_executor *) = {throttle, map,  abandon, retry, gate,
								  flat,	    pass, poll_,   wait_, binds};

	return deep(ex, layers, 10);
}

/* X(name, the chain), T(...) for those on threads only, S(...) for those that borrow the pool `shared`, Q(...) where that is a queue, L(...) for those on an event loop,
   M(...) for those that borrow the loop `shared`, E(...) for those that use `elsewhere`. */
#define CHAINS(X, T, S, Q, L, M, E)                                                                                    \
	X(pool_1, pool(1))                                                                                             \
	X(pool_4, pool(4))                                                                                             \
	T(bounded, bounded_pool(EXS_FULL_BLOCK))                                                                       \
	T(for_a_time, blocking_pool())                                                                                 \
	T(caller_runs, bounded_pool(EXS_FULL_CALLER_RUNS))                                                             \
	T(drops, bounded_pool(EXS_FULL_DROP_OLDEST))                                                                   \
	T(any_order_2, any_order_pool(2))                                                                              \
	T(any_order_chain, wait_(poll_(retry(any_order_pool(4)))))                                                     \
	T(retiring_1, retiring_pool(1))                                                                                \
	T(retiring_4, retiring_pool(4))                                                                                \
	T(default_, default_pool())                                                                                    \
	T(retiring_chain, wait_(poll_(retry(retiring_pool(2)))))                                                       \
	T(caller_chain, abandon(poll_(retry(bounded_pool(EXS_FULL_CALLER_RUNS)))))                                     \
	T(default_chain, retry(abandon(default_pool())))                                                               \
	X(in_line, inline_())                                                                                          \
	S(borrow, exs_borrow(shared))                                                                                  \
	X(retry_pool, retry(pool(2)))                                                                                  \
	X(retry_inline, retry(inline_()))                                                                              \
	X(wait_pool, wait_(pool(2)))                                                                                   \
	X(abandon_pool, abandon(pool(2)))                                                                              \
	X(abandon_inline, abandon(inline_()))                                                                          \
	X(poll_pool, poll_(pool(2)))                                                                                   \
	X(poll_inline, poll_(inline_()))                                                                               \
	X(pass_pool, pass(pool(2)))                                                                                    \
	X(usual, wait_(poll_(retry(pool(4)))))                                                                         \
	X(two_retries, retry(abandon(retry(pool(2)))))                                                                 \
	X(three_calls_inline, abandon(poll_(abandon(inline_()))))                                                      \
	X(three_calls_pool, abandon(poll_(abandon(pool(1)))))                                                          \
	X(retry_poll, retry(poll_(pool(2))))                                                                           \
	X(poll_poll, poll_(poll_(retry(pool(2)))))                                                                     \
	X(three_timeouts, wait_(abandon(wait_(pool(1)))))                                                              \
	X(two_abandons, abandon(abandon(inline_())))                                                                   \
	X(retries_inline, retry(wait_(retry(inline_()))))                                                              \
	X(throttle_pool, throttle(pool(12)))                                                                           \
	X(throttle_inline, throttle(inline_()))                                                                        \
	X(throttle_retry, throttle(retry(poll_(asking(pool(2))))))                                                     \
	X(retry_throttle, retry(abandon(throttle(pool(4)))))                                                           \
	X(asking_pool, asking(pool(12)))                                                                               \
	S(throttle_borrow, wait_(poll_(throttle(exs_borrow(shared)))))                                                 \
	X(gate_pool, gate(pool(2)))                                                                                    \
	X(gate_inline, gate(inline_()))                                                                                \
	X(gate_chain, gate(wait_(poll_(retry(throttle(pool(2)))))))                                                    \
	X(gate_abandon, gate(abandon(retry(pool(2)))))                                                                 \
	X(poll_gate, poll_(retry(gate(abandon(gate(pool(2)))))))                                                       \
	X(batch_pool, batch(pool(2)))                                                                                  \
	X(batch_inline, batch(inline_()))                                                                              \
	X(poll_batch, wait_(poll_(retry(batch(pool(4))))))                                                             \
	X(batch_retry, batch(retry(wait_(pool(2)))))                                                                   \
	X(retry_batch_inline, retry(batch(retry(inline_()))))                                                          \
	X(batch_abandon, batch(abandon(pool(2))))                                                                      \
	X(abandon_batch, abandon(batch(pool(2))))                                                                      \
	X(batch_batch, gate(throttle(batch(throttle(batch(pool(2)))))))                                                \
	S(batch_borrow, batch(exs_borrow(shared)))                                                                     \
	S(gate_borrow, gate(retry(exs_borrow(shared))))                                                                \
	X(queue_pool, queue(pool(1), NULL))                                                                            \
	X(queue_pools, queue(pool(2), pool(1)))                                                                        \
	X(queue_chains, retry(wait_(queue(pool(2), conformance_retry(pool(1), 1)))))                                   \
	X(queue_retries, retry(queue(retry(pool(2)), retry(wait_(pool(2))))))                                          \
	X(queue_inline, queue_all(inline_()))                                                                          \
	X(queue_polls, queue(poll_(pool(2)), poll_(wait_(pool(1)))))                                                   \
	X(poll_queue, poll_(abandon(queue(abandon(pool(2)), wait_(pool(2))))))                                         \
	X(queue_queue, retry(queue(abandon(queue(pool(1), pool(1))), NULL)))                                           \
	S(queue_borrow, wait_(queue(exs_borrow(shared), NULL)))                                                        \
	Q(borrow_queue, retry(abandon(exs_borrow(shared))))                                                            \
	Q(queue_borrow_queue, queue(exs_borrow(shared), NULL))                                                         \
	S(poll_borrow, poll_(exs_borrow(shared)))                                                                      \
	S(abandon_borrow, abandon(retry(exs_borrow(shared))))                                                          \
	X(twenty_layers, twenty(pool(2)))                                                                              \
	X(twenty_inline, twenty(inline_()))                                                                            \
	X(twenty_kinds_pool, twenty_kinds(pool(4)))                                                                    \
	X(twenty_kinds_inline, twenty_kinds(inline_()))                                                                \
	S(twenty_borrow, twenty(exs_borrow(shared)))                                                                   \
	L(twenty_loop, twenty(loop_()))                                                                                \
	L(twenty_kinds_loop, twenty_kinds(loop_()))                                                                    \
	L(event_loop, loop_())                                                                                         \
	L(retry_loop, retry(loop_()))                                                                                  \
	L(poll_loop, poll_(loop_()))                                                                                   \
	L(retry_timeout_loop, retry(wait_(loop_())))                                                                   \
	L(retry_abandon_loop, retry(abandon(loop_())))                                                                 \
	L(usual_loop, wait_(poll_(retry(loop_()))))                                                                    \
	L(throttle_loop, retry(throttle(loop_())))                                                                     \
	L(batch_loop, retry(batch(loop_())))                                                                           \
	L(three_calls_loop, abandon(poll_(abandon(loop_()))))                                                          \
	L(queue_loop, wait_(queue_all(retry(loop_()))))                                                                \
	L(queue_loop_and_pool, retry(queue(loop_(), pool(2))))                                                         \
	M(usual_borrowed_loop, wait_(poll_(retry(exs_borrow(shared)))))                                                \
	X(messages_pool, messages(retry(poll_(pool(2)))))                                                              \
	X(map_pool, map(pool(2)))                                                                                      \
	X(map_retry_inline, map(retry(map(inline_()))))                                                                \
	X(flat_pool, flat(pool(2)))                                                                                    \
	X(flat_inline, flat(inline_()))                                                                                \
	X(flat_abandon, abandon(flat(abandon(pool(1)))))                                                               \
	X(retry_flat_poll, wait_(retry(flat(poll_(map(pool(2)))))))                                                    \
	L(flat_loop, flat(poll_(retry(flat(loop_())))))                                                                \
	X(flat_gate, gate(flat(throttle(pool(2)))))                                                                    \
	E(later_pool, flat_later(pool(2)))                                                                             \
	E(later_usual, wait_(poll_(flat_later(retry(pool(2))))))                                                       \
	E(retry_later, retry(flat_later(abandon(flat_later(pool(2))))))                                                \
	X(binds_pool, binds(pool(2)))                                                                                  \
	X(binds_abandon, binds(abandon(retry(binds(inline_())))))                                                      \
	E(later_queue, retry(flat_later(queue(pool(2), pool(1)))))                                                     \
	X(queue_flat, queue(flat(abandon(pool(2))), flat(pool(1))))

#define DEFINE(id, expression)                                                                                         \
	static exs_executor *id(void)                                                                                  \
	{                                                                                                              \
		return expression;                                                                                     \
	}
#define ALONE(id, expression)	  {#expression, id, NULL, NULL, false},
#define SHARING(id, expression)	  {#expression, id, share_pool, end_shared, false},
#define QUEUEING(id, expression)  {#expression, id, share_queue, end_shared, false},
#define ELSEWHERE(id, expression) {#expression, id, begin_elsewhere, end_elsewhere, false},
#define LOOP(id, expression)	  {#expression, id, NULL, end_loop, false},
#define ON_LOOP(id, expression)	  {#expression, id, share_loop, end_shared_loop, false},

#define SIM_ALONE(id, expression)     {"sim: " #expression, id, NULL, NULL, true},
#define SIM_SHARING(id, expression)   {"sim: " #expression, id, share_pool, end_shared, true},
#define SIM_QUEUEING(id, expression)  {"sim: " #expression, id, share_queue, end_shared, true},
#define SIM_ELSEWHERE(id, expression) {"sim: " #expression, id, begin_elsewhere, end_elsewhere, true},
#define NOT_ON_SIM(id, expression)

CHAINS(DEFINE, DEFINE, DEFINE, DEFINE, DEFINE, DEFINE, DEFINE)

const struct conformance_chain conformance_chains[] = {
	CHAINS(ALONE, ALONE, SHARING, QUEUEING, LOOP, ON_LOOP, ELSEWHERE)
		CHAINS(SIM_ALONE, NOT_ON_SIM, SIM_SHARING, SIM_QUEUEING, NOT_ON_SIM, NOT_ON_SIM, SIM_ELSEWHERE)};
const size_t conformance_n = sizeof(conformance_chains) / sizeof(*conformance_chains);
