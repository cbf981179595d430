/* Simulation: made and ended, chance, trace. */
#include "pools/sim.h"
#include "base/memory.h"

/* --- chance --- */

/* SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014). */
static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t draw(exs_sim *sim)
{
	sim->random += UINT64_C(0x9e3779b97f4a7c15);
	return mix(sim->random);
}

uint64_t exsi_sim_below(exs_sim *sim, uint64_t n)
{
	uint64_t uneven = UINT64_MAX % n, z; /* the last numbers, fewer than n, would come too often */

	do
		z = draw(sim);
	while (z > UINT64_MAX - uneven - 1);
	return z % n;
}

static double uniform(exs_sim *sim)
{
	return (double)(draw(sim) >> 11) / (double)(UINT64_C(1) << 53);
}

bool exsi_sim_fault(exs_sim *sim, double p)
{
	return p > 0 && !sim->faultless && uniform(sim) < p;
}

uint64_t exs_sim_random(exs_sim *sim, uint64_t n)
{
	if (!sim)
		return 0;
	uint64_t drawn = n ? exsi_sim_below(sim, n) : 0;
	exsi_sim_event(sim, EXS_SIM_DRAW, 0, NULL, drawn);
	return drawn;
}

double exs_sim_uniform(exs_sim *sim)
{
	if (!sim)
		return 0;
	double drawn = uniform(sim);
	exsi_sim_event(sim, EXS_SIM_DRAW, 0, NULL, (uint64_t)(drawn * (double)(UINT64_C(1) << 53)));
	return drawn;
}

bool exs_sim_chance(exs_sim *sim, double p)
{
	if (!sim)
		return false;
	bool drawn = uniform(sim) < p;
	exsi_sim_event(sim, EXS_SIM_DRAW, 0, NULL, drawn);
	return drawn;
}

/* --- what happens --- */

static const char *const names[] = {
	[EXS_SIM_QUEUED] = "queued",   [EXS_SIM_DELAYED] = "delayed",	  [EXS_SIM_RUN] = "run",
	[EXS_SIM_END] = "end",	       [EXS_SIM_FAIL] = "fail",		  [EXS_SIM_LOSE] = "lose",
	[EXS_SIM_CANCEL] = "cancel",   [EXS_SIM_TIMER] = "timer",	  [EXS_SIM_POLL] = "poll",
	[EXS_SIM_RELEASE] = "release", [EXS_SIM_NO_MEMORY] = "no memory", [EXS_SIM_STUCK] = "stuck",
	[EXS_SIM_DRAW] = "draw",       [EXS_SIM_NOTE] = "note",
};

const char *exs_sim_kind_name(exs_sim_kind kind)
{
	bool known = kind >= EXS_SIM_QUEUED && kind <= EXS_SIM_NOTE;

	return known ? names[kind] : "unknown";
}

static void digest(exs_sim *sim, uint64_t value)
{
	sim->digest = mix(sim->digest ^ (value + UINT64_C(0x9e3779b97f4a7c15)));
}

static void count(exs_sim_stats *s, exs_sim_kind kind, uint64_t detail)
{
	s->calls += kind == EXS_SIM_QUEUED;
	s->runs += kind == EXS_SIM_RUN;
	s->failed += kind == EXS_SIM_FAIL;
	s->lost += kind == EXS_SIM_LOSE;
	s->delayed += kind == EXS_SIM_DELAYED;
	s->cancelled += kind == EXS_SIM_CANCEL;
	s->no_memory += kind == EXS_SIM_NO_MEMORY;
	s->timers += kind == EXS_SIM_TIMER;
	s->polls += kind == EXS_SIM_POLL;
	s->stuck += kind == EXS_SIM_STUCK;
	s->inverted += kind == EXS_SIM_STUCK && detail == 1;
}

void exsi_sim_event(exs_sim *sim, exs_sim_kind kind, uint64_t call, const char *name, uint64_t detail)
{
	uint64_t now = exsi_clock_ns(sim->clock);
	exs_sim_event event = {sim->stats.steps, (double)now / 1e9, kind, call, name, detail};

	count(&sim->stats, kind, detail);
	digest(sim, (uint64_t)kind);
	digest(sim, call);
	digest(sim, detail);
	digest(sim, now);
	if (sim->trace)
		sim->trace(sim->trace_ctx, &event);
}

void exs_sim_trace(exs_sim *sim, exs_sim_trace_fn *fn, void *ctx)
{
	if (!sim)
		return;
	sim->trace = fn;
	sim->trace_ctx = ctx;
}

uint64_t exs_sim_digest(exs_sim *sim)
{
	return sim ? sim->digest : 0;
}

void exs_sim_note(exs_sim *sim, uint64_t value)
{
	if (sim)
		exsi_sim_event(sim, EXS_SIM_NOTE, 0, NULL, value);
}

void exs_sim_get_stats_sized(exs_sim *sim, exs_sim_stats *stats, size_t size)
{
	static const exs_sim_stats none;

	if (stats)
		exsi_fill_in(stats, size, sim ? &sim->stats : &none, sizeof(none));
}

exs_clock *exs_sim_clock(exs_sim *sim)
{
	return sim ? sim->clock : NULL;
}

