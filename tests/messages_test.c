/* Messages: what tasks send arrives, in order, all of it, and the end is seen neither early nor late. */
#define _POSIX_C_SOURCE 200809L
#include "failing.h"
#include "support.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* --- tasks that send --- */

struct sends {
	int n;
	int id;
};

struct said {
	int id, i;
};

static exs_result send_all(void *arg, exs_context *ctx)
{
	const struct sends *s = arg;

	for (int i = 0; i < s->n; i++)
		CHECK_INT(exs_send(ctx, &(struct said){s->id, i}, sizeof(struct said)), EXS_OK);
	return exs_ok(NULL, NULL);
}

static struct said said(exs_bytes *message)
{
	struct said said;

	CHECK_INT(message->size, sizeof(said));
	memcpy(&said, message->data, sizeof(said));
	exs_bytes_free(message);
	return said;
}

static void expect_empty(exs_messages *inbox)
{
	exs_bytes *message = (void *)&message;

	CHECK_INT(exs_messages_next(inbox, &message, EXS_FOREVER), EXS_EMPTY);
	CHECK(!message);
	CHECK_INT(exs_messages_next(inbox, &message, 0), EXS_EMPTY);
}

/* Reads to the end: those of each task in their order. Answers how many. */
static int read_all(exs_messages *inbox, int *next)
{
	exs_bytes *message;
	exs_set_status status;
	int n = 0;

	while ((status = exs_messages_next(inbox, &message, EXS_FOREVER)) == EXS_ITEM) {
		struct said s = said(message);
		CHECK_INT(s.i, next[s.id]++);
		n++;
	}
	CHECK_INT(status, EXS_EMPTY);
	return n;
}

