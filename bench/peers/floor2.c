/* A reachable target, not a library: one malloc'd 64-byte node per future on one mutexed intrusive FIFO, batched take,
   at most one wake in flight (the woken worker wakes the next), optional short spin before sleeping (env SPIN = pauses), and COAL pauses between seeing the first task after a dry spell and taking.
   W5: intrusive continuations run by a trampoline. W8: intrusive MPSC completion stack. */
#include "../bench.h"
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
static void fwait(atomic_uint *a, unsigned v)
{
	syscall(SYS_futex, a, FUTEX_WAIT_PRIVATE, v, 0, 0, 0);
}
static void fwake(atomic_uint *a, int n)
{
	syscall(SYS_futex, a, FUTEX_WAKE_PRIVATE, n, 0, 0, 0);
}
#define pause_ __builtin_ia32_pause
typedef struct node {
	struct node *next;
	long (*fn)(long);
	long arg, result;
	_Atomic(struct node *) cont;
	atomic_uint state;
	atomic_int refs;
} node;
enum { PENDING, WAITER, DONE };
static int SPIN;
static char P[64];
/* QUEUE=mutex: producers and workers share one mutexed FIFO.
   QUEUE=stack: producers push on a lock-free stack (one CAS); a worker takes it whole, turns it to FIFO order into the shared
   ready list, and takes a batch from there. Only the push that finds the stack empty looks for a sleeper. */
