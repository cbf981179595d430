/* Process pool inside: the transport of a remote pool whose workers are processes of this machine. */
#ifndef EXSI_PROCESS_PROCESS_POOL_H
#define EXSI_PROCESS_PROCESS_POOL_H

#include "process/remote.h"

/* The leaf's state. */
struct exsi_process_pool {
	struct exsi_remote_pool remote; /* first */
	int epoll, bell;		/* bell: an eventfd */
	atomic_bool rung;
	atomic_ullong sent;	/* bytes of payload */
	bool due;		/* its thread's: exsi_remote_turn may find something */
	uint64_t next;		/* the same: and then in any case; ns */
	struct exsi_list ended; /* the same: processes to be released when no event of them is left */
	struct exsi_crew crew;
	struct exsi_worker worker; /* the thread as one that waits: in vain for a call of the pool's */
};

extern const struct exsi_transport exsi_process_transport;

/* Starts its thread. 0 or an errno; end is to be called in any case. */
int exsi_process_pool_begin(struct exsi_process_pool *p);

/* No call is left: ends the workers and the thread. */
void exsi_process_pool_end(struct exsi_process_pool *p);

long exsi_process_pid(const struct exsi_remote *w);

#endif
