/* The contract for executors and decorators of one's own (layer.h), and executors as objects: names, descriptions, limits. */
#include "executor/executor.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

/* --- a leaf that is turned by hand, and a decorator that counts --- */

struct slot {
	struct slot *next, **pprev; /* pprev NULL: not in the queue */
};

/* lock guards the queue and its slots. */
struct hand {
	pthread_mutex_t lock;
	struct slot *head, **tail;
	unsigned closings, *stops;
	bool keeps; /* a cancel is refused */
	exs_entry entry;
	int priority;
	const char *name;
	void *arg;
	exs_cause cause;
	size_t many;
};

static void unlink_slot(struct hand *h, struct slot *s)
{
	*s->pprev = s->next;
	if (s->next)
		s->next->pprev = s->pprev;
	else
		h->tail = s->pprev;
	s->pprev = NULL;
}

static exs_step hand_start(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	struct hand *h = exs_layer_state(ex);
	struct slot *s = slot;

	CHECK_INT((uintptr_t)slot % 8, 0);
	CHECK(exs_call_slot(call, ex) == slot && exs_slot_call(slot, ex) == call);
	h->entry = exs_call_entry(call);
	h->priority = exs_call_priority(call);
	h->name = exs_call_name(call);
	h->arg = exs_call_arg(call);
	pthread_mutex_lock(&h->lock);
	bool parked = exs_call_park(call, ex);
	if (parked) {
		*s = (struct slot){.pprev = h->tail};
		*h->tail = s;
		h->tail = &s->next;
	}
	pthread_mutex_unlock(&h->lock);
	*result = exs_cancelled();
	return parked ? EXS_HELD : EXS_UP;
}

static exs_step hand_cancel(exs_executor *ex, exs_future *call, void *slot, exs_cause cause, exs_result *result)
{
	struct hand *h = exs_layer_state(ex);
	struct slot *s = slot;

	CHECK_INT(result->kind, EXS_KIND_CANCELLED);
	pthread_mutex_lock(&h->lock);
	h->cause = cause;
	bool kept = h->keeps && s->pprev && exs_call_park_again(call, ex);
	if (!kept && s->pprev)
		unlink_slot(h, s);
	pthread_mutex_unlock(&h->lock);
	return kept ? EXS_HELD : EXS_UP;
}

static void hand_each(exs_executor *ex, exs_visit_fn *visit, void *arg)
{
	struct hand *h = exs_layer_state(ex);

	pthread_mutex_lock(&h->lock);
	for (struct slot *s = h->head; s; s = s->next)
		visit(exs_slot_call(s, ex), arg);
	pthread_mutex_unlock(&h->lock);
}

static void hand_closing(exs_executor *ex)
{
	((struct hand *)exs_layer_state(ex))->closings++;
}

static void hand_stop(exs_executor *ex)
{
	struct hand *h = exs_layer_state(ex);

	CHECK(!h->head);
	if (h->stops)
		++*h->stops;
	pthread_mutex_destroy(&h->lock);
}

/* Runs the next call on this thread; false: there is none. */
static bool hand_turn(exs_executor *ex)
{
	struct hand *h = exs_layer_state(ex);
	exs_future *call = NULL;
	exs_result r;

	pthread_mutex_lock(&h->lock);
	while (h->head && !call) {
		struct slot *s = h->head;
		unlink_slot(h, s);
		if (exs_call_claim(exs_slot_call(s, ex)))
			call = exs_slot_call(s, ex);
	}
	pthread_mutex_unlock(&h->lock);
	if (!call)
		return false;
	CHECK(exs_call_context(call) != NULL);
	exs_call_run(call, &r);
	exs_call_resume(call, ex, EXS_UP, &r);
	return true;
}

static const exs_layer_ops hand_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "hand",
	.start = hand_start,
	.done = exs_pass_done,
	.cancel = hand_cancel,
	.each = hand_each,
	.closing = hand_closing,
	.stop = hand_stop,
};

static exs_executor *hand(unsigned *stops)
{
	exs_executor *ex = exs_layer_new(&hand_ops, NULL, sizeof(struct hand), sizeof(struct slot));
	struct hand *h = exs_layer_state(ex);
	const unsigned char *bytes = (const unsigned char *)h;

	for (size_t i = 0; i < sizeof(*h); i++)
		CHECK_INT(bytes[i], 0);
	pthread_mutex_init(&h->lock, NULL);
	h->tail = &h->head;
	h->stops = stops;
	return ex;
}

