/* Tiles of floats times activation rows. Part of kernels_template.h. */

/* 32 columns of a tile of floats, and their scales if they have any. */
struct float_unit {
  const uint8_t *block, *scale;
};

static ALWAYS_INLINE struct float_unit float_unit_at(enum scheme_kind kind, const struct cpu_layout *layout,
                                                     const uint8_t *tile, int unit) {
  if (kind != SCHEME_F8) return (struct float_unit){tile + (size_t)unit * layout->block_bytes, NULL};
  const uint8_t *block = tile + (size_t)(unit / layout->block_units) * layout->block_bytes;
  return (struct float_unit){block + (size_t)(unit % layout->block_units) * E4M3_UNIT_BYTES, block + layout->scale_at};
}

static ALWAYS_INLINE struct float_unit float_unit_beside(enum scheme_kind kind, struct float_unit unit, size_t bytes) {
  return (struct float_unit){unit.block + bytes, kind == SCHEME_F8 ? unit.scale + bytes : NULL};
}

/* Column col + odd of a unit, all rows of the tile; col is even. */
static ALWAYS_INLINE void float_column(enum scheme_kind kind, struct float_unit unit, int col, int odd,
                                       vfloat weights[VECTORS]) {
  const uint8_t *block = unit.block;
  UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) {
    size_t at = (size_t)(col + odd) * TILE_ROWS + v * LANES;
    if (kind == SCHEME_BF16)
      weights[v] = vfloat_from_pairs(block + 2 * ((size_t)col * TILE_ROWS + 2 * v * LANES), odd);
    else if (kind == SCHEME_F16)
      weights[v] = vfloat_from_half(block + 2 * at);
    else if (kind == SCHEME_F8)
      weights[v] =
          vfloat_mul(vfloat_from_e4m3(block + at), vfloat_load((const float *)(const void *)unit.scale + v * LANES));
    else
      weights[v] = vfloat_load((const float *)(const void *)block + at);
  }
}

/* Sums of n rows and n_tile tiles, in registers. */
typedef vfloat panel_sums[PANEL_ROWS][TILES_TOGETHER * VECTORS];

static ALWAYS_INLINE void panel_load(const int n, const int n_tile, int all_rows, tile_sums *sums, panel_sums sum) {
  UNROLL(8)
  for (int i = 0; i < n; i++) UNROLL(8)
  for (int v = 0; v < n_tile * VECTORS; v++)
    sum[i][v] = vfloat_load(sums[v / VECTORS * all_rows + i] + v % VECTORS * LANES);
}

static ALWAYS_INLINE void panel_clear(const int n, const int n_tile, panel_sums sum) {
  UNROLL(8)
  for (int i = 0; i < n; i++) UNROLL(8)
  for (int v = 0; v < n_tile * VECTORS; v++) sum[i][v] = vfloat_set(0);
}

static ALWAYS_INLINE void panel_store(const int n, const int n_tile, int all_rows, panel_sums sum, tile_sums *sums) {
  UNROLL(8)
  for (int i = 0; i < n; i++) UNROLL(8)
  for (int v = 0; v < n_tile * VECTORS; v++)
    vfloat_store(sums[v / VECTORS * all_rows + i] + v % VECTORS * LANES, sum[i][v]);
}

/* What a run's panels ask the memory for, a part with each column of each panel: of tiles side by side the next run.
 * They are streams of 4 bytes a weight, which hardware does not ask for in time. */
struct run_ask {
  const uint8_t *weights; /* of the first tile */
  size_t step;            /* bytes for a column */
};

static ALWAYS_INLINE void columns_ask(struct run_ask ask, const int n_tile, size_t tile_bytes, int col) {
  const uint8_t *ahead = ask.weights + (size_t)col * ask.step;
  UNROLL(2)
  for (int t = 0; t < n_tile; t++) __builtin_prefetch(ahead + t * tile_bytes);
}

/* Adds a unit of the tiles times columns of the rows from `first` on. Each broadcast of an activation serves the
 * vectors of all tiles. */
