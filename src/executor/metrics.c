/* Metrics: the series, and which executors belong to them. Nothing here is allocated or freed. */
#include "executor/metrics.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/utf8.h"

#include <executors/metrics.h>
#include <stdio.h>
#include <string.h>

enum { FOR_EXECUTORS = EXSI_MAX_SERIES / 4, SLOTS = 2 * EXSI_MAX_TASKS };

/* lock guards the making of series and of tasks, names of executors that are listed, and the list `living`. */
static struct exsi_lock lock;
static struct exsi_series series[EXSI_MAX_SERIES]; /* the first: where there is no room for more */
static atomic_size_t n_series;			   /* complete */
static struct exsi_list living;

/* Names of tasks, found by their hash; the number is that in by_task. */
struct task {
	char name[EXSI_TASK_MAX];
};
static struct task tasks[EXSI_MAX_TASKS]; /* the first: others */
static size_t n_tasks;
static struct task *_Atomic slots[SLOTS];

void exs_metrics_enable(bool on)
{
	exsi_watch_on(EXSI_WATCH_METRICS, on);
}

/* --- labels --- */

/* Whole characters, as far as they fit. */
static void copy_label(char *to, size_t size, const char *from)
{
	size_t used = 0;

	while (*from) {
		size_t n = exsi_utf8(from);
		if (used + (n ? n : 1) >= size)
			break;
		if (n)
			memcpy(to + used, from, n);
		else
			to[used] = '?';
		used += n ? n : 1;
		from += n ? n : 1;
	}
	to[used] = '\0';
}

static size_t hash(const char *text)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 16777619u;
	return h;
}

/* The first from where the name belongs: the task of that name, or an empty slot. */
static struct task *_Atomic *slot_of(const char *name)
{
	size_t at = hash(name) % SLOTS;
	struct task *t;

	while ((t = atomic_load_explicit(&slots[at], memory_order_acquire)) && strcmp(t->name, name) != 0)
		at = (at + 1) % SLOTS; /* they are never full */
	return &slots[at];
}

/* --- series, under the lock --- */

static void begin(void)
{
	if (atomic_load(&n_series))
		return;
	exsi_list_init(&living);
	strcpy(series[0].executor, "other");
	strcpy(series[0].type, "other");
	strcpy(tasks[0].name, "other");
	atomic_store(slot_of("other"), &tasks[0]);
	n_tasks = 1;
	atomic_store(&n_series, 1);
}

static struct exsi_series *find(const char *executor, const char *type, const char *task)
{
	size_t n = atomic_load(&n_series);

	for (size_t i = 0; i < n; i++) {
		struct exsi_series *s = &series[i];
		if (!strcmp(s->executor, executor) && !strcmp(s->type, type) && !strcmp(s->task, task))
			return s;
	}
	return NULL;
}

static struct exsi_series *make(const char *executor, const char *type, const char *task)
{
	size_t n = atomic_load(&n_series);

	if (n >= (*task ? EXSI_MAX_SERIES - FOR_EXECUTORS : EXSI_MAX_SERIES))
		return NULL;
	struct exsi_series *s = &series[n];
	strcpy(s->executor, executor);
	strcpy(s->type, type);
	strcpy(s->task, task);
	atomic_store(&n_series, n + 1);
	return s;
}

static struct exsi_series *find_or_make(const char *executor, const char *type, const char *task,
					struct exsi_series *otherwise)
{
	struct exsi_series *s = find(executor, type, task);

	s = s ? s : make(executor, type, task);
	return s ? s : otherwise;
}

static void settle(exs_executor *x)
{
	char name[EXSI_NAME_MAX], type[EXSI_NAME_MAX];

	if (atomic_load(&x->series))
		return;
	copy_label(name, sizeof(name), x->name);
	copy_label(type, sizeof(type), x->ops.type);
	struct exsi_series *s = find_or_make(name, type, "", &series[0]);
	exsi_series_add(s, EXSI_EXECUTORS, 1);
	x->counts_as_open = true;
	atomic_store(&x->series, s);
}

static void list(exs_executor *x)
{
	begin();
	if (!x->living.prev)
		exsi_list_append(&living, &x->living);
}

static void close_down(exs_executor *x)
{
	if (x->counts_as_open)
		exsi_series_add(atomic_load(&x->series), EXSI_EXECUTORS_CLOSED, 1);
	x->counts_as_open = false;
}

/* --- */

