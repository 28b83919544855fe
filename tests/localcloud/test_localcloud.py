"""snapstore-localcloud from outside: the AWS CLI of Debian, unchanged, and real instances."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import cloud as lab  # noqa: E402  (the folder is known only now)


class CloudTest(unittest.TestCase):
    def setUp(self):
        self.cloud = lab.Cloud()
        self.addCleanup(self.cloud.close)

    def refused(self, code, *arguments):
        with self.assertRaises(lab.Refused) as caught:
            self.cloud.ec2(*arguments)
        self.assertEqual(caught.exception.code, code, str(caught.exception))
        return str(caught.exception)

    def subnet(self, zone):
        found = self.cloud.ec2("describe-subnets", "--filters",
                               f"Name=availability-zone,Values={zone}")
        return found["Subnets"][0]


class ApiTest(CloudTest):
    """What needs no instance."""

    def test_who_am_i(self):
        self.assertIn(":user/admin", self.cloud.aws("sts", "get-caller-identity")["Arn"])

    def test_wrong_keys_are_refused(self):
        self.cloud.variables["AWS_SECRET_ACCESS_KEY"] = "wrong"
        self.refused("SignatureDoesNotMatch", "describe-volumes")
        self.cloud.variables["AWS_ACCESS_KEY_ID"] = "AKIAUNKNOWN"
        self.refused("AuthFailure", "describe-volumes")

    def test_errors_are_those_of_ec2(self):
        self.refused("InvalidInstanceID.NotFound", "describe-instances", "--instance-ids",
                     "i-00000000000000000")
        self.refused("InvalidInstanceID.Malformed", "describe-instances", "--instance-ids", "x-1")
        self.refused("InvalidVolume.NotFound", "delete-volume", "--volume-id", "vol-00000000")
        self.refused("InvalidAMIID.NotFound", "run-instances", "--image-id", "ami-00000000")
        self.refused("InvalidParameterValue", "describe-volumes", "--filters",
                     "Name=no-such-filter,Values=1")
        self.refused("InvalidAction", "describe-hosts")
        self.refused("DryRunOperation", "run-instances", "--image-id", self.cloud.image, "--dry-run")

    def test_what_is_not_understood_is_named(self):
        text = self.refused("UnknownParameter", "create-volume", "--size", "1",
                            "--availability-zone", "us-east-1a", "--multi-attach-enabled")
        self.assertIn("MultiAttachEnabled", text)
        text = self.refused("UnsupportedOperation", "run-instances", "--image-id",
                            self.cloud.image, "--placement", "Tenancy=dedicated")
        self.assertIn("Placement.Tenancy", text)

    def test_volumes_tags_filters_and_pages(self):
        ids = [self.cloud.ec2("create-volume", "--size", "1", "--availability-zone", "us-east-1a",
                              "--tag-specifications",
                              f"ResourceType=volume,Tags=[{{Key=n,Value={n}}}]")["VolumeId"]
               for n in range(7)]
        lab.wait_for("volumes are made", lambda: all(
            volume["State"] == "available"
            for volume in self.cloud.ec2("describe-volumes")["Volumes"]))
        found = self.cloud.ec2("describe-volumes", "--filters", "Name=tag:n,Values=3")["Volumes"]
        self.assertEqual([volume["VolumeId"] for volume in found], [ids[3]])
        paged = self.cloud.ec2("describe-volumes", "--page-size", "5")["Volumes"]
        self.assertEqual(sorted(volume["VolumeId"] for volume in paged), sorted(ids))
        self.cloud.ec2("create-tags", "--resources", ids[0], "--tags", "Key=who,Value=me")
        self.assertEqual(self.cloud.ec2("describe-tags", "--filters", "Name=key,Values=who")
                         ["Tags"][0]["ResourceId"], ids[0])
        self.cloud.ec2("delete-volume", "--volume-id", ids[0])
        lab.wait_for("the volume goes", lambda: len(
            self.cloud.ec2("describe-volumes")["Volumes"]) == 6)

    def test_one_token_makes_one(self):
        arguments = ("create-volume", "--size", "1", "--availability-zone", "us-east-1a",
                     "--client-token", "t1")
        first = self.cloud.ec2(*arguments)["VolumeId"]
        self.assertEqual(self.cloud.ec2(*arguments)["VolumeId"], first)
        self.refused("IdempotentParameterMismatch", "create-volume", "--size", "2",
                     "--availability-zone", "us-east-1a", "--client-token", "t1")

    def test_interfaces_have_fixed_addresses(self):
        subnet = self.subnet("us-east-1b")
        address = subnet["CidrBlock"].rsplit(".", 1)[0] + ".77"
        make = ("create-network-interface", "--subnet-id", subnet["SubnetId"],
                "--private-ip-address", address)
        made = self.cloud.ec2(*make)["NetworkInterface"]
        self.assertEqual(made["PrivateIpAddress"], address)
        self.refused("InvalidIPAddress.InUse", *make)
        self.cloud.ec2("delete-network-interface", "--network-interface-id",
                       made["NetworkInterfaceId"])

    def test_instance_types(self):
        old = self.cloud.ec2("describe-instance-types", "--filters",
                             "Name=current-generation,Values=false")["InstanceTypes"]
        self.assertEqual({one["InstanceType"]: one["MemoryInfo"]["SizeInMiB"] for one in old},
                         {"m1.large": 7680, "m3.large": 7680})
        shared = self.cloud.ec2("describe-instance-types", "--instance-types", "t2.medium",
                                "t3a.medium")["InstanceTypes"]
        self.assertEqual([one["BurstablePerformanceSupported"] for one in shared], [True, True])

    def test_markets(self):
        self.cloud.admin("capacity", "--type", "m5.large", "--zone", "us-east-1a", "--count", "0")
        spot = ("run-instances", "--image-id", self.cloud.image, "--instance-type", "m5.large",
                "--instance-market-options", "MarketType=spot", "--placement",
                "AvailabilityZone=us-east-1a")
        self.refused("InsufficientInstanceCapacity", *spot)
        self.cloud.admin("price", "--type", "c5.large", "--zone", "us-east-1a", "--usd", "0.07")
        prices = self.cloud.ec2("describe-spot-price-history", "--instance-types", "c5.large",
                                "--availability-zone", "us-east-1a")["SpotPriceHistory"]
        self.assertEqual(prices[0]["SpotPrice"], "0.070000")
        self.refused("SpotMaxPriceTooLow", "run-instances", "--image-id", self.cloud.image,
                     "--instance-type", "c5.large", "--instance-market-options",
                     "MarketType=spot,SpotOptions={MaxPrice=0.01}")

    def test_calls_fail_as_asked(self):
        self.cloud.admin("fail", "api", "--action", "DescribeVolumes", "--code",
                         "RequestLimitExceeded", "--http", "503")
        self.refused("RequestLimitExceeded", "describe-volumes")
        self.cloud.ec2("describe-volumes")
        done = self.cloud.admin("fail", "api", "--action", "Nonsense", "--code", "X", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("there is no action Nonsense", done.stderr)


class InstanceTest(CloudTest):
    def test_boots_with_its_own_everything(self):
        ran = "touch /root/ran; echo $(hostname) > /root/name; echo out"
        instance = self.cloud.launch("--iam-instance-profile", "Name=node",
                                     user_data=f"#!/bin/sh\n{ran}\n")
        self.cloud.wait_state(instance, "running")
        lab.wait_for("user data runs", lambda: "out" in self.cloud.inside(
            instance, "cat /var/log/cloud-init-output.log", check=False))
        self.assertFalse(os.path.exists("/root/ran"), "the machine's own root is untouched")
        address = self.cloud.instance(instance)["PrivateIpAddress"]
        self.assertEqual(self.cloud.inside(instance, "cat /root/name").strip(),
                         "ip-" + address.replace(".", "-"))
        self.assertIn(address, self.cloud.inside(instance, "ip -4 addr show eth0"))
        self.assertEqual(self.cloud.inside(instance, f"ls {self.cloud.folder} | wc -l").strip(), "0")
        status, document = self.cloud.metadata(instance, "dynamic/instance-identity/document")
        self.assertEqual((status, json.loads(document)["instanceId"]), (200, instance))
        self.assertEqual(self.cloud.metadata(instance, "meta-data/spot/instance-action")[0], 404)
        # The keys of its role are good.
        keys = json.loads(self.cloud.metadata(
            instance, "meta-data/iam/security-credentials/node")[1])
        self.cloud.variables.update(AWS_ACCESS_KEY_ID=keys["AccessKeyId"],
                                    AWS_SECRET_ACCESS_KEY=keys["SecretAccessKey"],
                                    AWS_SESSION_TOKEN=keys["Token"])
        self.assertIn(f"assumed-role/node/{instance}",
                      self.cloud.aws("sts", "get-caller-identity")["Arn"])

    def test_file_systems_are_shared(self):
        self.cloud.kill()
        folder = os.path.join(self.cloud.folder, "shared")
        os.mkdir(folder)
        self.cloud.words = ("--file-system", f"fs-0123abcd={folder}")
        self.cloud.start()
        first, second = (self.cloud.launch(
            user_data="#!/bin/sh\nprintf x >> $SNAPSTORE_EFS_ROOT/fs-0123abcd/file\n")
            for _ in range(2))
        for instance in (first, second):
            self.cloud.wait_state(instance, "running")
        lab.wait_for("both wrote into one file", lambda: self.cloud.inside(
            first, "cat /mnt/efs/fs-0123abcd/file", check=False) == "xx")
        with open(os.path.join(folder, "file"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "xx")
        # Kept by the cloud, whatever it is started with later.
        self.cloud.kill()
        self.cloud.words = ()
        self.cloud.start()
        third = self.cloud.launch()
        self.cloud.wait_state(third, "running")
        self.assertEqual(self.cloud.inside(third, "cat /mnt/efs/fs-0123abcd/file"), "xx")

    def test_tokens_are_required_when_asked_for(self):
        instance = self.cloud.launch("--metadata-options", "HttpTokens=required")
        self.cloud.wait_state(instance, "running")
        self.assertEqual(self.cloud.inside(
            instance, "curl -s -o /dev/null -w '%{http_code}' "
            "http://169.254.169.254/latest/meta-data/instance-id"), "401")
        self.assertEqual(self.cloud.metadata(instance, "meta-data/instance-id"), (200, instance))

    def test_interruption(self):
        instance = self.cloud.launch("--instance-market-options", "MarketType=spot")
        self.cloud.wait_state(instance, "running")
        self.cloud.admin("rebalance", instance)
        self.assertEqual(self.cloud.metadata(
            instance, "meta-data/events/recommendations/rebalance")[0], 200)
        self.cloud.admin("interrupt", instance, "--seconds", "3")
        status, action = self.cloud.metadata(instance, "meta-data/spot/instance-action")
        self.assertEqual((status, json.loads(action)["action"]), (200, "terminate"))
        request = self.cloud.ec2("describe-spot-instance-requests")["SpotInstanceRequests"][0]
        self.assertEqual(request["Status"]["Code"], "marked-for-termination")
        self.cloud.wait_state(instance, "terminated")
        self.assertEqual(self.cloud.instance(instance)["StateReason"]["Code"],
                         "Server.SpotInstanceTermination")

    def test_hardware_failure(self):
        instance = self.cloud.launch()
        self.cloud.wait_state(instance, "running")
        self.cloud.admin("fail", "instance", instance)
        self.cloud.wait_state(instance, "terminated")
        self.assertEqual(self.cloud.instance(instance)["StateReason"]["Code"],
                         "Server.InternalError")


class PowerTest(CloudTest):
    def boots(self, instance, count):
        lab.wait_for("it has booted", lambda: self.cloud.pid(instance) and self.cloud.inside(
            instance, "cat /root/boots", check=False).count("boot") == count)

    def test_an_instance_is_stopped_started_and_rebooted(self):
        scripts = "/var/lib/cloud/scripts/per-boot"
        instance = self.cloud.launch("--instance-type", "m5.large", user_data=(
            f"#!/bin/sh\nmkdir -p {scripts}\n"
            f"printf '#!/bin/sh\\necho boot >> /root/boots\\n' > {scripts}/note\n"
            f"chmod +x {scripts}/note\necho boot >> /root/boots\necho once >> /root/runs\n"))
        self.cloud.wait_state(instance, "running")
        self.boots(instance, 1)
        address = self.cloud.instance(instance)["PrivateIpAddress"]
        before = self.cloud.pid(instance)
        changed = self.cloud.ec2("stop-instances", "--instance-ids", instance)
        self.assertEqual(changed["StoppingInstances"][0]["CurrentState"]["Name"], "stopping")
        self.cloud.wait_state(instance, "stopped")
        self.assertIsNone(self.cloud.pid(instance))
        self.assertFalse(os.path.exists(f"/proc/{before}/root/root/boots"))
        self.refused("IncorrectInstanceState", "reboot-instances", "--instance-ids", instance)
        # What is attached meanwhile is there afterwards.
        volume = self.cloud.ec2("create-volume", "--size", "1", "--availability-zone",
                                "us-east-1a")["VolumeId"]
        lab.wait_for("the volume", lambda: self.cloud.volume(volume)["State"] == "available")
        self.cloud.ec2("attach-volume", "--volume-id", volume, "--instance-id", instance,
                       "--device", "/dev/sdf")
        lab.wait_for("it is attached", lambda: self.cloud.volume(volume)["Attachments"][0][
            "State"] == "attached")
        self.cloud.kill()
        self.cloud.start()
        self.cloud.ec2("start-instances", "--instance-ids", instance)
        self.cloud.wait_state(instance, "running")
        self.boots(instance, 2)
        self.assertEqual(self.cloud.inside(instance, "cat /root/runs"), "once\n")
        self.cloud.inside(instance, "test -b /dev/sdf")
        self.assertEqual(self.cloud.instance(instance)["PrivateIpAddress"], address)
        self.assertIn(address, self.cloud.inside(instance, "ip -4 addr show eth0"))
        before = self.cloud.pid(instance)
        self.cloud.ec2("reboot-instances", "--instance-ids", instance)
        lab.wait_for("it is another process", lambda: self.cloud.pid(instance) not in (
            None, before))
        self.boots(instance, 3)
        self.assertEqual(self.cloud.instance(instance)["State"]["Name"], "running")
        self.assertEqual(self.cloud.metadata(instance, "meta-data/instance-id"), (200, instance))
        self.cloud.ec2("stop-instances", "--force", "--instance-ids", instance)
        self.cloud.wait_state(instance, "stopped")
        self.cloud.ec2("terminate-instances", "--instance-ids", instance)
        self.cloud.wait_state(instance, "terminated")
        self.assertEqual(self.cloud.volume(volume)["State"], "available")

    def test_what_cannot_be_stopped_or_started_is_refused(self):
        spot = self.cloud.launch("--instance-type", "m5.large", "--instance-market-options",
                                 "MarketType=spot")
        demand = self.cloud.launch("--instance-type", "m5.large")
        for instance in (spot, demand):
            self.cloud.wait_state(instance, "running")
        self.refused("UnsupportedOperation", "stop-instances", "--instance-ids", spot)
        self.cloud.ec2("stop-instances", "--instance-ids", demand)
        self.cloud.wait_state(demand, "stopped")
        # The machine it had is somebody else's by now.
        self.cloud.admin("capacity", "--type", "m5.large", "--zone", "us-east-1a", "--count", "0",
                         "--on-demand")
        self.refused("InsufficientInstanceCapacity", "start-instances", "--instance-ids", demand)
        self.cloud.ec2("terminate-instances", "--instance-ids", demand)
        self.cloud.wait_state(demand, "terminated")
        self.refused("IncorrectInstanceState", "start-instances", "--instance-ids", demand)


class BalancerTest(CloudTest):
    """Health checks are real; the AWS CLI's `elbv2` and `elb` see what they find."""

    # Not http.server as a program: it looks for its name first, and waits for DNS.
    SERVER = "#!/bin/sh\nmkdir /srv/www; echo fine > /srv/www/health\n" \
             "cd /srv/www && exec python3 -c '" \
             "import http.server as h, socketserver as s; " \
             "s.ThreadingTCPServer((\"\", 8080), h.SimpleHTTPRequestHandler).serve_forever()'\n"

    def test_a_target_is_checked_in_its_group_and_behind_a_classic_balancer(self):
        instance = self.cloud.launch("--instance-type", "m5.large", user_data=self.SERVER)
        vpc = self.cloud.ec2("describe-vpcs")["Vpcs"][0]["VpcId"]
        group = self.cloud.aws(
            "elbv2", "create-target-group", "--name", "web", "--protocol", "HTTP", "--port", "8080",
            "--vpc-id", vpc, "--health-check-path", "/health", "--health-check-interval-seconds",
            "5", "--healthy-threshold-count", "2")["TargetGroups"][0]
        arn = group["TargetGroupArn"]
        self.assertEqual((group["HealthCheckPath"], group["Port"]), ("/health", 8080))
        self.assertEqual(self.cloud.aws("elbv2", "describe-target-groups", "--names", "web")
                         ["TargetGroups"], [group])
        self.cloud.aws("elb", "create-load-balancer", "--load-balancer-name", "old", "--listeners",
                       "Protocol=TCP,LoadBalancerPort=80,InstancePort=8080",
                       "--availability-zones", "us-east-1a")
        self.cloud.aws("elb", "configure-health-check", "--load-balancer-name", "old",
                       "--health-check", "Target=TCP:8080,Interval=5,Timeout=2,"
                       "UnhealthyThreshold=2,HealthyThreshold=2")

        def target():
            found, = self.cloud.aws("elbv2", "describe-target-health", "--target-group-arn", arn,
                                    "--targets", f"Id={instance}")["TargetHealthDescriptions"]
            return found["TargetHealth"]

        def classic():
            found, = self.cloud.aws("elb", "describe-instance-health", "--load-balancer-name",
                                    "old")["InstanceStates"]
            return found["State"]

        self.assertEqual(target()["Reason"], "Target.NotRegistered")
        self.cloud.aws("elbv2", "register-targets", "--target-group-arn", arn, "--targets",
                       f"Id={instance}")
        self.cloud.aws("elb", "register-instances-with-load-balancer", "--load-balancer-name", "old",
                       "--instances", instance)
        lab.wait_for("both find it healthy",
                     lambda: target()["State"] == "healthy" and classic() == "InService")
        # The server goes on, what is asked for does not.
        self.cloud.inside(instance, "rm /srv/www/health")
        lab.wait_for("the page is missed", lambda: target()["State"] == "unhealthy")
        self.assertEqual(target()["Reason"], "Target.FailedHealthChecks")
        self.assertEqual(classic(), "InService")
        self.cloud.kill()
        self.cloud.start()
        self.assertEqual(target()["State"], "unhealthy")
        self.cloud.aws("elbv2", "deregister-targets", "--target-group-arn", arn, "--targets",
                       f"Id={instance}")
        self.assertEqual(target()["State"], "unused")
        self.cloud.ec2("terminate-instances", "--instance-ids", instance)
        lab.wait_for("it is taken out", lambda: not self.cloud.aws(
            "elb", "describe-instance-health", "--load-balancer-name", "old")["InstanceStates"])

    def test_errors_are_those_of_the_service(self):
        def refused(code, *arguments):
            with self.assertRaises(lab.Refused) as caught:
                self.cloud.aws(*arguments)
            self.assertEqual(caught.exception.code, code, str(caught.exception))

        refused("TargetGroupNotFound", "elbv2", "describe-target-health", "--target-group-arn",
                "arn:aws:elasticloadbalancing:us-east-1:0:targetgroup/x/1")
        refused("LoadBalancerNotFound", "elb", "describe-instance-health", "--load-balancer-name",
                "x")
        vpc = self.cloud.ec2("describe-vpcs")["Vpcs"][0]["VpcId"]
        make = ("elbv2", "create-target-group", "--name", "web", "--protocol", "TCP", "--port", "1",
                "--vpc-id", vpc)
        arn = self.cloud.aws(*make)["TargetGroups"][0]["TargetGroupArn"]
        refused("DuplicateTargetGroupName", *make)
        refused("ValidationError", *make, "--healthy-threshold-count", "11")
        refused("InvalidTarget", "elbv2", "register-targets", "--target-group-arn", arn,
                "--targets", "Id=i-00000000000000000")
        self.cloud.aws("elbv2", "delete-target-group", "--target-group-arn", arn)
        refused("TargetGroupNotFound", "elbv2", "delete-target-group", "--target-group-arn", arn)


