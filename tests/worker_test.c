/* Worker processes whose parent does not keep to the protocol: how they end. */
#define _GNU_SOURCE
#include "process/channel.h"
#include "process/remote.h"
#include "process/spawn.h"
#include "support.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_SPAWNED = 110, MALFORMED = 111, FAILED = 112 };

static exs_result echo(const exs_bytes *in, exs_context *ctx)
{
	(void)ctx;
	return exs_ok_copy(in->data, in->size);
}

static exs_result emit_two(const exs_bytes *in, exs_context *ctx)
{
	(void)in;
	for (int i = 0; i < 2; i++)
		exs_emit(ctx, exs_ok(NULL, NULL));
	return exs_ok(NULL, NULL);
}

__attribute__((constructor)) static void be_worker(int argc, char **argv)
{
	exs_register("worker_echo", echo);
	exs_register("worker_emit_two", emit_two);
	exs_process_main(argc, argv);
}

/* This program as a worker, and its parent's ends. */
struct parent {
	struct exsi_child child;
	struct exsi_channel data, control;
};

static void begin(struct parent *p)
{
	const uint32_t all = ~UINT32_C(0);
	struct exsi_spawn_plan plan = {.program = NULL};
	const char *what;

	CHECK_INT(exsi_spawn(&p->child, &plan, &what), 0);
	exsi_channel_init(&p->data, p->child.data, true, EXSI_FRAME_DATA, all);
	exsi_channel_init(&p->control, p->child.control, true, EXSI_FRAME_DATA, all);
	p->child.data = p->child.control = -1;
}

/* It ends by itself; only then its control socket is closed. */
static void expect_status(struct parent *p, int status)
{
	struct pollfd over = {.fd = p->child.pidfd, .events = POLLIN};
	struct exsi_death death;

	while (poll(&over, 1, -1) < 0)
		CHECK_INT(errno, EINTR);
	CHECK(exsi_child_reap(&p->child, &death));
	CHECK(death.known && !death.by_signal);
	CHECK_INT(death.code, status);
	exsi_channel_fini(&p->data);
	exsi_channel_fini(&p->control);
	exsi_child_close(&p->child);
}

static void say(struct exsi_channel *c, enum exsi_frame_type type, uint64_t id, const void *data, size_t size)
{
	CHECK_INT(exsi_channel_send(c, type, id, data, size, NULL), 0);
}

static void say_begin(struct parent *p)
{
	struct exsi_begin_frame begin = {.number = 1, .max_size = 1000};
	struct exsi_writer w = {.data = NULL};

	exsi_put_begin(&w, &begin);
	say(&p->data, EXSI_FRAME_BEGIN, 0, w.data, w.size);
	exsi_writer_fini(&w);
}

/* It may not emit anything yet. */
static void say_task(struct parent *p, uint64_t id, const char *function)
{
	struct exsi_task_frame task = {.attempt = 1, .max_attempts = 1, .left = UINT64_MAX, .emits = true};
	exs_invocation *invocation = exs_invocation_new(function, NULL, 0);
	struct exsi_writer w = {.data = NULL};

	CHECK(invocation);
	exsi_put_task(&w, &task, invocation);
	say(&p->data, EXSI_FRAME_TASK, id, w.data, w.size);
	exsi_writer_fini(&w);
	exs_invocation_free(invocation);
}

static void expect_answer(struct parent *p, enum exsi_frame_type type, uint64_t id)
{
	struct exsi_message m;
	const char *why;

	CHECK_INT(exsi_channel_receive(&p->data, &m, &why), EXSI_RECEIVED);
	CHECK_INT(m.type, type);
	CHECK_INT(m.id, id);
	exsi_message_fini(&m);
}

static void begin_ready(struct parent *p)
{
	begin(p);
	say_begin(p);
	expect_answer(p, EXSI_FRAME_READY, 0);
}

TEST(worker, ends_when_it_is_asked_to)
{
	struct parent p;

	begin_ready(&p);
	say_task(&p, 1, "worker_echo");
	expect_answer(&p, EXSI_FRAME_VALUE, 1);
	say(&p.data, EXSI_FRAME_END, 0, NULL, 0);
	expect_status(&p, 0);
	begin(&p);
	say(&p.data, EXSI_FRAME_END, 0, NULL, 0);
	expect_status(&p, 0);
}

TEST(worker, ends_when_nothing_more_can_come)
{
	struct parent p;

	begin(&p);
	CHECK_INT(shutdown(p.data.fd, SHUT_WR), 0);
	expect_status(&p, 0);
	begin_ready(&p);
	CHECK_INT(shutdown(p.data.fd, SHUT_WR), 0);
	expect_status(&p, 0);
}

TEST(worker, what_comes_out_of_turn)
{
	struct parent p;

	begin(&p);
	say_task(&p, 1, "worker_echo");
	expect_status(&p, MALFORMED);
	begin_ready(&p);
	say_begin(&p);
	expect_status(&p, MALFORMED);
}

