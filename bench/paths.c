/* The main paths, each N times on one thread, for who counts instructions from outside (tests/check_cost.sh).
   Usage: paths NAME N; without a name it lists them. */
#include "base/timer.h"
#include "ours.h"

static exs_executor *ex;

static void submit_one(void)
{
	exs_future *f = exs_submit(ex, same, NULL);

	die_unless(exs_future_wait(f, EXS_FOREVER) == EXS_OK, "exs_future_wait");
	exs_future_unref(f);
}

static void submit_named(void)
{
	exs_task task = {.fn = same, .name = "a name", .timeout = 30};
	exs_future *f = exs_submit_with(ex, &task);

	die_unless(exs_future_wait(f, EXS_FOREVER) == EXS_OK, "exs_future_wait");
	exs_future_unref(f);
}

static void complete_promise(void)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	exs_promise_complete(p, exs_ok(NULL, NULL));
	exs_promise_free(p);
	exs_future_unref(f);
}

static void nothing(exs_future *f, void *ctx)
{
	(void)f, (void)ctx;
}

static void call_back(void)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	exs_future_on_done(f, nothing, NULL, NULL);
	exs_promise_complete(p, exs_ok(NULL, NULL));
	exs_promise_free(p);
	exs_future_unref(f);
}

static void map_and_zip(void)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	f = exs_future_map(f, NULL, NULL, NULL, NULL);
	f = exs_future_zip(&f, 1);
	exs_promise_complete(p, exs_ok(NULL, NULL));
	exs_promise_free(p);
	exs_future_unref(f);
}

static void read_set(void)
{
	static exs_set *set;
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	if (!set)
		set = exs_set_new();
	exs_set_add(set, f);
	exs_promise_complete(p, exs_ok(NULL, NULL));
	exs_promise_free(p);
	die_unless(exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM, "exs_set_next");
	exs_future_unref(f);
}

static void cancel_promise(void)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	die_unless(exs_future_cancel(f) == EXS_CANCELLED, "exs_future_cancel");
	exs_promise_free(p);
	exs_future_unref(f);
}

static bool never(struct exsi_timer *timer)
{
	(void)timer;
	return false;
}

static void arm_timer(void)
{
	static const struct exsi_timer_kind kind = {.expire = never};
	static struct exsi_timer timer;

	timer = (struct exsi_timer){.kind = &kind};
	exsi_timer_arm(exsi_clock(NULL), &timer, UINT64_MAX / 2, NULL);
	die_unless(exsi_timer_disarm(exsi_clock(NULL), &timer), "disarm");
}

/* --- streams: an item of the inline executor, done when it is begun; and of an event loop, which is awaited; beside this a bare call of a
   loop, with as many in flight --- */

enum { FLIGHT = 64 };

static bool one_more(void *ctx, exs_result *input)
{
	(void)ctx, (void)input;
	return true;
}

static void read_stream(void)
{
	static exs_stream *s;
	exs_item item;

	if (!s)
		s = exs_stream_new(ex, same, one_more, NULL, &(exs_stream_options){.max_results = FLIGHT});
	while (exs_stream_next(s, &item, 0) != EXS_ITEM)
		exs_event_loop_poll(ex);
	exs_future_unref(item.future);
}

static void call_in_loop(void)
{
	static exs_future *ring[FLIGHT];
	static size_t next;
	exs_future **f = &ring[next++ % FLIGHT];

	while (*f && exs_future_wait(*f, 0))
		exs_event_loop_poll(ex);
	exs_future_unref(*f);
	*f = exs_submit(ex, same, NULL);
}

static exs_executor *inline_chain(void)
{
	return four_layers(exs_inline());
}

static const struct path {
	const char *name;
	void (*run)(void);
	exs_executor *(*make)(void);
} paths[] = {
	{"inline", submit_one, exs_inline},	 {"four_layers", submit_one, inline_chain},
	{"options", submit_named, inline_chain}, {"promise", complete_promise, NULL},
	{"callback", call_back, NULL},		 {"set", read_set, NULL},
	{"cancel", cancel_promise, NULL},	 {"timer", arm_timer, NULL},
	{"functions", map_and_zip, NULL},	 {"stream", read_stream, exs_inline},
	{"loop", call_in_loop, exs_event_loop},	 {"stream_awaited", read_stream, exs_event_loop},
};

int main(int argc, char **argv)
{
	long n = number(argc, argv, 2, 1000);

	at_most(2, argc, argv);
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (argc < 2)
			puts(paths[i].name);
		if (argc < 2 || strcmp(argv[1], paths[i].name))
			continue;
		ex = paths[i].make ? paths[i].make() : NULL;
		while (n--)
			paths[i].run();
		exs_executor_free(ex);
		return 0;
	}
	if (argc > 1)
		refuse(argv, 1, "one of the names that it lists without arguments");
	return 0;
}
