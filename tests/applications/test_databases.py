"""Databases, whose files are on a volume of their own: memory and files are of one instant."""

import contextlib
import glob
import os
import pwd
import re
import subprocess
import unittest

from agent_run import wait_for
from application import PROGRAMS, VolumeCase
from network import ADDRESS

POSTGRES = "/usr/lib/postgresql/15/bin"
CAP_SYS_RESOURCE = 24


def can_dump_others():
    """Whether this machine's root may checkpoint the processes of other users."""
    with open("/proc/self/status", encoding="utf-8") as file:
        line, = [one for one in file if one.startswith("CapEff:")]
    return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)


class DatabaseCase(VolumeCase):
    network = True

    def sql(self, text):
        """What it answers; nothing if it does not."""
        raise NotImplementedError


class PostgresTest(DatabaseCase):
    """PostgreSQL while pgbench writes."""
    name = "postgres"

    def prepare(self):
        user = pwd.getpwnam("postgres")
        os.mkdir(self.path("data"))
        os.chown(self.path("data"), user.pw_uid, user.pw_gid)
        subprocess.run(["runuser", "-u", "postgres", "--", f"{POSTGRES}/initdb", "-N", "-A", "trust",
                        "-D", self.path("data/db")], check=True, capture_output=True, cwd="/")
        with open(self.path("data/db/pg_hba.conf"), "a", encoding="utf-8") as file:
            file.write("host all all all trust\n")
        server = (f"{POSTGRES}/postgres -D {self.path('data/db')} -c listen_addresses=* "
                  f"-c unix_socket_directories= -c shared_buffers=32MB")
        if can_dump_others():
            return f"setpriv --reuid=postgres --regid=postgres --clear-groups {server}"
        library = self.path("fake_user.so")
        subprocess.run(["cc", "-shared", "-fPIC", f"-DSNAPSTORE_USER={user.pw_uid}", "-o", library,
                        f"{PROGRAMS}/fake_user.c"], check=True)
        return f"env LD_PRELOAD={library} {server}"

    def sql(self, text):
        return self.net.run("psql", "-h", ADDRESS, "-U", "postgres", "-AtXc", text, cwd="/")

    def ready(self):
        if self.sql("select 1") != "1":
            return False
        self.net.run("pgbench", "-h", ADDRESS, "-U", "postgres", "-iq", "postgres", cwd="/",
                     check=True)
        self.addCleanup(self.remove_shared_memory, self.shared_memory())
        return True

    def shared_memory(self):
        """The files of it that the server removes, unless it is killed."""
        names = set()
        for folder in glob.glob("/proc/[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/cwd") != self.path("data/db"):
                    continue
                with open(f"{folder}/maps", encoding="utf-8") as file:
                    names |= set(re.findall(r"/dev/shm/PostgreSQL\.\d+", file.read()))
        return names

    def remove_shared_memory(self, known):
        for path in known | self.shared_memory():
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def begin_load(self):
        self.bench = None
        self.addCleanup(self.end_load)
        self.load()

    def load(self):
        self.end_load()
        self.bench = self.net.start("pgbench", "-h", ADDRESS, "-U", "postgres", "-nc", "4", "-T",
                                    "120", "postgres", cwd="/")

    def end_load(self):
        if self.bench is not None:
            self.bench.kill()
            self.bench.wait()
            self.bench = None

    def history(self):
        return int(self.sql("select count(*) from pgbench_history") or 0)

    def note(self):
        """While everything stands still there is nobody to ask."""
        return self.noted

    def checkpoint(self):
        before = self.history()
        wait_for("there is load", lambda: self.history() > before + 20)
        self.noted = self.history()
        return super().checkpoint()

    def verify(self, noted, planned):
        wait_for("the database answers", lambda: self.sql("select 1") == "1", 60)
        self.end_load()
        self.assertGreaterEqual(self.history(), noted)
        # The sums agree if no transaction is there in part.
        sums = {self.sql(f"select sum({column}) from pgbench_{table}") for table, column in
                (("accounts", "abalance"), ("branches", "bbalance"), ("tellers", "tbalance"),
                 ("history", "delta"))}
        self.assertEqual(len(sums), 1, sums)
        self.sql("create extension if not exists amcheck")
        self.assertEqual(self.sql("select count(*) from (select "
                                  "bt_index_check('pgbench_accounts_pkey')) as good"), "1")
        self.load()
        wait_for("it can be written", lambda: self.history() > noted + 20)
        self.noted = self.history()

    def test_it(self):
        self.go_through()


class MariaTest(DatabaseCase):
    """MariaDB with a client that inserts; without io_uring, which CRIU cannot dump, and without the
    8 TiB of addresses it would set aside, which CRIU cannot."""
    name = "maria"

    def prepare(self):
        os.mkdir(self.path("data"))
        subprocess.run(["mariadb-install-db", "--no-defaults", "--user=root",
                        f"--datadir={self.path('data/db')}", "--skip-test-db",
                        "--auth-root-authentication-method=normal"], check=True,
                       capture_output=True)
        start = self.path("start.sql")
        with open(start, "w", encoding="utf-8") as file:
            file.write("create user if not exists client@'%' identified by '';"
                       "\ngrant all on *.* to client@'%';\n")
        return (f"mariadbd --no-defaults --user=root --datadir={self.path('data/db')} "
                f"--socket={self.path('data/socket')} --bind-address=0.0.0.0 --port=3306 "
                f"--innodb-use-native-aio=0 --skip-log-bin --init-file={start} "
                "--innodb-buffer-pool-size=32M --innodb-buffer-pool-size-max=32M "
                "--skip-name-resolve")

    def words(self):
        return ("mariadb", "--no-defaults", "-h", ADDRESS, "-u", "client",
                "--connect-timeout=5", "-BN")

    def sql(self, text):
        return self.net.run(*self.words(), "-e", text)

    def ready(self):
        if self.sql("select 1") != "1":
            return False
        self.sql("create database work; create table work.a (n bigint primary key auto_increment, "
                 "t varchar(200)) engine=innodb; create table work.b like work.a")
        return True

    def begin_load(self):
        self.client = None
        self.addCleanup(self.end_load)
        self.load()

    def load(self):
        self.end_load()
        # Each transaction writes one row to both tables.
        script = ("while echo \"begin; insert into work.a (t) values (repeat('x', 100)); insert into "
                  "work.b (t) values (repeat('y', 100)); commit;\"; do sleep 0.01; done")
        self.client = self.net.start("sh", "-c", f"({script}) | {' '.join(self.words())}",
                                     start_new_session=True)

    def end_load(self):
        if self.client is not None:
            os.killpg(self.client.pid, 9)
            self.client.wait()
            self.client = None

    def rows(self, table="a"):
        return int(self.sql(f"select count(*) from work.{table}") or 0)

    def note(self):
        return self.noted

    def checkpoint(self):
        before = self.rows()
        wait_for("there is load", lambda: self.rows() > before + 5)
        self.noted = self.rows()
        return super().checkpoint()

    def verify(self, noted, planned):
        wait_for("the database answers", lambda: self.sql("select 1") == "1", 60)
        self.end_load()
        # What was under way is taken back when the server notices that the client is gone.
        wait_for("both tables agree", lambda: self.rows("a") == self.rows("b"))
        self.assertGreaterEqual(self.rows(), noted)
        self.assertIn("OK", self.sql("check table work.a, work.b extended"))
        self.load()
        wait_for("it can be written", lambda: self.rows() > noted + 5)
        self.noted = self.rows()

    def test_it(self):
        self.go_through()


if __name__ == "__main__":
    unittest.main()
