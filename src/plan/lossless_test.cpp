// Options that lose nothing, offered at the sites whose weights lie on a grid and nowhere else.

#include "plan/lossless.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "formats/test_models.h"

namespace sparing {
namespace {

TEST(Recoded, OptionsAreOfferedWhereTheWeightLiesOnAGrid) {
  const test::Folder folder;
  test::Model model = test::random_model(test::small_config("llama"));
  const std::string on_grid = "layers.0.mlp.up", off_grid = "layers.0.mlp.gate";
  std::vector<float>& weight = model.tensors.at(on_grid);
  for (float& w : weight) w = std::clamp(std::round(w * 64), -7.0f, 7.0f) / 64;
  std::filesystem::create_directory(folder / "model");
  test::write_hf(model, folder / "model");
  const auto checkpoint = open_checkpoint((folder / "model").string()).value();
  bool seen[2] = {};
  for (const SiteInfo& site : weight_sites(*checkpoint)) {
    if (site.name != on_grid && site.name != off_grid) continue;
    const auto options = recoded_options(site, *checkpoint, 1);
    ASSERT_TRUE(options.ok()) << options.error().message;
    EXPECT_EQ(options->empty(), site.name == off_grid) << site.name;
    seen[site.name == on_grid] = true;
    for (const SiteOption& option : *options) {
      EXPECT_EQ(option.setting.method, "recode");
      EXPECT_LT(option.bytes, stored_bytes(checkpoint->weight(site.name).value()));
    }
  }
  EXPECT_TRUE(seen[0] && seen[1]);
}

}  // namespace
}  // namespace sparing
