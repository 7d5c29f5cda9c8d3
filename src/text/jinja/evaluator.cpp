#include "text/jinja/evaluator.h"

#include <algorithm>
#include <array>
#include <map>

#include "text/jinja/library.h"
#include "text/jinja/operators.h"

namespace sparing::jinja {
namespace {

constexpr std::size_t kBudget = 5'000'000;  ///< steps; eight bytes or items that are made or searched count as one
constexpr std::size_t kLongestOutput = 64u << 20;
constexpr int kDeepest = 900;
constexpr std::int64_t kLongestRange = 100'000;  // Jinja's own limit in its sandbox

using Kind = Node::Kind;

/// Names visible at a place: this scope's, then those around it.
struct Scope {
  std::map<std::string, Value> names;
  Scope* outer = nullptr;
  const Value* find(const std::string& name) const {
    for (const Scope* s = this; s != nullptr; s = s->outer) {
      const auto it = s->names.find(name);
      if (it != s->names.end()) return &it->second;
    }
    return nullptr;
  }
};

enum class Flow { on, leave_loop, next_round };

class Evaluator {
 public:
  Evaluator(const Dict& variables, std::time_t now) : now_(now) {
    context_.charge = [this](std::size_t n) { charge(n / 8 + 1); };
    globals();
    for (const auto& [name, value] : variables.items) root_.names[name.string()] = value;
  }
  std::string run(const Node& root) {
    std::string out;
    execute(root, root_, out);
    return out;
  }

 private:
  void charge(std::size_t n) {
    if (n > kBudget - spent_) fail("the template does too much work");
    spent_ += n;
  }
  struct Deeper {
    explicit Deeper(Evaluator& e) : evaluator(e) {
      if (++evaluator.depth_ > kDeepest) {
        --evaluator.depth_;
        fail("the template recurses too deep");
      }
    }
    ~Deeper() { --evaluator.depth_; }
    Evaluator& evaluator;
  };

  void globals() {
    auto& g = root_.names;
    g["raise_exception"] = Function([](const Arguments& a) -> Value {
      fail(a.positional.empty() ? "the template raised an exception" : to_text(a.positional[0]));
    });
    g["namespace"] = Function([](const Arguments& a) -> Value {
      Dict d = dict_of(a);
      d.is_namespace = true;
      return d;
    });
    g["dict"] = Function([](const Arguments& a) -> Value { return dict_of(a); });
    g["range"] = Function([this](const Arguments& a) { return range(a); });
    g["strftime_now"] = Function([this](const Arguments& a) -> Value {
      if (a.positional.size() != 1 || !a.positional[0].is_string()) fail("strftime_now: a format is needed");
      std::tm local{};
      localtime_r(&now_, &local);
      char text[512];
      const std::string format =
          a.positional[0].string() + " ";  // never an empty result, which would look like failure
      const std::size_t n = std::strftime(text, sizeof text, format.c_str(), &local);
      if (n == 0) fail("strftime_now: a format of too long a result");
      return std::string(text, n - 1);
    });
  }
  static Dict dict_of(const Arguments& a) {
    Dict d;
    if (!a.positional.empty()) {
      if (!a.positional[0].is_dict()) fail("dict: only of a mapping and named values");
      d = a.positional[0].dict();
      d.is_namespace = false;
    }
    for (const auto& [name, value] : a.named) d.set(name, value);
    return d;
  }
  Value range(const Arguments& a) {
    std::int64_t v[3] = {0, 0, 1};
    if (a.positional.empty() || a.positional.size() > 3) fail("range: one to three numbers are needed");
    for (std::size_t i = 0; i < a.positional.size(); ++i) {
      if (!a.positional[i].is_int() && !a.positional[i].is_bool()) fail("range: integers are needed");
      v[a.positional.size() == 1 ? 1 : i] = a.positional[i].integer();
    }
    if (v[2] == 0) fail("range: a step of zero");
    List out;
    for (std::int64_t i = v[0]; v[2] > 0 ? i < v[1] : i > v[1];) {
      out.items.emplace_back(i);
      if (static_cast<std::int64_t>(out.items.size()) > kLongestRange) fail("range: more than 100000 numbers");
      if (__builtin_add_overflow(i, v[2], &i)) break;
    }
    charge(out.items.size());
    return out;
  }

  // ---- statements

  void print(std::string_view text, std::string& out) {
    context_.charge(text.size());
    if (text.size() > kLongestOutput - std::min(out.size(), kLongestOutput)) fail("the text is too long");
    out += text;
  }

