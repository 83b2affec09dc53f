/* The linear of eight-bit weights and many tokens: tokens are prepared, then which tiles of bytes_tiles.cuh make it.
 * Any tiles give int8 the same bytes, being exact, and E4M3 those that are not of several parts. */
#include "backend/cuda/bytes_tiles.cuh"

namespace {

struct version {
  int groups, cols, pair, split;
  float step[2]; /* µs of 128 columns of int8 and of E4M3, measured on an H100 */
  void (*launch[2])(many, cuda_stream);
  int (*resident)(); /* clusters that run at once */
};

#define VERSION(groups, cols, pair, split, int8, e4m3)                                                                 \
  {                                                                                                                    \
    groups, cols, pair, split, {int8, e4m3},                                                                           \
        {tiles_launch<byte_worker<int, groups, cols, pair, split>>,                                                    \
         tiles_launch<byte_worker<float, groups, cols, pair, split>>},                                                 \
        tiles_resident<byte_worker<int, groups, cols, pair, split>>                                                    \
  }
const version versions[] = {
    VERSION(1, 64, 1, 1, 0.34f, 0.36f),  VERSION(1, 64, 1, 2, 0.30f, 0.32f),  VERSION(1, 96, 1, 2, 0.33f, 0.35f),
    VERSION(1, 144, 1, 4, 0.50f, 0.52f), VERSION(1, 224, 1, 1, 0.70f, 0.74f), VERSION(2, 128, 1, 1, 0.50f, 0.56f),
    VERSION(2, 128, 1, 2, 0.50f, 0.56f), VERSION(2, 144, 1, 4, 0.58f, 0.64f), VERSION(2, 256, 2, 1, 0.64f, 0.76f),
};

/* µs that a version would take: what begins and ends a tile, and the steps between or the read of the weights. */
float time_of(const version &v, const many &m, bool e4m3) {
  const float bytes_us = 4.4e6f, ends = 2.5f + 0.5f * (float)v.split + (float)(v.groups * v.cols) / 128;
  int tokens = v.groups * 64 * v.pair, strips = v.cols / 16;
  int tall = (m.linear.n_row + tokens - 1) / tokens, wide = (m.n_strip + strips - 1) / strips, most = v.resident();
  float rounds = (float)((tall * wide + most - 1) / most),
        steps = rounds * (float)m.n_piece / (float)v.split * v.step[e4m3];
  float read = (float)m.n_strip * (float)m.n_piece * PIECE / bytes_us;
  return rounds * ends + (steps > read ? steps : read);
}

/* A gate needs its up. */
bool version_fits(const version &v, const many &m, bool e4m3) {
  if (v.split > m.n_piece || (v.split > 1 && e4m3 && m.linear.one_order)) return false;
  return !m.linear.gated || v.cols / 16 % (2 * v.split) == 0;
}

const version *version_choose(const many &m, bool e4m3) {
  const version *best = versions;
  for (const version &v : versions)
    if (version_fits(v, m, e4m3) && time_of(v, m, e4m3) < time_of(*best, m, e4m3)) best = &v;
  return best;
}

} // namespace

void cuda_linear_bytes(const struct cuda_linear *linear, const void *tiles, int, cuda_stream stream) {
  bool e4m3 = linear->matrix.kind == KIND_F8;
  many m = many_of(linear, BYTES_COLS);
  cuda_bytes_prepare(linear, tiles, false, stream);
  version_choose(m, e4m3)->launch[e4m3](m, stream);
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}
