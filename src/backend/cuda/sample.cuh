/* Drawing tokens from rows of logits, as the sampler (backend/sampler.h) does and to the same token: same weights bit
 * for bit, same generator, same order of tokens; only sums over all kept tokens are made in another order, in double.
 */
#ifndef SPATE_BACKEND_CUDA_SAMPLE_CUH
#define SPATE_BACKEND_CUDA_SAMPLE_CUH

#include "backend/cuda/row_keep.cuh"
#include "backend/cuda/row_rules.cuh"
#include "backend/random_number.h"

using namespace row_cluster;

namespace {

/* --- the row ------------------------------------------------------------------------------------------------------ */

/* One token, and its place if it is the thread's greatest: tokens ascend, so that of equal ones the first stays. */
__device__ void token_load(struct row_share &row, int i, float x, float *max, int *token, bool *bad) {
  row.x[i] = x;
  *bad |= !(x < CUDART_INF_F);
  if (x > *max || *token < 0) *max = x, *token = row.first + i;
}

/* Into shared memory; the place of this thread's greatest, ~0 when one is NaN or +∞. */
__device__ unsigned long long row_load(struct row_share &row, const float *logits, int vocab) {
  float max = -CUDART_INF_F;
  int token = -1;
  bool bad = false;
  if (vocab % 4 == 0) {
#pragma unroll 4
    for (int i = threadIdx.x * 4; i < row.n; i += THREADS * 4) {
      float4 x = {-CUDART_INF_F, -CUDART_INF_F, -CUDART_INF_F, -CUDART_INF_F};
      if (row.first + i < vocab) x = __ldcs((const float4 *)(logits + row.first + i));
      token_load(row, i, x.x, &max, &token, &bad);
      token_load(row, i + 1, x.y, &max, &token, &bad);
      token_load(row, i + 2, x.z, &max, &token, &bad);
      token_load(row, i + 3, x.w, &max, &token, &bad);
    }
  } else {
    for (int i = threadIdx.x; i < row.n; i += THREADS)
      token_load(row, i, row.first + i < vocab ? logits[row.first + i] : -CUDART_INF_F, &max, &token, &bad);
  }
  return bad ? PLACE_BAD : token < 0 ? 0 : place_of(max, token);
}

/* Of all threads'. */
__device__ unsigned long long row_most(struct row_share &row, unsigned long long place) {
  unsigned long long most[1] = {place};
  reduce<1>(row, most, most_of());
  return most[0];
}

/* The greatest that goes after a place. */
__device__ unsigned long long row_next(struct row_share &row, unsigned long long after) {
  unsigned long long most = 0;
  for (int i = threadIdx.x; i < row.n; i += THREADS) {
    unsigned long long place = place_of(row.x[i], row.first + i);
    if (place < after && row.x[i] > -CUDART_INF_F && place > most) most = place;
  }
  return row_most(row, most);
}

/* --- sums of chunks ----------------------------------------------------------------------------------------------- */

/* Over half a warp, as lanes_sum of row_passes_template.h. */
template <typename T> __device__ T lanes_sum(T sum) {
  const int steps[] = {8, 4, 1, 2};
  for (int i = 0; i < 4; i++) sum += __shfl_xor_sync(0xffffffffu, sum, steps[i]);
  return sum;
}

__device__ bool counts(const struct keep &k, float x, int token, float weight) {
  return keeps(k, x, token) && weight >= k.least;
}

/* The sum of all weights; those of this block's chunks stay in `chunk`. Floats: of all tokens and in the order of
 * row_passes_template.h; doubles: of the kept ones. Half a warp a chunk. */
template <typename T> __device__ double row_weigh(struct row_share &row, const struct keep &k) {
  int lane = threadIdx.x % LANES, half = threadIdx.x / LANES, n_chunk = row.n / CHUNK;
  for (int c = half; c < (n_chunk + 1) / 2 * 2; c += THREADS / LANES) { /* whole warps */
    T sum = 0;
    for (int i = lane; c < n_chunk && i < CHUNK; i += LANES) {
      float x = row.x[c * CHUNK + i], weight = weigh(x, k.max, k.scale);
      if (sizeof(T) == sizeof(float))
        sum = __fadd_rn(sum, weight);
      else if (counts(k, x, row.first + c * CHUNK + i, weight))
        sum += weight;
    }
    sum = lanes_sum(sum);
    if (lane == 0 && c < n_chunk) row.exchange->chunk[c] = sum;
  }
  __syncthreads();
  double total[1] = {0};
  if (threadIdx.x == 0)
    for (int c = 0; c < n_chunk; c++) total[0] += row.exchange->chunk[c];
  reduce<1>(row, total, sum_of());
  return total[0];
}

/* --- the draw ----------------------------------------------------------------------------------------------------- */

/* Inclusive sums over the threads of a block. */
__device__ double block_scan(double value, double *warp_sum) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int step = 1; step < 32; step *= 2) {
    double before = __shfl_up_sync(0xffffffffu, value, step);
    if (lane >= step) value += before;
  }
  if (lane == 31) warp_sum[warp] = value;
  __syncthreads();
  for (int w = 0; w < warp; w++) value += warp_sum[w];
  return value;
}

