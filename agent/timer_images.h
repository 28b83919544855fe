// RearmTimers: mends what CRIU forgets about timers of timerfd(2).
//
// A timer that has expired and whose expiry was not read yet is shown by the kernel as one that is
// not armed. CRIU restores it as such: the process gets that one expiry and then none any more. A
// timer with a short interval always expires while it is dumped.
#ifndef SNAPSTORE_AGENT_TIMER_IMAGES_H_
#define SNAPSTORE_AGENT_TIMER_IMAGES_H_

#include "agent/image_serve.h"
#include "base/bytes.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// files.img in which each timer with an interval that is not armed expires at once. Corruption: it
// is no such image.
Result<Bytes> RearmTimers(ByteSpan files_image);

// The images of another source, with that done. `source` must outlive it.
class RearmedImages : public ImageSource {
 public:
  explicit RearmedImages(ImageSource* source) : source_(source) {}
  bool Has(const std::string& name) const override { return source_->Has(name); }
  Status WriteTo(const std::string& name, int fd) override;

 private:
  ImageSource* const source_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_TIMER_IMAGES_H_
