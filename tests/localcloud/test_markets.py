"""Requests for spot instances, interfaces that come and go, and failures that are asked for. The
tests of a class share one cloud: they leave no instance and set back what they set."""

import json
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import cloud as lab  # noqa: E402  (the folder is known only now)


class SharedCloudTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cloud = lab.Cloud()
        cls.addClassCleanup(cls.cloud.close)

    def refused(self, code, *arguments):
        with self.assertRaises(lab.Refused) as caught:
            self.cloud.ec2(*arguments)
        self.assertEqual(caught.exception.code, code, str(caught.exception))
        return str(caught.exception)

    def subnet(self, zone):
        found = self.cloud.ec2("describe-subnets", "--filters",
                               f"Name=availability-zone,Values={zone}")
        return found["Subnets"][0]["SubnetId"]

    def interface(self, zone="us-east-1a"):
        made = self.cloud.ec2("create-network-interface", "--subnet-id", self.subnet(zone))
        return made["NetworkInterface"]["NetworkInterfaceId"]

    def described(self, interface):
        return self.cloud.ec2("describe-network-interfaces", "--network-interface-ids",
                              interface)["NetworkInterfaces"][0]

    def end(self, *instances):
        self.cloud.ec2("terminate-instances", "--instance-ids", *instances)
        for instance in instances:
            self.cloud.wait_state(instance, "terminated")


