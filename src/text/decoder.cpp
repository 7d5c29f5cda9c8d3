#include "text/decoder.h"

#include "text/normalizer.h"
#include "text/unicode.h"

namespace sparing {
namespace {

using Kind = DecoderStep::Kind;

/// "<0x41>" as its byte, or -1.
int fallback_byte(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  const int high = digit(piece[3]), low = digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void strip(std::string& piece, const DecoderStep& step) {
  if (step.text.empty()) return;
  std::size_t begin = 0, end = piece.size();
  const auto is = [&](std::size_t at) { return std::string_view(piece).substr(at).starts_with(step.text); };
  for (std::uint32_t i = 0; i < step.start && begin < end && is(begin); ++i) begin += step.text.size();
  for (std::uint32_t i = 0; i < step.stop && end >= begin + step.text.size() && is(end - step.text.size()); ++i) {
    end -= step.text.size();
  }
  piece = piece.substr(begin, end - begin);
}

std::string joined(const std::vector<std::string>& pieces, std::string_view between) {
  std::string out;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0) out += between;
    out += pieces[i];
  }
  return out;
}

void unmetaspace(std::string& piece, const DecoderStep& step, bool first) {
  const bool drop = first && step.prepend != PreTokenizerStep::Prepend::never;
  std::string out;
  for (std::size_t at = 0; at < piece.size();) {
    if (std::string_view(piece).substr(at).starts_with(step.text)) {
      if (!drop) out.push_back(' ');
      at += step.text.size();
    } else {
      out.push_back(piece[at++]);
    }
  }
  piece = std::move(out);
}

}  // namespace

Result<Decoder> Decoder::create(const std::vector<DecoderStep>& steps, bool has_steps) {
  Decoder out;
  out.has_steps_ = has_steps;
  out.only_joins_ = has_steps;
  for (const DecoderStep& step : steps) {
    Compiled c{step, std::nullopt};
    if (step.kind == Kind::replace && step.pattern.regex) {
      SPARING_TRY(c.regex, Regex::compile(step.pattern.text));
    }
    if (step.kind != Kind::byte_level && step.kind != Kind::fuse) out.only_joins_ = false;
    if (step.kind == Kind::metaspace && step.text.empty()) {
      return input_error("[tokenizer] a Metaspace decoder without replacement: give the character");
    }
    out.steps_.push_back(std::move(c));
  }
  return out;
}

std::string Decoder::decode(std::vector<std::string> pieces) const {
  if (!has_steps_) return joined(pieces, " ");
  for (const auto& [step, regex] : steps_) {
    switch (step.kind) {
      case Kind::byte_level:
      case Kind::fuse:
        pieces = {joined(pieces, "")};
        break;
      case Kind::byte_fallback:
        for (std::string& piece : pieces) {
          if (const int b = fallback_byte(piece); b >= 0) piece.assign(1, static_cast<char>(b));
        }
        break;
      case Kind::replace:
        for (std::string& piece : pieces) {
          if (!regex || is_valid_utf8(piece)) piece = replace_all(piece, step.pattern, regex, step.text);
        }
        break;
      case Kind::strip:
        for (std::string& piece : pieces) strip(piece, step);
        break;
      case Kind::metaspace:
        for (std::size_t i = 0; i < pieces.size(); ++i) unmetaspace(pieces[i], step, i == 0);
        break;
    }
  }
  return joined(pieces, "");
}

}  // namespace sparing
