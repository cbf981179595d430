/* A descriptor that is readable while it is set. */
#ifndef EXSI_BASE_EVENT_H
#define EXSI_BASE_EVENT_H

#include <stdbool.h>

struct exsi_event {
	int read_fd, write_fd; /* -1: not made */
	bool set;
};

/* The caller sees to it that these do not run at the same time. make answers 0 or an errno; set and clear do nothing
   on one that is not made. */
int exsi_event_make(struct exsi_event *event);
void exsi_event_assign(struct exsi_event *event, bool set);
void exsi_event_close(struct exsi_event *event);

#endif
