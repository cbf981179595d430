/* Process pool: its thread, which sees to all workers' sockets, output and ends. */
#define _GNU_SOURCE
#include "base/memory.h"
#include "process/channel.h"
#include "process/errors.h"
#include "process/process_pool.h"
#include "process/spawn.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, TURN = 64 };

enum source { DATA, CONTROL, OUTPUT, END, SOURCES };

struct watched {
	struct process *process; /* NULL: the bell */
	enum source source;
	bool on;
};

/* A worker. All but the channels, which lock themselves, is the pool's thread's. */
struct process {
	struct exsi_remote remote; /* first */
	struct exsi_child child;
	struct exsi_channel channels[2]; /* DATA, CONTROL */
	struct exsi_output output;
	struct watched watched[SOURCES];
	struct exsi_list node; /* of pool.ended */
};

static struct process *process_of(struct exsi_remote *w)
{
	return EXSI_CONTAINER_OF(w, struct process, remote);
}

static struct exsi_process_pool *pool_of(struct exsi_remote_pool *p)
{
	return EXSI_CONTAINER_OF(p, struct exsi_process_pool, remote);
}

long exsi_process_pid(const struct exsi_remote *w)
{
	return process_of((struct exsi_remote *)(uintptr_t)w)->child.pid;
}

static void describe(struct exsi_remote *w, char *text, size_t size)
{
	snprintf(text, size, "worker %u (pid %ld)", w->number, exsi_process_pid(w));
}

/* --- what the thread waits for --- */

static int source_fd(const struct process *w, enum source source)
{
	switch (source) {
	case DATA:
		return w->child.data;
	case CONTROL:
		return w->child.control;
	case OUTPUT:
		return w->child.output;
	default:
		return w->child.pidfd;
	}
}

static uint32_t interest(enum source source, bool room)
{
	return (source == CONTROL ? 0 : EPOLLIN) | (room ? EPOLLOUT : 0);
}

static int watch(struct exsi_process_pool *p, struct process *w, enum source source)
{
	struct epoll_event event = {.events = interest(source, false), .data.ptr = &w->watched[source]};
	int rc = epoll_ctl(p->epoll, EPOLL_CTL_ADD, source_fd(w, source), &event);

	w->watched[source] = (struct watched){.process = w, .source = source, .on = !rc};
	return rc ? errno : 0;
}

static void unwatch(struct exsi_process_pool *p, struct process *w, enum source source)
{
	if (!w->watched[source].on)
		return;
	epoll_ctl(p->epoll, EPOLL_CTL_DEL, source_fd(w, source), NULL);
	w->watched[source].on = false;
}

/* Any thread that has the worker: it is there, or not any more, when this fails. */
static void await_room(struct exsi_process_pool *p, struct process *w, enum source source, bool room)
{
	struct epoll_event event = {.events = interest(source, room), .data.ptr = &w->watched[source]};

	epoll_ctl(p->epoll, EPOLL_CTL_MOD, source_fd(w, source), &event);
}

static void ring(struct exsi_remote_pool *remote)
{
	struct exsi_process_pool *p = pool_of(remote);
	uint64_t one = 1;

	if (!atomic_exchange(&p->rung, true) && write(p->bell, &one, sizeof(one)) < 0)
		atomic_store(&p->rung, false); /* it can't be: the counter was 0 */
}

static void heed_bell(struct exsi_process_pool *p)
{
	uint64_t times;
	ssize_t n = read(p->bell, &times, sizeof(times));

	(void)n;
	atomic_store(&p->rung, false); /* who rings from now on is heard again, who has rung is seen to below */
	p->due = true;
}

/* --- sent --- */

/* It reads nothing. */
static void end_deaf(struct process *w)
{
	struct exsi_remote_pool *p = w->remote.pool;

	pthread_mutex_lock(&p->lock);
	exsi_remote_broke(&w->remote, "it does not read what it is sent");
	pthread_mutex_unlock(&p->lock);
	exsi_child_kill(&w->child);
}

static int send_to(struct exsi_remote *remote, bool urgent, enum exsi_frame_type type, uint64_t id, const void *head,
		   size_t size, exs_bytes *body)
{
	struct process *w = process_of(remote);
	struct exsi_process_pool *p = pool_of(remote->pool);
	enum source source = urgent ? CONTROL : DATA;
	int rc = exsi_channel_send(&w->channels[source], type, id, head, size, body);

	atomic_fetch_add_explicit(&p->sent, body ? body->size : 0, memory_order_relaxed); /* a count alone */
	if (exsi_channel_is_full(&w->channels[source]))
		await_room(p, w, source, true);
	if (rc == ENOBUFS)
		end_deaf(w);
	return rc;
}

