/* Requests through one session: starts them, waits, ends those whose time is up or whose task is asked to stop. */
#include "http/http.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

struct run {
	const struct exsi_http_batch *batch;
	struct exsi_http_session *session;
	size_t next, active, width;
	double last;  /* when a request ended last, or the beginning */
	int stopping; /* 0, or the code with which nothing more is begun */
};

static void finish(struct run *r, struct exsi_http_transfer *t, CURLcode rc, int cut)
{
	exs_http_response response;

	/* After the removal only, since it may still report on the transfer. */
	curl_multi_remove_handle(r->session->multi, t->easy);
	exs_error *error = exsi_http_transfer_end(t, rc, cut, &response);
	t->active = false;
	r->active--;
	r->last = exs_clock_now(NULL);
	r->batch->done(r->batch->arg, t->index, error, &response);
}

static void refuse(struct run *r, size_t i, exs_error *error)
{
	exs_http_response none = {0};

	r->batch->done(r->batch->arg, i, error, &none);
}

/* --- begin --- */

static struct exsi_http_transfer *free_slot(struct run *r)
{
	for (size_t i = 0; i < r->width; i++) {
		struct exsi_http_transfer **t = &r->session->slots[i];
		if (!*t)
			*t = exsi_http_transfer_new();
		if (!*t || !(*t)->active)
			return *t;
	}
	return NULL;
}

static exs_error *begin(struct run *r, size_t i)
{
	struct exsi_http_transfer *t = free_slot(r);
	exs_http_request request = {0};

	if (!t || !r->batch->request(r->batch->arg, i, &request))
		return exsi_http_no_memory();
	t->index = i;
	exs_error *error = exsi_http_transfer_begin(t, exsi_http_session_setup(r->session), &request);
	if (error)
		return error;
	if (curl_multi_add_handle(r->session->multi, t->easy))
		return exsi_http_no_memory();
	t->active = true;
	r->active++;
	return NULL;
}

static void begin_some(struct run *r)
{
	while (r->next < r->batch->n && r->active < r->width && !r->stopping) {
		size_t i = r->next++;
		exs_error *error = begin(r, i);
		if (error)
			refuse(r, i, error);
	}
}

/* --- the end of each --- */

static void collect(struct run *r)
{
	struct exsi_http_transfer *t;
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(r->session->multi, &left))) {
		CURLcode rc = message->data.result;
		if (message->msg == CURLMSG_DONE && !curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t))
			finish(r, t, rc, 0);
	}
}

static void cut_all(struct run *r, int code)
{
	for (size_t i = 0; i < r->width; i++) {
		struct exsi_http_transfer *t = r->session->slots[i];
		if (t && t->active)
			finish(r, t, CURLE_OK, code);
	}
}

/* Shortens the time of each to its grace. */
static void hurry(struct run *r, double now)
{
	for (size_t i = 0; i < r->width; i++) {
		struct exsi_http_transfer *t = r->session->slots[i];
		if (t && t->active && now + t->grace < t->deadline)
			t->deadline = now + t->grace;
	}
}

/* 0, or why to stop. Whether the task's deadline is noticed here or a timeout has asked it to stop is all one. */
static int stop_of(const struct run *r)
{
	exs_context *ctx = r->batch->ctx;
	int stop = atomic_load(&r->session->stop);

	if (stop == EXS_ESHUTDOWN)
		return stop;
	if (exs_context_cause(ctx) == EXS_CAUSE_TIMEOUT || (!stop && exs_context_time_left(ctx) <= 0))
		return EXS_ETIMEDOUT;
	return stop;
}

static void look_for_stop(struct run *r, double now)
{
	int stop = stop_of(r);

	if (stop == EXS_ESHUTDOWN) {
		r->stopping = stop;
		cut_all(r, stop);
	} else if (stop && !r->stopping) {
		r->stopping = stop;
		hurry(r, now);
	}
	if (!r->stopping && now - r->last >= r->batch->quiet) {
		r->stopping = EXS_ETIMEDOUT;
		cut_all(r, EXS_ETIMEDOUT);
	}
}

static void cut_late(struct run *r, double now)
{
	for (size_t i = 0; i < r->width; i++) {
		struct exsi_http_transfer *t = r->session->slots[i];
		if (t && t->active && now >= t->deadline)
			finish(r, t, CURLE_OK, r->stopping ? r->stopping : EXS_ETIMEDOUT);
	}
}

