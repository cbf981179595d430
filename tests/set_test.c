/* as_completed: order, growth, duplicates, deadline, descriptor, failed adds, freeing, cancel. */
#include "support.h"

#include <math.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

static exs_future *made(exs_promise **p)
{
	exs_future *f;

	*p = exs_promise_new(&f);
	CHECK(*p);
	return f;
}

static void complete(exs_promise *p)
{
	CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), EXS_OK);
	exs_promise_free(p);
}

static exs_future *done(void)
{
	exs_promise *p;
	exs_future *f = made(&p);

	complete(p);
	return f;
}

static void next_is(exs_set *set, exs_future *expected, double seconds)
{
	exs_future *f;

	CHECK_INT(exs_set_next(set, &f, seconds), EXS_ITEM);
	CHECK(f == expected && exs_future_is_done(f));
	exs_future_unref(f);
}

static void next_says(exs_set *set, exs_set_status expected, double seconds)
{
	exs_future *f = (exs_future *)(void *)set;

	CHECK_INT(exs_set_next(set, &f, seconds), expected);
	CHECK(!f);
}

TEST(set, is_empty)
{
	exs_set *set = exs_set_new();

	CHECK(set);
	CHECK_INT(exs_set_count(set), 0);
	next_says(set, EXS_EMPTY, 0);
	next_says(set, EXS_EMPTY, EXS_FOREVER);
	CHECK_INT(exs_set_cancel(set), 0);
	exs_set_free(set);
	exs_set_free(NULL);
}

TEST(set, nonsense)
{
	exs_set *set = exs_set_new();
	exs_future *f = NULL;
	exs_promise *p;
	double wrong[] = {NAN, -1};

	CHECK_INT(exs_set_add(set, made(&p)), EXS_OK);
	for (int i = 0; i < 2; i++) {
		next_says(set, EXS_FAILED, wrong[i]);
		CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
		CHECK_INT(exs_set_deadline(set, wrong[i]), EXS_EINVAL);
	}
	CHECK_INT(exs_set_next(set, NULL, 0), EXS_FAILED);
	CHECK_INT(exs_set_next(NULL, &f, 0), EXS_FAILED);
	CHECK_INT(exs_set_add(NULL, done()), EXS_EINVAL); /* its reference is dropped */
	CHECK_INT(exs_set_deadline(NULL, 1), EXS_EINVAL);
	CHECK_INT(exs_set_count(NULL), 0);
	CHECK_INT(exs_set_cancel(NULL), 0);
	CHECK_INT(exs_set_fd(NULL), -1);
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	next_says(set, EXS_TIMEOUT, 0); /* the set is as it was */
	exs_set_free(set);
	exs_promise_free(p);
}

/* In the order in which they are done; those done already first, in the order of their adding; cancelled ones too. */
TEST(set, order_of_completion)
{
	exs_set *set = exs_set_new();
	exs_promise *p[4];
	exs_future *f[6];

	for (int i = 0; i < 4; i++) {
		f[i] = made(&p[i]);
		CHECK_INT(exs_set_add(set, exs_future_ref(f[i])), EXS_OK);
	}
	for (int i = 4; i < 6; i++) {
		f[i] = done();
		CHECK_INT(exs_set_add(set, exs_future_ref(f[i])), EXS_OK);
	}
	CHECK_INT(exs_set_count(set), 6);
	complete(p[2]);
	CHECK_INT(exs_future_cancel(f[0]), EXS_CANCELLED);
	exs_promise_free(p[0]);
	exs_promise_free(p[3]); /* an error */
	int order[] = {4, 5, 2, 0, 3};
	for (int i = 0; i < 5; i++)
		next_is(set, f[order[i]], i % 2 ? 0 : EXS_FOREVER);
	CHECK_INT(exs_set_count(set), 1);
	next_says(set, EXS_TIMEOUT, 0);
	complete(p[1]);
	next_is(set, f[1], 0);
	next_says(set, EXS_EMPTY, EXS_FOREVER);
	for (int i = 0; i < 6; i++)
		exs_future_unref(f[i]);
	exs_set_free(set);
}

