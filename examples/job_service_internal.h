/* job_service_internal.h - what the two halves of the job service share: the service, its jobs and its requests. */
#ifndef JOB_SERVICE_INTERNAL_H
#define JOB_SERVICE_INTERNAL_H

#include "job_service.h"

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>

enum route { PUBLISH, SEARCH, GET, CANCEL, ELSEWHERE, STRAY };

enum outcome { OPEN, ANSWERED, DROPPED, HUNG, LEFT };

struct job {
	double due; /* monotonic seconds */
	bool cancelled;
	json_t *error; /* owned; NULL for a job that succeeds */
};

/* A request belongs to the thread of its connection; outcome and status change under the lock only, for the log, whose
 * entry it remains when it is over. */
struct request {
	struct request *next; /* in the log */
	struct job_service *service;
	enum route route;
	enum outcome outcome;
	double start;		   /* seconds since that of the service */
	char *method, *path, *key; /* key is NULL without an Idempotency-Key */
	char *body;
	size_t body_size;
	bool under_way; /* neither answered nor over */

	unsigned status;
	char *text;			   /* of the answer's body; NULL: none */
	const char *header, *header_value; /* an additional one, or NULL */
	char retry_after[40];
	bool chunked;
	uint64_t blanks; /* ahead of the text */
	double deadline; /* monotonic, of the answer; INFINITY: never, 0: now */
};

struct job_service {
	struct MHD_Daemon *daemon;
	int stopping; /* eventfd, readable from the stop on */
	char url[32];
	struct job_service_options options; /* constant, save for faults */
	double start;

	pthread_mutex_t lock;	/* guards all below, and the faults */
	pthread_cond_t changed; /* broadcast at each unlock: counts may have changed */
	struct job_service_counts counts;
	struct job *jobs; /* that of id first_id + i at [i] */
	size_t jobs_size, jobs_capacity;
	json_t *key_uses;  /* Idempotency-Key -> number of publish requests */
	json_t *key_tasks; /* Idempotency-Key -> task id */
	unsigned short random[3];
	struct request *log, **log_end;
};

/* Monotonic seconds. */
double job_service_now(void);

/* Finds the job of an id, or NULL. Under the lock. */
struct job *job_service_job(struct job_service *service, int64_t id);

enum route job_service_route(const char *method, const char *path);

/* Does the work of a request that has been read, or what its faults say, and fills in its answer. Under the lock. */
void job_service_decide(struct request *request);

#endif
