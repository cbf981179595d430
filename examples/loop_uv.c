/* The same inside libuv: a poll handle on the event loop's descriptor, a timer beside it. */
#define _GNU_SOURCE
#include "loop_jobs.h"

#include <stdio.h>
#include <uv.h>

static uv_poll_t handle;
static uv_timer_t timer;

/* On libuv's thread, in a callback of the event loop: with its handles closed, uv_run returns. */
static void all_done(void *ctx)
{
	(void)ctx;
	uv_close((uv_handle_t *)&handle, NULL);
	uv_close((uv_handle_t *)&timer, NULL);
}

static void readable(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events;
	loop_jobs_poll(poll->data);
}

static void tick(uv_timer_t *t)
{
	(void)t;
	fprintf(stderr, "tick\n");
}

int main(void)
{
	uv_loop_t *loop = uv_default_loop();
	struct loop_jobs *jobs = loop_jobs_start(all_done, NULL);

	if (!jobs || uv_poll_init(loop, &handle, loop_jobs_fd(jobs)) || uv_timer_init(loop, &timer))
		return 1;
	handle.data = jobs;
	uv_poll_start(&handle, UV_READABLE, readable);
	uv_timer_start(&timer, tick, 100, 100);
	uv_run(loop, UV_RUN_DEFAULT);
	uv_loop_close(loop);
	return loop_jobs_end(jobs);
}
