/* Attention over the paged cache, written once for all instruction sets on the primitives of vector_*.h.
 *
 * A query walks the tiles of 64 absolute positions that it sees, in ascending order, whatever the block size: scores =
 * q · keys with one fused multiply-add a dimension, then the online softmax, then the weighted values with one fused
 * multiply-add a key. Queries of a work share the loads of a tile and nothing else, and the keys that only another
 * query of the work sees weigh an exact zero, so chunks and neighbours do not change a query's bytes. Tokens of several
 * rows share the tiles that their rows have in common, then each goes on alone. */
#include "backend/cpu/attend_work.h"

#include <math.h>
#include <string.h>

/* Where an attention's scratch holds what. */
struct attend_state {
  struct grid query, score, result;
  float *sum;     /* [query][LANES] partial sums of the softmax */
  float *highest; /* [query] */
  float *shrink;  /* [query] what earlier tiles weigh after this one */
  float *key, *value;
  ptrdiff_t *value_vector[2]; /* of the values' side: copied, in place */
  int value_cols;             /* dim_v in whole vectors: what results are computed for */
};

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
  return whole && (layout->dtype == KV_F32 || n_query <= IN_PLACE_QUERIES);
}

/* Keys and values [low, high) of the tile at position `start`. */
static void tile_view_in_place(const struct kv_head *kv, int start, int low, int high, struct tile_view *view) {
  const struct kv_layout *l = kv->layout;
  int n_run = 0;
  view->key_run = kv_head_keys(kv, start + low);
  for (int run = low / l->tile * l->tile; run < high; run += l->tile) {
    const uint8_t *keys = kv_head_keys(kv, start + run);
    for (int i = 0; i < l->tile; i += LANES)
      view->key_vector[(run + i) / LANES] = keys - view->key_run + i * (ptrdiff_t)l->element;
    view->value_run[n_run++] = kv_head_value(kv, start + (run > low ? run : low));
  }
  view->key.stride = (size_t)l->tile * l->element;
  view->value.stride = (size_t)l->dim_v * l->element;
  view->value.first_rows = l->tile - low % l->tile;
  view->key.half = view->value.half = l->dtype == KV_F16;
}

static void widen(const struct kv_layout *layout, const void *from, int n, float *to) {
  if (layout->dtype == KV_F32) {
    memcpy(to, from, (size_t)n * sizeof *to);
    return;
  }
  const uint16_t *half = from;
  int i = 0;
  for (; i + LANES <= n; i += LANES) vfloat_store(to + i, vfloat_from_half(half + i));
  for (; i < n; i++) to[i] = half_to_float(half[i]);
}

static void tile_view_copied(const struct kv_head *kv, int start, int low, int high, const struct attend_state *state,
                             struct tile_view *view) {
  const struct kv_layout *l = kv->layout;
  float *value = state->value;
  for (int run = low / l->tile * l->tile; run < high; run += l->tile) {
    const uint8_t *from = kv_head_keys(kv, start + run);
    for (int d = 0; d < l->dim_k; d++)
      widen(l, from + (size_t)d * (size_t)l->tile * l->element, l->tile, state->key + d * KEY_TILE + run);
  }
  for (int i = low; i < high; i++, value += state->value_cols) widen(l, kv_head_value(kv, start + i), l->dim_v, value);
  for (int v = 0; v < KEY_TILE / LANES; v++) view->key_vector[v] = v * (ptrdiff_t)sizeof(vfloat);
  view->key_run = (const uint8_t *)state->key;
  view->key.stride = KEY_TILE * sizeof(float);
  view->value_run[0] = (const uint8_t *)state->value;
  view->value.stride = (size_t)state->value_cols * sizeof(float);
  view->value.first_rows = KEY_TILE;
  view->key.half = view->value.half = false;
}

static void tile_view_init(const struct kv_head *kv, int start, int low, int high, const struct attend_state *state,
                           int n_query, struct tile_view *view) {
  bool in_place = tile_in_place(kv->layout, n_query);
  view->key.run = &view->key_run;
  view->key.first_rows = kv->layout->dim_k;
  view->key.run_rows = 0; /* there is one run */
  view->key.vector = view->key_vector;
  view->value.run = view->value_run;
  view->value.run_rows = kv->layout->tile;
  view->value.vector = state->value_vector[in_place];
  if (in_place)
    tile_view_in_place(kv, start, low, high, view);
  else
    tile_view_copied(kv, start, low, high, state, view);
}

/* Scores of the n_vector leading vectors become weights relative to the highest score so far; those outside of
 * [low, high) become zero. */
static ALWAYS_INLINE void softmax_update(const struct attend_state *state, size_t query, int n_vector, int low,
                                         int high, float softcap) {
  float *score = state->score.data + query * state->score.stride, *sums = state->sum + query * LANES;
  vfloat top = vfloat_set(-INFINITY);
  for (int v = 0; v < n_vector; v++) {
    vfloat x = vfloat_load(score + v * LANES);
    if (softcap != 0) x = vfloat_softcap(x, softcap);
    x = vfloat_clip(x, low - v * LANES, high - v * LANES);
    top = vfloat_max(top, x);
    vfloat_store(score + v * LANES, x);
  }
  float before = state->highest[query], highest = fmaxf(before, vfloat_max_lanes(top));
  vfloat shift = vfloat_set(highest), shrink = vfloat_exp(vfloat_sub(vfloat_set(before), shift));
  vfloat sum = vfloat_mul(vfloat_load(sums), shrink);
  for (int v = 0; v < n_vector; v++) {
    vfloat weight = vfloat_exp(vfloat_sub(vfloat_load(score + v * LANES), shift));
    sum = vfloat_add(sum, weight);
    vfloat_store(score + v * LANES, weight);
  }
  vfloat_store(sums, sum);
  float all[LANES];
  vfloat_store(all, shrink);
  state->highest[query] = highest;
  state->shrink[query] = all[0];
}

