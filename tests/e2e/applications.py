"""What tests of applications on stateful nodes have in common."""

import base64
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

sys.path.insert(0, os.path.dirname(__file__))
import stateful  # noqa: E402  (the folder is known only now)

AGENT = os.environ["SNAPSTORE_AGENT_BIN"]
CRIU = os.environ.get("SNAPSTORE_CRIU", "/opt/snapstore/bin/criu")
FILE_SYSTEM = "fs-0123abcd"
ZONES = ("us-east-1a", "us-east-1b")

# What takes an instance away without asking it: the newest checkpoint is what goes on. "failure" is
# the hard one; in the others the instance still shuts down.
UNPLANNED = ("sudden", "healing", "failure")
DOOR = 7070

# Counts in memory; each number goes to a log that is checkpointed with it, and to the data volume.
# Who connects is told the number.
COUNTER = textwrap.dedent("""
    import os, socket
    ballast = bytearray(os.urandom(1 << 20)) * int(os.environ.get("BALLAST_MIB", "8"))
    boot = open("/proc/sys/kernel/random/uuid").read().strip()  # once in the process's life
    log = open("/srv/counter.log", "a", buffering=1)
    rows = open("/data/rows", "a", buffering=1)
    door = socket.create_server(("", DOOR))
    door.settimeout(0.02)
    number = 0
    while True:
        number += 1
        log.write(f"{number} {boot}\\n")
        rows.write(f"{number}\\n")
        try:
            with door.accept()[0] as caller:
                caller.sendall(f"{number} {boot}\\n".encode())
        except OSError:
            pass
""").strip().replace("DOOR", str(DOOR))


