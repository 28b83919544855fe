"""Applications on stateful nodes, through everything that can take an instance away: with the
agent's checkpoints for their memory, and volumes that are attached again for their data."""

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import stateful  # noqa: E402  (the folder is known only now)

AGENT = os.environ["SNAPSTORE_AGENT_BIN"]
CRIU = os.environ.get("SNAPSTORE_CRIU", "/opt/snapstore/bin/criu")
FILE_SYSTEM = "fs-0123abcd"
ZONES = ("us-east-1a", "us-east-1b")
POSTGRES = "/usr/lib/postgresql/15/bin"

# Counts in memory; each number goes to a log that is checkpointed with it, and to the data volume.
COUNTER = textwrap.dedent("""
    import os, time
    ballast = bytearray(os.urandom(1 << 20)) * int(os.environ.get("BALLAST_MIB", "8"))
    boot = open("/proc/sys/kernel/random/uuid").read().strip()  # once in the process's life
    log = open("/srv/counter.log", "a", buffering=1)
    rows = open("/data/rows", "a", buffering=1)
    number = 0
    while True:
        number += 1
        log.write(f"{number} {boot}\\n")
        rows.write(f"{number}\\n")
        time.sleep(0.02)
""").strip()


class ApplicationTest(unittest.TestCase):
    """A node with one application. Those that derive from it say how it is started, what is noted
    before a replacement, and what has to hold after it."""

    words = ()
    persist_application = True
    config = {}
    volume_gib = 1

    def setUp(self):
        self.shared = tempfile.mkdtemp(prefix="snapstore-efs-")
        self.addCleanup(shutil.rmtree, self.shared, ignore_errors=True)
        self.system = stateful.System(
            *self.words, cloud_words=("--file-system", f"{FILE_SYSTEM}={self.shared}"))
        self.addCleanup(self.system.close)
        self.cloud = self.system.cloud

    def prepare(self):
        """Shell lines of the user data before the data volume has come."""
        raise NotImplementedError

    def start_by_hand(self):
        """Shell lines after it has come, of what the agent does not run."""
        return ""

    def note(self, status):
        raise NotImplementedError

    def check(self, status, noted):
        raise NotImplementedError

    def user_data(self):
        agent = (f"exec {AGENT} node --controller {self.system.instance_url()} "
                 f"--account {stateful.ACCOUNT} --poll-seconds 0.5")
        return textwrap.dedent("""\
            #!/bin/sh
            export SPOTINST_TOKEN={token} SNAPSTORE_CRIU={criu}
            {prepare}
            until [ -b /dev/sdf ]; do sleep 0.02; done
            mkdir -p /data && mount /dev/sdf /data
            {by_hand}
            {agent}
            """).format(token=self.system.token, criu=CRIU, prepare=self.prepare(),
                        by_hand=self.start_by_hand(),
                        agent=agent if self.persist_application else "")

    def create(self, zones=ZONES[:1], **parts):
        persistence = {"persistPrivateIp": len(zones) == 1, "persistBlockDevices": True,
                       "blockDevicesMode": "reattach"}
        if self.persist_application:
            config = dict(self.config, snapshotScheduler="* * * * *",
                          snapshotDestination=FILE_SYSTEM)
            made = self.system.call("POST", stateful.CONFIGS, {"config": config})[0]["id"]
            persistence.update(persistApplication=True, applicationPersistencyConfig=[made])
        node = self.system.create(stateful.node_body(
            self.system, zones=zones, persistence=persistence, user_data=self.user_data(),
            launch={"blockDeviceMappings": [
                {"deviceName": "/dev/sdf", "ebs": {"volumeSize": self.volume_gib}}]}, **parts))
        return node, self.system.wait_state(node, "ACTIVE", 90)

    def checkpoint(self, instance):
        if not self.persist_application:
            return
        answer = self.cloud.inside(
            instance, "curl -s -X POST -d {} -H \"Authorization: Bearer "
                      "$(cat /var/lib/snapstore-agent/control-token)\" "
                      "http://127.0.0.1:9527/checkpoint")
        self.assertIn("checkpointId", answer)

    def replacements(self, node):
        def pause_and_resume(_):
            self.system.act(node, "pause")
            self.system.wait_state(node, "PAUSED")
            self.system.act(node, "resume")

        return {"interruption": lambda i: self.cloud.admin("interrupt", i, "--seconds", "20"),
                "sudden": lambda i: self.cloud.admin("interrupt", i, "--no-notice"),
                "recycle": lambda _: self.system.act(node, "recycle"),
                "pause": pause_and_resume,
                "healing": lambda i: self.cloud.admin("fail", "status", i)}

    def go_through(self, node, status, names):
        for name in names:
            noted = self.note(status)
            if name in ("sudden", "healing"):
                # Nobody asks the instance: what was checkpointed last is what goes on.
                self.checkpoint(status["instanceId"])
            began = time.monotonic()
            self.replacements(node)[name](status["instanceId"])
            before, status = status, self.system.wait_replaced(node, status["instanceId"])
            print(f"{name}: active after {time.monotonic() - began:.1f} s", file=sys.stderr)
            self.assertEqual(status["privateIp"], before["privateIp"], name)
            self.check_or_explain(node, status, noted, name)
        return status

    def check_or_explain(self, node, status, noted, name):
        try:
            self.check(status, noted)
        except Exception as error:
            log = self.cloud.inside(status["instanceId"], "cat /var/log/cloud-init-output.log",
                                    check=False)
            raise AssertionError(
                f"{name}: {error}\n{self.system.account_of(node)}\n{log[-3000:]}") from error

    def all_replacements(self):
        node, status = self.create(healthCheck={"gracePeriod": 0, "unhealthyDuration": 0})
        self.go_through(node, status, ("interruption", "sudden", "recycle", "pause", "healing"))
        if self.persist_application:
            started = [event["message"] for event in self.system.events(node)
                       if event["eventType"] == "APPLICATION_STARTED"]
            self.assertEqual(len(started), 6)
            for message in started[1:]:
                self.assertIn("goes on from checkpoint", message)
        return node

    def another_zone(self):
        node, status = self.create(zones=ZONES)
        noted = self.note(status)
        zone = status["availabilityZone"]
        for kind in ("m5.large", "c5.large"):
            for market in ((), ("--on-demand",)):
                self.cloud.admin("capacity", "--type", kind, "--zone", zone, "--count", "0", *market)
        self.cloud.admin("interrupt", status["instanceId"], "--seconds", "20")
        status = self.system.wait_replaced(node, status["instanceId"])
        self.assertNotEqual(status["availabilityZone"], zone)
        self.check_or_explain(node, status, noted, "zone")


