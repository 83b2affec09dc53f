/* The passes, as loops of constant length over groups and lanes, which the compiler vectorizes. The order of every sum
 * is written out, so that the instruction set makes no difference. Included once by each row_passes*.c, which names the
 * table ROW_PASSES. */
#include "backend/row_passes.h"
#include "base/half.h"

#include <math.h>

enum { LANES = 16, BLOCK = 32 };

/* weight[i] = 2ˣ, x = (from[i] − max) × scale ≤ 0, within 3e-7 of its value, and 0 below −126.5: 2ⁿ times a polynomial
 * on |f| ≤ ½, fitted for the least relative error with 1 at 0. No branch and no call, so that it vectorizes; the same
 * operations, hence the same bits, everywhere. One operation after the other over all of a block: as one loop, the
 * chain of each vector waits for itself in the processor's scheduler, and it takes 2.5 times as long. */
static inline void block_exp2(const float *from, int n, float max, float scale, float *weight) {
  float f[BLOCK], magic[BLOCK], series[BLOCK];
  for (int i = 0; i < n; i++) {
    float x = (from[i] - max) * scale;
    f[i] = x > -127.0f ? x : -127.0f;
  }
  for (int i = 0; i < n; i++) magic[i] = f[i] + 12582912.0f; /* 1.5 × 2²³: rounds, its low bits are the integer */
  for (int i = 0; i < n; i++) f[i] -= magic[i] - 12582912.0f;
  for (int i = 0; i < n; i++) series[i] = 0.00132647273f * f[i] + 0.00967151299f;
  for (int i = 0; i < n; i++) series[i] = series[i] * f[i] + 0.0555073358f;
  for (int i = 0; i < n; i++) series[i] = series[i] * f[i] + 0.240222424f;
  for (int i = 0; i < n; i++) series[i] = series[i] * f[i] + 0.693147004f;
  for (int i = 0; i < n; i++) series[i] = series[i] * f[i] + 1;
  for (int i = 0; i < n; i++) weight[i] = series[i] * float_from_bits((float_bits(magic[i]) + 127) << 23);
}

/* --- one group: x[ROW_GROUP] ------------------------------------------------------------------------------------ */

static inline float greater(float a, float b) { return b > a ? b : a; }

static inline float group_greatest(const float *x) {
  float lane[LANES];
  for (int l = 0; l < LANES; l++) lane[l] = x[l];
  for (int i = LANES; i < ROW_GROUP; i += LANES)
    for (int l = 0; l < LANES; l++) lane[l] = greater(lane[l], x[i + l]);
  for (int l = 0; l < 8; l++) lane[l] = greater(lane[l], lane[l + 8]);
  for (int l = 0; l < 4; l++) lane[l] = greater(lane[l], lane[l + 4]);
  return greater(greater(lane[0], lane[1]), greater(lane[2], lane[3]));
}

/* Is one NaN or +∞? */
static inline int group_bad(const float *x) {
  int bad = 0;
  for (int i = 0; i < ROW_GROUP; i++) bad |= !(x[i] < INFINITY);
  return bad;
}

static inline float lanes_sum(float lane[LANES]) {
  for (int l = 0; l < 8; l++) lane[l] += lane[l + 8];
  for (int l = 0; l < 4; l++) lane[l] += lane[l + 4];
  return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

/* The sum of those that are at least floor. */
static inline float group_sum(const float *x, float floor) {
  float lane[LANES];
  for (int l = 0; l < LANES; l++) lane[l] = x[l] >= floor ? x[l] : 0;
  for (int i = LANES; i < ROW_GROUP; i += LANES)
    for (int l = 0; l < LANES; l++) lane[l] += x[i + l] >= floor ? x[i + l] : 0;
  return lanes_sum(lane);
}

static inline void group_weigh(const float *x, float max, float scale, float *weight) {
  for (int i = 0; i < ROW_GROUP; i += BLOCK) block_exp2(x + i, BLOCK, max, scale, weight + i);
}

/* Group g, or a copy of it that −∞ makes whole. */
static inline const float *group_whole(const struct logit_row *row, int g, float copy[ROW_GROUP]) {
  const float *x = row->x + g * ROW_GROUP;
  int n = row->n - g * ROW_GROUP;
  if (n >= ROW_GROUP) return x;
  for (int i = 0; i < ROW_GROUP; i++) copy[i] = i < n ? x[i] : -INFINITY;
  return copy;
}

/* --- whole rows ------------------------------------------------------------------------------------------------- */

static bool pass_max(struct logit_row *row) {
  float copy[ROW_GROUP], max = -INFINITY;
  int bad = 0;
  for (int g = 0; g < row_groups(row->n); g++) {
    const float *x = group_whole(row, g, copy);
    row->group_max[g] = group_greatest(x);
    max = greater(max, row->group_max[g]);
    bad |= group_bad(x);
  }
  row->max = max;
  return !bad;
}

/* Groups [first, end), of which only the last may need the copy. */
static float chunk_weigh(const struct logit_row *row, int first, int end, float scale, float *weight) {
  float copy[ROW_GROUP], lane[LANES] = {0};
  for (int g = first; g < end; g++) {
    float *out = weight + g * ROW_GROUP;
    group_weigh(group_whole(row, g, copy), row->max, scale, out);
    for (int i = 0; i < ROW_GROUP; i += LANES)
      for (int l = 0; l < LANES; l++) lane[l] += out[i + l];
  }
  return lanes_sum(lane);
}

static double pass_weigh(const struct logit_row *row, float scale, float *weight, float *sum) {
  int n_group = row_groups(row->n);
  double total = 0;
  for (int c = 0; c < row_chunks(row->n); c++) {
    int first = c * (ROW_CHUNK / ROW_GROUP), end = first + ROW_CHUNK / ROW_GROUP;
    sum[c] = chunk_weigh(row, first, end < n_group ? end : n_group, scale, weight);
    total += (double)sum[c];
  }
  return total;
}

static double pass_mass(const struct logit_row *row, const float *weight, float x_floor, float floor) {
  double mass = 0;
  for (int g = 0; g < row_groups(row->n); g++)
    if (row->group_max[g] >= x_floor) mass += (double)group_sum(weight + g * ROW_GROUP, floor);
  return mass;
}

static void pass_mask(const float *x, int n, const uint32_t *mask, float *out) {
  for (int i = 0; i < n; i++) out[i] = mask[i / 32] >> (i % 32) & 1 ? x[i] : -INFINITY;
}

const struct row_passes ROW_PASSES = {pass_max, pass_weigh, pass_mass, pass_mask};
