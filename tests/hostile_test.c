/* A worker that does not keep to the protocol (hostile.c), in every way that there is: it alone is ended, its call fails and says why, another worker
   of the same pool answers before, meanwhile and after, and nothing is left of it. Then at random: 1,000 rounds, times EXS_TEST_SOAK. */
#define _GNU_SOURCE
#include "spawning.h"
#include "storm.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Beside the test's own program, or as EXS_TEST_HOSTILE says. */
static const char *hostile_path(void)
{
	static char path[PATH_MAX + 16];
	char self[PATH_MAX] = "";

	if (getenv("EXS_TEST_HOSTILE"))
		return getenv("EXS_TEST_HOSTILE");
	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	snprintf(path, sizeof(path), "%s/hostile", dirname(self));
	return path;
}

static exs_executor *pool(exs_process_pool_options options)
{
	options.program = hostile_path();
	options.stop_seconds = 0.1;
	exs_executor *ex = exs_process_pool(&options);
	CHECK(ex);
	return ex;
}

static exs_process_pool_stats stats_of(exs_executor *ex)
{
	exs_process_pool_stats stats;

	CHECK_INT(exs_process_pool_get_stats(ex, &stats), 0);
	return stats;
}

static exs_future *ask(exs_executor *ex, const char *function)
{
	exs_future *f = exs_submit_function(ex, function, "hello", 5);

	CHECK(f);
	return f;
}

/* Another worker answers. */
static void expect_good(exs_executor *ex)
{
	exs_future *f = ask(ex, "echo");

	CHECK(!memcmp(storm_value(f, 5), "hello", 5));
	exs_future_unref(f);
}

/* The same of one that may be given to a worker whose wrongs have not been read yet, and which takes it with it: at most once for each of them. */
static void expect_good_at_last(exs_executor *ex)
{
	enum { LAST = 10 };

	for (int i = 0; i < LAST; i++) {
		exs_future *f = ask(ex, "echo");
		CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
		if (exs_future_state(f) == EXS_STATE_VALUE)
			i = LAST;
		if (i == LAST - 1)
			storm_value(f, 5);
		exs_future_unref(f);
	}
}

/* It fails, with this domain (NULL: any), code (-1: any) and a message that says `why`. */
static void expect_failure(exs_future *f, const exs_domain *domain, int code, const char *why)
{
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	CHECK_INT(exs_future_state(f), EXS_STATE_ERROR);
	const exs_error *e = exs_future_error(f);
	if (!strstr(exs_error_message(e), why))
		CHECK_STR(exs_error_message(e), why);
	if (domain)
		CHECK_STR(exs_error_domain(e)->name, domain->name);
	if (code >= 0)
		CHECK_INT(exs_error_code(e), code);
	exs_future_unref(f);
}

/* Until it is done, and at least twice. */
static void expect_good_beside(exs_executor *ex, exs_future *f)
{
	expect_good(ex);
	while (!exs_future_is_done(f))
		expect_good(ex);
	expect_good(ex);
}

/* --- each form by itself --- */

static const char not_asked[] = "an answer to what it was not given";
static const char bytes[] = "bytes of what has none";
static const char unreadable[] = "fields that can't be read";
static const char chunk[] = "a packet is not of the message before it";
static const char unexpected[] = "a message has a type that is not expected";
static const char length[] = "a packet has not as many bytes as it should";
#ifdef EXSI_PORTABLE
static const char seals[] = "memory by descriptor is not known", size[] = "memory by descriptor is not known";
#else
static const char seals[] = "seal";
static const char size[] = "size";
#endif

