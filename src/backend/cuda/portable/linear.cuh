/* What the portable linears share: their arguments, and how 16-bit weights become operands.
 *
 * Capability 7.5 multiplies fp16 alone, whose range is smaller than that of bf16 and of activations. So a strip of bf16
 * weights, 16 rows, goes through the units times the power of two that brings its greatest to 2^15, and a token times
 * the one that brings its greatest to 2^14; products are multiplied by the inverse. A weight of bf16 has fewer bits
 * than one of fp16 and is exact, but for those below 2^-29 of the strip's greatest. fp16 weights are multiplied with
 * such tokens on 8.0 too. */
#ifndef SPATE_BACKEND_CUDA_PORTABLE_LINEAR_CUH
#define SPATE_BACKEND_CUDA_PORTABLE_LINEAR_CUH

#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/portable/instructions.cuh"

namespace portable {

enum { STRIP = 16, PIECE = 2048, PIECE_COLS = 64 }; /* of cuda_layout.h */

struct linear_work {
  struct cuda_linear linear;
  const uint16_t *tokens; /* [n_row, in whole 64s][n_piece × 64] */
  const float *scales;    /* [n_row], or NULL: 1 */
  int n_strip, n_piece;
};

/* Of weights of a kind (KIND_BF16, KIND_F16). */
template <typename ISA, int KIND> struct operand16 {
  static constexpr bool bfloat = KIND == KIND_BF16 && ISA::bfloat; /* what is multiplied */
  static constexpr bool moved = KIND == KIND_BF16 && !ISA::bfloat; /* bf16 that becomes fp16 */

  static __device__ __forceinline__ void multiply(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    if constexpr (bfloat)
      multiply_bf16(d, a, b0, b1);
    else
      ISA::multiply(d, a, b0, b1);
  }

  /* What a strip's exponents are lowered by, in the place where bf16 has them. */
  static __device__ __forceinline__ int lower_of(const struct cuda_matrix &m, int strip) {
    if constexpr (moved) return (max(min(m.exponent[strip], 254), 30) - 30) << 7;
    return 0;
  }

  /* By what the strip's products are multiplied. */
  static __device__ __forceinline__ float scale_of(const struct cuda_matrix &m, int strip) {
    if constexpr (moved) return exp2f((float)((lower_of(m, strip) >> 7) - 112));
    return 1;
  }

  /* Two weights. fp16 has three bits more of the fraction. */
  static __device__ __forceinline__ uint32_t pair(uint32_t w, int lower) {
    if constexpr (!moved) return w;
    int low = max((int)(w & 0x7fff) - lower, 0), high = max((int)(w >> 16 & 0x7fff) - lower, 0);
    return (w & 0x80008000u) | (uint32_t)low << 3 | (uint32_t)high << 19;
  }
};

} // namespace portable

#endif
