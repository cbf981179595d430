/* Borrowing: chains of different depth on one pool, each shut down for itself, freed in any order. */
#include "support.h"

/* The pool of one worker, and what borrows it; the last borrows a chain that borrows. */
enum { POOL, BORROW, RETRY, ABANDON, POLL, BORROWED_RETRY, CHAINS };

struct share {
	exs_clock *clock;
	exs_executor *ex[CHAINS];
	struct job gate, jobs[CHAINS], backoff; /* the gate's job keeps the worker, the others wait */
	exs_future *f[CHAINS], *gate_f, *backoff_f;
};

static void share_init(struct share *s)
{
	s->clock = exs_clock_manual_new();
	exs_executor *pool = s->ex[POOL] = exs_with_clock(exs_with_name(exs_thread_pool(1), "pool"), s->clock);
	s->ex[BORROW] = exs_borrow(pool);
	s->ex[RETRY] = exs_with_retry(exs_borrow(pool), NULL);
	s->ex[ABANDON] = exs_with_timeout_mode(exs_with_retry(exs_borrow(pool), NULL), 1000, EXS_ABANDON);
	s->ex[POLL] = exs_with_poll(exs_borrow(pool), job_poll, job_cancel, NULL, NULL);
	s->ex[BORROWED_RETRY] = exs_borrow(s->ex[RETRY]);
	for (int i = 0; i < CHAINS; i++)
		CHECK(s->ex[i]);
}

/* One call in a backoff of RETRY, one that runs in the pool, one of each chain in its queue. */
static void share_fill(struct share *s)
{
	job_init(&s->backoff);
	s->backoff.failures = 1;
	s->backoff.error = exs_error_new(&test_domain, 1, "no");
	s->backoff_f = job_submit(s->ex[RETRY], &s->backoff);
	CHECK_INT(exs_clock_wait_armed(s->clock, 1, EXS_FOREVER), EXS_OK);
	job_init(&s->gate);
	s->gate.gated = true;
	s->gate_f = job_submit(s->ex[BORROW], &s->gate);
	sem_take(&s->gate.entered);
	for (int i = 0; i < CHAINS; i++) {
		job_init(&s->jobs[i]);
		s->f[i] = job_submit(s->ex[i], &s->jobs[i]);
	}
}

static void free_one(struct share *s, int i)
{
	exs_executor_free(s->ex[i]);
	s->ex[i] = NULL;
}

static void share_end(struct share *s)
{
	sem_post(&s->gate.open);
	for (int i = CHAINS - 1; i >= 0; i--)
		free_one(s, i);
	exs_future_unref(s->gate_f);
	exs_future_unref(s->backoff_f);
	job_fini(&s->gate);
	job_fini(&s->backoff);
	exs_error_unref(s->backoff.error);
	for (int i = 0; i < CHAINS; i++) {
		exs_future_unref(s->f[i]);
		job_fini(&s->jobs[i]);
	}
	exs_clock_unref(s->clock);
}

TEST(borrow, of_nothing)
{
	CHECK(!exs_borrow(NULL));
}

TEST(borrow, chains_share_one_worker)
{
	struct share s;

	share_init(&s);
	share_fill(&s);
	CHECK_STR(exs_executor_name(s.ex[BORROWED_RETRY]), "pool");
	for (int i = 0; i < CHAINS; i++)
		CHECK_INT(exs_executor_pending(s.ex[i]), i == BORROW || i == RETRY ? 2 : 1); /* of its own */
	sem_post(&s.gate.open);
	for (int i = 0; i < CHAINS; i++) {
		expect_value(exs_future_ref(s.f[i]), &s.jobs[i]);
		CHECK(pthread_equal(s.jobs[i].thread, s.gate.thread));
	}
	advance(s.clock, 1);
	expect_value(exs_future_ref(s.backoff_f), &s.backoff);
	share_end(&s);
}

