// Boost.Asio thread_pool: post + packaged_task (std::future); steady_timer
#include <utility>

#include "bench.hpp"
#include <boost/asio.hpp>
#include <utility>

namespace as = boost::asio;
int main(int c, char **v)
{
	const char *w = c > 1 ? v[1] : "W1";
	const char *P = "boost_asio";
	as::thread_pool pool(2);
	auto submit = [&](int i) { return as::post(pool, std::packaged_task<int()>([i] { return i; })); };
	auto get = [](std::future<int> &f) { return f.get(); };
	if (is(w, "W1"))
		w1(P, OPS1, submit, get);
	if (is(w, "W2"))
		w2(P, OPS2, submit, get);
	if (is(w, "W3"))
		w3_counter(P, [&](auto f) { as::post(pool, std::move(f)); });
	if (is(w, "W4"))
		w4(P, OPS1, submit, get);
	if (is(w, "W6")) {
		uint64_t seed = 88172645463325252ull;
		as::io_context io;
		for (int r = 0; r < 2; r++) {
			reset_hwm();
			long cancelled = 0;
			uint64_t t0 = now_ns();
			std::vector<std::unique_ptr<as::steady_timer>> ts;
			ts.reserve(OPS6);
			for (long i = 0; i < OPS6; i++) {
				ts.push_back(std::make_unique<as::steady_timer>(
					io, std::chrono::milliseconds(1000 + rng(&seed) % 59000)));
				ts.back()->async_wait([&](const boost::system::error_code &e) {
					if (e)
						cancelled++;
				});
			}
			uint64_t t1 = now_ns();
			io.poll();
			io.restart();
			uint64_t t2 = now_ns();
			for (auto &t : ts)
				t->cancel();
			io.poll();
			io.restart();
			ts.clear();
			uint64_t t3 = now_ns();
			if (cancelled != OPS6)
				abort();
			emit("boost_asio_steady_timer", r ? "W6w" : "W6", OPS6, (double)(t1 - t0 + t3 - t2) / OPS6,
			     ",\"arm_ns\":%.1f,\"cancel_ns\":%.1f", (double)(t1 - t0) / OPS6, (double)(t3 - t2) / OPS6);
		}
	}
	if (is(w, "W7")) {
		auto f = submit(1);
		f.get();
		idle5(P);
	}
	pool.join();
}
