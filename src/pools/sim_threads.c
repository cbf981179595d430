/* Simulation: threads that make its steps, so that a wait lets others go on instead of running them on top of itself. One has
   the baton and goes on, all others sleep; who waits passes it to one that makes steps, which passes it back. */
#include "base/memory.h"
#include "future/wait.h"
#include "pools/sim.h"

/* Sleeps until the baton comes; false: the thread is to end. */
static bool take_baton(struct exsi_sim_seat *me)
{
	exs_sim *sim = me->sim;

	pthread_mutex_lock(&sim->baton);
	while (sim->current != me && !sim->ends)
		pthread_cond_wait(&me->passed, &sim->baton);
	bool mine = sim->current == me;
	pthread_mutex_unlock(&sim->baton);
	return mine;
}

static void pass_baton(struct exsi_sim_seat *to)
{
	exs_sim *sim = to->sim;

	pthread_mutex_lock(&sim->baton);
	sim->current = to;
	pthread_cond_signal(&to->passed);
	pthread_mutex_unlock(&sim->baton);
}

static void make_steps(void *arg)
{
	struct exsi_sim_seat *me = arg;
	exs_sim *sim = me->sim;
	struct exsi_sim_wait *next;

	exsi_self()->turner = &sim->turner;
	while (take_baton(me)) {
		do {
			exsi_drain();
			exsi_sim_choose(sim, &next);
		} while (!next);
		me->next = sim->idle;
		sim->idle = me;
		sim->idles++;
		pass_baton(next->seat);
	}
	exsi_self()->turner = NULL;
	pthread_cond_destroy(&me->passed);
	exsi_free(me);
}

static struct exsi_sim_seat *new_seat(exs_sim *sim)
{
	struct exsi_sim_seat *seat = exsi_zalloc(sizeof(*seat));

	if (!seat)
		return NULL;
	seat->sim = sim;
	pthread_cond_init(&seat->passed, NULL);
	int rc = exsi_crew_start(&sim->crew, "exs-sim", 0, make_steps, seat);
	if (!rc) {
		sim->seats++;
		return seat;
	}
	exsi_log(EXS_LOG_WARNING, "", "simulation: no thread for a wait (error %d): it is made on top of another", rc);
	pthread_cond_destroy(&seat->passed);
	exsi_free(seat);
	return NULL;
}

static struct exsi_sim_seat *idle_seat(exs_sim *sim)
{
	struct exsi_sim_seat *seat = sim->idle;

	if (!seat)
		return new_seat(sim);
	sim->idle = seat->next;
	sim->idles--;
	return seat;
}

bool exsi_sim_let_go_on(exs_sim *sim)
{
	struct exsi_sim_seat *me = sim->current;
	bool before = sim->faultless;

	sim->faultless = true; /* the thread is none of the program's affairs */
	struct exsi_sim_seat *other = idle_seat(sim);
	sim->faultless = before;
	if (!other)
		return false;
	pass_baton(other);
	return take_baton(me);
}

bool exsi_sim_end_threads(exs_sim *sim)
{
	if (sim->idles < sim->seats)
		return false;
	pthread_mutex_lock(&sim->baton);
	sim->ends = true;
	for (struct exsi_sim_seat *seat = sim->idle; seat; seat = seat->next)
		pthread_cond_signal(&seat->passed);
	pthread_mutex_unlock(&sim->baton);
	exsi_crew_join(&sim->crew);
	return true;
}
