// What every weight method must keep, whatever it is: loops over the table.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "methods/method.h"

namespace sparing {
namespace {

struct Shape {
  std::int64_t rows, cols;
};
// One row, a prime width, a width that no group divides, more rows than a panel, an ordinary one.
constexpr Shape kShapes[] = {{1, 64}, {5, 67}, {3, 130}, {33, 96}, {16, 128}};

struct Planted {
  std::vector<float> weight, moment;
  Statistics statistics;
  SiteProblem problem;
};

// Gaussian weights; correlated inputs of very different sizes, one of them dead.
void plant(Planted& p, Shape shape, std::uint64_t seed) {
  Rng rng(seed);
  const auto n = static_cast<std::size_t>(shape.cols);
  p.weight.resize(static_cast<std::size_t>(shape.rows) * n);
  for (float& w : p.weight) w = static_cast<float>(0.02 * rng.normal());
  p.moment.assign(n * n, 0.0f);
  std::vector<double> x(n);
  for (int token = 0; token < 200; ++token) {
    const double shared = rng.normal();
    for (std::size_t j = 0; j < n; ++j) x[j] = j == n / 2 ? 0.0 : (rng.normal() + shared) * (j % 7 == 0 ? 4.0 : 0.5);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) p.moment[i * n + j] += static_cast<float>(x[i] * x[j]);
  }
  p.statistics = {shape.cols, 200, p.moment};
  p.problem = {.site = "layers.0.mlp.up",
               .rows = shape.rows,
               .cols = shape.cols,
               .weight = p.weight,
               .statistics = &p.statistics,
               .seed = seed,
               .threads = 1};
}

std::string text_of(double value) {
  return value == std::floor(value) ? std::to_string(static_cast<long long>(value)) : std::to_string(value);
}

// Every method with its defaults, then with each parameter at each end of its range or at each choice.
std::vector<Params> variants(const Method& method) {
  std::vector<Params> all;
  all.push_back(Params::make(method, {}).value());
  for (const ParamSpec& spec : method.params) {
    std::vector<std::string> values;
    if (spec.type == ParamSpec::Type::choice) values.assign(spec.choices.begin(), spec.choices.end());
    if (spec.type == ParamSpec::Type::boolean) values = {"false", "true"};
    if (spec.type == ParamSpec::Type::integer || spec.type == ParamSpec::Type::real) {
      values = {text_of(spec.min)};
      if (spec.max <= 100) values.push_back(text_of(spec.max));
    }
    for (const std::string& value : values)
      all.push_back(Params::make(method, {{std::string(spec.name), value}}).value());
  }
  return all;
}

std::string describe(const Method& method, const Params& params, Shape shape) {
  std::string text(method.name);
  for (const auto& [name, value] : params.entries()) text += " " + name + "=" + value;
  return text + " on " + std::to_string(shape.rows) + " x " + std::to_string(shape.cols);
}

// Twice the error of a uniform grid over a span of 6 deviations at the fewest bits: 36 / (12 * (2^2 - 1)^2). Methods
// without bits: twice that of leaving all out, which rounding to a row's extremes may exceed.
double most_error(const Method& method, const Params& params) {
  if (!has_param(method, "bits")) return 2;
  const double levels = std::exp2(static_cast<double>(params.integer("bits"))) - 1;
  // Turned weights have other errors than those that these seeds plant: a single row's luck is worth a factor.
  const double luck = params.has("basis") && params.choice("basis") == "hadamard" ? 2 : 1;
  return luck * 2 * 36 / (12 * levels * levels);
}

/// What lets a method take a matrix of 4 x 20.
std::vector<std::pair<std::string, std::string>> narrow(const Method& method) {
  std::vector<std::pair<std::string, std::string>> given;
  if (has_param(method, "group")) given.emplace_back("group", "0");
  if (has_param(method, "rank")) given.emplace_back("rank", "2");
  return given;
}

bool same(const CodedWeight& a, const CodedWeight& b) {
  const auto same_bytes = [](Bytes x, Bytes y) {
    return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size()) == 0);
  };
  if (a.terms.size() != b.terms.size() || !same_bytes(a.input.blob.bytes, b.input.blob.bytes)) return false;
  for (std::size_t i = 0; i < a.terms.size(); ++i)
    if (!(a.terms[i].spec == b.terms[i].spec) || !same_bytes(a.terms[i].blob.bytes, b.terms[i].blob.bytes))
      return false;
  return true;
}

/// Methods that only take what lies on their own grid get weights that do.
void put_on_grid(Planted& planted, const Params& params) {
  const Method& rtn = *find_method("rtn").value();
  std::vector<std::pair<std::string, std::string>> grid = params.entries();
  std::erase_if(grid, [&](const auto& param) {
    return std::ranges::none_of(rtn.params, [&](const ParamSpec& spec) { return spec.name == param.first; });
  });
  for (auto& [name, value] : grid)
    if (name == "scale") value = "f16";
  const SiteResult rounded = rtn.apply(planted.problem, Params::make(rtn, grid).value()).value();
  decode_effective_rows(rounded.weight, 0, planted.problem.rows, planted.weight.data());
}

