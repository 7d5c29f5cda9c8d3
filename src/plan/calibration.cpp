#include "plan/calibration.h"

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "base/mapped_file.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "base/units.h"
#include "runtime/engine.h"

namespace sparing {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kSelfBatch = 16;
constexpr std::int64_t kHeldOutWindows = 4;

std::optional<std::vector<Token>> ids_from_json(const Json& json, std::int32_t vocab) {
  if (!json.is_array()) return std::nullopt;
  std::vector<Token> ids;
  for (const Json& id : json) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() >= vocab) return std::nullopt;
    ids.push_back(id.get<Token>());
  }
  return ids;
}

std::optional<CalibrationTokens> text_from_json(const Json& json, std::int32_t vocab) {
  if (!json.is_object() || !json.contains("sequences") || !json.contains("held_out")) return std::nullopt;
  CalibrationTokens text;
  for (const Json& sequence : json["sequences"]) {
    auto ids = ids_from_json(sequence, vocab);
    if (!ids) return std::nullopt;
    text.sequences.push_back(std::move(*ids));
  }
  auto held_out = ids_from_json(json["held_out"], vocab);
  if (!held_out || text.sequences.empty()) return std::nullopt;
  text.held_out = std::move(*held_out);
  return text;
}

/// Windows at seeded places, one in each of `count` equal stretches.
std::vector<std::vector<Token>> spread(std::span<const Token> tokens, std::int64_t count, std::int64_t length,
                                       Token bos, Rng& rng) {
  std::vector<std::vector<Token>> sequences;
  const auto total = static_cast<std::int64_t>(tokens.size());
  const std::int64_t taken = bos >= 0 ? length - 1 : length;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t from = total * i / count, room = total * (i + 1) / count - from - taken;
    const auto shift = room > 0 ? static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(room) + 1)) : 0;
    const std::int64_t at = std::min(from + shift, total - taken);
    std::vector<Token> sequence(static_cast<std::size_t>(length), bos);
    const auto part = tokens.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(taken));
    std::ranges::copy(part, sequence.end() - taken);
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

}  // namespace

Result<CalibrationSpec> describe_calibration(const std::vector<std::string>& sources, std::int64_t tokens,
                                             std::int64_t length, const ModelConfig& config) {
  CalibrationSpec spec;
  spec.length = std::min<std::int64_t>(length, config.context);
  spec.tokens = tokens;
  if (length < 2) return usage_error("[calibrate] length " + std::to_string(length) + ": at least 2 tokens");
  if (tokens < spec.length) {
    return usage_error("[calibrate] " + std::to_string(tokens) + " tokens are less than one sequence of " +
                       std::to_string(spec.length) + ": ask for more, or a shorter --calib-length");
  }
  for (const std::string& source : sources) {
    if (source == "self") {
      spec.self = true;
      continue;
    }
    SPARING_TRY(const auto file, MappedFile::open(source));
    if (file->bytes().empty()) return input_error("[calibrate] " + source + ": is empty");
    spec.files.push_back({source, sha256_hex(file->bytes())});
  }
  if (spec.self && !spec.files.empty()) {
    return usage_error("[calibrate] self and files exclude each other: give one or the other");
  }
  return spec;
}

Result<CalibrationTokens> read_calibration(const CalibrationSpec& spec, const Tokenizer& tokenizer, std::uint64_t seed,
                                           ShortText if_short) {
  std::vector<Token> tokens;
  std::string names;
  for (const CalibrationFile& entry : spec.files) {
    SPARING_TRY(const auto file, MappedFile::open(entry.path));
    if (sha256_hex(file->bytes()) != entry.sha256) {
      return input_error("[calibrate] " + entry.path +
                         ": is not the text the plan was made with (its SHA-256 differs): make the plan again");
    }
    const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
    const std::vector<Token> part = tokenizer.encode(text, false, false);
    tokens.insert(tokens.end(), part.begin(), part.end());
    names += (names.empty() ? "" : ", ") + entry.path;
  }
  const Token bos = tokenizer.adds_bos() ? tokenizer.bos() : -1;
  const auto total = static_cast<std::int64_t>(tokens.size());
  if (total < spec.length) {
    return input_error("[calibrate] " + names + ": " + std::to_string(total) +
                       " tokens are less than one sequence of " + std::to_string(spec.length) +
                       ": give more text or a shorter --calib-length");
  }
  // A text too short to share measures on what it calibrates on.
  const std::int64_t held = total / 10 >= spec.length ? total / 10 : 0;
  const std::int64_t wanted = spec.tokens / spec.length,
                     there = std::max<std::int64_t>(1, (total - held) / spec.length);
  if (wanted > there && if_short == ShortText::warn) {
    log_warning("[calibrate] " + names + " has " + std::to_string(total) + " tokens: " + std::to_string(there) +
                " sequences of " + std::to_string(spec.length) + " instead of " + std::to_string(wanted));
  }
  CalibrationTokens result;
  Rng rng(seed, 0x7465787473);
  const std::span<const Token> all(tokens);
  result.sequences =
      spread(all.first(static_cast<std::size_t>(total - held)), std::min(wanted, there), spec.length, bos, rng);
  const auto rest = all.last(static_cast<std::size_t>(held > 0 ? held : total));
  result.held_out.assign(rest.begin(), rest.end());
  return result;
}

