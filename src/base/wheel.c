/* The hierarchical timer wheel. After Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987). */
#include "base/wheel.h"

void exsi_wheel_init(struct exsi_wheel *w)
{
	w->base = 0;
	w->n = 0;
	for (int l = 0; l < EXSI_WHEEL_LEVELS; l++) {
		w->occupied[l] = 0;
		for (int s = 0; s < EXSI_WHEEL_SLOTS; s++)
			w->slots[l][s].next = w->slots[l][s].prev = &w->slots[l][s];
	}
}

static unsigned digit(uint64_t t, unsigned level)
{
	return (unsigned)(t >> (6 * level)) & 63;
}

static void link_tail(struct exsi_wheel *w, struct exsi_timer *t)
{
	uint64_t at = t->at > w->base ? t->at : w->base;
	unsigned level = at == w->base ? 0 : (unsigned)(63 - __builtin_clzll(at ^ w->base)) / 6;
	unsigned slot = digit(at, level);
	struct exsi_timer *list = &w->slots[level][slot];

	t->next = list;
	t->prev = list->prev;
	list->prev->next = t;
	list->prev = t;
	if (!(w->occupied[level] >> slot & 1)) /* other threads have read it: it is not written for nothing */
		w->occupied[level] |= UINT64_C(1) << slot;
}

void exsi_wheel_add(struct exsi_wheel *w, struct exsi_timer *t)
{
	link_tail(w, t);
	w->n++;
}

void exsi_wheel_remove(struct exsi_wheel *w, struct exsi_timer *t)
{
	struct exsi_timer *next = t->next;

	next->prev = t->prev;
	t->prev->next = next;
	t->prev = NULL;
	w->n--;
	if (next->next == next) { /* alone: so it is the sentinel of a list now empty */
		size_t i = (size_t)(next - &w->slots[0][0]);
		w->occupied[i / EXSI_WHEEL_SLOTS] &= ~(UINT64_C(1) << i % EXSI_WHEEL_SLOTS);
	}
}

void exsi_wheel_each(struct exsi_wheel *w, const struct exsi_timer_kind *kind,
		     void (*visit)(struct exsi_timer *, void *), void *arg)
{
	for (size_t i = 0; i < EXSI_WHEEL_LEVELS * EXSI_WHEEL_SLOTS; i++) {
		struct exsi_timer *list = &w->slots[0][0] + i;
		for (struct exsi_timer *t = list->next; t != list; t = t->next)
			if (t->kind == kind)
				visit(t, arg);
	}
}

static unsigned lowest_level(const struct exsi_wheel *w)
{
	unsigned l = 0;

	while (!w->occupied[l])
		l++;
	return l;
}

static uint64_t slot_start(const struct exsi_wheel *w, unsigned level)
{
	unsigned slot = (unsigned)__builtin_ctzll(w->occupied[level]);
	unsigned above = 6 * (level + 1);
	uint64_t high = above >= 64 ? 0 : w->base >> above << above;

	return high | (uint64_t)slot << (6 * level);
}

/* The earliest of the first slot; or, with more than `most` in it, its beginning. */
static uint64_t first_of(const struct exsi_wheel *w, size_t most)
{
	uint64_t at = EXSI_NEVER;

	if (!w->n)
		return at;
	unsigned level = lowest_level(w);
	const struct exsi_timer *list = &w->slots[level][__builtin_ctzll(w->occupied[level])];
	for (const struct exsi_timer *t = list->next; t != list; t = t->next) {
		if (!most--)
			return slot_start(w, level);
		if (t->at < at)
			at = t->at;
	}
	return at;
}

uint64_t exsi_wheel_next(const struct exsi_wheel *w)
{
	enum { FEW = 16 };

	return first_of(w, FEW);
}

uint64_t exsi_wheel_earliest(const struct exsi_wheel *w)
{
	return first_of(w, SIZE_MAX);
}

/* Moves base to the start of a slot and spreads the slot over the levels below. */
static void cascade(struct exsi_wheel *w, unsigned level, uint64_t start)
{
	struct exsi_timer *list = &w->slots[level][digit(start, level)], *t = list->next;

	w->base = start;
	w->occupied[level] &= ~(UINT64_C(1) << digit(start, level));
	list->next = list->prev = list;
	while (t != list) {
		struct exsi_timer *next = t->next;
		link_tail(w, t);
		t = next;
	}
}

struct exsi_timer *exsi_wheel_pop(struct exsi_wheel *w, uint64_t now)
{
	while (w->n) {
		unsigned level = lowest_level(w);
		uint64_t start = slot_start(w, level);
		if (start > now)
			break;
		if (level) {
			cascade(w, level, start);
			continue;
		}
		w->base = start;
		struct exsi_timer *t = w->slots[0][digit(start, 0)].next;
		exsi_wheel_remove(w, t);
		return t;
	}
	if (now > w->base)
		w->base = now;
	return NULL;
}