TEST(set, a_member_added_twice_comes_once)
{
	exs_set *set = exs_set_new();
	exs_promise *p;
	exs_future *f = made(&p);

	for (int i = 0; i < 3; i++)
		CHECK_INT(exs_set_add(set, exs_future_ref(f)), EXS_OK);
	CHECK_INT(exs_set_count(set), 1);
	complete(p);
	CHECK_INT(exs_set_add(set, exs_future_ref(f)), EXS_OK); /* still a member */
	next_is(set, f, 0);
	next_says(set, EXS_EMPTY, 0);
	CHECK_INT(exs_set_add(set, exs_future_ref(f)), EXS_OK); /* it is one no longer: once more */
	next_is(set, f, 0);
	next_says(set, EXS_EMPTY, 0);
	exs_result r;
	CHECK_INT(exs_future_take(f, &r), EXS_OK); /* no reference was kept */
	exs_future_unref(f);
	exs_set_free(set);
}

/* Each item brings two more, down to a depth; all come. */
TEST(set, grows_while_it_is_read)
{
	exs_executor *ex = exs_thread_pool(2);
	exs_set *set = exs_set_new();
	exs_future *f;
	unsigned n = 0;
	struct job *jobs = calloc(1000, sizeof(*jobs));

	job_init(&jobs[0]);
	CHECK_INT(exs_set_add(set, job_submit(ex, &jobs[0])), EXS_OK);
	for (unsigned made = 1; exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM; n++) {
		for (int k = 0; k < 2 && made < 1000; k++, made++) {
			job_init(&jobs[made]);
			CHECK_INT(exs_set_add(set, job_submit(ex, &jobs[made])), EXS_OK);
		}
		exs_future_unref(f);
	}
	CHECK_INT(n, 1000);
	exs_executor_free(ex);
	for (unsigned i = 0; i < 1000; i++)
		job_fini(&jobs[i]);
	free(jobs);
	exs_set_free(set);
}

struct readers {
	exs_set *set;
	atomic_uint read;
};

static void *read_all(void *arg)
{
	struct readers *r = arg;
	exs_future *f;

	while (exs_set_next(r->set, &f, EXS_FOREVER) == EXS_ITEM) {
		atomic_fetch_add(&r->read, 1);
		exs_future_unref(f);
	}
	return NULL;
}

/* All readers end when no member is left; the last item wakes those that sleep. */
TEST(set, many_readers)
{
	for (unsigned long round = 0; round < harness_rounds(30); round++) {
		exs_promise *p[20];
		struct readers r = {.set = exs_set_new()};
		pthread_t threads[3];
		for (int i = 0; i < 20; i++)
			CHECK_INT(exs_set_add(r.set, made(&p[i])), EXS_OK);
		for (int i = 0; i < 3; i++)
			threads[i] = thread_start(read_all, &r);
		for (int i = 0; i < 20; i++)
			complete(p[i]);
		for (int i = 0; i < 3; i++)
			thread_join(threads[i]);
		CHECK_INT(r.read, 20);
		exs_set_free(r.set);
	}
}

/* Done in a random order, with others added between, and those that are members still added once more: each comes out once. */
TEST(set, many_members_in_a_random_order)
{
	enum { MANY = 3000 };
	uint64_t state = harness_seed();
	exs_promise **p = calloc(MANY, sizeof(exs_promise *)), *q;
	exs_future **f = calloc(MANY, sizeof(exs_future *));
	exs_set *set = exs_set_new();
	size_t members = 0;

	for (; members < MANY; members++) {
		f[members] = made(&p[members]);
		CHECK_INT(exs_set_add(set, exs_future_ref(f[members])), EXS_OK);
	}
	while (members) {
		size_t at = harness_below(&state, members--);
		complete(p[at]);
		next_is(set, f[at], 0);
		exs_future_unref(f[at]);
		p[at] = p[members];
		f[at] = f[members];
		if (members)
			CHECK_INT(exs_set_add(set, exs_future_ref(f[harness_below(&state, members)])), EXS_OK);
		CHECK_INT(exs_set_count(set), members);
		exs_future *other = made(&q);
		CHECK_INT(exs_set_add(set, exs_future_ref(other)), EXS_OK);
		complete(q);
		next_is(set, other, 0);
		exs_future_unref(other);
	}
	next_says(set, EXS_EMPTY, EXS_FOREVER);
	exs_set_free(set);
	free(p);
	free(f);
}

