/* What is under way: the futures that are not done, one line each. */
#ifndef EXECUTORS_DUMP_H
#define EXECUTORS_DUMP_H

#include <executors/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Begins, or ends, to keep a list of the futures that are not done: off by default, and then it costs nothing. On, each future takes
   a further small allocation; one for which there is no memory is not listed. What was made before stays unknown, what is listed when
   it is switched off stays listed until it is done. MT-safe. */
EXS_API void exs_alive_enable(bool on);

/* Writes a line for each future in that list:

     pending 12.004s publish 20: attempt 2 of 3: timeout(30s) > retry(3) > thread_pool(4), at retry

   its state, the seconds since it was made (in a simulation, simulated ones), the name of its task ("task" if it has none), the executors below the one
   it was submitted to, and the one that holds it. Of futures that are no calls: "promise", "map" ... The state: pending, running; begun:
   its task was started in a call of its own, which has a line, too (a timeout in ABANDON mode); abandoned: such a call that nobody
   waits for any more. Control characters in names become '?'. The last line counts them. fn gets whole lines, under no lock, and may call
   anything. MT-safe: futures may be made and done meanwhile; each line is what was so at one moment. May run the hooks `describe` of
   layers. Answers false if fn did, or is NULL (exs_last_error). */
EXS_API bool exs_dump_alive(exs_write_fn *fn, void *ctx);

#ifdef __cplusplus
}
#endif
#endif
