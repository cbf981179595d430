/* What hostile_test.c has a pool spawn: a worker that speaks the protocol without the library, and answers "echo" as it should; any other function
   names a way not to keep to it (forms, below). With the arguments "start FORM" every worker but number 1 does that instead of reporting; with "at
   once FORM" every one, before it has read anything. */
#define _GNU_SOURCE
#include "process/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DATA = 3, CONTROL = 4, WRONG = 99, MOST_FDS = 100, MEMORY = (1 << 20) + 77 };

static uint64_t id; /* of the task */
static unsigned char rest[EXSI_FRAME_PACKET];
static size_t rest_size; /* its input, as far as it stood in the packet */

/* --- packets --- */

struct packet {
	unsigned version, type, flags;
	uint32_t size;
	uint64_t id;
	size_t n; /* bytes behind the header, all alike */
	const void *data;
};

static void put(unsigned char *to, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		to[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t get(const unsigned char *from, size_t size)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)from[i] << 8 * i;
	return value;
}

/* Ends this process when nobody reads any more. */
static void send_raw(const void *data, size_t size, const int *fds, size_t n)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(MOST_FDS * sizeof(int))];
	} control;
	struct iovec io = {(void *)(uintptr_t)data, size};
	struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1};

	if (n) {
		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(n * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	}
	if (sendmsg(DATA, &message, MSG_NOSIGNAL) < 0)
		_exit(errno == EPIPE || errno == ECONNRESET ? 0 : WRONG);
}

static void send_with(struct packet p, const int *fds, size_t n_fds)
{
	static unsigned char bytes[2 * EXSI_FRAME_PACKET];

	bytes[0] = (unsigned char)(p.version ? p.version - 1 : EXSI_FRAME_VERSION);
	bytes[1] = (unsigned char)p.type;
	put(bytes + 2, p.flags, 2);
	put(bytes + 4, p.size, 4);
	put(bytes + 8, p.id, 8);
	memset(bytes + EXSI_FRAME_HEADER, 'x', p.n);
	if (p.data)
		memcpy(bytes + EXSI_FRAME_HEADER, p.data, p.n);
	send_raw(bytes, EXSI_FRAME_HEADER + p.n, fds, n_fds);
}

static void send_packet(struct packet p)
{
	send_with(p, NULL, 0);
}

static void send_plain(unsigned type, uint64_t to, const void *data, size_t size)
{
	send_packet((struct packet){.type = type, .id = to, .size = (uint32_t)size, .n = size, .data = data});
}

static void value(void)
{
	send_plain(EXSI_FRAME_VALUE, id, "fine", 4);
}

/* --- memory --- */

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static int memory(off_t size, int seals)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, size) || (seals && fcntl(fd, F_ADD_SEALS, seals)))
		_exit(WRONG);
	return fd;
}

static void send_memory(int fd, uint32_t size)
{
	send_with((struct packet){.type = EXSI_FRAME_VALUE, .flags = EXSI_FRAME_MEMORY, .size = size, .id = id}, &fd,
		  1);
}

static void sealed_but(int seal)
{
	send_memory(memory(MEMORY, ALL_SEALS & ~seal), MEMORY);
}

static void memory_unsealed(void)
{
	send_memory(memory(MEMORY, 0), MEMORY);
}

static void memory_no_seal_seal(void)
{
	sealed_but(F_SEAL_SEAL);
}

static void memory_no_seal_shrink(void)
{
	sealed_but(F_SEAL_SHRINK);
}

static void memory_no_seal_grow(void)
{
	sealed_but(F_SEAL_GROW);
}

static void memory_no_seal_write(void)
{
	sealed_but(F_SEAL_WRITE);
}

static void memory_too_short(void)
{
	send_memory(memory(MEMORY - 1, ALL_SEALS), MEMORY);
}

static void memory_too_long(void)
{
	send_memory(memory(MEMORY + 1, ALL_SEALS), MEMORY);
}

static void memory_empty(void)
{
	send_memory(memory(0, ALL_SEALS), MEMORY);
}

static void memory_of_no_size(void)
{
	send_memory(memory(MEMORY, ALL_SEALS), 0);
}

static void memory_over_the_limit(void)
{
	send_memory(memory(200 << 20, ALL_SEALS), 200 << 20);
}

