"""The plot of bench/results: what one operation costs, by workload, with minimum and maximum."""
import statistics
import subprocess

# Title, colour, and the peers of that family; the first that has the workload stands for it.
FAMILIES = (
    ("executors", "#d62728", ("executors",)),
    ("floor", "#7f7f7f", ("floor2_stack_spin300_coal20", "floor2_mutex_spin0", "floor_wheel")),
    ("TBB", "#1f77b4", ("tbb_task_group", "tbb_arena_promise")),
    ("libuv", "#2ca02c", ("libuv",)),
    ("GLib", "#ff7f0e", ("glib_gthreadpool", "glib_timeout", "glib_asyncqueue")),
    ("Boost.Asio", "#9467bd", ("boost_asio", "boost_asio_steady_timer")),
)
WORKLOADS = (
    ("W1w", "W1 submit,\\nwait, read"), ("W4w", "W4 four\\nproducers"), ("W2", "W2 round\\ntrip"), ("W3 counter", "W3 tree,\\ncounter"),
    ("W3 join", "W3 tree,\\njoin"), ("W5", "W5\\ncontinuation"), ("W6w", "W6\\ntimer"), ("W8", "W8 as\\ncompleted"),
)


def bar(d, peers, workload):
    values = next(filter(None, (d.get("all", peer, workload) for peer in peers)), None)
    return f"{statistics.median(values):.1f} {min(values):.1f} {max(values):.1f}" if values else "? ? ?"


def plot(d, file, terminal="svg"):
    data = [f'"{title}" ' + " ".join(bar(d, peers, workload) for _, _, peers in FAMILIES) for workload, title in WORKLOADS]
    bars = [f"$data using {3 * i + 2}:{3 * i + 3}:{3 * i + 4}{':xtic(1)' if i == 0 else ''} title '{title}' linecolor '{colour}'"
            for i, (title, colour, _) in enumerate(FAMILIES)]
    subprocess.run(["gnuplot"], text=True, check=True, input="\n".join([
        f"set terminal {terminal} size 1100,440 font 'sans,12' background '#ffffff'", f"set output '{file}'",
        "set style data histograms", "set style histogram errorbars gap 1.5 linewidth 1", "set style fill solid 0.85 border -1", "set boxwidth 1",
        "set logscale y", "set xrange [-0.7:7.5]", "set yrange [5:*]", "set format y '%.0f'", "set bars 0.6", "set grid ytics",
        "set xtics scale 0", "set ylabel 'ns an operation: median, minimum, maximum'", "set bmargin 3.5",
        "set key outside top center horizontal samplen 1.5 width 2", "set datafile missing '?'",
        "$data << EOD", *data, "EOD", "plot " + ", ".join(bars), ""]))
