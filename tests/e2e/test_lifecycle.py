"""The life of stateful nodes on the embedded cloud: instances, volumes and addresses are real."""

import datetime
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import stateful  # noqa: E402  (the folder is known only now)
from stateful import LifeTest  # noqa: E402


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


class MarketTest(LifeTest):
    """Where a node runs: spot and on demand, types, zones."""
    words = ("--revert-seconds", "3")

    def test_falls_back_to_on_demand_and_reverts(self):
        self.capacity(0)
        node, status = self.create(strategy={"revertToSpot": {"performAt": "always"}})
        self.assertEqual(status["lifeCycle"], "on_demand")
        self.capacity(-1)
        status = self.system.wait_replaced(node, status["instanceId"])
        self.assertEqual(status["lifeCycle"], "spot")
        self.assertIn("back to spot", str(self.system.events(node)))

    def test_waits_for_spot_when_it_must_not_fall_back(self):
        self.capacity(0)
        node = self.system.create(stateful.node_body(
            self.system, strategy={"fallbackToOd": False}))
        stateful.wait_for("it says so", lambda: "AWS_EC2_CANT_SPIN_SPOT" in self.types_of(node))
        self.assertEqual(self.system.status(node)["status"], "RESUMING")
        self.assertEqual(self.system.resources()["instance"], [])
        self.capacity(-1)
        self.assertEqual(self.system.wait_state(node, "ACTIVE")["lifeCycle"], "spot")

    def test_the_price_decides_unless_a_type_is_preferred(self):
        self.cloud.admin("price", "--type", "m5.large", "--zone", "us-east-1a", "--usd", "0.04")
        self.cloud.admin("price", "--type", "c5.large", "--zone", "us-east-1a", "--usd", "0.02")
        node, status = self.create(strategy={"orientation": "cheapest"})
        self.assertEqual(status["instanceType"], "c5.large")
        costs, = self.system.call("GET", f"{stateful.NODES}/{node}/costs",
                                  query="&fromDate=2020-01-01&toDate=2100-01-01")
        self.assertAlmostEqual(costs["savings"]["value"], 100 * (1 - 0.02 / 0.085), 3)
        self.assertGreater(costs["running"]["value"], 0)
        self.system.call("PUT", f"{stateful.NODES}/{node}", {"managedInstance": {
            "compute": {"launchSpecification": {"instanceTypes": {"preferredType": "m5.large"}}}}})
        self.system.act(node, "recycle")
        status = self.system.wait_replaced(node, status["instanceId"])
        self.assertEqual(status["instanceType"], "m5.large")

    def test_volumes_follow_into_another_zone(self):
        node, status = self.create(
            zones=("us-east-1a", "us-east-1b"),
            persistence={"persistBlockDevices": True, "blockDevicesMode": "reattach"},
            launch={"blockDeviceMappings": [{"deviceName": "/dev/sdf", "ebs": {"volumeSize": 1}}]})
        zone = status["availabilityZone"]
        self.cloud.inside(status["instanceId"], "mkdir -p /data; mount /dev/sdf /data; "
                                                "echo moves > /data/file; sync")
        self.capacity(0, zone)
        self.capacity(0, zone, "--on-demand")
        self.cloud.admin("interrupt", status["instanceId"], "--no-notice")
        status = self.system.wait_replaced(node, status["instanceId"])
        self.assertNotEqual(status["availabilityZone"], zone)
        self.assertEqual(self.cloud.inside(
            status["instanceId"], "mkdir -p /data; mount /dev/sdf /data; cat /data/file").strip(),
            "moves")
        self.assertEqual(len(self.system.resources()["volume"]), 2, "the old volume is dropped")


