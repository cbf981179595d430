"""The data of bench/run.sh: a line that says what was measured, then one of each measurement (JSON)."""
import collections
import json
import os
import statistics
import subprocess

OURS = "executors"


def ask(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def header(build, rounds):
    """The first line, for the build in that folder."""
    cache = {line.split(":")[0]: line.strip().split("=", 1)[1]
             for line in open(build + "/CMakeCache.txt") if "=" in line and line[0] not in "#/"}
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    flags = [cache.get(f"CMAKE_C_FLAGS{suffix}", "") for suffix in ("", "_" + cache["CMAKE_BUILD_TYPE"].upper())]
    print(json.dumps({
        "commit": ask("git", "rev-parse", "--short", "HEAD") + ("+" if ask("git", "status", "--porcelain", "src", "include") else ""),
        "machine": f"{os.cpu_count()} processors, {cpu}; Linux {os.uname().release.split('-')[0]}",
        "compiler": ask(cache["CMAKE_C_COMPILER"], "--version").split("\n")[0],
        "flags": " ".join(filter(None, flags)),
        "rounds": int(rounds),
    }))


def workload_of(line):
    """Its name, with what tells lines of one workload apart."""
    name = line["workload"]
    if name == "W3":
        name += " " + line["variant"]
    if name == "stream":
        name += f" {line['chain']} {line['work']} {line['way']}"
    if name == "process":
        name += f" {line['way']} {line['workers']}"
    if name == "payload":
        name += f" {line['workers']}"
    if name == "poll":
        name += f" {line['n']}"
    if name == "scaling":
        name += f" {line['producers']}x{line['workers']}"
    return name


class Data:
    """The values of all rounds by (setting, peer, workload, field)."""

    def __init__(self, path):
        lines = [json.loads(line) for line in open(path)]
        self.head, self.values, self.left_out = lines[0], collections.defaultdict(list), []
        for line in lines[1:]:
            if "left_out" in line:
                self.left_out.append(f"{line['left_out']} ({line['why']})")
                continue
            for field, value in line.items():
                if isinstance(value, (int, float)):
                    self.values[line["setting"], line["peer"], workload_of(line), field].append(value)

    def get(self, setting, peer, workload, field="ns_per_op"):
        return self.values.get((setting, peer, workload, field), [])

    def median(self, *key):
        values = self.get(*key)
        return statistics.median(values) if values else None

    def per_op(self, peer, workload, field):
        """Of the counts: the median an operation."""
        n, count = self.median("counts", peer, workload, "n"), self.median("counts", peer, workload, field)
        return None if count is None else count / n

    def peers(self, setting):
        found = {key[1] for key in self.values if key[0] == setting}
        return sorted(found, key=lambda p: (not p.startswith(OURS), not p.startswith("floor"), p))
