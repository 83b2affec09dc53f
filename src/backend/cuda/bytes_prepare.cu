/* What goes before a linear of eight-bit weights and tokens: a token's row is normed and rounded to E4M3 or int8 with
 * one scale, in the order in which bytes_tiles.cuh wants it, or, as bf16, linear_few.cuh. A block a token, which keeps
 * the row in registers; squares of the norm and the greatest magnitude are found at once. Bounds: what is read and
 * written. */
#include "backend/cuda/bytes_prepare.cuh"
#include "backend/cuda/instructions.cuh"
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/peak.cuh"

namespace {

enum { PREPARE_THREADS = 256, UNIT = 16 /* columns that make 16 bytes */ };

struct prepare {
  const float *in, *norm; /* [token][in_cols], [cols] or NULL */
  const uint4 *tiles; /* or bf16 tiles of 64 tokens × 64 columns, as gated_finish of linear_tiles.cuh leaves them */
  uint4 *out;
  float *scales;
  int in_cols, cols, n_piece, whole; /* whole: rows are multiples of 4 floats */
  float eps;
};

typedef void kernel(prepare);

/* A unit as it lies in memory: floats of a row, or bf16 of tiles, half as long. */
template <bool TILES> struct raw_unit { uint4 part[TILES ? 2 : 4]; };

/* Beyond the columns there are zeros. */
template <bool TILES> __device__ __forceinline__ raw_unit<TILES> unit_load(const prepare &a, int token, int col) {
  raw_unit<TILES> unit = {};
  if (TILES) {
    if (col >= a.cols) return unit;
    const uint4 *row = a.tiles + ((size_t)(token / 64) * (a.cols / 64) + col / 64) * 512 + token % 64 * 8;
#pragma unroll
    for (int half = 0; half < 2; half++) unit.part[half] = row[(col % 64 / 8 + half) ^ token % 8];
    return unit;
  }
  const float *row = a.in + (size_t)token * a.in_cols;
#pragma unroll
  for (int i = 0; i < UNIT / 4; i++) {
    int at = col + i * 4;
    *(float4 *)&unit.part[i % (TILES ? 2 : 4)] =
        a.whole && at + 4 <= a.cols ? *(const float4 *)(row + at) : four_at(row + col, i * 4, a.cols - col);
  }
  return unit;
}

template <bool TILES> __device__ __forceinline__ void unit_floats(float x[UNIT], const raw_unit<TILES> &unit) {
#pragma unroll
  for (int i = 0; i < UNIT; i += 2)
    *(float2 *)(x + i) = TILES ? __bfloat1622float2(((const __nv_bfloat162 *)unit.part)[i / 2])
                               : ((const float2 *)unit.part)[i / 2 % (TILES ? 4 : 8)];
}

/* Of the row's squares, and of what is greatest once it has the norm's weights, not yet its scale. */
template <bool TILES>
__device__ __forceinline__ void unit_measure(const raw_unit<TILES> &unit, const prepare &a, int col, float &squares,
                                             float &peak) {
  float x[UNIT];
  unit_floats(x, unit);
#pragma unroll
  for (int i = 0; i < UNIT; i++) squares += x[i] * x[i];
#pragma unroll
  for (int i = 0; i < UNIT; i++)
    peak = peak_of(peak, fabsf(a.norm && col + i < a.cols ? x[i] * a.norm[col + i] : x[i]));
}

template <bool E4M3, bool TILES>
__device__ __forceinline__ uint4 unit_round(const raw_unit<TILES> &unit, const prepare &a, int col, float scale,
                                            float inverse) {
  float x[UNIT];
  unit_floats(x, unit);
#pragma unroll
  for (int i = 0; i < UNIT; i++) {
    if (a.norm && col + i < a.cols) x[i] = x[i] * scale * a.norm[col + i];
    x[i] *= inverse;
  }
  return bytes_of<E4M3>(x);
}

/* A unit as bf16 in B fragments of mma.m16n8k16 (linear_fragments.cuh): exact. */
template <bool E4M3> __device__ __forceinline__ void unit_spread(const prepare &a, int token, int unit, uint4 bytes) {
  int n_panel = (a.cols + 63) / 64, panel = unit / 4, step = unit % 4;
  if (panel >= n_panel) return;
  uint4 *to = a.out + ((size_t)(token / 8) * n_panel + panel) * 64 + step / 2 * 32 + token % 8 * 4;
#pragma unroll
  for (int q = 0; q < 4; q++) {
    uint32_t word = (&bytes.x)[q]; /* columns 2q, 2q + 8, 2q + 1, 2q + 9 */
    float x[4];
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = byte_value<E4M3>(word >> i * 8 & 0xff);
    ((uint2 *)(to + q))[step % 2] = make_uint2(pair_round(x[0], x[2]), pair_round(x[1], x[3]));
  }
}

/* Sums of one and greatest of the other, over the block. */
__device__ __forceinline__ float2 block_both(float sum, float most) {
  __shared__ float2 part[PREPARE_THREADS / 32];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_xor_sync(~0u, sum, step);
    most = peak_of(most, __shfl_xor_sync(~0u, most, step));
  }
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = {sum, most};
  __syncthreads();
  float2 both = part[0];
#pragma unroll
  for (int i = 1; i < PREPARE_THREADS / 32; i++) both = {both.x + part[i].x, peak_of(both.y, part[i].y)};
  return both;
}

