#!/usr/bin/env python3
"""What this machine can do: the bounds that snapstore's figures are to be compared with.

    bench/ceilings.py [--runs 5] [--size-mib 2048] [--work DIR] [--json FILE]

  memcpy           one core copies a buffer far larger than its caches
  xxh3             chunk ids of 16 KiB each, from memory, with the project's own code
  zstd_1, unzstd   zstd's built-in benchmark with level 1, on pieces of the files in /usr that
                   end_to_end.py fills its image with
  read, write      fio, one thread, 1 MiB at a time, in --work: buffered, that is from and into
                   the page cache, and O_DIRECT
  tmpfs_write      fio into a new file in /dev/shm

All figures are bytes a second by the clock on the wall. What lacks its program, or what the file
system refuses, is left out, and standard error says so. Prints a table; with --json each figure is
appended as one line, for report.py.
"""

import argparse
import ctypes
import json
import os
import re
import shutil
import subprocess
import time

import inputs
import report
import results
import script

BUFFER = 256 << 20
SAMPLE = 256 << 20
IMAGE_MIB = 3072  # of end_to_end.py
SHARED_MEMORY = "/dev/shm"
ZSTD_SPEEDS = re.compile(rb"([\d.]+) MB/s,\s+([\d.]+) MB/s")


def at_once(count, *command):
    """The standard outputs of `count` processes that run the same at the same time."""
    processes = []
    try:
        for _ in range(count):
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE,
                                              stderr=subprocess.PIPE))
        outputs = [process.communicate() for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    for process, (_, errors) in zip(processes, outputs):
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, stderr=errors)
    return [output for output, _ in outputs]


class Memcpy:
    """The C library's copy between two buffers whose pages are there already."""

    COPIES = 4
    input = "buffer"
    bytes = COPIES * BUFFER

    def __init__(self):
        self.buffers = [ctypes.create_string_buffer(BUFFER) for _ in range(2)]
        for number, buffer in enumerate(self.buffers):
            ctypes.memset(buffer, number + 1, BUFFER)

    def __call__(self):
        begin = time.monotonic()
        for _ in range(self.COPIES):
            ctypes.memmove(self.buffers[0], self.buffers[1], BUFFER)
        return self.bytes / (time.monotonic() - begin)


class ChunkIds:
    """Keyed XXH3-128 by `chunker_bench`, on so many cores."""

    input = "buffer"
    bytes = BUFFER

    def __init__(self, cores):
        self.cores = cores
        self.program = script.need(os.path.join(script.BUILD, "bench/chunker_bench"),
                                   "xxh3")

    def __call__(self):
        outputs = at_once(self.cores, self.program, "--benchmark_format=json",
                          f"--benchmark_filter=BM_ChunkId/{BUFFER}$")
        runs = [json.loads(output)["benchmarks"][0] for output in outputs]
        return sum(BUFFER / run["real_time"] * 1e9 for run in runs)


class Zstd:
    """Compression with level 1 on so many cores."""

    input = "usr"

    def __init__(self, cores, sample):
        self.bytes = os.path.getsize(sample)
        self.command = (script.need("zstd", "zstd_1"), "-b1", "-i1", f"-T{cores}", sample)

    def __call__(self):
        return float(ZSTD_SPEEDS.findall(at_once(1, *self.command)[0])[-1][0]) * 1e6


class Unzstd:
    """Decompression by so many processes, each on a core."""

    input = "usr"

    def __init__(self, cores, sample):
        self.bytes = os.path.getsize(sample)
        zstd = script.need("zstd", "unzstd")
        packed = f"{sample}.zst"
        subprocess.run((zstd, "-q", "-f", "-1", sample, "-o", packed), check=True)
        self.cores = cores
        self.command = (zstd, "-b1", "-d", "-i1", packed)

    def __call__(self):
        outputs = at_once(self.cores, *self.command)
        return sum(float(ZSTD_SPEEDS.findall(output)[-1][1]) for output in outputs) * 1e6


