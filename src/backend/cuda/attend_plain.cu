/* Plain attention: any head size and variant, in float arithmetic. Keys and values of the batch go to the paged cache
 * first; then a block takes one head of one token through all that it sees, a tile of keys at a time, with the softmax
 * rescaled as its maximum grows (Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018). */
#include "backend/cuda/attend_codes.cuh"
#include "backend/cuda/attend_distances.h"

namespace {

enum { THREADS = 128, WARPS = THREADS / 32, KEYS = 64, HEAD_MAX = 1024 };

__device__ float warp_sum(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

/* A token's key (which 0) or value (1). Codes of a block's keys are followed by its values', their scales by those; a
 * latent is the end of its key, and has no place of its own. */
struct place {
  uint8_t *numbers;
  float *scale;
};

__device__ place cache_place(const struct cuda_attend &a, bool latent, const uint32_t *table, int token, int head,
                             int which) {
  bool coded = a.kv >= CACHE_E4M3;
  size_t block = ((size_t)table[token / a.block_size] * a.n_layer + a.layer) * a.n_kv_head + head;
  int each = coded               ? 1
             : a.kv == CACHE_F32 ? 4
                                 : 2,
      at = token % a.block_size, codes = a.block_size * (a.dim_k + (latent ? 0 : a.dim_v));
  uint8_t *base = a.cache + block * ((size_t)codes * each + (coded ? (latent ? 4 : 8) * a.block_size : 0));
  if (latent)
    return place{base + (size_t)each * (at * a.dim_k + which * (a.dim_k - a.dim_v)), (float *)(base + codes) + at};
  return place{base + (size_t)each * (which ? a.block_size * a.dim_k + at * a.dim_v : at * a.dim_k),
               (float *)(base + codes) + which * a.block_size + at};
}

__device__ float cache_get(const struct cuda_attend &a, const place &p, int i) {
  switch (a.kv) {
  case CACHE_F32: return ((const float *)p.numbers)[i];
  case CACHE_F16: return __half2float(((const __half *)p.numbers)[i]);
  case CACHE_BF16: return __bfloat162float(((const __nv_bfloat16 *)p.numbers)[i]);
  case CACHE_E4M3: return __half2float(__nv_cvt_fp8_to_halfraw(p.numbers[i], __NV_E4M3)) * *p.scale;
  default: return (float)(int8_t)p.numbers[i] * *p.scale;
  }
}

/* x: of codes, divided by the scale. */
__device__ void number_put(const struct cuda_attend &a, const place &p, int i, float x) {
  switch (a.kv) {
  case CACHE_F32: ((float *)p.numbers)[i] = x; break;
  case CACHE_F16: ((__half *)p.numbers)[i] = __float2half_rn(x); break;
  case CACHE_BF16: ((__nv_bfloat16 *)p.numbers)[i] = __float2bfloat16_rn(x); break;
  case CACHE_E4M3: p.numbers[i] = __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3); break;
  default: p.numbers[i] = (uint8_t)__float2int_rn(x); break;
  }
}

/* All threads of the block. */
__device__ void cache_put(const struct cuda_attend &a, const place &p, int dim, const float *from) {
  __shared__ float peaks[WARPS];
  float peak = 0, inverse = 1, most = a.kv == CACHE_E4M3 ? 448 : 127;
  if (a.kv >= CACHE_E4M3) {
    for (int i = threadIdx.x; i < dim; i += THREADS) peak = peak_of(peak, fabsf(from[i]));
    for (int step = 16; step > 0; step /= 2) peak = peak_of(peak, __shfl_xor_sync(0xffffffffu, peak, step));
    __syncthreads();
    if (threadIdx.x % 32 == 0) peaks[threadIdx.x / 32] = peak;
    __syncthreads();
    for (int i = 0; i < WARPS; i++) peak = peak_of(peak, peaks[i]);
    bool nothing = peak <= PEAK_LEAST;
    inverse = nothing ? 0 : most / peak;
    if (threadIdx.x == 0) *p.scale = nothing ? 0 : peak / most;
  }
  for (int i = threadIdx.x; i < dim; i += THREADS) number_put(a, p, i, from[i] * inverse);
}

/* Where a head of q or k is; of q beside latents its last dimensions are elsewhere. */
struct head_place {
  const float *numbers, *rest;
  int first; /* dimensions in `numbers` */

