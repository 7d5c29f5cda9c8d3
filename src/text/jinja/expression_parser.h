#pragma once
// Jinja's expressions, over a template's tokens; statements (parser.cpp) stand on it.

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace sparing::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::string_view source) : tokens_(lex(source)) {}

 protected:
  using Token = TemplateToken;
  using Kind = Node::Kind;
  using NewNode = std::unique_ptr<Node>;
  static constexpr int kDeepestNesting = 200;

  // ---- the token in hand

  struct Deeper {
    explicit Deeper(ExpressionParser& p) : parser(p) {
      if (++parser.depth_ > kDeepestNesting) parser.error("nested deeper than " + std::to_string(kDeepestNesting));
    }
    ~Deeper() { --parser.depth_; }
    ExpressionParser& parser;
  };

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead(std::size_t n = 1) const { return tokens_[std::min(at_ + n, tokens_.size() - 1)]; }
  void next() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  [[noreturn]] void error(const std::string& what) const { fail(what + ", line " + std::to_string(now().line)); }
  bool is_symbol(std::string_view s) const { return now().kind == Token::Kind::symbol && now().text == s; }
  bool is_word(std::string_view s) const { return now().kind == Token::Kind::name && now().text == s; }
  bool take_symbol(std::string_view s) {
    if (!is_symbol(s)) return false;
    next();
    return true;
  }
  bool take_word(std::string_view s) {
    if (!is_word(s)) return false;
    next();
    return true;
  }
  void expect_symbol(std::string_view s) {
    if (!take_symbol(s)) error("expected '" + std::string(s) + "', found '" + now().text + "'");
  }
  std::string expect_name() {
    if (now().kind != Token::Kind::name) error("expected a name, found '" + now().text + "'");
    std::string name = now().text;
    next();
    return name;
  }
  void expect_block_end() {
    if (now().kind != Token::Kind::block_end) error("expected the tag's end, found '" + now().text + "'");
    next();
  }
  NewNode make(Kind kind, std::string text = {}) const {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = now().line;
    node->text = std::move(text);
    return node;
  }

  // ---- what statements hold

  /// An expression, or several with commas between, which make a tuple.
  NodePtr tuple(bool with_condition = true);
  NodePtr expression();
  NodePtr disjunction();
  NodePtr filter(NodePtr of);

 private:
  void count(int& links) const;
  NewNode binary(std::string op, NodePtr left, NodePtr right) const;
  NodePtr conjunction();
  NodePtr negation();
  std::string comparison_operator();
  NodePtr comparison();
  template <class F>
  NodePtr left_associative(std::initializer_list<const char*> operators, const F& operand);
  NodePtr sum();
  NodePtr concatenation();
  NodePtr product();
  NodePtr power();
  NodePtr unary(bool with_filters);
  NewNode constant(Value value) const;
  NodePtr primary();
  NewNode name_or_constant(const std::string& text) const;
  NewNode number(const Token& token) const;
  NodePtr list();
  NodePtr dict();
  NodePtr postfix(NodePtr node);
  NodePtr subscript(NodePtr of);
  /// Arguments in brackets, appended to `node`.
  void arguments(Node& node);
  NodePtr call(NodePtr callee);
  NodePtr filters_and_tests(NodePtr node);
  NodePtr test(NodePtr of);

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace sparing::jinja
