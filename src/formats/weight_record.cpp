#include <cstring>

#include "base/checked.h"
#include "codecs/codec_json.h"
#include "formats/json.h"
#include "formats/sparing_writer.h"

namespace sparing {
namespace {

constexpr std::uint64_t kAlignment = 64, kMaxHeader = 1 << 20;

void append_blob(std::string& out, Bytes blob) {
  out.append(reinterpret_cast<const char*>(blob.data()), blob.size());
  out.resize(round_up(out.size(), kAlignment), '\0');
}

/// Cuts consecutive padded blobs off a record.
class Cutter {
 public:
  Cutter(Blob record, std::uint64_t at) : record_(std::move(record)), at_(at) {}
  Result<Blob> cut(std::uint64_t size) {
    const std::uint64_t left = record_.bytes.size() - at_;
    if (size > left || round_up(size, kAlignment) > left) {
      return input_error("[record] " + std::to_string(size) + " bytes needed, " + std::to_string(left) +
                         " left: the record is damaged");
    }
    const Bytes part = record_.bytes.subspan(at_, size);
    at_ += round_up(size, kAlignment);
    if (reinterpret_cast<std::uintptr_t>(part.data()) % kAlignment == 0) return Blob{part, record_.owner, record_.file};
    Buffer copy(size);
    if (size > 0) std::memcpy(copy.data(), part.data(), size);
    return Blob::of(std::move(copy));
  }
  bool done() const { return at_ == record_.bytes.size(); }

 private:
  Blob record_;
  std::uint64_t at_;
};

}  // namespace

Result<std::string> encode_weight_record(const std::string& name, const CodedWeight& weight) {
  SPARING_CHECK_OK(validate(weight, false));
  nlohmann::json terms = nlohmann::json::array();
  for (const Term& term : weight.terms) terms.push_back(spec_to_json(term.spec));
  std::string text = dump_json({{"name", name},
                                {"rows", weight.rows},
                                {"cols", weight.cols},
                                {"input", transform_to_json(weight.input)},
                                {"terms", terms}});
  text.resize(round_up(text.size() + 8, kAlignment) - 8, ' ');
  const std::uint64_t length = text.size();
  std::string out(reinterpret_cast<const char*>(&length), 8);
  out.reserve(8 + length + stored_bytes(weight));
  out += text;
  append_blob(out, weight.input.blob.bytes);
  for (const Term& term : weight.terms) append_blob(out, term.blob.bytes);
  return out;
}

Result<std::pair<std::string, CodedWeight>> decode_weight_record(Blob record) {
  const std::string where = "[record]";
  std::uint64_t length = 0;
  if (record.bytes.size() < 8)
    return input_error(where + " " + std::to_string(record.bytes.size()) + " bytes: damaged");
  std::memcpy(&length, record.bytes.data(), 8);
  if (length > kMaxHeader || length > record.bytes.size() - 8 || (length + 8) % kAlignment != 0) {
    return input_error(where + " header of " + std::to_string(length) + " bytes: the record is damaged");
  }
  SPARING_TRY(const nlohmann::json json,
              parse_json({reinterpret_cast<const char*>(record.bytes.data()) + 8, length}, where));
  const JsonFields fields(json, where);
  SPARING_TRY(std::string name, fields.string("name"));
  CodedWeight weight;
  SPARING_TRY(weight.rows, fields.integer("rows", {}, 1, std::int64_t{1} << 40));
  SPARING_TRY(weight.cols, fields.integer("cols", {}, 1, std::int64_t{1} << 40));
  SPARING_TRY(weight.input, transform_from_json(fields.at("input")));
  if (!fields.at("terms").is_array() || fields.at("terms").size() > 16)
    return fields.wrong("terms", "a list of codings");
  Cutter cutter(std::move(record), 8 + length);
  SPARING_TRY(const std::uint64_t input_bytes, blob_bytes(weight.input, weight.cols));
  SPARING_TRY(weight.input.blob, cutter.cut(input_bytes));
  for (const auto& entry : fields.at("terms")) {
    SPARING_TRY(CodecSpec spec, spec_from_json(entry));
    SPARING_TRY(const std::uint64_t bytes, blob_bytes(spec, weight.rows, weight.cols));
    SPARING_TRY(Blob blob, cutter.cut(bytes));
    weight.terms.push_back({std::move(spec), std::move(blob)});
  }
  if (!cutter.done()) return input_error(where + " bytes are left over: the record is damaged");
  SPARING_CHECK_OK(validate(weight, true));
  return std::pair(std::move(name), std::move(weight));
}

}  // namespace sparing
