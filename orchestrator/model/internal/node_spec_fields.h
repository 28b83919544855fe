// The fields of NodeSpec and of what it consists of, and the rules between them.
// Private to the folder. Source: the tables in docs/controller.md.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_NODE_SPEC_FIELDS_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_NODE_SPEC_FIELDS_H_

#include <array>

#include "orchestrator/model/internal/compute_fields.h"

namespace snapstore::spot {

template <>
struct EnumNames<LifeCycle> {
  static constexpr std::array<std::string_view, 2> kNames{"spot", "on_demand"};
};
template <>
struct EnumNames<Orientation> {
  static constexpr std::array<std::string_view, 4> kNames{"availabilityOriented", "balanced",
                                                          "costOriented", "cheapest"};
};
template <>
struct EnumNames<PerformAt> {
  static constexpr std::array<std::string_view, 3> kNames{"never", "always", "timeWindow"};
};
template <>
struct EnumNames<BlockDevicesMode> {
  static constexpr std::array<std::string_view, 2> kNames{"reattach", "onLaunch"};
};
template <>
struct EnumNames<HealthCheckType> {
  static constexpr std::array<std::string_view, 3> kNames{"EC2", "ELB", "TARGET_GROUP"};
};
template <>
struct EnumNames<TaskType> {
  static constexpr std::array<std::string_view, 3> kNames{"pause", "resume", "recycle"};
};
template <>
struct EnumNames<Frequency> {
  static constexpr std::array<std::string_view, 3> kNames{"hourly", "daily", "weekly"};
};
template <>
struct EnumNames<LoadBalancerType> {
  static constexpr std::array<std::string_view, 2> kNames{"CLASSIC", "TARGET_GROUP"};
};
template <>
struct EnumNames<RecordSetType> {
  static constexpr std::array<std::string_view, 2> kNames{"a", "cname"};
};

// Each is counted in the transaction that stores the node.
inline constexpr size_t kNodeConfigsMax = 20;

template <typename V, Is<RevertToSpot> T>
void Fields(V& v, T& o) {
  v.Field("performAt", o.perform_at);
}

template <typename V, Is<Strategy> T>
void Fields(V& v, T& o) {
  v.Field("lifeCycle", o.life_cycle);
  v.Field("orientation", o.orientation);
  v.Field("drainingTimeout", o.draining_timeout_seconds, NotNegative());
  v.Field("fallbackToOd", o.fallback_to_on_demand);
  v.Field("utilizeReservedInstances", o.utilize_reserved_instances);
  v.Field("utilizeCommitments", o.utilize_commitments);
  v.Field("optimizationWindows", o.optimization_windows, Each(CheckWeekWindow), kUnique);
  v.Field("revertToSpot", o.revert_to_spot);
  v.Field("minimumInstanceLifetime", o.minimum_instance_lifetime_hours, AnyOf({1, 3, 6, 12, 24}));
  v.Expect(o.revert_to_spot.perform_at.value() != PerformAt::kTimeWindow ||
               !o.optimization_windows.empty(),
           "optimizationWindows", "must not be empty when revertToSpot.performAt is timeWindow");
}

template <typename V, Is<Persistence> T>
void Fields(V& v, T& o) {
  v.Field("persistRootDevice", o.persist_root_device);
  v.Field("persistBlockDevices", o.persist_block_devices);
  v.Field("blockDevicesMode", o.block_devices_mode);
  v.Field("persistPrivateIp", o.persist_private_ip);
  v.Field("persistApplication", o.persist_application);
  v.Field("applicationPersistencyConfig", o.application_persistency_configs, Each(IdOf{"apc-"}),
          kUnique, [](const std::vector<std::string>& all) {
            return all.size() <= kNodeConfigsMax
                       ? std::string()
                       : fmt::format("must have at most {} entries", kNodeConfigsMax);
          });
  v.Expect(!o.persist_application.value() || !o.application_persistency_configs.empty(),
           "applicationPersistencyConfig", "must not be empty when persistApplication is true");
}

template <typename V, Is<HealthCheck> T>
void Fields(V& v, T& o) {
  v.Field("type", o.type);
  v.Field("autoHealing", o.auto_healing);
  v.Field("gracePeriod", o.grace_period_seconds, NotNegative());
  v.Field("unhealthyDuration", o.unhealthy_duration_seconds, NotNegative());
}

template <typename V, Is<Task> T>
void Fields(V& v, T& o) {
  v.Required("taskType", o.type);
  v.Field("isEnabled", o.is_enabled);
  v.Field("cronExpression", o.cron_expression, CheckCron);
  v.Field("frequency", o.frequency);
  v.Field("startTime", o.start_time, CheckTime);
  v.Expect(!(o.cron_expression && o.frequency), "frequency",
           "must not be given together with cronExpression");
  v.Expect(!o.frequency || o.start_time, "startTime",
           "is required with frequency, which is counted from it");
  v.Expect(o.cron_expression || o.frequency || o.start_time, "cronExpression",
           "is required, or frequency, or startTime");
}
template <typename V, Is<Scheduling> T>
void Fields(V& v, T& o) {
  v.Field("tasks", o.tasks);
}

template <typename V, Is<LoadBalancer> T>
void Fields(V& v, T& o) {
  v.Required("type", o.type);
  v.Field("name", o.name, TextOf{1, 255});
  v.Field("arn", o.arn, CheckLoadBalancerArn);
  for (const char* legacy : {"balancerId", "targetSetId", "azAwareness", "autoWeight"}) {
    v.Ignore(legacy);
  }
  v.Expect(o.type != LoadBalancerType::kClassic || o.name, "name",
           "is required when type is CLASSIC");
  v.Expect(o.type != LoadBalancerType::kTargetGroup || o.arn, "arn",
           "is required when type is TARGET_GROUP");
}
template <typename V, Is<LoadBalancersConfig> T>
void Fields(V& v, T& o) {
  v.Field("loadBalancers", o.load_balancers);
}
template <typename V, Is<RecordSet> T>
void Fields(V& v, T& o) {
  v.Required("name", o.name, TextOf{1, 255});
  v.Field("usePublicIp", o.use_public_ip);
  v.Field("usePublicDns", o.use_public_dns);
}
template <typename V, Is<Domain> T>
void Fields(V& v, T& o) {
  v.Required("hostedZoneId", o.hosted_zone_id, TextOf{1, 64});
  v.Field("spotinstAccountId", o.spotinst_account_id, IdOf{"act-"});
  v.Field("recordSetType", o.record_set_type);
  v.Required("recordSets", o.record_sets, kNotEmpty);
}
template <typename V, Is<Route53> T>
void Fields(V& v, T& o) {
  v.Field("domains", o.domains);
}
template <typename V, Is<Integrations> T>
void Fields(V& v, T& o) {
  v.Field("loadBalancersConfig", o.load_balancers_config);
  v.Field("route53", o.route53);
}

// Whether the health check's load balancer is there.
inline bool HasBalancer(const NodeSpec& o, LoadBalancerType type) {
  for (const LoadBalancer& balancer : o.integrations.load_balancers_config.load_balancers) {
    if (balancer.type == type) return true;
  }
  return false;
}

template <typename V, Is<NodeSpec> T>
void Fields(V& v, T& o) {
  v.Required("name", o.name, TextOf{1, 255});
  v.Field("description", o.description, TextOf{0, 1024});
  v.Required("region", o.region, CheckRegion);
  v.Field("strategy", o.strategy);
  v.Field("persistence", o.persistence);
  v.Field("healthCheck", o.health_check);
  v.Required("compute", o.compute);
  v.Field("scheduling", o.scheduling);
  v.Field("integrations", o.integrations);
  for (const char* read_only : {"id", "createdAt", "updatedAt"}) v.Ignore(read_only);
  v.Expect(PersistsAnything(o.persistence), "persistence",
           "must turn on at least one of persistRootDevice, persistBlockDevices, "
           "persistPrivateIp and persistApplication");
  v.Expect(o.health_check.type.value() != HealthCheckType::kElb ||
               HasBalancer(o, LoadBalancerType::kClassic),
           "healthCheck.type",
           "is ELB, but integrations.loadBalancersConfig has no load balancer of type CLASSIC");
  v.Expect(o.health_check.type.value() != HealthCheckType::kTargetGroup ||
               HasBalancer(o, LoadBalancerType::kTargetGroup),
           "healthCheck.type",
           "is TARGET_GROUP, but integrations.loadBalancersConfig has no load balancer of that "
           "type");
}

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_NODE_SPEC_FIELDS_H_
