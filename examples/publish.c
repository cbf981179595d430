/* publish: publishes objects at a job service, through thread pool, retry, poll
   and timeout, and prints the jobs as they complete. */
#define _GNU_SOURCE
#include "job_service.h"
#include "publish_options.h"
#include "publish_report.h"

#include <errno.h>
#include <executors/executors.h>
#include <executors/http.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Which id a future is of: sorted by the future. */
struct entry {
	exs_future *future;
	const char *id;
};

struct publish {
	const struct publish_options *o;
	struct publish_report report;
	struct job_service *service;
	exs_http_client *client;
	exs_http_jobs *jobs;
	exs_executor *ex;
	exs_set *set;
	struct entry *entries;
	size_t n;
	bool cancelled;
	double cancel_at, force_at; /* when to cancel what is left; when to give up
                                 what could not be cancelled */
};

/* --- Ctrl-C: the first is told through a pipe, a second leaves --- */

static int signal_pipe[2];
static volatile sig_atomic_t signals;

static void on_signal(int number)
{
	int saved = errno;

	if (signals)
		_exit(128 + number);
	signals = 1;
	if (write(signal_pipe[1], "", 1) < 0)
		_exit(128 + number);
	errno = saved;
}

/* A standard descriptor that is closed would be the first one made here: what is printed would go into the pipe, as a signal. */
static bool hold_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return false;
	return true; /* each fails as a closed one does */
}

static bool catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGINT);
	sigaddset(&action.sa_mask, SIGTERM);
	return !pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) && !sigaction(SIGINT, &action, NULL) &&
	       !sigaction(SIGTERM, &action, NULL) && !sigaction(SIGPIPE, &ignore, NULL);
}

/* --- the chain --- */

static exs_executor *chain(const struct publish *p)
{
	const struct publish_options *o = p->o;
	exs_retry_options retry = {.max_attempts = o->attempts, .sleep = o->backoff > 0 ? o->backoff : EXS_NONE};
	exs_poll_options poll = {.interval = o->interval, .cancel_many = exs_http_jobs_cancel_many};

	retry.codes = exs_http_retry_codes(&retry.n_codes);
	exs_executor *ex = exs_thread_pool(o->workers);
	ex = exs_with_retry(ex, &retry);
	ex = exs_with_poll(ex, exs_http_jobs_poll, exs_http_jobs_cancel, p->jobs, &poll);
	return exs_with_timeout(ex, o->timeout);
}

/* Exit status, having said what failed. */
static int fail(const char *what, const char *why, int status)
{
	fprintf(stderr, "publish: %s%s%s\n", what, *what ? ": " : "", why);
	return status;
}

static int fail_with(exs_error *error)
{
	int status = fail("", exs_error_message(error), exs_error_is(error, &exs_domain_exs, EXS_EINVAL) ? 2 : 1);

	exs_error_unref(error);
	return status;
}

static int start_service(struct publish *p)
{
	const struct job_service_options options = {.job_seconds = 0.2, .job_seconds_max = 2.0, .seed = 1};

	p->service = job_service_start(&options);
	return p->service ? -1 : fail("the job service can't be started", strerror(errno), 1);
}

/* Sets everything up. Answers -1, or the exit status. */
static int begin(struct publish *p)
{
	const struct publish_options *o = p->o;
	exs_http_client_options client = {.max_body = o->body_limit, .proxy = o->url ? NULL : ""};
	exs_http_jobs_options jobs = {
		.cancel_timeout = o->grace,
		.tolerate = o->tolerate,
		.log = publish_report_log,
		.log_ctx = &p->report,
	};
	exs_error *error = NULL;

	/* A timeout is noticed on the poll thread: no search may keep it for much longer than that. */
	jobs.search_timeout = o->timeout < 30 ? o->timeout : 30;
	if (!hold_standard_descriptors() || !catch_signals())
		return fail("signals", strerror(errno), 1);
	exs_set_log(publish_report_log, &p->report, EXS_LOG_WARNING);
	if (!o->url && start_service(p) >= 0)
		return 1;
	p->client = exs_http_client_new(&client, &error);
	if (!p->client)
		return fail_with(error);
	p->jobs = exs_http_jobs_new(p->client, o->url ? o->url : job_service_url(p->service), &jobs, &error);
	if (!p->jobs)
		return fail_with(error);
	p->ex = chain(p);
	p->set = exs_set_new();
	p->entries = calloc(o->n_ids, sizeof(*p->entries));
	if (!p->ex || !p->set || exs_set_fd(p->set) < 0)
		return fail("", exs_error_message(exs_last_error()), 1);
	return p->entries ? -1 : fail("", strerror(ENOMEM), 1);
}

static void end(struct publish *p)
{
	exs_http_client_stop(p->client); /* no job is left: nobody waits for a search that may hang */
	exs_executor_free(p->ex);
	exs_set_free(p->set);
	exs_http_jobs_free(p->jobs);
	exs_http_client_free(p->client);
	exs_set_log(NULL, NULL, EXS_LOG_ERROR);
	job_service_stop(p->service);
	free(p->entries);
}

