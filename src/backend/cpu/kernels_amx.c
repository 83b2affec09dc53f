/* The kernel set for x86-64 with AMX: integer weights times several rows go through the matrix unit as tiles of 16 rows
 * × 16 columns, and so does attention over a cache in bf16 or in codes; all else is the AVX-512 set's. Dots of integers
 * are exact there too and are scaled in the same order, so a row's bytes are those of the AVX-512 set, whichever of the
 * two multiplied it. Such attention has bytes of its own, the same for any number of queries.
 *
 * What bounds linears is the scaling: while the matrix unit is in use, one port multiplies floats and converts to them,
 * where otherwise two do (SPEED.md). */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_avx512.h"

#include "backend/cpu/cpu_kernels.h"
#include "base/half.h"

#include <cpuid.h>
#include <math.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/cpu/function_template.h"
#include "backend/cpu/tile_template.h"
#include "backend/cpu/unit_template.h"
#include "backend/cpu/adapter_template.h"
#include "backend/cpu/tail_template.h"
#include "backend/cpu/amx_template.h"
#include "backend/cpu/attend_state_template.h"
#include "backend/cpu/attend_unit_template.h"
#include "backend/cpu/attend_codes_amx_template.h"
#include "backend/cpu/attend_quads_amx_template.h"
#include "backend/cpu/attend_amx_template.h"
#include "backend/cpu/attend_template.h"

extern const struct kernel_set kernel_set_avx512;

enum {
  LEAST_ROWS = 12,              /* fewer rows are faster without the unit */
  GROUP_ROWS = 64,              /* rows that the parts of a tile are arranged for at a time */
  GROUP_SUMS = 24 * GROUP_ROWS, /* rows × tiles whose sums are held meanwhile */
  DEPTH_PARTS = SEGMENT_UNITS,  /* parts of a tile that are arranged at a time; even */
};

/* Everything that a product arranges; on the stack of the thread. */
struct workplace {
  struct tile_part tile[DEPTH_PARTS];
  int32_t dots[DOT_TILES][ARRANGED_ROWS][TILE_ROWS];
  tile_sums sums[GROUP_SUMS];
} __attribute__((aligned(LINE_BYTES)));

/* Rows beyond the last are copies of the first: their sums are not used. */
static void arrange(const struct cpu_layout *layout, const void *rows, int n_row, void *block) {
  struct arranged_part *to = block;
  int n_part = unit_parts(layout), part_cols = UNIT_COLS / n_part;
  for (int part = 0; part < layout->n_unit * n_part; part++, to++) {
    const struct activation_unit *first = (const struct activation_unit *)rows + part / n_part;
    int half = part % n_part;
    for (int r = 0; r < ARRANGED_ROWS; r++) {
      const struct activation_unit *x =
          (const void *)((const uint8_t *)first + (r < n_row ? (size_t)r * layout->row_bytes : 0));
      memcpy(to->q + r * part_cols, x->q + half * part_cols, (size_t)part_cols);
      to->scale[r] = x->scale;
      to->base[r] = n_part == 2 ? x->half[half] : x->sum;
    }
  }
}

/* A product on its way: its operands, and where it arranges them. */
struct product {
  const struct cpu_layout *layout;
  const struct linear_tail *tail;
  tile_arrange *arrange;
  block_multiply *multiply[2]; /* a whole block of rows, half of one */
  int n_part, parts;           /* of a unit, of the depth */
  size_t part_bytes;
  float *out;
  size_t out_stride;
  struct workplace *work;
};

static int whole_blocks(int n_row) { return (n_row + ARRANGED_ROWS - 1) / ARRANGED_ROWS * ARRANGED_ROWS; }

static struct product product_make(const struct cpu_layout *layout, const struct linear_tail *tail,
                                   struct workplace *work) {
  int n_part = unit_parts(layout);
  bool centred = scheme_is_centred(&layout->scheme);
  struct product product = {
      .layout = layout,
      .tail = tail,
      .arrange = tile_arrange_of(&layout->scheme),
      .multiply = {centred ? multiply_centred_16 : multiply_16, centred ? multiply_centred_8 : multiply_8},
      .n_part = n_part,
      .parts = layout->n_unit * n_part,
      .part_bytes = layout->block_bytes / (size_t)(layout->block_units * n_part),
      .work = work,
  };
  if (scheme_has_segments(&layout->scheme)) product.multiply[0] = product.multiply[1] = multiply_segment;
  return product;
}

/* Rows of a product whose sums are held at a time. */
struct rows {
  const uint8_t *arranged;
  int first, n; /* of all, for the output */
};