class SpotRequestTest(SharedCloudTest):
    def request(self, *arguments, **specification):
        specification = {"ImageId": self.cloud.image, "InstanceType": "m5.large", **specification}
        return self.cloud.ec2("request-spot-instances", "--launch-specification",
                              json.dumps(specification), *arguments)["SpotInstanceRequests"]

    def described(self, request):
        return self.cloud.ec2("describe-spot-instance-requests", "--spot-instance-request-ids",
                              request)["SpotInstanceRequests"][0]

    def wait_code(self, request, code):
        lab.wait_for(f"{request} {code}: {self.cloud.log_text()}",
                     lambda: self.described(request)["Status"]["Code"] == code)
        return self.described(request)

    def market(self, verb, *arguments):
        self.cloud.admin(verb, "--type", "m5.large", "--zone", "us-east-1a", *arguments)

    def test_one_is_fulfilled(self):
        made, = self.request("--tag-specifications",
                             "ResourceType=spot-instances-request,Tags=[{Key=n,Value=1}]",
                             UserData=lab.encode("#!/bin/sh\necho ran > /root/ran\n"))
        self.assertEqual((made["State"], made["Status"]["Code"], made["Type"]),
                         ("open", "pending-evaluation", "one-time"))
        self.assertEqual(made["Tags"], [{"Key": "n", "Value": "1"}])
        found = self.wait_code(made["SpotInstanceRequestId"], "fulfilled")
        self.assertEqual((found["State"], found["LaunchedAvailabilityZone"]),
                         ("active", "us-east-1a"))
        instance = found["InstanceId"]
        self.cloud.wait_state(instance, "running")
        seen = self.cloud.instance(instance)
        self.assertEqual((seen["InstanceLifecycle"], seen["SpotInstanceRequestId"]),
                         ("spot", made["SpotInstanceRequestId"]))
        lab.wait_for("user data runs", lambda: "ran" in self.cloud.inside(
            instance, "cat /root/ran", check=False))
        self.end(instance)
        found = self.described(made["SpotInstanceRequestId"])
        self.assertEqual((found["State"], found["Status"]["Code"]),
                         ("closed", "instance-terminated-by-user"))

    def test_it_waits_for_capacity(self):
        self.market("capacity", "--count", "0")
        self.addCleanup(self.market, "capacity", "--count", "-1")
        first, second = self.request("--instance-count", "2", "--client-token", "two")
        again = self.request("--instance-count", "2", "--client-token", "two")
        ids = [one["SpotInstanceRequestId"] for one in (first, second)]
        self.assertEqual([one["SpotInstanceRequestId"] for one in again], ids)
        for request in ids:
            self.assertEqual(self.wait_code(request, "capacity-not-available")["State"], "open")
        done = self.cloud.ec2("cancel-spot-instance-requests", "--spot-instance-request-ids", ids[0])
        self.assertEqual(done["CancelledSpotInstanceRequests"][0]["State"], "cancelled")
        self.assertEqual(self.described(ids[0])["Status"]["Code"], "canceled-before-fulfillment")
        self.cloud.kill()  # what is open is open for the next server, too
        self.cloud.start()
        self.market("capacity", "--count", "1")
        instance = self.wait_code(ids[1], "fulfilled")["InstanceId"]
        self.assertNotIn("InstanceId", self.described(ids[0]))
        self.cloud.ec2("cancel-spot-instance-requests", "--spot-instance-request-ids", ids[1])
        self.assertEqual(self.described(ids[1])["Status"]["Code"],
                         "request-canceled-and-instance-running")
        self.end(instance)
        self.assertEqual(self.described(ids[1])["State"], "cancelled")

    def test_it_waits_for_its_price(self):
        self.market("price", "--usd", "0.08")
        made, = self.request("--spot-price", "0.05")
        self.wait_code(made["SpotInstanceRequestId"], "price-too-low")
        self.market("price", "--usd", "0.04")
        found = self.wait_code(made["SpotInstanceRequestId"], "fulfilled")
        self.assertEqual(found["SpotPrice"], "0.05")
        self.end(found["InstanceId"])

    def test_it_ends_with_its_time(self):
        self.market("capacity", "--count", "0")
        self.addCleanup(self.market, "capacity", "--count", "-1")
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
        made, = self.request("--valid-until", until)
        self.assertEqual(self.wait_code(made["SpotInstanceRequestId"], "schedule-expired")["State"],
                         "closed")

    def test_what_cannot_be_is_refused(self):
        ask = ("request-spot-instances", "--launch-specification")
        self.refused("InvalidAMIID.NotFound", *ask, '{"ImageId": "ami-00000000"}')
        known = json.dumps({"ImageId": self.cloud.image})
        self.refused("UnsupportedOperation", *ask, known, "--type", "persistent")
        self.refused("InvalidParameterValue", *ask, known, "--instance-count", "100")
        self.refused("InvalidParameterValue", *ask, known, "--spot-price", "cheap")
        text = self.refused("UnknownParameter", *ask,
                            json.dumps({"ImageId": self.cloud.image, "RamdiskId": "ari-1"}))
        self.assertIn("RamdiskId", text)

    def test_one_whose_interface_is_taken_fails(self):
        self.market("capacity", "--count", "0")
        self.addCleanup(self.market, "capacity", "--count", "-1")
        interface = self.interface()
        made, = self.request(NetworkInterfaces=[
            {"DeviceIndex": 0, "NetworkInterfaceId": interface}])
        request = made["SpotInstanceRequestId"]
        self.wait_code(request, "capacity-not-available")
        other = self.cloud.launch("--network-interfaces",
                                  f"DeviceIndex=0,NetworkInterfaceId={interface}")
        self.market("capacity", "--count", "-1")
        found = self.wait_code(request, "bad-parameters")
        self.assertEqual((found["State"], found["Fault"]["Code"]),
                         ("failed", "InvalidNetworkInterface.InUse"))
        self.end(other)


