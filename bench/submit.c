/* What does a submit cost? Bare and through layers, beside a plain queue of malloc'd nodes under a mutex (no results kept per
   call, no cancel, no layers). Each pair runs in turn, five times; medians and their ratio to the plain queue are printed. */
#include <executors/executors.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 500000, ROUNDS = 5, WORKERS = 2 };

static double now(void)
{
	return exs_clock_now(NULL) * 1e9;
}

/* --- the plain queue --- */

struct node {
	struct node *next;
	long result;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER, finished = PTHREAD_COND_INITIALIZER;
static struct node *head, **tail = &head;
static size_t done;
static bool stop;

static void *plain_worker(void *arg)
{
	pthread_mutex_lock(&lock);
	for (;;) {
		struct node *n = head;
		if (!n && stop)
			break;
		if (!n) {
			pthread_cond_wait(&work, &lock);
			continue;
		}
		head = n->next;
		if (!head)
			tail = &head;
		pthread_mutex_unlock(&lock);
		free(n);
		pthread_mutex_lock(&lock);
		if (++done == N)
			pthread_cond_signal(&finished);
	}
	pthread_mutex_unlock(&lock);
	return arg;
}

static double plain(exs_executor *unused)
{
	double begin = now();

	(void)unused;
	done = 0;
	for (size_t i = 0; i < N; i++) {
		struct node *n = malloc(sizeof(*n));
		if (!n)
			return 0;
		*n = (struct node){.next = NULL};
		pthread_mutex_lock(&lock);
		*tail = n;
		tail = &n->next;
		pthread_cond_signal(&work);
		pthread_mutex_unlock(&lock);
	}
	pthread_mutex_lock(&lock);
	while (done < N)
		pthread_cond_wait(&finished, &lock);
	pthread_mutex_unlock(&lock);
	return (now() - begin) / N;
}

/* --- ours --- */

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static double submit_all(exs_executor *ex)
{
	static exs_future *futures[N];
	double begin = now();

	for (size_t i = 0; i < N; i++)
		futures[i] = exs_submit(ex, nothing, NULL);
	for (size_t i = 0; i < N; i++)
		exs_future_wait(futures[i], EXS_FOREVER);
	double ns = (now() - begin) / N;
	for (size_t i = 0; i < N; i++)
		exs_future_unref(futures[i]);
	return ns;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void compare(const char *what, exs_executor *ex)
{
	double ours[ROUNDS], theirs[ROUNDS];

	for (int r = -1; r < ROUNDS; r++) { /* the first round warms up */
		double p = plain(NULL), o = submit_all(ex);
		if (r >= 0) {
			theirs[r] = p;
			ours[r] = o;
		}
	}
	qsort(ours, ROUNDS, sizeof(*ours), ascending);
	qsort(theirs, ROUNDS, sizeof(*theirs), ascending);
	printf("%-40s %6.0f ns (%.0f to %.0f)   plain queue %6.0f ns   ratio %.2f\n", what, ours[ROUNDS / 2], ours[0],
	       ours[ROUNDS - 1], theirs[ROUNDS / 2], ours[ROUNDS / 2] / theirs[ROUNDS / 2]);
	exs_executor_free(ex);
}

int main(void)
{
	pthread_t workers[WORKERS];

	for (int i = 0; i < WORKERS; i++)
		if (pthread_create(&workers[i], NULL, plain_worker, NULL))
			return 1;
	printf("submit, wait and read %d calls that do nothing, %d workers; medians of %d\n", N, WORKERS, ROUNDS);
	compare("thread_pool", exs_thread_pool(WORKERS));
	compare("retry > thread_pool", exs_with_retry(exs_thread_pool(WORKERS), NULL));
	compare("timeout > retry > thread_pool", exs_with_timeout(exs_with_retry(exs_thread_pool(WORKERS), NULL), 60));
	compare("timeout (abandon) > thread_pool", exs_with_timeout_mode(exs_thread_pool(WORKERS), 60, EXS_ABANDON));
	compare("inline", exs_inline());
	pthread_mutex_lock(&lock);
	stop = true;
	pthread_cond_broadcast(&work);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	return 0;
}
