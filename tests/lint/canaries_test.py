#!/usr/bin/env python3
"""Every check in tools/lint must pass a good tree and name the fault in a bad one."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOOD = {
    "include/snapstore/status.h": "#ifndef S_H_\n#define S_H_\nint Status();\n#endif\n",
    "include/snapstore/api.h": '#ifndef A_H_\n#define A_H_\n#include "snapstore/status.h"\n#endif\n',
    "base/base.h": '#ifndef B_H_\n#define B_H_\n#include "snapstore/status.h"\n#endif\n',
    "base/base.cc": '#include "base/base.h"\nint Status() { return 1; }\n',
    "engine/engine.cc": '#include <vector>\n\n#include "base/base.h"\n#include "snapstore/api.h"\n',
}


class Canaries(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="snapstore-canary-")
        self.addCleanup(shutil.rmtree, self.root)
        for name in (".clang-format", ".clang-tidy"):
            shutil.copy(os.path.join(PROJECT, name), self.root)
        for path, text in GOOD.items():
            self.write(path, text)

    def write(self, path, text):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)

    def write_compile_commands(self):
        commands = [{"directory": self.root, "file": os.path.join(self.root, path),
                     "command": f"g++ -std=c++23 -I{self.root} -I{self.root}/include -o x.o"
                                f" -c {os.path.join(self.root, path)}"}
                    for path in ("base/base.cc", "engine/engine.cc")]
        self.write("build/compile_commands.json", json.dumps(commands))

    def run_check(self, name):
        command = [sys.executable, "-B", os.path.join(PROJECT, "tools/lint", name), "--root",
                   self.root]
        if name in ("check-headers", "check-tidy"):
            self.write_compile_commands()
            command += ["--build", os.path.join(self.root, "build")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def expect_good(self, name):
        result = self.run_check(name)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def expect_bad(self, name, *words):
        result = self.run_check(name)
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        for word in words:
            self.assertIn(word, result.stdout)

    def test_layering(self):
        self.expect_good("check-layering")
        for source, text, words in (
            ("base/up.cc", '#include "engine/engine.cc"\n', "base may not include engine"),
            ("agent/a.cc", '#include "engine/engine.cc"\n', "agent may not include engine"),
            ("include/snapstore/p.h", '#include "base/base.h"\n', "private base/base.h"),
            ("tools/t.cc", '#include "missing.h"\n', "no file of the project"),
            ("engine/angle.cc", "#include <base/base.h>\n", "project file"),
            ("novel/n.cc", '#include "base/base.h"\n', "has no rule"),
        ):
            self.write(source, text)
            self.expect_bad("check-layering", f"{source}:1:", words)
            os.remove(os.path.join(self.root, source))
        self.expect_good("check-layering")

    def test_headers(self):
        self.expect_good("check-headers")
        self.write("base/leaning.h", "inline std::string Lean() { return {}; }\n")
        self.expect_bad("check-headers", "base/leaning.h: does not compile alone")

    def test_format(self):
        self.expect_good("check-format")
        self.write("base/ugly.cc", "int  f( ){return 1 ;}\n")
        self.expect_bad("check-format", "base/ugly.cc: not formatted")

    def test_tidy(self):
        self.expect_good("check-tidy")
        self.write("base/base.cc", "int* Status() {\n  return 0;\n}\n")
        self.expect_bad("check-tidy", "modernize-use-nullptr", "base/base.cc:2")
        self.write("base/base.cc", "int Status(int a) {\n  return a == a;\n}\n")
        self.expect_bad("check-tidy", "misc-redundant-expression", "base/base.cc:2")
        self.write("base/base.cc", GOOD["base/base.cc"])
        self.expect_good("check-tidy")
        # What passed is remembered, and forgotten when a header below it changes.
        self.write("base/base.h", GOOD["base/base.h"] + "inline int* Bad() { return 0; }\n")
        self.expect_bad("check-tidy", "modernize-use-nullptr", "base/base.h")

    def test_style(self):
        self.expect_good("check-style")
        for path, text, words in (
            ("base/long.cc", "int a;\n" * 700, "more than 600"),
            ("base/end.cc", "int a; \n", "white space at the end"),
            ("base/later.cc", "// TO" "DO: finish\n", "unfinished work"),
            ("base/call.cc", "void f(char* a) { strcpy(a, a); }\n", "strcpy() is banned"),
            ("base/big.bin", "x" * (300 << 10), "large file"),
            ("agent/x.pb.h", "int a;\n", "generated"),
            ("docs/a.md", "[b](missing.md)\n", "dead link: missing.md"),
            ("tools/get", "#!/bin/sh\ncurl deb." "debian.org\n", "package registry"),
        ):
            self.write(path, text)
            self.expect_bad("check-style", f"{path}:", words)
            os.remove(os.path.join(self.root, path))
        self.write("base/fine.cc", '// strcpy( is only named\nvoid System(int);\nint x = f("rand()");\n')
        self.expect_good("check-style")


if __name__ == "__main__":
    unittest.main()
