// Imds: what an EC2 instance knows about itself. Version 2 of the metadata service only.
// Source: "Use the Instance Metadata Service to access instance metadata", EC2 User Guide.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_UPLOADER_AWS_IMDS_H_
#define SNAPSTORE_UPLOADER_AWS_IMDS_H_

#include <mutex>
#include <string>

#include "uploader/http/http_client.h"

namespace snapstore {

class Imds {
 public:
  // `endpoint` as in AWS_EC2_METADATA_SERVICE_ENDPOINT; empty: the link-local IPv4 address.
  explicit Imds(std::string endpoint = "");

  // The body at `path` ("/latest/meta-data/placement/region"). NotFound: the service has no such
  // entry. Unsupported: there is no metadata service here. Others: it could not be told.
  Result<std::string> Get(const std::string& path);

 private:
  Result<std::string> NewToken();

  const std::string endpoint_;
  HttpClient client_;
  std::mutex mutex_;
  std::string token_;  // guarded by mutex_; empty: none yet
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_AWS_IMDS_H_
