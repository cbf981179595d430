/* All of the core. */
#ifndef EXECUTORS_EXECUTORS_H
#define EXECUTORS_EXECUTORS_H

#include <executors/base.h>
#include <executors/batch.h>
#include <executors/bind.h>
#include <executors/bound.h>
#include <executors/bytes.h>
#include <executors/cancel_on_shutdown.h>
#include <executors/clock.h>
#include <executors/context.h>
#include <executors/dump.h>
#include <executors/error.h>
#include <executors/event_loop.h>
#include <executors/events.h>
#include <executors/executor.h>
#include <executors/flat_bind.h>
#include <executors/flat_map.h>
#include <executors/functions.h>
#include <executors/future.h>
#include <executors/inline.h>
#include <executors/iterator.h>
#include <executors/layer.h>
#include <executors/map.h>
#include <executors/messages.h>
#include <executors/metrics.h>
#include <executors/poll.h>
#include <executors/process_pool.h>
#include <executors/producer.h>
#include <executors/queue.h>
#include <executors/registry.h>
#include <executors/result.h>
#include <executors/retry.h>
#include <executors/scope.h>
#include <executors/set.h>
#include <executors/sim.h>
#include <executors/stream.h>
#include <executors/task.h>
#include <executors/thread_pool.h>
#include <executors/throttle.h>
#include <executors/timeout.h>
#include <executors/tracker.h>
#include <executors/until.h>

#endif
