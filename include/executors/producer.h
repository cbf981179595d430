/* Ordered producer: many threads produce, one blocking function consumes what they produce, in order. Follows AsynQueue's
   OrderedItemProducer. */
#ifndef EXECUTORS_PRODUCER_H
#define EXECUTORS_PRODUCER_H

#include <executors/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A push stream of which the first item that fails is the end, and a function that reads it on a thread of a pool:

     exs_producer *p = exs_producer_new(pool, NULL);
     exs_future_unref(exs_producer_start(p, pool, write_all, file, NULL));
     for (i = 0; i < n; i++)
	     exs_future_unref(exs_producer_produce(p, render, &frames[i]));
     exs_future *written = exs_producer_stop(p, NULL);   (what write_all returns) */
typedef struct exs_producer exs_producer;

/* Reads items (exs_stream_next) until there is none, or for as long as it likes; the stream is the producer's. When its call is asked to
   stop, so is the stream. */
typedef exs_result exs_consumer_fn(exs_stream *items, void *arg, exs_context *ctx);

/* New producer of items made on ex, which is borrowed as a stream's; NULL: of asynchronous ones alone. options as for a push stream
   (stop_on_error is set; source_free is NULL); they may be NULL. NULL and exs_last_error on failure. */
EXS_API exs_producer *exs_producer_new_sized(exs_executor *ex, const exs_stream_options *options, size_t size);

static inline exs_producer *exs_producer_new(exs_executor *ex, const exs_stream_options *options)
{
	return exs_producer_new_sized(ex, options, sizeof(*options));
}

/* Submits the consumer, once, to ex: it may be the executor of the items, also with a single worker. Answers a future (the caller's
   reference) that is done, with the value NULL, when fn has started, or fails as the submit does. Items produced before are not
   begun until then. arg_free(arg), if not NULL, follows fn, also when it does not run. A second start, or one after the stop, is an error
   EXS_EALREADY. NULL only when memory is short. MT-safe. */
EXS_API exs_future *exs_producer_start(exs_producer *producer, exs_executor *ex, exs_consumer_fn *fn, void *arg,
				       exs_free_fn *arg_free);

/* As exs_stream_produce and the others: the place of an item is the order of the calls. After the stop, after an item has failed, or when
   the consumer has returned fn does not run, and the future is done at once with the value NULL. An item that is asynchronous (a
   function that answers a future) is begun at once, also before the start. MT-safe. */
EXS_API exs_future *exs_producer_produce(exs_producer *producer, exs_task_fn *fn, void *arg);
EXS_API exs_future *exs_producer_produce_with_sized(exs_producer *producer, const exs_task *task, size_t size);
EXS_API exs_future *exs_producer_produce_async(exs_producer *producer, exs_produce_fn *fn, void *arg);

static inline exs_future *exs_producer_produce_with(exs_producer *producer, const exs_task *task)
{
	return exs_producer_produce_with_sized(producer, task, sizeof(*task));
}

/* Between the two no item is begun (asynchronous ones apart): those that are produced wait in their places. MT-safe. */
EXS_API void exs_producer_pause(exs_producer *producer);
EXS_API void exs_producer_resume(exs_producer *producer);

/* No more items: the consumer gets those that there are, and the end. Does not wait: answers a future (the caller's reference) of what the
   consumer returns; but of the first error, if an item has failed, or one is given (a reference, taken over). Its cancel cancels
   the items and asks the consumer to stop. Of one that was not started: NULL, or that error, at once, and its items are cancelled. After the first stop:
   done at once with the value NULL. A pause ends. NULL only when memory is short. MT-safe. */
EXS_API exs_future *exs_producer_stop(exs_producer *producer, exs_error *error);

/* Ends it now: items that are not done are cancelled, the others dropped, the consumer gets the end. MT-safe. */
EXS_API void exs_producer_cancel(exs_producer *producer);

/* Frees it. Without a stop before: cancels it. The consumer is not waited for, the stream lives until it has returned. NULL is allowed. */
EXS_API void exs_producer_free(exs_producer *producer);

#ifdef __cplusplus
}
#endif
#endif
