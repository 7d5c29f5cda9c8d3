#include "text/sentencepiece_proto.h"

#include <optional>
#include <string>

namespace sparing {
namespace {

/// One field of a protobuf message.
struct Field {
  std::uint64_t number = 0, value = 0;
  std::string_view bytes;
};

class Fields {
 public:
  explicit Fields(std::string_view data) : data_(data) {}
  /// The next field, or none at the end or where the message is broken (see `broken`).
  std::optional<Field> next() {
    if (data_.empty() || broken) return std::nullopt;
    const std::uint64_t key = varint();
    Field f;
    f.number = key >> 3;
    switch (key & 7) {
      case 0:
        f.value = varint();
        break;
      case 1:
        f.bytes = take(8);
        break;
      case 2:
        f.bytes = take(varint());
        break;
      case 5:
        f.bytes = take(4);
        break;
      default:
        broken = true;
    }
    if (broken) return std::nullopt;
    return f;
  }
  bool broken = false;

 private:
  std::uint64_t varint() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 64 && !data_.empty(); shift += 7) {
      const auto b = static_cast<unsigned char>(data_[0]);
      data_.remove_prefix(1);
      v |= static_cast<std::uint64_t>(b & 0x7F) << shift;
      if (b < 0x80) return v;
    }
    broken = true;
    return 0;
  }
  std::string_view take(std::uint64_t size) {
    if (broken || size > data_.size()) {
      broken = true;
      return {};
    }
    const std::string_view out = data_.substr(0, size);
    data_.remove_prefix(size);
    return out;
  }
  std::string_view data_;
};

}  // namespace

// Field numbers are those of sentencepiece_model.proto.
Result<SentencePieceSettings> read_sentencepiece_settings(std::string_view proto) {
  SentencePieceSettings out;
  Fields model(proto);
  bool broken = false;
  while (const auto part = model.next()) {
    Fields fields(part->bytes);
    if (part->number == 1) {
      std::int32_t type = 1;
      while (const auto f = fields.next()) {
        if (f->number == 3) type = static_cast<std::int32_t>(f->value & 0x7F);
      }
      out.types.push_back(type);
    } else if (part->number == 2) {
      while (const auto f = fields.next()) {
        if (f->number == 3) out.model = static_cast<int>(f->value & 0x7F);
        if (f->number == 24) out.whitespace_as_suffix = f->value != 0;
      }
    } else if (part->number == 3) {
      while (const auto f = fields.next()) {
        if (f->number == 2) out.has_character_map = !f->bytes.empty();
        if (f->number == 3) out.add_dummy_prefix = f->value != 0;
        if (f->number == 4) out.remove_extra_whitespaces = f->value != 0;
        if (f->number == 5) out.escape_whitespaces = f->value != 0;
      }
    }
    broken |= fields.broken;
  }
  if (broken || model.broken || out.types.empty()) {
    return input_error("[tokenizer.model] not a SentencePiece model: give the file that belongs to the checkpoint");
  }
  return out;
}

}  // namespace sparing
