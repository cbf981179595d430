/* Metrics: their number is bounded. A program of its own, since it uses all there is. */
#include "scrape.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static void submit_named(exs_executor *ex, const char *name)
{
	exs_future *f = exs_submit_with(ex, &((exs_task){.fn = nothing, .name = name}));

	expect_value(f, NULL);
}

static unsigned count(const struct scrape *s, const char *part)
{
	unsigned n = 0;

	for (const char *at = s->text; (at = strstr(at, part)); at++)
		n++;
	return n;
}

/* One after the other: both use up what the process has. */
TEST(metrics_bounds, tasks_then_executors)
{
	enum { TASKS = 100, EXECUTORS = 700, KNOWN = 31 };
	exs_executor *ex = exs_with_name(exs_inline(), "tasks");
	char name[32];
	struct scrape s = {NULL, 0, 0, 0};
	double sum = 0;

	exs_metrics_enable(true);
	for (int i = 0; i < TASKS; i++) {
		snprintf(name, sizeof(name), "task %d", i);
		submit_named(ex, name);
		submit_named(ex, name);
	}
	submit_named(ex, "other");
	CHECK(metric_of_task("future_total", "tasks", "inline", "task 0") == 2);
	CHECK(metric_of_task("future_total", "tasks", "inline", "task 30") == 2);
	CHECK(isnan(metric_of_task("future_total", "tasks", "inline", "task 31")));
	CHECK(metric_of_task("future_total", "tasks", "inline", "other") == 2 * (TASKS - KNOWN) + 1);
	exs_executor_free(ex);

	for (int i = 0; i < EXECUTORS; i++) {
		snprintf(name, sizeof(name), "executor %d", i);
		ex = exs_with_name(exs_inline(), name);
		submit_named(ex, "task 0");
		submit_named(ex, NULL);
		exs_executor_free(ex);
	}
	CHECK(exs_metrics_write(scrape_add, &s));
	CHECK(scrape_metric(&s, "future_total", "executor 0", "inline", "task 0") == 1);
	CHECK(scrape_metric(&s, "future_total", "executor 0", "inline", "") == 1);
	CHECK(isnan(scrape_metric(&s, "future_total", "executor 699", "inline", "")));
	sum += scrape_metric(&s, "future_total", "other", "other", "");
	for (int i = 0; i < EXECUTORS; i++) {
		snprintf(name, sizeof(name), "executor %d", i);
		double some = scrape_metric(&s, "future_total", name, "inline", ""),
		       more = scrape_metric(&s, "future_total", name, "inline", "task 0");
		CHECK(isnan(some) || (isnan(more) ? some == 2 : some == 1 && more == 1));
		sum += (isnan(some) ? 0 : some) + (isnan(more) ? 0 : more);
	}
	CHECK_INT(sum, 2 * EXECUTORS);
	CHECK(count(&s, "executors_future_total{") <= 512);
	CHECK(count(&s, "executors_exec_total{") <= 512);
	CHECK_INT(count(&s, "executors_future_inprogress{"), count(&s, "executors_future_total{"));
	CHECK(scrape_metric(&s, "exec_inprogress", "other", "other", "") == 0);
	scrape_end(&s);
}