struct crowd {
	exs_set *set;
	atomic_uint read;
	atomic_bool over;
};

static exs_result read_in_a_crowd(void *arg, exs_context *ctx)
{
	struct crowd *c = arg;
	exs_future *f;

	(void)ctx;
	while (!atomic_load(&c->over))
		if (exs_set_next(c->set, &f, 1e-4) == EXS_ITEM) {
			CHECK(exs_future_is_done(f));
			exs_future_unref(f);
			atomic_fetch_add(&c->read, 1);
		}
	return exs_ok(NULL, NULL);
}

static void *cancel_in_a_crowd(void *arg)
{
	struct crowd *c = arg;

	while (!atomic_load(&c->over)) {
		exs_set_cancel(c->set);
		CHECK(exs_set_count(c->set) <= 200);
		sched_yield();
	}
	return NULL;
}

/* What is left of the members moves together while workers walk over them, in search of one that they can help, and another
   thread does to ask all to stop. */
TEST(set, members_move_while_others_walk)
{
	exs_executor *ex = exs_thread_pool(2);
	struct crowd c = {.set = exs_set_new()};
	exs_promise *p[200];
	uint64_t state = harness_seed();
	unsigned added = 0;
	exs_future *readers[2];

	for (int i = 0; i < 2; i++)
		readers[i] = exs_submit(ex, read_in_a_crowd, &c);
	pthread_t thread = thread_start(cancel_in_a_crowd, &c);
	for (unsigned long round = 0; round < harness_rounds(20); round++) {
		size_t n = 1 + harness_below(&state, 200);
		for (size_t i = 0; i < n; i++, added++) {
			exs_future *f = made(&p[i]);
			exs_promise_start(p[i]); /* a cancel is a request only */
			CHECK_INT(exs_set_add(c.set, f), EXS_OK);
		}
		while (n) {
			size_t at = harness_below(&state, n--);
			complete(p[at]);
			p[at] = p[n];
		}
		while (atomic_load(&c.read) < added)
			sched_yield();
	}
	atomic_store(&c.over, true);
	for (int i = 0; i < 2; i++)
		expect_value(readers[i], NULL);
	thread_join(thread);
	CHECK_INT(c.read, added);
	next_says(c.set, EXS_EMPTY, 0);
	exs_set_free(c.set);
	exs_executor_free(ex);
}

/* --- time --- */

TEST(set, deadline_bounds_every_wait)
{
	exs_set *set = exs_set_new();
	exs_promise *p;
	exs_future *f = made(&p);

	CHECK_INT(exs_set_add(set, exs_future_ref(f)), EXS_OK);
	CHECK_INT(exs_set_deadline(set, 0), EXS_OK);
	next_says(set, EXS_TIMEOUT, EXS_FOREVER);
	next_says(set, EXS_TIMEOUT, EXS_FOREVER);
	CHECK_INT(exs_set_deadline(set, 1e-4), EXS_OK);
	next_says(set, EXS_TIMEOUT, EXS_FOREVER);
	CHECK_INT(exs_set_add(set, done()), EXS_OK); /* what is there comes nevertheless */
	exs_future *other;
	CHECK_INT(exs_set_next(set, &other, EXS_FOREVER), EXS_ITEM);
	exs_future_unref(other);
	CHECK_INT(exs_set_deadline(set, EXS_FOREVER), EXS_OK);
	next_says(set, EXS_TIMEOUT, 1e-4);
	complete(p);
	next_is(set, f, EXS_FOREVER);
	exs_future_unref(f);
	exs_set_free(set);
}

/* Once the test's own thread sleeps. */
static void *set_deadline(void *set)
{
	while (!thread_sleeps((int)getpid()))
		sched_yield();
	CHECK_INT(exs_set_deadline(set, 0), EXS_OK);
	return NULL;
}

