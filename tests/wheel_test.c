/* The timer wheel against a list that is searched: random operations, equal deadlines, far and past ones. */
#include "base/wheel.h"
#include "support.h"

#include <stdlib.h>

enum { TIMERS = 300 };

/* What the wheel should do. A timer that is due when it is added counts as due now. */
struct model {
	struct exsi_wheel wheel;
	struct exsi_timer timers[TIMERS];
	struct {
		bool armed;
		uint64_t at, order;
	} expected[TIMERS];
	uint64_t orders, now, seed;
};

static struct model *model_new(void)
{
	struct model *m = calloc(1, sizeof(*m));

	CHECK(m);
	exsi_wheel_init(&m->wheel);
	m->seed = harness_seed();
	return m;
}

static void add(struct model *m, size_t i, uint64_t at)
{
	uint64_t base = m->wheel.base;

	m->timers[i].at = at;
	exsi_wheel_add(&m->wheel, &m->timers[i]);
	m->expected[i].armed = true;
	m->expected[i].at = at > base ? at : base;
	m->expected[i].order = m->orders++;
}

/* The earliest, of equal ones the first added; TIMERS: none. */
static size_t first(const struct model *m)
{
	size_t best = TIMERS;

	for (size_t i = 0; i < TIMERS; i++) {
		if (!m->expected[i].armed)
			continue;
		if (best == TIMERS || m->expected[i].at < m->expected[best].at ||
		    (m->expected[i].at == m->expected[best].at && m->expected[i].order < m->expected[best].order))
			best = i;
	}
	return best;
}

static void check_next(struct model *m)
{
	size_t i = first(m);
	uint64_t next = exsi_wheel_next(&m->wheel);

	if (i == TIMERS)
		CHECK(next == EXSI_NEVER);
	else
		CHECK(next <= m->expected[i].at);
}

/* All that is due, in its order. */
static void pop_all(struct model *m, uint64_t now)
{
	struct exsi_timer *t;

	m->now = now;
	while ((t = exsi_wheel_pop(&m->wheel, now))) {
		size_t i = first(m);
		CHECK(i < TIMERS && t == &m->timers[i]);
		CHECK(m->expected[i].at <= now && !t->prev);
		m->expected[i].armed = false;
		check_next(m);
	}
	size_t i = first(m);
	CHECK(i == TIMERS || m->expected[i].at > now);
	CHECK(m->wheel.base >= now);
}

static size_t armed(const struct model *m)
{
	size_t n = 0;

	for (size_t i = 0; i < TIMERS; i++)
		n += m->expected[i].armed;
	return n;
}

static uint64_t random_span(struct model *m)
{
	return harness_random(&m->seed) >> harness_below(&m->seed, 64);
}

static void random_step(struct model *m)
{
	size_t i = harness_below(&m->seed, TIMERS);
	uint64_t what = harness_below(&m->seed, 10), span = random_span(m);

	if (m->expected[i].armed && what < 2) {
		exsi_wheel_remove(&m->wheel, &m->timers[i]);
		CHECK(!m->timers[i].prev);
		m->expected[i].armed = false;
	} else if (!m->expected[i].armed && what < 7) {
		/* Near ones collide; some lie in the past, some as far as it goes. */
		uint64_t at = what == 2	  ? m->now / 2
			      : what == 3 ? m->now + span % 8
			      : what == 4 ? UINT64_MAX - span % 3
					  : m->now + span % (UINT64_MAX - m->now);
		add(m, i, at);
	} else if (what >= 8) {
		span %= what == 8 ? 1000 : (UINT64_MAX - m->now) / 4 + 1;
		pop_all(m, m->now + span);
	}
	CHECK_INT(m->wheel.n, armed(m));
	check_next(m);
}

TEST(wheel, agrees_with_a_list)
{
	for (unsigned long round = 0; round < harness_rounds(20); round++) {
		struct model *m = model_new();
		m->seed += round;
		for (int i = 0; i < 1000; i++)
			random_step(m);
		pop_all(m, UINT64_MAX);
		CHECK_INT(armed(m), 0);
		CHECK_INT(m->wheel.n, 0);
		free(m);
	}
}

/* What the timer thread does: sleep until next, pop, and it finds each timer at its very time. */
TEST(wheel, next_leads_to_every_deadline)
{
	struct model *m = model_new();
	uint64_t wakes = 0;

	for (size_t i = 0; i < TIMERS; i++)
		add(m, i, random_span(m) >> 2);
	while (m->wheel.n) {
		uint64_t next = exsi_wheel_next(&m->wheel);
		size_t i = first(m);
		CHECK(next >= m->now && next <= m->expected[i].at);
		pop_all(m, next);
		wakes++;
	}
	CHECK(wakes <= (uint64_t)TIMERS * EXSI_WHEEL_LEVELS);
	free(m);
}

TEST(wheel, equal_deadlines_in_the_order_of_adding)
{
	struct model *m = model_new();

	for (size_t i = 0; i < TIMERS; i++) {
		add(m, (i * 7) % TIMERS, 1u << 20);
		if (i % 50 == 0)
			pop_all(m, m->now + 17000);
	}
	pop_all(m, 1u << 20);
	CHECK_INT(m->wheel.n, 0);
	free(m);
}
