#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include <string>

#include "text/regex_dialect.h"
#include "text/unicode.h"

namespace sparing {
namespace {

constexpr std::size_t kLongestPattern = 1 << 16;
constexpr std::uint32_t kMatchLimit = 1'000'000, kDepthLimit = 10'000, kHeapLimitKiB = 16 * 1024;

}  // namespace

struct Regex::Impl {
  struct FreeCode {
    void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  };
  struct FreeContext {
    void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  };
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_context, FreeContext> context;
};

Result<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kLongestPattern) {
    return input_error("[tokenizer] a regular expression of " + std::to_string(pattern.size()) +
                       " bytes: at most 65536 are read");
  }
  const std::string shown(pattern.substr(0, 200));
  SPARING_TRY(const std::string translated, to_pcre2(pattern));
  auto impl = std::make_shared<Impl>();
  int code = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> how(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(how.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(how.get(), 100);
  // In Ruby's syntax ^ and $ match at every line.
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &offset,
                                 how.get()));
  if (!impl->code) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(code, message, sizeof message);
    return input_error("[tokenizer] regular expression '" + shown + "': " + reinterpret_cast<const char*>(message) +
                       " at " + std::to_string(offset));
  }
  pcre2_jit_compile(impl->code.get(), PCRE2_JIT_COMPLETE);  // optional: without it matching is only slower
  impl->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(impl->context.get(), kMatchLimit);
  pcre2_set_depth_limit(impl->context.get(), kDepthLimit);
  pcre2_set_heap_limit(impl->context.get(), kHeapLimitKiB);
  Regex regex;
  regex.impl_ = std::move(impl);
  return regex;
}

std::vector<std::pair<std::size_t, std::size_t>> Regex::find_all(std::string_view text) const {
  std::vector<std::pair<std::size_t, std::size_t>> found;
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
      pcre2_match_data_create_from_pattern(impl_->code.get(), nullptr), pcre2_match_data_free);
  std::size_t at = 0;
  std::size_t last_end = std::string_view::npos;
  while (at <= text.size()) {
    const int count = pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                  PCRE2_NO_UTF_CHECK, data.get(), impl_->context.get());
    if (count < 0) break;
    const PCRE2_SIZE* const where = pcre2_get_ovector_pointer(data.get());
    const std::size_t begin = where[0], end = where[1];
    if (end < begin || begin < at) break;  // \K within a lookahead can do that
    const bool repeated = begin == end && end == last_end;
    if (!repeated) found.emplace_back(begin, end);
    last_end = end;
    at = end;
    if (begin == end) {
      if (at >= text.size()) break;
      at += char_length(text[at]);
    }
  }
  return found;
}

}  // namespace sparing
