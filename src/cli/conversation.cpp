#include "cli/conversation.h"

namespace sparing::cli {

Result<ChatTemplate> chat_template_of(const LoadedModel& model, const std::string& operation) {
  const auto source = model.checkpoint->chat_template();
  if (!source) {
    return usage_error("[" + operation + "] " + model.checkpoint->path().string() +
                       " has no chat template: it is not made for chat; 'sparing run --prompt' continues a text");
  }
  return ChatTemplate::parse(*source);
}

Result<std::vector<Token>> chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                                       const std::vector<ChatMessage>& messages) {
  ChatOptions options;
  options.add_generation_prompt = true;
  if (tokenizer.bos() >= 0) options.bos_token = tokenizer.token_text(tokenizer.bos());
  if (tokenizer.eos() >= 0) options.eos_token = tokenizer.token_text(tokenizer.eos());
  SPARING_TRY(const std::string rendered, chat_template.render(messages, options));
  // The template writes every special token itself.
  return tokenizer.encode(rendered, false, true);
}

Result<Conversation> Conversation::start(LoadedModel model, std::string system) {
  SPARING_TRY(ChatTemplate chat_template, chat_template_of(model, "chat"));
  Conversation chat(std::move(model), std::move(chat_template));
  chat.set_system(std::move(system));
  return chat;
}

bool Conversation::has_system() const {
  return !messages_.empty() && messages_.front().role == "system";
}

void Conversation::reset() {
  messages_.resize(has_system() ? 1 : 0);
  forgotten_ = 0;
}

void Conversation::set_system(std::string system) {
  messages_.clear();
  forgotten_ = 0;
  if (!system.empty()) messages_.push_back({"system", std::move(system)});
}

Result<Generation> Conversation::say(const std::string& text, const GenerateOptions& options, const OnText& on_text) {
  const std::size_t before = messages_.size();
  messages_.push_back({"user", text});
  auto prompt = chat_prompt(template_, *model_.tokenizer, messages_);
  if (!prompt) {
    messages_.resize(before);
    return std::move(prompt).error();
  }
  std::vector<Token> tokens = *std::move(prompt);
  // Room for an answer of some length; what was said first goes first, a question with its answer.
  const std::int64_t context = model_.engine->context();
  const std::int64_t room = std::min(options.max_tokens, context / 4);
  const std::size_t first = has_system() ? 1 : 0;
  while (static_cast<std::int64_t>(tokens.size()) + room > context && messages_.size() > first + 2) {
    messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(first),
                    messages_.begin() + static_cast<std::ptrdiff_t>(first) + 2);
    forgotten_ += 2;
    SPARING_TRY(tokens, chat_prompt(template_, *model_.tokenizer, messages_));
  }
  auto answer = generate(*model_.engine, model_.tokenizer, 0, held_, tokens, options, on_text);
  if (!answer) {
    messages_.pop_back();
    return std::move(answer).error();
  }
  messages_.push_back({"assistant", answer->text});
  return answer;
}

}  // namespace sparing::cli
