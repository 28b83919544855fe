#include "uploader/s3/s3_settings.h"

#include <gtest/gtest.h>

namespace snapstore {
namespace {

S3Options Applied(const std::string& key, const std::string& value) {
  S3Options options;
  const Status status = ApplyS3Settings({{key, value}}, &options);
  EXPECT_TRUE(status.ok()) << key << ": " << status.ToString();
  return options;
}

TEST(S3Settings, TakeWhatIsDocumented) {
  EXPECT_EQ(Applied("s3.region", "eu-west-1").region, "eu-west-1");
  EXPECT_EQ(Applied("s3.endpoint", "https://h:1").endpoint, "https://h:1");
  EXPECT_EQ(Applied("s3.addressing", "virtual").addressing, S3Addressing::kVirtual);
  EXPECT_EQ(Applied("s3.checksum", "crc64nvme").checksum, S3Checksum::kCrc64Nvme);
  for (const char* name : {"STANDARD_IA", "GLACIER_IR", "INTELLIGENT_TIERING", "COLD-HDD"}) {
    EXPECT_EQ(Applied("s3.storage-class", name).storage_class, name);
  }
  EXPECT_EQ(Applied("s3.encryption", "aws:kms").encryption, "aws:kms");
  EXPECT_TRUE(Applied("s3.requester-pays", "true").requester_pays);
  EXPECT_EQ(Applied("s3.connections", "3").connections, 3u);
  EXPECT_EQ(Applied("s3.retry-seconds", "7").retry_deadline, std::chrono::seconds(7));
  EXPECT_EQ(Applied("s3.upload-limit", "10M").upload_bytes_per_second, 10u << 20);
  EXPECT_EQ(Applied("s3.download-limit", "1G").download_bytes_per_second, 1u << 30);
  EXPECT_EQ(Applied("s3.multipart-above", "100M").multipart_bytes, 100u << 20);
  EXPECT_EQ(Applied("s3.prices", "1,2,3").prices->down, 3);
  S3Options options;
  EXPECT_TRUE(
      ApplyS3Settings({{"s3.encryption", "aws:kms"}, {"s3.kms-key-id", "alias/k"}}, &options).ok());
}

TEST(S3Settings, NameWhatIsWrong) {
  const auto refused = [](const std::string& key, const std::string& value) {
    S3Options options;
    const Status status = ApplyS3Settings({{key, value}}, &options);
    EXPECT_TRUE(status.Is(StatusCode::kInvalidArgument)) << key << "=" << value;
    EXPECT_NE(status.message().find(key), std::string::npos) << status.message();
    return status.message();
  };
  EXPECT_NE(refused("s3.regoin", "x").find("did you mean 's3.region'?"), std::string::npos);
  EXPECT_NE(refused("region", "x").find("s3.region"), std::string::npos);
  EXPECT_NE(refused("s3.quite-another", "x").find("s3.checksum"), std::string::npos);
  for (const char* frozen : {"GLACIER", "DEEP_ARCHIVE"}) {
    EXPECT_NE(refused("s3.storage-class", frozen).find("GLACIER_IR"), std::string::npos);
  }
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"s3.region", ""},
                                                        {"s3.endpoint", "ftp://h"},
                                                        {"s3.addressing", "dns"},
                                                        {"s3.checksum", "md5"},
                                                        {"s3.storage-class", "ia"},
                                                        {"s3.storage-class", "EXPRESS_ONEZONE"},
                                                        {"s3.encryption", "SSE-C"},
                                                        {"s3.kms-key-id", "alone"},
                                                        {"s3.requester-pays", "1"},
                                                        {"s3.connections", "0"},
                                                        {"s3.connections", "1e3"},
                                                        {"s3.retry-seconds", "0"},
                                                        {"s3.upload-limit", "10X"},
                                                        {"s3.upload-limit", "99999999999999999999"},
                                                        {"s3.download-limit", "1"},
                                                        {"s3.multipart-above", "6G"},
                                                        {"s3.prices", "1"}}) {
    refused(key, value);
  }
}

}  // namespace
}  // namespace snapstore
