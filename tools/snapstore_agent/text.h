// Figures of the agent's answers as text for people.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_AGENT_TEXT_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_AGENT_TEXT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace snapstore::agent {

// "1.2 MiB".
std::string SizeText(uint64_t bytes);

// The member as text or number; empty or 0 when it is missing or of another kind.
std::string TextOf(const nlohmann::json& object, const char* member);
double NumberOf(const nlohmann::json& object, const char* member);

// "checkpoint 3f21…: frozen 12.3 ms, 64.1 MiB captured, 1.2 MiB new, 0.4 MiB stored, 0.35 s", or
// why it failed.
std::string RecordText(const nlohmann::json& record);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_AGENT_TEXT_H_
