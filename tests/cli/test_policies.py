"""The policies of docs/policies/ on a server that enforces them: Ceph's gateway, which takes them as a
user's own policy just as AWS takes them as a role's."""

import json
import os
import re
import time
import urllib.parse
import uuid

import agent_run
import compare
import harness
import local_server
import rgw
import s3_request

BUCKET = "policies"
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "policies")
ROLES = ("writer", "reader", "janitor")
# Where a snapshot adds objects.
AREAS = ("data", "meta", "index", "snapshots")
SUPERSEDED = 14  # exit code of an agent whose application runs elsewhere since
# What the node role of a stateful node may do in S3.
NODE_ROLE = {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"}
REQUEST = re.compile(r'beast: \S+ \S+ - (\S+) \[[^]]*\] "(\S+) (\S+) HTTP/1\.1" (\d+)')


def action_of(method, target):
    """The IAM action that a request needs."""
    path, _, query = target.partition("?")
    words = urllib.parse.parse_qs(query, keep_blank_values=True)
    if path.strip("/").count("/") == 0:
        if "delete" in words:
            return "s3:DeleteObject"
        return "s3:ListBucketMultipartUploads" if "uploads" in words else "s3:ListBucket"
    if method == "DELETE":
        return "s3:AbortMultipartUpload" if "uploadId" in words else "s3:DeleteObject"
    return {"GET": "s3:GetObject", "HEAD": "s3:GetObject"}.get(method, "s3:PutObject")


class Policies(harness.CliTest):

    make_repository = False

    @classmethod
    def setUpClass(cls):
        file = os.environ["SNAPSTORE_TEST_S3"]
        cls.server = local_server.variables_of(file)
        cls.gateway = rgw.Gateway.of(file)
        s3_request.make_bucket(cls.server, BUCKET)
        cls.gateway.admin("caps", "add", "--uid=test", "--caps=user-policy=*")
        cls.users = {}
        for role in ROLES:
            name = f"{role}-{uuid.uuid4().hex[:8]}"
            cls.users[role] = (name, cls.gateway.add_user(name))

    def setUp(self):
        super().setUp()
        self.prefix = f"repositories/{uuid.uuid4()}"
        self.repo = f"s3://{BUCKET}/{self.prefix}"
        for role in ROLES:
            self.give(role, self.policy(role))
        self.write("file", b"content")
        self.write("large", self.random.randbytes(300_000))

    def policy(self, role):
        with open(os.path.join(FOLDER, f"{role}.json"), encoding="utf-8") as file:
            text = file.read()
        return json.loads(text.replace("BUCKET", BUCKET).replace("PREFIX", self.prefix))

    def give(self, role, policy):
        """`policy` is from now on all that the role may do."""
        body = urllib.parse.urlencode({
            "Action": "PutUserPolicy", "Version": "2010-05-08", "UserName": self.users[role][0],
            "PolicyName": "only", "PolicyDocument": json.dumps(policy)}).encode()
        status, answer = s3_request.request(
            self.server, "POST", "/", body=body,
            headers={"content-type": "application/x-www-form-urlencoded"})
        self.assertEqual(status, 200, answer)

    def environment(self, role="owner"):
        user = self.users[role][1] if role in self.users else {}
        return {**super().environment(), **local_server.aws_of({**self.server, **user}), "HOME": self.dir,
                "SNAPSTORE_CACHE_DIR": os.path.join(self.dir, f"cache-{role}")}

    def may(self, role, *args):
        return self.ok(*args, env=self.environment(role))

    def may_not(self, role, *args):
        """Refused with one line that says which request, and that it was refused."""
        done = self.one_line_error(1, *args, env=self.environment(role), contains=["AccessDenied"])
        self.assertRegex(done.error_text, r"\b(get|put|list|delete) ")

    def requests_of(self, role):
        """The actions of all requests for this repository that the role made, from the gateway's log."""
        name = self.users[role][0]
        made = set()
        with open(self.gateway.path("log", "client.rgw.log"), encoding="utf-8") as log:
            for line in log:
                found = REQUEST.search(line)
                # This test's own requests are of no interest.
                target = urllib.parse.unquote(found[3]) if found else ""
                if self.prefix not in target or found[1] != name or "Python" in line:
                    continue
                # Every writer tries to end its lease; one that is refused lets it expire.
                if found[2] == "DELETE" and f"{self.prefix}/leases/writer-" in target:
                    continue
                made.add(action_of(found[2], found[3]))
        return made

    def make(self):
        self.may("janitor", "init")
        self.may("writer", "snapshot", self.src)

    def test_a_writer_adds_and_reads_and_takes_nothing_away(self):
        self.make()
        self.write("more", self.random.randbytes(100_000))
        self.may("writer", "snapshot", self.src)
        self.assertEqual(len(self.may("writer", "list", "--quiet").text.splitlines()), 2)
        self.may("writer", "restore", "latest", "--target", self.target())
        compare.assert_same_tree(self, self.src, self.restored(self.src))
        self.may("writer", "check", "--read-data")
        # Nor can it with other tools.
        writer = {**self.server, **self.users["writer"][1]}
        for key in s3_request.list_keys(self.server, BUCKET, self.prefix + "/"):
            status, _ = s3_request.request(writer, "DELETE", f"/{BUCKET}/{key}")
            self.assertEqual(status, 403, key)
        for key in ("config", "keys/mine", "leases/prune-mark", "other"):
            status, _ = s3_request.request(writer, "PUT", f"/{BUCKET}/{self.prefix}/{key}", body=b"x")
            self.assertEqual(status, 403, key)
        self.may("reader", "check", "--read-data")

    def test_a_reader_reads_and_changes_nothing(self):
        self.make()
        self.may("reader", "list")
        self.may("reader", "restore", "latest", "--target", self.target())
        compare.assert_same_tree(self, self.src, self.restored(self.src))
        self.may("reader", "check", "--read-data")
        self.may_not("reader", "snapshot", self.src)
        self.may("reader", "check", "--read-data")

    def keys_below(self, area):
        return sorted(s3_request.list_keys(self.server, BUCKET, f"{self.prefix}/{area}/"))

    def end_leases(self):
        """As if the half hour were over in which a writer that may not delete seems to be at work."""
        for key in self.keys_below("leases"):
            if "/leases/writer-" in key:
                s3_request.request(self.server, "DELETE", f"/{BUCKET}/{key}")

    def test_only_the_janitor_takes_snapshots_and_their_space_away(self):
        self.make()
        first = self.may("writer", "list", "--quiet").text.split()[0]
        self.write("large", self.random.randbytes(300_000))
        self.may("writer", "snapshot", self.src)
        before = self.keys_below("snapshots")
        for role in ("writer", "reader"):
            self.may_not(role, "forget", first)
            self.may_not(role, "forget", "--keep-last", "1")
            self.may_not(role, "forget", "--keep-last", "1", "--prune")
            self.assertEqual(self.keys_below("snapshots"), before, role)
        self.may("janitor", "forget", first)
        packs = self.keys_below("data")
        # Else a prune of anybody's finds nothing to do.
        self.end_leases()
        # What is hardly older than a writer's lease is left alone by a prune that meets the lease.
        time.sleep(6)
        for role in ("writer", "reader"):
            self.may_not(role, "prune", "--max-unused", "0")
            self.assertLessEqual(set(packs), set(self.keys_below("data")), role)
            self.may("reader", "check", "--read-data")
        # The leases that the writer cannot delete hold a prune up, which says so and comes back.
        told = self.may("janitor", "prune", "--max-unused", "0", "--max-seconds", "1").text
        self.assertRegex(told, r"the next prune goes on: .* writer")
        self.assertLessEqual(set(packs), set(self.keys_below("data")))
        self.end_leases()
        self.may("janitor", "prune", "--max-unused", "0")
        self.assertTrue(set(packs) - set(self.keys_below("data")))
        self.assertEqual(self.keys_below("leases"), [])
        self.may("reader", "check", "--read-data")
        self.may("reader", "restore", "latest", "--target", self.target())
        compare.assert_same_tree(self, self.src, self.restored(self.src))

    def test_a_writer_puts_leases_that_only_others_can_take_away(self):
        self.make()
        leases = self.keys_below("leases")
        self.assertEqual(len(leases), 1, leases)
        self.assertRegex(leases[0], r"/leases/writer-[0-9a-f]{32}-")
        self.may("writer", "snapshot", self.src)
        self.assertEqual(len(self.keys_below("leases")), 2)
        # Who may delete leaves none behind.
        self.may("janitor", "snapshot", self.src)
        self.assertEqual(len(self.keys_below("leases")), 2)

    def test_every_role_opens_an_encrypted_repository_and_the_janitor_keeps_its_keys(self):
        key, second, third = (os.path.join(self.dir, name) for name in ("key", "second", "third"))
        with_key = ("--key-file", key)
        self.may("janitor", "init", "--encrypt", "--new-key-file", key)
        self.may("writer", "snapshot", self.src, *with_key)
        slots = self.keys_below("keys")
        self.assertEqual(len(slots), 1)
        for role in ROLES:
            self.may(role, "list", *with_key)
            self.may(role, "key", "list", *with_key)
            self.may(role, "check", "--read-data", *with_key)
        added = json.loads(self.may("janitor", "--json", "key", "add", "--new-key-file", second,
                                    *with_key).text)["id"]
        slots = self.keys_below("keys")
        for role in ("writer", "reader"):
            new = os.path.join(self.dir, f"new-{role}")
            self.may_not(role, "key", "add", "--new-key-file", new, *with_key)
            self.may_not(role, "key", "rotate", "--new-key-file", new, *with_key)
            self.may_not(role, "key", "remove", added, *with_key)
            self.assertEqual(self.keys_below("keys"), slots, role)
            self.may(role, "list", "--key-file", second)
        self.may("janitor", "key", "rotate", "--new-key-file", third, *with_key)
        self.may("janitor", "key", "remove", added, "--key-file", third)
        self.assertEqual(len(self.keys_below("keys")), 1)
        for lost in (key, second):
            self.expect(12, "list", "--key-file", lost, env=self.environment("writer"))
        self.may("writer", "snapshot", self.src, "--key-file", third)
        self.may("reader", "restore", "latest", "--target", self.target(), "--key-file", third)
        compare.assert_same_tree(self, self.src, self.restored(self.src))

    def test_nobody_gets_out_of_the_prefix(self):
        self.make()
        self.repo = f"s3://{BUCKET}/repositories/{uuid.uuid4()}"
        self.ok("init", env=self.environment())
        for role in ROLES:
            self.may_not(role, "list")
            self.may_not(role, "snapshot", self.src)

    def test_a_missing_repository_is_told_from_a_forbidden_one(self):
        """Which takes a right to list that holds for requests without a prefix: see the page."""
        self.expect(10, "list", env=self.environment("reader"))
        self.ok("init", env=self.environment())
        policy = self.policy("reader")
        policy["Statement"][0]["Condition"] = {"StringLike": {"s3:prefix": [self.prefix + "/*"]}}
        self.give("reader", policy)
        self.may("reader", "list")
        self.repo += "/none"
        self.may_not("reader", "list")

    def without(self, role, action, resource=None):
        """The role's policy less one action, or less one of its resources."""
        policy = self.policy(role)
        for statement in policy["Statement"]:
            if action in statement["Action"]:
                if resource is None:
                    statement["Action"].remove(action)
                else:
                    kept = [r for r in statement["Resource"] if not r.endswith("/" + resource)]
                    self.assertEqual(len(kept), len(statement["Resource"]) - 1)
                    statement["Resource"] = kept
        policy["Statement"] = [s for s in policy["Statement"] if s["Action"] and s["Resource"]]
        return policy

    def test_a_writer_needs_all_that_it_is_given(self):
        self.make()
        needed = [("s3:ListBucket", None, ("list",)), ("s3:GetObject", None, ("list",)),
                  ("s3:PutObject", None, ("snapshot", self.src))]
        needed += [("s3:PutObject", f"{area}/*", ("snapshot", self.src)) for area in AREAS]
        actions = {a for s in self.policy("writer")["Statement"] for a in s["Action"]}
        self.assertEqual({action for action, _, _ in needed}, actions)
        # Lists of some length are stored as metadata, short ones in the manifest.
        for number in range(2000):
            self.write(f"many/{number}-{self.random.randrange(1 << 32)}", b"")
        for number, (action, resource, command) in enumerate(needed):
            self.write(f"many/{number}", self.random.randbytes(50_000))
            with self.subTest(action=action, resource=resource):
                self.give("writer", self.without("writer", action, resource))
                self.may_not("writer", *command)
        self.give("writer", self.policy("writer"))
        self.may("writer", "snapshot", self.src)

    def run_agent(self, role, name):
        """`snapstore-agent run` of an application, with the role's rights; a node of its own."""
        variables = {"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
                     **self.environment(role)}
        instance = agent_run.Instance(os.path.join(self.dir, name), "sleeper", "sleep 1000", self.repo,
                                      variables=variables)
        self.addCleanup(instance.lose)
        return instance

    def test_a_writer_claims_applications_and_others_do_not(self):
        self.ok("init", env=self.environment())
        first = self.run_agent("writer", "first")
        self.assertEqual(first.status()["epoch"], 1)
        checkpoint = first.checkpoint()["id"]
        # It may not forget, which keeps nothing else from going on.
        second = self.run_agent("writer", "second")
        self.assertEqual(second.status()["epoch"], 2)
        self.assertEqual(second.status()["restored_from"], checkpoint)
        with self.assertRaises(AssertionError):
            first.checkpoint()
        self.assertEqual(first.process.wait(60), SUPERSEDED, first.log())
        claims = self.keys_below("claims")
        self.assertGreaterEqual(len(claims), 2, claims)
        # A claim cannot be taken away.
        for key in claims:
            status, _ = s3_request.request({**self.server, **self.users["writer"][1]}, "DELETE",
                                           f"/{BUCKET}/{key}")
            self.assertEqual(status, 403, key)
        second.stop()
        for role, policy in (("reader", self.policy("reader")),
                             ("writer", self.without("writer", "s3:PutObject", "claims/*"))):
            self.give(role, policy)
            with self.subTest(role=role), self.assertRaisesRegex(
                    AssertionError, r"put \S*claims/\S*.*AccessDenied"):
                self.run_agent(role, f"refused-{role}")
        self.assertEqual(self.keys_below("claims"), claims)

    def test_a_writer_stays_within_the_node_role(self):
        allowed = {a for s in self.policy("writer")["Statement"] for a in s["Action"]}
        self.assertLessEqual(allowed, NODE_ROLE)
        self.assertNotIn("s3:DeleteObject", allowed)

    def test_no_role_asks_for_more_than_it_is_given(self):
        self.make()
        for role in ROLES:
            self.may(role, "check")
        for role in ROLES:
            allowed = {a for s in self.policy(role)["Statement"] for a in s["Action"]}
            used = self.requests_of(role)
            self.assertLessEqual(used, allowed, role)
            self.assertTrue(used, role)


if __name__ == "__main__":
    harness.main()
