// CriuFilter: has CRIU pass over pages that need not be dumped, because the parent checkpoint holds
// them and nobody wrote them since: a library that is preloaded into its dump
// (agent/criu_filter/criu_filter.cc). CRIU's images then have neither those pages nor entries of
// them in its page maps; AddHiddenPages (agent/hidden_pages.h) makes the page maps whole. The
// library also makes CRIU's lock of the network cheap (agent/criu_filter/network_lock.cc).
//
// Whether the library takes effect depends on the CRIU: one that is linked statically, or whose
// starter does not know of it, dumps everything. So for each dump the library itself says that it
// was asked.
//
// Thread safety: none.
#ifndef SNAPSTORE_AGENT_CRIU_FILTER_H_
#define SNAPSTORE_AGENT_CRIU_FILTER_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/address_set.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// By process id in the cell.
using PagesByProcess = std::map<int, AddressSet>;

class CriuFilter {
 public:
  // The library that belongs to the running program, installed or in its build tree; empty: none.
  static std::string FindLibrary();

  // `directory`: an absolute path that CRIU sees as well.
  CriuFilter(std::string library, std::string directory);
  ~CriuFilter();
  CriuFilter(const CriuFilter&) = delete;
  CriuFilter& operator=(const CriuFilter&) = delete;

  // Before each dump. `known` may be hidden, as far as it is watched by a userfaultfd with
  // asynchronous write protection and was not written since it was protected.
  Status Prepare(const PagesByProcess& known);

  // For the process of that dump.
  std::vector<std::string> Environment() const;

  // When CRIU's images are complete: what it does not have. Nothing: the library took no effect.
  // Corruption when the library's list is none.
  Result<std::optional<PagesByProcess>> Hidden() const;
  // Whether CRIU asked the library anything in that dump.
  bool TookEffect() const;

 private:
  const std::string library_;
  const std::string directory_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CRIU_FILTER_H_
