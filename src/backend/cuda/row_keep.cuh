/* Which tokens of a row a draw may choose: those at least as great as a threshold, which is searched for and not sorted
 * for. Each pass counts, or weighs, what is above four thresholds: first some distances below the greatest logit, then
 * fifths of the range that is left. When few tokens are in the range, passes go over a list of those. The search ends
 * when one token is left in the range, or all that are left are equal, of which the lower tokens go first. */
#ifndef SPATE_BACKEND_CUDA_ROW_KEEP_CUH
#define SPATE_BACKEND_CUDA_ROW_KEEP_CUH

#include "backend/cuda/row_cluster.cuh"

namespace row_cluster {

/* Kept: logits above the floor, and of those that equal it tokens below the cut; of a weight of at least `least`. */
struct keep {
  float max, scale, floor, least;
  int cut;
};

__device__ inline bool keeps(const struct keep &k, float x, int token) {
  return x > k.floor || (x == k.floor && token < k.cut);
}

/* The range of a search, in the order of floats: from `low` on there is enough, from `high` on there is not. */
struct range {
  uint32_t low, high;
  bool enough;                  /* was it measured? */
  double n_low, above, n_above; /* tokens from low on; measure and tokens from high on */
  const float *x;               /* [n] of this block: the row, or those in the range at some time; then */
  int n;
  double base, n_base; /* measure and tokens above them */
};

/* The first: 1 to 8 below the greatest; 16 to 128; 256 to 2048. */
__device__ inline void pivots_choose(const struct range &range, float max, int pass, uint32_t pivot[4]) {
  enum { STEPS = 3 };
  bool step = pass < STEPS && !range.enough;
  for (int i = 0; i < 4; i++) {
    uint64_t width = range.high - range.low, share = width * (i + 1) / 5;
    uint32_t at = step ? ordered(max - (float)(1 << (4 * pass + 3 - i))) : range.low + (uint32_t)(share ? share : 1);
    pivot[i] = at < range.low ? range.low : at;
  }
}

/* measured[i], measured[4 + i]: weight or number, and number of kept tokens from pivot[i] on. */
template <bool WEIGHED>
__device__ void pivots_measure(struct row_share &row, const struct keep &k, const struct range &range,
                               const uint32_t pivot[4], double measured[8]) {
  int count[4] = {0, 0, 0, 0};
  double mass[4] = {0, 0, 0, 0};
  float from[4];
  for (int p = 0; p < 4; p++) from[p] = unordered(pivot[p]);
  for (int i = threadIdx.x; i < range.n; i += THREADS) {
    float x = range.x[i];
    if (!(x >= from[0])) continue;
    if (x == k.floor && range.x == row.x && row.first + i >= k.cut) continue;
    double weight = WEIGHED ? (double)weigh(x, k.max, k.scale) : 0;
    for (int p = 0; p < 4; p++) {
      count[p] += x >= from[p];
      if (WEIGHED) mass[p] += x >= from[p] ? weight : 0;
    }
  }
  for (int p = 0; p < 4; p++) {
    measured[p] = count[p];
    measured[4 + p] = mass[p];
  }
  reduce<WEIGHED ? 8 : 4>(row, *(double(*)[WEIGHED ? 8 : 4])measured, sum_of());
  for (int p = 0; p < 4; p++) {
    double n = measured[p] + range.n_base;
    measured[p] = WEIGHED ? measured[4 + p] + range.base : n;
    measured[4 + p] = n;
  }
}

/* The greatest pivot with enough, and the least without. */
__device__ inline void range_narrow(struct range *range, double target, const uint32_t pivot[4],
                                    const double measured[8]) {
  for (int i = 3; i >= 0; i--) {
    if (measured[i] >= target) {
      range->low = pivot[i];
      range->n_low = measured[4 + i];
      range->enough = true;
      return;
    }
    range->high = pivot[i];
    range->above = measured[i];
    range->n_above = measured[4 + i];
  }
}

__device__ inline bool in_range(const struct row_share &row, const struct keep &k, float low, float high, int i) {
  float x = row.x[i];
  return x >= low && x < high && (x != k.floor || row.first + i < k.cut);
}

/* Those in the range, in an order that is the same each time: a warp's after those of the warps before. */
__device__ inline void range_list(struct row_share &row, const struct keep &k, struct range *range) {
  struct exchange *e = row.exchange;
  float low = unordered(range->low), high = unordered(range->high);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n = 0, at = 0;
  for (int i = threadIdx.x; i < row.n; i += THREADS) n += in_range(row, k, low, high, i);
  for (int step = 16; step > 0; step /= 2) n += __shfl_xor_sync(0xffffffffu, n, step);
  if (lane == 0) e->warp[warp][0] = n;
  __syncthreads();
  range->n = 0;
  for (int w = 0; w < WARPS; w++) {
    if (w == warp) at = range->n;
    range->n += (int)e->warp[w][0];
  }
  for (int i = threadIdx.x; i < row.n; i += THREADS) {
    bool in = in_range(row, k, low, high, i);
    unsigned lanes = __ballot_sync(0xffffffffu, in);
    if (in) e->list[at + __popc(lanes & ((1u << lane) - 1))] = row.x[i];
    at += __popc(lanes);
  }
  __syncthreads();
  range->x = e->list;
  range->base = range->above;
  range->n_base = range->n_above;
}

/* Tokens at the floor and below a token. */
__device__ inline double ties_count(struct row_share &row, const struct keep &k, int cut) {
  double count[1] = {0};
  for (int i = threadIdx.x; i < row.n; i += THREADS)
    count[0] += row.x[i] == k.floor && row.first + i < cut && row.first + i < k.cut;
  reduce<1>(row, count, sum_of());
  return count[0];
}

/* Of all that equal the floor the first `wanted` tokens stay. */
__device__ inline void ties_cut(struct row_share &row, struct keep *k, int vocab, double wanted) {
  int low = 0, high = k->cut < vocab ? k->cut : vocab; /* below low are too few, below high enough */
  if (ties_count(row, *k, high) <= wanted) return;
  while (high - low > 1) {
    int middle = low + (high - low) / 2;
    if (ties_count(row, *k, middle) < wanted)
      low = middle;
    else
      high = middle;
  }
  k->cut = high;
}

/* Narrows k to the fewest of its greatest tokens whose number (or weight) reaches the target, at least one; leaves it
 * when all do not. */
template <bool WEIGHED> __device__ void keep_most(struct row_share &row, struct keep *k, int vocab, double target) {
  struct range range = {ordered(k->floor), ordered(k->max) + 1, false, CUDART_INF, 0, 0, row.x, row.n, 0, 0};
  for (int pass = 0; range.high - range.low > 1 && range.n_low - range.n_above > 1; pass++) {
    uint32_t pivot[4];
    double measured[8];
    pivots_choose(range, k->max, pass, pivot);
    pivots_measure<WEIGHED>(row, *k, range, pivot, measured);
    range_narrow(&range, target, pivot, measured);
    if (range.high <= range.low) return;
    if (range.x == row.x && range.n_low - range.n_above <= MOST_LISTED) range_list(row, *k, &range);
  }
  bool tied = range.high - range.low == 1;
  if (!range.enough && !tied) return;
  float floor = unordered(range.low);
  if (floor != k->floor) {
    k->floor = floor;
    k->cut = vocab;
  }
  if (!tied) return;
  double each = WEIGHED ? (double)weigh(floor, k->max, k->scale) : 1, wanted = ceil((target - range.above) / each);
  ties_cut(row, k, vocab, wanted > 1 ? wanted : 1);
}

} // namespace row_cluster

#endif
