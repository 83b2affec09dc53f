/* The linear of eight-bit weights and tokens: tokens are prepared, then which tiles of bytes_tiles.cuh make it. Any tiles
 * give the same bytes: E4M3's sums have one order, int8's are exact. */
#include "backend/cuda/bytes_tiles.cuh"
#include "backend/cuda/launch.cuh"

namespace {

struct version {
  int groups, cols, pair;
  float step; /* µs of 128 columns, measured on an H200 */
  void (*e4m3)(many, int, cuda_stream);
  void (*int8)(many, int, cuda_stream);
};

#define VERSION(groups, cols, pair, step)                                                                              \
  { groups, cols, pair, step, bytes_launch<float, groups, cols, pair>, bytes_launch<int, groups, cols, pair> }
const version versions[] = {
    VERSION(1, 32, 1, 0.3f),   VERSION(1, 64, 1, 0.36f),  VERSION(2, 128, 1, 0.48f),
    VERSION(2, 256, 1, 0.80f), VERSION(2, 256, 2, 0.82f),
};

/* µs that a version would take: what begins and ends a tile, and the steps between or the read of the weights. */
float time_of(const version &v, const many &m, int multiprocessors) {
  const float bytes_us = 4.4e6f, ends = 2 + (float)(v.groups * v.cols) / 100;
  int tokens = v.groups * 64, strips = v.cols / 16, slots = multiprocessors * (v.groups == 1 ? 2 : 1);
  int tall = (m.linear.n_row + tokens - 1) / tokens, wide = (m.n_strip + strips - 1) / strips;
  int blocks = (tall + v.pair - 1) / v.pair * v.pair * wide;
  float rounds = (float)((blocks + slots - 1) / slots), steps = rounds * (float)m.n_piece * v.step;
  float read = (float)m.n_strip * (float)m.n_piece * PIECE / bytes_us;
  return rounds * ends + (steps > read ? steps : read);
}

const version *version_choose(const many &m, int multiprocessors) {
  const version *best = nullptr;
  for (const version &v : versions) {
    if (m.finish == FINISH_GATED && v.groups < 2) continue;
    if (!best || time_of(v, m, multiprocessors) < time_of(*best, m, multiprocessors)) best = &v;
  }
  return best;
}

} // namespace

void cuda_linear_bytes(const struct cuda_linear *linear, const void *tiles, int multiprocessors, cuda_stream stream) {
  many m = {};
  m.linear = linear->has_post_norm ? products_alone(linear) : *linear;
  m.tokens = (const uint8_t *)linear->fragments;
  m.n_strip = (linear->matrix.rows + 15) / 16;
  m.n_piece = (linear->matrix.cols + BYTES_COLS - 1) / BYTES_COLS;
  m.fours = fours_of(m.linear);
  m.finish = finish_of(m);
  cuda_bytes_prepare(linear, tiles, stream);
  const version *v = version_choose(m, multiprocessors);
  (linear->matrix.kind == KIND_F8 ? v->e4m3 : v->int8)(m, multiprocessors, stream);
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}