class UpkeepTest(LifeTest):
    """Health, schedules, addresses, retention."""
    words = ("--retention-hours", "0", "--snapshot-seconds", "3")

    def test_an_unhealthy_target_is_replaced(self):
        vpc = self.cloud.ec2("describe-vpcs")["Vpcs"][0]["VpcId"]
        arn = self.cloud.aws(
            "elbv2", "create-target-group", "--name", "web", "--protocol", "TCP", "--port", "8080",
            "--vpc-id", vpc, "--health-check-interval-seconds", "5",
            "--health-check-timeout-seconds", "2", "--healthy-threshold-count", "2",
            "--unhealthy-threshold-count", "2")["TargetGroups"][0]["TargetGroupArn"]
        node, status = self.create(
            # As a module it would first look up its address in the DNS, which takes ten seconds.
            user_data="#!/bin/sh\ncd /srv && exec python3 -c \"import http.server, socketserver; "
                      "socketserver.TCPServer(('', 8080), "
                      "http.server.SimpleHTTPRequestHandler).serve_forever()\"\n",
            healthCheck={"type": "TARGET_GROUP", "gracePeriod": 15, "unhealthyDuration": 1},
            integrations={"loadBalancersConfig": {"loadBalancers": [
                {"type": "TARGET_GROUP", "arn": arn}]}})

        def health(instance):
            found, = self.cloud.aws("elbv2", "describe-target-health", "--target-group-arn", arn,
                                    "--targets", f"Id={instance}")["TargetHealthDescriptions"]
            return found["TargetHealth"]["State"]

        first = status["instanceId"]
        stateful.wait_for("the target is healthy", lambda: health(first) == "healthy")
        self.cloud.inside(first, "pkill -f http.server", check=False)
        status = self.system.wait_replaced(node, first)
        self.assertIn("AWS_EC2_INSTANCE_UNHEALTHY_IN_ELB", self.types_of(node))
        self.assertEqual(health(first), "unused")
        stateful.wait_for("the new one is healthy",
                          lambda: health(status["instanceId"]) == "healthy")

    def test_failed_status_checks_are_healed(self):
        node, status = self.create(healthCheck={"gracePeriod": 0, "unhealthyDuration": 1})
        self.cloud.admin("fail", "status", status["instanceId"])
        self.system.wait_replaced(node, status["instanceId"])
        self.assertIn("AWS_EC2_INSTANCE_UNHEALTHY", self.types_of(node))

    def test_tasks_addresses_and_volumes_of_the_user(self):
        allocation = self.cloud.ec2("allocate-address")["AllocationId"]
        volume = self.cloud.ec2("create-volume", "--size", "1", "--availability-zone",
                                "us-east-1a")["VolumeId"]
        subnet, = [one for one in self.cloud.ec2("describe-subnets")["Subnets"]
                   if one["AvailabilityZone"] == "us-east-1a"]
        network = subnet["CidrBlock"].rsplit(".", 1)[0]
        pool = [f"{network}.77", f"{network}.78"]
        self.cloud.ec2("create-network-interface", "--subnet-id", subnet["SubnetId"],
                       "--private-ip-address", pool[0])
        node, status = self.create(compute={
            "privateIps": pool, "elasticIp": allocation,
            "volumeAttachments": {"volumes": [{"volumeId": volume, "deviceName": "/dev/sdg"}]}})
        self.assertEqual(status["privateIp"], pool[1])
        address = self.cloud.ec2("describe-addresses", "--allocation-ids", allocation)
        self.assertEqual(status["publicIp"], address["Addresses"][0]["PublicIp"])
        self.cloud.inside(status["instanceId"], "mkdir -p /own; mount /dev/sdg /own; "
                                                "echo mine > /own/file; sync")
        # One task, once: in the past, so at once.
        self.system.call("PUT", f"{stateful.NODES}/{node}", {"managedInstance": {"scheduling": {
            "tasks": [{"taskType": "recycle", "cronExpression": "* * * * *"}]}}})
        first = status["instanceId"]
        status = self.system.wait_replaced(node, first, 90)
        self.system.call("PUT", f"{stateful.NODES}/{node}",
                         {"managedInstance": {"scheduling": {"tasks": []}}})
        self.assertEqual(status["privateIp"], pool[1])
        self.assertEqual(status["publicIp"], address["Addresses"][0]["PublicIp"])
        self.assertEqual(self.cloud.inside(
            status["instanceId"], "mkdir -p /own; mount /dev/sdg /own; cat /own/file").strip(),
            "mine")
        # What is flagged goes after its retention, the rest stays with a tag.
        self.system.call("DELETE", f"{stateful.NODES}/{node}", {"deallocationConfig": {
            "shouldDeleteImages": True, "shouldDeleteSnapshots": True}})
        self.system.wait_gone(node)
        stateful.wait_for("images and snapshots go", lambda: not any(
            self.system.resources()[kind] for kind in ("image", "snapshot")))
        left = self.system.resources()
        self.assertIn(volume, left["volume"])
        kept = self.cloud.ec2("describe-network-interfaces", "--filters",
                              "Name=tag-key,Values=snapstore:retained")["NetworkInterfaces"]
        self.assertEqual([one["PrivateIpAddress"] for one in kept], [pool[1]])

    def test_periodic_snapshots_keep_three(self):
        node, status = self.create()
        def completed():
            return [one for one in self.cloud.ec2("describe-snapshots", "--owner-ids", "self")
                    ["Snapshots"] if one["State"] == "completed" and
                    {"Key": "snapstore:node", "Value": node} in one.get("Tags", [])]
        seen = set()
        def enough():
            seen.update(one["SnapshotId"] for one in completed())
            return len(seen) >= 4
        stateful.wait_for("four were taken", enough, 70)
        stateful.wait_for("three are kept", lambda: len(completed()) == 3)
        self.assertEqual(self.system.status(node)["instanceId"], status["instanceId"])


