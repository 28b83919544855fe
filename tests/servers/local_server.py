"""What servers for tests have in common: a folder of their own, processes in it, a file that tells.

A server keeps everything in one folder below TMPDIR. Its processes have their ids in run/NAME.pid and
the folder in their command lines, so that one is never mistaken for another. The file holds lines of
NAME=VALUE for whoever uses the server; one of them is the folder.
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

HOST = "127.0.0.1"
START_SECONDS = 60


def free_port():
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return sock.getsockname()[1]


def new_key_id():
    return "AK" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(18))


def new_secret():
    """40 characters with '/' and '+' among them, as AWS's own."""
    return base64.b64encode(secrets.token_bytes(30)).decode()


def variables_of(file):
    """The NAME=VALUE lines of a file as a server writes it."""
    with open(file, encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split("=", 1) for line in lines)


def aws_of(variables):
    """Of these, what a program that speaks to the server finds in its environment."""
    return {name: value for name, value in variables.items() if name.startswith("AWS_")}


class LocalServer:
    """Derived classes: NAME, FOLDER_VARIABLE, PROCESSES in the order in which they end, start()."""

    def __init__(self, folder):
        self.folder = folder

    def start(self):
        """Starts it; returns the variables for the file."""
        raise NotImplementedError

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def make_folders(self, *names):
        for name in (*names, "run", "log"):
            os.makedirs(self.path(name), exist_ok=True)

    def write(self, name, text):
        path = self.path(name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
                  encoding="utf-8") as file:
            file.write(text)
        return path

    def run(self, *args):
        """A program, with what it prints."""
        done = subprocess.run(args, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False, cwd=self.folder)
        if done.returncode != 0:
            raise OSError(f"{' '.join(args)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()

    def spawn(self, name, *args):
        """A process that stays in the foreground; its command line must name the folder."""
        with open(self.path("log", f"{name}.log"), "ab") as log:
            process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       cwd=self.folder, start_new_session=True)
        self.write(os.path.join("run", f"{name}.pid"), str(process.pid))

    def wait_for(self, port, name):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with socket.socket() as sock:
                if sock.connect_ex((HOST, port)) == 0:
                    return
            time.sleep(0.05)
        log = self.path("log", f"{name}.log")
        tail = ""
        if os.path.exists(log):
            with open(log, encoding="utf-8", errors="replace") as file:
                tail = file.read()[-2000:]
        raise OSError(f"{name} did not answer in {START_SECONDS} s; the end of its log: {tail}")

    def pid(self, name):
        """The process of that name of this folder, if it runs."""
        try:
            with open(self.path("run", f"{name}.pid"), encoding="ascii") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                gone = file.read().rpartition(")")[2].split()[0] == "Z"
        except (OSError, ValueError):
            return None
        return pid if not gone and any(self.folder in word for word in words) else None

    def end(self):
        """At once: nothing of it is to be kept."""
        for name in self.PROCESSES:
            while (pid := self.pid(name)) is not None:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    break
                time.sleep(0.02)

    @classmethod
    def of(cls, file):
        """The server that `file` speaks of, or None."""
        try:
            return cls(variables_of(file)[cls.FOLDER_VARIABLE])
        except (FileNotFoundError, KeyError):
            return None

    @classmethod
    def stop_that_of(cls, file):
        server = cls.of(file)
        if server is None:
            return
        server.end()
        shutil.rmtree(server.folder, ignore_errors=True)
        os.unlink(file)

    @classmethod
    def start_for(cls, file):
        cls.stop_that_of(file)
        # Paths of sockets are short.
        server = cls(tempfile.mkdtemp(prefix=f"snapstore-{cls.NAME}-"))
        try:
            variables = {**server.start(), cls.FOLDER_VARIABLE: server.folder}
        except BaseException:
            server.end()
            shutil.rmtree(server.folder, ignore_errors=True)
            raise
        os.makedirs(os.path.dirname(os.path.abspath(file)), exist_ok=True)
        with open(file, "w", encoding="utf-8") as out:
            out.writelines(f"{name}={value}\n" for name, value in variables.items())


def main(server_class, doc, **more):
    """`more`: further commands, each called with the server and the optional number."""
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("start", "stop", "crash", *more))
    parser.add_argument("file")
    parser.add_argument("number", nargs="?", type=int)
    args = parser.parse_args()
    # A signal must not leave half a server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: terminated"))
    try:
        if args.command == "start":
            server_class.start_for(args.file)
        elif args.command == "stop":
            server_class.stop_that_of(args.file)
        else:
            server = server_class.of(args.file) or sys.exit(f"{args.file}: no such server")
            if args.command == "crash":
                server.end()
            else:
                more[args.command](server, args.number)
    except OSError as error:
        sys.exit(f"error: {error}")
