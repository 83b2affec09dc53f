/* The kernel set for x86-64 with AMX: integer weights times several rows go through the matrix unit as tiles of 16 rows
 * × 16 columns; all else is the AVX-512 set's. Dots are exact there too and are scaled in the same order, so a row's
 * bytes are those of the AVX-512 set, whichever of the two multiplied it.
 *
 * While the matrix unit is in use, floats are multiplied by one port instead of two, but still added by another: so a
 * dot starts from the bits of 1.5 × 2^23 and is a float as soon as that is subtracted, without a conversion, and the
 * unit works on a part of the depth while the part before is stored and the one before that is scaled. */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_avx512.h"

#include "backend/cpu/cpu_kernels.h"
#include "base/half.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/cpu/function_template.h"
#include "backend/cpu/tile_template.h"
#include "backend/cpu/unit_template.h"
#include "backend/cpu/tail_template.h"

extern const struct kernel_set kernel_set_avx512;

/* Registers of the unit, as macros because their intrinsics paste the numbers. */
#define CODES       0 /* 4 columns × 16 rows of the weight in each row */
#define ACTIVATIONS 1
#define DOTS        2

enum {
  LEAST_ROWS = 14,              /* fewer rows are faster without the unit */
  GROUP_ROWS = 64,              /* rows that the parts of a tile are arranged for at a time */
  GROUP_SUMS = 24 * GROUP_ROWS, /* rows × tiles whose sums are held meanwhile */
  DEPTH_PARTS = 32,             /* parts of a tile that are arranged at a time; even */
};

/* A part of a tile of the weight, beside the arranged_part of the rows. */
struct tile_part {
  uint8_t codes[UNIT_QUADS][PLANE_BYTES]; /* signed for centred forms */
  float scale[TILE_ROWS], min[TILE_ROWS];
};

/* Everything that a product arranges; on the stack of the thread. */
struct workplace {
  struct tile_part tile[DEPTH_PARTS];
  uint32_t dots[2][ARRANGED_ROWS][TILE_ROWS];
  tile_sums sums[GROUP_SUMS];
} __attribute__((aligned(LINE_BYTES)));

/* Some parts of the depth. */
struct depth {
  int first, count; /* parts */
  int n_part;       /* of a unit */
};

/* What to ask the memory for while a part is multiplied. */
struct ahead {
  const uint8_t *next;
  size_t part_bytes;
};

/* --- arranging ---------------------------------------------------------------------------------------------------- */

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

static ALWAYS_INLINE void parts_arrange(struct code_form form, int n_part, const struct cpu_layout *layout,
                                        const uint8_t *tile, const struct depth *depth, struct tile_part *to) {
  const int part_quads = UNIT_QUADS / n_part;
  uint8_t book[CODEBOOK_ENTRIES];
  if (form.codebook) book_bytes(&layout->scheme, book);
  for (int at = depth->first / n_part, end = (depth->first + depth->count) / n_part; at < end; at++) {
    const uint8_t *block = tile + (size_t)(at / layout->block_units) * layout->block_bytes;
    struct unit_view unit = {layout, book, block, at % layout->block_units};
    UNROLL(2)
    for (int part = 0; part < n_part; part++, to++) {
      UNROLL(8)
      for (int i = 0; i < part_quads; i++) {
        vbytes codes = unit_quad(form, unit, part * part_quads + i, 0);
        if (form.centred) codes = _mm512_xor_si512(codes, _mm512_set1_epi8((char)128));
        _mm512_store_si512(to->codes[i], codes);
      }
      struct affine affine = affine_load(unit, part_group(unit, n_part, part), 0);
      vfloat_store(to->scale, affine.scale);
      vfloat_store(to->min, affine.min);
    }
  }
}

typedef void tile_arrange(const struct cpu_layout *layout, const uint8_t *tile, const struct depth *depth,
                          struct tile_part *to);

