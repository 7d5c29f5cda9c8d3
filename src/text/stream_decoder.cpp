#include "text/tokenizer.h"
#include "text/unicode.h"

namespace sparing {

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special)
    : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

std::string StreamDecoder::feed(Token id) {
  const Token twice[] = {id, id};
  if (tokenizer_->decode(twice, skip_special_).empty()) return {};  // left out, or nothing
  // What a piece looks like may depend on whether it is the first (a leading space is dropped): one visible id before
  // it is context enough.
  const std::string before = context_.empty() ? std::string() : tokenizer_->decode(context_, skip_special_);
  context_.push_back(id);
  const std::string now = tokenizer_->decode(context_, skip_special_);
  if (context_.size() > 1) context_.erase(context_.begin());
  pending_.append(now, std::min(before.size(), now.size()));
  const std::size_t whole = complete_utf8_prefix(pending_);
  std::string out = replace_invalid_utf8(std::string_view(pending_).substr(0, whole));
  pending_.erase(0, whole);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = replace_invalid_utf8(pending_);
  pending_.clear();
  context_.clear();
  return out;
}

}  // namespace sparing
