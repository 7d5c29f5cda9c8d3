#pragma once
// The basis of its inputs that a weight is coded in, an option of every method whose codes are levels of a grid or
// entries of a table (not of low rank, which a rotation leaves as it is, nor of mostly zeros): y = W' T(x) with W' = W
// T^-1 coded, in place of y = W x. Two bases: inputs in blocks rotated by random Hadamard matrices, which spreads what
// is large over a block (QuIP#, arXiv:2402.04396; QuaRot, arXiv:2404.00456), and inputs scaled by how large they are,
// so that weights of large inputs are coded more finely (AWQ, arXiv:2306.00978).

#include "methods/method.h"

namespace sparing {

/// basis: none, hadamard; where the method has statistics also scaled.
ParamSpec basis_param(bool with_statistics = true);
/// Method::transform of these methods.
TransformKind basis_transform(const Params& params);

using Apply = Result<SiteResult> (*)(const SiteProblem&, const Params&);
/// `apply` on the problem in that basis; the result acts on the inputs themselves. Signs of a rotation follow from the
/// width alone. Errors: those of apply; scaled without statistics.
Result<SiteResult> apply_in_basis(const SiteProblem& problem, const Params& params, Apply apply);

/// Method::apply of a method whose own is `apply`.
template <Apply apply>
Result<SiteResult> in_basis(const SiteProblem& problem, const Params& params) {
  return apply_in_basis(problem, params, apply);
}

}  // namespace sparing