/* The place in the chunk where the sum of weights passes `left`; where rounding keeps it from doing so, the last with
 * a weight. */
__device__ int chunk_find(const struct row_share &row, const struct keep &k, int chunk, double left, bool all) {
  enum { EACH = CHUNK / THREADS };
  struct exchange *e = row.exchange;
  double weight[EACH], sum = 0;
  if (threadIdx.x == 0) e->found = CHUNK, e->last = 0;
  for (int i = 0; i < EACH; i++) {
    int at = chunk * CHUNK + threadIdx.x * EACH + i;
    float w = weigh(row.x[at], k.max, k.scale);
    weight[i] = all || counts(k, row.x[at], row.first + at, w) ? w : 0;
    sum += weight[i];
  }
  double reached = block_scan(sum, (double *)e->warp[0]) - sum; /* synchronizes */
  for (int i = 0; i < EACH; i++) {
    reached += weight[i];
    if (weight[i] > 0) atomicMax(&e->last, threadIdx.x * EACH + i);
    if (weight[i] > 0 && reached > left) {
      atomicMin(&e->found, threadIdx.x * EACH + i);
      break;
    }
  }
  __syncthreads();
  return e->found < CHUNK ? e->found : e->last;
}

/* The token, in the block that has it; −1 in the others. Sums of chunks are there, their total was reduced last. */
__device__ int row_draw(struct row_share &row, const struct keep &k, double total, double uniform, bool all) {
  struct exchange *e = row.exchange;
  double left = uniform * total, before = 0;
  int owner = 0;
  for (int r = 0; r < CLUSTER; r++) {
    double sum = ((double *)e->part[row.turn ^ 1][r])[0];
    if (sum > 0) owner = r;
    if (left < before + sum) break;
    if (r + 1 < CLUSTER) before += sum;
  }
  if (owner != row.rank) return -1;
  left -= sum_before(row);
  int chunk = 0;
  for (int c = 0; c < row.n / CHUNK; c++) {
    double sum = e->chunk[c];
    if (sum > 0) chunk = c;
    if (left < sum) break;
    left -= sum;
  }
  if (!(left < e->chunk[chunk])) left = e->chunk[chunk]; /* the end of the row: its last token with a weight */
  return row.first + chunk * CHUNK + chunk_find(row, k, chunk, left, all);
}

__device__ int row_choose(struct row_share &row, const struct cuda_draw &d, int vocab, float max) {
  struct keep k = {max, d.scale, -CUDART_MAX_NORMAL_F, 0, vocab};
  bool limited = d.top_k > 0 && d.top_k < vocab, nucleus = d.top_p < 1, all = !limited && !nucleus && !(d.min_p > 0);
  if (limited) keep_most<false>(row, &k, vocab, d.top_k);
  double total = 0;
  if (nucleus || all) total = limited ? row_weigh<double>(row, k) : row_weigh<float>(row, k);
  if (nucleus) keep_most<true>(row, &k, vocab, fmax((double)d.top_p * total, 1e-300));
  if (d.min_p > 0) k.least = d.min_p;
  if (!all) total = row_weigh<double>(row, k);
  return row_draw(row, k, total, random_uniform(d.seed, d.index), all);
}

