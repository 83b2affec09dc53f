/* Attention's two products of a tile on the matrix unit, over bf16 keys and values where they lie, or expanded from
 * E4M3: what kernels_amx.c gives attend_template.h. Queries and weights are split into two bf16 numbers each, whose
 * sum is off by 2⁻¹⁷ at most, and both parts are multiplied: what is lost is far below the rounding of the cache
 * itself, 2⁻⁹. Sums are FP32.
 *
 * 16 queries × 64 keys take 32 products of 16 cycles at dim 64; the softmax between them takes more. */

struct tile_operands {
  struct parts query, weight;
  size_t rows;                /* of a product */
  uint8_t *key;               /* a tile's keys from E4M3, [pair of dimensions][KEY_TILE][2] */
  uint8_t *value;             /* a tile's values, [pair of keys][value_bytes] */
  uint8_t *turned;            /* a tile's values in E4M3 out of its keys; NULL: they lie by themselves */
  size_t value_bytes;         /* of a pair of keys */
  float *stage;               /* [UNIT_QUERIES][value_cols] results of a product that is not full */
  struct expander expander;   /* of E4M3, whose quads give pairs another order: */
  bool ordered;               /* queries and weights are in it */
  struct quad_operands quads; /* of int8, in place of all these */
};

static void queries_split(const struct attend_work *work, const struct parts *parts, bool ordered) {
  size_t dim = (size_t)work->kv.layout->dim_k, n = (size_t)work->n_token * (size_t)work->n_head;
  for (size_t q = 0; q < n; q++)
    for (size_t d = 0; d < parts->stride; d += UNIT_DEPTH) {
      float x[UNIT_DEPTH] = {0};
      memcpy(x, work->query + q * dim + d, (dim - d < UNIT_DEPTH ? dim - d : UNIT_DEPTH) * sizeof *x);
      size_t at = q * parts->stride + d;
      vfloat first = vfloat_load(x), second = vfloat_load(x + LANES);
      if (ordered) first = quads_ordered(first), second = quads_ordered(second);
      parts_split(first, second, parts->high + at, parts->low + at);
    }
}

static size_t whole_units(size_t numbers) { return (numbers + UNIT_DEPTH - 1) / UNIT_DEPTH * UNIT_DEPTH; }

static struct tile_operands operands_start(const struct attend_work *work, const struct attend_state *state,
                                           float **scratch) {
  const struct kv_layout *l = work->kv.layout;
  size_t rows = (size_t)work->n_token * (size_t)work->n_head + UNIT_QUERIES;
  if (l->dtype == KV_INT8) return (struct tile_operands){.quads = quads_start(work, state, scratch)};
  size_t depth = whole_units((size_t)l->dim_k), cols = (size_t)l->stored_v;
  struct tile_operands o = {.query = parts_take(scratch, rows, depth),
                            .weight = parts_take(scratch, rows, KEY_TILE),
                            .value = (uint8_t *)scratch_take(scratch, KEY_TILE / 2 * cols),
                            .value_bytes = cols * 2 * sizeof(uint16_t),
                            .stage = scratch_take(scratch, UNIT_QUERIES * (size_t)state->value_cols),
                            .ordered = l->dtype == KV_E4M3};
  if (l->dtype == KV_E4M3) {
    size_t bytes = KEY_TILE * depth * sizeof(uint16_t), stored = KEY_TILE * (size_t)l->stored_k * sizeof(uint16_t);
    o.expander = expander_make();
    o.key = (uint8_t *)scratch_take(scratch, bytes / sizeof(float));
    memset(o.key + stored, 0, bytes - stored);
    if (l->value_in_key) o.turned = (uint8_t *)scratch_take(scratch, KEY_TILE * cols / sizeof(float));
  }
  o.rows = rows - UNIT_QUERIES < UNIT_QUERIES ? rows - UNIT_QUERIES : UNIT_QUERIES;
  queries_split(work, &o.query, o.ordered);
  return o;
}