/* There is room. Who sends and finds none after the flush asks for it again. */
static void flush(struct exsi_process_pool *p, struct process *w, enum source source)
{
	if (exsi_channel_flush(&w->channels[source]))
		return;
	await_room(p, w, source, false);
	if (exsi_channel_is_full(&w->channels[source]))
		await_room(p, w, source, true);
}

/* --- begun --- */

static void release(struct exsi_remote *remote)
{
	struct process *w = process_of(remote);

	exs_error_unref(remote->said);
	exsi_channel_fini(&w->channels[DATA]);
	exsi_channel_fini(&w->channels[CONTROL]);
	w->child.data = w->child.control = -1; /* the channels' */
	exsi_output_fini(&w->output);
	exsi_child_close(&w->child);
	exsi_free(w);
}

/* Rounded up; 0: no limit. ceil would need another library. */
static uint64_t whole_seconds(double seconds)
{
	uint64_t whole = seconds < 1e9 ? (uint64_t)seconds : 0;

	return seconds < 1e9 && (double)whole < seconds ? whole + 1 : whole;
}

static int send_begin(struct process *w, const exs_process_pool_options *o)
{
	unsigned char room[64];
	struct exsi_writer head = {.data = room, .room = sizeof(room)};
	double cpu = exsi_option_seconds(o->cpu_seconds, 0);
	struct exsi_begin_frame begin = {.number = w->remote.number,
					 .max_size = o->max_size,
					 .memory = o->memory,
					 .cpu_seconds = whole_seconds(cpu),
					 .restricted = o->restricted};

	exsi_put_begin(&head, &begin);
	int rc = exsi_channel_send(&w->channels[DATA], EXSI_FRAME_BEGIN, 0, head.data, head.size, NULL);
	exsi_writer_fini(&head);
	return rc;
}

/* The child has been spawned: all that the pool needs of it. 0 or an errno. */
static int connect_child(struct exsi_process_pool *p, struct process *w)
{
	const exs_process_pool_options *o = &p->remote.options;
	size_t max = (o->max_size > EXSI_ERROR_SIZE ? o->max_size : EXSI_ERROR_SIZE) + EXSI_FRAME_DATA;
	char path[PATH_MAX], *file = NULL;

	exsi_channel_init(&w->channels[DATA], w->child.data, false, max, exsi_remote_types());
	exsi_channel_init(&w->channels[CONTROL], w->child.control, false, 0, 0);
	if (o->log_files) {
		snprintf(path, sizeof(path), "%s.%u", o->log_files, w->remote.number);
		file = path;
	}
	int rc = exsi_output_init(&w->output, w->child.output, file, p->remote.x->name, w->remote.number);
	if (rc)
		exsi_log(EXS_LOG_WARNING, p->remote.x->name, "worker %u: its log file %s can't be opened: %s",
			 w->remote.number, path, strerror(rc));
	rc = send_begin(w, o);
	rc = rc == ENOMEM ? rc : 0; /* otherwise it has ended already, and how is told as of any other */
	for (enum source source = DATA; source < SOURCES && !rc; source++)
		rc = watch(p, w, source);
	return rc;
}

/* It was spawned in vain. */
static void give_up(struct exsi_process_pool *p, struct process *w)
{
	struct exsi_death death;

	for (enum source source = DATA; source < SOURCES; source++)
		unwatch(p, w, source);
	exsi_child_signal(&w->child, SIGKILL);
	while (!exsi_child_reap(&w->child, &death))
		usleep(1000);
	release(&w->remote);
}

static exs_error *spawn_error(unsigned number, int rc, const char *what)
{
	return exs_error_new(&exs_domain_errno, rc, "worker %u could not be begun: %s: %s", number, what, strerror(rc));
}

static exs_error *open_worker(struct exsi_remote_pool *remote, unsigned number)
{
	struct exsi_process_pool *p = pool_of(remote);
	const exs_process_pool_options *o = &remote->options;
	struct process *w = exsi_zalloc(sizeof(*w));
	const char *what = "memory";
	struct exsi_spawn_plan plan = {
		.program = o->program, .args = o->args, .n_args = o->n_args, .empty_environment = o->restricted};

	if (!w)
		return exs_error_ref(exsi_error(EXS_ENOMEM));
	int rc = exsi_spawn(&w->child, &plan, &what);
	if (rc) {
		exsi_free(w);
		return spawn_error(number, rc, what);
	}
	w->remote.number = number;
	rc = connect_child(p, w);
	if (rc) {
		give_up(p, w);
		return spawn_error(number, rc, "its connection");
	}
	exsi_remote_joins(remote, &w->remote, number);
	return NULL;
}

