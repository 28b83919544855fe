"""The embedded cloud and the controller, started and called as a user does."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

ACCOUNT = "act-0a1b2c3d"
NODES = "/aws/ec2/managedInstance"
CONFIGS = "/aws/ec2/applicationPersistency/config"


def wait_for(what, condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise RuntimeError(f"not within {seconds} s: {what}")


class System:
    """Both servers in one folder; `close` ends them and leaves nothing of the cloud."""

    def __init__(self, folder, cloud_program, controller_program, file_system):
        self.cloud_folder = os.path.join(folder, "cloud")
        self._controller_folder = os.path.join(folder, "controller")
        self._cloud_program = os.path.abspath(cloud_program)
        self._controller_program = os.path.abspath(controller_program)
        self._file_system = file_system
        self._folder = folder
        self._servers = []
        self.variables = {}
        self.token = None

    def _start(self, name, command, ready_file, environment):
        with open(os.path.join(self._folder, f"{name}.log"), "ab") as log:
            # They must not outlive the demonstration, however that ends.
            server = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command],
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      env=environment, start_new_session=True)
        self._servers.append(server)
        wait_for(f"{name} serves (see {self._folder}/{name}.log)",
                 lambda: os.path.exists(ready_file) or server.poll() is not None, 60)
        if server.poll() is not None:
            raise RuntimeError(f"{name} ended: see {self._folder}/{name}.log")

    def start(self):
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("AWS_", "SPOTINST_"))}
        self._start("cloud", [self._cloud_program, "serve", "--listen", "0.0.0.0:0", "--state-dir",
                              self.cloud_folder, "--file-system", self._file_system],
                    os.path.join(self.cloud_folder, "cloud.json"), environment)
        answer = subprocess.run([self._cloud_program, "env", "--json", "--state-dir",
                                 self.cloud_folder], check=True, capture_output=True, text=True)
        self.variables = json.loads(answer.stdout)
        environment.update(self.variables)
        answer = subprocess.run(
            [self._controller_program, "token", "add", "--account", ACCOUNT, "--state-dir",
             self._controller_folder], check=True, capture_output=True, text=True, env=environment)
        self.token = answer.stdout.strip()
        listen = os.path.join(self._controller_folder, "listen")
        self._start("controller", [self._controller_program, "serve", "--listen", "0.0.0.0:0",
                                   "--state-dir", self._controller_folder, "--poll-seconds", "1"],
                    listen, environment)
        with open(listen, encoding="ascii") as file:
            self._port = int(file.read().strip().rsplit(":", 1)[1])

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    @property
    def instance_url(self):
        """The controller as instances reach it."""
        with open(os.path.join(self.cloud_folder, "cloud.json"), encoding="utf-8") as file:
            return json.load(file)["instance_endpoint"].rsplit(":", 1)[0] + f":{self._port}"

    def call(self, method, path, body=None, query=""):
        request = urllib.request.Request(
            f"{self.url}{path}?accountId={ACCOUNT}{query}",
            json.dumps(body).encode() if body is not None else None, method=method,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["response"].get("items", [])
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.read().decode()}") from None

    def import_key_pair(self, name):
        """With the AWS API, as `aws ec2 import-key-pair` does it. Nobody has its private part."""
        key = b"ssh-ed25519 " + base64.b64encode(
            b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + os.urandom(32))
        form = urllib.parse.urlencode({
            "Action": "ImportKeyPair", "Version": "2016-11-15", "KeyName": name,
            "PublicKeyMaterial": base64.b64encode(key).decode()})
        # What is secret does not go into the words of a command.
        secret = f"{self.variables['AWS_ACCESS_KEY_ID']}:{self.variables['AWS_SECRET_ACCESS_KEY']}"
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--fail-with-body", "--config", "-",
             "--aws-sigv4", f"aws:amz:{self.variables['AWS_REGION']}:ec2", "--data", form,
             self.variables["AWS_ENDPOINT_URL_EC2"] + "/"],
            input=f'user = "{secret}"\n', check=False, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"ImportKeyPair: {done.stderr.strip()} {done.stdout.strip()}")

    def admin(self, *words):
        done = subprocess.run([self._cloud_program, "admin", *words, "--state-dir",
                               self.cloud_folder], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())

    def inside(self, instance, *command):
        """Runs a command in an instance, as a console does."""
        plan = os.path.join(self.cloud_folder, "instances", instance, "plan.json")
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/cmdline", encoding="utf-8") as file:
                    if plan not in file.read():
                        continue
            except OSError:
                continue
            done = subprocess.run(["nsenter", "-t", entry, "-a", *command], check=False,
                                  capture_output=True, text=True, timeout=60)
            return done.stdout if done.returncode == 0 else ""
        return ""

    def close(self):
        for server in reversed(self._servers):
            if server.poll() is None:
                server.terminate()
        for server in self._servers:
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        self._servers = []
        self.destroy()

    def destroy(self):
        """Also of an earlier run that was killed."""
        if os.path.exists(os.path.join(self.cloud_folder, "records")):
            subprocess.run([self._cloud_program, "destroy", "--state-dir", self.cloud_folder],
                           check=False, capture_output=True)
        shutil.rmtree(self.cloud_folder, ignore_errors=True)
