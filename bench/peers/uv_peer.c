/* libuv: uv_queue_work (loop thread only), timers (binary heap) */
#include "../bench.h"
#include <uv.h>
static const char *P = "libuv";
typedef struct {
	uv_work_t w;
	int v, r, done;
} job;
static long ndone;
static void wk(uv_work_t *w)
{
	job *j = (job *)w;
	j->r = j->v;
}
static void after(uv_work_t *w, int st)
{
	(void)st;
	((job *)w)->done = 1;
	ndone++;
}
static void never(uv_timer_t *t)
{
	(void)t;
	abort();
}
static void closed(uv_handle_t *h)
{
	free(h);
}
int main(int c, char **a)
{
	const char *w = c > 1 ? a[1] : "W1";
	setenv("UV_THREADPOOL_SIZE", "2", 1);
	uv_loop_t *l = uv_default_loop();
	if (!strcmp(w, "W1")) {
		for (int r = 0; r < 3; r++) {
			reset_hwm();
			long base = vm_kb("VmRSS");
			ndone = 0;
			uint64_t t0 = now_ns();
			job **v = malloc(OPS1 * sizeof *v);
			for (long i = 0; i < OPS1; i++) {
				v[i] = malloc(sizeof(job));
				v[i]->v = i;
				v[i]->done = 0;
				uv_queue_work(l, &v[i]->w, wk, after);
			}
			uint64_t t1 = now_ns();
			uv_run(l, UV_RUN_DEFAULT);
			long s = 0;
			for (long i = 0; i < OPS1; i++)
				s += v[i]->r;
			uint64_t t2 = now_ns();
			if (s != OPS1 * (OPS1 - 1) / 2 || ndone != OPS1)
				abort();
			long h = vm_kb("VmHWM");
			uint64_t t3 = now_ns();
			for (long i = 0; i < OPS1; i++)
				free(v[i]);
			uint64_t t4 = now_ns();
			free(v);
			if (r != 1)
				emit(P, r ? "W1w" : "W1", OPS1, (double)(t2 - t0) / OPS1,
				     ",\"submit_ns\":%.1f,\"release_ns\":%.1f,\"rss_per_op\":%.1f",
				     (double)(t1 - t0) / OPS1, (double)(t4 - t3) / OPS1, (h - base) * 1024.0 / OPS1);
		}
	} else if (!strcmp(w, "W2")) {
		uint32_t *s = malloc(OPS2 * sizeof *s);
		for (long i = 0; i < OPS2; i++) {
			uint64_t t = now_ns();
			job *j = malloc(sizeof *j);
			j->v = i;
			uv_queue_work(l, &j->w, wk, after);
			uv_run(l, UV_RUN_DEFAULT);
			free(j);
			s[i] = now_ns() - t;
		}
		emit_lat(P, "W2", s, OPS2);
	} else if (!strcmp(w, "W6")) {
		uint64_t seed = 88172645463325252ull;
		for (int r = 0; r < 2; r++) {
			uv_update_time(l);
			uint64_t t0 = now_ns();
			uv_timer_t **v = malloc(OPS6 * sizeof *v);
			for (long i = 0; i < OPS6; i++) {
				v[i] = malloc(sizeof **v);
				uv_timer_init(l, v[i]);
				uv_timer_start(v[i], never, 1000 + rng(&seed) % 59000, 0);
			}
			uint64_t t1 = now_ns();
			uv_run(l, UV_RUN_NOWAIT);
			uint64_t t2 = now_ns();
			for (long i = 0; i < OPS6; i++)
				uv_close((uv_handle_t *)v[i], closed);
			uv_run(l, UV_RUN_NOWAIT);
			uint64_t t3 = now_ns();
			free(v);
			emit(P, r ? "W6w" : "W6", OPS6, (double)(t1 - t0 + t3 - t2) / OPS6,
			     ",\"arm_ns\":%.1f,\"cancel_ns\":%.1f", (double)(t1 - t0) / OPS6, (double)(t3 - t2) / OPS6);
		}
	} else if (!strcmp(w, "W7")) {
		job j;
		uv_queue_work(l, &j.w, wk, after);
		uv_run(l, UV_RUN_DEFAULT);
		idle5(P);
	} else if (!strcmp(w, "W8")) {
		uint32_t *ord = malloc(OPS8 * 4);
		shuffle(ord, OPS8);
		job *v = malloc(OPS8 * sizeof *v);
		for (int r = 0; r < 2; r++) {
			ndone = 0;
			for (long i = 0; i < OPS8; i++) {
				v[i].v = i;
			}
			uint64_t t0 = now_ns();
			for (long i = 0; i < OPS8; i++)
				uv_queue_work(l, &v[ord[i]].w, wk, after);
			uv_run(l, UV_RUN_DEFAULT);
			uint64_t t1 = now_ns();
			if (ndone != OPS8)
				abort();
			if (r)
				emit(P, "W8", OPS8, (double)(t1 - t0) / OPS8, ",\"variant\":\"after_work_cb\"");
		}
	}
	return 0;
}
