/* The job client: made, freed; what its functions share. */
#define _GNU_SOURCE
#include "http/jobs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- made --- */

static const char *check(const exs_http_jobs_options *o)
{
	if (!exsi_http_is_duration(o->search_timeout) || !exsi_http_is_duration(o->cancel_timeout) ||
	    !exsi_http_is_duration(o->stop_grace))
		return "search_timeout, cancel_timeout, stop_grace: seconds, 0 or more";
	if (o->search_timeout == EXS_NONE || o->cancel_timeout == EXS_NONE)
		return "search_timeout, cancel_timeout: more than none";
	if (o->cancel_parallel > EXSI_HTTP_PARALLEL_MAX)
		return "cancel_parallel: at most 64";
	return NULL;
}

static void set_defaults(exs_http_jobs_options *o)
{
	o->search_timeout = exsi_http_seconds(o->search_timeout, 30);
	o->cancel_timeout = exsi_http_seconds(o->cancel_timeout, 5);
	o->stop_grace = exsi_http_seconds(o->stop_grace, 0.5);
	o->tolerate = o->tolerate == EXS_NONE ? 0 : o->tolerate;
	o->cancel_parallel = o->cancel_parallel ? o->cancel_parallel : 16;
}

/* One part of a URL, or NULL; to be freed with curl_free. */
static char *part(CURLU *url, CURLUPart which)
{
	char *text = NULL;

	return curl_url_get(url, which, &text, 0) ? NULL : text;
}

static bool has(CURLU *url, CURLUPart which)
{
	char *text = part(url, which);

	curl_free(text);
	return text;
}

static bool is_http(CURLU *url)
{
	char *scheme = part(url, CURLUPART_SCHEME);
	bool is = scheme && (!strcmp(scheme, "http") || !strcmp(scheme, "https"));

	curl_free(scheme);
	return is;
}

/* The URL as libcurl writes it, without a slash at its end; NULL if it is none for a service. */
static char *base_of(const char *url)
{
	CURLU *parts = curl_url();
	char *text = NULL, *base = NULL;

	if (parts && url && !curl_url_set(parts, CURLUPART_URL, url, CURLU_PATH_AS_IS | CURLU_NON_SUPPORT_SCHEME) &&
	    is_http(parts) && !has(parts, CURLUPART_QUERY) && !has(parts, CURLUPART_FRAGMENT))
		text = part(parts, CURLUPART_URL);
	if (text && (base = strdup(text)))
		for (size_t n = strlen(base); n && base[n - 1] == '/'; n--)
			base[n - 1] = 0;
	curl_free(text);
	curl_url_cleanup(parts);
	return base;
}

static exs_error *make_key(exs_http_jobs *jobs)
{
	unsigned char random[16];

	if (getentropy(random, sizeof(random)))
		return exs_error_new(&exs_domain_errno, errno, "exs_http_jobs_new: no random numbers: %s",
				     strerror(errno));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(jobs->key + 2 * i, 3, "%02x", random[i]);
	return NULL;
}

static exs_error *fill(exs_http_jobs *jobs, const char *url)
{
	set_defaults(&jobs->options);
	jobs->searched = -EXS_FOREVER;
	atomic_init(&jobs->calls, 0);
	jobs->base = base_of(url);
	if (!jobs->base)
		return exs_error_new(&exs_domain_exs, EXS_EINVAL,
				     "%s: not the URL of a service, such as http://host:8080/path",
				     url ? url : "(no URL)");
	jobs->shown = exsi_http_shown_url(jobs->base);
	if (!jobs->shown)
		return exsi_http_no_memory();
	for (size_t n = strlen(jobs->shown); n && jobs->shown[n - 1] == '/'; n--)
		jobs->shown[n - 1] = 0;
	return make_key(jobs);
}

exs_http_jobs *exs_http_jobs_new_sized(exs_http_client *client, const char *url, const exs_http_jobs_options *options,
				       size_t size, exs_error **error)
{
	exs_http_jobs_options o;
	bool known = exsi_http_options(&o, sizeof(o), options, size);
	const char *wrong = known ? check(&o) : "options that this library does not know";

	if (!client)
		wrong = "the client is NULL";
	if (wrong) {
		exsi_http_give(error, exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_http_jobs_new: %s", wrong));
		return NULL;
	}
	exs_http_jobs *jobs = calloc(1, sizeof(*jobs));
	if (!jobs) {
		exsi_http_give(error, exsi_http_no_memory());
		return NULL;
	}
	jobs->client = client;
	jobs->options = o;
	exs_error *failed = fill(jobs, url);
	if (!failed)
		return jobs;
	exs_http_jobs_free(jobs);
	exsi_http_give(error, failed);
	return NULL;
}

void exs_http_jobs_free(exs_http_jobs *jobs)
{
	if (!jobs)
		return;
	free(jobs->base);
	free(jobs->shown);
	free(jobs);
}

/* --- shared --- */

exs_http_task *exsi_http_task_new(int64_t task_id, const char *object)
{
	size_t size = strlen(object) + 1;
	exs_http_task *task = malloc(sizeof(*task) + size);

	if (!task)
		return NULL;
	task->task_id = task_id;
	task->object = memcpy(task + 1, object, size);
	return task;
}

json_t *exsi_http_jobs_parse(const exs_http_response *response, json_type type, const char *what, exs_error **error)
{
	json_error_t wrong = {.text = ""}; /* which it stays where jansson finds no memory early on */
	json_t *json = json_loadb(response->body ? response->body : "", response->size, JSON_REJECT_DUPLICATES, &wrong);

	if (!json && (!*wrong.text || json_error_code(&wrong) == json_error_out_of_memory)) {
		*error = exs_error_new(&exs_domain_exs, EXS_ENOMEM, "%s can't be read: out of memory", what);
	} else if (!json) {
		*error = exs_error_new(&exs_domain_jobs, EXS_JOBS_EANSWER, "%s is not JSON: %s", what,
				       response->size ? wrong.text : "it is empty");
	} else if (json_typeof(json) != type) {
		*error = exs_error_new(&exs_domain_jobs, EXS_JOBS_EANSWER, "%s is not %s", what,
				       type == JSON_ARRAY ? "a JSON array" : "a JSON object");
		json_decref(json);
		json = NULL;
	}
	return json;
}

void exsi_http_jobs_log(exs_http_jobs *jobs, exs_log_level level, const char *format, ...)
{
	char text[512];
	va_list args;

	if (!jobs->options.log)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	jobs->options.log(jobs->options.log_ctx, level, "jobs", text);
}