static const struct malformed {
	const char *form, *why;
} malformed[] = {
	{"packet_short", "a packet is shorter than its header"},
	{"packet_long", "a packet is too long"},
	{"packet_version", "another version of the protocol"},
	{"packet_flag", "a flag that is not known"},
	{"packet_empty", "it has closed a socket"},
	{"type_0", unexpected},
	{"type_27", unexpected},
	{"recalled_unasked", "it gives back what it was not asked for"},
	{"type_255", unexpected},
	{"type_of_parent", unexpected},
	{"size_over", "larger than the limit"},
	{"size_more", length},
	{"size_less", length},
	{"chunk_id", chunk},
	{"chunk_type", chunk},
	{"chunk_size", chunk},
	{"chunk_short", length},
	{"answer_of_next", not_asked},
	{"answer_of_last", not_asked},
	{"answer_of_nothing", not_asked},
	{"ready_twice", "a second report of its start"},
	{"ready_with_bytes", bytes},
	{"not_ready_after_all", not_asked},
	{"null_with_bytes", bytes},
	{"cancelled_with_bytes", bytes},
	{"item_of_no_iterator", not_asked},
	{"item_error_garbage", not_asked},
	{"error_empty", unreadable},
	{"error_garbage", unreadable},
	{"error_of_errors", unreadable},
#ifdef EXSI_PORTABLE
	{"error_in_memory", "memory by descriptor is not known on this system"},
#else
	{"error_in_memory", "more bytes than max_size"},
#endif
	{"schedule_empty", ""},
	{"schedule_garbage", ""},
	{"schedule_of_many_steps", ""},
	{"schedule_of_large_input", ""},
	{"fd_not_asked_for", "a descriptor comes with a packet that has no memory"},
	{"fds_2", "too many descriptors"},
	{"fds_100", "too many descriptors"},
	{"memory_missing", "memory comes without a descriptor"},
	{"memory_of_no_size", "memory of no size"},
	{"memory_within_message", "memory comes within another message"},
	{"memory_over_the_limit", "larger than the limit"},
	{"memory_unsealed", seals},
	{"memory_no_seal_seal", seals},
	{"memory_no_seal_shrink", seals},
	{"memory_no_seal_grow", seals},
	{"memory_no_seal_write", seals},
	{"memory_resized", seals},
	{"memory_scribbled", seals},
	{"memory_too_short", size},
	{"memory_too_long", size},
	{"memory_empty", size},
	{"memory_is_null_device", ""},
	{"memory_is_directory", ""},
	{"memory_is_socket", ""},
	{"memory_is_pipe", ""},
	{"memory_is_file", ""},
	{"closes_data", "closed"},
	{"closes_control", "closed"},
	{"closes_both", "closed"},
	{"shuts_data", "closed"},
};

TEST(hostile, each_malformed_form_ends_its_worker_alone)
{
	struct storm_rest rest;

	storm_begin(&rest);
	exs_executor *ex = pool((exs_process_pool_options){.workers = 2});
	for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++) {
		expect_good(ex);
		exs_future *f = ask(ex, malformed[i].form);
		expect_good_beside(ex, f);
		if (exs_future_state(f) != EXS_STATE_ERROR || stats_of(ex).malformed != i + 1)
			fprintf(stderr, "%s\n", malformed[i].form);
		expect_failure(f, &exs_domain_signal, SIGKILL, malformed[i].why);
		CHECK_INT(stats_of(ex).malformed, i + 1);
	}
	exs_executor_free(ex);
	storm_end(&rest);
}

static const struct ending {
	const char *form;
	const exs_domain *domain;
	int code;
	const char *why;
} endings[] = {
	{"exits_0", &exs_domain_exit, 0, "ended with status 0"},
	{"exits_3", &exs_domain_exit, 3, "last words"},
	{"chunk_then_exit", &exs_domain_exit, 5, "chunk_then_exit"},
	{"aborts", &exs_domain_signal, SIGABRT, "died by signal 6"},
	{"kills_itself", &exs_domain_signal, SIGKILL, "died by signal 9"},
	{"grandchild_keeps_all", &exs_domain_exit, 6, ""},
	{"grandchild_leaves", &exs_domain_exit, 6, ""},
	{"grandchild_floods", &exs_domain_exit, 6, ""},
	{"grandchild_floods_more", &exs_domain_exit, 6, ""},
	{"grandchild_writes", &exs_domain_exit, 6, ""},
};

TEST(hostile, each_end_is_told_as_it_was)
{
	struct storm_rest rest;

	storm_begin(&rest);
	exs_executor *ex = pool((exs_process_pool_options){.workers = 2});
	for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++) {
		expect_good(ex);
		exs_future *f = ask(ex, endings[i].form);
		expect_good_beside(ex, f);
		if (exs_future_state(f) != EXS_STATE_ERROR)
			fprintf(stderr, "%s\n", endings[i].form);
		expect_failure(f, endings[i].domain, endings[i].code, endings[i].why);
		CHECK_INT(stats_of(ex).malformed, 0);
	}
	exs_executor_free(ex);
	storm_end(&rest);
}

/* What is right about them counts. */
TEST(hostile, a_good_answer_before_counts)
{
	static const char *const forms[] = {"value_twice", "answers_and_exits", "closes_output"};
	struct storm_rest rest;

	storm_begin(&rest);
	exs_executor *ex = pool((exs_process_pool_options){.workers = 2});
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		exs_future *f = ask(ex, forms[i]);
		CHECK(!memcmp(storm_value(f, 4), "fine", 4));
		expect_good_at_last(ex);
		exs_future_unref(f);
	}
	exs_executor_free(ex);
	storm_end(&rest);
}