/* HELD: units that a thread keeps in registers, between finding the scales and using them; 0: it reads them again. FEW:
 * for linear_few.cuh. */
template <bool E4M3, bool TILES, int HELD, bool FEW>
__global__ void __launch_bounds__(PREPARE_THREADS, TILES &&HELD ? 3 : 4) prepare_bytes(prepare a) {
  constexpr int n = HELD ? HELD : 1, stride = PREPARE_THREADS;
  raw_unit<TILES> unit[n];
  float squares = 0, peak = 0;
  int token = blockIdx.x, units = a.n_piece * 8;
  dependents_launch();
  dependencies_wait();
  for (int first = threadIdx.x; first < units; first += n * stride) {
#pragma unroll
    for (int i = 0; i < n; i++)
      if (first + i * stride < units) unit[i] = unit_load<TILES>(a, token, (first + i * stride) * UNIT);
#pragma unroll
    for (int i = 0; i < n; i++)
      if (first + i * stride < units) unit_measure(unit[i], a, (first + i * stride) * UNIT, squares, peak);
  }
  float2 both = block_both(squares, peak);
  float scale = a.norm ? rsqrtf(both.x / a.cols + a.eps) : 1, top = E4M3 ? 448 : 127;
  peak = both.y * scale;
  bool nothing = peak <= 1e-30f; /* NaN stays what it is: int8 has none, the scale has */
  float inverse = nothing ? 0 : __fdiv_rn(top, peak);
  if (threadIdx.x == 0) a.scales[token] = nothing ? 0 : __fdiv_rn(peak, top);
  uint4 *tile = a.out + (size_t)(token / 64) * a.n_piece * 512 + token % 64 * 8;
  for (int first = threadIdx.x; first < units; first += n * stride) {
#pragma unroll
    for (int i = 0; i < n; i++) {
      int at = first + i * stride;
      if (at >= units) break;
      if (!HELD) unit[i] = unit_load<TILES>(a, token, at * UNIT);
      uint4 bytes = unit_round<E4M3>(unit[i], a, at * UNIT, scale, inverse);
      if (FEW)
        unit_spread<E4M3>(a, token, at, bytes);
      else
        tile[at / 8 * 512 + (at % 8 ^ token % 8)] = bytes;
    }
  }
}

template <bool E4M3> kernel *kernel_of(int units, bool tiles, bool few) {
  constexpr int held = PREPARE_THREADS;
  if (few) return units <= held ? prepare_bytes<E4M3, false, 1, true> : prepare_bytes<E4M3, false, 0, true>;
  if (!tiles) return units <= held ? prepare_bytes<E4M3, false, 1, false> : prepare_bytes<E4M3, false, 0, false>;
  if (units <= held) return prepare_bytes<E4M3, true, 1, false>;
  return units <= 4 * held ? prepare_bytes<E4M3, true, 4, false> : prepare_bytes<E4M3, true, 0, false>;
}

} // namespace

void cuda_bytes_prepare(const struct cuda_linear *linear, const void *tiles, bool few, cuda_stream stream) {
  prepare a = {.in = linear->in,
               .norm = linear->has_norm ? linear->norm : nullptr,
               .tiles = (const uint4 *)tiles,
               .out = (uint4 *)linear->fragments,
               .scales = linear->scales,
               .in_cols = linear->in_cols,
               .cols = linear->matrix.cols,
               .n_piece = (linear->matrix.cols + 127) / 128,
               .whole = linear->in_cols % 4 == 0,
               .eps = linear->eps};
  launch_shape shape = {linear->n_row, PREPARE_THREADS, 0, 1};
  kernel *run = (linear->matrix.kind == KIND_F8 ? kernel_of<true> : kernel_of<false>)(a.n_piece * 8, tiles, few);
  early_launch(run, shape, stream, a);
}
