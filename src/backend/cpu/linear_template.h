/* Linears over the packed layout, written once for all instruction sets on the primitives of vector_*.h.
 *
 * With many rows a kernel holds some weights in registers as the dot product wants them and adds their part to the sums
 * of all rows of a block, which stay in the first-level cache: unpacking is paid once for each block of rows. With one
 * row its sums stay in registers instead. Either way a row's sums are formed in the order of the columns, whatever runs
 * beside it. Integers: an exact dot for each unit (half a unit for groups of 16), part = scale × dot + min × sum(q),
 * sum += part × activation scale. Floats: one fused multiply-add for each column. */

enum {
  VECTORS = TILE_ROWS / LANES, /* of a tile */
  VECTOR_BYTES = 4 * LANES,    /* of each 64-byte plane vector */
  SUM_ROWS = 128,              /* rows × tiles that sums are held for at a time */
  ROW_BLOCK_BYTES = 192 << 10, /* activation rows that should stay in the second-level cache */
  AHEAD_BYTES = 3072,          /* what one row asks the memory for in advance: hardware streams stop at 4 KiB pages */
  LONE_TILES = 4,              /* tiles side by side when there is one row of floats: independent chains of sums */
};

typedef float tile_sums[TILE_ROWS];

/* Activation rows of a block, from some unit on. */
struct row_view {
  const uint8_t *first;
  size_t stride;
  int n;
};

static ALWAYS_INLINE const void *row_at(struct row_view rows, int i) { return rows.first + i * rows.stride; }

/* How codes lie in planes: constants for the compiler, one copy of the kernels for each. */
struct code_form {
  int bits, high_bits;
  bool codebook;
};

/* Bits of the unsigned bytes that the dot product sees. */
static ALWAYS_INLINE int form_width(struct code_form form) { return form.codebook ? 8 : form.bits + form.high_bits; }

static ALWAYS_INLINE vbytes plane_quad(const uint8_t *plane, int bits, int quad, int v, int left) {
  int per_vector = 8 / bits;
  vbytes all = vbytes_load(plane + (quad / per_vector) * PLANE_BYTES + v * VECTOR_BYTES);
  if (bits == 8) return all;
  return vbytes_field(all, bits * (quad % per_vector) - left, ((1 << bits) - 1) << left);
}

/* A unit of a tile: where its codes and scales are. */
struct unit_view {
  const struct cpu_layout *layout;
  const uint8_t *book; /* of a codebook form */
  const uint8_t *block;
  int index; /* within the block */
};

/* The same unit of a tile further on. */
static ALWAYS_INLINE struct unit_view unit_beside(struct unit_view unit, int tiles) {
  unit.block += tiles * unit.layout->tile_bytes;
  return unit;
}

/* Four columns of vector v as unsigned bytes. */
static ALWAYS_INLINE vbytes unit_quad(struct code_form form, struct unit_view unit, int quad, int v) {
  const uint8_t *low = unit.block + unit.index * form.bits * PLANE_BYTES;
  const uint8_t *high = unit.block + unit.layout->high_at + unit.index * form.high_bits * PLANE_BYTES;
  vbytes codes = plane_quad(low, form.bits, quad, v, 0);
  if (form.high_bits) codes = vbytes_or(codes, plane_quad(high, form.high_bits, quad, v, form.bits));
  return form.codebook ? vbytes_lookup(unit.book, codes) : codes;
}

/* A codebook as unsigned bytes, offset as scheme_offset says. */
static void book_bytes(const struct scheme *scheme, uint8_t book[CODEBOOK_ENTRIES]) {
  const int8_t *entry = codebook_entries(scheme->codebook);
  for (int i = 0; i < CODEBOOK_ENTRIES; i++) book[i] = (uint8_t)(entry[i] + scheme_offset(scheme));
}

/* value = scale × code + min for vector v of a group. */
struct affine {
  vfloat scale, min;
};

static ALWAYS_INLINE vfloat level_load(enum scale_kind kind, const uint8_t *from, int at) {
  switch (kind) {
  case SCALE_F16: return vfloat_from_half(from + 2 * (size_t)at);
  case SCALE_BF16: return vfloat_from_bfloat(from + 2 * (size_t)at);
  default: return vfloat_load((const float *)(const void *)from + at);
  }
}

