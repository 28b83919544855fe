// Parses AWS's shared configuration and credentials files.
// Source: "Configuration and credential file settings", AWS SDKs and Tools Reference Guide.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_UPLOADER_AWS_INI_FILE_H_
#define SNAPSTORE_UPLOADER_AWS_INI_FILE_H_

#include <map>
#include <string>
#include <string_view>

#include "snapstore/status.h"

namespace snapstore {

// Keys in lower case; of a key that stands twice, the last value.
using AwsProfile = std::map<std::string, std::string>;
using AwsProfiles = std::map<std::string, AwsProfile>;

enum class AwsFileKind { kConfig, kCredentials };

// The profiles of a file: "[profile NAME]" in a configuration file ("[default]" may go without the
// word), "[NAME]" in a credentials file. Other sections and indented lines (nested settings) are
// passed over. InvalidArgument for a line that is none of these; the message has its number, and
// never its text, which may be a secret.
Result<AwsProfiles> ParseAwsFile(std::string_view text, AwsFileKind kind);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_AWS_INI_FILE_H_
