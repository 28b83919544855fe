"""Applications on stateful nodes, through everything that can take an instance away: with the
agent's checkpoints for their memory, and volumes that are attached again for their data."""

import os
import subprocess
import sys
import textwrap
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import stateful  # noqa: E402  (the folder is known only now)
from applications import ApplicationTest, CounterCase  # noqa: E402

POSTGRES = "/usr/lib/postgresql/15/bin"


class CounterTest(CounterCase):
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

    def test_another_zone(self):
        self.another_zone()


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
