#include "plan/speed_table.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "models/graph.h"

namespace sparing {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

constexpr std::uint64_t kUncached = 48 * kMiB, kMostCopies = 256;
constexpr int kRounds = 3;
constexpr double kLongEnough = 0.1e9;  ///< nanoseconds: no further round after this
/// Codes and scales of no special value: f16 0x2c2c is .065, and no product takes another path for them.
constexpr int kFill = 0x2c;

kernels::Precision precision_of(std::int32_t bits) {
  return bits > 8 ? kernels::Precision::int16 : kernels::Precision::int8;
}

bool has_few_bits(const CodecSpec& spec) {
  if (const auto* ints = std::get_if<IntGroupSpec>(&spec)) return ints->bits <= kFewBits;
  if (const auto* table = std::get_if<LutGroupSpec>(&spec)) return table->bits <= kFewBits;
  return false;
}

}  // namespace

SpeedTable::SpeedTable(Journal& journal, std::string key, const ModelConfig& config, int threads)
    : journal_(journal), key_(std::move(key)), pool_(threads) {
  if (const auto graph = build_graph(config); graph.ok()) {
    const auto add = [&](const Graph& part) {
      for (const Op& op : part.ops) {
        if (op.kind != OpKind::linear) continue;
        precisions_[op.site] = {precision_of(op.activation_bits), precision_of(op.activation_bits_few)};
      }
    };
    for (const Graph& block : graph->blocks) add(block);
    add(graph->head);
  }
  const auto noted = journal_.note(key_);
  if (!noted) return;
  const Json note = Json::parse(*noted, nullptr, false);
  if (!note.is_object()) return;
  for (const auto& [name, value] : note.items()) {
    if (value.is_number()) known_[name] = value.get<double>();
  }
}

Result<double> SpeedTable::measure(const CodecSpec& spec, std::int64_t rows, std::int64_t cols,
                                   kernels::Precision precision) {
  SPARING_TRY(const std::uint64_t size, blob_bytes(spec, rows, cols));
  const std::uint64_t copies = std::clamp<std::uint64_t>(kUncached / std::max<std::uint64_t>(size, 1), 1, kMostCopies);
  std::vector<kernels::Linear> weights;
  for (std::uint64_t i = 0; i < copies; ++i) {
    Buffer buffer(size);
    std::memset(buffer.data(), kFill, size);
    CodedWeight weight;
    weight.rows = rows;
    weight.cols = cols;
    weight.terms.push_back({spec, Blob::of(std::move(buffer))});
    SPARING_TRY(kernels::Linear linear, kernels::Linear::prepare(std::move(weight), precision));
    weights.push_back(std::move(linear));
  }
  std::vector<float> x(static_cast<std::size_t>(cols)), y(static_cast<std::size_t>(rows));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  kernels::Workspace workspace;
  workspace.reserve(1, cols, pool_.size());
  double best = std::numeric_limits<double>::infinity();
  double spent = 0;
  for (int round = 0; round < kRounds && spent < kLongEnough; ++round) {
    const auto start = Clock::now();
    for (const kernels::Linear& weight : weights) {
      const kernels::Product product{.weight = &weight, .y = y.data(), .y_stride = rows, .bias = nullptr};
      kernels::matmul({&product, 1}, x.data(), 1, cols, workspace, pool_);
    }
    const double took = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
    best = std::min(best, took);
    spent += took;
  }
  return best / static_cast<double>(copies);
}

Result<double> SpeedTable::nanoseconds(const SiteInfo& site, const std::vector<CodecSpec>& terms) {
  if (site.role == SiteRole::embedding && !site.tied) return 0.0;  // one row is looked up
  const auto asked = precisions_.find(site.name);
  const Precisions precisions = asked == precisions_.end() ? Precisions{} : asked->second;
  double sum = 0;
  for (const CodecSpec& spec : terms) {
    const kernels::Precision precision = has_few_bits(spec) ? precisions.few : precisions.many;
    const std::string name = describe(spec) + " " + std::to_string(site.rows) + "x" + std::to_string(site.cols) + "/" +
                             std::to_string(static_cast<int>(precision));
    auto found = known_.find(name);
    if (found == known_.end()) {
      // Sparse terms hold indices, which cannot be made up: their bytes at the pace of a dense term's, or their rows
      // as a weight of their own.
      const bool sparse = std::holds_alternative<CsrSpec>(spec);
      const auto* some = std::get_if<IntRowsSpec>(&spec);
      const CodecSpec stand_in = sparse ? CodecSpec(DenseSpec{DType::f16}) : some ? CodecSpec(some->codes) : spec;
      SPARING_TRY(double time, measure(stand_in, some ? some->count : site.rows, site.cols, precision));
      if (sparse) {
        SPARING_TRY(const std::uint64_t bytes, blob_bytes(spec, site.rows, site.cols));
        time *= static_cast<double>(bytes) / static_cast<double>(2 * site.rows * site.cols);
      }
      found = known_.emplace(name, time).first;
      changed_ = true;
    }
    sum += found->second;
  }
  return sum;
}

Status SpeedTable::keep() {
  if (!changed_) return {};
  changed_ = false;
  return journal_.keep_note(key_, Json(known_).dump());
}

}  // namespace sparing
