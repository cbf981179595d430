/* How fast do 16 MiB of fresh bytes come from another process, checksummed here? In each round all in turn: ours, two tasks in flight for each
   worker; the floor: a bare hand-over of a sealed memfd, and a copy through a socket, each child with two requests in flight; and what a
   processor does alone: generate the bytes, again into the same memory, or from there into a new memfd; sum them; memcpy.
   Usage: payload [PEER [N]]; all, or nothing, means all of them. */
#include "children.h"

#include <sys/mman.h>

enum { SIZE = 16 << 20, WORDS = SIZE / 8, DEPTH = 2, ROUNDS = 3, MOST = 2, STRANDS = 4 };
enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* --- the bytes --- */

/* Other words for each seed; the last is the sum of all others. Four generators side by side, so that memory is what it waits for. */
static void generate(uint64_t *words, uint64_t seed)
{
	uint64_t state[STRANDS] = {seed, seed + 1, seed + 2, seed + 3}, sums[STRANDS] = {0};

	for (size_t i = 0; i < WORDS; i += STRANDS) {
		for (size_t j = 0; j < STRANDS; j++) {
			state[j] = state[j] * 6364136223846793005u + 1442695040888963407u;
			words[i + j] = state[j];
			sums[j] += state[j];
		}
	}
	words[WORDS - 1] = sums[0] + sums[1] + sums[2] + sums[3] - words[WORDS - 1];
}

static void check(const uint64_t *words)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < WORDS - 1; i++)
		sum += words[i];
	die_unless(sum == words[WORDS - 1], "checksum");
}

static void *map(int fd, int protection, int flags)
{
	void *p = mmap(NULL, SIZE, protection, flags, fd, 0);

	die_unless(p != MAP_FAILED, "mmap");
	return p;
}

static void *private_memory(void)
{
	return map(-1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE);
}