/* A tile times some rows. */
static void tile_multiply(const struct product *p, const uint8_t *tile, struct rows rows, const struct depth *depth,
                          tile_sums *sums) {
  struct workplace *work = p->work;
  p->arrange(p->layout, tile, depth, work->tile);
  __asm__ volatile("" : : "r"(work) : "memory");
  struct ahead ahead = {tile + p->layout->tile_bytes + (size_t)depth->first * p->part_bytes, p->part_bytes};
  for (int row = 0; row < rows.n; row += ARRANGED_ROWS, rows.arranged += p->layout->arranged_bytes) {
    bool few = rows.n - row <= ARRANGED_ROWS / 2;
    block_multiply *multiply = p->multiply[few];
    multiply(depth, (const struct arranged_part *)(const void *)rows.arranged + depth->first, work->tile, work->dots,
             ahead, sums + row);
    ahead.part_bytes = 0;
  }
}

/* Tiles [first, end) times some rows. The sums of each tile wait for the next part of the depth; where there is only
 * one, they are stored at once, while they are in the first-level cache. */
static void group_multiply(const struct product *p, const uint8_t *packed, int first, int end, struct rows rows) {
  int pair = p->tail->gated ? 2 : 1, places = whole_blocks(rows.n);
  bool whole = p->parts <= DEPTH_PARTS;
  for (struct depth depth = {.n_part = p->n_part}; depth.first < p->parts; depth.first += DEPTH_PARTS) {
    depth.count = p->parts - depth.first < DEPTH_PARTS ? p->parts - depth.first : DEPTH_PARTS;
    for (int tile = first; tile < end; tile++) {
      int in_pair = (tile - first) % pair;
      tile_sums *sums = p->work->sums + (whole ? 0 : tile - first - in_pair) * places;
      tile_multiply(p, packed + tile * p->layout->tile_bytes, rows, &depth, sums + in_pair * places);
      if (depth.first + depth.count == p->parts && in_pair == pair - 1)
        tail_store(p->layout, p->tail, tile - in_pair, sums, places, rows.first, rows.n, p->out, p->out_stride);
    }
  }
}

static void linear(const struct cpu_layout *layout, const uint8_t *packed, int first, int count,
                   const struct linear_input *input, const struct linear_tail *tail, float *out, size_t out_stride) {
  if (!input->arranged) {
    kernel_set_avx512.linear(layout, packed, first, count, input, tail, out, out_stride);
    return;
  }
  struct workplace work;
  struct product product = product_make(layout, tail, &work);
  product.out = out, product.out_stride = out_stride;
  int end = first + count;
  unit_configure(product.n_part);
  for (int row = 0; row < input->n_row; row += GROUP_ROWS) {
    struct rows rows = {input->arranged + (size_t)(row / ARRANGED_ROWS) * layout->arranged_bytes, row, GROUP_ROWS};
    if (rows.n > input->n_row - row) rows.n = input->n_row - row;
    int step = GROUP_SUMS / whole_blocks(rows.n); /* even, so that pairs stay together */
    for (int tile = first; tile < end; tile += step)
      group_multiply(&product, packed, tile, end - tile < step ? end : tile + step, rows);
  }
  _tile_release();
}

/* --- the set ------------------------------------------------------------------------------------------------------ */

static void rms_norm(const float *x, const float *weight, int cols, float eps, float *y) {
  kernel_set_avx512.rms_norm(x, weight, cols, eps, y);
}

static void layer_norm(const float *x, const float *weight, int cols, float eps, float *y) {
  kernel_set_avx512.layer_norm(x, weight, cols, eps, y);
}

static void prepare(const struct cpu_layout *layout, const float *x, void *row) {
  kernel_set_avx512.prepare(layout, x, row);
}

static void attend_units(const struct attend_work *work) {
  if (work->kv.layout->dtype <= KV_F16) {
    kernel_set_avx512.attend.attend(work);
    return;
  }
  int n_query = work->n_token * work->n_head;
  attend_configure(work->kv.layout->dtype == KV_INT8 ? 2 * n_query : n_query);
  attend(work);
  _tile_release();
}

static void attend_store(const struct attend_rows *rows) { kernel_set_avx512.attend.store(rows); }

static float narrow(const float *from, int n, uint8_t dtype, void *to) {
  return kernel_set_avx512.attend.narrow(from, n, dtype, to);
}

/* The CPU has the unit, and the kernel lets this process use it: its registers are saved only for those who ask. */
static bool amx_available(void) {
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
  unsigned a, b, c, d;
  if (!kernel_set_avx512.available() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  bool has_tiles = d >> 24 & 1, has_int8 = d >> 25 & 1, has_bf16 = d >> 22 & 1;
  return has_tiles && has_int8 && has_bf16 && __builtin_cpu_supports("avx512bf16") &&
         __builtin_cpu_supports("avx512vbmi") && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

const struct kernel_set kernel_set_amx = {
    .name = "amx",
    .available = amx_available,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .prepare = prepare,
    .arrange = arrange,
    .arrange_from = LEAST_ROWS,
    .linear = linear,
    .shrink = shrink,
    .attend = {attend_units, attend_store, narrow, .quads = true, .pairs = true},
};
