/* A decorator for tests, written against the public headers only: at most so many calls below it at a time, the others wait,
   first in, first out. */
#ifndef LIMIT_H
#define LIMIT_H

#include <executors/executors.h>

/* Takes ex over, also on failure; NULL in gives NULL out. */
exs_executor *limit_new(exs_executor *ex, unsigned most);

#endif
