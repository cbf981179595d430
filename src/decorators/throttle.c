/* Throttle: at most so many calls below at a time, a number or what a function says; the others wait in line. */
#include "base/memory.h"
#include "decorators/throttle_line.h"

#include <executors/throttle.h>

enum { TICK = 2000000000 }; /* ns from one question to the next while calls wait */

struct throttle {
	struct exsi_line line;	       /* first; its lock guards also: */
	unsigned long asked, answered; /* questions are numbered; of these, the last that was answered */
	exs_throttle_options options;  /* constant */
};

/* --- the count --- */

static exs_error *ask(const exs_throttle_options *o, unsigned *count)
{
	exs_error *error = o->count_fn ? o->count_fn(o->ctx, count) : NULL;

	if (!error && *count > EXS_UNLIMITED)
		error = exs_error_new(&exs_domain_exs, EXS_EINVAL, "%u: the count is at most EXS_UNLIMITED", *count);
	*count = *count == EXS_NONE ? 0 : *count;
	return error;
}

/* Asks, then takes the lock; what has room now the caller lets go. An answer that a later question's came before is ignored. */
static void lock_asking(struct throttle *t)
{
	pthread_mutex_lock(&t->line.lock);
	if (!t->options.count_fn)
		return;
	unsigned count = t->line.limit;
	unsigned long number = ++t->asked;
	pthread_mutex_unlock(&t->line.lock);
	exs_error *error = ask(&t->options, &count);
	bool failed = error;
	if (failed)
		exsi_log(EXS_LOG_ERROR, t->line.x->name,
			 "throttle: the count function failed: %s: the last count stays", exs_error_message(error));
	exs_error_unref(error);
	pthread_mutex_lock(&t->line.lock);
	if (failed || number < t->answered)
		return;
	t->answered = number;
	t->line.limit = count;
}

static void tick(exs_executor *x)
{
	struct throttle *t = exsi_state(x);

	lock_asking(t);
	exsi_line_go_on(&t->line);
}

/* --- hooks --- */

static exs_step throttle_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct throttle *t = exsi_state(x);

	if (exsi_line_pass(&t->line))
		return EXS_DOWN;
	bool may_block = t->options.block && exsi_may_block(x, f);
	lock_asking(t);
	return exsi_line_enter(&t->line, f, slot, may_block, r);
}

static exs_step throttle_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct throttle *t = exsi_state(x);

	(void)f, (void)slot, (void)r;
	if (exsi_line_leave(&t->line)) {
		lock_asking(t);
		exsi_line_go_on(&t->line);
	}
	return EXS_UP;
}

static int throttle_describe(exs_executor *x, char *buf, size_t size)
{
	struct throttle *t = exsi_state(x);

	pthread_mutex_lock(&t->line.lock);
	unsigned count = t->line.limit;
	pthread_mutex_unlock(&t->line.lock);
	return exsi_describe_count(buf, size, count, t->options.block ? ", block" : "");
}

static const exs_layer_ops throttle_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "throttle",
	.start = throttle_start,
	.done = throttle_done,
	.cancel = exsi_line_cancel,
	.each = exsi_line_each,
	.closing = exsi_line_closing,
	.stop = exsi_line_stop,
	.describe = throttle_describe,
};

/* --- made --- */

static bool ask_first(const exs_throttle_options *o, unsigned *count)
{
	exs_error *error = ask(o, count);

	if (error)
		exs_set_last_error(exs_error_domain(error), exs_error_code(error),
				   "exs_with_throttle: the count function failed: %s", exs_error_message(error));
	exs_error_unref(error);
	return !error;
}

exs_executor *exs_with_throttle_sized(exs_executor *ex, unsigned count, const exs_throttle_options *options,
				      size_t size)
{
	exs_throttle_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);
	const char *wrong = count > EXS_UNLIMITED ? "count: at most EXS_UNLIMITED" : NULL;

	ex = exsi_checked(ex, "exs_with_throttle", known, wrong);
	if (ex && !ask_first(&o, &count)) {
		exs_executor_free(ex);
		ex = NULL;
	}
	exs_executor *x = exsi_wrap(&throttle_ops, ex, sizeof(struct throttle), 0);
	if (!exsi_own(x, o.ctx, o.ctx_free))
		return NULL;
	struct throttle *t = exsi_state(x);
	t->options = o;
	t->line.limit = count;
	return exsi_line_init(x, o.count_fn ? TICK : 0, tick);
}

size_t exs_throttle_waiting(exs_executor *x)
{
	while (x && x->ops.start != throttle_start)
		x = x->inner;
	if (!x)
		return 0;
	struct throttle *t = exsi_state(x);
	pthread_mutex_lock(&t->line.lock);
	size_t n = atomic_load(&t->line.waiting);
	pthread_mutex_unlock(&t->line.lock);
	return n;
}
