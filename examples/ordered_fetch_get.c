/* Fetches one URL or file into memory; a request to stop ends it at once. */
#define _GNU_SOURCE
#include "ordered_fetch_get.h"
#include "ordered_fetch_list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 256 << 10 };

struct fetch_job *fetch_job_new(const struct fetcher *fetcher, const char *name)
{
	size_t size = strlen(name) + 1;
	struct fetch_job *job = malloc(sizeof(*job) + size);

	if (!job)
		return NULL;
	job->fetcher = fetcher;
	memcpy(job->name, name, size);
	return job;
}

static void body_free(void *arg)
{
	struct fetch_body *body = arg;

	free(body->data);
	free(body);
}

static exs_result no_memory(void)
{
	return exs_fail(exs_error_new(&exs_domain_exs, EXS_ENOMEM, "out of memory"));
}

/* Takes over the data. */
static exs_result answer(char *data, size_t size)
{
	struct fetch_body *body = malloc(sizeof(*body));

	if (!body) {
		free(data);
		return no_memory();
	}
	*body = (struct fetch_body){size, data};
	return exs_ok(body, body_free);
}

/* --- URLs --- */

static exs_result get_url(const struct fetch_job *job, exs_context *ctx)
{
	const exs_http_request request = {.url = job->name};
	exs_http_response response;
	exs_error *error = exs_http_perform(job->fetcher->client, ctx, &request, &response);

	return error ? exs_fail(error) : answer(response.body, response.size);
}

/* --- files --- */

/* The task's name says which. */
static exs_result failed(int code)
{
	return exs_fail(exs_error_new(&exs_domain_errno, code, "%s", strerror(code)));
}

static exs_result refused(const char *why)
{
	return exs_fail(exs_error_new(&exs_domain_errno, EINVAL, "%s", why));
}

/* A block more, beyond *size bytes. Answers what read does. */
static ssize_t read_block(int fd, char **data, size_t size, size_t *room)
{
	if (*room - size < BLOCK) {
		size_t larger = size + size / 2 + BLOCK;
		char *longer = realloc(*data, larger);
		if (!longer)
			return -1;
		*data = longer;
		*room = larger;
	}
	return read(fd, *data + size, BLOCK);
}

static exs_result read_file(const struct fetch_job *job, int fd, size_t expected, exs_context *ctx)
{
	size_t size = 0, room = expected < job->fetcher->limit ? expected + 1 + BLOCK : 0;
	char *data = room ? malloc(room) : NULL;
	ssize_t n = 1;

	if (!data)
		room = 0;
	while (n > 0 && size <= job->fetcher->limit && !exs_context_stop_requested(ctx)) {
		n = read_block(fd, &data, size, &room);
		size += n > 0 ? (size_t)n : 0;
	}
	if (n == 0 && size <= job->fetcher->limit)
		return answer(data, size);
	int code = n < 0 ? errno : 0;
	free(data);
	if (code)
		return failed(code);
	return size > job->fetcher->limit ? refused("larger than the body limit") : exs_cancelled();
}

/* Opened so that a pipe does not block, which is then refused. */
static exs_result get_file(const struct fetch_job *job, exs_context *ctx)
{
	int fd = open(job->name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	const struct stat *output = &job->fetcher->output;
	struct stat status;
	exs_result r;

	if (fd < 0 || fstat(fd, &status))
		r = failed(errno);
	else if (!S_ISREG(status.st_mode))
		r = S_ISDIR(status.st_mode) ? failed(EISDIR) : refused("not a regular file");
	else if (S_ISREG(output->st_mode) && status.st_dev == output->st_dev && status.st_ino == output->st_ino)
		r = refused("it is the output");
	else
		r = read_file(job, fd, (size_t)status.st_size, ctx);
	if (fd >= 0)
		close(fd);
	return r;
}

exs_result fetch_get(void *arg, exs_context *ctx)
{
	const struct fetch_job *job = arg;

	return fetch_is_url(job->name) ? get_url(job, ctx) : get_file(job, ctx);
}