/* --- the loop --- */

static double earliest(double a, double b)
{
	return a < b ? a : b;
}

static int milliseconds_left(struct run *r, double now)
{
	double left = r->last + r->batch->quiet - now;

	if (r->batch->ctx && !r->stopping)
		left = earliest(left, exs_context_time_left(r->batch->ctx));
	for (size_t i = 0; i < r->width; i++) {
		struct exsi_http_transfer *t = r->session->slots[i];
		if (t && t->active)
			left = earliest(left, t->deadline - now);
	}
	if (left <= 0)
		return 0;
	return left * 1000 < INT_MAX ? (int)(left * 1000) + 1 : INT_MAX;
}

/* false: libcurl can't go on. */
static bool turn(struct run *r)
{
	CURLM *multi = r->session->multi;
	int running;

	if (curl_multi_perform(multi, &running))
		return false;
	collect(r);
	double now = exs_clock_now(NULL);
	look_for_stop(r, now);
	cut_late(r, now);
	if (!r->active || (r->active < r->width && r->next < r->batch->n && !r->stopping))
		return true;
	return !curl_multi_poll(multi, NULL, 0, milliseconds_left(r, now), NULL);
}

static void drive(struct run *r)
{
	r->last = exs_clock_now(NULL);
	look_for_stop(r, r->last);
	begin_some(r);
	while (r->active && turn(r))
		begin_some(r);
	cut_all(r, EXS_ENOMEM);
}

static int never_sent(struct run *r)
{
	return r->stopping ? r->stopping : EXS_ENOMEM;
}

void exsi_http_run(const struct exsi_http_batch *batch)
{
	struct run r = {.batch = batch, .width = batch->parallel < batch->n ? batch->parallel : batch->n};
	struct exsi_http_sigpipe held;
	exs_error *error = NULL;

	r.session = exsi_http_session_open(batch->client, r.width, &error);
	if (r.session && batch->ctx && exs_context_on_cancel(batch->ctx, exsi_http_session_cancel, r.session)) {
		error = exsi_http_no_memory();
	} else if (r.session) {
		exsi_http_sigpipe_hold(&held);
		drive(&r);
		exsi_http_sigpipe_release(&held);
		if (batch->ctx)
			exs_context_off_cancel(batch->ctx, exsi_http_session_cancel, r.session);
	}
	if (r.session)
		exsi_http_session_close(r.session, r.width);
	if (!error && r.next < batch->n)
		error = exs_error_new(&exs_domain_exs, never_sent(&r), "not sent: %s", exs_strerror(never_sent(&r)));
	for (; r.next < batch->n; r.next++)
		refuse(&r, r.next, exs_error_ref(error));
	exs_error_unref(error);
}

/* --- one request --- */

void exs_http_response_clear(exs_http_response *response)
{
	if (!response)
		return;
	free(response->body);
	*response = (exs_http_response){0};
}

struct one {
	const exs_http_request *request;
	exs_http_response *response;
	exs_error *error;
};

static bool one_request(void *arg, size_t i, exs_http_request *request)
{
	(void)i;
	*request = *((struct one *)arg)->request;
	return true;
}

static void one_done(void *arg, size_t i, exs_error *error, exs_http_response *response)
{
	struct one *one = arg;

	(void)i;
	*one->response = *response;
	one->error = error;
}

exs_error *exs_http_perform_sized(exs_http_client *client, exs_context *ctx, const exs_http_request *request,
				  size_t size, exs_http_response *response)
{
	exs_http_request r;
	struct one one = {&r, response, NULL};
	struct exsi_http_batch batch = {
		.client = client,
		.ctx = ctx,
		.n = 1,
		.parallel = 1,
		.quiet = EXS_FOREVER,
		.arg = &one,
		.request = one_request,
		.done = one_done,
	};

	if (response)
		*response = (exs_http_response){0};
	if (!client || !request || !response)
		return exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_http_perform: %s is NULL",
				     !client	? "client"
				     : !request ? "request"
						: "response");
	if (!exsi_http_options(&r, sizeof(r), request, size))
		return exs_error_new(&exs_domain_exs, EXS_EINVAL,
				     "exs_http_perform: a request that this library does not know");
	exsi_http_run(&batch);
	return one.error;
}
