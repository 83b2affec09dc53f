/* Sums of a warp's 16 rows as 16-bit chunks of 8 columns, which one lane stores at once. Lane l of a warp has, of each
 * run of 8 columns, l % 4 × 2 and + 1 of rows l / 4 and + 8 (matrix_group.cuh): of four runs four lanes each get one.
 */
#ifndef SPATE_BACKEND_CUDA_IMAGE_CHUNKS_CUH
#define SPATE_BACKEND_CUDA_IMAGE_CHUNKS_CUH

#include "backend/cuda/attend.cuh"
#include "backend/cuda/image_kernels.h"

/* x[i]: the lane's pair of run i. The lane's result is run l % 4, in order. */
static __device__ __forceinline__ uint4 chunk_turn(uint32_t (&x)[4]) {
  bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? x[i] : x[i + 1], 1);
    (odd ? x[i] : x[i + 1]) = other;
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    uint32_t other = __shfl_xor_sync(0xffffffffu, high ? x[i] : x[i + 2], 2);
    (high ? x[i] : x[i + 2]) = other;
  }
  return make_uint4(x[0], x[1], x[2], x[3]);
}

/* Where a token's chunk from column col on stands in tiles of 64 tokens × 64 columns (linear_prepare.cu). */
static __device__ __forceinline__ uint4 *tile_chunk(void *tiles, int n_piece, int token, int col) {
  return (uint4 *)tiles + ((size_t)(token / 64) * n_piece + col / 64) * 512 + token % 64 * 8 +
         (col % 64 / 8 ^ token % 8);
}

/* Where a head's chunk of queries (which 0), keys or values (2) from dimension d on goes. */
static __device__ __forceinline__ uint4 *head_chunk(const cuda_image_ends &e, int place, int which, int head, int d) {
  size_t panels = (size_t)(place / IMAGE_BLOCK) * e.n_head + head;
  uint16_t *base = which == 0 ? e.query : (uint16_t *)e.cache;
  if (which > 0) panels = panels * 2 + which - 1;
  return (uint4 *)(base + panels * IMAGE_BLOCK * e.room + panel_index(e.room, IMAGE_BLOCK, place % IMAGE_BLOCK, d));
}

#endif
