/* An epoll loop of one's own, in one thread, that hears of jobs as they complete. Beside it ticks a timer, as a program's other
   events would: the jobs never make it wait. */
#define _GNU_SOURCE
#include "loop_jobs.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void all_done(void *over)
{
	*(bool *)over = true;
}

static bool watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return fd >= 0 && !epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static int ticker(void)
{
	const struct itimerspec every = {{0, 100000000}, {0, 100000000}};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	return fd < 0 || timerfd_settime(fd, 0, &every, NULL) ? -1 : fd;
}

static void tick(int timer)
{
	uint64_t times;

	if (read(timer, &times, sizeof(times)) > 0)
		fprintf(stderr, "tick\n");
}

int main(void)
{
	struct epoll_event event;
	bool over = false;
	struct loop_jobs *jobs = loop_jobs_start(all_done, &over);
	int epoll = epoll_create1(EPOLL_CLOEXEC), timer = ticker();

	if (!jobs || !watch(epoll, loop_jobs_fd(jobs)) || !watch(epoll, timer))
		return 1;
	while (!over) {
		if (epoll_wait(epoll, &event, 1, -1) != 1)
			continue;
		if (event.data.fd == timer)
			tick(timer);
		else
			loop_jobs_poll(jobs); /* the callbacks run here */
	}
	close(timer);
	close(epoll);
	return loop_jobs_end(jobs);
}
