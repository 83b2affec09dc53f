/* Parts of a tile of integers times blocks of rows on AMX: what kernels_amx.c is made of. Its files of vectors and
 * units come before. */
#include <immintrin.h>

/* Registers of the unit, as macros because their intrinsics paste the numbers. */
#define CODES       0 /* 4 columns × 16 rows of the weight in each row */
#define ACTIVATIONS 1
#define DOTS        2 /* and the three after it */
enum { DOT_TILES = 4 };

/* A part of a tile of the weight, beside the arranged_part of the rows. */
struct tile_part {
  uint8_t codes[UNIT_QUADS][PLANE_BYTES]; /* signed for centred forms */
  float scale[TILE_ROWS], min[TILE_ROWS];
};

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

typedef void tile_arrange(const struct cpu_layout *, const uint8_t *tile, const struct depth *, struct tile_part *);

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
ARRANGE(int2_1_book, 2, 1, true, true)
ARRANGE(int4_book, 4, 0, true, true)
ARRANGE(int8, 8, 0, false, true)
ARRANGE(int8_min, 8, 0, false, false)

static tile_arrange *tile_arrange_of(const struct scheme *s) {
  static tile_arrange *const low2[] = {int2, int2_1, int2_2}, *const low4[] = {int4, int4_1, int4_2};
  if (s->bits == 8) return s->has_min ? int8_min : int8;
  if (s->codebook) return s->bits == 4 ? int4_book : int2_1_book;
  return s->bits == 4 ? low4[s->high_bits] : low2[s->high_bits];
}

/* --- multiplying -------------------------------------------------------------------------------------------------- */

static ALWAYS_INLINE void dots_start(bool centred, int part_cols, const struct arranged_part *row,
                                     const struct tile_part *tile) {
  _tile_loadd(ACTIVATIONS, row->q, part_cols);
  _tile_loadd(CODES, tile->codes, PLANE_BYTES);
  _tile_zero(DOTS);
  if (centred)
    _tile_dpbssd(DOTS, ACTIVATIONS, CODES);
  else
    _tile_dpbsud(DOTS, ACTIVATIONS, CODES);
}

/* The first n of a block of rows times the parts of a tile, added to sums. The unit works on a part while the one
 * before is stored and the one before that is scaled; meanwhile the memory is asked for what is arranged next. */
static ALWAYS_INLINE void rows_multiply(bool centred, const int n, const struct depth *depth,
                                        const struct arranged_part *row, const struct tile_part *tile,
                                        int32_t dots[DOT_TILES][ARRANGED_ROWS][TILE_ROWS], struct ahead ahead,
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
      vfloat dot = _mm512_cvtepi32_ps(_mm512_load_si512(dots[(p - 1) & 1][r]));
      if (!centred) sum[r] = vfloat_fma(min, vfloat_set(x->base[r]), sum[r]);
      sum[r] = vfloat_fma(vfloat_mul(scale, vfloat_set(x->scale[r])), dot, sum[r]);
    }
  }
  UNROLL(16)
  for (int r = 0; r < n; r++) vfloat_store(sums[r], sum[r]);
}

#define DOTS_ADD(dots, part)                                                                                           \
  _tile_loadd(ACTIVATIONS, row[part].q, UNIT_COLS);                                                                    \
  _tile_loadd(CODES, tile[part].codes, PLANE_BYTES);                                                                   \
  _tile_dpbssd(dots, ACTIVATIONS, CODES)

/* The dots of some parts, in four sums, as each product waits for the one before it in its sum. */
static ALWAYS_INLINE void segment_dots(int count, const struct arranged_part *row, const struct tile_part *tile,
                                       int32_t dots[DOT_TILES][ARRANGED_ROWS][TILE_ROWS]) {
  int p = 0;
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (; p + DOT_TILES <= count; p += DOT_TILES) {
    DOTS_ADD(2, p);
    DOTS_ADD(3, p + 1);
    DOTS_ADD(4, p + 2);
    DOTS_ADD(5, p + 3);
  }
  for (; p < count; p++) {
    DOTS_ADD(2, p);
  }
  _tile_stored(2, dots[0], sizeof **dots);
  _tile_stored(3, dots[1], sizeof **dots);
  _tile_stored(4, dots[2], sizeof **dots);
  _tile_stored(5, dots[3], sizeof **dots);
}

/* rows_multiply where a whole segment has one scale (scheme_has_segments), which is all of the depth that is arranged.
 */
static void multiply_segment(const struct depth *depth, const struct arranged_part *row, const struct tile_part *tile,
                             int32_t dots[DOT_TILES][ARRANGED_ROWS][TILE_ROWS], struct ahead ahead, tile_sums *sums) {
  segment_dots(depth->count, row, tile, dots);
  for (size_t line = 0; line < ahead.part_bytes * depth->count; line += LINE_BYTES)
    __builtin_prefetch(ahead.next + line);
  vfloat scale = vfloat_load(tile->scale);
  for (int r = 0; r < ARRANGED_ROWS; r++) {
    __m512i pair = _mm512_add_epi32(_mm512_load_si512(dots[0][r]), _mm512_load_si512(dots[1][r]));
    __m512i other = _mm512_add_epi32(_mm512_load_si512(dots[2][r]), _mm512_load_si512(dots[3][r]));
    vfloat dot = _mm512_cvtepi32_ps(_mm512_add_epi32(pair, other));
    vfloat sum = depth->first ? vfloat_load(sums[r]) : vfloat_set(0);
    vfloat_store(sums[r], vfloat_fma(vfloat_mul(scale, vfloat_set(row->scale[r])), dot, sum));
  }
}

typedef void block_multiply(const struct depth *depth, const struct arranged_part *row, const struct tile_part *tile,
                            int32_t dots[DOT_TILES][ARRANGED_ROWS][TILE_ROWS], struct ahead ahead, tile_sums *sums);

#define MULTIPLY(name, centred, n)                                                                                     \
  static void name(const struct depth *depth, const struct arranged_part *row, const struct tile_part *tile,           \
                   int32_t dots[DOT_TILES][ARRANGED_ROWS][TILE_ROWS], struct ahead ahead, tile_sums *sums) {           \
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

static void unit_load_config(const struct tile_config *config) {
  __asm__ volatile("" : : "r"(config) : "memory"); /* the intrinsics tell compilers little of what they read */
  _tile_loadconfig(config);
}

static void unit_configure(int n_part) {
  struct tile_config config = {.palette = 1,
                               .row_bytes = {[CODES] = PLANE_BYTES, [ACTIVATIONS] = (uint16_t)(UNIT_COLS / n_part)},
                               .rows = {[CODES] = (uint8_t)(UNIT_QUADS / n_part), [ACTIVATIONS] = ARRANGED_ROWS}};
  for (int i = DOTS; i < DOTS + DOT_TILES; i++) {
    config.row_bytes[i] = TILE_ROWS * sizeof(int32_t);
    config.rows[i] = ARRANGED_ROWS;
  }
  unit_load_config(&config);
}
