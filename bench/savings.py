#!/usr/bin/env python3
"""What each way of cutting saves, on real inputs in two versions.

Runs chunk_savings on both versions of an ext4 image, a tar file, a tree of small files and the
memory images of a Redis server, and prints a Markdown table: per cent of the bytes saved, and the
mean length of a chunk.
"""

import argparse
import json
import os
import subprocess

import folders
import inputs
import script

INPUTS = (inputs.TarFile, inputs.Image, folders.Tree, folders.Redis)
TITLES = {"tar": "tar file", "image": "ext4 image", "tree": "tree", "redis": "process memory"}


def measure(made, folder, options):
    """The lines of chunk_savings for one input."""
    store = os.path.join(folder, f"{made.name}-store")
    os.mkdir(store)
    versions = made(store, os.path.join(folder, f"{made.name}-scratch"), options)
    done = subprocess.run([options.chunk_savings, *versions.versions], check=True,
                          capture_output=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def print_table(measured):
    names = list(measured)
    header = ["way", *(f"{TITLES[name]}: saved | mean" for name in names)]
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * (1 + 2 * len(names)))
    for at, first in enumerate(measured[names[0]]):
        cells = [f"{measured[name][at]['saved_percent']:.2f} % | "
                 f"{measured[name][at]['chunk_bytes_mean']:.0f}" for name in names]
        print("| " + " | ".join([first["way"], *cells]) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunk-savings", default=os.path.join(script.BUILD, "bench/chunk_savings"))
    parser.add_argument("--work", default="/var/tmp/snapstore-bench")
    parser.add_argument("--size-mib", type=int, default=1024, help="of image and tar file")
    parser.add_argument("--files", type=int, default=60_000, help="in the tree")
    parser.add_argument("--keys", type=int, default=200_000, help="in the Redis server")
    parser.add_argument("--seed", type=int, default=1, help="chooses what is edited")
    options = parser.parse_args()
    measured = {}
    with script.scratch(options.work) as folder:
        for made in INPUTS:
            script.note(f"{made.name} …")
            measured[made.name] = measure(made, folder, options)
    print_table(measured)


if __name__ == "__main__":
    script.start(main)
