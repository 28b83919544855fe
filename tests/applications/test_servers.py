"""Servers that keep state in memory, moved from one machine to another with the same address."""

import contextlib
import os
import random
import subprocess
import threading
import time
import unittest

from agent_run import wait_for
from application import PROGRAMS, ApplicationCase
from network import ADDRESS, CLIENT

KEYS, VALUE_BYTES = 200_000, 1000  # 200 MB


class ServerCase(ApplicationCase):
    network = True

    def curl(self, path, port):
        return self.net.run("curl", "-sS", "-m", "5", f"http://{ADDRESS}:{port}/{path}")

    def begin_load(self):
        """Requests, one after another, until the end; those that fail are made again."""
        self.ended = threading.Event()
        thread = threading.Thread(target=self._load, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 20)
        self.addCleanup(self.ended.set)

    def _load(self):
        number = 0
        while not self.ended.is_set():
            number += 1
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                self.request(number)

    def request(self, number):
        raise NotImplementedError


class RedisCase(ServerCase):
    def redis(self, *words, host=ADDRESS):
        return self.net.run("redis-cli", "-h", host, *words)

    def info(self, name, host=ADDRESS):
        return dict(line.split(":", 1) for line in self.redis("info", host=host).splitlines()
                    if ":" in line).get(name, "").strip()

    def fill(self, host):
        wait_for("redis answers", lambda: self.redis("ping", host=host) == "PONG")
        self.redis("debug", "populate", str(KEYS), "key", str(VALUE_BYTES), host=host)

    def command(self):
        return ("redis-server --bind 0.0.0.0 --protected-mode no --save '' --appendonly no "
                f"--enable-debug-command yes --dir {self.path('data')}")


class RedisTest(RedisCase):
    """200 MB of keys, and a client that writes."""
    name = "redis"

    def prepare(self):
        os.mkdir(self.path("data"))
        return self.command()

    def ready(self):
        if self.redis("ping") != "PONG":
            return False
        self.fill(ADDRESS)
        return True

    def request(self, number):
        self.redis("incr", "requests")

    def note(self):
        before = int(self.redis("get", "requests") or 0)
        wait_for("there is load",
                 lambda: int(self.redis("get", "requests") or 0) > before + 3)
        self.redis("incr", "rounds")
        return int(self.redis("get", "rounds")), int(self.redis("get", "requests"))

    def verify(self, noted, planned):
        wait_for("redis answers", lambda: self.redis("ping") == "PONG")
        self.assertEqual(int(self.redis("get", "rounds")), noted[0])
        self.assertGreaterEqual(int(self.redis("get", "requests")), noted[1])
        self.assertEqual(int(self.redis("dbsize")), KEYS + 2)
        for number in random.sample(range(KEYS), 20):
            self.assertEqual(self.redis("getrange", f"key:{number}", "0", "6"), "value:" +
                             str(number)[:1])
            self.assertEqual(int(self.redis("strlen", f"key:{number}")), VALUE_BYTES)

    def test_it(self):
        self.go_through()


class RedisReplicaTest(RedisCase):
    """The secondary is moved; it catches up with its primary."""
    name = "replica"

    def prepare(self):
        for name in ("data", "primary"):
            os.mkdir(self.path(name))
        primary = self.net.start(
            "redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "",
            "--enable-debug-command", "yes", "--dir", self.path("primary"),
            "--repl-diskless-sync-delay", "0")
        self.addCleanup(primary.wait)
        self.addCleanup(primary.kill)
        self.fill(CLIENT)
        return self.command() + f" --replicaof {CLIENT} 6379"

    def ready(self):
        return self.info("master_link_status") == "up" and self.same_size()

    def same_size(self):
        return self.redis("dbsize") == self.redis("dbsize", host=CLIENT)

    def request(self, number):
        self.redis("set", f"new:{number}", str(number), host=CLIENT)
        time.sleep(0.01)

    def note(self):
        return int(self.redis("dbsize"))

    def verify(self, noted, planned):
        wait_for("the link to the primary is up",
                 lambda: self.info("master_link_status") == "up", 60)
        self.redis("set", "last", str(noted), host=CLIENT)
        wait_for("it catches up", lambda: self.redis("get", "last") == str(noted), 60)
        self.assertGreaterEqual(int(self.redis("dbsize")), noted)
        sample = [f"key:{number}" for number in random.sample(range(KEYS), 20)] + ["new:1"]
        for key in sample:
            self.assertEqual(self.redis("get", key), self.redis("get", key, host=CLIENT))

    def test_it(self):
        self.go_through()


class NginxTest(ServerCase):
    """Two workers, and a client that asks all the time."""
    name = "nginx"
    port = 8080

    def prepare(self):
        for name in ("www", "logs"):
            os.mkdir(self.path(name))
        with open(self.path("www/page"), "w", encoding="utf-8") as page:
            page.write("content\n" * 1000)
        with open(self.path("nginx.conf"), "w", encoding="utf-8") as file:
            file.write(f"""
                user root;
                daemon off;
                worker_processes 2;
                pid {self.path('logs/pid')};
                error_log {self.path('logs/error')};
                events {{ worker_connections 256; }}
                http {{
                  access_log {self.path('logs/access')};
                  client_body_temp_path {self.path('logs')};
                  proxy_temp_path {self.path('logs')};
                  fastcgi_temp_path {self.path('logs')};
                  uwsgi_temp_path {self.path('logs')};
                  scgi_temp_path {self.path('logs')};
                  server {{ listen {self.port}; root {self.path('www')}; }}
                }}""")
        return f"nginx -e {self.path('logs/error')} -c {self.path('nginx.conf')}"

    def ready(self):
        return self.curl("page", self.port) == ("content\n" * 1000).strip()

    def request(self, number):
        self.curl("page", self.port)

    def note(self):
        return os.stat(self.path("logs/access")).st_size

    def verify(self, noted, planned):
        wait_for("nginx answers", self.ready)
        wait_for("its log goes on",
                 lambda: os.stat(self.path("logs/access")).st_size > noted)
        with open(self.path("logs/error"), encoding="utf-8") as file:
            self.assertNotIn("alert", file.read())

    def test_it(self):
        self.go_through()


class NodeTest(ServerCase):
    """Node.js with a map in memory and a worker thread."""
    name = "node"
    port = 8081

    def prepare(self):
        return f"node {PROGRAMS}/server.js {self.port}"

    def ready(self):
        return self.curl("ticks", self.port).isdigit()

    def begin_load(self):
        self.acknowledged = []
        super().begin_load()

    def request(self, number):
        if self.curl(f"set/{number}/value{number}", self.port) == f"value{number}":
            self.acknowledged.append(number)

    def note(self):
        before = len(self.acknowledged)
        wait_for("there is load", lambda: len(self.acknowledged) > before + 3)
        self.at_checkpoint = list(self.acknowledged)
        return self.at_checkpoint, int(self.curl("ticks", self.port))

    def lost(self):
        self.acknowledged = list(self.at_checkpoint)

    def verify(self, noted, planned):
        wait_for("node answers", self.ready)
        self.assertGreaterEqual(int(self.curl("ticks", self.port)), noted[1])
        for number in noted[0][::max(1, len(noted[0]) // 10)]:
            self.assertEqual(self.curl(f"get/{number}", self.port), f"value{number}")
        wait_for("its timers go on", lambda: int(self.curl("ticks", self.port)) > noted[1] + 50)

    def test_it(self):
        self.go_through()


if __name__ == "__main__":
    unittest.main()
