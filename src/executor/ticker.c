/* Tickers: armed and disarmed without the executor's lock, so that no two locks are held. */
#include "executor/ticker.h"

static void arm(struct exsi_ticker *t)
{
	exs_clock *clock = t->x->clock;

	exsi_timer_arm(clock, &t->timer, exsi_after(exsi_clock_ns(clock), t->ns), NULL);
}

void exsi_ticker_start(struct exsi_ticker *t)
{
	t->on = true;
	exsi_keep(t->x);
	pthread_mutex_unlock(t->lock);
	arm(t);
	pthread_mutex_lock(t->lock);
}

bool exsi_ticker_is_idle(const struct exsi_ticker *t)
{
	return t->on && !t->waits(t->x);
}

/* Where the timer is not armed, it fires or is about to be armed: that looks again. */
void exsi_ticker_rest(struct exsi_ticker *t)
{
	bool idle = true;

	while (idle && exsi_timer_disarm(t->x->clock, &t->timer)) {
		pthread_mutex_lock(t->lock);
		t->on = !exsi_ticker_is_idle(t);
		bool on = t->on;
		pthread_mutex_unlock(t->lock);
		if (!on) {
			exsi_unkeep(t->x);
			return;
		}
		arm(t);
		pthread_mutex_lock(t->lock);
		idle = exsi_ticker_is_idle(t);
		pthread_mutex_unlock(t->lock);
	}
}

void exsi_ticker_unlock(struct exsi_ticker *t)
{
	bool idle = exsi_ticker_is_idle(t);

	pthread_mutex_unlock(t->lock);
	if (idle)
		exsi_ticker_rest(t);
}

static bool ticker_expire(struct exsi_timer *timer)
{
	(void)timer;
	return true;
}

static void ticker_fire(struct exsi_timer *timer)
{
	struct exsi_ticker *t = EXSI_CONTAINER_OF(timer, struct exsi_ticker, timer);
	exs_executor *x = t->x;
	struct exsi_frame frame;

	exsi_frame_push(&frame, NULL);
	frame.layer = x;
	exsi_keep(x); /* the timer, armed again, may fire again, and the ticker rest */
	arm(t);
	t->tick(x);
	pthread_mutex_lock(t->lock);
	exsi_ticker_unlock(t);
	exsi_frame_pop(&frame);
	exsi_unkeep(x);
}

exs_executor *exsi_ticker_init(struct exsi_ticker *t, exs_executor *x, pthread_mutex_t *lock, uint64_t ns,
			       bool (*waits)(exs_executor *), void (*tick)(exs_executor *))
{
	*t = (struct exsi_ticker){.x = x, .lock = lock, .ns = ns, .waits = waits, .tick = tick};
	t->kind = (struct exsi_timer_kind){.expire = ticker_expire, .fire = ticker_fire};
	t->timer.kind = &t->kind;
	return exsi_hold_clock(x);
}
