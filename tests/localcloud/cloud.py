"""One cloud for a test: served from a folder of its own, driven by Debian's AWS CLI, destroyed at
the end whatever happened."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
import aws_calls  # noqa: E402  (the folder is known only now)

PROGRAM = os.environ["SNAPSTORE_LOCALCLOUD_BIN"]
CALLS = aws_calls.AwsCalls()


class Refused(Exception):
    """The AWS CLI's error; `code` is EC2's."""

    def __init__(self, text):
        super().__init__(text)
        self.code = text.split("(", 1)[1].split(")", 1)[0] if "(" in text else ""


def wait_for(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


class Cloud:
    def __init__(self, *words):
        self.words = words
        self.folder = tempfile.mkdtemp(prefix="snapstore-localcloud-")
        self.server = None
        self.log = open(self.folder + ".log", "w+", encoding="utf-8")
        self.start()

    def start(self):
        file = os.path.join(self.folder, "cloud.json")
        if os.path.exists(file):
            os.remove(file)
        self.server = subprocess.Popen(
            [PROGRAM, "serve", "--listen", "0.0.0.0:0", "--state-dir", self.folder,
             *self.words],
            stdout=self.log, stderr=self.log)
        wait_for("the cloud serves", lambda: os.path.exists(file) or self.server.poll() is not None)
        if self.server.poll() is not None:
            raise AssertionError(self.log_text())
        text = self.run("env", "--json").stdout
        self.variables = json.loads(text)
        self.image = self.variables["SNAPSTORE_LOCALCLOUD_IMAGE"]

    def kill(self):
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def log_text(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as file:
            return file.read()

    def run(self, *arguments, check=True):
        return subprocess.run([PROGRAM, *arguments, "--state-dir", self.folder], check=check,
                              capture_output=True, text=True, timeout=120)

    def admin(self, *arguments, check=True):
        return self.run("admin", *arguments, check=check)

    def aws(self, service, *arguments):
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("AWS_")}
        environment.update(self.variables, AWS_PAGER="", AWS_CONFIG_FILE="/nonexistent",
                           AWS_SHARED_CREDENTIALS_FILE="/nonexistent", AWS_MAX_ATTEMPTS="1")
        code, out, err = CALLS.call(
            ["--endpoint-url", self.variables["AWS_ENDPOINT_URL_EC2"], "--output", "json", service,
             *arguments], environment)
        if code != 0:
            raise Refused(err.strip())
        return json.loads(out) if out.strip() else {}

    def ec2(self, *arguments):
        return self.aws("ec2", *arguments)

    def launch(self, *arguments, user_data=""):
        extra = []
        if user_data:
            path = os.path.join(self.folder, "user-data.test")
            with open(path, "w", encoding="utf-8") as file:
                file.write(user_data)
            extra = ["--user-data", "file://" + path]
        answer = self.ec2("run-instances", "--image-id", self.image, *extra, *arguments)
        if user_data:
            os.remove(path)
        return answer["Instances"][0]["InstanceId"]

    def instance(self, instance_id):
        found = self.ec2("describe-instances", "--instance-ids", instance_id)
        return found["Reservations"][0]["Instances"][0]

    def wait_state(self, instance_id, state):
        return wait_for(f"{instance_id} {state}: {self.log_text()}",
                        lambda: self.instance(instance_id)["State"]["Name"] == state)

    def volume(self, volume_id):
        return self.ec2("describe-volumes", "--volume-ids", volume_id)["Volumes"][0]

    def volume_file(self, volume_id):
        return os.path.join(self.folder, "volumes", volume_id + ".img")

    def pid(self, instance_id):
        """The instance's first process."""
        plan = os.path.join(self.folder, "instances", instance_id, "plan.json")
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/cmdline", encoding="utf-8") as file:
                    if plan in file.read():
                        return int(entry)
            except OSError:
                pass
        return None

    def inside(self, instance_id, script, check=True):
        return subprocess.run(
            ["nsenter", "-t", str(self.pid(instance_id)), "-a", "sh", "-c", script], check=check,
            capture_output=True, text=True, timeout=60).stdout

    def metadata(self, instance_id, path):
        """(status, body) with a token of version 2."""
        text = self.inside(
            instance_id,
            "T=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "
            "http://169.254.169.254/latest/api/token); "
            f"curl -s -w '\\n%{{http_code}}' -H \"X-aws-ec2-metadata-token: $T\" "
            f"http://169.254.169.254/latest/{path}")
        body, status = text.rsplit("\n", 1)
        return int(status), body

    def destroy(self):
        done = self.run("destroy", check=False)
        if self.server.poll() is None:
            self.server.kill()
        self.server.wait()
        self.log.close()
        os.remove(self.log.name)
        return done

    def close(self):
        if os.path.exists(os.path.join(self.folder, "records")):
            self.destroy()
        shutil.rmtree(self.folder, ignore_errors=True)


def traces(cloud_id, folder):
    """What of a cloud is on this machine."""
    found = []
    for command in (["ip", "netns"], ["ip", "-br", "link"], ["losetup", "-a"], ["mount"]):
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        found += [line for line in text.splitlines() if "slc" + cloud_id in line
                  or "slc-" + cloud_id in line or folder in line]
    for root, names, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(root, name) for name in names if cloud_id in name]
        if root.count("/") > 5:
            names[:] = []
    text = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True,
                          check=False).stdout
    return found + [line for line in text.splitlines() if folder in line]


def encode(text):
    return base64.b64encode(text.encode()).decode()
