/* Tokens, and the table of what may become of them. */
#include "stress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct totals totals;
_Thread_local unsigned cancelling;
const exs_domain stress_domain = {.size = sizeof(exs_domain), .name = "stress"};

/* --- the table ---
   An outcome is allowed if one of `needs` has happened (0: always), the chain has all of `chain_has` and none of `chain_not`,
   and nothing of `excluded_by` has happened. */
static const struct rule {
	unsigned needs, chain_has, chain_not, excluded_by;
} rules[N_OUTCOMES] = {
	[TASK_VALUE] = {RAN_VALUE, 0, HAS_POLL, SAID_CANCELLED | CANCEL_AGREED},
	[TASK_ERROR] = {RAN_ERROR, 0, 0, SAID_CANCELLED | CANCEL_AGREED},
	[YIELD_VALUE] = {YIELDED_VALUE, HAS_POLL, 0, SAID_CANCELLED | CANCEL_AGREED},
	[YIELD_ERROR] = {YIELDED_ERROR, HAS_POLL, 0, SAID_CANCELLED | CANCEL_AGREED},
	[BATCH_ERROR] = {BATCH_FAILED, HAS_POLL, 0, SAID_CANCELLED | CANCEL_AGREED},
	[CANCELLED] = {CANCEL_CALLED | SHUT | RAN_CANCELLED, 0, 0, SAID_TOO_LATE},
	[TIMED_OUT] = {0, HAS_TIMEOUT, 0, SAID_CANCELLED},
	[SHUT_DOWN] = {SHUT, 0, 0, SAID_CANCELLED},
	[REJECTED] = {TRIED, HAS_BOUND, 0, SAID_CANCELLED},
	[INJECTED] = {0, HAS_FAULTS, 0, SAID_CANCELLED},
	[NO_MEMORY] = {0, HAS_NO_MEMORY, 0, SAID_CANCELLED},
	[DROPPED] = {0, DROPS, 0, SAID_CANCELLED},
};

/* A cancelled one says who asked: one of these must have happened. */
static const unsigned cause_needs[] = {
	[EXS_CAUSE_NONE] = RAN_CANCELLED, [EXS_CAUSE_USER] = CANCEL_CALLED,
	[EXS_CAUSE_TIMEOUT] = 0, /* that is an error EXS_ETIMEDOUT, never a cancelled one */
	[EXS_CAUSE_SHUTDOWN] = SHUT,	  [EXS_CAUSE_SIBLING] = 0,
};

const char *const outcome_names[N_OUTCOMES] = {
	[NOT_DONE] = "not done",
	[TASK_VALUE] = "value of the task",
	[TASK_ERROR] = "error of the task",
	[YIELD_VALUE] = "value of a poll",
	[YIELD_ERROR] = "error of a poll",
	[BATCH_ERROR] = "failed poll",
	[CANCELLED] = "cancelled",
	[TIMED_OUT] = "timed out",
	[SHUT_DOWN] = "shut down",
	[REJECTED] = "rejected",
	[INJECTED] = "injected",
	[NO_MEMORY] = "out of memory",
	[DROPPED] = "dropped",
};

static unsigned events_of(struct token *t)
{
	struct chain *c = t->chain;
	bool shut = atomic_load(&c->shut) || (c->below && atomic_load(c->below));

	return atomic_load(&t->events) | (shut ? (unsigned)SHUT : 0);
}

void token_print(struct token *t)
{
	fprintf(stderr, "token %u: events %#x, %u of %u runs begun, %u ended, first seen \"%s\", chain %s\n", t->id,
		events_of(t), atomic_load(&t->begun), t->max_runs, atomic_load(&t->ended),
		outcome_names[atomic_load(&t->outcome)], t->chain->text);
}

void token_must(bool good, struct token *t, const char *what)
{
	if (good)
		return;
	token_print(t);
	harness_fail(__FILE__, __LINE__, what);
}

/* --- made --- */

void token_init(struct token *t, struct chain *chain, unsigned id, uint64_t seed)
{
	t->chain = chain;
	t->own_arg.token = t;
	t->id = id;
	t->seed = seed;
	t->max_runs = chain->max_runs;
	t->max_shown = chain->max_shown;
	t->submitter = pthread_self();
	atomic_fetch_add(&totals.tokens, 1);
}