static ALWAYS_INLINE void panel_add(enum scheme_kind kind, const int n, const int n_tile, struct float_unit unit,
                                    size_t tile_bytes, const void *const row[PANEL_ROWS], int first, struct run_ask ask,
                                    panel_sums sum) {
  UNROLL(2)
  for (int col = 0; col < UNIT_COLS; col += 2) {
    UNROLL(2)
    for (int odd = 0; odd < 2; odd++) {
      vfloat weights[TILES_TOGETHER * VECTORS];
      if (kind == SCHEME_F32 && n_tile > 1) columns_ask(ask, n_tile, tile_bytes, first + col + odd);
      UNROLL(2)
      for (int t = 0; t < n_tile; t++)
        float_column(kind, float_unit_beside(kind, unit, t * tile_bytes), col, odd, weights + t * VECTORS);
      UNROLL(8)
      for (int i = 0; i < n; i++) {
        vfloat x = vfloat_set(((const float *)row[i])[first + col + odd]);
        UNROLL(8)
        for (int v = 0; v < n_tile * VECTORS; v++) sum[i][v] = vfloat_fma(weights[v], x, sum[i][v]);
      }
    }
  }
}

/* Adds one unit of n_tile tiles of floats times n rows to the sums, which for each tile are `all_rows` apart. */
static ALWAYS_INLINE void block_panel(enum scheme_kind kind, const int n, const int n_tile, struct float_unit unit,
                                      size_t tile_bytes, struct row_view rows, int all_rows, tile_sums *sums) {
  panel_sums sum;
  const void *row[PANEL_ROWS];
  rows_take(rows, n, row);
  panel_load(n, n_tile, all_rows, sums, sum);
  panel_add(kind, n, n_tile, unit, tile_bytes, row, 0, (struct run_ask){0}, sum);
  panel_store(n, n_tile, all_rows, sum, sums);
}

static ALWAYS_INLINE void block_rows(enum scheme_kind kind, const int n_tile, struct float_unit unit, size_t tile_bytes,
                                     struct row_view rows, tile_sums *sums) {
#define PANEL(n) block_panel(kind, n, n_tile, unit, tile_bytes, rows, all_rows, sums)
  int all_rows = rows.n;
  ROWS_IN_PANELS(rows, sums, PANEL)
#undef PANEL
}

/* Units that follow each other, with the same scales if they have any. */
struct float_run {
  struct float_unit first;
  size_t unit_bytes;
  int count;
};

/* From unit `at` of a tile on, at most FLOAT_UNITS. */
static ALWAYS_INLINE struct float_run float_run_at(enum scheme_kind kind, const struct cpu_layout *layout,
                                                   const uint8_t *tile, int at) {
  int left = kind == SCHEME_F8 ? layout->block_units - at % layout->block_units : FLOAT_UNITS;
  if (left > layout->n_unit - at) left = layout->n_unit - at;
  return (struct float_run){.first = float_unit_at(kind, layout, tile, at),
                            .unit_bytes = kind == SCHEME_F8 ? (size_t)E4M3_UNIT_BYTES : layout->block_bytes,
                            .count = left < FLOAT_UNITS ? left : FLOAT_UNITS};
}

/* A panel by itself asks for what comes soon; several share out the next run, which begins `beyond` bytes behind this.
 */
static ALWAYS_INLINE struct run_ask ask_make(struct float_run run, int n_row, size_t beyond) {
  int n_panel = (n_row + FLOAT_ROWS - 1) / FLOAT_ROWS;
  size_t ahead = n_panel == 1 ? COLUMNS_AHEAD : (size_t)run.count * run.unit_bytes + beyond;
  return (struct run_ask){run.first.block + ahead, (size_t)((LINE_BYTES + n_panel - 1) / n_panel)};
}

/* Rows [row, row + n) of the sums of n_tile tiles, which for each tile are `all_rows` apart, through the tail. */
static NEVER_INLINE void panel_end(const struct cpu_layout *layout, const struct tile_end *end, int n_tile, int row,
                                   int n, int all_rows, tile_sums *sums) {
  for (int t = 0, pair = end->tail->gated ? 2 : 1; t < n_tile; t += pair)
    tail_store(layout, end->tail, end->tile + t, sums + t * all_rows, all_rows, end->first + row, n, end->out,
               end->out_stride);
}

/* As block_panel, of some units, between which the sums stay in registers; begin: they are the first of a tile, end:
 * the last, if not NULL. */
