#include "agent/hidden_pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "agent/criu_image.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

using FilesByName = std::map<std::string, ArenaFile*>;

Result<Bytes> ImageOf(const FilesByName& files, const std::string& name) {
  const auto file = files.find(name);
  if (file == files.end()) return Status::NotFound(name + ": is not among CRIU's images");
  return Flatten(*file->second);
}

// is_stack in criu/mem.c of 4.2.1: if the stack pointer of any thread is a multiple of the page
// size, none of the process's pages may come later.
Result<bool> StackForbidsLazy(const FilesByName& files, const ProcessTree& tree, int pid) {
  const auto threads = tree.threads.find(pid);
  if (threads == tree.threads.end()) return Status::Corruption("process without threads");
  for (const int thread : threads->second) {
    const std::string name = fmt::format("core-{}.img", thread);
    SNAP_ASSIGN_OR_RETURN(const Bytes image, ImageOf(files, name));
    const Result<uint64_t> stack = ParseStackPointer(image);
    if (!stack.ok()) return stack.status().WithContext(name);
    if (*stack % kPageBytes == 0) return true;
  }
  return false;
}

// The hidden pages, cut where mappings differ.
Result<std::vector<PageRun>> RunsOf(const AddressSet& hidden, const std::vector<MappedArea>& areas,
                                    bool none_lazy) {
  std::vector<PageRun> runs;
  auto area = areas.begin();
  for (const AddressRange& range : hidden.ranges()) {
    for (uint64_t at = range.begin; at < range.end;) {
      while (area != areas.end() && area->end <= at) ++area;
      if (area == areas.end() || area->begin > at) {
        return Status::Corruption(fmt::format("hidden page {:x} is not mapped", at));
      }
      const uint64_t end = std::min(range.end, area->end);
      runs.push_back({at, end - at, area->lazy && !none_lazy});
      at = end;
    }
  }
  return runs;
}

Result<Pagemap> Merge(const Pagemap& shown, const std::vector<PageRun>& hidden) {
  Pagemap all;
  all.pages_id = shown.pages_id;
  auto next = hidden.begin();
  for (const PageRun& run : shown.runs) {
    for (; next != hidden.end() && next->address < run.address; ++next) all.Append(*next);
    all.Append(run);
  }
  for (; next != hidden.end(); ++next) all.Append(*next);
  if (!all.ascending) return Status::Corruption("hidden pages were dumped all the same");
  return all;
}

Status Replace(const Bytes& image, Arena* arena, ArenaFile* file) {
  const uint64_t taken =
      (image.size() + Arena::kBlockBytes - 1) / Arena::kBlockBytes * Arena::kBlockBytes;
  const std::span<uint8_t> space = arena->Take(taken);
  if (space.empty()) return arena->Full();
  std::memcpy(space.data(), image.data(), image.size());
  file->parts = {space.first(image.size())};
  file->size = image.size();
  return Status::Ok();
}

class HiddenPagesAdder {
 public:
  HiddenPagesAdder(Arena* arena, std::vector<ArenaFile>* files) : arena_(arena) {
    for (ArenaFile& file : *files) by_name_[file.name] = &file;
  }

  Status ReadTree() {
    SNAP_ASSIGN_OR_RETURN(const Bytes image, ImageOf(by_name_, "pstree.img"));
    SNAP_ASSIGN_OR_RETURN(tree_, ProcessTree::Parse(image));
    return Status::Ok();
  }

  Status Add(int pid, const std::string& name, const AddressSet& hidden) {
    SNAP_ASSIGN_OR_RETURN(const Bytes image, ImageOf(by_name_, name));
    SNAP_ASSIGN_OR_RETURN(const Pagemap shown, Pagemap::Parse(image));
    const auto pages = by_name_.find(PagesImageName(shown.pages_id));
    if (pages == by_name_.end()) return Status::NotFound("there is no image of its pages");
    if (!shown.ascending || pages->second->size != shown.bytes || !PartsArePages(*pages->second)) {
      return Status::Corruption(fmt::format("does not describe {}", pages->first));
    }
    SNAP_ASSIGN_OR_RETURN(const Bytes memory, ImageOf(by_name_, fmt::format("mm-{}.img", pid)));
    SNAP_ASSIGN_OR_RETURN(const std::vector<MappedArea> areas, ParseMappings(memory));
    SNAP_ASSIGN_OR_RETURN(const bool none_lazy, StackForbidsLazy(by_name_, tree_, pid));
    SNAP_ASSIGN_OR_RETURN(const std::vector<PageRun> runs, RunsOf(hidden, areas, none_lazy));
    SNAP_ASSIGN_OR_RETURN(const Pagemap all, Merge(shown, runs));
    SNAP_RETURN_IF_ERROR(Replace(all.ToImage(), arena_, by_name_[name]));
    pages->second->size = all.bytes;
    pages->second->only_changed = true;
    return Status::Ok();
  }

 private:
  Arena* const arena_;
  FilesByName by_name_;
  ProcessTree tree_;
};

}  // namespace

Status AddHiddenPages(const PagesByProcess& hidden, Arena* arena, std::vector<ArenaFile>* files,
                      PagesByMap* unchanged) {
  if (hidden.empty()) return Status::Ok();
  HiddenPagesAdder adder(arena, files);
  SNAP_RETURN_IF_ERROR(adder.ReadTree());
  for (const auto& [pid, pages] : hidden) {
    const std::string name = fmt::format("pagemap-{}.img", pid);
    SNAP_RETURN_IF_ERROR(adder.Add(pid, name, pages).WithContext(name));
    (*unchanged)[name] = pages;
  }
  return Status::Ok();
}

}  // namespace snapstore::agent
