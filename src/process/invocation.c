/* Invocations: made, packed, read from a message, run, submitted. */
#include "process/invocation.h"
#include "base/memory.h"
#include "executor/executor.h"

#include <stdio.h>
#include <string.h>

/* --- made --- */

/* Of a head that was packed; takes over the body. NULL: no memory, and the body is freed. */
static exs_invocation *make(const void *head, size_t size, exs_bytes *body)
{
	exs_invocation *invocation = exsi_alloc(sizeof(*invocation) + size);

	if (!invocation) {
		exs_bytes_free(body);
		return NULL;
	}
	atomic_init(&invocation->refs, 1);
	invocation->head = memcpy(invocation + 1, head, size);
	invocation->head_size = size;
	invocation->body = body;
	return invocation;
}

static void pack(struct exsi_writer *w, const exs_invocation_step *step)
{
	exsi_put_text(w, step->function);
	exsi_put_u8(w, step->input != NULL);
	exsi_put_u64(w, step->size);
}

/* What is wrong with the step, or NULL. */
static const char *wrong_step(const exs_invocation_step *step)
{
	if (!exsi_is_function_name(step->function))
		return "the name of a function must have 1 to 255 bytes";
	return step->size && !step->input ? "input is NULL, its size is not 0" : NULL;
}

/* Takes over the body. The steps are in order, but for their number. */
static exs_invocation *of_steps(const exs_invocation_step *steps, size_t n, exs_bytes *body)
{
	unsigned char few[512];
	struct exsi_writer w = {.data = few, .room = sizeof(few)};
	exs_invocation *invocation = NULL;

	if (body && !body->size) {
		exs_bytes_free(body);
		body = NULL;
	}
	exsi_put_u32(&w, (uint32_t)n);
	for (size_t i = 0; i < n && w.size <= EXSI_INVOCATION_HEAD; i++)
		pack(&w, &steps[i]);
	bool fits = w.size <= EXSI_INVOCATION_HEAD;
	if (fits && !w.failed)
		invocation = make(w.data, w.size, body);
	else
		exs_bytes_free(body);
	exsi_writer_fini(&w);
	if (!invocation)
		exsi_fail(fits ? EXS_ENOMEM : EXS_EINVAL, "exs_invocation: %s",
			  fits ? "out of memory" : "too many steps: their names must fit into 16 KiB");
	return invocation;
}

/* Answers NULL. */
static void *refuse(const char *who, const char *wrong)
{
	return exsi_fail_null(EXS_EINVAL, "%s: %s", who, wrong);
}

exs_invocation *exs_invocation_new(const char *function, const void *input, size_t size)
{
	exs_invocation_step step = {.function = function, .input = input, .size = size};
	const char *wrong = wrong_step(&step);

	if (wrong)
		return refuse("exs_invocation_new", wrong);
	exs_bytes *body = size ? exs_bytes_copy(input, size) : NULL;
	return size && !body ? NULL : of_steps(&step, 1, body);
}

exs_invocation *exs_invocation_of(const char *function, exs_bytes *input)
{
	if (!input)
		return NULL;
	exs_invocation_step step = {.function = function, .input = input, .size = input->size};
	const char *wrong = wrong_step(&step);
	if (!wrong)
		return of_steps(&step, 1, input);
	exs_bytes_free(input);
	return refuse("exs_invocation_of", wrong);
}

/* Also the size of all inputs. */
static const char *wrong_chain(const exs_invocation_step *steps, size_t n, size_t *size)
{
	const char *wrong = NULL;

	*size = 0;
	if (!steps || !n)
		return "there is no step";
	for (size_t i = 0; i < n && !wrong; i++) {
		wrong = wrong_step(&steps[i]);
		if (!wrong && steps[i].size > SIZE_MAX - *size)
			wrong = "the inputs are too large";
		*size += steps[i].size;
	}
	return wrong;
}