class LeaveTest(LifeTest):
    """Nodes that are deleted in part."""
    words = ("--retention-hours", "0", "--purge-unflagged")

    def create_kept(self, name):
        node, status = self.create(
            name=name, persistence={"persistRootDevice": True, "persistPrivateIp": True,
                                    "persistBlockDevices": True, "blockDevicesMode": "reattach"},
            launch={"blockDeviceMappings": [{"deviceName": "/dev/sdf", "ebs": {"volumeSize": 1}}]})
        self.system.act(node, "recycle")  # so that there is an image
        return node, self.system.wait_replaced(node, status["instanceId"])

    def test_an_instance_is_left_and_what_nobody_flagged_goes(self):
        left, status = self.create_kept("left")
        instance = status["instanceId"]
        self.cloud.inside(instance, "mkdir -p /data; mount /dev/sdf /data; echo 1 > /data/file; "
                                    "sleep 1000 >/dev/null 2>&1 & echo $! > /run/sleeper")
        gone, _ = self.create_kept("gone")
        self.system.call("DELETE", f"{stateful.NODES}/{left}", {"deallocationConfig": {
            "shouldTerminateInstance": False}})
        self.system.wait_gone(left)
        self.assertTrue(self.system.resources()["image"], "the other node has one")
        self.system.call("DELETE", f"{stateful.NODES}/{gone}", {"deallocationConfig": {
            "shouldTerminateInstance": True}})
        self.system.wait_gone(gone)
        # Of the one that was left: the instance, with its two volumes and its interface.
        seen = self.cloud.instance(instance)
        attached = [one["Ebs"]["VolumeId"] for one in seen["BlockDeviceMappings"]]
        expected = {"instance": [instance], "volume": sorted(attached), "snapshot": [], "image": [],
                    "interface": [seen["NetworkInterfaces"][0]["NetworkInterfaceId"]]}
        try:
            stateful.wait_for("the rest goes", lambda: expected == {
                kind: sorted(ids) for kind, ids in self.system.resources().items()})
        except AssertionError as error:
            self.fail(f"{error}: {self.system.resources()} instead of {expected}\n"
                      f"{self.system.log()}")
        self.assertEqual(len(attached), 2)
        self.assertEqual((seen["State"]["Name"], seen["PrivateIpAddress"]),
                         ("running", status["privateIp"]))
        self.assertEqual(self.cloud.inside(
            instance, "kill -0 $(cat /run/sleeper) && cat /data/file").strip(), "1")


