/* Worker: what a process does that a pool has spawned. */
#define _GNU_SOURCE
#include "base/memory.h"
#include "executor/home.h"
#include "process/channel.h"
#include "process/errors.h"
#include "process/place.h"
#include "process/remote.h"
#include "process/spawn.h"

#include <errno.h>
#include <executors/inline.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How it ends: with 0 when it was asked to. */
enum { STATUS_NOT_SPAWNED = 110, STATUS_MALFORMED = 111, STATUS_FAILED = 112 };

/* One per process: it has one parent. lock guards what follows it: of the task that runs, and of what is said of one that is still to be read. */
static struct {
	struct exsi_channel data, control;
	exs_executor *tasks; /* what runs them: on the main thread, in its submit */
	struct exsi_worker self;
	struct exsi_begin_frame begin;
	void *state;
	struct exsi_crew crew;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t id;	   /* of the task that was begun last; 0: none has been */
	exs_future *task;  /* NULL: it has not begun, or has ended */
	exs_cause stop;	   /* of it; NONE: not */
	uint64_t recalled; /* tasks up to this id are not begun any more */
	struct early {	   /* stops of tasks that are still to be read */
		uint64_t id;
		exs_cause cause;
	} early[2 * EXSI_REMOTE_DEPTH];
	uint64_t told; /* the task that the following is for: this one, or the next */
	uint64_t credit;
	bool unread; /* nobody reads its items any more */
} here = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct {
	exs_worker_setup_fn *setup;
	exs_worker_teardown_fn *teardown;
	void *ctx;
} hooks;

void exs_process_worker_hooks(exs_worker_setup_fn *setup, exs_worker_teardown_fn *teardown, void *ctx)
{
	hooks.setup = setup;
	hooks.teardown = teardown;
	hooks.ctx = ctx;
}

static void complain(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text));

	n += write(STDERR_FILENO, "\n", 1);
	(void)n;
}

/* --- what is said while a task runs --- */

/* With the lock: what has been said of a task before does not count; told only grows, as what is said of that may come late. */
static void turn_to(uint64_t id)
{
	if (here.told >= id)
		return;
	here.told = id;
	here.credit = 0;
	here.unread = false;
}

static struct early *early(uint64_t id)
{
	return &here.early[id % (2 * EXSI_REMOTE_DEPTH)];
}

static void hear_cancel(uint64_t id, exs_cause cause)
{
	pthread_mutex_lock(&here.lock);
	exs_future *task = id == here.id ? exs_future_ref(here.task) : NULL;
	if (id == here.id)
		here.stop = cause;
	else if (id > here.id)
		*early(id) = (struct early){.id = id, .cause = cause};
	pthread_cond_broadcast(&here.changed);
	pthread_mutex_unlock(&here.lock);
	if (task)
		exsi_cancel(task, EXSI_STOP_ALL, cause);
	exs_future_unref(task);
}

static void hear_credit(uint64_t id, uint32_t credit)
{
	pthread_mutex_lock(&here.lock);
	turn_to(id);
	if (here.told == id) {
		here.credit += credit;
		here.unread |= !credit;
	}
	pthread_cond_broadcast(&here.changed);
	pthread_mutex_unlock(&here.lock);
}

/* What has not been begun is given back: the main thread, when it reads it, leaves it. Answered in order with what it says. */
static void hear_recall(uint64_t last)
{
	pthread_mutex_lock(&here.lock);
	uint64_t from = (here.id > here.recalled ? here.id : here.recalled) + 1;
	here.recalled = last > here.recalled ? last : here.recalled;
	pthread_mutex_unlock(&here.lock);
	exsi_channel_send(&here.data, EXSI_FRAME_RECALLED, from, NULL, 0, NULL);
}

/* Of a task that has ended nothing is to be heard. false: it can't be understood. */
static bool hear(const struct exsi_message *m)
{
	struct exsi_reader r = exsi_message_reader(m);
	unsigned number = m->type == EXSI_FRAME_CANCEL	 ? exsi_get_u8(&r)
			  : m->type == EXSI_FRAME_CREDIT ? exsi_get_u32(&r)
							 : 0;

	if (m->body || !exsi_reader_ends(&r))
		return false;
	if (m->type == EXSI_FRAME_RECALL)
		hear_recall(m->id);
	else if (m->type == EXSI_FRAME_CREDIT)
		hear_credit(m->id, number);
	else if (number > EXS_CAUSE_NONE && number <= EXS_CAUSE_SIBLING)
		hear_cancel(m->id, (exs_cause)number);
	return true;
}

