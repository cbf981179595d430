/* executors-http against the embedded job service, and against canned bytes where that is too well-behaved. */
#define _GNU_SOURCE
#include "harness.h"
#include "job_service.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <executors/executors.h>
#include <executors/http.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const double LONG = 60; /* the watchdog comes first */

/* --- a service, a client, and the requests of these tests --- */

struct world {
	struct job_service *service;
	exs_http_client *client;
};

static struct world world_new(const struct job_service_options *options)
{
	const exs_http_client_options client = {.proxy = ""};
	struct world w = {.service = job_service_start(options), .client = exs_http_client_new(&client, NULL)};

	CHECK(w.service && w.client);
	return w;
}

static void world_free(struct world *w)
{
	exs_http_client_free(w->client);
	job_service_stop(w->service);
}

static struct job_service_counts counts(const struct world *w)
{
	return job_service_counts(w->service);
}

static bool contains(const char *text, const char *part)
{
	return strstr(text, part);
}

/* A request to a path of the service; the response is dropped but for its status. */
static exs_error *request(const struct world *w, exs_context *ctx, exs_http_request r, const char *path, int *status)
{
	exs_http_response response;
	char url[256];

	snprintf(url, sizeof(url), "%s%s", job_service_url(w->service), path);
	r.url = url;
	exs_error *error = exs_http_perform(w->client, ctx, &r, &response);
	*status = response.status;
	exs_http_response_clear(&response);
	return error;
}

static exs_error *post(const struct world *w, const char *path)
{
	int status;

	return request(w, NULL, (exs_http_request){.method = "POST"}, path, &status);
}

/* --- answers --- */

TEST(http, answers_body_and_status)
{
	struct world w = world_new(NULL);
	exs_http_response response;
	char url[256];

	snprintf(url, sizeof(url), "%s/elsewhere", job_service_url(w.service));
	exs_http_request r = {.url = url};
	CHECK(!exs_http_perform(w.client, NULL, &r, &response));
	CHECK_INT(response.status, 200);
	CHECK_STR(response.body, "{\"status\":\"elsewhere\"}");
	CHECK_INT(response.size, strlen(response.body));
	exs_http_response_clear(&response);
	CHECK(!response.body);
	world_free(&w);
}

TEST(http, another_status_is_an_error_with_its_retry_after)
{
	struct world w = world_new(NULL);
	struct job_service_faults faults = {.publish = {.fail = 1, .status = 503, .retry_after = "7"}};
	char expected[256];

	job_service_set_faults(w.service, &faults);
	exs_error *error = post(&w, "/object/1/publish");
	snprintf(expected, sizeof(expected), "HTTP 503 from POST %s/object/1/publish", job_service_url(w.service));
	CHECK(exs_error_is(error, &exs_domain_http, 503));
	CHECK_STR(exs_error_message(error), expected);
	CHECK(exs_error_retry_after(error) == 7);
	exs_error_unref(error);
	error = post(&w, "/nowhere");
	CHECK(exs_error_is(error, &exs_domain_http, 404));
	CHECK(exs_error_retry_after(error) < 0);
	exs_error_unref(error);
	world_free(&w);
}

TEST(http, retry_after_may_be_a_date)
{
	struct world w = world_new(NULL);
	struct job_service_faults faults = {.publish = {.fail = 1, .status = 429}};
	time_t later = time(NULL) + 3600;
	struct tm parts;

	strftime(faults.publish.retry_after, sizeof(faults.publish.retry_after), "%a, %d %b %Y %H:%M:%S GMT",
		 gmtime_r(&later, &parts));
	job_service_set_faults(w.service, &faults);
	exs_error *error = post(&w, "/object/1/publish");
	CHECK(exs_error_retry_after(error) > 0 && exs_error_retry_after(error) <= 3600);
	exs_error_unref(error);
	world_free(&w);
}

TEST(http, a_redirect_is_told_and_not_followed)
{
	struct world w = world_new(NULL);
	struct job_service_faults faults = {.publish = {.redirect = 1}};
	char to[256];

	job_service_set_faults(w.service, &faults);
	exs_error *error = post(&w, "/object/1/publish");
	snprintf(to, sizeof(to), "a redirect, which is not followed, to %s/elsewhere", job_service_url(w.service));
	CHECK(exs_error_is(error, &exs_domain_http, 302));
	CHECK(contains(exs_error_message(error), to));
	CHECK_INT(counts(&w).elsewhere, 0);
	exs_error_unref(error);
	world_free(&w);
}

static void check_limit(struct job_service_route_faults route)
{
	struct job_service_faults faults = {.publish = route};
	exs_http_client_options options = {.proxy = "", .max_body = 1000};
	struct world w = world_new(NULL);
	int status;

	exs_http_client_free(w.client);
	w.client = exs_http_client_new(&options, NULL);
	faults.publish.huge_bytes = 1000000;
	job_service_set_faults(w.service, &faults);
	exs_error *error = request(&w, NULL, (exs_http_request){.method = "POST"}, "/object/1/publish", &status);
	CHECK(exs_error_is(error, &exs_domain_curl, CURLE_FILESIZE_EXCEEDED));
	CHECK(contains(exs_error_message(error), "over the limit of 1000 bytes"));
	CHECK_INT(status, 200);
	exs_error_unref(error);
	error = post(&w, "/object/2/publish"); /* the session is usable */
	CHECK(!error);
	world_free(&w);
}

TEST(http, a_body_over_the_limit_is_not_read)
{
	check_limit((struct job_service_route_faults){.huge = 1});
	check_limit((struct job_service_route_faults){.huge_chunked = 1});
}

TEST(http, a_body_of_just_the_limit_is_read)
{
	const size_t size = strlen("{\"task_id\":1}");
	struct job_service_faults faults = {.publish = {.huge = 2, .huge_chunked = 1, .huge_bytes = 987}};
	exs_http_client_options options = {.proxy = "", .max_body = 987 + size};
	struct world w = world_new(NULL);

	exs_http_client_free(w.client);
	w.client = exs_http_client_new(&options, NULL);
	job_service_set_faults(w.service, &faults);
	CHECK(!post(&w, "/object/1/publish"));
	CHECK(!post(&w, "/object/2/publish"));
	world_free(&w);
}

TEST(http, wrong_requests)
{
	struct world w = world_new(NULL);
	const char *const bad_header[] = {"A: b\r\nC: d", NULL};
	const char *const no_header[] = {"nonsense", NULL};
	const exs_http_request wrong[] = {
		{.url = "http://127.0.0.1/", .headers = no_header},
		{.url = NULL},
		{.url = ""},
		{.url = "http://127.0.0.1/", .method = "GET /"},
		{.url = "http://127.0.0.1/", .headers = bad_header},
		{.url = "http://127.0.0.1/", .content_type = "a\nb"},
		{.url = "http://127.0.0.1/", .timeout = -1},
		{.url = "http://127.0.0.1/", .grace = (double)NAN},
		{.url = "http://127.0.0.1/", .body_size = 3},
	};
	exs_http_response response;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		exs_error *error = exs_http_perform(w.client, NULL, &wrong[i], &response);
		CHECK(exs_error_is(error, &exs_domain_exs, EXS_EINVAL));
		exs_error_unref(error);
	}
	exs_error *error = exs_http_perform(w.client, NULL, &wrong[0], NULL);
	CHECK_STR(exs_error_message(error), "exs_http_perform: response is NULL");
	exs_error_unref(error);
	error = exs_http_perform(NULL, NULL, &wrong[0], &response);
	CHECK_STR(exs_error_message(error), "exs_http_perform: client is NULL");
	exs_error_unref(error);
	exs_http_response_clear(NULL);
	exs_http_request file = {.url = "file:///etc/passwd"};
	error = exs_http_perform(w.client, NULL, &file, &response);
	CHECK(exs_error_is(error, &exs_domain_curl, CURLE_UNSUPPORTED_PROTOCOL));
	exs_error_unref(error);
	world_free(&w);
}

