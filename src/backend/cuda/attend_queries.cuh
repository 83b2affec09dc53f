/* Queries of a unit of decode attention in shared memory, and the key and value of the token that the step brings,
 * which are made here where no kernel has stored them before. */
#ifndef SPATE_BACKEND_CUDA_ATTEND_QUERIES_CUH
#define SPATE_BACKEND_CUDA_ATTEND_QUERIES_CUH

#include "backend/cuda/attend_ring.cuh"

namespace attend_ring {

/* The unit's queries; zeros where there are no more. */
template <typename T, int D>
__device__ void queries_load(const cuda_attend &a, const segment &s, const shared<T, D> &m) {
  int g = queries_of(a);
  for (int i = threadIdx.x; i < ATTEND_PACKED * D / 8; i += WARPS * 32) {
    int row = i / (D / 8), d = i % (D / 8) * 8, packed = s.chunk * ATTEND_PACKED + row, token = packed / g;
    uint4 x = make_uint4(0, 0, 0, 0);
    if (token < s.r.count)
      x = *(const uint4 *)(a.query + ((size_t)(s.r.first + token) * a.n_head + s.head * g + packed % g) * D + d);
    *(uint4 *)((uint16_t *)m.query + panel_index(D, ATTEND_PACKED, row, d)) = x;
  }
}

/* Norms of the layer's heads nearer, before what they norm is there. */
template <int D> __device__ __forceinline__ void norms_bring(const cuda_attend &a) {
  constexpr int lines = (D + 31) / 32;
  int i = threadIdx.x;
  const float *norm = i < lines ? a.norm_q : a.norm_k;
  if (i < 2 * lines && norm) asm volatile("prefetch.global.L2 [%0];" ::"l"(norm + i % lines * 32));
}

/* A query of the unit's row, of a token at an index of its own, scaled. */
template <typename T, int D>
__device__ __forceinline__ void query_put(const cuda_attend &a, uint8_t *to, int row, int position, const float *head) {
  float scale = query_scale(a, position);
  for (int i = threadIdx.x % 32; i < D / 2; i += 32)
    *(uint32_t *)((uint16_t *)to + panel_index(D, ATTEND_PACKED, row, 2 * i)) =
        T::pair(head[2 * i] * scale, head[2 * i + 1] * scale);
}

/* The same of a token that this step brings; and who has the unit's last keys makes its key and value, too. */
template <typename T, int D>
__device__ void queries_make(const cuda_attend &a, const cuda_batch &batch, const segment &s, const shared<T, D> &m) {
  int n = packed_rows(a, s), first = s.head * queries_of(a) + s.chunk * ATTEND_PACKED, token = s.r.first,
      warp = threadIdx.x / 32;
  bool last = s.end == s.pieces, stores = last && s.chunk == 0;
  float *head = m.own->head[warp];
  int place = s.r.length % a.block_size;
  uint32_t block = stores ? table_of(a, batch, s.r)[s.r.length / a.block_size] : 0;
  for (int i = warp; i < n + 2 * last; i += WARPS) {
    if (i <= n)
      head_prepare<head_room(D)>(a, fresh_head(a, token, i < n ? first + i : a.n_head + s.head),
                                 i < n ? a.norm_q : a.norm_k, fresh_angle(a, token), head);
    const float *from = i <= n ? head : fresh_head(a, token, a.n_head + a.n_kv_head + s.head);
    if (i < n) query_put<T, D>(a, m.query, i, s.r.length, head);
    if (i >= n) head_store<T>(D, 1, i == n ? m.own->key : m.own->value, 0, from);
    if (i >= n && stores) head_store<T>(D, a.block_size, block_at<T>(a, block, s.head, i - n), place, from);
    __syncwarp(); /* the head has been read */
  }
  for (int i = threadIdx.x; i < (ATTEND_PACKED - n) * D / 8; i += WARPS * 32)
    *(uint4 *)((uint16_t *)m.query + panel_index(D, ATTEND_PACKED, n + i / (D / 8), i % (D / 8) * 8)) =
        make_uint4(0, 0, 0, 0);
}

/* The token's own key or value to its place in a tile. */
template <typename T, int D> __device__ __forceinline__ void fresh_put(const uint8_t *from, uint8_t *stage, int place) {
  int i = threadIdx.x;
  if constexpr (T::coded) {
    if (i < D / 16) *(uint4 *)code_at(D, stage, place, i) = *(const uint4 *)code_at(D, from, 0, i);
    if (i == D / 16) *scale_at(D, stage, place) = *scale_at(D, from, 0);
  } else {
    if (i < D / 8)
      *(uint4 *)((uint16_t *)stage + panel_index(D, ATTEND_TILE, place, i * 8)) = *(const uint4 *)(from + i * 16);
  }
  if (i <= D / 8) shared_writes_publish();
}

} // namespace attend_ring

#endif
