#include "runtime/generate.h"

#include <algorithm>
#include <chrono>

#include "base/interrupt.h"
#include "runtime/lookup_draft.h"
#include "runtime/stop_strings.h"

namespace sparing {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The state of one generation between forward passes.
class Loop {
 public:
  Loop(Engine& engine, const std::shared_ptr<const Tokenizer>& tokenizer, std::int32_t sequence,
       std::vector<Token>& held, const GenerateOptions& options, const OnText& on_text)
      : engine_(engine),
        sequence_(sequence),
        held_(held),
        options_(options),
        on_text_(on_text),
        sampler_(options.sampling),
        decoder_(tokenizer, true),
        stops_(options.stop),
        ends_(engine.config().eos),
        vocab_(static_cast<std::size_t>(engine.config().vocab)) {
    if (tokenizer->eos() >= 0) ends_.push_back(tokenizer->eos());
    logits_.resize(vocab_ * static_cast<std::size_t>(1 + std::max<std::int64_t>(options.draft, 0)));
  }

  Result<Generation> run(std::span<const Token> prompt) {
    const auto start = Clock::now();
    SPARING_CHECK_OK(read_prompt(prompt));
    out_.prompt_seconds = since(start);
    if (!done_ && options_.max_tokens > 0) {
      SPARING_CHECK_OK(take(row(0)));
      out_.first_token_seconds = since(start);
    } else {
      done_ = true;
    }
    const auto decoding = Clock::now();
    while (!done_) SPARING_CHECK_OK(step());
    out_.decode_seconds = since(decoding);
    if (out_.finish != Finish::stop_string) SPARING_CHECK_OK(show(stops_.feed(decoder_.finish()) + stops_.finish()));
    return std::move(out_);
  }

 private:
  std::span<const float> row(std::size_t i) const {
    return std::span<const float>(logits_).subspan(i * vocab_, vocab_);
  }

  Status read_prompt(std::span<const Token> prompt) {
    const auto length = static_cast<std::int64_t>(prompt.size());
    if (prompt.empty()) return usage_error("[generate] the prompt is empty: give it at least one token");
    if (length > engine_.context()) {
      return usage_error("[generate] the prompt has " + std::to_string(length) + " tokens and the context " +
                         std::to_string(engine_.context()) + ": shorten it or raise --ctx");
    }
    const auto parted = std::mismatch(held_.begin(), held_.end(), prompt.begin(), prompt.end()).first - held_.begin();
    // The last token is always computed: its logits are wanted.
    engine_.truncate(sequence_, std::min<std::int64_t>(parted, length - 1));
    const std::int64_t common = engine_.length(sequence_);
    held_.resize(static_cast<std::size_t>(common));
    out_.prompt_tokens = length;
    out_.reused_tokens = common;
    constexpr std::int64_t kPart = 2048;  // Between parts, Ctrl-C is looked for.
    for (std::int64_t at = common; at < length; at += kPart) {
      if (interrupted()) return finish(Finish::cancelled);
      const auto part =
          prompt.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(std::min(kPart, length - at)));
      const bool last = at + kPart >= length;
      SPARING_CHECK_OK(engine_.forward(sequence_, part, std::span(logits_).first(last ? vocab_ : 0)));
      held_.insert(held_.end(), part.begin(), part.end());
    }
    return {};
  }

  /// One forward pass over the last token and what is guessed to follow it.
  Status step() {
    if (interrupted()) return finish(Finish::cancelled);
    const auto length = static_cast<std::int64_t>(held_.size());
    const std::int64_t room = std::min(engine_.context() - length - 1, left() - 1);
    if (engine_.context() - length < 1) return finish(Finish::context);
    held_.push_back(out_.tokens.back());
    const std::vector<Token> draft =
        options_.draft > 0 ? lookup_draft(held_, std::min(options_.draft, room)) : std::vector<Token>();
    pass_.assign(1, out_.tokens.back());
    pass_.insert(pass_.end(), draft.begin(), draft.end());
    SPARING_CHECK_OK(engine_.forward(sequence_, pass_, std::span(logits_).first(vocab_ * pass_.size())));
    out_.drafted += static_cast<std::int64_t>(draft.size());
    for (std::size_t i = 0; i < pass_.size() && !done_; ++i) {
      SPARING_CHECK_OK(take(row(i)));
      if (done_ || i == draft.size() || out_.tokens.back() != draft[i]) break;
      held_.push_back(draft[i]);
      ++out_.accepted;
    }
    engine_.truncate(sequence_, static_cast<std::int64_t>(held_.size()));
    return {};
  }

  std::int64_t left() const { return options_.max_tokens - static_cast<std::int64_t>(out_.tokens.size()); }

  /// Samples a token and shows its text.
  Status take(std::span<const float> logits) {
    const Token token = sampler_.sample(logits);
    out_.tokens.push_back(token);
    if (!options_.ignore_end && std::find(ends_.begin(), ends_.end(), token) != ends_.end()) {
      return finish(Finish::end_token);
    }
    SPARING_CHECK_OK(show(stops_.feed(decoder_.feed(token))));
    if (stops_.found()) return finish(Finish::stop_string);
    if (left() <= 0) return finish(Finish::length);
    return {};
  }

  Status show(const std::string& text) {
    if (text.empty()) return {};
    out_.text += text;
    return on_text_ ? on_text_(text) : Status();
  }

  Status finish(Finish why) {
    out_.finish = why;
    done_ = true;
    return {};
  }

  Engine& engine_;
  std::int32_t sequence_;
  std::vector<Token>& held_;
  const GenerateOptions& options_;
  const OnText& on_text_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopStrings stops_;
  std::vector<Token> ends_, pass_;
  std::size_t vocab_;
  std::vector<float> logits_;
  Generation out_;
  bool done_ = false;
};

}  // namespace

std::string_view name_of(Finish finish) {
  switch (finish) {
    case Finish::end_token:
      return "end_token";
    case Finish::stop_string:
      return "stop_string";
    case Finish::length:
      return "length";
    case Finish::context:
      return "context";
    case Finish::cancelled:
      return "cancelled";
  }
  return "?";
}

double Generation::prompt_rate() const {
  return prompt_seconds > 0 ? static_cast<double>(prompt_tokens - reused_tokens) / prompt_seconds : 0;
}

double Generation::decode_rate() const {
  return decode_seconds > 0 && tokens.size() > 1 ? static_cast<double>(tokens.size() - 1) / decode_seconds : 0;
}

Result<Generation> generate(Engine& engine, const std::shared_ptr<const Tokenizer>& tokenizer, std::int32_t sequence,
                            std::vector<Token>& held, std::span<const Token> prompt, const GenerateOptions& options,
                            const OnText& on_text) {
  return Loop(engine, tokenizer, sequence, held, options, on_text).run(prompt);
}

}  // namespace sparing