static const char *describe(int code)
{
	static const char *const texts[] = {NULL, "failed by the simulation", "lost by the simulation"};

	return code == EXS_SIM_EFAILED || code == EXS_SIM_ELOST ? texts[code] : NULL;
}

const exs_domain exs_domain_sim = {sizeof(exs_domain), "sim", describe};

/* --- the turner's hooks --- */

static exs_sim *of(struct exsi_turner *turner)
{
	return EXSI_CONTAINER_OF(turner, exs_sim, turner);
}

static uint64_t sim_now(struct exsi_turner *turner)
{
	return exsi_clock_ns(of(turner)->clock);
}

static double sim_random(struct exsi_turner *turner)
{
	return uniform(of(turner));
}

static bool sim_no_memory(struct exsi_turner *turner)
{
	exs_sim *sim = of(turner);

	if (!sim->current->depth || !exsi_sim_fault(sim, sim->options.no_memory))
		return false;
	exsi_sim_event(sim, EXS_SIM_NO_MEMORY, 0, NULL, 0);
	return true;
}

/* --- made, ended --- */

/* Names the first that is no probability; makes EXS_NONE 0. */
static const char *check_probabilities(exs_sim_options *o)
{
	double *const all[] = {&o->fail, &o->lose, &o->cancel, &o->delay, &o->time, &o->no_memory};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		if (*all[i] == EXS_NONE)
			*all[i] = 0;
		if (!(*all[i] >= 0 && *all[i] <= 1))
			return "fail, lose, cancel, delay, time, no_memory: probabilities, 0 to 1";
	}
	return NULL;
}

static const char *check(exs_sim_options *o)
{
	uint64_t ns;

	o->max_delay = exsi_option_seconds(o->max_delay, 10.0);
	if (!exsi_duration(o->max_delay, &ns) || ns == EXSI_NEVER)
		return "max_delay: seconds, 0 or more, up to 9e9";
	if (!o->max_steps)
		o->max_steps = 1000000;
	else if (o->max_steps == EXS_UNLIMITED)
		o->max_steps = SIZE_MAX;
	return check_probabilities(o);
}

exs_sim *exs_sim_new_sized(uint64_t seed, const exs_sim_options *options, size_t size)
{
	exs_sim_options o;
	struct exsi_self *self = exsi_self();
	const char *wrong =
		exsi_options(&o, sizeof(o), options, size) ? check(&o) : "options that this library does not know";

	if (wrong)
		return exsi_fail_null(EXS_EINVAL, "exs_sim_new: %s", wrong);
	if (self->turner || self->worker)
		return exsi_fail_null(EXS_EBUSY, "exs_sim_new: this thread has a simulation, or is the library's");
	exs_sim *sim = exsi_zalloc(sizeof(*sim));
	exs_clock *clock = sim ? exs_clock_manual_new() : NULL;
	if (!clock) {
		exsi_free(sim);
		return exsi_fail_null(EXS_ENOMEM, "exs_sim_new: out of memory");
	}
	sim->turner = (struct exsi_turner){.until = exsi_sim_until,
					   .now = sim_now,
					   .random = sim_random,
					   .no_memory = sim_no_memory,
					   .clock = clock};
	sim->turner.chores.next = sim->turner.chores.prev = &sim->turner.chores;
	sim->seat.sim = sim;
	sim->current = &sim->seat;
	pthread_cond_init(&sim->seat.passed, NULL);
	pthread_mutex_init(&sim->baton, NULL);
	exsi_crew_init(&sim->crew);
	sim->refs = 1;
	sim->random = seed;
	sim->options = o;
	sim->clock = clock;
	sim->last_pool = &sim->pools;
	exsi_clock_set_turner(clock, &sim->turner);
	self->turner = &sim->turner;
	exsi_count_faulty(o.no_memory > 0);
	return sim;
}

void exsi_sim_unref(exs_sim *sim)
{
	if (--sim->refs)
		return;
	exs_clock_unref(sim->clock);
	exsi_crew_fini(&sim->crew);
	pthread_mutex_destroy(&sim->baton);
	pthread_cond_destroy(&sim->seat.passed);
	exsi_free(sim);
}

int exs_sim_free(exs_sim *sim)
{
	struct exsi_self *self = exsi_self();

	if (!sim)
		return EXS_OK;
	if (sim->current->depth || self->turner != &sim->turner)
		return exsi_fail(EXS_EBUSY, "exs_sim_free: within a step, or not on the simulation's thread");
	sim->faultless = true;
	exsi_sim_drop_plans(sim);
	int rc = exs_sim_run(sim);
	if (!rc && exs_quiesce(EXS_FOREVER))
		rc = EXS_EDEADLK;
	exsi_reap_none();
	if (!exsi_sim_end_threads(sim)) {
		sim->refs++; /* theirs, for ever */
		rc = EXS_EDEADLK;
	}
	exsi_clock_set_turner(sim->clock, NULL);
	exsi_count_faulty(-(sim->options.no_memory > 0));
	sim->over = true;
	self->turner = NULL;
	exsi_sim_unref(sim);
	return rc;
}
