#!/usr/bin/env python3
"""How long an application is away when its instance is taken: a stateful node on the embedded cloud,
with an application that holds memory and writes to a data volume.

Prints, per interruption, the gap that the application itself saw and the steps in between. The
controller looks at the cloud, and the agent for notices, as often as both do by default.
Needs root and a release build:  bench/replacement.py --mib 256 --rounds 5"""

import argparse
import base64
import datetime
import json
import os
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build", "release", "tools")
for variable, program in (("SNAPSTORE_LOCALCLOUD_BIN", "snapstore_localcloud/snapstore-localcloud"),
                          ("SNAPSTORE_CONTROLLER_BIN", "snapstore_controller/snapstore-controller"),
                          ("SNAPSTORE_AGENT_BIN", "snapstore_agent/snapstore-agent")):
    os.environ.setdefault(variable, os.path.join(BUILD, program))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import stateful  # noqa: E402  (the folder is known only now)
from applications import ApplicationTest  # noqa: E402

APPLICATION = """
import os, time
ballast = os.urandom({mib} << 20)
rows = open("/data/rows", "a", buffering=1)
number = 0
while True:
    number += 1
    rows.write(f"{{number}} {{time.time()}}\\n")
    time.sleep(0.005)
"""


class Application(ApplicationTest):
    config = {"name": "memory", "runCmd": "python3 /srv/counter.py"}
    mib = 256

    def prepare(self):
        text = base64.b64encode(APPLICATION.format(mib=self.mib).encode()).decode()
        return f"echo {text} | base64 -d > /srv/counter.py"

    def rows(self, status):
        text = self.cloud.inside(status["instanceId"], "cat /data/rows", check=False)
        return [(int(line.split()[0]), float(line.split()[1]))
                for line in text.split("\n")[:-1] if len(line.split()) == 2]


def milliseconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def one_round(test, node, status, sudden):
    stateful.wait_for("it runs", lambda: len(test.rows(status)) > 50)
    if sudden:
        test.checkpoint(status["instanceId"])
    before = test.rows(status)[-1]
    test.cloud.admin("interrupt", status["instanceId"],
                     *(("--no-notice",) if sudden else ("--seconds", "20")))
    status = test.system.wait_replaced(node, status["instanceId"])
    stateful.wait_for("it runs on", lambda: test.rows(status)[-1][1] > before[1] + 0.5)
    rows = [row for row in test.rows(status) if row[1] >= before[1]]
    gap = max(b[1] - a[1] for a, b in zip(rows, rows[1:]))
    lost = max(0, max(a[0] - b[0] + 1 for a, b in zip(rows, rows[1:])))
    operation = test.system.call("GET", f"{stateful.NODES}/{node}/operations")[-1]
    at = milliseconds(operation["createdAt"])
    steps = []
    for step in operation["steps"]:
        end = milliseconds(step["finishedAt"] or step["startedAt"])
        steps.append((step["name"], round(end - at)))
        at = max(at, end)
    return status, gap, lost, steps


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256, help="memory of the application")
    parser.add_argument("--volume-gib", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sudden", action="store_true", help="without a notice")
    parser.add_argument("--controller-poll-seconds", type=int, default=5)
    parser.add_argument("--agent-poll-seconds", type=float, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    test = Application("all_replacements")
    test.mib, test.volume_gib = arguments.mib, arguments.volume_gib
    test.poll_seconds = arguments.controller_poll_seconds
    test.agent_poll_seconds = arguments.agent_poll_seconds
    try:
        test.setUp()
        node, status = test.create()
        gaps, all_steps = [], []
        for number in range(arguments.rounds):
            status, gap, lost, steps = one_round(test, node, status, arguments.sudden)
            gaps.append(gap)
            all_steps.append(steps)
            if not arguments.json:
                print(f"round {number + 1}: away for {gap:.2f} s, {lost} rows counted again")
        middle = statistics.median(gaps)
        shown = all_steps[gaps.index(sorted(gaps)[len(gaps) // 2])]
        if arguments.json:
            print(json.dumps({"mib": arguments.mib,
                              "controller_poll_seconds": arguments.controller_poll_seconds,
                              "agent_poll_seconds": arguments.agent_poll_seconds, "gaps": gaps,
                              "median": middle, "steps": shown}))
            return
        print(f"median: {middle:.2f} s. Steps of that round, in ms:")
        for name, took in shown:
            if took:
                print(f"  {took:6} {name}")
    finally:
        test.doCleanups()


if __name__ == "__main__":
    main()
