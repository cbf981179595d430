/* Streams: a function of each of many inputs, on any executor; results in order, a bounded number ahead of who reads them. Follow
   Executor.map of concurrent.futures, the tasks of pfmq and the item producers of AsynQueue; stages may be put one behind the other. */
#ifndef EXECUTORS_STREAM_H
#define EXECUTORS_STREAM_H

#include <executors/executor.h>
#include <executors/set.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Items go in at one end, as calls of an executor, and come out at the other, each a future that is done:

     exs_stream *s = exs_stream_new(pool, fetch, next_url, &urls, NULL);
     while (exs_stream_next(s, &item, EXS_FOREVER) == EXS_ITEM) {
	     use(exs_future_value(item.future));
	     exs_future_unref(item.future);
     }
     exs_stream_free(s);

   At most max_results items are in a stream: begun, or done and not read. So a reader that is slow makes production wait, and neither it nor
   an item that is slow makes memory grow. An item that fails or is cancelled is read as any other, and the stream goes on.
   The executor is borrowed: if it is shut down, items fail with EXS_ESHUTDOWN; freed, it lives on until the stream is. */
typedef struct exs_stream exs_stream;

typedef struct exs_item {
	uint64_t number;    /* from 0, in the order of the inputs, or of the calls that produced them */
	exs_future *future; /* done; a reference, the reader's */
} exs_item;

/* Sets *input, preset to exs_ok(NULL, NULL), to the next one: a value, whose destroy runs once after the last attempt that could read it.
   Anything else means that the source has failed: the stream ends with that error (exs_cancelled: EXS_ECANCELLED) after the items before.
   false: there is no more. Never runs twice at a time, nor after an answer that ended it or the return of exs_stream_free; runs
   where room is made: in exs_stream_new, exs_stream_next, exs_stream_resume; of stages, also where items are done. It should not block for
   long (what may have to be waited for is pushed: exs_stream_produce), and must not read the stream. */
typedef bool exs_source_fn(void *ctx, exs_result *input);

/* 0 or NULL is the default. */
typedef struct exs_stream_options {
	size_t max_results; /* items in it at a time, at least 1; 1024, of a batch 1; EXS_UNLIMITED */
	bool as_completed;  /* items are read in the order in which they are done, not in that of the inputs */
	bool stop_on_error; /* the first item that fails ends the stream, as exs_stream_stop with its error, and is not read itself;
			       those after it (in order; or all that are not done) are cancelled, for EXS_CAUSE_SIBLING */
	/* Of streams that have inputs: when for so many seconds (on the executor's clock) no item has been answered and none begun, those
	   that are not done are taken for lost, asked to stop (EXS_CAUSE_TIMEOUT), and submitted once more; after max_retries times in
	   a row they fail with EXS_ETIMEDOUT. Any answer begins the count anew. fn may then run twice at a time for an input. It is looked
	   at in steps of an eighth of that time, so that it may be a quarter more.
	   Items of which each takes longer, with none done meanwhile, need a longer one, or EXS_UNLIMITED. For a limit of each item's own
	   time put a timeout on the executor. */
	double timeout;	      /* seconds, more than 0; 10; EXS_UNLIMITED */
	unsigned max_retries; /* 3; EXS_NONE; EXS_UNLIMITED */
	/* encode makes of each input (a value, which it takes over) what fn gets, where the source runs; decode of each value what the
	   reader gets, in exs_stream_next. Where they answer an error the item fails: with its domain and code, and a message that tells
	   the item's number. NULL: nothing is done. */
	exs_map_fn *encode, *decode;
	void *codec; /* their ctx */
	exs_free_fn *codec_free;
	exs_free_fn *source_free; /* of the source's ctx; both run once, after the last use, also on failure */
	const exs_task
		*task; /* options of each call (name, priority, timeout, retry, series, place), copied but for what
				     they point to; its fn, arg and arg_free must be NULL */
} exs_stream_options;

/* New stream of fn(input) on ex, for each input that source(ctx) gives. It begins at once, max_results items ahead of the reader; where tasks
   run within their submit (inline) only one, and the next when that is read. With source NULL a push stream, of
   what exs_stream_produce and its kind bring (fn and ctx are NULL, too; ex may be). options may be NULL. NULL and exs_last_error on
   failure. May run user code, and block as exs_submit does. */
EXS_API exs_stream *exs_stream_new_sized(exs_executor *ex, exs_task_fn *fn, exs_source_fn *source, void *ctx,
					 const exs_stream_options *options, size_t size);

static inline exs_stream *exs_stream_new(exs_executor *ex, exs_task_fn *fn, exs_source_fn *source, void *ctx,
					 const exs_stream_options *options)
{
	return exs_stream_new_sized(ex, fn, source, ctx, options, sizeof(*options));
}

/* Cancels the stream (exs_stream_cancel), and frees it and the streams that it takes its inputs from. Waits for a source that is running on
   another thread, not for tasks. No other call on the stream may be under way. NULL is allowed. */
EXS_API void exs_stream_free(exs_stream *stream);

/* --- reading --- */

/* Hands out the next item, waiting up to `seconds` (0: does not wait), and has the next one begun. EXS_ITEM: *item is the caller's;
   otherwise its future is NULL. EXS_TIMEOUT. EXS_EMPTY: the stream has ended. EXS_FAILED: it ends with an error, told once, after the items
   before, from then on it is EXS_EMPTY; or the wait could not be made, or there was no memory for an item, which then is lost and
   named: it goes on; exs_last_error says which. On a worker of the pool that is to run what is waited for it is run here if it has
   not begun. MT-safe: several readers get each item once. May run user code, and block in a submit. */
