// OperationRun: one try of an operation. The operation's program is run from its beginning each
// time; steps that are done answer with what they recorded, so the program goes on where it was:
//
//   SNAP_FLOW_ASSIGN(const Json launched, run->Do("launch", input, [&](const StepRecord& step) {
//     … RunInstances with step.client_token and step.input …
//     return Flow<Json>(Json{{"instanceId", …}});
//   }));
//
// What a program decides must follow from the operation's record alone, or be a step.
//
// Flow is a value, or why the try ends here: Wait (look again in a while), Retry (something failed
// that may go better later), Fail (it will not), Superseded (another operation wants its place).
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_OPERATION_RUN_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_OPERATION_RUN_H_

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "orchestrator/lifecycle/services.h"

namespace snapstore::spot {

struct Halt {
  enum class Kind { kWait, kRetry, kFail, kSuperseded };
  Kind kind = Kind::kWait;
  int64_t wait_ms = 0;  // of kWait; 0: as long as usual
  Status status = {};   // why
};

inline Halt Wait(int64_t ms = 0) { return {Halt::Kind::kWait, ms, {}}; }
inline Halt RetryLater(Status why) { return {Halt::Kind::kRetry, 0, std::move(why)}; }
inline Halt Fail(Status why) { return {Halt::Kind::kFail, 0, std::move(why)}; }
// Retry, unless it is refused for what it says.
Halt HaltOf(const AwsFailure& failure);

template <typename T>
class [[nodiscard]] Flow {
 public:
  Flow(T value) : value_(std::move(value)) {}      // NOLINT: implicit by intent
  Flow(Halt halt) : halt_(std::move(halt)) {}      // NOLINT: implicit by intent
  Flow(const AwsFailure& f) : halt_(HaltOf(f)) {}  // NOLINT: implicit by intent

  bool ok() const { return value_.has_value(); }
  // REQUIRES: !ok().
  const Halt& halt() const { return halt_; }
  // REQUIRES: ok().
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Halt halt_;
};

struct Done {};

#define SNAP_FLOW_CONCAT_INNER_(a, b) a##b
#define SNAP_FLOW_CONCAT_(a, b) SNAP_FLOW_CONCAT_INNER_(a, b)
// Counted, not by line: lambdas in the expression have flows of their own.
#define SNAP_FLOW_NAME_() SNAP_FLOW_CONCAT_(flow_, __COUNTER__)
#define SNAP_FLOW_ASSIGN_IMPL_(flow, declaration, ...) \
  auto flow = (__VA_ARGS__);                           \
  if (!flow.ok()) return flow.halt();                  \
  declaration = *std::move(flow)
// Declares or assigns what the expression (a Flow) holds; returns its halt if it has none.
#define SNAP_FLOW_ASSIGN(declaration, ...) \
  SNAP_FLOW_ASSIGN_IMPL_(SNAP_FLOW_NAME_(), declaration, __VA_ARGS__)
#define SNAP_FLOW_IMPL_(flow, ...)                                 \
  do {                                                             \
    if (auto flow = (__VA_ARGS__); !flow.ok()) return flow.halt(); \
  } while (false)
#define SNAP_FLOW(...) SNAP_FLOW_IMPL_(SNAP_FLOW_NAME_(), __VA_ARGS__)

class OperationRun {
 public:
  using Body = std::function<Flow<Json>(const StepRecord& step)>;
  using Look = std::function<Flow<Json>()>;
  // May use the step's output.
  using Update = std::function<void(const Json& output, ControllerState::NodeChange* change)>;

  // The node may be missing: an import has none at first.
  OperationRun(const Services* services, Operation operation, std::optional<NodeRecord> node);

  // Something that changes the world: recorded before it is tried. `update` changes the node's
  // record together with the step's end.
  Flow<Json> Do(const std::string& step, const Json& input, const Body& body,
                const Update& update = nullptr);
  // A wait that is measured from its beginning; given up when another operation wants the place.
  Flow<Json> Linger(const std::string& step, const Body& body);
  // Something that only looks, or that does the same however often it is done.
  Flow<Json> Observe(const std::string& step, const Look& look, const Update& update = nullptr);
  // Forgets a step so that it is done again, with another token; a name that ends in a slash: all
  // steps below it.
  Flow<Done> Forget(const std::string& step);

  // Changes the node outside of a step; `change` must be idempotent.
  Flow<Done> ChangeNode(const std::function<void(ControllerState::NodeChange*)>& change);
  // An event of this operation, once per step name.
  Flow<Done> Report(const std::string& step, const std::string& type, Severity severity,
                    const std::string& message);

  bool IsDone(const std::string& step) const;
  // This try began it: no earlier one can have changed anything.
  bool IsFirstTry(const std::string& step) const { return begun_now_.contains(step); }
  // When the step was first begun; nothing if it was not.
  std::optional<int64_t> BegunAt(const std::string& step) const;
  const Operation& operation() const { return operation_; }
  // REQUIRES: there is one.
  const NodeRecord& node() const { return *node_; }
  bool has_node() const { return node_.has_value(); }
  Flow<Done> ReloadNode();
  // As it was when the operation began: what it builds does not change under it.
  const NodeSpec& spec() const { return spec_; }
  Flow<Done> UseSpec(const Json& stored);
  const Services& services() const { return *services_; }
  int64_t Now() const { return services_->state->Now(); }

 private:
  const StepRecord* Find(const std::string& step) const;
  Flow<Done> ReloadOperation();
  Flow<Json> Complete(const std::string& step, bool begun, const Json& output,
                      const Update& update);

  const Services* const services_;
  Operation operation_;
  std::optional<NodeRecord> node_;
  NodeSpec spec_;
  std::set<std::string> begun_now_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_OPERATION_RUN_H_
