/* Adapters: the shrink of a linear's input, and the expansion of a tile's sums before the tail takes them. Sums are
 * formed in one order, whatever is multiplied beside them. Part of kernels_template.h. */

/* The sum of 16 numbers, by halves. */
static float lanes_sum(float lane[FACTOR_COLUMNS]) {
  for (int width = FACTOR_COLUMNS / 2; width; width /= 2)
    for (int i = 0; i < width; i++) lane[i] += lane[i + width];
  return lane[0];
}

static ALWAYS_INLINE void shrink_rows(int n, const float *a, size_t stride, const float *x, float scale, float *h) {
  vfloat sum[2 * FACTOR_ROWS][VECTORS];
  UNROLL(8)
  for (int r = 0; r < n; r++)
    for (int v = 0; v < VECTORS; v++) sum[r][v] = vfloat_set(0);
  for (size_t c = 0; c < stride; c += FACTOR_COLUMNS) {
    UNROLL(8)
    for (int r = 0; r < n; r++) {
      UNROLL(4)
      for (int v = 0; v < VECTORS; v++)
        sum[r][v] = vfloat_fma(vfloat_load(a + r * stride + c + v * LANES), vfloat_load(x + c + v * LANES), sum[r][v]);
    }
  }
  for (int r = 0; r < n; r++) {
    float lane[FACTOR_COLUMNS];
    for (int v = 0; v < VECTORS; v++) vfloat_store(lane + v * LANES, sum[r][v]);
    h[r] = scale * lanes_sum(lane);
  }
}

/* h[first, first + count) of the factors; x is filled up with zeros as rows of a are. */
static void shrink(const struct adapter_factors *factors, int first, int count, const float *x, float scale, float *h) {
  const float *a = factors->a + first * factors->a_stride;
  int r = 0;
  for (; (int)LANES == (int)FACTOR_COLUMNS && r + 2 * FACTOR_ROWS <= count; r += 2 * FACTOR_ROWS)
    shrink_rows(2 * FACTOR_ROWS, a + r * factors->a_stride, factors->a_stride, x, scale, h + first + r);
  for (; r < count; r += FACTOR_ROWS)
    shrink_rows(FACTOR_ROWS, a + r * factors->a_stride, factors->a_stride, x, scale, h + first + r);
}

/* delta becomes g · (sum + delta) − sum, without the difference of two that are alike. */
static void tile_magnitude(const struct adapter_factors *factors, int tile, float scale, const float *sum,
                           float *delta) {
  for (int i = 0; i < TILE_ROWS; i++) {
    double g = adapter_gain(factors, (size_t)tile * TILE_ROWS + (size_t)i, scale);
    delta[i] = (float)((g - 1) * sum[i] + g * delta[i]);
  }
}

/* Adds to `change` what one adapter makes of a tile's sums. */
static ALWAYS_INLINE void tile_expand(const struct adapter_use *use, int tile, const float *sum,
                                      vfloat change[VECTORS]) {
  const struct adapter_factors *factors = use->factors;
  const struct factor_tile *t = &factors->tile[tile];
  const float *b = factors->b + t->b, *h = use->h + t->first;
  float delta[TILE_ROWS];
  UNROLL(4)
  for (int v = 0; v < VECTORS; v++) {
    vfloat sums = vfloat_set(0);
    for (int k = 0; k < t->count; k++)
      sums = vfloat_fma(vfloat_load(b + k * TILE_ROWS + v * LANES), vfloat_set(h[k]), sums);
    vfloat_store(delta + v * LANES, sums);
  }
  if (factors->magnitude) tile_magnitude(factors, tile, use->scale, sum, delta);
  for (int v = 0; v < VECTORS; v++) {
    vfloat own = vfloat_load(delta + v * LANES);
    if (factors->shift)
      own = vfloat_fma(vfloat_load(factors->shift + tile * TILE_ROWS + v * LANES), vfloat_set(use->scale), own);
    change[v] = vfloat_add(change[v], own);
  }
}

/* The sums of a tile in n rows, whose adapters are uses[n][ROW_LORAS]; bounded, whatever the factors. */
static void tile_adapt(const struct adapter_use *uses, int tile, tile_sums *sums, int n) {
  for (int i = 0; i < n; i++, uses += ROW_LORAS) {
    float most = 0; /* 0: no adapter is at work on the row */
    vfloat change[VECTORS];
    for (int v = 0; v < VECTORS; v++) change[v] = vfloat_set(0);
    for (int l = 0; l < ROW_LORAS; l++) {
      if (!uses[l].factors) continue;
      tile_expand(&uses[l], tile, sums[i], change);
      most = uses[l].factors->most;
    }
    for (int v = 0; most > 0 && v < VECTORS; v++)
      vfloat_store(sums[i] + v * LANES, vfloat_add(vfloat_load(sums[i] + v * LANES), change[v]));
    for (int c = 0; most > 0 && c < TILE_ROWS; c++) sums[i][c] = adapter_bounded(sums[i][c], most);
  }
}