TEST(executor, leaf_of_ones_own)
{
	unsigned stops = 0;
	exs_executor *ex = hand(&stops);
	struct hand *h = exs_layer_state(ex);
	struct job jobs[3];
	exs_future *f[3];
	exs_task task = {.fn = job_run, .arg_free = job_free_arg, .name = "third", .priority = -3, .arg = &jobs[2]};

	CHECK(!exs_layer_delegate(ex));
	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		f[i] = i < 2 ? job_submit(ex, &jobs[i]) : exs_try_submit(ex, &task);
		CHECK(h->arg == &jobs[i]);
		CHECK_INT(h->entry, i < 2 ? EXS_ENTRY_SUBMIT : EXS_ENTRY_TRY);
		CHECK_INT(h->priority, i < 2 ? 0 : -3);
		CHECK_STR(h->name, i < 2 ? NULL : "third");
	}
	CHECK_INT(exs_future_cancel(f[1]), EXS_CANCELLED);
	CHECK_INT(h->cause, EXS_CAUSE_USER);
	CHECK(hand_turn(ex) && hand_turn(ex) && !hand_turn(ex));
	expect_value(f[0], &jobs[0]);
	expect_cancelled(f[1], EXS_CAUSE_USER);
	expect_value(f[2], &jobs[2]);
	CHECK(pthread_equal(jobs[0].thread, pthread_self()));
	exs_executor_free(ex);
	CHECK_INT(stops, 1);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

/* Under the built-in layers: retried from within, timed out, shut down, waited for. */
TEST(executor, leaf_of_ones_own_under_decorators)
{
	unsigned stops = 0;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *leaf = exs_with_clock(hand(&stops), clock);
	exs_executor *ex = exs_with_timeout(exs_with_retry(leaf, NULL), 10);
	struct hand *h = exs_layer_state(leaf);
	struct job jobs[3];
	exs_future *f[3];

	CHECK(exs_layer_delegate(exs_layer_delegate(ex)) == leaf);
	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		jobs[i].failures = i == 0 ? 1 : 0;
		jobs[i].error = exs_error_new(&test_domain, 1, "no");
	}
	f[0] = job_submit(ex, &jobs[0]);
	CHECK(hand_turn(leaf));
	advance(clock, 1);
	CHECK_INT(h->entry, EXS_ENTRY_RESTART);
	CHECK(hand_turn(leaf));
	expect_value(f[0], &jobs[0]);
	f[1] = job_submit(ex, &jobs[1]);
	advance(clock, 10);
	CHECK_INT(h->cause, EXS_CAUSE_TIMEOUT);
	expect_code(f[1], &exs_domain_exs, EXS_ETIMEDOUT);
	f[2] = job_submit(ex, &jobs[2]);
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
	CHECK_INT(h->cause, EXS_CAUSE_SHUTDOWN);
	CHECK(h->closings >= 1);
	expect_cancelled(f[2], EXS_CAUSE_SHUTDOWN);
	exs_executor_free(ex);
	CHECK_INT(stops, 1);
	for (int i = 0; i < 3; i++) {
		exs_error_unref(jobs[i].error);
		job_fini(&jobs[i]);
	}
	exs_clock_unref(clock);
}

/* A cancel hook may keep the call; not when the chain is closing. */
TEST(executor, cancel_hook_that_keeps)
{
	exs_executor *ex = hand(NULL);
	struct hand *h = exs_layer_state(ex);
	struct job jobs[2];
	exs_future *f[2];

	h->keeps = true;
	for (int i = 0; i < 2; i++) {
		job_init(&jobs[i]);
		f[i] = job_submit(ex, &jobs[i]);
		for (int k = 0; k < 2; k++)
			CHECK_INT(exs_future_cancel(f[i]), EXS_STOP_REQUESTED);
	}
	CHECK(hand_turn(ex));
	expect_value(f[0], &jobs[0]);
	CHECK_INT(jobs[0].stops, 1); /* it can see that it was asked */
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
	expect_cancelled(f[1], EXS_CAUSE_USER); /* who asked first */
	exs_executor_free(ex);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

static void cancel_many(exs_executor *ex, exs_future **calls, size_t n, exs_cause cause)
{
	struct hand *h = exs_layer_state(ex);

	h->many = n;
	for (size_t i = 0; i < n; i++) {
		exs_result r = exs_cancelled();
		CHECK_INT(hand_cancel(ex, calls[i], exs_call_slot(calls[i], ex), cause, &r), EXS_UP);
		exs_call_resume(calls[i], ex, EXS_UP, &r);
	}
}

TEST(executor, cancel_many_hook)
{
	exs_layer_ops ops = hand_ops;
	ops.cancel_many = cancel_many;
	exs_executor *ex = exs_layer_new(&ops, NULL, sizeof(struct hand), sizeof(struct slot));
	struct hand *h = exs_layer_state(ex);
	struct job jobs[5];
	exs_future *f[5];

	memset(&ops, 0, sizeof(ops)); /* it was copied, or it is not to be looked at */
	pthread_mutex_init(&h->lock, NULL);
	h->tail = &h->head;
	for (int i = 0; i < 5; i++) {
		job_init(&jobs[i]);
		f[i] = job_submit(ex, &jobs[i]);
	}
	CHECK_INT(exs_future_cancel_all(f, 3), 3);
	CHECK_INT(h->many, 3);
	exs_executor_free(ex); /* the other two, together */
	for (int i = 0; i < 5; i++) {
		expect_cancelled(f[i], i < 3 ? EXS_CAUSE_USER : EXS_CAUSE_SHUTDOWN);
		job_fini(&jobs[i]);
	}
}

/* --- layers with nonsense --- */

static const exs_layer_ops pass_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "pass",
	.start = exs_pass_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
};