TEST(Conformance, EveryWeightMethodKeepsItsPromises) {
  for (const Method* method : all_methods()) {
    if (method->kind != MethodKind::weights) continue;
    for (const Shape shape : kShapes) {
      Planted planted;
      plant(planted, shape, 7);
      for (const Params& params : variants(*method)) {
        SCOPED_TRACE(describe(*method, params, shape));
        const auto codings = method->codings(params, shape.rows, shape.cols);
        if (method->finds_rate && codings) put_on_grid(planted, params);
        const auto result = method->apply(planted.problem, params);
        if (!codings) {  // what cannot be predicted must be refused by apply too
          ASSERT_FALSE(result.ok());
          EXPECT_FALSE(codings.error().message.empty());
          continue;
        }
        ASSERT_TRUE(result.ok()) << result.error().message;
        const CodedWeight& weight = result->weight;
        EXPECT_EQ(weight.rows, shape.rows);
        EXPECT_EQ(weight.cols, shape.cols);
        const Status valid = validate(weight, true);
        EXPECT_TRUE(valid.ok()) << valid.error().message;
        ASSERT_EQ(weight.terms.size(), codings->size());
        for (std::size_t i = 0; i < codings->size(); ++i) {
          EXPECT_TRUE(same_form(weight.terms[i].spec, (*codings)[i]));
          EXPECT_TRUE(method->estimates || weight.terms[i].spec == (*codings)[i]);
        }
        const auto predicted = predicted_bytes(*method, params, shape.rows, shape.cols);
        ASSERT_TRUE(predicted.ok());
        EXPECT_TRUE(method->estimates || *predicted == stored_bytes(weight));

        // Round trip: the stored weight decodes to what the report says of it.
        std::vector<float> decoded(planted.weight.size());
        decode_effective_rows(weight, 0, shape.rows, decoded.data());
        double error = 0, size = 0, output = 0, whole = 0;
        const auto n = static_cast<std::size_t>(shape.cols);
        for (std::size_t r = 0; r < static_cast<std::size_t>(shape.rows); ++r)
          for (std::size_t i = 0; i < n; ++i) {
            const double w = planted.weight[r * n + i], e = w - decoded[r * n + i];
            error += e * e;
            size += w * w;
            for (std::size_t j = 0; j < n; ++j) {
              const double h = planted.moment[i * n + j], v = planted.weight[r * n + j];
              output += e * h * (v - decoded[r * n + j]);
              whole += w * h * v;
            }
          }
        EXPECT_NEAR(result->report.weight_error, error / size, 1e-5 + 1e-3 * error / size);
        EXPECT_LE(output / whole, most_error(*method, params) + 1e-6);

        const auto again = method->apply(planted.problem, params);
        ASSERT_TRUE(again.ok());
        EXPECT_TRUE(same(weight, again->weight)) << "same seed, other bits";
        planted.problem.threads = 3;
        const auto threaded = method->apply(planted.problem, params);
        planted.problem.threads = 1;
        ASSERT_TRUE(threaded.ok());
        EXPECT_TRUE(same(weight, threaded->weight)) << "other bits with three threads";
      }
    }
  }
}

TEST(Conformance, BadParametersAreRefused) {
  for (const Method* method : all_methods()) {
    SCOPED_TRACE(method->name);
    const auto refused = [&](const std::string& name, const std::string& value) {
      const auto params = Params::make(*method, {{name, value}});
      ASSERT_FALSE(params.ok()) << name << "=" << value;
      EXPECT_EQ(params.error().kind, ErrorKind::usage);
      EXPECT_NE(params.error().message.find(method->name), std::string::npos) << params.error().message;
      EXPECT_NE(params.error().message.find(value), std::string::npos) << params.error().message;
    };
    for (const ParamSpec& spec : method->params) {
      const std::string name(spec.name);
      refused(name, "banana");
      refused(name, "");
      if (spec.type == ParamSpec::Type::integer) {
        refused(name, text_of(spec.max + 1));
        refused(name, text_of(spec.min - 1));
        refused(name, "3.5");
        refused(name, "nan");
      }
      if (spec.type == ParamSpec::Type::real) {
        refused(name, text_of(spec.max * 2 + 1));
        refused(name, "inf");
      }
    }
    const std::string first(method->params.front().name);
    const auto unknown = Params::make(*method, {{first + "z", "4"}});
    ASSERT_FALSE(unknown.ok());
    EXPECT_NE(unknown.error().message.find("did you mean '" + first + "'"), std::string::npos)
        << unknown.error().message;
    const auto twice = Params::make(*method, {{first, "4"}, {first, "3"}});
    EXPECT_FALSE(twice.ok());
  }
}

