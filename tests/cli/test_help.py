"""The command line explains itself."""

import os
import pty
import re
import subprocess
import unittest

import harness

COMMANDS = ["init", "snapshot", "list", "show", "ls", "diff", "restore", "dump", "mount", "check",
            "copy", "forget", "prune", "stats", "repair", "key", "doctor", "bench", "version"]


class Help(harness.CliTest):
    make_repository = False

    def test_help_lists_every_command_and_no_other(self):
        text = self.ok("help").text
        listed = re.findall(r"^  ([a-z]+) +[A-Z]", text.split("Subcommands:")[1], re.M)
        self.assertEqual(listed, COMMANDS + ["help"])
        self.assertEqual(self.ok("--help").text, text)

    def test_every_command_has_a_description_and_examples(self):
        for command in COMMANDS:
            text = self.ok("help", command).text
            self.assertIn(f"Usage: snapstore {command}", text)
            self.assertIn("Examples:\n  ", text)
            self.assertIn(f"snapstore {command}", text.split("Examples:")[1])
            self.assertEqual(self.ok(command, "--help").text, text)

    def test_the_format_of_changed_blocks_is_explained(self):
        self.assertIn("OFFSET LENGTH", self.ok("help", "snapshot").text)

    def test_a_mistyped_command_is_answered_with_near_names(self):
        self.make_repository = False
        self.one_line_error(2, "snaphsot", contains=["unknown command 'snaphsot'", "'snapshot'"])
        self.one_line_error(2, "help", "lst", contains=["unknown command 'lst'", "'list'"])
        self.one_line_error(2, contains=["no command given"])

    def test_version(self):
        self.assertRegex(self.ok("version").text, r"\Asnapstore \d+\.\d+\.\d+\n\Z")
        self.assertEqual(self.ok("--version").text, self.ok("version").text)

    def test_progress_is_drawn_on_a_terminal_only(self):
        self.ok("init")
        self.write("f", self.random.randbytes(1 << 20))
        self.assertEqual(self.ok("snapshot", self.src).err, b"")
        main, terminal = pty.openpty()
        try:
            feed = self.start("snapshot", "--stdin", "--name", "slow", stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, stderr=terminal)
            os.close(terminal)
            for _ in range(5):
                feed.stdin.write(self.random.randbytes(4 << 20))
                feed.stdin.flush()
                harness.time.sleep(0.15)
            feed.stdin.close()
            self.assertEqual(feed.wait(60), 0)
            drawn = os.read(main, 1 << 16)
        finally:
            os.close(main)
        self.assertIn(b"\r", drawn)
        self.assertIn(b"MiB", drawn)
        self.assertTrue(drawn.endswith(b"\r\x1b[K"), drawn[-200:])


if __name__ == "__main__":
    harness.main()
