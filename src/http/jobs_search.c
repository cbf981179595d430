/* The poll function: one search for all pending tasks, whose states resolve them. */
#define _GNU_SOURCE
#include "http/jobs.h"

#include <stdlib.h>
#include <string.h>

enum { IDS_MAX = 10000 };		/* in one search */
static const double longest_hint = 120; /* of a Retry-After that is followed */

/* A pending descriptor, to be found by its id; several may have the same. */
struct entry {
	int64_t id;
	size_t at; /* in the order of the poll executor */
	exs_descriptor *d;
	bool seen;
};

/* The entries of one search; ids in rising order. */
struct chunk {
	struct entry *entries;
	size_t n;
};

/* What was odd in an answer. */
struct odd {
	size_t unasked, doubled, unusable;
};

static const exs_http_task *task_of(const struct entry *e)
{
	return exs_descriptor_value(e->d);
}

/* --- entries --- */

static int by_id(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static struct entry *entries_new(exs_descriptor **d, size_t n)
{
	struct entry *entries = calloc(n, sizeof(*entries));

	if (!entries)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		const exs_http_task *task = exs_descriptor_value(d[i]);
		entries[i] = (struct entry){.id = task->task_id, .at = i, .d = d[i]};
	}
	qsort(entries, n, sizeof(*entries), by_id);
	return entries;
}

/* The first chunk of n entries: at most IDS_MAX different ids, and all the entries of each. */
static struct chunk first_chunk(struct entry *entries, size_t n)
{
	size_t ids = 0, i;

	for (i = 0; i < n; i++)
		if ((i == 0 || entries[i].id != entries[i - 1].id) && ids++ == IDS_MAX)
			break;
	return (struct chunk){entries, i};
}