/* A query that sees nothing of the tile, between others that do. */
static void softmax_skip(const struct attend_state *state, size_t query, int n_vector) {
  memset(state->score.data + query * state->score.stride, 0, (size_t)(n_vector * LANES) * sizeof(float));
  state->shrink[query] = 1;
}

static int int_min(int a, int b) { return a < b ? a : b; }
static int int_max(int a, int b) { return a > b ? a : b; }

static bool sees_tile(const struct attend_work *work, int token, int start) {
  return work->first[token] < start + KEY_TILE && work->last[token] >= start && work->first[token] <= work->last[token];
}

/* Tokens [begin, end) against the tile at position `start` of a KV head that is theirs. */
static void tile_attend(const struct attend_work *work, const struct attend_state *state, const struct kv_head *kv,
                        int begin, int end, int start) {
  const struct kv_layout *l = kv->layout;
  int low = KEY_TILE, high = 0;
  while (begin < end && !sees_tile(work, begin, start)) begin++;
  while (end > begin && !sees_tile(work, end - 1, start)) end--;
  if (begin == end) return;
  for (int t = begin; t < end; t++) {
    if (!sees_tile(work, t, start)) continue;
    low = int_min(low, int_max(work->first[t] - start, 0));
    high = int_max(high, int_min(work->last[t] - start + 1, KEY_TILE));
  }
  struct tile_view view;
  struct grid query = state->query, score = state->score, result = state->result;
  size_t first = (size_t)begin * (size_t)work->n_head;
  int n = (end - begin) * work->n_head, n_vector = (high + LANES - 1) / LANES;
  tile_view_init(kv, start, low, high, state, n, &view);
  query.data += first * query.stride, score.data += first * score.stride, result.data += first * result.stride;
  product(n, low / LANES, n_vector, score, NULL, query, &view.key, l->dim_k);
  for (int t = begin; t < end; t++)
    for (int h = 0; h < work->n_head; h++) {
      size_t index = (size_t)t * (size_t)work->n_head + (size_t)h;
      if (sees_tile(work, t, start))
        softmax_update(state, index, n_vector, work->first[t] - start, work->last[t] - start + 1, work->softcap);
      else
        softmax_skip(state, index, n_vector);
    }
  score.data += low;
  product(n, 0, state->value_cols / LANES, result, state->shrink + first, score, &view.value, high - low);
}

/* --- the work ---------------------------------------------------------------------------------------------------- */

static float *scratch_take(float **scratch, size_t n) {
  float *taken = *scratch;
  *scratch += (n + ATTEND_LANES - 1) / ATTEND_LANES * ATTEND_LANES;
  return taken;
}

static struct attend_state state_start(const struct attend_work *work) {
  const struct kv_layout *l = work->kv.layout;
  size_t n = (size_t)work->n_token * (size_t)work->n_head, dim_k = (size_t)l->dim_k;
  size_t cols = ((size_t)l->dim_v + LANES - 1) / LANES * LANES;
  float *scratch = work->scratch;
  struct attend_state state = {.query = {(float *)work->query, dim_k}, .value_cols = (int)cols};
  state.score = (struct grid){scratch_take(&scratch, n * KEY_TILE), KEY_TILE};
  state.result = (struct grid){scratch_take(&scratch, n * cols), cols};
  state.sum = scratch_take(&scratch, n * LANES);
  state.highest = scratch_take(&scratch, n);
  state.shrink = scratch_take(&scratch, n);
  state.key = scratch_take(&scratch, KEY_TILE * dim_k);
  state.value = scratch_take(&scratch, KEY_TILE * cols);
  for (int in_place = 0; in_place < 2; in_place++) {
    size_t element = in_place ? l->element : sizeof(float);
    state.value_vector[in_place] = (ptrdiff_t *)scratch_take(&scratch, cols * sizeof(ptrdiff_t) / sizeof(float));
    for (size_t v = 0; v < cols / LANES; v++) state.value_vector[in_place][v] = (ptrdiff_t)(v * LANES * element);
  }
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

/* Tokens [begin, end) against the positions that they see of [from, to) of a KV head that is theirs. */
static void span_attend(const struct attend_work *work, const struct attend_state *state, const struct kv_head *kv,
                        int begin, int end, int from, int to) {
  int low = to, high = from;
  for (int t = begin; t < end; t++) {
    low = int_min(low, int_max(work->first[t], from));
    high = int_max(high, int_min(work->last[t], to - 1) + 1);
  }
  for (int start = low / KEY_TILE * KEY_TILE; start < high; start += KEY_TILE)
    tile_attend(work, state, kv, begin, end, start);
}

static void attend(const struct attend_work *work) {
  struct attend_state state = state_start(work);
  span_attend(work, &state, &work->kv, 0, work->n_token, 0, work->shared);
  if (work->shared != SHARED_ALL)
    for (int t = 0; t < work->n_token; t++) {
      struct kv_head own = work->kv;
      own.block = work->block[t];
      span_attend(work, &state, &own, t, t + 1, work->shared, SHARED_ALL);
    }
  state_finish(work, &state);
}

static void narrow(const float *from, int n, uint16_t *to) {
  int i = 0;
  for (; i + LANES <= n; i += LANES) vfloat_to_half(vfloat_load(from + i), to + i);
  for (; i < n; i++) to[i] = half_from_float(from[i]);
}
