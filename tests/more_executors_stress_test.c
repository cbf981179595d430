/* Counterpart of more-executors' stress test (test_executor.py), over the matrix: 500 futures that fail, cancel each other, and
   submit more from their tasks and callbacks, at random. */
#include "more_executors.h"

#include <stdlib.h>

enum { LIMIT = 500, FIRST = 100 };
enum behaviour { ANSWERS, FAILS, AGAIN_IN_CALLBACK, CANCELS, BEHAVIOURS };

struct stress;

/* One future, what its task is about to answer, and what cancels of it have answered. */
struct token {
	struct stress *s;
	enum behaviour behaviour;
	_Atomic(exs_future *) f; /* NULL: being submitted */
	atomic_bool ran, cancelled, asked;
	exs_error *error;
};

struct stress {
	struct more_env *env;
	atomic_uint n; /* tokens given out, or more */
	_Atomic uint64_t drawn;
	struct token tokens[LIMIT];
};

/* The next number of the test's sequence. */
static unsigned draw(struct stress *s, unsigned below)
{
	uint64_t state = harness_seed() + atomic_fetch_add(&s->drawn, 1) * 77;

	return (unsigned)harness_below(&state, below);
}

static exs_result run_token(void *token, exs_context *ctx);

/* NULL: there are enough. */
static struct token *submit_token(struct stress *s)
{
	unsigned i = atomic_fetch_add(&s->n, 1);

	if (i >= LIMIT)
		return NULL;
	struct token *t = &s->tokens[i];
	t->s = s;
	t->behaviour = draw(s, BEHAVIOURS);
	t->error = exs_error_new(&test_domain, 1, "error %u", i);
	atomic_store(&t->f, more_submit(s->env->ex, run_token, t));
	return t;
}

static void cancel_something(struct stress *s)
{
	struct token *t = &s->tokens[draw(s, LIMIT)];
	exs_future *f = atomic_load(&t->f);

	if (!f)
		return;
	exs_answer answer = exs_future_cancel(f);
	if (answer == EXS_CANCELLED)
		atomic_store(&t->cancelled, true);
	else if (answer == EXS_STOP_REQUESTED)
		atomic_store(&t->asked, true);
}

static void again(exs_future *f, void *s);

static void act(struct stress *s, enum behaviour behaviour)
{
	struct token *sub = submit_token(s);

	if (behaviour == AGAIN_IN_CALLBACK && sub)
		CHECK_INT(exs_future_on_done(atomic_load(&sub->f), again, s, NULL), EXS_OK);
	else if (behaviour == CANCELS)
		for (int i = 0; i < 3; i++)
			cancel_something(s);
}

static void again(exs_future *f, void *s)
{
	CHECK(exs_future_is_done(f));
	act(s, AGAIN_IN_CALLBACK);
}

static exs_result run_token(void *token, exs_context *ctx)
{
	struct token *t = token;

	(void)ctx;
	act(t->s, t->behaviour);
	CHECK(!atomic_exchange(&t->ran, true));
	return t->behaviour == FAILS ? exs_fail(exs_error_ref(t->error)) : exs_ok(t, NULL);
}

static bool has_future(void *token)
{
	return atomic_load(&((struct token *)token)->f);
}

/* A cancel that was asked for on the way from layer to layer may have come about afterwards. */
static void verify(struct token *t)
{
	exs_future *f = atomic_load(&t->f);
	exs_state state = exs_future_state(f);

	if (state == EXS_STATE_CANCELLED)
		CHECK(t->cancelled || (t->asked && (t->s->env->late || !t->ran)));
	else
		CHECK(t->ran && !t->cancelled);
	CHECK(state != EXS_STATE_VALUE || (exs_future_value(f) == t && t->behaviour != FAILS));
	CHECK(state != EXS_STATE_ERROR || (exs_future_error(f) == t->error && t->behaviour == FAILS));
	exs_future_unref(f);
	exs_error_unref(t->error);
}

OVER_MATRIX(more_executor, stress)
{
	struct stress *s = calloc(1, sizeof(*s));

	CHECK(s);
	s->env = env;
	for (int i = 0; i < FIRST; i++)
		submit_token(s);
	for (int i = 0; i < LIMIT; i++) {
		if (atomic_load(&s->n) <= (unsigned)i) /* they have cancelled each other */
			submit_token(s);
		wait_until(has_future, &s->tokens[i]);
		wait_done(atomic_load(&s->tokens[i].f));
	}
	CHECK_INT(exs_shutdown(env->ex, EXS_DRAIN, EXS_FOREVER), 0); /* the callbacks have run, too */
	for (int i = 0; i < LIMIT; i++)
		verify(&s->tokens[i]);
	free(s);
}
