/* Adoption: a call whose outcome is to be that of another future. For layers: the state begins with a struct exsi_adopter, the slot
   with a struct exsi_adoption, and the three hooks below stand in the operations table as they are. */
#ifndef EXSI_EXECUTOR_ADOPT_H
#define EXSI_EXECUTOR_ADOPT_H

#include "executor/executor.h"

/* lock guards the list and, of the adoptions in it, inner and done. */
struct exsi_adopter {
	exs_executor *x;
	pthread_mutex_t lock;
	struct exsi_adoption *first;
};

/* From exsi_adopt until the call goes up it is in the list; only who has set or seen `done` may take it out, since up to then the
   node is the inner future's. */
struct exsi_adoption {
	union {
		struct exsi_node node; /* until done */
		struct {
			exs_link link;
			exs_result outcome;
		};
	};
	struct exsi_adopter *adopter;
	exs_future *inner; /* one reference; NULL: none is adopted */
	struct exsi_adoption *next, **pprev;
	bool done; /* the inner future is done and its node is free again */
};

void exsi_adopter_init(struct exsi_adopter *a, exs_executor *x);
void exsi_adopter_fini(struct exsi_adopter *a);

/* In a done hook, in place of its answer: the call goes up with the outcome of inner (taken over), once that is done. A value with
   a destructor must be the call's alone: another reference to inner makes it an error EXS_EBUSY. A stop of the call is passed on;
   then inner's outcome still decides. */
exs_step exsi_adopt(exs_executor *x, exs_future *call, struct exsi_adoption *adoption, exs_future *inner,
		    exs_result *r);

exs_step exsi_adopt_cancel(exs_executor *x, exs_future *call, void *slot, exs_cause cause, exs_result *r);
void exsi_adopt_each(exs_executor *x, exs_visit_fn *visit, void *arg);
void exsi_adopt_child(exs_executor *x, exs_future *call, void *slot, exs_visit_fn *visit, void *arg);

#endif
