#!/usr/bin/env python3
"""Many runs of a repository on an S3 server amid faults; see faulty_run.py for what a run is.

    campaign.py --snapstore build/release/tools/snapstore/snapstore --runs 1000 --seed 1

starts Ceph's gateway, makes runs with the seeds SEED, SEED+1, …, and prints what went wrong and how
often, and what the commands made of it. Ends with 1 when a run lost something, when a command
failed without saying why, and when the campaign proves nothing: too few faults, no command that
succeeded amid them, none that failed, none that was killed, and in 200 runs or more a kind of fault
that never happened or a command that never succeeded. `--runs 1 --seed N` repeats run N, and prints
each fault. SIGTERM ends a campaign after the runs at hand, with what they have shown.
"""

import argparse
import collections
import concurrent.futures
import datetime
import os
import shutil
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "servers"), os.path.join(HERE, "..", "cli")]

import faulty_run
import haproxy
import s3_request
from copy_and_mount import HAVE_FUSE
from fault_plan import FAULTS
from local_server import variables_of
from rgw import Gateway

OUTCOMES = ("done", "failed", "killed")
# Of which at least one must succeed amid faults, as outcomes name them.
COMMANDS = ("snapshot", "restore", "check", "list", "dump", "repair index", "forget", "prune", "copy",
            "mount")


def run_all(args, server_file, folder):
    s3_request.make_bucket(variables_of(server_file), faulty_run.BUCKET)
    seeds = range(args.seed, args.seed + args.runs)
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        left = [pool.submit(faulty_run.run_seed, args.snapstore, server_file, seed, folder)
                for seed in seeds]
        # After the workers were made: they finish what they are at.
        asked_to_end = []
        signal.signal(signal.SIGTERM, lambda *_: asked_to_end.append(True))
        try:
            for number, future in enumerate(concurrent.futures.as_completed(left), 1):
                result = future.result()
                if result["violation"] or args.runs == 1:
                    report(result)
                if number % 50 == 0:
                    print(f"{number} of {args.runs} runs", flush=True)
                yield result
                if asked_to_end:
                    break
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def report(result):
    print("\n".join([*result["notes"], *(f"  {line}" for line in result["log"])]))
    for command, outcome, code, line, faults in result["outcomes"]:
        print(f"  {command}: {outcome} ({code}) {line} [{', '.join(sorted(faults))}]")
    print(f"seed {result['seed']}: {result['violation'] or 'as it must be'}", flush=True)


def table(results):
    """Lines for docs/testing.md, and what is wrong with the campaign itself."""
    happened = collections.Counter()
    by_fault = collections.defaultdict(collections.Counter)
    by_command = collections.defaultdict(collections.Counter)
    total = collections.Counter()
    for result in results:
        happened.update(result["happened"])
        for command, outcome, _, _, faults in result["outcomes"]:
            total[outcome] += 1
            by_command[command][outcome] += 1
            for fault in faults:
                by_fault[fault][outcome] += 1
    happened["clock"] = by_fault["clock"].total()
    lines = ["| Fault | Happened | Commands that met it: done | failed | killed |",
             "| --- | ---: | ---: | ---: | ---: |"]
    for fault in sorted(happened):
        counts = by_fault[fault]
        lines.append(f"| {fault} | {happened[fault]} | " +
                     " | ".join(str(counts[outcome]) for outcome in OUTCOMES) + " |")
    lines.append("| all | " + str(happened.total()) + " | " +
                 " | ".join(str(total[outcome]) for outcome in OUTCOMES) + " |")
    lines += ["", "| Command | Done | Failed | Killed |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {command} | " + " | ".join(str(counts[outcome]) for outcome in OUTCOMES) + " |"
              for command, counts in sorted(by_command.items())]
    return lines, happened, total, by_command


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapstore", default=os.environ.get("SNAPSTORE_BIN"),
                        help="the program (SNAPSTORE_BIN)")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="of the first run (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once")
    parser.add_argument("--server", default=os.environ.get("SNAPSTORE_TEST_S3"),
                        help="file of a server that runs (SNAPSTORE_TEST_S3); else one is started")
    args = parser.parse_args()
    if not args.snapstore:
        parser.error("name the program with --snapstore")
    if not faulty_run.FAKETIME:
        parser.error("libfaketime is missing: run tools/setup test")
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="snapstore-faults-")
    server_file = args.server or os.path.join(folder, "server")
    try:
        if not args.server:
            Gateway.start_for(server_file)
        results = list(run_all(args, server_file, folder))
    finally:
        if not args.server:
            Gateway.stop_that_of(server_file)
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(conclude(args, results, time.monotonic() - began))


def conclude(args, results, seconds):
    lines, happened, total, by_command = table(results)
    bad = [result for result in results if result["violation"]]
    print(f"\n{datetime.date.today()}, seeds {args.seed} to {args.seed + args.runs - 1}, "
          f"{seconds:.0f} s: {len(results)} runs, {len(bad)} of them wrong; commands: " +
          ", ".join(f"{total[outcome]} {outcome}" for outcome in OUTCOMES) + "\n")
    print("\n".join(lines))
    if bad:
        print("\nwrong: " + ", ".join(str(result["seed"]) for result in bad))
        return 1
    if len(results) < args.runs:
        print(f"\nended early: {len(results)} of {args.runs} runs")
        return 1
    if args.runs == 1:
        return 0
    # Few runs do not meet every kind of fault.
    wanted = set(FAULTS) | set(haproxy.KINDS) | {"clock", "token-expired"}
    met = {name for name, count in happened.items() if count}
    met |= {command for command, counts in by_command.items() if counts["done"]}
    wanted |= {command for command in COMMANDS if command != "mount" or HAVE_FUSE}
    never = sorted(wanted - met) if args.runs >= 200 else []
    empty = [outcome for outcome in OUTCOMES if total[outcome] == 0]
    if never or empty or happened.total() < args.runs:
        print(f"\nproves nothing: never happened: {', '.join(never)}; no command ended as: "
              f"{', '.join(empty)}; {happened.total()} faults")
        return 1
    return 0


if __name__ == "__main__":
    main()
