#!/usr/bin/env python3
"""The chunk index of a whole repository: filling, opening, taking over what others wrote, rebuilding.

A stream of blocks of 4 KiB, all different and nearly all zeros, gives many chunks and few stored
bytes. Then the steps that a user meets:

  store      the snapshot of the stream itself
  open       a snapshot of one small file, with the index there
  sync       the same with an empty cache directory: all index segments are read first
  rebuild    'snapstore repair index', which reads the footers of all packs

All but the first include opening the repository and, for open and sync, storing the small file.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import time

import child
import results
import script

BLOCK = 4096
BLOCKS_AT_ONCE = 256
MEGA = 1_000_000
# Mean of the aligned profile.
CHUNK_BYTES = 16 << 10


def write_blocks(out, count):
    """`count` different blocks."""
    piece = bytearray(BLOCK * BLOCKS_AT_ONCE)
    for first in range(1, count + 1, BLOCKS_AT_ONCE):
        for n in range(BLOCKS_AT_ONCE):
            struct.pack_into("<Q", piece, n * BLOCK, first + n)
        out.write(piece)


class Store:
    def __init__(self, folder, options):
        self.cache = os.path.join(folder, "cache")
        self.small = os.path.join(folder, "small")
        self.program = options.snapstore
        self.env = {"SNAPSTORE_REPOSITORY": os.path.join(folder, "repository"),
                    "SNAPSTORE_CACHE_DIR": self.cache}
        self.limit = f"--memory-limit={options.memory_limit}"

    def run(self, *args):
        return child.run([self.program, *args, "--quiet", self.limit], self.env).seconds

    def fill(self, chunks):
        """Seconds, and the chunks that it became."""
        begin = time.monotonic()
        with subprocess.Popen([self.program, "snapshot", "--stdin", "--name", "blocks", "--profile",
                               "aligned", "--json", self.limit], env={**os.environ, **self.env},
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            with process.stdin:
                write_blocks(process.stdin, chunks * CHUNK_BYTES // BLOCK)
            summary = json.loads(process.stdout.read().splitlines()[-1])
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        return time.monotonic() - begin, summary["chunks_new"]

    def snapshot_small(self, number):
        with open(self.small, "w", encoding="ascii") as file:
            file.write(f"{number}\n")
        return self.run("snapshot", "--parent", "none", self.small)


def measure(store, options):
    store.run("init")
    seconds, chunks = store.fill(int(options.millions * MEGA))
    script.note(f"{chunks} chunks in {seconds:.1f} s")
    samples = {"store": [seconds], "open": [], "sync": [], "rebuild": []}
    for number in range(options.runs):
        samples["open"].append(store.snapshot_small(2 * number))
        shutil.rmtree(store.cache)
        samples["sync"].append(store.snapshot_small(2 * number + 1))
        samples["rebuild"].append(store.run("repair", "index"))
        script.note(f"run {number + 1} of {options.runs}: "
                    + ", ".join(f"{step} {taken[-1]:.2f} s" for step, taken in samples.items()
                                if step != "store"))
    return chunks, samples


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--snapstore", default=os.path.join(script.BUILD, "tools/snapstore/snapstore"))
    add("--work", default="/var/tmp/snapstore-bench", help="default %(default)s")
    add("--millions", type=float, default=4, help="of chunks; default %(default)s")
    add("--memory-limit", default="512M", help="default %(default)s")
    add("--runs", type=int, default=5)
    add("--json", type=argparse.FileType("a"), metavar="FILE")
    options = parser.parse_args()
    with script.scratch(options.work) as folder:
        chunks, samples = measure(Store(folder, options), options)
        records = [results.result("index_scale", "snapstore", step, "s", values,
                                  input=f"{chunks} chunks", bytes=chunks * CHUNK_BYTES)
                   for step, values in samples.items()]
        if options.json:
            results.append(options.json, results.machine("index_scale", folder, {}), *records)
    for record in records:
        print(f"{record['step']:8} {record['median']:.2f} s ({record['min']:.2f} to "
              f"{record['max']:.2f}), {chunks / record['median'] / MEGA:.2f} million chunks/s")


if __name__ == "__main__":
    script.start(main)
