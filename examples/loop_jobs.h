/* What loop_epoll.c, loop_uv.c and loop_glib.c share: 30 jobs at an embedded job service, and an event loop on which the
   program hears of each. Everything here is called, and runs, on the one thread that turns the loop: there is no lock. */
#ifndef LOOP_JOBS_H
#define LOOP_JOBS_H

#include <executors/executors.h>

struct loop_jobs;

/* Publishes them all. all_done(ctx) runs on the loop after the last. NULL, having said why, on failure. */
struct loop_jobs *loop_jobs_start(void (*all_done)(void *ctx), void *ctx);

/* For the program's own loop: when it can be read, loop_jobs_poll. */
int loop_jobs_fd(struct loop_jobs *jobs);
void loop_jobs_poll(struct loop_jobs *jobs);

/* Prints the summary, ends everything, and answers the exit status. NULL is allowed. */
int loop_jobs_end(struct loop_jobs *jobs);

#endif