/* The first entry with an id, or NULL. */
static struct entry *find(const struct chunk *c, int64_t id)
{
	size_t low = 0, high = c->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (c->entries[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < c->n && c->entries[low].id == id ? &c->entries[low] : NULL;
}

/* --- the request --- */

/* The text of a JSON value, *size bytes; not by json_dumps, whose memory may be of another allocator than malloc's. */
static char *text_of(const json_t *json, size_t *size)
{
	*size = json_dumpb(json, NULL, 0, JSON_COMPACT);
	char *text = *size ? malloc(*size) : NULL;

	if (text && json_dumpb(json, text, *size, JSON_COMPACT) == *size)
		return text;
	free(text);
	return NULL;
}

static char *body_of(const struct chunk *c, size_t *size)
{
	json_t *ids = json_array(), *body = json_object();
	int failed = json_object_set_new(body, "task_id", json_incref(ids));

	for (size_t i = 0; i < c->n && !failed; i++)
		if (i == 0 || c->entries[i].id != c->entries[i - 1].id)
			failed = json_array_append_new(ids, json_integer(c->entries[i].id));
	char *text = failed ? NULL : text_of(body, size);
	json_decref(ids);
	json_decref(body);
	return text;
}

static exs_error *ask(exs_http_jobs *jobs, const struct chunk *c, json_t **tasks)
{
	static const char *const headers[] = {"Accept: application/json", NULL};
	size_t size = 0;
	char *url = exsi_http_format("%s/tasks/search", jobs->base), *body = body_of(c, &size);
	char *what = exsi_http_format("POST %s/tasks/search: the answer", jobs->shown);
	exs_http_response response = {0};
	exs_error *error = NULL;
	exs_http_request request = {
		.method = "POST",
		.url = url,
		.headers = headers,
		.content_type = "application/json",
		.body = body,
		.body_size = size,
		.timeout = jobs->options.search_timeout,
		.repeatable = true,
	};

	if (!url || !body || !what)
		error = exs_error_new(&exs_domain_exs, EXS_ENOMEM, "search: out of memory");
	else
		error = exs_http_perform(jobs->client, NULL, &request, &response);
	if (!error)
		*tasks = exsi_http_jobs_parse(&response, JSON_ARRAY, what, &error);
	exs_http_response_clear(&response);
	free(what);
	free(body);
	free(url);
	return error;
}

/* --- the answer --- */

static bool is_running(const char *state)
{
	return state && (!strcmp(state, "running") || !strcmp(state, "pending") || !strcmp(state, "queued"));
}

static exs_error *error_for(const struct entry *e, const char *state, json_t *task)
{
	const char *text = json_string_value(json_object_get(task, "error"));
	long long id = e->id;

	if (state && !strcmp(state, "error"))
		return exs_error_new(&exs_domain_jobs, EXS_JOBS_EFAILED, "task %lld: %s", id,
				     text ? text : "error, the service gives no reason");
	if (state && !strcmp(state, "cancelled"))
		return exs_error_new(&exs_domain_jobs, EXS_JOBS_ECANCELLED, "task %lld: cancelled at the service", id);
	if (state)
		return exs_error_new(&exs_domain_jobs, EXS_JOBS_ESTATE, "task %lld: unknown state \"%s\"", id, state);
	return exs_error_new(&exs_domain_jobs, EXS_JOBS_ESTATE, "task %lld: the answer gives no state", id);
}

static void resolve(const struct entry *e, json_t *task)
{
	const char *state = json_string_value(json_object_get(task, "state"));

	if (is_running(state))
		return;
	if (!state || strcmp(state, "finished")) {
		exs_yield_error(e->d, error_for(e, state, task));
		return;
	}
	exs_http_task *copy = exsi_http_task_new(e->id, task_of(e)->object);
	if (copy)
		exs_yield_result(e->d, copy, free);
	else
		exs_yield_error(e->d, exs_error_new(&exs_domain_exs, EXS_ENOMEM, "task %lld: finished; out of memory",
						    (long long)e->id));
}

static void resolve_all(const struct chunk *c, json_t *task, struct odd *odd)
{
	json_t *task_id = json_object_get(task, "task_id");
	struct entry *e = json_is_integer(task_id) ? find(c, json_integer_value(task_id)) : NULL;

	if (!json_is_integer(task_id))
		odd->unusable++;
	else if (!e)
		odd->unasked++;
	else if (e->seen)
		odd->doubled++;
	if (!e || e->seen)
		return;
	for (const struct entry *end = c->entries + c->n; e < end && e->id == json_integer_value(task_id); e++) {
		e->seen = true;
		resolve(e, task);
	}
}

static void fail_missing(const struct chunk *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (!c->entries[i].seen)
			exs_yield_error(c->entries[i].d,
					exs_error_new(&exs_domain_jobs, EXS_JOBS_EUNKNOWN,
						      "task %lld: the service does not know it (any more)",
						      (long long)c->entries[i].id));
}

static exs_error *search(exs_http_jobs *jobs, const struct chunk *c)
{
	json_t *tasks = NULL, *task;
	exs_error *error = ask(jobs, c, &tasks);
	struct odd odd = {0};
	size_t i;

	if (error)
		return error;
	json_array_foreach(tasks, i, task)
	{
		resolve_all(c, task, &odd);
	}
	json_decref(tasks);
	fail_missing(c);
	if (odd.unasked || odd.doubled || odd.unusable)
		exsi_http_jobs_log(
			jobs, EXS_LOG_WARNING,
			"search: left out of the answer: %zu not asked for, %zu twice, %zu without a task_id",
			odd.unasked, odd.doubled, odd.unusable);
	return NULL;
}

/* --- the poll --- */

/* A search has failed: nobody fails with it, or those it asked for do. */
static void pass_on(exs_http_jobs *jobs, const struct chunk *c, exs_error *error, bool tolerated, double *delay)
{
	double hint = exs_error_retry_after(error);

	if (hint > *delay)
		*delay = hint < longest_hint ? hint : longest_hint;
	for (size_t i = 0; i < c->n && !tolerated; i++)
		exs_yield_error(c->entries[i].d, exs_error_ref(error));
	if (tolerated)
		exsi_http_jobs_log(jobs, EXS_LOG_WARNING, "search failed, tolerated (%u of %u in a row): %s",
				   jobs->failed_polls + 1, jobs->options.tolerate, exs_error_message(error));
	exs_error_unref(error);
}

static void search_each(exs_http_jobs *jobs, struct entry *entries, size_t n, double *delay)
{
	bool tolerated = jobs->failed_polls < jobs->options.tolerate, failed = false;
	struct chunk c;

	for (size_t i = 0; i < n; i += c.n) {
		c = first_chunk(entries + i, n - i);
		exs_error *error = search(jobs, &c);
		failed = failed || error;
		if (error)
			pass_on(jobs, &c, error, tolerated, delay);
	}
	if (!failed)
		jobs->failed_polls = 0;
	else if (jobs->failed_polls < EXS_UNLIMITED)
		jobs->failed_polls++;
}

exs_error *exs_http_jobs_poll(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	exs_http_jobs *jobs = ctx;
	double due = jobs->searched + *delay, now = exs_clock_now(jobs->options.clock);

	if (n == 0)
		return NULL;
	if (now < due) {
		*delay = due - now;
		return NULL;
	}
	struct entry *entries = entries_new(d, n);
	if (!entries)
		return exs_error_new(&exs_domain_exs, EXS_ENOMEM, "search: out of memory");
	search_each(jobs, entries, n, delay);
	free(entries);
	jobs->searched = exs_clock_now(jobs->options.clock);
	return NULL;
}
