"""What sets a node's life-cycle off and goes with it: an agent that falls silent, a recommendation to
leave, shutdown scripts, names in Route 53, checkpoints in a bucket."""

import base64
import json
import os
import socket
import sys
import tempfile
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.dirname(__file__))
import stateful  # noqa: E402  (the folder is known only now)
from applications import CounterCase  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "servers"))
import local_server  # noqa: E402
import rgw  # noqa: E402
import s3_request  # noqa: E402


def encoded(script):
    return base64.b64encode(script.encode()).decode()


class TriggerCase(CounterCase):
    """Everything of the node is kept: root, data, address, memory. No checkpoint comes unasked."""
    config = {**CounterCase.config, "snapshotScheduler": "0 0 1 1 *"}

    def create(self, **parts):
        return super().create(persistence={"persistRootDevice": True}, **parts)

    def messages(self, node, kind):
        return [event["message"] for event in self.system.events(node)
                if event["eventType"] == kind]

    def checkpoints(self, node):
        return self.system.call("GET", f"{stateful.NODES}/{node}/checkpoints")

    def read(self, status, path):
        """A file of the data volume, once that is mounted."""
        stateful.wait_for("the volume is mounted", lambda: self.cloud.inside(
            status["instanceId"], "mountpoint -q /data && echo yes", check=False))
        return self.cloud.inside(status["instanceId"], f"cat {path}")


class SilenceTest(TriggerCase):
    """An agent that is heard no more."""
    words = ("--agent-silence-seconds", "5")
    grace_seconds = 8

    def signal_agent(self, status, name):
        self.cloud.inside(status["instanceId"],
                          f"kill -{name} $(pgrep -f '[s]napstore-agent node ')")

    def healed(self, node, status, signal):
        self.cloud.inside(status["instanceId"], f"echo {signal} >> /data/mark; sync")
        self.checkpoint(status["instanceId"])
        noted = self.note(status)
        self.signal_agent(status, signal)
        after = self.system.wait_replaced(node, status["instanceId"])
        self.assertEqual(after["privateIp"], status["privateIp"])
        self.check_or_explain(node, after, noted, signal)
        silent = f"{status['instanceId']} is unhealthy: its agent has not reported for "
        self.assertIn(silent, self.messages(node, "AWS_EC2_INSTANCE_UNHEALTHY")[-1])
        self.assertIn(silent, self.messages(node, "AWS_EC2_MANAGED_INSTANCE_RECYCLING")[-1])
        return after

    def test_its_node_is_replaced(self):
        node, status = self.create(healthCheck={"gracePeriod": self.grace_seconds,
                                                "unhealthyDuration": 0})
        launched = time.monotonic()
        left, left_status = self.create(healthCheck={"gracePeriod": 0, "unhealthyDuration": 0,
                                                     "autoHealing": False})
        self.signal_agent(left_status, "STOP")
        status = self.healed(node, status, "STOP")
        self.assertGreater(time.monotonic() - launched, self.grace_seconds)
        # Nobody could report while the controller was away.
        self.system.kill()
        time.sleep(7)
        self.system.start()
        stateful.sleep_until(time.monotonic() + 3)
        self.assertEqual(self.system.status(node)["instanceId"], status["instanceId"])
        self.assertEqual(len(self.messages(node, "AWS_EC2_INSTANCE_UNHEALTHY")), 1)
        status = self.healed(node, status, "KILL")
        self.assertEqual(self.read(status, "/data/mark"), "STOP\nKILL\n")
        # One that is not to be healed is left alone, but spoken of.
        self.assertIn("its agent has not reported",
                      self.messages(left, "AWS_EC2_INSTANCE_UNHEALTHY")[0])
        self.signal_agent(left_status, "CONT")
        stateful.wait_for("it is heard again",
                          lambda: self.messages(left, "AWS_EC2_INSTANCE_HEALTHY"))
        self.assertEqual(self.system.status(left)["instanceId"], left_status["instanceId"])


class RebalanceTest(TriggerCase):
    """EC2 recommends to leave: there is time for everything."""

    def test_its_node_is_replaced_as_planned(self):
        node, status = self.create(launch={"shutdownScript": encoded(
            "#!/bin/sh\nwc -l < /data/rows > /data/script\n")})
        noted = self.note(status)
        first = status["instanceId"]
        self.cloud.admin("rebalance", first)
        status = self.system.wait_replaced(node, first)
        self.check_or_explain(node, status, noted, "rebalance")
        asked, = self.messages(node, "AWS_EC2_MANAGED_INSTANCE_RECYCLING")
        self.assertIn("EC2 recommends to leave", asked)
        final, = self.messages(node, "APPLICATION_CHECKPOINTED")
        taken = self.checkpoints(node)
        self.assertIn(taken[-1]["checkpointId"], final)
        self.assertIn("rebalance", [one["trigger"] for one in taken])
        self.assertIn(taken[-1]["checkpointId"], self.messages(node, "APPLICATION_STARTED")[-1])
        # Nothing was done after the final checkpoint, so nothing is done twice. The script came
        # after that, so it saw the last row of its time.
        rows = [int(row) for row in self.read(status, "/data/rows").split()]
        self.assertEqual(rows, list(range(1, len(rows) + 1)))
        seen = int(self.read(status, "/data/script"))
        self.assertTrue(noted <= seen < len(rows), (noted, seen, len(rows)))
        time.sleep(2)
        self.assertEqual(self.system.status(node)["instanceId"], status["instanceId"])
        self.assertEqual(self.messages(node, "SHUTDOWN_SCRIPT_FAILED"), [])


