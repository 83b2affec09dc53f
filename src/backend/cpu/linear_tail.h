/* What happens to sums on their way to the output: plain loops over the 16 columns of a tile, which the compiler turns
 * into vectors of whatever the including file is compiled for. */
#ifndef SPATE_BACKEND_CPU_LINEAR_TAIL_H
#define SPATE_BACKEND_CPU_LINEAR_TAIL_H

#include "backend/cpu/cpu_kernels.h"
#include "base/half.h"

#define EACH(i) for (int i = 0; i < TILE_ROWS; i++)

/* e^x within 2 units in the last place; arguments beyond ±87 are taken as ±87. 2^n · e^r with |r| ≤ ln 2 / 2. */
static inline float exp_fast(float x) {
  const float whole = 0x1.8p23f; /* adding it rounds to an integer, left in the low bits */
  x = x < -87.0f ? -87.0f : x;
  x = x > 87.0f ? 87.0f : x;
  float shifted = x * 0x1.715476p+0f + whole, n = shifted - whole;
  float r = x - n * 0x1.62e400p-1f; /* ln 2 in two parts: n times the first is exact */
  r = r - n * 0x1.7f7d1cp-20f;
  float p = 0x1.6a2352p-10f;
  p = p * r + 0x1.123a6cp-7f;
  p = p * r + 0x1.5558f4p-5f;
  p = p * r + 0x1.555490p-3f;
  p = p * r + 0x1.fffffcp-2f;
  p = p * r * r + r + 1;
  return float_from_bits(float_bits(p) + (float_bits(shifted) << 23));
}

static inline float sigmoid_fast(float x) { return 1 / (1 + exp_fast(-x)); }
static inline float tanh_fast(float x) { return 2 * sigmoid_fast(2 * x) - 1; }

static inline void tail_act(enum act_kind act, float value[TILE_ROWS]) {
  if (act == ACT_SILU) EACH(i) value[i] *= sigmoid_fast(value[i]);
  if (act == ACT_GELU_TANH) {                     /* x/2 · (1 + tanh u) = x · sigmoid(2u) */
    const float twice_root = 1.5957691216057308f; /* 2 · √(2/π) */
    EACH(i) value[i] *= sigmoid_fast(twice_root * (value[i] + 0.044715f * value[i] * value[i] * value[i]));
  }
}

/* One row of a tile, and of its partner `up` if gated, to the output row `out`. The sums are used up. */
static inline void tail_store(const struct linear_tail *tail, const struct cpu_layout *layout, int tile,
                              float value[TILE_ROWS], float up[TILE_ROWS], const float *residual, float *out) {
  int column = (up ? tile / 2 : tile) * TILE_ROWS, n = tail->out_cols - column;
  if (n > TILE_ROWS) n = TILE_ROWS;
  if (tail->bias) {
    int n_bias = layout->rows - tile * TILE_ROWS; /* a last tile may be short; partners come in whole tiles */
    for (int i = 0; i < TILE_ROWS && i < n_bias; i++) value[i] += tail->bias[tile * TILE_ROWS + i];
    if (up) EACH(i) up[i] += tail->bias[(tile + 1) * TILE_ROWS + i];
  }
  tail_act(tail->act, value);
  if (up) EACH(i) value[i] *= up[i];
  EACH(i) value[i] *= tail->scale;
  if (tail->softcap > 0) EACH(i) value[i] = tail->softcap * tanh_fast(value[i] / tail->softcap);
  if (n == TILE_ROWS && residual) {
    EACH(i) value[i] += residual[column + i];
  } else if (residual) {
    for (int i = 0; i < n; i++) value[i] += residual[column + i];
  }
  if (n == TILE_ROWS)
    memcpy(out + column, value, TILE_ROWS * sizeof *out);
  else if (n > 0)
    memcpy(out + column, value, n * sizeof *out);
}

#endif
