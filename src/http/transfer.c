/* One request on one easy handle: its options, its answer, and what went wrong as an error made for a person. */
#define _GNU_SOURCE
#include "http/http.h"

#include <stdlib.h>
#include <string.h>

enum { DISCARD_MAX = 64 << 10 }; /* of a body nobody reads, so that the connection can be used again */

struct exsi_http_transfer *exsi_http_transfer_new(void)
{
	struct exsi_http_transfer *t = calloc(1, sizeof(*t));

	if (t && !(t->easy = curl_easy_init())) {
		free(t);
		return NULL;
	}
	return t;
}

static void clear(struct exsi_http_transfer *t)
{
	curl_slist_free_all(t->headers);
	free(t->method);
	free(t->url);
	free(t->body);
	t->headers = NULL;
	t->method = t->url = t->body = NULL;
	t->size = t->room = 0;
}

void exsi_http_transfer_free(struct exsi_http_transfer *t)
{
	if (!t)
		return;
	curl_easy_cleanup(t->easy);
	clear(t);
	free(t);
}

/* --- options --- */

static void set_long(struct exsi_http_transfer *t, CURLoption option, long value)
{
	if (!t->rc)
		t->rc = curl_easy_setopt(t->easy, option, value);
}

static void set_pointer(struct exsi_http_transfer *t, CURLoption option, const void *value)
{
	if (!t->rc)
		t->rc = curl_easy_setopt(t->easy, option, value);
}

static void set_size(struct exsi_http_transfer *t, CURLoption option, size_t value)
{
	if (!t->rc)
		t->rc = curl_easy_setopt(t->easy, option, (curl_off_t)value);
}

/* Options that differ between the versions of libcurl. */
static bool set_by_name(struct exsi_http_transfer *t, const char *name, const char *text, long number)
{
	const struct curl_easyoption *option = curl_easy_option_by_name(name);

	if (!option)
		return false;
	if (text)
		set_pointer(t, option->id, text);
	else
		set_long(t, option->id, number);
	return true;
}

static void set_milliseconds(struct exsi_http_transfer *t, CURLoption option, double seconds)
{
	const double most = 1e9; /* eleven days */

	set_long(t, option, seconds * 1000 < most ? (long)(seconds * 1000) + 1 : (long)most);
}

static bool is_success(long status)
{
	return status >= 200 && status < 300;
}

/* The status of the final answer, 0 if none began. */
static long status_of(struct exsi_http_transfer *t)
{
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return status < 200 ? 0 : status;
}

static bool make_room(struct exsi_http_transfer *t, size_t n)
{
	size_t room = t->room ? t->room : 512;
	char *body;

	while (room < t->size + n + 1)
		room *= 2;
	if (room == t->room)
		return true;
	if (!(body = realloc(t->body, room)))
		return false;
	t->body = body;
	t->room = room;
	return true;
}

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
	struct exsi_http_transfer *t = arg;

	(void)one;
	if (!is_success(status_of(t))) { /* only counted */
		t->size += n;
		return t->size <= DISCARD_MAX ? n : 0;
	}
	t->over = n > t->max_body - t->size;
	t->no_memory = !t->over && !make_room(t, n);
	if (t->over || t->no_memory)
		return 0;
	memcpy(t->body + t->size, data, n);
	t->size += n;
	return n;
}

/* libcurl would send a request again, a POST too, when a reused connection closes without an answer: nobody has consented to
   that. */
