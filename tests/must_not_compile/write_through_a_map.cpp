// A mapped model is read-only.
// expected: (read-only|const-qualified|not assignable|assignment of)
#include "base/mapped_file.h"

std::byte first(const sparing::MappedFile& file) {
#ifdef MISUSE
  file.bytes()[0] = std::byte{1};
#endif
  return file.bytes()[0];
}
