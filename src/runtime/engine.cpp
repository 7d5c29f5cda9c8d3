#include "runtime/engine.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <optional>

#include "base/checked.h"
#include "base/system.h"
#include "base/units.h"
#include "runtime/engine_impl.h"

namespace sparing {
namespace {

constexpr std::int64_t kDefaultContext = 4096;
constexpr std::uint64_t kActivationBytes = 24 * kMiB;  // of the 48 MiB above weights and KV
constexpr std::int64_t kTileRows = 64;
constexpr std::uint64_t kMovedBytes = 16 * kMiB;  // a pass
constexpr std::uint64_t kArenaPadding = 64 * kKiB;

/// Tokens in a pass, so that activations stay small.
std::int64_t fitting_batch(const EngineOptions& options, const Schedule& schedule) {
  // The kernels' copy of the widest input is one byte a value or four, with scales.
  const std::int64_t per_token = schedule.floats_per_token * 4 + schedule.widest_input * 5;
  const std::int64_t fitting = static_cast<std::int64_t>(kActivationBytes) / std::max<std::int64_t>(1, per_token);
  return std::max<std::int64_t>({std::min(options.batch, std::max<std::int64_t>(fitting / 16 * 16, 32)), 1});
}

/// Integer codes of at most kFewBits in every term that has codes.
bool has_few_bits(const CodedWeight& weight) {
  bool few = false;
  for (const Term& term : weight.terms) {
    std::int32_t bits = 0;
    if (const auto* integer = std::get_if<IntGroupSpec>(&term.spec)) bits = integer->bits;
    if (const auto* lut = std::get_if<LutGroupSpec>(&term.spec)) bits = lut->bits;
    if (const auto* vq = std::get_if<VqAdditiveSpec>(&term.spec)) bits = (vq->bits * vq->books - 1) / vq->vector + 1;
    if (bits > kFewBits) return false;
    few |= bits > 0;
  }
  return few;
}

}  // namespace

std::string_view name_of(KvType type) {
  switch (type) {
    case KvType::f32:
      return "f32";
    case KvType::f16:
      return "f16";
    case KvType::int16:
      return "int16";
    case KvType::int8:
      return "int8";
    case KvType::int4:
      return "int4";
  }
  return "?";
}

std::optional<KvType> find_kv_type(std::string_view name) {
  for (const KvType type : {KvType::f32, KvType::f16, KvType::int16, KvType::int8, KvType::int4}) {
    if (name_of(type) == name) return type;
  }
  return std::nullopt;
}

Engine::Engine() : impl_(std::make_unique<Impl>()) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::load(std::shared_ptr<const Checkpoint> checkpoint,
                                             const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine());
  Impl& impl = *engine->impl_;
  impl.config = checkpoint->config();
  impl.checkpoint = checkpoint;
  impl.options = options;
  if (options.batch < 1) return usage_error("[load] batch " + std::to_string(options.batch) + ": must be at least 1");
  if (options.context < 0) {
    return usage_error("[load] context " + std::to_string(options.context) + ": must be positive");
  }
  impl.context = options.context > 0 ? options.context : std::min<std::int64_t>(impl.config.context, kDefaultContext);
  SPARING_TRY(const ModelGraph graph, build_graph(impl.config));
  SPARING_TRY(impl.schedule, compile(graph));
  impl.batch = std::min(fitting_batch(options, impl.schedule), impl.context * options.sequences);

  SPARING_TRY(const std::uint64_t kv,
              KvCache::bytes_needed(impl.config, impl.context, options.sequences, impl.batch, options.kv));
  std::uint64_t needed = kv + kActivationBytes;
  for (const TensorEntry& entry : checkpoint->tensors()) {
    needed = checked_add(needed, entry.stored_bytes).value_or(~std::uint64_t{0});
  }
  const std::uint64_t available = options.memory > 0 ? options.memory : available_memory();
  if (needed > available) {
    return resource_error("[load] needs " + format_bytes(needed) + ", " + format_bytes(available) +
                          " free: choose a smaller context (KV takes " + format_bytes(kv) +
                          ") or a more compressed model");
  }

  impl.ops = &chosen_ops();
  impl.pool = std::make_unique<ThreadPool>(options.threads);
  SPARING_CHECK_OK(impl.load_weights(*checkpoint));
  SPARING_TRY(impl.cache, KvCache::create(impl.config, impl.context, options.sequences, impl.batch, options.kv));
  impl.lengths.assign(static_cast<std::size_t>(options.sequences), 0);
  impl.allocate();
  return engine;
}