#define ARRANGE(name, low_bits, up_bits, book, whether_centred)                                                        \
  static void name(const struct cpu_layout *layout, const uint8_t *tile, const struct depth *depth,                    \
                   struct tile_part *to) {                                                                             \
    const struct code_form form = {                                                                                    \
        .bits = low_bits, .high_bits = up_bits, .codebook = book, .centred = whether_centred};                         \
    if (depth->n_part == 2)                                                                                            \
      parts_arrange(form, 2, layout, tile, depth, to);                                                                 \
    else                                                                                                               \
      parts_arrange(form, 1, layout, tile, depth, to);                                                                 \
  }

ARRANGE(int2, 2, 0, false, false)
ARRANGE(int2_1, 2, 1, false, false)
ARRANGE(int2_2, 2, 2, false, false)
ARRANGE(int4, 4, 0, false, false)
ARRANGE(int4_1, 4, 1, false, false)
ARRANGE(int4_2, 4, 2, false, false)
ARRANGE(int4_book, 4, 0, true, true)
ARRANGE(int8, 8, 0, false, true)
ARRANGE(int8_min, 8, 0, false, false)

static tile_arrange *tile_arrange_of(const struct scheme *s) {
  static tile_arrange *const low2[] = {int2, int2_1, int2_2}, *const low4[] = {int4, int4_1, int4_2};
  if (s->bits == 8) return s->has_min ? int8_min : int8;
  if (s->codebook) return int4_book;
  return s->bits == 4 ? low4[s->high_bits] : low2[s->high_bits];
}

/* --- multiplying -------------------------------------------------------------------------------------------------- */

#define ZERO_DOT 12582912.0f /* 1.5 × 2²³: an integer of up to 22 bits added to its bits is added to its value */

static const float zero_dots[ARRANGED_ROWS][TILE_ROWS] = {
#define ROW                                                                                                            \
  {                                                                                                                    \
    ZERO_DOT, ZERO_DOT, ZERO_DOT, ZERO_DOT, ZERO_DOT, ZERO_DOT, ZERO_DOT, ZERO_DOT, ZERO_DOT, ZERO_DOT, ZERO_DOT,      \
        ZERO_DOT, ZERO_DOT, ZERO_DOT, ZERO_DOT, ZERO_DOT                                                               \
  }
    ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW,
#undef ROW
};

static ALWAYS_INLINE void dots_start(bool centred, int part_cols, const struct arranged_part *row,
                                     const struct tile_part *tile) {
  _tile_loadd(ACTIVATIONS, row->q, part_cols);
  _tile_loadd(CODES, tile->codes, PLANE_BYTES);
  _tile_loadd(DOTS, zero_dots, sizeof *zero_dots);
  if (centred)
    _tile_dpbssd(DOTS, ACTIVATIONS, CODES);
  else
    _tile_dpbsud(DOTS, ACTIVATIONS, CODES);
}

/* The first n of a block of rows times the parts of a tile, added to sums. Meanwhile the memory is asked for what is
 * arranged next. */
static ALWAYS_INLINE void rows_multiply(bool centred, const int n, const struct depth *depth,
                                        const struct arranged_part *row, const struct tile_part *tile,
                                        uint32_t dots[2][ARRANGED_ROWS][TILE_ROWS], struct ahead ahead,
                                        tile_sums *sums) {
  const int part_cols = UNIT_COLS / depth->n_part;
  vfloat sum[ARRANGED_ROWS];
  UNROLL(16)
  for (int r = 0; r < n; r++) sum[r] = depth->first ? vfloat_load(sums[r]) : vfloat_set(0);
  dots_start(centred, part_cols, row, tile);
  for (int p = 0; p <= depth->count; p++) {
    if (p < depth->count) _tile_stored(DOTS, dots[p & 1], sizeof **dots);
    if (p + 1 < depth->count) dots_start(centred, part_cols, row + p + 1, tile + p + 1);
    for (size_t line = 0; line < ahead.part_bytes; line += LINE_BYTES) __builtin_prefetch(ahead.next + line);
    ahead.next += ahead.part_bytes;
    if (p == 0) continue;
    const struct arranged_part *x = row + p - 1;
    vfloat scale = vfloat_load(tile[p - 1].scale), min = vfloat_load(tile[p - 1].min);
    UNROLL(16)
    for (int r = 0; r < n; r++) {
      vfloat dot = vfloat_sub(vfloat_load((const float *)dots[(p - 1) & 1][r]), vfloat_set(ZERO_DOT));
      if (!centred) sum[r] = vfloat_fma(min, vfloat_set(x->base[r]), sum[r]);
      sum[r] = vfloat_fma(vfloat_mul(scale, vfloat_set(x->scale[r])), dot, sum[r]);
    }
  }
  UNROLL(16)
  for (int r = 0; r < n; r++) vfloat_store(sums[r], sum[r]);
}