static void memory_is_null_device(void)
{
	send_memory(open("/dev/zero", O_RDWR), MEMORY);
}

static void memory_is_directory(void)
{
	send_memory(open("/", O_RDONLY | O_DIRECTORY), MEMORY);
}

static void memory_is_socket(void)
{
	send_memory(DATA, MEMORY);
}

static void memory_is_pipe(void)
{
	int fds[2];

	if (pipe(fds))
		_exit(WRONG);
	send_memory(fds[0], MEMORY);
}

static void memory_is_file(void)
{
	send_memory(open("/proc/self/exe", O_RDONLY), MEMORY);
}

static void memory_missing(void)
{
	send_packet((struct packet){.type = EXSI_FRAME_VALUE, .flags = EXSI_FRAME_MEMORY, .size = MEMORY, .id = id});
}

static void memory_within_message(void)
{
	int fd = memory(MEMORY, ALL_SEALS);

	send_packet((struct packet){.type = EXSI_FRAME_VALUE, .size = 70000, .id = id, .n = EXSI_FRAME_DATA});
	send_memory(fd, MEMORY);
}

static int scribbled;

static void *resize(void *unused)
{
	for (int i = 0; i < 2000; i++)
		if (ftruncate(scribbled, i % 2 ? MEMORY : 0))
			_exit(WRONG);
	return unused;
}

/* While the parent looks at it. */
static void memory_resized(void)
{
	pthread_t thread;

	scribbled = memory(MEMORY, F_SEAL_WRITE * 0);
	pthread_create(&thread, NULL, resize, NULL);
	send_memory(scribbled, MEMORY);
	pthread_join(thread, NULL);
}

/* With a mapping that can be written, which F_SEAL_FUTURE_WRITE leaves. */
static void memory_scribbled(void)
{
	int fd = memory(MEMORY, 0);
	unsigned char *data = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (data == MAP_FAILED ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE))
		_exit(WRONG);
	send_memory(fd, MEMORY);
	for (int i = 0; i < 100; i++)
		memset(data, i, MEMORY);
}

/* The seals are there, so nothing that is done to it has any effect: the parent reads zeros. */
static void memory_written_in_vain(void)
{
	int fd = memory(MEMORY, ALL_SEALS);

	send_memory(fd, MEMORY);
	if (write(fd, "x", 1) == 1 || !ftruncate(fd, 0) || !ftruncate(fd, 2 * MEMORY) ||
	    mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED ||
	    !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, MEMORY))
		_exit(WRONG);
}

static void fds_many(size_t n)
{
	int fds[MOST_FDS];

	for (size_t i = 0; i < n; i++)
		fds[i] = memory(MEMORY, ALL_SEALS);
	send_with((struct packet){.type = EXSI_FRAME_VALUE, .flags = EXSI_FRAME_MEMORY, .size = MEMORY, .id = id}, fds,
		  n);
}

static void fds_2(void)
{
	fds_many(2);
}

static void fds_100(void)
{
	fds_many(MOST_FDS);
}

static void fd_not_asked_for(void)
{
	int fd = memory(MEMORY, ALL_SEALS);

	send_with((struct packet){.type = EXSI_FRAME_VALUE, .size = 4, .id = id, .n = 4}, &fd, 1);
}

/* --- packets and messages that are wrong --- */

static void packet_short(void)
{
	send_raw("short", 5, NULL, 0);
}

static void packet_empty(void)
{
	send_raw("", 0, NULL, 0);
	pause();
}

static void packet_long(void)
{
	send_packet((struct packet){
		.type = EXSI_FRAME_VALUE, .size = EXSI_FRAME_DATA + 1, .id = id, .n = EXSI_FRAME_DATA + 1});
}

static void packet_version(void)
{
	send_packet((struct packet){.version = 1 + EXSI_FRAME_VERSION + 1, .type = EXSI_FRAME_NULL, .id = id});
}

static void packet_flag(void)
{
	send_packet((struct packet){.type = EXSI_FRAME_NULL, .flags = 0x8000, .id = id});
}

static void type_0(void)
{
	send_packet((struct packet){.type = 0, .id = id});
}

