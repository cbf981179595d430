/* job_service.c - the job service itself: libmicrohttpd, counts and log. Each connection has a thread, so that a
 * request that hangs or waits simply blocks its own. */
#define _GNU_SOURCE /* POLLRDHUP */

#include "job_service_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { BODY_MAX = 16 << 20, HUGE_BLOCK = 64 << 10, CONNECTIONS_MAX = 30000 };

static void lock(struct job_service *service)
{
	pthread_mutex_lock(&service->lock);
}

static void unlock(struct job_service *service)
{
	pthread_cond_broadcast(&service->changed);
	pthread_mutex_unlock(&service->lock);
}

/* --- Requests: arrival --- */

static void count_key(struct job_service *service, const char *key)
{
	struct job_service_counts *counts = &service->counts;
	size_t uses = (size_t)json_integer_value(json_object_get(service->key_uses, key));

	json_object_set_new_nocheck(service->key_uses, key, json_integer((json_int_t)uses + 1));
	counts->keys += !uses;
	counts->key_repeats += uses > 0;
	if (counts->key_repeats_max < uses)
		counts->key_repeats_max = uses;
}

/* Puts a new request into the log and the counts. */
static void request_enter(struct request *request)
{
	struct job_service *service = request->service;
	struct job_service_counts *counts = &service->counts;
	size_t *by_route[] = {
		[PUBLISH] = &counts->publishes, [SEARCH] = &counts->searches,	  [GET] = &counts->gets,
		[CANCEL] = &counts->cancels,	[ELSEWHERE] = &counts->elsewhere, [STRAY] = &counts->strays,
	};

	lock(service);
	*service->log_end = request;
	service->log_end = &request->next;
	++*by_route[request->route];
	if (request->route == PUBLISH && ++counts->publishing > counts->publishing_max)
		counts->publishing_max = counts->publishing;
	if (request->route == PUBLISH && request->key)
		count_key(service, request->key);
	unlock(service);
}

static void request_free(struct request *request)
{
	free(request->method);
	free(request->path);
	free(request->key);
	free(request->body);
	free(request->text);
	free(request);
}

static struct request *request_new(struct job_service *service, struct MHD_Connection *connection, const char *method,
				   const char *path)
{
	const char *key = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Idempotency-Key");
	struct request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	request->service = service;
	request->route = job_service_route(method, path);
	request->start = job_service_now() - service->start;
	request->under_way = true;
	request->method = strdup(method);
	request->path = strdup(path);
	request->key = key ? strdup(key) : NULL;
	if (request->method && request->path && (request->key || !key)) {
		request_enter(request);
		return request;
	}
	request_free(request);
	return NULL;
}

static enum MHD_Result request_read(struct request *request, const char *data, size_t *size)
{
	char *body;

	if (*size > BODY_MAX - request->body_size)
		return MHD_NO;
	body = realloc(request->body, request->body_size + *size);
	if (!body)
		return MHD_NO;
	memcpy(body + request->body_size, data, *size);
	request->body = body;
	request->body_size += *size;
	*size = 0;
	return MHD_YES;
}

/* --- Requests: answer --- */

/* Blocks until the deadline of a request; false when its client leaves or the service stops before. */
static bool request_wait(const struct request *request, struct MHD_Connection *connection)
{
	struct pollfd polled[] = {
		{.fd = request->service->stopping, .events = POLLIN},
		{.fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
		 .events = POLLRDHUP},
	};
	double left;

	while ((left = request->deadline - job_service_now()) > 0) {
		int timeout = left < 1000 ? (int)(left * 1000) + 1 : 1000000;

		if (poll(polled, 2, timeout) <= 0)
			continue;
		if (polled[0].revents)
			return false;
		lock(request->service);
		request->service->counts.abandoned++;
		unlock(request->service);
		return false;
	}
	return true;
}

/* Notes that a request is over as far as the service is concerned, before its client can know. */
static void request_end(struct request *request, enum outcome outcome)
{
	struct job_service *service = request->service;

	lock(service);
	if (request->outcome == OPEN)
		request->outcome = outcome;
	if (request->under_way && request->route == PUBLISH)
		service->counts.publishing--;
	request->under_way = false;
	unlock(service);
}

