/* The client, and its sessions: multi handles with their connections, each used by one thread at a time. */
#define _GNU_SOURCE
#include "http/http.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct exs_http_client {
	struct exsi_http_setup setup; /* constant */
	size_t max_idle;	      /* constant */
	pthread_mutex_t lock;	      /* guards all below; no user code under it */
	struct exsi_http_session *idle, *busy;
	size_t n_idle;
	bool stopped;
};

/* --- the client --- */

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_rc;

static void global_init(void)
{
	global_rc = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static exs_error *fill(exs_http_client *c, const exs_http_client_options *o)
{
	pthread_once(&global_once, global_init);
	if (global_rc)
		return exs_error_new(&exs_domain_curl, global_rc, "libcurl can't be set up: %s",
				     curl_easy_strerror(global_rc));
	c->setup.connect_timeout = exsi_http_seconds(o->connect_timeout, 10);
	c->setup.max_body = exsi_http_count(o->max_body, (size_t)64 << 20);
	c->setup.user_agent = strdup(o->user_agent ? o->user_agent : "libexecutors/" EXS_VERSION);
	c->setup.proxy = o->proxy ? strdup(o->proxy) : NULL;
	c->max_idle = exsi_http_count(o->max_idle, 64);
	return c->setup.user_agent && (!o->proxy || c->setup.proxy) ? NULL : exsi_http_no_memory();
}

static const char *check(const exs_http_client_options *o)
{
	if (!exsi_http_is_duration(o->connect_timeout))
		return "connect_timeout: seconds, 0 or more";
	if (o->user_agent && strpbrk(o->user_agent, "\r\n"))
		return "a line break in user_agent";
	return NULL;
}

exs_http_client *exs_http_client_new_sized(const exs_http_client_options *options, size_t size, exs_error **error)
{
	exs_http_client_options o;
	const char *wrong =
		exsi_http_options(&o, sizeof(o), options, size) ? check(&o) : "options that this library does not know";

	if (wrong) {
		exsi_http_give(error, exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_http_client_new: %s", wrong));
		return NULL;
	}
	exs_http_client *c = calloc(1, sizeof(*c));
	if (!c) {
		exsi_http_give(error, exsi_http_no_memory());
		return NULL;
	}
	pthread_mutex_init(&c->lock, NULL);
	exs_error *failed = fill(c, &o);
	if (!failed)
		return c;
	exs_http_client_free(c);
	exsi_http_give(error, failed);
	return NULL;
}

static void wake(struct exsi_http_session *s, int code)
{
	int none = 0;

	atomic_compare_exchange_strong(&s->stop, &none, code);
	curl_multi_wakeup(s->multi);
}

void exs_http_client_stop(exs_http_client *client)
{
	if (!client)
		return;
	pthread_mutex_lock(&client->lock);
	client->stopped = true;
	for (struct exsi_http_session *s = client->busy; s; s = s->next) {
		atomic_store(&s->stop, EXS_ESHUTDOWN); /* also where a grace runs */
		wake(s, EXS_ESHUTDOWN);
	}
	pthread_mutex_unlock(&client->lock);
}

static void session_free(struct exsi_http_session *s)
{
	struct exsi_http_sigpipe held;

	exsi_http_sigpipe_hold(&held);
	for (size_t i = 0; i < EXSI_HTTP_PARALLEL_MAX; i++)
		exsi_http_transfer_free(s->slots[i]);
	curl_multi_cleanup(s->multi);
	exsi_http_sigpipe_release(&held);
	free(s);
}

void exs_http_client_free(exs_http_client *client)
{
	struct exsi_http_session *s, *next;

	if (!client)
		return;
	for (s = client->idle; s; s = next) {
		next = s->next;
		session_free(s);
	}
	pthread_mutex_destroy(&client->lock);
	free(client->setup.user_agent);
	free(client->setup.proxy);
	free(client);
}

/* --- sessions --- */

static void link_to(struct exsi_http_session **list, struct exsi_http_session *s)
{
	s->prev = NULL;
	s->next = *list;
	if (*list)
		(*list)->prev = s;
	*list = s;
}

static void unlink_from(struct exsi_http_session **list, struct exsi_http_session *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		*list = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

static struct exsi_http_session *session_new(exs_http_client *client)
{
	struct exsi_http_session *s = calloc(1, sizeof(*s));

	if (!s || !(s->multi = curl_multi_init())) {
		free(s);
		return NULL;
	}
	s->client = client;
	atomic_init(&s->stop, 0);
	return s;
}

/* The one used last comes first, since its connection is the least likely to have been closed. */
static struct exsi_http_session *take_idle(exs_http_client *client)
{
	pthread_mutex_lock(&client->lock);
	struct exsi_http_session *s = client->idle;
	if (s) {
		unlink_from(&client->idle, s);
		client->n_idle--;
	}
	pthread_mutex_unlock(&client->lock);
	return s;
}

/* false: the client was stopped. */
static bool enter(exs_http_client *client, struct exsi_http_session *s)
{
	pthread_mutex_lock(&client->lock);
	bool stopped = client->stopped;
	if (!stopped)
		link_to(&client->busy, s);
	pthread_mutex_unlock(&client->lock);
	return !stopped;
}

struct exsi_http_session *exsi_http_session_open(exs_http_client *client, size_t parallel, exs_error **error)
{
	struct exsi_http_session *s = take_idle(client);

	if (!s && !(s = session_new(client))) {
		*error = exsi_http_no_memory();
		return NULL;
	}
	atomic_store(&s->stop, 0);
	curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, (long)parallel);
	if (enter(client, s))
		return s;
	session_free(s);
	*error = exs_error_new(&exs_domain_exs, EXS_ESHUTDOWN, "the HTTP client was stopped");
	return NULL;
}

/* One that was used for many requests at a time is not kept: it would hold as many connections. */
void exsi_http_session_close(struct exsi_http_session *s, size_t parallel)
{
	exs_http_client *client = s->client;

	pthread_mutex_lock(&client->lock);
	unlink_from(&client->busy, s);
	bool keep = parallel == 1 && client->n_idle < client->max_idle && !client->stopped;
	if (keep) {
		link_to(&client->idle, s);
		client->n_idle++;
	}
	pthread_mutex_unlock(&client->lock);
	if (!keep)
		session_free(s);
}

const struct exsi_http_setup *exsi_http_session_setup(const struct exsi_http_session *session)
{
	return &session->client->setup;
}

void exsi_http_session_cancel(void *session)
{
	wake(session, EXS_ECANCELLED);
}
