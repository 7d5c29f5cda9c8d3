#pragma once
// Chat templates (Jinja), rendered as Hugging Face's transformers does.
//
// The language is the part of Jinja that chat templates use: for (with if, else, break, continue), if, set (also of a
// namespace's attributes, and blocks), macro, generation; Jinja's expressions, filters and tests; methods of strings,
// mappings and lists. What is not supported is refused by its name, never passed over.

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sparing {

struct ChatMessage {
  std::string role, content;
  /// Further fields ("tool_calls", "reasoning_content", ...) as a JSON object; one named "content" replaces `content`
  /// (null, or a list of parts). Empty: none.
  std::string extra_json = {};
};

struct ChatOptions {
  bool add_generation_prompt = false;
  /// Texts of the special tokens; an absent one is undefined in the template.
  std::optional<std::string> bos_token = {}, eos_token = {}, unk_token = {}, pad_token = {};
  std::string tools_json = {};   ///< a JSON list of tool descriptions; empty: none
  std::string kwargs_json = {};  ///< a JSON object of further variables ("enable_thinking": false, ...)
  std::time_t now = 0;           ///< what strftime_now tells, in local time; 0: the time of the call
};

class ChatTemplate {
 public:
  /// Parses once; rendering many times costs no more parsing. Templates are hostile input: depth is bounded.
  static Result<ChatTemplate> parse(std::string_view text);
  /// The prompt. Fails with the template's own message if it raises one, by name on what is undefined or not
  /// supported, and when the template exceeds its budget of work or output. `messages` must be valid UTF-8; what is not
  /// is replaced by U+FFFD.
  Result<std::string> render(const std::vector<ChatMessage>& messages, const ChatOptions& options) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// Parses and renders.
Result<std::string> render_chat(std::string_view template_text, const std::vector<ChatMessage>& messages,
                                const ChatOptions& options);

}  // namespace sparing
