#include "text/jinja/expression_parser.h"

#include <charconv>

namespace sparing::jinja {
namespace {

constexpr int kLongestChain = 1000;  ///< of one operator: its tree leans left, and is walked recursively

}  // namespace

NodePtr ExpressionParser::tuple(bool with_condition) {
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

NodePtr ExpressionParser::expression() {
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

void ExpressionParser::count(int& links) const {
  if (++links > kLongestChain) error("an expression of more than " + std::to_string(kLongestChain) + " operators");
}

ExpressionParser::NewNode ExpressionParser::binary(std::string op, NodePtr left, NodePtr right) const {
  NewNode node = make(Kind::binary, std::move(op));
  node->parts.push_back(std::move(left));
  node->parts.push_back(std::move(right));
  return node;
}

NodePtr ExpressionParser::disjunction() {
  NodePtr left = conjunction();
  for (int links = 0; take_word("or"); count(links)) left = binary("or", std::move(left), conjunction());
  return left;
}

NodePtr ExpressionParser::conjunction() {
  NodePtr left = negation();
  for (int links = 0; take_word("and"); count(links)) left = binary("and", std::move(left), negation());
  return left;
}

NodePtr ExpressionParser::negation() {
  const Deeper deeper(*this);
  if (!is_word("not") || (ahead().kind == Token::Kind::name && ahead().text == "in")) return comparison();
  NewNode node = make(Kind::unary, "not");
  next();
  node->parts.push_back(negation());
  return node;
}

std::string ExpressionParser::comparison_operator() {
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

NodePtr ExpressionParser::comparison() {
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
NodePtr ExpressionParser::left_associative(std::initializer_list<const char*> operators, const F& operand) {
  NodePtr left = operand();
  for (int links = 0;; count(links)) {
    const auto op = std::find_if(operators.begin(), operators.end(), [&](const char* s) { return is_symbol(s); });
    if (op == operators.end()) return left;
    next();
    left = binary(*op, std::move(left), operand());
  }
}

NodePtr ExpressionParser::sum() {
  return left_associative({"+", "-"}, [&] { return concatenation(); });
}

NodePtr ExpressionParser::concatenation() {
  return left_associative({"~"}, [&] { return product(); });
}

NodePtr ExpressionParser::product() {
  return left_associative({"*", "/", "//", "%"}, [&] { return power(); });
}

NodePtr ExpressionParser::power() {
  return left_associative({"**"}, [&] { return unary(true); });
}

NodePtr ExpressionParser::unary(bool with_filters) {
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

ExpressionParser::NewNode ExpressionParser::constant(Value value) const {
  NewNode node = make(Kind::constant);
  node->value = std::move(value);
  return node;
}

NodePtr ExpressionParser::primary() {
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

ExpressionParser::NewNode ExpressionParser::name_or_constant(const std::string& text) const {
  if (text == "true" || text == "True") return constant(true);
  if (text == "false" || text == "False") return constant(false);
  if (text == "none" || text == "None") return constant(None{});
  return make(Kind::name, text);
}

ExpressionParser::NewNode ExpressionParser::number(const Token& token) const {
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

NodePtr ExpressionParser::list() {
  NewNode node = make(Kind::list);
  while (!is_symbol("]")) {
    node->parts.push_back(expression());
    if (!take_symbol(",")) break;
  }
  expect_symbol("]");
  return node;
}

NodePtr ExpressionParser::dict() {
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

NodePtr ExpressionParser::postfix(NodePtr node) {
  for (int links = 0;; ++links) {
    if (links > kDeepestNesting) error("nested deeper than " + std::to_string(kDeepestNesting));
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

NodePtr ExpressionParser::subscript(NodePtr of) {
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

void ExpressionParser::arguments(Node& node) {
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

NodePtr ExpressionParser::call(NodePtr callee) {
  NewNode node = make(Kind::call);
  node->parts.push_back(std::move(callee));
  arguments(*node);
  return node;
}

NodePtr ExpressionParser::filters_and_tests(NodePtr node) {
  for (int links = 0;; ++links) {
    if (links > kDeepestNesting) error("nested deeper than " + std::to_string(kDeepestNesting));
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

NodePtr ExpressionParser::filter(NodePtr of) {
  expect_symbol("|");
  NewNode node = make(Kind::filter, expect_name());
  node->parts.push_back(std::move(of));
  if (is_symbol("(")) arguments(*node);
  return node;
}

NodePtr ExpressionParser::test(NodePtr of) {
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

}  // namespace sparing::jinja