static void end(exs_executor *ex, exs_messages *inbox)
{
	exs_executor_free(ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	exs_messages_free(inbox);
	harness_wait_futures(0);
}

/* --- over executors --- */

static void check_over(exs_executor *ex)
{
	enum { TASKS = 20, EACH = 10 };
	exs_messages *inbox = exs_messages_new();
	struct sends sends[TASKS];
	int next[TASKS] = {0};

	ex = exs_with_messages(ex, inbox);
	CHECK(ex);
	expect_empty(inbox);
	for (int i = 0; i < TASKS; i++) {
		sends[i] = (struct sends){EACH, i};
		exs_future_unref(exs_submit(ex, send_all, &sends[i]));
	}
	CHECK_INT(read_all(inbox, next), TASKS * EACH);
	expect_empty(inbox);
	next[0] = 0;
	expect_value(exs_submit(ex, send_all, &(struct sends){1, 0}), NULL); /* it begins anew */
	CHECK_INT(read_all(inbox, next), 1);
	end(ex, inbox);
}

static exs_executor *queue_on(exs_executor *ex)
{
	exs_executor *queue = exs_queue(NULL);

	CHECK(exs_queue_attach(queue, ex, NULL));
	return queue;
}

TEST(messages, over_executors)
{
	exs_retry_options retry = {.sleep = EXS_NONE};

	check_over(exs_inline());
	check_over(exs_thread_pool(1));
	check_over(exs_thread_pool(4));
	check_over(exs_with_retry(exs_thread_pool(2), &retry));
	check_over(queue_on(exs_thread_pool(2)));
	check_over(exs_with_timeout_mode(exs_thread_pool(2), 60, EXS_ABANDON));
	check_over(exs_with_throttle(exs_thread_pool(2), 1, NULL));
}

TEST(messages, two_chains_and_a_borrowed_pool)
{
	exs_messages *inbox = exs_messages_new();
	exs_executor *pool = exs_thread_pool(2);
	exs_executor *a = exs_with_messages(exs_borrow(pool), inbox), *b = exs_with_messages(exs_inline(), inbox);
	struct sends one = {5, 0}, two = {7, 1};
	int next[2] = {0};

	exs_future_unref(exs_submit(a, send_all, &one));
	exs_future_unref(exs_submit(b, send_all, &two));
	CHECK_INT(read_all(inbox, next), 12);
	expect_value(exs_submit(pool, send_all, &one), NULL); /* below no inbox */
	expect_empty(inbox);
	exs_executor_free(a);
	exs_executor_free(b);
	end(pool, inbox);
}

TEST(messages, outermost_inbox_gets_them)
{
	exs_messages *outer = exs_messages_new(), *inner = exs_messages_new();
	exs_executor *ex = exs_with_messages(queue_on(exs_with_messages(exs_thread_pool(1), inner)), outer);
	struct sends s = {3, 0};
	int next[1] = {0};

	expect_value(exs_submit(ex, send_all, &s), NULL);
	CHECK_INT(read_all(outer, next), 3);
	expect_empty(inner);
	exs_executor_free(ex);
	ex = queue_on(exs_with_messages(exs_thread_pool(1), inner)); /* below what the call is a child of */
	next[0] = 0;
	expect_value(exs_submit(ex, send_all, &s), NULL);
	CHECK_INT(read_all(inner, next), 3);
	exs_messages_free(inner);
	end(ex, outer);
}

/* --- the end --- */

static struct {
	sem_t entered, go;
} gate;

static exs_result wait_then_send(void *arg, exs_context *ctx)
{
	sem_post(&gate.entered);
	sem_take(&gate.go);
	return send_all(arg, ctx);
}

static void gate_init(void)
{
	sem_init(&gate.entered, 0, 0);
	sem_init(&gate.go, 0, 0);
}

TEST(messages, timeout_while_a_task_is_left)
{
	exs_messages *inbox = exs_messages_new();
	exs_executor *ex = exs_with_messages(exs_thread_pool(1), inbox);
	struct sends s = {1, 0};
	exs_bytes *message;
	int next[1] = {0};

	gate_init();
	exs_future *f = exs_submit(ex, wait_then_send, &s);
	CHECK_INT(exs_messages_next(inbox, &message, 0), EXS_TIMEOUT);
	CHECK(!message);
	CHECK_INT(exs_messages_next(inbox, &message, 0.001), EXS_TIMEOUT);
	sem_post(&gate.go);
	CHECK_INT(read_all(inbox, next), 1);
	expect_value(f, NULL);
	end(ex, inbox);
}

static void *read_in_thread(void *inbox)
{
	int next[1] = {0};

	return (void *)(intptr_t)read_all(inbox, next);
}

/* Whoever waits is told of an end without a message, too: all of them. */
TEST(messages, cancel_of_the_last_task_ends_the_wait)
{
	exs_messages *inbox = exs_messages_new();
	exs_executor *pool = exs_thread_pool(1), *ex = exs_with_messages(exs_borrow(pool), inbox);
	struct sends s = {1, 0};
	pthread_t readers[3];
	void *n;

	gate_init();
	exs_future *holds = exs_submit(pool, wait_then_send, &s);
	sem_take(&gate.entered);
	exs_future *f = exs_submit(ex, send_all, &s);
	for (int i = 0; i < 3; i++)
		readers[i] = thread_start(read_in_thread, inbox);
	give_time();
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	for (int i = 0; i < 3; i++) {
		CHECK(!pthread_join(readers[i], &n));
		CHECK(!n);
	}
	exs_future_unref(f);
	sem_post(&gate.go);
	expect_value(holds, NULL);
	exs_executor_free(ex);
	end(pool, inbox);
}

static exs_result send_one(void *arg, exs_context *ctx)
{
	CHECK_INT(exs_send(ctx, arg, sizeof(struct said)), EXS_OK);
	return exs_ok(NULL, NULL);
}

/* A task sends its last message and ends at once: it is always read before the end, and the end comes after it. */
TEST(messages, last_message_is_never_lost)
{
	exs_messages *inbox = exs_messages_new();
	exs_executor *ex = exs_with_messages(exs_thread_pool(2), inbox);
	long rounds = (long)harness_rounds((unsigned long)harness_many(20000));
	struct said last = {0, 0};

	for (long round = 0; round < rounds; round++) {
		exs_bytes *message;
		int tasks = 1 + (int)(round & 1);
		last.i = (int)(round & 0xffff);
		for (int i = 0; i < tasks; i++)
			exs_future_unref(exs_submit(ex, send_one, &last));
		for (int i = 0; i < tasks; i++) {
			CHECK_INT(exs_messages_next(inbox, &message, EXS_FOREVER), EXS_ITEM);
			CHECK_INT(said(message).i, last.i);
		}
		CHECK_INT(exs_messages_next(inbox, &message, EXS_FOREVER), EXS_EMPTY);
	}
	end(ex, inbox);
}

/* One that schedules another before it ends leaves no gap between the two. */
static exs_result send_and_schedule(const exs_bytes *input, exs_context *ctx)
{
	unsigned char left = input->data[0];

	CHECK_INT(exs_send(ctx, &left, 1), EXS_OK);
	if (left--)
		CHECK_INT(exs_schedule(ctx, exs_invocation_new("messages.next", &left, 1), NULL), EXS_OK);
	return exs_ok(NULL, NULL);
}

TEST(messages, of_tasks_that_schedule_tasks)
{
	exs_messages *inbox = exs_messages_new();
	exs_executor *ex = exs_with_messages(exs_thread_pool(2), inbox);

	CHECK_INT(exs_register("messages.next", send_and_schedule), EXS_OK);
	for (int round = 0; round < 50; round++) {
		unsigned char n = 50;
		exs_bytes *message;
		exs_future_unref(exs_submit_function(ex, "messages.next", &n, 1));
		for (int i = 50; i >= 0; i--) {
			CHECK_INT(exs_messages_next(inbox, &message, EXS_FOREVER), EXS_ITEM);
			CHECK_INT(message->data[0], i);
			exs_bytes_free(message);
		}
		expect_empty(inbox);
	}
	end(ex, inbox);
}

/* --- a worker that waits --- */

struct nested {
	exs_executor *ex;
	exs_messages *inbox;
};

static exs_result submit_and_read(void *arg, exs_context *ctx)
{
	struct nested *n = arg;
	struct sends sends[3] = {{4, 0}, {4, 1}, {4, 2}};
	int next[3] = {0};

	(void)ctx;
	for (int i = 0; i < 3; i++)
		exs_future_unref(exs_submit(n->ex, send_all, &sends[i]));
	CHECK_INT(read_all(n->inbox, next), 12);
	return exs_ok(NULL, NULL);
}

TEST(messages, read_on_a_worker_of_the_same_pool)
{
	exs_messages *inbox = exs_messages_new();
	exs_executor *pool = exs_thread_pool(1);
	struct nested n = {exs_with_messages(exs_borrow(pool), inbox), inbox};

	for (int round = 0; round < 100; round++)
		expect_value(exs_submit(pool, submit_and_read, &n), NULL);
	exs_executor_free(n.ex);
	end(pool, inbox);
}

static exs_result read_own(void *arg, exs_context *ctx)
{
	exs_bytes *message;

	(void)ctx;
	CHECK_INT(exs_messages_next(arg, &message, EXS_FOREVER), EXS_FAILED);
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EDEADLK);
	return exs_ok(NULL, NULL);
}

