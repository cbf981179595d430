/* job_service_routes.c - what the job service does for each request: jobs, routes and faults. All under the lock. */
#define _GNU_SOURCE /* erand48, memmem */

#include "job_service_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HUGE_DEFAULT = 65 << 20 };

/* The outcome of the work on a request. */
struct answer {
	int status;
	json_t *json; /* owned; NULL: no body */
};

double job_service_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* --- Jobs --- */

static bool job_is_bad(const struct job_service *service, const char *object, size_t length)
{
	const char *const *bad = service->options.bad_objects;

	if (memmem(object, length, "bad", 3))
		return true;
	for (; bad && *bad; bad++) {
		if (strlen(*bad) == length && memcmp(*bad, object, length) == 0)
			return true;
	}
	return false;
}

static bool jobs_reserve(struct job_service *service)
{
	size_t capacity = service->jobs_capacity ? 2 * service->jobs_capacity : 64;
	struct job *jobs;

	if (service->jobs_size < service->jobs_capacity)
		return true;
	jobs = realloc(service->jobs, capacity * sizeof(*jobs));
	if (!jobs)
		return false;
	service->jobs = jobs;
	service->jobs_capacity = capacity;
	return true;
}

static bool job_create(struct job_service *service, const char *object, size_t length, int64_t *id)
{
	const struct job_service_options *options = &service->options;
	double seconds = options->job_seconds;
	struct job job = {.due = INFINITY};

	if (!jobs_reserve(service))
		return false;
	if (seconds >= 0 && options->job_seconds_max > seconds)
		seconds += erand48(service->random) * (options->job_seconds_max - seconds);
	if (seconds >= 0)
		job.due = job_service_now() + seconds;
	if (job_is_bad(service, object, length)) {
		job.error = json_sprintf("object %.*s is bad", (int)length, object);
		if (!job.error) /* the id is not UTF-8 */
			job.error = json_string("object is bad");
	}
	*id = options->first_id + (int64_t)service->jobs_size;
	service->jobs[service->jobs_size++] = job;
	service->counts.jobs_created++;
	return true;
}

struct job *job_service_job(struct job_service *service, int64_t id)
{
	int64_t first = service->options.first_id;

	if (id < first || (uint64_t)(id - first) >= service->jobs_size)
		return NULL;
	return &service->jobs[id - first];
}

static json_t *job_describe(const struct job *job, int64_t id, double time)
{
	const char *state = job->error ? "error" : "finished";
	json_t *task;

	if (time < job->due)
		state = "running";
	if (job->cancelled)
		state = "cancelled";
	task = json_pack("{s:I,s:s}", "task_id", (json_int_t)id, "state", state);
	if (strcmp(state, "error") == 0)
		json_object_set(task, "error", job->error);
	return task;
}

/* --- Routes --- */

static struct answer failure(int status, const char *text)
{
	return (struct answer){status, json_pack("{s:s}", "error", text)};
}

/* Finds the ID within the path of a route that has one. */
static const char *path_id(const struct request *request, size_t *length)
{
	const char *id = strchr(request->path + 1, '/') + 1;

	*length = strlen(id) - (request->route == PUBLISH ? strlen("/publish") : 0);
	return id;
}

static struct job *path_job(const struct request *request, int64_t *id)
{
	size_t length;
	const char *text = path_id(request, &length);

	if (strspn(text, "0123456789") != length)
		return NULL;
	errno = 0;
	*id = strtoll(text, NULL, 10);
	return errno ? NULL : job_service_job(request->service, *id);
}

/* Takes one from the count of a fault, if it is to happen. */
static bool take(int *times)
{
	if (*times == 0)
		return false;
	if (*times > 0)
		--*times;
	return true;
}

static struct answer publish(struct request *request)
{
	struct job_service *service = request->service;
	struct job_service_faults *faults = &service->options.faults;
	json_t *known = request->key ? json_object_get(service->key_tasks, request->key) : NULL;
	int64_t id = known ? json_integer_value(known) : 0;
	size_t length;
	const char *object = path_id(request, &length);

