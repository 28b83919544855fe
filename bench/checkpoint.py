#!/usr/bin/env python3
"""Checkpoints of a live application with a large heap: how long it is frozen, and what is stored.

The application (heap_application.py) runs under snapstore-agent. Between checkpoints it changes
some of its pages at random; what is stored is compared with these pages compressed by zstd -3.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import results
import script

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../tools/quickstart.d"))
from programs import Agent, Store  # noqa: E402

APPLICATION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "heap_application.py")
MIB = 1 << 20


def wait_for(path, seconds=600):
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise OSError(f"{path}: the application did not make it in {seconds} s")
        time.sleep(0.02)


def compressed(path):
    """How many bytes zstd -3 makes of a file."""
    return len(subprocess.run([script.need("zstd", "this benchmark"), "-3", "-q", "-c", path],
                              check=True, capture_output=True).stdout)


def numbers(message):
    """(field, value) of the integers in a protobuf message, those of messages within included."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 2:
            length = varint()
            yield from numbers(message[at:at + length])
            at += length
        else:
            yield key >> 3, varint()


def criu_frozen_seconds(init_pid, folder):
    """How long CRIU itself freezes the application of this cell for a dump to files in `folder`."""
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    criu = os.environ.get("SNAPSTORE_CRIU", "/opt/snapstore/bin/criu")
    subprocess.run(["nsenter", "-t", str(init_pid), "-p", "-m", criu, "dump", "-t", "2", "-D", folder,
                    "-o", "log", "--leave-running", "--file-locks", "--manage-cgroups=ignore"],
                   check=True)
    with open(os.path.join(folder, "stats-dump"), "rb") as file:
        # Two magic numbers and a length come first; 2 is frozen_time, in microseconds.
        return dict(numbers(file.read()[12:]))[2] / 1e6


class Run:
    def __init__(self, folder, options):
        self._options = options
        self._signals = os.path.join(folder, "signals")
        self._images = os.path.join(folder, "images")
        os.mkdir(self._signals)
        os.mkdir(self._images)
        cache = os.path.join(folder, "cache")
        repository = os.path.join(folder, "repository")
        Store(options.snapstore, repository, cache).run("init")
        config = os.path.join(folder, "config.json")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"config": {
                "name": "heap", "snapshotDestination": "fs-0123abcd",
                "snapshotScheduler": "0 0 1 1 *",
                "runCmd": f"{sys.executable} {APPLICATION} {self._signals} {options.size_mib}"
                          f" {options.percent}"}}, file)
        self.agent = Agent(options.agent, config, repository, os.path.join(folder, "state"), cache,
                           os.path.join(folder, "agent.log"),
                           ["--dirty-tracking", options.dirty_tracking])

    def measure(self):
        """Seconds and bytes of each checkpoint but the first, then of a restore."""
        samples = {"frozen": [], "committed": [], "read": [], "stored": []}
        if self._options.criu:
            samples["criu frozen"] = []
        init_pid = self.agent.start()["pid"]
        wait_for(os.path.join(self._signals, "0.done"))
        first = self.agent.ask("checkpoint")
        samples["first frozen"] = [first["frozen_ms"] / 1000]
        samples["first committed"] = [first["seconds"]]
        for number in range(1, self._options.runs + 1):
            wanted = os.path.join(self._signals, str(number))
            with open(wanted, "wb"):
                pass
            wait_for(wanted + ".done")
            record = self.agent.ask("checkpoint")
            samples["frozen"].append(record["frozen_ms"] / 1000)
            samples["committed"].append(record["seconds"])
            if self._options.criu:
                samples["criu frozen"].append(criu_frozen_seconds(init_pid, self._images))
            samples["read"].append(record["bytes_read"] / (self._options.size_mib * MIB))
            samples["stored"].append(record["bytes_stored"] / compressed(wanted + ".pages"))
            script.note(f"checkpoint {number}: frozen {record['frozen_ms']} ms, "
                        f"{record['seconds']:.2f} s, {samples['stored'][-1]:.2f} times the pages")
        self.agent.kill()
        status = self.agent.start()
        samples["restored"] = [status["restore_seconds"]]
        return samples


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapstore", default=os.path.join(script.BUILD, "tools/snapstore/snapstore"))
    parser.add_argument("--agent", default=os.path.join(
        script.BUILD, "tools/snapstore_agent/snapstore-agent"))
    parser.add_argument("--work", default="/var/tmp/snapstore-bench")
    parser.add_argument("--size-mib", type=int, default=1024, help="of the heap")
    parser.add_argument("--percent", type=int, default=1, help="of its pages that change")
    parser.add_argument("--dirty-tracking", choices=("auto", "off"), default="auto",
                        help="as of snapstore-agent run")
    parser.add_argument("--criu", action="store_true",
                        help="also dump with CRIU alone, to files in the folder of --work, each time")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=argparse.FileType("a"))
    options = parser.parse_args()
    with script.scratch(options.work) as folder:
        run = Run(folder, options)
        try:
            samples = run.measure()
        except RuntimeError as error:
            raise OSError(str(error)) from None
        finally:
            run.agent.kill()
        records = [results.result("checkpoint", "snapstore", step,
                                  "ratio" if step in ("read", "stored") else "s", values,
                                  input=f"heap, {options.percent} % of its pages changed,"
                                        f" dirty tracking {options.dirty_tracking}",
                                  bytes=options.size_mib * MIB)
                   for step, values in samples.items()]
        if options.json:
            results.append(options.json, results.machine("checkpoint", folder, {}), *records)
    for record in records:
        print(f"{record['step']:16} {record['median']:.3f} {record['unit']:5} "
              f"({record['min']:.3f} to {record['max']:.3f}, {record['runs']} runs)")


if __name__ == "__main__":
    script.start(main)