/* Only what came through the chain is cancelled and refused, that of the chains that borrow it included. */
TEST(borrow, shutdown_of_one_chain_leaves_the_others)
{
	for (int shut = BORROW; shut < CHAINS; shut++) {
		struct share s;
		struct job late[CHAINS];
		share_init(&s);
		share_fill(&s);
		CHECK_INT(exs_shutdown(s.ex[shut], EXS_CANCEL_ALL, 0), shut == BORROW);
		for (int i = 0; i < CHAINS; i++) {
			bool closed = i == shut || (i == BORROWED_RETRY && shut == RETRY);
			job_init(&late[i]);
			exs_future *f = job_submit(s.ex[i], &late[i]);
			CHECK_INT(exs_future_is_done(f), closed);
			if (closed)
				expect_code(exs_future_ref(f), &exs_domain_exs, EXS_ESHUTDOWN);
			if (closed)
				expect_cancelled(exs_future_ref(s.f[i]), EXS_CAUSE_SHUTDOWN);
			else
				CHECK_INT(exs_future_cause(s.f[i]), EXS_CAUSE_NONE);
			exs_future_unref(f);
		}
		CHECK_INT(exs_future_cause(s.gate_f), shut == BORROW ? EXS_CAUSE_SHUTDOWN : EXS_CAUSE_NONE);
		CHECK_INT(exs_future_is_done(s.backoff_f), shut == RETRY);
		sem_post(&s.gate.open);
		for (int i = 0; i < CHAINS; i++)
			if (i != shut && !(i == BORROWED_RETRY && shut == RETRY))
				expect_value(exs_future_ref(s.f[i]), &s.jobs[i]);
		share_end(&s);
		for (int i = 0; i < CHAINS; i++)
			job_fini(&late[i]);
	}
}

/* What waits in the pool is cancelled, whoever submitted it; what runs, runs on; a backoff finds the pool closed. */
TEST(borrow, freed_pool_refuses_and_lives_on)
{
	int threads = harness_threads();
	struct share s;
	struct job late;

	share_init(&s);
	share_fill(&s);
	free_one(&s, POOL);
	for (int i = 0; i < CHAINS; i++) {
		expect_cancelled(exs_future_ref(s.f[i]), EXS_CAUSE_SHUTDOWN);
		CHECK_INT(s.jobs[i].starts, 0);
		if (i == POOL)
			continue;
		job_init(&late);
		expect_code(job_submit(s.ex[i], &late), &exs_domain_exs, EXS_ESHUTDOWN);
		CHECK_INT(late.starts, 0);
		job_fini(&late);
	}
	CHECK(!exs_future_is_done(s.gate_f));
	advance(s.clock, 1);
	expect_code(exs_future_ref(s.backoff_f), &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK_INT(s.backoff.starts, 1);
	sem_post(&s.gate.open);
	expect_value(exs_future_ref(s.gate_f), &s.gate);
	share_end(&s);
	harness_wait_threads(threads);
}

/* In every order, with calls everywhere: each ends, none hangs, no thread stays. */
TEST(borrow, freed_in_any_order)
{
	uint64_t seed = harness_seed();
	int threads = harness_threads();

	for (unsigned long round = 0; round < harness_rounds(100); round++) {
		struct share s;
		int order[CHAINS];
		share_init(&s);
		share_fill(&s);
		for (int i = 0; i < CHAINS; i++) {
			uint64_t k = harness_below(&seed, (uint64_t)i + 1);
			order[i] = i;
			order[i] = order[k];
			order[k] = i;
		}
		sem_post(&s.gate.open);
		for (int i = 0; i < CHAINS; i++)
			free_one(&s, order[i]);
		for (int i = 0; i < CHAINS; i++)
			CHECK(exs_future_is_done(s.f[i]));
		CHECK(exs_future_is_done(s.gate_f) && exs_future_is_done(s.backoff_f));
		share_end(&s);
		harness_wait_threads(threads);
	}
}
