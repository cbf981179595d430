/* The timer of a stream: on only while there is something that time decides about. */
#include "stream/window.h"

/* While ticking the stream has a reference, the timer's. Only who has set it ticking, and then the timer, arms timer and touches time. */

static exs_stream *of_timer(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer, exs_stream, timer);
}

static void end_ticking(exs_stream *s)
{
	atomic_store(&s->ticking, false);
	exsi_stream_unref(s);
}

/* Under the lock of the timer, in one with arming. */
static bool may_tick(struct exsi_timer *timer)
{
	return !atomic_load(&of_timer(timer)->stopped);
}

static void arm(exs_stream *s, uint64_t at)
{
	if (!exsi_timer_arm(s->clock, &s->timer, at, may_tick))
		end_ticking(s);
}

static void tick(exs_stream *s)
{
	uint64_t now = exsi_clock_ns(s->clock);

	exsi_lock(&s->lock);
	uint64_t next = s->kind->tick ? s->kind->tick(s, now) : exsi_stall_tick(s, now);
	if (next == EXSI_NEVER)
		exsi_stream_unref(s);
	else
		arm(s, next);
}

static bool expire(struct exsi_timer *timer)
{
	(void)timer;
	return true;
}

/* The stream may go with this, and its time. */
static void fire(struct exsi_timer *timer)
{
	exs_stream *s = of_timer(timer);
	exs_clock *clock = exsi_clock_ref(s->clock);
	bool keeper = s->time.keeper;

	if (keeper)
		exsi_end_begin();
	tick(s);
	if (keeper)
		exsi_end_over();
	exs_clock_unref(clock);
}

static const struct exsi_timer_kind timers = {.expire = expire, .fire = fire};

void exsi_tick_init(exs_stream *s)
{
	s->timer.kind = &timers;
}

void exsi_tick_at(exs_stream *s, uint64_t at)
{
	if (!s->has_time)
		s->has_time = exsi_time_begin(&s->time, exsi_clock_ref(s->clock));
	if (s->has_time) {
		arm(s, at);
		return;
	}
	exsi_lock(&s->lock);
	s->failed = exs_error_is(exs_last_error(), &exs_domain_exs, EXS_ENOMEM) ? EXS_ENOMEM : EXS_ETHREAD;
	exsi_stream_unlock(s);
	end_ticking(s);
}

void exsi_tick_end(exs_stream *s)
{
	atomic_store(&s->stopped, true);
	if (atomic_load(&s->ticking) && exsi_timer_disarm(s->clock, &s->timer))
		end_ticking(s);
}