class ApplicationTest(stateful.LifeTest):
    """A node with one application. Those that derive from it say how it is started, what is noted
    before a replacement, and what has to hold after it."""

    persist_application = True
    destination = FILE_SYSTEM
    config = {}
    volume_gib = 1
    agent_poll_seconds = 0.5

    def setUp(self):
        self.shared = tempfile.mkdtemp(prefix="snapstore-efs-")
        self.addCleanup(shutil.rmtree, self.shared, ignore_errors=True)
        self.cloud_words = ("--file-system", f"{FILE_SYSTEM}={self.shared}")
        super().setUp()

    def prepare(self):
        """Shell lines of the user data before the data volume has come."""
        raise NotImplementedError

    def start_by_hand(self):
        """Shell lines after it has come, of what the agent does not run."""
        return ""

    def variables(self):
        """What the agent needs in its environment."""
        return {"SPOTINST_TOKEN": self.system.token, "SNAPSTORE_CRIU": CRIU}

    def note(self, status):
        raise NotImplementedError

    def check(self, status, noted, planned):
        """`planned`: nothing that was done before may be missing."""
        raise NotImplementedError

    def user_data(self):
        agent = (f"exec {AGENT} node --controller {self.system.instance_url()} "
                 f"--account {stateful.ACCOUNT} --poll-seconds {self.agent_poll_seconds}")
        return textwrap.dedent("""\
            #!/bin/sh
            export {variables}
            {prepare}
            until [ -b /dev/sdf ]; do sleep 0.02; done
            mkdir -p /data && mount /dev/sdf /data
            {by_hand}
            {agent}
            """).format(variables=" ".join(f"{name}={shlex.quote(value)}"
                                           for name, value in self.variables().items()),
                        prepare=self.prepare(), by_hand=self.start_by_hand(),
                        agent=agent if self.persist_application else "")

    def create(self, zones=ZONES[:1], launch=None, persistence=None, **parts):
        persistence = {"persistPrivateIp": len(zones) == 1, "persistBlockDevices": True,
                       "blockDevicesMode": "reattach", **(persistence or {})}
        if self.persist_application:
            config = {"snapshotScheduler": "* * * * *", "snapshotDestination": self.destination,
                      **self.config}
            made = self.system.call("POST", stateful.CONFIGS, {"config": config})[0]["id"]
            persistence.update(persistApplication=True, applicationPersistencyConfig=[made])
        node = self.system.create(stateful.node_body(
            self.system, zones=zones, persistence=persistence, user_data=self.user_data(),
            launch={"blockDeviceMappings": [
                {"deviceName": "/dev/sdf", "ebs": {"volumeSize": self.volume_gib}}],
                **(launch or {})}, **parts))
        return node, self.system.wait_state(node, "ACTIVE", 90)

    def checkpoint(self, instance):
        """Takes one; returns its id."""
        if not self.persist_application:
            return None
        answer = self.cloud.inside(
            instance, "curl -s --cacert /var/lib/snapstore-agent/control-cert.pem -X POST -H \"Authorization: Bearer "
                      "$(cat /var/lib/snapstore-agent/control-token)\" "
                      "https://127.0.0.1:9527/checkpoint")
        self.assertIn("checkpointId", answer)
        return json.loads(answer)["applications"][0]["checkpointId"]

    def replacements(self, node):
        def pause_and_resume(_):
            self.system.act(node, "pause")
            self.system.wait_state(node, "PAUSED")
            self.system.act(node, "resume")

        return {"interruption": lambda i: self.cloud.admin("interrupt", i, "--seconds", "20"),
                "sudden": lambda i: self.cloud.admin("interrupt", i, "--no-notice"),
                "recycle": lambda _: self.system.act(node, "recycle"),
                "pause": pause_and_resume,
                "healing": lambda i: self.cloud.admin("fail", "status", i),
                "failure": self.fail_machine}

    def fail_machine(self, instance):
        self.cloud.admin("fail", "instance", instance)

    def go_through(self, node, status, names):
        for name in names:
            noted = self.note(status)
            if name in UNPLANNED:
                self.checkpoint(status["instanceId"])
            began = time.monotonic()
            self.replacements(node)[name](status["instanceId"])
            before, status = status, self.system.wait_replaced(node, status["instanceId"])
            print(f"{name}: active after {time.monotonic() - began:.1f} s", file=sys.stderr)
            self.assertEqual(status["privateIp"], before["privateIp"], name)
            self.check_or_explain(node, status, noted, name)
            self.check_data_volume(status, name)
        return status

    def check_or_explain(self, node, status, noted, name):
        try:
            self.check(status, noted, planned=name not in UNPLANNED)
        except Exception as error:
            log = self.cloud.inside(status["instanceId"], "cat /var/log/cloud-init-output.log",
                                    check=False)
            raise AssertionError(
                f"{name}: {error}\n{self.system.account_of(node)}\n{log[-3000:]}") from error

    def check_data_volume(self, status, name):
        """Its file system, frozen and copied, has no error."""
        volume, = [device["volumeId"] for device in status["devices"]
                   if device["deviceName"] == "/dev/sdf"]
        copy = os.path.join(self.cloud.folder, "copy.img")
        self.cloud.inside(status["instanceId"], "fsfreeze --freeze /data")
        try:
            subprocess.run(["cp", "--sparse=always", self.cloud.volume_file(volume), copy],
                           check=True)
        finally:
            self.cloud.inside(status["instanceId"], "fsfreeze --unfreeze /data")
        checked = subprocess.run(["e2fsck", "-fn", copy], capture_output=True, text=True,
                                 check=False)
        os.remove(copy)
        self.assertEqual(checked.returncode, 0, f"{name}: {checked.stdout}{checked.stderr}")

    def all_replacements(self):
        node, status = self.create(healthCheck={"gracePeriod": 0, "unhealthyDuration": 0})
        self.go_through(node, status, ("interruption", "sudden", "recycle", "failure", "pause",
                                       "healing"))
        if self.persist_application:
            started = [event["message"] for event in self.system.events(node)
                       if event["eventType"] == "APPLICATION_STARTED"]
            self.assertEqual(len(started), 7)
            for message in started[1:]:
                self.assertIn("goes on from checkpoint", message)
        return node

    def another_zone(self):
        node, status = self.create(zones=ZONES)
        noted = self.note(status)
        zone = status["availabilityZone"]
        self.capacity(0, zone)
        self.capacity(0, zone, "--on-demand")
        self.cloud.admin("interrupt", status["instanceId"], "--seconds", "20")
        status = self.system.wait_replaced(node, status["instanceId"])
        self.assertNotEqual(status["availabilityZone"], zone)
        self.check_or_explain(node, status, noted, "zone")
        self.check_data_volume(status, "zone")


class CounterCase(ApplicationTest):
    """A Python program; its log file goes back with its memory."""
    config = {"name": "counter", "runCmd": "python3 /srv/counter.py",
              "externalFiles": ["/srv/counter.log"]}

    def prepare(self):
        text = base64.b64encode(COUNTER.encode()).decode()
        return f"echo {text} | base64 -d > /srv/counter.py"

    def numbers(self, status):
        """What the log holds: numbers without a gap, all of one life of the process."""
        lines = self.cloud.inside(status["instanceId"], "cat /srv/counter.log",
                                  check=False).split("\n")[:-1]
        if not lines:
            return 0
        lives = {line.split()[1] for line in lines}
        self.assertEqual(len(lives), 1, "it was started anew")
        numbers = [int(line.split()[0]) for line in lines]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        return numbers[-1]

    def life(self, status):
        return self.cloud.inside(status["instanceId"], "head -1 /srv/counter.log").split()[1]

    def note(self, status):
        stateful.wait_for("it counts", lambda: self.numbers(status) > 20)
        return self.numbers(status)

    def answer(self, status):
        """What the program tells at its address: its number and its life."""
        with socket.create_connection((status["privateIp"], DOOR), 2) as connection:
            return connection.recv(100).decode().split()

    def check(self, status, noted, planned):
        stateful.wait_for("it counts on", lambda: self.numbers(status) > noted)
        number, life = self.answer(status)
        self.assertGreater(int(number), noted)
        self.assertEqual(life, self.life(status))
