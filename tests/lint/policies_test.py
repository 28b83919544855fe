#!/usr/bin/env python3
"""docs/policies/controller.json allows every action that the life-cycle calls and nothing else but what
is named here; node.json allows one bucket."""

import glob
import json
import os
import re
import unittest

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVICES = {"ec2_api.h": "ec2", "elb_api.h": "elasticloadbalancing", "route53_api.h": "route53"}
# Methods that are not called as their actions are.
NAMES = {
    "ModifyDeleteOnTermination": "ModifyInstanceAttribute",
    "ModifyInterfaceGroups": "ModifyNetworkInterfaceAttribute",
    "ModifyInterfaceDeleteOnTermination": "ModifyNetworkInterfaceAttribute",
    "RegisterTarget": "RegisterTargets",
    "DeregisterTarget": "DeregisterTargets",
    "RegisterInstance": "RegisterInstancesWithLoadBalancer",
    "DeregisterInstance": "DeregisterInstancesFromLoadBalancer",
    "ChangeRecord": "ChangeResourceRecordSets",
    "ListRecords": "ListResourceRecordSets",
}
# No method: what EC2 does with them on the controller's behalf.
BESIDES = {"iam:PassRole", "iam:CreateServiceLinkedRole"}
MANAGED_POLICY_MAX = 6144  # characters without white space, "IAM and AWS STS quotas"


def read(*path):
    with open(os.path.join(PROJECT, *path), encoding="utf-8") as file:
        return file.read()


def calls():
    """Names of methods that the controller's code calls on something it points to."""
    called = set()
    for folder in (("orchestrator", "lifecycle"), ("tools", "snapstore_controller")):
        sources = glob.glob(os.path.join(PROJECT, *folder, "*.cc"))
        assert sources, folder
        for source in sources:
            called |= set(re.findall(r"->\s*([A-Z]\w+)\(", read(source)))
    return called


def statements(name):
    return json.loads(read("docs", "policies", name))["Statement"]


def actions(policy):
    return {action for statement in policy for action in statement["Action"]}


class Policies(unittest.TestCase):
    def test_the_controller_may_what_it_does(self):
        wanted = set(BESIDES)
        called = calls()
        for header, service in SERVICES.items():
            methods = re.findall(r"virtual Ec2Result<[^;]*?> (\w+)\(",
                                 read("orchestrator", "ec2", header))
            self.assertTrue(called.intersection(methods), header)
            wanted |= {f"{service}:{NAMES.get(method, method)}" for method in methods
                       if method in called}
        allowed = actions(statements("controller.json"))
        self.assertEqual(sorted(wanted - allowed), [], "missing in controller.json")
        self.assertEqual(sorted(allowed - wanted), [], "in controller.json, but nobody calls them")

    def test_each_statement_is_about_what_is_called(self):
        allowed = actions(statements("controller.json"))
        for statement in statements("controller.json"):
            for action in statement.get("Condition", {}).get("StringEquals", {}).get(
                    "ec2:CreateAction", []):
                self.assertIn(f"ec2:{action}", allowed)
            addresses = [one for one in statement["Resource"] if "elastic-ip" in one]
            self.assertTrue(not addresses or statement["Sid"] == "Addresses", statement["Sid"])

    def test_what_is_given_away_is_limited(self):
        for statement in statements("controller.json"):
            only_looks = all(":Describe" in action for action in statement["Action"])
            self.assertEqual(statement["Resource"] == ["*"], only_looks, statement["Sid"])
            if any(action.startswith("iam:") for action in statement["Action"]):
                self.assertEqual((len(statement["Action"]), len(statement["Condition"])), (1, 1))
        # What is destroyed has the tag.
        for action in ("TerminateInstances", "DeleteVolume", "DeleteSnapshot", "DeregisterImage",
                       "DeleteNetworkInterface"):
            found = [one for one in statements("controller.json") if f"ec2:{action}" in one["Action"]]
            self.assertEqual([one["Condition"] for one in found],
                             [{"Null": {"aws:ResourceTag/snapstore:node": "false"}}], action)
        # What is taken over gets the node's tags, if it has none yet, and no others.
        taken = next(one for one in statements("controller.json") if one["Sid"] == "TakeOver")
        self.assertEqual(taken["Action"], ["ec2:CreateTags"])
        self.assertEqual(taken["Condition"]["Null"], {"aws:ResourceTag/snapstore:node": "true",
                                                      "aws:RequestTag/snapstore:node": "false"})
        self.assertEqual(sorted(taken["Condition"]["ForAllValues:StringEquals"]["aws:TagKeys"]),
                         ["snapstore:account", "snapstore:node"])
        text = json.dumps(statements("controller.json"), separators=(",", ":"))
        self.assertLess(len(text), MANAGED_POLICY_MAX)
        header = read("orchestrator", "lifecycle", "services.h")
        self.assertIn('kNode = "snapstore:node"', header)

    def test_a_node_may_use_one_bucket(self):
        found = {action: one["Resource"] for one in statements("node.json")
                 for action in one["Action"]}
        objects = ["arn:aws:s3:::BUCKET/*"]
        self.assertEqual(found, {"s3:ListBucket": ["arn:aws:s3:::BUCKET"], "s3:GetObject": objects,
                                 "s3:PutObject": objects, "s3:DeleteObject": objects})

    def test_statements_have_names_of_their_own(self):
        for name in ("controller.json", "node.json"):
            names = [one["Sid"] for one in statements(name)]
            self.assertEqual(len(names), len(set(names)))
            self.assertTrue(all(one["Effect"] == "Allow" for one in statements(name)))


if __name__ == "__main__":
    unittest.main()
