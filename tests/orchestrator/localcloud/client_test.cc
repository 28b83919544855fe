// The EC2 client drives the embedded cloud: what a stateful node's life consists of.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <thread>

#include "base/base64.h"
#include "base/file.h"
#include "orchestrator/ec2/ebs_direct.h"
#include "orchestrator/ec2/ec2_client.h"
#include "orchestrator/ec2/elb_client.h"
#include "orchestrator/ec2/route53_client.h"
#include "orchestrator/ec2/sts_identity.h"
#include "tests/base/temp_folder.h"

namespace snapstore {
namespace {

int RunCloud(const std::vector<std::string>& words, pid_t* pid) {
  std::vector<std::string> owned = words;
  owned.insert(owned.begin(), SNAPSTORE_LOCALCLOUD);
  std::vector<char*> argv;
  argv.reserve(owned.size() + 1);
  for (std::string& word : owned) argv.push_back(word.data());
  argv.push_back(nullptr);
  return posix_spawn(pid, argv[0], nullptr, nullptr, argv.data(), environ);
}

class LocalCloudClientTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_EQ(
        RunCloud({"serve", "--quiet", "--listen", "127.0.0.1:0", "--state-dir", State()}, &server_),
        0);
    nlohmann::json cloud;
    ASSERT_TRUE(Eventually([&] {
      const Result<Bytes> text = ReadWholeFile(State() + "/cloud.json", 1 << 16);
      if (text.ok()) cloud = nlohmann::json::parse(*text, nullptr, false);
      return text.ok();
    })) << "the cloud does not serve";
    image_ = cloud.at("image_id");
    const std::map<std::string, std::string> variables = {
        {"AWS_ENDPOINT_URL", cloud.at("endpoint")},
        {"AWS_REGION", cloud.at("region")},
        {"AWS_ACCESS_KEY_ID", cloud.at("access_key_id")},
        {"AWS_SECRET_ACCESS_KEY", cloud.at("secret_access_key")},
        {"AWS_CONFIG_FILE", "/nowhere"},
        {"AWS_SHARED_CREDENTIALS_FILE", "/nowhere"}};
    auto environment = AwsEnvironment::Load([variables](const std::string& name) {
      const auto found = variables.find(name);
      return found == variables.end() ? std::string() : found->second;
    });
    ASSERT_TRUE(environment.ok());
    environment_ = std::make_shared<const AwsEnvironment>(*std::move(environment));
    chain_ = DefaultCredentialChain(environment_);
    ec2_ = *Ec2Client::FromEnvironment(*environment_, chain_);
  }

  void TearDown() override {
    if (server_ < 0) return;
    pid_t destroy = -1;
    int status = -1;
    if (RunCloud({"destroy", "--state-dir", State()}, &destroy) == 0) waitpid(destroy, &status, 0);
    EXPECT_EQ(status, 0) << "destroy";
    kill(server_, SIGKILL);
    waitpid(server_, nullptr, 0);
  }

  std::string State() const { return folder_.File("cloud"); }

  static bool Eventually(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
  }

  static Ec2Query Ids(const std::string& id) {
    Ec2Query query;
    query.ids = {id};
    return query;
  }

  Ec2Instance WaitFor(const std::string& id, const std::string& state) {
    Ec2Instance instance;
    EXPECT_TRUE(Eventually([&] {
      const auto got = ec2_->DescribeInstances(Ids(id));
      if (got.ok()) instance = got->at(0);
      return got.ok() && instance.state == state;
    })) << id
        << " is " << instance.state << ": " << instance.state_reason_message;
    return instance;
  }

  // Through EBS direct: what changed between two snapshots, and a block of the second.
  void ReadBlocks(const std::string& earlier, const std::string& snapshot) {
    auto direct = EbsDirect::FromEnvironment(*environment_, chain_);
    ASSERT_TRUE(direct.ok());
    const auto changed = (*direct)->ListChangedBlocks(earlier, snapshot, 100);
    ASSERT_TRUE(changed.ok()) << changed.status().ToString();
    const auto all = (*direct)->ListSnapshotBlocks(snapshot, 100);
    ASSERT_TRUE(all.ok()) << all.status().ToString();
    EXPECT_GT(all->blocks.size(), 0u);
    const EbsBlock& block = all->blocks.front();
    const auto bytes = (*direct)->GetSnapshotBlock(snapshot, block.index, block.token);
    ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
    EXPECT_EQ(bytes->size(), all->block_bytes);
  }