struct exsi_series *exsi_series_of(exs_executor *x)
{
	struct exsi_series *s = atomic_load_explicit(&x->series, memory_order_acquire); /* with settle's store */

	if (s)
		return s;
	exsi_lock(&lock);
	list(x);
	settle(x);
	if (atomic_load(&x->closing)) /* otherwise who closes it finds it listed */
		close_down(x);
	exsi_unlock(&lock);
	return atomic_load(&x->series);
}

static struct task *task_of(const char *name)
{
	struct task *t = atomic_load(slot_of(name));

	if (t)
		return t;
	exsi_lock(&lock);
	struct task *_Atomic *slot = slot_of(name);
	t = atomic_load(slot);
	if (!t && n_tasks < EXSI_MAX_TASKS) {
		t = &tasks[n_tasks++];
		strcpy(t->name, name);
		atomic_store(slot, t);
	}
	exsi_unlock(&lock);
	return t ? t : &tasks[0];
}

struct exsi_series *exsi_series_of_task(exs_executor *x, const char *name)
{
	struct exsi_series *all = exsi_series_of(x);
	char label[EXSI_TASK_MAX];

	if (!name || !*name)
		return all;
	copy_label(label, sizeof(label), name);
	const struct task *t = task_of(label);
	struct exsi_series *_Atomic *found = &all->by_task[t - tasks];
	struct exsi_series *s = atomic_load_explicit(found, memory_order_acquire); /* with the store below */
	if (s)
		return s;
	exsi_lock(&lock);
	s = all == &series[0] ? all : find_or_make(all->executor, all->type, t->name, all);
	atomic_store(found, s);
	exsi_unlock(&lock);
	return s;
}

uint64_t exsi_series_sum(const struct exsi_series *s, enum exsi_counter counter)
{
	uint64_t sum = 0;

	if (counter >= EXSI_STRIPED)
		return atomic_load(&s->shared[counter - EXSI_STRIPED]);
	for (int i = 0; i < EXSI_STRIPES; i++)
		sum += atomic_load(&s->stripes[i].n[counter]);
	return sum;
}

struct exsi_series *exsi_series_at(size_t i)
{
	return i < atomic_load(&n_series) ? &series[i] : NULL;
}

uint64_t exsi_series_waiting(const struct exsi_series *s)
{
	uint64_t n = 0;

	exsi_lock(&lock);
	for (struct exsi_list *at = living.next; at && at != &living; at = at->next) {
		exs_executor *x = EXSI_CONTAINER_OF(at, exs_executor, living);
		atomic_size_t *waiting = atomic_load(&x->waiting);
		if (waiting && atomic_load(&x->series) == s)
			n += atomic_load(waiting);
	}
	exsi_unlock(&lock);
	return n;
}

/* --- executors --- */

void exsi_metrics_made(exs_executor *x)
{
	if (!(exsi_watches() & EXSI_WATCH_METRICS) || x->ops.type == exsi_hidden_type)
		return;
	exsi_lock(&lock);
	list(x);
	exsi_unlock(&lock);
}

void exsi_metrics_settle(void)
{
	exsi_lock(&lock);
	for (struct exsi_list *at = living.next; at && at != &living; at = at->next)
		settle(EXSI_CONTAINER_OF(at, exs_executor, living));
	exsi_unlock(&lock);
}

/* One that has been settled already is another from now on. */
void exsi_metrics_name(exs_executor *x, const char *name)
{
	bool forked = exsi_forked(); /* the lock may be anybody's */

	if (!forked)
		exsi_lock(&lock);
	close_down(x);
	atomic_store(&x->series, NULL);
	snprintf(x->name, sizeof(x->name), "%s", name);
	if (!forked)
		exsi_unlock(&lock);
}

void exsi_metrics_closed(exs_executor *x)
{
	exsi_lock(&lock);
	if (x->living.prev) {
		settle(x);
		close_down(x);
	}
	exsi_unlock(&lock);
}

void exsi_metrics_ends(exs_executor *x)
{
	exsi_lock(&lock);
	if (x->living.prev) {
		settle(x);
		close_down(x);
		exsi_list_remove(&x->living);
	}
	exsi_unlock(&lock);
}

void exsi_metrics_count(exs_executor *x, enum exsi_counter counter, uint64_t by)
{
	struct exsi_series *s = exsi_watches() & EXSI_WATCH_METRICS ? atomic_load(&x->series) : NULL;

	if (s)
		exsi_series_add(s, counter, by);
}
