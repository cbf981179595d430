/* GLib: GThreadPool + GAsyncQueue completions, hand-rolled future on GMutex/GCond, GTask, g_timeout_source */
#include "../bench.h"
#include <gio/gio.h>
#include <glib.h>
static const char *P = "glib_gthreadpool";
typedef struct {
	gint done;
	int v;
	int r;
} fut; /* a future: done flag under one pool-wide GMutex/GCond, as GLib code commonly does */
static GMutex mx;
static GCond cv;
static gint waiters;
static void work(gpointer d, gpointer u)
{
	fut *f = d;
	(void)u;
	f->r = f->v;
	g_mutex_lock(&mx);
	f->done = 1;
	if (waiters)
		g_cond_broadcast(&cv);
	g_mutex_unlock(&mx);
}
static fut *sub(GThreadPool *p, int i)
{
	fut *f = g_new0(fut, 1);
	f->v = i;
	g_thread_pool_push(p, f, NULL);
	return f;
}
static int get(fut *f)
{
	if (!g_atomic_int_get(&f->done)) {
		g_mutex_lock(&mx);
		waiters++;
		while (!f->done)
			g_cond_wait(&cv, &mx);
		waiters--;
		g_mutex_unlock(&mx);
	}
	return f->r;
}
static GAsyncQueue *q;
static void work_q(gpointer d, gpointer u)
{
	fut *f = d;
	(void)u;
	f->r = f->v;
	g_async_queue_push(q, f);
}
static GThreadPool *gp;
static pthread_barrier_t bar;
static void *prod(void *x)
{
	long n = (long)x;
	fut **v = g_new(fut *, n);
	pthread_barrier_wait(&bar);
	for (long i = 0; i < n; i++)
		v[i] = sub(gp, i);
	long s = 0;
	for (long i = 0; i < n; i++)
		s += get(v[i]);
	if (s != n * (n - 1) / 2)
		abort();
	pthread_barrier_wait(&bar);
	for (long i = 0; i < n; i++)
		g_free(v[i]);
	g_free(v);
	return 0;
}
/* GTask */
static void gt(GTask *t, gpointer s, gpointer d, GCancellable *c)
{
	(void)s;
	(void)c;
	g_task_return_int(t, GPOINTER_TO_INT(d));
}
static long gdone;
static void gcb(GObject *o, GAsyncResult *r, gpointer u)
{
	(void)o;
	(void)u;
	gdone += g_task_propagate_int(G_TASK(r), NULL) >= 0;
}
static gboolean never(gpointer x)
{
	(void)x;
	abort();
}
/* W3 counter */
static gint left3;
static GMutex m3;
static GCond c3;
static int d3;
static void node3(gpointer d, gpointer u)
{
	int k = GPOINTER_TO_INT(d) - 1;
	(void)u;
	if (k > 0) {
		g_thread_pool_push(gp, GINT_TO_POINTER(k), NULL);
		g_thread_pool_push(gp, GINT_TO_POINTER(k), NULL);
	}
	if (g_atomic_int_dec_and_test(&left3)) {
		g_mutex_lock(&m3);
		d3 = 1;
		g_cond_signal(&c3);
		g_mutex_unlock(&m3);
	}
}
int main(int c, char **a)
{
	const char *w = c > 1 ? a[1] : "W1";
	if (!strcmp(w, "W3")) {
		gp = g_thread_pool_new(node3, NULL, 2, TRUE, NULL);
		for (int r = 0; r < 2; r++) {
			left3 = OPS3;
			d3 = 0;
			uint64_t t = now_ns();
			g_thread_pool_push(gp, GINT_TO_POINTER(DEPTH3 + 1), NULL);
			g_mutex_lock(&m3);
			while (!d3)
				g_cond_wait(&c3, &m3);
			g_mutex_unlock(&m3);
			if (r)
				emit(P, "W3", OPS3, (double)(now_ns() - t) / OPS3, ",\"variant\":\"counter\"");
		}
		return 0;
	}
	GThreadPool *p = gp = g_thread_pool_new(work, NULL, 2, TRUE, NULL);
	q = g_async_queue_new();
	if (!strcmp(w, "W1")) {
		for (int r = 0; r < 3; r++) {
			reset_hwm();
			long base = vm_kb("VmRSS");
			uint64_t t0 = now_ns();
			fut **v = g_new(fut *, OPS1);
			for (long i = 0; i < OPS1; i++)
				v[i] = sub(p, i);
			uint64_t t1 = now_ns();
			long s = 0;
			for (long i = 0; i < OPS1; i++)
				s += get(v[i]);
			uint64_t t2 = now_ns();
			if (s != OPS1 * (OPS1 - 1) / 2)
				abort();
			long h = vm_kb("VmHWM");
			uint64_t t3 = now_ns();
			for (long i = 0; i < OPS1; i++)
				g_free(v[i]);
			uint64_t t4 = now_ns();
			g_free(v);
			if (r != 1)
				emit(P, r ? "W1w" : "W1", OPS1, (double)(t2 - t0) / OPS1,
				     ",\"submit_ns\":%.1f,\"release_ns\":%.1f,\"rss_per_op\":%.1f",
				     (double)(t1 - t0) / OPS1, (double)(t4 - t3) / OPS1, (h - base) * 1024.0 / OPS1);
		}
	} else if (!strcmp(w, "W1task")) { /* GTask: its own global pool, completions through the main context */
		long n = 100000;
		GMainContext *ctx = g_main_context_default();
		GTask **v = g_new(GTask *, n);
		reset_hwm();
		long base = vm_kb("VmRSS");
		uint64_t t0 = now_ns();
		for (long i = 0; i < n; i++) {
			v[i] = g_task_new(NULL, NULL, gcb, NULL);
			g_task_set_task_data(v[i], GINT_TO_POINTER((int)i), NULL);
			g_task_run_in_thread(v[i], gt);
		}
		uint64_t t1 = now_ns();
		while (gdone < n)
			g_main_context_iteration(ctx, TRUE);
		uint64_t t2 = now_ns();
		long h = vm_kb("VmHWM");
		emit("glib_gtask", "W1", n, (double)(t2 - t0) / n, ",\"submit_ns\":%.1f,\"rss_per_op\":%.1f",
		     (double)(t1 - t0) / n, (h - base) * 1024.0 / n);
	} else if (!strcmp(w, "W2")) {
		uint32_t *s = g_new(uint32_t, OPS2);
		for (long i = 0; i < OPS2; i++) {
			uint64_t t = now_ns();
			fut *f = sub(p, i);
			get(f);
			g_free(f);
			s[i] = now_ns() - t;
		}
		emit_lat(P, "W2", s, OPS2);
	} else if (!strcmp(w, "W4")) {
		for (int r = 0; r < 2; r++) {
			pthread_barrier_init(&bar, 0, 5);
			pthread_t t[4];
			for (int i = 0; i < 4; i++)
				pthread_create(t + i, 0, prod, (void *)(OPS1 / 4));
			pthread_barrier_wait(&bar);
			uint64_t t0 = now_ns();
			pthread_barrier_wait(&bar);
			uint64_t t1 = now_ns();
			for (int i = 0; i < 4; i++)
				pthread_join(t[i], 0);
			emit(P, r ? "W4w" : "W4", OPS1, (double)(t1 - t0) / OPS1, "");
		}
	} else if (!strcmp(w, "W6")) {
		uint64_t seed = 88172645463325252ull;
		for (int r = 0; r < 2; r++) {
			uint64_t t0 = now_ns();
			GSource **v = g_new(GSource *, OPS6);
			for (long i = 0; i < OPS6; i++) {
				v[i] = g_timeout_source_new(1000 + rng(&seed) % 59000);
				g_source_set_callback(v[i], never, NULL, NULL);
				g_source_attach(v[i], NULL);
			}
			uint64_t t1 = now_ns();
			uint64_t z = now_ns();
			g_main_context_iteration(NULL, FALSE);
			uint64_t it = now_ns() - z;
			uint64_t t2 = now_ns();
			for (long i = 0; i < OPS6; i++) {
				g_source_destroy(v[i]);
				g_source_unref(v[i]);
			}
			uint64_t t3 = now_ns();
			g_free(v);
			emit("glib_timeout", r ? "W6w" : "W6", OPS6, (double)(t1 - t0 + t3 - t2) / OPS6,
			     ",\"arm_ns\":%.1f,\"cancel_ns\":%.1f,\"one_loop_turn_ns\":%.0f", (double)(t1 - t0) / OPS6,
			     (double)(t3 - t2) / OPS6, (double)it);
		}
	} else if (!strcmp(w, "W7")) {
		get(sub(p, 1));
		idle5(P);
	} else if (
		!strcmp(w,
			"W8")) { /* completion queue: two pool threads finish 100k futures in random order, main pops */
		GThreadPool *pq = g_thread_pool_new(work_q, NULL, 2, TRUE, NULL);
		uint32_t *ord = g_new(uint32_t, OPS8);
		shuffle(ord, OPS8);
		fut **v = g_new(fut *, OPS8);
		for (int r = 0; r < 2; r++) {
			for (long i = 0; i < OPS8; i++) {
				v[i] = g_new0(fut, 1);
				v[i]->v = i;
			}
			uint64_t t0 = now_ns();
			for (long i = 0; i < OPS8; i++)
				g_thread_pool_push(pq, v[ord[i]], NULL);
			long s = 0;
			for (long i = 0; i < OPS8; i++) {
				fut *f = g_async_queue_pop(q);
				s += f->r;
			}
			uint64_t t1 = now_ns();
			if (s != OPS8 * (OPS8 - 1) / 2)
				abort();
			if (r)
				emit("glib_asyncqueue", "W8", OPS8, (double)(t1 - t0) / OPS8, "");
		}
	}
	return 0;
}
