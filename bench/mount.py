#!/usr/bin/env python3
"""Reading through `snapstore mount`, beside `restic mount` of the same data and `snapstore dump`.

    bench/mount.py [--runs 3] [--size-mib 1024] [--entries 60000] [--work DIR] [--json FILE]

Data: one file filled with what is in /usr, and a tree of many small files. Steps:
  sequential    the large file from front to back (cat), nothing of it in the page cache
  random_4k     reads of 4 KiB at random places, by one reader, seconds for 2000
  random_64k    the same with 64 KiB, seconds for 500
  find          find -ls over the tree: every entry with its attributes
  dump          `snapstore dump` of the large file (snapstore only)
The programs take turns; each mounts anew for every step, so that nothing is cached. Reads are compared
with the file. Needs root, restic (left out if it is not there) and --work for three times the size.
"""

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import time

import peers
import results
import script

MIB = 1 << 20
STEPS = ("sequential", "random_4k", "random_64k", "find", "dump")
READS = {"random_4k": (4096, 2000), "random_64k": (65536, 500)}
MOUNT_SECONDS = 60


def make_large(path, size):
    """A file of `size` bytes: what the files of /usr hold, one after the other."""
    left = size
    with open(path, "wb") as out:
        for folder, folders, names in os.walk("/usr"):
            folders.sort()
            for name in sorted(names):
                source = os.path.join(folder, name)
                if os.path.islink(source) or not os.path.isfile(source):
                    continue
                with open(source, "rb") as file:
                    data = file.read(left)
                out.write(data)
                left -= len(data)
                if left == 0:
                    return
    raise ValueError(f"/usr holds {left} bytes less than are needed: lower --size-mib")


def make_tree(path, entries):
    for i in range(entries):
        folder = os.path.join(path, f"d{i // 300}")
        if i % 300 == 0:
            os.makedirs(folder)
        with open(os.path.join(folder, f"file-{i}"), "wb") as file:
            file.write(b"%d\n" % i * 40)


class Mount:
    """A mounted repository; `path(x)` is where x, an absolute path, is in it."""

    def __init__(self, tool, command, folder, prefix):
        self.tool = tool
        self.command = command
        self.folder = folder
        self.prefix = prefix

    def path(self, path):
        return os.path.join(self.folder, self.prefix, path.lstrip("/"))

    @contextlib.contextmanager
    def mounted(self, path):
        os.makedirs(self.folder, exist_ok=True)
        process = subprocess.Popen([*self.command, self.folder], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env={**os.environ, **self.tool.env()})
        try:
            deadline = time.monotonic() + MOUNT_SECONDS
            while not os.path.exists(self.path(path)):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise OSError(f"{self.tool.name} mount did not come up")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            subprocess.run(["umount", "--lazy", self.folder], stderr=subprocess.DEVNULL)


def read_at_random(path, original, step, seed):
    size, count = READS[step]
    picks = random.Random(seed)
    with open(path, "rb", buffering=0) as file, open(original, "rb", buffering=0) as truth:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        total = os.path.getsize(original)
        spent = 0.0
        for _ in range(count):
            at = picks.randrange(total - size)
            begin = time.monotonic()
            data = os.pread(file.fileno(), size, at)
            spent += time.monotonic() - begin
            if data != os.pread(truth.fileno(), size, at):
                raise ValueError(f"{path}: wrong bytes at {at}")
    return spent


def timed(*command, env=None):
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                   env={**os.environ, **(env or {})})
    return time.monotonic() - begin


def measure(mount, step, large, tree, seed):
    if step == "dump":
        if not isinstance(mount.tool, peers.Snapstore):
            return None
        return timed(mount.tool.binary, "dump", "latest", large, env=mount.tool.env())
    with mount.mounted(tree if step == "find" else large):
        if step == "find":
            return timed("find", mount.path(tree), "-ls")
        if step == "sequential":
            return timed("dd", f"if={mount.path(large)}", "of=/dev/null", "bs=1M", "status=none")
        return read_at_random(mount.path(large), large, step, seed)


def run(options):
    with script.scratch(options.work) as scratch:
        large = os.path.join(scratch, "data/large")
        tree = os.path.join(scratch, "data/tree")
        os.makedirs(tree)
        make_large(large, options.size_mib * MIB)
        make_tree(tree, options.entries)
        snapstore = peers.Snapstore(scratch, options.snapstore)
        mounts = [Mount(snapstore, [options.snapstore, "mount"], f"{scratch}/mnt-snapstore",
                        "latest")]
        restic = peers.Restic(scratch)
        try:
            script.need("restic", "the comparison")
            mounts.append(Mount(restic, ["restic", "mount"], f"{scratch}/mnt-restic",
                                "snapshots/latest"))
        except OSError as error:
            script.note(str(error))
        for mount in mounts:
            mount.tool.start()
            mount.tool.backup(os.path.join(scratch, "data"))
        samples = {}
        for number in range(options.runs):
            for step in STEPS:
                for mount in mounts:
                    seconds = measure(mount, step, large, tree, number)
                    if seconds is not None:
                        samples.setdefault((step, mount.tool.name), []).append(seconds)
                        script.note(f"{step} {mount.tool.name}: {seconds:.2f} s")
        return samples, {mount.tool.name: mount.tool.version() for mount in mounts}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--entries", type=int, default=60000)
    parser.add_argument("--work", default="/var/tmp/snapstore-bench")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--snapstore", default=os.path.join(script.BUILD, "tools/snapstore/snapstore"))
    options = parser.parse_args()
    samples, versions = run(options)
    print(f"{'step':12} {'program':10} {'median':>9} {'spread':>17}  ratio to snapstore")
    for (step, name), seconds in samples.items():
        median = statistics.median(seconds)
        base = statistics.median(samples[step, peers.SNAPSTORE])
        print(f"{step:12} {name:10} {median:8.2f}s {min(seconds):7.2f}-{max(seconds):.2f}s"
              f"  {median / base:6.2f}")
    if options.json:
        with open(options.json, "a", encoding="utf-8") as out:
            results.append(out, results.machine("mount.py", options.work, versions), *(
                results.result("mount", name, step, "s", seconds, input=f"{options.size_mib} MiB")
                for (step, name), seconds in samples.items()))


script.start(main)
