// What Ec2Client sends and what it reads, with answers as the API Reference prints them.
#include "tests/orchestrator/ec2/query_server.h"

namespace snapstore {
namespace {

class Ec2ClientTest : public QueryServerTest {};

constexpr const char* kInstances = R"(<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>8f7724cf-496f-496e-8fe3-example</requestId>
  <reservationSet><item>
    <reservationId>r-1234567890abcdef0</reservationId><ownerId>123456789012</ownerId><groupSet/>
    <instancesSet><item>
      <instanceId>i-1234567890abcdef0</instanceId><imageId>ami-bff32ccc</imageId>
      <instanceState><code>16</code><name>running</name></instanceState>
      <privateDnsName>ip-192-168-1-88.eu-west-1.compute.internal</privateDnsName><reason/>
      <keyName>my_keypair</keyName><amiLaunchIndex>0</amiLaunchIndex><productCodes/>
      <instanceType>t2.micro</instanceType><launchTime>2018-05-08T16:46:19.000Z</launchTime>
      <placement><availabilityZone>eu-west-1c</availabilityZone><groupName/>
        <tenancy>default</tenancy></placement>
      <monitoring><state>disabled</state></monitoring>
      <subnetId>subnet-56f5f000</subnetId><vpcId>vpc-11112222</vpcId>
      <privateIpAddress>192.168.1.88</privateIpAddress><ipAddress>54.194.252.215</ipAddress>
      <groupSet><item><groupId>sg-e4076000</groupId><groupName>SecurityGroup1</groupName></item>
      </groupSet>
      <architecture>x86_64</architecture><rootDeviceType>ebs</rootDeviceType>
      <rootDeviceName>/dev/xvda</rootDeviceName>
      <blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs>
        <volumeId>vol-1234567890abcdef0</volumeId><status>attached</status>
        <attachTime>2015-12-22T10:44:09.000Z</attachTime>
        <deleteOnTermination>true</deleteOnTermination></ebs></item></blockDeviceMapping>
      <instanceLifecycle>spot</instanceLifecycle>
      <spotInstanceRequestId>sir-08b93456</spotInstanceRequestId>
      <clientToken>xMcwG14507example</clientToken>
      <tagSet><item><key>Name</key><value>Server_1</value></item></tagSet>
      <networkInterfaceSet><item><networkInterfaceId>eni-551ba000</networkInterfaceId>
        <subnetId>subnet-56f5f000</subnetId><status>in-use</status>
        <privateIpAddress>192.168.1.88</privateIpAddress>
        <attachment><attachmentId>eni-attach-39697adc</attachmentId><deviceIndex>0</deviceIndex>
          <status>attached</status><deleteOnTermination>false</deleteOnTermination></attachment>
        <ipv6AddressesSet><item><ipv6Address>2001:db8:1234:1a2b::123</ipv6Address></item>
        </ipv6AddressesSet></item></networkInterfaceSet>
      <iamInstanceProfile><arn>arn:aws:iam::123456789012:instance-profile/node</arn>
        <id>AGAJVMZCXEXAMPLE</id></iamInstanceProfile>
      <ebsOptimized>false</ebsOptimized>
      <metadataOptions><state>applied</state><httpTokens>required</httpTokens>
        <httpPutResponseHopLimit>2</httpPutResponseHopLimit></metadataOptions>
    </item></instancesSet>
  </item></reservationSet>
</DescribeInstancesResponse>)";

TEST_F(Ec2ClientTest, ReadsAnInstance) {
  Serve({{200, kInstances}});
  const auto got = Client().DescribeInstances({});
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  ASSERT_EQ(got->size(), 1u);
  const Ec2Instance& instance = got->at(0);
  EXPECT_EQ(instance.id, "i-1234567890abcdef0");
  EXPECT_EQ(instance.state, "running");
  EXPECT_EQ(instance.lifecycle, "spot");
  EXPECT_EQ(instance.spot_request_id, "sir-08b93456");
  EXPECT_EQ(instance.availability_zone, "eu-west-1c");
  EXPECT_EQ(instance.private_ip, "192.168.1.88");
  EXPECT_EQ(instance.public_ip, "54.194.252.215");
  EXPECT_EQ(instance.ipv6_address, "2001:db8:1234:1a2b::123");
  EXPECT_EQ(instance.launch_time_ns, *ParseTime("2018-05-08T16:46:19Z"));
  EXPECT_EQ(instance.tags, (Ec2Tags{{"Name", "Server_1"}}));
  ASSERT_EQ(instance.devices.size(), 1u);
  EXPECT_EQ(instance.devices[0].volume_id, "vol-1234567890abcdef0");
  EXPECT_TRUE(instance.devices[0].delete_on_termination);
  ASSERT_EQ(instance.interfaces.size(), 1u);
  EXPECT_EQ(instance.interfaces[0].attachment_id, "eni-attach-39697adc");
  EXPECT_FALSE(instance.interfaces[0].delete_on_termination);
  EXPECT_EQ(instance.metadata.http_tokens, "required");
  EXPECT_EQ(instance.metadata.http_put_response_hop_limit, 2);
  EXPECT_EQ(instance.instance_profile_arn, "arn:aws:iam::123456789012:instance-profile/node");
}

TEST_F(Ec2ClientTest, FollowsPagesAndSendsFilters) {
  const auto page = [](const std::string& id, const std::string& next) {
    return QueryAnswer{200, "<DescribeVolumesResponse><volumeSet><item><volumeId>" + id +
                                "</volumeId><size>80</size><status>in-use</status>"
                                "<attachmentSet><item><instanceId>i-1</instanceId><device>/dev/sdf"
                                "</device><status>attached</status></item></attachmentSet></item>"
                                "</volumeSet>" +
                                (next.empty() ? "" : "<nextToken>" + next + "</nextToken>") +
                                "</DescribeVolumesResponse>"};
  };
  Serve({page("vol-1", "two"), page("vol-2", "")});
  Ec2Query query;
  query.filters = {{"tag:node", {"smi-1", "smi-2"}}};
  query.page_size = 5;
  const auto got = Client().DescribeVolumes(query);
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  ASSERT_EQ(got->size(), 2u);
  EXPECT_EQ(got->at(1).id, "vol-2");
  EXPECT_EQ(got->at(1).size_gib, 80u);
  EXPECT_EQ(got->at(1).attachments.at(0).device, "/dev/sdf");
  EXPECT_EQ(forms_[0].at("Filter.1.Name"), "tag:node");
  EXPECT_EQ(forms_[0].at("Filter.1.Value.2"), "smi-2");
  EXPECT_EQ(forms_[0].at("MaxResults"), "5");
  EXPECT_EQ(forms_[1].at("NextToken"), "two");
}

TEST_F(Ec2ClientTest, APageThatNamesItselfIsAnError) {
  Serve({{200,
          "<DescribeVolumesResponse><volumeSet/><nextToken>t</nextToken>"
          "</DescribeVolumesResponse>"}});
  EXPECT_TRUE(Client().DescribeVolumes({}).status().Is(StatusCode::kIo));
}

TEST_F(Ec2ClientTest, LaunchesSpotWithAKeptInterfaceAndSnapshots) {
  Serve({{200,
          "<RunInstancesResponse><reservationId>r-1</reservationId><instancesSet><item>"
          "<instanceId>i-9</instanceId><instanceState><code>0</code><name>pending</name>"
          "</instanceState></item></instancesSet></RunInstancesResponse>"}});
  RunInstancesRequest request;
  request.image_id = "ami-1";
  request.instance_type = "m5.large";
  request.client_token = "smi-1-launch-3";
  request.spot = true;
  request.spot_max_price = "0.05";
  request.metadata.http_tokens = "required";
  request.user_data_base64 = "IyEvYmluL3NoCg==";
  Ec2BlockDevice data;
  data.device_name = "/dev/sdf";
  data.snapshot_id = "snap-1";
  data.delete_on_termination = false;
  Ec2BlockDevice left_out;
  left_out.device_name = "/dev/sdg";
  left_out.no_device = "yes";
  request.devices = {data, left_out};
  RunInterface interface;
  interface.network_interface_id = "eni-1";
  request.interfaces = {interface};
  request.tags = {{"instance", {{"node", "smi-1"}}}, {"volume", {}}};
  const auto got = Client().RunInstances(request);
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_EQ(got->at(0).state, "pending");
  Form expected = {{"Action", "RunInstances"},
                   {"Version", "2016-11-15"},
                   {"ImageId", "ami-1"},
                   {"InstanceType", "m5.large"},
                   {"MinCount", "1"},
                   {"MaxCount", "1"},
                   {"ClientToken", "smi-1-launch-3"},
                   {"InstanceMarketOptions.MarketType", "spot"},
                   {"InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time"},
                   {"InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate"},
                   {"InstanceMarketOptions.SpotOptions.MaxPrice", "0.05"},
                   {"MetadataOptions.HttpTokens", "required"},
                   {"UserData", "IyEvYmluL3NoCg=="},
                   {"BlockDeviceMapping.1.DeviceName", "/dev/sdf"},
                   {"BlockDeviceMapping.1.Ebs.SnapshotId", "snap-1"},
                   {"BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false"},
                   {"BlockDeviceMapping.2.DeviceName", "/dev/sdg"},
                   {"BlockDeviceMapping.2.NoDevice", ""},
                   {"NetworkInterface.1.DeviceIndex", "0"},
                   {"NetworkInterface.1.NetworkInterfaceId", "eni-1"},
                   {"TagSpecification.1.ResourceType", "instance"},
                   {"TagSpecification.1.Tag.1.Key", "node"},
                   {"TagSpecification.1.Tag.1.Value", "smi-1"}};
  EXPECT_EQ(forms_.at(0), expected);
}

TEST_F(Ec2ClientTest, TheCodeOfALaunchThatFailedIsKept) {
  Serve({Ec2Error(500, "InsufficientInstanceCapacity", "There is no Spot capacity available")});
  const auto got = Client().RunInstances({});
  EXPECT_EQ(got.code(), "InsufficientInstanceCapacity");
  EXPECT_EQ(got.failure().message, "There is no Spot capacity available");
  EXPECT_TRUE(got.status().Is(StatusCode::kNoSpace));
  EXPECT_TRUE(IsLackOfCapacity(got.code()));
  EXPECT_EQ(forms_.size(), 1u) << "another market is to be tried, not the same again";
}

TEST_F(Ec2ClientTest, ReadsStateChanges) {
  Serve({{200,
          "<TerminateInstancesResponse><instancesSet><item><instanceId>i-3</instanceId>"
          "<currentState><code>32</code><name>shutting-down</name></currentState>"
          "<previousState><code>16</code><name>running</name></previousState></item>"
          "</instancesSet></TerminateInstancesResponse>"}});
  const auto got = Client().TerminateInstances({"i-3"});
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->at(0).previous, "running");
  EXPECT_EQ(got->at(0).current, "shutting-down");
}

