"""The units under a systemd of its own, which is PID 1 of namespaces: /etc, /run and
/var are the test's, all else is this machine's. Needs root and the package systemd, which need not run
this machine; skips otherwise."""

import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
AGENT = os.environ["SNAPSTORE_AGENT_BIN"]
CRIU = os.environ.get("SNAPSTORE_CRIU", "/opt/snapstore/bin/criu")
SYSTEMD = "/lib/systemd/systemd"

# Each line: a number, and a word that is made once in the program's life.
COUNTER = """
import os, sys, time
folder = sys.argv[1]
life = os.urandom(8).hex()
log = open(folder + "/log", "a", buffering=1)
number = 0
while not os.path.exists(folder + "/end"):
    number += 1
    log.write(f"{number} {life}\\n")
    time.sleep(0.01)
sys.exit(int(open(folder + "/end").read()))
"""

# Units that are wanted by the machine's own targets stay off: they would set up this machine once more.
SETUP = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 etc /mnt
cp -a /etc/. /mnt/
rm -rf /mnt/systemd/system /mnt/snapstore
mkdir -p /mnt/systemd/system /mnt/snapstore
: > /mnt/fstab
for unit in /lib/systemd/system/*.wants/*; do
  case $unit in *.target) ;; *) ln -sf /dev/null "/mnt/systemd/system/${unit##*/}" ;; esac
