#include "base/checked.h"
#include "methods/method.h"

namespace sparing {

Result<std::uint64_t> predicted_bytes(const Method& method, const Params& params, std::int64_t rows,
                                      std::int64_t cols) {
  SPARING_TRY(const auto specs, method.codings(params, rows, cols));
  std::uint64_t total = 0;
  for (const CodecSpec& spec : specs) {
    SPARING_TRY(const std::uint64_t bytes, blob_bytes(spec, rows, cols));
    total += round_up(bytes, 64);
  }
  if (method.transform) {
    Transform transform;
    transform.kind = method.transform(params);
    SPARING_TRY(const std::uint64_t bytes, blob_bytes(transform, cols));
    total += round_up(bytes, 64);
  }
  return total;
}

}  // namespace sparing
