/* log_count: counts the lines of a large access log per status and path: a stream of parts of it over threads or worker processes, of which the
   reader adds up the counts; beside a plain loop, to compare. */
#define _GNU_SOURCE
#include "log_count_log.h"
#include "log_count_options.h"
#include "log_count_sample.h"

#include <errno.h>
#include <executors/executors.h>
#include <executors/process_pool.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 3 };

static bool fail(const char *what, const char *why)
{
	fprintf(stderr, "log_count: %s%s%s\n", what, *what ? ": " : "", why);
	return false;
}

/* --- as a stream --- */

/* [stream] */
/* On a worker, which keeps its buffer: a thread, or another process. */
static exs_result count_part(const exs_bytes *part, exs_context *ctx)
{
	struct log_counts *counts = log_counts_new();
	exs_error *error = log_count_part(part->data, part->size, exs_context_worker_state(ctx), counts);
	exs_result result = error ? exs_fail(error) : exs_ok_bytes(log_counts_pack(counts));

	log_counts_free(counts);
	return result;
}

/* The call for the next part of the log, some MB of whole lines: asked for when there is room in the stream. */
static bool next_part(void *log, exs_result *call)
{
	struct log_part *part;
	exs_error *error = log_read(log, &part);

	if (error)
		*call = exs_fail(error);
	else if (part)
		*call = exs_ok(exs_invocation_new("count_part", part, log_part_size(part)), exs_invocation_free);
	free(part);
	return error || part;
}

/* Two parts for each worker are under way, however long the log is. false: see exs_last_error. */
static bool count_in_stream(exs_executor *pool, size_t workers, struct log_reader *log, struct log_counts *total)
{
	const exs_stream_options options = {.max_results = 2 * workers, .as_completed = true, .stop_on_error = true};
	exs_stream *s = exs_stream_new(pool, exs_invoke, next_part, log, &options);
	exs_set_status status = EXS_FAILED;
	exs_item item;

	while (s && (status = exs_stream_next(s, &item, EXS_FOREVER)) == EXS_ITEM) {
		log_counts_merge(total, exs_future_value(item.future));
		exs_future_unref(item.future);
	}
	exs_stream_free(s);
	return status == EXS_EMPTY;
}
/* [stream] end */

/* --- in a plain loop --- */

static bool count_in_loop(struct log_reader *log, struct log_counts *total)
{
	struct log_buffer buffer = {0};
	struct log_part *p;
	exs_error *error;

	while (!(error = log_read(log, &p)) && p) {
		error = log_count_part(p, log_part_size(p), &buffer, total);
		free(p);
		if (error)
			break;
	}
	free(buffer.data);
	if (!error)
		return true;
	exs_set_last_error(exs_error_domain(error), exs_error_code(error), "%s", exs_error_message(error));
	exs_error_unref(error);
	return false;
}

/* --- once, or several times --- */

struct job {
	const struct log_count_options *o;
	int fd;
	const char *name;
	exs_executor *pool;
};

/* One pass over the log, in a plain loop or in a stream; NULL, having said why. */
static struct log_counts *pass(const struct job *j, bool in_stream, double *seconds)
{
	struct log_reader log;
	struct log_counts *counts = log_counts_new();
	double begun = exs_clock_now(NULL);

	if (!counts)
		return fail("", strerror(ENOMEM)), NULL;
	log_reader_init(&log, j->fd, j->name, j->o->by, j->o->part_size);
	bool whole = in_stream ? count_in_stream(j->pool, j->o->workers, &log, counts) : count_in_loop(&log, counts);
	*seconds = exs_clock_now(NULL) - begun;
	log_reader_fini(&log);
	if (whole && !counts->no_memory && !counts->damaged)
		return counts;
	const char *why = counts->damaged ? "a worker has answered something else than counts" : strerror(ENOMEM);
	fail("", whole ? why : exs_error_message(exs_last_error()));
	log_counts_free(counts);
	return NULL;
}

