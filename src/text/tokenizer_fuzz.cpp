// tokenizer.json, tokenizer.model and the compact form from hostile files; whatever loads must tokenize without fault,
// and its compact form must load again and agree. First byte: which form the rest is.
#include <cstdlib>
#include <string>

#include "text/compact.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"
#include "text/tokenizer_spec.h"

using namespace sparing;

namespace {

void use(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<Token> ids = tokenizer.encode(text, true, true);
  for (const Token id : ids) {
    if (id < -1 || id >= tokenizer.vocab_size()) std::abort();
  }
  static_cast<void>(tokenizer.decode(ids, false));
  const std::string compact = tokenizer.to_compact();
  const auto again = load_compact(std::as_bytes(std::span(compact)));
  if (!again.ok() || (*again)->encode(text, true, true) != ids) std::abort();
  static_cast<void>(tokenizer.to_tokenizer_json().ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 1 << 16) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string_view text = rest.substr(0, 64);
  constexpr std::string_view mixed =
      "Hello  w\xC3\xB6rld's 1234 \xE4\xBA\xBA\xE4\xBA\xBA\n\t<s> \xF0\x9F\x98\x80\xFF!?";
  Result<std::shared_ptr<const Tokenizer>> loaded = usage_error("");
  switch (data[0] % 4) {
    case 0: {
      auto spec = read_tokenizer_json(rest, {});
      if (spec.ok()) loaded = make_tokenizer(std::move(spec).value());
      break;
    }
    case 1: {
      auto spec = read_compact_spec(rest);
      if (spec.ok()) loaded = make_tokenizer(std::move(spec).value());
      break;
    }
    case 2:
      loaded = load_compact(std::as_bytes(std::span(rest)));
      break;
    default: {
      const Llama2cVocab vocab{Blob{std::as_bytes(std::span(rest)), nullptr}, data[1] + 259};
      auto spec = read_llama2c_vocab(vocab);
      if (spec.ok()) loaded = make_tokenizer(std::move(spec).value());
    }
  }
  if (!loaded.ok()) return 0;
  use(**loaded, text);
  use(**loaded, mixed);
  return 0;
}
