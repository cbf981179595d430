"""The tables of bench/results, as lines of Markdown."""
import collections
import statistics

from data import OURS

# A limit on the ratio to the reference, or, without "ratio", on our own number.
Limit = collections.namedtuple("Limit", "value ratio", defaults=[True])
# The numbers are medians; None: not measured. digits: those shown after the point.
Row = collections.namedtuple("Row", "what ours reference number must aim digits", defaults=["", None, None, None, 0])

FLOOR2 = {"all": "floor2_stack_spin300_coal20", "one": "floor2_stack_spin0"}
FREE = OURS + "_any_order_waiters_run"
SIZES = (1, 2, 8, 64)


def at_most(value):
    return Limit(value, False)


def minus(a, b):
    return None if a is None or b is None else a - b


def scaled(a, by):
    return None if a is None else a * by


def pool_targets(d, setting, peer, note):
    """W1 to W4 of a pool with or without options."""
    def ours(workload):
        return d.median(setting, peer, workload)

    def floor2(workload):
        return "floor2", d.median(setting, FLOOR2[setting], workload)

    def tbb(workload):
        return "TBB group", d.median(setting, "tbb_task_group", workload)

    for workload, what in (("W1w", "W1 submit, wait, read: warm"), ("W1", "W1 cold")):
        yield Row(what + note, ours(workload), *floor2(workload), Limit(1.4), Limit(1.15))
        yield Row(what + note, ours(workload), *tbb(workload), Limit(1))
    yield Row("W2 round trip" + note, ours("W2"), *floor2("W2"), Limit(2 if setting == "all" else 1.2), Limit(1))
    yield Row("W3 tree, counter" + note, ours("W3 counter"), *tbb("W3 join"), Limit(1.2), at_most(20))
    yield Row("W3 tree, join" + note, ours("W3 join"), *tbb("W3 join"))
    yield Row("W4 four producers, warm" + note, ours("W4w"), *floor2("W4w"), Limit(1.4), Limit(1.15))


def layer_targets(d, setting):
    """Four layers, W5, W6, W8."""
    def ours(workload):
        return d.median(setting, OURS, workload)

    yield Row("four layers, over the bare pool, ns", minus(ours("layers"), ours("bare")), "wheel + clock",
              d.median(setting, "floor_wheel_and_clock", "layers"), Limit(1.2), Limit(0.7))
    floor2 = d.median(setting, "floor2_mutex_spin0", "W5")
    yield Row("W5 callback, ns", ours("W5"), "floor2", floor2, Limit(1.5), Limit(1))
    yield Row("W5 link of a chain of 100,000, ns", ours("links 100000"), "floor2", floor2, Limit(1.5), Limit(1))
    yield Row("W5 link of 1,000,000, on a stack of 64 KiB, ns", ours("links 1000000"), "of 100,000", ours("links 100000"))
    yield Row("W6 arm and cancel a timer, ns", ours("W6w"), "floor's wheel", d.median(setting, "floor_wheel", "W6w"), Limit(2), Limit(1.2))
    yield Row("W8 as completed, ns", ours("W8"), "floor2", d.median(setting, FLOOR2[setting], "W8"), Limit(1.8), Limit(1.2))


CHAINS = {"inline": "inline", "pool_1": "1 worker", "pool_2": "2 workers", "inline_layers": "inline, four layers",
          "pool_2_layers": "2 workers, four layers"}
WORKS = {"empty": "none", "1us": "1 us", "100us": "100 us", "10ms": "10 ms asleep"}
WAYS = {"loop": "plain loop", "bare": "submit and wait", "set": "as_completed", "ordered": "stream", "as_completed": "stream, as completed",
        "no_timeout": "stream, no timeout", "pipeline": "two stages and batches"}


def stream_item(d, setting, chain, work, way):
    return d.median(setting, OURS, f"stream {chain} {work} {way}")


def stream_targets(d, setting):
    for chain, name in CHAINS.items():
        ordered, bare = (stream_item(d, setting, chain, "empty", way) for way in ("ordered", "bare"))
        yield Row(f"stream, {name}: an item without work, ns", ordered, "submit and wait", bare, Limit(1.5))


PAYLOAD = 16 << 20
PYTHON = "python_process_pool"
PROCESSES = ("one 1", "flight 1", "flight 2", "flight 4", "layers 1", "layers 2", "layers 4", "map 1", "map 2", "map 4")
PROCESS_PEERS = ("floor_seqpacket", "floor_stream", OURS, PYTHON)
PAYLOAD_PEERS = (OURS, "floor_memfd", "floor_copy", "generate_again", "generate_new_memfd", "sum", "memcpy")


