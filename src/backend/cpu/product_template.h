/* Products of row-major floats with keys and values where they lie. Part of kernels_template.h.
 *
 * out = scale × out + left · right in panels of rows × vectors that stay in registers over the depth: one fused
 * multiply-add for each number and step of the depth, in its order, whatever the panel. */

/* The right side of a product where it lies, as floats, half floats or codes of eight bits: rows in runs, each run
 * somewhere else, and the vectors of a row anywhere relative to its start. */
struct side {
  uint8_t type;              /* enum kv_dtype, not bf16 */
  const uint8_t *const *run; /* where the first row of each run starts */
  int run_rows, first_rows;  /* rows of a run, and of the first one */
  size_t stride;             /* bytes from row to row of a run */
  const ptrdiff_t *vector;   /* bytes from the start of a row to each of its vectors */
};

/* A panel of few rows is wider: sums enough to hide the latency of a multiply-add, and more of them for each load. */
enum { PRODUCT_WIDE = 2 * PRODUCT_VECTORS, PRODUCT_FEW = PRODUCT_ROWS / 2 };

static ALWAYS_INLINE vfloat side_load(const uint8_t type, const uint8_t *from) {
  return type == KV_F16    ? vfloat_from_half(from)
         : type == KV_INT8 ? vfloat_from_int8(from)
         : type == KV_E4M3 ? vfloat_from_e4m3(from)
                           : vfloat_load((const float *)(const void *)from);
}

/* sum[r][v] += left[r][k] × right[k][v], with as few registers beside the sums as the panel's form allows. */
static ALWAYS_INLINE void panel_step(const int rows, const int vectors, const uint8_t type, const float *left,
                                     size_t stride, const uint8_t *right, const ptrdiff_t *vector,
                                     vfloat sum[PRODUCT_ROWS][PRODUCT_WIDE]) {
  if (rows <= PRODUCT_FEW) {
    vfloat x[PRODUCT_FEW];
    UNROLL(8)
    for (int r = 0; r < rows; r++) x[r] = vfloat_set(left[(size_t)r * stride]);
    UNROLL(8)
    for (int v = 0; v < vectors; v++) {
      vfloat column = side_load(type, right + vector[v]);
      UNROLL(8)
      for (int r = 0; r < rows; r++) sum[r][v] = vfloat_fma(x[r], column, sum[r][v]);
    }
    return;
  }
  vfloat column[PRODUCT_WIDE];
  UNROLL(8)
  for (int v = 0; v < vectors; v++) column[v] = side_load(type, right + vector[v]);
  UNROLL(8)
  for (int r = 0; r < rows; r++) {
    vfloat x = vfloat_set(left[(size_t)r * stride]);
    UNROLL(8)
    for (int v = 0; v < vectors; v++) sum[r][v] = vfloat_fma(x, column[v], sum[r][v]);
  }
}

/* rows × vectors of out = scale × out + left · right (scale NULL: left · right), held in registers over the depth. */
static ALWAYS_INLINE void product_panel(const int rows, const int vectors, const uint8_t type, struct grid out,
                                        const float *scale, struct grid left, const struct side *right, int from,
                                        int depth) {
  vfloat sum[PRODUCT_ROWS][PRODUCT_WIDE];
  ptrdiff_t vector[PRODUCT_WIDE];
  UNROLL(8)
  for (int v = 0; v < vectors; v++) vector[v] = right->vector[from + v];
  out.data += from * LANES;
  UNROLL(8)
  for (int r = 0; r < rows; r++) {
    UNROLL(8)
    for (int v = 0; v < vectors; v++) {
      const float *at = out.data + (size_t)r * out.stride + v * LANES;
      sum[r][v] = scale ? vfloat_mul(vfloat_load(at), vfloat_set(scale[r])) : vfloat_set(0);
    }
  }
  for (int run = 0, k = 0, end = right->first_rows; k < depth; run++, end = k + right->run_rows) {
    const uint8_t *row = right->run[run];
    for (end = end < depth ? end : depth; k < end; k++, row += right->stride)
      panel_step(rows, vectors, type, left.data + k, left.stride, row, vector, sum);
  }
  UNROLL(8)
  for (int r = 0; r < rows; r++) {
    UNROLL(8)
    for (int v = 0; v < vectors; v++) vfloat_store(out.data + (size_t)r * out.stride + v * LANES, sum[r][v]);
  }
}

/* Vectors [from, end) of the columns, as wide as they fill panels. */
static ALWAYS_INLINE void product_rows(const int rows, const uint8_t type, int from, int end, struct grid out,
                                       const float *scale, struct grid left, const struct side *right, int depth) {
  if (rows <= PRODUCT_FEW)
    for (; from + PRODUCT_WIDE <= end; from += PRODUCT_WIDE)
      product_panel(rows, PRODUCT_WIDE, type, out, scale, left, right, from, depth);
  for (; from + PRODUCT_VECTORS <= end; from += PRODUCT_VECTORS)
    product_panel(rows, PRODUCT_VECTORS, type, out, scale, left, right, from, depth);
  for (; PRODUCT_VECTORS > 2 && from + 2 <= end; from += 2)
    product_panel(rows, 2, type, out, scale, left, right, from, depth);
  for (; from < end; from++) product_panel(rows, 1, type, out, scale, left, right, from, depth);
}

/* out[n][vectors from, end) = scale × out + left[n][depth] · right[depth]. */
static ALWAYS_INLINE void product_typed(const uint8_t type, int n, int from, int end, struct grid out,
                                        const float *scale, struct grid left, const struct side *right, int depth) {
  for (; n >= PRODUCT_ROWS; n -= PRODUCT_ROWS) {
    product_rows(PRODUCT_ROWS, type, from, end, out, scale, left, right, depth);
    out.data += PRODUCT_ROWS * out.stride, left.data += PRODUCT_ROWS * left.stride;
    if (scale) scale += PRODUCT_ROWS;
  }
  switch (n) {
  case 5: product_rows(5, type, from, end, out, scale, left, right, depth); break;
  case 4: product_rows(4, type, from, end, out, scale, left, right, depth); break;
  case 3: product_rows(3, type, from, end, out, scale, left, right, depth); break;
  case 2: product_rows(2, type, from, end, out, scale, left, right, depth); break;
  case 1: product_rows(1, type, from, end, out, scale, left, right, depth); break;
  default: break;
  }
}

static void product(int n, int from, int end, struct grid out, const float *scale, struct grid left,
                    const struct side *right, int depth) {
  switch (right->type) {
  case KV_F16: product_typed(KV_F16, n, from, end, out, scale, left, right, depth); break;
  case KV_INT8: product_typed(KV_INT8, n, from, end, out, scale, left, right, depth); break;
  case KV_E4M3: product_typed(KV_E4M3, n, from, end, out, scale, left, right, depth); break;
  default: product_typed(KV_F32, n, from, end, out, scale, left, right, depth); break;
  }
}