/* Makes a body of blanks and then text as it is sent. */
static ssize_t huge_read(void *context, uint64_t position, char *buffer, size_t max)
{
	const struct request *request = context;
	uint64_t blanks = request->blanks - position;
	const char *text;
	size_t size;

	if (position < request->blanks) {
		size = blanks < max ? (size_t)blanks : max;
		memset(buffer, ' ', size);
		return (ssize_t)size;
	}
	text = request->text + (position - request->blanks);
	size = strnlen(text, max);
	memcpy(buffer, text, size);
	return size ? (ssize_t)size : MHD_CONTENT_READER_END_OF_STREAM;
}

/* The response reads the request's text until on_completed. */
static struct MHD_Response *request_response(struct request *request)
{
	static char nothing[] = "";
	char *text = request->text ? request->text : nothing;
	size_t length = strlen(text);
	uint64_t size = request->chunked ? MHD_SIZE_UNKNOWN : request->blanks + length;

	if (request->blanks)
		return MHD_create_response_from_callback(size, HUGE_BLOCK, huge_read, request, NULL);
	return MHD_create_response_from_buffer(length, text, MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result request_answer(struct request *request, struct MHD_Connection *connection)
{
	struct MHD_Response *response = request_response(request);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	if (request->text)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	if (request->header)
		MHD_add_response_header(response, request->header, request->header_value);
	request_end(request, ANSWERED);
	result = MHD_queue_response(connection, request->status, response);
	MHD_destroy_response(response);
	return result;
}

/* --- What MHD calls. MHD_NO closes the connection. --- */

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *path,
				  const char *method, const char *version, const char *data, size_t *size, void **state)
{
	struct job_service *service = context;
	struct request *request = *state;

	(void)version;
	if (!request) {
		*state = request_new(service, connection, method, path);
		return *state ? MHD_YES : MHD_NO;
	}
	if (*size)
		return request_read(request, data, size);
	lock(service);
	job_service_decide(request);
	unlock(service);
	if (!request_wait(request, connection) || request->outcome != OPEN)
		return MHD_NO;
	return request_answer(request, connection);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode code)
{
	struct request *request = *state;

	(void)context;
	(void)connection;
	(void)code;
	if (!request)
		return;
	*state = NULL;
	request_end(request, LEFT);
	free(request->body);
	free(request->text);
	request->body = request->text = NULL;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **state,
			  enum MHD_ConnectionNotificationCode code)
{
	struct job_service *service = context;

	(void)connection;
	(void)state;
	lock(service);
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		service->counts.connections++;
		service->counts.connections_open++;
	} else {
		service->counts.connections_open--;
	}
	unlock(service);
}

/* --- Start and stop --- */

static void service_free(struct job_service *service)
{
	struct request *next;

	for (struct request *request = service->log; request; request = next) {
		next = request->next;
		request_free(request);
	}
	for (size_t i = 0; i < service->jobs_size; i++)
		json_decref(service->jobs[i].error);
	free(service->jobs);
	json_decref(service->key_uses);
	json_decref(service->key_tasks);
	if (service->stopping >= 0)
		close(service->stopping);
	pthread_cond_destroy(&service->changed);
	pthread_mutex_destroy(&service->lock);
	free(service);
}

static struct job_service *service_new(const struct job_service_options *options)
{
	struct job_service *service = calloc(1, sizeof(*service));
	pthread_condattr_t monotonic;

	if (!service)
		return NULL;
	service->options = *options;
	if (options->job_seconds == 0)
		service->options.job_seconds = 0.5;
	if (options->first_id == 0)
		service->options.first_id = 1;
	service->random[0] = (unsigned short)options->seed;
	service->random[1] = (unsigned short)(options->seed >> 16);
	pthread_mutex_init(&service->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&service->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	service->start = job_service_now();
	service->log_end = &service->log;
	service->key_uses = json_object();
	service->key_tasks = json_object();
	service->stopping = eventfd(0, EFD_CLOEXEC);
	if (service->key_uses && service->key_tasks && service->stopping >= 0)
		return service;
	service_free(service);
	return NULL;
}

static struct MHD_Daemon *service_listen(struct job_service *service)
{
	const unsigned flags = MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_ITC;
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(service->options.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	return MHD_start_daemon(flags, service->options.port, NULL, NULL, on_request, service, MHD_OPTION_SOCK_ADDR,
				&address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
				MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
				on_connection, service, MHD_OPTION_END);
}

struct job_service *job_service_start(const struct job_service_options *options)
{
	static const struct job_service_options defaults;
	struct job_service *service;
	int error;