	if (known)
		service->counts.replays++;
	else if (!job_create(service, object, length, &id))
		return failure(MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
	else if (request->key)
		json_object_set_new_nocheck(service->key_tasks, request->key, json_integer(id));
	if (take(&faults->publish_no_id))
		return (struct answer){MHD_HTTP_OK, json_pack("{s:s}", "status", "ok")};
	if (take(&faults->publish_string_id))
		return (struct answer){MHD_HTTP_OK, json_pack("{s:o}", "task_id", json_sprintf("%" PRId64, id))};
	if (take(&faults->publish_float_id))
		return (struct answer){MHD_HTTP_OK, json_pack("{s:f}", "task_id", (double)id)};
	return (struct answer){MHD_HTTP_OK, json_pack("{s:I}", "task_id", (json_int_t)id)};
}

/* Describes the known ones among ids; NULL when one of these is no integer. */
static json_t *describe_all(struct job_service *service, const json_t *ids)
{
	struct job_service_faults *faults = &service->options.faults;
	bool omit = take(&faults->search_omit), odd_state = take(&faults->search_odd_state);
	bool extra = take(&faults->search_extra), twice = take(&faults->search_twice);
	const struct job known_to_nobody = {.due = 0};
	json_t *tasks = json_array(), *element, *task;
	double time = job_service_now();
	size_t i;

	json_array_foreach(ids, i, element)
	{
		int64_t id = json_integer_value(element);
		const struct job *job = job_service_job(service, id);

		if (!json_is_integer(element)) {
			json_decref(tasks);
			return NULL;
		}
		if (!job || (omit && i % 2 == 0))
			continue;
		task = job_describe(job, id, time);
		if (odd_state)
			json_object_set_new(task, "state", json_string("paused?"));
		if (twice)
			json_array_append(tasks, task);
		json_array_append_new(tasks, task);
	}
	if (extra)
		json_array_append_new(tasks, job_describe(&known_to_nobody, service->options.first_id - 1, time));
	return tasks;
}

static struct answer search(struct request *request)
{
	struct job_service_counts *counts = &request->service->counts;
	json_error_t error;
	json_t *root = json_loadb(request->body ? request->body : "", request->body_size, 0, &error);
	json_t *ids = json_object_get(root, "task_id"), *tasks = NULL;

	if (!root)
		return failure(MHD_HTTP_BAD_REQUEST, error.text);
	if (json_is_array(ids)) {
		counts->search_ids_last = json_array_size(ids);
		if (counts->search_ids_max < counts->search_ids_last)
			counts->search_ids_max = counts->search_ids_last;
		tasks = describe_all(request->service, ids);
	}
	json_decref(root);
	if (!tasks)
		return failure(MHD_HTTP_BAD_REQUEST, "task_id must be an array of integers");
	return (struct answer){MHD_HTTP_OK, tasks};
}

static struct answer get(struct request *request)
{
	int64_t id;
	const struct job *job = path_job(request, &id);

	if (!job)
		return failure(MHD_HTTP_NOT_FOUND, "no such task");
	return (struct answer){MHD_HTTP_OK, job_describe(job, id, job_service_now())};
}

static struct answer cancel(struct request *request)
{
	int64_t id;
	struct job *job = path_job(request, &id);

	if (!job)
		return failure(MHD_HTTP_NOT_FOUND, "no such task");
	if (!job->cancelled && job_service_now() >= job->due)
		return failure(MHD_HTTP_CONFLICT, "the task has finished");
	if (!job->cancelled)
		request->service->counts.jobs_cancelled++;
	job->cancelled = true;
	return (struct answer){MHD_HTTP_NO_CONTENT, NULL};
}

static struct answer elsewhere(struct request *request)
{
	(void)request;
	return (struct answer){MHD_HTTP_OK, json_pack("{s:s}", "status", "elsewhere")};
}

static struct answer stray(struct request *request)
{
	(void)request;
	return failure(MHD_HTTP_NOT_FOUND, "no such resource");
}

enum route job_service_route(const char *method, const char *path)
{
	size_t length = strlen(path), around = strlen("/object/") + strlen("/publish");
	bool post = strcmp(method, "POST") == 0;