/* A reader that sleeps already is bound by a deadline that is set then. */
TEST(set, deadline_reaches_a_sleeping_reader)
{
	for (unsigned long i = 0; i < harness_rounds(50); i++) {
		exs_set *set = exs_set_new();
		exs_promise *p;
		CHECK_INT(exs_set_add(set, made(&p)), EXS_OK);
		pthread_t thread = thread_start(set_deadline, set);
		next_says(set, EXS_TIMEOUT, EXS_FOREVER);
		thread_join(thread);
		exs_promise_free(p);
		exs_set_free(set);
	}
}

/* --- the descriptor --- */

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n = poll(&p, 1, 0);

	CHECK(n >= 0 && !(p.revents & ~POLLIN));
	return n == 1;
}

/* Readable exactly while something waits, also when many complete between two reads. */
TEST(set, descriptor_is_exact)
{
	exs_set *set = exs_set_new();
	exs_promise *p[3];
	exs_future *f[3];

	for (int i = 0; i < 3; i++) {
		f[i] = made(&p[i]);
		CHECK_INT(exs_set_add(set, exs_future_ref(f[i])), EXS_OK);
	}
	complete(p[0]); /* before there is a descriptor */
	int fd = exs_set_fd(set);
	CHECK(fd >= 0 && fd == exs_set_fd(set));
	CHECK(readable(fd) && readable(fd));
	next_is(set, f[0], 0);
	CHECK(!readable(fd));
	complete(p[1]);
	complete(p[2]);
	CHECK(readable(fd));
	next_is(set, f[1], 0);
	CHECK(readable(fd));
	next_is(set, f[2], 0);
	CHECK(!readable(fd));
	next_says(set, EXS_EMPTY, 0);
	CHECK_INT(exs_set_add(set, done()), EXS_OK);
	CHECK(readable(fd));
	exs_set_free(set);
	for (int i = 0; i < 3; i++)
		exs_future_unref(f[i]);
}

/* Another thread completes; poll(2) without limit wakes. */
TEST(set, descriptor_wakes_an_event_loop)
{
	exs_executor *ex = exs_thread_pool(2);
	exs_set *set = exs_set_new();
	exs_future *f;
	struct pollfd p = {.fd = exs_set_fd(set), .events = POLLIN};
	struct job jobs[50];
	int n = 0;

	for (int i = 0; i < 50; i++) {
		job_init(&jobs[i]);
		CHECK_INT(exs_set_add(set, job_submit(ex, &jobs[i])), EXS_OK);
	}
	while (n < 50) {
		CHECK_INT(poll(&p, 1, -1), 1);
		for (; exs_set_next(set, &f, 0) == EXS_ITEM; n++)
			exs_future_unref(f);
	}
	CHECK(!readable(p.fd));
	exs_executor_free(ex);
	exs_set_free(set);
	for (int i = 0; i < 50; i++)
		job_fini(&jobs[i]);
}

/* --- failed adds --- */

TEST(set, failed_add_is_remembered_and_told_once)
{
	exs_set *set = exs_set_new();
	exs_promise *p;
	exs_future *f = made(&p);
	int fd = exs_set_fd(set);

	CHECK_INT(exs_set_add(set, exs_future_ref(f)), EXS_OK);
	CHECK_INT(exs_set_add(set, NULL), EXS_ENOMEM); /* as a submit that found no memory */
	CHECK(readable(fd));
	CHECK_INT(exs_future_wait(NULL, 0), EXS_EINVAL); /* other failures in between do not hide it */
	next_says(set, EXS_FAILED, EXS_FOREVER);
	CHECK_INT(exs_error_code(exs_last_error()), EXS_ENOMEM);
	CHECK(!readable(fd));
	CHECK_INT(exs_set_count(set), 1);
	next_says(set, EXS_TIMEOUT, 0);
	complete(p);
	next_is(set, f, 0);
	next_says(set, EXS_EMPTY, 0);
	exs_future_unref(f);
	exs_set_free(set);
}

/* --- freed and cancelled with members in every state --- */