TEST(http, wrong_options)
{
	const exs_http_client_options wrong = {.connect_timeout = -1}, injected = {.user_agent = "a\r\nCookie: b"};
	struct {
		exs_http_client_options known;
		int unknown;
	} newer = {.unknown = 1};
	exs_error *error = NULL;

	CHECK(!exs_http_client_new(&wrong, &error));
	CHECK(exs_error_is(error, &exs_domain_exs, EXS_EINVAL));
	exs_error_unref(error);
	CHECK(!exs_http_client_new(&injected, &error));
	CHECK(exs_error_is(error, &exs_domain_exs, EXS_EINVAL));
	exs_error_unref(error);
	CHECK(!exs_http_client_new_sized(&newer.known, sizeof(newer), &error));
	CHECK(exs_error_is(error, &exs_domain_exs, EXS_EINVAL));
	exs_error_unref(error);
	CHECK(!exs_http_client_new(&wrong, NULL));
	newer.unknown = 0;
	exs_http_client *client = exs_http_client_new_sized(&newer.known, sizeof(newer), NULL);
	CHECK(client);
	exs_http_client_stop(NULL);
	exs_http_client_free(client);
}

TEST(http, retry_codes_are_5xx_429_and_connections)
{
	size_t n, found = 0;
	const exs_retry_code *codes = exs_http_retry_codes(&n);

	for (size_t i = 0; i < n; i++) {
		bool http = codes[i].domain == &exs_domain_http, curl = codes[i].domain == &exs_domain_curl;
		CHECK(!http || codes[i].code == 429 || (codes[i].code >= 500 && codes[i].code < 600));
		CHECK(codes[i].domain != &exs_domain_jobs);
		found += (http && (codes[i].code == 500 || codes[i].code == 599 || codes[i].code == 429)) ||
			 (curl && (codes[i].code == CURLE_COULDNT_CONNECT || codes[i].code == CURLE_GOT_NOTHING));
	}
	CHECK_INT(found, 5);
	CHECK(exs_http_retry_codes(NULL) == codes);
}

/* --- connections --- */

static void *post_ten(void *world)
{
	for (int i = 0; i < 10; i++)
		CHECK(!post(world, "/object/1/publish"));
	return NULL;
}

TEST(http, connections_are_reused_by_requests_and_threads)
{
	struct world w = world_new(NULL);
	pthread_t threads[4];

	for (int i = 0; i < 4; i++) { /* one after the other */
		CHECK(!pthread_create(&threads[i], NULL, post_ten, &w));
		pthread_join(threads[i], NULL);
	}
	CHECK_INT(counts(&w).connections, 1);
	for (int i = 0; i < 4; i++) /* together */
		CHECK(!pthread_create(&threads[i], NULL, post_ten, &w));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(counts(&w).connections <= 4);
	CHECK_INT(counts(&w).publishes, 80);
	world_free(&w);
}

TEST(http, no_idle_connection_is_kept_where_none_is_wanted)
{
	exs_http_client_options options = {.proxy = "", .max_idle = EXS_NONE};
	struct world w = world_new(NULL);

	exs_http_client_free(w.client);
	w.client = exs_http_client_new(&options, NULL);
	post_ten(&w);
	CHECK_INT(counts(&w).connections, 10);
	world_free(&w);
}

/* Nobody has consented to repeat a POST: not libcurl either, when a reused connection closes. */
TEST(http, a_dropped_post_is_not_sent_again)
{
	struct world w = world_new(NULL);
	struct job_service_faults faults = {.publish = {.drop_after = 1}};

	CHECK(!post(&w, "/object/1/publish")); /* makes the connection */
	job_service_set_faults(w.service, &faults);
	exs_error *error = post(&w, "/object/1/publish");
	CHECK(exs_error_is(error, &exs_domain_curl, CURLE_GOT_NOTHING));
	CHECK_INT(counts(&w).publishes, 2);
	exs_error_unref(error);
	CHECK(!post(&w, "/object/1/publish"));
	world_free(&w);
}

TEST(http, a_repeatable_request_is_sent_again_on_a_fresh_connection)
{
	struct world w = world_new(NULL);
	struct job_service_faults faults = {.publish = {.drop = 1}};
	int status;

	CHECK(!post(&w, "/object/1/publish"));
	job_service_set_faults(w.service, &faults);
	CHECK(!request(&w, NULL, (exs_http_request){.method = "POST", .repeatable = true}, "/object/1/publish",
		       &status));
	CHECK_INT(counts(&w).publishes, 3);
	world_free(&w);
}

/* --- canned answers: a server that sends the same bytes to whoever asks, and closes --- */

struct canned {
	const char *bytes, *search; /* search: where it differs */
	int fd;
	char url[64];
	pthread_t thread;
	unsigned asked; /* by the thread; after the join */
};

static void *canned_serve(void *arg)
{
	struct canned *c = arg;
	char text[4096];
	int fd;

	while ((fd = accept(c->fd, NULL, NULL)) >= 0) {
		size_t n = 0;
		ssize_t got = 1;
		while (got > 0 && !memmem(text, n, "\r\n\r\n", 4) && n < sizeof(text)) {
			got = read(fd, text + n, sizeof(text) - n);
			n += got > 0 ? (size_t)got : 0;
		}
		c->asked++;
		const char *bytes = c->search && memmem(text, n, "/tasks/search", 13) ? c->search : c->bytes;
		(void)!send(fd, bytes, strlen(bytes), MSG_NOSIGNAL);
		close(fd);
	}
	return NULL;
}

static void canned_start(struct canned *c, const char *bytes, const char *search)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);

	*c = (struct canned){.bytes = bytes, .search = search, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	CHECK(c->fd >= 0 && !bind(c->fd, (struct sockaddr *)&address, size) && !listen(c->fd, 16));
	CHECK(!getsockname(c->fd, (struct sockaddr *)&address, &size));
	snprintf(c->url, sizeof(c->url), "http://127.0.0.1:%d", ntohs(address.sin_port));
	CHECK(!pthread_create(&c->thread, NULL, canned_serve, c));
}

static unsigned canned_stop(struct canned *c)
{
	shutdown(c->fd, SHUT_RDWR); /* wakes accept */
	pthread_join(c->thread, NULL);
	close(c->fd);
	return c->asked;
}

static exs_error *get_canned(const char *bytes, exs_http_response *response)
{
	const exs_http_client_options options = {.proxy = ""};
	exs_http_client *client = exs_http_client_new(&options, NULL);
	struct canned c;

	canned_start(&c, bytes, NULL);
	exs_http_request r = {.url = c.url};
	exs_error *error = exs_http_perform(client, NULL, &r, response);
	canned_stop(&c);
	exs_http_client_free(client);
	return error;
}

