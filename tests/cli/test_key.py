"""Encrypted repositories: how they are made and opened, keys come and go, and nothing leaks."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import threading
import time

import harness

PASSWORD = "correct horse battery"


class KeyTest(harness.CliTest):
    make_repository = False

    def setUp(self):
        super().setUp()
        self.variables = {}
        self.key_file = os.path.join(self.dir, "repo.key")
        self.write("f", b"content of a file\n" * 1000)

    def environment(self):
        return {**super().environment(), **self.variables}

    def start(self, *args, **kwargs):
        # Without a terminal, on which a password would be asked for.
        kwargs.setdefault("start_new_session", True)
        return super().start(*args, **kwargs)

    def init_with_key_file(self):
        self.ok("init", "--encrypt", "--new-key-file", self.key_file)
        self.variables = {"SNAPSTORE_KEY_FILE": self.key_file}

    def objects(self):
        return {os.path.relpath(os.path.join(d, n), self.repo): self.read(os.path.join(d, n))
                for d, _, names in os.walk(self.repo) for n in names}


class Opening(KeyTest):

    def test_a_password_from_the_environment_opens_it(self):
        self.variables = {"SNAPSTORE_PASSWORD": PASSWORD}
        made = self.ok("--json", "init", "--encrypt").message("initialized")
        self.assertIs(made["encrypted"], True)
        taken = self.snapshot()
        self.assertIs(self.ok("--json", "stats").message("stats")["encrypted"], True)
        self.assertRegex(self.ok("stats").text, r"encrypted +yes")
        self.ok("restore", "latest", "--target", self.target())
        self.assertEqual(self.read(self.restored(os.path.join(self.src, "f"))),
                         b"content of a file\n" * 1000)
        self.ok("check", "--read-data")
        self.assertEqual(self.ok("dump", taken["snapshot_id"], self.src.lstrip("/") + "/f").out,
                         b"content of a file\n" * 1000)

        self.variables = {"SNAPSTORE_PASSWORD": PASSWORD + "."}
        before = self.objects()
        for command in (["list"], ["snapshot", self.src], ["check"], ["stats"], ["key", "list"],
                        ["restore", "latest", "--target", self.target("no")], ["repair", "index"]):
            self.one_line_error(12, *command, contains=["wrong password"])
        self.assertFalse(os.path.exists(self.target("no")))
        self.variables = {}
        said = self.one_line_error(12, "list", contains=["encrypted", "SNAPSTORE_PASSWORD", "--key-file"])
        self.assertNotIn(PASSWORD, said.error_text)
        self.assertEqual(self.objects(), before)
        error = self.expect(12, "--json", "list").error_lines[-1]
        self.assertEqual((error["code"], error["status"]), (12, "WrongKey"))

    def test_password_files_and_key_files_open_it(self):
        password_file = self.write("password", PASSWORD.encode() + b"\n", root=self.dir)
        self.ok("init", "--encrypt", "--password-file", password_file)
        self.ok("list", "--password-file", password_file)
        self.ok("list", env={**self.environment(), "SNAPSTORE_PASSWORD_FILE": password_file})
        self.ok("list", env={**self.environment(), "SNAPSTORE_PASSWORD": PASSWORD})
        self.ok("key", "add", "--new-key-file", self.key_file, "--password-file", password_file)
        self.assertEqual(os.stat(self.key_file).st_mode & 0o777, 0o400)
        self.assertEqual(os.stat(self.key_file).st_size, 64)
        self.ok("list", "--key-file", self.key_file)
        # An option of the command line is stronger than the environment.
        self.ok("list", "--key-file", self.key_file,
                env={**self.environment(), "SNAPSTORE_PASSWORD": "wrong"})
        other = self.write("other", os.urandom(64), root=self.dir)
        self.one_line_error(12, "list", "--key-file", other, contains=["wrong key file"])
        short = self.write("short", b"x" * 31, root=self.dir)
        self.one_line_error(2, "list", "--key-file", short, contains=[short, "32"])
        self.one_line_error(2, "list", "--key-file", self.target("none"), contains=[self.target("none")])
        empty = self.write("empty", b"\n", root=self.dir)
        self.one_line_error(2, "list", "--password-file", empty, contains=[empty, "empty"])
        self.one_line_error(2, "list", "--password-file", password_file, "--key-file", self.key_file)
        both = {"SNAPSTORE_PASSWORD": PASSWORD, "SNAPSTORE_KEY_FILE": self.key_file}
        self.one_line_error(2, "list", env={**self.environment(), **both}, contains=["more than one"])

    def test_a_password_for_a_plain_repository_is_refused(self):
        self.one_line_error(2, "init", env={**self.environment(), "SNAPSTORE_PASSWORD": PASSWORD},
                            contains=["--encrypt"])
        self.one_line_error(2, "init", "--label", "x")
        self.assertFalse(os.path.exists(self.repo))
        self.ok("init")
        for variables in ({"SNAPSTORE_PASSWORD": PASSWORD}, {"SNAPSTORE_PASSWORD_FILE": self.write("p", b"x")}):
            self.one_line_error(12, "snapshot", self.src, env={**self.environment(), **variables},
                                contains=["not encrypted"])
        self.assertEqual(list(self.objects()), ["config"])
        self.one_line_error(1, "key", "list", contains=["not encrypted"])
        self.assertRegex(self.ok("stats").text, r"encrypted +no")

    def test_an_existing_place_is_left_alone_and_no_key_made_for_it(self):
        self.ok("init")
        self.one_line_error(1, "init", "--encrypt", "--new-key-file", self.key_file)
        self.assertFalse(os.path.exists(self.key_file))
        self.assertEqual(list(self.objects()), ["config"])

    def test_it_shows_nothing_of_what_it_holds(self):
        self.init_with_key_file()
        self.write("holiday-plans", b"nobody shall know" + self.random.randbytes(100_000))
        self.snapshot(self.src, "--tag", "project=apollo", "--host", "crown-jewels")
        self.ok("key", "add", "--new-key-file", self.target("second.key"), "--label", "under-the-mat")
        needles = [b"content of a file", b"holiday", b"nobody shall", b"apollo", b"crown-jewels",
                   b"under-the-mat", os.fsencode(self.src), self.read(self.key_file),
                   self.read(self.key_file).hex().encode()]
        if len(os.uname().nodename) > 4:  # a shorter name turns up by chance
            needles.append(os.uname().nodename.encode())
        objects = self.objects()
        self.assertGreaterEqual(len(objects), 6)
        for name, content in objects.items():
            for needle in needles:
                self.assertNotIn(needle, content, name)

    def test_secrets_are_in_no_output_no_title_and_no_environment(self):
        self.variables = {"SNAPSTORE_PASSWORD": PASSWORD}
        self.ok("init", "--encrypt")
        feed = self.start("-v", "snapshot", "--stdin", "--name", "x", stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        proc = f"/proc/{feed.pid}"
        try:
            feed.stdin.write(self.random.randbytes(1 << 20))
            feed.stdin.flush()
            # The repository is open when the stream begins to be read.
            self.wait_for(lambda: PASSWORD.encode() not in self.read(proc + "/environ"),
                          what="the password to leave the environment")
            self.assertNotIn(PASSWORD.encode(), self.read(proc + "/cmdline"))
        finally:
            out, err = feed.communicate(timeout=60)
        self.assertEqual(feed.returncode, 0, err)
        for text in (out, err, self.ok("--json", "-v", "check").out, self.ok("key", "list").out):
            self.assertNotIn(PASSWORD.encode(), text)

    def test_damaged_keys(self):
        self.init_with_key_file()
        name = os.path.join(self.repo, "keys", os.listdir(os.path.join(self.repo, "keys"))[0])
        whole = self.read(name)
        os.chmod(name, 0o600)
        with open(name, "wb") as file:
            file.write(whole.replace(b'"key":"', b'"key":"00', 1))
        self.one_line_error(13, "list", contains=["key"])
        os.remove(name)
        self.one_line_error(13, "list", contains=["no key"])


class Keys(KeyTest):

    def test_keys_are_added_listed_and_removed(self):
        self.init_with_key_file()
        second = self.target("second.key")
        added = self.ok("--json", "key", "add", "--new-key-file", second, "--label", "in the safe")
        added = added.message("key_added")
        self.assertEqual((added["kind"], added["label"], added["current"]), ("key-file", "in the safe", False))
        keys = self.ok("--json", "key", "list").lines
        self.assertEqual([k["message_type"] for k in keys], ["key", "key"])
        self.assertEqual([k["current"] for k in keys if k["id"] != added["id"]], [True])
        own = next(k["id"] for k in keys if k["current"])
        text = self.ok("key", "list").text
        self.assertIn("in the safe", text)
        self.assertIn(own[:16] + " *", text)

        self.one_line_error(1, "key", "remove", own, contains=[own, "another key"])
        self.one_line_error(1, "key", "remove", "0123456789", contains=["0123456789"])
        self.one_line_error(2, "key", "remove")
        self.one_line_error(2, "key", "list", own)
        self.one_line_error(2, "key", "list", "--label", "x")
        self.one_line_error(2, "key", "burn")
        removed = self.ok("--json", "key", "remove", own[:8], "--key-file", second)
        self.assertEqual(removed.message("key_removed")["id"], own)
        self.one_line_error(12, "list")
        self.one_line_error(1, "key", "remove", added["id"], "--key-file", second, contains=["only one"])
        self.ok("list", "--key-file", second)
        # No terminal, no file: nothing new can be made up.
        self.one_line_error(12, "key", "add", "--key-file", second, contains=["no new password"])

    def test_rotation_writes_no_data(self):
        self.init_with_key_file()
        self.snapshot()
        before = {k: v for k, v in self.objects().items() if not k.startswith("keys/")}
        fresh = self.target("fresh.key")
        rotated = self.ok("--json", "key", "rotate", "--new-key-file", fresh).message("key_rotated")
        self.one_line_error(12, "list")
        self.variables = {"SNAPSTORE_KEY_FILE": fresh}
        self.assertEqual([k["id"] for k in self.ok("--json", "key", "list").lines], [rotated["id"]])
        self.assertEqual({k: v for k, v in self.objects().items() if not k.startswith("keys/")}, before)
        self.ok("check", "--read-data")

    def test_a_rotation_that_is_killed_leaves_a_key(self):
        self.init_with_key_file()
        for attempt in range(12):
            fresh = self.write(f"key-{attempt}", os.urandom(64), root=self.dir)
            child = self.start("key", "rotate", "--new-key-file", fresh, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
            time.sleep(self.random.uniform(0.0, 0.04))
            child.send_signal(signal.SIGKILL)
            child.wait()
            opens = [k for k in (self.variables["SNAPSTORE_KEY_FILE"], fresh)
                     if self.run_cli("list", "--key-file", k).code == 0]
            self.assertTrue(opens, f"seed {self.seed}, attempt {attempt}")
            self.variables = {"SNAPSTORE_KEY_FILE": opens[-1]}
        self.ok("check")

    def test_many_change_keys_at_once(self):
        self.init_with_key_file()
        files = [self.key_file] + [self.write(f"k{i}", os.urandom(64), root=self.dir) for i in range(3)]
        for file in files[1:]:
            self.ok("key", "add", "--new-key-file", file)
        for _ in range(3):
            ids = {k: next(m["id"] for m in self.ok("--json", "key", "list", "--key-file", k).lines
                           if m["current"]) for k in files if
                   self.run_cli("list", "--key-file", k).code == 0}
            self.assertTrue(ids)
            jobs = []
            for file, own in ids.items():
                for other in ids.values():
                    if other != own:
                        jobs.append(threading.Thread(
                            target=self.run_cli, args=("key", "remove", other, "--key-file", file)))
            for job in jobs:
                job.start()
            for job in jobs:
                job.join()
        self.assertTrue([k for k in files if self.run_cli("list", "--key-file", k).code == 0])


class Terminal(KeyTest):
    """On a terminal of its own."""

    def converse(self, arguments, answers):
        """Runs a command; each of `answers` is (what is asked, what is typed). What was shown."""
        main, terminal = pty.openpty()

        def take_terminal():
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

        child = self.start(*arguments, stdin=terminal, stdout=terminal, stderr=terminal,
                           preexec_fn=take_terminal)
        os.close(terminal)
        shown = b""
        answers = list(answers)
        deadline = time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                if select.select([main], [], [], 0.05)[0]:
                    try:
                        part = os.read(main, 4096)
                    except OSError:
                        break
                    if not part:
                        break
                    shown += part
                if answers and answers[0][0].encode() in shown.split(b"\n")[-1]:
                    # Echo is off once the flags say so.
                    if termios.tcgetattr(main)[3] & termios.ECHO:
                        continue
                    typed = answers.pop(0)[1]
                    if typed is None:
                        child.send_signal(signal.SIGINT)
                    else:
                        os.write(main, typed.encode() + b"\n")
            code = child.wait(30)
            return code, shown.decode()
        finally:
            child.kill()
            child.wait()
            os.close(main)

    def test_the_password_is_asked_for_and_not_shown(self):
        new = [("new password: ", PASSWORD), ("again: ", PASSWORD)]
        code, shown = self.converse(["init", "--encrypt"], new)
        self.assertEqual(code, 0, shown)
        self.assertNotIn(PASSWORD, shown)
        code, shown = self.converse(["list"], [("password of the repository: ", PASSWORD)])
        self.assertEqual(code, 0, shown)
        self.assertNotIn(PASSWORD, shown)
        code, shown = self.converse(["list"], [("password of the repository: ", "guess")])
        self.assertEqual(code, 12, shown)
        self.assertIn("wrong password", shown)
        code, shown = self.converse(["key", "rotate"], [
            ("password of the repository: ", PASSWORD), ("new password: ", "one"), ("again: ", "two")])
        self.assertEqual(code, 12, shown)
        self.assertIn("differ", shown)
        code, shown = self.converse(["list"], [("password of the repository: ", "")])
        self.assertEqual(code, 12, shown)
        self.ok("list", env={**self.environment(), "SNAPSTORE_PASSWORD": PASSWORD})

    def test_an_interrupt_at_the_question_ends_it(self):
        self.init_with_key_file()
        self.variables = {}
        code, shown = self.converse(["list"], [("password of the repository: ", None)])
        self.assertEqual(code, 130, shown)

    def test_a_plain_repository_asks_nothing(self):
        self.ok("init")
        code, shown = self.converse(["stats"], [])
        self.assertEqual(code, 0, shown)
        self.assertNotIn("password", shown)


if __name__ == "__main__":
    harness.main()