static void rejects(const exs_layer_ops *ops, size_t slot_size)
{
	unsigned stops = 0;

	CHECK(!exs_layer_new(ops, hand(&stops), 0, slot_size));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK_INT(stops, 1); /* the delegate was taken over all the same */
}

TEST(executor, layers_with_nonsense)
{
	struct {
		exs_layer_ops ops;
		char tail[8];
	} longer = {.ops = pass_ops, .tail = {1}};

	longer.ops.size = sizeof(longer);
	rejects(&longer.ops, 0);
	longer.tail[0] = 0;
	exs_executor_free(exs_layer_new(&longer.ops, hand(NULL), 0, 0));
	for (int i = 0; i < 4; i++) {
		exs_layer_ops ops = pass_ops;
		if (i == 0)
			ops.type = NULL;
		else if (i == 1)
			ops.start = NULL;
		else if (i == 2)
			ops.done = NULL;
		else
			ops.cancel = NULL;
		rejects(&ops, 0);
	}
	rejects(NULL, 0);
	rejects(&pass_ops, (size_t)2 << 20);
	rejects(&pass_ops, SIZE_MAX - 8);
	CHECK(!exs_layer_new(&pass_ops, exs_layer_new(&pass_ops, hand(NULL), 0, (size_t)1 << 19), 0, (size_t)1 << 19));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL); /* together */
	CHECK(!exs_layer_new(&pass_ops, NULL, SIZE_MAX, 0));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_ENOMEM);
	CHECK(!exs_layer_new(&pass_ops, NULL, SIZE_MAX - 8, 0));
	CHECK(!exs_layer_state(NULL) && !exs_layer_delegate(NULL));
	exs_layer_set_attempts(NULL, 3);
}

/* A leaf has nothing below it. */
TEST(executor, leaf_that_answers_down)
{
	exs_executor *ex = exs_layer_new(&pass_ops, NULL, 0, 0);
	struct job job;

	job_init(&job);
	expect_code(job_submit(ex, &job), &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(job.starts, 0);
	exs_executor_free(ex);
	job_fini(&job);
}

static exs_step answer_nonsense(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	(void)ex, (void)call, (void)slot;
	exs_result_clear(result);
	result->kind = (exs_kind)9;
	return EXS_UP;
}

TEST(executor, layer_that_answers_no_result)
{
	exs_layer_ops ops = pass_ops;
	struct job job;

	ops.done = answer_nonsense;
	exs_executor *ex = exs_layer_new(&ops, exs_inline(), 0, 0);
	job_init(&job);
	expect_code(job_submit(ex, &job), &exs_domain_exs, EXS_EINVAL);
	exs_executor_free(ex);
	job_fini(&job);
}

/* As deep as it goes: calls work, and one more is refused. */
TEST(executor, deepest_chain)
{
	exs_executor *ex = exs_thread_pool(1);
	unsigned depth = 1;
	struct job job;

	for (exs_executor *next; (next = exs_layer_new(&pass_ops, ex, 0, depth % 3)); depth++) {
		ex = next;
		if (depth == 1000)
			break;
	}
	job_init(&job);
	job.failures = ALWAYS;
	job.error = exs_error_new(&test_domain, 1, "no");
	exs_future *f = job_submit(ex, &job);
	expect_error(f, job.error);
	for (; ex; depth++)
		ex = exs_layer_new(&pass_ops, ex, 0, 0);
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK(depth > 1000 && depth < 1100);
	exs_error_unref(job.error);
	job_fini(&job);
}

/* --- names and descriptions --- */

TEST(executor, names)
{
	exs_executor *ex = exs_with_name(exs_inline(), "inner");

	ex = exs_with_retry(ex, NULL);
	CHECK_STR(exs_executor_name(ex), "inner"); /* inherited */
	exs_with_name(ex, "outer");
	CHECK_STR(exs_executor_name(ex), "outer");
	CHECK_STR(exs_executor_name(exs_layer_delegate(ex)), "inner");
	exs_with_name(ex, "a name that is longer than thirty-one bytes");
	CHECK_STR(exs_executor_name(ex), "a name that is longer than thir");
	exs_with_name(ex, NULL);
	CHECK_STR(exs_executor_name(ex), "");
	CHECK_STR(exs_executor_name(NULL), "");
	CHECK(!exs_with_name(NULL, "x"));
	exs_executor_free(ex);
}

TEST(executor, descriptions)
{
	exs_executor *ex = exs_with_retry(exs_thread_pool(4), NULL);
	char text[128] = "#";

	ex = exs_with_timeout(exs_with_poll(ex, job_poll, NULL, NULL, NULL), 30);
	size_t n = exs_describe(ex, text, sizeof(text));
	CHECK_INT(n, strlen(text));
	CHECK_INT(exs_describe(ex, NULL, sizeof(text)), n);
	CHECK_STR(text, "timeout(30s) > poll(5s) > retry(3) > thread_pool(4)");
	exs_executor_free(ex);
	CHECK_INT(exs_describe(NULL, text, sizeof(text)), 0);
	CHECK_STR(text, "");
	ex = exs_layer_new(&pass_ops, hand(NULL), 0, 0);
	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "pass > hand");
	exs_executor_free(ex);
}

