/* Tiles of integers times activation rows. Part of kernels_template.h. */

/* A row's sum and one part more of it. The product of the scales does not wait for the dot. */
static ALWAYS_INLINE vfloat scaled_add(vfloat sum, vfloat scale, vfloat dot, const struct activation_unit *x) {
  return vfloat_fma(vfloat_mul(scale, vfloat_set(x->scale)), dot, sum);
}

#include "backend/cpu/segment_template.h"

static ALWAYS_INLINE vfloat part_add(struct code_form form, vfloat sum, struct affine group, vfloat dot,
                                     const struct activation_unit *x, int n_part, int part) {
  vfloat base = vfloat_set(n_part == 2 ? x->half[part] : x->sum);
  if (form.centred)
    dot = vfloat_sub(dot, base);
  else
    sum = vfloat_fma(group.min, base, sum);
  return form.segments ? vfloat_add(sum, dot) : scaled_add(sum, group.scale, dot, x);
}

/* Adds some vectors of a unit times n rows to their sums. Dot k is of row k / n_held and vector k % n_held. */
static ALWAYS_INLINE void dots_add(struct code_form form, int n_part, int n_held,
                                   const vbytes codes[VECTORS_TOGETHER * UNIT_QUADS],
                                   const struct affine affine[VECTORS_TOGETHER * 2], struct row_view rows, int n,
                                   float *sums[VECTORS_TOGETHER], int first) {
  const int part_quads = UNIT_QUADS / n_part, width = form_width(form);
  vfloat sum[ROWS_TOGETHER * VECTORS_TOGETHER];
  const void *row[ROWS_TOGETHER];
  rows_take(rows, n, row);
  UNROLL(2)
  for (int part = 0; part < n_part; part++) {
    struct vdot dot[ROWS_TOGETHER * VECTORS_TOGETHER] = {0};
    UNROLL(8)
    for (int i = 0; i < part_quads; i++) {
      int quad = part * part_quads + i;
      UNROLL(8)
      for (int k = 0; k < n * n_held; k++) {
        const struct activation_unit *x = row[k / n_held];
        dot[k] = vdot_step(dot[k], i, codes[k % n_held * UNIT_QUADS + quad], x->q + 4 * quad, width);
      }
    }
    UNROLL(8)
    for (int k = 0; k < n * n_held; k++) {
      float *at = sums[k % n_held] + (first + k / n_held) * TILE_ROWS;
      sum[k] = part_add(form, part ? sum[k] : vfloat_load(at), affine[k % n_held * 2 + part],
                        vdot_float(dot[k], part_quads, width), row[k / n_held], n_part, part);
      if (part == n_part - 1) vfloat_store(at, sum[k]);
    }
  }
}

/* Vectors [first, first + n) of a unit of tiles side by side: their codes and scales. */
static ALWAYS_INLINE void vectors_take(struct code_form form, int n_part, struct unit_view unit, int first, int n,
                                       vbytes codes[VECTORS_TOGETHER * UNIT_QUADS],
                                       struct affine affine[VECTORS_TOGETHER * 2]) {
  UNROLL(16)
  for (int k = 0; k < n * UNIT_QUADS; k++) {
    int vector = first + k / UNIT_QUADS;
    codes[k] = unit_quad(form, unit_beside(unit, vector / VECTORS), k % UNIT_QUADS, vector % VECTORS);
  }
  UNROLL(4)
  for (int k = 0; k < n * 2; k++) {
    int vector = first + k / 2, group = part_group(unit, n_part, n_part == 2 ? k % 2 : 0);
    affine[k] = affine_load(unit_beside(unit, vector / VECTORS), group, vector % VECTORS);
  }
}

/* Adds a unit of one tile or of TILES_TOGETHER times each row to the sums: some rows at a time, so that their chains of
 * instructions overlap. */
static ALWAYS_INLINE void unit_rows(struct code_form form, int n_part, int n_tile, struct unit_view unit,
                                    struct row_view rows, tile_sums *sums) {
  const int n_vector = n_tile * VECTORS;
  const int n_held = n_vector < VECTORS_TOGETHER ? n_vector : VECTORS_TOGETHER;
  UNROLL(VECTOR_UNROLL)
  for (int vector = 0; vector < n_vector; vector += n_held) {
    vbytes codes[VECTORS_TOGETHER * UNIT_QUADS];
    struct affine affine[VECTORS_TOGETHER * 2];
    float *at[VECTORS_TOGETHER];
    vectors_take(form, n_part, unit, vector, n_held, codes, affine);
    UNROLL(2)
    for (int h = 0; h < n_held; h++) at[h] = sums[(vector + h) / VECTORS * rows.n] + (vector + h) % VECTORS * LANES;
    struct row_view left = rows;
    int i = 0;
    for (; i + ROWS_TOGETHER <= rows.n; i += ROWS_TOGETHER, left.first += ROWS_TOGETHER * rows.stride)
      dots_add(form, n_part, n_held, codes, affine, left, ROWS_TOGETHER, at, i);
    for (; i < rows.n; i++, left.first += rows.stride) dots_add(form, n_part, n_held, codes, affine, left, 1, at, i);
  }
}

