/* What the tests of the process pool have in common in the parent: pools, of which nothing may be left, and what is said and answered. */
#define _GNU_SOURCE
#include "faulty.h"
#include "process_functions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- what is left --- */

static exs_messages *inbox;
static int descriptors_before;
static char paths[8][64];
static unsigned n_paths;
static int gate_fd = -1;

void processes_begin(void)
{
	descriptors_before = descriptors();
	inbox = exs_messages_new();
	CHECK(inbox);
	log_begin(EXS_LOG_DEBUG);
}

exs_executor *heard(exs_executor *ex)
{
	ex = exs_with_messages(ex, inbox);
	if (!ex)
		fprintf(stderr, "%s\n", exs_error_message(exs_last_error()));
	CHECK(ex);
	return ex;
}

exs_executor *processes(exs_process_pool_options options)
{
	return heard(exs_process_pool(&options));
}

void processes_end(exs_executor *ex)
{
	exs_executor_free(ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	exs_messages_free(inbox);
	inbox = NULL;
	CHECK_INT(log_lines("Sanitizer:"), 0); /* of a worker */
	log_end();
	harness_wait_futures(0);
	if (gate_fd >= 0)
		close(gate_fd);
	gate_fd = -1;
	while (n_paths)
		unlink(paths[--n_paths]);
	CHECK_INT(descriptors(), descriptors_before);
	CHECK_INT(waitpid(-1, NULL, WNOHANG), -1);
	CHECK_INT(errno, ECHILD);
}

/* --- said --- */

static void copy_text(char *text, size_t size, const exs_bytes *bytes)
{
	size_t n = bytes->size < size ? bytes->size : size - 1;

	if (n)
		memcpy(text, bytes->data, n);
	text[n] = '\0';
}

const char *next_message(void)
{
	static char text[4096];
	exs_bytes *bytes;
	exs_set_status status = exs_messages_next(inbox, &bytes, EXS_FOREVER);

	if (status == EXS_EMPTY)
		return NULL;
	CHECK_INT(status, EXS_ITEM);
	copy_text(text, sizeof(text), bytes);
	exs_bytes_free(bytes);
	return text;
}

void expect_message(const char *text)
{
	CHECK_STR(next_message(), text);
}

void expect_messages(const char *text, const char *other)
{
	char first[4096];

	snprintf(first, sizeof(first), "%s", next_message());
	bool turned = !strcmp(first, other);
	CHECK_STR(first, turned ? other : text);
	expect_message(turned ? text : other);
}

void expect_no_message(void)
{
	exs_bytes *bytes;

	give_time();
	CHECK(exs_messages_next(inbox, &bytes, 0) != EXS_ITEM);
}

/* --- calls --- */

exs_future *call_bytes(exs_executor *ex, const char *function, const void *input, size_t size)
{
	exs_future *f = exs_submit_function(ex, function, input, size);

	CHECK(f);
	return f;
}

exs_future *call(exs_executor *ex, const char *function, const char *input)
{
	return call_bytes(ex, function, input, strlen(input));
}

const char *text_of(exs_future *f)
{
	static _Thread_local char text[4096];

	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	if (exs_future_state(f) != EXS_STATE_VALUE) {
		exs_future_explain(f, text, sizeof(text));
		fprintf(stderr, "%s\n", text);
	}
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	const exs_bytes *bytes = exs_future_value(f);
	if (bytes)
		copy_text(text, sizeof(text), bytes);
	exs_future_unref(f);
	return bytes ? text : NULL;
}

void expect_text(exs_future *f, const char *text)
{
	CHECK_STR(text_of(f), text);
}

void expect_failure(exs_future *f, const exs_domain *domain, int code, const char *part)
{
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_ERROR);
	const exs_error *error = exs_future_error(f);
	if (!exs_error_is(error, domain, code) || !strstr(exs_error_message(error), part))
		fprintf(stderr, "%s %d: %s\n", exs_error_domain(error)->name, exs_error_code(error),
			exs_error_message(error));
	CHECK(exs_error_is(error, domain, code));
	CHECK(strstr(exs_error_message(error), part));
	exs_future_unref(f);
}

void cancel_running(exs_future *f)
{
	exs_answer answer = exs_future_cancel(f);

	CHECK(answer == EXS_STOP_REQUESTED || answer == EXS_CANCELLED);
}

exs_process_pool_stats process_stats(exs_executor *ex)
{
	exs_process_pool_stats stats;

	CHECK_INT(exs_process_pool_get_stats(ex, &stats), EXS_OK);
	return stats;
}

/* --- gates and files --- */

const char *new_path(void)
{
	static unsigned count;
	char *path = paths[n_paths++];

	CHECK(n_paths <= sizeof(paths) / sizeof(*paths));
	snprintf(path, sizeof(*paths), "/tmp/exs-process-%d-%u", (int)getpid(), count++);
	unlink(path);
	return path;
}

const char *gate(void)
{
	const char *path = new_path();

	CHECK_INT(mkfifo(path, 0600), 0);
	gate_fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK(gate_fd >= 0);
	return path;
}

void gate_open(unsigned times)
{
	while (times--)
		CHECK_INT(write(gate_fd, "x", 1), 1);
}

const char *content(const char *path)
{
	static char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return text;
}
