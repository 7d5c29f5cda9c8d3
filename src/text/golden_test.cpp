// Small tokenizers of every kind against what PyPI's tokenizers and sentencepiece made of the same texts
// (tests/golden/make_tokenizers.py).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "formats/carried.h"
#include "text/compact.h"
#include "text/gguf_export.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

fs::path golden() {
  return fs::path(SPARING_SOURCE_DIR) / "tests/golden/tokenizers";
}
fs::path from_environment(const char* variable, const char* otherwise) {
  const char* const value = std::getenv(variable);
  return value != nullptr ? fs::path(value) : fs::path(SPARING_SOURCE_DIR) / otherwise;
}
std::string unhex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return out;
}
std::string hashed(const std::vector<Token>& ids) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const Token id : ids) {
    for (int b = 0; b < 4; ++b) h = (h ^ (static_cast<std::uint32_t>(id) >> (8 * b) & 0xFF)) * 0x100000001b3ull;
  }
  std::ostringstream out;
  out << std::hex;
  out.width(16);
  out.fill('0');
  out << h;
  return out.str();
}
const Json& answers() {
  static const Json all = [] {
    std::ifstream file(golden() / "answers.json");
    return Json::parse(file, nullptr, false);
  }();
  return all;
}

void expect_golden(const Tokenizer& t, const std::string& name) {
  const Json& want = answers().at("answers").at(name);
  const Json& texts = answers().at("texts");
  ASSERT_GT(texts.size(), 20u);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string text = unhex(texts[i]);
    SCOPED_TRACE(name + ", text " + std::to_string(i) + ": " + text);
    EXPECT_EQ(t.encode(text, false, false), want.at("plain").at(i).get<std::vector<Token>>());
    if (!want.contains("special")) continue;
    const auto ids = t.encode(text, true, true);
    EXPECT_EQ(hashed(ids), want.at("special").at(i).get<std::string>());
    const Json& other = want.at("text");
    const auto back = other.find(std::to_string(i));
    EXPECT_EQ(replace_invalid_utf8(t.decode(ids, true)),
              back == other.end() ? replace_invalid_utf8(text) : back->get<std::string>());
  }
}

/// The tokenizer, and what its compact form and its tokenizer.json load as.
void expect_golden_in_every_form(const TokenizerSource& source, const std::string& name) {
  const auto loaded = Tokenizer::load(source);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  expect_golden(**loaded, name);
  const std::string compact = (*loaded)->to_compact();
  const auto again = load_compact(std::as_bytes(std::span(compact)));
  ASSERT_TRUE(again.ok()) << again.error().message;
  expect_golden(**again, name);
  EXPECT_EQ((*again)->to_compact(), compact);
  const auto json = (*loaded)->to_tokenizer_json();
  if (!json.ok()) {
    EXPECT_EQ(name, "squeezed.model") << json.error().message;
    return;
  }
  const fs::path file = fs::temp_directory_path() / ("sparing-" + name + "-" + std::to_string(::getpid()) + ".json");
  std::ofstream(file) << *json;
  const auto exported = Tokenizer::load(HfTokenizerFiles{file, {}});
  fs::remove(file);
  ASSERT_TRUE(exported.ok()) << exported.error().message;
  expect_golden(**exported, name);
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, Agrees) {
  const std::string name = GetParam();
  const fs::path file = golden() / (name.find('.') == std::string::npos ? name + ".json" : name);
  const auto source = read_tokenizer(file, 0);
  ASSERT_TRUE(source.ok()) << source.error().message;
  expect_golden_in_every_form(*source, name);
}
INSTANTIATE_TEST_SUITE_P(Tokenizers, Golden,
                         testing::Values("llama3", "qwen2", "tekken", "odd", "words", "unigram", "unigram-bytes",
                                         "llama2", "llama2-metaspace", "llama2.model", "squeezed.model"));

TEST(Golden, Smollm2FromItsGguf) {
  const fs::path file = from_environment("SPARING_MODELS", "models") / "smollm2.gguf";
  if (!fs::exists(file)) GTEST_SKIP() << file << " is missing: make model";
  const auto source = read_tokenizer(file, 0);
  ASSERT_TRUE(source.ok()) << source.error().message;
  expect_golden_in_every_form(*source, "smollm2");
  const auto loaded = Tokenizer::load(*source);
  EXPECT_LT((*loaded)->to_compact().size(), 200'000u);
}

TEST(Golden, Stories260KFromItsTokenizerBin) {
  const fs::path file = from_environment("SPARING_DATA", "../shared/data") / "stories260K/tokenizer.bin";
  if (!fs::exists(file)) GTEST_SKIP() << file << " is missing: set SPARING_DATA";
  const auto source = read_tokenizer(file, 512);
  ASSERT_TRUE(source.ok()) << source.error().message;
  expect_golden_in_every_form(*source, "stories260K");
}

/// What the GGUF holds tokenizes alike, wherever GGUF can say it.
TEST(Golden, GgufVocabularyOfEveryExportableTokenizer) {
  for (const std::string name : {"llama3", "qwen2", "tekken", "llama2", "llama2.model"}) {
    const auto source = read_tokenizer(golden() / (name.find('.') == std::string::npos ? name + ".json" : name), 0);
    ASSERT_TRUE(source.ok());
    const auto loaded = Tokenizer::load(*source);
    ASSERT_TRUE(loaded.ok());
    const auto vocab = to_gguf_vocab(**loaded);
    ASSERT_TRUE(vocab.ok()) << name << ": " << vocab.error().message;
    const auto again = Tokenizer::load(*vocab);
    ASSERT_TRUE(again.ok()) << name << ": " << again.error().message;
    for (const Json& hex : answers().at("texts")) {
      const std::string text = unhex(hex);
      EXPECT_EQ((*again)->encode(text, false, true), (*loaded)->encode(text, false, true)) << name << ": " << text;
    }
  }
}

TEST(Golden, StreamsTheSameTextAsWhole) {
  for (const std::string name : {"llama3", "llama2", "llama2.model", "unigram-bytes"}) {
    const auto source = read_tokenizer(golden() / (name.find('.') == std::string::npos ? name + ".json" : name), 0);
    const auto loaded = Tokenizer::load(*source);
    ASSERT_TRUE(loaded.ok());
    for (const Json& hex : answers().at("texts")) {
      const auto ids = (*loaded)->encode(unhex(hex), true, true);
      for (const bool skip : {false, true}) {
        StreamDecoder stream(*loaded, skip);
        std::string text;
        for (const Token id : ids) {
          const std::string part = stream.feed(id);
          EXPECT_TRUE(is_valid_utf8(part));
          text += part;
        }
        text += stream.finish();
        EXPECT_EQ(text, replace_invalid_utf8((*loaded)->decode(ids, skip))) << name;
      }
    }
  }
}

}  // namespace
}  // namespace sparing
