#include "agent/environment.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

namespace snapstore::agent {

std::vector<std::string> ApplicationEnvironment() {
  constexpr std::string_view kOwn[] = {
      "SNAPSTORE_", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SESSION_TOKEN="};
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (std::none_of(std::begin(kOwn), std::end(kOwn),
                     [&](std::string_view own) { return text.starts_with(own); })) {
      environment.emplace_back(text);
    }
  }
  return environment;
}

std::vector<char*> ExecPointers(std::vector<std::string>* strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings->size() + 1);
  for (std::string& s : *strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace snapstore::agent