static void recalled_unasked(void)
{
	send_packet((struct packet){.type = 26, .id = id});
}

static void type_27(void)
{
	send_packet((struct packet){.type = 27, .id = id});
}

static void type_255(void)
{
	send_packet((struct packet){.type = 255, .id = id});
}

static void type_of_parent(void)
{
	send_packet((struct packet){.type = EXSI_FRAME_TASK, .id = id});
}

static void size_over(void)
{
	send_packet((struct packet){.type = EXSI_FRAME_VALUE, .size = UINT32_MAX, .id = id, .n = EXSI_FRAME_DATA});
}

static void size_more(void)
{
	send_packet((struct packet){.type = EXSI_FRAME_VALUE, .size = 10, .id = id, .n = 5});
}

static void size_less(void)
{
	send_packet((struct packet){.type = EXSI_FRAME_VALUE, .size = 5, .id = id, .n = 10});
}

/* Of two packets the first, and what its second is not. */
static void chunk(struct packet second)
{
	send_packet((struct packet){.type = EXSI_FRAME_VALUE, .size = 40000, .id = id, .n = EXSI_FRAME_DATA});
	send_packet(second);
}

static void chunk_id(void)
{
	chunk((struct packet){.type = EXSI_FRAME_VALUE, .size = 40000, .id = id + 1, .n = 40000 - EXSI_FRAME_DATA});
}

static void chunk_type(void)
{
	chunk((struct packet){.type = EXSI_FRAME_ERROR, .size = 40000, .id = id, .n = 40000 - EXSI_FRAME_DATA});
}

static void chunk_size(void)
{
	chunk((struct packet){.type = EXSI_FRAME_VALUE, .size = 40001, .id = id, .n = 40001 - EXSI_FRAME_DATA});
}

static void chunk_short(void)
{
	chunk((struct packet){.type = EXSI_FRAME_VALUE, .size = 40000, .id = id, .n = 7});
}

static void chunk_then_exit(void)
{
	send_packet((struct packet){.type = EXSI_FRAME_VALUE, .size = 40000, .id = id, .n = EXSI_FRAME_DATA});
	_exit(5);
}

static void answer_of_next(void)
{
	send_plain(EXSI_FRAME_VALUE, id + 1, "x", 1);
}

static void answer_of_last(void)
{
	send_plain(EXSI_FRAME_VALUE, id - 1, "x", 1);
}

static void answer_of_nothing(void)
{
	send_plain(EXSI_FRAME_NULL, 0, NULL, 0);
}

static void value_twice(void)
{
	value();
	value();
	pause();
}

static void ready_twice(void)
{
	send_plain(EXSI_FRAME_READY, 0, NULL, 0);
}

static void ready_with_bytes(void)
{
	send_plain(EXSI_FRAME_READY, 0, "x", 1);
}

static void not_ready_after_all(void)
{
	send_plain(EXSI_FRAME_ERROR, 0, "x", 1);
}

static void null_with_bytes(void)
{
	send_plain(EXSI_FRAME_NULL, id, "x", 1);
}

static void cancelled_with_bytes(void)
{
	send_plain(EXSI_FRAME_CANCELLED, id, "x", 1);
}

static void item_of_no_iterator(void)
{
	send_plain(EXSI_FRAME_ITEM, id, "x", 1);
}

/* Of an iterator that may have 2 at once. */
static void items_without_credit(void)
{
	for (int i = 0; i < 50; i++)
		send_plain(EXSI_FRAME_ITEM, id, "x", 1);
	pause();
}

static void item_error_garbage(void)
{
	send_plain(EXSI_FRAME_ITEM_ERROR, id, "garbage", 7);
}

static void error_empty(void)
{
	send_plain(EXSI_FRAME_ERROR, id, NULL, 0);
}

static void error_garbage(void)
{
	send_plain(EXSI_FRAME_ERROR, id, "\xff\xff\xff\xff garbage of any length", 27);
}

/* Made of 255 errors, of which each is again. */
static void error_of_errors(void)
{
	unsigned char bytes[4000], *p = bytes;

	for (int i = 0; i < 100; i++) {
		memcpy(p, "\3\0\0\0exs\16\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff", 25);
		p += 25;
	}
	send_plain(EXSI_FRAME_ERROR, id, bytes, (size_t)(p - bytes));
}