/* --- ended --- */

static void part(struct exsi_remote *remote, enum exsi_parting how)
{
	struct process *w = process_of(remote);

	if (how == EXSI_PART_POLITELY)
		send_to(remote, false, EXSI_FRAME_END, 0, NULL, 0, NULL);
	else
		exsi_child_signal(&w->child, how == EXSI_PART_TERM ? SIGTERM : SIGKILL);
}

/* How it ended, for a person. */
static exs_error *death_error(struct process *w, const struct exsi_death *death)
{
	char who[64], doing[320], how[128], tail[EXSI_TAIL + 1];
	const exs_domain *domain = death->known && death->by_signal ? &exs_domain_signal : &exs_domain_exit;

	describe(&w->remote, who, sizeof(who));
	exsi_remote_doing(&w->remote, doing, sizeof(doing));
	if (!death->known)
		snprintf(how, sizeof(how),
			 "has ended (how is not known: another part of this process has waited for it)");
	else if (death->by_signal)
		snprintf(how, sizeof(how), "died by signal %d (%s)", death->code, strsignal(death->code));
	else
		snprintf(how, sizeof(how), "ended with status %d", death->code);
	size_t n = exsi_output_tail(&w->output, tail);
	return exs_error_new(domain, death->known ? death->code : -1, "%s %s%s%s%s%s%s", who, how, doing,
			     w->remote.broken ? ": " : "", w->remote.broken ? w->remote.broken : "",
			     n ? "; it last wrote:\n" : "", tail);
}

static bool read_messages(struct exsi_process_pool *p, struct process *w, unsigned most);

static void read_output(struct exsi_process_pool *p, struct process *w)
{
	if (!exsi_output_read(&w->output))
		unwatch(p, w, OUTPUT);
}

/* What it said before it ended counts, but not what others say that have its socket. */
static void end(struct exsi_process_pool *p, struct process *w)
{
	struct exsi_death death;

	shutdown(w->child.data, SHUT_RD);
	while (w->watched[DATA].on && read_messages(p, w, TURN))
		;
	if (!exsi_child_reap(&w->child, &death))
		return;
	for (unsigned i = 0; i < TURN && w->watched[OUTPUT].on; i++)
		read_output(p, w);
	for (enum source source = DATA; source < SOURCES; source++)
		unwatch(p, w, source);
	p->due = true;
	exsi_list_append(&p->ended, &w->node);
	exsi_remote_gone(&w->remote, death_error(w, &death));
}

/* --- received --- */

/* It does not keep to the protocol. */
static void break_off(struct exsi_process_pool *p, struct process *w, const char *why)
{
	unwatch(p, w, DATA);
	pthread_mutex_lock(&p->remote.lock);
	exsi_remote_broke(&w->remote, why);
	exsi_remote_part(&w->remote, EXSI_PART_KILL);
}

/* Its end of a socket has been closed: because it ends, which the system does it for, and then how is told later; or it has done so itself. */
static void closed(struct exsi_process_pool *p, struct process *w, enum source source)
{
	unwatch(p, w, source);
	if (exsi_child_is_ending(&w->child))
		exsi_child_signal(&w->child, SIGKILL);
	else
		break_off(p, w, "it has closed a socket");
}

/* Answers whether there may be more. */
static bool read_messages(struct exsi_process_pool *p, struct process *w, unsigned most)
{
	struct exsi_message m;
	const char *why;

	for (unsigned i = 0; i < most; i++) {
		switch (exsi_channel_receive(&w->channels[DATA], &m, &why)) {
		case EXSI_RECEIVED:
			if (!exsi_remote_received(&w->remote, &m))
				break;
			unwatch(p, w, DATA);
			return false;
		case EXSI_PARTLY:
			return true;
		case EXSI_NONE_NOW:
			return false;
		case EXSI_BROKEN:
			break_off(p, w, why);
			return false;
		default:
			closed(p, w, DATA);
			return false;
		}
	}
	return true;
}

static void see_to(struct exsi_process_pool *p, struct watched *watched, uint32_t events)
{
	struct process *w = watched->process;
	enum source source = watched->source;
	unsigned most = EXSI_REMOTE_DEPTH;

	if (!watched->on)
		return;
	if (source == END) {
		end(p, w);
		return;
	}
	if (events & EPOLLOUT)
		flush(p, w, source);
	if (source == CONTROL && events & (EPOLLHUP | EPOLLERR))
		closed(p, w, CONTROL);
	if (source == DATA && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		while (read_messages(p, w, 1) && exsi_remote_has_more(&w->remote) && --most)
			;
		exsi_remote_settle(&p->remote);
	}
	if (source == OUTPUT)
		read_output(p, w);
}

