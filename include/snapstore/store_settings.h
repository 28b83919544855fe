// Settings of stores, as docs/stores.md lists them.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_STORE_SETTINGS_H_
#define SNAPSTORE_STORE_SETTINGS_H_

#include <map>
#include <string>
#include <vector>

#include "snapstore/status.h"

namespace snapstore {

// Whether RepositoryOptions::store_settings may be these: names that exist, with values that they
// can have. InvalidArgument names the one that is not. Nothing is opened, read or sent.
Status CheckStoreSettings(const std::map<std::string, std::string>& settings);

// Such settings from "name=value" each, checked. InvalidArgument begins with `option`, by which
// they were given.
Result<std::map<std::string, std::string>> ParseStoreSettings(
    const std::string& option, const std::vector<std::string>& settings);

}  // namespace snapstore

#endif  // SNAPSTORE_STORE_SETTINGS_H_
