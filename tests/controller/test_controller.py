"""snapstore-controller from outside: its commands, what they print, what survives the program."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(__file__))
from etcd import PROGRAM as etcd_program, Etcd, free_port  # noqa: E402

CONTROLLER = os.environ["SNAPSTORE_CONTROLLER_BIN"]
NODES = "/aws/ec2/managedInstance"
NODE = {"managedInstance": {
    "name": "db", "region": "us-east-1", "persistence": {"persistRootDevice": True},
    "compute": {"subnetIds": ["subnet-1"], "vpcId": "vpc-1", "launchSpecification": {
        "instanceTypes": {"types": ["m5.large"]}, "imageId": "ami-1"}}}}


def run(*words, token=None, code=0):
    """The lines of standard output; those of standard error when another exit code is wanted."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("SPOTINST_", "AWS_"))}
    environment["AWS_CONFIG_FILE"] = "/nonexistent"
    if token:
        environment["SPOTINST_TOKEN"] = token
    done = subprocess.run([CONTROLLER, *words], capture_output=True, text=True, check=False,
                          env=environment)
    if done.returncode != code:
        raise AssertionError(f"{words}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    return (done.stderr if code else done.stdout).splitlines()


def documents(*words, **more):
    return [json.loads(line) for line in run(*words, "--json", **more)]


class Server:
    """A controller that serves; `stop` with SIGTERM, `kill` with SIGKILL."""

    def __init__(self, folder, *words, ec2=None):
        """`ec2`: the address of what it carries out nodes with; else it only serves."""
        environment = os.environ | {
            "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": ec2, "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7",
            "AWS_SECRET_ACCESS_KEY": "secret"} if ec2 else None
        self.process = subprocess.Popen(
            [CONTROLLER, "serve", "--listen", "127.0.0.1:0", "--state-dir", folder, "--json",
             *([] if ec2 else ["--api-only"]), *words], stdout=subprocess.PIPE, text=True,
            env=environment)
        line = self.process.stdout.readline()
        self.url = "http://" + json.loads(line)["listen"] if line else None

    def stop(self):
        self.process.terminate()
        return self._reap()

    def kill(self):
        self.process.kill()
        return self._reap()

    def _reap(self):
        code = self.process.wait(20)
        self.process.stdout.close()
        return code

    def create_node(self, token):
        request = urllib.request.Request(
            self.url + NODES, json.dumps(NODE).encode(), method="POST",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)["response"]["items"][0]["id"]


class ControllerTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="snapstore-controller-")
        self.addCleanup(shutil.rmtree, self.folder)

    def state(self, name="state"):
        return os.path.join(self.folder, name)

    def serve(self, *words, name="state", ec2=None):
        server = Server(self.state(name), *words, ec2=ec2)
        self.addCleanup(lambda: server.process.poll() is not None or server.kill())
        self.assertIsNotNone(server.url)
        return server


