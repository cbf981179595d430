#!/usr/bin/env python3
"""The data of bench/run.sh: its first line (header BUILD); its tables and its plot (tables DATA FOLDER)."""
import collections
import json
import os
import statistics
import subprocess
import sys


def header(build):
    def ask(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return "unknown"

    cache = dict(line.strip().split("=", 1) for line in open(build + "/CMakeCache.txt") if "=" in line and line[0] != "#")
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    print(json.dumps({
        "commit": ask("git", "rev-parse", "--short", "HEAD") + ("+" if ask("git", "status", "--porcelain", "src", "include") else ""),
        "machine": f"{os.cpu_count()} processors, {cpu}; Linux {os.uname().release.split('-')[0]}",
        "compiler": ask(cache["CMAKE_C_COMPILER:FILEPATH"], "--version").split("\n")[0],
        "flags": cache.get("CMAKE_C_FLAGS_RELEASE:STRING", ""),
    }))


class Data:
    """The values of all rounds by (setting, peer, workload, variant)."""

    def __init__(self, path):
        lines = [json.loads(line) for line in open(path)]
        self.head, self.values = lines[0], collections.defaultdict(list)
        for line in lines[1:]:
            workload = line["workload"]
            if line["setting"] == "scaling":
                workload += f" {line['producers']}x{line['workers']}"
            if workload == "poll":
                workload += f" {line['n']}"
            if line.get("variant") == "join" and line["peer"] == "executors":
                workload += " join"
            for field, value in line.items():
                if isinstance(value, (int, float)):
                    self.values[line["setting"], line["peer"], workload, field].append(value)

    def get(self, setting, peer, workload, field="ns_per_op"):
        return self.values.get((setting, peer, workload, field), [])

    def median(self, *key):
        values = self.get(*key)
        return statistics.median(values) if values else None


OURS = "executors"


def targets(d):
    """(what, ours, reference's name, reference, must, aim): the numbers are medians; must and aim are ratios, or limits if there is no reference."""
    fast, slow = "floor2_stack_spin300_coal20", "floor2_stack_spin0"
    for setting, name, floor2 in (("all", "", fast), ("one", ", one core", slow)):
        for workload, what in (("W1w", "W1 warm"), ("W1", "W1 cold")):
            ours = d.median(setting, OURS, workload)
            yield what + name, ours, "floor2", d.median(setting, floor2, workload), 1.4, 1.15
            yield what + name, ours, "TBB group", d.median(setting, "tbb_task_group", workload), 1, None
        must = 2 if setting == "all" else 1.2
        yield "W2 round trip" + name, d.median(setting, OURS, "W2"), "floor2", d.median(setting, floor2, "W2"), must, 1
        yield "W3 tree, counter" + name, d.median(setting, OURS, "W3"), "TBB group", d.median(setting, "tbb_task_group", "W3"), 1.2, None
        yield "W4 four producers" + name, d.median(setting, OURS, "W4w"), "floor2", d.median(setting, floor2, "W4w"), 1.4, 1.15
        yield "W8 as_completed" + name, d.median(setting, OURS, "W8"), "floor2", d.median(setting, floor2, "W8"), 1.8, 1.2
    yield "bytes a pending submit", d.median("all", OURS, "W1", "rss_per_op"), None, None, 128, 96
    bare, chain = d.median("all", OURS, "bare"), d.median("all", OURS, "layers")
    yield "four layers, extra", chain - bare, "wheel + clock", d.median("all", "floor_wheel_and_clock", "layers"), 1.2, 0.7
    yield "W5 continuation", d.median("all", OURS, "W5"), "floor2", d.median("all", "floor2_mutex_spin0", "W5"), 1.5, 1
    yield "W6 arm and cancel", d.median("all", OURS, "W6w"), "floor wheel", d.median("all", "floor_wheel", "W6w"), 2, 1.2
    yield "W7 processor time in 5 s, us", d.median("all", OURS, "W7") / 1000, None, None, 50, None
    for field, what in (("ns_per_op", "add"), ("resolve_ns", "resolve"), ("cancel_ns", "cancel")):
        few, many = (d.median("all", OURS, f"poll {n}", field) for n in (1000, 1000000))
        yield f"poll: {what} one of 1,000,000", many, "of 1,000", few, None, None
    scaling = [d.median("scaling", OURS, f"W4w {x}") for x in ("1x2", "2x2", "8x2", "64x2", "4x1", "4x2", "4x8", "4x64")]
    scaling = [value for value in scaling if value]
    yield "1 to 64 producers and workers: worst", max(scaling), "best", min(scaling), 2, None


def target_table(d):
    yield "| | ours | reference | ratio | must | aim |"
    yield "|---|---|---|---|---|---|"
    for what, ours, name, reference, must, aim in targets(d):
        if ours is None or (name and reference is None):
            continue
        value = ours / reference if name else ours
        met = "" if must is None else f"≤ {must:g}{'' if value <= must else ' (missed)'}"
        yield (f"| {what} | {ours:.0f} | {f'{name} {reference:.0f}' if name else ''} | {f'{value:.2f}' if name else ''} "
               f"| {met} | {'' if aim is None else f'≤ {aim:g}'} |")


def peer_rows(d):
    workloads = ("W1", "W1w", "W2", "W3", "W4w", "W5", "W6w", "W8")
    peers = sorted({key[1] for key in d.values if key[0] == "all"}, key=lambda p: (p != OURS, not p.startswith("floor"), p))
    for peer in peers:
        cells = [d.get("all", peer, workload) for workload in workloads]
        if any(cells):
            yield peer, dict(zip(workloads, cells))


def peer_table(d):
    rows = list(peer_rows(d))
    workloads = list(rows[0][1])
    yield "| ns an operation: median (min to max) | " + " | ".join(workloads) + " |"
    yield "|---|" + "---|" * len(workloads)
    for peer, cells in rows:
        yield f"| {peer} | " + " | ".join(
            f"{statistics.median(v):.0f} ({min(v):.0f} to {max(v):.0f})" if v else "" for v in cells.values()) + " |"


def plot(d, folder):
    rows = list(peer_rows(d))
    workloads = list(rows[0][1])
    lines = ["set terminal svg size 1000,420 font 'sans,11' background 'white'", f"set output '{folder}/results.svg'", "set logscale y",
             "set style data histograms", "set style histogram clustered gap 1", "set style fill solid 0.8", "set ylabel 'ns an operation (log)'",
             "set key outside right", "set grid ytics", "$data << EOD"]
    lines += [" ".join([workload] + [f"{statistics.median(c[workload]):.1f}" if c[workload] else "?" for _, c in rows]) for workload in workloads]
    lines += ["EOD", "set datafile missing '?'",
              "plot " + ", ".join(f"$data using {i + 2}:xtic(1) title '{peer}' noenhanced" for i, (peer, _) in enumerate(rows))]
    subprocess.run(["gnuplot"], input="\n".join(lines), text=True, check=True)


def tables(path, folder):
    d = Data(path)
    text = "\n".join([f"Commit {d.head['commit']}; {d.head['machine']}; {d.head['compiler']}, {d.head['flags']}.", ""]
                     + list(target_table(d)) + [""] + list(peer_table(d))) + "\n"
    with open(folder + "/results.md", "w") as file:
        file.write(text)
    print(text, end="")
    plot(d, folder)


if __name__ == "__main__":
    {"header": header, "tables": tables}[sys.argv[1]](*sys.argv[2:])
