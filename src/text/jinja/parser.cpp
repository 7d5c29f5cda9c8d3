#include <algorithm>
#include <charconv>
#include <set>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace sparing::jinja {
namespace {

using Token = TemplateToken;
using Kind = Node::Kind;
using NewNode = std::unique_ptr<Node>;

constexpr int kDeepest = 200;
constexpr int kLongestChain = 1000;  ///< of one operator: its tree leans left, and is walked recursively

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(lex(source)) {}

  NodePtr run() {
    NodePtr body = statements({});
    if (now().kind != Token::Kind::end) error("unexpected tag");
    return body;
  }

 private:
  struct Deeper {
    explicit Deeper(Parser& p) : parser(p) {
      if (++parser.depth_ > kDeepest) parser.error("nested deeper than " + std::to_string(kDeepest));
    }
    ~Deeper() { --parser.depth_; }
    Parser& parser;
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

  // ---- statements

  /// Up to one of the tags in `ends`, at whose name the parser then stands.
  NodePtr statements(const std::set<std::string>& ends) {
    const Deeper deeper(*this);
    NewNode block = make(Kind::block);
    while (true) {
      switch (now().kind) {
        case Token::Kind::data:
          block->parts.push_back(make(Kind::data, now().text));
          next();
          break;
        case Token::Kind::variable_begin: {
          next();
          NewNode out = make(Kind::output);
          out->parts.push_back(tuple());
          block->parts.push_back(std::move(out));
          if (now().kind != Token::Kind::variable_end) error("expected '}}', found '" + now().text + "'");
          next();
          break;
        }
        case Token::Kind::block_begin:
          if (ahead().kind == Token::Kind::name && ends.contains(ahead().text)) {
            next();
            return block;
          }
          next();
          block->parts.push_back(statement());
          break;
        default:
          if (!ends.empty())
            error("expected {% " +
                  *std::find_if(ends.begin(), ends.end(), [](const auto& e) { return e.starts_with("end"); }) + " %}");
          return block;
      }
    }
  }
  /// The name of the tag that ended a body, and past its end.
  void end_tag() {
    next();
    expect_block_end();
  }

  NodePtr statement() {
    const std::string tag = expect_name();
    if (tag == "if") return branch();
    if (tag == "for") return loop();
    if (tag == "set") return set();
    if (tag == "macro") return macro();
    if (tag == "generation") {
      expect_block_end();
      NodePtr body = statements({"endgeneration"});
      end_tag();
      return body;
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) error(tag + " outside a loop");
      expect_block_end();
      return make(tag == "break" ? Kind::leave_loop : Kind::next_round);
    }
    error("the tag {% " + tag + " %} is not supported");
  }

  NodePtr branch() {
    const Deeper deeper(*this);
    NewNode node = make(Kind::branch);
    node->parts.push_back(expression());
    expect_block_end();
    node->parts.push_back(statements({"elif", "else", "endif"}));
    if (take_word("elif")) {
      node->parts.push_back(branch());
      return node;
    }
    if (take_word("else")) {
      expect_block_end();
      node->parts.push_back(statements({"endif"}));
    } else {
      node->parts.push_back(nullptr);
    }
    end_tag();
    return node;
  }

  std::vector<std::string> targets() {
    std::vector<std::string> names;
    const bool bracket = take_symbol("(");
    do {
      if (!names.empty() && now().kind != Token::Kind::name) break;
      names.push_back(expect_name());
    } while (take_symbol(","));
    if (bracket) expect_symbol(")");
    return names;
  }

  NodePtr loop() {
    NewNode node = make(Kind::loop);
    node->names = targets();
    if (!take_word("in")) error("expected 'in'");
    node->parts.push_back(tuple(false));
    node->parts.push_back(take_word("if") ? expression() : nullptr);
    node->flag = take_word("recursive");
    if (node->flag) error("recursive loops are not supported");
    expect_block_end();
    ++loops_;
    node->parts.push_back(statements({"else", "endfor"}));
    --loops_;
    if (take_word("else")) {
      expect_block_end();
      node->parts.push_back(statements({"endfor"}));
    } else {
      node->parts.push_back(nullptr);
    }
    end_tag();
    return node;
  }

