/* Invocations: made, packed, read, run, submitted. */
#define _POSIX_C_SOURCE 200809L
#include "failing.h"
#include "future/error.h"
#include "process/invocation.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- functions --- */

static exs_result answer_text(const char *text)
{
	return exs_ok_copy(text, strlen(text));
}

static exs_result echo(const exs_bytes *input, exs_context *ctx)
{
	(void)ctx;
	return exs_ok_copy(input->data, input->size);
}

static exs_result twice(const exs_bytes *input, exs_context *ctx)
{
	exs_bytes *b = exs_bytes_new(2 * input->size);

	(void)ctx;
	if (b && input->size) {
		memcpy(b->data, input->data, input->size);
		memcpy(b->data + input->size, input->data, input->size);
	}
	return exs_ok_bytes(b);
}

static exs_result nothing(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	return exs_ok(NULL, NULL);
}

static exs_result size_of(const exs_bytes *input, exs_context *ctx)
{
	char text[32];

	(void)ctx;
	snprintf(text, sizeof(text), "%zu", input->size);
	return answer_text(text);
}

static exs_result fails(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	return exs_fail(exs_error_new_retry_after(&test_domain, 7, 3, "no"));
}

static exs_result fails_with_many(const exs_bytes *input, exs_context *ctx)
{
	exs_error *both[2] = {exs_error_new(&test_domain, 1, "a"), exs_error_new(&test_domain, 2, "b")};
	exs_error *all = exsi_error_of(both, 2);

	(void)input, (void)ctx;
	exs_error_unref(both[0]);
	exs_error_unref(both[1]);
	return exs_fail(all);
}

static exs_result answers_a_number(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	return number(5);
}

static exs_result answers_no_pointer(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	return exs_ok((void *)5, NULL);
}

static exs_result answers_nothing_that_is_freed(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	return exs_ok(NULL, free);
}

static exs_result cancels(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	return exs_cancelled();
}

static exs_result attempt_3(const exs_bytes *input, exs_context *ctx)
{
	return exs_context_attempt(ctx) < 3 ? fails(input, ctx) : echo(input, ctx);
}

static exs_result name_of(const exs_bytes *input, exs_context *ctx)
{
	(void)input;
	return answer_text(exs_context_name(ctx));
}

static sem_t entered, go;
static atomic_uint runs;

static exs_result wait_for_go(const exs_bytes *input, exs_context *ctx)
{
	atomic_fetch_add(&runs, 1);
	sem_post(&entered);
	sem_take(&go);
	return echo(input, ctx);
}

static void begin(void)
{
	static const struct {
		const char *name;
		exs_registered_fn *fn;
	} all[] = {{"echo", echo},
		   {"twice", twice},
		   {"nothing", nothing},
		   {"size", size_of},
		   {"fails", fails},
		   {"fails_with_many", fails_with_many},
		   {"number", answers_a_number},
		   {"no_pointer", answers_no_pointer},
		   {"freed_nothing", answers_nothing_that_is_freed},
		   {"cancels", cancels},
		   {"attempt_3", attempt_3},
		   {"name", name_of},
		   {"wait", wait_for_go}};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		CHECK_INT(exs_register(all[i].name, all[i].fn), EXS_OK);
}

/* --- what comes of them --- */

static void expect_bytes(exs_result r, const char *text)
{
	exs_bytes *b = r.value;

	CHECK_INT(r.kind, EXS_KIND_VALUE);
	CHECK(b && r.destroy == exs_bytes_free);
	CHECK_INT(b->size, strlen(text));
	CHECK(!b->size || !memcmp(b->data, text, b->size));
	exs_result_clear(&r);
}

static void expect_failed(exs_result r, const exs_domain *domain, int code, const char *part)
{
	CHECK_INT(r.kind, EXS_KIND_ERROR);
	CHECK(exs_error_is(r.error, domain, code));
	if (!strstr(exs_error_message(r.error), part))
		CHECK_STR(exs_error_message(r.error), part);
	exs_result_clear(&r);
}

static exs_result run(exs_invocation *invocation)
{
	CHECK(invocation);
	exs_result r = exs_invoke(invocation, NULL);
	exs_invocation_free(invocation);
	return r;
}

