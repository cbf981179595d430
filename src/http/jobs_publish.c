/* The publish task: one POST per attempt, and a DELETE where the answer comes after the task was asked to stop. */
#define _GNU_SOURCE
#include "http/jobs.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct exs_http_publish {
	exs_http_jobs *jobs;
	char *object, *name, *url, *key; /* key: the header */
};

/* --- its argument --- */

static bool is_wrong(const exs_http_jobs *jobs, const char *object)
{
	return !jobs || !object || !*object;
}

exs_http_publish *exs_http_publish_new(exs_http_jobs *jobs, const char *object)
{
	if (is_wrong(jobs, object))
		return NULL;
	exs_http_publish *p = calloc(1, sizeof(*p));
	char *escaped = curl_easy_escape(NULL, object, (int)strlen(object));

	if (p && escaped) {
		p->jobs = jobs;
		p->object = strdup(object);
		p->name = exsi_http_format("publish %s", object);
		p->url = exsi_http_format("%s/object/%s/publish", jobs->base, escaped);
		p->key = exsi_http_format("Idempotency-Key: %s-%llu", jobs->key, atomic_fetch_add(&jobs->calls, 1) + 1);
	}
	curl_free(escaped);
	if (p && p->object && p->name && p->url && p->key)
		return p;
	exs_http_publish_free(p);
	return NULL;
}

void exs_http_publish_free(void *publish)
{
	exs_http_publish *p = publish;

	if (!p)
		return;
	free(p->object);
	free(p->name);
	free(p->url);
	free(p->key);
	free(p);
}

exs_future *exs_http_jobs_submit(exs_executor *ex, exs_http_jobs *jobs, const char *object)
{
	exs_http_publish *publish = exs_http_publish_new(jobs, object);

	if (!publish && !is_wrong(jobs, object))
		return NULL;
	exs_task task = {.fn = exs_http_jobs_publish, .arg = publish, .name = publish ? publish->name : "publish"};

	task.arg_free = exs_http_publish_free;
	return exs_submit_with(ex, &task);
}

/* --- the task --- */

/* An answer came, which says that the service has accepted the publish, but not under which id. */
static exs_error *unusable(const exs_error *why)
{
	return exs_error_new(&exs_domain_jobs, EXS_JOBS_EANSWER, "%s; the job may exist, so it is not published again",
			     exs_error_message(why));
}

static exs_error *read_id(const exs_http_publish *p, const exs_http_response *response, int64_t *id)
{
	exs_error *error = NULL;
	char *what = exsi_http_format("HTTP %d from POST %s/object/%s/publish, but its answer", response->status,
				      p->jobs->shown, p->object);
	json_t *json = exsi_http_jobs_parse(response, JSON_OBJECT, what ? what : "the answer", &error);
	json_t *task_id = json_object_get(json, "task_id");

	if (json_is_integer(task_id))
		*id = json_integer_value(task_id);
	else if (json)
		error = exs_error_new(&exs_domain_jobs, EXS_JOBS_EANSWER, "%s has %s", what ? what : "the answer",
				      task_id ? "a task_id that is not an integer" : "no task_id");
	json_decref(json);
	free(what);
	return error;
}

/* Sends the request; NULL and *id, or why there is no id. */
static exs_error *post(const exs_http_publish *p, exs_context *ctx, int64_t *id)
{
	const char *headers[] = {"Accept: application/json", p->key, NULL};
	exs_http_request request = {
		.method = "POST",
		.url = p->url,
		.headers = headers,
		.grace = p->jobs->options.stop_grace,
	};
	exs_http_response response;
	exs_error *why = NULL, *error = exs_http_perform(p->jobs->client, ctx, &request, &response);

	if (!error)
		why = read_id(p, &response, id);
	else if (response.status >= 200 && response.status < 300)
		why = error;
	if (why) {
		error = unusable(why);
		exs_error_unref(why);
	}
	exs_http_response_clear(&response);
	return error;
}

static exs_result withdraw(const exs_http_publish *p, exs_http_task *task)
{
	exs_error *error = exsi_http_jobs_delete(p->jobs, task->task_id);

	if (error)
		exsi_http_jobs_log(p->jobs, EXS_LOG_WARNING, "%s: not cancelled at the service: %s", p->name,
				   exs_error_message(error));
	exs_error_unref(error);
	free(task);
	return exs_cancelled();
}

exs_result exs_http_jobs_publish(void *publish, exs_context *ctx)
{
	const exs_http_publish *p = publish;

	if (!p)
		return exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL,
					      "exs_http_jobs_publish: no service (jobs), or no object to publish"));
	exs_http_task *task = exsi_http_task_new(0, p->object); /* first: an id must not be lost */
	exs_error *error =
		task ? post(p, ctx, &task->task_id) : exs_error_new(&exs_domain_exs, EXS_ENOMEM, "out of memory");
	if (!error && ctx && exs_context_stop_requested(ctx))
		return withdraw(p, task);
	if (!error)
		return exs_ok(task, free);
	free(task);
	if (!exs_error_is(error, &exs_domain_exs, EXS_ECANCELLED))
		return exs_fail(error);
	exs_error_unref(error);
	return exs_cancelled();
}