TEST_F(Ec2ClientTest, ReadsSpotPricesAndRequests) {
  Serve({{200,
          "<DescribeSpotPriceHistoryResponse><spotPriceHistorySet><item><instanceType>m3.medium"
          "</instanceType><productDescription>Linux/UNIX</productDescription><spotPrice>0.287"
          "</spotPrice><timestamp>2020-11-01T20:56:05.000Z</timestamp><availabilityZone>"
          "us-west-2a</availabilityZone></item></spotPriceHistorySet><nextToken/>"
          "</DescribeSpotPriceHistoryResponse>"},
         {200,
          "<DescribeSpotInstanceRequestsResponse><spotInstanceRequestSet><item>"
          "<spotInstanceRequestId>sir-1</spotInstanceRequestId><spotPrice>0.09</spotPrice>"
          "<type>one-time</type><state>active</state><status><code>marked-for-termination"
          "</code></status><instanceId>i-1</instanceId></item></spotInstanceRequestSet>"
          "</DescribeSpotInstanceRequestsResponse>"}});
  SpotPriceQuery query;
  query.instance_types = {"m3.medium"};
  query.start_ns = *ParseTime("2020-11-01T00:00:00Z");
  const auto prices = Client().DescribeSpotPriceHistory(query);
  ASSERT_TRUE(prices.ok());
  EXPECT_DOUBLE_EQ(prices->at(0).usd_per_hour, 0.287);
  EXPECT_EQ(forms_[0].at("StartTime"), "2020-11-01T00:00:00.000Z");
  const auto requests = Client().DescribeSpotInstanceRequests({});
  ASSERT_TRUE(requests.ok());
  EXPECT_EQ(requests->at(0).status_code, "marked-for-termination");
}

