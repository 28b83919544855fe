// From an address, settings and AWS's environment to S3Options. docs/stores.md explains the
// settings to users.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_UPLOADER_S3_S3_SETTINGS_H_
#define SNAPSTORE_UPLOADER_S3_S3_SETTINGS_H_

#include <map>
#include <string>

#include "uploader/aws/environment.h"
#include "uploader/s3/s3_options.h"

namespace snapstore {

// All of them, named "s3.region" and so on. InvalidArgument, with the setting's name: an unknown
// setting, or a value it cannot have.
Status ApplyS3Settings(const std::map<std::string, std::string>& settings, S3Options* options);

// `address`: "bucket" or "bucket/prefix". Settings win over the environment.
Result<S3Options> MakeS3Options(const std::string& address,
                                const std::map<std::string, std::string>& settings,
                                const AwsEnvironment& environment);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_S3_S3_SETTINGS_H_