void token_note(struct token *t, unsigned events)
{
	atomic_fetch_or(&t->events, events);
}

struct value *token_value(struct token *t, unsigned level)
{
	unsigned n = atomic_fetch_add(&t->n_values, 1);

	if (n >= MAX_VALUES)
		return NULL;
	t->values[n].token = t;
	t->values[n].level = level;
	atomic_store(&t->values[n].state, LIVE);
	atomic_fetch_add(&totals.values, 1);
	return &t->values[n];
}

/* Each value is destroyed at most once. */
void value_destroy(void *value)
{
	struct value *v = value;
	int was = LIVE;

	token_must(atomic_compare_exchange_strong(&v->state, &was, DESTROYED), v->token, "a value is destroyed once");
}

exs_error *token_error(struct token *t, unsigned level)
{
	return token_error_after(t, level, -1);
}

exs_error *token_error_after(struct token *t, unsigned level, double retry_after)
{
	unsigned n = atomic_fetch_add(&t->n_errors, 1);
	exs_error *e =
		exs_error_new_retry_after(&stress_domain, (int)level, retry_after, "token %u: error %u", t->id, n);

	if (n < MAX_ERRORS)
		atomic_store(&t->errors[n], e);
	return e;
}

struct arg *token_arg(struct token *t)
{
	struct arg *arg = t->has_arg_free ? malloc(sizeof(*arg)) : &t->own_arg;

	CHECK(arg);
	arg->token = t;
	return arg;
}

/* arg_free runs once, when no run is under way (and none begins after: token_begin) and no on_cancel handler either. */
void arg_free(void *arg)
{
	struct token *t = ((struct arg *)arg)->token;

	token_must(atomic_fetch_add(&t->arg_freed, 1) == 0, t, "arg_free runs once");
	token_must(atomic_load(&t->begun) == atomic_load(&t->ended), t, "arg_free runs after the last run");
	token_must(atomic_load(&t->handlers) == 0, t, "no on_cancel handler is left when arg_free runs");
	free(arg);
}

/* --- runs --- */

static void begin_one_of_a_row(struct token *t, exs_context *ctx)
{
	unsigned attempt = exs_context_attempt(ctx), last = atomic_exchange(&t->last_attempt, attempt);

	token_must(atomic_load(&t->begun) == atomic_load(&t->ended) + 1, t, "one run at a time");
	token_must(attempt > last && attempt <= t->max_runs, t, "attempts are counted up");
	/* One that a worker has fetched already may still begin. */
	token_must(!(events_of(t) & SAID_REQUESTED) || atomic_fetch_add(&t->after_request, 1) == 0, t,
		   "after a stop request no further attempt begins");
	enum outcome seen = (enum outcome)atomic_load(&t->outcome);
	token_must(seen == NOT_DONE || seen == SHUT_DOWN, t,
		   "no run begins once the future is done, unless shutdown failed it");
}

void token_begin(struct token *t, exs_context *ctx)
{
	unsigned said = events_of(t);
	const char *name = exs_context_name(ctx);

	/* One that was left behind, told to stop, while a worker already had it may still begin. */
	bool abandoned = t->chain->features & HAS_ABANDON && exs_context_stop_requested(ctx);
	token_must(!(said & SAID_CANCELLED) || abandoned, t, "no run begins once a cancel has answered EXS_CANCELLED");
	token_must(atomic_fetch_add(&t->begun, 1) < t->max_runs, t, "no more runs than attempts");
	token_must(atomic_load(&t->arg_freed) == 0, t, "no run begins after arg_free");
	token_must(*t->name ? name && !strcmp(name, t->name) : !name, t, "the context has the task's name");
	token_must(exs_context_time_left(ctx) >= 0, t, "the time left is not negative");
	token_must(exs_context_max_attempts(ctx) == t->max_shown, t, "the context knows how many attempts there are");
	if (!(t->chain->features & HAS_ABANDON))
		begin_one_of_a_row(t, ctx);
	atomic_fetch_add(&totals.runs, 1);
}

