// oneTBB (Debian): task_arena::enqueue + std::promise (tbb_arena), task_group + result slots (tbb_task_group)
#include "bench.hpp"
#include <oneapi/tbb.h>
namespace tbb = oneapi::tbb;
static void tree(int d)
{
	if (d == 0)
		return;
	tbb::task_group g;
	g.run([d] { tree(d - 1); });
	g.run([d] { tree(d - 1); });
	g.wait();
}
static void tree1(int d)
{
	if (d == 0)
		return;
	tbb::task_group g;
	g.run([d] { tree1(d - 1); });
	tree1(d - 1);
	g.wait();
}
int main(int c, char **v)
{
	const char *w = c > 1 ? v[1] : "W1";
	// two workers besides the threads that submit
	tbb::global_control gc(tbb::global_control::max_allowed_parallelism, 3);
	tbb::task_arena a(3, 1);
	a.initialize();
	auto submit = [&](int i) {
		auto p = std::make_shared<std::promise<int>>();
		auto f = p->get_future();
		a.enqueue([p, i] { p->set_value(i); });
		return f;
	};
	auto get = [](std::future<int> &f) { return f.get(); };
	const char *P = "tbb_arena_promise";
	if (is(w, "W1"))
		w1(P, OPS1, submit, get);
	if (is(w, "W1g")) { // task_group: no future; the waiter works too (that is TBB's way)
		for (int r = 0; r < 3; r++) {
			reset_hwm();
			long base = vm_kb("VmRSS");
			uint64_t t0 = now_ns(), t1;
			auto *res = new std::vector<long>(OPS1);
			a.execute([&] {
				tbb::task_group g;
				for (long i = 0; i < OPS1; i++)
					g.run([i, res] { (*res)[i] = i; });
				t1 = now_ns();
				g.wait();
			});
			long s = 0;
			for (long x : *res)
				s += x;
			uint64_t t2 = now_ns();
			if (s != OPS1 * (OPS1 - 1) / 2)
				abort();
			long h = vm_kb("VmHWM");
			delete res;
			if (r != 1)
				emit("tbb_task_group", r ? "W1w" : "W1", OPS1, (double)(t2 - t0) / OPS1,
				     ",\"submit_ns\":%.1f,\"rss_per_op\":%.1f", (double)(t1 - t0) / OPS1,
				     (h - base) * 1024.0 / OPS1);
		}
	}
	if (is(w, "W2"))
		w2(P, OPS2, submit, get);
	if (is(w, "W3")) {
		tbb::task_arena b(2, 1);
		tbb::global_control g2(tbb::global_control::max_allowed_parallelism, 2);
		w3_join("tbb_task_group", [&] { b.execute([] { tree(DEPTH3); }); });
		w3_join("tbb_task_group_one_inline", [&] { b.execute([] { tree1(DEPTH3); }); });
	}
	if (is(w, "W4"))
		w4(P, OPS1, submit, get);
	if (is(w, "W7")) {
		auto f = submit(1);
		f.get();
		idle5(P);
	}
}
