#include "orchestrator/localcloud/machine/instance_init.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>

#include "base/file.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/machine/program.h"

namespace snapstore::localcloud {
namespace {

constexpr size_t kPlanBytesMax = 1 << 20;
constexpr const char* kUserDataFolder = "/var/lib/cloud/instance";
constexpr const char* kPerBootFolder = "/var/lib/cloud/scripts/per-boot";  // as cloud-init has it
constexpr const char* kFileSystems = "/mnt/efs";
constexpr const char* kUserDataLog = "/var/log/cloud-init-output.log";

Status Failed(const std::string& what) { return Status::FromErrno(errno, what); }

Status Mount(const char* source, const std::string& target, const char* type, unsigned long flags,
             const char* options = nullptr) {
  if (mount(source, target.c_str(), type, flags, options) == 0) return {};
  return Failed(fmt::format("mount {} on {}", source == nullptr ? "-" : source, target));
}

Status MakeFolder(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
  return Failed("make " + path);
}

void Report(const std::string& line) {
  const std::string text = line + "\n";
  (void)!write(kInstanceReportFd, text.data(), text.size());
}

struct Node {
  const char* name;
  mode_t mode;
  unsigned major_number;
  unsigned minor_number;
};

// A small /dev of its own: the machine's disks are not for instances.
Status MakeDevices(const std::string& root, const InstancePlan& plan) {
  const std::string dev = root + "/dev";
  SNAP_RETURN_IF_ERROR(Mount("dev", dev, "tmpfs", MS_NOSUID, "mode=755,size=16m"));
  constexpr std::array<Node, 9> kNodes = {{{"null", 0666, 1, 3},
                                           {"zero", 0666, 1, 5},
                                           {"full", 0666, 1, 7},
                                           {"random", 0666, 1, 8},
                                           {"urandom", 0666, 1, 9},
                                           {"kmsg", 0600, 1, 11},
                                           {"tty", 0666, 5, 0},
                                           {"console", 0600, 1, 3},
                                           {"fuse", 0666, 10, 229}}};
  const mode_t mask = umask(0);
  for (const Node& node : kNodes) {
    if (mknod((dev + "/" + node.name).c_str(), S_IFCHR | node.mode,
              makedev(node.major_number, node.minor_number)) != 0) {
      return Failed(fmt::format("make /dev/{}", node.name));
    }
  }
  for (const InstancePlan::Device& device : plan.devices) {
    if (mknod((root + device.name).c_str(), S_IFBLK | 0660, device.number) != 0) {
      return Failed("make " + device.name);
    }
  }
  umask(mask);
  for (const char* folder : {"/pts", "/shm", "/mqueue"}) {
    SNAP_RETURN_IF_ERROR(MakeFolder(dev + folder, 0755));
  }
  SNAP_RETURN_IF_ERROR(Mount("devpts", dev + "/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                             "newinstance,ptmxmode=0666,mode=620,gid=5"));
  SNAP_RETURN_IF_ERROR(Mount("shm", dev + "/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"));
  SNAP_RETURN_IF_ERROR(
      Mount("mqueue", dev + "/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  constexpr std::array<std::pair<const char*, const char*>, 5> kLinks = {
      {{"pts/ptmx", "ptmx"},
       {"/proc/self/fd", "fd"},
       {"/proc/self/fd/0", "stdin"},
       {"/proc/self/fd/1", "stdout"},
       {"/proc/self/fd/2", "stderr"}}};
  for (const auto& [target, name] : kLinks) {
    if (symlink(target, (dev + "/" + name).c_str()) != 0) return Failed("link in /dev");
  }
  return {};
}

// /tmp is the instance's own from the start; what was in it when the volume was kept, stays.
Status PrepareUpper(const std::string& volume) {
  SNAP_RETURN_IF_ERROR(MakeFolder(volume + "/upper", 0755));
  SNAP_RETURN_IF_ERROR(MakeFolder(volume + "/work", 0700));
  const std::string tmp = volume + "/upper/tmp";
  if (mkdir(tmp.c_str(), 01777) == 0) {
    if (chmod(tmp.c_str(), 01777) != 0 ||
        setxattr(tmp.c_str(), "trusted.overlay.opaque", "y", 1, 0) != 0) {
      return Failed("prepare /tmp");
    }
  } else if (errno != EEXIST) {
    return Failed("make " + tmp);
  }
  return {};
}

// What is written to them is seen by all instances, and by the machine: no overlay.
Status MountFileSystems(const std::string& root, const InstancePlan& plan) {
  if (plan.file_systems.empty()) return {};
  SNAP_RETURN_IF_ERROR(MakeFolder(root + kFileSystems, 0755));
  for (const auto& [id, folder] : plan.file_systems) {
    const std::string target = fmt::format("{}{}/{}", root, kFileSystems, id);
    SNAP_RETURN_IF_ERROR(MakeFolder(target, 0755));
    SNAP_RETURN_IF_ERROR(Mount(folder.c_str(), target, nullptr, MS_BIND));
  }
  return {};
}

Status MakeRoot(const InstancePlan& plan) {
  // Nothing mounted here is ever seen outside; what is unmounted outside goes here too.
  SNAP_RETURN_IF_ERROR(Mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC));
  SNAP_RETURN_IF_ERROR(Mount("scratch", plan.scratch, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700"));
  const std::string volume = plan.scratch + "/volume";
  const std::string root = plan.scratch + "/root";
  SNAP_RETURN_IF_ERROR(MakeFolder(volume, 0700));
  SNAP_RETURN_IF_ERROR(MakeFolder(root, 0755));
  SNAP_RETURN_IF_ERROR(Mount(plan.root_device.c_str(), volume, "ext4", MS_NOATIME));
  SNAP_RETURN_IF_ERROR(PrepareUpper(volume));
  const std::string options =
      fmt::format("lowerdir=/,upperdir={0}/upper,workdir={0}/work,index=off,metacopy=off", volume);
  SNAP_RETURN_IF_ERROR(Mount("root", root, "overlay", MS_NOATIME, options.c_str()));
  SNAP_RETURN_IF_ERROR(Mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  SNAP_RETURN_IF_ERROR(Mount("sysfs", root + "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  SNAP_RETURN_IF_ERROR(MakeDevices(root, plan));
  SNAP_RETURN_IF_ERROR(Mount("run", root + "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755"));
  // Kept in sight so that the server can freeze it: an overlay cannot be frozen.
  SNAP_RETURN_IF_ERROR(MakeFolder(root + "/run/localcloud", 0700));
  SNAP_RETURN_IF_ERROR(MakeFolder(root + "/run/localcloud/root-volume", 0700));
  SNAP_RETURN_IF_ERROR(
      Mount(volume.c_str(), root + "/run/localcloud/root-volume", nullptr, MS_MOVE));
  SNAP_RETURN_IF_ERROR(MountFileSystems(root, plan));
  if (access((root + plan.hidden).c_str(), F_OK) == 0) {
    SNAP_RETURN_IF_ERROR(Mount("hidden", root + plan.hidden, "tmpfs",
                               MS_NOSUID | MS_NODEV | MS_RDONLY, "mode=000,size=4k"));
  }
  if (chdir(root.c_str()) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 ||
      umount2(".", MNT_DETACH) != 0 || chdir("/") != 0) {
    return Failed("move to the new root");
  }
  return {};
}

Status SetUp(const InstancePlan& plan) {
  char go = 0;
  if (read(kInstanceGoFd, &go, 1) != 1) return Status::Cancelled("the server is gone");
  SNAP_RETURN_IF_ERROR(RunProgram({"ip", "-batch", "-"}, plan.network_batch).status());
  if (sethostname(plan.host_name.data(), plan.host_name.size()) != 0)
    return Failed("set host name");
  return MakeRoot(plan);
}

// Puts the user data where it runs from. False: it is no script, or has run on this root as this
// instance (a root that was made from an image is another instance's).
Result<bool> StoreUserData(const InstancePlan& plan, const std::string& script) {
  if (!plan.user_data.starts_with("#!")) return false;
  const std::string mark = std::string(kUserDataFolder) + "/instance-id";
  constexpr size_t kIdBytesMax = 64;
  const Result<Bytes> ran = ReadWholeFile(mark, kIdBytesMax);
  if (ran.ok() && AsText(*ran) == plan.id) return false;
  SNAP_RETURN_IF_ERROR(MakeDirectories(kUserDataFolder, 0755));
  SNAP_RETURN_IF_ERROR(ReplaceFile(script, AsBytes(plan.user_data), 0700));
  SNAP_RETURN_IF_ERROR(ReplaceFile(mark, AsBytes(plan.id), 0644));
  return true;
}

// The process of what runs at boot: the scripts for every boot, then the user data.
pid_t StartUserData(const InstancePlan& plan) {
  const std::string script = std::string(kUserDataFolder) + "/user-data.txt";
  const Result<bool> first = StoreUserData(plan, script);
  if (!first.ok()) {
    fmt::print(stderr, "user data: {}\n", first.status().message());
    return -1;
  }
  std::string command = fmt::format("[ ! -d {0} ] || run-parts {0}", kPerBootFolder);
  if (*first) command += "; exec " + script;
  const pid_t child = fork();
  if (child != 0) return child;
  setsid();
  const int null = open("/dev/null", O_RDONLY);
  const int log = open(kUserDataLog, O_WRONLY | O_CREAT | O_APPEND, 0640);
  if (null >= 0) dup2(null, STDIN_FILENO);
  if (log >= 0) {
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
  }
  close_range(3, ~0U, 0);
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  umask(022);
  setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
  setenv("HOME", "/root", 1);
  setenv("INSTANCE_ID", plan.id.c_str(), 1);
  if (!plan.file_systems.empty()) setenv("SNAPSTORE_EFS_ROOT", kFileSystems, 1);
  execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  fmt::print(stderr, "user data: {}\n", std::strerror(errno));
  _exit(127);
}

// True when nothing is left but this process.
bool ReapAll(pid_t user_data) {
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) != 0;) {
    if (pid < 0) return errno == ECHILD;
    if (pid == user_data) {
      fmt::print(stderr, "user data ended with status {}\n",
                 WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
  }
  return false;
}

[[noreturn]] void ShutDown(const InstancePlan& plan, pid_t user_data) {
  kill(-1, SIGTERM);
  kill(-1, SIGCONT);
  constexpr int kStepsPerSecond = 50;
  for (int step = 0; step < plan.shutdown_seconds * kStepsPerSecond; ++step) {
    if (ReapAll(user_data)) break;
    const timespec wait{0, 1'000'000'000 / kStepsPerSecond};
    nanosleep(&wait, nullptr);
  }
  kill(-1, SIGKILL);
  sync();
  _exit(0);
}

[[noreturn]] void RunFirstProcess(const InstancePlan& plan) {
  prctl(PR_SET_NAME, "localcloud-init", 0, 0, 0);
  sigset_t watched;
  sigemptyset(&watched);
  for (const int number : {SIGTERM, SIGCHLD, SIGINT, SIGHUP}) sigaddset(&watched, number);
  sigprocmask(SIG_BLOCK, &watched, nullptr);
  const Status made = SetUp(plan);
  if (!made.ok()) {
    Report("error " + made.message());
    _exit(1);
  }
  Report("ready");
  close(kInstanceGoFd);
  close(kInstanceReportFd);
  const pid_t user_data = StartUserData(plan);
  while (true) {
    siginfo_t info{};
    if (sigwaitinfo(&watched, &info) == SIGTERM) ShutDown(plan, user_data);
    ReapAll(user_data);
  }
}

Result<InstancePlan> ReadPlan(const std::string& path) {
  SNAP_ASSIGN_OR_RETURN(const Bytes text, ReadWholeFile(path, kPlanBytesMax));
  return InstancePlan::FromJson(nlohmann::json::parse(text.begin(), text.end(), nullptr, false));
}

Status JoinGroups(const InstancePlan& plan) {
  for (const std::string& path : plan.group_files) {
    SNAP_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_WRONLY));
    SNAP_RETURN_IF_ERROR(WriteFull(file.get(), AsBytes("0"), path));
  }
  return {};
}

}  // namespace

nlohmann::json InstancePlan::ToJson() const {
  nlohmann::json list = nlohmann::json::array();
  for (const Device& device : devices) {
    list.push_back({{"name", device.name}, {"number", device.number}});
  }
  return {{"id", id},
          {"host_name", host_name},
          {"root_device", root_device},
          {"scratch", scratch},
          {"hidden", hidden},
          {"user_data", user_data},
          {"network_batch", network_batch},
          {"group_files", group_files},
          {"devices", list},
          {"file_systems", file_systems},
          {"shutdown_seconds", shutdown_seconds}};
}

Result<InstancePlan> InstancePlan::FromJson(const nlohmann::json& json) {
  try {
    InstancePlan plan;
    json.at("id").get_to(plan.id);
    json.at("host_name").get_to(plan.host_name);
    json.at("root_device").get_to(plan.root_device);
    json.at("scratch").get_to(plan.scratch);
    json.at("hidden").get_to(plan.hidden);
    json.at("user_data").get_to(plan.user_data);
    json.at("network_batch").get_to(plan.network_batch);
    json.at("group_files").get_to(plan.group_files);
    json.at("shutdown_seconds").get_to(plan.shutdown_seconds);
    json.at("file_systems").get_to(plan.file_systems);
    for (const nlohmann::json& device : json.at("devices")) {
      plan.devices.push_back({device.at("name"), device.at("number")});
    }
    return plan;
  } catch (const nlohmann::json::exception& error) {
    return Status::InvalidArgument(fmt::format("plan of an instance: {}", error.what()));
  }
}

int RunInstanceInit(const std::string& plan_path) {
  const Result<InstancePlan> plan = ReadPlan(plan_path);
  if (!plan.ok()) {
    Report("error " + plan.status().message());
    return 1;
  }
  setsid();
  Status made = JoinGroups(*plan);
  constexpr int kNamespaces =
      CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID;
  if (made.ok() && unshare(kNamespaces) != 0) made = Failed("make namespaces (needs root)");
  if (!made.ok()) {
    Report("error " + made.message());
    return 1;
  }
  const pid_t child = fork();
  if (child == 0) RunFirstProcess(*plan);
  Report(child < 0 ? fmt::format("error fork: {}", std::strerror(errno))
                   : fmt::format("pid {}", child));
  return child < 0 ? 1 : 0;
}

}  // namespace snapstore::localcloud
