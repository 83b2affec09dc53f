/* Where tokens lie as an operand: as B of mma.m16n8k16, in the order in which registers want them, and in tiles of
 * wgmma. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_FRAGMENTS_CUH
#define SPATE_BACKEND_CUDA_LINEAR_FRAGMENTS_CUH

#include <cstddef>

/* Of column `col` of a token, among fragments of n_piece pieces of 64 columns. A lane has of token lane / 4, in each 16
 * columns, those at lane % 4 × 2, + 1, + 8 and + 9 (PTX ISA, "Matrix fragments for mma.m16n8k16"). */
static __device__ __forceinline__ size_t fragment_index(int token, int col, int n_piece) {
  int step = col % 64 / 16, within = col % 16, lane = token % 8 * 4 + within % 8 / 2;
  size_t run = ((size_t)(token / 8) * n_piece + col / 64) * 2 + step / 2;
  return (run * 32 + lane) * 8 + step % 2 * 4 + within / 8 * 2 + col % 2;
}

/* The same in tiles of 64 tokens × 64 columns, swizzled as weights are (cuda_layout.h). */
static __device__ __forceinline__ size_t tile_index(int token, int col, int n_piece) {
  size_t tile = (size_t)(token / 64) * n_piece + col / 64;
  return tile * 4096 + token % 64 * 64 + (col % 64 / 8 ^ token % 8) * 8 + col % 8;
}

#endif
