"""A gateway of Ceph on loopback for one measurement, and other programs that speak to it."""

import contextlib
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SERVER = os.path.normpath(os.path.join(HERE, "../tests/servers/rgw.py"))
BUCKET = "bench"
# Debian's, whatever else is on the path.
AWS = "/usr/bin/aws"
# The log comes later than the answers.
LOG_SECONDS = 1


class Gateway:
    """A running server with an empty bucket."""

    def __init__(self, variables):
        self.variables = variables

    def aws(self):
        return {name: value for name, value in self.variables.items() if name.startswith("AWS_")}

    @property
    def endpoint(self):
        return self.variables["AWS_ENDPOINT_URL_S3"]

    def signing(self):
        """Options of curl that sign a request."""
        aws = self.variables
        return ["--aws-sigv4", f"aws:amz:{aws['AWS_REGION']}:s3",
                "--user", f"{aws['AWS_ACCESS_KEY_ID']}:{aws['AWS_SECRET_ACCESS_KEY']}",
                "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]

    def make_bucket(self):
        subprocess.run(["curl", "-sS", "--fail", "-X", "PUT", *self.signing(),
                        f"{self.endpoint}/{BUCKET}"], check=True)

    def requests(self):
        """Method and status of each request that was answered so far."""
        time.sleep(LOG_SECONDS)
        path = os.path.join(self.variables["SNAPSTORE_TEST_S3_FOLDER"], "log/client.rgw.log")
        with open(path, encoding="utf-8", errors="replace") as log:
            return re.findall(r'beast: \S+ \S+ - \S+ \[[^]]*\] "(\S+) [^"]*" (\d+)', log.read())

    def objects(self):
        """(key, size) of all objects in the bucket."""
        listed = subprocess.run(
            [AWS, "s3api", "list-objects-v2", "--bucket", BUCKET, "--endpoint-url", self.endpoint,
             "--query", "Contents[].[Key,Size]", "--output", "text"],
            env={**os.environ, **self.aws()}, check=True, capture_output=True, text=True).stdout
        pairs = (line.split("\t") for line in listed.splitlines())
        return [(key, int(size)) for key, size in pairs]


@contextlib.contextmanager
def running(folder):
    """Started for one measurement: what was deleted is still in the memory of an older one."""
    file = os.path.join(folder, "gateway")
    subprocess.run([sys.executable, "-B", SERVER, "start", file], check=True)
    try:
        with open(file, encoding="utf-8") as lines:
            gateway = Gateway(dict(line.rstrip("\n").split("=", 1) for line in lines))
        gateway.make_bucket()
        yield gateway
    finally:
        subprocess.run([sys.executable, "-B", SERVER, "stop", file], check=True)
