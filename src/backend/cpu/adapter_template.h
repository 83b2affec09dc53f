/* Adapters: the shrink of inputs, and the expansion of a tile's sums before the tail takes them. Several rows with one
 * adapter are taken together, so that its factors are read and widened once for all of them; a row's sums are formed in
 * one order, whatever is multiplied beside them. Part of kernels_template.h. */

enum { FACTOR_AHEAD_BYTES = 1024 };

static ALWAYS_INLINE vfloat factor_load(const uint8_t type, const void *numbers, size_t i) {
  return type == FACTOR_BF16  ? vfloat_from_bfloat((const uint16_t *)numbers + i)
         : type == FACTOR_F16 ? vfloat_from_half((const uint16_t *)numbers + i)
                              : vfloat_load((const float *)numbers + i);
}

/* The memory is asked in advance for what follows in a factor: a step with many adapters reads many short streams, of
 * which hardware notices some too late. */
static ALWAYS_INLINE void factor_ahead(const uint8_t type, const void *numbers, size_t i) {
  const char *from = (const char *)numbers + i * (type == FACTOR_F32 ? 4 : 2);
  __builtin_prefetch(from + FACTOR_AHEAD_BYTES);
}

/* --- shrink ------------------------------------------------------------------------------------------------------- */

/* The sum of 16 numbers, by halves; loops of constant length become vectors. */
static ALWAYS_INLINE float lanes_sum(float lane[FACTOR_COLUMNS]) {
  _Static_assert(FACTOR_COLUMNS == 16, "four halves");
  for (int i = 0; i < 8; i++) lane[i] += lane[i + 8];
  for (int i = 0; i < 4; i++) lane[i] += lane[i + 4];
  for (int i = 0; i < 2; i++) lane[i] += lane[i + 2];
  return lane[0] + lane[1];
}

/* Blocks of so many groups. */
static ALWAYS_INLINE void groups_ahead(const uint8_t type, const struct adapter_factors *factors, size_t at,
                                       const int n_group) {
  for (int g = 0; g < n_group; g++, at += FACTOR_ROWS * factors->a_stride) {
    factor_ahead(type, factors->a, at);
    factor_ahead(type, factors->a, at + FACTOR_BLOCK / 2);
  }
}

typedef float lane_sums[SHRINK_TOGETHER][2 * FACTOR_ROWS][FACTOR_COLUMNS];

/* Of n_group groups of FACTOR_ROWS rows of a, and n rows of input, `vectors` vectors of the sums from `from` on. */
static ALWAYS_INLINE void shrink_lanes(const uint8_t type, const int n_group, const int n, const int from,
                                       const int vectors, const struct adapter_factors *factors, size_t group,
                                       const struct shrink_row *rows, lane_sums lanes) {
  vfloat sum[SHRINK_TOGETHER][2 * FACTOR_ROWS][VECTORS];
  const float *x[SHRINK_TOGETHER];
  size_t group_numbers = FACTOR_ROWS * factors->a_stride, at = group * group_numbers;
  for (int t = 0; t < n; t++) x[t] = rows[t].x;
  UNROLL(8)
  for (int t = 0; t < n; t++) UNROLL(8)
  for (int r = 0; r < n_group * FACTOR_ROWS; r++) UNROLL(4)
  for (int v = 0; v < vectors; v++) sum[t][r][v] = vfloat_set(0);
  for (size_t c = 0; c < factors->a_stride; c += FACTOR_COLUMNS, at += FACTOR_BLOCK) {
    if (n == 1) groups_ahead(type, factors, at, n_group);
    UNROLL(8)
    for (int r = 0; r < n_group * FACTOR_ROWS; r++) UNROLL(4)
    for (int v = 0; v < vectors; v++) {
      size_t lane = (size_t)((from + v) * LANES);
      size_t row = (size_t)(r / FACTOR_ROWS) * group_numbers + (size_t)(r % FACTOR_ROWS * FACTOR_COLUMNS);
      vfloat a = factor_load(type, factors->a, at + row + lane);
      UNROLL(8)
      for (int t = 0; t < n; t++) sum[t][r][v] = vfloat_fma(a, vfloat_load(x[t] + c + lane), sum[t][r][v]);
    }
  }
  UNROLL(8)
  for (int t = 0; t < n; t++) UNROLL(8)
  for (int r = 0; r < n_group * FACTOR_ROWS; r++) UNROLL(4)
  for (int v = 0; v < vectors; v++) vfloat_store(lanes[t][r] + (from + v) * LANES, sum[t][r][v]);
}