static int on_send(void *arg, char *to, char *from, int to_port, int from_port)
{
	struct exsi_http_transfer *t = arg;

	(void)to, (void)from, (void)to_port, (void)from_port;
	return ++t->sends > 1 && !t->repeatable ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static bool add_header(struct exsi_http_transfer *t, const char *header)
{
	struct curl_slist *list = curl_slist_append(t->headers, header);

	if (!list)
		t->rc = CURLE_OUT_OF_MEMORY;
	else
		t->headers = list;
	return list;
}

static void set_headers(struct exsi_http_transfer *t, const exs_http_request *request)
{
	char *type = exsi_http_format("Content-Type:%s%s", request->content_type ? " " : "",
				      request->content_type ? request->content_type : "");

	if (!type)
		t->rc = CURLE_OUT_OF_MEMORY;
	if (type && add_header(t, type) && add_header(t, "Expect:"))
		for (const char *const *h = request->headers; h && *h && add_header(t, *h); h++)
			;
	free(type);
	set_pointer(t, CURLOPT_HTTPHEADER, t->headers);
}

static void set_method(struct exsi_http_transfer *t, const exs_http_request *request)
{
	if (!strcmp(t->method, "HEAD")) {
		set_long(t, CURLOPT_NOBODY, 1);
		return;
	}
	if (t->max_body < SIZE_MAX)
		set_size(t, CURLOPT_MAXFILESIZE_LARGE, t->max_body);
	if (request->body_size || !strcmp(t->method, "POST")) {
		set_size(t, CURLOPT_POSTFIELDSIZE_LARGE, request->body_size);
		set_pointer(t, CURLOPT_POSTFIELDS, request->body_size ? request->body : "");
	}
	if (strcmp(t->method, request->body_size ? "POST" : "GET") && strcmp(t->method, "POST"))
		set_pointer(t, CURLOPT_CUSTOMREQUEST, t->method);
}

static void set_all(struct exsi_http_transfer *t, const struct exsi_http_setup *setup, const exs_http_request *request)
{
	curl_easy_reset(t->easy);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_PREREQFUNCTION, on_send);
	set_pointer(t, CURLOPT_WRITEDATA, t);
	set_pointer(t, CURLOPT_PREREQDATA, t);
	set_pointer(t, CURLOPT_PRIVATE, t);
	set_pointer(t, CURLOPT_ERRORBUFFER, t->text);
	set_pointer(t, CURLOPT_URL, t->url);
	set_pointer(t, CURLOPT_USERAGENT, setup->user_agent);
	if (setup->proxy)
		set_pointer(t, CURLOPT_PROXY, setup->proxy);
	set_long(t, CURLOPT_NOSIGNAL, 1);
	set_long(t, CURLOPT_PATH_AS_IS, 1);
	set_milliseconds(t, CURLOPT_CONNECTTIMEOUT_MS, setup->connect_timeout);
	set_by_name(t, "QUICK_EXIT", NULL, 1); /* a cancel does not wait for a name look-up */
	if (!set_by_name(t, "PROTOCOLS_STR", "http,https", 0))
		set_by_name(t, "PROTOCOLS", NULL, CURLPROTO_HTTP | CURLPROTO_HTTPS);
	set_method(t, request);
	set_headers(t, request);
}