  std::string Snapshot(const std::string& volume) {
    const auto made = ec2_->CreateSnapshot(volume, "test", {{"node", "smi-1"}});
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    EXPECT_TRUE(Eventually([&] {
      const auto got = ec2_->DescribeSnapshots(Ids(made->id));
      return got.ok() && got->at(0).state == "completed";
    }));
    return made->id;
  }

  TempFolder folder_;
  pid_t server_ = -1;
  std::string image_;
  std::shared_ptr<const AwsEnvironment> environment_;
  std::shared_ptr<AwsCredentialChain> chain_;
  std::unique_ptr<Ec2Client> ec2_;
};

TEST_F(LocalCloudClientTest, ANodeIsReplaced) {
  const auto subnets = ec2_->DescribeSubnets({});
  ASSERT_TRUE(subnets.ok()) << subnets.status().ToString();
  RunInstancesRequest launch;
  launch.image_id = image_;
  launch.instance_type = "m5.large";
  launch.client_token = "launch-1";
  launch.spot = true;
  launch.metadata.http_tokens = "required";
  Ec2BlockDevice root;
  root.device_name = "/dev/xvda";
  root.delete_on_termination = false;
  launch.devices = {root};
  RunInterface interface;
  interface.subnet_id = subnets->at(0).id;
  interface.delete_on_termination = false;
  launch.interfaces = {interface};
  launch.tags = {{"instance", {{"node", "smi-1"}}}};
  const auto first = ec2_->RunInstances(launch);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  const auto again = ec2_->RunInstances(launch);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->at(0).id, first->at(0).id) << "one token, one instance";
  const Ec2Instance before = WaitFor(first->at(0).id, "running");
  EXPECT_EQ(before.lifecycle, "spot");
  ASSERT_EQ(before.devices.size(), 1u);
  const std::string volume = before.devices[0].volume_id;
  const auto requests = ec2_->DescribeSpotInstanceRequests(Ids(before.spot_request_id));
  ASSERT_TRUE(requests.ok());
  EXPECT_EQ(requests->at(0).instance_id, before.id);
  const std::string earlier = Snapshot(volume);

  ASSERT_TRUE(ec2_->TerminateInstances({before.id}).ok());
  WaitFor(before.id, "terminated");
  ASSERT_TRUE(Eventually([&] {
    const auto got = ec2_->DescribeVolumes(Ids(volume));
    return got.ok() && got->at(0).state == "available";
  }));
  const std::string snapshot = Snapshot(volume);
  RegisterImageRequest image;
  image.name = "kept root";
  image.architecture = "x86_64";
  image.root_device_name = "/dev/xvda";
  Ec2BlockDevice device;
  device.device_name = "/dev/xvda";
  device.snapshot_id = snapshot;
  image.devices = {device};
  const auto registered = ec2_->RegisterImage(image);
  ASSERT_TRUE(registered.ok()) << registered.status().ToString();

  launch.image_id = *registered;
  launch.client_token = "launch-2";
  launch.spot = false;
  launch.devices = {};
  RunInterface kept;
  kept.network_interface_id = before.interfaces.at(0).id;
  launch.interfaces = {kept};
  const auto second = ec2_->RunInstances(launch);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  const Ec2Instance after = WaitFor(second->at(0).id, "running");
  EXPECT_EQ(after.private_ip, before.private_ip);
  EXPECT_EQ(ec2_->RunInstances(launch)->at(0).id, after.id);
  launch.client_token = "launch-3";
  EXPECT_EQ(ec2_->RunInstances(launch).code(), "InvalidNetworkInterface.InUse");

  ReadBlocks(earlier, snapshot);
}

