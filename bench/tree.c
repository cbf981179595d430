/* W3: a tree of 2^20 - 1 tasks that submit two tasks each; an atomic counter, or joins, tell the end. What does one cost?
   Usage: tree [counter|join]; both without a name. */
#include "ours.h"

static exs_executor *ex;
static atomic_long left;
static exs_promise *done;

static exs_result node(void *depth, exs_context *ctx)
{
	long d = unboxed(depth);

	(void)ctx;
	for (int i = 0; i < 2 && d; i++)
		exs_future_unref(exs_submit(ex, node, boxed(d - 1)));
	if (atomic_fetch_sub(&left, 1) == 1)
		exs_promise_complete(done, exs_ok(NULL, NULL));
	return exs_ok(NULL, NULL);
}

static exs_result join(void *depth, exs_context *ctx)
{
	long d = unboxed(depth);
	exs_future *f[2] = {NULL};

	(void)ctx;
	for (int i = 0; i < 2 && d; i++)
		f[i] = exs_submit(ex, join, boxed(d - 1));
	for (int i = 0; i < 2 && d; i++) {
		exs_future_wait(f[i], EXS_FOREVER);
		exs_future_unref(f[i]);
	}
	return exs_ok(NULL, NULL);
}

static void count_down(int round)
{
	exs_future *all;

	atomic_store(&left, OPS3);
	done = exs_promise_new(&all);
	uint64_t begin = now_ns();
	exs_future_unref(exs_submit(ex, node, boxed(DEPTH3)));
	exs_future_wait(all, EXS_FOREVER);
	uint64_t end = now_ns();
	exs_future_unref(all);
	exs_promise_free(done);
	if (round)
		emit(our_name(), "W3", OPS3, (double)(end - begin) / OPS3, ",\"variant\":\"counter\"");
}

static void join_all(int round)
{
	uint64_t begin = now_ns();
	exs_future *f = exs_submit(ex, join, boxed(DEPTH3));

	exs_future_wait(f, EXS_FOREVER);
	uint64_t end = now_ns();
	exs_future_unref(f);
	if (round)
		emit(our_name(), "W3", OPS3, (double)(end - begin) / OPS3, ",\"variant\":\"join\"");
}

int main(int argc, char **argv)
{
	const char *only = word(argc, argv, 1, "counter|join");

	at_most(1, argc, argv);
	ex = pool(WORKERS);
	die_unless(ex, "exs_thread_pool");
	for (int round = 0; round < 2 && (!only || !strcmp(only, "counter")); round++)
		count_down(round);
	for (int round = 0; round < 2 && (!only || !strcmp(only, "join")); round++)
		join_all(round);
	exs_executor_free(ex);
	return 0;
}