static exs_result result_of(exs_future *f)
{
	exs_result r;

	CHECK(f);
	wait_done(f);
	while (exs_future_take(f, &r) == EXS_EBUSY)
		;
	exs_future_unref(f);
	return r;
}

static exs_result run_alone(const char *function, const char *input)
{
	return run(exs_invocation_new(function, input, strlen(input)));
}

static exs_invocation *chain_of(const char *a, const char *b, const char *c, const char *input)
{
	exs_invocation_step steps[] = {{a, input, input ? strlen(input) : 0}, {.function = b}, {.function = c}};

	return exs_invocation_chain(steps, c ? 3 : 2);
}

/* --- with no executor --- */

TEST(invocation, one_function)
{
	begin();
	expect_bytes(run_alone("echo", "hello"), "hello");
	expect_bytes(run_alone("twice", "ab"), "abab");
	expect_bytes(run_alone("echo", ""), "");
	expect_bytes(run(exs_invocation_new("size", NULL, 0)), "0");
	expect_bytes(run(exs_invocation_of("twice", exs_bytes_copy("xy", 2))), "xyxy");
	expect_bytes(run(exs_invocation_of("size", exs_bytes_new(0))), "0");
	exs_result r = run_alone("nothing", "x");
	CHECK(r.kind == EXS_KIND_VALUE && !r.value);
	CHECK_INT(run_alone("cancels", "").kind, EXS_KIND_CANCELLED);
	expect_failed(run_alone("fails", ""), &test_domain, 7, "no");
}

TEST(invocation, function_that_is_not_registered)
{
	begin();
	expect_failed(run_alone("of another process", "x"), &exs_domain_exs, EXS_EINVAL, "of another process");
}

TEST(invocation, value_that_is_no_bytes)
{
	begin();
	expect_failed(run_alone("number", "x"), &exs_domain_exs, EXS_EINVAL, "number");
	CHECK_INT(atomic_load(&numbers), 0);
	expect_failed(run_alone("no_pointer", "x"), &exs_domain_exs, EXS_EINVAL, "no_pointer");
	expect_failed(run_alone("freed_nothing", "x"), &exs_domain_exs, EXS_EINVAL, "freed_nothing");
}

TEST(invocation, chain)
{
	exs_invocation_step own[] = {{"twice", "a", 1}, {"echo", "of its own", 10}, {"twice", NULL, 0}};
	exs_invocation_step empty[] = {{"twice", "a", 1}, {"size", "", 0}};

	begin();
	expect_bytes(run(chain_of("twice", "twice", "size", "abc")), "12");
	expect_bytes(run(exs_invocation_chain(own, 3)), "of its ownof its own");
	expect_bytes(run(exs_invocation_chain(empty, 2)), "0"); /* no bytes, but its own */
	expect_bytes(run(exs_invocation_chain(own, 1)), "aa");
	expect_bytes(run(chain_of("nothing", "size", NULL, "abc")), "0");
	expect_bytes(run(chain_of("size", "echo", NULL, NULL)), "0");
}

TEST(invocation, chain_ends_at_the_first_that_fails)
{
	begin();
	exs_result r = run(chain_of("echo", "fails", "echo", "x"));
	CHECK(exs_error_retry_after(r.error) == 3);
	expect_failed(r, &test_domain, 7, "step 2 of 3 (fails): no");
	expect_failed(run(chain_of("number", "echo", NULL, "x")), &exs_domain_exs, EXS_EINVAL, "step 1 of 2 (number)");
	CHECK_INT(atomic_load(&numbers), 0);
	expect_failed(run(chain_of("echo", "unknown", NULL, "x")), &exs_domain_exs, EXS_EINVAL,
		      "step 2 of 2 (unknown)");
	r = run(chain_of("echo", "fails_with_many", NULL, "x"));
	CHECK_INT(exs_error_count(r.error), 2);
	expect_failed(r, &exs_domain_exs, EXS_EALL, "step 2 of 2 (fails_with_many): all 2 failed");
	CHECK_INT(run(chain_of("cancels", "fails", NULL, "x")).kind, EXS_KIND_CANCELLED);
}

