/* The same inside GLib's main loop: a source on the event loop's descriptor, a timeout beside it. */
#include "loop_jobs.h"

#include <glib-unix.h>
#include <stdio.h>

static void all_done(void *loop)
{
	g_main_loop_quit(loop);
}

static gboolean readable(gint fd, GIOCondition condition, gpointer jobs)
{
	(void)fd, (void)condition;
	loop_jobs_poll(jobs);
	return G_SOURCE_CONTINUE;
}

static gboolean tick(gpointer data)
{
	(void)data;
	fprintf(stderr, "tick\n");
	return G_SOURCE_CONTINUE;
}

int main(void)
{
	GMainLoop *loop = g_main_loop_new(NULL, FALSE);
	struct loop_jobs *jobs = loop_jobs_start(all_done, loop);

	if (!jobs)
		return 1;
	guint source = g_unix_fd_add(loop_jobs_fd(jobs), G_IO_IN, readable, jobs);
	guint timeout = g_timeout_add(100, tick, NULL);
	g_main_loop_run(loop);
	g_source_remove(source); /* before its descriptor is closed */
	g_source_remove(timeout);
	g_main_loop_unref(loop);
	return loop_jobs_end(jobs);
}
