#include "codecs/ternary_dict.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/checked.h"
#include "codecs/planes.h"
#include "tensor/half.h"

namespace sparing {
namespace {

// Pairs of codes as 4 bits, first weight lowest.
constexpr std::uint8_t kPairs[] = {0b0000, 0b0100, 0b1000, 0b0001, 0b0101, 0b1001, 0b0010, 0b0110, 0b1010};

int nonzero_of(std::uint8_t pair) {
  return static_cast<int>((pair & 3) != 0) + static_cast<int>((pair >> 2) != 0);
}

class Dictionary {
 public:
  Dictionary() {
    // Words of each class, in their order.
    std::vector<std::vector<std::int32_t>> members(kTernaryPairs * kClasses);
    std::vector<std::uint64_t> keys;
    next_.assign(kTernaryWords, Children{});
    for (const Class& c : classes()) {
      std::vector<Candidate> candidates;
      for (const std::uint8_t pair : kPairs) {
        const int rest = c.nonzero - nonzero_of(pair);
        if (c.pairs == 1 && rest == 0) candidates.push_back({key_of(0, pair), -1, pair});
        if (c.pairs == 1 || rest < 0) continue;
        for (const std::int32_t shorter : members[slot(c.pairs - 1, rest)])
          candidates.push_back({key_of(keys[static_cast<std::size_t>(shorter)], pair), shorter, pair});
      }
      std::sort(candidates.begin(), candidates.end(),
                [](const Candidate& a, const Candidate& b) { return a.key < b.key; });
      for (const Candidate& candidate : candidates) {
        if (words_.size() == kTernaryWords) return;
        const auto word = static_cast<std::int32_t>(words_.size());
        const std::uint64_t before = candidate.shorter < 0 ? 0 : words_[static_cast<std::size_t>(candidate.shorter)];
        const int length = ternary_length(before);
        words_.push_back((before & kTernaryCodes) | (std::uint64_t{candidate.pair} << (2 * length)) |
                         (static_cast<std::uint64_t>(length + 2) << 56));
        keys.push_back(candidate.key);
        (candidate.shorter < 0 ? first_ : next_[static_cast<std::size_t>(candidate.shorter)].by_pair)[candidate.pair] =
            word;
        members[slot(c.pairs, c.nonzero)].push_back(word);
      }
    }
  }
  std::span<const std::uint64_t> words() const { return words_; }
  /// The longest word that codes begin with, of at most `pairs` pairs.
  std::uint16_t longest(const std::uint8_t* codes, std::int64_t pairs) const {
    std::int32_t word = first_[symbol(codes)];
    for (std::int64_t i = 1; i < pairs; ++i) {
      const std::int32_t longer = next_[static_cast<std::size_t>(word)].by_pair[symbol(codes + 2 * i)];
      if (longer == 0) break;
      word = longer;
    }
    return static_cast<std::uint16_t>(word);
  }

 private:
  struct Class {
    double probability;
    int pairs, nonzero;
  };
  struct Candidate {
    std::uint64_t key;
    std::int32_t shorter;  ///< the word that it extends; -1: none
    std::uint8_t pair;
  };
  /// Sorts sequences of one length as their weights: the first ones lead.
  static std::uint64_t key_of(std::uint64_t shorter, std::uint8_t pair) {
    return shorter << 4 | static_cast<std::uint64_t>((pair & 3) << 2 | pair >> 2);
  }
  struct Children {
    std::int32_t by_pair[16] = {};  ///< word of the sequence with this pair more; 0, a single pair, is nobody's
  };
  static constexpr int kClasses = 2 * kTernaryPairs + 1;
  static std::size_t slot(int pairs, int nonzero) { return static_cast<std::size_t>((pairs - 1) * kClasses + nonzero); }
  static std::size_t symbol(const std::uint8_t* codes) { return static_cast<std::size_t>(codes[0] | codes[1] << 2); }

  static std::vector<Class> classes() {
    double zero[kClasses], other[kClasses];
    zero[0] = other[0] = 1;
    for (int i = 1; i < kClasses; ++i) {
      zero[i] = zero[i - 1] * 0.885;
      other[i] = other[i - 1] * 0.0575;
    }
    std::vector<Class> all;
    for (int n = 1; n <= kTernaryPairs; ++n)
      for (int k = 0; k <= 2 * n; ++k) all.push_back({zero[2 * n - k] * other[k], n, k});
    std::stable_sort(all.begin(), all.end(),
                     [](const Class& a, const Class& b) { return a.probability > b.probability; });
    return all;
  }

