#!/usr/bin/env python3
"""What checkpoints cost an application that needs all processors.

The application (busy_application) computes in two threads and changes some of its heap's pages
all the time. Windows in which one checkpoint is taken and windows without alternate, so that other
work on the machine meets both alike; a window lasts as long as between two checkpoints. The loss
is the rounds of computation in a window with a checkpoint against those in the windows beside it.
The agent's own processor time and the freeze say what it should be on a machine with nothing else
to do: (threads * frozen + processor time) / (processors * window).
"""

import argparse
import json
import os
import statistics
import time

import script
from agents import Agent, Store

THREADS = 2
TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid):
    """User and system time of a process and of its children that have ended."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return sum(int(fields[at]) for at in (11, 12, 13, 14)) / TICKS


class BusyAgent(Agent):
    def __init__(self, more, *arguments):
        super().__init__(*arguments)
        self._run += more

    @property
    def pid(self):
        return self._process.pid


class Run:
    def __init__(self, folder, options, nice):
        self._options = options
        self._progress = os.path.join(folder, "progress")
        cache, repository = os.path.join(folder, "cache"), os.path.join(folder, "repository")
        Store(options.snapstore, repository, cache).run("init")
        config = os.path.join(folder, "config.json")
        pages = options.size_mib * 256 * options.percent / 100 / options.seconds
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"config": {
                "name": "busy", "snapshotDestination": "fs-0123abcd",
                "snapshotScheduler": "0 0 1 1 *",
                "runCmd": f"{options.application} {self._progress} {options.size_mib} {pages}"}},
                file)
        self.agent = BusyAgent(["--nice", str(nice)], options.agent, config, repository,
                               os.path.join(folder, "state"), cache,
                               os.path.join(folder, "agent.log"))

    def _rounds(self):
        with open(self._progress, encoding="ascii") as file:
            return int(file.read() or 0)

    def _window(self, with_checkpoint):
        """Rounds a second, and the checkpoint's record."""
        begin, before = time.monotonic(), self._rounds()
        record = self.agent.ask("checkpoint") if with_checkpoint else None
        time.sleep(max(0, begin + self._options.seconds - time.monotonic()))
        return (self._rounds() - before) / (time.monotonic() - begin), record

    def measure(self):
        self.agent.start()
        while not os.path.exists(self._progress) or self._rounds() == 0:
            time.sleep(0.1)
        self.agent.ask("checkpoint")
        self._window(True)
        losses, predicted, frozen, seconds = [], [], [], []
        before, _ = self._window(False)
        for _ in range(self._options.runs):
            spent = processor_seconds(self.agent.pid)
            rate, record = self._window(True)
            spent = processor_seconds(self.agent.pid) - spent
            after, _ = self._window(False)
            losses.append(100 * (1 - rate / ((before + after) / 2)))
            frozen.append(record["frozen_ms"])
            seconds.append(record["seconds"])
            predicted.append(100 * (THREADS * record["frozen_ms"] / 1000 + spent)
                             / (os.cpu_count() * self._options.seconds))
            script.note(f"loss {losses[-1]:.1f} %, foreseen {predicted[-1]:.1f} %, frozen"
                        f" {frozen[-1]:.0f} ms, agent {spent:.2f} s of processor,"
                        f" committed after {seconds[-1]:.2f} s")
            before = after
        return losses, predicted, frozen, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapstore", default=os.path.join(script.BUILD, "tools/snapstore/snapstore"))
    parser.add_argument("--agent", default=os.path.join(
        script.BUILD, "tools/snapstore_agent/snapstore-agent"))
    parser.add_argument("--application", default=os.path.join(script.BUILD, "bench/busy_application"))
    parser.add_argument("--work", default="/var/tmp/snapstore-bench")
    parser.add_argument("--size-mib", type=int, default=1024, help="of the heap")
    parser.add_argument("--percent", type=float, default=1, help="of its pages that change in a window")
    parser.add_argument("--seconds", type=float, default=10, help="of a window")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--nice", type=int, nargs="+", default=[10, 0])
    options = parser.parse_args()
    for nice in options.nice:
        with script.scratch(options.work) as folder:
            run = Run(folder, options, nice)
            try:
                figures = run.measure()
            except RuntimeError as error:
                raise OSError(str(error)) from None
            finally:
                run.agent.kill()
        for name, unit, values in zip(("loss", "foreseen", "frozen", "committed"),
                                      ("%", "%", "ms", "s"), figures):
            print(f"--nice {nice:2} {name:10} {statistics.median(values):8.2f} {unit:2}"
                  f" ({min(values):.2f} to {max(values):.2f}, {len(values)} runs)", flush=True)


if __name__ == "__main__":
    script.start(main)
