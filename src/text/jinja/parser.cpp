#include <algorithm>
#include <set>
#include <utility>

#include "text/jinja/expression_parser.h"

namespace sparing::jinja {
namespace {

class Parser : ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  NodePtr run() {
    NodePtr body = statements({});
    if (now().kind != Token::Kind::end) error("unexpected tag");
    return body;
  }

 private:
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

  int loops_ = 0;
};

}  // namespace

NodePtr parse(std::string_view source) {
  return Parser(source).run();
}

}  // namespace sparing::jinja
