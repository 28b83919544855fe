#!/usr/bin/env python3
"""snapstore beside restic and borg, on the same input in the same run.

    bench/end_to_end.py [--size-mib 3072] [--runs 5] [--work DIR] [--json FILE] [--input image|redis]…

Inputs are real data made from this machine:
  image   an ext4 file system image filled from /usr, and a second version of it in which 2 % of the
          files were edited
  redis   CRIU's images of a Redis server with 200 000 keys, dumped twice with writes between

Each program makes a repository, takes a first snapshot, one of the next version, one of the same
bytes under new time stamps (rescan: all is read, nothing is new), one of the untouched input
(unchanged: time stamps tell), and restores. All read from the page cache and write to the same file system.
The programs take turns, so that a drift of the machine's speed hits all alike. Prints medians, and
snapstore's advantage as a ratio (above 1: snapstore is faster or smaller). With --json each result
is appended as one line.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

import inputs

STEPS = ("first", "next", "rescan", "unchanged", "restore")
# snapstore reads a file again when its time stamps are less than two seconds older than the
# snapshot before.
SETTLE_SECONDS = 2.2


# A program inherits the peak memory of the process that forked it, so that process must be small.
MEASURED = """
import json, os, resource, subprocess, sys, time
begin = time.monotonic()
code = subprocess.call(sys.argv[2:])
seconds = time.monotonic() - begin
peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
os.write(int(sys.argv[1]), json.dumps([code, seconds, peak_kib]).encode())
"""


class Tool:
    """One program under test: a fresh repository per run."""

    def __init__(self, work):
        self.repo = os.path.join(work, f"repo-{self.name}")
        self.cache = os.path.join(work, f"cache-{self.name}")
        self.out = os.path.join(work, f"out-{self.name}")
        self.peak_mib = 0.0

    def run(self, *args, cwd=None):
        results, results_end = os.pipe()
        process = subprocess.run([sys.executable, "-S", "-c", MEASURED, str(results_end), *args],
                                 env={**os.environ, **self.env()}, cwd=cwd, check=True,
                                 pass_fds=[results_end], capture_output=True)
        code, seconds, peak_kib = json.loads(os.read(results, 4096))
        os.close(results)
        os.close(results_end)
        if code != 0:
            sys.exit(f"{' '.join(args)} failed: {process.stderr.decode(errors='replace')}")
        self.peak_mib = max(self.peak_mib, peak_kib / 1024)
        return seconds, process.stdout

    def clean(self):
        for path in (self.repo, self.cache, self.out):
            shutil.rmtree(path, ignore_errors=True)

    def stored(self):
        return sum(os.path.getsize(os.path.join(folder, name))
                   for folder, _, names in os.walk(self.repo) for name in names)


class Snapstore(Tool):
    name = "snapstore"

    def __init__(self, work, binary):
        super().__init__(work)
        self.binary = binary

    def env(self):
        return {"SNAPSTORE_REPOSITORY": self.repo, "SNAPSTORE_CACHE_DIR": self.cache}

    def init(self):
        self.run(self.binary, "init", "--quiet")

    def backup(self, path):
        return self.run(self.binary, "snapshot", "--quiet", path)[0]

    def restore(self, path):
        return self.run(self.binary, "restore", "latest", "--quiet", "--target", self.out)[0]


class Restic(Tool):
    name = "restic"

    def env(self):
        return {"RESTIC_REPOSITORY": self.repo, "RESTIC_CACHE_DIR": self.cache,
                "RESTIC_PASSWORD": "benchmark"}

    def init(self):
        self.run("restic", "init", "--quiet")

    def backup(self, path):
        return self.run("restic", "backup", "--quiet", path)[0]

    def restore(self, path):
        return self.run("restic", "restore", "latest", "--quiet", "--target", self.out)[0]


class Borg(Tool):
    name = "borg"
    count = 0

    def env(self):
        return {"BORG_REPO": self.repo, "BORG_BASE_DIR": self.cache,
                "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def init(self):
        self.run("borg", "init", "--encryption=none")

    def backup(self, path):
        Borg.count += 1
        self.last = f"::a{Borg.count}"
        return self.run("borg", "create", "--compression=zstd,1", self.last, path)[0]

    def restore(self, path):
        os.makedirs(self.out)
        return self.run("borg", "extract", "--sparse", self.last, cwd=self.out)[0]


def measure(tool, versions):
    """One run: seconds per step, and bytes stored after first and next version."""
    tool.clean()
    tool.init()
    results = {}
    place = versions.place(0)
    results["first"] = tool.backup(place)
    results["stored_first"] = tool.stored()
    place = versions.place(1)
    results["next"] = tool.backup(place)
    results["stored_next"] = tool.stored()
    versions.touch()
    results["rescan"] = tool.backup(place)
    time.sleep(SETTLE_SECONDS)
    tool.backup(place)
    results["unchanged"] = tool.backup(place)
    results["restore"] = tool.restore(place)
    versions.verify(os.path.join(tool.out, place.lstrip("/")))
    tool.clean()
    return results


def report(name, versions, tools, samples, json_file):
    size = versions.size()
    print(f"\n{name}: {size / 1e6:.0f} MB, medians of {len(samples['snapstore'])} runs")
    print(f"  {'':12}" + "".join(f"{tool.name:>22}" for tool in tools))
    medians = {tool.name: {key: statistics.median(run[key] for run in samples[tool.name])
                           for key in samples[tool.name][0]} for tool in tools}
    ours = medians["snapstore"]
    for key in (*STEPS, "stored_first", "stored_next"):
        cells = []
        for tool in tools:
            value = medians[tool.name][key]
            shown = f"{value / 1e6:.1f} MB" if key.startswith("stored") else f"{value:.2f} s"
            ratio = "" if tool.name == "snapstore" else f" ({value / ours[key]:.2f}x)"
            cells.append(f"{shown + ratio:>22}")
            if json_file:
                spread = [run[key] for run in samples[tool.name]]
                json_file.write(json.dumps({
                    "input": name, "bytes": size, "tool": tool.name, "step": key,
                    "median": value, "min": min(spread), "max": max(spread),
                    "runs": len(spread)}) + "\n")
        print(f"  {key:12}" + "".join(cells))
    print(f"  {'peak RSS':12}" + "".join(f"{tool.peak_mib:>18.0f} MiB" for tool in tools))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--snapstore", default=os.path.join(
        here, "../build/release/tools/snapstore/snapstore"))
    parser.add_argument("--size-mib", type=int, default=3072, help="of the ext4 image")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="chooses the edited files")
    parser.add_argument("--work", default="/var/tmp/snapstore-bench")
    parser.add_argument("--json", type=argparse.FileType("a"))
    parser.add_argument("--input", action="append", choices=("image", "redis"))
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    for name in args.input or ("image", "redis"):
        make = inputs.ImagePair if name == "image" else inputs.RedisDumps
        versions = make(os.path.join(args.work, name), random.Random(args.seed), args.size_mib)
        tools = [Snapstore(args.work, os.path.abspath(args.snapstore)), Restic(args.work),
                 Borg(args.work)]
        samples = {tool.name: [] for tool in tools}
        for run in range(args.runs):
            for tool in tools:
                print(f"\r{name}: run {run + 1} of {args.runs}, {tool.name:10}", end="",
                      file=sys.stderr, flush=True)
                samples[tool.name].append(measure(tool, versions))
        print(file=sys.stderr)
        report(name, versions, tools, samples, args.json)


if __name__ == "__main__":
    main()
