"""The service's documented bodies, every field as it is printed there: the date and time program with
application persistency, on a stateful node."""

import base64
import os
import shlex
import socket
import sys
import textwrap
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import stateful  # noqa: E402  (the folder is known only now)
from applications import AGENT, FILE_SYSTEM, ApplicationTest  # noqa: E402

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "..", "tools", "quickstart.d"))
import application  # noqa: E402
import bodies  # noqa: E402

PROGRAM = os.path.join(os.path.abspath(bodies.FOLDER), "print_datetime_app.py")
PLACE = "/home/ec2-user/myapp"
LOG = f"{PLACE}/datetime_log.txt"
PROFILE = "arn:aws:iam::123456789012:instance-profile/date-and-time"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJWDvXkxW4a0dQzWqYkF0mHyBn8cPzTt3oS5eR7uL2Kd nobody"


class DocumentedTest(ApplicationTest):
    def user_data(self):
        variables = " ".join(f"{name}={shlex.quote(value)}"
                             for name, value in self.variables().items())
        return textwrap.dedent(f"""\
            #!/bin/sh
            export {variables}
            mkdir -p {PLACE} && cp {shlex.quote(PROGRAM)} {PLACE}/
            exec {AGENT} node --controller {self.system.instance_url()} \\
              --account {stateful.ACCOUNT} --poll-seconds {self.agent_poll_seconds}
            """)

    def post(self):
        """As a user does it, with a key pair of their own. The bodies, and the node's id."""
        cloud = self.cloud.variables
        self.cloud.ec2("import-key-pair", "--key-name", "own", "--public-key-material",
                       base64.b64encode(KEY.encode()).decode())
        config = bodies.filled("application.json", {"bucket or EFS": FILE_SYSTEM})
        made = self.system.call("POST", stateful.CONFIGS, config)[0]["id"]
        node = bodies.filled("node.json", {
            "name": "date-and-time", "region": cloud["AWS_REGION"], "application": made,
            "subnet": cloud["SNAPSTORE_LOCALCLOUD_SUBNETS"].split()[0],
            "vpc": cloud["SNAPSTORE_LOCALCLOUD_VPC"],
            "security group": cloud["SNAPSTORE_LOCALCLOUD_SECURITY_GROUP"],
            "instance profile": PROFILE, "image": self.cloud.image, "key pair": "own",
            "e-mail": "somebody@example.com",
            "user data": base64.b64encode(self.user_data().encode()).decode()})
        created = self.system.call("POST", stateful.NODES, node)[0]["id"]
        read, = self.system.call("GET", f"{stateful.CONFIGS}/{made}")
        self.assert_holds(config["config"], read, "config")
        read, = self.system.call("GET", f"{stateful.NODES}/{created}")
        self.assert_holds(node["managedInstance"], read, "managedInstance")
        return created

    def assert_holds(self, posted, read, place):
        """All that was posted is read again; what was null or empty may be left out."""
        if isinstance(posted, dict):
            for name, value in posted.items():
                if value not in (None, {}):
                    self.assertIn(name, read, place)
                    self.assert_holds(value, read[name], f"{place}.{name}")
        elif isinstance(posted, list):
            self.assertEqual(len(read), len(posted), place)
            for number, value in enumerate(posted):
                self.assert_holds(value, read[number], f"{place}[{number}]")
        else:
            self.assertEqual(read, posted, place)

    def ticks(self, status):
        return application.parse_log(self.cloud.inside(status["instanceId"], f"cat {LOG}",
                                                       check=False))

    def note(self, status):
        stateful.wait_for("it writes", lambda: len(self.ticks(status)) > 5)
        return self.ticks(status)

    def check(self, status, noted, planned):
        stateful.wait_for("it writes on", lambda: len(self.ticks(status)) > len(noted) + 2)
        ticks = self.ticks(status)
        self.assertEqual(ticks[:len(noted)], noted)
        # One process, which never stopped, with all of its memory.
        application.expect_uninterrupted(ticks, PROGRAM)
        # The agent is what listens there.
        with socket.socket() as probe:
            probe.settimeout(2)
            self.assertEqual(probe.connect_ex((status["privateIp"], 9527)), 0)

    def check_data_volume(self, status, name):
        """There is none."""

    def check_instance(self, status):
        instance = self.cloud.instance(status["instanceId"])
        self.assertEqual((status["lifeCycle"], instance["InstanceType"]), ("spot", "t2.medium"))
        self.assertEqual((instance["KeyName"], instance["IamInstanceProfile"]["Arn"]),
                         ("own", PROFILE))
        self.assertIn({"Key": "creator", "Value": "somebody@example.com"}, instance["Tags"])
        self.assertEqual(self.cloud.metadata(
            status["instanceId"], "meta-data/public-keys/0/openssh-key"), (200, KEY))

    def test_as_printed(self):
        node = self.post()
        status = self.system.wait_state(node, "ACTIVE")
        self.check_instance(status)
        status = self.go_through(node, status, ("interruption", "failure", "sudden"))
        self.check_instance(status)
        started = [event["message"] for event in self.system.events(node)
                   if event["eventType"] == "APPLICATION_STARTED"]
        self.assertEqual(["goes on from checkpoint" in message for message in started],
                         [False, True, True, True])


if __name__ == "__main__":
    unittest.main()
