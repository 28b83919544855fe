"""A real S3 server that asks for less: a gateway of this test's own, since its limit holds for all."""

import os
import subprocess
import sys
import uuid

import harness
import local_server
import s3_request

BUCKET = "slow-down"
SCRIPT = os.path.join(os.path.dirname(local_server.__file__), "rgw.py")


class SlowDown(harness.CliTest):

    make_repository = False

    def server(self, command, *args):
        subprocess.run([sys.executable, "-B", SCRIPT, command, self.file, *args], check=True,
                       stdout=subprocess.DEVNULL)

    def setUp(self):
        super().setUp()
        self.file = os.path.join(self.dir, "server")
        self.server("start")
        self.addCleanup(self.server, "stop")
        self.variables = local_server.variables_of(self.file)
        s3_request.make_bucket(self.variables, BUCKET)
        self.repo = f"s3://{BUCKET}/{uuid.uuid4()}"
        self.ok("init")

    def environment(self):
        if not hasattr(self, "variables"):
            return super().environment()
        return {**super().environment(), **local_server.aws_of(self.variables), "HOME": self.dir}

    def test_goes_slower_loses_nothing_and_counts_the_refusals(self):
        self.server("slow-down", "2")
        for n in range(8):
            self.write(f"file-{n}", self.random.randbytes(12 << 20))
        store = self.snapshot("--memory-limit", "128M", self.src)["store"]
        self.assertGreater(store["throttled"], 0)
        self.assertEqual(store["retries"], store["throttled"])
        self.assertLess(store["throttled"], 4 * store["writes"], "it goes slower, not on and on")
        self.assertGreater(store["bytes_up"], 96 << 20)
        self.assertGreater(store["estimated_usd"], 0)
        self.ok("restore", "latest", "--target", self.target())
        for n in range(8):
            self.assertEqual(self.read(os.path.join(self.src, f"file-{n}")),
                             self.read(os.path.join(self.restored(self.src), f"file-{n}")))
        self.server("slow-down", "1024")
        self.write("more", self.random.randbytes(12 << 20))
        self.assertEqual(self.snapshot()["store"]["throttled"], 0)
        self.assertIn("at list prices", self.ok("check").text)


if __name__ == "__main__":
    harness.main()
