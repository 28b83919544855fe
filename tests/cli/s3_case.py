"""What tests of a repository in a bucket have in common: the server that SNAPSTORE_TEST_S3 describes."""

import os
import uuid

import harness
import local_server
import s3_request


class S3Case(harness.CliTest):
    """A repository of its own for each test in `bucket`, which is made at need."""

    bucket = "cli-tests"
    make_repository = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = local_server.variables_of(os.environ["SNAPSTORE_TEST_S3"])
        s3_request.make_bucket(cls.server, cls.bucket)

    def setUp(self):
        super().setUp()
        self.repo = f"s3://{self.bucket}/{uuid.uuid4()}"
        self.ok("-r", self.repo, "init")

    def environment(self):
        return {**super().environment(), **local_server.aws_of(self.server), "HOME": self.dir}
