/* Passes for any machine, and the choice among all. */
#define RESIZE_PASSES resize_passes_baseline
extern const struct resize_passes resize_passes_baseline, resize_passes_avx2;
#include "image/resize_passes_template.h"

const struct resize_passes *resize_passes_choose(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return &resize_passes_avx2;
#endif
  return &resize_passes_baseline;
}
