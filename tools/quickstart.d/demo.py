#!/usr/bin/env python3
"""The main job, end to end: an application lives on while the machines under it are taken away.

Called by tools/quickstart. Starts the embedded cloud and the controller, asks for a stateful node
whose application is kept, takes its instance away twice, without and with a notice, and proves what
is the same afterwards. Everything it makes lies below --folder; a folder that it did not make
itself is never emptied. The first statement that does not hold ends it with exit code 1.
"""

import argparse
import base64
import contextlib
import datetime
import os
import shlex
import shutil
import signal
import sys
import time

import application
import bodies
from report import end_progress, progress, say, size, table
from system import ACCOUNT, CONFIGS, NODES, System, wait_for

VOLUME_GIB = 1
NOTICE_SECONDS = 20
SCHEDULE_MINUTES = 3  # as examples/datetime-app/application.json has it
FILE_SYSTEM = "fs-0123abcd"
PLACE = "/home/ec2-user/myapp"
LOG = f"{PLACE}/datetime_log.txt"
KEY_PAIR = "quickstart"
# There is no IAM in the embedded cloud: any name of a role will do.
PROFILE = "arn:aws:iam::123456789012:instance-profile/quickstart"
MARKER = ".made-by-snapstore-quickstart"
EXAMPLE = os.path.abspath(bodies.FOLDER)


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


