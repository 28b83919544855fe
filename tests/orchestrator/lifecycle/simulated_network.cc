// Interfaces, addresses, subnets, load balancers.
#include <algorithm>

#include "tests/orchestrator/lifecycle/simulated_call.h"

namespace snapstore::spot {
namespace {

std::optional<std::string> InterfaceFact(const Ec2NetworkInterface& interface,
                                         const std::string& filter) {
  if (filter == "vpc-id") return interface.vpc_id;
  if (filter == "subnet-id") return interface.subnet_id;
  if (filter == "addresses.private-ip-address") return interface.private_ip;
  return std::nullopt;
}

}  // namespace

const Ec2Subnet* SimulatedCloud::FindSubnet(const std::string& id) const {
  const auto found = std::find_if(subnets_.begin(), subnets_.end(),
                                  [&](const Ec2Subnet& subnet) { return subnet.id == id; });
  return found == subnets_.end() ? nullptr : &*found;
}

std::string SimulatedCloud::FreeAddress(const Ec2Subnet& subnet) {
  constexpr uint64_t kFirst = 10;
  constexpr uint64_t kAddresses = 60'000;
  const std::string network = subnet.cidr.substr(0, 5);  // "10.1."
  while (true) {
    const uint64_t number = kFirst + next_ip_[subnet.id]++ % kAddresses;
    std::string address = fmt::format("{}{}.{}", network, number / 256, number % 256);
    // The lowest addresses are those that tests ask for.
    if (number > 1000 && !used_ips_.contains(address)) return address;
  }
}

SimInterface& SimulatedCloud::MakeInterface(const std::string& subnet_id, const std::string& ip,
                                            const std::vector<std::string>& groups,
                                            const Ec2Tags& tags) {
  const Ec2Subnet& subnet = *FindSubnet(subnet_id);
  SimInterface interface;
  interface.shown.id = NewId("eni-");
  interface.shown.status = "available";
  interface.shown.subnet_id = subnet_id;
  interface.shown.vpc_id = subnet.vpc_id;
  interface.shown.availability_zone = subnet.availability_zone;
  interface.shown.private_ip = ip.empty() ? FreeAddress(subnet) : ip;
  interface.shown.tags = tags;
  for (const std::string& group : groups) interface.shown.groups.push_back({group, group});
  interface.visible_ms = VisibleAt();
  used_ips_[interface.shown.private_ip] = interface.shown.id;
  return interfaces_.Add(std::move(interface));
}

void SimulatedCloud::RemoveInterface(const std::string& id) {
  SimInterface* const interface = interfaces_.Find(id);
  if (interface == nullptr) return;
  used_ips_.erase(interface->shown.private_ip);
  const auto address = addresses_.find(interface->shown.allocation_id);
  if (address != addresses_.end()) {
    address->second.association_id.clear();
    address->second.network_interface_id.clear();
    address->second.instance_id.clear();
  }
  interfaces_.Remove(id);
}

Ec2Result<Ec2NetworkInterface> SimulatedCloud::CreateNetworkInterface(
    CreateInterfaceRequest request) {
  return Call<Ec2NetworkInterface>("CreateNetworkInterface", NodeOfTags(request.tags), true,
                                   [&]() -> Ec2Result<Ec2NetworkInterface> {
                                     if (FindSubnet(request.subnet_id) == nullptr) {
                                       return Refuse("InvalidSubnetID.NotFound", request.subnet_id);
                                     }
                                     if (used_ips_.contains(request.private_ip)) {
                                       return Refuse("InvalidIPAddress.InUse", request.private_ip);
                                     }
                                     return MakeInterface(request.subnet_id, request.private_ip,
                                                          request.security_group_ids, request.tags)
                                         .shown;
                                   });
}

Ec2Result<AwsReceipt> SimulatedCloud::DeleteNetworkInterface(const std::string& id) {
  return Call<AwsReceipt>("DeleteNetworkInterface", id, true, [&]() -> Ec2Result<AwsReceipt> {
    const SimInterface* const interface = interfaces_.Find(id);
    if (interface == nullptr) return Refuse("InvalidNetworkInterfaceID.NotFound", id);
    if (interface->shown.status != "available") {
      return Refuse("InvalidNetworkInterface.InUse", id);
    }
    Goes("interface", id, false);
    RemoveInterface(id);
    return AwsReceipt{};
  });
}

Ec2Result<AwsReceipt> SimulatedCloud::ModifyInterfaceGroups(
    const std::string& id, const std::vector<std::string>& group_ids) {
  return Call<AwsReceipt>("ModifyInterfaceGroups", id, true, [&]() -> Ec2Result<AwsReceipt> {
    SimInterface* const interface = interfaces_.Find(id);
    if (interface == nullptr) return Refuse("InvalidNetworkInterfaceID.NotFound", id);
    interface->shown.groups.clear();
    for (const std::string& group : group_ids) interface->shown.groups.push_back({group, group});
    return AwsReceipt{};
  });
}

Ec2Result<AwsReceipt> SimulatedCloud::ModifyInterfaceDeleteOnTermination(
    const std::string& id, const std::string& attachment_id, bool delete_on_termination) {
  return Call<AwsReceipt>(
      "ModifyInterfaceDeleteOnTermination", id, true, [&]() -> Ec2Result<AwsReceipt> {
        SimInterface* const interface = interfaces_.Find(id);
        if (interface == nullptr) return Refuse("InvalidNetworkInterfaceID.NotFound", id);
        if (interface->shown.attachment_id != attachment_id) {
          return Refuse("InvalidAttachmentID.NotFound", attachment_id);
        }
        interface->shown.delete_on_termination = delete_on_termination;
        if (SimInstance* instance = instances_.Find(interface->shown.instance_id)) {
          for (Ec2InstanceInterface& one : instance->shown.interfaces) {
            if (one.id == id) one.delete_on_termination = delete_on_termination;
          }
        }
        return AwsReceipt{};
      });
}

Ec2Result<AwsReceipt> SimulatedCloud::UnassignPrivateIpAddresses(
    const std::string& id, const std::vector<std::string>& /*addresses*/) {
  return Refuse("UnsupportedOperation", "secondary addresses are not simulated: " + id);
}

Ec2Result<std::vector<Ec2NetworkInterface>> SimulatedCloud::DescribeNetworkInterfaces(
    const Ec2Query& query) {
  return Call<std::vector<Ec2NetworkInterface>>(
      "DescribeNetworkInterfaces", query.ids.empty() ? "" : query.ids.front(), false, [&]() {
        return Describe<SimInterface, Ec2NetworkInterface>(
            &interfaces_, query, "InvalidNetworkInterfaceID.NotFound", InterfaceFact);
      });
}

// Elastic addresses.

Ec2Result<Ec2Address> SimulatedCloud::AllocateAddress(const Ec2Tags& tags) {
  return Call<Ec2Address>(
      "AllocateAddress", NodeOfTags(tags), true, [&]() -> Ec2Result<Ec2Address> {
        Ec2Address address;
        address.allocation_id = NewId("eipalloc-");
        address.public_ip = fmt::format("203.0.{}.{}", next_id_ / 256 % 256, next_id_ % 256);
        address.tags = tags;
        addresses_[address.allocation_id] = address;
        return address;
      });
}

Ec2Result<AwsReceipt> SimulatedCloud::ReleaseAddress(const std::string& allocation_id) {
  return Call<AwsReceipt>("ReleaseAddress", allocation_id, true, [&]() -> Ec2Result<AwsReceipt> {
    const auto address = addresses_.find(allocation_id);
    if (address == addresses_.end()) return Refuse("InvalidAllocationID.NotFound", allocation_id);
    if (!address->second.association_id.empty()) {
      return Refuse("InvalidIPAddress.InUse", allocation_id);
    }
    addresses_.erase(address);
    return AwsReceipt{};
  });
}

Ec2Result<std::string> SimulatedCloud::AssociateAddress(const AssociateAddressRequest& request) {
  const std::string& about = request.network_interface_id;
  return Call<std::string>("AssociateAddress", about, true, [&]() -> Ec2Result<std::string> {
    const auto address = addresses_.find(request.allocation_id);
    if (address == addresses_.end()) {
      return Refuse("InvalidAllocationID.NotFound", request.allocation_id);
    }
    SimInterface* const interface = interfaces_.Find(about);
    if (interface == nullptr) return Refuse("InvalidNetworkInterfaceID.NotFound", about);
    Ec2Address& shown = address->second;
    if (!shown.association_id.empty() && !request.allow_reassociation) {
      return Refuse("Resource.AlreadyAssociated", request.allocation_id);
    }
    if (SimInterface* before = interfaces_.Find(shown.network_interface_id)) {
      before->shown.public_ip.clear();
      before->shown.allocation_id.clear();
      if (SimInstance* was = instances_.Find(before->shown.instance_id)) {
        was->shown.public_ip.clear();
      }
    }
    shown.association_id = NewId("eipassoc-");
    shown.network_interface_id = about;
    shown.instance_id = interface->shown.instance_id;
    shown.private_ip = interface->shown.private_ip;
    interface->shown.public_ip = shown.public_ip;
    interface->shown.allocation_id = request.allocation_id;
    interface->shown.association_id = shown.association_id;
    if (SimInstance* instance = instances_.Find(shown.instance_id)) {
      instance->shown.public_ip = shown.public_ip;
    }
    return shown.association_id;
  });
}

Ec2Result<AwsReceipt> SimulatedCloud::DisassociateAddress(const std::string& association_id) {
  return Call<AwsReceipt>(
      "DisassociateAddress", association_id, true, [&]() -> Ec2Result<AwsReceipt> {
        for (auto& [id, address] : addresses_) {
          if (address.association_id != association_id) continue;
          if (SimInterface* one = interfaces_.Find(address.network_interface_id)) {
            one->shown.public_ip.clear();
            one->shown.allocation_id.clear();
          }
          if (SimInstance* one = instances_.Find(address.instance_id)) {
            one->shown.public_ip.clear();
          }
          address.association_id.clear();
          address.network_interface_id.clear();
          address.instance_id.clear();
          return AwsReceipt{};
        }
        return Refuse("InvalidAssociationID.NotFound", association_id);
      });
}

Ec2Result<std::vector<Ec2Address>> SimulatedCloud::DescribeAddresses(const Ec2Query& query) {
  return Call<std::vector<Ec2Address>>("DescribeAddresses", "", false,
                                       [&]() -> Ec2Result<std::vector<Ec2Address>> {
                                         std::vector<Ec2Address> found;
                                         for (const std::string& id : query.ids) {
                                           const auto address = addresses_.find(id);
                                           if (address == addresses_.end())
                                             return Refuse("InvalidAllocationID.NotFound", id);
                                           found.push_back(address->second);
                                         }
                                         return found;
                                       });
}

// What was there before.

Ec2Result<std::vector<Ec2Subnet>> SimulatedCloud::DescribeSubnets(const Ec2Query& query) {
  return Call<std::vector<Ec2Subnet>>(
      "DescribeSubnets", "", false, [&]() -> Ec2Result<std::vector<Ec2Subnet>> {
        for (const std::string& id : query.ids) {
          if (FindSubnet(id) == nullptr) return Refuse("InvalidSubnetID.NotFound", id);
        }
        std::vector<Ec2Subnet> found;
        for (const Ec2Subnet& subnet : subnets_) {
          if (!query.ids.empty() &&
              std::find(query.ids.begin(), query.ids.end(), subnet.id) == query.ids.end()) {
            continue;
          }
          const auto fact = [&](const std::string& filter) -> std::optional<std::string> {
            if (filter == "availability-zone") return subnet.availability_zone;
            if (filter == "vpc-id") return subnet.vpc_id;
            if (filter == "default-for-az") return subnet.default_for_az ? "true" : "false";
            return std::nullopt;
          };
          if (Passes(query.filters, subnet.tags, fact)) found.push_back(subnet);
        }
        return found;
      });
}

Ec2Result<std::vector<Ec2Vpc>> SimulatedCloud::DescribeVpcs(const Ec2Query& /*query*/) {
  return std::vector<Ec2Vpc>{{.id = kVpc, .cidr = "10.0.0.0/8", .state = "available"}};
}

Ec2Result<std::vector<Ec2SecurityGroup>> SimulatedCloud::DescribeSecurityGroups(
    const Ec2Query& /*query*/) {
  return std::vector<Ec2SecurityGroup>{{.id = "sg-sim", .name = "sim", .vpc_id = kVpc}};
}

Ec2Result<std::vector<Ec2KeyPair>> SimulatedCloud::DescribeKeyPairs(const Ec2Query& /*query*/) {
  return std::vector<Ec2KeyPair>();
}

// Load balancers.

Ec2Result<std::vector<TargetHealth>> SimulatedCloud::HealthIn(const std::string& balancer,
                                                              bool classic,
                                                              const std::string& instance_id) {
  const char* const action = classic ? "DescribeInstanceHealth" : "DescribeTargetHealth";
  return Call<std::vector<TargetHealth>>(
      action, instance_id, false, [&]() -> Ec2Result<std::vector<TargetHealth>> {
        const auto found = balancers_.find(balancer);
        if (found == balancers_.end()) {
          return Refuse(classic ? "LoadBalancerNotFound" : "TargetGroupNotFound", balancer);
        }
        std::vector<TargetHealth> health;
        for (const std::string& id : found->second) {
          if (!instance_id.empty() && id != instance_id) continue;
          const SimInstance* const instance = instances_.Find(id);
          const bool runs = instance != nullptr && instance->shown.state == "running";
          const bool well = runs && !instance->impaired;
          TargetHealth target;
          target.instance_id = id;
          if (classic) {
            target.state = well ? "InService" : "OutOfService";
            target.reason = "Instance";
          } else {
            target.state = well ? "healthy" : runs ? "unhealthy" : "unused";
          }
          health.push_back(std::move(target));
        }
        return health;
      });
}

Ec2Result<AwsReceipt> SimulatedCloud::ChangeTargets(const char* action, const std::string& balancer,
                                                    const std::string& instance_id, bool add,
                                                    bool classic) {
  return Call<AwsReceipt>(action, instance_id, true, [&]() -> Ec2Result<AwsReceipt> {
    const auto found = balancers_.find(balancer);
    if (found == balancers_.end()) {
      return Refuse(classic ? "LoadBalancerNotFound" : "TargetGroupNotFound", balancer);
    }
    const SimInstance* const instance = instances_.Find(instance_id);
    if (add && (instance == nullptr || instance->shown.state != "running")) {
      return Refuse("InvalidTarget", instance_id);
    }
    if (add) {
      found->second.insert(instance_id);
    } else {
      found->second.erase(instance_id);
    }
    return AwsReceipt{};
  });
}

Ec2Result<std::vector<TargetHealth>> SimulatedCloud::DescribeTargetHealth(
    const std::string& target_group_arn, const std::string& instance_id) {
  return HealthIn(target_group_arn, false, instance_id);
}
Ec2Result<AwsReceipt> SimulatedCloud::RegisterTarget(const std::string& target_group_arn,
                                                     const std::string& instance_id) {
  return ChangeTargets("RegisterTarget", target_group_arn, instance_id, true, false);
}
Ec2Result<AwsReceipt> SimulatedCloud::DeregisterTarget(const std::string& target_group_arn,
                                                       const std::string& instance_id) {
  return ChangeTargets("DeregisterTarget", target_group_arn, instance_id, false, false);
}
Ec2Result<std::vector<TargetHealth>> SimulatedCloud::DescribeInstanceHealth(
    const std::string& name, const std::string& instance_id) {
  return HealthIn(name, true, instance_id);
}
Ec2Result<AwsReceipt> SimulatedCloud::RegisterInstance(const std::string& name,
                                                       const std::string& instance_id) {
  return ChangeTargets("RegisterInstance", name, instance_id, true, true);
}
Ec2Result<AwsReceipt> SimulatedCloud::DeregisterInstance(const std::string& name,
                                                         const std::string& instance_id) {
  return ChangeTargets("DeregisterInstance", name, instance_id, false, true);
}

}  // namespace snapstore::spot
