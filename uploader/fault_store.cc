#include "uploader/fault_store.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "base/status_macros.h"

namespace snapstore {
namespace {

bool Applies(FaultKind kind, StoreOp op) {
  switch (kind) {
    case FaultKind::kTruncateRead:
    case FaultKind::kFlipBit:
      return op == StoreOp::kGet || op == StoreOp::kGetRange;
    case FaultKind::kClaimCreated:
    case FaultKind::kClaimExisted:
      return op == StoreOp::kPut;
    case FaultKind::kHideObject:
      return op != StoreOp::kPut;
    default:
      return true;
  }
}

void FlipBit(uint64_t random, MutableByteSpan bytes) {
  if (bytes.empty()) return;
  bytes[(random >> 3) % bytes.size()] ^= static_cast<uint8_t>(1u << (random & 7));
}

}  // namespace

FaultStore::FaultStore(std::shared_ptr<ObjectStore> inner, uint64_t seed)
    : inner_(std::move(inner)), random_(seed) {}

void FaultStore::Add(Fault fault) {
  const std::lock_guard lock(mutex_);
  faults_.push_back({std::move(fault), 0});
}

void FaultStore::Clear() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
}

uint64_t FaultStore::operations() const {
  const std::lock_guard lock(mutex_);
  return operations_;
}

uint64_t FaultStore::injected() const {
  const std::lock_guard lock(mutex_);
  return injected_;
}

bool FaultStore::Strikes(Armed* armed, StoreOp op, std::string_view key) {
  const Fault& fault = armed->fault;
  if ((fault.op.has_value() && *fault.op != op) || !Applies(fault.kind, op) ||
      key.substr(0, fault.key_prefix.size()) != fault.key_prefix) {
    return false;
  }
  ++armed->matches;
  if (fault.at != 0) return armed->matches == fault.at;
  constexpr double kTwoTo53 = 9007199254740992.0;
  return static_cast<double>(random_.Next() >> 11) / kTwoTo53 < fault.probability;
}

FaultStore::Verdict FaultStore::Judge(StoreOp op, std::string_view key) {
  Verdict verdict;
  std::chrono::milliseconds delay{0};
  {
    const std::lock_guard lock(mutex_);
    ++operations_;
    for (Armed& armed : faults_) {
      // Every fault sees every call, or the counting of one would depend on the others.
      if (!Strikes(&armed, op, key)) continue;
      if (armed.fault.kind == FaultKind::kDelay) {
        ++injected_;
        delay += armed.fault.delay;
      } else if (!verdict.fault.has_value()) {
        ++injected_;
        verdict.fault = armed.fault;
        verdict.random = random_.Next();
      }
    }
  }
  if (delay.count() > 0) std::this_thread::sleep_for(delay);
  return verdict;
}

Status FaultStore::Verdict::Before(std::string_view key) const {
  if (Is(FaultKind::kKillBefore)) ::kill(::getpid(), SIGKILL);
  if (Is(FaultKind::kFail)) return fault->error.WithContext(key);
  if (Is(FaultKind::kHideObject)) return Status::NotFound(fmt::format("no object {}", key));
  return Status::Ok();
}

Status FaultStore::Verdict::After() const {
  if (Is(FaultKind::kKillAfter)) ::kill(::getpid(), SIGKILL);
  return Is(FaultKind::kFailAfter) ? fault->error : Status::Ok();
}

Result<PutOutcome> FaultStore::PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) {
  const Verdict verdict = Judge(StoreOp::kPut, key.text());
  SNAP_RETURN_IF_ERROR(verdict.Before(key.text()));
  if (verdict.Is(FaultKind::kClaimCreated)) return PutOutcome::kCreated;
  if (verdict.Is(FaultKind::kClaimExisted)) return PutOutcome::kExisted;
  SNAP_ASSIGN_OR_RETURN(const PutOutcome outcome, inner_->PutIfAbsent(key, parts));
  SNAP_RETURN_IF_ERROR(verdict.After());
  return outcome;
}

Status FaultStore::GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) {
  const Verdict verdict = Judge(StoreOp::kGetRange, key.text());
  SNAP_RETURN_IF_ERROR(verdict.Before(key.text()));
  if (verdict.Is(FaultKind::kTruncateRead)) {
    SNAP_RETURN_IF_ERROR(inner_->GetRange(key, offset, out.first(out.size() / 2)));
    return Status::Corruption(fmt::format("{} ends early (injected fault)", key.text()));
  }
  SNAP_RETURN_IF_ERROR(inner_->GetRange(key, offset, out));
  if (verdict.Is(FaultKind::kFlipBit)) FlipBit(verdict.random, out);
  return verdict.After();
}

Result<Bytes> FaultStore::Get(const ObjectKey& key, size_t bytes_max) {
  const Verdict verdict = Judge(StoreOp::kGet, key.text());
  SNAP_RETURN_IF_ERROR(verdict.Before(key.text()));
  SNAP_ASSIGN_OR_RETURN(Bytes bytes, inner_->Get(key, bytes_max));
  if (verdict.Is(FaultKind::kTruncateRead)) bytes.resize(bytes.size() / 2);
  if (verdict.Is(FaultKind::kFlipBit)) FlipBit(verdict.random, bytes);
  SNAP_RETURN_IF_ERROR(verdict.After());
  return bytes;
}

Result<ObjectInfo> FaultStore::Stat(const ObjectKey& key) {
  const Verdict verdict = Judge(StoreOp::kStat, key.text());
  SNAP_RETURN_IF_ERROR(verdict.Before(key.text()));
  SNAP_ASSIGN_OR_RETURN(ObjectInfo info, inner_->Stat(key));
  SNAP_RETURN_IF_ERROR(verdict.After());
  return info;
}

Status FaultStore::List(std::string_view prefix,
                        const std::function<Status(const ObjectInfo&)>& visit) {
  const Verdict verdict = Judge(StoreOp::kList, prefix);
  const bool hides = verdict.Is(FaultKind::kHideObject);
  if (!hides) SNAP_RETURN_IF_ERROR(verdict.Before(prefix));
  uint64_t count = verdict.random & 1;
  SNAP_RETURN_IF_ERROR(inner_->List(prefix, [&](const ObjectInfo& info) {
    return hides && ++count % 2 == 0 ? Status::Ok() : visit(info);
  }));
  return verdict.After();
}

Status FaultStore::Delete(const ObjectKey& key) {
  const Verdict verdict = Judge(StoreOp::kDelete, key.text());
  SNAP_RETURN_IF_ERROR(verdict.Before(key.text()));
  SNAP_RETURN_IF_ERROR(inner_->Delete(key));
  return verdict.After();
}

}  // namespace snapstore