	options = options ? options : &defaults;
	if (options->first_id < 0 || options->first_id > INT64_MAX - UINT32_MAX) {
		errno = EINVAL;
		return NULL;
	}
	service = service_new(options);
	if (!service)
		return NULL;
	errno = 0;
	service->daemon = service_listen(service);
	if (!service->daemon) {
		error = errno ? errno : EIO;
		service_free(service);
		errno = error;
		return NULL;
	}
	snprintf(service->url, sizeof(service->url), "http://127.0.0.1:%u",
		 (unsigned)MHD_get_daemon_info(service->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	return service;
}

void job_service_stop(struct job_service *service)
{
	if (!service)
		return;
	eventfd_write(service->stopping, 1);
	MHD_stop_daemon(service->daemon);
	service_free(service);
}

/* --- Use --- */

const char *job_service_url(const struct job_service *service)
{
	return service->url;
}

void job_service_set_faults(struct job_service *service, const struct job_service_faults *faults)
{
	lock(service);
	service->options.faults = faults ? *faults : (struct job_service_faults){0};
	unlock(service);
}

bool job_service_finish(struct job_service *service, int64_t task_id)
{
	struct job *job;
	bool runs;

	lock(service);
	job = job_service_job(service, task_id);
	runs = job && !job->cancelled && job_service_now() < job->due;
	if (runs)
		job->due = 0;
	unlock(service);
	return runs;
}

struct job_service_counts job_service_counts(struct job_service *service)
{
	struct job_service_counts counts;

	lock(service);
	counts = service->counts;
	unlock(service);
	return counts;
}

bool job_service_wait(struct job_service *service, size_t member_offset, size_t n, double seconds)
{
	const size_t *count = (const size_t *)(const void *)((const char *)&service->counts + member_offset);
	double deadline = job_service_now() + seconds;
	struct timespec until = {.tv_sec = (time_t)deadline};
	bool enough;
	int error = 0;

	until.tv_nsec = (long)((deadline - (double)until.tv_sec) * 1e9);
	lock(service);
	while (*count < n && !error)
		error = pthread_cond_timedwait(&service->changed, &service->lock, &until);
	enough = *count >= n;
	pthread_mutex_unlock(&service->lock);
	return enough;
}

bool job_service_wait_publishes(struct job_service *service, size_t n, double seconds)
{
	return job_service_wait(service, offsetof(struct job_service_counts, publishes), n, seconds);
}

bool job_service_wait_searches(struct job_service *service, size_t n, double seconds)
{
	return job_service_wait(service, offsetof(struct job_service_counts, searches), n, seconds);
}

/* Prints blanks and control characters of a decoded path as '?', so that a request has one line of 4 or 5 words. */
static void print_word(FILE *file, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text > ' ' && *text != 0x7f ? *text : '?', file);
}

static void print_request(FILE *file, const struct request *request)
{
	static const char *const outcomes[] = {
		[OPEN] = "open",
		[DROPPED] = "dropped",
		[HUNG] = "hung",
		[LEFT] = "left",
	};

	fprintf(file, "%.6f %s ", request->start, request->method);
	print_word(file, request->path);
	if (request->outcome == ANSWERED)
		fprintf(file, " %u", request->status);
	else
		fprintf(file, " %s", outcomes[request->outcome]);
	fputs(request->key ? " " : "", file);
	print_word(file, request->key ? request->key : "");
	fputc('\n', file);
}

/* Through memory, so that no lock is held while the file blocks. */
bool job_service_log_write(struct job_service *service, FILE *file)
{
	char *text = NULL;
	size_t size = 0;
	FILE *memory = open_memstream(&text, &size);
	bool written;

	if (!memory)
		return false;
	lock(service);
	for (const struct request *request = service->log; request; request = request->next)
		print_request(memory, request);
	unlock(service);
	written = fclose(memory) == 0 && fwrite(text, 1, size, file) == size && fflush(file) == 0;
	free(text);
	return written;
}
