/* Items of an iterator whose task runs in another process: they come in without waiting, and who emits is told when there is room. */
#ifndef EXSI_STREAM_EMIT_H
#define EXSI_STREAM_EMIT_H

#include "stream/stream.h"

/* The task of an iterator: its stream, and what it was to run; all borrowed from the call. stream NULL: it is none. */
struct exsi_emitting {
	exs_stream *stream;
	exs_task_fn *fn;
	void *arg;
};
struct exsi_emitting exsi_emitting(exs_future *task);

/* The next item, also where there is no room; takes over the result. 0, EXS_EALREADY (nobody reads any more), EXS_ENOMEM. */
int exsi_emit_beyond(exs_stream *s, exs_result result);

/* How many items there is room for now, and a future, with a user's reference, that is done when there is some, or *closed: nobody reads any more. NULL:
   no memory. */
exs_future *exsi_stream_room(exs_stream *s, size_t *room, bool *closed);

#endif
