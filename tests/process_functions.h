/* What the tests of the process pool have in common: the program is its own worker, which has the functions of the
   table in process_functions.c; pools, of which nothing may be left; and what is said by workers. */
#ifndef TESTING_PROCESS_FUNCTIONS_H
#define TESTING_PROCESS_FUNCTIONS_H

#include "support.h"

extern const exs_domain known_domain; /* made known in parent and worker */

/* --- a pool, and what is left of it --- */

/* Notes what there is, and begins to remember the log (EXS_LOG_DEBUG). */
void processes_begin(void);

/* A pool of these options, not NULL, below exs_with_messages, whose inbox is the test's. */
exs_executor *processes(exs_process_pool_options options);
exs_executor *
heard(exs_executor *ex); /* ex below exs_with_messages: for one that is begun again there is a moment without a task */

/* Frees ex (NULL: there is none any more) and the inbox; waits until no thread, future, descriptor and child is left. */
void processes_end(exs_executor *ex);

/* --- said by workers, in their order --- */

const char *next_message(void); /* until the next call; NULL: there will be none */
void expect_message(const char *text);

/* Both, in either order. */
void expect_messages(const char *text, const char *other);
void expect_no_message(void); /* for now: after some time in which one could come */

/* --- calls --- */

exs_future *call(exs_executor *ex, const char *function, const char *input); /* never NULL */
exs_future *call_bytes(exs_executor *ex, const char *function, const void *input, size_t size);

/* Wait, check, drop the reference. */
void expect_text(exs_future *f, const char *text);
void expect_failure(exs_future *f, const exs_domain *domain, int code, const char *part_of_message);

/* Of one that runs: it may have ended by the time that it has been asked to. */
void cancel_running(exs_future *f);

/* What the call answers, until the next call of this thread. */
const char *text_of(exs_future *f);

exs_process_pool_stats process_stats(exs_executor *ex);

/* --- gates: functions that wait for the parent --- */

/* The path of a new one; functions wait until it is opened as often. processes_end removes it. */
const char *gate(void);
void gate_open(unsigned times);

/* The path of a file that does not exist; processes_end removes it. What is in it, until the next call: "" if it does not exist. */
const char *new_path(void);
const char *content(const char *path);

#endif
