/* The real clock's threads live while any future has a time: a hidden executor holds them. While there are others the last future leaves
   it to them, so that a program with one timed future after the other does not start threads for each. */
#include "executor/time.h"

#include <errno.h>

static bool has_clock(exs_future *f, void *clock)
{
	exsi_pin();
	if (!exs_future_is_done(f) && f->source->clock)
		*(exs_clock **)clock = f->source->clock(f);
	exsi_unpin();
	return *(exs_clock **)clock;
}

exs_clock *exsi_clock_here(void)
{
	struct exsi_turner *turner = exsi_self()->turner;

	return exsi_clock_ref(turner ? turner->clock : exsi_clock(NULL));
}

exs_clock *exsi_clock_of(exs_future *f)
{
	exs_clock *clock = NULL;

	return exsi_find_work(f, has_clock, &clock) ? clock : exsi_clock_here();
}

/* --- the keeper --- */

/* lock guards keeper: who has a reference of it, or none. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static exs_executor *keeper;

/* The last reference has gone. */
static void keeper_stop(exs_executor *x)
{
	pthread_mutex_lock(&lock);
	if (keeper == x)
		keeper = NULL;
	pthread_mutex_unlock(&lock);
}

static const exs_layer_ops keeper_ops = {
	.size = sizeof(exs_layer_ops),
	.type = exsi_hidden_type,
	.start = exs_pass_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
	.stop = keeper_stop,
};

static exs_executor *keeper_ref(void)
{
	pthread_mutex_lock(&lock);
	exs_executor *x = keeper && exsi_executor_try_ref(keeper) ? keeper : NULL;
	pthread_mutex_unlock(&lock);
	return x;
}

/* Of several made at once the last is found by those who come; the others live as long as who made them has a time. */
static exs_executor *keeper_new(void)
{
	exs_executor *x = exs_layer_new(&keeper_ops, NULL, 0, 0);

	x = x ? exsi_hold_clock(x) : NULL;
	if (!x)
		return NULL;
	x->hidden = true;
	atomic_fetch_sub(&exsi_executors, 1);
	pthread_mutex_lock(&lock);
	keeper = x;
	pthread_mutex_unlock(&lock);
	return x;
}

bool exsi_time_begin(struct exsi_time *time, exs_clock *clock)
{
	*time = (struct exsi_time){.clock = clock};
	if (exsi_forked()) {
		exs_clock_unref(clock);
		exsi_fail(EXS_EFORK, "%s", exs_strerror(EXS_EFORK));
		return false;
	}
	if (clock != exsi_clock(NULL))
		return true;
	time->keeper = keeper_ref();
	if (!time->keeper)
		time->keeper = keeper_new();
	return time->keeper;
}

exs_future *exsi_failed_last(void)
{
	const exs_error *why = exs_last_error();

	if (exs_error_is(why, &exs_domain_exs, EXS_ENOMEM) || exs_error_is(why, &exs_domain_errno, ENOMEM))
		return NULL;
	return exsi_returned(
		exs_fail(exs_error_new(exs_error_domain(why), exs_error_code(why), "%s", exs_error_message(why))));
}

void exsi_time_end(const struct exsi_time *time)
{
	if (time->keeper)
		exsi_executor_unref_at_last(time->keeper);
}

void exsi_time_fire(const struct exsi_time *time)
{
	if (time->keeper)
		exsi_end_begin();
}

void exsi_time_fired(const struct exsi_time *time)
{
	exsi_time_end(time);
	if (time->keeper)
		exsi_end_over();
}