  NodePtr set() {
    NewNode node = make(Kind::set);
    if (ahead().kind == Token::Kind::symbol && ahead().text == ".") {
      node->names = {expect_name()};
      next();
      node->text = expect_name();
    } else {
      node->names = targets();
    }
    if (take_symbol("=")) {
      node->parts.push_back(tuple());
      expect_block_end();
      return node;
    }
    if (node->names.size() != 1 || !node->text.empty()) error("a block set takes one name");
    node->kind = Kind::set_block;
    std::vector<NodePtr> filters;
    while (is_symbol("|")) filters.push_back(filter(nullptr));
    expect_block_end();
    node->parts.push_back(statements({"endset"}));
    for (auto& f : filters) node->parts.push_back(std::move(f));
    end_tag();
    return node;
  }

  NodePtr macro() {
    NewNode node = make(Kind::macro, expect_name());
    node->parts.push_back(nullptr);
    expect_symbol("(");
    while (!is_symbol(")")) {
      node->names.push_back(expect_name());
      if (take_symbol("=")) {
        node->parts.push_back(expression());
      } else if (node->parts.size() > 1) {
        error("a parameter without default after one with");
      }
      if (!take_symbol(",")) break;
    }
    expect_symbol(")");
    expect_block_end();
    const int loops = std::exchange(loops_, 0);
    node->parts[0] = statements({"endmacro"});
    loops_ = loops;
    end_tag();
    return node;
  }

  // ---- expressions

  /// An expression, or several with commas between, which make a tuple.
  NodePtr tuple(bool with_condition = true) {
    const auto one = [&] { return with_condition ? expression() : disjunction(); };
    NodePtr first = one();
    if (!is_symbol(",")) return first;
    NewNode node = make(Kind::list);
    node->flag = true;
    node->parts.push_back(std::move(first));
    while (take_symbol(",")) {
      if (now().kind == Token::Kind::block_end || now().kind == Token::Kind::variable_end || is_symbol(")")) break;
      node->parts.push_back(one());
    }
    return node;
  }

  NodePtr expression() {
    const Deeper deeper(*this);
    NodePtr left = disjunction();
    for (int links = 0; take_word("if"); count(links)) {
      NewNode node = make(Kind::conditional);
      node->parts.push_back(std::move(left));
      node->parts.push_back(disjunction());
      node->parts.push_back(take_word("else") ? expression() : nullptr);
      left = std::move(node);
    }
    return left;
  }

  void count(int& links) const {
    if (++links > kLongestChain) error("an expression of more than " + std::to_string(kLongestChain) + " operators");
  }
  NewNode binary(std::string op, NodePtr left, NodePtr right) const {
    NewNode node = make(Kind::binary, std::move(op));
    node->parts.push_back(std::move(left));
    node->parts.push_back(std::move(right));
    return node;
  }
  NodePtr disjunction() {
    NodePtr left = conjunction();
    for (int links = 0; take_word("or"); count(links)) left = binary("or", std::move(left), conjunction());
    return left;
  }
  NodePtr conjunction() {
    NodePtr left = negation();
    for (int links = 0; take_word("and"); count(links)) left = binary("and", std::move(left), negation());
    return left;
  }
  NodePtr negation() {
    const Deeper deeper(*this);
    if (!is_word("not") || (ahead().kind == Token::Kind::name && ahead().text == "in")) return comparison();
    NewNode node = make(Kind::unary, "not");
    next();
    node->parts.push_back(negation());
    return node;
  }