/* --- misuse --- */

static void expect_einval(const void *made)
{
	CHECK(!made);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
}

TEST(invocation, misuse)
{
	char name[257];
	exs_invocation_step step = {"echo", NULL, 1};

	memset(name, 'a', 256);
	name[256] = '\0';
	expect_einval(exs_invocation_new(NULL, "", 0));
	expect_einval(exs_invocation_new("", "", 0));
	expect_einval(exs_invocation_new(name, "", 0));
	expect_einval(exs_invocation_new("echo", NULL, 1));
	expect_einval(exs_invocation_of("", exs_bytes_copy("x", 1)));
	CHECK(!exs_invocation_of("echo", NULL));
	expect_einval(exs_invocation_chain(NULL, 1));
	expect_einval(exs_invocation_chain(&step, 0));
	expect_einval(exs_invocation_chain(&step, 1));
	expect_einval(exs_invocation_chain((exs_invocation_step[]){step, {"echo", "", 0}}, 2));
	exs_invocation_step large[2] = {{"echo", "", SIZE_MAX}, {"echo", "", 2}};
	expect_einval(exs_invocation_chain(large, 2));
	exs_invocation_free(NULL);
	expect_failed(exs_invoke(NULL, NULL), &exs_domain_exs, EXS_EINVAL, "NULL");
}

TEST(invocation, as_many_steps_as_fit)
{
	enum { MANY = 10000 };
	exs_invocation_step *steps = calloc(MANY, sizeof(*steps));

	begin();
	for (int i = 0; i < MANY; i++)
		steps[i].function = "echo";
	steps[0].input = "x";
	steps[0].size = 1;
	expect_einval(exs_invocation_chain(steps, MANY));
	expect_bytes(run(exs_invocation_chain(steps, 800)), "x");
	free(steps);
}

/* --- over executors --- */

static void check_over(exs_executor *ex)
{
	begin();
	CHECK(ex);
	expect_bytes(result_of(exs_submit_function(ex, "twice", "ab", 2)), "abab");
	expect_bytes(result_of(exs_submit_function(ex, "name", NULL, 0)), "name");
	expect_bytes(result_of(exs_submit_invocation(ex, chain_of("twice", "size", NULL, "abc"), NULL)), "6");
	exs_task task = {.name = "own", .fn = NULL, .arg = &task};
	expect_bytes(result_of(exs_submit_invocation(ex, exs_invocation_new("name", NULL, 0), &task)), "own");
	expect_failed(result_of(exs_submit_function(ex, "not here", "x", 1)), &exs_domain_exs, EXS_EINVAL, "not here");
	expect_failed(result_of(exs_submit_function(ex, "", "x", 1)), &exs_domain_exs, EXS_EINVAL, "255");
	expect_failed(result_of(exs_submit_function(ex, "echo", NULL, 1)), &exs_domain_exs, EXS_EINVAL, "NULL");
	expect_failed(result_of(exs_submit_invocation(ex, NULL, NULL)), &exs_domain_exs, EXS_EINVAL, "NULL");
	exs_executor_free(ex);
}

static exs_executor *queue_on(exs_executor *ex)
{
	exs_executor *queue = exs_queue(NULL);

	CHECK(exs_queue_attach(queue, ex, NULL));
	return queue;
}

TEST(invocation, over_executors)
{
	exs_retry_options retry = {.sleep = EXS_NONE, .max_attempts = 2};

	check_over(exs_inline());
	check_over(exs_thread_pool(2));
	check_over(exs_with_retry(exs_thread_pool(2), &retry));
	check_over(queue_on(exs_thread_pool(2)));
	check_over(exs_with_timeout_mode(exs_thread_pool(2), 60, EXS_ABANDON));
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
}

TEST(invocation, no_executor)
{
	expect_failed(result_of(exs_submit_function(NULL, "echo", "x", 1)), &exs_domain_exs, EXS_EINVAL, "NULL");
}

