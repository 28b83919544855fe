"""`snapstore doctor`: on this machine, on a directory, and on a bucket of a real S3 server."""

import datetime
import json
import os
import shlex
import uuid

import harness
import s3_case
import s3_request


class DoctorTest(harness.CliTest):

    make_repository = False

    def environment(self):
        env = super().environment()
        del env["SNAPSTORE_REPOSITORY"]
        return env

    def diagnoses(self, *args, code=0, **kwargs):
        """The diagnoses by subject."""
        done = self.expect(code, "--json", *args, "doctor", **kwargs)
        found = {m["subject"]: m for m in done.lines if m["message_type"] == "diagnosis"}
        grades = [m["grade"] for m in found.values()]
        summary = done.message("summary")
        self.assertEqual(summary["failures"], grades.count("fail"))
        self.assertEqual(summary["warnings"], grades.count("warn"))
        return found


class Machine(DoctorTest):

    def test_looks_at_the_machine_without_a_repository(self):
        found = self.diagnoses()
        self.assertEqual(list(found), ["kernel", "memory", "io_uring", "cache", "criu"])
        self.assertEqual(found["kernel"]["facts"]["release"], os.uname().release)
        memory = found["memory"]["facts"]
        parts = memory["index"] + memory["packs"] * memory["pack"] + memory["frame_cache"]
        self.assertLess(parts, memory["limit"])
        self.assertIn(found["io_uring"]["facts"]["backend"], ("uring", "threads"))
        self.assertEqual(found["cache"]["facts"]["path"], os.path.join(self.dir, "cache"))
        self.assertGreater(found["cache"]["facts"]["free"], 0)
        lines = self.ok("doctor").text.splitlines()
        self.assertEqual(len(lines), len(found) + 1)
        self.assertTrue(all(line.split()[0] in ("ok", "warn") for line in lines[:-1]), lines)

    def test_shows_the_split_of_the_memory_asked_for(self):
        memory = self.diagnoses("--memory-limit", "128M")["memory"]["facts"]
        self.assertEqual(memory["requested"], 128 << 20)
        self.assertLessEqual(memory["limit"], 128 << 20)

    def test_tells_which_way_files_are_read(self):
        self.assertEqual(self.diagnoses("--io", "threads")["io_uring"]["facts"]["backend"], "threads")

    def test_fails_where_the_cache_cannot_be_written(self):
        file = self.write("file", b"")
        found = self.diagnoses("--cache-dir", file, code=1)
        self.assertEqual(found["cache"]["grade"], "fail")
        self.assertIn(file, found["cache"]["text"])

    def test_looks_at_a_directory(self):
        missing = self.diagnoses("-r", os.path.join(self.dir, "nowhere"), code=1)
        self.assertEqual(missing["store"]["grade"], "fail")
        os.mkdir(self.repo)
        empty = self.diagnoses("-r", self.repo, code=1)
        self.assertEqual(empty["repository"]["grade"], "fail")
        self.assertIn("snapstore init", empty["repository"]["text"])
        os.rmdir(self.repo)
        self.ok("-r", self.repo, "init")
        found = self.diagnoses("-r", self.repo)
        self.assertIn("mount", found)
        self.assertGreater(found["space"]["facts"]["free"], 0)
        self.assertEqual(found["repository"]["grade"], "ok")
        self.assertFalse(found["repository"]["facts"]["encrypted"])
        self.assertGreater(found["latency"]["facts"]["median_seconds"], 0)

    def test_says_only_what_is_wrong_when_quiet(self):
        done = self.expect(1, "-q", "-r", os.path.join(self.dir, "nowhere"), "doctor")
        self.assertFalse([line for line in done.text.splitlines() if line.startswith("ok")], done.text)
        self.assertIn("fail", done.text)

    def test_refuses_a_wrong_log_level(self):
        env = {**self.environment(), "SNAPSTORE_LOG": "loud"}
        self.one_line_error(2, "doctor", env=env, contains=["SNAPSTORE_LOG", "loud"])