#ifndef EXSI_PORTABLE
TEST(hostile, sealed_memory_stays_as_it_was)
{
	enum { MEMORY = (1 << 20) + 77 };
	struct storm_rest rest;

	storm_begin(&rest);
	exs_executor *ex = pool((exs_process_pool_options){.workers = 2});
	exs_future *f = ask(ex, "memory_written_in_vain");
	expect_good_beside(ex, f);
	const unsigned char *data = storm_value(f, MEMORY);
	expect_good(ex); /* by now it has tried */
	for (size_t i = 0; i < MEMORY; i++)
		CHECK(!data[i]);
	exs_future_unref(f);
	exs_executor_free(ex);
	storm_end(&rest);
}
#endif

/* --- those that take for ever, at the same time --- */

TEST(hostile, what_is_never_done_is_ended_by_its_limit)
{
	static const char *const forms[] = {"never_answers",	"never_ends",	 "stops", "announced_and_never_sent",
					    "endless_messages", "endless_output"};
	enum { FORMS = sizeof(forms) / sizeof(*forms) };
	struct storm_rest rest;
	exs_future *f[FORMS];

	storm_begin(&rest);
	exs_executor *ex = pool((exs_process_pool_options){.workers = FORMS + 1, .task_seconds = 3});
	expect_good(ex);
	for (size_t i = 0; i < FORMS; i++)
		f[i] = ask(ex, forms[i]);
	for (size_t i = 0; i < FORMS; i++) {
		expect_good_beside(ex, f[i]);
		expect_failure(f[i], &exs_domain_exs, EXS_ETIMEDOUT, "task_seconds");
	}
	CHECK_INT(stats_of(ex).overdue, FORMS);
	exs_executor_free(ex);
	storm_end(&rest);
}

/* An input of many packets, to one that reads none: it waits here, and nobody waits for it. */
TEST(hostile, one_that_does_not_read_keeps_nobody_up)
{
	struct storm_rest rest;

	storm_begin(&rest);
	exs_executor *ex = pool((exs_process_pool_options){.workers = 2, .task_seconds = 3});
	exs_bytes *input = exs_bytes_new(1 << 20);
	CHECK(input);
	memset(input->data, 1, input->size);
	exs_future *f =
		exs_submit_invocation(ex, exs_invocation_of("never_answers", input), &(exs_task){.priority = 0});
	CHECK(f);
	expect_good_beside(ex, f);
	expect_failure(f, &exs_domain_exs, EXS_ETIMEDOUT, "task_seconds");
	exs_executor_free(ex);
	storm_end(&rest);
}

/* What it is told while its tasks run, and does not read, is kept only up to a limit. */
TEST(hostile, one_that_is_deaf_to_cancels_is_ended)
{
	struct storm_rest rest;
	unsigned long n = 0;
	long most = 0;

	storm_begin(&rest);
	exs_executor *ex = pool((exs_process_pool_options){.workers = 1});
	expect_good(ex);
	while (!stats_of(ex).malformed) {
		exs_future *f = ask(ex, "deaf");
		exs_future_cancel(f);
		CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
		exs_future_unref(f);
		most = storm_blocks() > most ? storm_blocks() : most;
		CHECK(++n < 1000000);
	}
	CHECK(most < 20000);
	expect_good_at_last(ex);
	exs_executor_free(ex);
	storm_end(&rest);
}

/* As many items as it may emit: what it is told of room for more does not heap up. */
TEST(hostile, one_that_is_deaf_to_credit_costs_little)
{
	struct storm_rest rest;
	exs_item item;
	long n = 0;

	storm_begin(&rest);
	exs_executor *ex = exs_with_iterator(pool((exs_process_pool_options){.workers = 2}), EXS_UNLIMITED);
	exs_future *f = ask(ex, "deaf_emitter");
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	exs_stream *stream = exs_future_value(f);
	CHECK(stream);
	while (exs_stream_next(stream, &item, EXS_FOREVER) == EXS_ITEM) {
		n += exs_future_state(item.future) == EXS_STATE_VALUE;
		exs_future_unref(item.future);
	}
	CHECK_INT(n, 200000);
	CHECK_INT(stats_of(ex).malformed, 0); /* EXSI_CHANNEL_KEPT is less than that */
	exs_future_unref(f);
	exs_executor_free(ex);
	storm_end(&rest);
}

