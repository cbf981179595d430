/* executors-http: blocking HTTP requests that a cancel wakes, and a client of a job service for publish, poll and cancel.
   A library of its own, on libcurl and jansson. Its functions hand out errors directly, not through exs_last_error. */
#ifndef EXECUTORS_HTTP_H
#define EXECUTORS_HTTP_H

#include <executors/clock.h>
#include <executors/executor.h>
#include <executors/poll.h>
#include <executors/retry.h>

#ifdef __cplusplus
extern "C" {
#endif

EXS_API extern const exs_domain exs_domain_curl; /* codes: CURLcode */
EXS_API extern const exs_domain exs_domain_http; /* codes: the status of an answer that is not 2xx */
EXS_API extern const exs_domain exs_domain_jobs; /* codes: exs_jobs_code */

/* --- requests --- */

typedef struct exs_http_client exs_http_client;

/* 0 or NULL is the default. */
typedef struct exs_http_client_options {
	double connect_timeout; /* 10 s, name look-up included; EXS_UNLIMITED */
	size_t max_body;	/* bytes of an answer's body: 64 MiB; EXS_NONE, EXS_UNLIMITED */
	size_t max_idle;	/* connections kept for later requests: 64; EXS_NONE, EXS_UNLIMITED */
	const char *user_agent; /* "libexecutors/VERSION"; no line breaks; copied */
	const char *proxy; /* a URL; "": none; NULL: what the environment says (http_proxy, no_proxy ...); copied */
} exs_http_client_options;

/* New client, for any number of threads; made for requests to one service, since an idle connection is not looked for by
   host. Sets libcurl up, once for the life of the process. NULL, and in *error (may be NULL) a new error, on failure. */
EXS_API exs_http_client *exs_http_client_new_sized(const exs_http_client_options *options, size_t size,
						   exs_error **error);

static inline exs_http_client *exs_http_client_new(const exs_http_client_options *options, exs_error **error)
{
	return exs_http_client_new_sized(options, sizeof(*options), error);
}

/* Ends the requests under way, which fail with EXS_ESHUTDOWN, as do all later ones. For the end of a program: it frees
   the poll thread from a service that does not answer. MT-safe, does not block. NULL is allowed. */
EXS_API void exs_http_client_stop(exs_http_client *client);

/* Closes the idle connections and frees the client. No request may be under way. NULL is allowed. */
EXS_API void exs_http_client_free(exs_http_client *client);

/* All borrowed until the answer; 0 or NULL is the default. */
typedef struct exs_http_request {
	const char *method;	    /* GET */
	const char *url;	    /* http or https; sent as it is, so escape what you put into it */
	const char *const *headers; /* "Name: value", NULL at the end; no line breaks */
	const char *content_type;   /* of the body; none */
	const void *body;
	size_t body_size;
	double timeout; /* seconds for all of it; 0: no limit but the task's own */
	double grace;	/* seconds for an answer still to come once the task is asked to stop; 0: none, ends at once */
	bool repeatable; /* may be sent once more, by libcurl, if a reused connection turns out to be closed: GET, HEAD, PUT and
			    DELETE always are, a POST is not unless this is set */
} exs_http_request;

typedef struct exs_http_response {
	int status;  /* 0: no answer began */
	char *body;  /* owned; NULL if empty, otherwise terminated by a 0 byte that is not counted */
	size_t size; /* bytes */
} exs_http_response;

/* Sends a request and waits for the whole answer. NULL for an answer of status 2xx; otherwise a new error, with *response
   empty but for the status:
     exs_domain_http   another status, with the hint of its Retry-After; redirects are not followed
     exs_domain_curl   no or a broken answer; CURLE_FILESIZE_EXCEEDED: a body over the limit, which is not read further
     exs_domain_exs    EXS_ECANCELLED: the task ctx was asked to stop; EXS_ETIMEDOUT: request->timeout or the task's deadline
		       has passed; EXS_ESHUTDOWN, EXS_EINVAL, EXS_ENOMEM
   Messages name method and URL, without a password. ctx, the context of the task that makes the request, may be NULL: then no
   cancel reaches it. Blocks; a cancel wakes it at once. Raises no SIGPIPE. MT-safe. */
EXS_API exs_error *exs_http_perform_sized(exs_http_client *client, exs_context *ctx, const exs_http_request *request,
					  size_t size, exs_http_response *response);

static inline exs_error *exs_http_perform(exs_http_client *client, exs_context *ctx, const exs_http_request *request,
					  exs_http_response *response)
{
	return exs_http_perform_sized(client, ctx, request, sizeof(*request), response);
}

/* Frees the body and leaves an empty response. NULL is allowed. */
EXS_API void exs_http_response_clear(exs_http_response *response);

/* What is worth another attempt: status 429 and 5xx, connections that could not be made or broke, EXS_ETIMEDOUT. Static,
   *n codes (n may be NULL); for exs_retry_options. */
EXS_API const exs_retry_code *exs_http_retry_codes(size_t *n);

/* --- a job service ---
   POST /object/ID/publish        -> {"task_id": 123}
   DELETE /tasks/123              cancels
   POST /tasks/search {"task_id": [123, 456]} -> [{"task_id": 123, "state": "finished"}, {"task_id": 456, "state": "error",
						  "error": "..."}]

     ex = exs_thread_pool(4);
     ex = exs_with_retry(ex, &retry);			retry.codes = exs_http_retry_codes(&retry.n_codes)
     ex = exs_with_poll(ex, exs_http_jobs_poll, exs_http_jobs_cancel, jobs, &poll);
							poll.cancel_many = exs_http_jobs_cancel_many
     ex = exs_with_timeout(ex, 30.0);
     future = exs_http_jobs_submit(ex, jobs, "20");	its value: an exs_http_task */

typedef enum exs_jobs_code {
	EXS_JOBS_EANSWER = 1,	 /* an answer of status 2xx that can't be used; to a publish: the job may exist */
	EXS_JOBS_EFAILED = 2,	 /* the job ended in error */
	EXS_JOBS_ECANCELLED = 3, /* the job was cancelled at the service, by somebody else */
	EXS_JOBS_EUNKNOWN = 4,	 /* the service does not know the task (any more) */
	EXS_JOBS_ESTATE = 5	 /* the service gave a state that this client does not know */
} exs_jobs_code;

/* The value of a published and of a finished job. */
typedef struct exs_http_task {
	int64_t task_id;
	const char *object; /* lives as long as the task */
} exs_http_task;

typedef struct exs_http_jobs exs_http_jobs;

/* 0 or NULL is the default. */
typedef struct exs_http_jobs_options {
	double search_timeout; /* 30 s for the answer to a search; EXS_UNLIMITED */
	double cancel_timeout; /* 5 s for the answer to a DELETE, and of cancel_many without any answer; EXS_UNLIMITED */
	double stop_grace;     /* 0.5 s for the answer to a publish under way that is asked to stop; EXS_NONE */
	unsigned tolerate;     /* failed polls in a row that fail nobody: 0 */
	unsigned cancel_parallel; /* DELETE requests at a time in cancel_many: 16; at most 64 */
	exs_clock *clock;	  /* of the chain: spaces the searches; NULL: the real one; borrowed until the free */
	exs_log_fn *log;	  /* what nobody else is told: cancels that failed, odd answers; may be NULL */
	void *log_ctx;
} exs_http_jobs_options;

/* New client of the service at url, e.g. "http://host:8080/api", for one poll executor; the HTTP client is borrowed until the
   free. NULL, and in *error (may be NULL) a new error, on failure: EXS_EINVAL if url is not an http or https URL, or has
   a query or fragment. */
EXS_API exs_http_jobs *exs_http_jobs_new_sized(exs_http_client *client, const char *url,
					       const exs_http_jobs_options *options, size_t size, exs_error **error);

static inline exs_http_jobs *exs_http_jobs_new(exs_http_client *client, const char *url,
					       const exs_http_jobs_options *options, exs_error **error)
{
	return exs_http_jobs_new_sized(client, url, options, sizeof(*options), error);
}

/* Frees it, after the executors and publishes that use it. NULL is allowed. */
EXS_API void exs_http_jobs_free(exs_http_jobs *jobs);

/* Submits the publish of an object, as a task called "publish OBJECT". Answers as exs_submit; jobs or object
   NULL, or object empty: a future with EXS_EINVAL. */
EXS_API exs_future *exs_http_jobs_submit(exs_executor *ex, exs_http_jobs *jobs, const char *object);

/* The same in two steps. New argument for exs_http_jobs_publish, to be freed by exs_http_publish_free (the task's
   arg_free; NULL is allowed); NULL when memory is short, and for jobs or object NULL, or object empty. It holds the
   Idempotency-Key of one call, which stays the same over its attempts. */
typedef struct exs_http_publish exs_http_publish;
EXS_API exs_http_publish *exs_http_publish_new(exs_http_jobs *jobs, const char *object);
EXS_API void exs_http_publish_free(void *publish);

/* The task: publishes the object and answers an exs_http_task. A 2xx answer from which no 64-bit task_id can be read is
   EXS_JOBS_EANSWER, which exs_http_retry_codes leaves out. If the task is asked to stop and the answer comes within
   stop_grace, the job is cancelled at the service, and the task answers cancelled; without an answer the job may exist.
   Blocks. */
EXS_API exs_result exs_http_jobs_publish(void *publish, exs_context *ctx);

/* The poll function, ctx the exs_http_jobs: asks for all pending tasks in one search (more than 10,000: in several), not
   before *delay seconds after the last; called earlier, because another job joined, it waits for the rest.
     finished           the value is an exs_http_task
     error              EXS_JOBS_EFAILED with the service's text
     cancelled          EXS_JOBS_ECANCELLED
     running, pending, queued           stays pending
     another state      EXS_JOBS_ESTATE
     not in the answer  EXS_JOBS_EUNKNOWN
   An entry given twice counts the first time; entries that were not asked for or have no usable task_id are left out and
   logged. A search that fails fails those it asked for, unless the options tolerate it; a Retry-After then delays the
   next. */
EXS_API exs_error *exs_http_jobs_poll(void *jobs, exs_descriptor **d, size_t n, double *delay);

/* The cancel functions: DELETE, many of them in parallel. 2xx: cancelled. 409: too late, stays pending. Anything else, and no
   answer within cancel_timeout: logged, stays pending. Block. */
EXS_API bool exs_http_jobs_cancel(void *jobs, void *task, exs_error **error);
EXS_API void exs_http_jobs_cancel_many(void *jobs, exs_descriptor **d, size_t n);

#ifdef __cplusplus
}
#endif
#endif
