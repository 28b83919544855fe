"""HAProxy before an S3 server: another hand than our own proxy's, for the faults that it knows."""

import collections
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse

from local_server import HOST, free_port

CONFIG = """\
global
    log stdout format raw local0
defaults
    mode http
    log global
    log-format "%[var(txn.fault)]: %HM %HP"
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend faults
    bind {host}:{port}
    http-request set-var(txn.fault) str(none)
    http-request set-var(txn.draw) rand(1000)
    http-request set-var(txn.fault) str(haproxy-503) if {{ var(txn.draw) -m int lt {a} }}
    http-request set-var(txn.fault) str(haproxy-silent) if !{{ var(txn.draw) -m int lt {a} }} {{ var(txn.draw) -m int lt {b} }}
    http-request set-var(txn.fault) str(haproxy-reject) if !{{ var(txn.draw) -m int lt {b} }} {{ var(txn.draw) -m int lt {c} }}
    http-request set-var(txn.fault) str(haproxy-500-done) if !{{ var(txn.draw) -m int lt {c} }} {{ var(txn.draw) -m int lt {d} }} {{ method PUT }}
    http-request return status 503 content-type application/xml string "<Error><Code>SlowDown</Code></Error>" if {{ var(txn.fault) -m str haproxy-503 }}
    http-request silent-drop if {{ var(txn.fault) -m str haproxy-silent }}
    http-request reject if {{ var(txn.fault) -m str haproxy-reject }}
    http-response return status 500 content-type application/xml string "<Error><Code>InternalError</Code></Error>" if {{ var(txn.fault) -m str haproxy-500-done }}
    default_backend server
backend server
    server s3 {upstream}
"""

# What has happened stands in the log by then.
LOG_SECONDS = 0.1
KINDS = ("haproxy-503", "haproxy-silent", "haproxy-reject", "haproxy-500-done")


class HaProxy:
    """As FaultProxy; what happens is HAProxy's own draw, so a seed does not repeat it."""

    def __init__(self, upstream, _seed, plan):
        self.upstream = upstream
        self.plan = plan
        self.port = free_port()
        self._folder = None
        self._process = None
        self._log = None

    @property
    def variables(self):
        return {**self.upstream, "AWS_ENDPOINT_URL_S3": f"http://{HOST}:{self.port}"}

    @property
    def log(self):
        if self._log is not None:
            return self._log
        time.sleep(LOG_SECONDS)
        with open(os.path.join(self._folder, "log"), encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in file if line.startswith("haproxy-")]

    @property
    def happened(self):
        return collections.Counter(line.split(":")[0] for line in self.log)

    def __enter__(self):
        self._folder = tempfile.mkdtemp(prefix="snapstore-haproxy-")
        rate = int(1000 * self.plan.probability)
        config = os.path.join(self._folder, "config")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(
                host=HOST, port=self.port, a=rate * 4 // 10, b=rate * 5 // 10, c=rate * 8 // 10,
                d=rate * 14 // 10,
                upstream=urllib.parse.urlsplit(self.upstream["AWS_ENDPOINT_URL_S3"]).netloc))
        with open(os.path.join(self._folder, "log"), "wb") as log:
            self._process = subprocess.Popen(["haproxy", "-db", "-f", config], stdout=log,
                                             stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as sock:
                if sock.connect_ex((HOST, self.port)) == 0:
                    return self
            time.sleep(0.02)
        raise OSError(f"haproxy did not start: {self.log}")

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._log = self.log
        shutil.rmtree(self._folder, ignore_errors=True)
