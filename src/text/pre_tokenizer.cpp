#include "text/pre_tokenizer.h"

#include <algorithm>

#include "text/unicode.h"

namespace sparing {
namespace {

using Step = PreTokenizerStep;
using Behavior = PreTokenizerStep::Behavior;

struct Span {
  std::size_t begin, end;
  bool match;
};

/// What a Split keeps of matches and of what lies between them.
void emit(std::vector<Span> spans, Behavior behavior, std::string_view text, WordSink& sink) {
  std::vector<Span> kept;
  bool previous = false;
  switch (behavior) {
    case Behavior::isolated:
      kept = std::move(spans);
      break;
    case Behavior::removed:
      std::copy_if(spans.begin(), spans.end(), std::back_inserter(kept), [](const Span& s) { return !s.match; });
      break;
    case Behavior::contiguous:
      for (const Span& s : spans) {
        if (!kept.empty() && kept.back().match == s.match) {
          kept.back().end = s.end;
        } else {
          kept.push_back(s);
        }
      }
      break;
    case Behavior::merged_with_previous:
      for (const Span& s : spans) {
        if (s.match && !previous && !kept.empty()) {
          kept.back().end = s.end;
        } else {
          kept.push_back(s);
        }
        previous = s.match;
      }
      break;
    case Behavior::merged_with_next:
      for (auto s = spans.rbegin(); s != spans.rend(); ++s) {
        if (s->match && !previous && !kept.empty()) {
          kept.back().begin = s->begin;
        } else {
          kept.push_back(*s);
        }
        previous = s->match;
      }
      std::reverse(kept.begin(), kept.end());
      break;
  }
  for (const Span& s : kept) {
    if (s.end > s.begin) sink.word(text.substr(s.begin, s.end - s.begin));
  }
}

/// Each character of a class is a match; the others form runs between.
template <class Matches>
std::vector<Span> by_character(std::string_view text, const Matches& matches) {
  std::vector<Span> spans;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const bool match = matches(next_char(text, at));
    if (!match && !spans.empty() && !spans.back().match) {
      spans.back().end = at;
    } else {
      spans.push_back({begin, at, match});
    }
  }
  return spans;
}

std::vector<Span> around(const std::vector<std::pair<std::size_t, std::size_t>>& matches, std::size_t size) {
  std::vector<Span> spans;
  std::size_t previous = 0;
  for (const auto& [begin, end] : matches) {
    if (previous < begin) spans.push_back({previous, begin, false});
    spans.push_back({begin, end, true});
    previous = end;
  }
  if (previous < size) spans.push_back({previous, size, false});
  return spans;
}

std::vector<std::pair<std::size_t, std::size_t>> find_literal(std::string_view text, std::string_view what) {
  std::vector<std::pair<std::size_t, std::size_t>> found;
  if (what.empty()) return found;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) {
    found.emplace_back(at, at + what.size());
  }
  return found;
}