  std::string comparison_operator() {
    for (const char* op : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (take_symbol(op)) return op;
    }
    if (take_word("in")) return "in";
    if (is_word("not") && ahead().kind == Token::Kind::name && ahead().text == "in") {
      next();
      next();
      return "not in";
    }
    return {};
  }
  NodePtr comparison() {
    NodePtr left = sum();
    std::string op = comparison_operator();
    if (op.empty()) return left;
    NewNode node = make(Kind::compare);
    node->parts.push_back(std::move(left));
    for (; !op.empty(); op = comparison_operator()) {
      node->names.push_back(op);
      node->parts.push_back(sum());
    }
    return node;
  }

  template <class F>
  NodePtr left_associative(std::initializer_list<const char*> operators, const F& operand) {
    NodePtr left = operand();
    for (int links = 0;; count(links)) {
      const auto op = std::find_if(operators.begin(), operators.end(), [&](const char* s) { return is_symbol(s); });
      if (op == operators.end()) return left;
      next();
      left = binary(*op, std::move(left), operand());
    }
  }
  NodePtr sum() {
    return left_associative({"+", "-"}, [&] { return concatenation(); });
  }
  NodePtr concatenation() {
    return left_associative({"~"}, [&] { return product(); });
  }
  NodePtr product() {
    return left_associative({"*", "/", "//", "%"}, [&] { return power(); });
  }
  NodePtr power() {
    return left_associative({"**"}, [&] { return unary(true); });
  }
  NodePtr unary(bool with_filters) {
    const Deeper deeper(*this);
    NodePtr node;
    if (is_symbol("-") || is_symbol("+")) {
      NewNode sign = make(Kind::unary, now().text);
      next();
      sign->parts.push_back(unary(false));
      node = std::move(sign);
    } else {
      node = primary();
    }
    node = postfix(std::move(node));
    return with_filters ? filters_and_tests(std::move(node)) : std::move(node);
  }

  NewNode constant(Value value) const {
    NewNode node = make(Kind::constant);
    node->value = std::move(value);
    return node;
  }
  NodePtr primary() {
    const Deeper deeper(*this);
    const Token token = now();
    switch (token.kind) {
      case Token::Kind::name: {
        NewNode node = name_or_constant(token.text);
        next();
        return node;
      }
      case Token::Kind::string: {
        std::string text;
        for (; now().kind == Token::Kind::string; next()) text += now().text;
        return constant(text);
      }
      case Token::Kind::integer:
      case Token::Kind::real: {
        NewNode node = number(token);
        next();
        return node;
      }
      default:
        break;
    }
    if (take_symbol("(")) {
      if (take_symbol(")")) {
        NewNode empty = make(Kind::list);
        empty->flag = true;
        return empty;
      }
      NodePtr inner = tuple();
      expect_symbol(")");
      return inner;
    }
    if (take_symbol("[")) return list();
    if (take_symbol("{")) return dict();
    error("unexpected '" + now().text + "' in an expression");
  }
  NewNode name_or_constant(const std::string& text) const {
    if (text == "true" || text == "True") return constant(true);
    if (text == "false" || text == "False") return constant(false);
    if (text == "none" || text == "None") return constant(None{});
    return make(Kind::name, text);
  }
  NewNode number(const Token& token) const {
    const char* const begin = token.text.data();
    const char* const end = begin + token.text.size();
    if (token.kind == Token::Kind::real) {
      double d = 0;
      if (std::from_chars(begin, end, d).ec != std::errc()) error("number " + token.text + " is out of range");
      return constant(d);
    }
    std::int64_t i = 0;
    if (std::from_chars(begin, end, i).ec != std::errc()) error("number " + token.text + " is out of range");
    return constant(i);
  }
  NodePtr list() {
    NewNode node = make(Kind::list);
    while (!is_symbol("]")) {
      node->parts.push_back(expression());
      if (!take_symbol(",")) break;
    }
    expect_symbol("]");
    return node;
  }
  NodePtr dict() {
    NewNode node = make(Kind::dict);
    while (!is_symbol("}")) {
      node->parts.push_back(expression());
      expect_symbol(":");
      node->parts.push_back(expression());
      if (!take_symbol(",")) break;
    }
    expect_symbol("}");
    return node;
  }

