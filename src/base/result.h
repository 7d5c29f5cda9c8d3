#pragma once
// Result<T>: the value of an operation that a user or a file can make fail, or the Error that says why.
// Asserts are for bugs; everything that input can get wrong returns one of these.

#include <cassert>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace sparing {

/// What went wrong, by who can mend it. Each kind is a process exit code.
enum class ErrorKind : int {
  usage = 2,        ///< the command line or a parameter
  input = 3,        ///< a file or its contents
  resource = 4,     ///< memory, disk, permissions, a budget that cannot be met
  interrupted = 5,  ///< the user stopped it; work so far is kept
  internal = 70,    ///< a bug in Sparing
};

/// One line for the user: "[operation] offending value: what to do".
struct Error {
  ErrorKind kind = ErrorKind::input;
  std::string message;
};

inline Error usage_error(std::string m) {
  return {ErrorKind::usage, std::move(m)};
}
inline Error input_error(std::string m) {
  return {ErrorKind::input, std::move(m)};
}
inline Error resource_error(std::string m) {
  return {ErrorKind::resource, std::move(m)};
}
inline Error internal_error(std::string m) {
  return {ErrorKind::internal, std::move(m)};
}

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    assert(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    assert(ok());
    return std::get<0>(state_);
  }
  T&& value() && {
    assert(ok());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    assert(!ok());
    return std::get<1>(state_);
  }
  Error&& error() && {
    assert(!ok());
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}
  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& {
    assert(!ok());
    return *error_;
  }
  Error&& error() && {
    assert(!ok());
    return std::move(*error_);
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace sparing

#define SPARING_CONCAT_(a, b) a##b
#define SPARING_CONCAT(a, b) SPARING_CONCAT_(a, b)

/// SPARING_TRY(auto x, f()); binds the value or returns the error from the enclosing function.
#define SPARING_TRY(declaration, expression) \
  SPARING_TRY_IMPL_(declaration, (expression), SPARING_CONCAT(sparing_try_, __LINE__))
#define SPARING_TRY_IMPL_(declaration, expression, temporary) \
  auto temporary = expression;                                \
  if (!temporary.ok()) return std::move(temporary).error();   \
  declaration = std::move(temporary).value()

/// SPARING_CHECK_OK(f()); returns the error of a Status (or of a Result whose value is not wanted).
#define SPARING_CHECK_OK(expression)                                      \
  do {                                                                    \
    auto sparing_status_ = (expression);                                  \
    if (!sparing_status_.ok()) return std::move(sparing_status_).error(); \
  } while (false)
