/* A pool of processes that is closed in each of the three ways, at random moments, while tasks run, wait, and schedule others. */
#define _GNU_SOURCE
#include "process/remote.h"
#include "storm.h"

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WORKERS = 2, SUBMITTED = 64, NUMBERS = 4096, ROUNDS = 12 };

/* What all processes see. Numbers up to SUBMITTED are those of the calls, the others of what they schedule. */
static struct board {
	atomic_uint next;
	atomic_uchar begun[NUMBERS], ended[NUMBERS], scheduled[NUMBERS];
} * board;

struct order {
	int pid, fd; /* where the board is */
	unsigned number, depth, spin;
};

/* --- in the workers --- */

static void find_board(const struct order *o)
{
	char path[64];

	if (board)
		return;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", o->pid, o->fd);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *data = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		_exit(99);
	board = data;
	close(fd);
}

static void spin(unsigned n)
{
	for (unsigned i = n; i; i--)
		__asm__ volatile("");
}

static exs_result run(const exs_bytes *input, exs_context *ctx)
{
	struct order o, further;

	memcpy(&o, input->data, sizeof(o));
	find_board(&o);
	atomic_fetch_add(&board->begun[o.number], 1);
	spin(o.spin);
	further = o;
	for (unsigned i = 0; i < o.depth; i++) {
		further.number = atomic_fetch_add(&board->next, 1);
		further.depth = o.depth - 1;
		int rc = exs_schedule(ctx, exs_invocation_new("process_close_run", &further, sizeof(further)), NULL);
		atomic_store(&board->scheduled[further.number], !rc);
	}
	spin(o.spin);
	atomic_fetch_add(&board->ended[o.number], 1);
	return exs_ok(NULL, NULL);
}

__attribute__((constructor)) static void be_worker(int argc, char **argv)
{
	exs_register("process_close_run", run);
	exs_process_main(argc, argv);
}

/* --- here --- */

struct round {
	exs_executor *ex;
	int fd;
	uint64_t random;
	exs_future *f[SUBMITTED];
	bool known[SUBMITTED]; /* it was cancelled when close had returned for the first time */
	atomic_uint submitted;
	pthread_t thread;
};

static void *submit_all(void *arg)
{
	struct round *r = arg;
	struct order o = {.pid = getpid(), .fd = r->fd};

	for (unsigned i = 0; i < SUBMITTED; i++) {
		o.number = i;
		o.depth = (unsigned)harness_below(&r->random, 3);
		o.spin = (unsigned)harness_below(&r->random, 40000);
		r->f[i] = exs_submit_function(r->ex, "process_close_run", &o, sizeof(o));
		CHECK(r->f[i]);
		atomic_store(&r->submitted, i + 1);
	}
	return NULL;
}

static void round_begin(struct round *r, uint64_t seed, int fd)
{
	memset(board, 0, sizeof(*board));
	atomic_store(&board->next, SUBMITTED);
	*r = (struct round){.fd = fd, .random = seed};
	r->ex = exs_process_pool(&(exs_process_pool_options){.workers = WORKERS});
	if (harness_below(&r->random, 3) == 0)
		r->ex = exs_with_retry(r->ex, NULL);
	CHECK(r->ex);
	atomic_init(&r->submitted, 0);
	CHECK(!pthread_create(&r->thread, NULL, submit_all, r));
}

/* At a moment of random length: before, while or after they are submitted, while the first or the last of them run. */
static void let_some_run(struct round *r, uint64_t *random)
{
	unsigned submitted = (unsigned)harness_below(random, SUBMITTED + 20);
	unsigned begun = (unsigned)harness_below(random, 2 * SUBMITTED);

	while (atomic_load(&r->submitted) < submitted && atomic_load(&r->submitted) < SUBMITTED)
		sched_yield();
	if (harness_below(random, 2))
		return;
	for (unsigned n = 0; n < begun && n < submitted && n < SUBMITTED;) {
		n = 0;
		for (unsigned i = 0; i < SUBMITTED; i++)
			n += atomic_load(&board->begun[i]);
		sched_yield();
	}
}

