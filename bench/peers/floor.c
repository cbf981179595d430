/* Physical floor on this machine: primitives, a futures-less ring pool, and a minimal future on a locked queue. */
#include "../bench.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
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
static inline void pause_(void)
{
	__builtin_ia32_pause();
}
static const char *P = "floor";

/* ---- primitives ---- */
static void prim(void)
{
	long n = 50000000;
	uint64_t a, b;
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	a = now_ns();
	for (long i = 0; i < n; i++) {
		pthread_mutex_lock(&m);
		__asm__ volatile("" ::: "memory");
		pthread_mutex_unlock(&m);
	}
	b = now_ns();
	emit(P, "mutex_lock_unlock", n, (double)(b - a) / n, "");
	static atomic_long c;
	a = now_ns();
	for (long i = 0; i < n; i++)
		atomic_fetch_add_explicit(&c, 1, memory_order_relaxed);
	b = now_ns();
	emit(P, "atomic_rmw", n, (double)(b - a) / n, "");
	n = 20000000;
	a = now_ns();
	for (long i = 0; i < n; i++) {
		void *p = malloc(64);
		__asm__ volatile("" ::"r"(p) : "memory");
		free(p);
	}
	b = now_ns();
	emit(P, "malloc_free_64", n, (double)(b - a) / n, "");
	n = 1000000;
	void **v = malloc(n * sizeof *v);
	for (int r = 0; r < 3; r++) {
		a = now_ns();
		for (long i = 0; i < n; i++) {
			v[i] = malloc(64);
			*(long *)v[i] = i;
		}
		uint64_t m1 = now_ns();
		for (long i = 0; i < n; i++)
			free(v[i]);
		b = now_ns();
		if (r != 1)
			emit(P, r ? "malloc64_batch_warm" : "malloc64_batch_cold", n, (double)(b - a) / n,
			     ",\"alloc_ns\":%.2f,\"free_ns\":%.2f", (double)(m1 - a) / n, (double)(b - m1) / n);
	}
	n = 20000000;
	a = now_ns();
	for (long i = 0; i < n; i++)
		(void)now_ns();
	b = now_ns();
	emit(P, "clock_gettime", n, (double)(b - a) / n, "");
	n = 2000000;
	a = now_ns();
	for (long i = 0; i < n; i++)
		syscall(SYS_getppid);
	b = now_ns();
	emit(P, "syscall_getppid", n, (double)(b - a) / n, "");
	static atomic_uint fx;
	a = now_ns();
	for (long i = 0; i < n; i++)
		fwake(&fx, 1);
	b = now_ns();
	emit(P, "futex_wake_nobody", n, (double)(b - a) / n, "");
}
static void *sleeper(void *x)
{
	(void)x;
	for (;;)
		pause();
	return 0;
}
/* the same primitives once a second thread exists (glibc drops its single-thread short cuts) */
static void prim_mt(void)
{
	pthread_t t;
	pthread_create(&t, 0, sleeper, 0);
	long n = 50000000;
	uint64_t a, b;
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	a = now_ns();
	for (long i = 0; i < n; i++) {
		pthread_mutex_lock(&m);
		__asm__ volatile("" ::: "memory");
		pthread_mutex_unlock(&m);
	}
	b = now_ns();
	emit(P, "mt_mutex_lock_unlock", n, (double)(b - a) / n, "");
	n = 20000000;
	a = now_ns();
	for (long i = 0; i < n; i++) {
		void *p = malloc(64);
		__asm__ volatile("" ::"r"(p) : "memory");
		free(p);
	}
	b = now_ns();
	emit(P, "mt_malloc_free_64", n, (double)(b - a) / n, "");
	n = 1000000;
	void **v = malloc(n * sizeof *v);
	for (int r = 0; r < 3; r++) {
		a = now_ns();
		for (long i = 0; i < n; i++) {
			v[i] = malloc(64);
			*(long *)v[i] = i;
		}
		uint64_t m1 = now_ns();
		for (long i = 0; i < n; i++)
			free(v[i]);
		b = now_ns();
		if (r != 1)
			emit(P, r ? "mt_malloc64_batch_warm" : "mt_malloc64_batch_cold", n, (double)(b - a) / n,
			     ",\"alloc_ns\":%.2f,\"free_ns\":%.2f", (double)(m1 - a) / n, (double)(b - m1) / n);
	}
	long sz = 256l << 20;
	char *x = malloc(sz);
	a = now_ns();
	for (long i = 0; i < sz; i += 4096)
		x[i] = 1;
	b = now_ns();
	emit(P, "page_fault_4k", sz / 4096, (double)(b - a) / (sz / 4096), "");
}
/* ---- two threads ---- */
static atomic_uint pp;
static long ppn;
static void *ppthr(void *x)
{
	(void)x;
	for (long i = 0; i < ppn; i++) {
		while (atomic_load(&pp) != 1)
			fwait(&pp, 0);
		atomic_store(&pp, 0);
		fwake(&pp, 1);
	}
	return 0;
}
static void futex_pp(void)
{
	ppn = OPS2;
	pthread_t t;
	uint32_t *s = malloc(OPS2 * sizeof *s);
	pthread_create(&t, 0, ppthr, 0);
	for (long i = 0; i < ppn; i++) {
		uint64_t a = now_ns();
		atomic_store(&pp, 1);
		fwake(&pp, 1);
		while (atomic_load(&pp) != 0)
			fwait(&pp, 1);
		s[i] = now_ns() - a;
	}
	pthread_join(t, 0);
	emit_lat(P, "futex_pingpong", s, OPS2);
}
static void pin(int c)
{
	cpu_set_t s;
	CPU_ZERO(&s);
	CPU_SET(c, &s);
	sched_setaffinity(0, sizeof s, &s);
}
static int pinto = -1;
static void *ppthr1(void *x)
{
	pin(pinto);
	return ppthr(x);
}
static void futex_pp_pinned(int same)
{
	ppn = OPS2;
	pthread_t t;
	uint32_t *s = malloc(OPS2 * sizeof *s);
	pin(0);
	pinto = same ? 0 : 1;
	pthread_create(&t, 0, ppthr1, 0);
	for (long i = 0; i < ppn; i++) {
		uint64_t a = now_ns();
		atomic_store(&pp, 1);
		fwake(&pp, 1);
		while (atomic_load(&pp) != 0)
			fwait(&pp, 1);
		s[i] = now_ns() - a;
	}
	pthread_join(t, 0);
	emit_lat(P, same ? "futex_pingpong_same_core" : "futex_pingpong_two_cores", s, OPS2);
	cpu_set_t f;
	CPU_ZERO(&f);
	CPU_SET(0, &f);
	CPU_SET(1, &f);
	sched_setaffinity(0, sizeof f, &f);
}
static void *spthr(void *x)
{
	(void)x;
	for (long i = 0; i < ppn; i++) {
		while (atomic_load_explicit(&pp, memory_order_acquire) != 1)
			pause_();
		atomic_store_explicit(&pp, 0, memory_order_release);
	}
	return 0;
}
static void spin_pp(void)
{
	ppn = 1000000;
	pthread_t t;
	atomic_store(&pp, 0);
	uint32_t *s = malloc(ppn * sizeof *s);
	pthread_create(&t, 0, spthr, 0);
	for (long i = 0; i < ppn; i++) {
		uint64_t a = now_ns();
		atomic_store_explicit(&pp, 1, memory_order_release);
		while (atomic_load_explicit(&pp, memory_order_acquire) != 0)
			pause_();
		s[i] = now_ns() - a;
	}
	pthread_join(t, 0);
	emit_lat(P, "spin_pingpong", s, ppn);
}
static atomic_long shared_c;
static void *cthr(void *x)
{
	(void)x;
	for (long i = 0; i < 10000000; i++)
		atomic_fetch_add(&shared_c, 1);
	return 0;
}
static void contended(void)
{
	pthread_t t[2];
	uint64_t a = now_ns();
	for (int i = 0; i < 2; i++)
		pthread_create(t + i, 0, cthr, 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], 0);
	emit(P, "atomic_rmw_2threads", 20000000, (double)(now_ns() - a) / 20000000, "");
}
static void *nothing(void *x)
{
	return x;
}
static void thr(void)
{
	long n = 20000;
	uint64_t a = now_ns();
	for (long i = 0; i < n; i++) {
		pthread_t t;
		pthread_create(&t, 0, nothing, 0);
		pthread_join(t, 0);
	}
	emit(P, "pthread_create_join", n, (double)(now_ns() - a) / n, "");
}