done
printf '[Manager]\nDefaultStandardOutput=null\nDefaultStandardError=null\nLogTarget=console\n' > /mnt/systemd/system.conf
printf '[Unit]\nDefaultDependencies=no\n' > /mnt/systemd/system/nothing.target
mount --move /mnt /etc
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=755 var /var
mkdir /var/lib /var/log
ln -s /run /var/run
mount -t proc proc /proc
while umount /sys/fs/cgroup/* 2>/dev/null; do :; done
mount -t tmpfs none /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C \
  "$0" --unit=nothing.target --show-status=false
"""


def wait_for(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s it is still not so: {what}")
        time.sleep(0.02)


def cgroup2():
    """Where that is mounted; nothing: nowhere."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        return next((line.split()[1] for line in mounts if line.split()[2] == "cgroup2"), None)


class Machine:
    """A systemd; `close` ends it and all that it has started."""

    def __init__(self, folder):
        self.group = os.path.join(cgroup2(), f"snapstore-systemd-{os.getpid()}")
        os.mkdir(self.group)
        self.log_path = os.path.join(folder, "systemd.log")
        with open(self.log_path, "w", encoding="utf-8") as log:
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(
                ["sh", "-c", f'echo $$ > "{self.group}/cgroup.procs" && exec "$@"', "sh",
                 "setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child",
                 "--mount", "--uts", "--ipc", "--cgroup", "sh", "-c", SETUP, SYSTEMD],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = wait_for("systemd is there", self._first_process)
        wait_for("systemd has started", lambda: self.run(
            "systemctl", "is-system-running", check=False) in ("running", "degraded"))

    def _first_process(self):
        if self.process.poll() is not None:
            raise AssertionError(self.log())
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path, encoding="ascii") as file:
            children = file.read().split()
        if not children or os.path.realpath(f"/proc/{children[0]}/exe") != os.path.realpath(SYSTEMD):
            return None
        return int(children[0])

    def run(self, *words, check=True, stdin=None):
        """A command in there; what it prints."""
        done = subprocess.run(["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-C", *words],
                              input=stdin, capture_output=True, text=True, timeout=120, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: {done.stdout}{done.stderr}\n{self.log()}")
        return done.stdout.strip()

    def write(self, path, text):
        self.run("tee", path, stdin=text)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()[-4000:]

    def close(self):
        self.process.kill()
        self.process.wait()
        wait_for("all of it is gone", self._group_is_gone)

    def _group_is_gone(self):
        for folder, _, _ in os.walk(self.group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        return not os.path.exists(self.group)


class UnitCase(unittest.TestCase):
    """A systemd that has one of our units, and a program that counts."""
    unit = state = ""

    def setUp(self):
        if os.geteuid() != 0 or not os.path.exists(SYSTEMD) or cgroup2() is None:
            print("SKIPPED: needs root, the package systemd and a cgroup2 file system")
            self.skipTest("no systemd")
        self.folder = tempfile.mkdtemp(prefix="systemd-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.machine = Machine(self.folder)
        self.addCleanup(self.machine.close)
        name = self.unit.split("@", 1)[0] + ("@.service" if "@" in self.unit else ".service")
        source = os.path.join(HERE, "..", "..", "tools", "systemd", f"{name}.in")
        with open(source, encoding="utf-8") as file:
            unit = file.read().replace("@SNAPSTORE_BINDIR@", os.path.dirname(AGENT))
        self.machine.write(f"/etc/systemd/system/{name}", unit)
        program = os.path.join(self.folder, "counter.py")
        with open(program, "w", encoding="utf-8") as file:
            file.write(COUNTER)
        self.config = {"name": "app", "runCmd": f"/usr/bin/python3 {program} {self.folder}",
                       "snapshotDestination": "fs-0123abcd", "snapshotScheduler": "0 0 1 1 *",
                       "externalFiles": [f"{self.folder}/log"]}
        self.configure()
        self.systemctl("daemon-reload")

    def configure(self):
        """Below /etc/snapstore."""
        raise NotImplementedError

    def systemctl(self, verb, *words):
        self.machine.run("systemctl", verb, *words)

    def property(self, name):
        return self.machine.run("systemctl", "show", "--value", "-p", name, self.unit)

    def status(self):
        """Of the application; nothing while nobody answers."""
        text = self.machine.run(AGENT, "--json", "status", "--state-dir", self.state, *self.token(),
                                check=False)
        return json.loads(text) if text.startswith("{") else {}

    def token(self):
        return ()

    def lines(self):
        with contextlib.suppress(FileNotFoundError), \
                open(f"{self.folder}/log", encoding="utf-8") as file:
            return [line.split() for line in file.read().split("\n")[:-1]]
        return []

    def explain(self):
        return self.machine.log() + self.machine.run(
            "sh", "-c", f"tail -n 30 {self.folder}/*.log {self.state}/*.log", check=False)

    def wait(self, what, condition):
        try:
            return wait_for(what, condition)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.explain()}") from None

    def running(self):
        """The status of the application, once that counts on."""
        before = len(self.lines())
        status = self.wait("it runs", lambda: (now := self.status()).get("state") == "running" and now)
        self.wait("it counts on", lambda: len(self.lines()) > before + 5)
        return status

    def check_same_life(self, lines):
        """Numbers without a gap, of one life."""
        self.assertEqual([int(number) for number, _ in lines], list(range(1, len(lines) + 1)))
        self.assertEqual(len({life for _, life in lines}), 1)

    def check_it_outlives_agents(self):
        """One that is told to start again, and one that is killed."""
        first = self.running()
        agent = self.property("MainPID")
        self.systemctl("restart", self.unit)
        after = self.running()
        self.assertNotEqual(self.property("MainPID"), agent)
        self.assertEqual(after["pid"], first["pid"], "the application was left running")
        self.assertTrue(after["taken_over"])

        agent = self.property("MainPID")
        self.systemctl("kill", "--kill-whom=main", "-s", "KILL", self.unit)
        self.wait("another agent is started", lambda: self.property("MainPID") not in (agent, "0"))
        self.wait("it takes the application over", lambda: self.status().get("taken_over"))
        self.assertEqual(self.running()["pid"], first["pid"], "the application ran on")
        self.assertEqual(self.property("NRestarts"), "1")

    def check_stop_and_start(self):
        """With a final checkpoint, from which it goes on."""
        self.systemctl("stop", self.unit)
        self.assertEqual(self.property("ActiveState"), "inactive", self.explain())
        self.assertEqual(self.property("Result"), "success")
        counted = self.lines()
        self.assertEqual(self.machine.run("pgrep", "-f", f"{self.folder}/counter.py", check=False), "")
        self.systemctl("start", self.unit)
        self.assertTrue(self.running()["restored_from"])
        lines = self.lines()
        self.assertEqual(lines[:len(counted)], counted)
        self.check_same_life(lines)


class ApplicationUnitTest(UnitCase):
    unit = "snapstore-agent@app"
    state = "/var/lib/snapstore-agent/app"

    def configure(self):
        self.machine.write("/etc/snapstore/app.json", json.dumps(self.config))
        self.machine.write("/etc/snapstore/app.env",
                           f"SNAPSTORE_AGENT_OPTIONS=--repo {self.folder}/repo --init "
                           f"--log-file {self.folder}/agent.log\nSNAPSTORE_CRIU={CRIU}\n")

    def end(self, code):
        """The application ends by itself."""
        with open(f"{self.folder}/end", "w", encoding="utf-8") as file:
            file.write(str(code))

    def test_an_application_through_all_that_systemctl_does(self):
        self.systemctl("start", self.unit)
        self.check_it_outlives_agents()
        self.check_stop_and_start()
        # One that fails goes on from its newest checkpoint, one that ends well does not.
        self.end(3)
        self.wait("its agent notices", lambda: self.property("ActiveState") == "activating")
        os.remove(f"{self.folder}/end")
        self.wait("it is started again", lambda: self.property("MainPID") != "0")
        self.assertTrue(self.running()["restored_from"])
        self.check_same_life(self.lines())
        self.end(0)
        self.wait("it ends", lambda: self.property("ActiveState") == "inactive")
        self.assertEqual(self.property("Result"), "success", self.explain())


class Answers(http.server.BaseHTTPRequestHandler):
    """A metadata service and a controller for one node, whose application `config` has."""
    protocol_version = "HTTP/1.1"
    config = {}

    def answer(self, text):
        data = text.encode()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200 if text else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self):  # pylint: disable=invalid-name
        self.answer("token")

    def do_GET(self):  # pylint: disable=invalid-name
        self.answer({"/latest/meta-data/instance-id": "i-1",
                     "/latest/meta-data/local-ipv4": "127.0.0.1"}.get(self.path, ""))

    def do_POST(self):  # pylint: disable=invalid-name
        self.answer(json.dumps({"response": {"items": [{
            "managedInstanceId": "smi-1", "applicationsWanted": True, "intervalSeconds": 0.25,
            "applications": [{"id": "apc-1", "config": self.config,
                              "repository": "efs://fs-0123abcd/act-1/smi-1/apc-1"}]}]}}))

    def log_message(self, *_):
        pass


class NodeUnitTest(UnitCase):
    unit = "snapstore-agent-node"
    state = "/var/lib/snapstore-agent/apc-1"

    def configure(self):
        answers = type("AnswersOfTest", (Answers,), {"config": self.config})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = f"http://127.0.0.1:{server.server_port}"
        os.makedirs(os.path.join(self.folder, "efs", "fs-0123abcd"))
        self.options = (f"--controller {url} --metadata-url {url} --account act-1 --listen 127.0.0.1:0 "
                        "--poll-seconds 0.2")
        self.machine.write("/etc/snapstore/node.env",
                           f"SNAPSTORE_NODE_OPTIONS={self.options} --log-file {self.folder}/node.log\n"
                           f"SPOTINST_TOKEN=token\nSNAPSTORE_CRIU={CRIU}\n"
                           f"SNAPSTORE_EFS_ROOT={self.folder}/efs\n")

    def token(self):
        return "--token-file", "/var/lib/snapstore-agent/control-token"

    def test_a_node_through_all_that_systemctl_does(self):
        self.systemctl("start", self.unit)
        self.check_it_outlives_agents()
        self.check_stop_and_start()
        # One from the user data was first.
        self.machine.run("systemctl", "stop", self.unit)
        self.machine.run("sh", "-c", f"SPOTINST_TOKEN=token SNAPSTORE_EFS_ROOT={self.folder}/efs "
                                     f"SNAPSTORE_CRIU={CRIU} setsid {AGENT} node {self.options} "
                                     f">{self.folder}/first.log 2>&1 </dev/null &")
        self.running()
        self.systemctl("start", self.unit)
        self.wait("the second agent has given way", lambda: self.property("ExecMainStatus") == "11")
        self.wait("it is left alone", lambda: self.property("ActiveState") == "failed")
        self.running()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    unittest.main()
