/* Jobs that are published in the background and heard of on one thread: timeout > poll > retry > thread_pool, whose futures have
   their callbacks on an event loop. */
#include "loop_jobs.h"
#include "job_service.h"

#include <executors/http.h>
#include <stdio.h>
#include <stdlib.h>

enum { JOBS = 30 };

/* One object to be published. */
struct object {
	struct loop_jobs *jobs;
	char id[8];
};

struct loop_jobs {
	struct job_service *service;
	exs_http_client *client;
	exs_http_jobs *http;
	exs_executor *ex, *loop;
	struct object objects[JOBS];
	unsigned left, finished;
	void (*all_done)(void *ctx);
	void *ctx;
};

/* On the loop: no other thread is about. */
static void on_done(exs_future *future, void *ctx)
{
	struct object *object = ctx;
	struct loop_jobs *jobs = object->jobs;
	bool finished = exs_future_state(future) == EXS_STATE_VALUE;
	char text[1024] = "finished";

	if (!finished)
		exs_future_explain(future, text, sizeof(text));
	printf("%s\t%s\n", object->id, text);
	jobs->finished += finished;
	if (--jobs->left == 0)
		jobs->all_done(jobs->ctx);
}

static exs_executor *chain(struct loop_jobs *jobs)
{
	exs_retry_options retry = {.sleep = 0.1};
	exs_poll_options poll = {.interval = 0.1, .cancel_many = exs_http_jobs_cancel_many};

	retry.codes = exs_http_retry_codes(&retry.n_codes);
	exs_executor *ex = exs_with_retry(exs_thread_pool(4), &retry);
	ex = exs_with_poll(ex, exs_http_jobs_poll, exs_http_jobs_cancel, jobs->http, &poll);
	return exs_with_timeout(ex, 30.0);
}

static bool begin(struct loop_jobs *jobs)
{
	const struct job_service_options options = {.job_seconds = 0.05, .job_seconds_max = 0.5};
	const exs_http_client_options client = {.proxy = ""};
	exs_error *error = NULL;

	jobs->service = job_service_start(&options);
	jobs->client = jobs->service ? exs_http_client_new(&client, &error) : NULL;
	if (jobs->client)
		jobs->http = exs_http_jobs_new(jobs->client, job_service_url(jobs->service), NULL, &error);
	jobs->ex = jobs->http ? chain(jobs) : NULL;
	jobs->loop = exs_event_loop();
	if (jobs->ex && jobs->loop && loop_jobs_fd(jobs) >= 0)
		return true;
	fprintf(stderr, "%s\n", exs_error_message(error ? error : exs_last_error()));
	exs_error_unref(error);
	return false;
}

struct loop_jobs *loop_jobs_start(void (*all_done)(void *ctx), void *ctx)
{
	struct loop_jobs *jobs = calloc(1, sizeof(*jobs));

	if (!jobs || !begin(jobs)) {
		loop_jobs_end(jobs);
		return NULL;
	}
	jobs->left = JOBS;
	jobs->all_done = all_done;
	jobs->ctx = ctx;
	for (unsigned i = 0; i < JOBS; i++) {
		struct object *object = &jobs->objects[i];
		object->jobs = jobs;
		snprintf(object->id, sizeof(object->id), "%u", i + 1);
		exs_future *future = exs_http_jobs_submit(jobs->ex, jobs->http, object->id);
		int rc = exs_event_loop_on_done(jobs->loop, future, on_done, object, NULL);
		exs_future_unref(future);
		if (!rc)
			continue;
		fprintf(stderr, "%s\n", exs_error_message(exs_last_error()));
		loop_jobs_end(jobs);
		return NULL;
	}
	return jobs;
}

int loop_jobs_fd(struct loop_jobs *jobs)
{
	return exs_event_loop_fd(jobs->loop);
}

void loop_jobs_poll(struct loop_jobs *jobs)
{
	exs_event_loop_poll(jobs->loop);
}

int loop_jobs_end(struct loop_jobs *jobs)
{
	if (!jobs)
		return 1;
	unsigned finished = jobs->finished;
	exs_executor_free(jobs->ex);
	exs_executor_free(jobs->loop);
	exs_http_jobs_free(jobs->http);
	exs_http_client_free(jobs->client);
	job_service_stop(jobs->service);
	free(jobs);
	printf("%u of %d finished\n", finished, JOBS);
	return finished == JOBS ? 0 : 1;
}