TEST(http, broken_answers)
{
	static const struct {
		const char *bytes;
		int code, status;
	} broken[] = {
		{"", CURLE_GOT_NOTHING, 0},
		{"SSH-2.0-OpenSSH_9.2\r\n", CURLE_UNSUPPORTED_PROTOCOL, 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", CURLE_PARTIAL_FILE, 200},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", CURLE_RECV_ERROR, 200},
		{"HTTP/1.1 103 Early Hints\r\n\r\n", CURLE_GOT_NOTHING, 0},
	};
	exs_http_response response;

	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
		exs_error *error = get_canned(broken[i].bytes, &response);
		CHECK(exs_error_domain(error) == &exs_domain_curl);
		CHECK_INT(exs_error_code(error), broken[i].code);
		CHECK_INT(response.status, broken[i].status);
		CHECK(!response.body);
		exs_error_unref(error);
	}
}

TEST(http, an_empty_answer_has_no_body)
{
	exs_http_response response;

	CHECK(!get_canned("HTTP/1.1 204 No Content\r\n\r\n", &response));
	CHECK_INT(response.status, 204);
	CHECK(!response.body && !response.size);
}

TEST(http, nobody_listens)
{
	struct world w = world_new(NULL);
	exs_http_response response;
	struct canned c;
	char expected[128];

	canned_start(&c, "", NULL);
	canned_stop(&c);
	exs_http_request r = {.url = c.url};
	exs_error *error = exs_http_perform(w.client, NULL, &r, &response);
	CHECK(exs_error_is(error, &exs_domain_curl, CURLE_COULDNT_CONNECT));
	snprintf(expected, sizeof(expected), "GET %s/: ", c.url);
	CHECK(contains(exs_error_message(error), expected));
	exs_error_unref(error);
	world_free(&w);
}

TEST(http, messages_show_no_password)
{
	struct world w = world_new(NULL);
	exs_http_response response;
	char url[256];

	snprintf(url, sizeof(url), "http://somebody:secret@%s/nowhere", job_service_url(w.service) + strlen("http://"));
	exs_http_request r = {.url = url};
	exs_error *error = exs_http_perform(w.client, NULL, &r, &response);
	CHECK(exs_error_is(error, &exs_domain_http, 404));
	CHECK(!contains(exs_error_message(error), "secret") && !contains(exs_error_message(error), "somebody"));
	exs_error_unref(error);
	world_free(&w);
}

/* --- cancel, deadlines, stop --- */

struct ask {
	struct world *w;
	exs_http_request request;
	int code; /* of the library, of the error; 0: none */
};

static exs_result ask_publish(void *arg, exs_context *ctx)
{
	struct ask *a = arg;
	int status;
	exs_error *error = request(a->w, ctx, a->request, "/object/1/publish", &status);

	a->code = 0;
	if (!error)
		return exs_ok(NULL, NULL);
	CHECK(exs_error_domain(error) == &exs_domain_exs);
	a->code = exs_error_code(error);
	return exs_fail(error);
}

static void wait_hung(struct world *w, size_t n)
{
	CHECK(job_service_wait(w->service, offsetof(struct job_service_counts, hung), n, LONG));
}

TEST(http, a_cancel_wakes_the_request)
{
	struct world w = world_new(&(struct job_service_options){.faults.publish.hang = 1});
	struct ask a = {.w = &w, .request.method = "POST"};
	exs_executor *ex = exs_thread_pool(1);
	exs_future *f = exs_submit(ex, ask_publish, &a);

	wait_hung(&w, 1);
	exs_future_cancel(f);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	CHECK_INT(a.code, EXS_ECANCELLED);
	CHECK(contains(exs_error_message(exs_future_error(f)), "/object/1/publish: cancelled"));
	CHECK(job_service_wait(w.service, offsetof(struct job_service_counts, abandoned), 1, LONG));
	exs_future_unref(f);
	exs_executor_free(ex);
	CHECK(!post(&w, "/object/1/publish"));
	world_free(&w);
}

TEST(http, an_answer_within_the_grace_counts)
{
	struct world w = world_new(&(struct job_service_options){.faults.publish.latency = 0.2});
	struct ask a = {.w = &w, .request = {.method = "POST", .grace = LONG}};
	exs_executor *ex = exs_thread_pool(1);
	exs_future *f = exs_submit(ex, ask_publish, &a);

	CHECK(job_service_wait_publishes(w.service, 1, LONG));
	exs_future_cancel(f);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	exs_future_unref(f);
	exs_executor_free(ex);
	world_free(&w);
}

TEST(http, the_grace_ends_too)
{
	struct world w = world_new(&(struct job_service_options){.faults.publish.hang = 1});
	struct ask a = {.w = &w, .request = {.method = "POST", .grace = 0.05}};
	exs_executor *ex = exs_thread_pool(1);
	exs_future *f = exs_submit(ex, ask_publish, &a);

	wait_hung(&w, 1);
	exs_future_cancel(f);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	CHECK_INT(a.code, EXS_ECANCELLED);
	exs_future_unref(f);
	exs_executor_free(ex);
	world_free(&w);
}

TEST(http, the_deadline_of_the_task_ends_the_request)
{
	struct world w = world_new(&(struct job_service_options){.faults.publish.hang = 1});
	struct ask a = {.w = &w, .request.method = "POST"};
	exs_executor *ex = exs_with_timeout(exs_thread_pool(1), 0.1);
	exs_future *f = exs_submit(ex, ask_publish, &a);

	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	CHECK_INT(a.code, EXS_ETIMEDOUT); /* whichever it noticed: its deadline, or that it was asked to stop */
	exs_future_unref(f);
	exs_executor_free(ex);
	world_free(&w);
}

TEST(http, a_request_may_have_a_timeout_of_its_own)
{
	struct world w = world_new(&(struct job_service_options){.faults.publish.hang = 1});
	int status;
	exs_error *error =
		request(&w, NULL, (exs_http_request){.method = "POST", .timeout = 0.05}, "/object/1/publish", &status);

	CHECK(exs_error_is(error, &exs_domain_exs, EXS_ETIMEDOUT));
	CHECK(contains(exs_error_message(error), "no answer in time"));
	exs_error_unref(error);
	world_free(&w);
}

static void *stop_client(void *world)
{
	struct world *w = world;

	wait_hung(w, 1);
	exs_http_client_stop(w->client);
	return NULL;
}

TEST(http, stop_ends_requests_and_refuses_later_ones)
{
	struct world w = world_new(&(struct job_service_options){.faults.publish.hang = 1});
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, stop_client, &w));
	exs_error *error = post(&w, "/object/1/publish");
	CHECK(exs_error_is(error, &exs_domain_exs, EXS_ESHUTDOWN));
	exs_error_unref(error);
	pthread_join(thread, NULL);
	error = post(&w, "/object/1/publish");
	CHECK(exs_error_is(error, &exs_domain_exs, EXS_ESHUTDOWN));
	exs_error_unref(error);
	CHECK_INT(counts(&w).publishes, 1);
	world_free(&w);
}

/* --- the job client --- */

