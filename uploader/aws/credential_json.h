// Parses the JSON in which credential processes, containers and the metadata service answer.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_UPLOADER_AWS_CREDENTIAL_JSON_H_
#define SNAPSTORE_UPLOADER_AWS_CREDENTIAL_JSON_H_

#include <string>
#include <string_view>

#include "uploader/aws/sigv4.h"

namespace snapstore {

// An object with AccessKeyId, SecretAccessKey, and perhaps Token or SessionToken and Expiration.
// Io when it is something else; the message never holds any of it.
Result<AwsCredentials> ParseCredentialJson(std::string_view text);

// What `command` prints, run by the shell, as the setting credential_process has it ("Process
// credential provider", AWS SDKs and Tools Reference Guide). Its standard error is this process's.
// Io: it failed; Timeout: it took longer than a minute, and was killed.
Result<std::string> RunCredentialProcess(const std::string& command, double seconds = 60);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_AWS_CREDENTIAL_JSON_H_
