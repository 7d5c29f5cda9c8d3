// A value is not had without saying what happens when there is none.
// expected: (cannot convert|no viable conversion)
#include "base/units.h"

double rate() {
#ifdef MISUSE
  const double value = sparing::parse_rate("60tok/s");
#else
  const double value = sparing::parse_rate("60tok/s").value();
#endif
  return value;
}