/* --- jobs --- */

static int by_future(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct entry *)a)->future, y = (uintptr_t)((const struct entry *)b)->future;

	return x < y ? -1 : x > y;
}

static void submit_all(struct publish *p)
{
	for (size_t i = 0; i < p->o->n_ids; i++) {
		exs_future *future = exs_http_jobs_submit(p->ex, p->jobs, p->o->ids[i]);
		if (!future) {
			publish_report_line(&p->report, p->o->ids[i], FAILED, "out of memory");
			continue;
		}
		p->entries[p->n++] = (struct entry){future, p->o->ids[i]};
	}
	qsort(p->entries, p->n, sizeof(*p->entries), by_future);
	for (size_t i = 0; i < p->n; i++)
		exs_set_add(p->set, p->entries[i].future);
}

static enum publish_outcome outcome_of(const struct publish *p, exs_future *future)
{
	const exs_error *error = exs_future_error(future);

	if (exs_future_state(future) == EXS_STATE_VALUE)
		return FINISHED;
	if (!error || exs_error_is(error, &exs_domain_jobs, EXS_JOBS_ECANCELLED))
		return CANCELLED;
	if (exs_error_is(error, &exs_domain_exs, EXS_ETIMEDOUT))
		return TIMED_OUT;
	return p->cancelled && exs_error_is(error, &exs_domain_exs, EXS_ESHUTDOWN) ? CANCELLED : FAILED;
}

static void print(struct publish *p, exs_future *future)
{
	struct entry key = {future, NULL};
	const struct entry *e = bsearch(&key, p->entries, p->n, sizeof(key), by_future);
	const exs_http_task *task = exs_future_value(future);
	char text[8192];

	if (task)
		snprintf(text, sizeof(text), "task %lld", (long long)task->task_id);
	else
		exs_future_explain(future, text, sizeof(text));
	publish_report_line(&p->report, e->id, outcome_of(p, future), text);
}

/* --- the loop --- */

/* Prints what is done. false: nothing is left. */
static bool drain(struct publish *p)
{
	exs_future *future;
	exs_set_status status;

	while ((status = exs_set_next(p->set, &future, 0)) == EXS_ITEM) {
		print(p, future);
		exs_future_unref(future);
	}
	if (status == EXS_FAILED)
		publish_report_log(&p->report, EXS_LOG_ERROR, NULL, exs_error_message(exs_last_error()));
	publish_report_progress(&p->report);
	return status != EXS_EMPTY;
}

/* In the set's own call, so that cancel_many gets all that are at the service together. */
static void cancel_left(struct publish *p)
{
	if (p->cancelled)
		return;
	p->cancelled = true;
	p->cancel_at = EXS_FOREVER;
	exs_set_cancel(p->set);
	p->force_at = exs_clock_now(NULL) + p->o->grace + p->o->interval; /* a job that had ended shows in a search */
}

/* What the service has not let go of ends here. */
static void force(struct publish *p)
{
	p->force_at = EXS_FOREVER;
	exs_shutdown(p->ex, EXS_CANCEL_ALL, p->o->grace);
}

static int milliseconds_until(double at)
{
	double left = at - exs_clock_now(NULL);

	if (left <= 0)
		return 0;
	return left * 1000 < INT_MAX ? (int)(left * 1000) + 1 : -1;
}

static void wait_for_news(struct publish *p)
{
	struct pollfd fds[] = {
		{.fd = exs_set_fd(p->set), .events = POLLIN},
		{.fd = signal_pipe[0], .events = POLLIN},
	};
	char byte;

	if (p->report.broken && !p->cancelled)
		p->cancel_at = 0; /* nobody reads what follows */
	if (poll(fds, 2, milliseconds_until(p->cancelled ? p->force_at : p->cancel_at)) < 0)
		return;
	double now = exs_clock_now(NULL);
	if (read(signal_pipe[0], &byte, 1) == 1 || now >= p->cancel_at)
		cancel_left(p);
	else if (p->cancelled && now >= p->force_at)
		force(p);
}

int main(int argc, char **argv)
{
	struct publish_options o;
	struct publish p = {.o = &o, .force_at = EXS_FOREVER};
	int status = publish_options_read(&o, argc, argv);

	if (status < 0) {
		publish_report_begin(&p.report, o.n_ids, o.quiet);
		p.cancel_at = exs_clock_now(NULL) + o.cancel_after;
		status = begin(&p);
	}
	if (status < 0) {
		publish_report_progress(&p.report);
		submit_all(&p);
		while (drain(&p))
			wait_for_news(&p);
		publish_report_end(&p.report);
		status = p.report.counts[FINISHED] < o.n_ids || p.report.broken;
	}
	end(&p);
	publish_options_free(&o);
	return status;
}
