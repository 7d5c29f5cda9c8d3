#pragma once
// Owned, 64-byte aligned memory, and views of bytes that keep their owner alive.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/mapped_file.h"

namespace sparing {

/// How a Buffer's bytes go.
struct BufferFree {
  std::size_t mapped = 0;             ///< bytes to unmap; 0: from malloc
  std::shared_ptr<const void> owner;  ///< frees them instead
  void operator()(std::byte* p) const;
};

/// Zero-initialised bytes aligned to 64 (a cache line, a zmm register). Move-only. Large ones take memory as they are
/// touched, and give it back to the system when they go.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size);
  /// Bytes that `owner` keeps; it vouches that nobody else writes them.
  Buffer(std::byte* data, std::size_t size, std::shared_ptr<const void> owner)
      : data_(data, BufferFree{0, std::move(owner)}), size_(size) {}
  Buffer(Buffer&& other) noexcept : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  template <class T>
  std::span<T> as() {
    return {reinterpret_cast<T*>(data_.get()), size_ / sizeof(T)};
  }
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data_.get()), size_ / sizeof(T)};
  }

 private:
  std::unique_ptr<std::byte, BufferFree> data_;
  std::size_t size_ = 0;
};

/// Bytes and whatever keeps them alive: a mapped file, a buffer, or nothing (the caller vouches).
struct Blob {
  Bytes bytes;
  std::shared_ptr<const void> owner;
  const MappedFile* file = nullptr;  ///< the owner, where it is one: pages that can be forgotten

  static Blob of(Buffer buffer) {
    auto held = std::make_shared<Buffer>(std::move(buffer));
    return {{held->data(), held->size()}, held};
  }
  static Blob of(std::string text) {
    auto held = std::make_shared<const std::string>(std::move(text));
    return {std::as_bytes(std::span(*held)), held};
  }
  static Blob in(std::shared_ptr<const MappedFile> file, Bytes part) {
    const MappedFile* mapped = file.get();
    return {part, std::move(file), mapped};
  }
  /// Lets go of the file's pages behind `part`; bytes elsewhere are left alone.
  void forget(Bytes part) const {
    if (file != nullptr) file->forget(part);
  }
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

}  // namespace sparing