/* The same for one row and all vectors of the tile at once; the sums stay in registers. */
static ALWAYS_INLINE void unit_lone(struct code_form form, int n_part, struct unit_view unit,
                                    const struct activation_unit *x, vfloat sum[VECTORS]) {
  const int part_quads = UNIT_QUADS / n_part, width = form_width(form);
  UNROLL(2)
  for (int part = 0; part < n_part; part++) {
    struct vdot dot[VECTORS] = {0};
    UNROLL(8)
    for (int i = 0; i < part_quads; i++) {
      int quad = part * part_quads + i;
      UNROLL(VECTOR_UNROLL)
      for (int v = 0; v < VECTORS; v++)
        dot[v] = vdot_step(dot[v], i, unit_quad(form, unit, quad, v), x->q + 4 * quad, width);
    }
    UNROLL(VECTOR_UNROLL)
    for (int v = 0; v < VECTORS; v++) {
      struct affine affine = affine_load(unit, part_group(unit, n_part, part), v);
      sum[v] = part_add(form, sum[v], affine, vdot_float(dot[v], part_quads, width), x, n_part, part);
    }
  }
}

#ifdef WORD_KERNELS
#include "backend/cpu/words_template.h"
#endif

static ALWAYS_INLINE void tiles_integers(struct code_form form, int n_part, int n_tile, const struct cpu_layout *layout,
                                         const uint8_t *tile, struct row_view rows, tile_sums *sums) {
  uint8_t book[CODEBOOK_ENTRIES];
  if (form.codebook) book_bytes(&layout->scheme, book);
  tile_sums segment[SUM_ROWS], *to = form.segments ? segment : sums;
  if (form.segments) memset(segment, 0, (size_t)n_tile * rows.n * sizeof *segment);
  for (int at = 0; at < layout->n_unit; tile += layout->block_bytes) {
    for (int u = 0; u < layout->block_units && at < layout->n_unit; u++, at++) {
      struct unit_view unit = {layout, book, tile, u};
#ifdef WORD_KERNELS
      if (form_width(form) == 8)
        unit_rows_words(form, n_part, unit, at, rows, to);
      else
#endif
        unit_rows(form, n_part, n_tile, unit, rows, to);
      if (segment_ends(form, layout, at)) segment_end(n_tile, layout, tile, rows, segment, sums);
      rows.first += sizeof(struct activation_unit);
    }
  }
}

/* Past the end of the weights it asks for nothing. */
static ALWAYS_INLINE void lines_ask(const uint8_t *from, size_t bytes) {
  for (size_t line = 0; line < bytes; line += PLANE_BYTES) __builtin_prefetch(from + line);
}

static ALWAYS_INLINE void tile_lone(struct code_form form, int n_part, const struct cpu_layout *layout,
                                    const uint8_t *tile, const struct activation_unit *x, float sums[TILE_ROWS]) {
  uint8_t book[CODEBOOK_ENTRIES];
  if (form.codebook) book_bytes(&layout->scheme, book);
  vfloat sum[VECTORS], whole_sum[VECTORS];
  UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) sum[v] = whole_sum[v] = vfloat_set(0);
  const size_t plane_bytes = (size_t)(form.bits + form.high_bits) * PLANE_BYTES;
  const bool whole = layout->scheme.group != 0; /* blocks are short enough to be asked for as a whole */
  for (int at = 0; at < layout->n_unit; tile += layout->block_bytes) {
    if (whole) lines_ask(tile + AHEAD_BYTES, layout->block_bytes);
    for (int u = 0; u < layout->block_units && at < layout->n_unit; u++, at++) {
      if (!whole) lines_ask(tile + AHEAD_BYTES + u * plane_bytes, plane_bytes);
      struct unit_view unit = {layout, book, tile, u};
      unit_lone(form, n_part, unit, x, sum);
      if (segment_ends(form, layout, at)) segment_end_lone(unit, x, sum, whole_sum);
      x++;
    }
  }
  UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) vfloat_store(sums + v * LANES, form.segments ? whole_sum[v] : sum[v]);
}

