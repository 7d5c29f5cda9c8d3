#pragma once
// The SentencePiece library behind a door. Debian's libsentencepiece exports a protobuf of its own, which breaks the
// one that libtorch brings as soon as both are in a program's global scope. So only a module links it, loaded on demand
// with its symbols to itself.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sparing {

class SentencePieceLibrary {
 public:
  /// Loads the module. Error: it is not installed beside the program or in ../libexec/sparing.
  static Result<std::unique_ptr<SentencePieceLibrary>> open();
  virtual ~SentencePieceLibrary() = default;

  /// Empty, or what is wrong with the serialised model. Called once, before anything else.
  virtual std::string load(const std::string& model) = 0;
  virtual std::vector<int> encode(std::string_view text) const = 0;
  virtual int size() const = 0;
  virtual const std::string& piece(int id) const = 0;
  virtual int id_of(std::string_view piece) const = 0;
  virtual float score(int id) const = 0;
  virtual bool is_control(int id) const = 0;
  virtual bool is_unknown(int id) const = 0;
  virtual bool is_byte(int id) const = 0;
  virtual int bos() const = 0;
  virtual int eos() const = 0;
  virtual int unknown() const = 0;
  virtual int pad() const = 0;
};

}  // namespace sparing