class Fio:
    """One sequential pass over a file by fio; what is written goes to a file that is new."""

    input = "file"

    def __init__(self, way, direct, folder, size_mib):
        self.bytes = size_mib << 20
        self.way = way
        self.file = os.path.join(folder, f"fio-{way}")
        self.command = (script.need("fio", "reading and writing"), "--name=pass", f"--rw={way}",
                        f"--filename={self.file}", f"--size={size_mib}M", "--bs=1M",
                        "--ioengine=psync", "--thread", f"--direct={direct:d}", "--invalidate=0",
                        "--fallocate=none", "--output-format=json")
        self()  # fio makes what it reads before its first pass; O_DIRECT may be refused

    def __call__(self):
        output = at_once(1, *self.command)[0]
        if self.way == "write":
            os.unlink(self.file)
        return json.loads(output[output.index(b"{"):])["jobs"][0][self.way]["bw_bytes"]


def make_sample(path, of_mib):
    """Pieces from all over the first `of_mib` of the files in /usr, at even distances."""
    step = max(1, (of_mib << 20) // SAMPLE)
    pieces = 0
    with open(path, "wb") as sample:
        for name, _ in inputs.usr_files():
            with open(name, "rb") as file:
                while piece := file.read(inputs.PIECE):
                    if pieces % step == 0:
                        sample.write(piece)
                    pieces += 1
            if sample.tell() >= SAMPLE:
                return


def ceilings(folder, memory_folder, size_mib):
    """(name, how to make what measures it) of each ceiling."""
    sample = os.path.join(folder, "sample")
    make_sample(sample, int(IMAGE_MIB * inputs.Image.FILLED_SHARE))
    yield "memcpy_one_core", Memcpy
    for cores, title in ((1, "one_core"), (2, "two_cores")):
        yield f"xxh3_{title}", lambda cores=cores: ChunkIds(cores)
        yield f"zstd_1_{title}", lambda cores=cores: Zstd(cores, sample)
        yield f"unzstd_{title}", lambda cores=cores: Unzstd(cores, sample)
    for way in ("read", "write"):
        for direct, title in ((False, "buffered"), (True, "direct")):
            yield (f"{way}_{title}",
                   lambda way=way, direct=direct: Fio(way, direct, folder, size_mib))
    yield "tmpfs_write", lambda: Fio("write", False, memory_folder, size_mib)


def prepared(named):
    """Those that work here, ready to be called for a sample."""
    ready = {}
    for name, make in named:
        try:
            ready[name] = make()
        except (OSError, subprocess.CalledProcessError) as error:
            script.note(f"left out: {name}: {script.describe(error)}")
    return ready


def measure(ready, runs):
    """The lines of all ceilings, which take turns."""
    samples = {name: [] for name in ready}
    for run in range(runs):
        for name, sample in ready.items():
            script.note(f"run {run + 1} of {runs}, {name}")
            samples[name].append(sample())
    return [results.result("ceilings", "machine", name, "B/s", values, input=ready[name].input,
                           bytes=ready[name].bytes) for name, values in samples.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size-mib", type=int, default=2048,
                        help="that fio reads and writes; default %(default)s")
    parser.add_argument("--work", default="/var/tmp/snapstore-bench", help="default %(default)s")
    parser.add_argument("--json", type=argparse.FileType("a"), metavar="FILE")
    args = parser.parse_args()
    with script.scratch(args.work) as folder, script.scratch(SHARED_MEMORY) as memory_folder:
        versions = {name: results.version(name, "--version") for name in ("zstd", "fio")
                    if shutil.which(name)}
        machine = results.machine("ceilings", folder, versions)
        lines = measure(prepared(ceilings(folder, memory_folder, args.size_mib)), args.runs)
    if args.json:
        results.append(args.json, machine, *lines)
    print(report.ceilings_table(results.Session(machine, lines), []))


if __name__ == "__main__":
    script.start(main)