/* ---- bounded MPMC ring (Vyukov) + futex pool, no futures ---- */
#define RCAP (1u << 12)
typedef void (*fn_t)(void *);
typedef struct {
	_Alignas(32) atomic_ulong seq;
	fn_t fn;
	void *arg;
} cell;
static cell ring[RCAP];
static _Alignas(64) atomic_ulong head;
static _Alignas(64) atomic_ulong tail;
static _Alignas(64) atomic_uint epoch;
static _Alignas(64) atomic_int sleepers;
static atomic_bool stop_;
static _Alignas(64) atomic_long done_;
static atomic_uint done_w;
static long goal;
static bool rpush(fn_t f, void *a)
{
	unsigned long p = atomic_load_explicit(&tail, memory_order_relaxed);
	for (;;) {
		cell *c = &ring[p & (RCAP - 1)];
		unsigned long s = atomic_load_explicit(&c->seq, memory_order_acquire);
		long d = (long)(s - p);
		if (d == 0) {
			if (atomic_compare_exchange_weak_explicit(&tail, &p, p + 1, memory_order_relaxed,
								  memory_order_relaxed)) {
				c->fn = f;
				c->arg = a;
				atomic_store_explicit(&c->seq, p + 1, memory_order_release);
				return true;
			}
		} else if (d < 0)
			return false;
		else
			p = atomic_load_explicit(&tail, memory_order_relaxed);
	}
}
static bool rpop(fn_t *f, void **a)
{
	unsigned long p = atomic_load_explicit(&head, memory_order_relaxed);
	for (;;) {
		cell *c = &ring[p & (RCAP - 1)];
		unsigned long s = atomic_load_explicit(&c->seq, memory_order_acquire);
		long d = (long)(s - (p + 1));
		if (d == 0) {
			if (atomic_compare_exchange_weak_explicit(&head, &p, p + 1, memory_order_relaxed,
								  memory_order_relaxed)) {
				*f = c->fn;
				*a = c->arg;
				atomic_store_explicit(&c->seq, p + RCAP, memory_order_release);
				return true;
			}
		} else if (d < 0)
			return false;
		else
			p = atomic_load_explicit(&head, memory_order_relaxed);
	}
}
static void *rworker(void *x)
{
	(void)x;
	fn_t f;
	void *a;
	for (;;) {
		if (rpop(&f, &a)) {
			f(a);
			continue;
		}
		bool got = false;
		for (int i = 0; i < 50 && !got; i++) {
			pause_();
			got = rpop(&f, &a);
		}
		if (got) {
			f(a);
			continue;
		}
		atomic_fetch_add(&sleepers, 1);
		unsigned e = atomic_load(&epoch);
		if (rpop(&f, &a)) {
			atomic_fetch_sub(&sleepers, 1);
			f(a);
			continue;
		}
		if (atomic_load(&stop_)) {
			atomic_fetch_sub(&sleepers, 1);
			return 0;
		}
		fwait(&epoch, e);
		atomic_fetch_sub(&sleepers, 1);
	}
}
static void rsubmit(fn_t f, void *a)
{
	while (!rpush(f, a))
		sched_yield();
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&sleepers, memory_order_relaxed) > 0) {
		atomic_fetch_add(&epoch, 1);
		fwake(&epoch, 1);
	}
}
static void tick(void *a)
{
	(void)a;
	if (atomic_fetch_add_explicit(&done_, 1, memory_order_acq_rel) + 1 == goal) {
		atomic_store(&done_w, 1);
		fwake(&done_w, 1);
	}
}
static void rawait(void)
{
	while (!atomic_load(&done_w))
		fwait(&done_w, 0);
	atomic_store(&done_w, 0);
}
static pthread_t rw[2];
static void rstart(void)
{
	for (unsigned i = 0; i < RCAP; i++)
		atomic_store(&ring[i].seq, i);
	for (int i = 0; i < 2; i++)
		pthread_create(rw + i, 0, rworker, 0);
}
static void rstop(void)
{
	atomic_store(&stop_, true);
	atomic_fetch_add(&epoch, 1);
	fwake(&epoch, 99);
	for (int i = 0; i < 2; i++)
		pthread_join(rw[i], 0);
}
static void *rprod(void *x)
{
	long n = (long)x;
	for (long i = 0; i < n; i++)
		rsubmit(tick, 0);
	return 0;
}
static void ring_w(const char *w)
{
	rstart();
	if (!strcmp(w, "W1"))
		for (int r = 0; r < 3; r++) {
			atomic_store(&done_, 0);
			goal = OPS1;
			uint64_t a = now_ns();
			for (long i = 0; i < OPS1; i++)
				rsubmit(tick, 0);
			rawait();
			if (r != 1)
				emit("floor_ring", r ? "W1w" : "W1", OPS1, (double)(now_ns() - a) / OPS1, "");
		}
	if (!strcmp(w, "W2")) {
		uint32_t *s = malloc(OPS2 * sizeof *s);
		for (long i = 0; i < OPS2; i++) {
			atomic_store(&done_, 0);
			goal = 1;
			uint64_t a = now_ns();
			rsubmit(tick, 0);
			rawait();
			s[i] = now_ns() - a;
		}
		emit_lat("floor_ring", "W2", s, OPS2);
	}
	if (!strcmp(w, "W4"))
		for (int r = 0; r < 2; r++) {
			atomic_store(&done_, 0);
			goal = OPS1;
			pthread_t t[4];
			uint64_t a = now_ns();
			for (int i = 0; i < 4; i++)
				pthread_create(t + i, 0, rprod, (void *)(OPS1 / 4));
			for (int i = 0; i < 4; i++)
				pthread_join(t[i], 0);
			rawait();
			emit("floor_ring", r ? "W4w" : "W4", OPS1, (double)(now_ns() - a) / OPS1, "");
		}
	if (!strcmp(w, "W7"))
		idle5("floor_ring");
	rstop();
}
/* ---- a minimal future: one malloc'd 64-byte node (intrusive link, fn, arg, result, state word, refcount), one mutexed list,
        workers take the whole list at once up to BATCH, wake only when somebody sleeps ---- */