exs_result token_end(struct token *t, exs_result r)
{
	static const unsigned ran[] = {RAN_VALUE, RAN_ERROR, RAN_CANCELLED};

	/* With ABANDON a run may end before its call is told. */
	if (r.kind == EXS_KIND_VALUE && !(t->chain->features & HAS_ABANDON))
		((struct value *)r.value)->stopped = atomic_load(&t->events) & SAID_REQUESTED;
	token_note(t, ran[r.kind]);
	token_must(atomic_load(&t->arg_freed) == 0, t, "arg_free waits for a run under way");
	atomic_fetch_add(&t->ended, 1);
	return r;
}

/* --- outcomes --- */

static bool owns_error(struct token *t, const exs_error *e)
{
	for (unsigned i = 0; i < MAX_ERRORS && i < atomic_load(&t->n_errors); i++)
		if (atomic_load(&t->errors[i]) == e)
			return true;
	return atomic_load(&t->n_errors) > MAX_ERRORS;
}

/* The code of a stress error is its level: 0 the task's, n that of poll layer n, -n that of a failed poll there. */
static enum outcome outcome_of_error(struct token *t, const exs_error *e)
{
	int code = exs_error_code(e);

	if (exs_error_domain(e) == &stress_domain && code < 0)
		return BATCH_ERROR;
	if (exs_error_domain(e) == &stress_domain) {
		token_must(owns_error(t, e), t, "an error keeps its identity");
		return code ? YIELD_ERROR : TASK_ERROR;
	}
	if (exs_error_domain(e) == &exs_domain_sim)
		return INJECTED;
	token_must(exs_error_domain(e) == &exs_domain_exs, t, "an error is the library's or the test's");
	switch (code) {
	case EXS_ETIMEDOUT:
		return TIMED_OUT;
	case EXS_ESHUTDOWN:
		return SHUT_DOWN;
	case EXS_EREJECTED:
		return REJECTED;
	case EXS_ENOMEM:
		return NO_MEMORY;
	case EXS_EDROPPED:
		return DROPPED;
	default:
		fprintf(stderr, "%s\n", exs_error_message(e));
		token_must(false, t, "the library has no other error for it");
		return NOT_DONE;
	}
}

static enum outcome outcome_of_value(struct token *t, void *value)
{
	struct value *v = value;

	token_must(v && v->token == t, t, "a value is the token's own");
	token_must(atomic_load(&v->state) == LIVE, t, "a future's value is alive");
	token_must(v->level == t->chain->polls, t, "a value comes from the outermost poll, or from the task");
	return v->level ? YIELD_VALUE : TASK_VALUE;
}

static enum outcome outcome_of(struct token *t, exs_future *f)
{
	exs_result r = exs_future_result(f);
	exs_state state = exs_future_state(f);

	token_must((int)state == (int)EXS_STATE_VALUE + (int)r.kind, t, "state and result say the same");
	if (r.kind == EXS_KIND_VALUE)
		return outcome_of_value(t, r.value);
	return r.kind == EXS_KIND_ERROR ? outcome_of_error(t, r.error) : CANCELLED;
}

static void check_rule(struct token *t, enum outcome o)
{
	const struct rule *rule = &rules[o];
	unsigned events = events_of(t), features = t->chain->features;

	token_must(!rule->needs || events & rule->needs, t,
		   "the table: nothing has happened that this outcome comes of");
	token_must((features & rule->chain_has) == rule->chain_has, t,
		   "the table: the chain lacks what this outcome needs");
	token_must(!(features & rule->chain_not), t, "the table: in this chain that can't be the outcome");
	token_must(!(events & rule->excluded_by), t, "the table: this outcome had been excluded");
}

enum outcome token_look(struct token *t, exs_future *f)
{
	int seen = NOT_DONE;

	if (!exs_future_is_done(f))
		return NOT_DONE;
	enum outcome o = outcome_of(t, f);
	token_must(o != NOT_DONE, t, "a future that is done has an outcome");
	if (!atomic_compare_exchange_strong(&t->outcome, &seen, (int)o))
		token_must(seen == (int)o, t, "an outcome never changes");
	check_rule(t, o);
	token_must(o != CANCELLED || events_of(t) & cause_needs[exs_future_cause(f)], t,
		   "a cancelled one has a cause that was");
	return o;
}

