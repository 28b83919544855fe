"""`snapstore-agent run` of one application, as on one instance after another."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

AGENT = os.environ.get("SNAPSTORE_AGENT_BIN", "snapstore-agent")
CRIU = os.environ.get("SNAPSTORE_CRIU", "/opt/snapstore/bin/criu")
# Words before a command that must not outlive the test, however that ends.
ENDS_WITH_TEST = ("setpriv", "--pdeathsig", "KILL")


def wait_for(what, condition, seconds=60, every=0.02):
    """Until `condition` is true, which is returned; what it raises as OSError counts as false."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if result := condition():
                return result
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s it is still not so: {what}")
        time.sleep(every)


class Instance:
    """An agent and what it runs; `folder` is its own, the repository is shared with others."""

    def __init__(self, folder, name, command, repository, external=(), variables=None, volumes=(),
                 into=(), options=()):
        """`into`: words before the command that lead into a network namespace. `options`: more of
        `run`."""
        os.makedirs(folder, exist_ok=True)
        self.folder, self.into = folder, list(into)
        self.state = os.path.join(folder, "s")
        self.log_path = os.path.join(folder, "agent.log")
        config = os.path.join(folder, "app.json")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"name": name, "runCmd": command, "snapshotDestination": "fs-0123abcd",
                       "snapshotScheduler": "0 0 1 1 *", "externalFiles": list(external)}, file)
        environment = {**os.environ, "SNAPSTORE_CRIU": CRIU, **(variables or {})}
        with open(self.log_path, "w", encoding="utf-8") as log:
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(
                [*ENDS_WITH_TEST, *self.into, AGENT, "run", "--config", config, "--repo", repository, "--init",
                 "--listen", "127.0.0.1:0", "--state-dir", self.state,
                 *options,
                 *(word for folder in volumes for word in ("--volume", folder))],
                stdout=log, stderr=log, env=environment)
        self.pid = 0
        wait_for(f"{name} runs", self._runs, 120)

    def _runs(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the agent has ended: {self.log()}")
        if not os.path.exists(os.path.join(self.state, "agent.json")):
            return False
        answer = self.tell("status", check=False)
        if answer.get("state") != "running":
            return False
        self.pid = answer["pid"]
        return True

    def tell(self, *words, check=True):
        """What a sub-command answers, from its JSON."""
        done = subprocess.run([*self.into, AGENT, "--json", *words, "--state-dir", self.state],
                              capture_output=True, text=True, timeout=240, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}{self.log()}")
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def status(self):
        return self.tell("status")

    def checkpoint(self):
        return self.tell("checkpoint")

    def log(self):
        """Of the agent and of the application."""
        text = ""
        for path in (self.log_path, os.path.join(self.state, "app.log")):
            with contextlib.suppress(OSError), open(path, encoding="utf-8",
                                                    errors="replace") as file:
                text += f"--- {path}\n{file.read()[-4000:]}"
        return text

    def stop(self):
        """With a final checkpoint."""
        self.tell("stop")
        self.process.wait(120)

    def lose(self):
        """As an instance goes away: at once, and everything."""
        for pid in (self.process.pid, self.pid):
            with contextlib.suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        # All in the cell end with its first process.
        wait_for("the cell is gone", lambda: not self.pid or not os.path.exists(f"/proc/{self.pid}"))


class Instances:
    """One after another, with one repository. `close` leaves nothing behind."""

    def __init__(self, name, command, **options):
        self.name, self.command, self.options = name, command, options
        self.folder = tempfile.mkdtemp(prefix="apps-", dir="/tmp")
        self.count = 0
        self.current = None

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, into=()):
        self.count += 1
        try:
            self.current = Instance(self.path(f"i{self.count}"), self.name, self.command,
                                    self.path("repo"), into=into, **self.options)
        except BaseException:
            self.close()
            raise
        return self.current

    def resume(self, into=()):
        """Another instance, on which the newest checkpoint has to be restored."""
        instance = self.start(into)
        status = instance.status()
        if not status["restored_from"]:
            raise AssertionError(f"{status['start_reason']}\n{instance.log()}")
        return instance

    def close(self):
        if self.current is not None and self.current.process.poll() is None:
            self.current.lose()
        shutil.rmtree(self.folder, ignore_errors=True)
