/* Passes over rows for any machine, and the choice among all. */
#define ROW_PASSES row_passes_baseline
extern const struct row_passes row_passes_baseline, row_passes_avx2, row_passes_avx512;
#include "backend/row_passes_template.h"

float row_exp2(float x) {
  float weight;
  block_exp2(&x, 1, 0, 1, &weight);
  return weight;
}

const struct row_passes *row_passes_choose(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return &row_passes_avx512;
  if (__builtin_cpu_supports("avx2")) return &row_passes_avx2;
#endif
  return &row_passes_baseline;
}
