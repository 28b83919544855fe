#include "orchestrator/ec2/ebs_direct.h"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr size_t kPageBytesMax = 64 << 20;
constexpr size_t kBlockBytesMax = 4 << 20;

std::string TextOf(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

uint64_t NumberOf(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

// Adds a page's blocks; false when it is not what the API promises.
bool AddBlocks(const nlohmann::json& page, EbsBlockList* list) {
  if (!page.is_object()) return false;
  list->block_bytes = NumberOf(page, "BlockSize");
  list->volume_gib = NumberOf(page, "VolumeSize");
  if (const auto expiry = page.find("ExpiryTime"); expiry != page.end() && expiry->is_number()) {
    list->expiry_ns = static_cast<int64_t>(expiry->get<double>() * 1e9);
  }
  const bool changed = page.contains("ChangedBlocks");
  const auto blocks = page.find(changed ? "ChangedBlocks" : "Blocks");
  if (blocks == page.end()) return true;
  if (!blocks->is_array() || list->block_bytes == 0) return false;
  for (const nlohmann::json& block : *blocks) {
    if (!block.is_object()) return false;
    const auto index = block.find("BlockIndex");
    if (index == block.end() || !index->is_number_unsigned()) return false;
    list->blocks.push_back(
        {.index = index->get<uint64_t>(),
         .token = TextOf(block, changed ? "SecondBlockToken" : "BlockToken"),
         .other_token = changed ? TextOf(block, "FirstBlockToken") : std::string()});
  }
  return true;
}

}  // namespace

EbsDirect::EbsDirect(AwsServiceOptions options, std::shared_ptr<AwsCredentialChain> credentials)
    : caller_(std::move(options), std::move(credentials)) {}

Result<std::unique_ptr<EbsDirect>> EbsDirect::FromEnvironment(
    const AwsEnvironment& environment, std::shared_ptr<AwsCredentialChain> credentials) {
  SNAP_ASSIGN_OR_RETURN(AwsServiceOptions options, MakeAwsServiceOptions("ebs", environment));
  return std::make_unique<EbsDirect>(std::move(options), std::move(credentials));
}

Ec2Result<EbsBlockList> EbsDirect::ListPage(const EbsPageRequest& request) {
  const std::string path = fmt::format("/snapshots/{}/{}", PercentEncode(request.snapshot_id),
                                       request.first.empty() ? "blocks" : "changedblocks");
  QueryParameters query;
  if (!request.first.empty()) query.emplace_back("firstSnapshotId", request.first);
  if (request.size > 0) query.emplace_back("maxResults", std::to_string(request.size));
  if (!request.token.empty()) {
    query.emplace_back("pageToken", request.token);
  } else if (request.start > 0) {
    query.emplace_back("startingBlockIndex", std::to_string(request.start));
  }
  Ec2Result<HttpResponse> answer = caller_.Get(path, query, kPageBytesMax);
  if (!answer.ok()) return answer.failure();
  const auto page = nlohmann::json::parse(answer->body.begin(), answer->body.end(), nullptr, false);
  EbsBlockList list;
  if (!AddBlocks(page, &list)) {
    return Status::Io(fmt::format("GET {}: the answer is no list of blocks", path));
  }
  list.next_token = TextOf(page, "NextToken");
  if (!list.next_token.empty() && list.next_token == request.token) {
    return Status::Io(fmt::format("GET {}: the next page is the same page again", path));
  }
  return list;
}

Ec2Result<EbsBlockList> EbsDirect::ListAll(EbsPageRequest request) {
  EbsBlockList all;
  do {
    Ec2Result<EbsBlockList> page = ListPage(request);
    if (!page.ok()) return page.failure();
    request.token = page->next_token;
    all.blocks.insert(all.blocks.end(), std::make_move_iterator(page->blocks.begin()),
                      std::make_move_iterator(page->blocks.end()));
    page->blocks = std::move(all.blocks);
    all = *std::move(page);
  } while (!request.token.empty());
  return all;
}

Ec2Result<EbsBlockList> EbsDirect::ListSnapshotBlocks(const std::string& snapshot_id,
                                                      int page_size) {
  return ListAll({.snapshot_id = snapshot_id, .size = page_size});
}

Ec2Result<EbsBlockList> EbsDirect::ListChangedBlocks(const std::string& first,
                                                     const std::string& second, int page_size) {
  return ListAll({.snapshot_id = second, .first = first, .size = page_size});
}

Ec2Result<Bytes> EbsDirect::GetSnapshotBlock(const std::string& snapshot_id, uint64_t index,
                                             const std::string& token) {
  constexpr int kAttempts = 2;
  const std::string path =
      fmt::format("/snapshots/{}/blocks/{}", PercentEncode(snapshot_id), index);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Ec2Result<HttpResponse> answer = caller_.Get(path, {{"blockToken", token}}, kBlockBytesMax);
    if (!answer.ok()) return answer.failure();
    if (answer->Header("x-amz-checksum-algorithm") == "SHA256" &&
        answer->Header("x-amz-checksum") == Base64Encode(Sha256::Of(answer->body).bytes)) {
      return std::move(answer->body);
    }
  }
  return Status::Io(
      fmt::format("block {} of {}: its bytes do not fit their checksum", index, snapshot_id));
}

}  // namespace snapstore
