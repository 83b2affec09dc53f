/* Tiles of bf16 times activation rows in bf16, by dots of pairs of columns: lane r of a vector has row r's pair, and
 * the product adds the odd column's part, then the even one's (vdpbf16ps, which takes subnormal numbers as zeros). A
 * prepared row is its columns as bf16, zeros behind the last. */

enum { PAIR_BYTES = 2 * sizeof(uint16_t), UNIT_PAIRS = UNIT_COLS / 2, UNIT_ROW_BYTES = UNIT_PAIRS * PAIR_BYTES };

enum { PAIR_UNITS = 2 * FLOAT_UNITS }; /* whose sums stay in registers: as many bytes as of floats */

static void prepare_pairs(const struct cpu_layout *layout, const float *x, void *row) {
  uint16_t *to = row;
  int col = 0;
  for (; col + UNIT_COLS <= layout->cols; col += UNIT_COLS)
    _mm512_storeu_si512(to + col,
                        (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + col + LANES), _mm512_loadu_ps(x + col)));
  if (col == layout->cols) return;
  float last[UNIT_COLS] = {0};
  memcpy(last, x + col, (size_t)(layout->cols - col) * sizeof *x);
  _mm512_storeu_si512(to + col, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(last + LANES), _mm512_loadu_ps(last)));
}

static ALWAYS_INLINE vfloat pair_add(vfloat sum, __m512i weights, __m512i pair) {
  return _mm512_dpbf16_ps(sum, (__m512bh)weights, (__m512bh)pair);
}

static ALWAYS_INLINE __m512i pair_broadcast(const uint8_t *row, int pair) {
  int32_t both;
  memcpy(&both, row + pair * PAIR_BYTES, sizeof both);
  return _mm512_set1_epi32(both);
}

static ALWAYS_INLINE __m512i pair_weights(const uint8_t *block, int pair) {
  return _mm512_loadu_si512(block + (size_t)pair * TILE_ROWS * PAIR_BYTES);
}

/* Adds n_unit units of n_tile tiles times n rows, whose sums are in registers meanwhile, to the sums, which for each
 * tile are `all_rows` apart; begin: they are the first. Each broadcast of a pair serves all tiles. */
static ALWAYS_INLINE void pairs_panel(const int n, const int n_tile, bool begin, int n_unit, const uint8_t *block,
                                      size_t tile_bytes, struct row_view rows, int all_rows, tile_sums *sums) {
  vfloat sum[PANEL_ROWS][TILES_TOGETHER];
  const void *row[PANEL_ROWS];
  rows_take(rows, n, row);
  UNROLL(8)
  for (int i = 0; i < n; i++) UNROLL(2)
  for (int t = 0; t < n_tile; t++) sum[i][t] = begin ? vfloat_set(0) : vfloat_load(sums[t * all_rows + i]);
  UNROLL(2)
  for (int pair = 0; pair < n_unit * UNIT_PAIRS; pair++) {
    __m512i weights[TILES_TOGETHER];
    UNROLL(2)
    for (int t = 0; t < n_tile; t++) weights[t] = pair_weights(block + t * tile_bytes, pair);
    UNROLL(8)
    for (int i = 0; i < n; i++) {
      __m512i x = pair_broadcast(row[i], pair);
      UNROLL(2)
      for (int t = 0; t < n_tile; t++) sum[i][t] = pair_add(sum[i][t], weights[t], x);
    }
  }
  UNROLL(8)
  for (int i = 0; i < n; i++) UNROLL(2)
  for (int t = 0; t < n_tile; t++) vfloat_store(sums[t * all_rows + i], sum[i][t]);
}

static ALWAYS_INLINE void pairs_rows(const int n_tile, bool begin, int n_unit, const uint8_t *block, size_t tile_bytes,
                                     struct row_view rows, tile_sums *sums) {
#define PANEL(n) pairs_panel(n, n_tile, begin, n_unit, block, tile_bytes, rows, all_rows, sums)
  int all_rows = rows.n;
  ROWS_IN_PANELS(rows, sums, PANEL)
#undef PANEL
}

/* One row times n tiles side by side. */
static ALWAYS_INLINE void pairs_lone(const struct cpu_layout *layout, const uint8_t *tile, const int n,
                                     const uint8_t *row, tile_sums *sums) {
  vfloat sum[LONE_TILES];
  UNROLL(4)
  for (int t = 0; t < n; t++) sum[t] = vfloat_set(0);
  for (int unit = 0; unit < layout->n_unit; unit++, row += UNIT_ROW_BYTES, tile += layout->block_bytes) {
    for (int pair = 0; pair < UNIT_PAIRS; pair++) {
      __m512i x = pair_broadcast(row, pair);
      UNROLL(4)
      for (int t = 0; t < n; t++) sum[t] = pair_add(sum[t], pair_weights(tile + t * layout->tile_bytes, pair), x);
    }
  }
  UNROLL(4)
  for (int t = 0; t < n; t++) vfloat_store(sums[t], sum[t]);
}

static void pairs(const struct cpu_layout *layout, const uint8_t *tile, int n_tile, struct row_view rows,
                  tile_sums *sums, const struct tile_end *end) {
  (void)end;
  if (rows.n == 1 && n_tile == LONE_TILES) {
    pairs_lone(layout, tile, LONE_TILES, rows.first, sums);
  } else if (rows.n == 1) {
    pairs_lone(layout, tile, 1, rows.first, sums);
  } else {
    for (int i = 0, count; i < layout->n_unit; i += count) {
      count = layout->n_unit - i < PAIR_UNITS ? layout->n_unit - i : PAIR_UNITS;
      if (n_tile == TILES_TOGETHER)
        pairs_rows(TILES_TOGETHER, i == 0, count, tile, layout->tile_bytes, rows, sums);
      else
        pairs_rows(1, i == 0, count, tile, layout->tile_bytes, rows, sums);
      rows.first += (size_t)count * UNIT_ROW_BYTES, tile += (size_t)count * layout->block_bytes;
    }
  }
}

static tile_kernel *tile_kernel_of(const struct scheme *s) {
  (void)s;
  return pairs;
}

static int tiles_at_once(const struct scheme *s, int n_row) {
  (void)s;
  return n_row == 1 ? LONE_TILES : TILES_TOGETHER;
}

/* Beside dots as fast as these a tail costs less when it takes many rows at once. */
static bool ends_by_panel(const struct scheme *s) {
  (void)s;
  return false;
}
