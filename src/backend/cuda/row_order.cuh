/* Logits in the order in which the greatest is drawn: each with its token one number, a place. */
#ifndef SPATE_BACKEND_CUDA_ROW_ORDER_CUH
#define SPATE_BACKEND_CUDA_ROW_ORDER_CUH

#include <math_constants.h>
#include <stdint.h>

namespace row_order {

/* Floats as integers of the same order; 0 and −0 are one. */
__device__ inline uint32_t ordered(float x) {
  uint32_t bits = __float_as_uint(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ inline float unordered(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

/* Greater logits first, then lower tokens. */
__device__ inline unsigned long long place_of(float x, int token) {
  return (unsigned long long)ordered(x) << 32 | (uint32_t)~token;
}
__device__ inline int place_token(unsigned long long place) { return (int)~(uint32_t)place; }
__device__ inline float place_logit(unsigned long long place) { return unordered((uint32_t)(place >> 32)); }

/* Of a row with a logit that is NaN or +∞. */
constexpr unsigned long long PLACE_BAD = ~0ull;

/* Has a row's greatest a token that can be drawn? Of none at all (0), and of −∞ alone, it has not. */
__device__ inline bool place_sound(unsigned long long place) {
  return place != PLACE_BAD && place_logit(place) > -CUDART_INF_F;
}

} // namespace row_order

#endif