TEST_F(Ec2ClientTest, ReadsAnInterfaceWithItsAddresses) {
  Serve({{200,
          "<DescribeNetworkInterfacesResponse><networkInterfaceSet><item><networkInterfaceId>"
          "eni-0f62d866</networkInterfaceId><subnetId>subnet-c53c87ac</subnetId>"
          "<availabilityZone>ap-southeast-1b</availabilityZone><status>in-use</status>"
          "<macAddress>02:81:60:cb:27:37</macAddress><privateIpAddress>10.0.0.146"
          "</privateIpAddress><groupSet><item><groupId>sg-3f4b5653</groupId></item></groupSet>"
          "<attachment><attachmentId>eni-attach-1</attachmentId><instanceId>i-1</instanceId>"
          "<deviceIndex>1</deviceIndex><status>attached</status><deleteOnTermination>true"
          "</deleteOnTermination></attachment><association><publicIp>198.51.100.7</publicIp>"
          "<allocationId>eipalloc-1</allocationId></association><privateIpAddressesSet><item>"
          "<privateIpAddress>10.0.0.146</privateIpAddress><primary>true</primary></item><item>"
          "<privateIpAddress>10.0.0.148</privateIpAddress><primary>false</primary></item>"
          "</privateIpAddressesSet></item></networkInterfaceSet>"
          "</DescribeNetworkInterfacesResponse>"}});
  const auto got = Client().DescribeNetworkInterfaces({});
  ASSERT_TRUE(got.ok());
  const Ec2NetworkInterface& interface = got->at(0);
  EXPECT_EQ(interface.private_ip, "10.0.0.146");
  EXPECT_EQ(interface.secondary_private_ips, std::vector<std::string>{"10.0.0.148"});
  EXPECT_EQ(interface.instance_id, "i-1");
  EXPECT_EQ(interface.public_ip, "198.51.100.7");
  EXPECT_EQ(interface.groups.at(0).id, "sg-3f4b5653");
}

