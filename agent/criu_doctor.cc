#include "agent/criu_doctor.h"

#include <fmt/format.h>
#include <unistd.h>

#include "agent/criu_driver.h"

namespace snapstore::agent {

Diagnosis DiagnoseCriu() {
  using Grade = Diagnosis::Grade;
  Diagnosis out{.subject = "criu"};
  const Result<CriuDriver> criu = CriuDriver::Find();
  out.facts = {{"found", criu.ok()}};
  if (!criu.ok()) {
    out.grade = Grade::kWarning;
    out.text = criu.status().message() + " (only checkpoints of processes need it)";
    return out;
  }
  out.text = fmt::format("{} {}", criu->path(), criu->version());
  out.facts.emplace_back("path", criu->path());
  out.facts.emplace_back("version", criu->version());
  if (::geteuid() != 0) {
    out.text += "; whether it works only root can tell";
    return out;
  }
  const Status works = criu->Check();
  out.facts.emplace_back("works", works.ok());
  if (works.ok()) {
    out.text += ", works";
  } else {
    out.grade = Grade::kWarning;
    out.text += ": " + works.message();
  }
  return out;
}

}  // namespace snapstore::agent
