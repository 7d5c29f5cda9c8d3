// Two owners of one temporary file would unlink it twice.
// expected: (use of deleted function|call to implicitly-deleted|deleted)
#include "base/atomic_file.h"

sparing::Status finish(sparing::AtomicFile file) {
#ifdef MISUSE
  sparing::AtomicFile other = file;
#else
  sparing::AtomicFile other = std::move(file);
#endif
  return other.commit();
}