static ALWAYS_INLINE struct affine affine_load(struct unit_view unit, int group, int v) {
  const struct cpu_layout *layout = unit.layout;
  const struct scheme *s = &layout->scheme;
  const uint8_t *block = unit.block;
  int at = group * TILE_ROWS + v * LANES;
  struct affine affine;
  if (s->scale == SCALE_TWO_LEVEL) {
    vfloat super = vfloat_from_half(block + layout->super_at + 2 * v * LANES);
    affine.scale = vfloat_mul(super, vfloat_from_int8(block + layout->scale_at + at));
  } else {
    affine.scale = level_load(s->scale, block + layout->scale_at, at);
  }
  if (!s->has_min) {
    affine.min = vfloat_mul(affine.scale, vfloat_set((float)-scheme_offset(s)));
  } else if (s->scale == SCALE_TWO_LEVEL) {
    vfloat super = vfloat_from_half(block + layout->super_min_at + 2 * v * LANES);
    vfloat sub = vfloat_mul(vfloat_set(-1), vfloat_from_uint8(block + layout->min_at + at));
    affine.min = vfloat_mul(super, sub);
  } else {
    affine.min = level_load(s->scale, block + layout->min_at, at);
  }
  return affine;
}

/* A unit is one part of 32 columns, or two of 16 where groups are that short: the columns of one scale. */
static ALWAYS_INLINE int unit_parts(const struct cpu_layout *layout) {
  return layout->scheme.group < UNIT_COLS ? 2 : 1;
}

static ALWAYS_INLINE int part_group(struct unit_view unit, int n_part, int part) {
  return n_part == 2 ? 2 * unit.index + part : unit.index * UNIT_COLS / unit.layout->scheme.group;
}

static ALWAYS_INLINE float part_sum(const struct activation_unit *x, int n_part, int part) {
  return n_part == 2 ? x->half[part] : x->sum;
}

/* Adds some vectors of a unit times n rows to their sums. Dot k is of row k / n_held and vector k % n_held. */
static ALWAYS_INLINE void dots_add(int width, int n_part, int n_held, const vbytes codes[VECTORS_TOGETHER * UNIT_QUADS],
                                   const struct affine affine[VECTORS_TOGETHER * 2], struct row_view rows, int n,
                                   float *sums[VECTORS_TOGETHER], int first) {
  const int part_quads = UNIT_QUADS / n_part;
  vfloat value[ROWS_TOGETHER * VECTORS_TOGETHER];
  UNROLL(2)
  for (int part = 0; part < n_part; part++) {
    struct vdot dot[ROWS_TOGETHER * VECTORS_TOGETHER] = {0};
    UNROLL(8)
    for (int i = 0; i < part_quads; i++) {
      int quad = part * part_quads + i;
      UNROLL(8)
      for (int k = 0; k < n * n_held; k++) {
        const struct activation_unit *x = row_at(rows, k / n_held);
        dot[k] = vdot_step(dot[k], i, codes[k % n_held * UNIT_QUADS + quad], x->q + 4 * quad, width);
      }
    }
    UNROLL(8)
    for (int k = 0; k < n * n_held; k++) {
      struct affine group = affine[k % n_held * 2 + part];
      vfloat product = vdot_float(dot[k], part_quads, width);
      value[k] = part ? vfloat_fma(group.scale, product, value[k]) : vfloat_mul(group.scale, product);
      value[k] = vfloat_fma(group.min, vfloat_set(part_sum(row_at(rows, k / n_held), n_part, part)), value[k]);
    }
  }
  UNROLL(8)
  for (int k = 0; k < n * n_held; k++) {
    const struct activation_unit *x = row_at(rows, k / n_held);
    float *sum = sums[k % n_held] + (first + k / n_held) * TILE_ROWS;
    vfloat_store(sum, vfloat_fma(value[k], vfloat_set(x->scale), vfloat_load(sum)));
  }
}

