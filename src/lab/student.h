#pragma once
// A coded model whose continuous parameters are one array, for training end to end.

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "lab/interpreter.h"
#include "lab/math/continuous.h"

namespace sparing::lab {

class Student {
 public:
  /// products: dtype of the matrices; device: where weights() are. Errors: the checkpoint's and the codecs'.
  static Result<Student> make(const Checkpoint& source, const ModelGraph& model,
                              const std::map<std::string, CodedWeight>& coded, at::ScalarType products,
                              at::Device device = at::kCPU);

  std::int64_t size() const { return size_; }
  /// Of all parameters, [size]: as stored, and how far each moves for its weights to change by about their size.
  std::vector<float> parameters() const;
  std::vector<float> units() const;
  /// A weight's part of the parameters.
  struct Range {
    std::int64_t first = 0, count = 0;
    bool vector = false;
  };
  std::vector<Range> ranges() const;

  /// Stores parameters [size], rounded, and decodes what changed.
  void set(std::span<const float> parameters, ThreadPool& pool);
  /// Matrices [rows, cols] (the embedding only where it is the head), norms and biases f32.
  const Weights& weights() const { return values_; }
  /// Rows of the embedding, [tokens, hidden] f32, on the CPU.
  at::Tensor embed(const std::vector<Token>& tokens) const;

  /// Adds to sum [size] the derivatives by a weight's parameters, given those by its values (backward.h).
  void add_gradient(const std::string& name, const at::Tensor& gradient, std::span<float> sum) const;
  void add_embedding_gradient(const std::vector<Token>& tokens, const at::Tensor& gradient, std::span<float> sum) const;

  /// From here on the codes of integers are trained as well, their places from the codes towards the source's values.
  /// Gradients then come through step_codes(). Errors: the checkpoint's.
  Status train_codes(const Checkpoint& source, ThreadPool& pool);
  bool trains_codes() const { return !codes_.empty(); }
  /// By matrix, of the loss by its effective values, for each sequence of a batch.
  using MatrixGradients = std::vector<std::map<std::string, at::Tensor>>;
  /// Moves the places of all codes by `rate` in root mean square; set() decodes what comes of it. Whatever the number
  /// of threads, the bits are the same.
  void step_codes(const MatrixGradients& gradients, double rate, ThreadPool& pool);
  /// For keeping and resuming.
  std::string code_state() const;
  std::size_t code_state_size() const;
  void take_code_state(std::string_view state);
  /// The codes alone, and back: set() decodes them.
  std::string codes() const;
  void take_codes(std::string_view codes);

  /// As set last.
  std::map<std::string, CodedWeight> coded() const;
  std::map<std::string, std::vector<float>> vectors() const;

 private:
  struct Matrix {
    math::ContinuousWeight weight;
    std::int64_t first = 0;
  };
  struct Vector {
    std::vector<float> start, stored;
    std::int64_t first = 0;
    bool half = false;  ///< stored in f16
  };
  /// Rows of the summed gradient, in the coordinates that the codes are in.
  void gradient_rows(const std::string& name, const MatrixGradients& gradients, std::int64_t row, std::int64_t count,
                     std::vector<float>& rows) const;
  std::map<std::string, Matrix> matrices_;
  std::map<std::string, math::TrainedCodes> codes_;
  std::map<std::string, Vector> vectors_;
  Weights values_;
  std::int64_t size_ = 0;
  bool decoded_ = false;
};

}  // namespace sparing::lab
