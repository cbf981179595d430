/* What the files of executors-http share. */
#ifndef EXSI_HTTP_HTTP_H
#define EXSI_HTTP_HTTP_H

#include <curl/curl.h>
#include <executors/http.h>
#include <signal.h>

/* --- options.c --- */

/* Copies an options struct of `size` bytes (options may be NULL) into one of `known` bytes, the rest zero. false: it has
   bytes set that this library does not know. */
bool exsi_http_options(void *out, size_t known, const void *options, size_t size);

/* Seconds and counts of options: 0 means `otherwise`, EXS_NONE 0, EXS_UNLIMITED without limit. */
double exsi_http_seconds(double given, double otherwise);
size_t exsi_http_count(size_t given, size_t otherwise);
bool exsi_http_is_duration(double seconds);

/* New string, formatted as by printf; NULL when memory is short. */
char *exsi_http_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Hands a new error out through *error, or drops it where nobody asked. */
void exsi_http_give(exs_error **error, exs_error *given);

/* Whether what follows on this thread may raise SIGPIPE; it is swallowed (TLS libraries write without MSG_NOSIGNAL). */
struct exsi_http_sigpipe {
	sigset_t old;
	bool pending;
};
void exsi_http_sigpipe_hold(struct exsi_http_sigpipe *held);
void exsi_http_sigpipe_release(struct exsi_http_sigpipe *held);

/* --- errors.c --- */

exs_error *exsi_http_no_memory(void);

/* New copy of a URL without user and password, for people; NULL when memory is short. */
char *exsi_http_shown_url(const char *url);

/* --- transfer.c: one request on one easy handle --- */

struct exsi_http_setup {
	double connect_timeout;
	size_t max_body;
	char *user_agent, *proxy; /* proxy: or NULL */
};

struct exsi_http_transfer {
	CURL *easy;
	struct curl_slist *headers;
	char *method, *url;
	char *body; /* of the answer; room bytes */
	size_t size, room, max_body;
	CURLcode rc; /* the first option that could not be set */
	unsigned sends;
	bool repeatable, over, no_memory;
	bool active;			 /* in its session's multi handle */
	size_t index;			 /* of the request, in its batch */
	double timeout, grace, deadline; /* deadline: on the real clock */
	char text[CURL_ERROR_SIZE];
};

/* New one, or NULL when memory is short. */
struct exsi_http_transfer *exsi_http_transfer_new(void);
void exsi_http_transfer_free(struct exsi_http_transfer *t);

/* Prepares the easy handle for a request. NULL, or why it can't be sent. */
exs_error *exsi_http_transfer_begin(struct exsi_http_transfer *t, const struct exsi_http_setup *setup,
				    const exs_http_request *request);

/* What became of it: rc is libcurl's answer, or `cut`, a code of the library, says why it was ended early. Fills *response and
   answers NULL or a new error. */
exs_error *exsi_http_transfer_end(struct exsi_http_transfer *t, CURLcode rc, int cut, exs_http_response *response);

/* --- session.c: a multi handle with its connections, used by one thread at a time --- */

enum { EXSI_HTTP_PARALLEL_MAX = 64 };

struct exsi_http_session {
	exs_http_client *client;
	CURLM *multi;
	struct exsi_http_transfer *slots[EXSI_HTTP_PARALLEL_MAX]; /* made when first needed */
	_Atomic int stop;					  /* 0, or the code with which requests are to end */
	struct exsi_http_session *prev, *next; /* in the client's list of idle or of busy ones; guarded by its lock */
};

/* An idle or a new session for `parallel` requests at a time; NULL and *error on failure. */
struct exsi_http_session *exsi_http_session_open(exs_http_client *client, size_t parallel, exs_error **error);
void exsi_http_session_close(struct exsi_http_session *session, size_t parallel);
const struct exsi_http_setup *exsi_http_session_setup(const struct exsi_http_session *session);

/* Wakes the session's thread, and has it end its requests with EXS_ECANCELLED: an on_cancel handler. */
void exsi_http_session_cancel(void *session);

/* --- run.c: requests through one session --- */

struct exsi_http_batch {
	exs_http_client *client;
	exs_context *ctx;   /* or NULL */
	size_t n, parallel; /* parallel <= EXSI_HTTP_PARALLEL_MAX */
	double quiet;	    /* seconds without an answer to any after which all that are left have failed */
	void *arg;
	/* Prepares request i, which lives until the next call; false when memory is short. */
	bool (*request)(void *arg, size_t i, exs_http_request *request);
	/* Called once for each i, in no order; takes over the error and the response. */
	void (*done)(void *arg, size_t i, exs_error *error, exs_http_response *response);
};

/* Makes all requests. Blocks, on the calling thread. */
void exsi_http_run(const struct exsi_http_batch *batch);

#endif
