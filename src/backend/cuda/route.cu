/* Routes: the experts that a token's logits choose, by one warp a token; and choices turned round. */
#include "backend/cuda/expert_kernels.h"
#include "backend/cuda/image_rows.cuh"
#include "backend/cuda/route_order.h"

namespace {

enum { ROUTE_WARPS = 4, LIST_THREADS = 1024, LIST_ROUNDS = 2 /* of one block */ };

#define LEAST 1e-20f /* ROUTE_LEAST */

__device__ __forceinline__ uint64_t lanes_most(uint64_t key) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    uint64_t other = __shfl_xor_sync(0xffffffffu, key, step);
    key = other > key ? other : key;
  }
  return key;
}

__device__ __forceinline__ float lanes_highest(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  return x;
}

/* A token's logits, as a warp reads them. */
struct token {
  const struct cuda_route &a;
  const float *logits;
  float most, sum; /* of a softmax over all */
  bool by_score;

  __device__ float score(int i) const {
    float x = logits[i];
    if (a.score == SCORE_SOFTMAX) return expf(x - most) / sum;
    return a.score == SCORE_SIGMOID ? 1 / (1 + expf(-x)) : x;
  }
  /* What is chosen by. */
  __device__ float by(int i) const { return by_score ? score(i) + (a.bias ? a.bias[i] : 0) : logits[i]; }
};

__device__ token token_begin(const struct cuda_route &a, int index) {
  token t = {a, a.logits + (size_t)index * a.n_expert, -INFINITY, 0, a.bias || a.group_pair};
  if (a.score != SCORE_SOFTMAX) return t;
  for (int i = threadIdx.x % 32; i < a.n_expert; i += 32) t.most = fmaxf(t.most, t.logits[i]);
  t.most = lanes_highest(t.most);
  for (int i = threadIdx.x % 32; i < a.n_expert; i += 32) t.sum += expf(t.logits[i] - t.most);
  t.sum = lanes_sum(t.sum);
  return t;
}

/* The greatest key below `before`, of experts [first, first + n) whose group is among the chosen: group key ≥ least. */
__device__ uint64_t key_next(const token &t, int first, int n, uint64_t before, const uint64_t *group, uint64_t least) {
  uint64_t most = 0;
  int each = t.a.n_group > 0 ? t.a.n_expert / t.a.n_group : 1;
  for (int i = first + threadIdx.x % 32; i < first + n; i += 32) {
    uint64_t key = route_key(t.by(i), i);
    bool in = !group || group[i / each] >= least;
    if (in && key < before && key > most) most = key;
  }
  return lanes_most(most);
}

/* Keys of all groups, by their best, or best two; returns the last one's that is chosen. */
__device__ uint64_t groups_choose(const token &t, uint64_t *group) {
  const struct cuda_route &a = t.a;
  int each = a.n_expert / a.n_group;
  for (int g = 0; g < a.n_group; g++) {
    uint64_t best = key_next(t, g * each, each, ~0ull, nullptr, 0);
    float score = t.by(route_id(best));
    if (a.group_pair) score += t.by(route_id(key_next(t, g * each, each, best, nullptr, 0)));
    if (threadIdx.x % 32 == 0) group[g] = route_key(score, g);
  }
  __syncwarp();
  uint64_t last = ~0ull;
  for (int i = 0; i < a.top_group; i++) {
    uint64_t most = 0;
    for (int g = threadIdx.x % 32; g < a.n_group; g += 32)
      if (group[g] < last && group[g] > most) most = group[g];
    last = lanes_most(most);
  }
  return last;
}

/* The share of the choice `key` among those behind it, and itself, whose logits are near its own. */
__device__ float near_share(const token &t, uint64_t key) {
  float most = t.logits[route_id(key)], sum = 0;
  for (int i = threadIdx.x % 32; i < t.a.n_expert; i += 32) {
    float x = t.logits[i];
    if (route_key(x, i) <= key && !(most - x > t.a.near * fmaxf(fabsf(x), most))) sum += expf(x - most);
  }
  return 1 / lanes_sum(sum);
}