class ImportTest(LifeTest):
    def test_a_running_instance_becomes_a_node(self):
        source = self.cloud.launch("--tag-specifications",
                                   "ResourceType=instance,Tags=[{Key=Name,Value=old}]")
        self.cloud.wait_state(source, "running")
        self.cloud.inside(source, "echo old > /root/file; sync")
        address = self.cloud.instance(source)["PrivateIpAddress"]
        migration, = self.system.call("POST", f"{stateful.NODES}/migration", {"migration": {
            "originalInstanceId": source, "region": "us-east-1", "shouldKeepPrivateIp": True,
            "shouldTerminateInstance": True}})
        node = migration["managedInstanceId"]

        def state():
            return self.system.call(
                "GET", f"{stateful.NODES}/migration/{migration['migrationId']}")[0]

        try:
            stateful.wait_for("the import ends", lambda: state()["state"] in (
                "MIGRATE_FINISH", "MIGRATE_ERROR"), 60)
        except AssertionError as error:
            self.fail(f"{error} {state()} {self.system.log()[-3000:]}")
        self.assertEqual(state()["state"], "MIGRATE_FINISH", state())
        status = self.system.wait_state(node, "ACTIVE")
        self.assertEqual(state()["instanceId"], status["instanceId"])
        self.assertEqual((status["name"], status["privateIp"]), ("old", address))
        self.assertEqual(self.cloud.instance(source)["State"]["Name"], "terminated")
        self.assertEqual(self.cloud.inside(status["instanceId"], "cat /root/file").strip(), "old")

    def test_an_import_that_cannot_be_leaves_the_source_alone(self):
        migration, = self.system.call("POST", f"{stateful.NODES}/migration", {"migration": {
            "originalInstanceId": "i-00000000000000000", "region": "us-east-1"}})
        path = f"{stateful.NODES}/migration/{migration['migrationId']}"
        stateful.wait_for("it ends", lambda: self.system.call("GET", path)[0]["state"] ==
                          "MIGRATE_ERROR")
        self.assertIn("i-00000000000000000",
                      self.system.call("GET", path)[0]["stateDescription"])
        self.assert_clean()


class KillTest(LifeTest):
    """A controller that is killed again and again."""

    def test_what_was_begun_is_finished(self):
        node = self.system.create(stateful.node_body(
            self.system, persistence={"persistRootDevice": True, "persistPrivateIp": True,
                                      "persistBlockDevices": True},
            launch={"blockDeviceMappings": [{"deviceName": "/dev/sdf", "ebs": {"volumeSize": 1}}]}))
        for number, action in enumerate((None, "recycle", "pause", "resume")):
            if action:
                self.system.act(node, action)
            wanted = "PAUSED" if action == "pause" else "ACTIVE"
            # The first time at once: what was asked for is under way.
            self.assertNotEqual(self.system.status(node)["status"], wanted, action)
            for kills in range(40):
                stateful.time.sleep(0.05 * ((kills + number) % 7) if kills else 0)
                killed = datetime.datetime.now(datetime.timezone.utc)
                self.system.kill()
                self.system.start()
                if kills == 0:
                    first = killed
                if self.system.status(node)["status"] == wanted:
                    break
            # A snapshot whose answer was lost is looked for a minute long before it is asked for again.
            self.system.wait_state(node, wanted, 90)
            self.assertLessEqual(len(self.system.resources()["instance"]), 1)
            operation = self.system.call("GET", f"{stateful.NODES}/{node}/operations")[-1]
            begun, ended = (datetime.datetime.fromisoformat(operation[name])
                            for name in ("createdAt", "updatedAt"))
            self.assertEqual((operation["kind"], operation["state"]),
                             (action or "launch", "done"))
            self.assertTrue(begun < first < ended, (action, begun, first, ended))
        self.delete(node)
        self.assert_clean()


class ManyTest(LifeTest):
    """Three controllers over one etcd: one leads, any of them serves."""
    controllers = 3

    def leader(self):
        for controller in self.system.controllers:
            if controller.process.poll() is None and "this controller leads" in controller.log():
                return controller
        return None

    def test_another_one_goes_on_when_the_leader_is_killed(self):
        first = stateful.wait_for("one leads", self.leader)
        node, status = self.create()
        self.system.act(node, "recycle")
        stateful.wait_for("it is under way",
                          lambda: self.system.status(node)["status"] == "RECYCLING")
        first.kill()
        status = self.system.wait_replaced(node, status["instanceId"])
        self.assertEqual(len(self.system.resources()["instance"]), 1)
        second = stateful.wait_for("another one leads", self.leader)
        self.assertIsNot(second, first)
        # The killed one comes back, and waits.
        first.start()
        second.kill()
        self.cloud.admin("interrupt", status["instanceId"], "--no-notice")
        self.system.wait_replaced(node, status["instanceId"])
        self.delete(node)
        self.assert_clean()


if __name__ == "__main__":
    unittest.main()
