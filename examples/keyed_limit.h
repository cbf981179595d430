/* A decorator of one's own: at most `limit` calls at a time for each key. */
#ifndef EXAMPLES_KEYED_LIMIT_H
#define EXAMPLES_KEYED_LIMIT_H

#include <executors/executors.h>

/* The key of a task, from its argument. Any thread. */
typedef uint64_t key_fn(void *arg);

/* Takes over ex, also on failure (NULL, exs_last_error); limit 0 and key NULL are EXS_EINVAL. Calls over the limit of their key wait, first come first served. */
exs_executor *with_keyed_limit(exs_executor *ex, unsigned limit, key_fn *key);

#endif