/* Weights are made by one lane, in the order of the choice. */
__device__ void weights_finish(const struct cuda_route &a, float *weight) {
  float most = -INFINITY, sum = LEAST;
  if (a.score == SCORE_CHOSEN) {
    float all = 0;
    for (int j = 0; j < a.k; j++) most = fmaxf(most, weight[j]);
    for (int j = 0; j < a.k; j++) all += expf(weight[j] - most);
    for (int j = 0; j < a.k; j++) weight[j] = expf(weight[j] - most) / all;
  }
  for (int j = 0; j < a.k; j++) sum += weight[j];
  for (int j = 0; j < a.k; j++) weight[j] = (a.normalize ? weight[j] / sum : weight[j]) * a.scale;
}

__global__ void __launch_bounds__(ROUTE_WARPS * 32) route(struct cuda_route a) {
  __shared__ uint64_t groups[ROUTE_WARPS][ROUTE_GROUPS];
  int warp = threadIdx.x / 32, index = blockIdx.x * ROUTE_WARPS + warp;
  if (index >= a.n_token) return;
  token t = token_begin(a, index);
  float *choice = a.choice + (size_t)index * 2 * a.k;
  uint64_t *group = a.n_group > 0 ? groups[warp] : nullptr;
  uint64_t least = group ? groups_choose(t, group) : 0, key = ~0ull;
  for (int j = 0; j < a.k; j++) {
    key = key_next(t, 0, a.n_expert, key, group, least);
    int id = route_id(key);
    float weight = a.score == SCORE_NEAR ? near_share(t, key) : t.score(id);
    if (threadIdx.x % 32 == 0) choice[j] = (float)id, choice[a.k + j] = weight;
  }
  if (threadIdx.x % 32 == 0) weights_finish(a, choice + a.k);
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

/* Exclusive sums of [n] in place; returns the sum of all. All threads of the block. */
__device__ int sums_make(int32_t *x, int n) {
  __shared__ int32_t part[LIST_THREADS / 32], all;
  int carried = 0;
  for (int first = 0; first < n; first += LIST_THREADS) {
    int i = first + threadIdx.x, value = i < n ? x[i] : 0, sum = value;
    for (int step = 1; step < 32; step *= 2) {
      int other = __shfl_up_sync(0xffffffffu, sum, step);
      if (threadIdx.x % 32 >= step) sum += other;
    }
    if (threadIdx.x % 32 == 31) part[threadIdx.x / 32] = sum;
    __syncthreads();
    int before = carried;
    for (int w = 0; w < threadIdx.x / 32; w++) before += part[w];
    if (threadIdx.x == LIST_THREADS - 1) all = before + sum;
    if (i < n) x[i] = before + sum - value;
    __syncthreads();
    carried = all;
    __syncthreads(); /* `part` and `all` are read */
  }
  return carried;
}

__device__ int expert_chosen(const struct cuda_expert_lists &l, const float *choice, int k, int pair) {
  return min(max((int)choice[(size_t)(pair / k) * 2 * k + pair % k], 0), l.n_expert - 1);
}

/* The expert of a pair; −1 where its row has no tokens. */
__device__ int expert_of(const struct cuda_expert_lists &l, const float *choice, int k, const cuda_batch &batch,
                         int pair) {
  return batch.row[batch.token_row[pair / k]].count == 0 ? -1 : expert_chosen(l, choice, k, pair);
}

/* One block, from how many pairs each expert has to where they begin, in place; and all that follows from it. */
__device__ void lists_lay(const struct cuda_expert_lists &l, int32_t *cursor, int32_t *work) {
  for (int e = threadIdx.x; e < l.n_expert; e += LIST_THREADS) work[e] = cursor[e] > 0;
  __syncthreads();
  int n = sums_make(work, l.n_expert);
  for (int e = threadIdx.x; e < l.n_expert; e += LIST_THREADS)
    if (cursor[e] > 0) l.active[work[e]] = e;
  if (threadIdx.x == 0) l.counts[0] = n;
  __syncthreads();
  for (int e = threadIdx.x; e < l.n_expert; e += LIST_THREADS)
    work[e] = (cursor[e] + l.tile_pairs - 1) / l.tile_pairs, l.first[e] = cursor[e];
  __syncthreads();
  n = sums_make(work, l.n_expert);
  if (threadIdx.x == 0) l.counts[1] = n;
  n = sums_make(cursor, l.n_expert);
  for (int e = threadIdx.x; e < l.n_expert; e += LIST_THREADS) {
    int count = l.first[e];
    for (int i = 0; i < count; i += l.tile_pairs) {
      int32_t *tile = l.tile + 3 * (work[e] + i / l.tile_pairs);
      tile[0] = e, tile[1] = cursor[e] + i, tile[2] = min(l.tile_pairs, count - i);
    }
    l.first[e] = cursor[e];
  }
  if (threadIdx.x == 0) l.first[l.n_expert] = n;
  __syncthreads();
}

/* One block, of few pairs: counts, sums, places. Pairs of an expert are in no order, on which nothing depends. */
__global__ void __launch_bounds__(LIST_THREADS)
    lists(struct cuda_expert_lists l, const float *choice, int k, struct cuda_batch batch) {
  __shared__ int32_t cursor[EXPERT_LISTS], work[EXPERT_LISTS];
  for (int e = threadIdx.x; e < l.n_expert; e += LIST_THREADS) cursor[e] = 0;
  __syncthreads();
  for (int p = threadIdx.x; p < l.n_pair; p += LIST_THREADS) {
    int e = expert_of(l, choice, k, batch, p);
    if (e >= 0) atomicAdd(&cursor[e], 1);
  }
  __syncthreads();
  lists_lay(l, cursor, work);
  for (int p = threadIdx.x; p < l.n_pair; p += LIST_THREADS) {
    int e = expert_of(l, choice, k, batch, p), at = e < 0 ? -1 : atomicAdd(&cursor[e], 1);
    l.place[p] = at;
    if (at >= 0) l.pair[at] = p;
  }
}

/* Many pairs are shared by blocks, of which each has a run of an expert's: counts (from 0), and in `place` which of its
 * expert's a pair is. */
__global__ void __launch_bounds__(LIST_THREADS)
    lists_count(struct cuda_expert_lists l, const float *choice, int k, struct cuda_batch batch) {
  __shared__ int32_t run[EXPERT_LISTS];
  for (int e = threadIdx.x; e < l.n_expert; e += LIST_THREADS) run[e] = 0;
  __syncthreads();
  int p = blockIdx.x * LIST_THREADS + threadIdx.x, e = p < l.n_pair ? expert_of(l, choice, k, batch, p) : -1;
  int at = e < 0 ? 0 : atomicAdd(&run[e], 1);
  __syncthreads();
  for (int i = threadIdx.x; i < l.n_expert; i += LIST_THREADS)
    if (run[i] > 0) run[i] = atomicAdd(&l.count[i], run[i]);
  __syncthreads();
  if (p < l.n_pair) l.place[p] = e < 0 ? -1 : run[e] + at;
}

/* Then each block knows where experts begin, and the first tells. */
__global__ void __launch_bounds__(LIST_THREADS) lists_place(struct cuda_expert_lists l, const float *choice, int k) {
  __shared__ int32_t cursor[EXPERT_LISTS], work[EXPERT_LISTS];
  for (int e = threadIdx.x; e < l.n_expert; e += LIST_THREADS) cursor[e] = l.count[e];
  __syncthreads();
  if (blockIdx.x == 0)
    lists_lay(l, cursor, work);
  else
    sums_make(cursor, l.n_expert);
  int p = blockIdx.x * LIST_THREADS + threadIdx.x, at = p < l.n_pair ? l.place[p] : -1;
  if (at < 0) return;
  at += cursor[expert_chosen(l, choice, k, p)];
  l.place[p] = at, l.pair[at] = p;
}

} // namespace

void cuda_route(const struct cuda_route *of, cuda_stream stream) {
  route<<<(of->n_token + ROUTE_WARPS - 1) / ROUTE_WARPS, ROUTE_WARPS * 32, 0, stream>>>(*of);
}

void cuda_expert_lists(const struct cuda_expert_lists *of, const float *choice, int k, const struct cuda_batch *batch,
                       cuda_stream stream) {
  int blocks = (of->n_pair + LIST_THREADS - 1) / LIST_THREADS;
  if (blocks <= LIST_ROUNDS) {
    lists<<<1, LIST_THREADS, 0, stream>>>(*of, choice, k, *batch);
    return;
  }
  cudaMemsetAsync(of->count, 0, (size_t)of->n_expert * sizeof *of->count, stream);
  lists_count<<<blocks, LIST_THREADS, 0, stream>>>(*of, choice, k, *batch);
  lists_place<<<blocks, LIST_THREADS, 0, stream>>>(*of, choice, k);
}
