#include "orchestrator/localcloud/machine/fabric.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>

#include "base/random.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/machine/program.h"

namespace snapstore::localcloud {
namespace {

constexpr int kSubnetStep = 16;  // in the third number of an address

std::string PeerName(const std::string& interface_id) {
  // Names of interfaces have 15 characters at most; within the namespace these are unique enough:
  // 44 bits.
  return "v" + interface_id.substr(4, 11);
}

}  // namespace

Fabric::Fabric(std::string cloud_id, std::string network)
    : name_("slc-" + cloud_id), uplink_("slc" + cloud_id), network_(std::move(network)) {}

Result<std::string> Fabric::ChooseNetwork() {
  SNAP_ASSIGN_OR_RETURN(const std::string routes, RunProgram({"ip", "-4", "route", "show"}));
  uint8_t start = 0;
  SecureRandom({&start, 1});
  constexpr int kFirst = 64;
  constexpr int kCount = 128;
  for (int i = 0; i < kCount; ++i) {
    const std::string network = fmt::format("10.{}", kFirst + (start + i) % kCount);
    const bool taken = routes.find(network + ".") != std::string::npos ||
                       routes.find("10.0.0.0/8") != std::string::npos;
    if (!taken) return network;
  }
  return Status::NoSpace("all networks from 10.64.0.0/16 to 10.191.0.0/16 have routes already");
}

bool Fabric::Exists() const { return access(("/run/netns/" + name_).c_str(), F_OK) == 0; }

std::string Fabric::Gateway(int subnet) const {
  return fmt::format("{}.{}.1", network_, subnet * kSubnetStep);
}

std::string Fabric::HostAddress() const { return network_ + ".255.1"; }

int Fabric::SubnetOfAddress(const std::string& address) {
  const size_t dot = address.find('.', address.find('.') + 1);
  int third = 0;
  std::from_chars(address.data() + dot + 1, address.data() + address.size(), third);
  return third / kSubnetStep;
}

Status Fabric::Ensure() const {
  const bool linked = access(("/sys/class/net/" + uplink_).c_str(), F_OK) == 0;
  if (Exists() && linked) return {};
  SNAP_RETURN_IF_ERROR(Remove());  // what a broken off attempt left
  SNAP_RETURN_IF_ERROR(RunProgram({"ip", "netns", "add", name_}).status());
  SNAP_RETURN_IF_ERROR(RunProgram({"ip", "-batch", "-"},
                                  fmt::format("link add {0} type veth peer name up0 netns {1}\n"
                                              "addr add {2}.255.1/30 dev {0}\n"
                                              "link set {0} up\n",
                                              uplink_, name_, network_))
                           .status());
  std::string inside = fmt::format(
      "link set lo up\naddr add {0}.255.2/30 dev up0\nlink set up0 up\n"
      "route add default via {0}.255.1\n",
      network_);
  for (int subnet = 0; subnet < kSubnets; ++subnet) {
    inside += fmt::format(
        "link add br{0} type bridge forward_delay 0\naddr add {1}/20 dev br{0}\nlink set br{0} "
        "up\n",
        subnet, Gateway(subnet));
  }
  SNAP_RETURN_IF_ERROR(RunProgram({"ip", "-n", name_, "-batch", "-"}, inside).status());
  SNAP_RETURN_IF_ERROR(RunProgram({"nsenter", "--net=/run/netns/" + name_, "sh", "-c",
                                   "echo 1 >/proc/sys/net/ipv4/ip_forward"})
                           .status());
  return RunProgram({"ip", "route", "add", network_ + ".0.0/16", "via", network_ + ".255.2", "dev",
                     uplink_})
      .status();
}

Status Fabric::Remove() const {
  // The namespace lives on while a process is in it; its link goes here at any rate.
  if (access(("/sys/class/net/" + uplink_).c_str(), F_OK) == 0) {
    SNAP_RETURN_IF_ERROR(RunProgram({"ip", "link", "del", uplink_}).status());
  }
  if (!Exists()) return {};
  return RunProgram({"ip", "netns", "del", name_}).status();
}

Status Fabric::Connect(const std::string& interface_id, int subnet, pid_t pid,
                       const std::string& name, const std::string& mac) const {
  const std::string peer = PeerName(interface_id);
  // Left by an instance that is just going: the address is this one's now.
  (void)RunProgram({"ip", "-n", name_, "link", "del", peer});
  return RunProgram({"ip", "-n", name_, "-batch", "-"},
                    fmt::format("link add {0} type veth peer name {1} address {2} netns {3}\n"
                                "link set {0} master br{4} up\n",
                                peer, name, mac, pid, subnet))
      .status();
}

Status Fabric::Disconnect(const std::string& interface_id) const {
  const std::string peer = PeerName(interface_id);
  if (!RunProgram({"ip", "-n", name_, "link", "show", peer}).ok()) return {};
  return RunProgram({"ip", "-n", name_, "link", "del", peer}).status();
}

Status Fabric::RoutePublic(const std::string& address, int subnet) const {
  return RunProgram({"ip", "-n", name_, "route", "replace", address + "/32", "dev",
                     fmt::format("br{}", subnet)})
      .status();
}

Status Fabric::UnroutePublic(const std::string& address) const {
  return RunProgram({"ip", "-n", name_, "route", "flush", address + "/32"}).status();
}

}  // namespace snapstore::localcloud