  NodePtr postfix(NodePtr node) {
    for (int links = 0;; ++links) {
      if (links > kDeepest) error("nested deeper than " + std::to_string(kDeepest));
      if (take_symbol(".")) {
        if (now().kind == Token::Kind::integer) {
          NewNode sub = make(Kind::subscript);
          sub->parts.push_back(std::move(node));
          sub->parts.push_back(number(now()));
          next();
          node = std::move(sub);
          continue;
        }
        NewNode attribute = make(Kind::attribute, expect_name());
        attribute->parts.push_back(std::move(node));
        node = std::move(attribute);
      } else if (take_symbol("[")) {
        node = subscript(std::move(node));
      } else if (is_symbol("(")) {
        node = call(std::move(node));
      } else {
        return node;
      }
    }
  }
  NodePtr subscript(NodePtr of) {
    NewNode node = make(Kind::subscript);
    node->parts.push_back(std::move(of));
    NodePtr first = is_symbol(":") ? nullptr : tuple();
    if (!is_symbol(":")) {
      node->parts.push_back(std::move(first));
      expect_symbol("]");
      return node;
    }
    node->kind = Kind::slice;
    node->parts.push_back(std::move(first));
    for (int i = 0; i < 2; ++i) {
      const bool given = take_symbol(":") && !is_symbol(":") && !is_symbol("]");
      node->parts.push_back(given ? expression() : nullptr);
    }
    expect_symbol("]");
    return node;
  }
  /// Arguments in brackets, appended to `node`.
  void arguments(Node& node) {
    expect_symbol("(");
    while (!is_symbol(")")) {
      if (is_symbol("*") || is_symbol("**")) error("arguments with * are not supported");
      const bool named = now().kind == Token::Kind::name && ahead().kind == Token::Kind::symbol && ahead().text == "=";
      node.names.push_back(named ? expect_name() : std::string());
      if (named) next();
      node.parts.push_back(expression());
      if (!take_symbol(",")) break;
    }
    expect_symbol(")");
  }
  NodePtr call(NodePtr callee) {
    NewNode node = make(Kind::call);
    node->parts.push_back(std::move(callee));
    arguments(*node);
    return node;
  }

  NodePtr filters_and_tests(NodePtr node) {
    for (int links = 0;; ++links) {
      if (links > kDeepest) error("nested deeper than " + std::to_string(kDeepest));
      if (is_symbol("|")) {
        node = filter(std::move(node));
      } else if (is_word("is")) {
        node = test(std::move(node));
      } else if (is_symbol("(")) {
        node = call(std::move(node));
      } else {
        return node;
      }
    }
  }
  NodePtr filter(NodePtr of) {
    expect_symbol("|");
    NewNode node = make(Kind::filter, expect_name());
    node->parts.push_back(std::move(of));
    if (is_symbol("(")) arguments(*node);
    return node;
  }
  NodePtr test(NodePtr of) {
    next();
    NewNode node = make(Kind::test);
    node->flag = take_word("not");
    node->text = expect_name();
    node->parts.push_back(std::move(of));
    const Token& t = now();
    const bool name_argument = t.kind == Token::Kind::name && t.text != "else" && t.text != "or" && t.text != "and" &&
                               t.text != "is" && t.text != "if" && t.text != "not" && t.text != "in";
    if (is_symbol("(")) {
      arguments(*node);
    } else if (name_argument || t.kind == Token::Kind::string || t.kind == Token::Kind::integer ||
               t.kind == Token::Kind::real || is_symbol("[") || is_symbol("{")) {
      node->names.emplace_back();
      node->parts.push_back(postfix(primary()));
    }
    return node;
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

NodePtr parse(std::string_view source) {
  return Parser(source).run();
}

}  // namespace sparing::jinja
