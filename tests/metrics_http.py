#!/usr/bin/python3
"""The metrics of examples/metrics.c, read over HTTP with the parser of prometheus_client, against what the program says it did.

Usage: metrics_http.py PROGRAM. The last line counts the tests."""
import re
import subprocess
import sys
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

COUNTERS = """exec_total future_total future_cancel_total future_error_total future_time_seconds_total poll_total poll_error_total
    poll_time_seconds_total retry_total retry_delay_seconds_total timeout_total shutdown_cancel_total""".split()
GAUGES = "exec_inprogress future_inprogress retry_queue throttle_queue".split()

NAMES = [
    ("shop", "order"),
    ('the "old" shop', 'order "now"'),
    ("back\\slash\\", "\\n is no newline"),
    ("two\nlines", '\\"\n\\'),
    ("straße €", "🎲"),
]


def get(url):
    with urllib.request.urlopen(url, timeout=60) as response:
        return response.headers["Content-Type"], response.read().decode("utf-8")


def expect(what, is_, should):
    if is_ != should:
        raise AssertionError(f"{what}: {is_!r}, not {should!r}")


def families(text):
    found = {}
    for family in text_string_to_metric_families(text):
        # The parser takes _total off the names of counters.
        name = family.name + ("_total" if family.type == "counter" else "")
        expect("prefix of " + name, name[:10], "executors_")
        expect("a second family " + name, name in found, False)
        found[name[10:]] = family
    return found


def sample(family, **labels):
    values = [s.value for s in family.samples if s.labels == labels]
    expect(f"samples of {family.name} with {labels}", len(values), 1)
    return values[0]


def check(program, name, task):
    with subprocess.Popen([program, name, task], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            calls, attempts, failed, cancelled = map(int, re.findall(r"\d+", process.stdout.readline()))
            kind, text = get(url)
            expect("Content-Type", kind, "text/plain; version=0.0.4; charset=utf-8")
            check_text(text, name, task, calls, attempts, failed, cancelled)
            expect("alive", get(url.replace("/metrics", "/alive"))[1], "0 not done\n")
            try:
                get(url + "/no")
                raise AssertionError("a page that is none")
            except urllib.error.HTTPError as error:
                expect("status", error.code, 404)
        finally:
            process.stdin.close()
            expect("exit status", process.wait(60), 0)


def check_text(text, name, task, calls, attempts, failed, cancelled):
    found = families(text)
    expect("families", sorted(found), sorted(COUNTERS + GAUGES))
    for family in found:
        expect("type of " + family, found[family].type, "counter" if family in COUNTERS else "gauge")
        expect("help of " + family, bool(found[family].documentation), True)
        for one in found[family].samples:
            expect("executor", one.labels["executor"], name)
            expect("labels", set(one.labels) - {"task"}, {"executor", "type"})
    for type_ in "timeout", "throttle", "retry", "thread_pool":
        expect("exec_total", sample(found["exec_total"], executor=name, type=type_), 1)
        expect("exec_inprogress", sample(found["exec_inprogress"], executor=name, type=type_), 1)
    top = {"executor": name, "type": "timeout", "task": task}
    expect("calls", sample(found["future_total"], **top), calls)
    expect("cancelled", sample(found["future_cancel_total"], **top), cancelled)
    expect("failed", sample(found["future_error_total"], **top), failed)
    expect("under way", sample(found["future_inprogress"], **top), 0)
    expect("unnamed", sample(found["future_total"], executor=name, type="timeout"), 0)
    expect("attempts", sample(found["future_total"], executor=name, type="thread_pool"), attempts)
    expect("retries", sample(found["retry_total"], executor=name, type="retry"), attempts - calls)
    expect("timeouts", sample(found["timeout_total"], executor=name, type="timeout"), 0)
    delay = sample(found["retry_delay_seconds_total"], executor=name, type="retry")
    took = sample(found["future_time_seconds_total"], **top)
    expect("backoff of 0.01 s or more each", delay >= 0.01 * (attempts - calls), True)
    expect("it took longer than its backoffs", took > delay, True)
    for gauge, type_ in ("retry_queue", "retry"), ("throttle_queue", "throttle"):
        expect(gauge, sample(found[gauge], executor=name, type=type_), 0)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: metrics_http.py PROGRAM: the example metrics, as it was built")
    failed = 0
    for name, task in NAMES:
        try:
            check(sys.argv[1], name, task)
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"{name!r}, {task!r}: {error}")
    print(f"{len(NAMES) - failed} passed, {failed} failed")
    return failed > 0


sys.exit(main())
