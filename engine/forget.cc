#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <set>

#include "base/clock.h"
#include "base/status_macros.h"
#include "engine/progress.h"
#include "engine/repository_impl.h"
#include "snapstore/maintain.h"

namespace snapstore {
namespace {

// Names of the periods that a local time is in: equal within one, different in any other.
std::string HourOf(const std::tm& time) {
  // An hour of a clock set back comes twice; the two differ by their offset.
  return fmt::format("{}/{}/{}/{}", time.tm_year, time.tm_yday, time.tm_hour, time.tm_gmtoff);
}
std::string DayOf(const std::tm& time) { return fmt::format("{}/{}", time.tm_year, time.tm_yday); }
std::string WeekOf(const std::tm& time) {
  std::array<char, 32> name{};
  return {name.data(), std::strftime(name.data(), name.size(), "%G-W%V", &time)};
}
std::string MonthOf(const std::tm& time) { return fmt::format("{}/{}", time.tm_year, time.tm_mon); }
std::string YearOf(const std::tm& time) { return fmt::format("{}", time.tm_year); }

// A rule that keeps the newest snapshot of each of the last so many periods.
struct PeriodRule {
  const char* reason;
  std::string (*period_of)(const std::tm&);
  uint64_t left;
  std::string last = {};

  // Snapshots come newest first.
  bool Keeps(int64_t time_ns) {
    if (left == 0) return false;
    const time_t seconds = ToTimespec(time_ns).tv_sec;
    std::tm local{};
    // A time that no calendar has: better kept.
    if (::localtime_r(&seconds, &local) == nullptr) return true;
    std::string period = period_of(local);
    if (period == last) return false;
    last = std::move(period);
    --left;
    return true;
  }
};

void Decide(const ForgetPolicy& policy, ForgetGroup* group) {
  std::stable_sort(group->decisions.begin(), group->decisions.end(),
                   [](const ForgetDecision& a, const ForgetDecision& b) {
                     return a.info.time_ns > b.info.time_ns;
                   });
  PeriodRule periods[] = {{"hourly", HourOf, policy.hourly},
                          {"daily", DayOf, policy.daily},
                          {"weekly", WeekOf, policy.weekly},
                          {"monthly", MonthOf, policy.monthly},
                          {"yearly", YearOf, policy.yearly}};
  const int64_t newest = group->decisions.front().info.time_ns;
  uint64_t ordinal = 0;
  for (ForgetDecision& decision : group->decisions) {
    const SnapshotInfo& info = decision.info;
    if (ordinal++ < policy.last) decision.reasons.emplace_back("last");
    for (PeriodRule& period : periods) {
      if (period.Keeps(info.time_ns)) decision.reasons.emplace_back(period.reason);
    }
    if (policy.within_ns > 0 && newest - info.time_ns <= policy.within_ns) {
      decision.reasons.emplace_back("within");
    }
    const bool tagged = std::any_of(policy.tags.begin(), policy.tags.end(), [&](const auto& tag) {
      const auto found = info.tags.find(tag.first);
      return found != info.tags.end() && found->second == tag.second;
    });
    if (tagged) decision.reasons.emplace_back("tag");
    decision.keep = !decision.reasons.empty();
  }
}

}  // namespace

std::vector<ForgetGroup> ApplyForgetPolicy(const std::vector<SnapshotInfo>& snapshots,
                                           const ForgetPolicy& policy,
                                           const ForgetGrouping& grouping) {
  std::map<std::pair<std::string, std::vector<std::string>>, ForgetGroup> groups;
  for (const SnapshotInfo& info : snapshots) {
    const std::string host = grouping.host ? info.host : "";
    const std::vector<std::string> paths = grouping.paths ? info.paths : std::vector<std::string>();
    ForgetGroup& group = groups[{host, paths}];
    group.host = host;
    group.paths = paths;
    group.decisions.push_back({info, false, {}});
  }
  std::vector<ForgetGroup> out;
  for (auto& [key, group] : groups) {
    Decide(policy, &group);
    out.push_back(std::move(group));
  }
  return out;
}

Result<uint64_t> ForgetSnapshots(Repository& repository, const std::vector<std::string>& ids,
                                 Observer* observer) {
  ProgressReporter progress(observer, "forget");
  progress.SetItemsTotal(ids.size());
  uint64_t removed = 0;
  for (const std::string& id : ids) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    SNAP_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(id));
    const Status deleted = RepositoryImpl::Of(repository).store().Delete(ManifestKey(digest));
    if (deleted.ok()) ++removed;
    if (!deleted.ok() && !deleted.Is(StatusCode::kNotFound)) {
      return deleted.WithContext("forget snapshot " + id);
    }
  }
  return removed;
}

}  // namespace snapstore