TEST(worker, what_can_not_be_read)
{
	struct parent p;

	begin(&p);
	say(&p.data, EXSI_FRAME_BEGIN, 0, "short", 5);
	expect_status(&p, MALFORMED);
	begin(&p);
	CHECK_INT(send(p.data.fd, "short", 5, 0), 5);
	expect_status(&p, MALFORMED);
	begin_ready(&p);
	say(&p.data, EXSI_FRAME_TASK, 1, "short", 5);
	expect_status(&p, MALFORMED);
	begin_ready(&p);
	say(&p.control, EXSI_FRAME_CANCEL, 1, "", 0);
	expect_status(&p, MALFORMED);
}

/* Where nobody hears it, it does not go on. */
TEST(worker, whose_answers_can_not_be_sent)
{
	struct parent p;

	begin(&p);
	CHECK_INT(shutdown(p.data.fd, SHUT_RD), 0);
	say_begin(&p);
	expect_status(&p, FAILED);
	begin_ready(&p);
	CHECK_INT(shutdown(p.data.fd, SHUT_RD), 0);
	say_task(&p, 1, "worker_echo");
	expect_status(&p, FAILED);
}

/* Of two threads of the parent: what comes late of the task before neither takes back what the next may emit nor adds to it. */
TEST(worker, late_credit_does_not_count_for_another_task)
{
	const unsigned char one[4] = {1};
	struct parent p;

	begin_ready(&p);
	say_task(&p, 1, "worker_echo");
	expect_answer(&p, EXSI_FRAME_VALUE, 1);
	say(&p.control, EXSI_FRAME_CREDIT, 2, one, sizeof(one));
	say(&p.control, EXSI_FRAME_CREDIT, 1, one, sizeof(one));
	say(&p.control, EXSI_FRAME_RECALL, 0, NULL, 0); /* it has heard all this */
	expect_answer(&p, EXSI_FRAME_RECALLED, 2);
	say_task(&p, 2, "worker_emit_two");
	expect_answer(&p, EXSI_FRAME_ITEM_NULL, 2);
	give_time();
	say(&p.control, EXSI_FRAME_RECALL, 0, NULL, 0);
	expect_answer(&p, EXSI_FRAME_RECALLED, 3);
	say(&p.control, EXSI_FRAME_CREDIT, 2, one, sizeof(one));
	expect_answer(&p, EXSI_FRAME_ITEM_NULL, 2);
	expect_answer(&p, EXSI_FRAME_NULL, 2);
	say(&p.data, EXSI_FRAME_END, 0, NULL, 0);
	expect_status(&p, 0);
}

TEST(worker, a_cancel_without_a_cause_is_none)
{
	static const unsigned char causes[] = {EXS_CAUSE_NONE, EXS_CAUSE_SIBLING + 1};
	struct parent p;

	begin_ready(&p);
	for (unsigned i = 0; i < 2; i++)
		say(&p.control, EXSI_FRAME_CANCEL, 1, &causes[i], 1);
	say(&p.control, EXSI_FRAME_RECALL, 0, NULL, 0);
	expect_answer(&p, EXSI_FRAME_RECALLED, 1); /* so they have been heard */
	say_task(&p, 1, "worker_echo");
	expect_answer(&p, EXSI_FRAME_VALUE, 1);
	say(&p.data, EXSI_FRAME_END, 0, NULL, 0);
	expect_status(&p, 0);
}

/* --- what is no worker --- */

static void expect_not_spawned(int data, int control)
{
	char *const argv[] = {"worker_test", EXSI_CHILD_MARK, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;

	CHECK_INT(posix_spawn_file_actions_init(&actions), 0);
	CHECK_INT(posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", 1, 0), 0);
	if (data >= 0)
		CHECK_INT(posix_spawn_file_actions_adddup2(&actions, data, EXSI_CHILD_DATA), 0);
	if (control >= 0)
		CHECK_INT(posix_spawn_file_actions_adddup2(&actions, control, EXSI_CHILD_CONTROL), 0);
	CHECK_INT(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
	CHECK_INT(posix_spawn_file_actions_destroy(&actions), 0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), NOT_SPAWNED);
}

TEST(worker, that_no_pool_has_begun)
{
	int stream[2], packet[2];

	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
	CHECK_INT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packet), 0);
	stream[0] = exsi_spawn_raise(stream[0]); /* not one of those that a worker has */
	packet[0] = exsi_spawn_raise(packet[0]);
	expect_not_spawned(stream[0], -1);
	expect_not_spawned(packet[0], stream[0]);
	for (int i = 0; i < 2; i++) {
		close(stream[i]);
		close(packet[i]);
	}
	char *argv[] = {"worker_test", "something else", NULL};
	exs_process_main(2, argv); /* returns */
}