class InterfaceTest(SharedCloudTest):
    def wait_status(self, interface, status):
        lab.wait_for(f"{interface} {status}: {self.cloud.log_text()}", lambda: self.described(
            interface).get("Attachment", {"Status": "none"})["Status"] == status)

    def attach(self, interface, instance, index="1"):
        return self.cloud.ec2("attach-network-interface", "--network-interface-id", interface,
                              "--instance-id", instance, "--device-index", index)["AttachmentId"]

    def test_one_comes_to_a_running_instance_and_goes(self):
        instance = self.cloud.launch("--instance-type", "m5.large")
        interface = self.interface()
        address = self.described(interface)["PrivateIpAddress"]
        self.cloud.wait_state(instance, "running")
        attachment = self.attach(interface, instance)
        self.wait_status(interface, "attached")
        self.assertIn(address + "/20", self.cloud.inside(instance, "ip -4 addr show eth1"))
        subprocess_ok = self.cloud.inside(instance, "cat /sys/class/net/eth1/operstate").strip()
        self.assertEqual(subprocess_ok, "up")
        macs = self.cloud.metadata(instance, "meta-data/network/interfaces/macs/")[1].split()
        self.assertEqual(len(macs), 2)
        self.refused("InvalidNetworkInterface.InUse", "attach-network-interface",
                     "--network-interface-id", interface, "--instance-id", instance,
                     "--device-index", "2")
        other = self.interface()
        self.refused("InvalidParameterValue", "attach-network-interface", "--network-interface-id",
                     other, "--instance-id", instance, "--device-index", "1")
        far = self.interface("us-east-1b")
        self.refused("InvalidParameterCombination", "attach-network-interface",
                     "--network-interface-id", far, "--instance-id", instance, "--device-index",
                     "2")
        first = [one for one in self.cloud.instance(instance)["NetworkInterfaces"]
                 if one["Attachment"]["DeviceIndex"] == 0][0]
        self.refused("OperationNotPermitted", "detach-network-interface", "--attachment-id",
                     first["Attachment"]["AttachmentId"])
        # It is there again after a boot, and in the machine's place of it.
        before = self.cloud.pid(instance)
        self.cloud.ec2("reboot-instances", "--instance-ids", instance)
        lab.wait_for("it is another process", lambda: self.cloud.pid(instance) not in (
            None, before))
        lab.wait_for("it has its address", lambda: address in self.cloud.inside(
            instance, "ip -4 addr show eth1", check=False))

        def detach():
            try:
                self.cloud.ec2("detach-network-interface", "--attachment-id", attachment)
                return True
            except lab.Refused as refused:  # while it boots
                self.assertEqual(refused.code, "IncorrectState")
                return False

        lab.wait_for("it may be detached", detach)
        self.wait_status(interface, "none")
        self.assertEqual(self.described(interface)["Status"], "available")
        self.assertNotIn("eth1", self.cloud.inside(instance, "ip -br link"))
        self.refused("InvalidAttachmentID.NotFound", "detach-network-interface", "--attachment-id",
                     attachment)
        self.attach(interface, instance, "3")
        self.wait_status(interface, "attached")
        self.assertIn(address, self.cloud.inside(instance, "ip -4 addr show eth3"))
        self.end(instance)
        self.assertEqual(self.described(interface)["Status"], "available")

    def test_one_comes_to_a_stopped_instance(self):
        instance = self.cloud.launch("--instance-type", "m5.large")
        self.cloud.wait_state(instance, "running")
        self.cloud.ec2("stop-instances", "--force", "--instance-ids", instance)
        self.cloud.wait_state(instance, "stopped")
        kept, dropped = self.interface(), self.interface()
        self.attach(kept, instance, "1")
        attachment = self.attach(dropped, instance, "2")
        self.cloud.ec2("detach-network-interface", "--attachment-id", attachment)
        self.wait_status(dropped, "none")
        self.cloud.ec2("start-instances", "--instance-ids", instance)
        self.cloud.wait_state(instance, "running")
        self.assertIn(self.described(kept)["PrivateIpAddress"],
                      self.cloud.inside(instance, "ip -4 addr show eth1"))
        self.assertNotIn("eth2", self.cloud.inside(instance, "ip -br link"))
        self.end(instance)