  std::vector<std::uint64_t> words_;
  std::vector<Children> next_;
  std::int32_t first_[16] = {};
};

const Dictionary& dictionary() {
  static const Dictionary the;
  return the;
}

}  // namespace

std::span<const std::uint64_t> ternary_dictionary() {
  return dictionary().words();
}

Result<TernaryLayout> layout_of(const TernaryDictSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  // validate() bounds rows by 2^40 and words by 2^32: no overflow below.
  TernaryLayout l{};
  l.levels = round_up((static_cast<std::uint64_t>(rows) + 1) * 4, 64);
  l.words = l.levels + round_up(static_cast<std::uint64_t>(rows) * 4, 64);
  l.total = l.words + round_up(static_cast<std::uint64_t>(spec.words) * 2, 64);
  return l;
}

Result<Term> pack_ternary(std::int64_t rows, std::int64_t cols, std::span<const std::uint8_t> codes,
                          std::span<const std::uint16_t> levels) {
  if (codes.size() != static_cast<std::size_t>(rows * cols) || levels.size() != static_cast<std::size_t>(2 * rows))
    return internal_error("[pack ternary_dict] " + std::to_string(codes.size()) + " codes and " +
                          std::to_string(levels.size()) + " levels: sizes do not match");
  if (const auto bad = std::find_if(codes.begin(), codes.end(), [](std::uint8_t c) { return c > 2; });
      bad != codes.end())
    return internal_error("[pack ternary_dict] code " + std::to_string(*bad) + ": must be 0, 1 or 2");
  std::vector<std::uint32_t> starts = {0};
  std::vector<std::uint16_t> words;
  std::vector<std::uint8_t> padded(static_cast<std::size_t>(cols + cols % 2));
  for (std::int64_t r = 0; r < rows; ++r) {
    std::copy_n(codes.begin() + r * cols, cols, padded.begin());
    const std::int64_t pairs = (cols + 1) / 2;
    for (std::int64_t at = 0; at < pairs; at += ternary_length(ternary_dictionary()[words.back()]) / 2)
      words.push_back(dictionary().longest(padded.data() + 2 * at, pairs - at));
    if (words.size() > 0xFFFFFFFFull)
      return internal_error("[pack ternary_dict] more than 2^32 words: code the matrix in parts");
    starts.push_back(static_cast<std::uint32_t>(words.size()));
  }
  const TernaryDictSpec spec{.words = static_cast<std::int64_t>(words.size())};
  SPARING_TRY(const TernaryLayout l, layout_of(spec, rows, cols));
  Buffer buffer(l.total);
  std::memcpy(buffer.data(), starts.data(), starts.size() * 4);
  std::memcpy(buffer.data() + l.levels, levels.data(), levels.size() * 2);
  std::memcpy(buffer.data() + l.words, words.data(), words.size() * 2);
  return Term{spec, Blob::of(std::move(buffer))};
}

void read_ternary_row(const TernaryLayout& l, const std::byte* blob, std::int64_t cols, std::int64_t row,
                      std::uint8_t* codes) {
  const std::span<const std::uint64_t> entries = ternary_dictionary();
  const std::uint32_t end = load_u32(blob + 4 * (row + 1));
  std::int64_t at = 0;
  for (std::uint32_t i = load_u32(blob + 4 * row); i < end; ++i) {
    std::uint64_t word = entries[load_u16(blob + l.words + 2 * static_cast<std::uint64_t>(i))];
    const std::int64_t stop = std::min<std::int64_t>(cols, at + ternary_length(word));
    for (; at < stop; ++at, word >>= 2) codes[at] = static_cast<std::uint8_t>(word & 3u);
  }
}

void decode_ternary_row(const TernaryLayout& l, const std::byte* blob, std::int64_t cols, std::int64_t row,
                        float* out) {
  const std::span<const std::uint64_t> entries = ternary_dictionary();
  const float levels[] = {0.0f, f16_to_f32(load_u16(blob + l.levels + 4 * row)),
                          f16_to_f32(load_u16(blob + l.levels + 4 * row + 2)), 0.0f};
  const std::uint32_t end = load_u32(blob + 4 * (row + 1));
  std::int64_t at = 0;
  for (std::uint32_t i = load_u32(blob + 4 * row); i < end; ++i) {
    std::uint64_t word = entries[load_u16(blob + l.words + 2 * static_cast<std::uint64_t>(i))];
    const std::int64_t stop = std::min<std::int64_t>(cols, at + ternary_length(word));
    for (; at < stop; ++at, word >>= 2) out[at] = levels[word & 3u];
  }
}

Status validate_ternary(const TernaryDictSpec& spec, std::int64_t rows, std::int64_t cols, Bytes blob, bool deep) {
  SPARING_TRY(const TernaryLayout l, layout_of(spec, rows, cols));
  const std::span<const std::uint64_t> entries = ternary_dictionary();
  const std::byte* base = blob.data();
  std::uint32_t start = load_u32(base);
  if (start != 0) return input_error("[ternary_dict] the first row starts at " + std::to_string(start) + ": must be 0");
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::uint32_t end = load_u32(base + 4 * (r + 1));
    if (end < start || end > spec.words)
      return input_error("[ternary_dict] row " + std::to_string(r) + " ends at word " + std::to_string(end) +
                         ": out of order, the file is damaged");
    std::int64_t length = 0;
    for (std::uint32_t i = start; i < end; ++i)
      length += ternary_length(entries[load_u16(base + l.words + 2 * static_cast<std::uint64_t>(i))]);
    if (length != cols + cols % 2)
      return input_error("[ternary_dict] row " + std::to_string(r) + " has words for " + std::to_string(length) +
                         " weights of " + std::to_string(cols) + ": the file is damaged");
    start = end;
  }
  if (start != spec.words)
    return input_error("[ternary_dict] the last row ends at word " + std::to_string(start) + " of " +
                       std::to_string(spec.words) + ": the file is damaged");
  for (std::int64_t i = 0; deep && i < 2 * rows; ++i)
    if ((load_u16(base + l.levels + 2 * i) & 0x7C00u) == 0x7C00u)
      return input_error("[ternary_dict] a level of row " + std::to_string(i / 2) +
                         " is not finite: the file is damaged");
  return {};
}

}  // namespace sparing