  Flow execute(const Node& n, Scope& scope, std::string& out) {
    const Deeper deeper(*this);
    charge(1);
    switch (n.kind) {
      case Kind::data:
        print(n.text, out);
        return Flow::on;
      case Kind::output:
        print(to_text(evaluate(*n.parts[0], scope)), out);
        return Flow::on;
      case Kind::block:
        for (const NodePtr& part : n.parts) {
          const Flow flow = execute(*part, scope, out);
          if (flow != Flow::on) return flow;
        }
        return Flow::on;
      case Kind::branch: {
        const bool holds = evaluate(*n.parts[0], scope).truthy();
        const NodePtr& taken = n.parts[holds ? 1 : 2];
        return taken ? execute(*taken, scope, out) : Flow::on;
      }
      case Kind::loop:
        return loop(n, scope, out);
      case Kind::set:
        set(n, scope);
        return Flow::on;
      case Kind::set_block: {
        std::string text;
        Scope inner{{}, &scope};
        execute(*n.parts[0], inner, text);
        Value value = text;
        for (std::size_t i = 1; i < n.parts.size(); ++i) value = filter(*n.parts[i], std::move(value), scope);
        scope.names[n.names[0]] = std::move(value);
        return Flow::on;
      }
      case Kind::macro:
        scope.names[n.text] = macro(n, scope);
        return Flow::on;
      case Kind::leave_loop:
        return Flow::leave_loop;
      case Kind::next_round:
        return Flow::next_round;
      default:
        fail("not a statement");
    }
  }

  static void bind(const std::vector<std::string>& names, const Value& value, Scope& scope) {
    if (names.size() == 1) {
      scope.names[names[0]] = value;
      return;
    }
    const std::vector<Value> items = iterate(value);
    if (items.size() != names.size()) {
      fail("cannot unpack " + std::to_string(items.size()) + " values into " + std::to_string(names.size()) + " names");
    }
    for (std::size_t i = 0; i < names.size(); ++i) scope.names[names[i]] = items[i];
  }

  void set(const Node& n, Scope& scope) {
    Value value = evaluate(*n.parts[0], scope);
    if (n.text.empty()) {
      bind(n.names, value, scope);
      return;
    }
    const Value* const space = scope.find(n.names[0]);
    if (space == nullptr || !space->is_dict() || !space->dict().is_namespace) {
      fail("cannot set an attribute of '" + n.names[0] + "', which is no namespace");
    }
    // A namespace within itself would be a cycle that nothing frees.
    if (holds_namespace(value, 0)) fail("a namespace within a namespace is not supported");
    space->namespace_dict().set(n.text, std::move(value));
  }
  static bool holds_namespace(const Value& v, int depth) {
    if (depth > 100) fail("values nested deeper than 100");
    if (v.is_function()) return true;
    if (v.is_list()) {
      return std::any_of(v.list().items.begin(), v.list().items.end(),
                         [&](const Value& x) { return holds_namespace(x, depth + 1); });
    }
    return v.is_dict() &&
           (v.dict().is_namespace || std::any_of(v.dict().items.begin(), v.dict().items.end(),
                                                 [&](const auto& x) { return holds_namespace(x.second, depth + 1); }));
  }