/* In a simulation, where it can be known: nobody is left to send anything. */
TEST(messages, task_that_waits_for_itself_in_a_simulation)
{
	exs_messages *inbox = exs_messages_new();

	sim_begin(harness_seed(), NULL);
	exs_executor *ex = exs_with_messages(exs_sim_pool(support_sim, 1), inbox);
	expect_value(exs_submit(ex, read_own, inbox), NULL);
	exs_executor_free(ex);
	sim_end();
	exs_messages_free(inbox);
}

TEST(messages, in_a_simulation)
{
	for (unsigned long round = 0; round < harness_rounds(50); round++) {
		exs_messages *inbox = exs_messages_new();
		struct sends sends[3] = {{4, 0}, {4, 1}, {4, 2}};
		int next[3] = {0};
		sim_begin(harness_seed() + round, NULL);
		exs_executor *ex = exs_with_messages(exs_sim_pool(support_sim, 2), inbox);
		for (int i = 0; i < 3; i++)
			exs_future_unref(exs_submit(ex, send_all, &sends[i]));
		CHECK_INT(read_all(inbox, next), 12);
		exs_executor_free(ex);
		sim_end();
		exs_messages_free(inbox);
	}
}

/* --- freed, misuse --- */

TEST(messages, inbox_that_is_freed_first)
{
	exs_messages *inbox = exs_messages_new();
	exs_executor *ex = exs_with_messages(exs_thread_pool(1), inbox);
	struct sends s = {3, 0};

	gate_init();
	expect_value(exs_submit(ex, send_all, &s), NULL); /* some are left unread */
	exs_future *f = exs_submit(ex, wait_then_send, &s);
	sem_take(&gate.entered);
	exs_messages_free(inbox);
	sem_post(&gate.go);
	expect_value(f, NULL);
	end(ex, NULL);
}

