/* Attention over the paged cache, written once for all instruction sets on the primitives of vector_*.h.
 *
 * A query walks the tiles of 64 absolute positions that it sees, in ascending order, whatever the block size: scores =
 * q · keys with one fused multiply-add a dimension, then the online softmax, then the weighted values with one fused
 * multiply-add a key. Queries of a work share the loads of a tile and nothing else, and the keys that only another
 * query of the work sees weigh an exact zero, so chunks and neighbours do not change a query's bytes. */
#include "backend/cpu/attend_work.h"

#include "backend/cpu/float_template.h"

#include <math.h>
#include <string.h>

/* --- products ---------------------------------------------------------------------------------------------------- */

/* A row-major matrix of floats. */
struct grid {
  float *data;
  size_t stride;
};

/* A panel of few rows is wider: sums enough to hide the latency of a multiply-add, and more of them for each load. */
enum { PRODUCT_WIDE = 2 * PRODUCT_VECTORS, PRODUCT_FEW = PRODUCT_ROWS / 2 };

/* sum[r][v] += left[r][k] × right[k][v], with as few registers beside the sums as the panel's form allows. */
static ALWAYS_INLINE void panel_step(const int rows, const int vectors, const float *left, size_t stride,
                                     const float *right, vfloat sum[PRODUCT_ROWS][PRODUCT_WIDE]) {
  if (rows <= PRODUCT_FEW) {
    vfloat x[PRODUCT_FEW];
    UNROLL(8)
    for (int r = 0; r < rows; r++) x[r] = vfloat_set(left[(size_t)r * stride]);
    UNROLL(8)
    for (int v = 0; v < vectors; v++) {
      vfloat column = vfloat_load(right + v * LANES);
      UNROLL(8)
      for (int r = 0; r < rows; r++) sum[r][v] = vfloat_fma(x[r], column, sum[r][v]);
    }
    return;
  }
  vfloat column[PRODUCT_WIDE];
  UNROLL(8)
  for (int v = 0; v < vectors; v++) column[v] = vfloat_load(right + v * LANES);
  UNROLL(8)
  for (int r = 0; r < rows; r++) {
    vfloat x = vfloat_set(left[(size_t)r * stride]);
    UNROLL(8)
    for (int v = 0; v < vectors; v++) sum[r][v] = vfloat_fma(x, column[v], sum[r][v]);
  }
}

/* rows × vectors of out = scale × out + left · right (scale NULL: left · right), held in registers over the depth. */
static ALWAYS_INLINE void product_panel(const int rows, const int vectors, struct grid out, const float *scale,
                                        struct grid left, struct grid right, int depth) {
  vfloat sum[PRODUCT_ROWS][PRODUCT_WIDE];
  UNROLL(8)
  for (int r = 0; r < rows; r++) {
    UNROLL(8)
    for (int v = 0; v < vectors; v++) {
      const float *at = out.data + (size_t)r * out.stride + v * LANES;
      sum[r][v] = scale ? vfloat_mul(vfloat_load(at), vfloat_set(scale[r])) : vfloat_set(0);
    }
  }
  for (int k = 0; k < depth; k++)
    panel_step(rows, vectors, left.data + k, left.stride, right.data + (size_t)k * right.stride, sum);
  UNROLL(8)
  for (int r = 0; r < rows; r++) {
    UNROLL(8)
    for (int v = 0; v < vectors; v++) vfloat_store(out.data + (size_t)r * out.stride + v * LANES, sum[r][v]);
  }
}

/* Columns that fill no vector, in the same order of sums. */
static void product_tail(int rows, int cols, struct grid out, const float *scale, struct grid left, struct grid right,
                         int depth) {
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < cols; c++) {
      float *at = out.data + (size_t)r * out.stride + c;
      float sum = scale ? *at * scale[r] : 0;
      for (int k = 0; k < depth; k++)
        sum = fmaf(left.data[(size_t)r * left.stride + (size_t)k], right.data[(size_t)k * right.stride + c], sum);
      *at = sum;
    }
}