/* A chain over a pool of `workers`: retry at once, poll, timeout (EXS_FOREVER: none). */
struct chain {
	struct world w;
	exs_clock *clock;
	exs_http_jobs *jobs;
	exs_executor *ex;
	/* Of the poll function: */
	size_t least; /* it waits for so many to be pending */
	size_t seen;  /* most that it was given; under the lock */
	size_t calls; /* under the lock */
	pthread_mutex_t lock;
	pthread_cond_t change;
	char log[2048]; /* what was logged; under the lock */
};

struct how {
	struct job_service_options service;
	exs_http_jobs_options jobs;
	unsigned workers, attempts;
	double timeout;
	size_t least;
	const char *url; /* instead of the service's */
	bool one_by_one; /* cancel_fn in place of cancel_many */
};

static const double INTERVAL = 10;

static exs_error *gated_poll(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct chain *c = ctx;

	if (n < c->least) {
		*delay = EXS_FOREVER; /* what is armed comes from a search */
		return NULL;
	}
	exs_error *error = exs_http_jobs_poll(c->jobs, d, n, delay);
	pthread_mutex_lock(&c->lock);
	c->seen = n > c->seen ? n : c->seen;
	c->calls++;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->lock);
	return error;
}

static bool cancel_one(void *ctx, void *task, exs_error **error)
{
	return exs_http_jobs_cancel(((struct chain *)ctx)->jobs, task, error);
}

static void cancel_many(void *ctx, exs_descriptor **d, size_t n)
{
	exs_http_jobs_cancel_many(((struct chain *)ctx)->jobs, d, n);
}

/* Returns when a poll has been over at least n pending ones. */
static void wait_seen(struct chain *c, size_t n)
{
	pthread_mutex_lock(&c->lock);
	while (c->seen < n)
		pthread_cond_wait(&c->change, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

static void forget_seen(struct chain *c)
{
	pthread_mutex_lock(&c->lock);
	c->seen = 0;
	pthread_mutex_unlock(&c->lock);
}

/* Has the poll function called again, and returns after that. */
static void notify(struct chain *c)
{
	pthread_mutex_lock(&c->lock);
	size_t calls = c->calls;
	pthread_mutex_unlock(&c->lock);
	exs_poll_notify(c->ex);
	pthread_mutex_lock(&c->lock);
	while (c->calls == calls)
		pthread_cond_wait(&c->change, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

/* Moves the clock on once the poll executor waits for it. */
static void advance(struct chain *c, double seconds)
{
	CHECK_INT(exs_clock_wait_armed(c->clock, 1, LONG), 0);
	exs_clock_advance(c->clock, seconds);
}

static void keep_log(void *ctx, exs_log_level level, const char *executor, const char *message)
{
	struct chain *c = ctx;

	(void)level, (void)executor;
	pthread_mutex_lock(&c->lock);
	size_t used = strlen(c->log);
	snprintf(c->log + used, sizeof(c->log) - used, "%s\n", message);
	pthread_mutex_unlock(&c->lock);
}

static bool logged(struct chain *c, const char *part)
{
	pthread_mutex_lock(&c->lock);
	bool is = contains(c->log, part);
	pthread_mutex_unlock(&c->lock);
	return is;
}

static void chain_begin(struct chain *c, struct how how)
{
	exs_retry_options retry = {.max_attempts = how.attempts ? how.attempts : 3, .sleep = EXS_NONE};
	exs_poll_options poll = {.interval = INTERVAL, .cancel_many = how.one_by_one ? NULL : cancel_many};

	*c = (struct chain){.w = world_new(&how.service), .clock = exs_clock_manual_new(), .least = how.least};
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->change, NULL);
	how.jobs.clock = c->clock;
	how.jobs.log = keep_log;
	how.jobs.log_ctx = c;
	c->jobs = exs_http_jobs_new(c->w.client, how.url ? how.url : job_service_url(c->w.service), &how.jobs, NULL);
	CHECK(c->jobs);
	retry.codes = exs_http_retry_codes(&retry.n_codes);
	c->ex = exs_with_clock(exs_thread_pool(how.workers ? how.workers : 4), c->clock);
	c->ex = exs_with_retry(c->ex, &retry);
	c->ex = exs_with_poll(c->ex, gated_poll, cancel_one, c, &poll);
	c->ex = exs_with_timeout(c->ex, how.timeout > 0 ? how.timeout : EXS_FOREVER);
	CHECK(c->ex);
}

static void chain_end(struct chain *c)
{
	exs_executor_free(c->ex);
	exs_http_jobs_free(c->jobs);
	exs_clock_unref(c->clock);
	world_free(&c->w);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->change);
}

static exs_future *submit(struct chain *c, const char *object)
{
	exs_future *f = exs_http_jobs_submit(c->ex, c->jobs, object);

	CHECK(f);
	return f;
}

/* Waits for an error of the job client's domain, or of another. */
static void check_error(exs_future *f, const exs_domain *domain, int code, const char *part)
{
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	CHECK_INT(exs_future_state(f), EXS_STATE_ERROR);
	const exs_error *error = exs_future_error(f);
	if (!exs_error_is(error, domain, code) || !contains(exs_error_message(error), part))
		CHECK_STR(exs_error_message(error), part);
	exs_future_unref(f);
}

static void check_finished(exs_future *f, int64_t task_id, const char *object)
{
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	const exs_http_task *task = exs_future_value(f);
	CHECK_INT(task->task_id, task_id);
	CHECK_STR(task->object, object);
	exs_future_unref(f);
}

static const struct job_service_options for_ever = {.job_seconds = -1};
static const struct job_service_options at_once = {.job_seconds = 1e-9};

TEST(jobs, publish_and_finish)
{
	struct chain c;

	chain_begin(&c, (struct how){.service = at_once});
	check_finished(submit(&c, "20"), 1, "20");
	chain_end(&c);
}

TEST(jobs, ids_above_2_53_are_exact)
{
	static const int64_t first[] = {9007199254740993, INT64_MAX - UINT32_MAX};

	for (size_t i = 0; i < 2; i++) {
		struct chain c;
		chain_begin(&c, (struct how){.service = {.job_seconds = 1e-9, .first_id = first[i]}});
		check_finished(submit(&c, "20"), first[i], "20");
		chain_end(&c);
	}
}

TEST(jobs, odd_objects_are_escaped)
{
	static const char *const objects[] = {"a b", "../tasks/1", "..", "x?y#z", "100%", "\xc3\xbc", "a/b\\\"&+;"};
	enum { N = sizeof(objects) / sizeof(*objects) };
	exs_future *f[N];
	struct chain c;

	chain_begin(&c, (struct how){.service = at_once, .workers = 1, .least = N});
	for (size_t i = 0; i < N; i++)
		f[i] = submit(&c, objects[i]);
	for (size_t i = 0; i < N; i++)
		check_finished(f[i], (int64_t)i + 1, objects[i]);
	CHECK_INT(counts(&c.w).strays, 0);
	chain_end(&c);
}

TEST(jobs, nothing_to_publish)
{
	struct chain c;

	chain_begin(&c, (struct how){.service = at_once});
	for (int i = 0; i < 3; i++) {
		exs_future *f = exs_http_jobs_submit(c.ex, i ? c.jobs : NULL, i == 1 ? NULL : i ? "" : "20");
		CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
		CHECK(exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_EINVAL));
		exs_future_unref(f);
	}
	CHECK(!exs_http_publish_new(NULL, "20") && !exs_http_publish_new(c.jobs, NULL));
	CHECK_INT(counts(&c.w).publishes, 0);
	chain_end(&c);
}

TEST(jobs, wrong_service_urls)
{
	static const char *const urls[] = {
		NULL,	      "", "127.0.0.1:80", "ftp://host/", "http://", "http://host/?q=1", "http://host/#part",
		"file:///tmp"};
	struct world w = world_new(NULL);
	exs_error *error;

	for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
		error = NULL;
		CHECK(!exs_http_jobs_new(w.client, urls[i], NULL, &error));
		CHECK(exs_error_is(error, &exs_domain_exs, EXS_EINVAL));
		exs_error_unref(error);
	}
	exs_http_jobs_options options = {.cancel_parallel = 65};
	CHECK(!exs_http_jobs_new(w.client, "http://host", &options, NULL));
	CHECK(!exs_http_jobs_new(NULL, "http://host", NULL, NULL));
	exs_http_jobs_free(NULL);
	world_free(&w);
}

