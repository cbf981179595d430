/* The error domains of executors-http, and which errors are worth another attempt. */
#define _GNU_SOURCE
#include "http/http.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char *curl_describe(int code)
{
	return curl_easy_strerror((CURLcode)code);
}

static const char *http_describe(int status)
{
	if (status >= 300 && status < 400)
		return "redirected";
	if (status >= 400 && status < 500)
		return "refused by the service";
	return status >= 500 && status < 600 ? "failed at the service" : NULL;
}

static const char *jobs_describe(int code)
{
	static const char *const text[] = {
		[EXS_JOBS_EANSWER] = "the service's answer can't be used",
		[EXS_JOBS_EFAILED] = "the job ended in error",
		[EXS_JOBS_ECANCELLED] = "the job was cancelled at the service",
		[EXS_JOBS_EUNKNOWN] = "the service does not know the task",
		[EXS_JOBS_ESTATE] = "the task is in an unknown state",
	};

	return code > 0 && (size_t)code < sizeof(text) / sizeof(*text) ? text[code] : NULL;
}

const exs_domain exs_domain_curl = {sizeof(exs_domain), "curl", curl_describe};
const exs_domain exs_domain_http = {sizeof(exs_domain), "http", http_describe};
const exs_domain exs_domain_jobs = {sizeof(exs_domain), "jobs", jobs_describe};

exs_error *exsi_http_no_memory(void)
{
	return exs_error_new(&exs_domain_exs, EXS_ENOMEM, "out of memory");
}

char *exsi_http_shown_url(const char *url)
{
	CURLU *parts = curl_url();
	const unsigned lenient = CURLU_PATH_AS_IS | CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME;
	char *text = NULL, *shown;

	if (!parts)
		return NULL;
	if (!curl_url_set(parts, CURLUPART_URL, url, lenient) && !curl_url_set(parts, CURLUPART_USER, NULL, 0) &&
	    !curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0))
		(void)curl_url_get(parts, CURLUPART_URL, &text, 0);
	curl_url_cleanup(parts);
	shown = strdup(text ? text : "an unusable URL");
	curl_free(text);
	return shown;
}

/* --- retry --- */

static const exs_retry_code others[] = {
	{&exs_domain_http, 429},
	{&exs_domain_exs, EXS_ETIMEDOUT},
	{&exs_domain_curl, CURLE_COULDNT_RESOLVE_PROXY},
	{&exs_domain_curl, CURLE_COULDNT_RESOLVE_HOST},
	{&exs_domain_curl, CURLE_COULDNT_CONNECT},
	{&exs_domain_curl, CURLE_HTTP2},
	{&exs_domain_curl, CURLE_PARTIAL_FILE},
	{&exs_domain_curl, CURLE_OPERATION_TIMEDOUT},
	{&exs_domain_curl, CURLE_SSL_CONNECT_ERROR},
	{&exs_domain_curl, CURLE_GOT_NOTHING},
	{&exs_domain_curl, CURLE_SEND_ERROR},
	{&exs_domain_curl, CURLE_RECV_ERROR},
	{&exs_domain_curl, CURLE_HTTP2_STREAM},
};

enum { OTHERS = sizeof(others) / sizeof(*others), STATUS_5XX = 100 };
static exs_retry_code codes[STATUS_5XX + OTHERS];
static pthread_once_t codes_once = PTHREAD_ONCE_INIT;

static void fill_codes(void)
{
	memcpy(codes, others, sizeof(others));
	for (int i = 0; i < STATUS_5XX; i++)
		codes[OTHERS + i] = (exs_retry_code){&exs_domain_http, 500 + i};
}

const exs_retry_code *exs_http_retry_codes(size_t *n)
{
	pthread_once(&codes_once, fill_codes);
	if (n)
		*n = sizeof(codes) / sizeof(*codes);
	return codes;
}
