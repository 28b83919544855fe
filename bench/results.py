"""Results as JSON lines: one that says on which machine a script ran, then one a figure."""

import json
import os
import platform
import re
import statistics
import subprocess
import time
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))


class Session(NamedTuple):
    """What one run of a script found out."""
    machine: dict
    results: list


def version(*command):
    """The version that a program says it has."""
    output = subprocess.run(command, check=True, capture_output=True).stdout.decode()
    found = re.search(r"\d+(\.\d+)+", output) or re.search(r"\d+", output)
    return found[0] if found else "unknown"


def machine(script, work, versions):
    """The line that says where and with what the figures after it were taken."""
    commit = _git("rev-parse", "HEAD") or "unknown"
    return {
        "benchmark": "machine", "script": script, "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": int(_field("/proc/meminfo", "MemTotal").split()[0]) << 10,
        "kernel": platform.release(), "commit": commit,
        "uncommitted": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "file_system": file_system(work), "versions": versions}


def file_system(path):
    """The type of the file system that holds `path`."""
    return subprocess.run(["df", "--output=fstype", path], check=True,
                          capture_output=True).stdout.split()[-1].decode()


def result(benchmark, tool, step, unit, samples, **more):
    """The line of one figure."""
    return {"benchmark": benchmark, **more, "tool": tool, "step": step, "unit": unit,
            "median": statistics.median(samples), "min": min(samples), "max": max(samples),
            "runs": len(samples), "samples": samples}


def append(file, *records):
    for record in records:
        file.write(json.dumps(record) + "\n")
    file.flush()


def read(paths):
    """The sessions of all files, in order."""
    sessions = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            lines = [line for line in file if line.strip()]
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                if record["benchmark"] == "machine":
                    sessions.append(Session(record, []))
                else:
                    sessions[-1].results.append(record)
            except (ValueError, KeyError, IndexError, TypeError):
                raise ValueError(f"{path}:{number}: not a result of these benchmarks") from None
    return sessions


def _git(*command):
    done = subprocess.run(["git", "--no-optional-locks", "-C", HERE, *command],
                          capture_output=True, text=True)
    return done.stdout.strip()


def _field(path, name):
    with open(path, encoding="utf-8") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return "unknown"
