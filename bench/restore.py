#!/usr/bin/env python3
"""Restores of a live application with a large heap: how long until it answers.

The application (heap_server.py) runs under snapstore-agent and is checkpointed once. Then, by turns,
the agent restores it lazily and whole, and CRIU alone restores the same application from files in
memory. Each time is until an answer that needs a page in the middle of the heap.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import results
import script
from agents import Agent, Store

APPLICATION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "heap_server.py")
MIB = 1 << 20
CRIU_OPTIONS = ["--tcp-close", "--manage-cgroups=ignore", "-v0"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, page, seconds):
    """The answer about a page, as soon as the application serves."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"%d\n" % page)
                line = connection.makefile("rb").readline()
                if line:
                    mark, total = line.split()
                    if int(mark) != page:
                        raise OSError(f"page {page} says that it is page {int(mark)}")
                    return int(total)
        except ConnectionError:
            pass
        if time.monotonic() > deadline:
            raise OSError(f"the application did not answer in {seconds} s")
        time.sleep(0.002)


def wait_until_gone(port, seconds=60):
    """An application whose agent was killed may answer for a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return
        except ConnectionError:
            pass
        if time.monotonic() > deadline:
            raise OSError(f"the application is still there after {seconds} s")
        time.sleep(0.002)


class Expected:
    """Pages and what was answered about them before the first checkpoint."""

    def __init__(self, port, pages):
        rng = random.Random(1)
        self._port = port
        self.middle = pages // 2
        self._chosen = [self.middle, 0, pages - 1] + [rng.randrange(pages) for _ in range(200)]
        self._answers = [ask(port, page, 600) for page in self._chosen]

    def check(self):
        for page, wanted in zip(self._chosen, self._answers):
            if ask(self._port, page, 60) != wanted:
                raise OSError(f"page {page} is not what it was")


class Run:
    def __init__(self, folder, options):
        self._options = options
        self._folder = folder
        self._port = free_port()
        self._command = [sys.executable, APPLICATION, str(self._port), str(options.size_mib)]
        cache = os.path.join(folder, "cache")
        repository = os.path.join(folder, "repository")
        Store(options.snapstore, repository, cache).run("init")
        config = os.path.join(folder, "config.json")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"config": {"name": "heap", "snapshotDestination": "fs-0123abcd",
                                  "snapshotScheduler": "0 0 1 1 *",
                                  "runCmd": " ".join(self._command)}}, file)

        def agent(lazy):
            return Agent(options.agent, config, repository, os.path.join(folder, "state"), cache,
                         os.path.join(folder, "agent.log"), ["--lazy", lazy])
        self._agents = {"lazy": agent("on"), "whole": agent("off")}
        self._expected = None

    def prepare(self):
        first = self._agents["whole"]
        first.start()
        ask(self._port, 0, 600)
        self._expected = Expected(self._port, self._options.size_mib * MIB // 4096)
        first.ask("checkpoint")
        self._lose(first)

    def restore(self, kind, samples):
        agent = self._agents[kind]
        began = time.monotonic()
        agent.launch()
        ask(self._port, self._expected.middle, 60)
        samples[f"{kind}: first answer"].append(time.monotonic() - began)
        status = agent.wait_until_running()
        samples[f"{kind}: restored"].append(status["restore_seconds"])
        self._expected.check()
        if kind == "lazy":
            while status["lazy_memory"]["bytes_missing"] > 0:
                time.sleep(0.02)
                status = agent.ask("status")
            samples["lazy: all there"].append(time.monotonic() - began)
            self._expected.check()
        self._lose(agent)

    def _lose(self, agent):
        agent.kill()
        wait_until_gone(self._port)

    def close(self):
        for agent in self._agents.values():
            agent.kill()


class CriuAlone:
    """The same application, dumped to and restored from files in memory, without the agent."""

    def __init__(self, options, port):
        self._criu = options.criu
        self._port = port
        self._options = options
        self._images = "/dev/shm/snapstore-bench-criu"
        self._cell = None

    def _start(self, shell):
        self._cell = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--mount", "--fork",
             "--kill-child=KILL", "--mount-proc", "sh", "-c", shell],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def dump(self):
        subprocess.run(["rm", "-rf", self._images], check=True)
        os.mkdir(self._images)
        options = " ".join(CRIU_OPTIONS)
        application = f"{sys.executable} {APPLICATION} {self._port} {self._options.size_mib}"
        self._start(f"setsid {application} </dev/null >/dev/null 2>&1 & app=$!;"
                    f" while ! test -e {self._images}/go; do sleep 0.05; done;"
                    f" {self._criu} dump -t $app -D {self._images} {options}"
                    f" && touch {self._images}/done; wait")
        ask(self._port, 0, 600)
        with open(os.path.join(self._images, "go"), "wb"):
            pass
        self._cell.wait()
        if not os.path.exists(os.path.join(self._images, "done")):
            raise OSError("criu dump failed")

    def restore(self, samples, page):
        options = " ".join(CRIU_OPTIONS)
        self._start(f"echo 20000 > /proc/sys/kernel/ns_last_pid; {self._criu} restore -d"
                    f" -D {self._images} {options}; exec sleep 600")
        began = time.monotonic()
        ask(self._port, page, 60)
        samples["criu alone: first answer"].append(time.monotonic() - began)
        self.close()

    def close(self):
        if self._cell is not None and self._cell.poll() is None:
            self._cell.send_signal(signal.SIGTERM)
            self._cell.kill()
            self._cell.wait()

    def remove(self):
        self.close()
        subprocess.run(["rm", "-rf", self._images], check=True)


def measure(run, alone, options):
    samples = {"lazy: first answer": [], "lazy: restored": [], "lazy: all there": [],
               "whole: first answer": [], "whole: restored": [], "criu alone: first answer": []}
    run.prepare()
    alone.dump()
    middle = options.size_mib * MIB // 4096 // 2
    for turn in range(options.runs):
        run.restore("lazy", samples)
        run.restore("whole", samples)
        alone.restore(samples, middle)
        script.note(f"turn {turn + 1}: " + ", ".join(f"{step} {values[-1]:.2f} s"
                                                     for step, values in samples.items()))
    return samples


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapstore", default=os.path.join(script.BUILD, "tools/snapstore/snapstore"))
    parser.add_argument("--agent", default=os.path.join(
        script.BUILD, "tools/snapstore_agent/snapstore-agent"))
    parser.add_argument("--criu", default=os.environ.get("SNAPSTORE_CRIU",
                                                         "/opt/snapstore/bin/criu"))
    parser.add_argument("--work", default="/var/tmp/snapstore-bench")
    parser.add_argument("--size-mib", type=int, default=1024, help="of the heap")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=argparse.FileType("a"))
    options = parser.parse_args()
    with script.scratch(options.work) as folder:
        run = Run(folder, options)
        alone = CriuAlone(options, free_port())
        try:
            samples = measure(run, alone, options)
        except RuntimeError as error:
            raise OSError(str(error)) from None
        finally:
            run.close()
            alone.remove()
        records = [results.result("restore", "snapstore", step, "s", values, input="heap",
                                  bytes=options.size_mib * MIB)
                   for step, values in samples.items()]
        if options.json:
            results.append(options.json, results.machine("restore", folder, {}), *records)
    for record in records:
        print(f"{record['step']:26} {record['median']:.3f} {record['unit']:5} "
              f"({record['min']:.3f} to {record['max']:.3f}, {record['runs']} runs)")


if __name__ == "__main__":
    script.start(main)