# A line is answered with its number in the life of the program.
ECHO = """
import socket
door = socket.create_server(("", 7070))
while True:
    caller = door.accept()[0]
    number = 0
    try:
        for line in caller.makefile("r"):
            number += 1
            caller.sendall(f"{number} {line}".encode())
    except OSError:
        pass
"""
# Without it a new instance refuses what comes between its first packet and the restore.
NO_RESETS = ("table inet boot { chain out { type filter hook output priority 0; "
             "tcp flags & rst == rst drop; }; }")


class ConnectionTest(TriggerCase):
    """The node keeps its address, and connections of its application outlive its instances."""
    config = {"name": "echo", "runCmd": "python3 /srv/echo.py", "snapshotScheduler": "0 0 1 1 *"}

    def prepare(self):
        return (f"nft '{NO_RESETS}'\necho {encoded(ECHO)} | base64 -d > /srv/echo.py")

    def note(self, status):
        return None

    def connect(self, status):
        self.connection = stateful.wait_for("the program answers", lambda: self.try_to(status))
        self.addCleanup(self.connection.close)
        self.connection.settimeout(60)
        self.lines = self.connection.makefile("r")

    def try_to(self, status):
        try:
            return socket.create_connection((status["privateIp"], 7070), 2)
        except OSError:
            return None

    def say(self, text):
        self.connection.sendall(f"{text}\n".encode())

    def check(self, status, noted, planned):
        self.assertEqual(self.lines.readline(), f"{self.number} {self.number}\n")

    def test_it_goes_on(self):
        node, status = self.create()
        self.connect(status)
        self.say(1)
        self.assertEqual(self.lines.readline(), "1 1\n")
        for self.number, name in enumerate(("recycle", "interruption"), 2):
            instance = status["instanceId"]
            self.replacements(node)[name](instance)
            # Sent while nobody is there, and again until somebody is.
            stateful.wait_for("the application has ended", lambda: len(self.messages(
                node, "APPLICATION_CHECKPOINTED")) == self.number - 1)
            self.say(self.number)
            status = self.system.wait_replaced(node, instance)
            self.check_or_explain(node, status, None, name)


class ScriptTest(TriggerCase):
    """Shutdown scripts: run to their end, cut off, failed."""
    words = ("--script-seconds", "2")

    def through_a_pause(self, node, script):
        self.system.call("PUT", f"{stateful.NODES}/{node}", {"managedInstance": {"compute": {
            "launchSpecification": {"shutdownScript": encoded(script)}}}})
        began = time.monotonic()
        self.system.act(node, "pause")
        self.system.wait_state(node, "PAUSED")
        took = time.monotonic() - began
        self.system.act(node, "resume")
        return self.system.wait_state(node, "ACTIVE"), took

    def test_what_it_did_is_kept(self):
        node, _ = self.create()
        status, _ = self.through_a_pause(
            node, "#!/bin/sh\nsleep 0.5\necho ended >> /data/script\n")
        self.assertEqual(self.read(status, "/data/script"), "ended\n")
        self.assertEqual(self.messages(node, "SIGNAL_TIMEOUT_SHUTDOWN_SCRIPT"), [])
        self.assertEqual(self.messages(node, "SHUTDOWN_SCRIPT_FAILED"), [])
        status, took = self.through_a_pause(
            node, "#!/bin/sh\necho begun >> /data/script\nexec sleep 1000\n")
        self.assertEqual(self.read(status, "/data/script"), "ended\nbegun\n")
        self.assertEqual(len(self.messages(node, "SIGNAL_TIMEOUT_SHUTDOWN_SCRIPT")), 1)
        self.assertGreater(took, 2)
        status, _ = self.through_a_pause(node, "#!/bin/sh\nexit 7\n")
        self.assertIn("exit code 7", self.messages(node, "SHUTDOWN_SCRIPT_FAILED")[0])
        self.assertEqual(len(self.messages(node, "SIGNAL_TIMEOUT_SHUTDOWN_SCRIPT")), 1)


