/* Process pool: what is made of its options, its statistics, its close. */
#define _GNU_SOURCE
#include "process/process_pool.h"
#include "base/cores.h"
#include "base/memory.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_WORKERS = 4096, DEFAULT_START = 30, DEFAULT_STOP = 5, LOG_FILES = PATH_MAX - 16 };
static const size_t DEFAULT_SIZE = 64u << 20;

/* --- options: each resolves its part, 0 or a code --- */

static int resolve_workers(exs_process_pool_options *o)
{
	if (o->workers > MAX_WORKERS)
		return exsi_fail(EXS_EINVAL, "exs_process_pool: workers is %u: at most %d", o->workers, MAX_WORKERS);
	if (!o->workers)
		o->workers = 2 * exsi_cores();
	if (o->min_workers == EXS_NONE)
		o->min_workers = 0;
	if (o->min_workers > o->workers)
		return exsi_fail(EXS_EINVAL, "exs_process_pool: min_workers is %u: at most workers, which is %u",
				 o->min_workers, o->workers);
	if (o->death_retries == EXS_NONE)
		o->death_retries = 0;
	if (o->tasks == EXS_UNLIMITED)
		o->tasks = 0;
	if (o->tasks == EXS_NONE)
		return exsi_fail(EXS_EINVAL,
				 "exs_process_pool: tasks: EXS_NONE would let a worker run none; 0 is no limit");
	return EXS_OK;
}

static int seconds(const char *what, double given, double otherwise, uint64_t *ns)
{
	if (exsi_duration(exsi_option_seconds(given, otherwise), ns))
		return EXS_OK;
	return exsi_fail(EXS_EINVAL, "exs_process_pool: %s is %g: 0 (the default) or more", what, given);
}

static int resolve_times(const exs_process_pool_options *o, struct exsi_remote_pool *p)
{
	uint64_t cpu;

	if (seconds("idle_seconds", o->idle_seconds, EXS_FOREVER, &p->idle_ns) ||
	    seconds("start_seconds", o->start_seconds, DEFAULT_START, &p->start_ns) ||
	    seconds("stop_seconds", o->stop_seconds, DEFAULT_STOP, &p->stop_ns) ||
	    seconds("task_seconds", o->task_seconds, EXS_FOREVER, &p->task_ns) ||
	    seconds("cancel_seconds", o->cancel_seconds, EXS_FOREVER, &p->cancel_ns) ||
	    seconds("cpu_seconds", o->cpu_seconds, EXS_FOREVER, &cpu))
		return EXS_EINVAL;
	if (!p->task_ns || !cpu || !p->start_ns)
		return exsi_fail(EXS_EINVAL, "exs_process_pool: %s: EXS_NONE would leave no time at all",
				 !cpu	       ? "cpu_seconds"
				 : p->start_ns ? "task_seconds"
					       : "start_seconds");
	return EXS_OK;
}

static int resolve_sizes(exs_process_pool_options *o)
{
	if (!o->max_size)
		o->max_size = DEFAULT_SIZE;
	if (o->max_size == EXS_NONE || o->max_size > INT_MAX)
		return exsi_fail(EXS_EINVAL, "exs_process_pool: max_size is %zu: 1 to %d bytes, or 0 (64 MiB)",
				 o->max_size, INT_MAX);
	if (o->memory == EXS_NONE)
		return exsi_fail(EXS_EINVAL,
				 "exs_process_pool: memory: EXS_NONE would leave none at all; 0 is no limit");
	if (o->memory == EXS_UNLIMITED)
		o->memory = 0;
	return EXS_OK;
}

static int check_texts(const exs_process_pool_options *o)
{
	if (!o->args != !o->n_args)
		return exsi_fail(EXS_EINVAL, "exs_process_pool: args is %s, but n_args is %zu",
				 o->args ? "given" : "NULL", o->n_args);
	for (size_t i = 0; i < o->n_args; i++)
		if (!o->args[i])
			return exsi_fail(EXS_EINVAL, "exs_process_pool: args[%zu] is NULL", i);
	if (o->log_files && strlen(o->log_files) > LOG_FILES)
		return exsi_fail(EXS_EINVAL, "exs_process_pool: log_files has %zu bytes: at most %d",
				 strlen(o->log_files), (int)LOG_FILES);
	return EXS_OK;
}

static char *copy(const char *text)
{
	char *to = exsi_alloc(strlen(text) + 1);

	return to ? strcpy(to, text) : NULL;
}