TEST(invocation, is_run_again_by_a_retry)
{
	exs_retry_options retry = {.sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(exs_thread_pool(1), &retry);

	begin();
	expect_bytes(result_of(exs_submit_function(ex, "attempt_3", "x", 1)), "x");
	expect_failed(result_of(exs_submit_invocation(ex, chain_of("echo", "fails", NULL, "x"), NULL)), &test_domain, 7,
		      "step 2 of 2");
	exs_executor_free(ex);
}

struct future_options {
	exs_task task;
	int unknown;
};

TEST(invocation, options_of_a_later_library)
{
	struct future_options later = {.unknown = 1};
	exs_executor *ex = exs_inline();

	begin();
	expect_failed(result_of(exs_submit_invocation_sized(ex, exs_invocation_new("echo", "x", 1), &later.task,
							    sizeof(later))),
		      &exs_domain_exs, EXS_EINVAL, "options");
	exs_executor_free(ex);
}

TEST(invocation, chain_is_stopped_between_its_steps)
{
	exs_executor *ex = exs_thread_pool(1);

	begin();
	sem_init(&entered, 0, 0);
	sem_init(&go, 0, 0);
	atomic_store(&runs, 0);
	exs_future *f = exs_submit_invocation(ex, chain_of("wait", "wait", NULL, "x"), NULL);
	sem_take(&entered);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	sem_post(&go);
	expect_cancelled(f, EXS_CAUSE_USER);
	CHECK_INT(atomic_load(&runs), 1);
	exs_executor_free(ex);
}

/* --- as they travel --- */

static void pack(struct exsi_writer *w, const exs_invocation *invocation, bool body)
{
	exsi_put_bytes(w, invocation->head, invocation->head_size);
	for (size_t i = 0; body && invocation->body && i < invocation->body->size; i++)
		exsi_put_u8(w, invocation->body->data[i]);
}

static exs_invocation *read_packed(const void *data, size_t size, exs_bytes *body, const char **why)
{
	struct exsi_reader r = {.data = data, .size = size};
	exs_invocation *invocation = exsi_invocation_read(&r, body, why);

	CHECK(!invocation == !!*why);
	CHECK(!invocation || exsi_reader_ends(&r));
	return invocation;
}

TEST(invocation, is_read_as_it_was_packed)
{
	exs_invocation *made = chain_of("twice", "twice", "size", "abc");
	struct exsi_writer whole = {.data = NULL}, head = {.data = NULL};
	const char *why;

	begin();
	CHECK_STR(exsi_invocation_name(made), "twice");
	pack(&whole, made, true);
	pack(&head, made, false);
	expect_bytes(run(read_packed(whole.data, whole.size, NULL, &why)), "12");
	expect_bytes(run(read_packed(head.data, head.size, exs_bytes_copy("abcd", 3), &why)), "12");
	exsi_writer_fini(&whole);
	exsi_writer_fini(&head);
	exs_invocation_free(made);
}

static void expect_malformed(const void *data, size_t size, exs_bytes *body)
{
	void *copy = malloc(size ? size : 1); /* of exactly that size: for ASan */
	const char *why;

	if (size)
		memcpy(copy, data, size);
	CHECK(!read_packed(copy, size, body, &why));
	free(copy);
}

/* Every prefix; every byte of the head changed: it is refused, or another that can be run. */
TEST(invocation, is_refused_when_it_is_malformed)
{
	exs_invocation *made = chain_of("twice", "echo", NULL, "abc");
	struct exsi_writer w = {.data = NULL};
	const char *why;

	begin();
	pack(&w, made, true);
	for (size_t size = 0; size < w.size; size++)
		expect_malformed(w.data, size, NULL);
	expect_malformed(w.data, w.size, exs_bytes_copy("abc", 3)); /* two bodies */
	expect_malformed(w.data, w.size - 3, exs_bytes_copy("abcd", 4));
	expect_malformed(w.data, w.size - 3, exs_bytes_copy("ab", 2));
	for (size_t i = 0; i < w.size - 3; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			w.data[i] ^= (unsigned char)(1u << bit);
			exs_invocation *read = read_packed(w.data, w.size, NULL, &why);
			exs_result r = read ? run(read) : exs_cancelled();
			exs_result_clear(&r);
			w.data[i] ^= (unsigned char)(1u << bit);
		}
	exsi_writer_fini(&w);
	exs_invocation_free(made);
}

struct fields {
	uint32_t n;
	const char *function;
	unsigned has;
	uint64_t size;
};

static void expect_refused(struct fields fields)
{
	struct exsi_writer head = {.data = NULL}, w = {.data = NULL};

	exsi_put_u32(&head, fields.n);
	exsi_put_text(&head, fields.function);
	exsi_put_u8(&head, fields.has);
	exsi_put_u64(&head, fields.size);
	exsi_put_bytes(&w, head.data, head.size);
	exsi_put_u8(&w, 'x');
	expect_malformed(w.data, w.size, NULL);
	exsi_writer_fini(&head);
	exsi_writer_fini(&w);
}

TEST(invocation, each_field_is_checked)
{
	char name[257];
	const char *why;
	unsigned char none[EXSI_INVOCATION_HEAD + 100] = {0};
	struct exsi_writer w = {.data = NULL};

	memset(name, 'a', 256);
	name[256] = '\0';
	expect_refused((struct fields){0, "echo", 1, 1});
	expect_refused((struct fields){2, "echo", 1, 1});
	expect_refused((struct fields){UINT32_MAX, "echo", 1, 1});
	expect_refused((struct fields){1, "", 1, 1});
	expect_refused((struct fields){1, name, 1, 1});
	expect_refused((struct fields){1, "echo", 2, 1});
	expect_refused((struct fields){1, "echo", 0, 1});
	expect_refused((struct fields){1, "echo", 1, 2});
	expect_refused((struct fields){1, "echo", 1, 0});
	expect_refused((struct fields){1, "echo", 1, UINT64_MAX});
	exsi_put_bytes(&w, none, sizeof(none));
	CHECK(!read_packed(w.data, w.size, NULL, &why));
	exsi_writer_fini(&w);
}

/* --- each allocation fails in turn --- */

static void use_all(exs_executor *ex)
{
	exs_invocation *chain = chain_of("twice", "size", NULL, "abc");
	struct exsi_writer w = {.data = NULL};
	const char *why;

	if (chain) {
		pack(&w, chain, true);
		exs_invocation *read = w.failed ? NULL : read_packed(w.data, w.size, NULL, &why);
		exs_result r = exs_invoke(read, NULL);
		exs_result_clear(&r);
		exs_invocation_free(read);
	} else {
		CHECK_INT(exs_error_code(exs_last_error()), EXS_ENOMEM);
	}
	exsi_writer_fini(&w);
	exs_invocation_free(chain);
	exs_invocation_free(exs_invocation_of("echo", exs_bytes_copy("x", 1)));
	exs_future *f = exs_submit_function(ex, "echo", "abc", 3);
	CHECK(f || exs_error_code(exs_last_error()) == EXS_ENOMEM);
	if (f && exs_future_error(f))
		CHECK_INT(exs_error_code(exs_future_error(f)), EXS_ENOMEM);
	exs_future_unref(f);
	exs_invocation *fails_late = chain_of("echo", "fails", NULL, "x");
	exs_result r = exs_invoke(fails_late, NULL);
	if (fails_late && !exs_error_is(r.error, &test_domain, 7)) /* the identity stays, if its text does not */
		CHECK_INT(exs_error_code(r.error), EXS_ENOMEM);
	exs_result_clear(&r);
	exs_invocation_free(fails_late);
}

TEST(invocation, each_allocation_fails_in_turn)
{
	exs_allocator failing = {failing_alloc, failing_free};
	unsigned long n = 0;

	begin();
	exs_executor *ex;
	do {
		atomic_store(&seen, 0);
		atomic_store(&fail_at, 0);
		exs_set_allocator(&failing);
		ex = exs_inline();
		atomic_store(&seen, 0);
		atomic_store(&fail_at, ++n);
		use_all(ex);
		unsigned long used = atomic_load(&seen);
		atomic_store(&fail_at, 0);
		exs_executor_free(ex);
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
		CHECK_INT(atomic_load(&blocks), 0);
		exs_set_allocator(NULL);
		if (used < n)
			break;
	} while (true);
	CHECK(n > 10);
}
