// PipelineStage: how busy one part of a pipeline was; the busiest one is what to make faster.
#ifndef SNAPSTORE_PIPELINE_STAGE_H_
#define SNAPSTORE_PIPELINE_STAGE_H_

#include <string>

namespace snapstore {

struct PipelineStage {
  std::string name;
  unsigned threads = 0;     // that worked at it side by side
  double seconds = 0;       // from the beginning of the pipeline to its end
  double busy_seconds = 0;  // of all threads together, not blocked by another stage

  // Between 0 and 1.
  double Utilisation() const {
    const double most = threads * seconds;
    return most > 0 ? busy_seconds / most : 0;
  }
};

}  // namespace snapstore

#endif  // SNAPSTORE_PIPELINE_STAGE_H_