static void free_texts(exs_process_pool_options *o)
{
	for (size_t i = 0; o->args && i < o->n_args; i++)
		exsi_free((void *)(uintptr_t)o->args[i]);
	exsi_free((void *)(uintptr_t)o->args);
	exsi_free((void *)(uintptr_t)o->program);
	exsi_free((void *)(uintptr_t)o->log_files);
}

/* The caller's texts in o become copies of them; false: no memory. */
static bool copy_texts(exs_process_pool_options *o)
{
	const exs_process_pool_options given = *o;
	const char **args = given.n_args ? exsi_zalloc(given.n_args * sizeof(*args)) : NULL;
	bool all = args || !given.n_args;

	o->program = given.program ? copy(given.program) : NULL;
	o->log_files = given.log_files ? copy(given.log_files) : NULL;
	o->args = args;
	all = all && !given.program == !o->program && !given.log_files == !o->log_files;
	for (size_t i = 0; args && i < given.n_args; i++)
		all = (args[i] = copy(given.args[i])) && all;
	if (!all)
		free_texts(o);
	return all;
}

/* --- hooks --- */

static void pool_stop(exs_executor *x)
{
	struct exsi_process_pool *p = exsi_state(x);

	exsi_process_pool_end(p);
	exsi_remote_pool_fini(&p->remote);
	free_texts(&p->remote.options);
}

static int pool_describe(exs_executor *x, char *buf, size_t size)
{
	const struct exsi_process_pool *p = exsi_state(x);

	return snprintf(buf, size, "%u", p->remote.options.workers);
}

static const exs_layer_ops pool_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "process_pool",
	.start = exsi_remote_start,
	.done = exs_pass_done,
	.cancel = exsi_remote_cancel,
	.each = exsi_remote_each,
	.closing = exsi_remote_closing,
	.stop = pool_stop,
	.describe = pool_describe,
};

static struct exsi_process_pool *pool_of(exs_executor *x)
{
	return x && x->leaf->ops.stop == pool_stop ? exsi_state(x->leaf) : NULL;
}

/* --- made --- */

/* Takes over the texts of o, also on failure. */
static exs_executor *make(exs_process_pool_options *o, const struct exsi_remote_pool *times)
{
	exs_executor *x =
		exs_layer_new(&pool_ops, NULL, sizeof(struct exsi_process_pool), sizeof(struct exsi_remote_slot));

	if (!x) {
		free_texts(o);
		return NULL;
	}
	struct exsi_process_pool *p = exsi_state(x);
	exs_with_name(x, o->name);
	o->name = NULL; /* the caller's */
	exsi_remote_pool_init(&p->remote, x, &exsi_process_transport);
	p->remote.options = *o;
	p->remote.idle_ns = times->idle_ns;
	p->remote.start_ns = times->start_ns;
	p->remote.stop_ns = times->stop_ns;
	p->remote.task_ns = times->task_ns;
	p->remote.cancel_ns = times->cancel_ns;
	x->workers = o->workers;
	int rc = exsi_process_pool_begin(p);
	if (!rc)
		return x;
	exs_executor_free(x);
	return exsi_fail_errno(rc, "exs_process_pool: its thread, or what that waits on");
}

exs_executor *exs_process_pool_sized(const exs_process_pool_options *options, size_t size)
{
	exs_process_pool_options o;
	struct exsi_remote_pool times;

	if (!exsi_options(&o, sizeof(o), options, size))
		return exsi_fail_null(EXS_EINVAL, "exs_process_pool: options that this library does not know");
	if (exsi_self()->turner)
		return exsi_fail_null(EXS_EINVAL, "exs_process_pool: processes can't be part of a simulation");
	if (resolve_workers(&o) || resolve_sizes(&o) || check_texts(&o) || resolve_times(&o, &times))
		return NULL;
	if (!copy_texts(&o))
		return exsi_fail_null(EXS_ENOMEM, "exs_process_pool: out of memory");
	return make(&o, &times);
}

/* --- closed --- */

static bool is_borrowed_by(const exs_executor *x)
{
	while (x && !x->borrow)
		x = x->inner;
	return x;
}

static const char *wrong_close(exs_executor *x, exs_close how, double seconds_left)
{
	if (!pool_of(x))
		return "no process pool at the bottom of the chain";
	if (how < EXS_CLOSE_JOIN || how > EXS_CLOSE_KILL)
		return "how is none of EXS_CLOSE_*";
	if (!(seconds_left >= 0))
		return "the time must be 0 or more, or EXS_FOREVER";
	if (how == EXS_CLOSE_KILL && is_borrowed_by(x))
		return "EXS_CLOSE_KILL through exs_borrow would kill the calls of others: it is for the chain that "
		       "owns the pool";
	return NULL;
}

