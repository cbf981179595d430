// C++ workloads, shared by every C++ peer: a peer supplies submit(i)->handle and get(handle)->int.
#pragma once
#include "../bench.h"
#include <atomic>
#include <barrier>
#include <future>
#include <memory>
#include <thread>
#include <vector>
template <class Submit, class Get> void w1(const char *peer, long n, Submit submit, Get get)
{
	using F = decltype(submit(0));
	for (int r = 0; r < 3; r++) {
		reset_hwm();
		long base = vm_kb("VmRSS");
		uint64_t t0 = now_ns();
		auto *v = new std::vector<F>;
		v->reserve(n);
		for (long i = 0; i < n; i++)
			v->push_back(submit((int)i));
		uint64_t t1 = now_ns();
		long sum = 0;
		for (auto &f : *v)
			sum += get(f);
		uint64_t t2 = now_ns();
		long hwm = vm_kb("VmHWM");
		if (sum != n * (n - 1) / 2) {
			fprintf(stderr, "%s: bad sum\n", peer);
			exit(1);
		}
		uint64_t t3 = now_ns();
		delete v;
		uint64_t t4 = now_ns();
		if (r != 1)
			emit(peer, r ? "W1w" : "W1", n, (double)(t2 - t0) / n,
			     ",\"submit_ns\":%.1f,\"release_ns\":%.1f,\"rss_per_op\":%.1f", (double)(t1 - t0) / n,
			     (double)(t4 - t3) / n, (hwm - base) * 1024.0 / n);
	}
}
template <class Submit, class Get> void w2(const char *peer, long n, Submit submit, Get get)
{
	std::vector<uint32_t> s(n);
	for (long i = 0; i < n / 20; i++) {
		auto f = submit((int)i);
		get(f);
	}
	for (long i = 0; i < n; i++) {
		uint64_t a = now_ns();
		{
			auto f = submit((int)i);
			get(f);
		}
		s[i] = (uint32_t)(now_ns() - a);
	}
	emit_lat(peer, "W2", s.data(), n);
}
// 4 producers
template <class Submit, class Get> void w4(const char *peer, long n, Submit submit, Get get)
{
	using F = decltype(submit(0));
	for (int r = 0; r < 2; r++) {
		reset_hwm();
		long base = vm_kb("VmRSS");
		std::barrier b(5);
		std::vector<std::thread> ts;
		for (int t = 0; t < 4; t++)
			ts.emplace_back([&] {
				long m = n / 4;
				b.arrive_and_wait();
				{
					std::vector<F> v;
					v.reserve(m);
					for (long i = 0; i < m; i++)
						v.push_back(submit((int)i));
					long sum = 0;
					for (auto &f : v)
						sum += get(f);
					if (sum != m * (m - 1) / 2) {
						fprintf(stderr, "%s: bad sum\n", peer);
						exit(1);
					}
					b.arrive_and_wait();
					b.arrive_and_wait();
				}
			});
		b.arrive_and_wait();
		uint64_t t0 = now_ns();
		b.arrive_and_wait();
		uint64_t t1 = now_ns();
		long hwm = vm_kb("VmHWM");
		b.arrive_and_wait();
		for (auto &t : ts)
			t.join();
		emit(peer, r ? "W4w" : "W4", n, (double)(t1 - t0) / n, ",\"rss_per_op\":%.1f",
		     (hwm - base) * 1024.0 / n);
	}
}
// tree of tasks on a pool without join: a counter tells the last one
template <class Post> struct Tree {
	Post post;
	std::atomic<long> left;
	std::promise<void> done;
	explicit Tree(Post p) : post(p), left(OPS3)
	{
	}
	void node(int d)
	{
		if (d > 0) {
			post([this, d] { node(d - 1); });
			post([this, d] { node(d - 1); });
		}
		if (left.fetch_sub(1, std::memory_order_acq_rel) == 1)
			done.set_value();
	}
};
template <class Post> void w3_counter(const char *peer, Post post)
{
	for (int r = 0; r < 2; r++) {
		auto *t = new Tree<Post>(post);
		auto f = t->done.get_future();
		uint64_t t0 = now_ns();
		post([t] { t->node(DEPTH3); });
		f.wait();
		uint64_t t1 = now_ns();
		if (r)
			emit(peer, "W3", OPS3, (double)(t1 - t0) / OPS3, ",\"variant\":\"counter\"");
	}
}
template <class Run> void w3_join(const char *peer, Run run)
{
	for (int r = 0; r < 2; r++) {
		uint64_t t0 = now_ns();
		run();
		uint64_t t1 = now_ns();
		if (r)
			emit(peer, "W3", OPS3, (double)(t1 - t0) / OPS3, ",\"variant\":\"join\"");
	}
}
static inline bool is(const char *a, const char *b)
{
	return !strcmp(a, b);
}
