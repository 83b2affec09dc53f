/* What happens to the sums of a tile on their way to the output. Part of kernels_template.h. */

static ALWAYS_INLINE vfloat act_apply(enum act_kind act, vfloat x) {
  if (act == ACT_SILU) return vfloat_mul(x, vfloat_sigmoid(x));
  if (act == ACT_GELU) return vfloat_gelu(x);
  if (act == ACT_RELU) return vfloat_max(vfloat_set(0), x);
  if (act == ACT_TANH) /* 2 · sigmoid(2x) − 1 */
    return vfloat_sub(vfloat_mul(vfloat_set(2), vfloat_sigmoid(vfloat_mul(x, vfloat_set(2)))), vfloat_set(1));
  if (act == ACT_GELU_QUICK) return vfloat_mul(x, vfloat_sigmoid(vfloat_mul(x, vfloat_set(1.702f))));
  if (act != ACT_GELU_TANH) return x;
  const float twice_root = 1.5957691216057308f; /* x/2 · (1 + tanh u) = x · sigmoid(2u), 2u = 2 · √(2/π) · (…) */
  vfloat cube = vfloat_mul(vfloat_mul(x, x), x);
  vfloat inner = vfloat_fma(cube, vfloat_set(0.044715f), x);
  return vfloat_mul(x, vfloat_sigmoid(vfloat_mul(vfloat_set(twice_root), inner)));
}

/* The 16 columns of a tile in one row, each NULL where there is none: sums and, if gated, those of its partner. */
struct tail_row {
  const float *sum, *up, *bias, *up_bias, *residual;
  float *out; /* may be `residual` */
};

/* Bounds come first: an instruction that is given no number returns its second operand. */
static ALWAYS_INLINE vfloat up_finish(const struct linear_tail *tail, vfloat up) {
  if (tail->limit > 0) up = vfloat_max(vfloat_set(-tail->limit), vfloat_min(vfloat_set(tail->limit), up));
  return tail->up_add != 0 ? vfloat_add(up, vfloat_set(tail->up_add)) : up;
}

static ALWAYS_INLINE void tail_vectors(const enum act_kind act, const struct linear_tail *tail, struct tail_row row) {
  for (int i = 0; i < TILE_ROWS; i += LANES) {
    vfloat value = vfloat_load(row.sum + i);
    if (row.bias) value = vfloat_add(value, vfloat_load(row.bias + i));
    if (tail->limit > 0) value = vfloat_min(vfloat_set(tail->limit), value);
    value = act_apply(act, value);
    if (row.up) {
      vfloat up = vfloat_load(row.up + i);
      value = vfloat_mul(value, up_finish(tail, row.up_bias ? vfloat_add(up, vfloat_load(row.up_bias + i)) : up));
    }
    value = vfloat_mul(value, vfloat_set(tail->scale));
    if (tail->softcap > 0) value = vfloat_softcap(value, tail->softcap);
    if (row.residual) {
      vfloat residual = vfloat_load(row.residual + i);
      value = tail->multiply ? vfloat_mul(value, residual) : vfloat_add(value, residual);
    }
    vfloat_store(row.out + i, value);
  }
}

/* The bias of a tile, zero beyond the rows of the weight: where it lies, or in `last`. */
static const float *tile_bias(const struct cpu_layout *layout, const float *bias, int tile, float last[TILE_ROWS]) {
  int first = tile * TILE_ROWS;
  if (first + TILE_ROWS <= layout->rows) return bias + first;
  for (int i = 0; i < TILE_ROWS; i++) last[i] = first + i < layout->rows ? bias[first + i] : 0;
  return last;
}

/* What the adapters of these rows add to the tile's sums, and to its partner's. */
static NEVER_INLINE void sums_adapt(const struct linear_tail *tail, int tile, tile_sums *sums, int partner, int first,
                                    int n) {
  const struct adapter_use *uses = tail->adapters + first * ROW_LORAS;
  tile_adapt(uses, tile, sums, n);
  if (tail->gated) tile_adapt(uses, tile + 1, sums + partner, n);
}

/* The rows of a tile on their way: what `row` is of the first of them, of the results' row 0, and how far the next one
 * is. They are the results' rows from `first` on, or those that place[first], … name. */
struct tail_rows {
  struct tail_row row;
  const int32_t *place; /* or NULL */
  int first, n, n_col;
  size_t out_stride, residual_stride;
};