/* --- a tile's keys and values ------------------------------------------------------------------------------------- */

/* Which halves of a pair of tokens are seen. */
static uint32_t pair_mask(const struct tile_span *span, int token) {
  bool first = token >= span->low && token < span->high, second = token + 1 >= span->low && token + 1 < span->high;
  return (first ? 0xFFFFu : 0) | (second ? 0xFFFF0000u : 0);
}

/* Side by side, with zeros for those that are not seen: what lies there may be anything. */
static void values_copy(const struct tile_span *span, uint8_t *to) {
  const struct kv_layout *l = span->kv->layout;
  size_t bytes = (size_t)l->stored_v * 2 * l->element;
  if (l->value_in_key) values_turn(span, to);
  for (int token = 0; token < KEY_TILE; token += 2, to += bytes) {
    uint32_t mask = pair_mask(span, token);
    if (!mask) {
      memset(to, 0, bytes);
      continue;
    }
    const uint8_t *from = l->value_in_key ? to : kv_head_value(span->kv, span->start + token);
    for (size_t i = 0; i < bytes; i += UNIT_BYTES)
      _mm512_store_si512(to + i, _mm512_and_si512(_mm512_loadu_si512(from + i), _mm512_set1_epi32((int)mask)));
  }
}

static void expanded_view_init(const struct tile_operands *o, const struct tile_span *span, struct tile_view *view) {
  for (int group = 0; group < KEY_GROUPS; group++) view->key[group] = o->key + group * UNIT_BYTES;
  view->key_stride = KEY_GROUPS * UNIT_BYTES;
  view->in_place = false;
  view->value = o->value;
  view->value_stride = o->value_bytes;
  keys_expand(&o->expander, span, o->key);
}

static void pairs_view_init(const struct tile_operands *o, const struct tile_span *span, struct tile_view *view) {
  const struct kv_layout *l = span->kv->layout;
  view->key_stride = (size_t)l->tile * 2 * l->element;
  view->value_stride = (size_t)l->stored_v * 2 * l->element;
  for (int group = 0; group < KEY_GROUPS; group++) {
    int token = group * LANES,
        seen = token < span->high && token + LANES > span->low ? token : span->low / LANES * LANES;
    view->key[group] = kv_head_keys(span->kv, span->start + seen) + (size_t)(seen % l->tile) * 2 * l->element;
  }
  /* unwritten values may be anything, NaN too: only those of a whole tile are multiplied where they are */
  view->in_place = l->tile == KEY_TILE && span->low == 0 && span->high == KEY_TILE && !l->value_in_key;
  view->value = view->in_place ? kv_head_value(span->kv, span->start) : o->value;
}

static void tile_view_init(const struct tile_operands *o, const struct tile_span *span, struct tile_view *view) {
  const struct kv_layout *l = span->kv->layout;
  values_ask(span);
  if (l->dtype == KV_INT8)
    quad_view_init(&o->quads, span, view);
  else if (l->dtype == KV_E4M3)
    expanded_view_init(o, span, view);
  else
    pairs_view_init(o, span, view);
}

/* --- products ----------------------------------------------------------------------------------------------------- */

/* Sums 0 to 3 take 16 rows × one part of 32 numbers of `left`, times four neighbours of `right`: four products that do
 * not wait for one another, which is what it takes to hide how long one needs. */
#define FOUR_SUMS(left, left_stride, right, stride)                                                                    \
  do {                                                                                                                 \
    _tile_loadd(LEFT, left, left_stride);                                                                              \
    _tile_loadd(RIGHT, (right)[0], stride);                                                                            \
    _tile_dpbf16ps(0, LEFT, RIGHT);                                                                                    \
    _tile_loadd(RIGHT_NEXT, (right)[1], stride);                                                                       \
    _tile_dpbf16ps(1, LEFT, RIGHT_NEXT);                                                                               \
    _tile_loadd(RIGHT, (right)[2], stride);                                                                            \
    _tile_dpbf16ps(2, LEFT, RIGHT);                                                                                    \
    _tile_loadd(RIGHT_NEXT, (right)[3], stride);                                                                       \
    _tile_dpbf16ps(3, LEFT, RIGHT_NEXT);                                                                               \
  } while (0)