TEST(jobs, the_url_may_have_a_path)
{
	struct chain c, d;
	char url[256];

	chain_begin(&c, (struct how){.service = at_once});
	snprintf(url, sizeof(url), "%s//", job_service_url(c.w.service));
	chain_begin(&d, (struct how){.url = url});
	check_finished(submit(&d, "1"), 1, "1");
	CHECK_INT(counts(&c.w).publishes, 1);
	chain_end(&d);
	snprintf(url, sizeof(url), "%s/api/", job_service_url(c.w.service));
	chain_begin(&d, (struct how){.url = url});
	check_error(submit(&d, "1"), &exs_domain_http, 404, "/api/object/1/publish");
	chain_end(&d);
	chain_end(&c);
}

/* --- publish --- */

static void check_publish(struct job_service_faults faults, size_t publishes, const exs_domain *domain, int code,
			  const char *part)
{
	struct chain c;
	struct how how = {.service = at_once};

	how.service.faults = faults;
	chain_begin(&c, how);
	exs_future *f = submit(&c, "20");
	if (domain)
		check_error(f, domain, code, part);
	else
		check_finished(f, 1, "20");
	CHECK_INT(counts(&c.w).publishes, publishes);
	CHECK_INT(counts(&c.w).keys, 1);
	CHECK(counts(&c.w).jobs_created <= 1);
	chain_end(&c);
}

TEST(jobs, publish_is_retried_after_5xx_and_dropped_connections)
{
	check_publish((struct job_service_faults){.publish = {.fail = 2, .status = 599}}, 3, NULL, 0, "");
	check_publish((struct job_service_faults){.publish = {.fail = 2, .status = 429}}, 3, NULL, 0, "");
	check_publish((struct job_service_faults){.publish = {.drop = 2}}, 3, NULL, 0, "");
	check_publish((struct job_service_faults){.publish = {.drop_after = 2}}, 3, NULL, 0, "");
	check_publish((struct job_service_faults){.publish.fail = -1}, 3, &exs_domain_http, 500, "HTTP 500 from POST ");
	check_publish((struct job_service_faults){.publish.drop = -1}, 3, &exs_domain_curl, CURLE_GOT_NOTHING, "POST ");
}

TEST(jobs, publish_is_not_retried_after_other_answers)
{
	const char *may = "the job may exist";

	check_publish((struct job_service_faults){.publish = {.fail = 1, .status = 400}}, 1, &exs_domain_http, 400, "");
	check_publish((struct job_service_faults){.publish.redirect = 1}, 1, &exs_domain_http, 302, "/elsewhere");
	check_publish((struct job_service_faults){.publish.truncate = 1}, 1, &exs_domain_jobs, EXS_JOBS_EANSWER, may);
	check_publish((struct job_service_faults){.publish.wrong_type = 1}, 1, &exs_domain_jobs, EXS_JOBS_EANSWER, may);
	check_publish((struct job_service_faults){.publish.huge = 1}, 1, &exs_domain_jobs, EXS_JOBS_EANSWER,
		      "over the limit of 67108864 bytes; the job may exist");
	check_publish((struct job_service_faults){.publish_no_id = 1}, 1, &exs_domain_jobs, EXS_JOBS_EANSWER,
		      "no task_id; the job may exist");
	check_publish((struct job_service_faults){.publish_string_id = 1}, 1, &exs_domain_jobs, EXS_JOBS_EANSWER,
		      "a task_id that is not an integer; the job may exist");
	check_publish((struct job_service_faults){.publish_float_id = 1}, 1, &exs_domain_jobs, EXS_JOBS_EANSWER,
		      "a task_id that is not an integer; the job may exist");
}

TEST(jobs, canned_answers_to_publish)
{
	static const char *const bytes[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", /* a connection that
                                                            breaks after the
                                                            status */
		"HTTP/1.1 200 OK\r\n\r\n{\"task_id\":9223372036854775808}",
		"HTTP/1.1 200 OK\r\n\r\n{\"task_id\":true}",
		"HTTP/1.1 200 OK\r\n\r\n{\"task_id\":null}",
		"HTTP/1.1 200 OK\r\n\r\n{\"task_id\":1,\"task_id\":2}",
		"HTTP/1.1 200 OK\r\n\r\n{\"task_id\":1}x",
		"HTTP/1.1 204 No Content\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
		struct canned s;
		struct chain c;
		canned_start(&s, bytes[i], NULL);
		chain_begin(&c, (struct how){.url = s.url});
		check_error(submit(&c, "20"), &exs_domain_jobs, EXS_JOBS_EANSWER, "the job may exist");
		chain_end(&c);
		CHECK_INT(canned_stop(&s), 1);
	}
}

TEST(jobs, one_attempt_is_one_post)
{
	struct job_service_faults faults = {.publish = {.drop_after = 1}};
	struct chain c;

	chain_begin(&c, (struct how){.service = for_ever, .attempts = 1, .workers = 1});
	exs_future *f = submit(&c, "1");
	wait_seen(&c, 1);
	job_service_set_faults(c.w.service, &faults);
	check_error(submit(&c, "2"), &exs_domain_curl, CURLE_GOT_NOTHING, "/object/2/publish");
	CHECK_INT(counts(&c.w).publishes, 2);
	exs_future_cancel(f);
	exs_future_unref(f);
	chain_end(&c);
}

TEST(jobs, each_call_has_a_key_of_its_own)
{
	struct chain c;
	exs_future *f[3];

	chain_begin(&c, (struct how){.service = at_once, .least = 3});
	for (int i = 0; i < 3; i++)
		f[i] = submit(&c, "1");
	for (int i = 0; i < 3; i++) {
		exs_future_wait(f[i], EXS_FOREVER);
		CHECK_INT(exs_future_state(f[i]), EXS_STATE_VALUE);
		exs_future_unref(f[i]);
	}
	CHECK_INT(counts(&c.w).keys, 3);
	CHECK_INT(counts(&c.w).jobs_created, 3);
	chain_end(&c);
}

