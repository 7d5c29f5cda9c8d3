// llama2.c's tokenizer.bin: a length, then for each piece its score, length and bytes.

#include <cstring>

#include "text/tokenizer_spec.h"
#include "text/unicode.h"

namespace sparing {

Result<TokenizerSpec> read_llama2c_vocab(const Llama2cVocab& vocab) {
  const Bytes data = vocab.data.bytes;
  const auto bad = [](const std::string& what) {
    return input_error("[tokenizer.bin] " + what + ": give the tokenizer.bin that belongs to the model");
  };
  // Each piece takes 8 bytes or more, so this bounds the loop.
  if (vocab.vocab < 259 || static_cast<std::uint64_t>(vocab.vocab) * 8 + 4 > data.size()) {
    return bad(std::to_string(data.size()) + " bytes cannot hold " + std::to_string(vocab.vocab) + " pieces");
  }
  TokenizerSpec spec;
  spec.model = TokenizerSpec::Model::bpe_by_score;
  std::size_t at = 4;
  for (std::int32_t id = 0; id < vocab.vocab; ++id) {
    float score = 0;
    std::int32_t length = 0;
    if (data.size() - at < 8) return bad("ends within piece " + std::to_string(id));
    std::memcpy(&score, data.data() + at, 4);
    std::memcpy(&length, data.data() + at + 4, 4);
    at += 8;
    if (length < 0 || static_cast<std::size_t>(length) > data.size() - at || score != score) {
      return bad("piece " + std::to_string(id) + " has length " + std::to_string(length));
    }
    const std::string_view piece(reinterpret_cast<const char*>(data.data()) + at, static_cast<std::size_t>(length));
    at += static_cast<std::size_t>(length);
    if (!is_valid_utf8(piece)) return bad("piece " + std::to_string(id) + " is not UTF-8");
    constexpr std::string_view kSpecial[] = {"<unk>", "<s>", "</s>"};
    if (id < 3) {
      AddedToken t;
      t.id = id;
      t.content = kSpecial[id];
      t.special = true;
      spec.added.push_back(t);
      spec.pieces.push_back(t.content);
    } else {
      spec.pieces.push_back(piece);
    }
    spec.in_model.push_back(id >= 3);
    spec.scores.push_back(score);
  }
  spec.unk = 0;
  spec.bos = 1;
  spec.eos = 2;
  spec.byte_fallback = true;
  spec.prefix = {spec.bos};
  // Spaces stand as they are in these pieces; one is put before the text, and taken off again.
  spec.normalizer.push_back({.kind = NormalizerStep::Kind::prepend, .pattern = {}, .text = " "});
  spec.decoder.push_back({.kind = DecoderStep::Kind::byte_fallback, .pattern = {}, .text = {}});
  spec.decoder.push_back({.kind = DecoderStep::Kind::fuse, .pattern = {}, .text = {}});
  spec.decoder.push_back({.kind = DecoderStep::Kind::strip, .pattern = {}, .text = " ", .start = 1});
  return spec;
}

}  // namespace sparing