class CommandTest(ControllerTest):
    def test_a_token_is_added_listed_and_revoked(self):
        place = ("--state-dir", self.state())
        added, = documents("token", "add", "--account", "act-1", "--label", "ci", "--expires-days",
                           "2", *place)
        self.assertEqual(added["message_type"], "token_added")
        self.assertRegex(added["token"], r"^[0-9a-f]{64}$")
        listed, = documents("token", "list", *place)
        self.assertEqual((listed["id"], listed["accounts"], listed["label"]),
                         (added["id"], ["act-1"], "ci"))
        self.assertNotIn("token", listed)
        self.assertNotIn(added["token"], str(listed))
        documents("token", "revoke", added["id"], *place)
        self.assertEqual(documents("token", "list", *place), [])
        gone, = documents("token", "revoke", added["id"], *place, code=1)
        self.assertEqual(gone["status"], "NotFound")

    def test_a_wrong_command_line_is_exit_code_2_and_says_what(self):
        for words, text in (
                ((), "no command"),
                (("serve", "--state-dir", self.state()), "--listen"),
                (("serve", "--listen", "9", "--state-dir", self.state()), "HOST:PORT"),
                (("serve", "--listen", "127.0.0.1:0", "--state-dir", self.state(), "--tls-cert",
                  "x"), "--tls-key"),
                (("token", "add", "--account", "1", "--state-dir", self.state()), "act-"),
                (("token", "list"), "--state-dir"),
                (("node", "show", "i-1"), "smi-"),
                (("node", "list"), "SPOTINST_TOKEN"),
                (("node", "explode", "smi-1"), "subcommand")):
            with self.subTest(words=words):
                error, = documents(*words, code=2)
                self.assertEqual(error["message_type"], "exit_error")
                self.assertIn(text, error["message"])

    def test_a_node_is_shown_with_all_that_its_status_tells(self):
        status = {"id": "smi-1", "name": "db", "publicIp": None, "replacements": 3,
                  "lastCheckpoint": {"time": "2026-03-01T09:15:00.120Z", "frozenMs": 12.54,
                                     "bytesStored": 4096, "error": None},
                  "devices": [{"deviceName": "/dev/xvda", "volumeId": "vol-1", "snapshotId": None},
                              {"deviceName": "/dev/sdf", "volumeId": "", "snapshotId": "snap-2"}]}

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802: the base class's name
                path = self.path.partition("?")[0]
                items = [status] if path.endswith("/status") else []
                items = [{"id": "smi-1"}] if path.endswith("/smi-1") else items
                body = json.dumps({"request": {}, "response": {
                    "status": {"code": 200, "message": "OK"}, "items": items,
                    "count": len(items)}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        show = ("node", "show", "smi-1", "--url", f"http://127.0.0.1:{server.server_port}")
        lines = [" ".join(line.split()) for line in run(*show, token="x")]
        self.assertEqual(lines[:7], [
            "id smi-1", "name db", "publicIp -", "replacements 3",
            "lastCheckpoint 2026-03-01T09:15:00.120Z, frozen 12.5 ms, 4096 bytes stored",
            "devices /dev/xvda is vol-1", "/dev/sdf, newest snapshot snap-2"])
        status["lastCheckpoint"]["error"] = "the disk is full"
        status["devices"] = []
        lines = [" ".join(line.split()) for line in run(*show, token="x")]
        self.assertIn("lastCheckpoint 2026-03-01T09:15:00.120Z, failed: the disk is full", lines)
        self.assertIn("devices -", lines)

    def test_a_controller_that_does_not_run_is_named(self):
        url = f"http://127.0.0.1:{free_port()}"
        error, = run("node", "list", "--url", url, token="x", code=1)
        self.assertIn(url, error)
        self.assertIn("is it running?", error)


class ServeTest(ControllerTest):
    def test_nodes_are_listed_shown_and_asked(self):
        token, = run("token", "add", "--account", "act-1", "--state-dir", self.state())
        server = self.serve()
        at = ("--url", server.url)
        with open(self.state() + "/listen", encoding="utf-8") as file:
            self.assertEqual("http://" + file.read().strip(), server.url)
        nodes = sorted(server.create_node(token) for _ in range(3))
        listed = documents("node", "list", *at, token=token)
        self.assertEqual([node["id"] for node in listed], nodes)
        self.assertEqual({node["status"] for node in listed}, {"RESUME"})
        self.assertEqual(len(run("node", "list", *at, token=token)), 3)
        shown, = documents("node", "show", nodes[0], *at, token=token)
        self.assertEqual(shown["node"]["name"], "db")
        self.assertEqual(shown["status"]["status"], "RESUME")
        self.assertIsNone(shown["agent"])
        self.assertTrue(any(line.split() == ["agent", "none", "has", "reported"]
                            for line in run("node", "show", nodes[0], *at, token=token)))
        self.assertEqual(documents("node", "checkpoints", nodes[0], *at, token=token), [])
        event, = documents("node", "events", nodes[0], *at, token=token)
        self.assertEqual((event["sequence"], event["eventType"]),
                         (1, "AWS_EC2_MANAGED_INSTANCE_RESUMING"))
        # Its launch is asked for already.
        error, = documents("node", "pause", nodes[0], *at, token=token, code=1)
        self.assertIn("cannot pause a stateful node that is RESUME", error["message"])
        error, = documents("node", "show", "smi-0", *at, token=token, code=1)
        self.assertIn("MANAGED_INSTANCE_DOESNT_EXIST", error["message"])
        error, = documents("node", "list", *at, token="wrong", code=1)
        self.assertEqual(error["status"], "PermissionDenied")

    def test_what_was_answered_survives_kill_9(self):
        token, = run("token", "add", "--account", "act-1", "--state-dir", self.state())
        nodes = []
        for _ in range(3):
            server = self.serve()
            nodes.append(server.create_node(token))
            server.kill()
        server = self.serve()
        listed = documents("node", "list", "--url", server.url, token=token)
        self.assertEqual({node["id"] for node in listed}, set(nodes))
        self.assertEqual(server.stop(), 0)

    def test_it_stops_within_seconds_though_ec2_does_not_answer(self):
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        silent.settimeout(20)
        token, = run("token", "add", "--account", "act-1", "--state-dir", self.state())
        server = self.serve(ec2=f"http://127.0.0.1:{silent.getsockname()[1]}")
        server.create_node(token)
        call, _ = silent.accept()
        with call:
            self.assertIn(b"POST / HTTP/1.1", call.recv(4096))
            began = time.monotonic()
            self.assertEqual(server.stop(), 0)
            # A call under way has five seconds to end by itself.
            self.assertLess(time.monotonic() - began, 12)

    def test_one_controller_has_the_state(self):
        server = self.serve()
        error, = documents("token", "list", "--state-dir", self.state(), code=11)
        self.assertIn("in use", error["message"])
        second, = documents("serve", "--listen", "127.0.0.1:0", "--state-dir", self.state(), code=11)
        self.assertIn("in use", second["message"])
        # Nor has another one its port.
        listen = server.url.removeprefix("http://")
        # Without a region there is nothing to carry it out with.
        error, = documents("serve", "--listen", "127.0.0.1:0", "--state-dir", self.state("third"),
                           code=2)
        self.assertIn("--api-only", error["message"])
        error, = documents("serve", "--listen", listen, "--state-dir", self.state("other"),
                           "--api-only", code=1)
        self.assertIn(listen, error["message"])

    def test_the_rate_limit_is_the_command_line_s(self):
        token, = run("token", "add", "--account", "act-1", "--state-dir", self.state())
        server = self.serve("--rate-limit", "2")
        for _ in range(2):
            documents("node", "list", "--url", server.url, token=token)
        error, = documents("node", "list", "--url", server.url, token=token, code=1)
        self.assertEqual(error["status"], "Throttled")


@unittest.skipUnless(os.path.exists(etcd_program), "etcd-server is not installed")
class EtcdTest(ControllerTest):
    def setUp(self):
        super().setUp()
        etcd = Etcd(self.folder)
        self.addCleanup(etcd.close)
        self.place = ("--etcd", etcd.url)
        end = time.monotonic() + 30
        while True:
            try:
                self.token, = run("token", "add", "--account", "act-1", *self.place)
                return
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def test_controllers_share_what_is_in_etcd(self):
        first = self.serve(*self.place, name="1")
        second = self.serve(*self.place, name="2")
        node = first.create_node(self.token)
        first.kill()
        listed, = documents("node", "list", "--url", second.url, token=self.token)
        self.assertEqual(listed["id"], node)
        # A token that is revoked is so everywhere, at once.
        token, = documents("token", "list", *self.place)
        run("token", "revoke", token["id"], *self.place)
        error, = documents("node", "list", "--url", second.url, token=self.token, code=1)
        self.assertEqual(error["status"], "PermissionDenied")


if __name__ == "__main__":
    unittest.main()
