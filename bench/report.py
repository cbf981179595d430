#!/usr/bin/env python3
"""What is made of the data of bench/run.sh (results.jsonl).
    header BUILD ROUNDS    its first line
    tables DATA            all tables
    processes DATA         those of the worker processes
    plot DATA FILE.svg
    figures DATA           the README's part: the table of targets and the plot
    readme DATA README     that, put between the README's lines <!-- figures --> and <!-- figures end -->
    process-figures DATA, process-readme DATA README  the same of the worker processes, <!-- process figures -->"""
import sys

sys.dont_write_bytecode = True  # this runs in the source tree

import data
import plot
import tables

NAMES = {"all": "both processors", "one": "one processor (taskset -c 0)"}


def measured(d):
    h = d.head
    return (f"Commit {h['commit']}; {h['machine']}; {h['compiler']}, {h['flags']} for all; rounds: {h['rounds']}, "
            "in each all programs in turn; numbers are medians.")


ORDERS = ("Any order: a pool with EXS_ANY_ORDER and waiters_run, as TBB's group has it; else it is first in, first out.")


def print_tables(path):
    d = data.Data(path)
    out = ["# Results of bench/run.sh", "", measured(d) + " " + ORDERS, "The workloads are described at the head of each program in bench/."]
    if d.left_out:
        out += ["Left out: " + "; ".join(sorted(set(d.left_out))) + "."]
    for setting, name in NAMES.items():
        out += ["", f"## Targets, {name}", "", *tables.target_table(d, setting), "", tables.target_note(d, setting)]
    out += ["", "## Peers: ns an operation, median (minimum to maximum)"]
    for setting, name in NAMES.items():
        out += ["", name.capitalize() + ":", "", *tables.peer_table(d, setting)]
    out += ["", "## Producers and workers: ns an operation, 250,000 in all"]
    for setting, name in NAMES.items():
        out += ["", name.capitalize() + ":", "", *tables.scaling_table(d, setting), "",
                tables.scaling_note(d, setting)]
    out += ["", "## Streams: items a second, 64 in flight"]
    for setting, name in NAMES.items():
        out += ["", name.capitalize() + ":", "", *tables.stream_table(d, setting)]
    out += ["", "## Counts an operation", "",
            "Allocations and context switches in a run of its own, futex calls in one under strace, which is slower and so sleeps "
            "at other times.", "", *tables.count_table(d), "", "## Size of the library (stripped), and idle pools", "", *tables.other_table(d)]
    print("\n".join(out))


def print_processes(path):
    d = data.Data(path)
    out = ["# Results of bench/run.sh --process", "", measured(d)]
    for setting, name in NAMES.items():
        out += ["", f"## {name.capitalize()}", "", *tables.target_table(d, setting, tables.process_targets), "",
                "ns a small task (way, workers), and GB/s of payloads of 16 MiB:", "",
                *tables.process_table(d, setting), "", *tables.payload_table(d, setting)]
    print("\n".join(out))


def figures(path):
    d = data.Data(path)
    return "\n".join([measured(d) + " " + ORDERS, "", *tables.target_table(d, "all"), "", tables.target_note(d, "all"), "",
                      "![ns an operation](bench/results/results.svg)"])


def process_figures(path):
    d = data.Data(path)
    return "\n".join([measured(d), "", *tables.target_table(d, "all", tables.process_targets), "", tables.process_note(d)])


def put(page, mark, text):
    begin, end = f"<!-- {mark} -->\n", f"<!-- {mark} end -->\n"
    with open(page) as file:
        before, rest = file.read().split(begin)
    after = rest.split(end)[1]
    with open(page, "w") as file:
        file.write(before + begin + text + "\n" + end + after)


if __name__ == "__main__":
    commands = {
        "header": data.header,
        "tables": print_tables,
        "processes": print_processes,
        "plot": lambda path, file: plot.plot(data.Data(path), file),
        "figures": lambda path: print(figures(path)),
        "readme": lambda path, page: put(page, "figures", figures(path)),
        "process-figures": lambda path: print(process_figures(path)),
        "process-readme": lambda path, page: put(page, "process figures", process_figures(path)),
    }
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
