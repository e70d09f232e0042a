"""The figures, as `septum bench --attach` measures them between two namespaces."""

import json
import os
import pathlib
import time

from .lab import CLIENT, SERVER

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SEPTUM = os.environ.get("SEPTUM", str(ROOT / "target/release/septum"))

# What is asked of `septum bench`, and the values that are told of it.
FIGURES = {
    "frames": ("--figure frames --flows 1", ("frames",)),
    "frames-100k-flows": ("--figure frames --flows 100000", ("frames-100k-flows",)),
    "tcp": ("--figure tcp", ("tcp",)),
    "round-trip": ("--figure round-trip", ("round-trip", "round-trip-p99")),
    "connections": ("--figure connections", ("connections",)),
}

# Of each value: its key in the figure's object, its unit, whether more is better, and what it is, in words.
VALUES = {
    "frames": ("delivered_per_s", "frames/s", True, "frames of 64 bytes, one flow"),
    "frames-100k-flows": ("delivered_per_s", "frames/s", True, "frames of 64 bytes, 100,000 flows in rotation"),
    "tcp": ("gbit_per_s", "Gbit/s", True, "TCP, one stream"),
    "round-trip": ("p50_us", "us", False, "round trips, median"),
    "round-trip-p99": ("p99_us", "us", False, "round trips, 99th percentile"),
    "connections": ("per_s", "connections/s", True, "new TCP connections"),
}


def measure(lab, figure, seconds):
    """Each value of a figure as {figure, value, unit, ...}."""
    arguments, values = FIGURES[figure]
    command = f"{SEPTUM} bench --attach {CLIENT} {SERVER} {arguments} --seconds {seconds} -o json"
    found = json.loads(lab.run(command))["figures"][0]
    # What it left in queues is none of the next one's.
    time.sleep(1)
    for value in values:
        key, unit, *_ = VALUES[value]
        yield {**found, "figure": value, "value": found[key], "unit": unit}
