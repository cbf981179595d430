/* ordered_fetch: fetches many URLs and files at a time, through thread pool, retry and timeout, and writes them in order. One thread turns a
   loop in which names come in, what is fetched goes out, and signals are heard of. */
#define _GNU_SOURCE
#include "ordered_fetch_get.h"
#include "ordered_fetch_list.h"
#include "ordered_fetch_options.h"
#include "ordered_fetch_output.h"
#include "ordered_fetch_report.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REDRAW = 200 }; /* milliseconds */

struct fetch {
	struct fetch_options o;
	struct fetch_list list;
	struct fetch_report report;
	struct fetch_output output;
	struct fetcher fetcher;
	exs_executor *ex;
	exs_stream *stream;
	bool listed;  /* no more names will come */
	bool waits;   /* for one, on standard input */
	bool broken;  /* the output is */
	bool stopped; /* the stream was cancelled */
};

/* --- Ctrl-C: the first is told through a pipe, a second leaves --- */

static int signal_pipe[2];
static volatile sig_atomic_t signal_number;

static void on_signal(int number)
{
	int saved = errno;

	if (signal_number)
		_exit(128 + number);
	signal_number = number;
	if (write(signal_pipe[1], "", 1) < 0)
		_exit(128 + number);
	errno = saved;
}

/* A standard descriptor that is closed would be the first one made here. */
static bool hold_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return false;
	return true; /* each fails as a closed one does */
}

/* Not SA_RESTART: a write that waits for a slow reader hears of it. */
static bool catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};

	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGINT);
	sigaddset(&action.sa_mask, SIGTERM);
	return !pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) && !sigaction(SIGINT, &action, NULL) &&
	       !sigaction(SIGTERM, &action, NULL) && !sigaction(SIGPIPE, &ignore, NULL) &&
	       !sigaction(SIGXFSZ, &ignore, NULL);
}

/* --- begin, end --- */

static bool fail(const char *what, const char *why)
{
	fprintf(stderr, "ordered_fetch: %s%s%s\n", what, *what ? ": " : "", why);
	return false;
}

static exs_executor *chain(const struct fetch_options *o)
{
	exs_retry_options retry = {.max_attempts = o->attempts, .sleep = o->backoff > 0 ? o->backoff : EXS_NONE};

	retry.codes = exs_http_retry_codes(&retry.n_codes);
	return exs_with_timeout(exs_with_retry(exs_thread_pool(o->in_flight), &retry), o->timeout);
}

static bool begin_client(struct fetch *f)
{
	const exs_http_client_options options = {.max_body = f->o.body_limit, .max_idle = f->o.in_flight};
	exs_error *error = NULL;

	f->fetcher.client = exs_http_client_new(&options, &error);
	if (f->fetcher.client)
		return true;
	fail("", exs_error_message(error));
	exs_error_unref(error);
	return false;
}

static bool begin(struct fetch *f)
{
	const exs_stream_options options = {.max_results = f->o.ahead};

	if (!hold_standard_descriptors() || !catch_signals())
		return fail("signals", strerror(errno));
	f->list = (struct fetch_list){.names = f->o.names, .n = f->o.n_names};
	if (!begin_client(f) || !fetch_output_open(&f->output, f->o.output, f->o.names, f->o.n_names))
		return false;
	f->fetcher.limit = f->o.body_limit;
	f->fetcher.output = f->output.status;
	f->ex = chain(&f->o);
	f->stream = f->ex ? exs_stream_new(f->ex, NULL, NULL, NULL, &options) : NULL;
	if (!f->stream || exs_stream_fd(f->stream) < 0)
		return fail("", exs_error_message(exs_last_error()));
	fetch_report_begin(&f->report, fetch_list_count(&f->list), f->o.progress, f->o.quiet);
	return true;
}

static void end(struct fetch *f)
{
	exs_stream_free(f->stream);
	exs_http_client_stop(f->fetcher.client);
	exs_executor_free(f->ex);
	exs_http_client_free(f->fetcher.client);
	if (f->output.fd >= 0 && !fetch_output_close(&f->output))
		f->broken = true;
}

/* --- in: names become items while there is room for them --- */

static void stop(struct fetch *f)
{
	if (!f->stopped)
		exs_stream_cancel(f->stream);
	f->stopped = f->listed = true;
}

