#!/usr/bin/env python3
"""snapstore beside other programs, on the same input in the same run.

    bench/end_to_end.py [--input NAME]… [--peer NAME]… [--runs 5] [--work DIR] [--json FILE]

Inputs are real data made from this machine, each in two versions:
  image   an ext4 file system image filled from /usr; 2 % of its files were edited
  tree    small files of /usr; 2 % were edited, 0.5 % removed and 0.5 % added
  redis   CRIU's images of a Redis server, dumped twice with 2 % of its keys written between
  tar     a tar file of a part of /usr, edited like the tree

Steps, of which each program does those that make sense for it:
  first           a snapshot into an empty repository
  next            one of the second version
  rescan          one of the same bytes under new time stamps: all is read, nothing is new
  unchanged       one of the untouched input: time stamps tell
  changed_blocks  instead of next, one that is told what changed (snapstore, image)
  restore         by a machine that has no cache of the repository yet
  in_place        a restore of the second version over the first (snapstore)

All read from the page cache and write to the same file system. The programs take turns, so that a
drift of the machine's speed hits all alike, and find touched memory ready when they write much. Every
restore is compared with what was stored, outside of the measured time. Prints a table; with --json
each figure is appended as a line, for report.py. Needs several times the size of the input as free
space below --work, and removes it all in the end.
"""

import argparse
import os
import shlex
import shutil
import time

import folders
import inputs
import memory
import peers
import report
import results
import script

INPUTS = {made.name: made for made in (inputs.Image, folders.Tree, folders.Redis, inputs.TarFile)}
# snapstore reads a file again when its time stamps are less than two seconds older than the
# snapshot before.
SETTLE_SECONDS = 2.2


class Figures(dict):
    """Value by step of one run."""

    def __init__(self, folder):
        super().__init__()
        self._folder = folder

    def measure(self, step, action, *args, writes=0):
        with memory.ready(writes, self._folder):
            run = action(*args)
        self[step] = run.seconds
        self[f"peak_mib_{step}"] = run.peak_mib
        self["peak_mib"] = max(self.get("peak_mib", 0), run.peak_mib)


def unit(step):
    if step.startswith("stored_"):
        return "B"
    return "MiB" if step.startswith("peak_mib") else "s"