  __device__ float at(int i) const { return i < first ? numbers[i] : rest[i - first]; }
};

__device__ head_place query_place(const struct cuda_attend &a, bool latent, int token, int h) {
  const float *in = a.in + (size_t)token * a.in_cols;
  int first = a.dim_k - a.dim_v;
  if (!latent) return head_place{in + h * a.dim_k, nullptr, a.dim_k};
  return head_place{in + h * first, in + a.n_head * first + h * a.dim_v, first};
}

/* A head of q or k into shared memory: normed, rotated. All threads of the block. */
__device__ void head_prepare(const struct cuda_attend &a, const cuda_row &r, int token, const head_place &from,
                             const float *norm, float *head) {
  __shared__ float squares[WARPS];
  float sum = 0, scale = 1;
  for (int i = threadIdx.x; i < a.dim_k; i += THREADS) sum += from.at(i) * from.at(i);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) squares[threadIdx.x / 32] = sum;
  __syncthreads();
  if (norm) {
    sum = 0;
    for (int i = 0; i < WARPS; i++) sum += squares[i];
    scale = rsqrtf(sum / a.dim_k + a.eps);
  }
  for (int i = threadIdx.x; i < a.dim_k; i += THREADS) head[i] = norm ? from.at(i) * scale * norm[i] : from.at(i);
  __syncthreads();
  for (int i = threadIdx.x; a.rope_style && i < a.rope_dim / 2; i += THREADS) {
    double sine, cosine;
    sincos((double)token_place(a.places.place, r, token, a.axis, i) * (double)a.frequency[i], &sine, &cosine);
    float c = (float)(cosine * a.rope_scale), s = (float)(sine * a.rope_scale);
    int low = a.rope_style == ROTATE_PAIRS ? 2 * i : i,
        high = a.rope_style == ROTATE_PAIRS ? low + 1 : i + a.rope_dim / 2;
    float x = head[low], y = head[high];
    head[low] = x * c - y * s;
    head[high] = x * s + y * c;
  }
  __syncthreads();
}

/* A block for each token and KV head. */
__global__ void store(struct cuda_attend a, bool latent, struct cuda_batch batch) {
  __shared__ float head[HEAD_MAX];
  int token = blockIdx.x, h = blockIdx.y, row = batch.token_row[token];
  struct cuda_row r = batch.row[row];
  if (r.count == 0) return;
  int position = r.length + token - r.first;
  const float *key = a.in + (size_t)token * a.in_cols + a.n_head * a.dim_k + h * a.dim_k;
  const float *value = a.in + (size_t)token * a.in_cols + (a.n_head + a.n_kv_head) * a.dim_k + h * a.dim_v;
  const uint32_t *table = table_of(a, batch, r);
  head_prepare(a, r, token, head_place{key, nullptr, a.dim_k}, a.norm_k, head);
  cache_put(a, cache_place(a, latent, table, position, h, 0), a.dim_k, head);
  if (!latent) cache_put(a, cache_place(a, latent, table, position, h, 1), a.dim_v, value);
}

/* What a score of a head gains by the distance of its tokens. */
struct lean {
  float slope;
  const float *gain; /* by key − query; NULL: nothing */

  __device__ float at(int ahead) const { return gain ? gain[-ahead] : -slope * (float)ahead; }
};

/* Scores of up to KEYS keys from `first` on; a warp for each key in turn. ahead: how far the query is behind the first
 * key. */