static void begin_item(struct fetch *f, const char *name)
{
	char shown[FETCH_NAME_MAX + 1];
	exs_task task = {.fn = fetch_get, .arg = fetch_job_new(&f->fetcher, name), .arg_free = free, .name = shown};

	fetch_list_shown(name, shown);
	exs_future *future = task.arg ? exs_stream_try_produce(f->stream, &task) : NULL;

	if (!future) {
		fetch_report_failure(&f->report, 0, "out of memory");
		stop(f);
	}
	exs_future_unref(future);
	f->report.begun++;
}

static void feed(struct fetch *f)
{
	char name[FETCH_NAME_MAX + 1];
	exs_error *error;

	f->waits = false;
	while (!f->listed && !f->waits && exs_stream_count(f->stream) < f->o.ahead) {
		switch (fetch_list_next(&f->list, name, &error)) {
		case FETCH_NAME:
			begin_item(f, name);
			break;
		case FETCH_WRONG:
			exs_stream_push(f->stream, exs_fail(error), 0);
			f->report.begun++;
			break;
		case FETCH_WAIT:
			f->waits = true;
			break;
		case FETCH_END:
			f->listed = true;
			f->report.total = f->report.begun;
			exs_stream_stop(f->stream, NULL);
		}
	}
}

/* --- out --- */

static void look_for_signals(void *arg)
{
	if (signal_number)
		stop(arg);
}

static void write_item(struct fetch *f, const struct fetch_body *body)
{
	if (isatty(f->output.fd))
		fetch_report_hide(&f->report);
	if (!fetch_output_write(&f->output, body->data, body->size, look_for_signals, f)) {
		f->broken = true;
		stop(f);
		return;
	}
	f->report.written++;
	f->report.bytes += body->size;
}

static void tell_failure(struct fetch *f, const exs_item *item)
{
	const exs_error *error = exs_future_error(item->future);
	char text[4096];

	if (exs_error_domain(error) == &fetch_domain_list)
		snprintf(text, sizeof(text), "%s", exs_error_message(error));
	else
		exs_future_explain(item->future, text, sizeof(text));
	f->report.failed++;
	fetch_report_failure(&f->report, item->number + 1, text);
	if (f->o.stop_on_error)
		stop(f);
}

/* Writes what is there. false: that was all. */
static bool drain(struct fetch *f)
{
	exs_set_status status;
	exs_item item;

	while (look_for_signals(f), (status = exs_stream_next(f->stream, &item, 0)) == EXS_ITEM) {
		feed(f); /* before it is written, which may take its time */
		if (exs_future_state(item.future) == EXS_STATE_VALUE)
			write_item(f, exs_future_value(item.future));
		else
			tell_failure(f, &item);
		exs_future_unref(item.future);
	}
	if (status == EXS_FAILED) {
		f->report.failed++;
		fetch_report_failure(&f->report, 0, exs_error_message(exs_last_error()));
	}
	return status != EXS_EMPTY;
}

/* --- the loop --- */

static void wait_for_news(struct fetch *f)
{
	struct pollfd fds[] = {
		{.fd = exs_stream_fd(f->stream), .events = POLLIN},
		{.fd = signal_pipe[0], .events = POLLIN},
		{.fd = f->waits ? STDIN_FILENO : -1, .events = POLLIN},
	};

	poll(fds, 3, f->report.bar ? REDRAW : -1);
}

static int status_of(struct fetch *f)
{
	static const char *const causes[] = {"", "stopped: ", "interrupted: "};
	int cause = !f->stopped ? 0 : !signal_number ? 1 : 2;

	fetch_report_end(&f->report, causes[cause]);
	if (cause == 2)
		return 128 + signal_number;
	return f->stopped || f->broken || f->report.failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct fetch f = {.output.fd = -1};
	int status = fetch_options_read(&f.o, argc, argv);

	if (status >= 0)
		return status;
	status = 1;
	if (begin(&f)) {
		feed(&f);
		fetch_report_progress(&f.report);
		while (drain(&f)) {
			fetch_report_progress(&f.report);
			wait_for_news(&f);
			feed(&f);
		}
		status = status_of(&f);
	}
	end(&f);
	return f.broken && !status ? 1 : status;
}
