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

import os
import uuid

import local_server
import s3_request
from local_server import HOST, free_port

STORE_BYTES = 8 << 30

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
rgw frontends = beast {endpoints} tcp_nodelay=1
rgw dns name = s3.localhost
rgw thread pool size = 64
rgw gc obj min wait = 5
rgw gc processor period = 5
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


class Gateway(local_server.LocalServer):
    NAME = "rgw"
    FOLDER_VARIABLE = "SNAPSTORE_TEST_S3_FOLDER"
    PROCESSES = ("client.rgw", "osd.0", "mon.a")
    ADDRESSES = (HOST,)  # others may be added, of networks that a test made

    def ceph(self, program, *args):
        """A program of Ceph, with what it prints."""
        return self.run(program, "-c", self.path("ceph.conf"), *args)

    def admin(self, *args):
        return self.ceph("radosgw-admin", "-n", "client.rgw", *args)

    def add_user(self, name):
        """A further user; returns its variables."""
        key_id, secret = local_server.new_key_id(), local_server.new_secret()
        self.admin("user", "create", f"--uid={name}", f"--display-name={name}",
                   f"--access-key={key_id}", f"--secret-key={secret}")
        return {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret}

    def slow_down(self, requests):
        self.ceph("ceph", "--admin-daemon", self.path("run", "client.rgw.asok"),
                  "config", "set", "rgw_max_concurrent_requests", str(requests))

    def run_gateway(self, port):
        """Again, at the same port, after it was killed: what was stored is still there."""
        self.ceph("radosgw", "-n", "client.rgw")
        self.wait_for(port, "client.rgw")

    def start(self):
        self.make_folders("mon", "osd", "rgw")
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        port, monitor_port = free_port(), free_port()
        endpoints = " ".join(f"endpoint={address}:{port}" for address in self.ADDRESSES)
        self.write("ceph.conf", CONFIG.format(fsid=fsid, host=HOST, folder=self.folder,
                                              endpoints=endpoints, monitor_port=monitor_port,
                                              store_bytes=STORE_BYTES))
        keys = {name: self.ceph("ceph-authtool", "--gen-print-key")
                for name in ("mon", "admin", "rgw", "osd")}
        keyring = self.write("keyring", KEYRING.format(**keys))
        monmap = self.path("monmap")
        self.ceph("monmaptool", "--create", "--fsid", fsid, "--addv", "a",
                  f"[v2:{HOST}:{monitor_port}]", monmap)
        self.ceph("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
        self.ceph("ceph-mon", "-i", "a")
        self.ceph("ceph", "--connect-timeout", "20", "osd", "new", osd, "0")
        self.ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.ceph("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h0")
        self.ceph("ceph-osd", "-i", "0")
        user = self.add_user("test")
        self.run_gateway(port)
        return {"AWS_ENDPOINT_URL_S3": f"http://{HOST}:{port}", **user, "AWS_REGION": "us-east-1"}

    @classmethod
    def start_for_test(cls, test, file, bucket):
        """One for this test case alone, with a bucket; returns it and how to reach it."""
        cls.start_for(file)
        test.addCleanup(cls.stop_that_of, file)
        variables = local_server.variables_of(file)
        s3_request.make_bucket(variables, bucket)
        return cls.of(file), variables


if __name__ == "__main__":
    local_server.main(Gateway, __doc__, **{"slow-down": Gateway.slow_down})
