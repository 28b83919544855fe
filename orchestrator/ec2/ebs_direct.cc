#include "orchestrator/ec2/ebs_direct.h"

#include <fmt/format.h>

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
    if (!block.is_object() || !block.contains("BlockIndex")) return false;
    list->blocks.push_back(
        {.index = NumberOf(block, "BlockIndex"),
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

Ec2Result<EbsBlockList> EbsDirect::ListBlocks(const std::string& path,
                                              const QueryParameters& parameters, int page_size) {
  EbsBlockList list;
  std::string token;
  do {
    QueryParameters query = parameters;
    if (page_size > 0) query.emplace_back("maxResults", std::to_string(page_size));
    if (!token.empty()) query.emplace_back("pageToken", token);
    Ec2Result<HttpResponse> answer = caller_.Get(path, query, kPageBytesMax);
    if (!answer.ok()) return answer.failure();
    const auto page =
        nlohmann::json::parse(answer->body.begin(), answer->body.end(), nullptr, false);
    if (!AddBlocks(page, &list)) {
      return Status::Io(fmt::format("GET {}: the answer is no list of blocks", path));
    }
    std::string next = TextOf(page, "NextToken");
    if (!next.empty() && next == token) {
      return Status::Io(fmt::format("GET {}: the next page is the same page again", path));
    }
    token = std::move(next);
  } while (!token.empty());
  return list;
}

Ec2Result<EbsBlockList> EbsDirect::ListSnapshotBlocks(const std::string& snapshot_id,
                                                      int page_size) {
  return ListBlocks(fmt::format("/snapshots/{}/blocks", PercentEncode(snapshot_id)), {}, page_size);
}

Ec2Result<EbsBlockList> EbsDirect::ListChangedBlocks(const std::string& first,
                                                     const std::string& second, int page_size) {
  return ListBlocks(fmt::format("/snapshots/{}/changedblocks", PercentEncode(second)),
                    {{"firstSnapshotId", first}}, page_size);
}

Ec2Result<Bytes> EbsDirect::GetSnapshotBlock(const std::string& snapshot_id, uint64_t index,
                                             const std::string& token) {
  Ec2Result<HttpResponse> answer =
      caller_.Get(fmt::format("/snapshots/{}/blocks/{}", PercentEncode(snapshot_id), index),
                  {{"blockToken", token}}, kBlockBytesMax);
  if (!answer.ok()) return answer.failure();
  const std::string_view algorithm = answer->Header("x-amz-checksum-algorithm");
  const std::string_view checksum = answer->Header("x-amz-checksum");
  if (algorithm != "SHA256" || checksum != Base64Encode(Sha256::Of(answer->body).bytes)) {
    return Status::Io(
        fmt::format("block {} of {}: its bytes do not fit their checksum", index, snapshot_id));
  }
  return std::move(answer->body);
}

}  // namespace snapstore
