#include "text/tokenizer.h"

#include "base/atomic_file.h"
#include "text/compact.h"
#include "text/sentencepiece.h"
#include "text/tokenizer_spec.h"

namespace sparing {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

Result<std::shared_ptr<const Tokenizer>> from(Result<TokenizerSpec> spec) {
  if (!spec.ok()) return std::move(spec).error();
  return make_tokenizer(std::move(spec).value());
}

Result<std::string> read_if_there(const std::filesystem::path& path) {
  std::error_code ignored;
  if (path.empty() || !std::filesystem::exists(path, ignored)) return std::string();
  return read_text_file(path, 256u << 20);
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const TokenizerSource& source) {
  using Loaded = Result<std::shared_ptr<const Tokenizer>>;
  return std::visit(Overloaded{
                        [](std::monostate) -> Loaded {
                          return input_error("[tokenizer] the model has none: give one with --tokenizer FILE");
                        },
                        [](const HfTokenizerFiles& files) -> Loaded {
                          SPARING_TRY(const std::string json, read_text_file(files.tokenizer_json, 256u << 20));
                          SPARING_TRY(const std::string config, read_if_there(files.tokenizer_config));
                          return from(read_tokenizer_json(json, config));
                        },
                        [](const SentencePieceFile& file) -> Loaded {
                          SPARING_TRY(const std::string model, read_text_file(file.model, 256u << 20));
                          SPARING_TRY(const std::string config, read_if_there(file.tokenizer_config));
                          return load_sentencepiece(model, config);
                        },
                        [](const GgufVocab& vocab) -> Loaded { return from(read_gguf_vocab(vocab)); },
                        [](const Llama2cVocab& vocab) -> Loaded { return from(read_llama2c_vocab(vocab)); },
                        [](const CompactTokenizer& compact) -> Loaded { return load_compact(compact.data.bytes); },
                    },
                    source);
}

}  // namespace sparing