class CounterTest(ApplicationTest):
    """A Python program; its log file goes back with its memory."""
    config = {"name": "counter", "runCmd": "python3 /srv/counter.py",
              "externalFiles": ["/srv/counter.log"]}

    def prepare(self):
        text = base64.b64encode(COUNTER.encode()).decode()
        return f"echo {text} | base64 -d > /srv/counter.py"

    def numbers(self, status):
        """What the log holds: numbers without a gap, all of one life of the process."""
        lines = self.cloud.inside(status["instanceId"], "cat /srv/counter.log").split("\n")[:-1]
        lives = {line.split()[1] for line in lines}
        self.assertEqual(len(lives), 1, "it was started anew")
        numbers = [int(line.split()[0]) for line in lines]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        return numbers[-1]

    def note(self, status):
        stateful.wait_for("it counts", lambda: self.numbers(status) > 20)
        return self.numbers(status)

    def check(self, status, noted):
        stateful.wait_for("it counts on", lambda: self.numbers(status) > noted)

    def test_all_replacements(self):
        self.all_replacements()

    def test_another_zone(self):
        self.another_zone()


class RedisTest(ApplicationTest):
    """Redis with 100 MB of keys in memory and nowhere else, and a client outside."""
    config = {"name": "redis",
              "runCmd": "redis-server --bind 0.0.0.0 --protected-mode no --save '' "
                        "--enable-debug-command yes "
                        "--appendonly no --dir /data"}

    def prepare(self):
        return ":"

    def redis(self, status, *words):
        """What it answers; nothing if it does not."""
        return subprocess.run(["redis-cli", "-h", status["privateIp"], *words], check=False,
                              capture_output=True, text=True, timeout=60).stdout.strip()

    def note(self, status):
        stateful.wait_for("redis answers", lambda: self.redis(status, "ping") == "PONG")
        if self.redis(status, "dbsize") == "0":
            self.redis(status, "debug", "populate", "100000", "key", "1000")
        return int(self.redis(status, "incr", "rounds"))

    def check(self, status, noted):
        stateful.wait_for("redis answers", lambda: self.redis(status, "ping") == "PONG")
        self.assertEqual(int(self.redis(status, "get", "rounds")), noted)
        self.assertEqual(int(self.redis(status, "dbsize")), 100_001)
        self.assertEqual(len(self.redis(status, "get", "key:77777")), 1000)
        self.assertGreater(int(self.redis(status, "info", "memory").split("used_memory:")[1]
                               .split()[0]), 100_000_000)

    def test_all_replacements(self):
        self.all_replacements()


