// Any bytes as config.json, generation_config.json and sparing.json: refused, or something valid that is written and
// read back without change.

#include <cstdlib>
#include <string_view>

#include "formats/hf_config.h"
#include "formats/hf_quantization.h"
#include "formats/json.h"
#include "formats/sparing_manifest.h"

namespace {

void read_manifest(const std::string& text) {
  using namespace sparing;
  const auto manifest = manifest_from_json(text, "[open] fuzz");
  if (!manifest.ok()) {
    if (manifest.error().message.find('\n') != std::string::npos) std::abort();
    return;
  }
  const auto written = manifest_to_json(*manifest);
  if (!written.ok()) std::abort();
  const auto again = manifest_from_json(*written, "[open] fuzz");
  if (!again.ok() || again->tensors.size() != manifest->tensors.size() || again->files != manifest->files) std::abort();
  for (const ManifestTensor& tensor : manifest->tensors) {
    for (const CodecSpec& spec : tensor.terms) {
      (void)blob_bytes(spec, coded_rows(tensor.shape), coded_cols(tensor.shape));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sparing;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto json = parse_json(text, "[open] fuzz");
  if (!json.ok()) return 0;
  if (json->is_object() && json->contains("format")) read_manifest(std::string(text));
  if (const auto scheme = read_hf_quantization(*json, "[open] fuzz");
      !scheme.ok() && scheme.error().message.find('\n') != std::string::npos) {
    std::abort();
  }
  auto config = config_from_hf(*json, "[open] fuzz");
  if (!config.ok()) {
    if (config.error().message.find('\n') != std::string::npos) std::abort();
    return 0;
  }
  if (!validate(*config).ok()) std::abort();
  const auto again = config_from_hf(config_to_hf(*config), "[open] fuzz");
  if (!again.ok() || !(*again == *config)) std::abort();
  if (config->layers.size() < 100 && expected_tensors(*config).size() < 9 * config->layers.size()) std::abort();
  (void)config_to_plain_hf(*config);
  (void)merge_generation_config(*json, "[open] fuzz", *config);
  if (!validate(*config).ok()) std::abort();
  return 0;
}