/* Adds a unit of one tile or of TILES_TOGETHER times each row to the sums: some rows at a time, so that their chains of
 * instructions overlap. */
static ALWAYS_INLINE void unit_rows(struct code_form form, int n_part, int n_tile, struct unit_view unit,
                                    struct row_view rows, tile_sums *sums) {
  const int width = form_width(form), n_vector = n_tile * VECTORS;
  const int n_held = n_vector < VECTORS_TOGETHER ? n_vector : VECTORS_TOGETHER;
  UNROLL(VECTOR_UNROLL)
  for (int vector = 0; vector < n_vector; vector += n_held) {
    vbytes codes[VECTORS_TOGETHER * UNIT_QUADS];
    struct affine affine[VECTORS_TOGETHER * 2];
    float *at[VECTORS_TOGETHER];
    UNROLL(16)
    for (int k = 0; k < n_held * UNIT_QUADS; k++) {
      int which = vector + k / UNIT_QUADS;
      codes[k] = unit_quad(form, unit_beside(unit, which / VECTORS), k % UNIT_QUADS, which % VECTORS);
    }
    UNROLL(4)
    for (int k = 0; k < n_held * 2; k++) {
      int which = vector + k / 2, group = part_group(unit, n_part, n_part == 2 ? k % 2 : 0);
      affine[k] = affine_load(unit_beside(unit, which / VECTORS), group, which % VECTORS);
    }
    UNROLL(2)
    for (int h = 0; h < n_held; h++) at[h] = sums[(vector + h) / VECTORS * rows.n] + (vector + h) % VECTORS * LANES;
    struct row_view left = rows;
    int i = 0;
    for (; i + ROWS_TOGETHER <= rows.n; i += ROWS_TOGETHER, left.first += ROWS_TOGETHER * rows.stride)
      dots_add(width, n_part, n_held, codes, affine, left, ROWS_TOGETHER, at, i);
    for (; i < rows.n; i++, left.first += rows.stride) dots_add(width, n_part, n_held, codes, affine, left, 1, at, i);
  }
}

/* The same for one row and all vectors of the tile at once; the sums stay in registers. */
static ALWAYS_INLINE void unit_lone(struct code_form form, int n_part, struct unit_view unit,
                                    const struct activation_unit *x, vfloat sum[VECTORS]) {
  const int part_quads = UNIT_QUADS / n_part, width = form_width(form);
  vfloat value[VECTORS];
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
      vfloat product = vdot_float(dot[v], part_quads, width);
      value[v] = part ? vfloat_fma(affine.scale, product, value[v]) : vfloat_mul(affine.scale, product);
      value[v] = vfloat_fma(affine.min, vfloat_set(part_sum(x, n_part, part)), value[v]);
    }
  }
  UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) sum[v] = vfloat_fma(value[v], vfloat_set(x->scale), sum[v]);
}

static ALWAYS_INLINE void tiles_integers(struct code_form form, int n_part, int n_tile, const struct cpu_layout *layout,
                                         const uint8_t *tile, struct row_view rows, tile_sums *sums) {
  uint8_t book[CODEBOOK_ENTRIES];
  if (form.codebook) book_bytes(&layout->scheme, book);
  for (int at = 0; at < layout->n_unit; tile += layout->block_bytes) {
    for (int u = 0; u < layout->block_units && at < layout->n_unit; u++, at++) {
      unit_rows(form, n_part, n_tile, (struct unit_view){layout, book, tile, u}, rows, sums);
      rows.first += sizeof(struct activation_unit);
    }
  }
}

static ALWAYS_INLINE void tile_lone(struct code_form form, int n_part, const struct cpu_layout *layout,
                                    const uint8_t *tile, const struct activation_unit *x, float sums[TILE_ROWS]) {
  uint8_t book[CODEBOOK_ENTRIES];
  if (form.codebook) book_bytes(&layout->scheme, book);
  vfloat sum[VECTORS];
  UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) sum[v] = vfloat_set(0);
  for (int at = 0; at < layout->n_unit; tile += layout->block_bytes) {
    for (size_t line = 0; line < layout->block_bytes; line += PLANE_BYTES)
      __builtin_prefetch(tile + AHEAD_BYTES + line); /* past the end of the weights it asks for nothing */
    for (int u = 0; u < layout->block_units && at < layout->n_unit; u++, at++)
      unit_lone(form, n_part, (struct unit_view){layout, book, tile, u}, x++, sum);
  }
  UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) vfloat_store(sums + v * LANES, sum[v]);
}

