#pragma once
// A chat: messages so far, the model's template, and the cache that turns share.

#include <memory>
#include <string>
#include <vector>

#include "cli/engine_args.h"
#include "runtime/generate.h"
#include "text/chat_template.h"

namespace sparing::cli {

/// The model's chat template; refuses a model that has none. `operation` begins the message.
Result<ChatTemplate> chat_template_of(const LoadedModel& model, const std::string& operation);
/// The tokens that ask for the assistant's next message.
Result<std::vector<Token>> chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                                       const std::vector<ChatMessage>& messages);

class Conversation {
 public:
  /// Refuses a model without a chat template. `system`: empty leaves it to the template.
  static Result<Conversation> start(LoadedModel model, std::string system);

  /// Answers `text`. Turns that no longer fit the context are forgotten, oldest first, with `forgotten` saying how
  /// many. An answer that Ctrl-C cut short stays in the conversation as far as it came.
  Result<Generation> say(const std::string& text, const GenerateOptions& options, const OnText& on_text);
  /// Forgets all but the system message.
  void reset();
  void set_system(std::string system);

  const std::vector<ChatMessage>& messages() const { return messages_; }
  std::int64_t forgotten() const { return forgotten_; }
  const LoadedModel& model() const { return model_; }

 private:
  Conversation(LoadedModel model, ChatTemplate chat_template)
      : model_(std::move(model)), template_(std::move(chat_template)) {}
  bool has_system() const;

  LoadedModel model_;
  ChatTemplate template_;
  std::vector<ChatMessage> messages_;
  std::vector<Token> held_;
  std::int64_t forgotten_ = 0;
};

}  // namespace sparing::cli
