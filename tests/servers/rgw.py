#!/usr/bin/env python3
"""A real S3 server for tests: Ceph's RADOS gateway on loopback.

    rgw.py start FILE          starts it, and writes how to reach it to FILE
    rgw.py stop FILE           ends it, and removes all that it kept and FILE
    rgw.py crash FILE          kills it where it stands
    rgw.py slow-down FILE N    from now on more than N requests at once get 503 SlowDown

One monitor, one object store daemon that keeps everything in memory, and the gateway, all in a
folder of their own below TMPDIR. FILE holds lines of NAME=VALUE: the AWS variables for its only user,
and SNAPSTORE_TEST_S3_FOLDER. A second start with the same FILE ends the first server.
"""

import argparse
import base64
import os
import secrets
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
import uuid

HOST = "127.0.0.1"
START_SECONDS = 60
STORE_BYTES = 8 << 30
# In the order in which they end.
DAEMONS = ("client.rgw", "osd.0", "mon.a")

CONFIG = """\
[global]
fsid = {fsid}
mon host = v2:{host}:{monitor_port}
ms bind msgr1 = false
ms bind ipv6 = false
public addr = {host}
cluster addr = {host}
keyring = {folder}/keyring
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
log file = {folder}/log/$name.log
mon cluster log file = {folder}/log/cluster.log
crash dir = {folder}/log
log to stderr = false
err to stderr = false
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
[client.admin]
log file = /dev/null
admin socket =
[mon]
mon data = {folder}/mon
mon data avail crit = 1
mon data avail warn = 2
paxos propose interval = 0.05
paxos min wait = 0.01
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {store_bytes}
osd class update on start = false
osd crush update on start = false
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint={host}:{port} tcp_nodelay=1
rgw dns name = s3.localhost
rgw thread pool size = 64
"""

KEYRING = """\
[mon.]
\tkey = {mon}
\tcaps mon = "allow *"
[client.admin]
\tkey = {admin}
\tcaps mon = "allow *"
\tcaps osd = "allow *"
[client.rgw]
\tkey = {rgw}
\tcaps mon = "allow rwx"
\tcaps osd = "allow rwx"
[osd.0]
\tkey = {osd}
\tcaps mon = "allow profile osd"
\tcaps osd = "allow *"
"""


def free_port():
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return sock.getsockname()[1]


class Gateway:
    def __init__(self, folder):
        self.folder = folder
        self.config = os.path.join(folder, "ceph.conf")

    def run(self, program, *args):
        """A program of Ceph, with what it prints."""
        done = subprocess.run([program, "-c", self.config, *args], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise OSError(f"{program} {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
                  encoding="utf-8") as file:
            file.write(text)
        return path

    def start(self):
        for name in ("mon", "osd", "rgw", "run", "log"):
            os.mkdir(os.path.join(self.folder, name))
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        port, monitor_port = free_port(), free_port()
        self.write("ceph.conf", CONFIG.format(fsid=fsid, host=HOST, folder=self.folder, port=port,
                                              monitor_port=monitor_port, store_bytes=STORE_BYTES))
        keys = {name: self.run("ceph-authtool", "--gen-print-key")
                for name in ("mon", "admin", "rgw", "osd")}
        keyring = self.write("keyring", KEYRING.format(**keys))
        monmap = os.path.join(self.folder, "monmap")
        self.run("monmaptool", "--create", "--fsid", fsid, "--addv", "a",
                 f"[v2:{HOST}:{monitor_port}]", monmap)
        self.run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
        self.run("ceph-mon", "-i", "a")
        self.run("ceph", "--connect-timeout", "20", "osd", "new", osd, "0")
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h0")
        self.run("ceph-osd", "-i", "0")
        key_id = "AK" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(18))
        # 40 characters with '/' and '+' among them, as AWS's own.
        secret = base64.b64encode(secrets.token_bytes(30)).decode()
        self.run("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test",
                 "--display-name=test", f"--access-key={key_id}", f"--secret-key={secret}")
        self.run("radosgw", "-n", "client.rgw")
        self.wait_for(port)
        return {"AWS_ENDPOINT_URL_S3": f"http://{HOST}:{port}", "AWS_ACCESS_KEY_ID": key_id,
                "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1",
                "SNAPSTORE_TEST_S3_FOLDER": self.folder}

    def wait_for(self, port):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with socket.socket() as sock:
                if sock.connect_ex((HOST, port)) == 0:
                    return
            time.sleep(0.05)
        raise OSError(f"the gateway did not answer in {START_SECONDS} s: see {self.folder}/log")

    def pid(self, daemon):
        """The process of a daemon of this folder, if it runs."""
        try:
            with open(os.path.join(self.folder, "run", f"{daemon}.pid"), encoding="ascii") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode().split("\0")
        except (OSError, ValueError):
            return None
        return pid if self.config in words else None

    def end(self):
        """At once: nothing of it is to be kept."""
        for daemon in DAEMONS:
            pid = self.pid(daemon)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            while self.pid(daemon) is not None:
                time.sleep(0.02)


def folder_of(file):
    """The server that `file` speaks of, or None."""
    try:
        with open(file, encoding="utf-8") as lines:
            variables = dict(line.rstrip("\n").split("=", 1) for line in lines)
        return variables["SNAPSTORE_TEST_S3_FOLDER"]
    except (FileNotFoundError, KeyError):
        return None


def stop(file):
    folder = folder_of(file)
    if folder is None:
        return
    Gateway(folder).end()
    shutil.rmtree(folder, ignore_errors=True)
    os.unlink(file)


def start(file):
    stop(file)
    # Paths of sockets are short.
    folder = tempfile.mkdtemp(prefix="snapstore-rgw-")
    gateway = Gateway(folder)
    try:
        variables = gateway.start()
    except BaseException:
        gateway.end()
        shutil.rmtree(folder, ignore_errors=True)
        raise
    os.makedirs(os.path.dirname(os.path.abspath(file)), exist_ok=True)
    with open(file, "w", encoding="utf-8") as out:
        out.writelines(f"{name}={value}\n" for name, value in variables.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("start", "stop", "crash", "slow-down"))
    parser.add_argument("file")
    parser.add_argument("number", nargs="?", type=int)
    args = parser.parse_args()
    try:
        if args.command == "start":
            start(args.file)
        elif args.command == "stop":
            stop(args.file)
        else:
            gateway = Gateway(folder_of(args.file) or sys.exit(f"{args.file}: no such server"))
            if args.command == "crash":
                gateway.end()
            else:
                gateway.run("ceph", "--admin-daemon", f"{gateway.folder}/run/client.rgw.asok",
                            "config", "set", "rgw_max_concurrent_requests", str(args.number))
    except OSError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
