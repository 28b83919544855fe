#!/usr/bin/env python3
"""A second, different S3 server for tests: OpenStack Swift with its s3api filter, on loopback.

    swift_s3.py start FILE    starts it, and writes how to reach it to FILE
    swift_s3.py stop FILE     ends it, and removes all that it kept and FILE
    swift_s3.py crash FILE    kills it where it stands

One server each for proxy, accounts, containers and objects, with one copy of everything, and
memcached, without which nobody can log in; all in a folder of their own below TMPDIR. FILE holds
lines of NAME=VALUE: the AWS variables for its only user, and SNAPSTORE_TEST_SWIFT_FOLDER. A second
start with the same FILE ends the first server.

What differs from Ceph's gateway and matters to a client: PUT with If-None-Match: * is refused with
501, the region of a signature is checked, a deletion of several objects needs a digest, and pages
of lists are short.
"""

import os
import secrets

import local_server
from local_server import HOST, free_port

COMMON = """\
[DEFAULT]
bind_ip = {host}
bind_port = {port}
user = root
workers = 0
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
log_address = {folder}/run/no-syslog
log_level = WARNING
"""

STORAGE = COMMON + """\
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
{more}
"""

# The memory is the process's own: nothing is asked of the disk that nobody will read again.
OBJECT_MORE = """\
disk_chunk_size = 1048576
network_chunk_size = 1048576
"""

PROXY = COMMON + """\
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
client_chunk_size = 1048576
object_chunk_size = 1048576
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = {host}:{cache_port}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = {region}
s3_acl = false
max_bucket_listing = {page_keys}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
[filter:symlink]
use = egg:swift#symlink
"""

RULES = """\
[swift-hash]
swift_hash_path_prefix = {prefix}
swift_hash_path_suffix = {suffix}
[storage-policy:0]
name = default
default = yes
"""

# Where the proxy finds what: one copy, one device each. The command for it takes seconds.
RINGS = """
import sys
from swift.common.ring import RingBuilder
for word in sys.argv[3:]:
    kind, port = word.split("=")
    builder = RingBuilder(3, 1, 0)
    builder.add_dev({"region": 1, "zone": 1, "ip": sys.argv[1], "port": int(port), "device": "d0",
                     "weight": 1})
    builder.rebalance(seed=1)
    builder.get_ring().save(f"{sys.argv[2]}/{kind}.ring.gz")
"""

REGION = "us-east-1"
# Few, so that a few objects make several pages: this server is slow.
PAGE_KEYS = 12
KINDS = ("account", "container", "object")


class Swift(local_server.LocalServer):
    NAME = "swift"
    FOLDER_VARIABLE = "SNAPSTORE_TEST_SWIFT_FOLDER"
    PROCESSES = ("proxy", *KINDS, "memcached")

    def start(self):
        self.make_folders("devices/d0")
        ports = {name: free_port() for name in self.PROCESSES}
        secret = local_server.new_secret()
        self.write("swift.conf", RULES.format(prefix=secrets.token_hex(8),
                                              suffix=secrets.token_hex(8)))
        self.spawn("memcached", "memcached", "-u", "root", "-l", HOST, "-p", str(ports["memcached"]),
                   "-m", "16", "-P", self.path("run", "memcached.own.pid"))
        # Debian's Python has Swift's modules; the one that runs this may be another.
        self.run("/usr/bin/python3", "-B", "-c", RINGS, HOST, self.folder,
                 *(f"{kind}={ports[kind]}" for kind in KINDS))
        for kind in KINDS:
            config = self.write(f"{kind}.conf", STORAGE.format(
                host=HOST, port=ports[kind], folder=self.folder, kind=kind,
                more=OBJECT_MORE if kind == "object" else ""))
            self.spawn(kind, f"swift-{kind}-server", config)
        config = self.write("proxy.conf", PROXY.format(
            host=HOST, port=ports["proxy"], folder=self.folder, cache_port=ports["memcached"],
            region=REGION, secret=secret,
            page_keys=PAGE_KEYS))
        self.spawn("proxy", "swift-proxy-server", config)
        for name in reversed(self.PROCESSES):
            self.wait_for(ports[name], name)
        return {"AWS_ENDPOINT_URL_S3": f"http://{HOST}:{ports['proxy']}",
                "AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": secret,
                "AWS_REGION": REGION, "SNAPSTORE_TEST_S3_CONDITIONS": "none",
                "SNAPSTORE_TEST_S3_PAGE": str(PAGE_KEYS)}

if __name__ == "__main__":
    local_server.main(Swift, __doc__)
