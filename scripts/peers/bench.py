"""The figures, as `septum bench --attach` measures them between two namespaces."""

import json
import os
import pathlib

from .lab import CLIENT, SERVER

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SEPTUM = os.environ.get("SEPTUM", str(ROOT / "target/release/septum"))

FIGURES = ("frames", "frames-100k-flows", "tcp", "round-trip", "connections")

# What of a figure's object is compared, its unit, and whether more is better.
VALUES = {
    "frames": ("delivered_per_s", "frames/s", True),
    "frames-100k-flows": ("delivered_per_s", "frames/s", True),
    "tcp": ("gbit_per_s", "Gbit/s", True),
    "round-trip": ("p50_us", "us", False),
    "connections": ("per_s", "connections/s", True),
}


def measure(lab, figures, seconds):
    """Each figure as {figure, value, unit, ...}."""
    for figure in figures:
        name, flows = ("frames", 100_000) if figure == "frames-100k-flows" else (figure, 1)
        command = f"{SEPTUM} bench --attach {CLIENT} {SERVER} --figure {name} --seconds {seconds} --flows {flows} -o json"
        found = json.loads(lab.run(command))["figures"][0]
        key, unit, _ = VALUES[figure]
        yield {**found, "figure": figure, "value": found[key], "unit": unit}
