/* Registry: the functions that this process knows by a name, for ever. */
#include "base/memory.h"
#include "base/sync.h"
#include "future/error.h"
#include "process/invocation.h"

#include <string.h>

enum { BUCKETS = 256 };

/* Constant once it is in its bucket, and never freed: so who looks takes no lock. */
struct entry {
	struct entry *next;
	exs_registered_fn *fn;
	char name[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of who adds */
static struct entry *_Atomic buckets[BUCKETS];

/* FNV-1a. */
static unsigned bucket_of(const char *name)
{
	uint32_t hash = 2166136261u;

	while (*name)
		hash = (hash ^ (unsigned char)*name++) * 16777619u;
	return (hash ^ hash >> 16) % BUCKETS;
}

static struct entry *find(unsigned bucket, const char *name)
{
	/* Acquire: pairs with the release in add. */
	struct entry *e = atomic_load_explicit(&buckets[bucket], memory_order_acquire);

	while (e && strcmp(e->name, name) != 0)
		e = e->next;
	return e;
}

bool exsi_is_function_name(const char *name)
{
	return name && *name && strlen(name) <= EXSI_FUNCTION_NAME;
}

/* Answers what is known by that name from now on. */
static exs_registered_fn *add(struct entry *e)
{
	unsigned bucket = bucket_of(e->name);

	pthread_mutex_lock(&lock);
	struct entry *known = find(bucket, e->name);
	if (!known) {
		e->next = atomic_load_explicit(&buckets[bucket], memory_order_relaxed); /* the lock orders it */
		atomic_store_explicit(&buckets[bucket], e, memory_order_release);	/* pairs with find's acquire */
	}
	pthread_mutex_unlock(&lock);
	if (!known)
		return e->fn;
	exsi_free(e);
	return known->fn;
}

int exs_register(const char *name, exs_registered_fn *fn)
{
	if (!fn || !exsi_is_function_name(name))
		return exsi_fail(EXS_EINVAL, "exs_register: %s", fn ? "a name must have 1 to 255 bytes" : "fn is NULL");
	exs_registered_fn *known = exs_registered(name);
	size_t size = strlen(name) + 1;
	struct entry *e = known ? NULL : exsi_alloc(sizeof(*e) + size);
	if (!known && !e)
		return exsi_fail(EXS_ENOMEM, "exs_register: out of memory");
	if (e) {
		e->fn = fn;
		memcpy(e->name, name, size);
		known = add(e);
	}
	if (known == fn)
		return EXS_OK;
	return exsi_fail(EXS_EINVAL, "exs_register: \"%s\" is another function already", name);
}

exs_registered_fn *exs_registered(const char *name)
{
	struct entry *e = name ? find(bucket_of(name), name) : NULL;

	return e ? e->fn : NULL;
}
