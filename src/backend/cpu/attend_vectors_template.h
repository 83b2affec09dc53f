/* Attention's two products of a tile with vectors: scores = q · keys with one fused multiply-add a dimension, in their
 * order, and the weighted values with one a key. Part of kernels_template.h. */

/* What the products keep in a work's scratch: a tile's keys and values as floats, and where vectors start. */
struct tile_operands {
  struct grid query;
  float *key, *value;
  ptrdiff_t *value_vector[2]; /* of the values' side: copied, in place */
  int value_cols;
};

static struct tile_operands operands_start(const struct attend_work *work, const struct attend_state *state,
                                           float **scratch) {
  const struct kv_layout *l = work->kv.layout;
  size_t cols = (size_t)state->value_cols;
  struct tile_operands o = {.query = {(float *)work->query, (size_t)l->dim_k}, .value_cols = state->value_cols};
  o.key = scratch_take(scratch, KEY_TILE * (size_t)l->dim_k);
  o.value = scratch_take(scratch, KEY_TILE * cols);
  for (int in_place = 0; in_place < 2; in_place++) {
    size_t element = in_place ? l->element : sizeof(float);
    o.value_vector[in_place] = (ptrdiff_t *)scratch_take(scratch, cols * sizeof(ptrdiff_t) / sizeof(float));
    for (size_t v = 0; v < cols / LANES; v++) o.value_vector[in_place][v] = (ptrdiff_t)(v * LANES * element);
  }
  return o;
}

/* The keys and values of a tile as the right sides of products. */
struct tile_view {
  struct side key, value;
  const uint8_t *key_run, *value_run[KEY_TILE];
  ptrdiff_t key_vector[KEY_TILE / LANES];
};

/* Many queries are worth copying a tile for, as floats and side by side. */
enum { IN_PLACE_QUERIES = 2 * PRODUCT_ROWS };

static bool tile_in_place(const struct kv_layout *layout, int n_query) {
  bool whole = layout->tile % LANES == 0 && layout->dim_v % LANES == 0; /* no vector reaches into what is not there */
  return whole && !layout->value_in_key &&
         (layout->dtype == KV_F32 || (layout->dtype != KV_BF16 && n_query <= IN_PLACE_QUERIES));
}

static void tile_view_in_place(const struct tile_span *span, struct tile_view *view) {
  const struct kv_layout *l = span->kv->layout;
  int n_run = 0, start = span->start, low = span->low;
  view->key_run = kv_head_keys(span->kv, start + low);
  for (int run = low / l->tile * l->tile; run < span->high; run += l->tile) {
    const uint8_t *keys = kv_head_keys(span->kv, start + run);
    for (int i = 0; i < l->tile; i += LANES)
      view->key_vector[(run + i) / LANES] = keys - view->key_run + i * (ptrdiff_t)l->element;
    view->value_run[n_run++] = kv_head_value(span->kv, start + (run > low ? run : low));
  }
  view->key.stride = (size_t)l->tile * l->element;
  view->value.stride = (size_t)l->stored_v * l->element;
  view->value.first_rows = l->tile - low % l->tile;
  view->key.type = view->value.type = l->dtype;
}

static void codes_widen(bool e4m3, const uint8_t *code, int n, float *to) {
  int i = 0;
  for (; i + LANES <= n; i += LANES)
    vfloat_store(to + i, e4m3 ? vfloat_from_e4m3(code + i) : vfloat_from_int8(code + i));
  for (; i < n; i++) to[i] = e4m3 ? e4m3_to_float(code[i]) * (1 / E4M3_UNIT) : (float)(int8_t)code[i];
}

/* n floats; of pairs the lower halves or the upper ones; of codes without their scale. */
static void widen(const struct kv_layout *layout, const void *from, int n, int upper, float *to) {
  int i = 0;
  if (layout->dtype == KV_F32) {
    memcpy(to, from, (size_t)n * sizeof *to);
  } else if (layout->dtype == KV_F16) {
    const uint16_t *half = from;
    for (; i + LANES <= n; i += LANES) vfloat_store(to + i, vfloat_from_half(half + i));
    for (; i < n; i++) to[i] = half_to_float(half[i]);
  } else if (kv_is_coded(layout->dtype)) {
    codes_widen(layout->dtype == KV_E4M3, from, n, to);
  } else {
    const uint16_t *pair = from;
    for (; i + LANES <= n; i += LANES) vfloat_store(to + i, vfloat_from_pairs(pair + 2 * i, upper));
    for (; i < n; i++) to[i] = bfloat_to_float(pair[2 * i + upper]);
  }
}

