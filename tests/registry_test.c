/* Registry: functions by name. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static exs_result one(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	return exs_ok(NULL, NULL);
}

static exs_result other(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	return exs_cancelled();
}

TEST(registry, is_found_by_its_name)
{
	char name[] = "registry.one";

	CHECK(!exs_registered(name));
	CHECK_INT(exs_register(name, one), EXS_OK);
	CHECK_INT(exs_register("registry.other", other), EXS_OK);
	name[0] = 'R'; /* it was copied */
	CHECK(!exs_registered(name));
	CHECK(exs_registered("registry.one") == one);
	CHECK(exs_registered("registry.other") == other);
	CHECK(!exs_registered("registry.on"));
	CHECK(!exs_registered("registry.one."));
}

TEST(registry, the_same_again_is_allowed_another_is_not)
{
	CHECK_INT(exs_register("registry.twice", one), EXS_OK);
	CHECK_INT(exs_register("registry.twice", one), EXS_OK);
	CHECK_INT(exs_register("registry.twice", other), EXS_EINVAL);
	CHECK(strstr(exs_error_message(exs_last_error()), "registry.twice"));
	CHECK(exs_registered("registry.twice") == one);
}

TEST(registry, misuse)
{
	char name[257];

	memset(name, 'a', 256);
	name[256] = '\0';
	CHECK_INT(exs_register(NULL, one), EXS_EINVAL);
	CHECK_INT(exs_register("", one), EXS_EINVAL);
	CHECK_INT(exs_register(name, one), EXS_EINVAL);
	CHECK_INT(exs_register("registry.null", NULL), EXS_EINVAL);
	CHECK(!exs_registered("registry.null"));
	CHECK(!exs_registered(NULL));
	CHECK(!exs_registered(""));
	name[255] = '\0';
	CHECK_INT(exs_register(name, one), EXS_OK);
	CHECK(exs_registered(name) == one);
}

static void *no_memory(size_t size)
{
	(void)size;
	return NULL;
}

TEST(registry, without_memory)
{
	exs_allocator none = {no_memory, free};

	exs_set_allocator(&none);
	CHECK_INT(exs_register("registry.memory", one), EXS_ENOMEM);
	exs_set_allocator(NULL);
	CHECK(!exs_registered("registry.memory"));
	CHECK_INT(exs_register("registry.memory", one), EXS_OK);
}

enum { NAMES = 1000 };

/* Of a thread: all of them, which the others register, too; each is found from then on. */
static void *register_many(void *fn)
{
	exs_registered_fn *mine = *(exs_registered_fn **)fn;
	char name[32];
	long mine_are = 0;

	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "registry.%d", i);
		int rc = exs_register(name, mine);
		exs_registered_fn *known = exs_registered(name);
		CHECK(known && (rc == EXS_OK) == (known == mine));
		mine_are += known == mine;
	}
	return (void *)mine_are;
}

TEST(registry, many_by_many_threads)
{
	static exs_registered_fn *fns[] = {one, other, one, other};
	pthread_t threads[4];
	void *n[4];

	for (int i = 0; i < 4; i++)
		threads[i] = thread_start(register_many, &fns[i]);
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(threads[i], &n[i]));
	CHECK_INT((long)n[0], (long)n[2]);
	CHECK_INT((long)n[1], (long)n[3]);
	CHECK_INT((long)n[0] + (long)n[1], NAMES);
}
