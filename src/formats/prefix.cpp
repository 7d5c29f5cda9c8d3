#include "formats/prefix.h"

#include <algorithm>

#include "base/units.h"
#include "codecs/sign_lowrank.h"

namespace sparing {
namespace {

class Prefix final : public Checkpoint {
 public:
  Prefix(std::shared_ptr<const Checkpoint> whole, const std::map<std::string, std::size_t>& dropped,
         std::uint64_t bytes)
      : whole_(std::move(whole)), dropped_(dropped), entries_(whole_->tensors()), bytes_(bytes) {}

  void left_out(std::size_t entry, std::uint64_t bytes) { entries_[entry].stored_bytes -= bytes; }

  CheckpointFormat format() const override { return whole_->format(); }
  const ModelConfig& config() const override { return whole_->config(); }
  const std::filesystem::path& path() const override { return whole_->path(); }
  const std::vector<TensorEntry>& tensors() const override { return entries_; }
  Result<CodedWeight> weight(const std::string& name, Arena* arena) const override {
    SPARING_TRY(CodedWeight weight, whole_->weight(name, arena));
    weight.terms.resize(weight.terms.size() - dropped(name));
    return weight;
  }
  Result<std::vector<float>> vector(const std::string& name) const override { return whole_->vector(name); }
  Result<std::vector<Bytes>> stored(const std::string& name) const override {
    SPARING_TRY(std::vector<Bytes> parts, whole_->stored(name));
    parts.resize(parts.size() - dropped(name));
    return parts;
  }
  void forget(const std::string& name) const override { whole_->forget(name); }
  const TokenizerSource& tokenizer() const override { return whole_->tokenizer(); }
  std::uint64_t total_bytes() const override { return bytes_; }
  const std::map<std::string, std::string>& carried() const override { return whole_->carried(); }
  std::string manifest() const override { return whole_->manifest(); }

 private:
  std::size_t dropped(const std::string& name) const {
    const auto found = dropped_.find(name);
    return found == dropped_.end() ? 0 : found->second;
  }
  std::shared_ptr<const Checkpoint> whole_;
  std::map<std::string, std::size_t> dropped_;  ///< terms left out, from the top, by matrix
  std::vector<TensorEntry> entries_;
  std::uint64_t bytes_;
};

/// A block that can be left out.
struct Block {
  std::size_t entry = 0, level = 0;
  std::uint64_t bytes = 0;
  double share = 0;  ///< of the squares that its matrix's blocks hold
};

Status add_blocks(const Checkpoint& model, std::size_t entry, std::vector<Block>& blocks) {
  const std::string& name = model.tensors()[entry].shape.name;
  SPARING_TRY(const CodedWeight weight, model.weight(name));
  std::vector<Block> mine;
  double all = 0;
  for (std::size_t t = 0; t < weight.terms.size(); ++t) {
    const Term& term = weight.terms[t];
    const auto* signs = std::get_if<SignLowRankSpec>(&term.spec);
    if (signs == nullptr) {
      mine.clear();  // only what lies on top of everything else can go
      continue;
    }
    const double squares = sign_lowrank_squares(*signs, weight.rows, weight.cols, term.blob.bytes.data());
    all += squares;
    if (t > 0) mine.push_back({entry, t, term.blob.bytes.size(), squares});
  }
  for (Block& block : mine) {
    if (all > 0) block.share /= all;
    blocks.push_back(block);
  }
  model.forget(name);
  return {};
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> prefix_of(std::shared_ptr<const Checkpoint> whole, std::uint64_t bytes) {
  if (bytes >= whole->total_bytes()) return whole;
  std::vector<Block> blocks;
  for (std::size_t i = 0; i < whole->tensors().size(); ++i)
    if (!whole->tensors()[i].shape.is_vector()) SPARING_CHECK_OK(add_blocks(*whole, i, blocks));
  if (blocks.empty())
    return usage_error("[load] --bytes: " + whole->path().string() +
                       " is no stack of blocks that could be cut: make one with compress --method bitstack");
  std::ranges::stable_sort(blocks, [](const Block& a, const Block& b) {
    return a.level != b.level ? a.level < b.level : a.share > b.share;
  });
  std::uint64_t used = whole->total_bytes();
  for (const Block& block : blocks) used -= block.bytes;
  if (used > bytes)
    return resource_error("[load] --bytes " + format_bytes(bytes) + ": " + whole->path().string() + " takes " +
                          format_bytes(used) + " with one block of each matrix: give at least that");
  std::size_t kept = 0;
  while (kept < blocks.size() && used + blocks[kept].bytes <= bytes) used += blocks[kept++].bytes;
  std::map<std::string, std::size_t> dropped;
  for (std::size_t b = kept; b < blocks.size(); ++b) ++dropped[whole->tensors()[blocks[b].entry].shape.name];
  const auto prefix = std::make_shared<Prefix>(std::move(whole), dropped, used);
  for (std::size_t b = kept; b < blocks.size(); ++b) prefix->left_out(blocks[b].entry, blocks[b].bytes);
  return std::shared_ptr<const Checkpoint>(prefix);
}

}  // namespace sparing