typedef struct node {
	struct node *next;
	long (*fn)(void *);
	void *arg;
	long result;
	atomic_uint state; /*0 pending 1 pending+waiter 2 done*/
	atomic_int refs;
} node;
static pthread_mutex_t qm = PTHREAD_MUTEX_INITIALIZER;
static node *qh, **qt = &qh;
static atomic_uint qepoch;
static int qsleep;
static bool qstop;
#define BATCH 32
static void unref(node *t)
{
	if (atomic_load_explicit(&t->refs, memory_order_acquire) == 1 ||
	    atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
		free(t);
}
static void *fworker(void *x)
{
	(void)x;
	for (;;) {
		pthread_mutex_lock(&qm);
		node *b = qh;
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
		} else if (qstop) {
			pthread_mutex_unlock(&qm);
			return 0;
		} else {
			unsigned e = atomic_load(&qepoch);
			qsleep++;
			pthread_mutex_unlock(&qm);
			fwait(&qepoch, e);
			pthread_mutex_lock(&qm);
			if (qsleep > 0)
				qsleep--;
			pthread_mutex_unlock(&qm);
			continue;
		}
		pthread_mutex_unlock(&qm);
		while (b) {
			node *nx = b->next;
			b->result = b->fn(b->arg);
			if (atomic_exchange_explicit(&b->state, 2, memory_order_acq_rel) == 1)
				fwake(&b->state, 99);
			unref(b);
			b = nx;
		}
	}
}
static node *fsubmit(long (*fn)(void *), void *arg)
{
	node *t = malloc(64);
	t->next = 0;
	t->fn = fn;
	t->arg = arg;
	atomic_init(&t->state, 0);
	atomic_init(&t->refs, 2);
	pthread_mutex_lock(&qm);
	*qt = t;
	qt = &t->next;
	bool w = qsleep > 0;
	if (w) {
		qsleep--;
		atomic_fetch_add(&qepoch, 1);
	}
	pthread_mutex_unlock(&qm);
	if (w)
		fwake(&qepoch, 1);
	return t;
}
static long fget(node *t)
{
	unsigned s = atomic_load_explicit(&t->state, memory_order_acquire);
	while (s != 2) {
		unsigned z = 0;
		if (s == 1 || atomic_compare_exchange_strong(&t->state, &z, 1))
			fwait(&t->state, 1);
		s = atomic_load_explicit(&t->state, memory_order_acquire);
	}
	return t->result;
}
static long ident(void *a)
{
	return (long)a;
}
static pthread_barrier_t bar;
static void *fprod(void *x)
{
	long n = (long)x;
	node **v = malloc(n * sizeof *v);
	pthread_barrier_wait(&bar);
	for (long i = 0; i < n; i++)
		v[i] = fsubmit(ident, (void *)i);
	long s = 0;
	for (long i = 0; i < n; i++)
		s += fget(v[i]);
	if (s != n * (n - 1) / 2)
		abort();
	pthread_barrier_wait(&bar);
	for (long i = 0; i < n; i++)
		unref(v[i]);
	free(v);
	return 0;
}
static void fut_w(const char *w)
{
	const char *Q = "floor_future";
	pthread_t t[2];
	for (int i = 0; i < 2; i++)
		pthread_create(t + i, 0, fworker, 0);
	if (!strcmp(w, "W1"))
		for (int r = 0; r < 3; r++) {
			reset_hwm();
			long base = vm_kb("VmRSS");
			uint64_t a = now_ns();
			node **v = malloc(OPS1 * sizeof *v);
			for (long i = 0; i < OPS1; i++)
				v[i] = fsubmit(ident, (void *)i);
			uint64_t m = now_ns();
			long s = 0;
			for (long i = 0; i < OPS1; i++)
				s += fget(v[i]);
			uint64_t b = now_ns();
			if (s != OPS1 * (OPS1 - 1) / 2)
				abort();
			long h = vm_kb("VmHWM");
			uint64_t c = now_ns();
			for (long i = 0; i < OPS1; i++)
				unref(v[i]);
			uint64_t d = now_ns();
			free(v);
			if (r != 1)
				emit(Q, r ? "W1w" : "W1", OPS1, (double)(b - a) / OPS1,
				     ",\"submit_ns\":%.1f,\"release_ns\":%.1f,\"rss_per_op\":%.1f",
				     (double)(m - a) / OPS1, (double)(d - c) / OPS1, (h - base) * 1024.0 / OPS1);
		}
	if (!strcmp(w, "W2")) {
		uint32_t *s = malloc(OPS2 * sizeof *s);
		for (long i = 0; i < OPS2; i++) {
			uint64_t a = now_ns();
			node *f = fsubmit(ident, (void *)i);
			fget(f);
			unref(f);
			s[i] = now_ns() - a;
		}
		emit_lat(Q, "W2", s, OPS2);
	}
	if (!strcmp(w, "W4"))
		for (int r = 0; r < 2; r++) {
			pthread_barrier_init(&bar, 0, 5);
			pthread_t p[4];
			for (int i = 0; i < 4; i++)
				pthread_create(p + i, 0, fprod, (void *)(OPS1 / 4));
			pthread_barrier_wait(&bar);
			uint64_t a = now_ns();
			pthread_barrier_wait(&bar);
			uint64_t b = now_ns();
			for (int i = 0; i < 4; i++)
				pthread_join(p[i], 0);
			emit(Q, r ? "W4w" : "W4", OPS1, (double)(b - a) / OPS1, "");
		}
	pthread_mutex_lock(&qm);
	qstop = true;
	atomic_fetch_add(&qepoch, 1);
	pthread_mutex_unlock(&qm);
	fwake(&qepoch, 99);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], 0);
}
/* ---- timer floor: a 6x256-slot hierarchical wheel, intrusive doubly linked nodes ---- */
typedef struct tm_ {
	struct tm_ *prev, *next;
	uint64_t due;
	void *fut;
} tm_;
static tm_ wheel[4][256];
static void wheel_w(void)
{
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 256; j++)
			wheel[i][j].prev = wheel[i][j].next = &wheel[i][j];
	uint64_t seed = 88172645463325252ull;
	for (int r = 0; r < 2; r++) {
		uint64_t a = now_ns();
		tm_ **v = malloc(OPS6 * sizeof *v);
		uint64_t base = a / 1000000;
		for (long i = 0; i < OPS6; i++) {
			tm_ *t = malloc(sizeof *t);
			t->due = now_ns() / 1000000 + 1000 + rng(&seed) % 59000;
			uint64_t d = t->due - base;
			int lv = d < 256 ? 0 : d < 65536 ? 1 : d < (1u << 24) ? 2 : 3;
			tm_ *h = &wheel[lv][(t->due >> (8 * lv)) & 255];
			t->next = h;
			t->prev = h->prev;
			h->prev->next = t;
			h->prev = t;
			v[i] = t;
		}
		uint64_t m = now_ns();
		for (long i = 0; i < OPS6; i++) {
			tm_ *t = v[i];
			t->prev->next = t->next;
			t->next->prev = t->prev;
			free(t);
		}
		uint64_t b = now_ns();
		free(v);
		emit("floor_wheel", r ? "W6w" : "W6", OPS6, (double)(b - a) / OPS6,
		     ",\"arm_ns\":%.1f,\"cancel_ns\":%.1f", (double)(m - a) / OPS6, (double)(b - m) / OPS6);
	}
}
int main(int c, char **v)
{
	const char *w = c > 1 ? v[1] : "prim";
	if (!strcmp(w, "prim")) {
		prim();
		contended();
		spin_pp();
		futex_pp();
		futex_pp_pinned(1);
		futex_pp_pinned(0);
		thr();
		prim_mt();
	} else if (!strcmp(w, "W6"))
		wheel_w();
	else {
		ring_w(w);
		fut_w(w);
	}
	return 0;
}