TEST_F(LocalCloudClientTest, AddressesTagsAndErrors) {
  EXPECT_EQ(GetCallerIdentity(*environment_, chain_)->account, "000000000000");
  EXPECT_EQ(ec2_->DescribeVolumes(Ids("vol-00000000")).code(), "InvalidVolume.NotFound");
  const auto zones = ec2_->DescribeAvailabilityZones({});
  ASSERT_TRUE(zones.ok()) << zones.status().ToString();
  EXPECT_EQ(zones->size(), 3u);
  const auto types = ec2_->DescribeInstanceTypes(Ids("m5.large"));
  ASSERT_TRUE(types.ok());
  EXPECT_EQ(types->at(0).memory_mib, 8192u);
  const auto offerings = ec2_->DescribeInstanceTypeOfferings(Ids("m5.large"));
  ASSERT_TRUE(offerings.ok());
  EXPECT_EQ(offerings->size(), 3u);
  const auto address = ec2_->AllocateAddress({{"node", "smi-1"}});
  ASSERT_TRUE(address.ok()) << address.status().ToString();
  const auto subnets = ec2_->DescribeSubnets({});
  CreateInterfaceRequest wanted;
  wanted.subnet_id = subnets->at(0).id;
  const auto interface = ec2_->CreateNetworkInterface(wanted);
  ASSERT_TRUE(interface.ok()) << interface.status().ToString();
  AssociateAddressRequest associate;
  associate.allocation_id = address->allocation_id;
  associate.network_interface_id = interface->id;
  const auto association = ec2_->AssociateAddress(associate);
  ASSERT_TRUE(association.ok()) << association.status().ToString();
  EXPECT_EQ(ec2_->DescribeNetworkInterfaces(Ids(interface->id))->at(0).public_ip,
            address->public_ip);
  EXPECT_EQ(ec2_->ReleaseAddress(address->allocation_id).code(), "InvalidIPAddress.InUse");
  EXPECT_TRUE(ec2_->DisassociateAddress(*association).ok());
  EXPECT_TRUE(ec2_->ReleaseAddress(address->allocation_id).ok());
  EXPECT_TRUE(ec2_->CreateTags({interface->id}, {{"a", "b"}}).ok());
  EXPECT_EQ(ec2_->DescribeTags(Ids(interface->id))->at(0).value, "b");
  EXPECT_TRUE(ec2_->DeleteTags({interface->id}, {{"a", ""}}).ok());
  EXPECT_TRUE(ec2_->DescribeTags(Ids(interface->id))->empty());
  EXPECT_TRUE(ec2_->DeleteNetworkInterface(interface->id).ok());
}

class LoadBalancerTest : public LocalCloudClientTest {
 protected:
  // A call that the client has not; the answer's first element of this name.
  std::string Made(const char* version, const std::string& action, QueryParameters parameters,
                   const std::string& element) {
    AwsServiceOptions options = *MakeAwsServiceOptions("elasticloadbalancing", *environment_);
    options.version = version;
    AwsCaller caller(options, chain_);
    const auto answer = caller.Query(action, std::move(parameters), AwsCaller::Repeat::kUnsafe);
    EXPECT_TRUE(answer.ok()) << answer.status().ToString();
    if (!answer.ok()) return "";
    return (*answer)->select_node(("//" + element).c_str()).node().child_value();
  }

  std::string MakeGroup(const std::string& name, const std::string& port) {
    return Made("2015-12-01", "CreateTargetGroup",
                {{"Name", name},
                 {"Protocol", "TCP"},
                 {"Port", port},
                 {"VpcId", ec2_->DescribeVpcs({})->at(0).id},
                 {"HealthCheckIntervalSeconds", "5"},
                 {"HealthyThresholdCount", "2"}},
                "TargetGroupArn");
  }

  void MakeClassic(const std::string& name, const std::string& port) {
    Made("2012-06-01", "CreateLoadBalancer",
         {{"LoadBalancerName", name},
          {"Listeners.member.1.Protocol", "TCP"},
          {"Listeners.member.1.LoadBalancerPort", "80"},
          {"Listeners.member.1.InstancePort", port}},
         "DNSName");
    Made("2012-06-01", "ConfigureHealthCheck",
         {{"LoadBalancerName", name},
          {"HealthCheck.Target", "TCP:" + port},
          {"HealthCheck.Interval", "5"},
          {"HealthCheck.Timeout", "2"},
          {"HealthCheck.HealthyThreshold", "2"}},
         "Target");
  }

  std::unique_ptr<ElbClient> elb_;
};

