/* Threads: how long one spins before it sleeps. */
#include "base/cores.h"
#include "base/thread.h"
#include "harness.h"

static bool count_looks(void *looks)
{
	++*(unsigned *)looks;
	return false;
}

static unsigned looks_of_a_spin(void)
{
	struct exsi_patience patience = {.lost = false};
	unsigned looks = 0;

	CHECK(!exsi_spin(&patience, count_looks, &looks));
	return looks;
}

TEST(thread, no_spin_while_other_processes_need_the_processors)
{
	enum { MANY = 1 << 20 }; /* more than any machine has processors */
	unsigned before = looks_of_a_spin();

	exsi_spin_beside(MANY);
	CHECK_INT(looks_of_a_spin(), 1);
	exsi_spin_beside(-MANY);
	CHECK_INT(looks_of_a_spin(), before);
	if (exsi_cores() > 1)
		CHECK(before > 1);
}