/* --- cancel --- */

void token_answered(struct token *t, exs_future *f, exs_answer answer)
{
	static const unsigned said[] = {SAID_CANCELLED, SAID_REQUESTED, SAID_TOO_LATE};
	exs_state state = exs_future_state(f);

	token_must(answer != EXS_CANCELLED || state == EXS_STATE_CANCELLED, t,
		   "answer EXS_CANCELLED: the future is cancelled");
	token_must(answer != EXS_TOO_LATE || state == EXS_STATE_VALUE || state == EXS_STATE_ERROR, t,
		   "answer EXS_TOO_LATE: it is done with a value or an error");
	token_note(t, said[answer]);
	atomic_fetch_add(&totals.answers[answer], 1);
	token_look(t, f);
}

exs_answer token_cancel(struct token *t, exs_future *f)
{
	token_note(t, CANCEL_CALLED);
	cancelling++;
	exs_answer answer = exs_future_cancel(f);
	cancelling--;
	token_answered(t, f, answer);
	return answer;
}

/* --- done callbacks --- */

static void note_called(exs_future *f, void *ctx)
{
	struct note *n = ctx;
	struct token *t = n->token;

	token_must(atomic_fetch_add(&n->called, 1) == 0, t, "a callback runs once");
	n->thread = pthread_self();
	n->order = atomic_fetch_add(&t->called, 1);
	token_must(token_look(t, f) != NOT_DONE, t, "in its callback a future is done");
	atomic_fetch_add(&totals.callbacks, 1);
	if (n->inside)
		n->inside(t);
}

static void note_freed(void *ctx)
{
	struct note *n = ctx;

	token_must(atomic_load(&n->called) == 1, n->token, "a callback's ctx_free follows it");
	token_must(atomic_fetch_add(&n->freed, 1) == 0, n->token, "a callback's ctx_free runs once");
}

void token_on_done(struct token *t, exs_future *f, void (*inside)(struct token *))
{
	struct note *n = &t->notes[t->n_notes++];

	n->token = t;
	n->inside = inside;
	CHECK_INT(exs_future_on_done(f, note_called, n, note_freed), EXS_OK);
}

/* Of two callbacks the one registered first runs first, or the second found the future done and ran at once. */
static void check_order(struct token *t)
{
	for (unsigned i = 1; i < t->n_notes; i++) {
		struct note *a = &t->notes[i - 1], *b = &t->notes[i];
		if (pthread_equal(a->thread, b->thread))
			token_must(a->order < b->order, t, "callbacks run in the order of their registration");
		else
			token_must(pthread_equal(b->thread, t->submitter), t,
				   "the completing thread runs the callbacks, or the registering one");
	}
}

/* --- the end --- */

void token_finish(struct token *t, exs_future *f)
{
	exs_result r;

	token_must(!f || token_look(t, f) != NOT_DONE, t, "when its chain has been freed, a future is done");
	for (unsigned i = 0; i < t->n_notes; i++)
		token_must(atomic_load(&t->notes[i].freed) == 1, t, "each callback has run");
	check_order(t);
	token_must(atomic_load(&t->begun) == atomic_load(&t->ended), t, "no run is left");
	token_must(atomic_load(&t->arg_freed) == t->has_arg_free, t, "arg_free has run");
	if (f && t->seed & 1) { /* nobody else has a reference now */
		token_must(exs_future_take(f, &r) == EXS_OK, t, "the sole reference can take the result");
		exs_result_clear(&r);
		token_must(exs_future_value(f) == NULL, t, "a value that was taken is gone");
	}
	exs_future_unref(f);
	for (unsigned i = 0; i < MAX_VALUES && i < atomic_load(&t->n_values); i++)
		token_must(atomic_load(&t->values[i].state) == DESTROYED, t, "each value has been destroyed");
	atomic_fetch_add(&totals.outcomes[atomic_load(&t->outcome)], 1);
}
