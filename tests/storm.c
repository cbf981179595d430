/* Signals at random, and what is left. */
#define _GNU_SOURCE
#include "storm.h"
#include "spawning.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- what is left --- */

static atomic_long blocks;

static void *count_alloc(size_t size)
{
	void *p = malloc(size);

	atomic_fetch_add(&blocks, p != NULL);
	return p;
}

static void count_free(void *p)
{
	atomic_fetch_sub(&blocks, 1);
	free(p);
}

long storm_blocks(void)
{
	return atomic_load(&blocks);
}

static void expect_no_child(void)
{
	siginfo_t info = {0};
	int rc = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL);

	if (!rc)
		fprintf(stderr, "child %d is left (0: one that lives)\n", (int)info.si_pid);
	CHECK_INT(rc, -1);
	CHECK_INT(errno, ECHILD);
}

void storm_begin(struct storm_rest *rest)
{
	static const exs_allocator counting = {count_alloc, count_free};

	atomic_store(&blocks, 0);
	exs_set_allocator(&counting);
	rest->descriptors = spawned_descriptors();
}

void storm_end(struct storm_rest *rest)
{
	CHECK_INT(exs_quiesce(EXS_FOREVER), 0);
	expect_no_child();
	CHECK_INT(spawned_descriptors(), rest->descriptors);
	harness_wait_futures(0);
	CHECK_INT(storm_blocks(), 0);
	exs_set_allocator(NULL);
}

/* --- signals --- */

/* Of this child, and of no other process that has its number. */
static bool send_to_child(long pid, int number)
{
	siginfo_t info;
	int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);

	if (pidfd < 0)
		return false;
	bool ours = !waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT);
	bool sent = ours && !syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
	close(pidfd);
	return sent;
}

bool storm_strike(exs_executor *ex, uint64_t *random, bool seasoned)
{
	enum { MOST = 16 };
	/* Under a sanitizer a fault takes seconds to be told. */
	static const int signals[] = {SIGKILL, SIGKILL, SIGKILL, SIGTERM, SIGXCPU, SIGSTOP, SIGSEGV, SIGABRT};
	exs_process_worker workers[MOST], *w;
	size_t n = exs_process_pool_workers(ex, workers, MOST);
	uint64_t kinds = sizeof(signals) / sizeof(*signals) - (spawned_sanitized() ? 2 : 0);

	n = n < MOST ? n : MOST;
	if (!n)
		return false;
	w = &workers[harness_below(random, n)];
	int number = signals[harness_below(random, kinds)];
	if (seasoned && !w->tasks)
		return false;
	bool sent = send_to_child(w->pid, number);
	if (sent && number == SIGSTOP) {
		sched_yield();
		send_to_child(w->pid, SIGKILL);
	}
	return sent;
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

static void *storm_main(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->stop) && atomic_load(&s->struck) < s->n) {
		bool due = atomic_load(&s->done) >= atomic_load(&s->struck) * s->pace;
		if (due && storm_strike(s->ex, &s->random, s->seasoned))
			atomic_fetch_add(&s->struck, 1);
		else
			nap();
	}
	return NULL;
}

void storm_start(struct storm *s)
{
	atomic_init(&s->done, 0);
	atomic_init(&s->struck, 0);
	atomic_init(&s->stop, false);
	CHECK(!pthread_create(&s->thread, NULL, storm_main, s));
}

void storm_stop(struct storm *s)
{
	atomic_store(&s->stop, true);
	CHECK(!pthread_join(s->thread, NULL));
}

/* --- results --- */

uint64_t storm_mix(uint64_t x)
{
	return harness_random(&x);
}

const unsigned char *storm_value(exs_future *f, size_t size)
{
	char text[8192];

	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	if (exs_future_state(f) != EXS_STATE_VALUE) {
		exs_future_explain(f, text, sizeof(text));
		fprintf(stderr, "%s\n", text);
	}
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	exs_bytes *bytes = exs_future_value(f);
	CHECK(bytes && bytes->size == size);
	return bytes->data;
}
