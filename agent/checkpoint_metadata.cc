#include "agent/checkpoint_metadata.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace snapstore::agent {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

json FileToJson(const ExternalFile& file) {
  return {{"path", file.path},         {"real_path", file.real_path},
          {"mode", file.mode},         {"uid", file.uid},
          {"gid", file.gid},           {"atime_ns", file.atime_ns},
          {"mtime_ns", file.mtime_ns}, {"size", file.size}};
}

ExternalFile FileFromJson(const json& object) {
  ExternalFile file;
  object.at("path").get_to(file.path);
  object.at("real_path").get_to(file.real_path);
  object.at("mode").get_to(file.mode);
  object.at("uid").get_to(file.uid);
  object.at("gid").get_to(file.gid);
  object.at("atime_ns").get_to(file.atime_ns);
  object.at("mtime_ns").get_to(file.mtime_ns);
  object.at("size").get_to(file.size);
  return file;
}

}  // namespace

std::string CheckpointMetadata::ToJson() const {
  json files = json::array();
  for (const ExternalFile& file : external_files) files.push_back(FileToJson(file));
  const json document = {{"version", kVersion},
                         {"app", app},
                         {"run_cmd", run_cmd},
                         {"time_ns", time_ns},
                         {"criu_version", criu_version},
                         {"kernel", platform.kernel},
                         {"architecture", platform.architecture},
                         {"cpu_model", platform.cpu_model},
                         {"cpu_features", platform.cpu_features},
                         {"frozen_ms", frozen_ms},
                         {"root_pid", root_pid},
                         {"log_path", log_path},
                         {"log_mode", log_mode},
                         {"external_files", std::move(files)}};
  return document.dump(2, ' ', false, json::error_handler_t::replace);
}

Result<CheckpointMetadata> CheckpointMetadata::FromJson(std::string_view text) {
  // nlohmann-json reports a missing field or a wrong type only by exception.
  try {
    const json document = json::parse(text);
    if (const int version = document.at("version").get<int>(); version != kVersion) {
      return Status::Unsupported(
          fmt::format("{}: version {} is newer than this program", kMetadataName, version));
    }
    CheckpointMetadata metadata;
    document.at("app").get_to(metadata.app);
    document.at("run_cmd").get_to(metadata.run_cmd);
    document.at("time_ns").get_to(metadata.time_ns);
    document.at("criu_version").get_to(metadata.criu_version);
    document.at("kernel").get_to(metadata.platform.kernel);
    document.at("architecture").get_to(metadata.platform.architecture);
    document.at("cpu_model").get_to(metadata.platform.cpu_model);
    document.at("cpu_features").get_to(metadata.platform.cpu_features);
    document.at("frozen_ms").get_to(metadata.frozen_ms);
    document.at("root_pid").get_to(metadata.root_pid);
    document.at("log_path").get_to(metadata.log_path);
    document.at("log_mode").get_to(metadata.log_mode);
    for (const json& file : document.at("external_files")) {
      metadata.external_files.push_back(FileFromJson(file));
      const ExternalFile& last = metadata.external_files.back();
      if (!last.path.starts_with('/') || !last.real_path.starts_with('/')) {
        return Status::Corruption(fmt::format("{}: a path is not absolute", kMetadataName));
      }
    }
    return metadata;
  } catch (const json::exception& error) {
    return Status::Corruption(fmt::format("{}: {}", kMetadataName, error.what()));
  }
}

}  // namespace snapstore::agent