__device__ void scores_make(const struct cuda_attend &a, bool latent, const uint32_t *table, int h, const float *query,
                            int first, int count, const lean &lean, int ahead, float scale, float *score) {
  for (int k = threadIdx.x / 32; k < count; k += WARPS) {
    place key = cache_place(a, latent, table, first + k, h, 0);
    float sum = 0;
    for (int i = threadIdx.x % 32; i < a.dim_k; i += 32) sum += query[i] * cache_get(a, key, i);
    sum = warp_sum(sum) * scale;
    if (a.softcap > 0) sum = a.softcap * tanhf(sum / a.softcap);
    if (threadIdx.x % 32 == 0) score[k] = sum + lean.at(ahead - k);
  }
}

/* A block for each token and head. */
__global__ void attend(struct cuda_attend a, struct cuda_attend_beside b, struct cuda_distances d,
                       struct cuda_batch batch, int first_token) {
  __shared__ float query[HEAD_MAX], sum[HEAD_MAX], score[KEYS];
  int token = first_token + blockIdx.x, h = blockIdx.y, row = batch.token_row[token],
      kv_head = h / (a.n_head / a.n_kv_head);
  struct cuda_row r = batch.row[row];
  if (r.count == 0) return;
  int position = r.length + token - r.first, last = batch.see ? r.length + batch.see[token] : position;
  int begin = a.window && position >= a.window ? position - a.window + 1 : 0;
  if (b.causal) last = position;
  if (b.near > 0) begin = max(begin, position - b.near), last = min(last, position + b.near);
  if (a.places.span) begin = a.places.span[2 * token], last = a.places.span[2 * token + 1];
  const uint32_t *table = table_of(a, batch, r);
  head_prepare(a, r, token, query_place(a, b.latent, token, h), a.norm_q, query);
  for (int i = threadIdx.x; i < a.dim_v; i += THREADS) sum[i] = 0;
  const lean lean = {a.slope ? a.slope[h] : 0, d.gain ? d.gain + (size_t)h * d.each : nullptr};
  float scale = a.grow > 0 ? a.scale * query_growth(a, position) : a.scale;
  float highest = a.sink ? a.sink[h] : -INFINITY, total = a.sink ? 1 : 0;
  for (int first = begin; first <= last; first += KEYS) {
    int count = min(KEYS, last + 1 - first);
    __syncthreads();
    scores_make(a, b.latent, table, kv_head, query, first, count, lean, position - first, scale, score);
    __syncthreads();
    float before = highest;
    for (int k = 0; k < count; k++) highest = fmaxf(highest, score[k]);
    float shrink = before > -INFINITY ? expf(before - highest) : 0;
    total *= shrink;
    for (int k = 0; k < count; k++) total += expf(score[k] - highest);
    for (int i = threadIdx.x; i < a.dim_v; i += THREADS) {
      float x = sum[i] * shrink;
      for (int k = 0; k < count; k++)
        x += expf(score[k] - highest) * cache_get(a, cache_place(a, b.latent, table, first + k, kv_head, 1), i);
      sum[i] = x;
    }
  }
  float *out = a.out + ((size_t)token * a.n_head + h) * a.dim_v;
  for (int i = threadIdx.x; i < a.dim_v; i += THREADS)
    out[i] = total == 0 ? 0 : sum[i] / total; /* 0: it sees nothing */
}

} // namespace

void cuda_attend_plain_apart(const struct cuda_attend *attend_args, const struct cuda_attend_beside *beside,
                             const struct cuda_distances *distances, const struct cuda_batch *batch, int first, int n,
                             cuda_stream stream) {
  const struct cuda_attend &a = *attend_args;
  if (first == 0) store<<<dim3(batch->n_token, a.n_kv_head), THREADS, 0, stream>>>(a, beside->latent, *batch);
  attend<<<dim3(n, a.n_head), THREADS, 0, stream>>>(a, *beside, *distances, *batch, first);
}

void cuda_attend_plain(const struct cuda_attend *attend_args, const struct cuda_attend_beside *beside,
                       const struct cuda_batch *batch, cuda_stream stream) {
  const struct cuda_distances none = {};
  cuda_attend_plain_apart(attend_args, beside, &none, batch, 0, batch->n_token, stream);
}
