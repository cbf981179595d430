/* A stage of a stream: a function of each value of another. */
#include "stream/window.h"

/* Of what `in` answers when there is no item. */
enum exsi_pulled exsi_stage_end(exs_stream *s, exs_set_status status, exs_error *why, exs_error **error)
{
	if (status == EXS_TIMEOUT)
		return EXSI_NOTHING;
	if (status == EXS_EMPTY)
		why = exs_stream_error(s->in); /* cancelled, or told before */
	*error = exs_error_ref(why);
	return EXSI_PULLED_LAST;
}

enum exsi_pulled exsi_stage_no_memory(exs_stream *s)
{
	exsi_lock(&s->lock);
	s->failed = EXS_ENOMEM;
	exsi_stream_unlock(s);
	return EXSI_NOTHING;
}

static enum exsi_pulled map_pull(exs_stream *s, struct exsi_place *p, exs_error **error)
{
	exs_item item = {.number = UINT64_MAX};
	exs_error *why;
	exs_set_status status = exsi_stream_take(s->in, &item, true, &why);

	if (status == EXS_FAILED && item.number != UINT64_MAX) /* it is lost, and keeps its place */
		return EXSI_PULLED;
	if (status == EXS_FAILED && !why)
		return exsi_stage_no_memory(s);
	if (status != EXS_ITEM)
		return exsi_stage_end(s, status, why, error);
	if (exs_future_state(item.future) != EXS_STATE_VALUE) {
		p->future = item.future;
		return EXSI_PULLED;
	}
	exs_result input = exs_future_result(item.future);
	input.destroy = NULL;
	p->future = exsi_item_begin(s, p, &input, item.future);
	return EXSI_PULLED;
}

static const struct exsi_stream_kind map = {.pull = map_pull};

exs_stream *exsi_stage(exs_stream *in, const struct exsi_stream_plan *plan)
{
	exs_stream *s = exsi_stream_make(plan);

	if (s && in)
		exsi_stream_follow(s, in);
	else
		exs_stream_free(in);
	if (in)
		return s;
	exs_stream_free(s);
	return NULL;
}

exs_stream *exs_stream_map_sized(exs_stream *in, exs_executor *ex, exs_task_fn *fn, const exs_stream_options *options,
				 size_t size)
{
	exs_stream *s = exsi_stage(in, &(struct exsi_stream_plan){.who = "exs_stream_map",
								  .kind = &map,
								  .ex = ex,
								  .fn = fn,
								  .options = options,
								  .size = size,
								  .max_default = 1024,
								  .wrong = !ex	 ? "executor is NULL"
									   : !fn ? "fn is NULL"
										 : NULL});

	if (!s)
		return NULL;
	exsi_lock(&s->lock);
	exsi_stream_pump(s, true);
	return s;
}