/* Sealed, with its bytes, which are generated in the buffer. */
static int new_file(void *buffer, uint64_t seed)
{
	int fd = memfd_create("payload", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	die_unless(fd >= 0, "memfd");
	generate(buffer, seed);
	die_unless(write(fd, buffer, SIZE) == SIZE, "write");
	die_unless(!fcntl(fd, F_ADD_SEALS, SEALS), "seal");
	return fd;
}

/* --- in the child: for each seed that is asked for --- */

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

static bool send_descriptor(int socket, int fd)
{
	char byte = 0;
	union control control = {{0}};
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	control.header =
		(struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(socket, &m, MSG_NOSIGNAL) == 1;
}

static int send_files(void)
{
	void *buffer = private_memory();
	bool more = true;
	uint64_t seed;

	while (more && read_fully(CHILD_FD, &seed, sizeof(seed))) {
		int fd = new_file(buffer, seed);
		more = send_descriptor(CHILD_FD, fd);
		close(fd);
	}
	return 0;
}

static int send_copies(void)
{
	void *bytes = private_memory();
	uint64_t seed;

	while (read_fully(CHILD_FD, &seed, sizeof(seed))) {
		generate(bytes, seed);
		if (!write_fully(CHILD_FD, bytes, SIZE))
			break;
	}
	return 0;
}

static exs_result fill(const exs_bytes *in, exs_context *ctx)
{
	uint64_t seed;

	(void)ctx;
	memcpy(&seed, in->data, sizeof(seed));
	exs_bytes *bytes = exs_bytes_new(SIZE);
	if (bytes)
		generate((uint64_t *)(void *)bytes->data, seed);
	return exs_ok_bytes(bytes);
}

/* --- the floor --- */

static uint64_t next_seed = 1;

static void ask(int fd)
{
	uint64_t seed = next_seed++;

	die_unless(write(fd, &seed, sizeof(seed)) == sizeof(seed), "write");
}

static int receive_descriptor(int socket)
{
	char byte;
	int fd;
	union control control;
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	die_unless(recvmsg(socket, &m, MSG_CMSG_CLOEXEC) == 1 && m.msg_controllen, "recvmsg");
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return fd;
}

/* The buffer is not needed. */
static void take_file(int socket, void *buffer)
{
	int fd = receive_descriptor(socket);
	void *p = map(fd, PROT_READ, MAP_SHARED);

	(void)buffer;
	madvise(p, SIZE, MADV_SEQUENTIAL);
	check(p);
	munmap(p, SIZE);
	close(fd);
}

static void take_copy(int socket, void *buffer)
{
	die_unless(read_fully(socket, buffer, SIZE), "read");
	check(buffer);
}

static void from_children(struct children *c, void (*take)(int, void *), long n)
{
	void *buffer = private_memory();
	long asked = 0;

	while (asked < c->n * DEPTH && asked < n)
		ask(c->fd[asked++ % c->n]);
	for (long i = 0; i < n; i++) {
		take(c->fd[i % c->n], buffer);
		if (asked < n)
			ask(c->fd[asked++ % c->n]);
	}
	munmap(buffer, SIZE);
}

static void floor_memfd(int workers, long n)
{
	static struct children c[MOST];

	if (!c[workers - 1].n)
		c[workers - 1] = begin_children("--files", SOCK_STREAM, workers);
	from_children(&c[workers - 1], take_file, n);
}

static void floor_copy(int workers, long n)
{
	static struct children c[MOST];

	if (!c[workers - 1].n)
		c[workers - 1] = begin_children("--copies", SOCK_STREAM, workers);
	from_children(&c[workers - 1], take_copy, n);
}

/* --- ours --- */

static exs_executor *pools[MOST];

static exs_future *submit(exs_executor *ex)
{
	uint64_t seed = next_seed++;
	exs_future *f = exs_submit_function(ex, "fill", &seed, sizeof(seed));

	die_unless(f, "submit");
	return f;
}

static void read_and_release(exs_future *f)
{
	exs_future_wait(f, EXS_FOREVER);
	const exs_bytes *bytes = exs_future_value(f);
	die_unless(bytes && bytes->size == SIZE, "value");
	check((const uint64_t *)(const void *)bytes->data);
	exs_future_unref(f);
}

static void ours(int workers, long n)
{
	int flight = workers * DEPTH;
	exs_future *f[MOST * DEPTH];

	if (!pools[workers - 1])
		pools[workers - 1] = process_pool((unsigned)workers);
	for (long i = 0; i < n + flight; i++) {
		if (i >= flight)
			read_and_release(f[i % flight]);
		if (i < n)
			f[i % flight] = submit(pools[workers - 1]);
	}
}

/* --- alone --- */

static void generate_again(int workers, long n)
{
	(void)workers;
	void *buffer = private_memory();

	for (long i = 0; i < n; i++)
		generate(buffer, next_seed++);
	munmap(buffer, SIZE);
}

static void generate_new(int workers, long n)
{
	(void)workers;
	void *buffer = private_memory();

	for (long i = 0; i < n; i++)
		close(new_file(buffer, next_seed++));
	munmap(buffer, SIZE);
}

static void sum_alone(int workers, long n)
{
	(void)workers;
	void *buffer = private_memory();

	generate(buffer, next_seed++);
	for (long i = 0; i < n; i++)
		check(buffer);
	munmap(buffer, SIZE);
}

static void copy_alone(int workers, long n)
{
	(void)workers;
	void *from = private_memory(), *to = private_memory();

	generate(from, next_seed++);
	for (long i = 0; i < n; i++) {
		memcpy(to, from, SIZE);
		__asm__ volatile("" : : "r"(to) : "memory"); /* as if it were read */
	}
	munmap(from, SIZE);
	munmap(to, SIZE);
}

/* --- all --- */

static const struct way {
	const char *peer;
	void (*run)(int workers, long n);
	int most; /* workers */
} ways[] = {
	{"floor_memfd", floor_memfd, MOST},
	{"floor_copy", floor_copy, MOST},
	{"executors", ours, MOST},
	{"generate_again", generate_again, 1},
	{"generate_new_memfd", generate_new, 1},
	{"sum", sum_alone, 1},
	{"memcpy", copy_alone, 1},
};

static void run(const struct way *way, int workers, long n)
{
	way->run(workers, 2L * MOST); /* begun, and warm */
	uint64_t begin = now_ns(), used = cpu_ns();
	way->run(workers, n);
	uint64_t end = now_ns();

	used = cpu_ns() - used;
	double ns = (double)(end - begin) / (double)n;
	emit(way->peer, "payload", n, ns, ",\"workers\":%d,\"cpu_ns_per_op\":%.1f,\"gb_per_s\":%.3f", workers,
	     (double)used / (double)n, SIZE / ns);
}

int main(int argc, char **argv)
{
	exs_register("fill", fill);
	exs_process_main(argc, argv);
	if (argc == 2 && !strcmp(argv[1], "--files"))
		return send_files();
	if (argc == 2 && !strcmp(argv[1], "--copies"))
		return send_copies();
	const char *peer = word(argc, argv, 1,
				"all|floor_memfd|floor_copy|executors|generate_again|generate_new_memfd|sum|memcpy");
	long n = number(argc, argv, 2, 32);

	at_most(2, argc, argv);
	for (int round = 0; round < ROUNDS; round++)
		for (int workers = 1; workers <= MOST; workers++)
			for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
				if (workers <= ways[i].most &&
				    (!peer || !strcmp(peer, "all") || !strcmp(peer, ways[i].peer)))
					run(&ways[i], workers, n);
	for (int workers = 1; workers <= MOST; workers++)
		exs_executor_free(pools[workers - 1]);
	return 0;
}