Status Engine::Impl::load_matrix(const Checkpoint& checkpoint, std::size_t index) {
  const NeededMatrix& needed = schedule.matrices[index];
  const CodedWeight* replacement = options.override_weight ? options.override_weight(needed.name) : nullptr;
  CodedWeight weight;
  if (replacement != nullptr) {
    weight = *replacement;
  } else {
    SPARING_TRY(weight, checkpoint.weight(needed.name, needed.multiplied ? &*weights : nullptr));
    checkpoint.forget(needed.name);
  }
  if (weight.rows != needed.rows || weight.cols != needed.cols) {
    return input_error("[load] " + needed.name + ": " + std::to_string(weight.rows) + " x " +
                       std::to_string(weight.cols) + " where the model needs " + std::to_string(needed.rows) + " x " +
                       std::to_string(needed.cols));
  }
  if (!needed.multiplied) {
    lookups[index] = std::move(weight);
    return {};
  }
  const std::int32_t bits = has_few_bits(weight) ? needed.activation_bits_few : needed.activation_bits;
  const auto declared = bits > 8 ? kernels::Precision::int16 : kernels::Precision::int8;
  auto linear = kernels::Linear::prepare(std::move(weight), options.precision.value_or(declared));
  if (!linear.ok()) {
    Error error = std::move(linear).error();
    error.message += " (" + needed.name + ")";
    return error;
  }
  linears[index] = std::make_unique<kernels::Linear>(std::move(linear).value());
  return {};
}

Status Engine::Impl::load_weights(const Checkpoint& checkpoint) {
  const std::size_t count = schedule.matrices.size();
  lookups.resize(count);
  linears.resize(count);
  // Panels of 16 rows and blocks of 32 inputs are padded, in small matrices by more than they hold.
  std::uint64_t room = 0;
  for (const TensorEntry& entry : checkpoint.tensors()) room += 2 * entry.stored_bytes + kArenaPadding;
  weights.emplace(room);
  std::vector<std::optional<Error>> errors(count);
  std::atomic<std::size_t> next{0};
  // Sizes differ widely (an embedding, a small k), so workers take the next one rather than a fixed share.
  pool->parallel_for(pool->size(), 1, [&](std::int64_t, std::int64_t, int) {
    for (std::size_t i = next++; i < count; i = next++) {
      Status status = load_matrix(checkpoint, i);
      if (!status.ok()) errors[i] = std::move(status).error();
    }
  });
  for (auto& error : errors) {
    if (error) return std::move(*error);
  }
  for (const NeededVector& needed : schedule.vectors) {
    SPARING_TRY(std::vector<float> values, checkpoint.vector(needed.name));
    checkpoint.forget(needed.name);  // a few bytes, but a fault may map a huge page
    if (static_cast<std::int64_t>(values.size()) != needed.size) {
      return input_error("[load] " + needed.name + ": " + std::to_string(values.size()) +
                         " values where the model needs " + std::to_string(needed.size));
    }
    weight_bytes += values.size() * sizeof(float);
    vectors.push_back(std::move(values));
  }
  for (std::size_t i = 0; i < count; ++i) {
    weight_bytes += stored_bytes(matrix(static_cast<std::int32_t>(i)));
    if (!linears[i]) continue;
    bytes_per_token += linears[i]->bytes_read();
    const auto& terms = linears[i]->weight().terms;
    if (std::ranges::all_of(terms, [&](const Term& term) { return weights->holds(term.blob); })) {
      checkpoint.forget(schedule.matrices[i].name);  // once more: neighbours' faults have brought edges back
    } else {
      to_move.push_back(i);
    }
  }
  if (to_move.empty()) this->checkpoint.reset();
  return {};
}

void Engine::Impl::move_weights() {
  std::size_t count = 0;
  for (std::uint64_t bytes = 0; count < to_move.size() && bytes < kMovedBytes; ++count) {
    bytes += linears[to_move[to_move.size() - 1 - count]]->bytes_read();
  }
  pool->parallel_for(static_cast<std::int64_t>(count), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::size_t matrix = to_move[to_move.size() - 1 - static_cast<std::size_t>(i)];
      linears[matrix]->relocate(*weights);
      checkpoint->forget(schedule.matrices[matrix].name);
    }
  });
  to_move.resize(to_move.size() - count);
  if (to_move.empty()) checkpoint.reset();
}

void Engine::Impl::allocate() {
  arena = Buffer(static_cast<std::size_t>(schedule.floats_per_token * batch) * sizeof(float));
  std::int64_t group = 1;
  for (const LayerConfig& layer : config.layers) group = std::max<std::int64_t>(group, layer.heads / layer.kv_heads);
  tile_rows = std::max(kTileRows, group);
  scratch_floats = sparing::attention_scratch(tile_rows, config.head_dim);
  attention_scratch = Buffer(static_cast<std::size_t>(scratch_floats * pool->size()) * sizeof(float));
  std::size_t most = 0;
  std::int64_t components = 0;
  for (const auto* steps : {&schedule.body, &schedule.tail}) {
    for (const Step& step : *steps) {
      most = std::max(most, step.products.size());
      std::int64_t here = 0;
      for (const ProductOp& op : step.products) here += linears[static_cast<std::size_t>(op.weight)]->components();
      components = std::max(components, here);
    }
  }
  workspace.reserve(batch, schedule.widest_input, pool->size(), components);
  products.resize(most);
  rows.reserve(static_cast<std::size_t>(batch));
  runs.reserve(static_cast<std::size_t>(batch));
  frequencies = rope_frequencies(config.rope);
  const std::size_t table = static_cast<std::size_t>(context) * frequencies.size();
  cosines = std::unique_ptr<float[]>(new float[table]);
  sines = std::unique_ptr<float[]>(new float[table]);
}

