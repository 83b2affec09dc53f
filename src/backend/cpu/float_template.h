/* Tiles of floats times activation rows. Part of kernels_template.h. */

/* Column col + odd of a block of floats, all rows of the tile; col is even. */
static ALWAYS_INLINE void float_column(enum scheme_kind kind, const uint8_t *block, int col, int odd,
                                       vfloat weights[VECTORS]) {
  UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) {
    size_t at = (size_t)(col + odd) * TILE_ROWS + v * LANES;
    if (kind == SCHEME_BF16)
      weights[v] = vfloat_from_pairs(block + 2 * ((size_t)col * TILE_ROWS + 2 * v * LANES), odd);
    else if (kind == SCHEME_F16)
      weights[v] = vfloat_from_half(block + 2 * at);
    else
      weights[v] = vfloat_load((const float *)(const void *)block + at);
  }
}

/* Adds one block (32 columns) of floats times n rows, whose sums are in registers meanwhile, to the sums. */
static ALWAYS_INLINE void block_panel(enum scheme_kind kind, const int n, const uint8_t *block, struct row_view rows,
                                      tile_sums *sums) {
  vfloat sum[PANEL_ROWS][VECTORS];
  const void *row[PANEL_ROWS];
  rows_take(rows, n, row);
  UNROLL(8)
  for (int i = 0; i < n; i++) UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) sum[i][v] = vfloat_load(sums[i] + v * LANES);
  UNROLL(2)
  for (int col = 0; col < UNIT_COLS; col += 2) {
    UNROLL(2)
    for (int odd = 0; odd < 2; odd++) {
      vfloat weights[VECTORS];
      float_column(kind, block, col, odd, weights);
      UNROLL(8)
      for (int i = 0; i < n; i++) {
        vfloat x = vfloat_set(((const float *)row[i])[col + odd]);
        UNROLL(VECTOR_UNROLL)
        for (int v = 0; v < VECTORS; v++) sum[i][v] = vfloat_fma(weights[v], x, sum[i][v]);
      }
    }
  }
  UNROLL(8)
  for (int i = 0; i < n; i++) UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) vfloat_store(sums[i] + v * LANES, sum[i][v]);
}

static ALWAYS_INLINE void block_rows(enum scheme_kind kind, const uint8_t *block, struct row_view rows,
                                     tile_sums *sums) {
  for (; rows.n >= FLOAT_ROWS; rows.n -= FLOAT_ROWS, sums += FLOAT_ROWS, rows.first += FLOAT_ROWS * rows.stride)
    block_panel(kind, FLOAT_ROWS, block, rows, sums);
  switch (rows.n) { /* below FLOAT_ROWS: the compiler drops the cases that cannot be */
  case 7: block_panel(kind, 7, block, rows, sums); break;
  case 6: block_panel(kind, 6, block, rows, sums); break;
  case 5: block_panel(kind, 5, block, rows, sums); break;
  case 4: block_panel(kind, 4, block, rows, sums); break;
  case 3: block_panel(kind, 3, block, rows, sums); break;
  case 2: block_panel(kind, 2, block, rows, sums); break;
  case 1: block_panel(kind, 1, block, rows, sums); break;
  default: break;
  }
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
        float_column(kind, tile + t * layout->tile_bytes, col, 0, weights[0]);
        float_column(kind, tile + t * layout->tile_bytes, col, 1, weights[1]);
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
      tiles_lone(kind, layout, tile, LONE_TILES, (const void *)rows.first, sums);                                      \
    else if (rows.n == 1)                                                                                              \
      tiles_lone(kind, layout, tile, 1, (const void *)rows.first, sums);                                               \
    else                                                                                                               \
      for (int i = 0; i < layout->n_block; i++, rows.first += UNIT_COLS * sizeof(float))                               \
        block_rows(kind, tile + i * layout->block_bytes, rows, sums);                                                  \
  }

FLOAT_KERNEL(float32, SCHEME_F32)
FLOAT_KERNEL(float16, SCHEME_F16)
FLOAT_KERNEL(bfloat16, SCHEME_BF16)