/* Groups [group, group + n_group) for n rows: all vectors of a block at once for one, one after the other for more. */
static ALWAYS_INLINE void shrink_groups(const uint8_t type, const int n_group, const int n,
                                        const struct adapter_factors *factors, size_t group,
                                        const struct shrink_row *rows) {
  lane_sums lanes;
  const int vectors = n == 1 ? VECTORS : 1;
  for (int from = 0; from < VECTORS; from += vectors)
    shrink_lanes(type, n_group, n, from, vectors, factors, group, rows, lanes);
  for (int t = 0; t < n; t++)
    for (int r = 0; r < n_group * FACTOR_ROWS; r++) {
      size_t k = group * FACTOR_ROWS + (size_t)r;
      rows[t].h[k] = rows[t].scale * (factors->gain[k] * lanes_sum(lanes[t][r]));
    }
}

static ALWAYS_INLINE void shrink_typed(const uint8_t type, const struct adapter_factors *factors, size_t group,
                                       size_t end, const struct shrink_row *rows, int n) {
  for (; SHRINK_TOGETHER > 1 && n >= SHRINK_TOGETHER; n -= SHRINK_TOGETHER, rows += SHRINK_TOGETHER)
    for (size_t g = group; g < end; g++) shrink_groups(type, 1, SHRINK_TOGETHER, factors, g, rows);
  for (; n > 0; n--, rows++) {
    size_t g = group;
    for (; (int)LANES == (int)FACTOR_COLUMNS && g + 2 <= end; g += 2) shrink_groups(type, 2, 1, factors, g, rows);
    for (; g < end; g++) shrink_groups(type, 1, 1, factors, g, rows);
  }
}

/* h[first, first + count) of n ≤ SHRINK_TOKENS rows. */
static void shrink(const struct adapter_factors *factors, int first, int count, const struct shrink_row *rows, int n) {
  size_t group = (size_t)first / FACTOR_ROWS, end = group + (size_t)count / FACTOR_ROWS;
  switch (factors->a_type) {
  case FACTOR_BF16: shrink_typed(FACTOR_BF16, factors, group, end, rows, n); break;
  case FACTOR_F16: shrink_typed(FACTOR_F16, factors, group, end, rows, n); break;
  default: shrink_typed(FACTOR_F32, factors, group, end, rows, n); break;
  }
}

/* --- expand ------------------------------------------------------------------------------------------------------- */

enum { EXPAND_ROWS = 8 }; /* that are expanded at once, at most */

/* Σ b·h of a vector of the tile, in n rows with one adapter: to delta, or with `most` to its place in sums, which are
 * bounded. */
static ALWAYS_INLINE void expand_vector(const uint8_t type, const int n, const struct adapter_use *uses,
                                        const struct factor_tile *tile, int v, tile_sums *to, const float *most) {
  vfloat sum[EXPAND_ROWS];
  const float *h[EXPAND_ROWS];
  size_t at = (size_t)tile->b * TILE_ROWS + (size_t)(v * LANES);
  UNROLL(8)
  for (int i = 0; i < n; i++) {
    sum[i] = vfloat_set(0);
    h[i] = uses[i * ROW_LORAS].h + tile->first;
  }
  for (int k = 0; k < tile->count; k++, at += TILE_ROWS) {
    if (n == 1) factor_ahead(type, uses->factors->b, at);
    vfloat column = factor_load(type, uses->factors->b, at);
    UNROLL(8)
    for (int i = 0; i < n; i++) sum[i] = vfloat_fma(column, vfloat_set(h[i][k]), sum[i]);
  }
  UNROLL(8)
  for (int i = 0; i < n; i++) {
    float *place = to[i] + v * LANES;
    vfloat_store(place, most ? vfloat_bounded(vfloat_add(vfloat_load(place), sum[i]), *most) : sum[i]);
  }
}

static ALWAYS_INLINE void expand_typed(const uint8_t type, const struct adapter_use *uses,
                                       const struct factor_tile *tile, tile_sums *to, const float *most, int n) {
  for (int v = 0; n == EXPAND_ROWS && v < VECTORS; v++) expand_vector(type, EXPAND_ROWS, uses, tile, v, to, most);
  for (; n < EXPAND_ROWS && n > 0; n--, uses += ROW_LORAS, to++) {
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) expand_vector(type, 1, uses, tile, v, to, most);
  }
}

/* delta becomes g · (sum + delta) − sum, without the difference of two that are alike. */
static void tile_magnitude(const struct adapter_use *uses, int tile, tile_sums *sums, tile_sums *delta, int n) {
  double g[TILE_ROWS];
  for (int i = 0; i < n; i++) {
    float scale = uses[i * ROW_LORAS].scale;
    for (int c = 0; c < TILE_ROWS && (i == 0 || scale != uses[(i - 1) * ROW_LORAS].scale); c++)
      g[c] = adapter_gain(uses->factors, (size_t)(tile * TILE_ROWS + c), scale);
    for (int c = 0; c < TILE_ROWS; c++) delta[i][c] = (float)((g[c] - 1) * sums[i][c] + g[c] * delta[i][c]);
  }
}