exs_invocation *exs_invocation_chain(const exs_invocation_step *steps, size_t n)
{
	size_t size, at = 0;
	const char *wrong = wrong_chain(steps, n, &size);

	if (wrong)
		return refuse("exs_invocation_chain", wrong);
	exs_bytes *body = size ? exs_bytes_new(size) : NULL;
	if (size && !body)
		return NULL;
	for (size_t i = 0; i < n; at += steps[i++].size)
		if (steps[i].size)
			memcpy(body->data + at, steps[i].input, steps[i].size);
	return of_steps(steps, n, body);
}

exs_invocation *exsi_invocation_ref(exs_invocation *invocation)
{
	atomic_fetch_add(&invocation->refs, 1);
	return invocation;
}

void exs_invocation_free(void *arg)
{
	exs_invocation *invocation = arg;

	if (!invocation || atomic_fetch_sub(&invocation->refs, 1) != 1)
		return;
	exs_bytes_free(invocation->body);
	exsi_free(invocation);
}

/* --- its steps, one by one --- */

/* What is left of the head; where the next one's input is in the body. */
struct steps {
	struct exsi_reader head;
	uint32_t n;
	uint64_t at;
};

struct step {
	const char *function;
	bool has_input;
	uint64_t at, size;
};

static struct steps steps_of(const void *head, size_t size)
{
	struct steps steps = {.head = {.data = head, .size = size}};

	steps.n = exsi_get_u32(&steps.head);
	return steps;
}

static struct step next_step(struct steps *steps)
{
	struct step step = {.function = exsi_get_text(&steps->head), .at = steps->at};
	unsigned has = exsi_get_u8(&steps->head);

	step.size = exsi_get_u64(&steps->head);
	step.has_input = has;
	if (has > 1 || (!has && step.size) || step.size > UINT64_MAX - steps->at)
		steps->head.failed = true;
	else
		steps->at += step.size;
	return step;
}

const char *exsi_invocation_name(const exs_invocation *invocation)
{
	struct steps steps = steps_of(invocation->head, invocation->head_size);

	return next_step(&steps).function;
}

/* --- read --- */

/* What is wrong with a head that has come, of so large a body; or NULL. */
static const char *wrong_head(const void *head, size_t size, uint64_t body)
{
	if (size > EXSI_INVOCATION_HEAD)
		return "an invocation whose head is too large";
	struct steps steps = steps_of(head, size);
	if (!steps.n)
		return "an invocation without a step";
	for (uint32_t i = 0; i < steps.n && !steps.head.failed; i++)
		if (!exsi_is_function_name(next_step(&steps).function))
			return "an invocation of a function without a name";
	if (!exsi_reader_ends(&steps.head))
		return "an invocation whose head is malformed";
	return steps.at != body ? "an invocation whose inputs are not those of its head" : NULL;
}

exs_invocation *exsi_invocation_read(struct exsi_reader *r, exs_bytes *body, const char **why)
{
	size_t size;
	const void *head = exsi_get_bytes(r, &size);

	*why = r->failed	 ? "an invocation without a head"
	       : body && r->size ? "an invocation with two bodies"
				 : wrong_head(head, size, body ? body->size : r->size);
	if (!*why && r->size) {
		body = exs_bytes_copy(r->data, r->size);
		*why = body ? NULL : "out of memory";
		r->data += r->size;
		r->size = 0;
	}
	if (*why) {
		exs_bytes_free(body);
		return NULL;
	}
	exs_invocation *invocation = make(head, size, body);
	*why = invocation ? NULL : "out of memory";
	return invocation;
}

/* --- run --- */

enum { MAX_PARTS = 64 };

static exs_result wrong_value(const char *function, exs_result *r)
{
	exs_result_clear(r);
	return exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL,
				      "%s: the value of a registered function must be exs_ok_bytes, or NULL",
				      function));
}

