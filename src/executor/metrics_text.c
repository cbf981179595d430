/* Metrics as text: the format of Prometheus, version 0.0.4. */
#include "executor/metrics.h"
#include "executor/text.h"

#include <executors/metrics.h>
#include <string.h>

/* Beside its counters a metric is made of others: */
enum { NONE = -1, WAITING = -2 };

static const struct metric {
	const char *name, *help;
	const char *only; /* the type of executors that show it at 0; NULL: all */
	int counter;	  /* or WAITING */
	int less;	  /* a gauge: what has ended of it; NONE: a counter */
	bool seconds, by_task;
} metrics[] = {
	{"exec_total", "Executors made.", NULL, EXSI_EXECUTORS, NONE, false, false},
	{"exec_inprogress", "Executors not shut down.", NULL, EXSI_EXECUTORS, EXSI_EXECUTORS_CLOSED, false, false},
	{"future_total", "Calls that reached the executor.", NULL, EXSI_CALLS, NONE, false, true},
	{"future_cancel_total", "Calls that ended cancelled.", NULL, EXSI_CALLS_CANCELLED, NONE, false, true},
	{"future_error_total", "Calls that ended with an error.", NULL, EXSI_CALLS_FAILED, NONE, false, true},
	{"future_time_seconds_total", "Time that calls took, waiting included.", NULL, EXSI_CALLS_NS, NONE, true, true},
	{"future_inprogress", "Calls that have not ended.", NULL, EXSI_CALLS, EXSI_CALLS_ENDED, false, true},
	{"poll_total", "Calls of poll functions.", "poll", EXSI_POLLS, NONE, false, false},
	{"poll_error_total", "Calls of poll functions that failed.", "poll", EXSI_POLLS_FAILED, NONE, false, false},
	{"poll_time_seconds_total", "Time in poll functions.", "poll", EXSI_POLLS_NS, NONE, true, false},
	{"retry_total", "Further attempts started.", "retry", EXSI_RETRIES, NONE, false, false},
	{"retry_delay_seconds_total", "Backoff before further attempts.", "retry", EXSI_RETRIES_NS, NONE, true, false},
	{"retry_queue", "Calls in a backoff.", "retry", WAITING, WAITING, false, false},
	{"timeout_total", "Calls that timed out.", "timeout", EXSI_TIMEOUTS, NONE, false, false},
	{"shutdown_cancel_total", "Calls that a shutdown cancelled.", "cancel_on_shutdown", EXSI_CALLS_SHUT_DOWN, NONE,
	 false, false},
	{"throttle_queue", "Calls that wait for their turn.", "throttle", WAITING, WAITING, false, false},
};

static uint64_t value_of(const struct metric *m, const struct exsi_series *s)
{
	if (m->counter == WAITING)
		return strcmp(m->only, s->type) ? 0 : exsi_series_waiting(s);
	uint64_t ended =
		m->less == NONE ? 0 : exsi_series_sum(s, (enum exsi_counter)m->less); /* first: it stays behind */
	return exsi_series_sum(s, (enum exsi_counter)m->counter) - ended;
}

static bool is_shown(const struct metric *m, const struct exsi_series *s, uint64_t value)
{
	bool unused = s == exsi_series_at(0) && !exsi_series_sum(s, EXSI_EXECUTORS);

	if (unused || (*s->task && !m->by_task))
		return false;
	if (!m->only || !strcmp(m->only, s->type))
		return true;
	return value;
}

static void write_label(struct exsi_text *t, const char *name, const char *value)
{
	exsi_text_add(t, "%s=\"", name);
	for (size_t n; n = strcspn(value, "\"\\\n"), value[n]; value += n + 1)
		exsi_text_add(t, "%.*s\\%c", (int)n, value, value[n] == '\n' ? 'n' : value[n]);
	exsi_text_add(t, "%s\"", value);
}

/* Whatever the locale says. */
static void write_value(struct exsi_text *t, uint64_t value, bool seconds)
{
	if (seconds)
		exsi_text_add(t, " %llu.%09llu\n", (unsigned long long)(value / 1000000000),
			      (unsigned long long)(value % 1000000000));
	else
		exsi_text_add(t, " %llu\n", (unsigned long long)value);
}

static void write_sample(struct exsi_text *t, const struct metric *m, const struct exsi_series *s, uint64_t value)
{
	exsi_text_add(t, "executors_%s{", m->name);
	write_label(t, "executor", s->executor);
	exsi_text_add(t, ",");
	write_label(t, "type", s->type);
	if (*s->task) {
		exsi_text_add(t, ",");
		write_label(t, "task", s->task);
	}
	exsi_text_add(t, "}");
	write_value(t, value, m->seconds);
}

static void write_metric(struct exsi_text *t, const struct metric *m)
{
	struct exsi_series *s;

	exsi_text_add(t, "# HELP executors_%s %s\n# TYPE executors_%s %s\n", m->name, m->help, m->name,
		      m->less == NONE ? "counter" : "gauge");
	for (size_t i = 0; (s = exsi_series_at(i)) && !t->stopped; i++) {
		uint64_t value = value_of(m, s);
		if (is_shown(m, s, value))
			write_sample(t, m, s, value);
	}
}

bool exs_metrics_write(exs_write_fn *fn, void *ctx)
{
	struct exsi_text t = {.fn = fn, .ctx = ctx};

	if (exsi_text_fails(&t, "exs_metrics_write"))
		return false;
	exsi_metrics_settle();
	for (size_t i = 0; i < sizeof(metrics) / sizeof(*metrics) && !t.stopped; i++)
		write_metric(&t, &metrics[i]);
	exsi_text_flush(&t);
	return !t.stopped;
}
