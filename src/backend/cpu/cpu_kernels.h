/* The seam between the CPU program (what runs when, on which thread) and its kernels (one set per instruction set).
 * Kernels never start threads, allocate or block; a call works on the part of the output it is given. */
#ifndef SPATE_BACKEND_CPU_KERNELS_H
#define SPATE_BACKEND_CPU_KERNELS_H

#include "backend/cpu/adapter_factors.h"
#include "backend/cpu/attend_work.h"
#include "backend/cpu/cpu_layout.h"
#include "plan/plan.h"

/* Activation rows as the linear of the same kernel set wants them: floats, zeros after them to a whole unit, or units
 * of 32 int8 with scale and sums, and words where the set multiplies those. The layout has the size of a row. */
struct linear_input {
  const void *rows; /* n_row prepared rows */
  size_t row_bytes; /* multiple of 64 */
  int n_row;
  const uint8_t *arranged; /* the rows once more, in blocks of ARRANGED_ROWS; NULL: only as they are */
};

/* What happens to a product before it is stored, in this order: adapters, bias, limit, act, × (up + up_add) if gated,
 * scale, softcap, × or + residual. Indices are output columns (after gating), but for the bias. */
struct linear_tail {
  const float *bias;                  /* [rows of the weight] in packed row order, or NULL */
  const float *residual;              /* added or multiplied last, or NULL; may alias out */
  size_t residual_stride;             /* floats */
  const struct adapter_use *adapters; /* [row][ROW_LORAS]; NULL: no row has one */
  const int32_t *place;               /* [row] of the input: that of out and residual; NULL: the same */
  float scale, softcap;               /* 1 and 0 change nothing */
  float limit, up_add;                /* if gated; 0 changes nothing */
  int out_cols;                       /* columns of out: what a last tile has beyond them is not stored */
  uint8_t act;                        /* enum act_kind */
  bool gated, multiply;
};

struct kernel_set {
  const char *name; /* for SPATE_ISA and people */
  bool (*available)(void);
  bool rounds_bf16; /* linears of bf16 weights have their input rounded to bf16 */

  /* y = x·norm weight / rms(x) for one row; weight NULL: plain copy. */
  void (*rms_norm)(const float *x, const float *weight, int cols, float eps, float *y);
  /* y = (x − mean) / deviation × weight + weight[cols …] for one row. */
  void (*layer_norm)(const float *x, const float *weight, int cols, float eps, float *y);
  /* One row of floats into its prepared form. */
  void (*prepare)(const struct cpu_layout *layout, const float *x, void *row);

  /* Up to ARRANGED_ROWS prepared rows into a block of the form that this set multiplies faster when there are at least
   * arrange_from rows, to layout->arranged_bytes at a multiple of 64; NULL: none. */
  void (*arrange)(const struct cpu_layout *layout, const void *rows, int n_row, void *block);
  int arrange_from;

  /* Tiles [first, first + count) of a packed weight times every prepared row; stores out[row][column], where out and
   * residual are of the whole matrix, whatever `first` is. For a gated weight tiles come in pairs (gate, up): first and
   * count are even. Which sums are formed in which order depends on the row alone: never on n_row, first or count. */
  void (*linear)(const struct cpu_layout *layout, const uint8_t *packed, int first, int count,
                 const struct linear_input *input, const struct linear_tail *tail, float *out, size_t out_stride);

  /* Rows [first, first + count) of an adapter's a, multiples of FACTOR_ROWS, times n ≤ SHRINK_TOKENS inputs. Each sum
   * is formed in one order, whatever n, first and count are. */
  void (*shrink)(const struct adapter_factors *factors, int first, int count, const struct shrink_row *rows, int n);

  struct attend_kernels attend;
};

/* The kernel sets of this binary, best first, NULL at the end. Not all need be available on this machine. */
extern const struct kernel_set *const kernel_sets[];

/* The one to use: `isa` by name, or NULL for the best that the machine has (SPATE_ISA in the environment wins). NULL if
 * there is no such set or the machine lacks its instructions. */
const struct kernel_set *kernel_set_choose(const char *isa, struct error *error);

#endif
