// Parameters: those of one call of the query protocol, and which of them it understands.
// Source: "Structure of a GET request", Amazon EC2 API Reference: members of lists and structures
// are written as "BlockDeviceMapping.1.Ebs.VolumeSize".
//
// Thread safety: a value; const calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_PARAMETERS_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_PARAMETERS_H_

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/localcloud/api_error.h"

namespace snapstore::localcloud {

class Parameters {
 public:
  Parameters() = default;
  explicit Parameters(std::map<std::string, std::string> values) : values_(std::move(values)) {}

  // UnknownParameter, with its name, for one that fits none of `known`, where N stands for a
  // number, and * at the end for anything: "Filter.N.Value.N". Nothing that is sent is passed over.
  ApiError Check(std::initializer_list<std::string_view> known) const;

  bool Has(const std::string& name) const { return values_.contains(name); }
  // Empty when it is not there.
  std::string Text(const std::string& name) const;
  // MissingParameter when it is not there.
  ApiResult<std::string> Required(const std::string& name) const;
  // InvalidParameterValue when it is no such thing.
  ApiResult<uint64_t> Number(const std::string& name, uint64_t otherwise) const;
  ApiResult<bool> Truth(const std::string& name, bool otherwise) const;
  // Of "Name.1", "Name.2", …: in order of their numbers.
  std::vector<std::string> List(const std::string& name) const;
  // Of "Name.1.x", "Name.2.y": one a number.
  std::vector<Parameters> Structures(const std::string& name) const;

  // Of "Prefix.a.b": "a.b" with its value; `prefix` ends with the dot.
  std::map<std::string, std::string> Members(const std::string& prefix) const;

  // A text that says the same for the same parameters, but for `except`.
  std::string Fingerprint(std::string_view except) const;

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_PARAMETERS_H_
