/* Metrics of all executors of the process, as Prometheus reads them. */
#ifndef EXECUTORS_METRICS_H
#define EXECUTORS_METRICS_H

#include <executors/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Begins, or ends, to count: calls that are submitted from now on. Off by default, and then it costs nothing. Executors made before
   appear with their first call. A call that was counted when it began is counted to its end. MT-safe. */
EXS_API void exs_metrics_enable(bool on);

/* Writes all metrics in the text format of Prometheus, version 0.0.4, in pieces, on this thread and under no lock. Each counter is
   monotonic, for the whole life of the process; what counts a call counts it before its future is done (one that a shutdown's time-out
   failed: when its task has ended). A scrape is no snapshot: calls go on meanwhile. Answers false if fn did, or is NULL
   (exs_last_error). MT-safe.

   Labels: executor, the name (exs_with_name; inherited by the layers above); type, the layer's, as in exs_describe. All with the same
   name and type are one series, also those that were freed. The metrics future_* have a label more, task, the name of the task, in
   the series of the executor that a call was submitted to, where it has a name.

     executors_exec_total                  executors made
     executors_exec_inprogress             of these, not shut down or freed
     executors_future_total                calls that reached the executor: each attempt of a retry above, each child of a batch
     executors_future_cancel_total         of these, ended cancelled
     executors_future_error_total          of these, ended with an error
     executors_future_time_seconds_total   seconds from there to the end, all together, on the executor's clock
     executors_future_inprogress           not ended: waiting or running; what a timeout abandoned, too, below it
     executors_poll_total, _error_total, _time_seconds_total      calls of poll functions, failed ones, seconds in them
     executors_retry_total                 further attempts that were started
     executors_retry_delay_seconds_total   seconds of backoff before them
     executors_retry_queue                 calls in a backoff
     executors_timeout_total               calls that timed out
     executors_shutdown_cancel_total       calls that ended cancelled by a shutdown
     executors_throttle_queue              calls that wait for their turn, submitters that block included

   Bounded: 31 names of tasks, the first that come, others are task="other"; 512 series of each metric: beyond these a call of a named
   task is counted without the label, a further executor as executor="other", type="other". Names are cut at 31 bytes, those of
   tasks at 63; bytes that are not UTF-8 become '?'. */
EXS_API bool exs_metrics_write(exs_write_fn *fn, void *ctx);

#ifdef __cplusplus
}
#endif
#endif