class Bucket(s3_case.S3Case, DoctorTest):

    bucket = "doctor-tests"

    def assert_no_secrets(self, done):
        for secret in (self.server["AWS_SECRET_ACCESS_KEY"], self.server["AWS_ACCESS_KEY_ID"],
                       "Signature=", "the-session-token"):
            self.assertNotIn(secret, done.text + done.error_text)

    def test_looks_at_the_bucket(self):
        found = self.diagnoses("-r", self.repo)
        self.assertEqual(found["credentials"]["facts"]["source"], "environment")
        self.assertEqual(found["bucket"]["facts"]["region"], "us-east-1")
        self.assertLess(abs(found["clock"]["facts"]["ahead_seconds"]), 5)
        self.assertEqual(found["versioning"]["facts"]["status"], "Off")
        self.assertFalse(found["lifecycle"]["facts"]["aborts_uploads"])
        self.assertEqual(found["repository"]["grade"], "ok")
        self.assertNotIn("conditional put", found, "nothing is written without being asked for")

    def test_probes_conditions_and_leaves_nothing_behind(self):
        done = self.ok("--json", "-r", self.repo, "doctor", "--write-probe")
        probe = [m for m in done.lines if m.get("subject") == "conditional put"][0]
        self.assertTrue(probe["facts"]["honoured"])
        self.assertTrue(probe["facts"]["may_delete"])
        status, body = s3_request.request(
            self.server, "GET", f"/{self.bucket}",
            {"list-type": "2", "prefix": self.repo.split("/", 3)[3] + "/doctor/"})
        self.assertEqual((status, body.count(b"<Key>")), (200, 0))

    def test_warns_of_versions_and_of_rules_that_delete(self):
        bucket = f"doctor-{uuid.uuid4()}"
        s3_request.make_bucket(self.server, bucket)
        xml = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        self.assertEqual(s3_request.request(self.server, "PUT", f"/{bucket}", {"versioning": ""},
                                            body=xml)[0], 200)
        rules = (b"<LifecycleConfiguration><Rule><ID>sweep</ID><Status>Enabled</Status>"
                 b"<Filter><Prefix></Prefix></Filter><Expiration><Days>30</Days></Expiration>"
                 b"<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>"
                 b"</AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>")
        self.assertEqual(s3_request.request(self.server, "PUT", f"/{bucket}", {"lifecycle": ""},
                                            body=rules)[0], 200)
        self.ok("-r", f"s3://{bucket}/x", "init")
        found = self.diagnoses("-r", f"s3://{bucket}/x", code=1)
        self.assertEqual(found["versioning"]["grade"], "warn")
        self.assertEqual(found["lifecycle"]["grade"], "fail")
        self.assertIn("'sweep' deletes objects", found["lifecycle"]["text"])
        self.assertTrue(found["lifecycle"]["facts"]["aborts_uploads"])

    def test_shows_which_credentials_won_and_when_they_expire(self):
        env = self.environment()
        expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        answer = self.write("answer", json.dumps({
            "Version": 1, "AccessKeyId": env.pop("AWS_ACCESS_KEY_ID"),
            "SecretAccessKey": env.pop("AWS_SECRET_ACCESS_KEY"),
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}).encode())
        os.mkdir(os.path.join(self.dir, ".aws"))
        self.write("config", f"[profile p]\ncredential_process = cat {shlex.quote(answer)}\n".encode(),
                   root=os.path.join(self.dir, ".aws"))
        env["AWS_PROFILE"] = "p"
        found = self.diagnoses("-r", self.repo, env=env)["credentials"]
        self.assertEqual(found["facts"]["source"], "profile 'p'")
        self.assertEqual(found["facts"]["expires"], expires.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def test_says_what_is_wrong_with_credentials_and_place(self):
        env = self.environment()
        wrong = self.diagnoses("-r", self.repo, code=1, env={**env, "AWS_ACCESS_KEY_ID": "AKWRONG"})
        self.assertEqual(wrong["bucket"]["grade"], "warn")
        self.assertIn("InvalidAccessKeyId", wrong["repository"]["text"])
        del env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
        env["AWS_EC2_METADATA_DISABLED"] = "true"
        none = self.diagnoses("-r", self.repo, code=1, env=env)
        self.assertEqual(none["credentials"]["grade"], "fail")
        self.assertNotIn("bucket", none)
        gone = self.diagnoses("-r", "s3://no-such-bucket-here/x", code=1)
        self.assertIn("no such bucket", gone["bucket"]["text"])

    def test_no_secret_is_in_anything_it_says(self):
        """All that speaks to the server, at the finest log level, with what it must not tell."""
        env = {**self.environment(), "SNAPSTORE_LOG": "debug"}
        self.write("file", self.random.randbytes(100_000))
        runs = [self.ok("-r", self.repo, "-v", *args, env=env) for args in (
            ("doctor", "--write-probe"), ("snapshot", self.src), ("check", "--read-data"),
            ("restore", "latest", "--target", self.target()))]
        self.assertIn("put ", runs[1].error_text, "requests are logged")
        for command in ("doctor", "list"):
            # Whether a token that means nothing is refused depends on the gateway's version.
            runs.append(self.run_cli("-r", self.repo, command, env={
                **env, "AWS_SESSION_TOKEN": "the-session-token-of-nobody"}))
            runs.append(self.expect(1, "-r", self.repo, command, env={
                **env, "AWS_SECRET_ACCESS_KEY": "the-session-token, wrongly"}))
        for done in runs:
            self.assert_no_secrets(done)


if __name__ == "__main__":
    harness.main()