Status Engine::Impl::check(std::span<const Token> tokens) const {
  for (const Token token : tokens) {
    if (token < 0 || token >= config.vocab) {
      return input_error("[forward] token id " + std::to_string(token) + ": the model's vocabulary has " +
                         std::to_string(config.vocab) + "; is this its tokenizer?");
    }
  }
  return {};
}

Status Engine::forward(std::int32_t sequence, std::span<const Token> tokens, std::span<float> logits) {
  Impl& impl = *impl_;
  if (sequence < 0 || sequence >= impl.options.sequences) {
    return usage_error("[forward] sequence " + std::to_string(sequence) + ": the engine has " +
                       std::to_string(impl.options.sequences));
  }
  const auto vocab = static_cast<std::size_t>(impl.config.vocab);
  if (logits.size() % vocab != 0 || logits.size() / vocab > tokens.size()) {
    return usage_error("[forward] room for " + std::to_string(logits.size()) + " logits: must be a multiple of " +
                       std::to_string(vocab) + " and at most one row a token");
  }
  SPARING_CHECK_OK(impl.check(tokens));
  const std::int64_t length = impl.lengths[static_cast<std::size_t>(sequence)];
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count > impl.context - length) {
    return resource_error("[forward] " + std::to_string(length + count) + " positions: the context holds " +
                          std::to_string(impl.context) + "; ask for a larger context or give less text");
  }
  const std::int64_t first_wanted = count - static_cast<std::int64_t>(logits.size() / vocab);
  for (std::int64_t begin = 0; begin < count; begin += impl.batch) {
    const std::int64_t end = std::min(count, begin + impl.batch);
    impl.begin_pass();
    impl.add_run(sequence, tokens.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
    const std::int64_t wanted = std::max<std::int64_t>(0, first_wanted - begin);
    const std::int64_t written = std::max<std::int64_t>(0, begin - first_wanted);
    impl.pass(wanted, wanted < end - begin ? logits.data() + static_cast<std::size_t>(written) * vocab : nullptr);
  }
  return {};
}

Status Engine::decode(std::span<const std::int32_t> sequences, std::span<const Token> tokens, std::span<float> logits) {
  Impl& impl = *impl_;
  const auto vocab = static_cast<std::size_t>(impl.config.vocab);
  if (tokens.size() != sequences.size() || logits.size() != sequences.size() * vocab) {
    return usage_error("[decode] " + std::to_string(sequences.size()) + " sequences, " + std::to_string(tokens.size()) +
                       " tokens, " + std::to_string(logits.size()) + " logits: sizes do not agree");
  }
  SPARING_CHECK_OK(impl.check(tokens));
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::int32_t sequence = sequences[i];
    if (sequence < 0 || sequence >= impl.options.sequences ||
        std::find(sequences.begin(), sequences.begin() + static_cast<std::ptrdiff_t>(i), sequence) !=
            sequences.begin() + static_cast<std::ptrdiff_t>(i)) {
      return usage_error("[decode] sequence " + std::to_string(sequence) + ": out of range or given twice");
    }
    if (impl.lengths[static_cast<std::size_t>(sequence)] >= impl.context) {
      return resource_error("[decode] sequence " + std::to_string(sequence) + " is full: the context holds " +
                            std::to_string(impl.context) + " positions");
    }
  }
  for (std::size_t begin = 0; begin < sequences.size(); begin += static_cast<std::size_t>(impl.batch)) {
    const std::size_t end = std::min(sequences.size(), begin + static_cast<std::size_t>(impl.batch));
    impl.begin_pass();
    for (std::size_t i = begin; i < end; ++i) impl.add_run(sequences[i], tokens.subspan(i, 1));
    impl.pass(0, logits.data() + begin * vocab);
  }
  return {};
}

const ModelConfig& Engine::config() const {
  return impl_->config;
}
std::int64_t Engine::context() const {
  return impl_->context;
}
std::int64_t Engine::length(std::int32_t sequence) const {
  return impl_->lengths[static_cast<std::size_t>(sequence)];
}
void Engine::truncate(std::int32_t sequence, std::int64_t length) {
  std::int64_t& held = impl_->lengths[static_cast<std::size_t>(sequence)];
  if (length < held) held = impl_->cache.truncate(sequence, std::max<std::int64_t>(length, 0));
}
std::uint64_t Engine::weight_bytes() const {
  return impl_->weight_bytes;
}
std::uint64_t Engine::kv_bytes() const {
  return impl_->cache.bytes();
}
std::uint64_t Engine::bytes_per_token() const {
  return impl_->bytes_per_token;
}
void Engine::settle() {
  while (!impl_->to_move.empty()) impl_->move_weights();
}

ThreadPool& Engine::pool() {
  return *impl_->pool;
}

}  // namespace sparing
