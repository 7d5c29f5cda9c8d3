// SPARING_TRY returns an Error: only a function that can return one may use it.
// expected: (cannot convert|no viable conversion|could not convert)
#include "base/units.h"

#ifdef MISUSE
int bytes() {
#else
sparing::Result<int> bytes() {
#endif
  SPARING_TRY(const auto size, sparing::parse_bytes("4096"));
  return static_cast<int>(size);
}