/* Two columns of a block of floats, all rows of the tile. */
static ALWAYS_INLINE void float_pair(enum scheme_kind kind, const uint8_t *block, int col, vfloat weights[2][VECTORS]) {
  UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) {
    size_t at = (size_t)col * TILE_ROWS + v * LANES, next = at + TILE_ROWS;
    if (kind == SCHEME_BF16) {
      vfloat_bfloat_pair(block + 2 * (at + v * LANES), &weights[0][v], &weights[1][v]);
    } else if (kind == SCHEME_F16) {
      weights[0][v] = vfloat_from_half(block + 2 * at);
      weights[1][v] = vfloat_from_half(block + 2 * next);
    } else {
      weights[0][v] = vfloat_load((const float *)(const void *)block + at);
      weights[1][v] = vfloat_load((const float *)(const void *)block + next);
    }
  }
}

/* Adds one block (32 columns) of floats times each row to the sums. */
static ALWAYS_INLINE void block_rows(enum scheme_kind kind, const uint8_t *block, struct row_view rows,
                                     tile_sums *sums) {
  for (int col = 0; col < UNIT_COLS; col += FLOAT_STEP) {
    vfloat weights[FLOAT_STEP][VECTORS];
    UNROLL(FLOAT_STEP)
    for (int k = 0; k < FLOAT_STEP; k += 2) float_pair(kind, block, col + k, weights + k);
    for (int i = 0; i < rows.n; i++) {
      const float *x = (const float *)row_at(rows, i) + col;
      vfloat sum[VECTORS];
      UNROLL(VECTOR_UNROLL)
      for (int v = 0; v < VECTORS; v++) sum[v] = vfloat_load(sums[i] + v * LANES);
      UNROLL(FLOAT_STEP)
      for (int k = 0; k < FLOAT_STEP; k++) {
        vfloat value = vfloat_set(x[k]);
        UNROLL(VECTOR_UNROLL)
        for (int v = 0; v < VECTORS; v++) sum[v] = vfloat_fma(weights[k][v], value, sum[v]);
      }
      UNROLL(VECTOR_UNROLL)
      for (int v = 0; v < VECTORS; v++) vfloat_store(sums[i] + v * LANES, sum[v]);
    }
  }
}

/* The exact mode of integer weights: each unit to floats first. Slow; for measuring what int8 activations lose. */
static ALWAYS_INLINE void unit_floats(struct code_form form, struct unit_view unit,
                                      float values[UNIT_COLS][TILE_ROWS]) {
  for (int v = 0; v < VECTORS; v++) {
    UNROLL(8)
    for (int quad = 0; quad < UNIT_QUADS; quad++) {
      vbytes codes = unit_quad(form, unit, quad, v);
      struct affine group = affine_load(unit, (unit.index * UNIT_COLS + 4 * quad) / unit.layout->scheme.group, v);
      UNROLL(4)
      for (int j = 0; j < 4; j++)
        vfloat_store(values[4 * quad + j] + v * LANES, vfloat_fma(group.scale, vfloat_from_byte(codes, j), group.min));
    }
  }
}

static ALWAYS_INLINE void tile_exact(struct code_form form, const struct cpu_layout *layout, const uint8_t *tile,
                                     struct row_view rows, tile_sums *sums) {
  uint8_t book[CODEBOOK_ENTRIES];
  book_bytes(&layout->scheme, book);
  for (int at = 0; at < layout->n_unit; at++, rows.first += UNIT_COLS * sizeof(float)) {
    float values[UNIT_COLS][TILE_ROWS];
    const uint8_t *block = tile + (size_t)(at / layout->block_units) * layout->block_bytes;
    unit_floats(form, (struct unit_view){layout, book, block, at % layout->block_units}, values);
    block_rows(SCHEME_F32, (const uint8_t *)values, rows, sums);
  }
}