TEST(jobs, a_publish_that_never_answers_is_cancelled)
{
	struct how how = {.service = for_ever, .jobs.stop_grace = EXS_NONE};
	struct chain c;

	how.service.faults.publish.hang = -1;
	chain_begin(&c, how);
	exs_future *f = submit(&c, "1");
	wait_hung(&c.w, 1);
	exs_future_cancel(f);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	CHECK_INT(counts(&c.w).publishes, 1);
	exs_future_unref(f);
	chain_end(&c);
}

TEST(jobs, a_publish_answered_after_the_cancel_is_withdrawn)
{
	struct how how = {.service = for_ever, .jobs.stop_grace = LONG};
	struct chain c;

	how.service.faults.publish.latency = 0.2;
	chain_begin(&c, how);
	exs_future *f = submit(&c, "1");
	CHECK(job_service_wait_publishes(c.w.service, 1, LONG));
	exs_future_cancel(f);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	CHECK_INT(counts(&c.w).jobs_cancelled, 1);
	exs_future_unref(f);
	chain_end(&c);
}

TEST(jobs, a_withdrawal_that_fails_is_logged)
{
	struct how how = {.service = for_ever, .jobs.stop_grace = LONG};
	struct chain c;

	how.service.faults.publish.latency = 0.2;
	how.service.faults.cancel.fail = -1;
	chain_begin(&c, how);
	exs_future *f = submit(&c, "1");
	CHECK(job_service_wait_publishes(c.w.service, 1, LONG));
	exs_future_cancel(f);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	CHECK(logged(&c, "publish 1: not cancelled at the service: HTTP 500 from DELETE"));
	exs_future_unref(f);
	chain_end(&c);
}

/* --- search --- */

TEST(jobs, states_and_errors)
{
	struct chain c;

	chain_begin(&c, (struct how){.service = at_once, .least = 2, .workers = 1});
	exs_future *good = submit(&c, "1"), *bad = submit(&c, "bad2");
	check_finished(good, 1, "1");
	check_error(bad, &exs_domain_jobs, EXS_JOBS_EFAILED, "task 2: object bad2 is bad");
	chain_end(&c);
}

TEST(jobs, cancelled_by_somebody_else)
{
	struct chain c;
	int status;

	chain_begin(&c, (struct how){.service = for_ever});
	exs_future *f = submit(&c, "1");
	wait_seen(&c, 1);
	CHECK(!request(&c.w, NULL, (exs_http_request){.method = "DELETE"}, "/tasks/1", &status));
	advance(&c, INTERVAL);
	check_error(f, &exs_domain_jobs, EXS_JOBS_ECANCELLED, "task 1: cancelled at the service");
	chain_end(&c);
}

/* Jobs join one after the other, and each wakes the poller; the searches keep their distance. */
TEST(jobs, one_search_an_interval)
{
	enum { N = 100 };
	exs_future *f[N];
	struct chain c;

	chain_begin(&c, (struct how){.service = for_ever});
	for (int i = 0; i < N; i++)
		f[i] = submit(&c, "1");
	wait_seen(&c, N);
	CHECK_INT(counts(&c.w).searches, 1);
	for (size_t k = 2; k <= 5; k++) {
		advance(&c, INTERVAL / 2);
		notify(&c);
		CHECK_INT(counts(&c.w).searches, k - 1);
		advance(&c, INTERVAL / 2);
		CHECK(job_service_wait_searches(c.w.service, k, LONG));
		CHECK_INT(exs_clock_wait_armed(c.clock, 1, LONG), 0);
		CHECK_INT(counts(&c.w).searches, k);
		CHECK_INT(counts(&c.w).search_ids_last, N);
	}
	CHECK_INT(exs_future_cancel_all(f, N), N);
	CHECK_INT(counts(&c.w).jobs_cancelled, N);
	for (int i = 0; i < N; i++)
		exs_future_unref(f[i]);
	CHECK(counts(&c.w).connections <= 4 + 1 + 16);
	chain_end(&c);
}

static exs_result made_up(void *arg, exs_context *ctx)
{
	exs_http_task *task = malloc(sizeof(*task));

	(void)ctx;
	CHECK(task);
	*task = (exs_http_task){.task_id = (intptr_t)arg, .object = "made up"};
	return exs_ok(task, free);
}

TEST(jobs, at_most_10000_ids_in_a_search)
{
	enum { N = 20001, TWINS = 10 };
	exs_future **f = calloc(N + TWINS, sizeof(*f));
	struct chain c;

	chain_begin(&c, (struct how){.service = for_ever, .least = N + TWINS});
	for (intptr_t i = 0; i < N + TWINS; i++) /* the same id twice takes no room */
		f[i] = exs_submit(c.ex, made_up, (void *)(i < N ? i + 1 : i - N + 1));
	for (int i = 0; i < N + TWINS; i++)
		check_error(f[i], &exs_domain_jobs, EXS_JOBS_EUNKNOWN, "does not know it");
	CHECK_INT(counts(&c.w).searches, 3);
	CHECK_INT(counts(&c.w).search_ids_max, 10000);
	CHECK_INT(counts(&c.w).search_ids_last, 1);
	free(f);
	chain_end(&c);
}

TEST(jobs, equal_ids_are_resolved_together)
{
	struct chain c;
	exs_future *f[3];

	chain_begin(&c, (struct how){.service = at_once, .least = 3});
	CHECK(!post(&c.w, "/object/1/publish"));
	for (int i = 0; i < 3; i++)
		f[i] = exs_submit(c.ex, made_up, (void *)1);
	for (int i = 0; i < 3; i++)
		check_finished(f[i], 1, "made up");
	CHECK_INT(counts(&c.w).search_ids_last, 1);
	chain_end(&c);
}

/* Two jobs, one search with a fault. */
static void two_jobs(struct chain *c, exs_future **f, struct job_service_faults faults, exs_http_jobs_options jobs)
{
	struct how how = {.service = at_once, .jobs = jobs, .workers = 1, .least = 2};

	how.service.faults = faults;
	chain_begin(c, how);
	f[0] = submit(c, "1");
	f[1] = submit(c, "2");
}