def measure(tool, versions, scratch):
    """All steps once, with a fresh repository."""
    figures = Figures(scratch)
    size = versions.sizes()[0]
    try:
        tool.start()
        path = versions.place(0)
        time.sleep(SETTLE_SECONDS)
        figures.measure("first", tool.backup, path, writes=size * 3 // 5)
        figures["stored_first"] = tool.stored()
        if isinstance(tool, peers.Snapstore) and versions.changed_blocks is not None:
            measure_changed_blocks(tool.copied(), versions, scratch, figures)
        path = versions.place(1)
        figures.measure("next", tool.backup, path)
        figures["stored_next"] = tool.stored()
        if tool.KEEPS:
            versions.touch()
            figures.measure("rescan", tool.backup, path)
            time.sleep(SETTLE_SECONDS)
            tool.backup(path)
            figures.measure("unchanged", tool.backup, path)
        tool.forget_cache()
        figures.measure("restore", tool.restore, writes=size * 5 // 4)
        versions.verify(tool.restored(path))
        if isinstance(tool, peers.Snapstore):
            measure_in_place(tool, versions, path, figures)
    finally:
        tool.clean()
    return figures


def measure_changed_blocks(tool, versions, scratch, figures):
    """In a repository that holds version 0 alone, so that what is new has to be stored."""
    try:
        path = versions.place(1)
        changed = os.path.join(scratch, "changed-blocks")
        with open(changed, "w", encoding="ascii") as file:
            file.writelines(f"{offset} {length}\n" for offset, length in versions.changed_blocks)
        figures.measure("changed_blocks", tool.backup, path, "--changed-blocks", changed)
        tool.restore()
        versions.verify(tool.restored(path))
    finally:
        tool.clean()


def measure_in_place(tool, versions, path, figures):
    tool.clean_out()
    versions.copy(0, tool.restored(path))
    figures.measure("in_place", tool.restore, "--in-place")
    versions.verify(tool.restored(path), left_over=True)


def measure_all(name, versions, tools, scratch, runs):
    """Results of all programs on one input, as lines."""
    samples = {tool.name: [] for tool in tools}
    for run in range(runs):
        for tool in tools:
            script.note(f"{name}: run {run + 1} of {runs}, {tool.name}")
            samples[tool.name].append(measure(tool, versions, scratch))
    size, data = versions.sizes()
    return [results.result("end_to_end", tool.name, step, unit(step),
                           [figures[step] for figures in samples[tool.name]],
                           input=name, bytes=size, data_bytes=data)
            for tool in tools for step in samples[tool.name][0]]


def chosen_peers(names):
    """The classes of the peers to compare with, without those that are not installed."""
    chosen = []
    for peer in peers.PEERS.values():
        if names and peer.name not in names:
            continue
        lacking = [program for program in peer.PROGRAMS if not shutil.which(program)]
        if not lacking:
            chosen.append(peer)
        elif names:
            script.need(lacking[0], peer.name)
        else:
            script.note(f"left out: {peer.name}, because {lacking[0]} is not installed")
    return chosen


def make_tools(args, chosen, folder):
    binary = os.path.abspath(args.snapstore)
    return [peers.Snapstore(folder, binary, args.snapstore_option),
            *(peers.Snapstore(folder, binary, options, name) for name, options in args.variant),
            *([peers.EncryptedSnapstore(folder, binary, args.snapstore_option)]
              if args.encrypted else []),
            *(peer(folder) for peer in chosen)]


def variant(text):
    name, equals, options = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError("expected NAME=OPTIONS")
    return name, shlex.split(options)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--input", action="append", choices=INPUTS, help="default: all")
    add("--peer", action="append", choices=[*peers.PEERS, "none"],
        help="default: all that are installed")
    add("--snapstore", default=os.path.join(script.BUILD, "tools/snapstore/snapstore"))
    add("--snapstore-option", action="append", default=[], metavar="OPTION",
        help="for 'snapstore snapshot'; write --snapstore-option=--threads=1")
    add("--variant", action="append", default=[], type=variant, metavar="NAME=OPTIONS",
        help="one more column, snapstore with these options (and not those above)")
    add("--encrypted", action="store_true",
        help="one more column, snapstore with an encrypted repository")
    add("--runs", type=int, default=5)
    add("--size-mib", type=int, default=3072, help="of image and tar; default %(default)s")
    add("--files", type=int, default=60_000, help="in the tree; default %(default)s")
    add("--keys", type=int, default=200_000, help="in Redis; default %(default)s")
    add("--seed", type=int, default=1, help="chooses files, edits and their bytes")
    add("--work", default="/var/tmp/snapstore-bench", help="default %(default)s")
    add("--keep-inputs", action="store_true",
        help="leaves the inputs in --work, and takes them from there")
    add("--json", type=argparse.FileType("a"), metavar="FILE")
    return parser.parse_args()


def main():
    args = arguments()
    chosen = chosen_peers(args.peer)
    with script.scratch(args.work) as scratch:
        tools = make_tools(args, chosen, scratch)
        machine = results.machine("end_to_end", scratch, {t.name: t.version() for t in tools})
        if args.json:
            results.append(args.json, machine)
        for name in args.input or INPUTS:
            with script.scratch(scratch) as folder:
                script.note(f"{name}: making the input")
                store = args.work if args.keep_inputs else folder
                versions = INPUTS[name](store, folder, args)
                lines = measure_all(name, versions, make_tools(args, chosen, folder), folder,
                                    args.runs)
            if args.json:
                results.append(args.json, *lines)
            session = results.Session(machine, lines)
            print(report.end_to_end_table(session, lines) + "\n", flush=True)


if __name__ == "__main__":
    script.start(main)
