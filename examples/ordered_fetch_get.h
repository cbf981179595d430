/* Fetching one: the task. */
#ifndef ORDERED_FETCH_GET_H
#define ORDERED_FETCH_GET_H

#include <executors/executors.h>
#include <executors/http.h>
#include <sys/stat.h>

struct fetcher {
	exs_http_client *client;
	size_t limit;	    /* bytes of each */
	struct stat output; /* no file that is this one is read */
};

/* What a task is given, and what it answers. */
struct fetch_job {
	const struct fetcher *fetcher;
	char name[];
};

struct fetch_body {
	size_t size;
	char *data;
};

/* New one, to be freed with free, or NULL. */
struct fetch_job *fetch_job_new(const struct fetcher *fetcher, const char *name);

exs_task_fn fetch_get; /* arg: a struct fetch_job; its value: a struct fetch_body */

#endif