/* Adds a tile, or TILES_TOGETHER side by side, times each row to the sums, which start as zeros. */
typedef void tile_kernel(const struct cpu_layout *layout, const uint8_t *tile, int n_tile, struct row_view rows,
                         tile_sums *sums);

static ALWAYS_INLINE void integer_kernel(struct code_form form, int n_part, const struct cpu_layout *layout,
                                         const uint8_t *tile, int n_tile, struct row_view rows, tile_sums *sums) {
  if (rows.n == 1)
    tile_lone(form, n_part, layout, tile, row_at(rows, 0), sums[0]);
  else if (TILES_TOGETHER == 1 || n_tile == TILES_TOGETHER)
    tiles_integers(form, n_part, TILES_TOGETHER, layout, tile, rows, sums);
  else
    tiles_integers(form, n_part, 1, layout, tile, rows, sums);
}

/* A kernel for one form of codes, with one scale or two for each unit. */
#define INTEGER_KERNEL(name, low_bits, up_bits, book)                                                                  \
  static void name(const struct cpu_layout *layout, const uint8_t *tile, int n_tile, struct row_view rows,             \
                   tile_sums *sums) {                                                                                  \
    const struct code_form form = {.bits = low_bits, .high_bits = up_bits, .codebook = book};                          \
    if (layout->scheme.activation == ACTIVATION_FLOAT)                                                                 \
      tile_exact(form, layout, tile, rows, sums);                                                                      \
    else if (unit_parts(layout) == 2)                                                                                  \
      integer_kernel(form, 2, layout, tile, n_tile, rows, sums);                                                       \
    else                                                                                                               \
      integer_kernel(form, 1, layout, tile, n_tile, rows, sums);                                                       \
  }

INTEGER_KERNEL(int2, 2, 0, false)
INTEGER_KERNEL(int2_1, 2, 1, false)
INTEGER_KERNEL(int2_2, 2, 2, false)
INTEGER_KERNEL(int4, 4, 0, false)
INTEGER_KERNEL(int4_1, 4, 1, false)
INTEGER_KERNEL(int4_2, 4, 2, false)
INTEGER_KERNEL(int4_book, 4, 0, true)
INTEGER_KERNEL(int8, 8, 0, false)

static tile_kernel *integer_kernel_of(const struct scheme *s) {
  static tile_kernel *const low2[] = {int2, int2_1, int2_2}, *const low4[] = {int4, int4_1, int4_2};
  if (s->bits == 8) return int8;
  if (s->codebook) return int4_book;
  return s->bits == 4 ? low4[s->high_bits] : low2[s->high_bits];
}

/* One row times n tiles side by side. */
static ALWAYS_INLINE void tiles_lone(enum scheme_kind kind, const struct cpu_layout *layout, const uint8_t *tile, int n,
                                     const float *x, tile_sums *sums) {
  vfloat sum[LONE_TILES][VECTORS];
  UNROLL(4)
  for (int t = 0; t < n; t++) UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) sum[t][v] = vfloat_set(0);
  for (int block = 0; block < layout->n_block; block++, tile += layout->block_bytes, x += UNIT_COLS) {
    for (int col = 0; col < UNIT_COLS; col += 2) {
      vfloat x0 = vfloat_set(x[col]), x1 = vfloat_set(x[col + 1]);
      UNROLL(4)
      for (int t = 0; t < n; t++) {
        vfloat weights[2][VECTORS];
        float_pair(kind, tile + t * layout->tile_bytes, col, weights);
        UNROLL(VECTOR_UNROLL)
        for (int v = 0; v < VECTORS; v++)
          sum[t][v] = vfloat_fma(weights[1][v], x1, vfloat_fma(weights[0][v], x0, sum[t][v]));
      }
    }
  }
  UNROLL(4)
  for (int t = 0; t < n; t++) UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) vfloat_store(sums[t] + v * LANES, sum[t][v]);
}

