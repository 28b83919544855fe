#!/usr/bin/env python3
"""A real NFSv4.1 server and two clients of it, for tests: nfs_lab.py [OPTION...] COMMAND...

Boots User-Mode Linux (tools/install-uml puts it into /opt/snapstore) as an ordinary process that
sees this machine's files, sets up the server and the mounts there, runs COMMAND, shows what it
prints, powers off, and ends with COMMAND's exit code; with 77 where there is no User-Mode Linux:
tools/install-uml keeps only a kernel that starts.
COMMAND has this process's environment and working directory, and besides:

    NFS_A, NFS_B       one export, mounted with EFS's recommended options by two clients, each in a
                       network namespace of its own: caches, state and leases are not shared.
                       Their source is named as EFS is: fs-0123abcd.efs.lab:/
    NFS_EXPORT         the same directory on the server, an ext4 file system
    lab cut a|b        from now on every packet between the server and that client is lost
    lab heal a|b       no more
    lab delay a|b 5ms  every packet from the server to that client takes longer ("0ms": no more)
    lab server stop|start|restart
    lab mount a|b FOLDER [OPTIONS]   one more mount of that client, on new caches: soft,timeo=10

With --skew SECONDS the server runs in a kernel of its own, and the clock of the only client, NFS_A,
is ahead of the server's by so much.

The environment: SNAPSTORE_UML, where the kernel is. Needs root.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
BOOT_SECONDS = 60
GUEST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nfs_lab_guest")
# As Amazon's documentation recommends for EFS.
EFS_OPTIONS = "rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport"
# The kernel's root is its own folder, so that it finds its libraries; this machine's files are
# below /host there, and are the root of what runs in it.
ENTER = """
root=$1; shift
mount --rbind / "$root/host"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs -o exec tmpfs "$root/tmp"
exec env -i TMPDIR=/tmp HOME=/tmp TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  chroot "$root" /usr/bin/linux.uml "$@"
"""


class Lab:
    def __init__(self, options):
        self.options = options
        self.kernel = os.environ.get("SNAPSTORE_UML") or os.path.join(
            os.environ.get("SNAPSTORE_PREFIX", "/opt/snapstore"), "lib", "uml")
        self.job = tempfile.mkdtemp(prefix="snapstore-nfs-lab-")

    def file(self, name):
        return os.path.join(self.job, name)

    def read(self, name):
        try:
            with open(self.file(name), encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except FileNotFoundError:
            return None

    def why_not(self):
        if os.geteuid() != 0:
            return "needs root"
        if not os.access(os.path.join(self.kernel, "usr/bin/linux.uml"), os.X_OK):
            return f"no User-Mode Linux in {self.kernel}: see tools/install-uml"
        return None

    def start(self):
        """The processes of the kernels; the last one runs the command."""
        self.write_words()
        if self.options.skew is None:
            return [self.boot("both")]
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # the wire between them
        try:
            return [self.boot(role, end) for role, end in zip(("server", "client"), ends)]
        finally:
            for end in ends:
                end.close()

    def write_words(self):
        words = {"command": self.options.command,
                 "environment": [f"{name}={value}" for name, value in os.environ.items()
                                 if name not in ("TMPDIR", "PWD", "OLDPWD", "SHLVL", "_")]}
        for name, lines in words.items():
            with open(self.file(name), "wb") as file:
                file.writelines(os.fsencode(line) + b"\0" for line in lines)

    def boot(self, role, wire=None):
        wires = []
        if wire is not None:
            wires = [f"vec0:transport=fd,fd={wire.fileno()},mac=02:00:00:00:00:"
                     f"{1 if role == 'server' else 2:02}"]
        with open(self.file("console" if role != "server" else "console-server"), "wb") as console:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL",
                 "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL",
                 "bash", "-ec", ENTER, "-", self.kernel,
                 f"mem={self.options.memory}M", "root=/dev/root", "rootfstype=hostfs",
                 "rootflags=/host", "rw", "quiet", "con=null", "con0=fd:0,fd:1", f"init={GUEST}", *wires,
                 # What the kernel does not know becomes its first process's environment.
                 f"LAB_JOB={self.job}", f"LAB_KERNEL={self.kernel}", f"LAB_CWD={os.getcwd()}",
                 f"LAB_DISK={self.options.disk}", f"LAB_LEASE={self.options.lease}",
                 f"LAB_MOUNT={EFS_OPTIONS}", f"LAB_ROLE={role}", f"LAB_SKEW={self.options.skew}",
                 f"LAB_TRIAL={'1' if self.options.trial else ''}"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
                pass_fds=() if wire is None else (wire.fileno(),))

    def show(self, process):
        """What the command prints, as it comes, until the machine is off."""
        deadline = time.monotonic() + BOOT_SECONDS
        with open(self.file("output"), "w+b") as output:
            while True:
                running = process.poll() is None
                text = output.read()
                if text:
                    sys.stdout.buffer.write(text)
                    sys.stdout.buffer.flush()
                elif not running:
                    return
                else:
                    time.sleep(0.02)
                if time.monotonic() > deadline and self.read("booted") is None:
                    process.kill()

    def run(self):
        reason = self.why_not()
        if reason is not None:
            print(f"nfs_lab: {reason}", file=sys.stderr)
            return SKIPPED
        processes = self.start()
        try:
            self.show(processes[-1])
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if self.read("booted") is None:
            words = (self.read("console") or "no word of it").splitlines()
            print(f"nfs_lab: User-Mode Linux does not start: {words[-1]}", file=sys.stderr)
            return 1
        code = self.read("code")
        if code is None:
            for name in ("boot-server", "boot", "console"):
                print(f"nfs_lab: {name}:\n{(self.read(name) or '')[-4000:]}", file=sys.stderr)
            return 1
        return int(code)

    def remove(self):
        shutil.rmtree(self.job, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disk", type=int, default=512, metavar="MIB", help="the export's size")
    parser.add_argument("--memory", type=int, default=1536, metavar="MIB",
                        help="of the machine, the export's content included")
    parser.add_argument("--lease", type=int, default=10, metavar="SECONDS",
                        help="how long the server keeps the state of a silent client")
    parser.add_argument("--skew", type=int, metavar="SECONDS", help="of the client's clock")
    parser.add_argument("--trial", action="store_true", help="only whether the kernel starts")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not options.command and not options.trial:
        parser.error("run what?")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    lab = Lab(options)
    try:
        return lab.run()
    finally:
        lab.remove()


if __name__ == "__main__":
    sys.exit(main())
