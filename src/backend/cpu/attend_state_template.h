/* What attention keeps for each query of a work while it walks the tiles: the online softmax (Milakov, Gimelshein,
 * "Online normalizer calculation for softmax", 2018). Part of the kernel templates. */

/* Where a work's scratch holds what. */
struct attend_state {
  struct grid score, result; /* [query][KEY_TILE], [query][value_cols] */
  float *sum;                /* [query][LANES] partial sums of the softmax */
  float *highest;            /* [query] */
  float *shrink;             /* [query] what earlier tiles weigh after this one */
  int value_cols;            /* dim_v in whole vectors: what results are computed for */
};

/* Of a tile in codes: what scores and weights are multiplied with for each key and value; 0 where none is seen. */
struct tile_scales {
  float key[KEY_TILE], value[KEY_TILE];
};

static void scales_read(const struct kv_head *kv, int start, int low, int high, struct tile_scales *scales) {
  *scales = (struct tile_scales){0};
  for (int n; low < high; low += n) {
    const float *key = kv_head_scales(kv, start + low), *value = key + kv_value_scale(kv->layout);
    n = kv->layout->tile - low % kv->layout->tile;
    if (n > high - low) n = high - low;
    memcpy(scales->key + low, key, (size_t)n * sizeof *key);
    memcpy(scales->value + low, value, (size_t)n * sizeof *value);
  }
}

/* Queries [first, first + n_query) against keys [low, high) of the tile at position `start` of a KV head; keys up to
 * `ahead` from its start will be wanted by the next. */
struct tile_span {
  const struct kv_head *kv;
  int start, low, high, ahead, n_query;
  size_t first;
};

static float *scratch_take(float **scratch, size_t n) {
  float *taken = *scratch;
  *scratch += (n + ATTEND_LANES - 1) / ATTEND_LANES * ATTEND_LANES;
  return taken;
}

static struct attend_state state_start(const struct attend_work *work, float **scratch) {
  size_t n = (size_t)work->n_token * (size_t)work->n_head, rows = n + ATTEND_ROWS;
  size_t cols = ((size_t)work->kv.layout->dim_v + LANES - 1) / LANES * LANES;
  struct attend_state state = {.value_cols = (int)cols};
  state.score = (struct grid){scratch_take(scratch, rows * KEY_TILE), KEY_TILE};
  state.result = (struct grid){scratch_take(scratch, rows * cols), cols};
  state.sum = scratch_take(scratch, n * LANES);
  state.highest = scratch_take(scratch, n);
  state.shrink = scratch_take(scratch, n);
  memset(state.result.data, 0, n * cols * sizeof(float));
  memset(state.sum, 0, n * LANES * sizeof(float));
  for (size_t i = 0; i < n; i++) {
    float sink = work->sink ? work->sink[i % (size_t)work->n_head] : -INFINITY;
    state.highest[i] = sink;
    if (work->sink) state.sum[i * LANES] = 1; /* exp(sink − highest) */
  }
  return state;
}

static void state_finish(const struct attend_work *work, const struct attend_state *state) {
  int dim_v = work->kv.layout->dim_v;
  for (int t = 0; t < work->n_token; t++)
    for (int h = 0; h < work->n_head; h++) {
      size_t index = (size_t)t * (size_t)work->n_head + (size_t)h;
      float total = 0;
      for (int i = 0; i < LANES; i++) total += state->sum[index * LANES + i];
      float share = total > 0 ? 1 / total : 0;
      const float *result = state->result.data + index * state->result.stride;
      float *out = work->out[t] + (size_t)h * (size_t)dim_v;
      for (int i = 0; i < dim_v; i++) out[i] = result[i] * share;
    }
}

static ALWAYS_INLINE vfloat scaled_load(const float *x, const float *scale) {
  return scale ? vfloat_mul(vfloat_load(x), vfloat_load(scale)) : vfloat_load(x);
}

/* What becomes of the scores of a tile: a cap (0: none), then `first` added to its first key's, `step` more to each
 * that follows; or to each what `by_key` (NULL: nothing) has for it. */
struct tile_bend {
  float softcap, first, step;
  const float *by_key;
};

static ALWAYS_INLINE vfloat slope_add(vfloat x, struct tile_bend slope, int key) {
  static const float lane[ATTEND_LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  float first = slope.first + slope.step * (float)key;
  return vfloat_add(x, vfloat_fma(vfloat_load(lane), vfloat_set(slope.step), vfloat_set(first)));
}

static ALWAYS_INLINE vfloat score_bend(vfloat x, struct tile_bend bend, int key) {
  if (bend.softcap != 0) x = vfloat_softcap(x, bend.softcap);
  if (bend.by_key) return vfloat_add(x, vfloat_load(bend.by_key + key));
  return bend.step != 0 ? slope_add(x, bend, key) : x;
}

/* Scores of the n_vector leading vectors become weights relative to the highest score so far; those outside of
 * [low, high) become zero; whole: there are none such. scales: of codes, whose weights stand for weighted values; NULL:
 * none. */
static ALWAYS_INLINE void softmax_update(const struct attend_state *state, size_t query, const bool whole, int n_vector,
                                         int low, int high, struct tile_bend bend, const struct tile_scales *scales) {
  float *score = state->score.data + query * state->score.stride, *sums = state->sum + query * LANES;
  vfloat top = vfloat_set(-INFINITY);
  UNROLL(4)
  for (int v = 0; v < n_vector; v++) {
    vfloat x = scaled_load(score + v * LANES, scales ? scales->key + v * LANES : NULL);
    x = score_bend(x, bend, v * LANES);
    if (!whole) x = vfloat_clip(x, low - v * LANES, high - v * LANES);
    top = vfloat_max(top, x);
    vfloat_store(score + v * LANES, x);
  }
  float reached = vfloat_max_lanes(top);
  vfloat sum = vfloat_load(sums);
  state->shrink[query] = 1;
  if (reached > state->highest[query]) { /* ever more seldom */
    vfloat shrink = vfloat_exp(vfloat_sub(vfloat_set(state->highest[query]), vfloat_set(reached)));
    float all[LANES];
    vfloat_store(all, shrink);
    sum = vfloat_mul(sum, shrink);
    state->shrink[query] = all[0];
    state->highest[query] = reached;
  }
  vfloat shift = vfloat_set(state->highest[query]);
  UNROLL(4)
  for (int v = 0; v < n_vector; v++) {
    vfloat weight = vfloat_exp(vfloat_sub(vfloat_load(score + v * LANES), shift));
    sum = vfloat_add(sum, weight);
    vfloat_store(score + v * LANES, scales ? vfloat_mul(weight, vfloat_load(scales->value + v * LANES)) : weight);
  }
  vfloat_store(sums, sum);
}

/* A query that sees nothing of the tile, between others that do. */
static void softmax_skip(const struct attend_state *state, size_t query, int n_vector) {
  memset(state->score.data + query * state->score.stride, 0, (size_t)(n_vector * LANES) * sizeof(float));
  state->shrink[query] = 1;
}