def process_targets(d, setting):
    bare = d.median(setting, "floor_seqpacket", "process one 1")
    for way, what in (("one 1", "one at a time"), ("flight 1", "64 in flight, 1 worker"), ("flight 2", "64 in flight, 2 workers"),
                      ("flight 4", "64 in flight, 4 workers"), ("layers 2", "the same with retry and timeout, 2 workers")):
        ours, workers = d.median(setting, OURS, "process " + way), way.split()[1]
        yield Row(f"process pool: a small task, {what}, ns", ours, "bare ping-pong", bare, Limit(1.5))
        if way.startswith("flight"):
            yield Row(f"process pool: a small task, {what}, ns", ours, f"epoll, {workers} busy",
                      d.median(setting, "floor_seqpacket", "process " + way))
        yield Row(f"process pool: a small task, {what}, ns", ours, "Python",
                  d.median(setting, PYTHON, "process " + way.replace("layers", "flight")), Limit(0.5))
    for workers, what in ((1, "1 worker"), (2, "2 workers")):
        yield Row(f"process pool: 16 MiB of fresh bytes, {what}, us (1 GB/s: 16,777)", scaled(d.median(setting, OURS, f"payload {workers}"), 1e-3),
                  "bare memfd", scaled(d.median(setting, "floor_memfd", f"payload {workers}"), 1e-3), at_most(PAYLOAD / 1000))


def scaling_extremes(d, setting):
    """(ns, producers, workers): the best and the worst."""
    cells = [(d.median(setting, OURS, f"scaling {p}x{w}"), p, w) for p in SIZES for w in SIZES]
    measured = [cell for cell in cells if cell[0] is not None] or [(None, 0, 0)]
    return min(measured), max(measured)


def scaling_target(d, setting):
    best, worst = scaling_extremes(d, setting)
    yield Row("1 to 64 producers and workers: the worst, ns", worst[0], "the best", best[0], Limit(2))


def count_targets(d):
    """Allocations, instructions, memory."""
    bare, chain = (d.median("all", OURS, path, "instructions") for path in ("inline", "four_layers"))
    yield Row("four layers: allocations a call", d.per_op(OURS, "four layers", "library_mallocs"), must=at_most(1.0005), digits=3)
    yield Row("instructions a layer", scaled(minus(chain, bare), 0.25))
    for kind, what, must, aim in (("bare", "call", at_most(128), at_most(96)), ("layers", "call under four layers", None, None)):
        bytes_each, kept, trimmed = (d.median("all", OURS, "memory " + kind, f) for f in ("bytes_per_op", "kept_kb", "trimmed_kb"))
        yield Row(f"bytes a pending {what}, its handle included", bytes_each, must=must, aim=aim)
        yield Row("KiB that malloc (glibc) keeps when 1,000,000 of them are done", kept)
        yield Row("KiB of these after malloc_trim", trimmed)
    size = [d.median("all", OURS, "size", section) for section in ("text", "data", "bss")]
    yield Row("the library, KiB (text, data, bss)", None if None in size else sum(size) / 1024)


def poll_targets(d):
    many = max((int(key[2].split()[1]) for key in d.values if key[2].startswith("poll ")), default=0)
    for what, ns in (("add", "ns_per_op"), ("resolve", "resolve_ns"), ("cancel", "cancel_ns")):
        few, most = (d.median("all", OURS, f"poll {n}", what + "_instructions") for n in (1000, many))
        yield Row(f"poll: {what} one of {many:,}, instructions", most, "of 1,000", few, Limit(1.5))
        yield Row(f"poll: {what} one of {many:,}, ns", d.median("all", OURS, f"poll {many}", ns), aim=at_most(100))


def idle_targets(d):
    def rest(field):
        return d.median("all", OURS, "rest", field)

    seconds = rest("seconds") or 1
    yield Row("W7 five chains of five layers: processor time in 5 s, us", scaled(rest("cpu_ns"), 5 / seconds / 1000), must=at_most(50))
    yield Row(f"W7 wake-ups in {seconds} s", rest("wakeups"), must=at_most(0))
    yield Row(f"W7 system calls in {seconds} s", rest("calls"), must=at_most(0))


def targets(d, setting):
    yield from pool_targets(d, setting, OURS, ", ns")
    yield from pool_targets(d, setting, FREE, ", any order, ns")
    yield from layer_targets(d, setting)
    yield from scaling_target(d, setting)
    yield from stream_targets(d, setting)
    if setting == "all":
        yield from count_targets(d)
        yield from poll_targets(d)
        yield from idle_targets(d)


# --- as Markdown ---


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for cells in rows:
        yield "| " + " | ".join(cells) + " |"


def shown(value, digits=0):
    return "" if value is None else f"{value:,.{digits}f}"


def verdict(limit, ours, relative):
    if limit is None:
        return ""
    value = relative if limit.ratio else ours
    text = f"≤ {limit.value:g}{' ×' if limit.ratio else ''}"
    if value is None:
        return text
    if value <= limit.value:
        return text + ", met"
    if not limit.value:
        return text + ", missed"
    percent = 100 * (value / limit.value - 1)
    return text + f", missed by {percent:.{0 if percent >= 10 else 1}f} %"


def ratio(row):
    return row.ours / row.number if row.ours is not None and row.number else None


