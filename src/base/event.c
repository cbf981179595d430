/* A descriptor that is readable while it is set: an eventfd, or a pipe. */
#define _GNU_SOURCE
#include "base/event.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#if defined(__linux__) && !defined(EXSI_PORTABLE)
#include <sys/eventfd.h>

static int make(int fd[2])
{
	fd[0] = fd[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return fd[0] < 0 ? errno : 0;
}

#else

static int make(int fd[2])
{
	if (pipe(fd))
		return errno;
	for (int i = 0; i < 2; i++) {
		fcntl(fd[i], F_SETFD, FD_CLOEXEC);
		fcntl(fd[i], F_SETFL, O_NONBLOCK);
	}
	return 0;
}

#endif

int exsi_event_make(struct exsi_event *e)
{
	int fd[2];
	int rc = make(fd);

	if (rc)
		return rc;
	e->read_fd = fd[0];
	e->write_fd = fd[1];
	e->set = false;
	return 0;
}

void exsi_event_assign(struct exsi_event *e, bool set)
{
	uint64_t one = 1;

	if (e->read_fd < 0 || e->set == set)
		return;
	e->set = set;
	/* At most one unit is ever inside, so neither call can block or fall short. */
	ssize_t n = set ? write(e->write_fd, &one, sizeof(one)) : read(e->read_fd, &one, sizeof(one));
	(void)n;
}

void exsi_event_close(struct exsi_event *e)
{
	if (e->read_fd < 0)
		return;
	close(e->read_fd);
	if (e->write_fd != e->read_fd)
		close(e->write_fd);
	e->read_fd = e->write_fd = -1;
}
