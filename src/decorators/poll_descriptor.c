/* Poll: descriptors, and what a poll or cancel function may do with them. */
#include "base/memory.h"
#include "decorators/poll.h"

void exsi_descriptors_init(struct exsi_descriptors *set)
{
	set->d = set->few_d;
	set->list = set->few_list;
	set->room = EXSI_POLL_FEW;
	set->n = 0;
}

void exsi_descriptors_fini(struct exsi_descriptors *set)
{
	if (set->d != set->few_d)
		exsi_free(set->d);
}

bool exsi_descriptors_reserve(struct exsi_descriptors *set, size_t n)
{
	set->n = 0;
	if (n <= set->room)
		return true;
	exs_descriptor *d = exsi_alloc_array(n, sizeof(exs_descriptor) + sizeof(exs_descriptor *));
	if (!d)
		return false;
	exsi_descriptors_fini(set);
	set->d = d;
	set->list = (exs_descriptor **)(void *)(d + n);
	set->room = n;
	return true;
}

exs_descriptor *exsi_descriptors_add(struct exsi_descriptors *set, struct exsi_poll *p, exs_future *call)
{
	struct exsi_poll_slot *s = exsi_slot(call, p->hand.x);
	exs_future *root = exsi_root(call);
	struct exsi_extra *extra = exsi_extra(root);
	exs_descriptor *d = &set->d[set->n];

	*d = (exs_descriptor){.item.hand = &p->hand, .call = call, .root = root, .value = s->value};
	d->name = extra ? extra->name : NULL; /* now: once it is done, the layers above may be gone */
	set->list[set->n++] = d;
	return d;
}

void *exs_descriptor_value(exs_descriptor *d)
{
	return d ? d->value : NULL;
}

const char *exs_descriptor_name(exs_descriptor *d)
{
	return d ? d->name : NULL;
}

static bool yield(exs_descriptor *d, exs_result r)
{
	bool counts;
	exs_future *f = exsi_hand_yield(d ? &d->item : NULL, r, &counts);

	if (f)
		exs_call_resume(f, d->item.hand->x, EXS_UP, &r);
	return counts;
}

bool exs_yield_result(exs_descriptor *d, void *value, exs_free_fn *destroy)
{
	return yield(d, exs_ok(value, destroy));
}

bool exs_yield_error(exs_descriptor *d, exs_error *error)
{
	if (!error)
		error = exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_yield_error: error is NULL");
	return yield(d, exs_fail(error));
}

void exs_refuse(exs_descriptor *d)
{
	if (d)
		d->refused = true;
}

void exsi_poll_leave(exs_executor *x, struct exsi_held *held)
{
	struct exsi_poll_slot *s = (struct exsi_poll_slot *)(void *)held; /* its first member */

	(void)x;
	exsi_calls_remove(held);
	if (!held->item)
		return;
	EXSI_CONTAINER_OF(held->item, exs_descriptor, item)->destroy = s->destroy;
	s->destroy = NULL;
	exsi_hand_take(held);
}