TEST(set, freed_with_members_in_every_state)
{
	exs_set *set = exs_set_new();
	exs_promise *p[2];
	exs_future *f[3] = {made(&p[0]), done(), made(&p[1])};

	for (int i = 0; i < 3; i++)
		CHECK_INT(exs_set_add(set, exs_future_ref(f[i])), EXS_OK);
	complete(p[1]); /* fired, not read */
	exs_set_fd(set);
	exs_set_free(set);
	CHECK_INT(exs_future_state(f[0]), EXS_STATE_PENDING); /* nothing is cancelled */
	CHECK_INT(exs_future_cause(f[0]), EXS_CAUSE_NONE);
	complete(p[0]); /* the set no longer hears of it */
	for (int i = 0; i < 3; i++) {
		exs_result r;
		CHECK_INT(exs_future_take(f[i], &r), EXS_OK); /* nor has it a reference */
		exs_future_unref(f[i]);
	}
}

static void *complete_all(void *arg)
{
	exs_promise **p = arg;

	for (int i = 0; i < 20; i++)
		complete(p[i]);
	return NULL;
}

TEST(set, freed_while_members_are_done)
{
	for (unsigned long round = 0; round < harness_rounds(200); round++) {
		exs_set *set = exs_set_new();
		exs_promise *p[20];
		exs_future *f;
		for (int i = 0; i < 20; i++)
			CHECK_INT(exs_set_add(set, made(&p[i])), EXS_OK);
		pthread_t thread = thread_start(complete_all, p);
		for (unsigned long i = 0; i < round % 20; i++) {
			CHECK_INT(exs_set_next(set, &f, EXS_FOREVER), EXS_ITEM);
			exs_future_unref(f);
		}
		exs_set_free(set);
		thread_join(thread);
	}
}

/* Answers how many are cancelled; they still come out. */
TEST(set, cancel)
{
	exs_set *set = exs_set_new();
	exs_executor *ex = exs_thread_pool(1);
	struct job jobs[5];
	exs_future *f;
	unsigned n = 0, cancelled = 0;

	for (int i = 0; i < 5; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = i == 0;
		CHECK_INT(exs_set_add(set, job_submit(ex, &jobs[i])), EXS_OK);
	}
	sem_take(&jobs[0].entered);
	CHECK_INT(exs_set_add(set, done()), EXS_OK);
	CHECK_INT(exs_set_cancel(set), 4);
	CHECK_INT(exs_set_count(set), 6);
	sem_post(&jobs[0].open);
	for (; exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM; n++) {
		cancelled += exs_future_state(f) == EXS_STATE_CANCELLED;
		exs_future_unref(f);
	}
	CHECK_INT(n, 6);
	CHECK_INT(cancelled, 4);
	CHECK_INT(jobs[0].stops, 1);
	exs_executor_free(ex);
	exs_set_free(set);
	for (int i = 0; i < 5; i++)
		job_fini(&jobs[i]);
}

/* Also when some have been read, which leaves gaps. */
TEST(set, cancel_of_those_not_yet_read)
{
	exs_set *set = exs_set_new();
	exs_promise *p[8];
	exs_future *f[8];

	for (int i = 0; i < 8; i++) {
		f[i] = made(&p[i]);
		CHECK_INT(exs_set_add(set, exs_future_ref(f[i])), EXS_OK);
	}
	for (int i = 1; i < 8; i += 3) {
		complete(p[i]);
		next_is(set, f[i], 0);
	}
	CHECK_INT(exs_set_cancel(set), 5);
	for (int i = 0; i < 8; i++) {
		CHECK_INT(exs_future_state(f[i]), i % 3 == 1 ? EXS_STATE_VALUE : EXS_STATE_CANCELLED);
		if (i % 3 != 1) {
			next_is(set, f[i], 0);
			exs_promise_free(p[i]);
		}
		exs_future_unref(f[i]);
	}
	next_says(set, EXS_EMPTY, 0);
	exs_set_free(set);
}

struct sequence {
	int *next;
	int number;
};

static void in_sequence(exs_future *f, void *arg)
{
	struct sequence *s = arg;

	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	CHECK(*s->next < s->number);
	*s->next = s->number;
}

