/* What the files of the job client share. */
#ifndef EXSI_HTTP_JOBS_H
#define EXSI_HTTP_JOBS_H

#include "http/http.h"

#include <jansson.h>

struct exs_http_jobs {
	exs_http_client *client;
	char *base;			  /* the service's URL, without a slash at its end */
	char *shown;			  /* the same for people: without a password */
	exs_http_jobs_options options;	  /* defaults filled in; constant */
	char key[33];			  /* of this client, random; the beginning of all Idempotency-Keys */
	_Atomic unsigned long long calls; /* numbers the keys */
	/* Of the poll thread: */
	double searched;       /* when the last search ended */
	unsigned failed_polls; /* in a row */
};

/* New task; NULL when memory is short. */
exs_http_task *exsi_http_task_new(int64_t task_id, const char *object);

/* Cancels a job at the service. NULL, or a new error. Blocks. */
exs_error *exsi_http_jobs_delete(exs_http_jobs *jobs, int64_t task_id);

/* Parses the body of a 2xx answer as JSON of a type. NULL and *error, an EXS_JOBS_EANSWER that begins with `what`, if it is
   not; the caller's. */
json_t *exsi_http_jobs_parse(const exs_http_response *response, json_type type, const char *what, exs_error **error);

void exsi_http_jobs_log(exs_http_jobs *jobs, exs_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
