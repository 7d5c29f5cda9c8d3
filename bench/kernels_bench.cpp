// Times matrix products of every coding against this machine's read bandwidth:
//   kernels_bench [--threads N] [--tokens N] [--rows N] [--cols N] [--seconds S] [--only NAME] [--activations 8|16|32]
// GB/s counts the weight's bytes once a product; GOP/s counts 2 * rows * cols * tokens.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "codecs/random_weights.h"
#include "kernels/linear.h"

namespace {

using namespace sparing;

bool cpu_time = false;  // with one thread: other processes then disturb less

double now() {
  timespec t{};
  clock_gettime(cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// The best of many short rounds: what the machine can do when nobody disturbs it.
double best_seconds(double budget, const std::function<void()>& f) {
  f();
  double best = 1e9;
  for (const double start = now(); now() - start < budget;) {
    const double round = now();
    f();
    best = std::min(best, now() - round);
  }
  return best;
}

double read_bandwidth(ThreadPool& pool, double budget) {
  using Vector = std::uint64_t __attribute__((vector_size(64)));
  Buffer buffer(256u << 20);
  std::memset(buffer.data(), 1, buffer.size());
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(pool.size()) * 8);
  const auto* data = reinterpret_cast<const Vector*>(buffer.data());
  const auto count = static_cast<std::int64_t>(buffer.size() / sizeof(Vector));
  const double t = best_seconds(budget, [&] {
    pool.parallel_for(count, 1024, [&](std::int64_t begin, std::int64_t end, int worker) {
      Vector s[4] = {};
      for (std::int64_t i = begin; i < end; i += 4)
        for (int k = 0; k < 4; ++k) s[k] += data[i + k];
      sums[static_cast<std::size_t>(worker) * 8] += (s[0] + s[1] + s[2] + s[3])[0];
    });
  });
  if (sums[0] == 42) std::puts("");  // keeps the sums alive
  return static_cast<double>(buffer.size()) / t * 1e-9;
}

struct Options {
  int threads = 0;
  std::int64_t tokens = 0, rows = 16384, cols = 2048;
  double seconds = 0.5;
  std::string only;
  kernels::Precision precision = kernels::Precision::int8;
};

void measure(const std::string& name, const std::function<Term(std::int64_t, std::int64_t)>& make, const Options& o,
             ThreadPool& pool, double bandwidth) {
  if (name.find(o.only) == std::string::npos) return;
  CodedWeight w;
  w.rows = o.rows;
  w.cols = o.cols;
  w.terms.push_back(make(o.rows, o.cols));
  const double bytes = static_cast<double>(w.terms[0].blob.bytes.size());
  auto linear = kernels::Linear::prepare(std::move(w), o.precision);
  if (!linear.ok()) {
    std::fprintf(stderr, "%s\n", linear.error().message.c_str());
    std::exit(1);
  }
  std::printf("%-22s", name.c_str());
  std::vector<std::int64_t> batches = {1, 8, 512};
  if (o.tokens > 0) batches = {o.tokens};
  for (const std::int64_t tokens : batches) {
    std::vector<float> x(static_cast<std::size_t>(tokens * o.cols), 0.5f), y(static_cast<std::size_t>(tokens * o.rows));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17) - 8.0f;
    kernels::Workspace workspace;
    const kernels::Product product{&*linear, y.data(), o.rows, nullptr};
    const double t = best_seconds(o.seconds, [&] {
      kernels::matmul({&product, 1}, x.data(), tokens, o.cols, workspace, pool);
    });
    const double ops = 2.0 * static_cast<double>(o.rows * o.cols * tokens);
    std::printf(" | t%-4lld %7.1f GB/s %3.0f%% %8.0f GOP/s", static_cast<long long>(tokens), bytes / t * 1e-9,
                bytes / t * 1e-7 / bandwidth, ops / t * 1e-9);
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--threads") o.threads = std::atoi(argv[i + 1]);
    if (flag == "--tokens") o.tokens = std::atoll(argv[i + 1]);
    if (flag == "--rows") o.rows = std::atoll(argv[i + 1]);
    if (flag == "--cols") o.cols = std::atoll(argv[i + 1]);
    if (flag == "--seconds") o.seconds = std::atof(argv[i + 1]);
    if (flag == "--only") o.only = argv[i + 1];
    if (flag == "--activations") {
      const int bits = std::atoi(argv[i + 1]);
      o.precision = bits == 16   ? kernels::Precision::int16
                    : bits == 32 ? kernels::Precision::f32
                                 : kernels::Precision::int8;
    }
  }
  ThreadPool pool(o.threads);
  cpu_time = pool.size() == 1;
  const double bandwidth = read_bandwidth(pool, o.seconds);
  std::printf("isa %s, %d threads, read bandwidth %.1f GB/s, weight %lld x %lld\n",
              std::string(kernels::name_of(kernels::chosen_isa())).c_str(), pool.size(), bandwidth,
              static_cast<long long>(o.rows), static_cast<long long>(o.cols));
  using sparing::testing::random_dense;
  using sparing::testing::random_term;
  for (int bits = 2; bits <= 8; ++bits)
    measure(
        "int_group " + std::to_string(bits) + "b g32",
        [&](auto r, auto c) {
          return random_term(IntGroupSpec{.bits = bits, .groups = {.group = 32}, .zero_offset = 1 << (bits - 1)}, r, c,
                             1);
        },
        o, pool, bandwidth);
  const auto coded = [](int group) {
    return GroupSpec{
        .group = group, .scale = ScaleKind::coded, .scale_bits = 6, .scale_offset = 0, .super = 256 / group};
  };
  const std::vector<std::pair<std::string, IntGroupSpec>> more = {
      {"int_group 4b g64 zi4", {4, {.group = 64}, ZeroKind::integer, 4, 0}},
      {"int_group 4b g128", {4, {.group = 128}, ZeroKind::constant, 0, 8}},
      {"Q4_1", {4, {.group = 32}, ZeroKind::f16_min, 0, 0}},
      {"Q4_K", {4, coded(32), ZeroKind::coded_min, 6, 0}},
      {"Q6_K", {6, coded(16), ZeroKind::constant, 0, 32}},
      {"int_group 4b g20", {4, {.group = 20}, ZeroKind::constant, 0, 8}},
  };
  for (const auto& [name, spec] : more)
    measure(
        name, [&s = spec](auto r, auto c) { return random_term(s, r, c, 1); }, o, pool, bandwidth);
  const LutGroupSpec lut{4, {.group = 32}, {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}};
  measure(
      "IQ4_NL", [&](auto r, auto c) { return random_term(lut, r, c, 1); }, o, pool, bandwidth);
  // As many numbers in the factors as in the matrix: at 4 bits, what int_group 4b g64 takes.
  for (const FactorSpec& factor : {FactorSpec{4, 64}, FactorSpec{8, 64}, FactorSpec{16, 0}})
    measure(
        "lowrank " + (factor.bits == 16 ? std::string("f16") : std::to_string(factor.bits) + "b g64"),
        [&](auto r, auto c) {
          return sparing::testing::random_lowrank({static_cast<std::int32_t>(r * c / (r + c)), factor, factor}, r, c,
                                                  1);
        },
        o, pool, bandwidth);
  for (const DType t : {DType::f16, DType::bf16, DType::f32})
    measure(
        "dense " + std::string(name_of(t)), [&](auto r, auto c) { return random_dense(t, r, c, 1); }, o, pool,
        bandwidth);
}