/* In the order in which they were added, also when many between them have been read. */
TEST(set, cancels_in_the_order_of_addition)
{
	enum { MANY = 300 };
	exs_set *set = exs_set_new();
	exs_promise *p[MANY];
	struct sequence s[MANY];
	exs_future *f;
	int next = -1, left = MANY;

	for (int i = 0; i < MANY; i++) {
		s[i] = (struct sequence){&next, i};
		f = made(&p[i]);
		CHECK_INT(exs_set_add(set, exs_future_ref(f)), EXS_OK);
		if (i % 7 == 0)
			CHECK_INT(exs_future_on_done(f, in_sequence, &s[i], NULL), EXS_OK);
		exs_future_unref(f);
	}
	for (int i = 0; i < MANY; i++)
		if (i % 7) {
			complete(p[i]);
			CHECK_INT(exs_set_next(set, &f, 0), EXS_ITEM);
			exs_future_unref(f);
			left--;
		}
	CHECK_INT(exs_set_cancel(set), left);
	CHECK_INT(next, (MANY - 1) / 7 * 7);
	for (int i = 0; i < MANY; i += 7)
		exs_promise_free(p[i]);
	for (; left; left--) {
		CHECK_INT(exs_set_next(set, &f, 0), EXS_ITEM);
		exs_future_unref(f);
	}
	next_says(set, EXS_EMPTY, 0);
	exs_set_free(set);
}

static exs_result read_set_inside(void *arg, exs_context *ctx)
{
	exs_set *set = arg;
	exs_future *f;
	intptr_t n = 0;

	(void)ctx;
	for (; exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM; n++)
		exs_future_unref(f);
	return exs_ok((void *)n, NULL);
}

/* On the only worker: it runs the members itself. */
TEST(set, read_inside_a_task)
{
	exs_thread_pool_options options = {.workers = 1, .max_spares = EXS_NONE};
	exs_executor *ex = exs_thread_pool_with(&options);
	exs_set *set = exs_set_new();
	struct job gate, jobs[5];

	job_init(&gate);
	gate.gated = true;
	exs_future *first = job_submit(ex, &gate);
	exs_future *reader = exs_submit(ex, read_set_inside, set);
	for (int i = 0; i < 5; i++) {
		job_init(&jobs[i]);
		CHECK_INT(exs_set_add(set, job_submit(ex, &jobs[i])), EXS_OK);
	}
	sem_post(&gate.open);
	expect_value(first, &gate);
	expect_value(reader, (void *)(intptr_t)5);
	exs_executor_free(ex);
	exs_set_free(set);
	for (int i = 0; i < 5; i++)
		job_fini(&jobs[i]);
	job_fini(&gate);
}

/* The only worker sleeps on the set when what is queued behind it becomes a member. */
static void read_two(struct job *job, exs_context *ctx)
{
	exs_set *set = job->more;
	exs_future *f;

	(void)ctx;
	for (int i = 0; i < 2; i++) {
		CHECK_INT(exs_set_next(set, &f, EXS_FOREVER), EXS_ITEM);
		exs_future_unref(f);
	}
}

TEST(set, a_worker_that_sleeps_on_it_is_told_of_a_member)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	exs_set *set = exs_set_new();
	struct job reader, queued;
	exs_future *f;
	exs_promise *p = promise_made(&f);

	exs_set_add(set, f);
	job_init(&reader);
	job_init(&queued);
	reader.gated = true;
	reader.inside = read_two;
	reader.more = set;
	exs_future *reading = job_submit(ex, &reader);
	sem_take(&reader.entered);
	f = job_submit(ex, &queued);
	sem_post(&reader.open);
	give_time(); /* it sleeps, and does not know that it will wait for that */
	CHECK_INT(exs_set_add(set, f), EXS_OK);
	wait_count(&queued.ends, 1);
	promise_done(p, exs_ok(NULL, NULL));
	expect_value(reading, &reader);
	exs_set_free(set);
	job_fini(&reader);
	job_fini(&queued);
	exs_executor_free(ex);
}
