#pragma once
// Activations of all calibration tokens between two stages of a block: in memory, or in a mapped file without a name.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "base/result.h"

namespace sparing::lab {

/// [rows, width] f32.
class ActivationMatrix {
 public:
  ActivationMatrix() = default;
  ActivationMatrix(ActivationMatrix&& other) noexcept;
  ActivationMatrix& operator=(ActivationMatrix&& other) noexcept;
  ~ActivationMatrix();
  float* row(std::int64_t r) const { return data_ + r * width_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t width() const { return width_; }
  bool spilled() const { return spilled_; }
  explicit operator bool() const { return data_ != nullptr; }
  /// These rows are not needed for a while: a spilled matrix gives their memory back (the file keeps them).
  void rest(std::int64_t first, std::int64_t count) const;

 private:
  friend class ActivationPool;
  void release();
  float* data_ = nullptr;
  std::int64_t rows_ = 0, width_ = 0;
  std::size_t bytes_ = 0;
  bool spilled_ = false;
  std::shared_ptr<std::uint64_t> used_;
};

class ActivationPool {
 public:
  /// max_ram 0: no limit. scratch empty: the system's temporary folder.
  ActivationPool(std::uint64_t max_ram, std::filesystem::path scratch);
  /// Zeroed. In memory while all matrices together fit the limit, else in an unlinked file under scratch. Errors: no
  /// memory, a scratch folder that cannot be written or is full.
  Result<ActivationMatrix> make(std::int64_t rows, std::int64_t width);

 private:
  std::uint64_t max_ram_;
  std::filesystem::path scratch_;
  std::shared_ptr<std::uint64_t> used_;
};

}  // namespace sparing::lab
