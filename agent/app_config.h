// AppConfig: the application persistency configuration, as the Spot API and its users write it:
//
//   {"config": {"name": "BI", "runCmd": "python3 /home/ec2-user/app.py",
//               "snapshotDestination": "my-bucket", "snapshotScheduler": "*/3 * * * *",
//               "externalFiles": ["/home/ec2-user/log.txt"]}}
//
// Accepted with and without the root "config".
#ifndef SNAPSTORE_AGENT_APP_CONFIG_H_
#define SNAPSTORE_AGENT_APP_CONFIG_H_

#include <string>
#include <string_view>
#include <vector>

#include "base/cron.h"
#include "snapstore/status.h"

namespace snapstore::agent {

struct AppConfig {
  std::string name;                         // 1 to 255 bytes
  std::string run_cmd;                      // as given
  std::vector<std::string> argv;            // run_cmd in words, at least one
  std::string destination;                  // bucket name or fs-… id
  CronSchedule schedule;                    // UTC
  std::vector<std::string> external_files;  // absolute, distinct

  // Every error is InvalidArgument and begins with the field: "config.runCmd: …".
  static Result<AppConfig> Parse(std::string_view json);

  // Reads and parses a file of at most 1 MiB.
  static Result<AppConfig> Load(const std::string& path);

  // Where the configuration says checkpoints go: "efs://fs-…" or "s3://bucket".
  std::string RepositoryLocation() const;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_APP_CONFIG_H_