class PostgresTest(ApplicationTest):
    """PostgreSQL on its volume while pgbench writes: what was committed is there afterwards."""
    persist_application = False

    def prepare(self):
        return ":"

    def start_by_hand(self):
        return textwrap.dedent(f"""
            chown postgres /data
            run() {{ runuser -u postgres -- "$@"; }}
            mkdir -p /run/postgresql && chown postgres /run/postgresql
            if [ ! -d /data/db ]; then
              run {POSTGRES}/initdb -D /data/db -A trust >/dev/null
              echo 'host all all all trust' >> /data/db/pg_hba.conf
            fi
            rm -f /data/db/postmaster.pid
            run {POSTGRES}/pg_ctl -D /data/db -w -l /data/log -o '-c listen_addresses=*' start
            """)

    def sql(self, status, text):
        return subprocess.run(
            ["psql", "-h", status["privateIp"], "-U", "postgres", "-AtXc", text], check=False,
            capture_output=True, text=True, timeout=60, cwd="/").stdout.strip()

    def note(self, status):
        """Starts writers; the rows that they were told are committed are what has to be there."""
        stateful.wait_for("the database answers", lambda: self.sql(status, "select 1") == "1", 60)
        self.sql(status, "create table if not exists ack (n serial primary key, t text)")
        if self.sql(status, "select count(*) from information_schema.tables where "
                            "table_name = 'pgbench_accounts'") == "0":
            subprocess.run(["pgbench", "-h", status["privateIp"], "-U", "postgres", "-iq",
                            "postgres"], check=True, capture_output=True, timeout=60, cwd="/")
        self.bench = subprocess.Popen(
            ["pgbench", "-h", status["privateIp"], "-U", "postgres", "-c", "2", "-T", "60",
             "postgres"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        self.addCleanup(self.end_bench)
        acknowledged = []
        for _ in range(20):
            row = self.sql(status, "insert into ack (t) values (repeat('x', 100)) returning n")
            acknowledged.append(int(row.split()[0]))
        history = int(self.sql(status, "select count(*) from pgbench_history"))
        return acknowledged, history

    def end_bench(self):
        if self.bench.poll() is None:
            self.bench.kill()
        self.bench.wait()

    def check(self, status, noted):
        self.end_bench()
        acknowledged, history = noted
        stateful.wait_for("the database answers", lambda: self.sql(status, "select 1") == "1", 60)
        have = {int(row) for row in self.sql(status, "select n from ack").split()}
        self.assertEqual(set(acknowledged) - have, set(), "committed rows are lost")
        self.assertGreaterEqual(int(self.sql(status, "select count(*) from pgbench_history")),
                                history)
        # The sums of pgbench's tables agree if no transaction is there in part.
        sums = {self.sql(status, f"select sum({column}) from pgbench_{table}") for table, column in
                (("accounts", "abalance"), ("branches", "bbalance"), ("tellers", "tbalance"))}
        self.assertEqual(len(sums), 1)

    def test_all_replacements(self):
        node = self.all_replacements()
        self.system.act(node, "pause")
        status = self.system.wait_state(node, "PAUSED")
        volume, = [device["volumeId"] for device in status["devices"]]
        image = os.path.join(self.cloud.folder, "volumes", volume)
        found = [path for path in (image, image + ".img", image + ".ext4") if os.path.exists(path)]
        checked = subprocess.run(["e2fsck", "-fn", *found], capture_output=True, text=True,
                                 check=False)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_another_zone(self):
        self.another_zone()


if __name__ == "__main__":
    unittest.main()