class NameTest(stateful.LifeTest):
    """Names in a hosted zone point to the instance while there is one."""

    def setUp(self):
        super().setUp()
        self.zone = self.route53("create-hosted-zone", "--name", "example.com",
                                 "--caller-reference", "once")["HostedZone"]["Id"]

    def route53(self, *arguments):
        return self.cloud.aws("route53", *arguments)

    def names(self):
        """{(name, type): values} without the zone's own."""
        found = self.route53("list-resource-record-sets", "--hosted-zone-id", self.zone)
        return {(one["Name"], one["Type"]): [value["Value"] for value in one["ResourceRecords"]]
                for one in found["ResourceRecordSets"] if one["Type"] not in ("NS", "SOA")}

    def expect(self, status):
        instance = self.cloud.instance(status["instanceId"])
        self.assertEqual(self.names(), {
            ("db.example.com.", "A"): [status["privateIp"]],
            ("web.example.com.", "A"): [status["publicIp"]],
            ("alias.example.com.", "CNAME"): [instance["PrivateDnsName"]]},
            self.system.account_of(status["id"]))

    def test_they_follow_the_node(self):
        allocation = self.cloud.ec2("allocate-address")["AllocationId"]
        zone = self.zone.rsplit("/", 1)[1]
        node, status = self.create(
            zones=("us-east-1a", "us-east-1b"), persistence={"persistRootDevice": True},
            compute={"elasticIp": allocation},
            integrations={"route53": {"domains": [
                {"hostedZoneId": zone, "recordSets": [
                    {"name": "db.example.com"}, {"name": "web.example.com", "usePublicIp": True}]},
                {"hostedZoneId": zone, "recordSetType": "cname", "recordSets": [
                    {"name": "alias.example.com"}]}]}})
        self.expect(status)
        for how in (lambda instance: self.system.act(node, "recycle"),
                    lambda instance: self.cloud.admin("interrupt", instance, "--no-notice")):
            # Into another zone, so that its address changes.
            self.capacity(0, status["availabilityZone"])
            how(status["instanceId"])
            before, status = status, self.system.wait_replaced(node, status["instanceId"])
            self.assertNotEqual(status["privateIp"], before["privateIp"])
            self.expect(status)
            self.capacity(-1)
            self.capacity(-1, "us-east-1b")
        self.system.act(node, "pause")
        self.system.wait_state(node, "PAUSED")
        self.assertEqual(self.names(), {})
        self.system.act(node, "resume")
        status = self.system.wait_state(node, "ACTIVE")
        self.expect(status)
        # What somebody else made of a name is left to them.
        self.route53("change-resource-record-sets", "--hosted-zone-id", self.zone, "--change-batch",
                     json.dumps({"Changes": [{"Action": "UPSERT", "ResourceRecordSet": {
                         "Name": "db.example.com", "Type": "A", "TTL": 5,
                         "ResourceRecords": [{"Value": "192.0.2.1"}]}}]}))
        self.assertNotIn("ROUTE53_REFUSED", self.types_of(node))
        self.delete(node)
        self.assertEqual(self.names(), {("db.example.com.", "A"): ["192.0.2.1"]})


class BucketTest(TriggerCase):
    """Checkpoints go to a real S3 server, over the instance's network."""
    destination = "node-checkpoints"

    def setUp(self):
        super().setUp()
        host = urllib.parse.urlsplit(self.system.instance_url()).hostname

        class Gateway(rgw.Gateway):
            ADDRESSES = (rgw.HOST, host)

        file = os.path.join(tempfile.mkdtemp(dir=self.cloud.folder), "server")
        _, self.server = Gateway.start_for_test(self, file, self.destination)
        port = urllib.parse.urlsplit(self.server["AWS_ENDPOINT_URL_S3"]).port
        self.inside = {**local_server.aws_of(self.server),
                       "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}"}

    def variables(self):
        return {**super().variables(), **self.inside}

    def stored(self, node):
        """Ids of the checkpoints in the bucket."""
        keys = s3_request.list_keys(self.server, self.destination, f"{stateful.ACCOUNT}/{node}/")
        return {key.rsplit("/", 1)[1] for key in keys if "/snapshots/" in key}

    def test_the_application_goes_on_from_there(self):
        node, status = self.create()
        for how in (("--no-notice",), ("--seconds", "20")):
            noted = self.note(status)
            earlier = self.stored(node)
            self.assertIn(self.checkpoint(status["instanceId"]), self.stored(node))
            self.cloud.admin("interrupt", status["instanceId"], *how)
            before, status = status, self.system.wait_replaced(node, status["instanceId"])
            self.assertEqual(status["privateIp"], before["privateIp"])
            self.check_or_explain(node, status, noted, how[0])
            message = self.messages(node, "APPLICATION_STARTED")[-1]
            self.assertIn("goes on from checkpoint ", message)
            restored = message.split("checkpoint ")[1].split()[0]
            self.assertIn(restored, self.stored(node) - earlier)
        final, = self.messages(node, "APPLICATION_CHECKPOINTED")
        self.assertIn(restored, final)
        self.assertEqual(os.listdir(self.shared), [])


if __name__ == "__main__":
    unittest.main()
