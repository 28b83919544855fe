#include "engine/source_tree.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/status_macros.h"

namespace snapstore {
namespace {

Result<std::string> AbsolutePath(const std::string& path) {
  if (path.empty()) return Status::InvalidArgument("a path to snapshot is empty");
  if (path.find('\0') != std::string::npos) {
    return Status::InvalidArgument("a path to snapshot holds a NUL byte");
  }
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return Status::FromErrno(error.value(), "working directory");
  std::string text = absolute.lexically_normal().native();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

Result<std::vector<std::string>> Split(const std::string& path) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin < path.size()) {
    size_t end = path.find('/', begin);
    if (end == std::string::npos) end = path.size();
    std::string part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == ".." || part.find('\0') != std::string::npos) {
      return Status::InvalidArgument("'" + path + "' cannot name a source");
    }
    parts.push_back(std::move(part));
    begin = end + 1;
  }
  if (parts.empty()) return Status::InvalidArgument("a source has no name");
  return parts;
}

bool IsRoot(SourceNode::Kind kind) {
  return kind == SourceNode::Kind::kPath || kind == SourceNode::Kind::kStream ||
         kind == SourceNode::Kind::kImage || kind == SourceNode::Kind::kVolume;
}

// Puts `leaf` at `parts` below `node`.
Status Insert(SourceNode* node, const std::vector<std::string>& parts, SourceNode leaf) {
  const bool real = leaf.kind == SourceNode::Kind::kPath;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    node = &node->children[parts[i]];
    if (node->kind == SourceNode::Kind::kPath && real) return {};  // covered by that root
    if (IsRoot(node->kind)) {
      return Status::InvalidArgument("source '" + parts[i] + "' lies above another source");
    }
    if (real) node->kind = SourceNode::Kind::kRealDirectory;
  }
  SourceNode& place = node->children[parts.back()];
  if (real && (place.kind == SourceNode::Kind::kPath ||
               (!IsRoot(place.kind) && place.kind == SourceNode::Kind::kRealDirectory))) {
    place.children.clear();  // what was listed below is part of it
    place.kind = SourceNode::Kind::kPath;
    return {};
  }
  if (IsRoot(place.kind) || !place.children.empty()) {
    return Status::InvalidArgument("two sources are named '" + parts.back() + "'");
  }
  place = std::move(leaf);
  return {};
}

}  // namespace

Result<SourceNode> BuildSourceTree(const SnapshotRequest& request) {
  SourceNode root;
  for (const std::string& path : request.paths) {
    SNAP_ASSIGN_OR_RETURN(const std::string absolute, AbsolutePath(path));
    if (absolute == "/") {
      root.kind = SourceNode::Kind::kPath;
      root.children.clear();
      break;
    }
    SNAP_ASSIGN_OR_RETURN(const std::vector<std::string> parts, Split(absolute.substr(1)));
    SourceNode leaf;
    leaf.kind = SourceNode::Kind::kPath;
    SNAP_RETURN_IF_ERROR(Insert(&root, parts, std::move(leaf)));
  }
  if (root.kind == SourceNode::Kind::kPath &&
      (!request.streams.empty() || !request.images.empty() || !request.volumes.empty())) {
    return Status::InvalidArgument("'/' cannot be combined with sources that have names");
  }
  for (const StreamSource& stream : request.streams) {
    SNAP_ASSIGN_OR_RETURN(const std::vector<std::string> parts, Split(stream.name));
    SourceNode leaf;
    leaf.kind = SourceNode::Kind::kStream;
    leaf.stream = &stream;
    SNAP_RETURN_IF_ERROR(Insert(&root, parts, std::move(leaf)));
  }
  for (const MemorySource& image : request.images) {
    SNAP_ASSIGN_OR_RETURN(const std::vector<std::string> parts, Split(image.name));
    SourceNode leaf;
    leaf.kind = SourceNode::Kind::kImage;
    leaf.image = &image;
    SNAP_RETURN_IF_ERROR(Insert(&root, parts, std::move(leaf)));
  }
  for (const VolumeSource& volume : request.volumes) {
    SNAP_ASSIGN_OR_RETURN(const std::vector<std::string> parts, Split(volume.name));
    SourceNode leaf;
    leaf.kind = SourceNode::Kind::kVolume;
    leaf.volume = &volume;
    SNAP_RETURN_IF_ERROR(Insert(&root, parts, std::move(leaf)));
  }
  if (!IsRoot(root.kind) && root.children.empty()) {
    return Status::InvalidArgument("nothing to snapshot: no path, stream, image or volume given");
  }
  return root;
}

Result<std::vector<std::string>> SourceNames(const SnapshotRequest& request) {
  std::vector<std::string> names;
  for (const std::string& path : request.paths) {
    SNAP_ASSIGN_OR_RETURN(std::string absolute, AbsolutePath(path));
    names.push_back(std::move(absolute));
  }
  for (const StreamSource& stream : request.streams) names.push_back(stream.name);
  for (const MemorySource& image : request.images) names.push_back(image.name);
  for (const VolumeSource& volume : request.volumes) names.push_back(volume.name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace snapstore
