/* The kernel set for x86-64 with AVX-512 whose dot product of bf16 pairs does twice a multiply-add's work (AMD from Zen
 * 4 on): linears of bf16 weights take activations rounded to bf16, as GPUs do. All else is the AVX-512 set's. A row's
 * bytes are the same whatever runs beside it, and others than those of the AVX-512 set. */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_avx512.h"

#include "backend/cpu/cpu_kernels.h"
#include "base/half.h"

#include <math.h>

#include "backend/cpu/function_template.h"
#include "backend/cpu/tile_template.h"
#include "backend/cpu/adapter_template.h"
#include "backend/cpu/tail_template.h"
#include "backend/cpu/pairs_template.h"
#include "backend/cpu/linear_template.h"

extern const struct kernel_set kernel_set_avx512;

static void rms_norm(const float *x, const float *weight, int cols, float eps, float *y) {
  kernel_set_avx512.rms_norm(x, weight, cols, eps, y);
}

static void layer_norm(const float *x, const float *weight, int cols, float eps, float *y) {
  kernel_set_avx512.layer_norm(x, weight, cols, eps, y);
}

static void prepare_rows(const struct cpu_layout *layout, const float *x, void *row) {
  if (layout->scheme.kind == SCHEME_BF16)
    prepare_pairs(layout, x, row);
  else
    kernel_set_avx512.prepare(layout, x, row);
}

static void linear_of(const struct cpu_layout *layout, const uint8_t *packed, int first, int count,
                      const struct linear_input *input, const struct linear_tail *tail, float *out, size_t out_stride) {
  if (layout->scheme.kind == SCHEME_BF16)
    linear(layout, packed, first, count, input, tail, out, out_stride);
  else
    kernel_set_avx512.linear(layout, packed, first, count, input, tail, out, out_stride);
}

static void attend_vectors(const struct attend_work *work) { kernel_set_avx512.attend.attend(work); }

static void attend_store(const struct attend_rows *rows) { kernel_set_avx512.attend.store(rows); }

static float narrow(const float *from, int n, uint8_t dtype, void *to) {
  return kernel_set_avx512.attend.narrow(from, n, dtype, to);
}

/* Intel's cores with these dots and without AMX do half as many of them a cycle as multiply-adds. */
static bool avx512bf16_available(void) {
  return kernel_set_avx512.available() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_is("amd");
}

const struct kernel_set kernel_set_avx512bf16 = {
    .name = "avx512bf16",
    .available = avx512bf16_available,
    .rounds_bf16 = true,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .prepare = prepare_rows,
    .linear = linear_of,
    .shrink = shrink,
    .attend = {attend_vectors, attend_store, narrow},
};