	if (strcmp(path, "/elsewhere") == 0)
		return ELSEWHERE;
	if (post && strcmp(path, "/tasks/search") == 0)
		return SEARCH;
	if (post && length > around && strncmp(path, "/object/", strlen("/object/")) == 0 &&
	    strcmp(path + length - strlen("/publish"), "/publish") == 0)
		return PUBLISH;
	if (strncmp(path, "/tasks/", strlen("/tasks/")) != 0)
		return STRAY;
	if (strcmp(method, "GET") == 0)
		return GET;
	return strcmp(method, "DELETE") == 0 ? CANCEL : STRAY;
}

/* --- Faults --- */

static void hang(struct request *request)
{
	request->outcome = HUNG;
	request->deadline = INFINITY;
	request->service->counts.hung++;
}

static void drop(struct request *request)
{
	request->outcome = DROPPED;
	request->service->counts.dropped++;
}

/* Applies what comes instead of the work; returns whether anything did. */
static bool fault_instead(struct request *request, struct job_service_route_faults *faults, struct answer *answer)
{
	if (take(&faults->drop)) {
		drop(request);
	} else if (take(&faults->hang)) {
		hang(request);
	} else if (take(&faults->fail)) {
		memcpy(request->retry_after, faults->retry_after, sizeof(request->retry_after));
		request->header = *request->retry_after ? MHD_HTTP_HEADER_RETRY_AFTER : NULL;
		request->header_value = request->retry_after;
		*answer = failure(faults->status ? faults->status : 500, "failing on request");
	} else if (take(&faults->redirect)) {
		request->header = MHD_HTTP_HEADER_LOCATION;
		request->header_value = "/elsewhere";
		*answer = failure(MHD_HTTP_FOUND, "moved elsewhere");
	} else {
		return false;
	}
	return true;
}

/* Applies what spoils the answer to work done, as JSON or, when it has become that, as text. */
static void fault_after(struct request *request, struct job_service_route_faults *faults, struct answer *answer)
{
	json_t *json = answer->json;

	if (take(&faults->drop_after))
		drop(request);
	else if (take(&faults->hang_after))
		hang(request);
	else if (json && take(&faults->wrong_type))
		answer->json = json_is_array(json) ? json_pack("{s:o}", "tasks", json) : json_pack("[o]", json);
}

static void fault_text(struct request *request, struct job_service_route_faults *faults)
{
	if (request->outcome != OPEN || !request->text)
		return;
	if (take(&faults->truncate))
		request->text[strlen(request->text) / 2] = '\0';
	request->chunked = take(&faults->huge_chunked);
	if (request->chunked || take(&faults->huge))
		request->blanks = faults->huge_bytes > 0 ? (uint64_t)faults->huge_bytes : HUGE_DEFAULT;
}

void job_service_decide(struct request *request)
{
	static struct answer (*const works[])(struct request *) = {
		[PUBLISH] = publish, [SEARCH] = search,	      [GET] = get,
		[CANCEL] = cancel,   [ELSEWHERE] = elsewhere, [STRAY] = stray,
	};
	struct job_service_faults *all = &request->service->options.faults;
	struct job_service_route_faults
		none = {0},
		*by_route[] =
			{
				[PUBLISH] = &all->publish, [SEARCH] = &all->search, [GET] = &all->get,
				[CANCEL] = &all->cancel,   [ELSEWHERE] = &none,	    [STRAY] = &none,
			},
		*faults = by_route[request->route];
	struct answer answer = {0, NULL};
	bool instead;

	if (faults->latency > 0)
		request->deadline = job_service_now() + faults->latency;
	instead = fault_instead(request, faults, &answer);
	if (!instead) {
		answer = works[request->route](request);
		fault_after(request, faults, &answer);
	}
	request->status = (unsigned)answer.status;
	request->text = answer.json ? json_dumps(answer.json, JSON_COMPACT) : NULL;
	json_decref(answer.json);
	if (!instead)
		fault_text(request, faults);
}
