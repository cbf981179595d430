/* exs_future_explain: a future in one sentence. */
#include "future/future.h"

#include <stdio.h>

static const char *who(exs_cause cause)
{
	static const char *const text[] = {
		[EXS_CAUSE_NONE] = "cancelled by the task",	[EXS_CAUSE_USER] = "cancelled by the user",
		[EXS_CAUSE_TIMEOUT] = "cancelled by a timeout", [EXS_CAUSE_SHUTDOWN] = "cancelled by shutdown",
		[EXS_CAUSE_SIBLING] = "cancelled by a sibling",
	};

	return text[cause];
}

static const char *outcome(exs_future *f)
{
	bool stop = exs_future_cause(f) != EXS_CAUSE_NONE;

	switch (exs_future_state(f)) {
	case EXS_STATE_PENDING:
		return stop ? "pending, asked to stop" : "pending";
	case EXS_STATE_RUNNING:
		return stop ? "running, asked to stop" : "running";
	case EXS_STATE_VALUE:
		return "done";
	case EXS_STATE_CANCELLED:
		return who(exs_future_cause(f));
	default:
		return exs_error_message(exs_future_error(f));
	}
}

size_t exs_future_explain(exs_future *f, char *buf, size_t size)
{
	size = buf ? size : 0;
	if (!f)
		return (size_t)snprintf(buf, size, "no future");
	const struct exsi_extra *extra = exsi_extra(f);
	const char *name = extra && extra->name ? extra->name : "task";
	struct exsi_story *story = exsi_story(f);
	unsigned attempt = story ? atomic_load(&story->attempt) : 0;
	char part[64] = "";

	unsigned max = story ? atomic_load(&story->max) : 0;

	if (attempt == 1 && max == 1)
		attempt = 0; /* a chain that only may count */
	if (attempt && max == EXS_UNLIMITED)
		snprintf(part, sizeof(part), "attempt %u: ", attempt);
	else if (attempt)
		snprintf(part, sizeof(part), "attempt %u of %u: ", attempt, max);
	return (size_t)snprintf(buf, size, "%s: %s%s", name, part, outcome(f));
}