static void error_in_memory(void)
{
	int fd = memory(MEMORY, ALL_SEALS);

	send_with((struct packet){.type = EXSI_FRAME_ERROR, .flags = EXSI_FRAME_MEMORY, .size = MEMORY, .id = id}, &fd,
		  1);
}

static void schedule_empty(void)
{
	send_plain(EXSI_FRAME_SCHEDULE, id, NULL, 0);
}

static void schedule_garbage(void)
{
	send_plain(EXSI_FRAME_SCHEDULE, id, "\1\2\3\4\5\6\7\7\2\xff\xff\xff\xff", 13);
}

/* place, name, and the head of an invocation of 2^32 - 1 steps. */
static void schedule_of_many_steps(void)
{
	send_plain(EXSI_FRAME_SCHEDULE, id, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\4\0\0\0\xff\xff\xff\xff", 22);
}

/* Its one step has an input of 2^63 bytes, of which one is there. */
static void schedule_of_large_input(void)
{
	static const char text[] = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\26\0\0\0\1\0\0\0\4\0\0\0echo\0\1\0\0\0\0\0\0\0\x80x";

	send_plain(EXSI_FRAME_SCHEDULE, id, text, sizeof(text) - 1);
}

/* --- what takes too long, or is never done --- */

static void never_answers(void)
{
	for (;;)
		pause();
}

static void never_ends(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	never_answers();
}

static void stops(void)
{
	raise(SIGSTOP);
}

static void announced_and_never_sent(void)
{
	send_packet((struct packet){.type = EXSI_FRAME_VALUE, .size = 64 << 20, .id = id, .n = EXSI_FRAME_DATA});
	never_answers();
}

static void endless_messages(void)
{
	for (;;)
		send_plain(EXSI_FRAME_MESSAGE, id, "x", 1);
}

static void endless_output(void)
{
	char text[5000];

	memset(text, 'y', sizeof(text));
	for (;;)
		if (write(STDERR_FILENO, text, sizeof(text)) < 0)
			_exit(WRONG);
}

/* Answers without having heard of anything. */
static void deaf(void)
{
	send_plain(EXSI_FRAME_CANCELLED, id, NULL, 0);
}

/* As many items as it may, and more as there is room, never reading that there is. */
static void deaf_emitter(void)
{
	for (int i = 0; i < 200000; i++)
		send_plain(EXSI_FRAME_ITEM_NULL, id, NULL, 0);
	send_plain(EXSI_FRAME_NULL, id, NULL, 0);
}

/* --- ends, and what is closed --- */

static void closes_data(void)
{
	close(DATA);
	never_answers();
}

static void closes_control(void)
{
	close(CONTROL);
	never_answers();
}

static void closes_both(void)
{
	close(CONTROL);
	close(DATA);
	never_answers();
}

static void shuts_data(void)
{
	shutdown(DATA, SHUT_WR);
	never_answers();
}

static void closes_output(void)
{
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	value();
}

static void exits_0(void)
{
	_exit(0);
}

static void exits_3(void)
{
	fprintf(stderr, "last words\n");
	_exit(3);
}

static void aborts(void)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	signal(SIGABRT, SIG_DFL);
	abort();
}

static void kills_itself(void)
{
	raise(SIGKILL);
}

static void answers_and_exits(void)
{
	value();
	_exit(4);
}

/* Has all that its parent had, which has ended. */
static void grandchild(bool leaves, void (*then)(void))
{
	pid_t pid = fork();

	if (pid < 0)
		_exit(WRONG);
	if (pid > 0) { /* let it begin */
		if (leaves)
			usleep(20000);
		_exit(6);
	}
	if (leaves)
		setsid();
	for (int i = 0; leaves && i < 3 && fork(); i++)
		;
	alarm(20); /* each: it is not inherited */
	then();
	_exit(0);
}

static void grandchild_keeps_all(void)
{
	grandchild(false, never_answers);
}

static void grandchild_leaves(void)
{
	grandchild(true, never_answers);
}

static void grandchild_floods(void)
{
	grandchild(true, endless_messages);
}