/* As pass, from the beginning of the file. */
static struct log_counts *pass_again(const struct job *j, bool in_stream, double *seconds)
{
	if (lseek(j->fd, 0, SEEK_SET) < 0)
		return fail(j->name, strerror(errno)), NULL;
	return pass(j, in_stream, seconds);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double seconds[ROUNDS])
{
	qsort(seconds, ROUNDS, sizeof(*seconds), by_value);
	return seconds[ROUNDS / 2];
}

static bool compare(const struct job *j)
{
	double loop[ROUNDS], stream[ROUNDS];
	struct log_counts *a = NULL, *b = NULL;
	bool equal = true;

	for (int i = 0; i < ROUNDS && equal; i++) {
		log_counts_free(a);
		log_counts_free(b);
		a = pass_again(j, false, &loop[i]);
		b = a ? pass_again(j, true, &stream[i]) : NULL;
		equal = b && log_counts_are_equal(a, b);
	}
	if (equal) {
		double x = median(loop), y = median(stream);
		log_counts_print(b, j->o->by, j->o->top);
		fprintf(stderr, "plain loop %.3f s, stream over %u workers %.3f s: %.2f times as fast; equal counts\n",
			x, j->o->workers, y, x / y);
	} else if (b) {
		fail(j->name, "the counts of the plain loop and of the stream differ");
	}
	log_counts_free(a);
	log_counts_free(b);
	return equal;
}

static bool count_once(const struct job *j)
{
	double seconds;
	struct log_counts *counts = pass(j, true, &seconds);

	if (counts)
		log_counts_print(counts, j->o->by, j->o->top);
	log_counts_free(counts);
	return counts;
}

/* --- the workers --- */

static exs_error *begin_worker(void *unused, unsigned number, void **buffer)
{
	(void)unused, (void)number;
	*buffer = calloc(1, sizeof(struct log_buffer));
	return *buffer ? NULL : exs_error_new(&exs_domain_exs, EXS_ENOMEM, "out of memory");
}

static void end_worker(void *unused, unsigned number, void *buffer)
{
	(void)unused, (void)number;
	free(((struct log_buffer *)buffer)->data);
	free(buffer);
}

static exs_executor *pool(const struct log_count_options *o)
{
	if (o->processes)
		return exs_process_pool(
			&(exs_process_pool_options){.workers = o->workers, .max_size = 2 * LOG_LINE_MAX});
	return exs_thread_pool_with(
		&(exs_thread_pool_options){.workers = o->workers, .setup = begin_worker, .teardown = end_worker});
}

/* --- the file --- */

static int temporary_file(void)
{
	FILE *file = tmpfile();
	int fd = file ? fcntl(fileno(file), F_DUPFD_CLOEXEC, 3) : -1, saved = errno;

	if (file)
		fclose(file);
	errno = saved;
	return fd;
}

static int open_log(const struct log_count_options *o)
{
	if (!o->path)
		return temporary_file();
	if (o->sample)
		return open(o->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	return strcmp(o->path, "-") ? open(o->path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
}

static bool write_sample(const struct job *j)
{
	int rc = j->o->sample ? log_write_sample(j->fd, j->o->sample, j->o->seed) : 0;

	if (!rc && j->o->sample && lseek(j->fd, 0, SEEK_SET) < 0)
		rc = errno;
	return !rc || fail(j->name, strerror(rc));
}

static bool run(const struct job *j)
{
	if (j->fd < 0)
		return fail(j->name, strerror(errno));
	if (!j->pool)
		return fail("", exs_error_message(exs_last_error()));
	if (!write_sample(j) || !(j->o->compare ? compare(j) : count_once(j)))
		return false;
	return !fflush(stdout) || fail("standard output", strerror(errno));
}

int main(int argc, char **argv)
{
	struct log_count_options o;

	exs_register("count_part", count_part);
	exs_process_worker_hooks(begin_worker, end_worker, NULL);
	exs_process_main(argc, argv);
	int status = log_count_options_read(&o, argc, argv);

	if (status >= 0)
		return status;
	struct job job = {.o = &o, .name = o.path ? o.path : "a temporary file", .pool = pool(&o)};
	job.fd = open_log(&o);
	status = run(&job) ? 0 : 1;
	exs_executor_free(job.pool);
	if (job.fd > STDIN_FILENO)
		close(job.fd);
	return status;
}