static void pairs_scores(const struct tile_operands *o, const struct attend_state *state, const struct tile_span *span,
                         const struct tile_view *view) {
  size_t end = span->first + (size_t)span->n_query, bytes = state->score.stride * sizeof(float);
  size_t stride = o->query.stride * sizeof *o->query.high;
  memory_settle();
  for (size_t q = span->first; q < end; q += o->rows) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t d = 0; d < o->query.stride; d += UNIT_DEPTH) {
      size_t at = q * o->query.stride + d;
      const uint8_t *key[KEY_GROUPS];
      UNROLL(4)
      for (int g = 0; g < KEY_GROUPS; g++) key[g] = view->key[g] + d / 2 * view->key_stride;
      FOUR_SUMS(o->query.high + at, stride, key, view->key_stride);
      FOUR_SUMS(o->query.low + at, stride, key, view->key_stride);
    }
    float *score = state->score.data + q * state->score.stride;
    _tile_stored(0, score, bytes);
    _tile_stored(1, score + LANES, bytes);
    _tile_stored(2, score + 2 * LANES, bytes);
    _tile_stored(3, score + 3 * LANES, bytes);
  }
}

/* The weights of the softmax, zeros for keys and queries beyond those of the span. */
static void weights_split(const struct tile_operands *o, const struct attend_state *state,
                          const struct tile_span *span) {
  size_t end = span->first + (size_t)span->n_query;
  int n_vector = (span->high + LANES - 1) / LANES;
  for (size_t q = span->first; (q - span->first) % o->rows || q < end; q++)
    for (int v = 0; v < KEY_GROUPS; v += 2) {
      const float *weight = state->score.data + q * state->score.stride + v * LANES;
      vfloat zero = vfloat_set(0);
      vfloat first = q < end && v < n_vector ? vfloat_load(weight) : zero;
      vfloat second = q < end && v + 1 < n_vector ? vfloat_load(weight + LANES) : zero;
      size_t at = q * KEY_TILE + (size_t)v * LANES;
      if (o->ordered) first = quads_ordered(first), second = quads_ordered(second);
      parts_split(first, second, o->weight.high + at, o->weight.low + at);
    }
}

static void results_shrink(const struct attend_state *state, const struct tile_span *span) {
  for (size_t q = span->first; q < span->first + (size_t)span->n_query; q++) {
    if (state->shrink[q] == 1) continue;
    float *result = state->result.data + q * state->result.stride;
    for (int i = 0; i < state->value_cols; i += LANES)
      vfloat_store(result + i, vfloat_mul(vfloat_load(result + i), vfloat_set(state->shrink[q])));
  }
}

/* 16 queries' results, 64 dimensions of them. */
static ALWAYS_INLINE void results_add_four(const struct parts *weight, size_t at, const uint8_t *value, size_t stride,
                                           float *result, size_t bytes) {
  const size_t depth_bytes = UNIT_DEPTH / 2 * stride, weight_bytes = KEY_TILE * sizeof *weight->high;
  _tile_loadd(0, result, bytes);
  _tile_loadd(1, result + LANES, bytes);
  _tile_loadd(2, result + 2 * LANES, bytes);
  _tile_loadd(3, result + 3 * LANES, bytes);
  for (size_t key = 0; key < KEY_TILE; key += UNIT_DEPTH, value += depth_bytes) {
    const uint8_t *four[] = {value, value + UNIT_BYTES, value + 2 * UNIT_BYTES, value + 3 * UNIT_BYTES};
    FOUR_SUMS(weight->high + at + key, weight_bytes, four, stride);
    FOUR_SUMS(weight->low + at + key, weight_bytes, four, stride);
  }
  _tile_stored(0, result, bytes);
  _tile_stored(1, result + LANES, bytes);
  _tile_stored(2, result + 2 * LANES, bytes);
  _tile_stored(3, result + 3 * LANES, bytes);
}

