// Reads EC2's XML into the types of ec2_types.h. Elements that are missing leave what was there.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_EC2_PARSE_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_EC2_PARSE_H_

#include <pugixml.hpp>
#include <vector>

#include "orchestrator/ec2/ec2_types.h"

namespace snapstore {

// Each reads one <item>.
void ReadEc2(pugi::xml_node node, Ec2Instance* out);
void ReadEc2(pugi::xml_node node, Ec2InstanceStatus* out);
void ReadEc2(pugi::xml_node node, Ec2VolumeAttachment* out);
void ReadEc2(pugi::xml_node node, Ec2Volume* out);
void ReadEc2(pugi::xml_node node, Ec2Snapshot* out);
void ReadEc2(pugi::xml_node node, Ec2BlockDevice* out);
void ReadEc2(pugi::xml_node node, Ec2Image* out);
void ReadEc2(pugi::xml_node node, Ec2NetworkInterface* out);
void ReadEc2(pugi::xml_node node, Ec2Address* out);
void ReadEc2(pugi::xml_node node, Ec2Subnet* out);
void ReadEc2(pugi::xml_node node, Ec2Vpc* out);
void ReadEc2(pugi::xml_node node, Ec2SecurityGroup* out);
void ReadEc2(pugi::xml_node node, Ec2KeyPair* out);
void ReadEc2(pugi::xml_node node, Ec2AvailabilityZone* out);
void ReadEc2(pugi::xml_node node, Ec2InstanceType* out);
void ReadEc2(pugi::xml_node node, Ec2InstanceTypeOffering* out);
void ReadEc2(pugi::xml_node node, Ec2SpotPrice* out);
void ReadEc2(pugi::xml_node node, Ec2SpotRequest* out);
void ReadEc2(pugi::xml_node node, Ec2ReservedInstances* out);
void ReadEc2(pugi::xml_node node, Ec2Tag* out);

// All <item> below `list`.
template <typename T>
std::vector<T> ReadEc2Items(pugi::xml_node list) {
  std::vector<T> items;
  for (const pugi::xml_node node : list.children("item")) ReadEc2(node, &items.emplace_back());
  return items;
}

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_EC2_PARSE_H_
