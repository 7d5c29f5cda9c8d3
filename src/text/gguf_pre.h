#pragma once
// GGUF's names (tokenizer.ggml.pre) for what happens to a text before byte-level BPE.

#include <optional>
#include <string_view>

#include "text/tokenizer_spec.h"

namespace sparing {

/// Sets the spec's normalizer, pre-tokeniser and ignore_merges. Returns whether BOS is added unless said otherwise.
Result<bool> apply_gguf_pre(std::string_view pre, TokenizerSpec& spec);
/// The name under which all of that is what the spec has.
std::optional<std::string_view> gguf_pre_of(const TokenizerSpec& spec);

}  // namespace sparing