class Demo:
    def __init__(self, options):
        self._folder = os.path.abspath(options.folder)
        self._agent = os.path.abspath(options.agent)
        self._script = os.path.join(EXAMPLE, "print_datetime_app.py")
        self._options = options
        self._checkpoints = os.path.join(self._folder, "checkpoints")
        self._system = System(self._folder, options.cloud, options.controller,
                              f"{FILE_SYSTEM}={self._checkpoints}")
        self._node = None
        self._first = None    # the status before anything happened
        self._losses = []     # (what, ticks repeated, seconds away)
        self._shown = 0       # checkpoints that were told of
        self._taken = []

    def prepare_folder(self):
        marker = os.path.join(self._folder, MARKER)
        if os.path.isdir(self._folder) and os.listdir(self._folder):
            if not os.path.exists(marker):
                raise RuntimeError(f"{self._folder} is not empty and not from an earlier run;"
                                   " set SNAPSTORE_QUICKSTART_DIR to another folder")
            self._system.destroy()  # an earlier run may have been killed
            shutil.rmtree(self._folder)
        os.makedirs(self._checkpoints)
        with open(marker, "w", encoding="ascii"):
            pass

    def release(self):
        self._system.close()

    # ---- the node -----------------------------------------------------------------------------

    def user_data(self):
        """What a new instance runs: waits for the data volume, starts the database's keeper and the
        agent, which starts or restores the application."""
        agent = [self._agent, "node", "--controller", self._system.instance_url, "--account",
                 ACCOUNT, "--poll-seconds", "1"]
        keeper = ["python3", os.path.join(EXAMPLE, "keep_rows.py"), "--log", LOG, "--database",
                  "/data/rows.db"]
        return "\n".join((
            "#!/bin/sh",
            f"export SPOTINST_TOKEN={self._system.token}",
            f"export SNAPSTORE_CRIU={shlex.quote(os.environ['SNAPSTORE_CRIU'])}",
            f"mkdir -p {PLACE} && cp {shlex.quote(self._script)} {PLACE}/",
            "until [ -b /dev/sdf ]; do sleep 0.05; done",
            "mkdir -p /data && mount /dev/sdf /data",
            shlex.join(keeper) + " &",
            "exec " + shlex.join(agent), ""))

    def node_body(self, config):
        """That of the example, and a data volume for the database."""
        variables = self._system.variables
        body = bodies.filled("node.json", {
            "name": "quickstart", "region": variables["AWS_REGION"], "application": config,
            "subnet": variables["SNAPSTORE_LOCALCLOUD_SUBNETS"].split()[0],
            "vpc": variables["SNAPSTORE_LOCALCLOUD_VPC"],
            "security group": variables["SNAPSTORE_LOCALCLOUD_SECURITY_GROUP"],
            "instance profile": PROFILE, "image": variables["SNAPSTORE_LOCALCLOUD_IMAGE"],
            "key pair": KEY_PAIR, "e-mail": "somebody@example.com",
            "user data": base64.b64encode(self.user_data().encode()).decode()})
        node = body["managedInstance"]
        node["persistence"].update(persistBlockDevices=True, blockDevicesMode="reattach")
        node["compute"]["launchSpecification"]["blockDeviceMappings"] = [
            {"deviceName": "/dev/sdf", "ebs": {"volumeSize": VOLUME_GIB}}]
        return body

    def status(self):
        return self._system.call("GET", f"{NODES}/{self._node}/status")[0]

    def active(self, not_on=None):
        def reached():
            status = self.status()
            if status["status"] in ("ERROR", "PAUSED"):
                raise RuntimeError(f"the node is {status['status']}: {status['stateReason']}")
            return status["status"] == "ACTIVE" and status["instanceId"] != not_on and status
        return wait_for("the node is active", reached, 120)

    def volume_of(self, status):
        return next(device["volumeId"] for device in status["devices"]
                    if device["deviceName"] == "/dev/sdf")

    def start(self):
        self.prepare_folder()
        self._system.start()
        say(f"cloud and controller run; API: {self._system.url}, its page shows what follows")
        self._system.import_key_pair(KEY_PAIR)
        config = self._system.call("POST", CONFIGS, bodies.filled(
            "application.json", {"bucket or EFS": FILE_SYSTEM}))[0]["id"]
        say(f"POST {CONFIGS}: application {config}")
        self._node = self._system.call("POST", NODES, self.node_body(config))[0]["id"]
        say(f"POST {NODES}: stateful node {self._node}")
        status = self._first = self.active()
        say(f"{self._node} is active: {status['instanceId']}, {status['instanceType']},"
            f" {status['lifeCycle']}, {status['privateIp']}, volume {self.volume_of(status)}")
        wait_for("the application writes", lambda: len(self.ticks(status)) > 5, 60)

    # ---- what is the same ---------------------------------------------------------------------

    def ticks(self, status):
        return application.parse_log(self._system.inside(status["instanceId"], "cat", LOG))

    def rows(self, status):
        """Ticks in the database, by a consistent copy."""
        text = self._system.inside(
            status["instanceId"], "python3", "-c",
            "import sqlite3, sys\n"
            "c = sqlite3.connect('file:/data/rows.db?mode=ro', uri=True)\n"
            "print(c.execute('PRAGMA integrity_check').fetchone()[0])\n"
            "print(*(row[0] for row in c.execute('SELECT tick FROM ticks ORDER BY tick')))")
        lines = text.splitlines()
        if len(lines) != 2 or lines[0] != "ok":
            raise RuntimeError(f"the database is damaged: {text!r}")
        return [int(word) for word in lines[1].split()]

    def expect_same(self, before, ticks_before, rows_before, status):
        """After a replacement: address, volume, rows, memory."""
        if status["privateIp"] != self._first["privateIp"]:
            raise RuntimeError(f"the address is {status['privateIp']}")
        if self.volume_of(status) != self.volume_of(before):
            raise RuntimeError(f"the volume is {self.volume_of(status)}")
        wait_for("the application writes on", lambda: self.ticks(status)[-1:] and
                 self.ticks(status)[-1].time > ticks_before[-1].time +
                 datetime.timedelta(seconds=2), 60)
        ticks = self.ticks(status)
        # Where the log went on: the first line that was not there before.
        resumed = next((i for i, (old, new) in enumerate(zip(ticks_before, ticks)) if old != new),
                       min(len(ticks_before), len(ticks)))
        application.expect_uninterrupted(ticks, self._script)
        rows = self.rows(status)
        if rows != list(range(1, len(rows) + 1)) or len(rows) < len(rows_before):
            raise RuntimeError(f"rows are lost: {len(rows_before)} before, {len(rows)} now")
        gap = (ticks[resumed].time - ticks_before[-1].time).total_seconds()
        return ticks, len(ticks_before) - resumed, gap

    def lose_instance(self, what, *interrupt):
        before = self.status()
        instance = before["instanceId"]
        ticks, rows = self.ticks(before), self.rows(before)
        self._system.admin("interrupt", instance, *interrupt)
        say(f"{instance} is taken away ({what})")
        # What it still writes until it goes counts as before.
        last = ticks
        while self.status()["instanceId"] == instance:
            with contextlib.suppress(RuntimeError):
                last = self.ticks(before) or last
            time.sleep(0.05)
        status = self.active(not_on=instance)
        after, repeated, gap = self.expect_same(before, last, rows, status)
        self._losses.append((what, repeated, gap))
        say(f"{status['instanceId']} took its place: same address {status['privateIp']}, same"
            f" volume, {len(self.rows(status))} rows, counter {last[-1].number} ->"
            f" {after[-1].number}, same process, every sum over its memory right")

    # ---- checkpoints --------------------------------------------------------------------------

    def checkpoints(self):
        return self._system.call("GET", f"{NODES}/{self._node}/checkpoints", query="&limit=1000")

    def tell_new(self):
        for one in self.checkpoints()[self._shown:]:
            self._shown += 1
            if one["error"]:  # of an instance that was going already
                say(f"checkpoint ({one['trigger']}) not taken: {one['error']}")
                continue
            say(f"checkpoint ({one['trigger']}): frozen {one['frozenMs']:.1f} ms,"
                f" {size(one['bytesCaptured'])} of memory and files, {size(one['bytesNew'])} new,"
                f" {size(one['bytesStored'])} stored")

    def await_scheduled(self):
        """Until one more has come by the schedule."""
        begin = len(self.checkpoints())
        deadline = time.monotonic() + 60 * SCHEDULE_MINUTES + 30
        while True:
            self.tell_new()
            if any(one["trigger"] == "schedule" for one in self.checkpoints()[begin:]):
                return
            if time.monotonic() > deadline:
                raise RuntimeError("no checkpoint came by the schedule")
            progress(f"counter {self.ticks(self.status())[-1].number}; a checkpoint comes every"
                     f" {SCHEDULE_MINUTES} minutes")
            time.sleep(0.5)

    # ---- the end ------------------------------------------------------------------------------

    def delete(self):
        flags = {f"shouldDelete{kind}": True
                 for kind in ("Images", "Snapshots", "Volumes", "NetworkInterfaces")}
        self._system.call("DELETE", f"{NODES}/{self._node}",
                          {"deallocationConfig": {**flags, "shouldTerminateInstance": True}})

        def gone():
            try:
                self.status()
            except RuntimeError as error:
                return "MANAGED_INSTANCE_DOESNT_EXIST" in str(error)
            return False

        wait_for("the node is deleted", gone, 60)
        say("node deleted, with its volume and its interface")

    def report(self, events):
        print()
        table(("checkpoint", "by", "frozen ms", "size", "new", "stored"),
              [(one["checkpointId"][:12], one["trigger"], f"{one['frozenMs']:.1f}",
                size(one["bytesCaptured"]), size(one["bytesNew"]), size(one["bytesStored"]))
               for one in self._taken])
        origin = instant(events[0]["createdAt"])
        for event in events:
            seconds = (instant(event["createdAt"]) - origin).total_seconds()
            print(f"  {seconds:+7.1f} s  {event['message'][:110]}")
        print()
        for what, repeated, gap in self._losses:
            lost = "nothing was lost" if repeated == 0 else \
                f"{repeated} ticks since the last checkpoint were counted again; no row was lost"
            print(f"  {what}: {lost}; away for {gap:.1f} s")
        print()
        say("all verified")

    def run(self):
        self.start()
        self.await_scheduled()
        self.lose_instance("without a notice", "--no-notice")
        self.lose_instance(f"with {NOTICE_SECONDS} s' notice", "--seconds", str(NOTICE_SECONDS))
        self.tell_new()
        self._taken = [one for one in self.checkpoints() if not one["error"]]
        self.delete()
        self.report(self._system.call("GET", f"{NODES}/{self._node}/events", query="&limit=1000"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("--folder", "--agent", "--cloud", "--controller"):
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