static void flood_of_chunks(void)
{
	for (;;)
		send_packet((struct packet){
			.type = EXSI_FRAME_MESSAGE, .size = EXSI_FRAME_DATA, .id = id, .n = EXSI_FRAME_DATA});
}

static void grandchild_floods_more(void)
{
	grandchild(true, flood_of_chunks);
}

static void grandchild_writes(void)
{
	grandchild(true, endless_output);
}

/* --- at random --- */

static uint64_t state;

static uint64_t below(uint64_t n)
{
	uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % n;
}

static uint32_t any_size(size_t n)
{
	static const uint32_t sizes[] = {0,	1,	5,	    EXSI_FRAME_DATA, EXSI_FRAME_DATA + 1,
					 70000, MEMORY, UINT32_MAX, 1u << 31};

	return below(4) ? (uint32_t)n : sizes[below(sizeof(sizes) / sizeof(*sizes))];
}

static void random_packet(void)
{
	static const size_t lengths[] = {0, 0, 1, 4, 13, 27, 300, EXSI_FRAME_DATA, EXSI_FRAME_DATA + 1, 7232};
	static unsigned char bytes[2 * EXSI_FRAME_PACKET];
	size_t n = lengths[below(sizeof(lengths) / sizeof(*lengths))], n_fds = below(12) ? 0 : 1 + !below(8);
	struct packet p = {.type = (unsigned)(below(8) ? 16 + below(10) : below(256)), .n = n, .data = bytes};
	int fds[3];

	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)(below(3) ? below(5) : below(256));
	p.version = below(100) ? 0 : 1 + (unsigned)below(255);
	p.flags = n_fds || !below(12) ? (unsigned)below(3) : 0;
	p.size = n_fds && p.flags && below(4) ? MEMORY : any_size(n);
	p.id = below(8) ? id : below(3) ? id + below(3) - 1 : (below(1u << 31) << 33 | below(1u << 31));
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = memory(below(4) ? MEMORY : 0, (int)(below(3) ? ALL_SEALS : below(16)));
	if (below(20))
		send_with(p, fds, n_fds);
	else
		send_raw(bytes, below(40), fds, n_fds); /* one of no bytes is an end */
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
}

/* By the seed that is its input. */
static void fuzz(void)
{
	state = rest_size >= 8 ? get(rest, 8) : 1;
	for (uint64_t n = 1 + below(3); n; n--)
		random_packet();
	if (!below(10))
		_exit((int)below(3));
	value();
}

/* --- what it is told --- */