static exs_result run_step(const struct step *step, const exs_bytes *input, exs_context *ctx)
{
	exs_registered_fn *fn = exs_registered(step->function);

	if (!fn)
		return exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL,
					      "exs_invoke: \"%s\" is not registered in this process", step->function));
	exs_result r = fn(input, ctx);
	exsi_check_result(&r, step->function);
	bool is_bytes = r.destroy == exs_bytes_free || (!r.value && !r.destroy);
	return r.kind != EXS_KIND_VALUE || is_bytes ? r : wrong_value(step->function, &r);
}

/* An error of a chain says which step it is of, and is otherwise what it was. */
static void tell_step(exs_result *r, const struct step *step, uint32_t i, uint32_t n)
{
	char prefix[EXSI_FUNCTION_NAME + 64];
	exs_error *e = r->error, *of[MAX_PARTS];

	if (r->kind != EXS_KIND_ERROR || n == 1 || exs_error_count(e) > MAX_PARTS)
		return;
	snprintf(prefix, sizeof(prefix), "step %u of %u (%s): ", (unsigned)i + 1, (unsigned)n, step->function);
	for (size_t k = 0; k < exs_error_count(e); k++)
		of[k] = exs_error_of(e, k);
	const char *message = exs_error_message(e), *backtrace = exs_error_backtrace(e);
	struct exsi_error_parts parts = {.domain = exs_error_domain(e),
					 .code = exs_error_code(e),
					 .retry_after = exs_error_retry_after(e),
					 .prefix = prefix,
					 .message = message,
					 .size = strlen(message),
					 .backtrace = backtrace,
					 .backtrace_size = backtrace ? strlen(backtrace) : 0,
					 .errors = of,
					 .n = exs_error_count(e)};
	exs_error *told = exsi_error_with(&parts);
	bool made = exs_error_is(told, parts.domain, parts.code); /* or there was no memory */
	r->error = made ? told : e;
	exs_error_unref(made ? e : told);
}

exs_result exsi_invocation_run(exs_invocation *invocation, exs_context *ctx)
{
	struct steps steps = steps_of(invocation->head, invocation->head_size);
	exs_result r = exs_ok(NULL, NULL);

	for (uint32_t i = 0; i < steps.n && r.kind == EXS_KIND_VALUE; i++) {
		exs_result before = r;
		struct step step = next_step(&steps);
		exs_bytes input = {.data = NULL};
		if (step.has_input && step.size)
			input = (exs_bytes){invocation->body->data + step.at, (size_t)step.size};
		else if (!step.has_input && before.value)
			input = *(exs_bytes *)before.value;
		r = i && exs_context_stop_requested(ctx) ? exs_cancelled() : run_step(&step, &input, ctx);
		tell_step(&r, &step, i, steps.n);
		exs_result_clear(&before);
	}
	return r;
}

exs_result exs_invoke(void *invocation, exs_context *ctx)
{
	if (!invocation)
		return exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_invoke: invocation is NULL"));
	return exsi_invocation_run(invocation, ctx);
}

/* --- submitted --- */

exs_future *exs_submit_invocation_sized(exs_executor *ex, exs_invocation *invocation, const exs_task *options,
					size_t size)
{
	exs_task task;
	bool known = exsi_options(&task, sizeof(task), options, size);

	task.fn = exs_invoke;
	task.arg = invocation;
	task.arg_free = exs_invocation_free;
	if (known && invocation) {
		task.name = task.name ? task.name : exsi_invocation_name(invocation);
		return exs_submit_with(ex, &task);
	}
	return exsi_submit_failed(
		&task, exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_submit_invocation: %s",
				     known ? "invocation is NULL" : "task options that this library does not know"));
}

exs_future *exs_submit_function(exs_executor *ex, const char *function, const void *input, size_t size)
{
	exs_invocation *invocation = exs_invocation_new(function, input, size);

	if (invocation)
		return exs_submit_invocation(ex, invocation, NULL);
	const exs_error *why = exs_last_error();
	if (exs_error_code(why) == EXS_ENOMEM)
		return NULL;
	return exsi_failed("exs_submit_function: %s", exs_error_message(why));
}