static ALWAYS_INLINE void rows_store(const enum act_kind act, const struct linear_tail *tail, struct tail_rows rows) {
  float last_residual[TILE_ROWS] = {0}, last[TILE_ROWS];
  struct tail_row row = rows.row;
  for (int i = 0; i < rows.n; i++) {
    size_t at = rows.place ? (size_t)rows.place[rows.first + i] : (size_t)(rows.first + i);
    row.out = rows.row.out + at * rows.out_stride;
    if (row.residual) row.residual = rows.row.residual + at * rows.residual_stride;
    if (rows.n_col >= TILE_ROWS) {
      tail_vectors(act, tail, row);
    } else {
      struct tail_row short_row = row;
      if (row.residual) short_row.residual = memcpy(last_residual, row.residual, rows.n_col * sizeof *last);
      short_row.out = last;
      tail_vectors(act, tail, short_row);
      memcpy(row.out, last, rows.n_col * sizeof *last);
    }
    row.sum += TILE_ROWS;
    if (row.up) row.up += TILE_ROWS;
  }
}

/* A copy for each activation, so that no row has to choose. */
static void rows_store_by_act(const struct linear_tail *tail, struct tail_rows rows) {
  switch (tail->act) {
  case ACT_SILU: rows_store(ACT_SILU, tail, rows); break;
  case ACT_GELU: rows_store(ACT_GELU, tail, rows); break;
  case ACT_TANH: rows_store(ACT_TANH, tail, rows); break;
  case ACT_RELU: rows_store(ACT_RELU, tail, rows); break;
  case ACT_GELU_QUICK: rows_store(ACT_GELU_QUICK, tail, rows); break;
  case ACT_GELU_TANH: rows_store(ACT_GELU_TANH, tail, rows); break;
  default: rows_store(ACT_NONE, tail, rows); break;
  }
}

/* A tile's sums (and its partner's `partner` further on, if gated) of rows [first, first + n) through the tail. */
static void tail_store(const struct cpu_layout *layout, const struct linear_tail *shared, int tile, tile_sums *sums,
                       int partner, int first, int n, float *out, size_t out_stride) {
  const struct linear_tail own = *shared, *tail = &own; /* no store into out can change it: it stays in registers */
  int column = (tail->gated ? tile / 2 : tile) * TILE_ROWS, n_col = tail->out_cols - column;
  float bias[TILE_ROWS], up_bias[TILE_ROWS];
  if (n_col <= 0) return;
  if (tail->adapters) sums_adapt(tail, tile, sums, partner, first, n);
  struct tail_row row = {.sum = sums[0],
                         .up = tail->gated ? sums[partner] : NULL,
                         .bias = tail->bias ? tile_bias(layout, tail->bias, tile, bias) : NULL,
                         .up_bias = tail->bias && tail->gated ? tile_bias(layout, tail->bias, tile + 1, up_bias) : NULL,
                         .residual = tail->residual ? tail->residual + column : NULL,
                         .out = out + column};
  rows_store_by_act(tail, (struct tail_rows){row, tail->place, first, n, n_col, out_stride, tail->residual_stride});
}

/* The sums of tiles from `tile` on, of rows from `first` on of the result. */
struct tile_end {
  const struct linear_tail *tail;
  int tile, first;
  float *out;
  size_t out_stride;
};

/* The lines that the tail of n_tile tiles will add and write of rows [row, row + n), asked for before their last
 * products. */
static ALWAYS_INLINE void panel_ask(const struct tile_end *end, int n_tile, int row, int n) {
  const struct linear_tail *tail = end->tail;
  int pair = tail->gated ? 2 : 1, column = end->tile / pair * TILE_ROWS, columns = n_tile / pair * TILE_ROWS;
  if (tail->bias) __builtin_prefetch(tail->bias + end->tile * TILE_ROWS);
  for (int i = end->first + row; i < end->first + row + n; i++) {
    size_t at = tail->place ? (size_t)tail->place[i] : (size_t)i;
    for (int c = column; c < column + columns; c += LINE_FLOATS) {
      __builtin_prefetch(end->out + at * end->out_stride + c, 1);
      if (tail->residual && tail->residual != end->out)
        __builtin_prefetch(tail->residual + at * tail->residual_stride + c);
    }
  }
}