/* Panels of so many vectors from column `from` on, as many as fit; returns the column after them. */
static ALWAYS_INLINE int product_panels(const int rows, const int vectors, int from, int cols, struct grid out,
                                        const float *scale, struct grid left, struct grid right, int depth) {
  for (; from + vectors * LANES <= cols; from += vectors * LANES) {
    struct grid panel_out = {out.data + from, out.stride}, panel_right = {right.data + from, right.stride};
    product_panel(rows, vectors, panel_out, scale, left, panel_right, depth);
  }
  return from;
}

static ALWAYS_INLINE void product_rows(const int rows, int cols, struct grid out, const float *scale, struct grid left,
                                       struct grid right, int depth) {
  int from = 0;
  if (rows <= PRODUCT_FEW) from = product_panels(rows, PRODUCT_WIDE, from, cols, out, scale, left, right, depth);
  from = product_panels(rows, PRODUCT_VECTORS, from, cols, out, scale, left, right, depth);
  from = product_panels(rows, 1, from, cols, out, scale, left, right, depth);
  out.data += from, right.data += from;
  if (from < cols) product_tail(rows, cols - from, out, scale, left, right, depth);
}

/* out[n][cols] = scale × out + left[n][depth] · right[depth][cols]. */
static void product(int n, int cols, struct grid out, const float *scale, struct grid left, struct grid right,
                    int depth) {
  for (; n >= PRODUCT_ROWS; n -= PRODUCT_ROWS) {
    product_rows(PRODUCT_ROWS, cols, out, scale, left, right, depth);
    out.data += PRODUCT_ROWS * out.stride, left.data += PRODUCT_ROWS * left.stride;
    if (scale) scale += PRODUCT_ROWS;
  }
  switch (n) {
  case 5: product_rows(5, cols, out, scale, left, right, depth); break;
  case 4: product_rows(4, cols, out, scale, left, right, depth); break;
  case 3: product_rows(3, cols, out, scale, left, right, depth); break;
  case 2: product_rows(2, cols, out, scale, left, right, depth); break;
  case 1: product_rows(1, cols, out, scale, left, right, depth); break;
  default: break;
  }
}

/* --- tiles ------------------------------------------------------------------------------------------------------- */

/* Where an attention's scratch holds what. */
struct attend_state {
  struct grid query, score, result;
  float *sum;     /* [query][LANES] partial sums of the softmax */
  float *highest; /* [query] */
  float *shrink;  /* [query] what earlier tiles weigh after this one */
  float *key, *value;
};

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

/* Keys and values [low, high) of the tile at position `start`. Full tiles of floats are used where they lie, others
 * are brought together in scratch. */
static void tile_fetch(const struct kv_head *kv, int start, int low, int high, const struct attend_state *state,
                       struct grid *key, struct grid *value) {
  const struct kv_layout *l = kv->layout;
  if (l->dtype == KV_F32 && l->tile == KEY_TILE) {
    *key = (struct grid){(float *)kv_head_keys(kv, start + low), KEY_TILE};
    *value = (struct grid){(float *)kv_head_value(kv, start + low) - (size_t)low * (size_t)l->dim_v, (size_t)l->dim_v};
    return;
  }
  for (int run = low / l->tile * l->tile; run < high; run += l->tile) {
    const uint8_t *from = kv_head_keys(kv, start + run);
    for (int d = 0; d < l->dim_k; d++)
      widen(l, from + (size_t)d * (size_t)l->tile * l->element, l->tile, state->key + d * KEY_TILE + run);
  }
  for (int i = low; i < high; i++)
    widen(l, kv_head_value(kv, start + i), l->dim_v, state->value + (size_t)i * (size_t)l->dim_v);
  *key = (struct grid){state->key, KEY_TILE};
  *value = (struct grid){state->value, (size_t)l->dim_v};
}

static ALWAYS_INLINE vfloat softcap_apply(vfloat x, float cap) {
  return vfloat_mul(vfloat_set(cap), vfloat_tanh(vfloat_mul(x, vfloat_set(1 / cap))));
}

/* Scores of the n_vector leading vectors become weights relative to the highest score so far; those outside of
 * [low, high) become zero. */