static exs_result send_oddly(void *arg, exs_context *ctx)
{
	CHECK_INT(exs_send(ctx, NULL, 1), EXS_EINVAL);
	CHECK_INT(exs_send(ctx, NULL, 0), EXS_OK);
	return exs_ok(arg, NULL);
}

TEST(messages, of_no_bytes)
{
	exs_messages *inbox = exs_messages_new();
	exs_executor *ex = exs_with_messages(exs_thread_pool(1), inbox);
	exs_bytes *message;

	expect_value(exs_submit(ex, send_oddly, NULL), NULL);
	CHECK_INT(exs_messages_next(inbox, &message, EXS_FOREVER), EXS_ITEM);
	CHECK(message && !message->size);
	exs_bytes_free(message);
	expect_empty(inbox);
	end(ex, inbox);
}

TEST(messages, misuse)
{
	exs_messages *inbox = exs_messages_new();
	exs_bytes *message;
	char text[100];

	exs_messages_free(NULL);
	CHECK(!exs_with_messages(NULL, inbox));
	CHECK(!exs_with_messages(exs_inline(), NULL));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK_INT(exs_messages_next(NULL, &message, 0), EXS_FAILED);
	CHECK_INT(exs_messages_next(inbox, NULL, 0), EXS_FAILED);
	CHECK_INT(exs_messages_next(inbox, &message, -1), EXS_FAILED);
	CHECK_INT(exs_messages_next(inbox, &message, NAN), EXS_FAILED);
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK_INT(exs_send(NULL, "x", 1), EXS_OK); /* there is nobody to hear it */
	CHECK_INT(exs_send(NULL, NULL, 1), EXS_EINVAL);
	exs_executor *ex = exs_with_messages(exs_inline(), inbox);
	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "messages > inline");
	end(ex, inbox);
}

/* --- each allocation fails in turn --- */

static exs_result try_to_send(void *arg, exs_context *ctx)
{
	int rc = exs_send(ctx, arg, sizeof(int));

	CHECK(rc == EXS_OK || rc == EXS_ENOMEM);
	return exs_ok((void *)(intptr_t)(rc == EXS_OK), NULL);
}

static void send_and_read(exs_executor *ex, exs_messages *inbox)
{
	exs_bytes *message;
	exs_set_status status;
	int n = 0, sent = 0, what = 5;
	exs_future *f[2];

	for (int i = 0; i < 2; i++)
		f[i] = exs_submit(ex, try_to_send, &what);
	while ((status = exs_messages_next(inbox, &message, EXS_FOREVER)) != EXS_EMPTY) {
		CHECK(status == EXS_ITEM || exs_error_code(exs_last_error()) == EXS_ENOMEM);
		n += status == EXS_ITEM;
		exs_bytes_free(message);
	}
	for (int i = 0; i < 2; i++) {
		if (f[i])
			wait_done(f[i]);
		sent += f[i] && exs_future_value(f[i]);
		exs_future_unref(f[i]);
	}
	CHECK_INT(n, sent);
}

TEST(messages, each_allocation_fails_in_turn)
{
	exs_allocator failing = {failing_alloc, failing_free};
	bool reached = true;

	for (unsigned long n = 1; reached; n++) {
		exs_set_allocator(&failing);
		atomic_store(&seen, 0);
		atomic_store(&fail_at, n);
		exs_messages *inbox = exs_messages_new();
		exs_executor *ex = inbox ? exs_with_messages(exs_thread_pool(1), inbox) : NULL;
		CHECK(ex || exs_error_code(exs_last_error()) == EXS_ENOMEM);
		if (ex)
			send_and_read(ex, inbox);
		reached = atomic_load(&seen) >= n;
		atomic_store(&fail_at, 0);
		end(ex, inbox);
		CHECK_INT(atomic_load(&blocks), 0);
		exs_set_allocator(NULL);
		CHECK(reached || n > 6);
	}
}