/* --- the thread --- */

static int milliseconds(uint64_t at)
{
	uint64_t now = at == EXSI_NEVER ? 0 : exsi_now();
	uint64_t ms = at <= now ? 0 : (at - now + 999999) / 1000000;

	return at == EXSI_NEVER ? -1 : ms > 1000000 ? 1000000 : (int)ms;
}

static void release_ended(struct exsi_process_pool *p)
{
	while (!exsi_list_is_empty(&p->ended)) {
		struct process *w = EXSI_CONTAINER_OF(p->ended.next, struct process, node);
		exsi_list_remove(&w->node);
		exsi_remote_unref(&w->remote);
	}
}

static void wait_and_see(struct exsi_process_pool *p)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(p->epoll, events, EVENTS, milliseconds(p->next));

	p->due = n == 0;
	for (int i = 0; i < n; i++) {
		struct watched *watched = events[i].data.ptr;
		if (watched)
			see_to(p, watched, events[i].events);
		else
			heed_bell(p);
	}
	release_ended(p);
}

static void thread_main(void *arg)
{
	struct exsi_process_pool *p = arg;
	struct exsi_frame frame;

	exsi_self()->worker = &p->worker;
	exsi_frame_push(&frame, NULL);
	frame.layer = p->remote.x; /* what is completed here is inside every chain that stands on the pool */
	while (!exsi_remote_is_over(&p->remote)) {
		if (p->due || (p->next != EXSI_NEVER && p->next <= exsi_now())) {
			p->due = false;
			p->next = exsi_remote_turn(&p->remote);
		}
		wait_and_see(p);
	}
	exsi_frame_pop(&frame);
}

/* --- waiting on it, in a callback --- */

static bool thread_help(struct exsi_worker *w, exs_future *f)
{
	(void)w, (void)f;
	return false;
}

static bool goes_through(exs_future *f, void *layer)
{
	bool through = exsi_update_is(exsi_state(layer), f);

	exsi_pin();
	if (exsi_is_call(f))
		through = exsi_uses(exsi_top(f), layer);
	exsi_unpin();
	return through;
}

static bool thread_concerns(struct exsi_worker *w, exs_future *f)
{
	struct exsi_process_pool *p = EXSI_CONTAINER_OF(w, struct exsi_process_pool, worker);

	return exsi_find_need(f, goes_through, p->remote.x);
}

static int thread_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge)
{
	(void)w, (void)nudge;
	return concerned ? EXS_EDEADLK : EXS_OK;
}

static void thread_unblock(struct exsi_worker *w)
{
	(void)w;
}

static bool thread_holds(struct exsi_worker *w, const void *scope)
{
	struct exsi_process_pool *p = EXSI_CONTAINER_OF(w, struct exsi_process_pool, worker);

	return exsi_remote_holds(&p->remote, scope);
}

/* --- its life --- */

int exsi_process_pool_begin(struct exsi_process_pool *p)
{
	struct epoll_event event = {.events = EPOLLIN};
	char name[48];

	exsi_crew_init(&p->crew);
	exsi_list_init(&p->ended);
	p->next = EXSI_NEVER;
	p->due = true;
	p->worker = (struct exsi_worker){.help = thread_help,
					 .concerns = thread_concerns,
					 .block = thread_block,
					 .unblock = thread_unblock,
					 .holds = thread_holds};
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	p->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->epoll < 0 || p->bell < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->bell, &event))
		return errno;
	snprintf(name, sizeof(name), "%.10s-proc", *p->remote.x->name ? p->remote.x->name : "exs");
	return exsi_crew_start(&p->crew, name, 0, thread_main, p);
}

void exsi_process_pool_end(struct exsi_process_pool *p)
{
	pthread_mutex_lock(&p->remote.lock);
	p->remote.stopping = true;
	if (p->bell >= 0)
		ring(&p->remote);
	pthread_mutex_unlock(&p->remote.lock);
	exsi_crew_join(&p->crew);
	exsi_crew_fini(&p->crew);
	if (p->epoll >= 0)
		close(p->epoll);
	if (p->bell >= 0)
		close(p->bell);
}

const struct exsi_transport exsi_process_transport = {
	.open = open_worker,
	.send = send_to,
	.part = part,
	.release = release,
	.ring = ring,
};
