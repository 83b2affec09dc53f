/* What kernels of tiles share: sums, activation rows, the form of a kernel. Part of kernels_template.h, whose files
 * call a vector of rows "vector" (VECTORS make a tile) and four columns "quad". */

enum {
  VECTORS = TILE_ROWS / LANES, /* of a tile */
  VECTOR_BYTES = 4 * LANES,    /* of each 64-byte plane vector */
  SUM_ROWS = 128,              /* rows × tiles that sums are held for at a time */
  ROW_BLOCK_BYTES = 192 << 10, /* activation rows that should stay in the second-level cache */
  AHEAD_BYTES = 3072,          /* what one row asks the memory for in advance: hardware streams stop at 4 KiB pages */
  PANEL_ROWS = 8,              /* rows of floats whose sums are in registers, at most */
  FLOAT_UNITS = 6,             /* with two tiles of floats 24 KiB, which stay in the first-level cache for all rows */
  COLUMNS_AHEAD = 4096,        /* bytes of a tile of floats that a panel by itself asks for in advance */
  LINE_FLOATS = 16,            /* of a cache line */
  LONE_TILES = 4,              /* tiles side by side when there is one row of floats: independent chains of sums */
};

_Static_assert((int)FLOAT_ROWS <= PANEL_ROWS, "block_panel has no room for more rows");

typedef float tile_sums[TILE_ROWS];

/* Activation rows of a block, from some unit on. */
struct row_view {
  const uint8_t *first;
  size_t stride;
  int n;
};

/* Pointers to the first n rows, one register each. */
static ALWAYS_INLINE void rows_take(struct row_view rows, int n, const void *row[]) {
  UNROLL(8)
  for (int i = 0; i < n; i++) {
    row[i] = rows.first + i * rows.stride;
    FORGET_ORIGIN(row[i]);
  }
}

/* PANEL(n) for n rows of the view from its first on, whose sums `sums` are, FLOAT_ROWS at a time and then the rest. Of
 * the cases those that cannot be, from FLOAT_ROWS on, the compiler drops. */
#define ROWS_IN_PANELS(rows, sums, PANEL)                                                                              \
  for (; rows.n >= FLOAT_ROWS; rows.n -= FLOAT_ROWS, sums += FLOAT_ROWS, rows.first += FLOAT_ROWS * rows.stride)       \
    PANEL(FLOAT_ROWS);                                                                                                 \
  switch (rows.n) {                                                                                                    \
  case 7: PANEL(7); break;                                                                                             \
  case 6: PANEL(6); break;                                                                                             \
  case 5: PANEL(5); break;                                                                                             \
  case 4: PANEL(4); break;                                                                                             \
  case 3: PANEL(3); break;                                                                                             \
  case 2: PANEL(2); break;                                                                                             \
  case 1: PANEL(1); break;                                                                                             \
  default: break;                                                                                                      \
  }

/* What becomes of the sums of some tiles, and where they go (tail_template.h). */
struct tile_end;

/* A tile, or TILES_TOGETHER side by side, times each row: the sums, which for integers start as zeros. Kernels that
 * ends_by_panel names see to the end that they are given with more rows than one themselves: each panel of rows goes
 * through the tail as soon as its sums are complete, while they are near, and beside the next panel's products. */
typedef void tile_kernel(const struct cpu_layout *layout, const uint8_t *tile, int n_tile, struct row_view rows,
                         tile_sums *sums, const struct tile_end *end);
