/* What does a small task in another process cost (64 bytes, which come back), beside a bare ping-pong over a socketpair? In each round all in
   turn: one: one at a time; flight: the floor keeps each child busy with one message from an epoll loop, the pool has 64 tasks in flight,
   read in order, on as many workers; layers: the same below retry and timeout. bench/peers/process_pool.py is the same with Python's
   ProcessPoolExecutor.
   Usage: process [PEER [WAY [WORKERS [N]]]]; all, or nothing, means all of them. */
#include "children.h"

#include <sys/epoll.h>

enum { SIZE = 64, FLIGHT = 64, ROUNDS = 3 };

/* --- in the child --- */

static int echo_messages(void)
{
	char message[SIZE];

	while (read_fully(CHILD_FD, message, SIZE) && write_fully(CHILD_FD, message, SIZE))
		;
	return 0;
}

static exs_result echo(const exs_bytes *in, exs_context *ctx)
{
	(void)ctx;
	return exs_ok_copy(in->data, in->size);
}

/* --- the floor --- */

struct message {
	long number;
	char rest[SIZE - sizeof(long)];
};

static void put(int fd, long number)
{
	struct message m = {.number = number};

	die_unless(write(fd, &m, SIZE) == SIZE, "write");
}

static long get(int fd)
{
	struct message m;

	die_unless(read_fully(fd, &m, SIZE), "read");
	return m.number;
}

static long floor_one(struct children *c, long n)
{
	long sum = 0;

	for (long i = 0; i < n; i++) {
		put(c->fd[0], i);
		sum += get(c->fd[0]);
	}
	return sum;
}

static int watch_all(const struct children *c)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (int i = 0; i < c->n; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = c->fd[i]};
		die_unless(!epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd[i], &event), "epoll");
	}
	return epoll;
}

static long floor_flight(struct children *c, long n)
{
	int epoll = watch_all(c);
	long sum = 0, sent = 0, received = 0;

	while (sent < c->n) {
		put(c->fd[sent], sent);
		sent++;
	}
	while (received < n) {
		struct epoll_event events[MOST_CHILDREN];
		int ready = epoll_wait(epoll, events, MOST_CHILDREN, -1);
		for (int i = 0; i < ready; i++) {
			sum += get(events[i].data.fd);
			received++;
			if (sent < n)
				put(events[i].data.fd, sent++);
		}
	}
	close(epoll);
	return sum;
}

/* --- ours --- */

static exs_future *submit(exs_executor *ex, long number)
{
	struct message m = {.number = number};
	exs_future *f = exs_submit_function(ex, "echo", &m, SIZE);

	die_unless(f, "submit");
	return f;
}

static long read_and_release(exs_future *f)
{
	struct message m;

	exs_future_wait(f, EXS_FOREVER);
	const exs_bytes *bytes = exs_future_value(f);
	die_unless(bytes && bytes->size == SIZE, "value");
	memcpy(&m, bytes->data, SIZE);
	exs_future_unref(f);
	return m.number;
}

static long keep_in_flight(exs_executor *ex, long n, long flight)
{
	exs_future *f[FLIGHT];
	long sum = 0;

	for (long i = 0; i < n + flight; i++) {
		if (i >= flight)
			sum += read_and_release(f[i % flight]);
		if (i < n)
			f[i % flight] = submit(ex, i);
	}
	return sum;
}

/* --- all --- */

enum { SMALL = 1, MIDDLE = 2, LARGE = 4, ANY = 99 };
static const int workers_of[] = {SMALL, MIDDLE, LARGE};

/* By number of workers - 1. */
static struct children packets[MOST_CHILDREN], streams[MOST_CHILDREN];
static exs_executor *pools[MOST_CHILDREN], *chains[MOST_CHILDREN];

static const struct way {
	const char *peer, *name;
	int most; /* workers */
} ways[] = {
	{"floor_seqpacket", "one", SMALL},    {"floor_stream", "one", SMALL},	 {"executors", "one", SMALL},
	{"floor_seqpacket", "flight", LARGE}, {"floor_stream", "flight", LARGE}, {"executors", "flight", LARGE},
	{"executors", "layers", LARGE},
};

static long sum_of(const struct way *way, int workers, long n)
{
	bool one = !strcmp(way->name, "one");

	if (!strcmp(way->peer, "executors"))
		return keep_in_flight(!strcmp(way->name, "layers") ? chains[workers - 1] : pools[workers - 1], n,
				      one ? 1 : FLIGHT);
	struct children *c = !strcmp(way->peer, "floor_stream") ? &streams[workers - 1] : &packets[workers - 1];
	return one ? floor_one(c, n) : floor_flight(c, n);
}

static void run(const struct way *way, int workers, long n)
{
	long switches = vcsw(), forced = ivcsw();
	uint64_t begin = now_ns(), used = cpu_ns();
	long sum = sum_of(way, workers, n);
	uint64_t end = now_ns();

	used = cpu_ns() - used;
	die_unless(sum == n * (n - 1) / 2, way->name);
	emit(way->peer, "process", n, (double)(end - begin) / (double)n,
	     ",\"way\":\"%s\",\"workers\":%d,\"cpu_ns_per_op\":%.1f,\"switches\":%.3f,\"forced_switches\":%.3f",
	     way->name, workers, (double)used / (double)n, (double)(vcsw() - switches) / (double)n,
	     (double)(ivcsw() - forced) / (double)n);
}

static bool is_meant(const char *only, const char *name)
{
	return !only || !strcmp(only, "all") || !strcmp(only, name);
}

static void begin_all(void)
{
	for (size_t i = 0; i < sizeof(workers_of) / sizeof(*workers_of); i++) {
		int n = workers_of[i];
		packets[n - 1] = begin_children("--echo", SOCK_SEQPACKET, n);
		streams[n - 1] = begin_children("--echo", SOCK_STREAM, n);
		pools[n - 1] = process_pool((unsigned)n);
		chains[n - 1] = exs_with_timeout(exs_with_retry(exs_borrow(pools[n - 1]), NULL), 60);
		die_unless(chains[n - 1], "chain");
	}
}

static void end_all(void)
{
	for (size_t i = 0; i < sizeof(workers_of) / sizeof(*workers_of); i++) {
		int n = workers_of[i];
		exs_executor_free(chains[n - 1]);
		exs_executor_free(pools[n - 1]);
		end_children(&packets[n - 1]);
		end_children(&streams[n - 1]);
	}
}

int main(int argc, char **argv)
{
	exs_register("echo", echo);
	exs_process_main(argc, argv);
	if (argc == 2 && !strcmp(argv[1], "--echo"))
		return echo_messages();
	const char *peer = word(argc, argv, 1, "all|floor_seqpacket|floor_stream|executors");
	const char *way = word(argc, argv, 2, "all|one|flight|layers");
	long workers = number(argc, argv, 3, ANY);
	long n = number(argc, argv, 4, 10000);

	at_most(4, argc, argv);
	begin_all();
	for (int round = 0; round < ROUNDS; round++)
		for (size_t j = 0; j < sizeof(workers_of) / sizeof(*workers_of); j++)
			for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
				if (is_meant(peer, ways[i].peer) && is_meant(way, ways[i].name) &&
				    workers_of[j] <= ways[i].most && (workers == ANY || workers == workers_of[j]))
					run(&ways[i], workers_of[j], n);
	end_all();
	return 0;
}