EXS_API exs_set_status exs_stream_next(exs_stream *stream, exs_item *item, double seconds);

/* A descriptor as exs_set_fd's, readable while exs_stream_next would not have to wait. MT-safe. */
EXS_API int exs_stream_fd(exs_stream *stream);

/* Items in the stream: begun or done, and not read. MT-safe. */
EXS_API size_t exs_stream_count(exs_stream *stream);

/* Why it has ended, or will when what is before is read; EXS_ECANCELLED: it was cancelled. NULL: it has not, or with the last of its items.
   Borrowed, until the stream is freed. MT-safe. */
EXS_API exs_error *exs_stream_error(exs_stream *stream);

/* --- its end; all of these are MT-safe --- */

/* Ends it now: the source is not asked any more, what is not done is cancelled (EXS_CAUSE_USER), what is done is dropped, readers and
   producers that wait return. One that has ended stays as it is. Runs user code as exs_future_cancel_all. */
EXS_API void exs_stream_cancel(exs_stream *stream);

/* Ends it after the items that are in it: with the error (one reference, taken over), if it is not NULL and none has come before. Of a
   stage, that which it takes its inputs from is stopped, and what is on its way still comes. */
EXS_API void exs_stream_stop(exs_stream *stream, exs_error *error);

/* Between the two none is begun: the source is not asked, and what is produced keeps its place and waits. What has begun goes on, and can be
   read. */
EXS_API void exs_stream_pause(exs_stream *stream);
EXS_API void exs_stream_resume(exs_stream *stream);

/* --- push streams: the place of an item is the order of the calls; all are MT-safe --- */

/* Submits fn(arg) to the stream's executor as the next item; answers its future (the caller's reference). Blocks while max_results items are
   in the stream, which a reader has to end: on one thread use try_produce, which fails with EXS_EREJECTED then. After the stream's end fn does
   not run, and the future is done at once with the value NULL. NULL only when memory is short. Otherwise as exs_submit_with. */
EXS_API exs_future *exs_stream_produce(exs_stream *stream, exs_task_fn *fn, void *arg);
EXS_API exs_future *exs_stream_produce_with_sized(exs_stream *stream, const exs_task *task, size_t size);
EXS_API exs_future *exs_stream_try_produce_sized(exs_stream *stream, const exs_task *task, size_t size);

static inline exs_future *exs_stream_produce_with(exs_stream *stream, const exs_task *task)
{
	return exs_stream_produce_with_sized(stream, task, sizeof(*task));
}

static inline exs_future *exs_stream_try_produce(exs_stream *stream, const exs_task *task)
{
	return exs_stream_try_produce_sized(stream, task, sizeof(*task));
}

/* For items that come from elsewhere: answers a future (its reference is taken over) of anything. NULL is an error as with
   exs_flat_map_fn. */
typedef exs_future *exs_produce_fn(void *arg);

/* Runs fn(arg) here, now, also while the stream is paused; the outcome of the future that it answers is the next item. Answers another
   reference of that. Otherwise as exs_stream_produce. */
EXS_API exs_future *exs_stream_produce_async(exs_stream *stream, exs_produce_fn *fn, void *arg);

/* The next item is this result, which is taken over in any case; waits up to `seconds` for room. Answers 0, EXS_ETIMEDOUT, EXS_EALREADY (the
   stream has ended), EXS_ENOMEM, EXS_EINVAL, EXS_EDEADLK, EXS_EFORK. */
EXS_API int exs_stream_push(exs_stream *stream, exs_result result, double seconds);

/* --- stages: a stream takes its inputs from another, which it takes over, also on failure. NULL in gives NULL out --- */

/* New stream of fn(value) on ex for each value that `in` brings, in the order in which it brings them. The value is in's and lives until the
   last attempt that could read it. An item that has failed or was cancelled keeps its place and is read as it is, without fn. Items move on
   by themselves, on the threads that complete them. When the stream is cancelled, or ends with an error, so is `in` cancelled; the end and
   the error of `in` are its own. `in` may still be produced for, counted and paused. Stages take stack, one below the other: some tens
   are fine. Options as above (source_free is NULL). */
EXS_API exs_stream *exs_stream_map_sized(exs_stream *in, exs_executor *ex, exs_task_fn *fn,
					 const exs_stream_options *options, size_t size);

static inline exs_stream *exs_stream_map(exs_stream *in, exs_executor *ex, exs_task_fn *fn,
					 const exs_stream_options *options)
{
	return exs_stream_map_sized(in, ex, fn, options, sizeof(*options));
}

/* The value of an item of a batch: n items, which it owns; failed ones are among them. */
typedef struct exs_items {
	size_t n; /* 1 or more */
	exs_item *items;
} exs_items;

/* New stream whose items are the items of `in`, n by n; fewer at its end, or when `seconds` (on `in`'s clock, from the first of a batch) are over
   (EXS_FOREVER: they don't count; 0: each gets what there is). The value of each is an exs_items. While max_results batches
   (1) wait nothing more is taken from `in`. Of the options only max_results counts; decode and codec, too. */
EXS_API exs_stream *exs_stream_batch_sized(exs_stream *in, size_t n, double seconds, const exs_stream_options *options,
					   size_t size);

static inline exs_stream *exs_stream_batch(exs_stream *in, size_t n, double seconds, const exs_stream_options *options)
{
	return exs_stream_batch_sized(in, n, seconds, options, sizeof(*options));
}

#ifdef __cplusplus
}
#endif
#endif
