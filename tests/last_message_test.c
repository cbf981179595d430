/* What tasks in worker processes say before they end is never lost, the last of it neither. EXS_TEST_SOAK=50: 100,000 rounds. */
#define _GNU_SOURCE
#include "storm.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 2000, ROUNDS_OF_POOL = 500, TASKS = 4, MESSAGES = 4, LARGE = (1 << 20) + 4096 };

enum ending { VALUE, ERROR, KILLED, EXITED, ENDINGS };

struct order {
	unsigned round, task, messages, ending;
	bool large; /* the last message is */
};

struct message {
	unsigned round, task, number;
};

/* --- in the workers --- */

static void say(const struct order *o, unsigned number, exs_context *ctx)
{
	static unsigned char text[LARGE];
	struct message m = {o->round, o->task, number};
	bool large = o->large && number + 1 == o->messages;

	memcpy(text, &m, sizeof(m));
	exs_send(ctx, text, large ? sizeof(text) : sizeof(m));
}

static exs_result talk(const exs_bytes *input, exs_context *ctx)
{
	struct order o;

	memcpy(&o, input->data, sizeof(o));
	for (unsigned i = 0; i < o.messages; i++)
		say(&o, i, ctx);
	if (o.ending == KILLED)
		raise(SIGKILL);
	if (o.ending == EXITED)
		_exit(3);
	return o.ending == ERROR ? exs_fail(exs_error_new(&exs_domain_exs, EXS_EBROKEN, "as told"))
				 : exs_ok(NULL, NULL);
}

__attribute__((constructor)) static void be_worker(int argc, char **argv)
{
	exs_register("last_message_talk", talk);
	exs_process_main(argc, argv);
}

/* --- here --- */

struct talks {
	exs_messages *inbox;
	exs_executor *ex;
	unsigned long messages;
};

static void open_talks(struct talks *t)
{
	t->inbox = exs_messages_new();
	t->ex = exs_with_messages(exs_process_pool(&(exs_process_pool_options){.workers = 2}), t->inbox);
	CHECK(t->inbox && t->ex);
}

static void close_talks(struct talks *t)
{
	exs_executor_free(t->ex);
	exs_messages_free(t->inbox);
}

/* Reads until nobody is left to say anything: of each task all that it was told to say, in order. */
static void expect_all(struct talks *t, const struct order *orders, unsigned n)
{
	unsigned heard[TASKS] = {0};
	struct message m;
	exs_bytes *b;
	exs_set_status status;

	while ((status = exs_messages_next(t->inbox, &b, EXS_FOREVER)) == EXS_ITEM) {
		CHECK(b->size >= sizeof(m));
		memcpy(&m, b->data, sizeof(m));
		exs_bytes_free(b);
		CHECK(m.task < n);
		CHECK_INT(m.round, orders[0].round);
		CHECK_INT(m.number, heard[m.task]);
		heard[m.task]++;
		t->messages++;
	}
	CHECK_INT(status, EXS_EMPTY);
	for (unsigned i = 0; i < n; i++)
		CHECK_INT(heard[i], orders[i].messages);
}

static void round_of(struct talks *t, uint64_t *random, unsigned round, unsigned endings)
{
	struct order orders[TASKS];
	unsigned n = 1 + (unsigned)harness_below(random, TASKS);

	memset(orders, 0, sizeof(orders));
	for (unsigned i = 0; i < n; i++) {
		orders[i] = (struct order){.round = round,
					   .task = i,
					   .messages = (unsigned)harness_below(random, MESSAGES + 1),
					   .ending = (unsigned)harness_below(random, endings),
					   .large = !harness_below(random, 200)};
		exs_future *f = exs_submit_function(t->ex, "last_message_talk", &orders[i], sizeof(orders[i]));
		CHECK(f);
		exs_future_unref(f);
	}
	expect_all(t, orders, n);
}

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void rounds(unsigned long n, unsigned of_pool, unsigned endings)
{
	struct storm_rest rest;
	struct talks t = {.messages = 0};
	double begun = now();

	storm_begin(&rest);
	uint64_t random = harness_seed();
	for (unsigned long i = 0; i < n; i++) {
		if (i % of_pool == 0)
			open_talks(&t);
		round_of(&t, &random, (unsigned)i, endings);
		if (i % of_pool == of_pool - 1 || i == n - 1)
			close_talks(&t);
	}
	fprintf(stderr, "%lu rounds, %lu messages, %.1f s\n", n, t.messages, now() - begun);
	storm_end(&rest);
}

TEST(last_message, is_never_lost)
{
	rounds(harness_rounds((unsigned long)harness_many(ROUNDS)), ROUNDS_OF_POOL, KILLED);
}

/* Nor are those of a worker that has died of its task. */
TEST(last_message, of_one_that_dies_is_never_lost)
{
	rounds(harness_rounds((unsigned long)harness_many(60)), 20, ENDINGS);
}