static bool STACK;
static pthread_mutex_t qm = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
static node *qh, **qt = &qh;
static _Alignas(64) _Atomic(node *) in;
static _Alignas(64) atomic_uint qepoch;
static atomic_int qsleep;
static atomic_bool waking;
static bool qstop;
static _Alignas(64) atomic_long nlen; /* tells a spinning worker of work (mutex queue) */
#define BATCH 64
static void unref(node *t)
{
	if (atomic_load_explicit(&t->refs, memory_order_acquire) == 1 ||
	    atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
		free(t);
}
/* at most one wake in flight; every worker that leaves its sleep counts itself out under qm and clears the flag */
static void wake_one(void)
{
	if (atomic_load(&qsleep) > 0 && !atomic_exchange(&waking, true)) {
		atomic_fetch_add(&qepoch, 1);
		fwake(&qepoch, 1);
	}
}
static int COAL;
static void refill(void)
{
	if (!STACK || qh || !atomic_load_explicit(&in, memory_order_relaxed))
		return;
	node *h = atomic_exchange_explicit(&in, 0, memory_order_acquire), *r = 0, *last = h;
	while (h) {
		node *n = h->next;
		h->next = r;
		r = h;
		h = n;
	}
	if (r) {
		*qt = r;
		qt = &last->next;
	}
}
static void *fworker(void *x)
{
	(void)x;
	for (;;) {
		pthread_mutex_lock(&qm);
	again:
		refill();
		node *b = qh;
		bool more = false;
		if (b) {
			node *l = b;
			int k = 1;
			while (k < BATCH && l->next) {
				l = l->next;
				k++;
			}
			qh = l->next;
			if (!qh)
				qt = &qh;
			l->next = 0;
			more = qh != 0;
			if (!more)
				atomic_store_explicit(&nlen, 0, memory_order_relaxed);
		} else if (qstop) {
			pthread_mutex_unlock(&qm);
			return 0;
		} else {
			if (SPIN) {
				pthread_mutex_unlock(&qm);
				for (int i = 0; i < SPIN; i++) {
					pause_();
					if (STACK ? atomic_load_explicit(&in, memory_order_relaxed) != 0
						  : atomic_load_explicit(&nlen, memory_order_relaxed) != 0) {
						for (int j = 0; j < COAL; j++)
							pause_();
						break;
					}
				}
				pthread_mutex_lock(&qm);
				refill();
				if (qh || qstop)
					goto again;
			}
			unsigned e = atomic_load(&qepoch);
			atomic_fetch_add(&qsleep, 1);
			atomic_store(&waking, false);
			if (STACK && atomic_load(&in)) {
				atomic_fetch_sub(&qsleep, 1);
				goto again;
			}
			pthread_mutex_unlock(&qm);
			while (atomic_load(&qepoch) == e)
				fwait(&qepoch, e);
			pthread_mutex_lock(&qm);
			atomic_fetch_sub(&qsleep, 1);
			atomic_store(&waking, false);
			goto again;
		}
		pthread_mutex_unlock(&qm);
		if (more)
			wake_one();
		while (b) {
			node *nx = b->next;
			b->result = b->fn(b->arg);
			if (atomic_exchange_explicit(&b->state, DONE, memory_order_acq_rel) == WAITER)
				fwake(&b->state, 99);
			unref(b);
			b = nx;
		}
	}
}
static node *mk(long (*fn)(long), long arg)
{
	node *t = malloc(sizeof *t);
	t->next = 0;
	t->fn = fn;
	t->arg = arg;
	atomic_init(&t->cont, 0);
	atomic_init(&t->state, PENDING);
	atomic_init(&t->refs, 2);
	return t;
}
static node *sub(long (*fn)(long), long arg)
{
	node *t = mk(fn, arg);
	if (STACK) {
		node *h = atomic_load_explicit(&in, memory_order_relaxed);
		do
			t->next = h;
		while (!atomic_compare_exchange_weak(&in, &h, t));
		if (!h)
			wake_one();
		return t;
	}
	pthread_mutex_lock(&qm);
	*qt = t;
	qt = &t->next;
	atomic_store_explicit(&nlen, 1, memory_order_relaxed);
	bool w = atomic_load_explicit(&qsleep, memory_order_relaxed) > 0;
	pthread_mutex_unlock(&qm);
	if (w)
		wake_one();
	return t;
}
static long get(node *t)
{
	unsigned s = atomic_load_explicit(&t->state, memory_order_acquire);
	for (int i = 0; s != DONE && i < SPIN; i++) {
		pause_();
		s = atomic_load_explicit(&t->state, memory_order_acquire);
	}
	while (s != DONE) {
		unsigned z = PENDING;
		if (s == WAITER || atomic_compare_exchange_strong(&t->state, &z, WAITER))
			fwait(&t->state, WAITER);
		s = atomic_load_explicit(&t->state, memory_order_acquire);
	}
	return t->result;
}
static long ident(long a)
{
	return a;
}
static long inc(long a)
{
	return a + 1;
}
static pthread_barrier_t bar;
static void *prod(void *x)
{
	long n = (long)x;
	node **v = malloc(n * sizeof *v);
	pthread_barrier_wait(&bar);
	for (long i = 0; i < n; i++)
		v[i] = sub(ident, i);
	long s = 0;
	for (long i = 0; i < n; i++)
		s += get(v[i]);
	if (s != n * (n - 1) / 2)
		abort();
	pthread_barrier_wait(&bar);
	for (long i = 0; i < n; i++)
		unref(v[i]);
	free(v);
	return 0;
}
/* W5: a chain; cont==DONE_MARK tells that the node has a result */
#define MARK ((node *)1)
static void complete(node *t, long r)
{ /* runs what follows in a loop, not by recursion */
	while (t) {
		t->result = r;
		node *c = atomic_exchange_explicit(&t->cont, MARK, memory_order_acq_rel);
		if (atomic_exchange_explicit(&t->state, DONE, memory_order_acq_rel) == WAITER)
			fwake(&t->state, 99);
		unref(t);
		if (!c)
			return;
		r = c->fn(r);
		t = c;
	}
}
static node *then(node *t, long (*fn)(long))
{
	node *c = mk(fn, 0);
	node *z = 0;
	if (!atomic_compare_exchange_strong(&t->cont, &z, c))
		complete(c, fn(t->result));
	return c;
}
/* W8 */
static _Atomic(node *) cq;
static atomic_uint cqw;
static node **pv;
static uint32_t *ord;
static void *completer(void *x)
{
	long k = (long)x;
	pthread_barrier_wait(&bar);
	for (long i = k; i < OPS8; i += 2) {
		node *t = pv[ord[i]];
		t->result = ord[i];
		atomic_store_explicit(&t->state, DONE, memory_order_release);
		node *h = atomic_load_explicit(&cq, memory_order_relaxed);
		do
			t->next = h == MARK ? 0 : h;
		while (!atomic_compare_exchange_weak_explicit(&cq, &h, t, memory_order_acq_rel, memory_order_relaxed));
		if (h == MARK) {
			atomic_store(&cqw, 1);
			fwake(&cqw, 1);
		}
	}
	return 0;
}
static node *cq_take(void)
{
	for (;;) {
		node *h = atomic_exchange_explicit(&cq, 0, memory_order_acquire);
		if (h && h != MARK) {
			node *r = 0;
			while (h) {
				node *n = h->next;
				h->next = r;
				r = h;
				h = n;
			}
			return r;
		}
		for (int i = 0; i < SPIN; i++) {
			pause_();
			if (atomic_load_explicit(&cq, memory_order_relaxed))
				break;
		}
		node *z = 0;
		atomic_store(&cqw, 0);
		if (atomic_compare_exchange_strong(&cq, &z, MARK))
			while (!atomic_load(&cqw))
				fwait(&cqw, 0);
	}
}
int main(int c, char **v)
{
	const char *w = c > 1 ? v[1] : "W1";
	const char *e = getenv("SPIN");
	SPIN = e ? atoi(e) : 0;
	const char *q = getenv("QUEUE");
	const char *co = getenv("COAL");
	COAL = co ? atoi(co) : 0;
	STACK = q && !strcmp(q, "stack");
	snprintf(P, sizeof P, COAL ? "floor2_%s_spin%d_coal%d" : "floor2_%s_spin%d", STACK ? "stack" : "mutex", SPIN,
		 COAL);
	pthread_t t[2];
	for (int i = 0; i < 2; i++)
		pthread_create(t + i, 0, fworker, 0);
	if (!strcmp(w, "W1"))
		for (int r = 0; r < 3; r++) {
			reset_hwm();
			long base = vm_kb("VmRSS");
			uint64_t a = now_ns();
			node **h = malloc(OPS1 * sizeof *h);
			for (long i = 0; i < OPS1; i++)
				h[i] = sub(ident, i);
			uint64_t m = now_ns();
			long s = 0;
			for (long i = 0; i < OPS1; i++)
				s += get(h[i]);
			uint64_t b = now_ns();
			if (s != OPS1 * (OPS1 - 1) / 2)
				abort();
			long hw = vm_kb("VmHWM");
			uint64_t c0 = now_ns();
			for (long i = 0; i < OPS1; i++)
				unref(h[i]);
			uint64_t d = now_ns();
			free(h);
			if (r != 1)
				emit(P, r ? "W1w" : "W1", OPS1, (double)(b - a) / OPS1,
				     ",\"submit_ns\":%.1f,\"release_ns\":%.1f,\"rss_per_op\":%.1f",
				     (double)(m - a) / OPS1, (double)(d - c0) / OPS1, (hw - base) * 1024.0 / OPS1);
		}
	if (!strcmp(w, "W2")) {
		uint32_t *s = malloc(OPS2 * sizeof *s);
		for (long i = 0; i < OPS2; i++) {
			uint64_t a = now_ns();
			node *f = sub(ident, i);
			get(f);
			unref(f);
			s[i] = now_ns() - a;
		}
		emit_lat(P, "W2", s, OPS2);
	}
	if (!strcmp(w, "W4"))
		for (int r = 0; r < 2; r++) {
			pthread_barrier_init(&bar, 0, 5);
			pthread_t p[4];
			for (int i = 0; i < 4; i++)
				pthread_create(p + i, 0, prod, (void *)(OPS1 / 4));
			pthread_barrier_wait(&bar);
			uint64_t a = now_ns();
			pthread_barrier_wait(&bar);
			uint64_t b = now_ns();
			for (int i = 0; i < 4; i++)
				pthread_join(p[i], 0);
			emit(P, r ? "W4w" : "W4", OPS1, (double)(b - a) / OPS1, "");
		}
	if (!strcmp(w, "W5"))
		for (int r = 0; r < 3; r++) {
			uint64_t a = now_ns();
			node *g = mk(inc, 0), *p = g;
			for (long i = 0; i < OPS5; i++) {
				node *q = then(p, inc);
				if (p != g)
					unref(p);
				p = q;
			}
			uint64_t m = now_ns();
			complete(g, 0);
			long x = get(p);
			uint64_t b = now_ns();
			if (x != OPS5)
				abort();
			unref(p);
			unref(g);
			if (r == 2)
				emit(P, "W5", OPS5, (double)(b - a) / OPS5, ",\"build_ns\":%.1f,\"run_ns\":%.1f",
				     (double)(m - a) / OPS5, (double)(b - m) / OPS5);
		}
	if (!strcmp(w, "W7")) {
		get(sub(ident, 1));
		idle5(P);
	}
	if (!strcmp(w, "W8")) {
		ord = malloc(OPS8 * 4);
		shuffle(ord, OPS8);
		for (int r = 0; r < 3; r++) {
			pv = malloc(OPS8 * sizeof *pv);
			for (long i = 0; i < OPS8; i++)
				pv[i] = mk(ident, i);
			pthread_barrier_init(&bar, 0, 3);
			pthread_t p[2];
			for (long i = 0; i < 2; i++)
				pthread_create(p + i, 0, completer, (void *)i);
			pthread_barrier_wait(&bar);
			uint64_t a = now_ns();
			long s = 0;
			for (long k = 0; k < OPS8;) {
				node *l = cq_take();
				while (l) {
					node *n = l->next;
					s += l->result;
					l = n;
					k++;
				}
			}
			uint64_t b = now_ns();
			for (int i = 0; i < 2; i++)
				pthread_join(p[i], 0);
			if (s != OPS8 * (OPS8 - 1) / 2)
				abort();
			for (long i = 0; i < OPS8; i++)
				free(pv[i]);
			free(pv);
			if (r == 2)
				emit(P, "W8", OPS8, (double)(b - a) / OPS8, ",\"variant\":\"promises\"");
		}
	}
	pthread_mutex_lock(&qm);
	qstop = true;
	atomic_fetch_add(&qepoch, 1);
	pthread_mutex_unlock(&qm);
	fwake(&qepoch, 99);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], 0);
	return 0;
}