typedef void block_multiply(const struct depth *depth, const struct arranged_part *row, const struct tile_part *tile,
                            uint32_t dots[2][ARRANGED_ROWS][TILE_ROWS], struct ahead ahead, tile_sums *sums);

#define MULTIPLY(name, centred, n)                                                                                     \
  static void name(const struct depth *depth, const struct arranged_part *row, const struct tile_part *tile,           \
                   uint32_t dots[2][ARRANGED_ROWS][TILE_ROWS], struct ahead ahead, tile_sums *sums) {                  \
    rows_multiply(centred, n, depth, row, tile, dots, ahead, sums);                                                    \
  }
MULTIPLY(multiply_centred_8, true, 8)
MULTIPLY(multiply_centred_16, true, 16)
MULTIPLY(multiply_8, false, 8)
MULTIPLY(multiply_16, false, 16)

/* How the unit's registers are shaped: LDTILECFG's operand. */
struct tile_config {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

static void unit_configure(int n_part) {
  struct tile_config config = {
      .palette = 1,
      .row_bytes = {[CODES] = PLANE_BYTES, [ACTIVATIONS] = (uint16_t)(UNIT_COLS / n_part), [DOTS] = sizeof *zero_dots},
      .rows = {[CODES] = (uint8_t)(UNIT_QUADS / n_part), [ACTIVATIONS] = ARRANGED_ROWS, [DOTS] = ARRANGED_ROWS}};
  __asm__ volatile("" : : "r"(&config) : "memory"); /* the intrinsics tell compilers little of what they read */
  _tile_loadconfig(&config);
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
  int n_part = unit_parts(layout), end = first + count;
  bool centred = scheme_is_centred(&layout->scheme);
  const struct product product = {
      .layout = layout,
      .tail = tail,
      .arrange = tile_arrange_of(&layout->scheme),
      .multiply = {centred ? multiply_centred_16 : multiply_16, centred ? multiply_centred_8 : multiply_8},
      .n_part = n_part,
      .parts = layout->n_unit * n_part,
      .part_bytes = layout->block_bytes / (size_t)(layout->block_units * n_part),
      .out = out,
      .out_stride = out_stride,
      .work = &work};
  unit_configure(n_part);
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

static void prepare(const struct cpu_layout *layout, const float *x, void *row) {
  kernel_set_avx512.prepare(layout, x, row);
}

static void attend(const struct attend_work *work) { kernel_set_avx512.attend.attend(work); }

static void narrow(const float *from, int n, uint16_t *to) { kernel_set_avx512.attend.narrow(from, n, to); }

/* The CPU has the unit, and the kernel lets this process use it: its registers are saved only for those who ask. */
static bool amx_available(void) {
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
  unsigned a, b, c, d;
  if (!kernel_set_avx512.available() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  bool has_tiles = d >> 24 & 1, has_int8 = d >> 25 & 1;
  return has_tiles && has_int8 && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

const struct kernel_set kernel_set_amx = {
    .name = "amx",
    .available = amx_available,
    .rms_norm = rms_norm,
    .prepare = prepare,
    .arrange = arrange,
    .arrange_from = LEAST_ROWS,
    .linear = linear,
    .attend = {attend, narrow},
};
