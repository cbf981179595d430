/* The cancel functions: DELETE, one or many. */
#define _GNU_SOURCE
#include "http/jobs.h"

#include <stdlib.h>

struct many {
	exs_http_jobs *jobs;
	exs_descriptor **d;
	char *url; /* of the request being begun */
};

static char *url_of(exs_http_jobs *jobs, int64_t task_id)
{
	return exsi_http_format("%s/tasks/%lld", jobs->base, (long long)task_id);
}

static exs_http_request request_for(exs_http_jobs *jobs, const char *url)
{
	return (exs_http_request){.method = "DELETE", .url = url, .timeout = jobs->options.cancel_timeout};
}

exs_error *exsi_http_jobs_delete(exs_http_jobs *jobs, int64_t task_id)
{
	char *url = url_of(jobs, task_id);
	exs_http_request request = request_for(jobs, url);
	exs_http_response response;

	if (!url)
		return exsi_http_no_memory();
	exs_error *error = exs_http_perform(jobs->client, NULL, &request, &response);
	exs_http_response_clear(&response);
	free(url);
	return error;
}

static bool is_too_late(const exs_error *error)
{
	return exs_error_is(error, &exs_domain_http, 409);
}

bool exs_http_jobs_cancel(void *jobs, void *task, exs_error **error)
{
	exs_error *failed = exsi_http_jobs_delete(jobs, ((const exs_http_task *)task)->task_id);

	if (!failed)
		return true;
	if (is_too_late(failed))
		exs_error_unref(failed);
	else
		*error = failed;
	return false;
}

/* --- many --- */

static bool many_request(void *arg, size_t i, exs_http_request *request)
{
	struct many *m = arg;
	const exs_http_task *task = exs_descriptor_value(m->d[i]);

	free(m->url);
	m->url = url_of(m->jobs, task->task_id);
	*request = request_for(m->jobs, m->url);
	return m->url;
}

static void many_done(void *arg, size_t i, exs_error *error, exs_http_response *response)
{
	struct many *m = arg;
	const exs_http_task *task = exs_descriptor_value(m->d[i]);

	exs_http_response_clear(response);
	if (!error)
		return;
	exs_refuse(m->d[i]);
	if (!is_too_late(error))
		exsi_http_jobs_log(m->jobs, EXS_LOG_WARNING, "publish %s: task %lld is not cancelled: %s", task->object,
				   (long long)task->task_id, exs_error_message(error));
	exs_error_unref(error);
}

void exs_http_jobs_cancel_many(void *ctx, exs_descriptor **d, size_t n)
{
	exs_http_jobs *jobs = ctx;
	struct many many = {.jobs = jobs, .d = d};
	struct exsi_http_batch batch = {
		.client = jobs->client,
		.n = n,
		.parallel = jobs->options.cancel_parallel,
		.quiet = jobs->options.cancel_timeout,
		.arg = &many,
		.request = many_request,
		.done = many_done,
	};

	if (n)
		exsi_http_run(&batch);
	free(many.url);
}
