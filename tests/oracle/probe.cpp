// Raw numbers out of the library, for tests/oracle/*.py to compare with other tools':
//   oracle_probe tensors MODEL                 name rows cols coding, one a line
//   oracle_probe weight MODEL NAME > f32       a matrix as it acts on its input, row-major, or a vector
//   oracle_probe tokens MODEL < text > i32     ids, special tokens neither added nor parsed
//   oracle_probe logits MODEL < i32 > f32      [tokens, vocabulary], f32 activations

#include <cstdio>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "runtime/engine.h"
#include "text/tokenizer.h"

namespace sparing {
namespace {

std::string standard_input() {
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

template <class T>
void put(const std::vector<T>& values) {
  std::fwrite(values.data(), sizeof(T), values.size(), stdout);
}

Status tensors(const Checkpoint& checkpoint) {
  for (const TensorEntry& t : checkpoint.tensors()) {
    std::printf("%s %lld %lld %s\n", t.shape.name.c_str(), static_cast<long long>(t.shape.rows),
                static_cast<long long>(t.shape.cols), t.coding.c_str());
  }
  return {};
}

Status weight(const Checkpoint& checkpoint, const std::string& name) {
  for (const TensorEntry& t : checkpoint.tensors()) {
    if (t.shape.name != name) continue;
    if (t.shape.is_vector()) {
      SPARING_TRY(const auto values, checkpoint.vector(name));
      put(values);
      return {};
    }
    SPARING_TRY(const CodedWeight coded, checkpoint.weight(name));
    std::vector<float> values(static_cast<std::size_t>(coded.rows * coded.cols));
    decode_effective_rows(coded, 0, coded.rows, values.data());
    put(values);
    return {};
  }
  return usage_error("[weight] " + name + ": no such tensor, see oracle_probe tensors");
}

Status tokens(const Checkpoint& checkpoint) {
  SPARING_TRY(const auto tokenizer, Tokenizer::load(checkpoint.tokenizer()));
  put(tokenizer->encode(standard_input(), false, false));
  return {};
}

Status logits(std::shared_ptr<const Checkpoint> checkpoint) {
  const std::string input = standard_input();
  std::vector<Token> ids(input.size() / sizeof(Token));
  std::memcpy(ids.data(), input.data(), ids.size() * sizeof(Token));
  EngineOptions options;
  options.context = static_cast<std::int64_t>(ids.size());
  options.kv = KvType::f32;
  options.precision = kernels::Precision::f32;
  SPARING_TRY(const auto engine, Engine::load(checkpoint, options));
  std::vector<float> out(ids.size() * static_cast<std::size_t>(checkpoint->config().vocab));
  SPARING_CHECK_OK(engine->forward(0, ids, out));
  put(out);
  return {};
}

Status run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2) return usage_error("[probe] usage: oracle_probe tensors|weight|tokens|logits MODEL [NAME]");
  SPARING_TRY(const auto checkpoint, open_checkpoint(arguments[1]));
  if (arguments[0] == "tensors") return tensors(*checkpoint);
  if (arguments[0] == "weight" && arguments.size() == 3) return weight(*checkpoint, arguments[2]);
  if (arguments[0] == "tokens") return tokens(*checkpoint);
  if (arguments[0] == "logits") return logits(checkpoint);
  return usage_error("[probe] " + arguments[0] + ": unknown");
}

}  // namespace
}  // namespace sparing

int main(int argc, char** argv) {
  const sparing::Status status = sparing::run({argv + 1, argv + argc});
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.error().message.c_str());
  return static_cast<int>(status.error().kind);
}