TEST_F(LoadBalancerTest, AnInstanceIsHealthyWhereItListens) {
  elb_ = *ElbClient::FromEnvironment(*environment_, chain_);
  RunInstancesRequest launch;
  launch.image_id = image_;
  launch.instance_type = "m5.large";
  launch.user_data_base64 = Base64Encode(
      AsBytes("#!/usr/bin/python3\nimport socket\nserver = socket.create_server(('', 8080))\n"
              "while True: server.accept()[0].close()\n"));
  const auto launched = ec2_->RunInstances(launch);
  ASSERT_TRUE(launched.ok()) << launched.status().ToString();
  const std::string id = launched->at(0).id;
  WaitFor(id, "running");
  const std::string good = MakeGroup("good", "8080");
  const std::string bad = MakeGroup("bad", "8081");
  MakeClassic("classic-good", "8080");
  MakeClassic("classic-bad", "8081");
  for (const std::string& arn : {good, bad}) {
    const auto registered = elb_->RegisterTarget(arn, id);
    ASSERT_TRUE(registered.ok()) << registered.status().ToString();
    EXPECT_FALSE(registered->request_id.empty());
    EXPECT_TRUE(elb_->RegisterTarget(arn, id).ok()) << "again";
  }
  for (const char* name : {"classic-good", "classic-bad"}) {
    ASSERT_TRUE(elb_->RegisterInstance(name, id).ok());
  }
  const auto group = [&](const std::string& arn) { return elb_->DescribeTargetHealth(arn, id); };
  const auto classic = [&](const char* name) { return elb_->DescribeInstanceHealth(name, id); };
  EXPECT_TRUE(Eventually([&] {
    return group(good)->at(0).state == "healthy" && group(bad)->at(0).state == "unhealthy" &&
           classic("classic-good")->at(0).state == "InService" &&
           classic("classic-bad")->at(0).reason == "Instance";
  }));
  EXPECT_EQ(group(bad)->at(0).reason, "Target.FailedHealthChecks");
  EXPECT_EQ(classic("classic-bad")->at(0).state, "OutOfService");
  ASSERT_TRUE(elb_->DeregisterTarget(good, id).ok());
  EXPECT_EQ(group(good)->at(0).state, "unused");
  EXPECT_TRUE(elb_->DescribeTargetHealth(good, "")->empty());
  ASSERT_TRUE(elb_->DeregisterInstance("classic-good", id).ok());
  EXPECT_EQ(classic("classic-good").code(), "InvalidInstance");
  EXPECT_TRUE(elb_->DescribeInstanceHealth("classic-good", "")->empty());
  EXPECT_EQ(elb_->RegisterInstance("none", id).code(), "LoadBalancerNotFound");
  EXPECT_TRUE(elb_->RegisterTarget(good + "x", id).status().Is(StatusCode::kNotFound));
}

TEST_F(LocalCloudClientTest, NamesInAHostedZone) {
  AwsServiceOptions options;
  options.service = "route53";
  options.region = "us-east-1";
  options.endpoint = environment_->Endpoint("ROUTE_53");
  AwsCaller caller(options, chain_);
  const auto made = caller.PostXml("/2013-04-01/hostedzone",
                                   "<CreateHostedZoneRequest><Name>nodes.example</Name>"
                                   "<CallerReference>1</CallerReference></CreateHostedZoneRequest>",
                                   AwsCaller::Repeat::kUnsafe);
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  const std::string zone = (*made)->first_child().child("HostedZone").child_value("Id");
  const auto route53 = *Route53Client::FromEnvironment(*environment_, chain_);
  const auto change = [&](Route53Change what, const char* type, const std::string& value) {
    return route53->ChangeRecord(zone, what, "One.nodes.example", type, value, 60);
  };
  EXPECT_TRUE(change(Route53Change::kUpsert, "A", "10.0.0.1").ok());
  EXPECT_TRUE(change(Route53Change::kUpsert, "A", "10.0.0.2").ok());
  const auto records = route53->ListRecords(zone, "one.nodes.example.", "A");
  ASSERT_TRUE(records.ok()) << records.status().ToString();
  ASSERT_EQ(records->size(), 1u);
  EXPECT_EQ(records->at(0).name, "one.nodes.example");
  EXPECT_EQ(records->at(0).values, std::vector<std::string>{"10.0.0.2"});
  EXPECT_EQ(route53->ListRecords(zone, "", "")->size(), 3u);
  EXPECT_TRUE(route53->ListRecords(zone, "two.nodes.example", "")->empty());
  EXPECT_EQ(change(Route53Change::kUpsert, "CNAME", "a.example").code(), "InvalidChangeBatch");
  EXPECT_TRUE(change(Route53Change::kDelete, "A", "10.0.0.1").status().Is(StatusCode::kConflict));
  EXPECT_TRUE(change(Route53Change::kDelete, "A", "10.0.0.2").ok());
  EXPECT_TRUE(change(Route53Change::kDelete, "A", "10.0.0.2").status().Is(StatusCode::kNotFound));
  EXPECT_TRUE(change(Route53Change::kUpsert, "CNAME", "a.example").ok());
  EXPECT_TRUE(route53->ListRecords("Z0", "", "").status().Is(StatusCode::kNotFound));
}

}  // namespace
}  // namespace snapstore
