// An error may not be dropped by forgetting it.
// expected: (ignoring return|unused-result|nodiscard)
#include "base/atomic_file.h"

void save() {
  const sparing::Status saved = sparing::write_file_atomically("a", "text");
  static_cast<void>(saved);
#ifdef MISUSE
  sparing::write_file_atomically("a", "text");
#endif
}