static const struct form {
	const char *name;
	void (*run)(void);
} forms[] = {
	{"memory_unsealed", memory_unsealed},
	{"memory_no_seal_seal", memory_no_seal_seal},
	{"memory_no_seal_shrink", memory_no_seal_shrink},
	{"memory_no_seal_grow", memory_no_seal_grow},
	{"memory_no_seal_write", memory_no_seal_write},
	{"memory_too_short", memory_too_short},
	{"memory_too_long", memory_too_long},
	{"memory_empty", memory_empty},
	{"memory_of_no_size", memory_of_no_size},
	{"memory_over_the_limit", memory_over_the_limit},
	{"memory_is_null_device", memory_is_null_device},
	{"memory_is_directory", memory_is_directory},
	{"memory_is_socket", memory_is_socket},
	{"memory_is_pipe", memory_is_pipe},
	{"memory_is_file", memory_is_file},
	{"memory_missing", memory_missing},
	{"memory_within_message", memory_within_message},
	{"memory_resized", memory_resized},
	{"memory_scribbled", memory_scribbled},
	{"memory_written_in_vain", memory_written_in_vain},
	{"fds_2", fds_2},
	{"fds_100", fds_100},
	{"fd_not_asked_for", fd_not_asked_for},
	{"packet_short", packet_short},
	{"packet_empty", packet_empty},
	{"packet_long", packet_long},
	{"packet_version", packet_version},
	{"packet_flag", packet_flag},
	{"type_0", type_0},
	{"type_27", type_27},
	{"recalled_unasked", recalled_unasked},
	{"type_255", type_255},
	{"type_of_parent", type_of_parent},
	{"size_over", size_over},
	{"size_more", size_more},
	{"size_less", size_less},
	{"chunk_id", chunk_id},
	{"chunk_type", chunk_type},
	{"chunk_size", chunk_size},
	{"chunk_short", chunk_short},
	{"chunk_then_exit", chunk_then_exit},
	{"answer_of_next", answer_of_next},
	{"answer_of_last", answer_of_last},
	{"answer_of_nothing", answer_of_nothing},
	{"value_twice", value_twice},
	{"ready_twice", ready_twice},
	{"ready_with_bytes", ready_with_bytes},
	{"not_ready_after_all", not_ready_after_all},
	{"null_with_bytes", null_with_bytes},
	{"cancelled_with_bytes", cancelled_with_bytes},
	{"item_of_no_iterator", item_of_no_iterator},
	{"items_without_credit", items_without_credit},
	{"item_error_garbage", item_error_garbage},
	{"error_empty", error_empty},
	{"error_garbage", error_garbage},
	{"error_of_errors", error_of_errors},
	{"error_in_memory", error_in_memory},
	{"schedule_empty", schedule_empty},
	{"schedule_garbage", schedule_garbage},
	{"schedule_of_many_steps", schedule_of_many_steps},
	{"schedule_of_large_input", schedule_of_large_input},
	{"never_answers", never_answers},
	{"never_ends", never_ends},
	{"stops", stops},
	{"announced_and_never_sent", announced_and_never_sent},
	{"endless_messages", endless_messages},
	{"endless_output", endless_output},
	{"deaf", deaf},
	{"deaf_emitter", deaf_emitter},
	{"closes_data", closes_data},
	{"closes_control", closes_control},
	{"closes_both", closes_both},
	{"shuts_data", shuts_data},
	{"closes_output", closes_output},
	{"exits_0", exits_0},
	{"exits_3", exits_3},
	{"aborts", aborts},
	{"kills_itself", kills_itself},
	{"answers_and_exits", answers_and_exits},
	{"grandchild_keeps_all", grandchild_keeps_all},
	{"grandchild_leaves", grandchild_leaves},
	{"grandchild_floods", grandchild_floods},
	{"grandchild_floods_more", grandchild_floods_more},
	{"grandchild_writes", grandchild_writes},
	{"fuzz", fuzz},
};

static void run(const char *name, size_t size)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++)
		if (strlen(forms[i].name) == size && !memcmp(forms[i].name, name, size)) {
			forms[i].run();
			return;
		}
	fprintf(stderr, "hostile: there is no form %.*s\n", (int)size, name);
	_exit(WRONG);
}

/* A field with its length before it; past it, and `behind` bytes. */
static const unsigned char *past(const unsigned char *p, size_t behind)
{
	return p + 4 + get(p, 4) + behind;
}

/* attempt, max, left, items, emits; name; head of an invocation: steps, name of the first; the input. */
static void run_task(const unsigned char *packet, size_t n)
{
	const unsigned char *head = past(packet + EXSI_FRAME_HEADER + 21, 1), *function = head + 8;
	const unsigned char *input = past(head, 0);
	size_t size = get(function, 4);

	id = get(packet + 8, 8);
	rest_size = input < packet + n ? (size_t)(packet + n - input) : 0;
	memcpy(rest, input, rest_size);
	if (size == 4 && !memcmp(function + 4, "echo", 4))
		send_plain(EXSI_FRAME_VALUE, id, rest, rest_size);
	else
		run((const char *)function + 4, size);
}

int main(int argc, char **argv)
{
	static unsigned char packet[EXSI_FRAME_PACKET];
	bool at_start = argc > 3 && !strcmp(argv[1], "start"), at_once = argc > 3 && !strcmp(argv[1], "at once");
	ssize_t n = 0;

	if (at_once)
		run(argv[2], strlen(argv[2]));
	if ((n = recv(DATA, packet, sizeof(packet), 0)) < EXSI_FRAME_HEADER + 4)
		return WRONG;
	if (at_start && get(packet + EXSI_FRAME_HEADER, 4) != 1)
		run(argv[2], strlen(argv[2]));
	send_plain(EXSI_FRAME_READY, 0, NULL, 0);
	while ((n = recv(DATA, packet, sizeof(packet), 0)) > EXSI_FRAME_HEADER && packet[1] == EXSI_FRAME_TASK)
		run_task(packet, (size_t)n);
	return 0;
}
