"""Hosted zones: the AWS CLI's `route53`. One cloud for all tests of the class."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import cloud as lab  # noqa: E402  (the folder is known only now)


class RecordSetTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cloud = lab.Cloud()
        cls.addClassCleanup(cls.cloud.close)

    def route53(self, *arguments):
        return self.cloud.aws("route53", *arguments)

    def refused(self, code, words, *arguments):
        with self.assertRaises(lab.Refused) as caught:
            self.route53(*arguments)
        self.assertEqual(caught.exception.code, code, str(caught.exception))
        self.assertIn(words, str(caught.exception))

    def zone(self, name):
        made = self.route53("create-hosted-zone", "--name", name, "--caller-reference", name)
        return made["HostedZone"]["Id"]

    @staticmethod
    def change(zone, *changes):
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": {
            "Name": name, "Type": kind, "TTL": ttl,
            "ResourceRecords": [{"Value": value} for value in values]}}
            for action, name, kind, ttl, values in changes]}
        return ("change-resource-record-sets", "--hosted-zone-id", zone, "--change-batch",
                json.dumps(batch))

    def names(self, zone, *arguments):
        found = self.route53("list-resource-record-sets", "--hosted-zone-id", zone, *arguments)
        return [(one["Name"], one["Type"]) for one in found["ResourceRecordSets"]]

    def test_a_zone_lives(self):
        zone = self.zone("Life.example.com")
        self.assertTrue(zone.startswith("/hostedzone/Z"))
        self.refused("HostedZoneAlreadyExists", "caller reference", "create-hosted-zone", "--name",
                     "other.com", "--caller-reference", "Life.example.com")
        self.assertEqual(self.names(zone), [("life.example.com.", "NS"), ("life.example.com.", "SOA")])
        self.route53(*self.change(zone, ("CREATE", "a.life.example.com", "A", 60, ["10.0.0.1"])))
        self.cloud.kill()
        self.cloud.start()
        listed, = [one for one in self.route53("list-hosted-zones")["HostedZones"]
                   if one["Id"] == zone]
        self.assertEqual((listed["Name"], listed["ResourceRecordSetCount"]),
                         ("life.example.com.", 3))
        self.refused("HostedZoneNotEmpty", "non-required", "delete-hosted-zone", "--id", zone)
        self.route53(*self.change(zone, ("DELETE", "a.life.example.com", "A", 60, ["10.0.0.1"])))
        self.assertEqual(self.route53("delete-hosted-zone", "--id", zone)["ChangeInfo"]["Status"],
                         "INSYNC")
        self.refused("NoSuchHostedZone", zone.rsplit("/", 1)[1], "delete-hosted-zone", "--id", zone)

    def test_changes_and_their_order(self):
        zone = self.zone("order.com")
        self.route53(*self.change(
            zone, ("CREATE", "b.order.com", "A", 60, ["10.0.0.1", "10.0.0.2"]),
            ("UPSERT", "*.order.com", "A", 60, ["10.0.0.3"]),
            ("UPSERT", "x.a.order.com", "CNAME", 60, ["b.order.com"]),
            ("CREATE", "b.order.com", "TXT", 60, ['"v=1"'])))
        self.assertEqual(self.names(zone)[2:], [
            ("\\052.order.com.", "A"), ("x.a.order.com.", "CNAME"), ("b.order.com.", "A"),
            ("b.order.com.", "TXT")])
        self.assertEqual(self.names(zone, "--page-size", "2"), self.names(zone))
        self.assertEqual(self.names(zone, "--start-record-name", "b.order.com",
                                    "--start-record-type", "TXT"), [("b.order.com.", "TXT")])
        self.route53(*self.change(zone, ("UPSERT", "b.order.com", "A", 5, ["10.0.0.9"])))
        found = self.route53("list-resource-record-sets", "--hosted-zone-id", zone,
                             "--start-record-name", "b.order.com", "--max-items", "1")
        self.assertEqual(found["ResourceRecordSets"], [
            {"Name": "b.order.com.", "Type": "A", "TTL": 5,
             "ResourceRecords": [{"Value": "10.0.0.9"}]}])

    def test_all_of_a_batch_or_none(self):
        zone = self.zone("batch.com")
        good = ("CREATE", "a.batch.com", "A", 60, ["10.0.0.1"])
        for words, change in (
                ("but it was not found", ("DELETE", "b.batch.com", "A", 60, ["10.0.0.1"])),
                ("do not match the current values", ("DELETE", "a.batch.com", "A", 5, ["10.0.0.1"])),
                ("but it already exists", good),
                ("is not permitted in zone batch.com.", ("UPSERT", "a.com", "A", 1, ["10.0.0.1"])),
                ("at apex", ("UPSERT", "batch.com", "CNAME", 1, ["a.com"])),
                ("conflicts with other records", ("UPSERT", "a.batch.com", "CNAME", 1, ["a.com"])),
                ("ARRDATAIllegalIPv4Address", ("UPSERT", "c.batch.com", "A", 1, ["10.0.0"])),
                ("exactly one SOA", ("DELETE", "batch.com", "SOA", 900, [
                    "ns-1.localcloud. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"]))):
            self.refused("InvalidChangeBatch", words, *self.change(zone, good, change))
            self.assertEqual(len(self.names(zone)), 2, words)
        self.refused("InvalidInput", "TTL", *self.change(zone, ("UPSERT", "a.batch.com", "A", 2**31,
                                                                ["10.0.0.1"])))
        self.cloud.admin("fail", "api", "--action", "ChangeResourceRecordSets", "--code",
                         "PriorRequestNotComplete", "--http", "400")
        self.refused("PriorRequestNotComplete", "administrator", *self.change(zone, good))
        self.cloud.admin("fail", "api", "--action", "ChangeResourceRecordSets", "--lost")
        with self.assertRaises(lab.Refused):
            self.route53(*self.change(zone, good))
        self.assertIn(("a.batch.com.", "A"), self.names(zone))


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root: skipped")
        sys.exit(0)
    unittest.main()