def target_table(d, setting, rows=targets):
    def cells(row):
        number = shown(row.number) or "not measured"
        return (row.what, "not measured" if row.ours is None else shown(row.ours, row.digits), f"{row.reference} {number}" if row.reference else "",
                shown(ratio(row), 2), verdict(row.must, row.ours, ratio(row)), verdict(row.aim, row.ours, ratio(row)))

    return table(("", "ours", "reference", "ratio", "must", "aim"), map(cells, rows(d, setting)))


def target_note(d, setting):
    musts = [verdict(row.must, row.ours, ratio(row)) for row in targets(d, setting) if row.must]
    return f"Of {len(musts)} limits that must hold, {sum(must.endswith(', met') for must in musts)} do."


def spread(values):
    return f"{shown(statistics.median(values))} ({shown(min(values))} to {shown(max(values))})" if values else ""


WORKLOADS = ("W1", "W1w", "W2", "W3 counter", "W3 join", "W4w", "W5", "W6w", "W8")


def peer_table(d, setting):
    """In ns an operation."""
    def rows():
        for peer in d.peers(setting):
            cells = [d.get(setting, peer, workload) for workload in WORKLOADS]
            if any(cells):
                yield [peer, *map(spread, cells), shown(d.median(setting, peer, "W1", "rss_per_op"))]

    return table(("", *WORKLOADS, "bytes a future"), rows())


def scaling_table(d, setting):
    """In ns an operation: a row for each number of producers, a column for each of workers."""
    return table(("producers, workers:", *map(str, SIZES)),
                 ([str(p), *(spread(d.get(setting, OURS, f"scaling {p}x{w}")) for w in SIZES)] for p in SIZES))


def scaling_note(d, setting):
    best, worst = scaling_extremes(d, setting)
    if not best[0]:
        return "Not measured."
    return (f"The best is {shown(best[0])} ({best[1]} producers, {best[2]} workers), the worst {shown(worst[0])} ({worst[1]}, {worst[2]}): "
            f"{worst[0] / best[0]:.2f} ×.")


def stream_table(d, setting):
    """In items a second, and two ratios of times."""
    def cells(chain, work):
        ns = {way: stream_item(d, setting, chain, work, way) for way in WAYS}
        ratios = [Row("", ns[way], "", ns[other]) for way, other in (("ordered", "bare"), ("as_completed", "set"))]
        return (CHAINS[chain], WORKS[work], *(shown(1e9 / v if v else None) for v in ns.values()), *(shown(ratio(row), 2) for row in ratios))

    return table(("chain", "work of an item", *WAYS.values(), "stream: time, of submit and wait", "stream, as completed: of as_completed"),
                 (cells(chain, work) for chain in CHAINS for work in WORKS if stream_item(d, setting, chain, work, "ordered")))


def process_note(d):
    bare, *ours = (d.median("one", peer, "process " + way)
                   for peer, way in (("floor_seqpacket", "one 1"), (OURS, "one 1"), (OURS, "flight 1")))
    if None in (bare, *ours):
        return "On one processor: not measured."
    one, flight = (ns / bare for ns in ours)
    return (f"On one processor it is {one:.1f} × the bare ping-pong one at a time (submitter, worker, the pool's thread and submitter take turns, "
            f"where the bare one has two processes), and {flight:.1f} × with 64 in flight, on 1 worker: [bench/results/process.md](bench/results/process.md).")


def process_table(d, setting):
    """In ns a task."""
    return table(("", *(f"{way}, {workers}" for way, workers in map(str.split, PROCESSES))),
                 ([peer, *(spread(d.get(setting, peer, "process " + way)) for way in PROCESSES)] for peer in PROCESS_PEERS))


def payload_table(d, setting):
    """In GB/s, the fastest and the slowest too."""
    def cell(values):
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else ""

    return table(("", "1 worker", "2 workers"),
                 ([peer, *(cell(d.get(setting, peer, f"payload {workers}", "gb_per_s")) for workers in (1, 2))] for peer in PAYLOAD_PEERS))


def count_table(d):
    fields = ("library_mallocs", "mallocs", "futexes", "switches")
    workloads = ("W1", "W2", "W3 counter", "W3 join", "W4", "W5", "W5 links", "W8", "bare", "four layers")
    return table(("an operation", "allocations of the library", "all allocations", "futex calls", "context switches",
                  "floor2: allocations", "futex calls", "context switches"),
                 ([w, *(shown(d.per_op(OURS, w, f), 3) for f in fields), *(shown(d.per_op("floor2", w, f), 3) for f in fields[1:])]
                  for w in workloads))


def other_table(d):
    """What is not time an operation: sizes and rest."""
    def rows():
        for peer in d.peers("all"):
            size = [d.median("all", peer, "size", section) for section in ("text", "data", "bss")]
            rest = [d.median("all", peer, "W7", field) for field in ("ns_per_op", "vol_ctx")]
            if any(v is not None for v in size + rest):
                yield [peer, *map(shown, size), shown(scaled(rest[0], 1e-3)), shown(rest[1])]

    return table(("", "text, bytes", "data", "bss", "W7 an idle pool: processor time in 5 s, us", "context switches (the sleep's own is 1)"), rows())