TEST_F(Ec2ClientTest, ReadsAnImageAndRegistersOneLikeIt) {
  Serve({{200,
          "<DescribeImagesResponse><imagesSet><item><imageId>ami-1</imageId><imageState>"
          "available</imageState><architecture>x86_64</architecture><rootDeviceName>/dev/xvda"
          "</rootDeviceName><blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs>"
          "<snapshotId>snap-1</snapshotId><volumeSize>8</volumeSize><deleteOnTermination>true"
          "</deleteOnTermination><volumeType>gp3</volumeType></ebs></item></blockDeviceMapping>"
          "<virtualizationType>hvm</virtualizationType><bootMode>uefi</bootMode><imdsSupport>"
          "v2.0</imdsSupport><enaSupport>true</enaSupport></item></imagesSet>"
          "</DescribeImagesResponse>"},
         {200, "<RegisterImageResponse><imageId>ami-2</imageId></RegisterImageResponse>"}});
  const auto images = Client().DescribeImages({});
  ASSERT_TRUE(images.ok());
  const Ec2Image& image = images->at(0);
  EXPECT_EQ(image.imds_support, "v2.0");
  EXPECT_EQ(image.devices.at(0).snapshot_id, "snap-1");
  RegisterImageRequest request;
  request.name = "kept root";
  request.architecture = image.architecture;
  request.root_device_name = image.root_device_name;
  request.boot_mode = image.boot_mode;
  request.imds_support = image.imds_support;
  request.devices = image.devices;
  const auto registered = Client().RegisterImage(request);
  ASSERT_TRUE(registered.ok());
  EXPECT_EQ(*registered, "ami-2");
  EXPECT_EQ(forms_[1].at("BlockDeviceMapping.1.Ebs.VolumeSize"), "8");
  EXPECT_EQ(forms_[1].at("ImdsSupport"), "v2.0");
  EXPECT_EQ(forms_[1].at("EnaSupport"), "true");
}

}  // namespace
}  // namespace snapstore