  Flow loop(const Node& n, Scope& scope, std::string& out) {
    std::vector<Value> items = iterate(evaluate(*n.parts[0], scope));
    charge(items.size());
    if (n.parts[1]) {
      std::vector<Value> kept;
      for (Value& item : items) {
        Scope inner{{}, &scope};
        bind(n.names, item, inner);
        if (evaluate(*n.parts[1], inner).truthy()) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    if (items.empty()) return n.parts[3] ? execute(*n.parts[3], scope, out) : Flow::on;
    for (std::size_t i = 0; i < items.size(); ++i) {
      charge(50);  // what the loop's own variables cost
      Scope inner{{}, &scope};
      inner.names["loop"] = loop_state(items, i);
      bind(n.names, items[i], inner);
      if (execute(*n.parts[2], inner, out) == Flow::leave_loop) break;
    }
    return Flow::on;
  }
  static Value loop_state(const std::vector<Value>& items, std::size_t i) {
    const auto at = static_cast<std::int64_t>(i), count = static_cast<std::int64_t>(items.size());
    Dict d;
    const auto put = [&](const char* name, Value v) { d.items.emplace_back(name, std::move(v)); };
    put("index", at + 1);
    put("index0", at);
    put("revindex", count - at);
    put("revindex0", count - at - 1);
    put("first", at == 0);
    put("last", at + 1 == count);
    put("length", count);
    put("previtem", i > 0 ? items[i - 1] : Value(Undefined{"loop.previtem"}));
    put("nextitem", i + 1 < items.size() ? items[i + 1] : Value(Undefined{"loop.nextitem"}));
    put("cycle", Function([i](const Arguments& a) -> Value {
          if (a.positional.empty()) fail("loop.cycle: values are needed");
          return a.positional[i % a.positional.size()];
        }));
    d.is_namespace = true;  // no mapping to the template: only its attributes
    return d;
  }

  /// The function refers to the scope it is defined in; both live until rendering ends or the scope does, and a value
  /// that would carry it out of there (a namespace's) is refused.
  Value macro(const Node& n, Scope& scope) {
    return Function([this, &n, &scope](const Arguments& a) -> Value {
      const Deeper deeper(*this);
      Scope inner{{}, &scope};
      const std::size_t required = n.names.size() - (n.parts.size() - 1);
      if (a.positional.size() > n.names.size()) fail("too many arguments to the macro " + n.text);
      for (std::size_t i = 0; i < n.names.size(); ++i) {
        const Value* const given = a.find(i, n.names[i]);
        inner.names[n.names[i]] = given != nullptr ? *given
                                  : i >= required  ? evaluate(*n.parts[1 + i - required], inner)
                                                   : Value(Undefined{n.names[i]});
      }
      for (const auto& [name, value] : a.named) {
        if (std::find(n.names.begin(), n.names.end(), name) == n.names.end()) {
          fail("the macro " + n.text + " has no parameter '" + name + "'");
        }
      }
      std::string out;
      execute(*n.parts[0], inner, out);
      return out;
    });
  }

  // ---- expressions

  Value evaluate(const Node& n, Scope& scope) {
    const Deeper deeper(*this);
    charge(1);
    switch (n.kind) {
      case Kind::constant:
        return n.value;
      case Kind::name: {
        const Value* const found = scope.find(n.text);
        return found != nullptr ? *found : Value(Undefined{n.text});
      }
      case Kind::list: {
        List l;
        l.tuple = n.flag;
        for (const NodePtr& part : n.parts) l.items.push_back(evaluate(*part, scope));
        return l;
      }
      case Kind::dict: {
        Dict d;
        for (std::size_t i = 0; i + 1 < n.parts.size(); i += 2) {
          charge(d.items.size());
          d.set(evaluate(*n.parts[i], scope), evaluate(*n.parts[i + 1], scope));
        }
        return d;
      }
      case Kind::attribute:
        return attribute_of(evaluate(*n.parts[0], scope), n.text, context_);
      case Kind::subscript: {
        const Value of = evaluate(*n.parts[0], scope);
        return item_of(of, evaluate(*n.parts[1], scope), context_);
      }
      case Kind::slice:
        return slice(n, scope);
      case Kind::call:
        return call(n, scope);
      case Kind::filter:
        return filter(n, evaluate(*n.parts[0], scope), scope);
      case Kind::test: {
        const Value of = evaluate(*n.parts[0], scope);
        return apply_test(n.text, of, arguments(n, scope)) != n.flag;
      }
      case Kind::unary:
        return negate_value(n.text, evaluate(*n.parts[0], scope));
      case Kind::binary:
        return binary(n, scope);
      case Kind::compare:
        return compare(n, scope);
      case Kind::conditional: {
        const bool holds = evaluate(*n.parts[1], scope).truthy();
        if (holds) return evaluate(*n.parts[0], scope);
        return n.parts[2] ? evaluate(*n.parts[2], scope) : Value(Undefined{"the missing else"});
      }
      default:
        fail("not an expression");
    }
  }

  Arguments arguments(const Node& n, Scope& scope) {
    Arguments a;
    for (std::size_t i = 1; i < n.parts.size(); ++i) {
      Value v = evaluate(*n.parts[i], scope);
      if (n.names[i - 1].empty()) {
        a.positional.push_back(std::move(v));
      } else {
        a.named.emplace_back(n.names[i - 1], std::move(v));
      }
    }
    return a;
  }
  Value filter(const Node& n, Value of, Scope& scope) {
    return apply_filter(n.text, of, arguments(n, scope), context_);
  }

  Value call(const Node& n, Scope& scope) {
    const Value callee = evaluate(*n.parts[0], scope);
    if (callee.is_undefined()) fail("'" + callee.undefined_name() + "' is undefined, or not supported");
    if (!callee.is_function()) fail(std::string("a value of type ") + callee.type_name() + " cannot be called");
    return callee.function()(arguments(n, scope));
  }

  Value slice(const Node& n, Scope& scope) {
    const Value of = evaluate(*n.parts[0], scope);
    std::array<Value, 3> bounds;
    for (std::size_t i = 0; i < 3; ++i) bounds[i] = n.parts[i + 1] ? evaluate(*n.parts[i + 1], scope) : Value(None{});
    return slice_of(of, bounds, context_);
  }

  Value compare(const Node& n, Scope& scope) {
    Value left = evaluate(*n.parts[0], scope);
    for (std::size_t i = 0; i < n.names.size(); ++i) {
      Value right = evaluate(*n.parts[i + 1], scope);
      if (!compare_values(n.names[i], left, right, context_)) return false;
      left = std::move(right);
    }
    return true;
  }

  Value binary(const Node& n, Scope& scope) {
    const Value left = evaluate(*n.parts[0], scope);
    if (n.text == "and") return left.truthy() ? evaluate(*n.parts[1], scope) : left;
    if (n.text == "or") return left.truthy() ? left : evaluate(*n.parts[1], scope);
    return combine_values(n.text, left, evaluate(*n.parts[1], scope), context_);
  }

  Context context_;
  Scope root_;
  std::time_t now_;
  std::size_t spent_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string render(const Node& root, const Dict& variables, std::time_t now) {
  return Evaluator(variables, now).run(root);
}

}  // namespace sparing::jinja
