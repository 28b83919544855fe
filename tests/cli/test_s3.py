"""A repository in a bucket of a real S3 server."""

import os
import time
import uuid

import compare
import harness
import local_server
import rgw
import s3_case
import s3_request

BUCKET = s3_case.S3Case.bucket


class S3(s3_case.S3Case):

    def packs(self):
        """Keys of the packs with content."""
        prefix = self.repo.removeprefix(f"s3://{BUCKET}/") + "/data/"
        return set(s3_request.list_keys(self.server, BUCKET, prefix))

    def test_keeps_and_returns_what_was_stored(self):
        self.write("small", b"content")
        self.write("deep/large", self.random.randbytes(40 << 20))
        first = self.snapshot()
        self.write("small", b"other content")
        second = self.snapshot()
        self.assertEqual(second["parent_id"], first["snapshot_id"])
        self.assertLess(second["bytes_stored"], 100_000)
        self.ok("restore", "latest", "--target", self.target())
        compare.assert_same_tree(self, self.src, self.restored(self.src))
        self.ok("check", "--read-data")
        self.assertEqual(len(self.ok("list", "--quiet").text.splitlines()), 2)

    def requests_until(self, snapshot_id):
        """Lines about this repository in the server's log, which comes a little later than answers,
        once it has the last of a snapshot that names it, which asks for the manifest's date."""
        path = os.path.join(self.server.get("SNAPSTORE_TEST_S3_FOLDER", ""), "log/client.rgw.log")
        if not os.path.exists(path):
            self.skipTest("this server keeps no log of its requests")
        name = self.repo.rsplit("/", 1)[1]
        deadline = time.monotonic() + 10
        while True:
            with open(path, encoding="utf-8", errors="replace") as log:
                lines = [line for line in log if "beast: " in line and name in line]
            if any("HEAD" in line and f"snapshots/{snapshot_id}" in line for line in lines):
                return len(lines)
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_a_snapshot_of_what_is_there_makes_no_request_per_chunk(self):
        made = {}
        for mebibytes in (8, 16):
            self.write("file", self.random.randbytes(mebibytes << 20))
            first = self.snapshot("--parent", "none", self.src)
            before = self.requests_until(first["snapshot_id"])
            summary = self.snapshot("--parent", "none", self.src)
            self.assertEqual(summary["chunks_new"], 0)
            self.assertGreater(summary["chunks_total"], mebibytes * 16)
            made[mebibytes] = self.requests_until(summary["snapshot_id"]) - before
        self.assertLessEqual(made[16], made[8])
        self.assertLessEqual(made[8], 14)

    def test_rebuilds_the_index_from_the_packs(self):
        self.write("file", self.random.randbytes(3 << 20))
        self.snapshot()
        self.ok("repair", "index")
        self.assertEqual(self.snapshot("--parent", "none", self.src)["chunks_new"], 0)

    def test_copies_there_and_back_and_saves_what_a_lost_pack_left(self):
        self.write("kept", self.random.randbytes(200_000))
        self.snapshot()
        kept = self.packs()
        self.write("lost", self.random.randbytes(3 << 20))
        first = self.snapshot()
        local = self.target("local")
        self.ok("-r", local, "init", "--like", self.repo)
        there = self.ok("--json", "copy", "--to", local).message("summary")
        self.assertEqual((there["copied"], there["same_ids"], there["store"]), (2, True, None))
        self.assertGreater(there["source_store"]["bytes_down"], 3 << 20)
        for key in self.packs() - kept:
            status, _ = s3_request.request(self.server, "DELETE", f"/{BUCKET}/{key}")
            self.assertEqual(status, 204)
        self.expect(13, "check")
        done = self.expect(13, "--json", "repair", "snapshots", "--forget")
        losses = [m["path"] for m in done.lines if m["message_type"] == "loss"]
        self.assertEqual(losses, [os.path.join(self.src, "lost").lstrip("/")])
        self.ok("check", "--read-data")
        # The copy has it still; what comes back is the original.
        back = self.ok("-r", local, "--json", "copy", "--to", self.repo).message("summary")
        self.assertEqual((back["copied"], back["existed"]), (1, 1))
        self.ok("check", "--read-data")
        shown = [s for s in self.ok("--json", "list").lines[0] if s["time"] == first["time"]]
        self.assertEqual(len(shown), 2)

    def test_says_what_is_wrong_with_a_place(self):
        self.one_line_error(1, "init", contains=[self.repo])
        self.one_line_error(10, "list", "-r", f"s3://{BUCKET}/{uuid.uuid4()}", contains=["config"])
        self.one_line_error(10, "list", "-r", "s3://no-such-bucket-here/x", contains=["bucket"])
        self.one_line_error(10, "list", "-r", "s3://Not_A_Bucket/x", contains=["Not_A_Bucket"])

    def test_says_what_is_wrong_with_credentials_and_keeps_them_secret(self):
        env = self.environment()
        secret = "not-the-secret-of-this-server"
        env["AWS_SECRET_ACCESS_KEY"] = secret
        done = self.one_line_error(1, "list", env=env, contains=["SignatureDoesNotMatch"])
        self.assertNotIn(secret, done.error_text)
        del env["AWS_SECRET_ACCESS_KEY"]
        self.one_line_error(1, "list", env=env, contains=["only one is set"])
        del env["AWS_ACCESS_KEY_ID"]
        env["AWS_EC2_METADATA_DISABLED"] = "true"
        self.one_line_error(1, "list", env=env, contains=["no AWS credentials found"])
        env["AWS_PROFILE"] = "nobody"
        self.one_line_error(1, "list", env=env, contains=["nobody"])

    def test_takes_settings(self):
        self.write("file", b"content")
        for setting in ("s3.checksum=crc32c", "s3.checksum=none", "s3.connections=1",
                        "s3.upload-limit=10M", "s3.region=eu-west-3"):
            self.snapshot("-o", setting, self.src)

    def test_refuses_wrong_settings_before_anything_is_sent(self):
        # Nobody listens there: whoever asked would wait, and end with another code.
        env = {**self.environment(), "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
        for setting, *words in (
                ("nonsense", "KEY=VALUE"), ("s3.nonsense=1", "s3.nonsense", "s3.region"),
                ("s3.storage-clas=X", "did you mean 's3.storage-class'"),
                ("gs.region=x", "gs.region"), ("s3.checksum=md5", "s3.checksum", "crc32c"),
                ("s3.region=EU West", "s3.region"), ("s3.endpoint=host:1", "s3.endpoint"),
                ("s3.addressing=dns", "s3.addressing"), ("s3.connections=0", "s3.connections"),
                ("s3.retry-seconds=-1", "s3.retry-seconds"), ("s3.upload-limit=1", "1024"),
                ("s3.storage-class=GLACIER", "restored", "GLACIER_IR"),
                ("s3.storage-class=DEEP_ARCHIVE", "restored"), ("s3.storage-class=ia", "STANDARD_IA"),
                ("s3.encryption=SSE-C", "SSE-C", "init --encrypt"), ("s3.kms-key-id=k", "aws:kms"),
                ("s3.requester-pays=yes", "true or false"), ("s3.multipart-above=1", "4096"),
                ("s3.prices=free", "prices")):
            with self.subTest(setting):
                self.one_line_error(2, "list", "-o", setting, env=env, contains=words)
        # Also where the store is a directory: a typing error would pass unseen.
        self.one_line_error(2, "list", "-r", self.dir, "-o", "s3.nonsense=1", contains=["s3.nonsense"])


class Crowded(harness.CliTest):
    """On a gateway that answers 503 SlowDown to the third request at once."""

    make_repository = False

    def setUp(self):
        super().setUp()
        if rgw.Gateway.of(os.environ["SNAPSTORE_TEST_S3"]) is None:
            self.skipTest("this server has no such limit")
        # One of its own: others use the shared one at the same time.
        self.gateway, self.server = rgw.Gateway.start_for_test(
            self, os.path.join(self.dir, "server"), BUCKET)
        self.repo = f"s3://{BUCKET}/crowded"

    def environment(self):
        return {**super().environment(), **local_server.aws_of(self.server), "HOME": self.dir}

    def refused(self):
        """How often the gateway said so."""
        with open(self.gateway.path("log", "client.rgw.log"), encoding="utf-8") as log:
            return sum('HTTP/1.1" 503' in line for line in log)

    def test_goes_on_with_fewer_requests_at_once(self):
        self.ok("init")
        self.gateway.slow_down(2)
        self.write("large", self.random.randbytes(150 << 20))
        self.snapshot()
        self.ok("restore", "latest", "--target", self.target())
        compare.assert_same_tree(self, self.src, self.restored(self.src))
        self.assertGreater(self.refused(), 0, "nothing was refused: the test shows nothing")


if __name__ == "__main__":
    harness.main()