size_t exs_process_pool_close(exs_executor *x, exs_close how, double seconds_left)
{
	static const exs_mode modes[] = {[EXS_CLOSE_JOIN] = EXS_DRAIN,
					 [EXS_CLOSE_CANCEL] = EXS_CANCEL_QUEUED,
					 [EXS_CLOSE_KILL] = EXS_CANCEL_ALL};
	struct exsi_process_pool *p = pool_of(x);
	const char *wrong = wrong_close(x, how, seconds_left);

	if (wrong) {
		exsi_fail(EXS_EINVAL, "exs_process_pool_close: %s", wrong);
		return x ? exs_executor_pending(x) : 0;
	}
	/* First: whoever heeds the shutdown's request to stop might go on and end otherwise. */
	if (how == EXS_CLOSE_KILL && !exsi_forked()) {
		pthread_mutex_lock(&p->remote.lock);
		p->remote.killing = true;
		p->remote.transport->ring(&p->remote);
		pthread_mutex_unlock(&p->remote.lock);
	}
	return exs_shutdown(x, modes[how], seconds_left);
}

/* --- statistics --- */

int exs_process_pool_get_stats_sized(exs_executor *x, exs_process_pool_stats *stats, size_t size)
{
	struct exsi_process_pool *p = pool_of(x);

	if (!p || !stats)
		return exsi_fail(EXS_EINVAL, "exs_process_pool_get_stats: %s",
				 p ? "stats is NULL" : "no process pool at the bottom of the chain");
	pthread_mutex_lock(&p->remote.lock);
	exs_process_pool_stats now = p->remote.stats;
	now.workers = p->remote.usable;
	for (struct exsi_list *l = p->remote.idle.next; l != &p->remote.idle; l = l->next)
		now.idle++;
	now.queued = p->remote.queued;
	now.running = p->remote.running;
	pthread_mutex_unlock(&p->remote.lock);
	now.sent = atomic_load(&p->sent);
	exsi_fill_in(stats, size, &now, sizeof(now));
	return EXS_OK;
}

/* Bytes resident, as the system says; 0: it does not. */
static size_t resident(long pid)
{
	char path[64], text[128];
	unsigned long pages = 0;

	snprintf(path, sizeof(path), "/proc/%ld/statm", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return sscanf(text, "%*u %lu", &pages) == 1 ? pages * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

/* With the lock. */
static exs_process_worker describe_worker(struct exsi_remote *w)
{
	uint64_t now = exsi_now();
	bool busy = w->call;
	uint64_t ns = w->busy + (busy ? now - w->since : 0);

	return (exs_process_worker){.number = w->number,
				    .pid = exsi_process_pid(w),
				    .busy = busy,
				    .tasks = w->tasks,
				    .busy_seconds = (double)ns / 1e9};
}

/* Of one whose other fields are there, without the lock: files are read. */
static void fill_in_memory(void *worker, size_t size)
{
	exs_process_worker one;

	memset(&one, 0, sizeof(one));
	memcpy(&one, worker, size < sizeof(one) ? size : sizeof(one));
	one.memory = resident(one.pid);
	exsi_fill_in(worker, size, &one, sizeof(one));
}

size_t exs_process_pool_workers_sized(exs_executor *x, exs_process_worker *workers, size_t n, size_t size)
{
	struct exsi_process_pool *p = pool_of(x);
	size_t all = 0;

	if (!p || (n && !workers)) {
		exsi_fail(EXS_EINVAL, "exs_process_pool_workers: %s",
			  p ? "workers is NULL" : "no process pool at the bottom of the chain");
		return 0;
	}
	pthread_mutex_lock(&p->remote.lock);
	for (struct exsi_list *l = p->remote.workers.next; l != &p->remote.workers; l = l->next) {
		struct exsi_remote *w = EXSI_CONTAINER_OF(l, struct exsi_remote, node);
		exs_process_worker one = describe_worker(w);
		if (w->state == EXSI_REMOTE_GONE)
			continue;
		if (all < n)
			exsi_fill_in((char *)workers + all * size, size, &one, sizeof(one));
		all++;
	}
	pthread_mutex_unlock(&p->remote.lock);
	for (size_t i = 0; i < n && i < all; i++)
		fill_in_memory((char *)workers + i * size, size);
	return all;
}
