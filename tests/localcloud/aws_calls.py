"""Debian's AWS CLI, unchanged, without a new Python for every call: starting it takes longer than the
calls do. A process has it loaded and forks for each.

As a program (with the interpreter that the CLI is installed for): reads one call a line, answers one
line each.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading

PYTHON = "/usr/bin/python3"  # as the first line of /usr/bin/aws has it
SERVICES = ("ec2", "elb", "elbv2", "route53")
NOWHERE = {"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}


class AwsCalls:
    """All calls of a test program; the process ends with it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.process = None

    def call(self, arguments, environment):
        """(exit code, standard output, standard error)."""
        with self.lock:
            if self.process is None:
                self.process = subprocess.Popen(
                    [PYTHON, "-B", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    text=True, env={**os.environ, **NOWHERE})
            json.dump([arguments, environment], self.process.stdin)
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())


def answer(driver, arguments, environment):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            code = 255
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                os.environ.clear()
                os.environ.update(environment)
                code = driver.main(arguments)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
        return status, *texts


def main():
    import awscli.clidriver  # pylint: disable=import-outside-toplevel,import-error

    driver = awscli.clidriver.create_clidriver()
    loader = driver.session.get_component("data_loader")
    for service in SERVICES:
        loader.load_service_model(service, "service-2")
    for line in sys.stdin:
        print(json.dumps(answer(driver, *json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
