/* job_service.h - a small HTTP job service on a loopback address, which misbehaves on request.
 *
 *   POST   /object/ID/publish  200 {"task_id":123}; an Idempotency-Key seen before gives the earlier task
 *   GET    /tasks/ID           200 {"task_id":123,"state":"running|finished|error|cancelled"[,"error":"..."]}, 404
 *   DELETE /tasks/ID           204 and the job is cancelled; 409 when it has finished already; 404
 *   POST   /tasks/search       {"task_id":[123,...]} -> 200 [{"task_id":123,"state":"..."},...] for those known; 400
 *
 * Link with -lmicrohttpd -ljansson -lpthread. Every function here may be called from any thread, except that
 * job_service_stop() comes last; none runs code of the caller.
 */
#ifndef JOB_SERVICE_H
#define JOB_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct job_service;

/* What goes wrong on one route. An int is the number of requests it happens to: 0 none, N the next N, negative all.
 * Of the first group a request meets one at most, in the order given; it takes a count from that one only. */
struct job_service_route_faults {
	/* Instead of doing what was asked: */
	int drop;     /* closes the connection without an answer */
	int hang;     /* never answers */
	int fail;     /* answers `status` */
	int redirect; /* answers 302 with Location: /elsewhere (where counts.elsewhere counts the visits) */
	/* Having done it (made the job, cancelled it, ...): */
	int drop_after;	  /* closes the connection without an answer */
	int hang_after;	  /* never answers */
	int truncate;	  /* answers the first half of the JSON text, as a complete HTTP body */
	int wrong_type;	  /* answers an array in place of an object, an object in place of an array */
	int huge;	  /* answers `huge_bytes` blanks and then the right JSON text, never all in memory */
	int huge_chunked; /* the same, without a Content-Length */

	int status;	      /* for fail; 0: 500 */
	char retry_after[40]; /* for fail: the Retry-After header; empty: none */
	int64_t huge_bytes;   /* 0: 65 MiB */
	double latency;	      /* seconds from a request to its answer, of all requests; the work is done at once */
};

/* All zero: no fault. */
struct job_service_faults {
	struct job_service_route_faults publish;
	struct job_service_route_faults search;
	struct job_service_route_faults get;
	struct job_service_route_faults cancel; /* the DELETE requests */
	/* Publish, having made the job: */
	int publish_no_id;     /* {"status":"ok"} */
	int publish_string_id; /* {"task_id":"123"} */
	int publish_float_id;  /* {"task_id":123.0} */
	/* Search: */
	int search_omit;      /* leaves out every second task, beginning with the first */
	int search_extra;     /* adds an unknown task, first_id - 1, as finished */
	int search_twice;     /* gives each task twice */
	int search_odd_state; /* says "paused?" of each task */
};

/* All zero: the default. */
struct job_service_options {
	uint16_t port;			/* 0: a free one */
	double job_seconds;		/* a job's, from its creation; 0: 0.5; negative: until job_service_finish */
	double job_seconds_max;		/* above job_seconds: drawn uniformly between the two for each job */
	unsigned seed;			/* for that drawing */
	int64_t first_id;		/* first task id, at least 1; the following ones count up; 0: 1 */
	const char *const *bad_objects; /* NULL-terminated ids whose jobs end in error, as do those of all ids that
					  * contain "bad"; borrowed until the stop; NULL: no others */
	struct job_service_faults faults;
};

struct job_service_counts {
	size_t publishes, searches, gets, cancels; /* requests whose headers have arrived, whatever became of them */
	size_t elsewhere;			   /* requests that followed a redirect */
	size_t strays;				   /* requests for anything else; they get 404 */
	size_t jobs_created, jobs_cancelled;
	size_t publishing, publishing_max;	/* publish requests arrived, not yet answered or closed */
	size_t connections, connections_open;	/* TCP connections accepted in all; those still open */
	size_t search_ids_last, search_ids_max; /* ids in a search */
	size_t keys;				/* distinct Idempotency-Keys in publish requests */
	size_t key_repeats, key_repeats_max;	/* publishes with a key seen before: in all; most for one key */
	size_t replays;				/* publishes answered with the task an earlier one had made */
	size_t dropped, hung;			/* requests dropped or hung on purpose */
	size_t abandoned;			/* requests whose client left while they hung or waited */
};

/* Starts a service with its own threads. Returns a new one, or NULL with errno set. options may be NULL; not retained
 * but for bad_objects. */
struct job_service *job_service_start(const struct job_service_options *options);

/* Closes all connections, also with requests under way, and frees the service. Waits for its own threads only. NULL
 * does nothing. */
void job_service_stop(struct job_service *service);

/* Returns "http://127.0.0.1:PORT", borrowed until the stop. */
const char *job_service_url(const struct job_service *service);

/* Replaces all faults, counts included, for requests not yet read in full. NULL: no faults any more. Copied. */
void job_service_set_faults(struct job_service *service, const struct job_service_faults *faults);

/* Ends a running job now, a bad one in error. Returns false when it is unknown or not running. */
bool job_service_finish(struct job_service *service, int64_t task_id);

/* What has happened so far. */
struct job_service_counts job_service_counts(struct job_service *service);

/* Blocks until n publish (search) requests have arrived since the start; false when that takes longer than seconds. */
bool job_service_wait_publishes(struct job_service *service, size_t n, double seconds);
bool job_service_wait_searches(struct job_service *service, size_t n, double seconds);

/* The general form: blocks until a member of the counts, e.g. that at offsetof(struct job_service_counts, hung), is at
 * least n. */
bool job_service_wait(struct job_service *service, size_t member_offset, size_t n, double seconds);

/* Writes a line for each request so far, in order of arrival: seconds since the start, method, path, status (or
 * "dropped", "hung", "left" by its client, "open") and the Idempotency-Key if any. May block on the file. Returns false
 * on an error. The log grows by some 250 bytes a request until the stop. */
bool job_service_log_write(struct job_service *service, FILE *file);

#ifdef __cplusplus
}
#endif

#endif