/* Until the parent closes it: then the watchdog ends this process. */
static void listen_to_control(void *unused)
{
	struct exsi_message m;
	const char *why;

	(void)unused;
	while (exsi_channel_receive(&here.control, &m, &why) == EXSI_RECEIVED) {
		bool understood = hear(&m);
		exsi_message_fini(&m);
		if (!understood)
			_exit(STATUS_MALFORMED);
	}
}

/* --- what a task says --- */

/* Its id; also on threads of its own. 0: it has ended, and another may run. */
static uint64_t id_of(exs_future *task)
{
	pthread_mutex_lock(&here.lock);
	uint64_t id = here.task == task ? here.id : 0;
	pthread_mutex_unlock(&here.lock);
	return id;
}

static int said(int rc)
{
	return rc == ENOMEM ? EXS_ENOMEM : rc == EMSGSIZE ? EXS_EINVAL : rc ? EXS_ECANCELLED : EXS_OK;
}

static int home_send(exs_future *task, const void *data, size_t size)
{
	uint64_t id = id_of(task);

	if (!id)
		return exsi_fail(EXS_ECANCELLED, "exs_send: the task has ended");
	if (size > here.begin.max_size)
		return exsi_fail(EXS_EINVAL, "exs_send: %zu bytes: at most %llu (max_size)", size,
				 (unsigned long long)here.begin.max_size);
	exs_bytes *message = exs_bytes_copy(data, size);
	int rc = message ? exsi_channel_send(&here.data, EXSI_FRAME_MESSAGE, id, NULL, 0, message) : ENOMEM;
	exs_bytes_free(message);
	return said(rc);
}

static int home_schedule(exs_future *task, exs_invocation *invocation, const exs_task *options)
{
	struct exsi_writer head = {.data = NULL};
	uint64_t id = id_of(task);
	int rc = ENOMEM;

	if (!id)
		return exsi_fail(EXS_ECANCELLED, "exs_schedule: the task has ended");
	if (invocation->body && invocation->body->size > here.begin.max_size)
		return exsi_fail(EXS_EINVAL, "exs_schedule: the input has %zu bytes: at most %llu (max_size)",
				 invocation->body->size, (unsigned long long)here.begin.max_size);
	exsi_put_schedule(&head, options, invocation);
	if (!head.failed)
		rc = exsi_channel_send(&here.data, EXSI_FRAME_SCHEDULE, id, head.data, head.size, invocation->body);
	exsi_writer_fini(&head);
	return said(rc);
}

/* The bytes of a result that a function may answer; false: it is none such. */
static bool is_bytes(const exs_result *r)
{
	return r->kind == EXS_KIND_VALUE && (!r->value || r->destroy == exs_bytes_free);
}

static int send_error(enum exsi_frame_type type, uint64_t id, const exs_error *error)
{
	struct exsi_writer w = {.data = NULL};
	exs_bytes *text = NULL;
	int rc = ENOMEM;

	exsi_put_error(&w, error);
	if (!w.failed)
		text = exs_bytes_copy(w.data, w.size);
	if (text)
		rc = exsi_channel_send(&here.data, type, id, NULL, 0, text);
	exs_bytes_free(text);
	exsi_writer_fini(&w);
	return rc;
}

/* An outcome, in the frames for it; r is borrowed. */
static int send_result(uint64_t id, const exs_result *r, enum exsi_frame_type value, enum exsi_frame_type null,
		       enum exsi_frame_type error)
{
	exs_bytes *bytes = r->kind == EXS_KIND_VALUE ? r->value : NULL;

	if (r->kind == EXS_KIND_CANCELLED)
		return exsi_channel_send(&here.data, EXSI_FRAME_CANCELLED, id, NULL, 0, NULL);
	if (r->kind == EXS_KIND_ERROR)
		return send_error(error, id, r->error);
	if (!bytes)
		return exsi_channel_send(&here.data, null, id, NULL, 0, NULL);
	if (bytes->size <= here.begin.max_size)
		return exsi_channel_send(&here.data, value, id, NULL, 0, bytes);
	exs_error *large = exs_error_new(&exs_domain_exs, EXS_EINVAL, "a result of %zu bytes: at most %llu (max_size)",
					 bytes->size, (unsigned long long)here.begin.max_size);
	int rc = send_error(error, id, large);
	exs_error_unref(large);
	return rc;
}

/* Waits until the parent has room for another item. */
static int await_credit(void)
{
	pthread_mutex_lock(&here.lock);
	while (!here.credit && !here.unread && here.stop == EXS_CAUSE_NONE)
		pthread_cond_wait(&here.changed, &here.lock);
	bool stop = here.unread || here.stop != EXS_CAUSE_NONE;
	here.credit -= !stop;
	pthread_mutex_unlock(&here.lock);
	return stop ? EXS_ECANCELLED : EXS_OK;
}

static bool emits(exs_future *task);