class StatefulTest(CloudTest):
    def test_a_node_moves_with_its_disks_and_address(self):
        """The life of a stateful node: kept interface, kept root by image, kept data volume."""
        first = self.cloud.launch(
            "--block-device-mappings",
            json.dumps([{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}},
                        {"DeviceName": "/dev/sdf",
                         "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}}]),
            "--network-interfaces",
            json.dumps([{"DeviceIndex": 0, "DeleteOnTermination": False,
                         "SubnetId": self.subnet("us-east-1a")["SubnetId"]}]))
        self.cloud.wait_state(first, "running")
        self.cloud.inside(first, "mkdir /data && mount /dev/sdf /data && "
                                 "echo kept > /data/file && echo root > /root/file && sync")
        before = self.cloud.instance(first)
        eni = before["NetworkInterfaces"][0]["NetworkInterfaceId"]
        volumes = {mapping["DeviceName"]: mapping["Ebs"]["VolumeId"]
                   for mapping in before["BlockDeviceMappings"]}
        self.cloud.ec2("terminate-instances", "--instance-ids", first)
        self.cloud.wait_state(first, "terminated")
        for volume in volumes.values():
            lab.wait_for("volume is free",
                         lambda v=volume: self.cloud.volume(v)["State"] == "available")
        snapshot = self.snapshot(volumes["/dev/xvda"])
        image = self.cloud.ec2(
            "register-image", "--name", "kept", "--architecture", "x86_64", "--root-device-name",
            "/dev/xvda", "--virtualization-type", "hvm", "--block-device-mappings",
            json.dumps([{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}]))["ImageId"]
        self.refused("InvalidSnapshot.InUse", "delete-snapshot", "--snapshot-id", snapshot)
        second = self.cloud.ec2(
            "run-instances", "--image-id", image, "--network-interfaces",
            json.dumps([{"DeviceIndex": 0, "NetworkInterfaceId": eni}]))["Instances"][0]["InstanceId"]
        self.cloud.wait_state(second, "running")
        self.cloud.ec2("attach-volume", "--volume-id", volumes["/dev/sdf"], "--instance-id", second,
                       "--device", "/dev/sdf")
        lab.wait_for("volume is attached", lambda: self.cloud.volume(
            volumes["/dev/sdf"])["Attachments"][0]["State"] == "attached")
        self.assertEqual(self.cloud.inside(second, "mount /dev/sdf /data && cat /data/file "
                                                   "/root/file").split(), ["kept", "root"])
        self.assertEqual(self.cloud.instance(second)["PrivateIpAddress"],
                         before["PrivateIpAddress"])
        # Busy as long as it is mounted, as in EC2.
        self.cloud.ec2("detach-volume", "--volume-id", volumes["/dev/sdf"])
        self.assertEqual(self.cloud.volume(volumes["/dev/sdf"])["State"], "in-use")
        self.cloud.inside(second, "umount /data")
        lab.wait_for("volume is free", lambda: self.cloud.volume(
            volumes["/dev/sdf"])["State"] == "available")

    def snapshot(self, volume):
        made = self.cloud.ec2("create-snapshot", "--volume-id", volume)["SnapshotId"]
        lab.wait_for("snapshot completes", lambda: self.cloud.ec2(
            "describe-snapshots", "--snapshot-ids", made)["Snapshots"][0]["State"] == "completed")
        return made

    def test_snapshots_of_a_running_instance_and_their_blocks(self):
        instance = self.cloud.launch("--block-device-mappings", json.dumps(
            [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}]))
        self.cloud.wait_state(instance, "running")
        self.cloud.inside(instance, "mkdir /data && mount /dev/sdf /data && echo one > /data/f")
        volume = [mapping["Ebs"]["VolumeId"]
                  for mapping in self.cloud.instance(instance)["BlockDeviceMappings"]
                  if mapping["DeviceName"] == "/dev/sdf"][0]
        first = self.snapshot(volume)
        self.cloud.inside(instance, "dd if=/dev/urandom of=/data/g bs=1M count=3 && echo two > /data/f")
        second = self.snapshot(volume)
        changed = self.cloud.aws("ebs", "list-changed-blocks", "--first-snapshot-id", first,
                                 "--second-snapshot-id", second)["ChangedBlocks"]
        everything = self.cloud.aws("ebs", "list-snapshot-blocks", "--snapshot-id", second)["Blocks"]
        self.assertGreaterEqual(len(changed), 6)
        self.assertLess(len(changed), len(everything) + 1)
        block = changed[0]
        target = os.path.join(self.cloud.folder, "block.test")
        got = self.cloud.aws("ebs", "get-snapshot-block", "--snapshot-id", second, "--block-index",
                             str(block["BlockIndex"]), "--block-token", block["SecondBlockToken"],
                             target)
        self.assertEqual(os.path.getsize(target), 524288)
        os.remove(target)
        self.assertEqual(got["ChecksumAlgorithm"], "SHA256")
        copy = self.cloud.ec2("create-volume", "--availability-zone", "us-east-1a", "--snapshot-id",
                              first)["VolumeId"]
        lab.wait_for("volume is made", lambda: self.cloud.volume(copy)["State"] == "available")
        self.cloud.ec2("attach-volume", "--volume-id", copy, "--instance-id", instance, "--device",
                       "/dev/sdg")
        lab.wait_for("volume is attached", lambda: self.cloud.volume(
            copy)["Attachments"][0]["State"] == "attached")
        self.assertEqual(self.cloud.inside(
            instance, "mkdir /old && mount /dev/sdg /old && cat /old/f").strip(), "one")


class LifeTest(CloudTest):
    def test_instances_outlive_a_killed_server(self):
        instance = self.cloud.launch(user_data="#!/bin/sh\necho mark > /root/mark\n")
        self.cloud.wait_state(instance, "running")
        pid = self.cloud.pid(instance)
        self.cloud.kill()
        self.cloud.start()
        self.assertEqual(self.cloud.instance(instance)["State"]["Name"], "running")
        self.assertEqual(self.cloud.pid(instance), pid)
        self.assertEqual(self.cloud.metadata(instance, "meta-data/instance-id"), (200, instance))
        self.cloud.ec2("terminate-instances", "--instance-ids", instance)
        self.cloud.wait_state(instance, "terminated")

    def test_destroy_leaves_nothing_also_after_kill(self):
        other = lab.Cloud()
        self.addCleanup(other.close)
        kept = other.launch()
        other.wait_state(kept, "running")
        instance = self.cloud.launch("--block-device-mappings", json.dumps(
            [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}]))
        self.cloud.wait_state(instance, "running")
        with open(os.path.join(self.cloud.folder, "cloud.json"), encoding="utf-8") as file:
            cloud_id = json.load(file)["cloud_id"]
        self.assertTrue(lab.traces(cloud_id, self.cloud.folder))
        self.cloud.launch()  # is on its way when the server is killed
        self.cloud.kill()
        done = self.cloud.destroy()
        self.assertEqual(done.returncode, 0, done.stderr)
        lab.wait_for("nothing is left", lambda: not lab.traces(cloud_id, self.cloud.folder))
        self.assertFalse(os.path.exists(self.cloud.folder))
        self.assertEqual(other.metadata(kept, "meta-data/instance-id"), (200, kept))

    def test_one_server_a_folder(self):
        done = self.cloud.run("serve", "--listen", "127.0.0.1:0", check=False)
        self.assertEqual(done.returncode, 11)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root: skipped")
        sys.exit(0)
    unittest.main()
