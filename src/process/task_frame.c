/* Tasks, what they schedule, and a worker's beginning, as they travel. */
#include "process/remote.h"

#include <string.h>

/* As much of a task's name as goes along. */
enum { NAME = 1023 };

static void put_name(struct exsi_writer *w, const char *name)
{
	char text[NAME + 1];

	strncpy(text, name ? name : "", NAME);
	text[NAME] = '\0';
	exsi_put_text(w, text);
}

void exsi_put_task(struct exsi_writer *w, const struct exsi_task_frame *task, const exs_invocation *invocation)
{
	exsi_put_u32(w, task->attempt);
	exsi_put_u32(w, task->max_attempts);
	exsi_put_u64(w, task->left);
	exsi_put_u32(w, task->items);
	exsi_put_u8(w, task->emits);
	put_name(w, task->name);
	exsi_put_bytes(w, invocation->head, invocation->head_size);
}

void exsi_get_task(struct exsi_reader *r, struct exsi_task_frame *task)
{
	task->attempt = exsi_get_u32(r);
	task->max_attempts = exsi_get_u32(r);
	task->left = exsi_get_u64(r);
	task->items = exsi_get_u32(r);
	task->emits = exsi_get_u8(r);
	task->name = exsi_get_text(r);
}

void exsi_put_schedule(struct exsi_writer *w, const exs_task *task, const exs_invocation *invocation)
{
	exsi_put_u32(w, (uint32_t)task->priority);
	exsi_put_u32(w, task->series);
	exsi_put_u8(w, task->place);
	put_name(w, task->name);
	exsi_put_bytes(w, invocation->head, invocation->head_size);
}

void exsi_get_schedule(struct exsi_reader *r, exs_task *task)
{
	*task = (exs_task){.priority = (int)exsi_get_u32(r)};
	task->series = exsi_get_u32(r);
	unsigned place = exsi_get_u8(r);
	r->failed = r->failed || place > EXS_DO_LAST;
	task->place = r->failed ? EXS_IN_TURN : (exs_place)place;
	const char *name = exsi_get_text(r);
	task->name = *name ? name : NULL;
}

void exsi_put_begin(struct exsi_writer *w, const struct exsi_begin_frame *begin)
{
	exsi_put_u32(w, begin->number);
	exsi_put_u64(w, begin->max_size);
	exsi_put_u64(w, begin->memory);
	exsi_put_u64(w, begin->cpu_seconds);
	exsi_put_u8(w, begin->restricted);
}

void exsi_get_begin(struct exsi_reader *r, struct exsi_begin_frame *begin)
{
	begin->number = exsi_get_u32(r);
	begin->max_size = exsi_get_u64(r);
	begin->memory = exsi_get_u64(r);
	begin->cpu_seconds = exsi_get_u64(r);
	begin->restricted = exsi_get_u8(r);
}
