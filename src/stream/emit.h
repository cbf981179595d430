/* Tasks of iterators and streams that run in another process: their items come in without waiting, and who emits is told when there is room. */
#ifndef EXSI_STREAM_EMIT_H
#define EXSI_STREAM_EMIT_H

#include "stream/stream.h"

/* What a call is to run, where it is not run here: without what iterators and streams put around it; borrowed from the call. */
struct exsi_work {
	exs_task_fn *fn;
	void *arg;
	exs_stream *stream; /* of an iterator: where its items go; or NULL */
};
struct exsi_work exsi_work_of(exs_future *call);

/* The next item, also where there is no room; takes over the result. 0, EXS_EALREADY (nobody reads any more), EXS_ENOMEM. */
int exsi_emit_beyond(exs_stream *s, exs_result result);

/* How many items there is room for now, and a future, with a user's reference, that is done when there is some, or *closed: nobody reads any more. NULL:
   no memory. */
exs_future *exsi_stream_room(exs_stream *s, size_t *room, bool *closed);

#endif
