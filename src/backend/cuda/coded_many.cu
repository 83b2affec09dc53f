/* The linear of weights of four bits and more than a few tokens: which tiles of coded_tiles.cuh make it, or whether
 * coded_wide.cuh does, and its launch. */
#include "backend/cuda/coded_tiles.cuh"

namespace {

struct version {
  int groups, cols, split;
  float end, step; /* µs of what begins and ends a tile, and of 64 columns, fitted to what an H100 took (SPEED.md) */
  void (*launch)(many, cuda_stream);
  int (*resident)(); /* clusters that run at once */
};

#define VERSION(coding, groups, cols, split, end, step)                                                                \
  {                                                                                                                    \
    groups, cols, split, end, step, tiles_launch<coded_worker<coding, groups, cols, split>>,                           \
        tiles_resident<coded_worker<coding, groups, cols, split>>                                                      \
  }
#define VERSIONS(coding)                                                                                               \
  {                                                                                                                    \
    VERSION(coding, 1, 128, 1, 2.9f, 0.35f), VERSION(coding, 1, 96, 2, 6.8f, 0.30f),                                   \
        VERSION(coding, 1, 144, 4, 8.1f, 0.42f), VERSION(coding, 2, 96, 2, 17.f, 0.40f),                               \
        VERSION(coding, 2, 128, 2, 18.1f, 0.42f), VERSION(coding, 2, 144, 4, 12.6f, 0.61f),                            \
        VERSION(coding, 2, 192, 1, 3.2f, 0.80f)                                                                        \
  }

enum { VERSIONS_MOST = 7 };
const version versions[2][VERSIONS_MOST] = {VERSIONS(nibble_coding<1>), VERSIONS(nibble_coding<4>)};

/* µs that a version would take. */
float time_of(const version &v, const many &m) {
  int tokens = v.groups * 64, strips = v.cols / 16;
  int tall = (m.linear.n_row + tokens - 1) / tokens, wide = (m.n_strip + strips - 1) / strips, most = v.resident();
  int rounds = (tall * wide + most - 1) / most;
  return (float)rounds * (v.end + (float)m.n_piece / (float)v.split * v.step);
}

/* A gate needs its up. */
bool version_fits(const version &v, const many &m) {
  if (v.split > (m.n_piece + 3) / 4) return false;
  return !m.linear.gated || v.cols / 16 % (2 * v.split) == 0;
}

const version *version_choose(const many &m) {
  const version *all = versions[m.linear.matrix.group == 32], *best = all;
  for (int i = 0; i < VERSIONS_MOST; i++)
    if (version_fits(all[i], m) && time_of(all[i], m) < time_of(*best, m)) best = all + i;
  return best;
}

/* Of up to 32 tokens tiles of 64 gain nothing; nor of up to 128, where so many rows make tiles enough for two rounds.
 */
bool wide_gains(const struct cuda_linear *linear, int multiprocessors) {
  int n = linear->n_row, strips = (linear->matrix.rows + 15) / 16;
  bool whole = linear->matrix.cols % 128 == 0;
  return whole && (n <= 32 || (n > 64 && n <= 128 && strips >= 13 * multiprocessors));
}

} // namespace

void cuda_coded_many(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  many m = many_of(linear, 64);
  if (wide_gains(linear, multiprocessors)) {
    struct cuda_linear wide = *linear;
    if (m.finish == FINISH_GATED) wide.out = nullptr;
    cuda_linear_coded_wide(&wide, multiprocessors, stream);
    return;
  }
  if (!linear->ready) cuda_linear_prepare(linear, true, stream);
  version_choose(m)->launch(m, stream);
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}