std::string metaspaced(const Step& step, std::string_view text, bool first) {
  std::string out;
  out.reserve(text.size() + 16);
  const bool has = text.starts_with(' ') || text.starts_with(step.replacement);
  if (!has && (step.prepend == Step::Prepend::always || (step.prepend == Step::Prepend::first && first))) {
    out += step.replacement;
  }
  for (const char c : text) {
    if (c == ' ') {
      out += step.replacement;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

class WordsOnly final : public WordSink {
 public:
  WordsOnly(WordSink& next) : next_(next) {}
  void word(std::string_view w) override {
    if ((char_class(peek(w)) & kSpace) == 0) next_.word(w);
  }

 private:
  static char32_t peek(std::string_view w) {
    std::size_t at = 0;
    return next_char(w, at);
  }
  WordSink& next_;
};

/// \w+|[^\w\s]+
void split_whitespace(std::string_view text, WordSink& sink) {
  WordsOnly words(sink);
  const auto kind = [&](std::size_t at) { return char_class(next_char(text, at)) & (kRustWord | kSpace); };
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    const int k = kind(at);
    while (end < text.size() && kind(end) == k) end += char_length(text[end]);
    words.word(text.substr(at, end - at));
    at = end;
  }
}

}  // namespace

/// Hands each word to the next step.
class NextStep final : public WordSink {
 public:
  NextStep(const PreTokenizer& owner, std::size_t next, std::string_view text, bool first, WordSink& sink)
      : owner_(owner), next_(next), text_(text), first_(first), sink_(sink) {}
  void word(std::string_view w) override { owner_.run(next_, w, first_ && w.data() == text_.data(), sink_); }

 private:
  const PreTokenizer& owner_;
  std::size_t next_;
  std::string_view text_;
  bool first_;
  WordSink& sink_;
};

Result<PreTokenizer> PreTokenizer::create(const std::vector<PreTokenizerStep>& steps) {
  PreTokenizer out;
  for (const Step& step : steps) {
    Compiled c{step, KnownPattern::none, std::nullopt};
    if (step.kind == Step::Kind::split && step.pattern.regex) {
      // The known patterns leave nothing unmatched, so that keeping all parts and keeping the matches are the same.
      if (step.behavior == Behavior::isolated || (step.behavior == Behavior::removed && step.invert)) {
        c.known = known_pattern(step.pattern.text);
      }
      if (c.known == KnownPattern::none) {
        SPARING_TRY(c.regex, Regex::compile(step.pattern.text));
      }
    }
    if (step.kind == Step::Kind::byte_level && step.use_regex) c.known = KnownPattern::gpt2;
    out.steps_.push_back(std::move(c));
  }
  const auto is_byte_level = [](const Compiled& c, bool regex) {
    return c.step.kind == Step::Kind::byte_level && !c.step.add_prefix_space && c.step.use_regex == regex;
  };
  const auto& s = out.steps_;
  if (s.size() == 1 && is_byte_level(s[0], true)) out.whole_ = KnownPattern::gpt2;
  if (s.size() == 2 && is_byte_level(s[1], true) && s[0].step.kind == Step::Kind::digits && s[0].step.individual) {
    out.whole_ = KnownPattern::smollm;
  }
  if (s.size() == 2 && is_byte_level(s[1], false) && s[0].step.kind == Step::Kind::split) out.whole_ = s[0].known;
  return out;
}

void PreTokenizer::split(std::string_view text, bool first, WordSink& sink) const {
  if (text.empty()) return;
  if (whole_ != KnownPattern::none) {
    split_words(whole_, text, sink);
  } else {
    run(0, text, first, sink);
  }
}

void PreTokenizer::run(std::size_t i, std::string_view text, bool first, WordSink& sink) const {
  if (i == steps_.size()) {
    sink.word(text);
    return;
  }
  const Compiled& c = steps_[i];
  const Step& step = c.step;
  std::string changed;
  if (step.kind == Step::Kind::metaspace) {
    changed = metaspaced(step, text, first);
    text = changed;
  } else if (step.kind == Step::Kind::byte_level && step.add_prefix_space && !text.starts_with(' ')) {
    changed = " " + std::string(text);
    text = changed;
  }
  NextStep next(*this, i + 1, text, first, sink);
  switch (step.kind) {
    case Step::Kind::byte_level:
      split_words(c.known, text, next);
      break;
    case Step::Kind::split: {
      if (c.known != KnownPattern::none) {
        split_words(c.known, text, next);
        break;
      }
      auto spans = around(c.regex ? c.regex->find_all(text) : find_literal(text, step.pattern.text), text.size());
      if (step.invert) {
        for (Span& s : spans) s.match = !s.match;
      }
      emit(std::move(spans), step.behavior, text, next);
      break;
    }
    case Step::Kind::digits:
      emit(by_character(text, [](char32_t x) { return (char_class(x) & kRustNumber) != 0; }),
           step.individual ? Behavior::isolated : Behavior::contiguous, text, next);
      break;
    case Step::Kind::metaspace:
      if (step.split) {
        emit(around(find_literal(text, step.replacement), text.size()), Behavior::merged_with_next, text, next);
      } else {
        next.word(text);
      }
      break;
    case Step::Kind::whitespace_split:
      emit(by_character(text, [](char32_t x) { return (char_class(x) & kSpace) != 0; }), Behavior::removed, text, next);
      break;
    case Step::Kind::whitespace:
      split_whitespace(text, next);
      break;
  }
}

}  // namespace sparing
