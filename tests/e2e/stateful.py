"""A whole system for a test: an embedded cloud, a controller on it, and the calls a client makes."""

import base64
import json
import os
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

for folder in ("localcloud", "controller"):
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", folder))
import cloud as lab  # noqa: E402  (the folder is known only now)
from etcd import Etcd  # noqa: E402

CONTROLLER = os.environ["SNAPSTORE_CONTROLLER_BIN"]
ACCOUNT = "act-0a1b2c3d"
NODES = "/aws/ec2/managedInstance"
CONFIGS = "/aws/ec2/applicationPersistency/config"

wait_for = lab.wait_for


class ApiError(Exception):
    """What the API refused."""


class Controller:
    """One process; several share a state in etcd."""

    def __init__(self, folder, environment, *words, poll_seconds=1):
        self.folder, self.environment, self.words = folder, environment, words
        self.poll_seconds = poll_seconds
        os.makedirs(folder, exist_ok=True)
        self.log_path = os.path.join(folder, "log")
        self.start()

    port = 0

    def start(self):
        """On the same port as before: agents know it."""
        listen = os.path.join(self.folder, "listen")
        if os.path.exists(listen):
            os.remove(listen)
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [CONTROLLER, "serve", "--listen", f"0.0.0.0:{self.port}", "--state-dir", self.folder,
                 "--poll-seconds", str(self.poll_seconds), *self.words], stdout=log, stderr=log, env=self.environment)
        wait_for("the controller serves",
                 lambda: os.path.exists(listen) or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise AssertionError(self.log())
        with open(listen, encoding="utf-8") as file:
            self.port = int(file.read().strip().rsplit(":", 1)[1])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


class System:
    """An embedded cloud and its controllers (one, or `count` that share an etcd); `close` leaves
    nothing of either. Calls go to the first controller that runs."""

    def __init__(self, *serve_words, count=1, cloud_words=(), poll_seconds=1):
        self.cloud = lab.Cloud(*cloud_words)
        self.controllers = []
        self.etcd = None
        try:
            folder = os.path.join(self.cloud.folder, "controller")
            os.mkdir(folder)
            place = ("--state-dir", os.path.join(folder, "0"))
            if count > 1:
                self.etcd = Etcd(folder)
                place = ("--etcd", self.etcd.url)
                serve_words += place
            self.token = wait_for("a token is made", lambda: self.run(
                "token", "add", "--account", ACCOUNT, *place).stdout.strip())
            for number in range(count):
                self.controllers.append(Controller(os.path.join(folder, str(number)),
                                                   self.environment(), *serve_words,
                                                   poll_seconds=poll_seconds))
        except BaseException:
            self.close()
            raise

    def environment(self):
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("AWS_", "SPOTINST_"))}
        kept.update(self.cloud.variables, AWS_CONFIG_FILE="/nonexistent",
                    AWS_SHARED_CREDENTIALS_FILE="/nonexistent")
        return kept

    def run(self, *words):
        return subprocess.run([CONTROLLER, *words], check=False, capture_output=True, text=True,
                              timeout=60, env=self.environment())

    def kill(self):
        self.controllers[0].kill()

    def start(self):
        self.controllers[0].start()

    def log(self):
        return "\n".join(controller.log()[-4000:] for controller in self.controllers)

    def url(self):
        return next(f"http://127.0.0.1:{controller.port}" for controller in self.controllers
                    if controller.process.poll() is None)

    def instance_url(self):
        """As instances reach the first controller."""
        with open(os.path.join(self.cloud.folder, "cloud.json"), encoding="utf-8") as file:
            endpoint = json.load(file)["instance_endpoint"]
        return f"{endpoint.rsplit(':', 1)[0]}:{self.controllers[0].port}"

    def call(self, method, path, body=None, query=""):
        request = urllib.request.Request(
            f"{self.url()}{path}?accountId={ACCOUNT}{query}",
            json.dumps(body).encode() if body is not None else None, method=method,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["response"].get("items", [])
        except urllib.error.HTTPError as error:
            raise ApiError(error.read().decode()) from None

    def create(self, node):
        return self.call("POST", NODES, {"managedInstance": node})[0]["id"]

    def status(self, node):
        return self.call("GET", f"{NODES}/{node}/status")[0]

    def events(self, node):
        return self.call("GET", f"{NODES}/{node}/events", query="&limit=1000")

    def act(self, node, action):
        self.call("PUT", f"{NODES}/{node}/{action}")

    def account_of(self, node):
        """What a failing test should show."""
        try:
            events = "\n".join(f"{event['createdAt']} {event['eventType']} {event['message']}"
                               for event in self.events(node))
            return f"{self.status(node)}\n{events}\n{self.log()}"
        except (ApiError, OSError) as error:
            return f"{error}\n{self.log()}"

    def wait_state(self, node, state, seconds=60):
        try:
            return wait_for(f"{node} is {state}",
                            lambda: self.status(node)["status"] == state and self.status(node),
                            seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.account_of(node)}") from None

    def wait_replaced(self, node, old_instance, seconds=60):
        """The node is active on another instance."""
        def replaced():
            status = self.status(node)
            return status["status"] == "ACTIVE" and status["instanceId"] not in (None, old_instance) \
                and status
        try:
            return wait_for(f"{node} has left {old_instance}", replaced, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.account_of(node)}") from None

    def wait_gone(self, node, seconds=60):
        def gone():
            try:
                self.status(node)
            except ApiError as error:
                return "MANAGED_INSTANCE_DOESNT_EXIST" in str(error)
            return False
        wait_for(f"{node} is gone", gone, seconds)

    def resources(self):
        """Ids of all that costs money, by kind."""
        ec2 = self.cloud.ec2
        instances = [instance["InstanceId"]
                     for reservation in ec2("describe-instances")["Reservations"]
                     for instance in reservation["Instances"]
                     if instance["State"]["Name"] != "terminated"]
        return {"instance": instances,
                "volume": [one["VolumeId"] for one in ec2("describe-volumes")["Volumes"]],
                "snapshot": [one["SnapshotId"] for one in
                             ec2("describe-snapshots", "--owner-ids", "self")["Snapshots"]
                             if any(tag["Key"] == "snapstore:node" for tag in one.get("Tags", []))],
                "image": [one["ImageId"] for one in
                          ec2("describe-images", "--owners", "self")["Images"]
                          if one["ImageId"] != self.cloud.image],
                "interface": [one["NetworkInterfaceId"] for one in
                              ec2("describe-network-interfaces")["NetworkInterfaces"]]}

    def close(self):
        for controller in self.controllers:
            controller.close()
        if self.etcd is not None:
            self.etcd.close()
        self.cloud.close()


def node_body(system, name="node", zones=("us-east-1a",), user_data="", **parts):
    """The object of a create call; `parts` go into it by name (persistence=…, strategy=…)."""
    subnets = [one for one in system.cloud.ec2("describe-subnets")["Subnets"]
               if one["AvailabilityZone"] in zones]
    launch = {"imageId": system.cloud.image, "instanceTypes": {"types": ["m5.large", "c5.large"]}}
    launch.update(parts.pop("launch", {}))
    if user_data:
        launch["userData"] = base64.b64encode(user_data.encode()).decode()
    compute = {"vpcId": subnets[0]["VpcId"], "subnetIds": [one["SubnetId"] for one in subnets],
               "launchSpecification": launch}
    compute.update(parts.pop("compute", {}))
    body = {"name": name, "region": "us-east-1",
            "persistence": {"persistRootDevice": True, "persistPrivateIp": True},
            "compute": compute}
    body.update(parts)
    return body


class LifeTest(unittest.TestCase):
    """A system for each test, and what tests of a node ask of it."""

    words = ()
    cloud_words = ()
    controllers = 1
    poll_seconds = 1

    def setUp(self):
        self.system = System(*self.words, count=self.controllers, cloud_words=self.cloud_words,
                             poll_seconds=self.poll_seconds)
        self.addCleanup(self.system.close)
        self.cloud = self.system.cloud

    def create(self, **parts):
        node = self.system.create(node_body(self.system, **parts))
        return node, self.system.wait_state(node, "ACTIVE")

    def capacity(self, count, zone="us-east-1a", *more):
        for kind in ("m5.large", "c5.large"):
            self.cloud.admin("capacity", "--type", kind, "--zone", zone, "--count", str(count),
                             *more)

    def types_of(self, node):
        return [event["eventType"] for event in self.system.events(node)]

    def delete(self, node, everything=True):
        flags = {"shouldDeleteImages": everything, "shouldDeleteSnapshots": everything,
                 "shouldDeleteVolumes": everything, "shouldDeleteNetworkInterfaces": everything,
                 "shouldTerminateInstance": True}
        self.system.call("DELETE", f"{NODES}/{node}", {"deallocationConfig": flags})
        self.system.wait_gone(node)

    def assert_clean(self):
        def clean():
            return all(not ids for ids in self.system.resources().values())
        try:
            wait_for("nothing is left", clean, 20)
        except AssertionError:
            self.fail(f"left behind: {json.dumps(self.system.resources())}")


def sleep_until(instant):
    time.sleep(max(0.0, instant - time.monotonic()))