Result<CalibrationTokens> sample_calibration(const CalibrationSpec& spec,
                                             const std::shared_ptr<const Checkpoint>& checkpoint,
                                             const Tokenizer& tokenizer, std::int64_t held_out, std::uint64_t seed,
                                             int threads) {
  const std::int64_t wanted = std::max<std::int64_t>(1, spec.tokens / spec.length),
                     extra = (held_out + spec.length - 1) / spec.length, total = wanted + extra;
  EngineOptions options;
  options.threads = threads;
  options.context = spec.length;
  options.sequences = static_cast<std::int32_t>(std::min<std::int64_t>(kSelfBatch, total));
  SPARING_TRY(const auto engine, Engine::load(checkpoint, options));
  const auto vocab = static_cast<std::size_t>(checkpoint->config().vocab);
  const Token start = tokenizer.bos() >= 0 ? tokenizer.bos() : tokenizer.eos() >= 0 ? tokenizer.eos() : 0;

  Progress progress("sampling text", total * spec.length, "token");
  std::vector<std::vector<Token>> texts;
  std::vector<float> logits;
  for (std::int64_t first = 0; first < total; first += options.sequences) {
    const std::int64_t count = std::min<std::int64_t>(options.sequences, total - first);
    std::vector<std::int32_t> slots;
    std::deque<Sampler> samplers;
    std::vector<Token> last(static_cast<std::size_t>(count), start);
    for (std::int64_t i = 0; i < count; ++i) {
      slots.push_back(static_cast<std::int32_t>(i));
      engine->truncate(slots.back(), 0);
      SamplingOptions sampling;
      sampling.temperature = 1.0f;
      sampling.seed = Rng(seed, static_cast<std::uint64_t>(first + i)).next();
      samplers.emplace_back(sampling);
      texts.push_back({start});
    }
    logits.resize(static_cast<std::size_t>(count) * vocab);
    for (std::int64_t t = 1; t < spec.length; ++t) {
      SPARING_CHECK_OK(engine->decode(slots, last, logits));
      for (std::size_t i = 0; i < slots.size(); ++i) {
        last[i] = samplers[i].sample(std::span(logits).subspan(i * vocab, vocab));
        texts[static_cast<std::size_t>(first) + i].push_back(last[i]);
      }
      progress.advance(count);
    }
  }
  progress.finish();
  CalibrationTokens result;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (static_cast<std::int64_t>(i) < wanted) {
      result.sequences.push_back(std::move(texts[i]));
    } else {
      result.held_out.insert(result.held_out.end(), texts[i].begin(), texts[i].end());
    }
  }
  return result;
}

Result<CalibrationTokens> calibration_tokens(const CalibrationSpec& spec,
                                             const std::shared_ptr<const Checkpoint>& checkpoint,
                                             const std::string& model_hash, std::uint64_t seed, int threads,
                                             Journal* journal, ShortText if_short) {
  if (std::holds_alternative<std::monostate>(checkpoint->tokenizer())) {
    return input_error("[calibrate] the model has no tokenizer: give one with --tokenizer");
  }
  SPARING_TRY(const auto tokenizer, Tokenizer::load(checkpoint->tokenizer()));
  if (!spec.self) return read_calibration(spec, *tokenizer, seed, if_short);
  const Json identity = {{"model", model_hash}, {"seed", seed}, {"tokens", spec.tokens}, {"length", spec.length}};
  const std::string identity_text = identity.dump();
  const std::string key = "text-" + sha256_hex(std::as_bytes(std::span(identity_text))).substr(0, 32);
  if (journal != nullptr) {
    if (const auto noted = journal->note(key)) {
      if (auto text = text_from_json(Json::parse(*noted, nullptr, false), checkpoint->config().vocab)) {
        return std::move(*text);
      }
    }
  }
  SPARING_TRY(CalibrationTokens text,
              sample_calibration(spec, checkpoint, *tokenizer, kHeldOutWindows * spec.length, seed, threads));
  if (journal != nullptr) {
    SPARING_CHECK_OK(journal->keep_note(key, Json{{"sequences", text.sequences}, {"held_out", text.held_out}}.dump()));
  }
  return text;
}

}  // namespace sparing
