#!/usr/bin/python3
"""The workloads of bench/process.c with Python's concurrent.futures.ProcessPoolExecutor: 64 bytes that come back, one at a time; 64 in flight,
read in order; map with chunks of one. Usage: process_pool.py [N]"""
import collections
import concurrent.futures
import json
import sys
import time

SIZE, FLIGHT, ROUNDS, WORKERS = 64, 64, 3, (1, 2, 4)


def echo(data):
    return data


def message(number):
    return number.to_bytes(8, sys.byteorder) + bytes(SIZE - 8)


def number_of(data):
    return int.from_bytes(data[:8], sys.byteorder)


def in_flight(pool, n, flight):
    pending, total = collections.deque(), 0
    for i in range(n):
        if len(pending) == flight:
            total += number_of(pending.popleft().result())
        pending.append(pool.submit(echo, message(i)))
    return total + sum(number_of(f.result()) for f in pending)


WAYS = {
    "one": lambda pool, n: in_flight(pool, n, 1),
    "flight": lambda pool, n: in_flight(pool, n, FLIGHT),
    "map": lambda pool, n: sum(map(number_of, pool.map(echo, map(message, range(n)), chunksize=1))),
}


def measure(pool, workers, way, n):
    begin = time.monotonic_ns()
    total = WAYS[way](pool, n)
    ns = time.monotonic_ns() - begin
    if total != n * (n - 1) // 2:
        sys.exit("wrong result")
    print(json.dumps({"peer": "python_process_pool", "workload": "process", "n": n, "ns_per_op": round(ns / n, 1), "way": way,
                      "workers": workers}), flush=True)


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    pools = {workers: concurrent.futures.ProcessPoolExecutor(workers) for workers in WORKERS}
    for workers, pool in pools.items():
        list(pool.map(echo, map(message, range(100 * workers))))  # all have begun
    for _ in range(ROUNDS):
        for workers, pool in pools.items():
            for way in WAYS:
                if way != "one" or workers == 1:
                    measure(pool, workers, way, n)
    for pool in pools.values():
        pool.shutdown()


if __name__ == "__main__":
    main()