class FaultTest(SharedCloudTest):
    """What the administrator can do to a node whose interface is kept."""

    def launch(self, interface, *arguments):
        instance = self.cloud.launch("--instance-type", "m5.large", "--count", "1",
                                     "--network-interfaces",
                                     f"DeviceIndex=0,NetworkInterfaceId={interface}", *arguments)
        self.cloud.wait_state(instance, "running")
        return instance

    def test_a_kept_interface_decides_on_the_market(self):
        interface = self.interface("us-east-1b")
        address = self.described(interface)["PrivateIpAddress"]
        spot = ("--instance-market-options", "MarketType=spot")
        launch = ("run-instances", "--image-id", self.cloud.image, "--instance-type", "m5.large",
                  "--network-interfaces", f"DeviceIndex=0,NetworkInterfaceId={interface}")
        market = ("--type", "m5.large", "--zone", "us-east-1b")
        self.cloud.admin("capacity", *market, "--count", "0")
        self.refused("InsufficientInstanceCapacity", *launch, *spot)
        self.cloud.admin("capacity", *market, "--count", "1")
        self.cloud.admin("price", *market, "--usd", "0.5")
        self.refused("SpotMaxPriceTooLow", *launch, *spot)
        self.cloud.admin("price", *market, "--usd", "0.03")
        instance = self.launch(interface, *spot)
        seen = self.cloud.instance(instance)
        self.assertEqual((seen["PrivateIpAddress"], seen["Placement"]["AvailabilityZone"]),
                         (address, "us-east-1b"))
        self.cloud.admin("interrupt", instance, "--no-notice")
        self.cloud.wait_state(instance, "terminated")
        self.assertEqual(self.described(interface)["Status"], "available")
        instance = self.launch(interface)
        self.cloud.admin("fail", "status", instance)
        checked, = self.cloud.ec2("describe-instance-status", "--instance-ids",
                                  instance)["InstanceStatuses"]
        self.assertEqual(checked["InstanceStatus"]["Status"], "impaired")
        self.cloud.admin("fail", "instance", instance)
        self.cloud.wait_state(instance, "terminated")
        self.assertEqual(self.described(interface)["Status"], "available")
        instance = self.launch(interface)
        self.assertEqual(self.cloud.instance(instance)["PrivateIpAddress"], address)
        self.end(instance)

    def test_answers_are_lost(self):
        self.cloud.admin("fail", "api", "--action", "CreateVolume", "--lost")
        make = ("create-volume", "--size", "1", "--availability-zone", "us-east-1a",
                "--client-token", "lost")
        with self.assertRaises(lab.Refused) as caught:
            self.cloud.ec2(*make)
        self.assertIn("Connection was closed", str(caught.exception))
        made, = self.cloud.ec2("describe-volumes")["Volumes"]
        self.assertEqual(self.cloud.ec2(*make)["VolumeId"], made["VolumeId"], "tried again")
        done = self.cloud.admin("fail", "api", "--action", "CreateVolume", check=False)
        self.assertEqual((done.returncode, "code is missing" in done.stderr), (2, True))
        done = self.cloud.admin("fail", "api", "--action", "CreateVolume", "--lost", "--code", "X",
                                check=False)
        self.assertEqual(done.returncode, 2)

    def test_answers_take_their_time(self):
        self.cloud.admin("delay", "--action", "DescribeVpcs", "--seconds", "2")
        begin = time.monotonic()
        self.cloud.ec2("describe-vpcs")
        slow = time.monotonic() - begin
        self.cloud.ec2("describe-vpcs")
        fast = time.monotonic() - begin - slow
        self.assertGreater(slow, 2)
        self.assertLess(fast, slow)
        # A failure besides comes after the delay; and a server that stops waits for neither.
        self.cloud.admin("delay", "--action", "*", "--seconds", "1")
        self.cloud.admin("fail", "api", "--action", "DescribeVpcs", "--code", "InternalError")
        begin = time.monotonic()
        self.refused("InternalError", "describe-vpcs")
        self.assertGreater(time.monotonic() - begin, 1)
        done = self.cloud.admin("delay", "--action", "DescribeVpcs", "--seconds", "-1", check=False)
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root: skipped")
        sys.exit(0)
    unittest.main()