static ALWAYS_INLINE void softmax_update(const struct attend_state *state, size_t query, int n_vector, int low,
                                         int high, float softcap) {
  float *score = state->score.data + query * state->score.stride, *sums = state->sum + query * LANES;
  vfloat top = vfloat_set(-INFINITY);
  for (int v = 0; v < n_vector; v++) {
    vfloat x = vfloat_load(score + v * LANES);
    if (softcap != 0) x = softcap_apply(x, softcap);
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

static void tile_attend(const struct attend_work *work, const struct attend_state *state, int start) {
  const struct kv_layout *l = work->kv.layout;
  int begin = 0, end = work->n_token, low = KEY_TILE, high = 0;
  while (begin < end && !sees_tile(work, begin, start)) begin++;
  while (end > begin && !sees_tile(work, end - 1, start)) end--;
  if (begin == end) return;
  for (int t = begin; t < end; t++) {
    if (!sees_tile(work, t, start)) continue;
    low = int_min(low, int_max(work->first[t] - start, 0));
    high = int_max(high, int_min(work->last[t] - start + 1, KEY_TILE));
  }
  struct grid key, value, query = state->query, score = state->score, result = state->result;
  tile_fetch(&work->kv, start, low, high, state, &key, &value);
  size_t first = (size_t)begin * (size_t)work->n_head;
  int n = (end - begin) * work->n_head, n_vector = (high + LANES - 1) / LANES;
  query.data += first * query.stride, score.data += first * score.stride, result.data += first * result.stride;
  product(n, n_vector * LANES, score, NULL, query, key, l->dim_k);
  for (int t = begin; t < end; t++)
    for (int h = 0; h < work->n_head; h++) {
      size_t index = (size_t)t * (size_t)work->n_head + (size_t)h;
      if (sees_tile(work, t, start))
        softmax_update(state, index, n_vector, work->first[t] - start, work->last[t] - start + 1, work->softcap);
      else
        softmax_skip(state, index, n_vector);
    }
  score.data += low, value.data += (size_t)low * value.stride;
  product(n, l->dim_v, result, state->shrink + first, score, value, high - low);
}

/* --- the work ---------------------------------------------------------------------------------------------------- */

static float *scratch_take(float **scratch, size_t n) {
  float *taken = *scratch;
  *scratch += (n + ATTEND_LANES - 1) / ATTEND_LANES * ATTEND_LANES;
  return taken;
}

static struct attend_state state_start(const struct attend_work *work) {
  const struct kv_layout *l = work->kv.layout;
  size_t n = (size_t)work->n_token * (size_t)work->n_head, dim_k = (size_t)l->dim_k, dim_v = (size_t)l->dim_v;
  float *scratch = work->scratch;
  struct attend_state state = {.query = {(float *)work->query, dim_k}};
  state.score = (struct grid){scratch_take(&scratch, n * KEY_TILE), KEY_TILE};
  state.result = (struct grid){scratch_take(&scratch, n * dim_v), dim_v};
  state.sum = scratch_take(&scratch, n * LANES);
  state.highest = scratch_take(&scratch, n);
  state.shrink = scratch_take(&scratch, n);
  state.key = scratch_take(&scratch, KEY_TILE * dim_k);
  state.value = scratch_take(&scratch, KEY_TILE * dim_v);
  memset(state.result.data, 0, n * dim_v * sizeof(float));
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
      float *out = work->out + (size_t)t * work->out_stride + (size_t)h * (size_t)dim_v;
      for (int i = 0; i < dim_v; i++) out[i] = result[i] * share;
    }
}

static void attend(const struct attend_work *work) {
  struct attend_state state = state_start(work);
  int low = work->first[0], high = work->last[0];
  for (int t = 1; t < work->n_token; t++) {
    low = int_min(low, work->first[t]);
    high = int_max(high, work->last[t]);
  }
  for (int start = low / KEY_TILE * KEY_TILE; start <= high; start += KEY_TILE) tile_attend(work, &state, start);
  state_finish(work, &state);
}

static void narrow(const float *from, int n, uint16_t *to) {
  int i = 0;
  for (; i + LANES <= n; i += LANES) vfloat_to_half(vfloat_load(from + i), to + i);
  for (; i < n; i++) to[i] = half_from_float(from[i]);
}
