#pragma once
#include <memory>
#include <string>

#include "base/mapped_file.h"

namespace sparing {

/// Streaming SHA-256 (OpenSSL's).
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  void update(Bytes data);
  /// 64 lower-case hex digits; the object may not be used afterwards.
  std::string finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string sha256_hex(Bytes data);

}  // namespace sparing
