#pragma once
#include "text/tokenizer_spec.h"

namespace sparing {

/// A Tokenizer that can say what it is made of, for the writers.
class SpecTokenizer : public Tokenizer {
 public:
  virtual Result<TokenizerSpec> spec() const = 0;
};

}  // namespace sparing
