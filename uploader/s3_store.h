// S3Store: objects in a bucket of Amazon S3 or of a server that speaks its protocol.
//
// PutIfAbsent is one PUT with If-None-Match: *. A server that does not know the condition (501) is
// asked with HEAD first, from then on. Both writers of a race may then think that they made the
// object; that is safe for names made from content, which all names but that of a repository's
// configuration are. Objects above S3Options::multipart_bytes go up in parts, which are aborted
// when one fails.
//
// A long GetRange is fetched in pieces over several connections. Whatever an answer's length and
// Content-Range do not bear out is fetched again.
//
// Thread safety: all calls may run concurrently; any number of machines may share the bucket.
#ifndef SNAPSTORE_UPLOADER_S3_STORE_H_
#define SNAPSTORE_UPLOADER_S3_STORE_H_

#include <functional>
#include <memory>

#include "uploader/aws/credentials.h"
#include "uploader/internal/delete_failures.h"
#include "uploader/object_store.h"
#include "uploader/s3/s3_client.h"
#include "uploader/store_doctor.h"

namespace snapstore {

class S3Store final : public ObjectStore, public DiagnosableStore {
 public:
  // InvalidArgument when `options` make no sense. Sends nothing. `cancelled` may be null; once it
  // returns true, calls end with Cancelled.
  static Result<std::unique_ptr<S3Store>> Open(S3Options options,
                                               std::shared_ptr<AwsCredentialChain> credentials,
                                               std::function<bool()> cancelled = nullptr);

  Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override;
  Status GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) override;
  Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) override;
  Result<ObjectInfo> Stat(const ObjectKey& key) override;
  Status List(std::string_view prefix,
              const std::function<Status(const ObjectInfo&)>& visit) override;
  Status Delete(const ObjectKey& key) override;
  Status DeleteMany(std::span<const ObjectKey> keys) override;
  Result<uint64_t> AbortUploads(std::chrono::seconds age) override;
  bool Diagnose(bool write_probe, const DiagnosisSink& sink) override;
  StoreUsage Usage() const override { return client_.Usage(); }
  void LiftBandwidthLimits(bool lifted) override { client_.LiftBandwidthLimits(lifted); }
  unsigned PutsAtOnce() const override;
  unsigned GetsAtOnce() const override;
  std::string Describe() const override;

  S3Client& client() { return client_; }

 private:
  S3Store(S3Options options, std::shared_ptr<AwsCredentialChain> credentials,
          std::function<bool()> cancelled);

  std::string FullKey(const ObjectKey& key) const { return options().prefix + key.text(); }
  const S3Options& options() const { return client_.options(); }
  S3Checksum UsedChecksum() const;
  // What an error says about `key`.
  Status Explain(const S3Error& error, const std::string& what) const;
  // The headers that decide how an object is kept.
  std::vector<HttpHeader> KeepingHeaders(const ObjectKey& key) const;
  bool IsData(const ObjectKey& key) const { return key.text().starts_with(options().data_prefix); }
  // A key of this store, not one of somebody else below the same prefix.
  bool IsOurs(const std::string& full_key) const;
  Result<PutOutcome> PutWhole(const ObjectKey& key, std::span<const ByteSpan> parts);
  Result<PutOutcome> PutInParts(const ObjectKey& key, std::span<const ByteSpan> parts);
  Result<std::vector<std::string>> UploadParts(const ObjectKey& key, const std::string& upload,
                                               std::span<const ByteSpan> parts);
  Result<PutOutcome> CompleteUpload(const ObjectKey& key, const std::string& upload,
                                    const std::vector<std::string>& etags, uint64_t bytes);
  Status AbortUpload(const std::string& full_key, const std::string& upload);
  // Deletes it, and says whether that is allowed.
  bool MayDelete(const ObjectKey& key);
  // False when there is no use in going on.
  bool DeleteBatch(std::span<const ObjectKey> keys, internal::DeleteFailures* failures);
  bool DeleteSingly(std::span<const ObjectKey> keys, internal::DeleteFailures* failures);
  Diagnosis DiagnoseBucket(const Result<S3Answer>& answer) const;
  Diagnosis DiagnoseVersioning();
  Diagnosis DiagnoseLifecycle();
  Diagnosis DiagnoseConditions();
  Status GetPieces(const ObjectKey& key, uint64_t offset, std::span<const MutableByteSpan> pieces);

  S3Client client_;
  std::atomic<bool> conditional_put_{true};
  std::atomic<bool> multi_delete_{true};
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_S3_STORE_H_
