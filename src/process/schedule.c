/* Schedule: running tasks submit further ones to what they were submitted to. */
#include "base/memory.h"
#include "executor/home.h"
#include "process/invocation.h"

/* What is to be told of a task that nobody waits for: its invocation, for the name, with a reference. */
struct scheduled {
	struct exsi_node node;
	exs_invocation *invocation;
};

static void over(exs_future *f, struct exsi_node *node)
{
	struct scheduled *s = EXSI_CONTAINER_OF(node, struct scheduled, node);
	exs_error *error = exs_future_error(f);

	if (error)
		exsi_log(EXS_LOG_WARNING, "", "%s, scheduled by a task, failed: %s",
			 exsi_invocation_name(s->invocation), exs_error_message(error));
	exs_invocation_free(s->invocation);
	exsi_free(s);
}

static int failed(int code, const char *why)
{
	return exsi_fail(code, "exs_schedule: %s", why);
}

/* Takes over a reference of the invocation. */
static int submit(exs_executor *x, struct exs_scope *scope, exs_invocation *invocation, exs_task task)
{
	struct scheduled *s = exsi_alloc(sizeof(*s));

	if (!s) {
		exs_invocation_free(invocation);
		return failed(EXS_ENOMEM, "out of memory");
	}
	*s = (struct scheduled){.node = {.fn = over, .kind = EXSI_CALLBACK},
				.invocation = exsi_invocation_ref(invocation)};
	task.fn = exs_invoke;
	task.arg = invocation;
	task.arg_free = exs_invocation_free;
	task.name = task.name ? task.name : exsi_invocation_name(invocation);
	exs_future *f = exsi_scope_submit_within(scope, x, &task);
	if (!f) {
		exs_invocation_free(s->invocation);
		exsi_free(s);
		return failed(EXS_ENOMEM, "out of memory");
	}
	if (!exsi_node_add(f, &s->node))
		over(f, &s->node);
	exs_future_unref(f);
	return EXS_OK;
}

int exsi_schedule_at(exs_future *task, exs_invocation *invocation, const exs_task *options)
{
	exs_executor *x = exsi_root_top(task);
	int rc = EXS_OK;

	if (exs_context_stop_requested((exs_context *)(void *)task))
		rc = failed(EXS_ECANCELLED, "the task has been asked to stop");
	else if (x->parent)
		rc = failed(EXS_EINVAL, "it is no task that runs, but a batch of them");
	else if (atomic_load(&x->closing) > EXS_DRAIN)
		rc = failed(EXS_ESHUTDOWN, exs_strerror(EXS_ESHUTDOWN));
	if (!rc)
		return submit(x, exsi_scope_of(task), invocation, *options);
	exs_invocation_free(invocation);
	return rc;
}

/* What is wrong, or NULL. */
static const char *wrong_options(const exs_task *t, bool known)
{
	if (!known)
		return "task options that this library does not know";
	if (t->fn || t->arg || t->arg_free || t->timeout != 0 || t->retry)
		return "fn, arg, arg_free, timeout and retry are not for a task that is scheduled";
	return NULL;
}

/* Borrows the invocation. */
static int schedule(exs_future *task, exs_invocation *invocation, const exs_task *options)
{
	const struct exsi_home *home = exsi_home(task);

	if (exs_context_stop_requested((exs_context *)(void *)task))
		return failed(EXS_ECANCELLED, "the task has been asked to stop");
	if (home)
		return home->schedule(task, invocation, options);
	return exsi_schedule_at(task, exsi_invocation_ref(invocation), options);
}

int exs_schedule_sized(exs_context *ctx, exs_invocation *invocation, const exs_task *given, size_t size)
{
	exs_task options;
	bool known = exsi_options(&options, sizeof(options), given, size);
	const char *wrong = wrong_options(&options, known);

	if (!ctx || !invocation)
		wrong = ctx ? "invocation is NULL" : "ctx is NULL: there is nothing to submit to";
	int rc = wrong ? failed(EXS_EINVAL, wrong) : schedule((exs_future *)(void *)ctx, invocation, &options);
	exs_invocation_free(invocation);
	return rc;
}