/* 16 dimensions of them, in the same order. */
static ALWAYS_INLINE void results_add(const struct parts *weight, size_t at, const uint8_t *value, size_t stride,
                                      float *result, size_t bytes) {
  const size_t depth_bytes = UNIT_DEPTH / 2 * stride, weight_bytes = KEY_TILE * sizeof *weight->high;
  _tile_loadd(0, result, bytes);
  for (size_t key = 0; key < KEY_TILE; key += UNIT_DEPTH, value += depth_bytes) {
    _tile_loadd(RIGHT, value, stride);
    _tile_loadd(LEFT, weight->high + at + key, weight_bytes);
    _tile_dpbf16ps(0, LEFT, RIGHT);
    _tile_loadd(LEFT, weight->low + at + key, weight_bytes);
    _tile_dpbf16ps(0, LEFT, RIGHT);
  }
  _tile_stored(0, result, bytes);
}

/* All dimensions of the results of the queries from q on. */
static void product_add(const struct tile_operands *o, const struct tile_view *view, size_t q, struct grid result) {
  const uint8_t *value = view->value;
  size_t at = q * KEY_TILE, bytes = result.stride * sizeof(float);
  int group = 0, groups = (int)result.stride / LANES;
  for (; group + 4 <= groups; group += 4, value += 4 * UNIT_BYTES)
    results_add_four(&o->weight, at, value, view->value_stride, result.data + group * LANES, bytes);
  for (; group < groups; group++, value += UNIT_BYTES)
    results_add(&o->weight, at, value, view->value_stride, result.data + group * LANES, bytes);
}

/* A product that is not full goes by way of the stage: what comes after the span's queries is others', whose results no
 * value that only these see may touch, not even with a weight of zero (it may be infinite). */
static void pairs_values(const struct tile_operands *o, const struct attend_state *state, const struct tile_span *span,
                         const struct tile_view *view) {
  size_t end = span->first + (size_t)span->n_query, row_bytes = state->result.stride * sizeof(float);
  if (o->turned) values_turn(span, o->turned);
  if (o->ordered)
    values_expand(&o->expander, span, o->turned, o->value, o->value_bytes);
  else if (!view->in_place)
    values_copy(span, o->value);
  weights_split(o, state, span);
  results_shrink(state, span);
  memory_settle();
  for (size_t q = span->first; q < end; q += o->rows) {
    struct grid result = {state->result.data + q * state->result.stride, state->result.stride};
    if (end - q >= o->rows) {
      product_add(o, view, q, result);
      continue;
    }
    memcpy(o->stage, result.data, (end - q) * row_bytes);
    memory_settle();
    product_add(o, view, q, (struct grid){o->stage, result.stride});
    memory_settle();
    memcpy(result.data, o->stage, (end - q) * row_bytes);
  }
  memory_settle();
}

/* --- for attend_template.h ---------------------------------------------------------------------------------------- */

static void tile_scores(const struct tile_operands *o, const struct attend_state *state, const struct tile_span *span,
                        const struct tile_view *view) {
  if (span->kv->layout->dtype == KV_INT8)
    quad_scores(&o->quads, state, span, view);
  else
    pairs_scores(o, state, span, view);
}

static void tile_values(const struct tile_operands *o, const struct attend_state *state, const struct tile_span *span,
                        const struct tile_view *view) {
  next_keys_ask(span);
  if (span->kv->layout->dtype == KV_INT8)
    quad_values(&o->quads, state, span, view);
  else
    pairs_values(o, state, span, view);
}