/* A kernel for one float type: one row times four tiles, or one tile times any rows. */
#define FLOAT_KERNEL(name, kind)                                                                                       \
  static void name(const struct cpu_layout *layout, const uint8_t *tile, int n_tile, struct row_view rows,             \
                   tile_sums *sums) {                                                                                  \
    if (n_tile == LONE_TILES)                                                                                          \
      tiles_lone(kind, layout, tile, LONE_TILES, row_at(rows, 0), sums);                                               \
    else if (rows.n == 1)                                                                                              \
      tiles_lone(kind, layout, tile, 1, row_at(rows, 0), sums);                                                        \
    else                                                                                                               \
      for (int i = 0; i < layout->n_block; i++, rows.first += UNIT_COLS * sizeof(float))                               \
        block_rows(kind, tile + i * layout->block_bytes, rows, sums);                                                  \
  }

FLOAT_KERNEL(float32, SCHEME_F32)
FLOAT_KERNEL(float16, SCHEME_F16)
FLOAT_KERNEL(bfloat16, SCHEME_BF16)

static tile_kernel *tile_kernel_of(const struct scheme *s) {
  static tile_kernel *const floats[] = {float32, float16, bfloat16};
  return s->kind == SCHEME_INT ? integer_kernel_of(s) : floats[s->kind];
}

/* Tiles that a kernel takes side by side, if there are as many. */
static int tiles_at_once(const struct scheme *s, int n_row) {
  if (s->kind != SCHEME_INT) return n_row == 1 ? LONE_TILES : 1;
  return n_row == 1 || s->activation == ACTIVATION_FLOAT ? 1 : TILES_TOGETHER;
}

/* The sums of n tiles from `tile` on, all rows of one tile before the next. */
static void tiles_sums(const struct cpu_layout *layout, const uint8_t *tile, int n, struct row_view rows,
                       tile_sums *sums) {
  tile_kernel *kernel = tile_kernel_of(&layout->scheme);
  int at_once = tiles_at_once(&layout->scheme, rows.n);
  memset(sums, 0, (size_t)n * rows.n * sizeof *sums);
  for (int t = 0, count; t < n; t += count) {
    count = n - t < at_once ? 1 : at_once;
    kernel(layout, tile + t * layout->tile_bytes, count, rows, sums + t * rows.n);
  }
}

/* A tile's sums (and after them its partner's, if gated) of rows [row, row + n) through the tail. */
static void tile_store(const struct cpu_layout *layout, const struct linear_tail *tail, int tile, tile_sums *sums,
                       int row, int n, float *out, size_t out_stride) {
  for (int i = 0; i < n; i++) {
    const float *residual = tail->residual ? tail->residual + (row + i) * tail->residual_stride : NULL;
    tail_store(tail, layout, tile, sums[i], tail->gated ? sums[n + i] : NULL, residual, out + (row + i) * out_stride);
  }
}

static int rows_at_a_time(const struct linear_input *input) {
  size_t fit = ROW_BLOCK_BYTES / input->row_bytes;
  return fit < 16 ? 16 : fit > SUM_ROWS / 2 ? SUM_ROWS / 2 : (int)fit;
}

static void linear(const struct cpu_layout *layout, const uint8_t *packed, int first, int count,
                   const struct linear_input *input, const struct linear_tail *tail, float *out, size_t out_stride) {
  tile_sums sums[SUM_ROWS];
  int step = rows_at_a_time(input), end = first + count, pair = tail->gated ? 2 : 1;
  for (int row = 0; row < input->n_row; row += step) {
    int left = input->n_row - row;
    struct row_view rows = {.first = (const uint8_t *)input->rows + row * input->row_bytes,
                            .stride = input->row_bytes,
                            .n = left < step ? left : step};
    int at_once = tiles_at_once(&layout->scheme, rows.n), run = at_once > pair ? at_once : pair;
    for (int tile = first, n; tile < end; tile += n) {
      n = end - tile < run ? end - tile : run;
      tiles_sums(layout, packed + tile * layout->tile_bytes, n, rows, sums);
      for (int t = 0; t < n; t += pair)
        tile_store(layout, tail, tile + t, sums + t * rows.n, row, rows.n, out, out_stride);
    }
  }
}
