/* The linear of many tokens over bf16 weights: which tiles of linear_tiles.cuh make it, and its launch. */
#include "backend/cuda/linear_tiles.cuh"

namespace {

/* --- which tiles -------------------------------------------------------------------------------------------------- */

struct version {
  int groups, cols, pair, split;
  float step; /* µs of 64 columns, measured on an H200 */
  void (*launch)(many, cuda_stream);
  int (*resident)(); /* clusters that run at once */
};

#define VERSION(groups, cols, pair, split, step)                                                                       \
  {                                                                                                                    \
    groups, cols, pair, split, step, tiles_launch<worker<groups, cols, pair, split>>,                                  \
        tiles_resident<worker<groups, cols, pair, split>>                                                              \
  }
const version versions[] = {
    VERSION(1, 64, 1, 1, 0.34f),  VERSION(1, 64, 1, 2, 0.30f),  VERSION(1, 96, 1, 2, 0.33f),
    VERSION(1, 144, 1, 4, 0.50f), VERSION(1, 224, 1, 1, 0.70f), VERSION(2, 96, 1, 2, 0.37f),
    VERSION(2, 128, 1, 1, 0.46f), VERSION(2, 128, 1, 2, 0.46f), VERSION(2, 144, 1, 4, 0.56f),
    VERSION(2, 192, 1, 1, 0.60f), VERSION(2, 192, 1, 2, 0.60f), VERSION(2, 192, 2, 1, 0.58f),
    VERSION(2, 224, 1, 1, 0.70f), VERSION(2, 224, 2, 1, 0.65f), VERSION(2, 256, 1, 1, 0.90f),
    VERSION(2, 256, 1, 2, 0.87f), VERSION(2, 256, 2, 1, 0.68f),
};

/* µs that a version would take: what begins and ends a tile, and the steps between or the read of the weights. */
float time_of(const version &v, const many &m) {
  const float bytes_us = 4.4e6f, ends = 2.5f + 0.5f * (float)v.split + (float)(v.groups * v.cols) / 64;
  int tokens = v.groups * 64 * v.pair, strips = v.cols / 16;
  int tall = (m.linear.n_row + tokens - 1) / tokens, wide = (m.n_strip + strips - 1) / strips, most = v.resident();
  float rounds = (float)((tall * wide + most - 1) / most);
  float steps = rounds * (float)m.n_piece / (float)v.split * v.step;
  float read = (float)m.n_strip * (float)m.n_piece * PIECE / bytes_us;
  return rounds * ends + (steps > read ? steps : read);
}

/* A sum's order is that of its parts. A gate needs its up. */
bool version_fits(const version &v, const many &m) {
  if (v.split > m.n_piece || (m.parts > 0 && v.split != m.parts)) return false;
  return !m.linear.gated || v.cols / 16 % (2 * v.split) == 0;
}

const version *version_choose(const many &m) {
  const version *best = nullptr;
  for (const version &v : versions)
    if (version_fits(v, m) && (!best || time_of(v, m) < time_of(*best, m))) best = &v;
  return best;
}

/* In one order, however many tokens there are: of a matrix too narrow for a whole tile a multiprocessor, in two parts.
 */
int parts_of(const many &m, int multiprocessors) {
  const int narrow = 4; /* strips of the narrowest tile */
  if (!m.linear.one_order) return 0;
  return m.n_strip < narrow * multiprocessors && m.n_piece > 1 ? 2 : 1;
}

} // namespace

void cuda_linear_many(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  many m = many_of(linear, 64);
  m.parts = parts_of(m, multiprocessors);
  if (!linear->ready) cuda_linear_prepare(linear, true, stream);
  version_choose(m)->launch(m, stream);
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}
