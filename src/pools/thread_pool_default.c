/* The process's own thread pool: made for the first who asks, ended by the last who frees it. */
#include "pools/thread_pool.h"

/* lock guards it. No reference: the borrows' alone keep the pool, whose end takes it out of here before its memory goes. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static exs_executor *current;

void exsi_pool_forget(exs_executor *x)
{
	pthread_mutex_lock(&lock);
	if (current == x)
		current = NULL;
	pthread_mutex_unlock(&lock);
}

/* The pool as it is, with a reference; otherwise `made` takes its place. */
static exs_executor *current_or(exs_executor *made)
{
	pthread_mutex_lock(&lock);
	exs_executor *x = current && exsi_executor_try_ref(current) ? current : made;
	if (made && x == made)
		current = made;
	pthread_mutex_unlock(&lock);
	return x;
}

exs_executor *exs_thread_pool_default(void)
{
	exs_executor *made = NULL, *x = NULL;

	if (!exsi_forked())
		x = current_or(NULL);
	if (!x) {
		made = exs_thread_pool(0);
		x = made ? current_or(made) : NULL;
	}
	if (made && x != made)
		exsi_executor_unref(made); /* another thread was faster */
	exs_executor *borrow = exs_borrow(x);
	exsi_executor_unref(x);
	return borrow;
}