static const char *check(const exs_http_request *r)
{
	if (!r->url || !*r->url)
		return "no URL";
	if (r->method && strspn(r->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != strlen(r->method))
		return "the method has other characters than capital letters";
	if (r->body_size && !r->body)
		return "the body is NULL, but body_size is not 0";
	if (!exsi_http_is_duration(r->timeout) || !exsi_http_is_duration(r->grace))
		return "timeout, grace: seconds, 0 or more";
	if (r->content_type && strpbrk(r->content_type, "\r\n"))
		return "a line break in content_type";
	for (const char *const *h = r->headers; h && *h; h++) {
		if (strpbrk(*h, "\r\n"))
			return "a line break in a header";
		if (!strchr(*h, ':'))
			return "a header without a colon: \"Name: value\"";
	}
	return NULL;
}

exs_error *exsi_http_transfer_begin(struct exsi_http_transfer *t, const struct exsi_http_setup *setup,
				    const exs_http_request *request)
{
	const char *wrong = check(request), *method = request->method && *request->method ? request->method : "GET";
	CURL *easy = t->easy;

	if (wrong)
		return exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_http_perform: %s", wrong);
	clear(t);
	*t = (struct exsi_http_transfer){.easy = easy, .max_body = setup->max_body, .index = t->index};
	t->method = strdup(method);
	t->url = strdup(request->url);
	if (!t->method || !t->url)
		return exsi_http_no_memory();
	t->repeatable = request->repeatable || !strcmp(method, "GET") || !strcmp(method, "HEAD") ||
			!strcmp(method, "PUT") || !strcmp(method, "DELETE");
	t->timeout = request->timeout;
	t->grace = request->grace;
	t->deadline = t->timeout > 0 ? exs_clock_now(NULL) + t->timeout : EXS_FOREVER;
	set_all(t, setup, request);
	if (t->rc == CURLE_OUT_OF_MEMORY)
		return exsi_http_no_memory();
	return t->rc ? exs_error_new(&exs_domain_curl, t->rc, "%s %s: %s", method, t->url, curl_easy_strerror(t->rc))
		     : NULL;
}

/* --- what became of it --- */

static exs_error *status_error(struct exsi_http_transfer *t, long status, const char *url)
{
	curl_off_t hint = 0;
	char *to = NULL, *shown = NULL;

	curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &hint);
	curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &to);
	if (to)
		shown = exsi_http_shown_url(to);
	exs_error *error = exs_error_new_retry_after(
		&exs_domain_http, (int)status, hint > 0 ? (double)hint : -1, "HTTP %ld from %s %s%s%s", status,
		t->method, url, to ? ": a redirect, which is not followed, to " : "", to && shown ? shown : "");
	free(shown);
	return error;
}

static exs_error *cut_error(struct exsi_http_transfer *t, int cut, const char *url)
{
	switch (cut) {
	case EXS_ECANCELLED:
		return exs_error_new(&exs_domain_exs, cut, "%s %s: cancelled", t->method, url);
	case EXS_ESHUTDOWN:
		return exs_error_new(&exs_domain_exs, cut, "%s %s: the HTTP client was stopped", t->method, url);
	case EXS_ETIMEDOUT:
		return exs_error_new(&exs_domain_exs, cut, "%s %s: no answer in time", t->method, url);
	default:
		return exs_error_new(&exs_domain_exs, cut, "%s %s: %s", t->method, url, exs_strerror(cut));
	}
}

static exs_error *curl_error(struct exsi_http_transfer *t, CURLcode rc, const char *url)
{
	const char *text = *t->text ? t->text : curl_easy_strerror(rc);

	if (t->no_memory || rc == CURLE_OUT_OF_MEMORY)
		return exs_error_new(&exs_domain_exs, EXS_ENOMEM, "%s %s: out of memory", t->method, url);
	if (t->over || rc == CURLE_FILESIZE_EXCEEDED)
		return exs_error_new(&exs_domain_curl, CURLE_FILESIZE_EXCEEDED,
				     "%s %s: the answer's body is over the limit of %zu bytes", t->method, url,
				     t->max_body);
	if (rc == CURLE_ABORTED_BY_CALLBACK) { /* on_send */
		rc = CURLE_GOT_NOTHING;
		text = "the connection was closed without an answer";
	}
	return exs_error_new(&exs_domain_curl, rc, "%s %s: %s", t->method, url, text);
}

exs_error *exsi_http_transfer_end(struct exsi_http_transfer *t, CURLcode rc, int cut, exs_http_response *response)
{
	long status = status_of(t);

	*response = (exs_http_response){.status = (int)status};
	if (!cut && !rc && is_success(status)) {
		if (t->size)
			t->body[t->size] = 0;
		response->size = t->size;
		response->body = t->body;
		t->body = NULL;
		return NULL;
	}
	char *url = exsi_http_shown_url(t->url);
	const char *shown = url ? url : "(out of memory)";
	exs_error *error;
	if (cut)
		error = cut_error(t, cut, shown);
	else if (status && !is_success(status))
		error = status_error(t, status, shown);
	else if (!rc)
		error = exs_error_new(&exs_domain_curl, CURLE_GOT_NOTHING, "%s %s: no answer", t->method, shown);
	else
		error = curl_error(t, rc, shown);
	free(url);
	return error;
}
