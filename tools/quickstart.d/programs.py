"""The two programs, called as a user calls them."""

import json
import os
import signal
import subprocess
import time


def call_json(command, environment):
    """Runs a program with --json; its JSON documents, one a line. Raises with its own words."""
    result = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True,
                            check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {result.returncode}:"
                           f" {(result.stderr or result.stdout).strip()}")
    return [json.loads(line) for line in result.stdout.splitlines() if line.strip()]


class Store:
    """The command snapstore on one repository."""

    def __init__(self, program, repository, cache):
        self._command = [os.path.abspath(program), "-r", repository]
        self._environment = {**os.environ, "SNAPSTORE_CACHE_DIR": cache}

    def run(self, *arguments):
        return call_json([*self._command, *arguments], self._environment)

    def snapshot(self, path):
        summary = self.run("snapshot", path)[-1]
        if summary.get("message_type") != "summary":
            raise RuntimeError(f"snapstore snapshot does not end with its summary: {summary}")
        return summary

    def newest_checkpoint(self):
        """The id of the newest snapshot that an agent made; list goes from the oldest on."""
        made = [s for s in self.run("list")[-1] if s["tags"].get("snapstore.kind") == "checkpoint"]
        return made[-1]["id"]


class Agent:
    """snapstore-agent on one node: started, asked, killed."""

    def __init__(self, program, config, repository, state, cache, output,
                 more_options=()):
        self._program = os.path.abspath(program)
        # The agent must not outlive the demonstration, however that ends.
        self._run = ["setpriv", "--pdeathsig", "KILL", self._program, "run", "--config", config,
                     "--repo", repository, "--state-dir", state, "--listen", "127.0.0.1:0",
                     "--end-with-agent", *more_options]
        self._state = state
        self._environment = {**os.environ, "SNAPSTORE_CACHE_DIR": cache}
        self._output = output
        self._process = None

    def start(self, ready_seconds=60):
        """Starts the agent and waits until it answers and its application runs."""
        self.launch()
        return self.wait_until_running(ready_seconds)

    def launch(self):
        with open(self._output, "ab") as output:
            self._process = subprocess.Popen(
                self._run, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=self._environment, start_new_session=True)

    def wait_until_running(self, ready_seconds=60):
        deadline = time.monotonic() + ready_seconds
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"snapstore-agent ended at its start; see {self._output}:\n"
                                   + self.last_words())
            try:
                status = self.ask("status")
                if status["state"] == "running":
                    return status
            except RuntimeError:
                pass  # not listening yet
            if time.monotonic() > deadline:
                raise RuntimeError(f"snapstore-agent is not ready after {ready_seconds} s;"
                                   f" see {self._output}:\n" + self.last_words())
            time.sleep(0.02)

    def last_words(self, lines=8):
        with open(self._output, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])

    def ask(self, command):
        return call_json([self._program, command, "--state-dir", self._state],
                         self._environment)[-1]

    def checkpoints(self):
        """The successful checkpoints of this agent, in their order."""
        return sorted((record for record in self.ask("list")["attempts"] if record["ok"]),
                      key=lambda record: record["number"])

    def kill(self):
        """SIGKILL, as the loss of a node does; the application dies with it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self):
        self.ask("stop")
        self._process.wait(timeout=30)
