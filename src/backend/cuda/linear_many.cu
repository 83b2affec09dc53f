/* The linear of many tokens over bf16 weights: which tiles of linear_tiles.cuh make it, and its launch. */
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_tiles.cuh"

namespace {

template <int GROUPS, int COLS, int PAIR, int SPLIT> void many_launch(many m, int multiprocessors, cuda_stream stream) {
  using S = shape<GROUPS, COLS, PAIR, SPLIT>;
  m.n_tall = (m.linear.n_row + S::tokens - 1) / S::tokens;
  m.n_wide = (m.n_strip + S::strips - 1) / S::strips;
  int clusters = (m.n_tall + PAIR - 1) / PAIR * m.n_wide, most = multiprocessors * S::resident / S::cluster;
  if (SPLIT == 1 && clusters > most) clusters = most;
  early_launch(linear_many<GROUPS, COLS, PAIR, SPLIT>, {clusters * S::cluster, S::threads, S::shared_bytes, S::cluster},
               stream, m);
}

/* --- which tiles -------------------------------------------------------------------------------------------------- */

struct version {
  int groups, cols, pair, split;
  float step; /* µs of 64 columns, measured on an H200 */
  void (*launch)(many, int, cuda_stream);
};

#define VERSION(groups, cols, pair, split, step)                                                                       \
  { groups, cols, pair, split, step, many_launch<groups, cols, pair, split> }
const version versions[] = {
    VERSION(1, 64, 1, 1, 0.36f),  VERSION(1, 64, 1, 2, 0.36f),  VERSION(2, 128, 1, 1, 0.48f),
    VERSION(2, 128, 1, 2, 0.48f), VERSION(2, 192, 1, 1, 0.62f), VERSION(2, 192, 1, 2, 0.62f),
    VERSION(2, 256, 1, 1, 0.72f), VERSION(2, 256, 1, 2, 0.70f), VERSION(2, 192, 2, 1, 0.58f),
    VERSION(2, 256, 2, 1, 0.68f),
};

/* µs that a version would take: what begins and ends a tile, and the steps between or the read of the weights. */
float time_of(const version &v, const many &m, int multiprocessors) {
  const float bytes_us = 4.4e6f, ends = 2 * (float)v.split + (float)(v.groups * v.cols) / 100;
  int tokens = v.groups * 64, strips = v.cols / 16, slots = multiprocessors * (v.groups == 1 ? 2 : 1);
  int tall = (m.linear.n_row + tokens - 1) / tokens, wide = (m.n_strip + strips - 1) / strips;
  int blocks = (tall + v.pair - 1) / v.pair * v.pair * wide * v.split;
  float rounds = (float)((blocks + slots - 1) / slots);
  float steps = rounds * (float)m.n_piece / (float)v.split * v.step;
  float read = (float)m.n_strip * (float)m.n_piece * PIECE / bytes_us;
  return rounds * ends + (steps > read ? steps : read);
}

/* Whole columns are added in one order by all tiles; parts of them are not. Not all know how to finish as FINISH_GATED.
 */
const version *version_choose(const many &m, int multiprocessors) {
  const version *best = nullptr;
  int most = m.linear.one_order ? 1 : m.n_piece;
  for (const version &v : versions) {
    if (v.split > most || (m.finish == FINISH_GATED && (v.groups < 2 || v.split > 1))) continue;
    if (!best || time_of(v, m, multiprocessors) < time_of(*best, m, multiprocessors)) best = &v;
  }
  return best;
}

} // namespace

void cuda_linear_many(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  many m = {};
  m.linear = linear->has_post_norm ? products_alone(linear) : *linear;
  m.tokens = (const uint8_t *)linear->fragments;
  m.n_strip = (linear->matrix.rows + 15) / 16;
  m.n_piece = (linear->matrix.cols + 63) / 64;
  m.fours = fours_of(m.linear);
  m.finish = finish_of(m);
  if (!linear->ready) cuda_linear_prepare(linear, true, stream);
  version_choose(m, multiprocessors)->launch(m, multiprocessors, stream);
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}
