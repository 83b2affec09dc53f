/* A request's rules applied to a row of logits as logit_rules.c does and to the same bits. The host
 * has matched bad words; tokens are counted here. */
#ifndef SPATE_BACKEND_CUDA_ROW_RULES_CUH
#define SPATE_BACKEND_CUDA_ROW_RULES_CUH

#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/row_cluster.cuh"

namespace row_cluster {

/* Of a token: times that it was generated, and */
enum { TOKEN_ALLOWED = 1 << 30, TOKEN_SEEN = 1u << 31 };

/* count[row.n], beside the row. late: the token that only the device knows; −1: none. */
__device__ inline void tokens_count(const struct row_share &row, const struct cuda_rules &r, int late,
                                    uint32_t *count) {
  bool repeats = r.repetition > 0 && r.repetition != 1;
  for (int i = threadIdx.x; i < row.n; i += THREADS) count[i] = 0;
  __syncthreads();
  for (int i = (repeats ? 0 : r.n_prompt) + threadIdx.x; i < r.n_history + (late >= 0); i += THREADS) {
    int at = (i < r.n_history ? r.history[i] : late) - row.first;
    if (at < 0 || at >= row.n) continue;
    atomicOr(&count[at], TOKEN_SEEN);
    if (i >= r.n_prompt) atomicAdd(&count[at], 1);
  }
  for (int i = threadIdx.x; i < r.n_allowed; i += THREADS) {
    int at = r.allowed[i] - row.first;
    if (at >= 0 && at < row.n) atomicOr(&count[at], TOKEN_ALLOWED);
  }
  __syncthreads();
}

__device__ inline void tokens_ban(const struct row_share &row, const struct cuda_rules &r, int late) {
  for (int i = threadIdx.x; i < r.n_ban; i += THREADS) {
    int at = r.ban[i].token - row.first;
    if (at >= 0 && at < row.n && (r.ban[i].after < 0 || r.ban[i].after == late)) row.x[at] = -CUDART_INF_F;
  }
}

/* A token's biases by who has the first of them, in their order. */
__device__ inline void biases_add(const struct row_share &row, const struct cuda_rules &r) {
  for (int i = threadIdx.x; i < r.n_bias; i += THREADS) {
    int token = r.bias[i].token, at = token - row.first;
    bool first = at >= 0 && at < row.n;
    for (int k = 0; first && k < i; k++) first = r.bias[k].token != token;
    for (int k = i; first && k < r.n_bias; k++)
      if (r.bias[k].token == token) row.x[at] = __fadd_rn(row.x[at], r.bias[k].bias);
  }
}

__device__ inline float penalize(const struct cuda_rules &r, float x, uint32_t count) {
  int times = count & (TOKEN_ALLOWED - 1);
  if (r.repetition > 0 && r.repetition != 1)
    x = x > 0 ? fminf(__fdiv_rn(x, r.repetition), 1e30f) : __fmul_rn(x, r.repetition);
  if (times > 0) x = __fsub_rn(x, __fadd_rn(__fmul_rn(r.frequency, (float)times), r.presence));
  return x;
}

/* From the raw logits; all threads of the block. */
__device__ inline void rules_apply(const struct row_share &row, const struct cuda_rules &r, int late, bool bans,
                                   const float *logits, int vocab, const uint32_t *count) {
  for (int i = threadIdx.x; i < row.n; i += THREADS) {
    bool kept = row.first + i < vocab && (r.n_allowed == 0 || count[i] & TOKEN_ALLOWED);
    row.x[i] = kept ? logits[row.first + i] : -CUDART_INF_F;
  }
  __syncthreads();
  if (bans) tokens_ban(row, r, late);
  __syncthreads();
  biases_add(row, r);
  __syncthreads();
  for (int i = threadIdx.x; i < row.n; i += THREADS)
    if (count[i] & TOKEN_SEEN) row.x[i] = penalize(r, row.x[i], count[i]);
  __syncthreads();
}

} // namespace row_cluster

#endif