static int home_emit(exs_future *task, exs_result r)
{
	uint64_t id = id_of(task);
	int rc = !id ? EXS_ECANCELLED : EXS_EINVAL;

	if (id && emits(task) && (r.kind == EXS_KIND_ERROR || is_bytes(&r)))
		rc = await_credit();
	if (!rc)
		rc = said(send_result(id, &r, EXSI_FRAME_ITEM, EXSI_FRAME_ITEM_NULL, EXSI_FRAME_ITEM_ERROR));
	exs_result_clear(&r);
	return rc;
}

static const struct exsi_home home = {.send = home_send, .schedule = home_schedule, .emit = home_emit};

/* --- the layer that gives a task its surroundings: attempts, deadline, cancel --- */

struct served {
	struct exsi_task_frame task;
	double deadline; /* s on the chain's clock */
};

static bool emits(exs_future *task)
{
	struct served *s = exsi_slot(task, exsi_top(task));

	return s->task.emits;
}

/* The task of here.id has come: task is what its call knows of it. */
static struct exsi_task_frame coming;

static exs_step served_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct served *s = slot;

	s->task = coming;
	s->deadline = s->task.left == EXSI_NEVER ? EXS_FOREVER : exs_clock_now(x->clock) + (double)s->task.left / 1e9;
	atomic_store(&exsi_story(f)->attempt, s->task.attempt);
	atomic_store(&exsi_story(f)->max, s->task.max_attempts);
	pthread_mutex_lock(&here.lock);
	here.task = f;
	exs_cause stop = here.stop;
	pthread_mutex_unlock(&here.lock);
	if (stop == EXS_CAUSE_NONE)
		return EXS_DOWN;
	exsi_note_cause(f, stop); /* it was cancelled before it began */
	*r = exs_cancelled();
	return EXS_UP;
}

static exs_step served_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	(void)x, (void)f, (void)slot, (void)r;
	pthread_mutex_lock(&here.lock);
	here.task = NULL;
	pthread_mutex_unlock(&here.lock);
	return EXS_UP;
}

static double served_deadline(exs_executor *x, exs_future *f, void *slot)
{
	(void)x, (void)f;
	return ((struct served *)slot)->deadline;
}

static const exs_layer_ops served_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "served",
	.start = served_start,
	.done = served_done,
	.cancel = exs_pass_cancel,
	.deadline = served_deadline,
};

static void *worker_state(struct exsi_worker *w, exs_future *f)
{
	(void)w, (void)f;
	return here.state;
}

static bool help(struct exsi_worker *w, exs_future *f)
{
	(void)w, (void)f;
	return false;
}

static int block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge)
{
	(void)w, (void)concerned, (void)nudge;
	return EXS_OK;
}

static void unblock(struct exsi_worker *w)
{
	(void)w;
}

static exs_executor *make_tasks(void)
{
	exs_executor *x = exs_layer_new(&served_ops, exs_inline(), 0, sizeof(struct served));

	if (!x)
		return NULL;
	exs_layer_set_attempts(x, EXS_UNLIMITED);
	x->home = &home;
	here.self = (struct exsi_worker){
		.help = help, .concerns = help, .block = block, .unblock = unblock, .state = worker_state};
	exsi_self()->worker = &here.self;
	return x;
}

/* --- tasks --- */

static int answer(uint64_t id, exs_future *f)
{
	exs_result r = f ? exs_future_result(f) : exs_fail(exsi_error(EXS_ENOMEM));

	return send_result(id, &r, EXSI_FRAME_VALUE, EXSI_FRAME_NULL, EXSI_FRAME_ERROR);
}

/* The parent will hear of it, if there is memory enough for an error that needs none. */
static int answer_surely(uint64_t id, exs_future *f)
{
	int rc = answer(id, f);

	return rc == ENOMEM ? send_error(EXSI_FRAME_ERROR, id, exsi_error(EXS_ENOMEM)) : rc;
}

static exs_invocation *read_task(struct exsi_message *m, const char **why)
{
	struct exsi_reader r = exsi_message_reader(m);
	exs_bytes *body = m->body;

	exsi_get_task(&r, &coming);
	m->body = NULL;
	return exsi_invocation_read(&r, body, why);
}

/* false: it was recalled. */
static bool begin_task(uint64_t id)
{
	pthread_mutex_lock(&here.lock);
	bool begins = id > here.recalled;
	if (begins) {
		here.id = id;
		here.stop = early(id)->id == id ? early(id)->cause : EXS_CAUSE_NONE;
		turn_to(id);
		here.credit += coming.items;
	}
	pthread_mutex_unlock(&here.lock);
	return begins;
}

