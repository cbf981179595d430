/* Process pool: calls that a quick worker has been given ahead, behind one that is not quick. */
#define _GNU_SOURCE
#include "process_functions.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUICK = 24, AFTER = 5, ROUNDS = 200 };

/* Worker 1 is held up by a call, worker 2 is given quick ones, one that waits, and some after it. What is done in callbacks is done on the
   pool's thread: meanwhile it gives and recalls nothing. */
struct round {
	exs_executor *ex;
	exs_future *held, *waits, *after[AFTER];
	const char *function, *input, *path; /* of the one that waits; what the others append to */
	pid_t pid;			     /* of worker 2 */
	void (*look)(struct round *);
	unsigned ahead; /* calls behind the one that waits when it was given */
	atomic_bool looked;
};

static void look(exs_future *f, void *arg)
{
	struct round *r = arg;

	(void)f;
	r->ahead = (unsigned)process_stats(r->ex).running - 2;
	if (r->ahead && r->look)
		r->look(r);
	atomic_store(&r->looked, true);
}

static void submit_all(exs_future *first, void *arg)
{
	struct round *r = arg;
	char text[128];

	(void)first;
	for (int i = 0; i < QUICK; i++) {
		exs_future *f = call(r->ex, "echo", "x");
		if (i == QUICK - 1)
			CHECK_INT(exs_future_on_done(f, look, r, NULL), EXS_OK);
		exs_future_unref(f);
	}
	r->waits = call(r->ex, r->function, r->input);
	for (int i = 0; i < AFTER; i++) {
		snprintf(text, sizeof(text), "%s %d", r->path, i);
		r->after[i] = call(r->ex, "append", text);
	}
}

static bool has_looked(void *round)
{
	return atomic_load(&((struct round *)round)->looked);
}

static void round_begin(struct round *r, const char *function, void (*and_then)(struct round *))
{
	processes_begin();
	const char *path = gate();
	*r = (struct round){.function = function, .input = path, .path = new_path(), .look = and_then};
	r->ex = processes((exs_process_pool_options){.workers = 2});
	r->held = call(r->ex, "sleep", "");
	expect_message("entered");
	r->pid = (pid_t)atoi(text_of(call(r->ex, "pid", "")));
	exs_future *first = call(r->ex, "gate", path);
	expect_message("entered");
	CHECK_INT(exs_future_on_done(first, submit_all, r, NULL), EXS_OK);
	gate_open(1);
	expect_text(first, "open, cause 0");
	wait_until(has_looked, r);
}

/* Answers whether it has seen what it was for. */
static bool round_end(struct round *r)
{
	exs_future_cancel(r->held);
	expect_cancelled(r->held, EXS_CAUSE_USER);
	processes_end(r->ex);
	return r->ahead;
}

static bool is_back(void *round)
{
	return process_stats(((struct round *)round)->ex).queued == AFTER;
}

static bool recalled(void)
{
	struct round r;

	round_begin(&r, "gate", NULL);
	wait_until(is_back, &r);
	exs_future_cancel(r.held);
	for (int i = 0; i < AFTER; i++)
		expect_text(r.after[i], NULL);
	CHECK(!exs_future_is_done(r.waits));
	CHECK_STR(content(r.path), "0 1;1 1;2 1;3 1;4 1;");
	CHECK_INT(process_stats(r.ex).running, 1);
	gate_open(1);
	expect_text(r.waits, "open, cause 0");
	CHECK_INT(atoi(text_of(call(r.ex, "pid", ""))), r.pid); /* it was idle last, and leaves what was recalled */
	CHECK_STR(content(r.path), "0 1;1 1;2 1;3 1;4 1;");
	return round_end(&r);
}

static void kill_it(struct round *r)
{
	CHECK_INT(kill(r->pid, SIGKILL), 0);
}

/* It costs the one that waits its worker, and the others nothing. */
static bool killed(void)
{
	struct round r;

	round_begin(&r, "gate", kill_it);
	if (!r.ahead)
		gate_open(1);
	wait_done(r.waits);
	CHECK_INT(exs_future_state(r.waits), r.ahead ? EXS_STATE_ERROR : EXS_STATE_VALUE);
	exs_future_unref(r.waits);
	for (int i = 0; i < AFTER; i++)
		expect_text(r.after[i], NULL);
	if (r.ahead)
		CHECK_STR(content(r.path), "0 3;1 3;2 3;3 3;4 3;");
	CHECK_INT(process_stats(r.ex).restarted, 0);
	return round_end(&r);
}

static bool last_has_run(void *round)
{
	struct round *r = round;
	char text[8];

	snprintf(text, sizeof(text), "%u 2;", r->ahead - 1);
	return strstr(content(r->path), text);
}

/* Its worker hears of the cancels in their order, so of the first before the one that it waits in ends. */
static void cancel_second(struct round *r)
{
	if (r->ahead >= 3) {
		exs_future_cancel(r->after[1]);
		exs_future_cancel(r->waits);
		wait_until(last_has_run, r);
		CHECK(!strstr(content(r->path), "1 2;"));
	}
}

/* It is not begun. */
static bool cancelled(void)
{
	struct round r;

	round_begin(&r, "sleep", cancel_second);
	exs_future_cancel(r.waits);
	expect_cancelled(r.waits, EXS_CAUSE_USER);
	for (int i = 0; i < AFTER; i++)
		if (r.ahead >= 3 && i == 1)
			expect_cancelled(r.after[i], EXS_CAUSE_USER);
		else
			expect_text(r.after[i], NULL);
	return round_end(&r) && r.ahead >= 3;
}

/* Until the worker was so quick that it was given some ahead. */
static void repeat(bool (*once)(void))
{
	int rounds = 0;

	while (!once())
		CHECK(++rounds < ROUNDS);
}

TEST(process_ahead, those_behind_one_that_waits_run_elsewhere_in_order)
{
	repeat(recalled);
}

TEST(process_ahead, those_of_a_killed_worker_have_not_begun)
{
	repeat(killed);
}

TEST(process_ahead, cancel_of_one_that_has_not_begun)
{
	repeat(cancelled);
}