/* The exact mode of integer weights: each unit to floats first. Slow; for measuring what int8 activations lose. */
static ALWAYS_INLINE void unit_floats(struct code_form form, struct unit_view unit,
                                      float values[UNIT_COLS][TILE_ROWS]) {
  for (int v = 0; v < VECTORS; v++) {
    UNROLL(8)
    for (int quad = 0; quad < UNIT_QUADS; quad++) {
      vbytes codes = unit_quad(form, unit, quad, v);
      struct affine group =
          affine_load(unit, scheme_group_of(&unit.layout->scheme, unit.index * UNIT_COLS + 4 * quad), v);
      UNROLL(4)
      for (int j = 0; j < 4; j++)
        vfloat_store(values[4 * quad + j] + v * LANES, vfloat_fma(group.scale, vfloat_from_byte(codes, j), group.min));
    }
  }
}

static ALWAYS_INLINE void tile_exact(struct code_form form, const struct cpu_layout *layout, const uint8_t *tile,
                                     struct row_view rows, tile_sums *sums) {
  uint8_t book[CODEBOOK_ENTRIES];
  if (form.codebook) book_bytes(&layout->scheme, book);
  for (int at = 0; at < layout->n_unit; at++, rows.first += UNIT_COLS * sizeof(float)) {
    float values[UNIT_COLS][TILE_ROWS];
    const uint8_t *block = tile + (size_t)(at / layout->block_units) * layout->block_bytes;
    unit_floats(form, (struct unit_view){layout, book, block, at % layout->block_units}, values);
    block_rows(SCHEME_F32, 1, (struct float_unit){(const uint8_t *)values, NULL}, 0, rows, sums);
  }
}

static ALWAYS_INLINE void integer_kernel(struct code_form form, int n_part, const struct cpu_layout *layout,
                                         const uint8_t *tile, int n_tile, struct row_view rows, tile_sums *sums) {
  if (rows.n == 1)
    tile_lone(form, n_part, layout, tile, (const void *)rows.first, sums[0]);
  else if (TILES_TOGETHER == 1 || n_tile == TILES_TOGETHER)
    tiles_integers(form, n_part, TILES_TOGETHER, layout, tile, rows, sums);
  else
    tiles_integers(form, n_part, 1, layout, tile, rows, sums);
}

/* A kernel for one form of codes, with one scale or two for each unit. */
#define INTEGER_KERNEL(name, low_bits, up_bits, book, whether_centred)                                                 \
  static void name(const struct cpu_layout *layout, const uint8_t *tile, int n_tile, struct row_view rows,             \
                   tile_sums *sums, const struct tile_end *end) {                                                      \
    (void)end;                                                                                                         \
    const struct code_form form = {                                                                                    \
        .bits = low_bits, .high_bits = up_bits, .codebook = book, .centred = whether_centred};                         \
    if (layout->scheme.activation == ACTIVATION_FLOAT)                                                                 \
      tile_exact(form, layout, tile, rows, sums);                                                                      \
    else if (unit_parts(layout) == 2)                                                                                  \
      integer_kernel(form, 2, layout, tile, n_tile, rows, sums);                                                       \
    else                                                                                                               \
      integer_kernel(form, 1, layout, tile, n_tile, rows, sums);                                                       \
  }

INTEGER_KERNEL(int2, 2, 0, false, false)
INTEGER_KERNEL(int2_1, 2, 1, false, false)
INTEGER_KERNEL(int2_2, 2, 2, false, false)
INTEGER_KERNEL(int4, 4, 0, false, false)
INTEGER_KERNEL(int4_1, 4, 1, false, false)
INTEGER_KERNEL(int4_2, 4, 2, false, false)
INTEGER_KERNEL(int2_1_book, 2, 1, true, true)
INTEGER_KERNEL(int4_book, 4, 0, true, true)
INTEGER_KERNEL(int8, 8, 0, false, true)
INTEGER_KERNEL(int8_min, 8, 0, false, false)

static void int8_segments(const struct cpu_layout *layout, const uint8_t *tile, int n_tile, struct row_view rows,
                          tile_sums *sums, const struct tile_end *end) {
  (void)end;
  integer_kernel((struct code_form){.bits = 8, .centred = true, .segments = true}, 1, layout, tile, n_tile, rows, sums);
}

static tile_kernel *integer_kernel_of(const struct scheme *s) {
  static tile_kernel *const low2[] = {int2, int2_1, int2_2}, *const low4[] = {int4, int4_1, int4_2};
  if (scheme_has_segments(s)) return int8_segments;
  if (s->bits == 8) return s->has_min ? int8_min : int8;
  if (s->codebook) return s->bits == 4 ? int4_book : int2_1_book;
  return s->bits == 4 ? low4[s->high_bits] : low2[s->high_bits];
}