/* 0, or the status to end with; STATUS_MALFORMED: *why. */
static int run_task(struct exsi_message *m, const char **why)
{
	exs_invocation *invocation = read_task(m, why);

	if (!invocation)
		return STATUS_MALFORMED;
	if (!begin_task(m->id)) {
		exs_invocation_free(invocation);
		return 0;
	}
	exs_task task = {.fn = exs_invoke, .arg = invocation, .arg_free = exs_invocation_free};
	task.name = *coming.name ? coming.name : NULL;
	exs_future *f = exs_submit_with(here.tasks, &task);
	int rc = answer_surely(m->id, f);
	exs_future_unref(f);
	return rc ? STATUS_FAILED : 0;
}

/* --- its life --- */

static int begin_setup(void)
{
	exs_error *error = hooks.setup ? hooks.setup(hooks.ctx, here.begin.number, &here.state) : NULL;

	if (!error)
		return exsi_channel_send(&here.data, EXSI_FRAME_READY, 0, NULL, 0, NULL) ? STATUS_FAILED : 0;
	send_error(EXSI_FRAME_ERROR, 0, error);
	exs_error_unref(error);
	return STATUS_FAILED;
}

static int begin(const struct exsi_message *m)
{
	struct exsi_reader r = exsi_message_reader(m);
	const char *what;

	exsi_get_begin(&r, &here.begin);
	if (m->body || !exsi_reader_ends(&r))
		return STATUS_MALFORMED;
	here.data.in.max = here.begin.max_size + EXSI_FRAME_DATA;
	struct exsi_place_limits limits = {.memory = here.begin.memory,
					   .cpu_seconds = here.begin.cpu_seconds,
					   .restricted = here.begin.restricted};
	int rc = exsi_place_limit(&limits, &what);
	if (!rc)
		return begin_setup();
	exs_error *error = exs_error_new(&exs_domain_errno, rc, "%s: %s", what, strerror(rc));
	send_error(EXSI_FRAME_ERROR, 0, error);
	exs_error_unref(error);
	return STATUS_FAILED;
}

static int serve(void)
{
	struct exsi_message m;
	const char *why;
	bool begun = false, more = true;
	int status = 0;

	while (more && !status) {
		enum exsi_received got = exsi_channel_receive(&here.data, &m, &why);
		if (got != EXSI_RECEIVED) {
			status = got == EXSI_BROKEN ? STATUS_MALFORMED : 0;
			break;
		}
		if (m.type == EXSI_FRAME_END)
			more = false;
		else if (begun != (m.type == EXSI_FRAME_TASK))
			status = STATUS_MALFORMED;
		else
			status = begun ? run_task(&m, &why) : begin(&m);
		begun = true;
		exsi_message_fini(&m);
	}
	if (status == STATUS_MALFORMED)
		complain(why ? why : "the parent has sent what was not to be sent");
	else if (begun && status != STATUS_FAILED && hooks.teardown)
		hooks.teardown(hooks.ctx, here.begin.number, here.state);
	return status;
}

static int work(void)
{
	uint32_t data = 1u << EXSI_FRAME_BEGIN | 1u << EXSI_FRAME_TASK | 1u << EXSI_FRAME_END;
	uint32_t control = 1u << EXSI_FRAME_CANCEL | 1u << EXSI_FRAME_CREDIT | 1u << EXSI_FRAME_RECALL;

	fcntl(EXSI_CHILD_DATA, F_SETFD, FD_CLOEXEC); /* not for what a task starts */
	fcntl(EXSI_CHILD_CONTROL, F_SETFD, FD_CLOEXEC);
	exsi_channel_init(&here.data, EXSI_CHILD_DATA, true, EXSI_FRAME_DATA, data);
	exsi_channel_init(&here.control, EXSI_CHILD_CONTROL, true, 64, control);
	exsi_cond_init(&here.changed);
	exsi_crew_init(&here.crew);
	exsi_place_tell_crashes();
	exsi_errors_trace(true);
	here.tasks = make_tasks();
	if (!here.tasks || exsi_place_watch(EXSI_CHILD_CONTROL) ||
	    exsi_crew_start(&here.crew, "exs-control", 0, listen_to_control, NULL)) {
		complain("a worker process can't begin: out of memory or threads");
		return STATUS_FAILED;
	}
	return serve();
}

static bool is_packet_socket(int fd)
{
	int type = 0;
	socklen_t size = sizeof(type);

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) && type == SOCK_SEQPACKET;
}

void exs_process_main(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[argc - 1], EXSI_CHILD_MARK))
		return;
	if (!is_packet_socket(EXSI_CHILD_DATA) || !is_packet_socket(EXSI_CHILD_CONTROL)) {
		complain(EXSI_CHILD_MARK ": this is how a process pool begins its workers; no pool has begun this one");
		exit(STATUS_NOT_SPAWNED);
	}
	exit(work());
}