TEST(hostile, items_without_credit)
{
	struct storm_rest rest;
	exs_item item;
	size_t n = 0;

	storm_begin(&rest);
	exs_executor *ex = exs_with_iterator(pool((exs_process_pool_options){.workers = 2}), 2);
	exs_future *f = ask(ex, "items_without_credit");
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	exs_stream *stream = exs_future_value(f);
	while (stats_of(ex).malformed == 0)
		give_time();
	while (exs_stream_next(stream, &item, EXS_FOREVER) == EXS_ITEM) {
		n++;
		exs_future_unref(item.future);
	}
	CHECK_INT(n, 2);
	CHECK(strstr(exs_error_message(exs_last_error()), "more items than it may emit"));
	exs_future_unref(f);
	exs_executor_free(ex);
	storm_end(&rest);
}

/* --- before they have reported --- */

/* Number 1 is good. */
TEST(hostile, one_that_begins_badly_does_not_harm_the_others)
{
	static const char *const forms[] = {"packet_short", "type_255",	   "answer_of_nothing", "error_garbage",
					    "exits_0",	    "closes_data", "memory_unsealed"};
	struct storm_rest rest;

	storm_begin(&rest);
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		const char *args[] = {"start", forms[i]};
		exs_executor *ex = pool((exs_process_pool_options){.workers = 2, .args = args, .n_args = 2});
		exs_future *f[20];
		expect_good(ex);
		for (size_t k = 0; k < 20; k++)
			f[k] = ask(ex, "echo");
		for (size_t k = 0; k < 20; k++) {
			storm_value(f[k], 5);
			exs_future_unref(f[k]);
		}
		exs_executor_free(ex);
	}
	storm_end(&rest);
}

TEST(hostile, where_all_begin_badly_the_call_says_how)
{
	static const struct malformed forms[] = {
		{"packet_short", "a packet is shorter than its header"},
		{"type_of_parent", unexpected},
		{"exits_3", "last words"},
		{"fds_100", "too many descriptors"},
		{"never_answers", "it has not reported in time"},
		{"stops", "it has not reported in time"},
	};
	struct storm_rest rest;

	storm_begin(&rest);
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		const char *args[] = {"at once", forms[i].form};
		exs_executor *ex = pool((exs_process_pool_options){
			.workers = 1, .args = args, .n_args = 2, .start_seconds = i < 4 ? 0 : 0.2});
		expect_failure(ask(ex, "echo"), NULL, -1, forms[i].why);
		exs_executor_free(ex);
	}
	storm_end(&rest);
}

/* It does not go round in what waits alone: another start has failed before each attempt does. */
TEST(hostile, where_all_begin_badly_each_attempt_begins_one)
{
	enum { ATTEMPTS = 20 };
	const char *args[] = {"at once", "exits_3"};
	struct storm_rest rest;

	storm_begin(&rest);
	exs_executor *ex = pool((exs_process_pool_options){.workers = 1, .args = args, .n_args = 2});
	ex = exs_with_retry(ex, &(exs_retry_options){.max_attempts = ATTEMPTS, .sleep = EXS_NONE});
	CHECK(ex);
	expect_failure(ask(ex, "echo"), &exs_domain_exit, 3, "last words");
	CHECK(stats_of(ex).spawned >= ATTEMPTS);
	exs_executor_free(ex);
	storm_end(&rest);
}

/* --- at random --- */

TEST(hostile, random_packets_harm_nobody)
{
	struct storm_rest rest;
	unsigned long rounds = harness_rounds((unsigned long)harness_many(1000)), failed = 0;

	storm_begin(&rest);
	uint64_t random = harness_seed();
	exs_executor *ex = pool((exs_process_pool_options){.workers = 2});
	for (unsigned long i = 0; i < rounds; i++) {
		uint64_t seed = harness_random(&random);
		unsigned char input[8];
		for (int k = 0; k < 8; k++)
			input[k] = (unsigned char)(seed >> 8 * k);
		exs_future *f = exs_submit_function(ex, "fuzz", input, sizeof(input));
		CHECK(f);
		expect_good_at_last(ex);
		CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
		failed += exs_future_state(f) == EXS_STATE_ERROR;
		exs_future_unref(f);
	}
	expect_good_at_last(ex);
	fprintf(stderr, "%lu rounds, %lu failed, %zu malformed\n", rounds, failed, stats_of(ex).malformed);
	exs_executor_free(ex);
	storm_end(&rest);
}
