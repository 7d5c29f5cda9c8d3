// The module that links libsentencepiece; see text/sentencepiece_library.h.

#include <sentencepiece_processor.h>

#include "text/sentencepiece_library.h"

namespace sparing {
namespace {

class Processor final : public SentencePieceLibrary {
 public:
  std::string load(const std::string& model) override {
    const auto status = processor_.LoadFromSerializedProto(model);
    if (status.ok()) return {};
    const std::string message(status.message());
    return message.empty() ? "does not load" : message;
  }
  std::vector<int> encode(std::string_view text) const override {
    std::vector<int> ids;
    if (!processor_.Encode({text.data(), text.size()}, &ids).ok()) ids.clear();
    return ids;
  }
  int size() const override { return processor_.GetPieceSize(); }
  const std::string& piece(int id) const override { return processor_.IdToPiece(id); }
  int id_of(std::string_view piece) const override { return processor_.PieceToId({piece.data(), piece.size()}); }
  float score(int id) const override { return processor_.GetScore(id); }
  bool is_control(int id) const override { return processor_.IsControl(id); }
  bool is_unknown(int id) const override { return processor_.IsUnknown(id); }
  bool is_byte(int id) const override { return processor_.IsByte(id); }
  int bos() const override { return processor_.bos_id(); }
  int eos() const override { return processor_.eos_id(); }
  int unknown() const override { return processor_.unk_id(); }
  int pad() const override { return processor_.pad_id(); }

 private:
  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace
}  // namespace sparing

extern "C" __attribute__((visibility("default"))) sparing::SentencePieceLibrary* sparing_sentencepiece_new() {
  return new sparing::Processor;
}
