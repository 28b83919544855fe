// Fabric: a cloud's network on this machine.
//
// A network namespace of the cloud's own ("slc-<id>") has a bridge for each subnet and forwards
// between them. One veth pair joins it to the machine ("slc<id>", a /30 of the VPC's range), with
// one route. Interfaces of instances are veth pairs from a bridge into the instance's namespace.
// All of it goes with the namespace; the machine's own settings are left alone.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_FABRIC_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_FABRIC_H_

#include <sys/types.h>

#include <string>

#include "snapstore/status.h"

namespace snapstore::localcloud {

class Fabric {
 public:
  static constexpr int kSubnets = 3;  // of 4096 addresses: x.y.0.0/20, x.y.16.0/20, x.y.32.0/20

  // `network`: "10.83".
  Fabric(std::string cloud_id, std::string network);

  // "10.N" that no route of this machine is for.
  static Result<std::string> ChooseNetwork();

  // Makes what is not there.
  Status Ensure() const;
  Status Remove() const;

  // From a bridge into the network namespace of `pid`, as `name` ("eth0") with `mac`.
  Status Connect(const std::string& interface_id, int subnet, pid_t pid, const std::string& name,
                 const std::string& mac) const;
  // Takes both ends away. OK when they are not there.
  Status Disconnect(const std::string& interface_id) const;
  // Has `address` reach the subnet's bridge, besides the subnet's own.
  Status RoutePublic(const std::string& address, int subnet) const;
  Status UnroutePublic(const std::string& address) const;

  // Of the third number in a subnet's range: 16 -> 1.
  static int SubnetOfAddress(const std::string& address);
  std::string Gateway(int subnet) const;
  // This machine, as instances see it.
  std::string HostAddress() const;
  const std::string& name() const { return name_; }

 private:
  bool Exists() const;

  const std::string name_;    // of the namespace
  const std::string uplink_;  // the machine's end
  const std::string network_;
};

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_FABRIC_H_