/* The values of keys [low, high) of a copied tile that are the ends of its keys: [key][value_cols] from key 0 on. */
static void values_turn(const struct tile_operands *o, const struct kv_layout *l, int low, int high) {
  const float *key = o->key + (size_t)(l->dim_k - l->dim_v) * KEY_TILE;
  for (int d = 0; d < o->value_cols; d += LANES)
    for (int i = low / LANES * LANES; i < high; i += LANES) {
      vfloat block[LANES];
      for (int r = 0; r < LANES; r++)
        block[r] = d + r < l->dim_v ? vfloat_load(key + (d + r) * KEY_TILE + i) : vfloat_set(0);
      vfloat_turn(block);
      for (int r = 0; r < LANES; r++) vfloat_store(o->value + (i + r) * o->value_cols + d, block[r]);
    }
}

static void tile_view_copied(const struct tile_operands *o, const struct tile_span *span, struct tile_view *view) {
  const struct kv_layout *l = span->kv->layout;
  int pair = l->together;
  float *value = o->value;
  for (int run = span->low / l->tile * l->tile; run < span->high; run += l->tile) {
    const uint8_t *from = kv_head_keys(span->kv, span->start + run);
    for (int d = 0; d < l->dim_k; d++)
      widen(l, from + (size_t)(d / pair * pair * l->tile) * l->element, l->tile, d % pair, o->key + d * KEY_TILE + run);
  }
  if (l->value_in_key) values_turn(o, l, span->low, span->high), value += span->low * o->value_cols;
  for (int i = span->low; i < span->high && !l->value_in_key; i++)
    widen(l, kv_head_value(span->kv, span->start + i), l->dim_v, i % pair, value + (i - span->low) * o->value_cols);
  for (int v = 0; v < KEY_TILE / LANES; v++) view->key_vector[v] = v * (ptrdiff_t)sizeof(vfloat);
  view->key_run = (const uint8_t *)o->key;
  view->key.stride = KEY_TILE * sizeof(float);
  view->value_run[0] = (const uint8_t *)value;
  view->value.stride = (size_t)o->value_cols * sizeof(float);
  view->value.first_rows = KEY_TILE;
  view->key.type = view->value.type = KV_F32;
}

static void tile_view_init(const struct tile_operands *o, const struct tile_span *span, struct tile_view *view) {
  const struct kv_layout *l = span->kv->layout;
  bool in_place = tile_in_place(l, span->n_query);
  view->key.run = &view->key_run;
  view->key.first_rows = l->dim_k;
  view->key.run_rows = 0; /* there is one run */
  view->key.vector = view->key_vector;
  view->value.run = view->value_run;
  view->value.run_rows = l->tile;
  view->value.vector = o->value_vector[in_place];
  if (in_place)
    tile_view_in_place(span, view);
  else
    tile_view_copied(o, span, view);
}

static struct grid grid_from(struct grid grid, size_t row) {
  return (struct grid){grid.data + row * grid.stride, grid.stride};
}

static void tile_scores(const struct tile_operands *o, const struct attend_state *state, const struct tile_span *span,
                        const struct tile_view *view) {
  product(span->n_query, span->low / LANES, (span->high + LANES - 1) / LANES, grid_from(state->score, span->first),
          NULL, grid_from(o->query, span->first), &view->key, span->kv->layout->dim_k);
}

static void tile_values(const struct tile_operands *o, const struct attend_state *state, const struct tile_span *span,
                        const struct tile_view *view) {
  struct grid weight = grid_from(state->score, span->first);
  weight.data += span->low;
  product(span->n_query, 0, o->value_cols / LANES, grid_from(state->result, span->first), state->shrink + span->first,
          weight, &view->value, span->high - span->low);
}

/* --- storing ------------------------------------------------------------------------------------------------------ */

/* LANES tokens' dimensions [d, d + LANES); zeros for the tokens that there are not. */
static ALWAYS_INLINE void keys_turn(const struct attend_rows *rows, int first, int d) {
  vfloat block[LANES];
  UNROLL(16)
  for (int i = 0; i < LANES; i++)
    block[i] = first + i < rows->n ? vfloat_load(rows->key + (size_t)(first + i) * rows->stride + d) : vfloat_set(0);
  vfloat_turn(block);
  UNROLL(16)
  for (int i = 0; i < LANES; i++) vfloat_store(rows->to_key + (size_t)(d + i) * rows->tile + first, block[i]);
}

static void attend_store(const struct attend_rows *rows) {
  for (int d = 0; d < rows->dim_k; d += LANES)
    for (int first = 0; first < ATTEND_LANES; first += LANES) keys_turn(rows, first, d);
  for (int i = 0; i < rows->n; i++)
    for (int d = 0; d < rows->dim_v; d += LANES)
      vfloat_store(rows->to_value + (size_t)i * rows->stored_v + d,
                   vfloat_load(rows->value + (size_t)i * rows->stride + d));
}
