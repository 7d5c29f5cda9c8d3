// oracle_tokenize TOKENIZER [VOCAB]: what tests/oracle/tokenizers.py drives. Requests on standard input, answers on
// standard output, all integers little-endian u32:
//   'e' flags size bytes  ->  count ids...        flags: 1 add_special, 2 parse_special
//   'd' flags count ids   ->  size bytes          flags: 1 skip_special
//   'c'                   ->  size bytes          the compact form; the tokenizer is then loaded again from it
//   'g'                                         the tokenizer is loaded again from what GGUF would hold
//   'j'                   ->  size bytes          tokenizer.json; size 0xFFFFFFFF, then size and message: refused
//   't' size bytes        ->  microseconds        time to encode the text
//   'l'                   ->  microseconds        time to load the compact form
#include <cstdio>
#include <cstring>
#include <ctime>
#include <iostream>

#include "formats/carried.h"
#include "text/gguf_export.h"
#include "text/tokenizer.h"

using namespace sparing;

namespace {

std::uint32_t read_number() {
  std::uint32_t v = 0;
  if (std::fread(&v, 4, 1, stdin) != 1) std::exit(0);
  return v;
}
std::string read_bytes(std::size_t size) {
  std::string out(size, '\0');
  if (size > 0 && std::fread(out.data(), size, 1, stdin) != 1) std::exit(1);
  return out;
}
void write_number(std::uint64_t v) {
  const auto n = static_cast<std::uint32_t>(v);
  std::fwrite(&n, 4, 1, stdout);
}
void write_bytes(const std::string& s) {
  write_number(s.size());
  std::fwrite(s.data(), 1, s.size(), stdout);
}
/// Of this thread's processor time: other work on the machine does not count.
template <class F>
std::uint64_t microseconds(const F& f) {
  const auto now = [] {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(t.tv_nsec) / 1000;
  };
  const std::uint64_t start = now();
  f();
  return now() - start;
}
Result<std::shared_ptr<const Tokenizer>> load_compact_bytes(const std::string& bytes) {
  return Tokenizer::load(CompactTokenizer{Blob{std::as_bytes(std::span(bytes)), nullptr}});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  auto source = read_tokenizer(argv[1], argc > 2 ? std::atoi(argv[2]) : 0);
  if (!source.ok()) {
    std::cerr << source.error().message << '\n';
    return 3;
  }
  auto loaded = Tokenizer::load(*source);
  const auto load_time = microseconds([&] { loaded = Tokenizer::load(*source); });
  if (!loaded.ok()) {
    std::cerr << loaded.error().message << '\n';
    return 3;
  }
  std::fprintf(stderr, "loaded in %.1f ms\n", static_cast<double>(load_time) * 1e-3);
  auto tokenizer = *loaded;
  std::string compact;
  for (int command; (command = std::fgetc(stdin)) != EOF; std::fflush(stdout)) {
    switch (command) {
      case 'e': {
        const std::uint32_t flags = read_number();
        const auto ids = tokenizer->encode(read_bytes(read_number()), flags & 1, flags & 2);
        write_number(ids.size());
        std::fwrite(ids.data(), 4, ids.size(), stdout);
        break;
      }
      case 'd': {
        const std::uint32_t flags = read_number();
        std::vector<Token> ids(read_number());
        const std::string bytes = read_bytes(ids.size() * 4);
        std::memcpy(ids.data(), bytes.data(), bytes.size());
        write_bytes(tokenizer->decode(ids, flags & 1));
        break;
      }
      case 'c': {
        compact = tokenizer->to_compact();
        write_bytes(compact);
        auto again = load_compact_bytes(compact);
        if (!again.ok()) {
          std::cerr << again.error().message << '\n';
          return 3;
        }
        tokenizer = *again;
        break;
      }
      case 'g': {
        const auto vocab = to_gguf_vocab(*tokenizer);
        auto again = vocab.ok() ? Tokenizer::load(*vocab) : Result<std::shared_ptr<const Tokenizer>>(vocab.error());
        if (!again.ok()) {
          std::cerr << again.error().message << '\n';
          return 3;
        }
        tokenizer = *again;
        break;
      }
      case 'j': {
        const auto json = tokenizer->to_tokenizer_json();
        if (!json.ok()) write_number(0xFFFFFFFFu);
        write_bytes(json.ok() ? *json : json.error().message);
        break;
      }
      case 't': {
        const std::string text = read_bytes(read_number());
        write_number(microseconds([&] { static_cast<void>(tokenizer->encode(text, false, false)); }));
        break;
      }
      case 'l': {
        write_number(microseconds([&] { static_cast<void>(load_compact_bytes(compact).ok()); }));
        break;
      }
      default:
        return 2;
    }
  }
  return 0;
}
