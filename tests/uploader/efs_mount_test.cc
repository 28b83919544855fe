#include "uploader/internal/efs_mount.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/base/temp_folder.h"

namespace snapstore::internal {
namespace {

constexpr const char* kId = "fs-0a1b2c3d4e5f60718";

// What a node with a few mounts shows, and `more`.
std::string MountInfo(const std::string& more) {
  return "22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n"
         "28 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw,discard,errors=remount-ro\n"
         "31 28 0:26 / /run rw,nosuid,nodev shared:5 - tmpfs tmpfs rw,size=394664k,mode=755\n" +
         more;
}

std::string Nfs4(const std::string& device, const std::string& source, const std::string& at,
                 const std::string& options = "addr=10.0.3.17", const std::string& root = "/") {
  return "97 28 " + device + " " + root + " " + at + " rw,relatime shared:52 - nfs4 " + source +
         " rw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,hard,noresvport,proto=tcp,timeo=600,"
         "retrans=2,sec=sys,clientaddr=10.0.3.99,local_lock=none," +
         options + "\n";
}

std::string ByName(const std::string& device, const std::string& folder, const std::string& at) {
  return Nfs4(device, std::string(kId) + ".efs.eu-west-1.amazonaws.com:" + folder, at);
}

std::string ByProxy(const std::string& device, const std::string& port, const std::string& at) {
  return Nfs4(device, "127.0.0.1:/", at, "port=" + port + ",addr=127.0.0.1");
}

Result<EfsPlace> Locate(const std::string& more, const std::string& folder,
                        const std::vector<EfsProxy>& proxies = {}) {
  return LocateOnEfs(ParseMountTable(MountInfo(more)), proxies, kId, folder);
}

std::string PathOf(const Result<EfsPlace>& place) {
  return place.ok() ? place->path : place.status().ToString();
}

TEST(MountTable, ReadsWhatTheKernelWrites) {
  const std::vector<MountEntry> mounts = ParseMountTable(MountInfo(
      Nfs4("0:45", "10.0.3.17:/", "/mnt/with\\040space\\134", "port=20449,addr=127.0.0.1") +
      "no mount at all\n\n"));
  ASSERT_EQ(mounts.size(), 4u);
  EXPECT_EQ(mounts[1].mount_point, "/");
  EXPECT_EQ(mounts[1].type, "ext4");
  const MountEntry& nfs = mounts[3];
  EXPECT_EQ(nfs.device, "0:45");
  EXPECT_EQ(nfs.mount_point, "/mnt/with space\\");
  EXPECT_EQ(nfs.source, "10.0.3.17:/");
  EXPECT_TRUE(nfs.HasOption("hard"));
  EXPECT_FALSE(nfs.HasOption("soft"));
  EXPECT_FALSE(nfs.HasOption("har"));
  EXPECT_EQ(nfs.OptionValue("port"), "20449");
  EXPECT_EQ(nfs.OptionValue("hard"), "");
  EXPECT_EQ(nfs.OptionValue("ort"), "");
}

TEST(MountTable, ReadsItsOwn) {
  const Result<std::vector<MountEntry>> mounts = ReadMountTable();
  ASSERT_TRUE(mounts.ok()) << mounts.status().ToString();
  EXPECT_FALSE(mounts->empty());
}

TEST(EfsMount, IsFoundByItsDnsName) {
  const std::string mount = ByName("0:45", "/", "/mnt/efs");
  EXPECT_EQ(PathOf(Locate(mount, "")), "/mnt/efs");
  EXPECT_EQ(PathOf(Locate(mount, "/repo/node 7/")), "/mnt/efs/repo/node 7");
  EXPECT_EQ(Locate(mount, "")->device, "0:45");
  // One Zone, and a name in another partition.
  for (const char* host : {"eu-west-1a.fs-0a1b2c3d4e5f60718.efs.eu-west-1.amazonaws.com",
                           "fs-0a1b2c3d4e5f60718.efs.cn-north-1.amazonaws.com.cn"}) {
    EXPECT_EQ(PathOf(Locate(Nfs4("0:45", std::string(host) + ":/", "/mnt/efs"), "/r")),
              "/mnt/efs/r");
  }
}

TEST(EfsMount, IsFoundByTheTypeOfAMountHelper) {
  for (const std::string& source : {std::string(kId), std::string(kId) + ":/"}) {
    EXPECT_EQ(PathOf(Locate("97 28 0:45 / /efs rw - efs " + source + " rw\n", "/r")), "/efs/r");
  }
}

TEST(EfsMount, IsFoundThroughTheLocalProxy) {
  const std::vector<EfsProxy> proxies = {{"fs-99999999", "20101", ""}, {kId, "20449", ""}};
  EXPECT_EQ(
      PathOf(Locate(ByProxy("0:46", "20101", "/mnt/other") + ByProxy("0:45", "20449", "/mnt/efs"),
                    "/r", proxies)),
      "/mnt/efs/r");
  const Status other = Locate(ByProxy("0:46", "20101", "/mnt/other"), "/r", proxies).status();
  EXPECT_TRUE(other.Is(StatusCode::kIo)) << other.ToString();
  EXPECT_EQ(other.message().find("127.0.0.1"), std::string::npos) << other.ToString();
  const Status unknown = Locate(ByProxy("0:45", "20450", "/mnt/efs"), "/r", proxies).status();
  EXPECT_NE(unknown.message().find("127.0.0.1"), std::string::npos) << unknown.ToString();
}

TEST(EfsMount, AMountOfAFolderIsThatFolder) {
  const std::string folder = ByName("0:45", "/teams/data", "/mnt/data");
  EXPECT_EQ(PathOf(Locate(folder, "/teams/data/repo")), "/mnt/data/repo");
  EXPECT_EQ(PathOf(Locate(folder, "/teams/data")), "/mnt/data");
  for (const char* outside : {"", "/repo", "/teams", "/teams/database"}) {
    const Status status = Locate(folder, outside).status();
    EXPECT_TRUE(status.Is(StatusCode::kIo)) << status.ToString();
    EXPECT_NE(status.message().find("/teams/data at /mnt/data"), std::string::npos)
        << status.ToString();
  }
  // A bind mount shows another root.
  const std::string bound = Nfs4("0:45", std::string(kId) + ".efs.eu-west-1.amazonaws.com:/teams",
                                 "/srv", "addr=10.0.3.17", "/data");
  EXPECT_EQ(PathOf(Locate(bound, "/teams/data/repo")), "/srv/repo");
}

TEST(EfsMount, TheClosestMountIsTakenAndAmongEqualsTheLatest) {
  const std::string root = ByName("0:45", "/", "/mnt/efs");
  const std::string data = ByName("0:46", "/data", "/mnt/data");
  const std::string again = ByName("0:47", "/", "/mnt/again");
  const Result<EfsPlace> inside = Locate(root + data + again, "/data/repo");
  EXPECT_EQ(PathOf(inside), "/mnt/data/repo");
  EXPECT_EQ(inside->candidates, 3u);
  const Result<EfsPlace> outside = Locate(root + data + again, "/repo");
  EXPECT_EQ(PathOf(outside), "/mnt/again/repo");
  EXPECT_EQ(outside->candidates, 2u);
}

TEST(EfsMount, AMountThatAnotherHidesIsNotTaken) {
  const std::string efs = ByName("0:45", "/", "/mnt/efs");
  const std::string over = "99 97 0:50 / /mnt/efs rw - tmpfs tmpfs rw\n";
  const std::string above = "99 28 0:50 / /mnt rw - tmpfs tmpfs rw\n";
  EXPECT_FALSE(Locate(efs + over, "").ok());
  EXPECT_FALSE(Locate(efs + above, "").ok());
  EXPECT_EQ(PathOf(Locate(over + efs, "")), "/mnt/efs");
  EXPECT_EQ(PathOf(Locate(efs + "99 28 0:50 / /mnt/efs2 rw - tmpfs tmpfs rw\n", "")), "/mnt/efs");
}

TEST(EfsMount, AnAccessPointIsTakenWhenNothingElseIsMounted) {
  const std::vector<EfsProxy> proxies = {{kId, "20449", "fsap-01"}, {kId, "20450", "fsap-02"}};
  const std::string first = ByProxy("0:45", "20449", "/mnt/first");
  const std::string second = ByProxy("0:46", "20450", "/mnt/second");
  EXPECT_EQ(PathOf(Locate(first, "/r", proxies)), "/mnt/first/r");
  EXPECT_EQ(PathOf(Locate(first + ByName("0:47", "/", "/mnt/efs"), "/r", proxies)), "/mnt/efs/r");
  const Status both = Locate(first + second, "/r", proxies).status();
  EXPECT_TRUE(both.Is(StatusCode::kInvalidArgument)) << both.ToString();
  EXPECT_NE(both.message().find("fsap-01 at /mnt/first"), std::string::npos) << both.ToString();
}

// Invariant 9: an application must not start afresh because a mount is missing.
TEST(EfsMount, WhatIsNotMountedIsAnErrorThatSaysHowToMountIt) {
  for (const std::string& more :
       {std::string(), Nfs4("0:45", "fs-99999999.efs.eu-west-1.amazonaws.com:/", "/mnt/efs"),
        Nfs4("0:45", "10.0.3.17:/", "/mnt/efs"), Nfs4("0:45", "xfs-0a1b2c3d4e5f60718.x:/", "/mnt"),
        Nfs4("0:45", "fs-0a1b2c3d4e5f607180.x:/", "/mnt"),
        std::string("97 28 0:45 / /mnt rw - ext4 fs-0a1b2c3d4e5f60718 rw\n")}) {
    const Result<EfsPlace> place = Locate(more, "/repo");
    ASSERT_FALSE(place.ok()) << more;
    EXPECT_TRUE(place.status().Is(StatusCode::kIo)) << place.status().ToString();
    EXPECT_NE(place.status().message().find("mount -t efs"), std::string::npos);
    EXPECT_NE(place.status().message().find(kId), std::string::npos);
  }
}

TEST(EfsMount, ReadsTheFilesOfTheMountHelper) {
  const TempFolder folder;
  EXPECT_TRUE(ReadEfsProxies(folder.File("none"))->empty());
  const std::string name = std::string(kId) + ".mnt.my.data.20449";
  std::ofstream(folder.File(name)) << R"({"pid": 812, "cmd": ["/usr/bin/efs-proxy"],)"
                                      R"( "accessPoint": "fsap-0123", "useIam": true})";
  std::ofstream(folder.File("fs-0123abcd.efs.20450")) << "not json";
  std::ofstream(folder.File("stunnel-config." + name)) << "x";
  std::ofstream(folder.File("~" + name)) << "{}";
  std::ofstream(folder.File("fs-0123abcd")) << "{}";
  std::filesystem::create_directory(folder.File(name + "+"));
  Result<std::vector<EfsProxy>> proxies = ReadEfsProxies(folder.path());
  ASSERT_TRUE(proxies.ok());
  ASSERT_EQ(proxies->size(), 2u);
  std::sort(proxies->begin(), proxies->end(),
            [](const EfsProxy& x, const EfsProxy& y) { return x.port < y.port; });
  EXPECT_EQ((*proxies)[0].file_system, kId);
  EXPECT_EQ((*proxies)[0].port, "20449");
  EXPECT_EQ((*proxies)[0].access_point, "fsap-0123");
  EXPECT_EQ((*proxies)[1].file_system, "fs-0123abcd");
  EXPECT_EQ((*proxies)[1].access_point, "");
}

TEST(EfsMount, KnowsAnIdWhenItSeesOne) {
  EXPECT_TRUE(IsEfsFileSystemId("fs-0123abcd"));
  EXPECT_TRUE(IsEfsFileSystemId(kId));
  for (const char* text : {"", "fs-", "fs-0123abc", "fs-0123ABCD", "fs-0123abcd0", "xs-0123abcd"}) {
    EXPECT_FALSE(IsEfsFileSystemId(text)) << text;
  }
}

}  // namespace
}  // namespace snapstore::internal
