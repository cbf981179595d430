/* The HTTP server: a thread for each connection, so that an answer may take its time. */
#define _GNU_SOURCE
#include "pages.h"
#include "harness.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILING_MAX = 1024 };

/* lock guards all that is not constant. */
struct pages {
	struct MHD_Daemon *daemon;
	char url[64];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t requests, held, used, most_ahead;
	unsigned failed[FAILING_MAX]; /* by ID */
	bool released, stopping;
};

/* --- answers --- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, char *data, size_t size)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(size, data, MHD_RESPMEM_MUST_FREE);

	CHECK(response);
	if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "0");
	enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result bytes(struct MHD_Connection *connection, size_t n, size_t id)
{
	char *data = malloc(n + 1);

	CHECK(data);
	for (size_t i = 0; i < n; i++)
		data[i] = pages_byte(id, i);
	return answer(connection, MHD_HTTP_OK, data, n);
}

static enum MHD_Result failing(struct pages *p, struct MHD_Connection *connection, size_t times, size_t id)
{
	char text[32];
	int size = snprintf(text, sizeof(text), "%zu\n", id);

	CHECK(id < FAILING_MAX);
	pthread_mutex_lock(&p->lock);
	bool fails = p->failed[id] < times;
	p->failed[id] += fails;
	pthread_mutex_unlock(&p->lock);
	return answer(connection, fails ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK, strdup(text), (size_t)size);
}

/* Until it is released, a late one, or the server stops. */
static void hold(struct pages *p, bool late)
{
	pthread_mutex_lock(&p->lock);
	p->held++;
	pthread_cond_broadcast(&p->changed);
	while (!p->stopping && !(late && p->released))
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

static void arrive(struct pages *p)
{
	pthread_mutex_lock(&p->lock);
	p->requests++;
	if (p->requests > p->used + p->most_ahead)
		p->most_ahead = p->requests - p->used;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static enum MHD_Result on_request(void *pages, struct MHD_Connection *connection, const char *path, const char *method,
				  const char *version, const char *data, size_t *size, void **state)
{
	static const char *const kinds[] = {"bytes", "late", "fail", "status", "hang"};
	struct pages *p = pages;
	char kind[16] = "";
	size_t a = 0, b = 0, i = 0;

	(void)method, (void)version, (void)data, (void)size, (void)state;
	CHECK(sscanf(path, "/%15[a-z]/%zu/%zu", kind, &a, &b) >= 2);
	while (i < 5 && strcmp(kinds[i], kind) != 0)
		i++;
	arrive(p);
	if (i == 1 || i == 4)
		hold(p, i == 1);
	switch (i) {
	case 0:
	case 1:
		return bytes(connection, a, b);
	case 2:
		return failing(p, connection, a, b);
	case 3:
		return answer(connection, (unsigned)a, strdup("no"), 2);
	case 4:
		return MHD_NO;
	default:
		return answer(connection, MHD_HTTP_NOT_FOUND, strdup("?"), 1);
	}
}

/* --- started, stopped --- */

struct pages *pages_start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct pages *p = calloc(1, sizeof(*p));

	CHECK(p);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	p->daemon = MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL, NULL,
				     on_request, p, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_END);
	CHECK(p->daemon);
	snprintf(p->url, sizeof(p->url), "http://127.0.0.1:%u",
		 MHD_get_daemon_info(p->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	return p;
}

void pages_stop(struct pages *p)
{
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	MHD_stop_daemon(p->daemon);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

const char *pages_url(const struct pages *p)
{
	return p->url;
}

/* --- what happened --- */

static void wait_for(struct pages *p, const size_t *what, size_t n)
{
	pthread_mutex_lock(&p->lock);
	while (*what < n) /* the watchdog bounds it */
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void pages_wait_requests(struct pages *p, size_t n)
{
	wait_for(p, &p->requests, n);
}

void pages_wait_held(struct pages *p, size_t n)
{
	wait_for(p, &p->held, n);
}

void pages_release(struct pages *p)
{
	pthread_mutex_lock(&p->lock);
	p->released = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

void pages_used(struct pages *p, size_t n)
{
	pthread_mutex_lock(&p->lock);
	p->used = n;
	pthread_mutex_unlock(&p->lock);
}

static size_t read_count(struct pages *p, const size_t *what)
{
	pthread_mutex_lock(&p->lock);
	size_t n = *what;
	pthread_mutex_unlock(&p->lock);
	return n;
}

size_t pages_most_ahead(struct pages *p)
{
	return read_count(p, &p->most_ahead);
}

size_t pages_requests(struct pages *p)
{
	return read_count(p, &p->requests);
}