/* A call that has ended so has been run so often. left: what ran when time was up has failed, and run on. */
static void check_call(struct round *r, unsigned i, bool killed, bool left)
{
	exs_state state = exs_future_state(r->f[i]);
	unsigned begun = atomic_load(&board->begun[i]), ended = atomic_load(&board->ended[i]);

	CHECK(begun <= 1 && ended <= begun);
	if (state == EXS_STATE_VALUE)
		CHECK_INT(ended, 1);
	if (state == EXS_STATE_ERROR && !killed)
		CHECK(exs_error_is(exs_future_error(r->f[i]), &exs_domain_exs, EXS_ESHUTDOWN));
	if (state == EXS_STATE_ERROR && exs_error_is(exs_future_error(r->f[i]), &exs_domain_exs, EXS_ESHUTDOWN))
		CHECK_INT(killed || left ? 0 : begun, 0);
	if (r->known[i] || (state == EXS_STATE_CANCELLED && !killed))
		CHECK_INT(begun, 0);
	exs_future_unref(r->f[i]);
}

static unsigned count_begun(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NUMBERS; i++)
		n += atomic_load(&board->begun[i]);
	return n;
}

/* Everything that was scheduled has run, once, to its end. */
static void check_scheduled(void)
{
	unsigned next = atomic_load(&board->next);

	CHECK(next < NUMBERS);
	for (unsigned i = SUBMITTED; i < next; i++) {
		CHECK_INT(atomic_load(&board->scheduled[i]), 1);
		CHECK_INT(atomic_load(&board->begun[i]), 1);
		CHECK_INT(atomic_load(&board->ended[i]), 1);
	}
}

/* Closed without a wait: what is cancelled now never begins, and no more is left than workers can have been given, and answered. */
static void close_at_once(struct round *r)
{
	size_t left = exs_process_pool_close(r->ex, EXS_CLOSE_CANCEL, 0);
	unsigned undone = 0;

	(void)left;
	CHECK(!pthread_join(r->thread, NULL));
	for (unsigned i = 0; i < SUBMITTED; i++) {
		exs_state state = exs_future_state(r->f[i]);
		r->known[i] = state == EXS_STATE_CANCELLED;
		undone += !exs_future_is_done(r->f[i]);
	}
	CHECK(undone <= WORKERS * EXSI_REMOTE_DEPTH);
}

static void round_end(struct round *r, exs_close how, bool joined)
{
	CHECK_INT(exs_process_pool_close(r->ex, how, EXS_FOREVER), 0);
	unsigned begun = count_begun();
	if (!joined)
		CHECK(!pthread_join(r->thread, NULL));
	for (unsigned i = 0; i < SUBMITTED; i++)
		CHECK(exs_future_is_done(r->f[i]));
	exs_executor_free(r->ex);
	CHECK_INT(count_begun(), begun);
	if (how == EXS_CLOSE_JOIN)
		check_scheduled();
	for (unsigned i = 0; i < SUBMITTED; i++)
		check_call(r, i, how == EXS_CLOSE_KILL, joined);
}

static void close_rounds(exs_close how, bool at_once)
{
	struct storm_rest rest;
	struct round r;
	unsigned long n = harness_rounds((unsigned long)harness_many(ROUNDS));
	int fd = memfd_create("board", MFD_CLOEXEC);

	CHECK(fd >= 0 && !ftruncate(fd, sizeof(*board)));
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(board != MAP_FAILED);
	storm_begin(&rest);
	uint64_t random = harness_seed();
	for (unsigned long i = 0; i < n; i++) {
		uint64_t seed = harness_random(&random);
		round_begin(&r, seed, fd);
		let_some_run(&r, &seed);
		if (at_once)
			close_at_once(&r);
		round_end(&r, how, at_once);
	}
	storm_end(&rest);
	munmap(board, sizeof(*board));
	board = NULL;
	close(fd);
}

TEST(process_random_close, join_runs_all_that_was_scheduled)
{
	close_rounds(EXS_CLOSE_JOIN, false);
}

TEST(process_random_close, cancel_begins_nothing_more)
{
	close_rounds(EXS_CLOSE_CANCEL, false);
}

TEST(process_random_close, cancel_at_once_begins_nothing_that_waited)
{
	close_rounds(EXS_CLOSE_CANCEL, true);
}

TEST(process_random_close, kill_ends_all)
{
	close_rounds(EXS_CLOSE_KILL, false);
}

TEST(process_random_close, kill_after_cancel_ends_all)
{
	close_rounds(EXS_CLOSE_KILL, true);
}
