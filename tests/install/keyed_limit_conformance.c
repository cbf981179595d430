/* examples/keyed_limit.c under the conformance suite, against an installed library: public headers only. */
#include "conformance.h"
#include "keyed_limit.h"

/* One key for all: the limit is shared by every call. */
static uint64_t one_key(void *arg)
{
	(void)arg;
	return 1;
}

/* A pool of threads, or the simulation's. */
static exs_executor *pool(unsigned workers)
{
	exs_sim *sim = conformance_sim();

	return sim ? exs_sim_pool(sim, workers) : exs_with_clock(exs_thread_pool(workers), conformance_clock());
}

static exs_executor *limited_pool(void)
{
	return with_keyed_limit(pool(4), 9, one_key);
}

static exs_executor *limited_inline(void)
{
	return with_keyed_limit(exs_with_clock(exs_inline(), conformance_clock()), 9, one_key);
}

static exs_executor *wrapped(void)
{
	exs_executor *ex = with_keyed_limit(pool(2), 12, one_key);

	return exs_with_timeout(conformance_poll(conformance_retry(ex, 2)), 2000);
}

const struct conformance_chain conformance_chains[] = {
	{"keyed_limit > thread_pool(4)", limited_pool, NULL, NULL, false},
	{"keyed_limit > inline", limited_inline, NULL, NULL, false},
	{"timeout > poll > retry > keyed_limit > thread_pool(2)", wrapped, NULL, NULL, false},
	{"keyed_limit > sim(4)", limited_pool, NULL, NULL, true},
	{"sim: keyed_limit > inline", limited_inline, NULL, NULL, true},
	{"timeout > poll > retry > keyed_limit > sim(2)", wrapped, NULL, NULL, true},
};
const size_t conformance_n = sizeof(conformance_chains) / sizeof(*conformance_chains);
