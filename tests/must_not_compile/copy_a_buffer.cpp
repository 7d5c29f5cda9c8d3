// Large memory is moved, never copied by accident.
// expected: (use of deleted function|call to implicitly-deleted|deleted)
#include "tensor/buffer.h"

sparing::Buffer twice(sparing::Buffer buffer) {
#ifdef MISUSE
  sparing::Buffer copy = buffer;
#else
  sparing::Buffer copy = std::move(buffer);
#endif
  return copy;
}
