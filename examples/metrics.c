/* A chain at work, and its metrics over HTTP: /metrics for Prometheus, /alive for what is under way.
   Usage: metrics [NAME [TASK]]: the names of the chain and of its task. Serves until its standard input ends. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <executors/executors.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CALLS = 60 };

/* --- the work --- */

static atomic_uint attempts, cancelled, failed;

/* Every third order fails at first, every tenth for ever, every seventh gives up. */
static exs_result order(void *number, exs_context *ctx)
{
	intptr_t n = (intptr_t)number;

	atomic_fetch_add(&attempts, 1);
	if (n % 7 == 0)
		return exs_cancelled();
	if (n % 10 == 0 || (n % 3 == 0 && exs_context_attempt(ctx) == 1))
		return exs_fail(exs_error_new(&exs_domain_errno, 11, "order %d: the shop is busy", (int)n));
	return exs_ok(number, NULL);
}

static void count(exs_future *f, void *unused)
{
	(void)unused;
	atomic_fetch_add(&cancelled, exs_future_state(f) == EXS_STATE_CANCELLED);
	atomic_fetch_add(&failed, exs_future_state(f) == EXS_STATE_ERROR);
}

static exs_executor *chain(const char *name)
{
	exs_retry_options retry = {.max_attempts = 3, .sleep = 0.01};
	exs_executor *ex = exs_with_name(exs_thread_pool(4), name);

	ex = exs_with_retry(ex, &retry);
	ex = exs_with_throttle(ex, 8, NULL);
	return exs_with_timeout(ex, 30);
}

static void take_orders(exs_executor *ex, const char *task)
{
	exs_scope *scope = exs_scope_new_with(&(exs_scope_options){.on_error = EXS_ON_ERROR_GO_ON});

	for (intptr_t i = 1; i <= CALLS; i++) {
		exs_task order_task = {.fn = order, .arg = (void *)i, .name = task};
		exs_future *f = exs_scope_submit_with(scope, ex, &order_task);
		exs_future_on_done(f, count, NULL, NULL);
		exs_future_unref(f);
	}
	exs_error_unref(exs_scope_close(scope));
}

/* --- what is served --- */

struct page {
	char *text;
	size_t n;
	bool short_of_memory;
};

static bool add(void *page, const char *text, size_t n)
{
	struct page *p = page;
	char *longer = realloc(p->text, p->n + n);

	p->short_of_memory = !longer;
	if (!longer)
		return false;
	memcpy(longer + p->n, text, n);
	p->text = longer;
	p->n += n;
	return true;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, struct page *p)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(p->n, p->text, MHD_RESPMEM_MUST_FREE);

	if (!response) {
		free(p->text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
	enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result on_request(void *unused, struct MHD_Connection *connection, const char *path, const char *method,
				  const char *version, const char *data, size_t *size, void **state)
{
	struct page page = {NULL, 0, false};
	unsigned status = MHD_HTTP_OK;

	(void)unused, (void)method, (void)version, (void)data, (void)size, (void)state;
	/* [metrics] */
	if (!strcmp(path, "/metrics"))
		exs_metrics_write(add, &page);
	else if (!strcmp(path, "/alive"))
		exs_dump_alive(add, &page);
	else
		status = MHD_HTTP_NOT_FOUND;
	/* [metrics] end */
	return answer(connection, page.short_of_memory ? MHD_HTTP_INTERNAL_SERVER_ERROR : status, &page);
}

static struct MHD_Daemon *serve(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	return MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD, 0, NULL, NULL, on_request, NULL, MHD_OPTION_SOCK_ADDR,
				&address, MHD_OPTION_END);
}

int main(int argc, char **argv)
{
	if (getopt(argc, argv, "") != -1 || argc - optind > 2) {
		fprintf(stderr, "usage: metrics [NAME [TASK]]\n");
		return 2;
	}
	argv += optind;
	argc -= optind;
	exs_metrics_enable(true);
	exs_alive_enable(true);
	exs_executor *ex = chain(argc > 0 ? argv[0] : "shop");
	struct MHD_Daemon *daemon = serve();

	if (!ex || !daemon) {
		fprintf(stderr, "%s\n", ex ? "no HTTP server" : exs_error_message(exs_last_error()));
		return 1;
	}
	printf("http://127.0.0.1:%u/metrics\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	take_orders(ex, argc > 1 ? argv[1] : "order");
	printf("calls %d, attempts %u, failed %u, cancelled %u\n", CALLS, attempts, failed, cancelled);
	fflush(stdout);
	while (getchar() != EOF)
		;
	MHD_stop_daemon(daemon);
	exs_executor_free(ex);
	return 0;
}