static ALWAYS_INLINE void run_panel(enum scheme_kind kind, const int n, const int n_tile, bool begin,
                                    struct float_run run, const struct cpu_layout *layout, struct row_view rows,
                                    int all_rows, tile_sums *sums, struct run_ask ask, const struct tile_end *end) {
  panel_sums sum;
  const void *row[PANEL_ROWS];
  rows_take(rows, n, row);
  ask.weights += (size_t)((all_rows - rows.n) / FLOAT_ROWS * run.count * UNIT_COLS) * ask.step;
  if (end) panel_ask(end, n_tile, all_rows - rows.n, n);
  if (begin)
    panel_clear(n, n_tile, sum);
  else
    panel_load(n, n_tile, all_rows, sums, sum);
  for (int at = 0; at < run.count; at++) {
    struct float_unit unit = {run.first.block + (size_t)at * run.unit_bytes, run.first.scale};
    panel_add(kind, n, n_tile, unit, layout->tile_bytes, row, at * UNIT_COLS, ask, sum);
  }
  panel_store(n, n_tile, all_rows, sum, sums);
  if (end) panel_end(layout, end, n_tile, all_rows - rows.n, n, all_rows, sums);
}

static ALWAYS_INLINE void run_rows(enum scheme_kind kind, const int n_tile, bool begin, struct float_run run,
                                   const struct cpu_layout *layout, struct row_view rows, tile_sums *sums,
                                   const struct tile_end *end) {
#define PANEL(n) run_panel(kind, n, n_tile, begin, run, layout, rows, all_rows, sums, ask, end)
  int all_rows = rows.n;
  struct run_ask ask = ask_make(run, all_rows, end ? layout->tile_bytes : 0);
  ROWS_IN_PANELS(rows, sums, PANEL)
#undef PANEL
}

/* One row times n tiles side by side. */
static ALWAYS_INLINE void tiles_lone(enum scheme_kind kind, const struct cpu_layout *layout, const uint8_t *tile, int n,
                                     const float *x, tile_sums *sums) {
  vfloat sum[LONE_TILES][VECTORS];
  UNROLL(4)
  for (int t = 0; t < n; t++) UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) sum[t][v] = vfloat_set(0);
  for (int at = 0; at < layout->n_unit; at++, x += UNIT_COLS) {
    struct float_unit unit = float_unit_at(kind, layout, tile, at);
    for (int col = 0; col < UNIT_COLS; col += 2) {
      vfloat x0 = vfloat_set(x[col]), x1 = vfloat_set(x[col + 1]);
      UNROLL(4)
      for (int t = 0; t < n; t++) {
        vfloat weights[2][VECTORS];
        struct float_unit beside = float_unit_beside(kind, unit, t * layout->tile_bytes);
        float_column(kind, beside, col, 0, weights[0]);
        float_column(kind, beside, col, 1, weights[1]);
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

/* A kernel for one float type: one row times four tiles or one, or any rows times one tile or TILES_TOGETHER. */
static ALWAYS_INLINE void float_kernel(enum scheme_kind kind, const struct cpu_layout *layout, const uint8_t *tile,
                                       int n_tile, struct row_view rows, tile_sums *sums, const struct tile_end *end) {
  if (rows.n == 1 && n_tile == LONE_TILES) {
    tiles_lone(kind, layout, tile, LONE_TILES, (const void *)rows.first, sums);
  } else if (rows.n == 1) {
    tiles_lone(kind, layout, tile, 1, (const void *)rows.first, sums);
  } else {
    struct float_run run;
    for (int i = 0; i < layout->n_unit; i += run.count, rows.first += (size_t)run.count * UNIT_COLS * sizeof(float)) {
      run = float_run_at(kind, layout, tile, i);
      const struct tile_end *ends = i + run.count == layout->n_unit ? end : NULL;
      if (TILES_TOGETHER == 1 || n_tile == TILES_TOGETHER)
        run_rows(kind, TILES_TOGETHER, i == 0, run, layout, rows, sums, ends);
      else
        run_rows(kind, 1, i == 0, run, layout, rows, sums, ends);
    }
  }
}

#define FLOAT_KERNEL(name, kind)                                                                                       \
  static void name(const struct cpu_layout *layout, const uint8_t *tile, int n_tile, struct row_view rows,             \
                   tile_sums *sums, const struct tile_end *end) {                                                      \
    float_kernel(kind, layout, tile, n_tile, rows, sums, end);                                                         \
  }

FLOAT_KERNEL(float32, SCHEME_F32)
FLOAT_KERNEL(float16, SCHEME_F16)
FLOAT_KERNEL(bfloat16, SCHEME_BF16)
FLOAT_KERNEL(e4m3, SCHEME_F8)
