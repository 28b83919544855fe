"""Clients that write to a node's application all the time, through everything that happens to it."""

import contextlib
import socket
import subprocess
import threading
import time

RETRY_SECONDS = 0.05


class Writer:
    """Writes 1, 2, 3, … one at a time, and notes those whose receipt came back. When that fails it
    connects again, to `address` as it is then, and goes on with the next number."""

    def __init__(self, address, between_seconds):
        self.address = address
        self.connections = 0  # that took at least one number
        self.between_seconds = between_seconds
        self._acknowledged = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def connect(self):
        """Something with `close`."""
        raise NotImplementedError

    def write(self, connection, number):
        """Returns when it is acknowledged; OSError if it is not."""
        raise NotImplementedError

    def _run(self):
        number = 0
        while not self._ended.is_set():
            with contextlib.suppress(OSError), contextlib.closing(self.connect()) as connection:
                first = True
                while not self._ended.is_set():
                    number += 1
                    self.write(connection, number)
                    with self._lock:
                        self._acknowledged.append(number)
                        self.connections += first
                    first = False
                    time.sleep(self.between_seconds)
            self._ended.wait(RETRY_SECONDS)

    def acknowledged(self):
        """In their order."""
        with self._lock:
            return list(self._acknowledged)

    def forget(self, numbers):
        """Those of which it is known that they were not kept."""
        gone = set(numbers)
        with self._lock:
            self._acknowledged = [one for one in self._acknowledged if one not in gone]

    def end(self):
        self._ended.set()
        self._thread.join(10)


class RedisWriter(Writer):
    """Into the set `written`."""

    TIMEOUT_SECONDS = 1

    def connect(self):
        return socket.create_connection((self.address, 6379), self.TIMEOUT_SECONDS)

    def write(self, connection, number):
        connection.sendall(b"SADD written %d\r\n" % number)
        answer = b""
        while not answer.endswith(b"\r\n"):
            part = connection.recv(100)
            if not part:
                raise ConnectionResetError("redis has closed the connection")
            answer += part
        if answer != b":1\r\n":
            raise ConnectionAbortedError(f"redis answers {answer}")


class Psql:
    """One session of psql."""

    def __init__(self, address):
        # One that has vanished is noticed in two seconds.
        self.process = subprocess.Popen(
            ["psql", "-AtqX", "-v", "ON_ERROR_STOP=1",
             f"host={address} user=postgres connect_timeout=2 tcp_user_timeout=2000 "
             "keepalives_idle=1 keepalives_interval=1 keepalives_count=2"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            bufsize=1, cwd="/")

    def ask(self, statement):
        self.process.stdin.write(statement + ";\n")
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.kill()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class PostgresWriter(Writer):
    """Into the table `written`, each number a transaction."""

    def connect(self):
        return Psql(self.address)

    def write(self, connection, number):
        if connection.ask(f"insert into written values ({number}) returning n") != str(number):
            raise ConnectionResetError("the session has ended")
