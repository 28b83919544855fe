#!/usr/bin/env python3
"""The main job, end to end: checkpoint a live application, lose the node, run on elsewhere.

Called by tools/quickstart. Everything it makes lies below --folder; a folder that it did not make
itself is never emptied. Every statement it prints was verified; the first that does not hold ends
it with exit code 1.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import time

import application
from programs import Agent, Store
from report import end_progress, progress, say, size, table
from volume import Volume

MEMORY_MIB = 64
PAGES_PER_TICK = 16
TICK_MS = 200
VOLUME_MIB = 96
REQUESTED_CHECKPOINTS = 3
SECONDS_BETWEEN = 4
TICKS_AFTER_RESUME = 10
MARKER = ".made-by-snapstore-quickstart"


class Demo:
    def __init__(self, options):
        self._folder = os.path.abspath(options.folder)
        self._script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..",
                                    "examples", "datetime-app", "print_datetime_app.py")
        self._script = os.path.normpath(self._script)
        self._node = os.path.join(self._folder, "node")  # what is lost with the node
        self._log = os.path.join(self._node, "app", "datetime_log.txt")
        self._repository = os.path.join(self._folder, "repository")
        self._options = options
        self._volume = None
        self._agent = None
        self._store = None
        self._rows = []
        self._recorded = 0   # checkpoints of the agent that have a row
        self._scheduled = 0  # of these, the ones that came by the schedule
        self._timeline = []
        self._volume_snapshot = None  # (id, checksums) of the newest

    # ---- the node -----------------------------------------------------------------------------

    def prepare_folder(self):
        marker = os.path.join(self._folder, MARKER)
        if os.path.isdir(self._folder) and os.listdir(self._folder):
            if not os.path.exists(marker):
                raise RuntimeError(f"{self._folder} is not empty and not from an earlier run;"
                                   " set SNAPSTORE_QUICKSTART_DIR to another folder")
            self.new_volume().unmount()  # an earlier run may have been killed
            shutil.rmtree(self._folder)
        os.makedirs(self._folder, exist_ok=True)
        with open(marker, "w", encoding="ascii"):
            pass

    def new_volume(self):
        return Volume(os.path.join(self._node, "volume.img"), os.path.join(self._node, "volume"))

    def new_node(self):
        """Folders and handles of a node that has nothing but access to the repository."""
        os.makedirs(os.path.join(self._node, "app"))
        config = os.path.join(self._node, "config.json")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"config": {
                "name": "datetime",
                "runCmd": f"/usr/bin/python3 {self._script} --log {self._log} --tick-ms {TICK_MS}"
                          f" --memory-mib {MEMORY_MIB} --pages-per-tick {PAGES_PER_TICK}",
                "snapshotDestination": "fs-0123abcd",
                "snapshotScheduler": "*/1 * * * *",
                "externalFiles": [self._log],
            }}, file, indent=2)
        cache = os.path.join(self._node, "cache")
        self._volume = self.new_volume()
        self._store = Store(self._options.snapstore, self._repository, cache)
        self._agent = Agent(self._options.agent, config, self._repository,
                            os.path.join(self._node, "state"), cache,
                            os.path.join(self._folder, "agent.log"))

    def release(self):
        """Ends what runs and unmounts what is mounted; called on every way out."""
        if self._agent is not None:
            self._agent.kill()
        if self._volume is not None:
            self._volume.unmount()

    def note(self, what):
        self._timeline.append((time.time(), what))

    def read_log(self):
        """The ticks so far; a line that is being written does not count."""
        with open(self._log, encoding="ascii") as file:
            return application.parse_log(file.read())

    def wait_for_tick(self, number, seconds):
        deadline = time.monotonic() + seconds
        while True:
            ticks = self.read_log() if os.path.exists(self._log) else []
            if ticks and ticks[-1].number >= number:
                return ticks
            if time.monotonic() > deadline:
                raise RuntimeError(f"the application did not reach tick {number} in {seconds} s;"
                                   f" see {self._folder}/agent.log")
            time.sleep(0.02)

    # ---- the steps ----------------------------------------------------------------------------

    def start(self):
        self.prepare_folder()
        self.new_node()
        self._store.run("init")
        self._volume.create(VOLUME_MIB)
        self._volume.mount()
        copied = self._volume.fill("/usr/bin", VOLUME_MIB << 19)
        say(f"volume: ext4, {VOLUME_MIB} MiB, {size(copied)} of real files")
        self._agent.start()
        self.wait_for_tick(5, 30)
        self.note("application started")
        say(f"application started under snapstore-agent; its log is {self._log}")

    def snapshot_volume(self):
        begin = time.monotonic()
        with self._volume.frozen():
            summary = self._store.snapshot(self._volume.image)
        frozen_ms = (time.monotonic() - begin) * 1000
        self._volume_snapshot = (summary["snapshot_id"], self._volume.checksums())
        self._rows.append(("", "volume", f"{frozen_ms:.0f}", size(summary["bytes_total"]),
                           size(summary["bytes_read"]), size(summary["bytes_new"]),
                           size(summary["bytes_stored"])))
        self._volume.change()

    def record(self, checkpoint):
        number = sum(1 for row in self._rows if row[0]) + 1
        self._rows.append((f"{number} ({checkpoint['trigger']})", "memory + log",
                           f"{checkpoint['frozen_ms']:.1f}",
                           size(checkpoint["bytes_captured"] + checkpoint["bytes_external"]),
                           size(checkpoint["bytes_read"]), size(checkpoint["bytes_new"]),
                           size(checkpoint["bytes_stored"])))
        self.note(f"checkpoint {number} ({checkpoint['trigger']})")
        say(f"checkpoint {number} ({checkpoint['trigger']}): frozen"
            f" {checkpoint['frozen_ms']:.1f} ms, {size(checkpoint['bytes_new'])} new,"
            f" {size(checkpoint['bytes_stored'])} stored")
        self.snapshot_volume()

    def watch(self, seconds, until, wanted):
        """Shows the counter until `until()` gives something; None when `seconds` are over."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                found = until()
                left = deadline - time.monotonic()
                if found or left <= 0:
                    return found
                progress(f"counter {self.read_log()[-1].number}, {wanted} within {left:3.0f} s")
                time.sleep(0.5)
        finally:
            end_progress()

    def record_new(self):
        """Records the checkpoints made since the last call, in their order."""
        for checkpoint in self._agent.checkpoints()[self._recorded:]:
            self._recorded += 1
            self._scheduled += checkpoint["trigger"] == "schedule"
            self.record(checkpoint)
        return self._scheduled > 0

    def take_checkpoints(self):
        for _ in range(REQUESTED_CHECKPOINTS):
            self.watch(SECONDS_BETWEEN, lambda: None, "checkpoint on request")
            self._agent.ask("checkpoint")
            self.record_new()
        if not self.watch(150, self.record_new, "checkpoint by the schedule (each minute)"):
            raise RuntimeError("no checkpoint came by the schedule")
        self.watch(SECONDS_BETWEEN, lambda: None, "loss of the node")

    def lose_node(self):
        """SIGKILL, then everything but the repository is wiped. Returns the log's last state."""
        self._agent.kill()
        self.note("SIGKILL of agent and application")
        before = self.read_log()
        time.sleep(3 * TICK_MS / 1000)
        if len(self.read_log()) != len(before):
            raise RuntimeError("the application survived the SIGKILL of its agent")
        self._volume.unmount()
        shutil.rmtree(self._node)
        self.note("log, volume, state and cache wiped")
        say(f"killed at tick {before[-1].number}; log, volume image, agent state and cache wiped")
        return before

    def restore_volume(self):
        snapshot_id, checksums = self._volume_snapshot
        self._store.run("restore", snapshot_id, "--to", self._volume.image)
        self._volume.check()
        self._volume.mount(read_only=True)
        if self._volume.checksums() != checksums:
            raise RuntimeError("a file on the restored volume differs")
        self._volume.unmount()
        self.note("volume restored")
        say(f"volume restored: file system clean, {len(checksums)} files with equal SHA-256")

    def resume(self, before):
        newest = self._store.newest_checkpoint()
        begin = time.monotonic()
        status = self._agent.start()
        if status["restored_from"] != newest:
            raise RuntimeError(f"the agent did not resume from the newest checkpoint {newest}:"
                               f" {status['start_reason']}")
        restored = self.read_log()
        ticks = self.wait_for_tick(restored[-1].number + TICKS_AFTER_RESUME, 60)
        self.note("application runs on")
        resumed_from = next((i for i, (old, new) in enumerate(zip(before, ticks)) if old != new),
                            min(len(before), len(ticks)))
        last, first = before[resumed_from - 1], ticks[resumed_from]
        say(f"application resumed after {time.monotonic() - begin:.1f} s with"
            f" {TICKS_AFTER_RESUME} ticks: counter {last.number} -> {first.number}")
        if resumed_from == 0 or resumed_from == len(before) == len(ticks):
            raise RuntimeError("the log does not show where the application resumed")
        application.expect_uninterrupted(ticks, self._script, MEMORY_MIB, PAGES_PER_TICK)
        say(f"log and memory agree: ticks 1 to {ticks[-1].number} without gap or repetition,"
            " every sum over memory that of an undisturbed run, same process id")
        return last, first

    def finish(self, before, last, first):
        self._agent.stop()
        self._store.run("check", "--read-data")
        say("repository: check --read-data found every byte as written")
        print()
        table(("checkpoint", "what", "frozen ms", "size", "read", "new", "stored"), self._rows)
        print("  The volume is frozen (fsfreeze) while its whole snapshot is taken; the application is"
              " not.\n")
        origin = self._timeline[0][0]
        for when, what in self._timeline:
            print(f"  {when - origin:+8.1f} s  {what}")
        lost = before[-1].number - last.number
        gap = (first.time - before[-1].time).total_seconds()
        print(f"\n  lost: {lost} ticks ({(before[-1].time - last.time).total_seconds():.1f} s of"
              " work since the last checkpoint); nothing before it")
        print(f"  gap:  {gap:.1f} s from the last line before the kill to the first after it")
        print(f"  counter at the checkpoint {last.number}, first after the restore {first.number}\n")
        say("all verified")

    def run(self):
        self.start()
        self.take_checkpoints()
        before = self.lose_node()
        self.new_node()
        self.restore_volume()
        last, first = self.resume(before)
        self.finish(before, last, first)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("--folder", "--snapstore", "--agent"):
        parser.add_argument(name, required=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    demo = Demo(parser.parse_args())
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(demo.release)
        try:
            demo.run()
        except (RuntimeError, OSError, KeyError) as error:
            end_progress()
            print(f"quickstart: error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            end_progress()
            return 130
    return 0


sys.exit(main())