TEST(jobs, a_failed_search_fails_those_it_asked_for)
{
	static const struct {
		struct job_service_route_faults search;
		const exs_domain *domain;
		int code;
		const char *part;
	} cases[] = {
		{{.fail = 1}, &exs_domain_http, 500, "/tasks/search"},
		{{.redirect = 1}, &exs_domain_http, 302, "/elsewhere"},
		{{.truncate = 1}, &exs_domain_jobs, EXS_JOBS_EANSWER, "is not JSON"},
		{{.wrong_type = 1}, &exs_domain_jobs, EXS_JOBS_EANSWER, "is not a JSON array"},
		{{.huge = 1}, &exs_domain_curl, CURLE_FILESIZE_EXCEEDED, "over the limit"},
		{{.drop = 2}, &exs_domain_curl, CURLE_GOT_NOTHING, "/tasks/search"},
		{{.hang = 1}, &exs_domain_exs, EXS_ETIMEDOUT, "no answer in time"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct chain c;
		exs_future *f[2];
		two_jobs(&c, f, (struct job_service_faults){.search = cases[i].search},
			 (exs_http_jobs_options){.search_timeout = cases[i].search.hang ? 0.1 : 0});
		CHECK_INT(exs_future_wait(f[0], EXS_FOREVER), 0);
		CHECK_INT(exs_future_wait(f[1], EXS_FOREVER), 0);
		CHECK(exs_future_error(f[0]) == exs_future_error(f[1]));
		check_error(f[0], cases[i].domain, cases[i].code, cases[i].part);
		check_error(f[1], cases[i].domain, cases[i].code, cases[i].part);
		wait_seen(&c, 2);
		forget_seen(&c);
		f[0] = submit(&c, "3"); /* the rest go on */
		f[1] = submit(&c, "4");
		wait_seen(&c, 2);
		advance(&c, INTERVAL);
		check_finished(f[0], 3, "3");
		check_finished(f[1], 4, "4");
		chain_end(&c);
	}
}

TEST(jobs, failed_searches_in_a_row_are_tolerated)
{
	struct chain c;
	exs_future *f[2];

	two_jobs(&c, f, (struct job_service_faults){.search.fail = 2}, (exs_http_jobs_options){.tolerate = 2});
	for (size_t i = 1; i < 3; i++) {
		CHECK(job_service_wait_searches(c.w.service, i, LONG));
		advance(&c, INTERVAL);
	}
	check_finished(f[0], 1, "1");
	check_finished(f[1], 2, "2");
	CHECK(logged(&c, "tolerated (2 of 2 in a row): HTTP 500"));
	chain_end(&c);
}

TEST(jobs, one_failed_search_too_many)
{
	struct chain c;
	exs_future *f[2];

	two_jobs(&c, f, (struct job_service_faults){.search.fail = 2}, (exs_http_jobs_options){.tolerate = 1});
	CHECK(job_service_wait_searches(c.w.service, 1, LONG));
	advance(&c, INTERVAL);
	check_error(f[0], &exs_domain_http, 500, "/tasks/search");
	check_error(f[1], &exs_domain_http, 500, "/tasks/search");
	chain_end(&c);
}

TEST(jobs, a_search_with_retry_after_waits_longer)
{
	struct chain c;
	exs_future *f[2];
	struct job_service_faults faults = {.search = {.fail = 1, .status = 503, .retry_after = "30"}};

	two_jobs(&c, f, faults, (exs_http_jobs_options){.tolerate = 1});
	CHECK(job_service_wait_searches(c.w.service, 1, LONG));
	CHECK_INT(exs_clock_wait_armed(c.clock, 1, LONG), 0);
	CHECK(exs_clock_next(c.clock) == 30);
	exs_clock_advance(c.clock, 30);
	check_finished(f[0], 1, "1");
	check_finished(f[1], 2, "2");
	chain_end(&c);
}

TEST(jobs, tasks_missing_from_the_answer_fail)
{
	struct chain c;
	exs_future *f[2];

	two_jobs(&c, f, (struct job_service_faults){.search_omit = 1}, (exs_http_jobs_options){0});
	check_error(f[0], &exs_domain_jobs, EXS_JOBS_EUNKNOWN, "task 1: the service does not know it");
	check_finished(f[1], 2, "2");
	chain_end(&c);
}

TEST(jobs, tasks_not_asked_for_or_given_twice)
{
	struct chain c;
	exs_future *f[2];

	two_jobs(&c, f, (struct job_service_faults){.search_extra = 1, .search_twice = 1}, (exs_http_jobs_options){0});
	check_finished(f[0], 1, "1");
	check_finished(f[1], 2, "2");
	exs_executor_free(c.ex); /* the poll is over */
	c.ex = NULL;
	CHECK(logged(&c, "1 not asked for, 2 twice, 0 without a task_id"));
	chain_end(&c);
}

TEST(jobs, an_unknown_state_fails_its_task)
{
	struct chain c;
	exs_future *f[2];

	two_jobs(&c, f, (struct job_service_faults){.search_odd_state = 1}, (exs_http_jobs_options){0});
	check_error(f[0], &exs_domain_jobs, EXS_JOBS_ESTATE, "task 1: unknown state \"paused?\"");
	check_error(f[1], &exs_domain_jobs, EXS_JOBS_ESTATE, "task 2: unknown state \"paused?\"");
	chain_end(&c);
}

TEST(jobs, canned_answers_to_search)
{
	static const struct {
		const char *bytes, *part;
		int code;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\n\r\n[{\"task_id\":1}]", "gives no state", EXS_JOBS_ESTATE},
		{"HTTP/1.1 200 OK\r\n\r\n[{\"task_id\":1,\"state\":7}]", "gives no state", EXS_JOBS_ESTATE},
		{"HTTP/1.1 200 OK\r\n\r\n[{\"task_id\":\"1\",\"state\":\"finished\"},1,null]", "does not know it",
		 EXS_JOBS_EUNKNOWN},
		{"HTTP/1.1 200 OK\r\n\r\n[{\"task_id\":1,\"state\":\"error\",\"error\":{}}]", "gives no reason",
		 EXS_JOBS_EFAILED},
		{"HTTP/1.1 200 OK\r\n\r\n", "it is empty", EXS_JOBS_EANSWER},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct canned s;
		struct chain c;
		canned_start(&s, cases[i].bytes, NULL);
		chain_begin(&c, (struct how){.url = s.url});
		check_error(exs_submit(c.ex, made_up, (void *)1), &exs_domain_jobs, cases[i].code, cases[i].part);
		chain_end(&c);
		canned_stop(&s);
	}
}

/* --- cancel --- */

TEST(jobs, cancel_goes_to_the_service)
{
	for (int one_by_one = 0; one_by_one < 2; one_by_one++) {
		struct chain c;
		chain_begin(&c, (struct how){.service = for_ever, .one_by_one = one_by_one});
		exs_future *f = submit(&c, "1");
		wait_seen(&c, 1);
		CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
		CHECK_INT(counts(&c.w).jobs_cancelled, 1);
		exs_future_unref(f);
		chain_end(&c);
	}
}

TEST(jobs, too_late_to_cancel_stays_pending)
{
	for (int one_by_one = 0; one_by_one < 2; one_by_one++) {
		struct chain c;
		chain_begin(&c, (struct how){.service = for_ever, .one_by_one = one_by_one});
		exs_future *f = submit(&c, "1");
		wait_seen(&c, 1);
		CHECK(job_service_finish(c.w.service, 1));
		CHECK(exs_future_cancel(f) != EXS_CANCELLED);
		advance(&c, INTERVAL);
		check_finished(f, 1, "1");
		CHECK_STR(c.log, "");
		chain_end(&c);
	}
}

TEST(jobs, a_cancel_that_fails_is_logged_and_refused)
{
	struct job_service_faults faults = {.cancel.fail = 1};
	struct chain c;

	chain_begin(&c, (struct how){.service = for_ever});
	exs_future *f = submit(&c, "1");
	wait_seen(&c, 1);
	job_service_set_faults(c.w.service, &faults);
	CHECK(exs_future_cancel(f) != EXS_CANCELLED);
	CHECK(logged(&c, "publish 1: task 1 is not cancelled: HTTP 500 from DELETE"));
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	exs_future_unref(f);
	chain_end(&c);
}

TEST(jobs, many_are_cancelled_in_parallel_and_in_bounded_time)
{
	enum { N = 60 };
	struct job_service_faults faults = {.cancel.hang = -1};
	exs_future *f[N];
	struct chain c;

	chain_begin(&c, (struct how){.service = for_ever, .jobs.cancel_timeout = 0.3, .least = N});
	for (int i = 0; i < N; i++)
		f[i] = submit(&c, "1");
	wait_seen(&c, N);
	job_service_set_faults(c.w.service, &faults);
	CHECK_INT(exs_future_cancel_all(f, N), 0);
	CHECK(counts(&c.w).cancels <= 16); /* it has given up after the first of them */
	job_service_set_faults(c.w.service, NULL);
	CHECK_INT(exs_future_cancel_all(f, N), N);
	CHECK_INT(counts(&c.w).jobs_cancelled, N);
	for (int i = 0; i < N; i++)
		exs_future_unref(f[i]);
	chain_end(&c);
}

TEST(jobs, a_timeout_cancels_at_the_service)
{
	struct chain c;

	chain_begin(&c, (struct how){.service = for_ever, .timeout = 100});
	exs_future *f = submit(&c, "1");
	wait_seen(&c, 1);
	exs_clock_advance(c.clock, 100);
	check_error(f, &exs_domain_exs, EXS_ETIMEDOUT, "");
	CHECK_INT(counts(&c.w).jobs_cancelled, 1);
	chain_end(&c);
}

TEST(jobs, freeing_the_chain_cancels_at_the_service)
{
	struct chain c;

	chain_begin(&c, (struct how){.service = for_ever, .least = 3});
	exs_future *f[3];
	for (int i = 0; i < 3; i++)
		f[i] = submit(&c, "1");
	wait_seen(&c, 3);
	exs_executor_free(c.ex);
	c.ex = NULL;
	for (int i = 0; i < 3; i++) {
		CHECK_INT(exs_future_state(f[i]), EXS_STATE_CANCELLED);
		exs_future_unref(f[i]);
	}
	CHECK_INT(counts(&c.w).jobs_cancelled, 3);
	chain_end(&c);
}

/* --- memory: the allocations of core, executors-http, libcurl and jansson fail
   in turn. The first two are linked with
   --wrap, see CMakeLists.txt; the others ask these functions. --- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *ptr, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *ptr, size_t size);
char *__wrap_strdup(const char *text);

static const double SHORT = 0.3;
static atomic_long until_failure; /* 1: the next; 0 or less: none */
static atomic_bool failed;

static bool fails(void)
{
	if (atomic_load(&until_failure) <= 0 || atomic_fetch_sub(&until_failure, 1) != 1)
		return false;
	atomic_store(&failed, true);
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *ptr, size_t size)
{
	return fails() ? NULL : __real_realloc(ptr, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

/* Before anything else uses libcurl. */
__attribute__((constructor)) static void hook_libraries(void)
{
	CHECK(!curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, free, __wrap_realloc, __wrap_strdup,
				    __wrap_calloc));
	json_set_alloc_funcs(__wrap_malloc, free);
}

/* An HTTP client and a job client; false when memory was short. With short
   timeouts: libcurl 7.88 loses some requests when it finds no memory while it
   sends, and would wait for ever. */
static bool clients_new(const char *url, exs_http_client **client, exs_http_jobs **jobs)
{
	const exs_http_client_options options = {.proxy = ""};
	const exs_http_jobs_options short_ones = {.search_timeout = SHORT, .cancel_timeout = SHORT};
	exs_error *error = NULL;

	*jobs = NULL;
	*client = exs_http_client_new(&options, &error);
	if (*client)
		*jobs = exs_http_jobs_new(*client, url, &short_ones, &error);
	CHECK(*jobs || exs_error_is(error, &exs_domain_exs, EXS_ENOMEM) ||
	      exs_error_is(error, &exs_domain_exs, EXS_EINVAL)); /* libcurl could not parse the URL */
	exs_error_unref(error);
	return *jobs;
}

static atomic_bool open_gate;

static exs_error *poll_when_open(void *jobs, exs_descriptor **d, size_t n, double *delay)
{
	return atomic_load(&open_gate) ? exs_http_jobs_poll(jobs, d, n, delay) : NULL;
}

/* Publishes on this thread, and searches afterwards, so that each allocation has its place in the order. */
static exs_executor *inline_chain(exs_http_jobs *jobs)
{
	exs_retry_options retry = {.sleep = EXS_NONE};
	exs_poll_options poll = {.interval = 0.001, .cancel_many = exs_http_jobs_cancel_many};

	retry.codes = exs_http_retry_codes(&retry.n_codes);
	exs_executor *ex = exs_with_retry(exs_inline(), &retry);
	ex = exs_with_poll(ex, poll_when_open, exs_http_jobs_cancel, jobs, &poll);
	return exs_with_timeout(ex, SHORT);
}

static void publish_two(const char *url)
{
	exs_http_client *client;
	exs_http_jobs *jobs;
	exs_future *f[2] = {NULL, NULL};
	exs_executor *ex = clients_new(url, &client, &jobs) ? inline_chain(jobs) : NULL;

	for (int i = 0; ex && i < 2; i++)
		f[i] = exs_http_jobs_submit(ex, jobs, "an object");
	atomic_store(&open_gate, true);
	for (int i = 0; i < 2; i++) {
		CHECK(!f[i] || !exs_future_wait(f[i], EXS_FOREVER));
		exs_future_unref(f[i]);
	}
	exs_executor_free(ex);
	exs_http_jobs_free(jobs);
	exs_http_client_free(client);
}

static exs_error *poll_never(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)d, (void)n, (void)delay;
	return NULL;
}

static void cancel_two(const char *url)
{
	exs_poll_options poll = {.interval = 3600, .cancel_many = exs_http_jobs_cancel_many};
	exs_http_client *client;
	exs_http_jobs *jobs;
	exs_future *f[2] = {NULL, NULL};
	exs_executor *ex = NULL;

	if (clients_new(url, &client, &jobs))
		ex = exs_with_poll(exs_inline(), poll_never, NULL, jobs, &poll);
	for (int i = 0; ex && i < 2; i++)
		f[i] = exs_http_jobs_submit(ex, jobs, "an object");
	exs_future_cancel_all(f, 2); /* some may stay pending: freeing the chain takes these */
	exs_executor_free(ex);
	for (int i = 0; i < 2; i++) {
		CHECK(!f[i] || exs_future_is_done(f[i]));
		exs_future_unref(f[i]);
	}
	exs_http_jobs_free(jobs);
	exs_http_client_free(client);
}

/* Until n is beyond the last, in several runs: their lengths differ a little.
 */
static void fail_each(const char *url, void (*scenario)(const char *url))
{
	long n = 0;

	for (int unreached = 0; unreached < 5; n++) {
		CHECK(n < 100000);
		atomic_store(&open_gate, false);
		atomic_store(&failed, false);
		atomic_store(&until_failure, n + 1);
		scenario(url);
		atomic_store(&until_failure, 0);
		unreached = atomic_load(&failed) ? 0 : unreached + 1;
	}
	CHECK(n > 100);
	printf("%ld allocations have failed in turn\n", n - 5);
}

TEST(jobs, every_allocation_may_fail)
{
	struct canned c;

	canned_start(&c, "HTTP/1.1 200 OK\r\n\r\n{\"task_id\":1}",
		     "HTTP/1.1 200 OK\r\n\r\n[{\"task_id\":1,\"state\":\"finished\"}]");
	fail_each(c.url, publish_two);
	fail_each(c.url, cancel_two);
	canned_stop(&c);
}