/* As expand_vector, of a whole tile. */
static ALWAYS_INLINE void tile_product(const struct adapter_use *uses, int tile, tile_sums *to, const float *most,
                                       int n) {
  const struct adapter_factors *factors = uses->factors;
  switch (factors->b_type) {
  case FACTOR_BF16: expand_typed(FACTOR_BF16, uses, &factors->tile[tile], to, most, n); break;
  case FACTOR_F16: expand_typed(FACTOR_F16, uses, &factors->tile[tile], to, most, n); break;
  default: expand_typed(FACTOR_F32, uses, &factors->tile[tile], to, most, n); break;
  }
}

/* What an adapter makes of a tile's sums in n rows, less the sums. */
static void tile_expand(const struct adapter_use *uses, int tile, tile_sums *sums, tile_sums *delta, int n) {
  const struct adapter_factors *factors = uses->factors;
  tile_product(uses, tile, delta, NULL, n);
  if (factors->magnitude) tile_magnitude(uses, tile, sums, delta, n);
  for (int i = 0; factors->shift && i < n; i++)
    for (int v = 0; v < VECTORS; v++) {
      vfloat shift = vfloat_load(factors->shift + tile * TILE_ROWS + v * LANES);
      float *to = delta[i] + v * LANES;
      vfloat_store(to, vfloat_fma(shift, vfloat_set(uses[i * ROW_LORAS].scale), vfloat_load(to)));
    }
}

/* How many of the first n rows have the same adapters. */
static int uses_alike(const struct adapter_use *uses, int n) {
  for (int i = 1; i < n; i++)
    for (int l = 0; l < ROW_LORAS; l++)
      if (uses[i * ROW_LORAS + l].factors != uses[l].factors) return i;
  return n;
}

static ALWAYS_INLINE void sums_add(tile_sums *to, tile_sums *change, int n) {
  for (int i = 0; i < n; i++)
    for (int v = 0; v < VECTORS; v++) {
      float *at = to[i] + v * LANES;
      vfloat_store(at, vfloat_add(vfloat_load(at), vfloat_load(change[i] + v * LANES)));
    }
}

static ALWAYS_INLINE void sums_bound(tile_sums *sums, float most, int n) {
  for (int i = 0; i < n; i++)
    for (int v = 0; v < VECTORS; v++) {
      float *at = sums[i] + v * LANES;
      vfloat_store(at, vfloat_bounded(vfloat_load(at), most));
    }
}

/* The one adapter of a row, whose change is Σ b·h alone; NULL: there are others, or it is more. */
static const struct adapter_use *only_product(const struct adapter_use *uses) {
  const struct adapter_use *only = NULL;
  for (int l = 0; l < ROW_LORAS; l++) {
    if (!uses[l].factors) continue;
    if (only || uses[l].factors->magnitude || uses[l].factors->shift) return NULL;
    only = &uses[l];
  }
  return only;
}

/* The sums of a tile in n rows that have the same adapters: each adds what it changes of the base's. */
static void alike_adapt(const struct adapter_use *uses, int tile, tile_sums *sums, int n) {
  tile_sums change[EXPAND_ROWS], further[EXPAND_ROWS];
  float most = 0; /* 0: no adapter is at work */
  const struct adapter_use *only = only_product(uses);
  if (only) {
    most = only->factors->most;
    tile_product(only, tile, sums, &most, n);
    return;
  }
  for (int l = 0; l < ROW_LORAS; l++) {
    if (!uses[l].factors) continue;
    tile_expand(&uses[l], tile, sums, most > 0 ? further : change, n);
    if (most > 0) sums_add(change, further, n);
    most = uses[l].factors->most;
  }
  if (most == 0) return;
  sums_add(sums, change, n);
  sums_bound(sums, most, n);
}

/* The sums of a tile in n rows, whose adapters are uses[n][ROW_LORAS]; bounded, whatever the factors. */
static void tile_adapt(const struct adapter_use *uses, int tile, tile_sums *sums, int n) {
  for (int i = 0, alike; i < n; i += alike) {
    alike = uses_alike(uses + i * ROW_LORAS, n - i < EXPAND_ROWS ? n - i : EXPAND_ROWS);
    alike_adapt(uses + i * ROW_LORAS, tile, sums + i, alike);
  }
}