/* --- rules -------------------------------------------------------------------------------------------------------- */

/* Puts the rules between the raw logits and the draw; bans, then all rules, are lifted where they leave no token. The
 * place of the greatest. */
__device__ unsigned long long row_rule(struct row_share &row, const struct cuda_rules &r, const struct cuda_sample &a,
                                       const float *logits, uint32_t *count) {
  int late = r.late_seat < 0 ? -1 : r.late_token >= 0 ? r.late_token : a.last[r.late_seat];
  tokens_count(row, r, late, count);
  rules_apply(row, r, late, true, logits, a.vocab, count);
  unsigned long long most = row_next(row, ~0ull);
  if (!most) {
    rules_apply(row, r, late, false, logits, a.vocab, count);
    most = row_next(row, ~0ull);
  }
  return most ? most : row_most(row, row_load(row, logits, a.vocab));
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

__device__ void top_write(struct row_share &row, int n_top, double log_total, struct cuda_logprob *top) {
  unsigned long long place = ~0ull;
  for (int i = 0; i < n_top; i++) {
    if (place) place = row_next(row, place);
    if (row.rank > 0 || threadIdx.x > 0) continue;
    top[i].token = place ? place_token(place) : -1;
    top[i].logprob = place ? (float)((double)place_logit(place) - log_total) : -CUDART_INF_F;
  }
}

/* The logarithm of the sum of a row's exponentials; and its likeliest tokens. */
__device__ double logprobs_write(struct row_share &row, unsigned long long most, int n_top, struct cuda_logprob *top) {
  struct keep all = {place_logit(most), 1.44269504f, 0, 0, 0};
  double log_total = (double)all.max + log(row_weigh<float>(row, all));
  top_write(row, n_top, log_total, top);
  return log_total;
}

/* Output `out` by the blocks of a cluster, of which this is number `rank`. x: room for the block's logits, and as much
 * for counts of tokens where there are rules. */
__device__ void output_sample(const struct cuda_sample &a, int out, int rank, float *x, struct exchange *exchange) {
  const struct cuda_draw d = a.draw[out];
  const struct cuda_results results = *a.results;
  if (d.by_host) return;
  struct row_share row = {x, a.block_chunks * CHUNK, rank * a.block_chunks * CHUNK, rank, 0, exchange};
  struct cuda_logprob *top = results.top + (size_t)out * LIMIT_TOP_LOGPROBS;
  const float *logits = a.logits + (size_t)out * a.vocab;
  blocks_arrive();
  unsigned long long greatest = row_load(row, logits, a.vocab);
  blocks_wait(); /* all have begun: before that nobody may write to another */
  unsigned long long most = row_most(row, greatest);
  bool sound = place_sound(most);
  double log_total = 0;
  if (sound && d.want_logprob && !d.beam) log_total = logprobs_write(row, most, d.n_top, top);
  if (sound && d.ruled) most = row_rule(row, a.rules[out], a, logits, (uint32_t *)(x + row.n));
  if (sound && d.want_logprob && d.beam) log_total = logprobs_write(row, most, d.n_top, top);
  int token = d.scored ? d.target : place_token(most);
  if (sound && !d.scored && !d.greedy) token = row_choose(row, d, a.vocab, place_logit(most));
  int place = token - row.first;
  if (threadIdx.x == 0 && (sound ? place >= 0 && place < row.n : rank == 0)) {
    float logit = sound ? d.beam ? x[place] : logits[token] : 0;
    results.token[out] = sound ? token : -1;
    results.logprob[out] = sound && d.want_logprob ? (float)((double)logit - log_total) : 0;
    if (d.seat >= 0) a.last[d.seat] = sound ? token : 0;
  }
  blocks_meet(); /* nobody leaves while another writes into its memory */
}

} // namespace

#endif
