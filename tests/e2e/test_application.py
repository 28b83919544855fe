"""Applications on stateful nodes, through everything that can take an instance away: with the
agent's checkpoints for their memory, and volumes that are attached again for their data."""

import os
import shlex
import subprocess
import sys
import textwrap
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import stateful  # noqa: E402  (the folder is known only now)
import clients  # noqa: E402
from applications import ApplicationTest, CounterCase  # noqa: E402

POSTGRES = "/usr/lib/postgresql/15/bin"
# EXT4_IOC_SHUTDOWN without a flush of the log.
CUT_POWER = ("import fcntl, os, struct; "
             "fcntl.ioctl(os.open('/data', os.O_RDONLY), 0x8004587d, struct.pack('I', 2))")


class CounterTest(CounterCase):
    def test_all_replacements(self):
        self.all_replacements()

    def test_another_zone(self):
        self.another_zone()


class ClientCase(ApplicationTest):
    """With a client that writes through everything."""

    def start_client(self, client):
        self.client = client
        self.addCleanup(client.end)

    def wait_for_client(self, numbers):
        before = len(self.client.acknowledged())
        stateful.wait_for("the client writes",
                          lambda: len(self.client.acknowledged()) >= before + numbers)

    def note_client(self):
        self.wait_for_client(20)
        return self.client.acknowledged(), self.client.connections

    def check_client(self, noted, kept, planned):
        """What was acknowledged is there: all of it, or what a checkpoint can have held."""
        before, connections = noted
        self.wait_for_client(20)
        if not planned:  # else its connection may have gone on
            self.assertGreater(self.client.connections, connections, "it did not notice")
        acknowledged = self.client.acknowledged()
        self.assertGreater(len(acknowledged), len(before) + 20, "nothing was written meanwhile")
        have = {int(word) for word in kept().split()}
        lost = [number for number in acknowledged if number not in have]
        print(f"  {len(acknowledged)} acknowledged, {len(lost)} lost", file=sys.stderr)
        if planned:
            self.assertEqual(lost, [])
        if not lost:
            return
        # One stretch, from the checkpoint to the end of the instance.
        begin = acknowledged.index(lost[0])
        self.assertEqual(acknowledged[begin:begin + len(lost)], lost)
        self.assertGreater(lost[0], before[-1])
        self.assertLess(lost[-1], acknowledged[-1])
        self.client.forget(lost)


class RedisTest(ClientCase):
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
            self.start_client(clients.RedisWriter(status["privateIp"], 0.005))
        return self.note_client(), int(self.redis(status, "incr", "rounds"))

    def check(self, status, noted, planned):
        client, rounds = noted
        self.client.address = status["privateIp"]
        stateful.wait_for("redis answers", lambda: self.redis(status, "ping") == "PONG")
        self.check_client(client, lambda: self.redis(status, "smembers", "written"), planned)
        self.assertEqual(int(self.redis(status, "get", "rounds")), rounds)
        self.assertEqual(int(self.redis(status, "dbsize")), 100_002)
        self.assertEqual(len(self.redis(status, "get", "key:77777")), 1000)
        self.assertGreater(int(self.redis(status, "info", "memory").split("used_memory:")[1]
                               .split()[0]), 100_000_000)

    def test_all_replacements(self):
        self.all_replacements()

    def test_another_zone(self):
        self.another_zone()


class PostgresTest(ClientCase):
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
        if self.sql(status, "select count(*) from information_schema.tables where "
                            "table_name = 'pgbench_accounts'") == "0":
            subprocess.run(["pgbench", "-h", status["privateIp"], "-U", "postgres", "-iq",
                            "postgres"], check=True, capture_output=True, timeout=60, cwd="/")
            self.sql(status, "create table written (n bigint primary key)")
            self.start_client(clients.PostgresWriter(status["privateIp"], 0.005))
        self.bench = subprocess.Popen(
            ["pgbench", "-h", status["privateIp"], "-U", "postgres", "-nc", "2", "-T", "60",
             "postgres"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        self.addCleanup(self.end_bench)
        history = int(self.sql(status, "select count(*) from pgbench_history"))
        return self.note_client(), history

    def fail_machine(self, instance):
        """Its power goes: what is not on the disk, the journal too, never gets there."""
        self.cloud.inside(instance, f"python3 -c {shlex.quote(CUT_POWER)}")
        super().fail_machine(instance)

    def end_bench(self):
        if self.bench.poll() is None:
            self.bench.kill()
        self.bench.wait()

    def check(self, status, noted, planned):
        self.end_bench()
        client, history = noted
        self.client.address = status["privateIp"]
        stateful.wait_for("the database answers", lambda: self.sql(status, "select 1") == "1", 60)
        # A commit is kept whatever happened.
        self.check_client(client, lambda: self.sql(status, "select n from written"), planned=True)
        self.assertGreaterEqual(int(self.sql(status, "select count(*) from pgbench_history")),
                                history)
        # The sums of pgbench's tables agree if no transaction is there in part.
        sums = {self.sql(status, f"select sum({column}) from pgbench_{table}") for table, column in
                (("accounts", "abalance"), ("branches", "bbalance"), ("tellers", "tbalance"),
                 ("history", "delta"))}
        self.assertEqual(len(sums), 1)

    def test_all_replacements(self):
        node = self.all_replacements()
        self.system.act(node, "pause")
        status = self.system.wait_state(node, "PAUSED")
        volume, = [device["volumeId"] for device in status["devices"]]
        checked = subprocess.run(["e2fsck", "-fn", self.cloud.volume_file(volume)],
                                 capture_output=True, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_another_zone(self):
        self.another_zone()


if __name__ == "__main__":
    unittest.main()
