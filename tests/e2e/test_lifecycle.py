"""The life of stateful nodes on the embedded cloud: instances, volumes and addresses are real."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import stateful  # noqa: E402  (the folder is known only now)


class LifeTest(unittest.TestCase):
    words = ()

    def setUp(self):
        self.system = stateful.System(*self.words)
        self.addCleanup(self.system.close)
        self.cloud = self.system.cloud

    def create(self, **parts):
        node = self.system.create(stateful.node_body(self.system, **parts))
        return node, self.system.wait_state(node, "ACTIVE")

    def types_of(self, node):
        return [event["eventType"] for event in self.system.events(node)]

    def delete(self, node, everything=True):
        flags = {"shouldDeleteImages": everything, "shouldDeleteSnapshots": everything,
                 "shouldDeleteVolumes": everything, "shouldDeleteNetworkInterfaces": everything,
                 "shouldTerminateInstance": True}
        self.system.call("DELETE", f"{stateful.NODES}/{node}", {"deallocationConfig": flags})
        self.system.wait_gone(node)

    def assert_clean(self):
        def clean():
            return all(not ids for ids in self.system.resources().values())
        try:
            stateful.wait_for("nothing is left", clean, 20)
        except AssertionError:
            self.fail(f"left behind: {json.dumps(self.system.resources())}")


class KeptTest(LifeTest):
    """Root, data volume and address through every kind of replacement."""

    def mark(self, instance, text):
        self.cloud.inside(instance, f"echo {text} >> /root/file; mkdir -p /data; "
                                    "mountpoint -q /data || mount /dev/sdf /data; "
                                    f"echo {text} >> /data/file; sync")

    def read(self, instance):
        stateful.wait_for("the volume is there", lambda: self.cloud.inside(
            instance, "test -b /dev/sdf && echo yes", check=False).strip() == "yes")
        root = self.cloud.inside(instance, "cat /root/file").split()
        data = self.cloud.inside(instance, "mkdir -p /data; mountpoint -q /data || "
                                           "mount /dev/sdf /data; cat /data/file").split()
        return root, data

    def all_replacements(self, mode):
        node, status = self.create(
            persistence={"persistRootDevice": True, "persistPrivateIp": True,
                         "persistBlockDevices": True, "blockDevicesMode": mode},
            launch={"blockDeviceMappings": [{"deviceName": "/dev/sdf",
                                             "ebs": {"volumeSize": 1, "volumeType": "gp3"}}]})
        address = status["privateIp"]
        written = []
        for name, how in (
                ("recycle", lambda instance: self.system.act(node, "recycle")),
                ("interruption", lambda instance: self.cloud.admin(
                    "interrupt", instance, "--seconds", "2")),
                ("sudden", lambda instance: self.cloud.admin(
                    "interrupt", instance, "--no-notice")),
                ("failure", lambda instance: self.cloud.admin("fail", "instance", instance))):
            instance = status["instanceId"]
            self.mark(instance, name)
            written.append(name)
            how(instance)
            status = self.system.wait_replaced(node, instance)
            self.assertEqual(status["privateIp"], address, name)
            root, data = self.read(status["instanceId"])
            self.assertEqual((root, data), (written, written), name)
        self.system.act(node, "pause")
        self.system.wait_state(node, "PAUSED")
        self.assertEqual(self.system.resources()["instance"], [])
        self.system.act(node, "resume")
        status = self.system.wait_state(node, "ACTIVE")
        self.assertEqual(status["privateIp"], address)
        self.assertEqual(self.read(status["instanceId"]), (written, written))
        self.delete(node)
        self.assert_clean()

    def test_volumes_that_are_attached_again(self):
        self.all_replacements("reattach")

    def test_volumes_that_live_in_snapshots(self):
        self.all_replacements("onLaunch")


if __name__ == "__main__":
    unittest.main()