/* What layers use only while the call is at them is the same for all, and nobody else's. */
TEST(executor, layers_that_share)
{
	exs_executor *pool = exs_inline(), *two = exs_with_throttle(exs_with_retry(exs_borrow(pool), NULL), 1, NULL);
	exs_executor *retry = exs_layer_delegate(two);

	CHECK_INT(pool->off, 0);
	CHECK_INT(retry->shares, 0); /* grown: nothing is behind it */
	CHECK(retry->shares_size >= pool->shares_size && retry->off == retry->shares_size);
	CHECK(two->off == retry->shares && two->shares_size == retry->shares_size && two->end == retry->end);

	exs_executor *own = exs_layer_new(&pass_ops, exs_borrow(pool), 0, 20);
	CHECK_INT(own->off, pool->end);
	CHECK_INT(own->end, own->off + 24);
	retry = exs_with_retry(own, NULL);
	CHECK_INT(retry->shares, own->end); /* another: the first has a slot of the user's behind it */
	CHECK_INT(retry->off, retry->shares + retry->shares_size);
	exs_executor *timeout = exs_with_timeout_mode(retry, 1, EXS_ABANDON);
	CHECK_INT(timeout->off, 0); /* a block of its own */
	CHECK_INT(timeout->shares_size, 0);
	exs_executor_free(timeout);
	exs_executor_free(two);
	exs_executor_free(pool);
}

/* A layer that starts its delegate again and did not say so beforehand. */
static exs_step again_done(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	bool *been = slot;

	(void)ex;
	if (*been)
		return EXS_UP;
	*been = true;
	exs_result_clear(result);
	exs_call_restarting(call);
	return EXS_DOWN;
}

static exs_step again_start(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	(void)ex, (void)call, (void)result;
	*(bool *)slot = false;
	return EXS_DOWN;
}

static int describe_badly(exs_executor *ex, char *buf, size_t size)
{
	(void)ex, (void)buf, (void)size;
	return -1;
}

static const exs_layer_ops again_ops = {.size = sizeof(exs_layer_ops),
					.type = "again",
					.start = again_start,
					.done = again_done,
					.cancel = exs_pass_cancel,
					.describe = describe_badly};

static exs_result count_starts(void *arg, exs_context *ctx)
{
	++*(unsigned *)arg;
	CHECK_INT(exs_context_attempt(ctx), 1);
	CHECK_INT(exs_context_max_attempts(ctx), 1);
	return exs_ok(NULL, NULL);
}

TEST(executor, layer_that_restarts_without_a_word)
{
	for (int with_none = 0; with_none < 2; with_none++) {
		exs_executor *ex = exs_layer_new(&again_ops, exs_inline(), 0, sizeof(bool));
		unsigned starts = 0;
		char text[32];
		if (with_none) {
			exs_executor_free(ex);
			ex = exs_layer_new(&pass_ops, exs_inline(), 0, 0);
			exs_layer_set_attempts(ex, 0); /* is one */
		} else {
			exs_describe(ex, text, sizeof(text));
			CHECK_STR(text, "again > inline");
		}
		expect_value(exs_submit(ex, count_starts, &starts), NULL);
		CHECK_INT(starts, with_none ? 1 : 2);
		exs_executor_free(ex);
	}
}