TEST(Conformance, DamagedInputIsRefused) {
  for (const Method* method : all_methods()) {
    if (method->kind != MethodKind::weights) continue;
    SCOPED_TRACE(method->name);
    const Params params = Params::make(*method, narrow(*method)).value();
    Planted planted;
    plant(planted, {4, 20}, 1);
    planted.weight[21] = std::nanf("");
    auto result = method->apply(planted.problem, params);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind, ErrorKind::input);
    EXPECT_NE(result.error().message.find("layers.0.mlp.up"), std::string::npos) << result.error().message;
    planted.weight[21] = 1e30f;  // beyond f16's scales at any number of bits
    EXPECT_FALSE(method->apply(planted.problem, params).ok());
    if (method->traits.calibration == "none") continue;
    plant(planted, {4, 20}, 1);
    planted.moment[3] = INFINITY;
    EXPECT_FALSE(method->apply(planted.problem, params).ok());
  }
}

TEST(Conformance, EveryStructureMethodRanksAllThatItIsAskedFor) {
  for (const Method* method : all_methods()) {
    if (method->kind != MethodKind::structure) continue;
    Planted planted;
    plant(planted, {5, 66}, 3);
    StructureProblem problem{
        .site = "layers.0.mlp.down",
        .weight = {.rows = 5, .cols = 66, .span = 3, .weight = planted.weight, .h = planted.moment, .row_weights = {}},
        .most = 20};
    for (const Params& params : variants(*method)) {
      SCOPED_TRACE(method->name);
      const auto ranking = method->rank(problem, params);
      ASSERT_TRUE(ranking.ok()) << ranking.error().message;
      ASSERT_EQ(ranking->order.size(), 20u);
      ASSERT_EQ(ranking->loss.size(), 20u);
      std::set<std::int32_t> seen(ranking->order.begin(), ranking->order.end());
      EXPECT_EQ(seen.size(), 20u);
      EXPECT_GE(*seen.begin(), 0);
      EXPECT_LT(*seen.rbegin(), 22);
      EXPECT_TRUE(std::ranges::is_sorted(ranking->loss));
      problem.threads = 3;
      const auto threaded = method->rank(problem, params);
      problem.threads = 1;
      ASSERT_TRUE(threaded.ok());
      EXPECT_EQ(ranking->order, threaded->order);
      EXPECT_EQ(ranking->loss, threaded->loss);
    }
    planted.weight[7] = std::nanf("");
    const auto damaged = method->rank(problem, Params::make(*method, {}).value());
    ASSERT_FALSE(damaged.ok());
    EXPECT_EQ(damaged.error().kind, ErrorKind::input);
  }
}

TEST(Table, IsSortedAndComplete) {
  ASSERT_FALSE(all_methods().empty());
  const Method* before = nullptr;
  for (const Method* m : all_methods()) {
    SCOPED_TRACE(m->name);
    if (before) {
      EXPECT_LT(std::pair(name_of(before->kind), before->name), std::pair(name_of(m->kind), m->name));
    }
    before = m;
    EXPECT_FALSE(m->summary.empty());
    EXPECT_FALSE(m->paper.empty());
    EXPECT_FALSE(m->traits.compressed.empty());
    EXPECT_FALSE(m->traits.deploy.empty());
    EXPECT_FALSE(m->traits.prune.empty());
    EXPECT_FALSE(m->traits.peft.empty());
    EXPECT_FALSE(m->traits.calibration.empty());
    const bool codes = m->kind == MethodKind::weights;
    EXPECT_EQ(m->codings != nullptr, codes);
    EXPECT_EQ(m->apply != nullptr, codes);
    EXPECT_EQ(m->rank != nullptr, m->kind == MethodKind::structure);
    for (const ParamSpec& spec : m->params) {
      EXPECT_FALSE(spec.help.empty()) << spec.name;
      EXPECT_GE(spec.default_value, spec.min);
      EXPECT_LE(spec.default_value, spec.max);
      EXPECT_EQ(spec.type == ParamSpec::Type::choice, !spec.choices.empty());
    }
    EXPECT_EQ(find_method(m->name).value(), m);
  }
  const auto missing = find_method("gptqq");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("did you mean 'gptq'"), std::string::npos) << missing.error().message;
}

TEST(Params, PrintBackWhatWasGiven) {
  const Method& rtn = *find_method("rtn").value();
  const auto params = Params::make(rtn, {{"bits", "3"}, {"clip", "mse"}, {"symmetric", "yes"}});
  ASSERT_TRUE(params.ok());
  EXPECT_EQ(params->integer("bits"), 3);
  EXPECT_EQ(params->choice("clip"), "mse");
  EXPECT_TRUE(params->flag("symmetric"));
  const auto again = Params::make(rtn, params->entries());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->entries(), params->entries());
}

}  // namespace
}  // namespace sparing
