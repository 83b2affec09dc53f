/* Linears of encoders on Hopper: the tiles of linear_tiles.cuh, with endings for what an encoder's layer is made of. A
 * tile's sums get bias and activation where they are, in registers; then they go to floats as decoders' do, or, in 16
 * bits, straight to where the next kernel reads them: tiles of tokens, or attention's queries, keys and values. Ends of
 * tiles are bounded by what they write, and columns are few (1,152), so half the bytes is what makes them short. */
#include "backend/cuda/attend.cuh"
#include "backend/cuda/image_chunks.cuh"
#include "backend/cuda/image_rows.cuh"
#include "backend/cuda/linear_tiles.cuh"
#include "backend/cuda/sums_curve.cuh"

namespace {

enum { PREPARE_WARPS = 8, UNIT = 8 /* columns that make 16 bytes */ };

/* --- before: tokens ----------------------------------------------------------------------------------------------- */

/* Eight columns, as 16 bytes of a tile. */
__device__ __forceinline__ uint4 unit_round(const float (&x)[UNIT]) {
  return make_uint4(pair_round(x[0], x[1]), pair_round(x[2], x[3]), pair_round(x[4], x[5]), pair_round(x[6], x[7]));
}

/* A warp takes a row: any, which it reads again from the first-level cache. */
__global__ void __launch_bounds__(PREPARE_WARPS * 32)
    prepare_any(const float *in, int n, int in_cols, int cols, cuda_norm norm, void *tiles) {
  dependents_launch();
  dependencies_wait();
  int token = blockIdx.x * PREPARE_WARPS + threadIdx.x / 32, n_piece = (cols + 63) / 64;
  if (token >= n) return;
  const float *row = in + (size_t)token * in_cols;
  normed found = normed_of(norm, cols, [&](int c) { return row[c]; });
  for (int col = threadIdx.x % 32 * UNIT; col < n_piece * 64; col += 32 * UNIT) {
    float x[UNIT];
#pragma unroll
    for (int i = 0; i < UNIT; i++) x[i] = col + i < cols ? norm_apply(norm, found, row[col + i], cols, col + i) : 0;
    *tile_chunk(tiles, n_piece, token, col) = unit_round(x);
  }
}

__device__ __forceinline__ void unit_load(float (&x)[UNIT], const float *from) {
  *(float4 *)x = *(const float4 *)from;
  *(float4 *)(x + 4) = *(const float4 *)(from + 4);
}

/* One of whole units, COUNT a lane at most, which stay in registers. */
template <int COUNT>
__global__ void __launch_bounds__(PREPARE_WARPS * 32)
    prepare_units(const float *in, int n, int in_cols, int cols, cuda_norm norm, void *tiles) {
  dependents_launch();
  dependencies_wait();
  int token = blockIdx.x * PREPARE_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32, n_piece = (cols + 63) / 64;
  if (token >= n) return;
  float x[COUNT][UNIT], sum = 0, squares = 0, mean = 0, weight[UNIT], more[UNIT] = {};
#pragma unroll
  for (int k = 0; k < COUNT; k++) {
    int col = (k * 32 + lane) * UNIT;
    if (col < cols) unit_load(x[k], in + (size_t)token * in_cols + col);
#pragma unroll
    for (int i = 0; i < UNIT; i++) {
      if (col >= cols) x[k][i] = 0;
      sum += x[k][i];
    }
  }
  if (norm.kind == NORMED_LAYER) mean = lanes_sum(sum) / cols;
#pragma unroll
  for (int k = 0; k < COUNT; k++)
#pragma unroll
    for (int i = 0; i < UNIT; i++)
      if ((k * 32 + lane) * UNIT < cols) x[k][i] -= mean, squares += x[k][i] * x[k][i];
  float scale = norm.kind == NORMED_NOT ? 1 : rsqrtf(lanes_sum(squares) / cols + norm.eps);
#pragma unroll
  for (int k = 0; k < COUNT; k++) {
    int col = (k * 32 + lane) * UNIT;
    if (norm.kind != NORMED_NOT && col < cols) {
      unit_load(weight, norm.weight + col);
      if (norm.kind == NORMED_LAYER) unit_load(more, norm.weight + cols + col);
#pragma unroll
      for (int i = 0; i < UNIT; i++) x[k][i] = x[k][i] * scale * weight[i] + more[i];
    }
    if (col < n_piece * 64) *tile_chunk(tiles, n_piece, token, col) = unit_round(x[k]);
  }
}

/* --- after: sums of 16 tokens × COLS rows of the matrix, a warp's ------------------------------------------------- */

/* A warp's bias of COLS rows of the matrix: asked for before there are sums, a lane has each 32nd; then by way of
 * shared memory. */
template <int COLS> struct bias_ahead {
  float x[COLS / 32];

  __device__ __forceinline__ bias_ahead(const float *bias, int row, int rows) {
#pragma unroll
    for (int i = 0; i < COLS / 32; i++) {
      int col = row + i * 32 + threadIdx.x % 32;
      x[i] = bias && col < rows ? bias[col] : 0;
    }
  }

  __device__ __forceinline__ void add(float (&sum)[COLS / 2], float *room) const {
#pragma unroll
    for (int i = 0; i < COLS / 32; i++) room[i * 32 + threadIdx.x % 32] = x[i];
    __syncwarp();
#pragma unroll
    for (int j = 0; j < COLS / 8; j++) {
      float2 b = *(const float2 *)(room + j * 8 + threadIdx.x % 4 * 2);
      sum[4 * j] += b.x, sum[4 * j + 1] += b.y, sum[4 * j + 2] += b.x, sum[4 * j + 3] += b.y;
    }
    __syncwarp();
  }
};

template <int COLS>
__device__ __forceinline__ void tiles_finish(const float (&sum)[COLS / 2], const cuda_image_ends &e, int token, int row,
                                             const cuda_linear &a) {
  int n_piece = (a.matrix.rows + 63) / 64, lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int mine = token + lane / 4 + half * 8;
#pragma unroll
    for (int g = 0; g < COLS / 32; g++) {
      uint32_t x[4];
      int col = row + g * 32 + lane % 4 * 8;
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float *pair = &sum[(g * 4 + i) * 4 + half * 2];
        x[i] = pair_round(pair[0], pair[1]);
      }
      uint4 chunk = chunk_turn(x);
      if (col >= a.matrix.rows) chunk = make_uint4(0, 0, 0, 0); /* the last tile's rest, which is multiplied with 0 */
      if (mine < a.n_row && col < n_piece * 64) *tile_chunk(e.tiles, n_piece, mine, col) = chunk;
    }
  }
}

template <int COLS>
__device__ __forceinline__ void heads_finish(const float (&sum)[COLS / 2], const cuda_image_ends &e, int token, int row,
                                             const cuda_linear &a, const int place[2]) {
  int lane = threadIdx.x % 32, width = e.n_head * e.dim, head = (row + lane % 4 * 8) / e.dim;
  int d = row + lane % 4 * 8 - head * e.dim; /* head: among those of q, k and v */
#pragma unroll
  for (int g = 0; g < COLS / 32; g++) {
    int col = row + g * 32 + lane % 4 * 8, which = (head >= e.n_head) + (head >= 2 * e.n_head);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      uint32_t x[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float *pair = &sum[(g * 4 + i) * 4 + half * 2];
        float scale = row + g * 32 + i * 8 < width ? e.scale : 1;
        __half2 both = __floats2half2_rn(pair[0] * scale, pair[1] * scale);
        x[i] = *(const uint32_t *)&both;
      }
      uint4 chunk = chunk_turn(x);
      int mine = token + lane / 4 + half * 8;
      if (mine < a.n_row && col < a.matrix.rows) *head_chunk(e, place[half], which, head - which * e.n_head, d) = chunk;
    }
    for (d += 32; d >= e.dim; d -= e.dim) head++;
  }
}

__device__ __forceinline__ void sums_add(float *to, float4 x) {
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w)
               : "memory");
}

/* --- the kernel --------------------------------------------------------------------------------------------------- */

template <int GROUPS, int COLS, int PAIR> struct image_worker : worker<GROUPS, COLS, PAIR, 1> {
  using base = worker<GROUPS, COLS, PAIR, 1>;
  using S = typename base::S;
  __device__ image_worker(const many &m, uint8_t *shared) : base(m, shared) {}

  /* A warp: what is there already gets the sums added in the second-level cache, so that nobody waits for it. By way of
   * shared memory as in linear_ends.cuh. */
  __device__ void floats_add(const float (&sum)[COLS / 2], int token, int row) const {
    constexpr int run = S::run, lanes = run / 4, step = 32 / lanes, chunks = run / 8;
    const cuda_linear &a = this->m.linear;
    int lane = threadIdx.x % 32, mine = lane / lanes, within = lane % lanes;
    float *room = this->r.sums + (threadIdx.x / 32 - 4) * 16 * sums_stride(run);
    float *out = a.out + (size_t)(token + mine) * a.out_cols + row + within * 4;
#pragma unroll
    for (int at = 0; at < COLS; at += run) {
      if (row + at >= a.matrix.rows) break;
#pragma unroll
      for (int j = 0; j < chunks; j++) {
        const float *x = &sum[(at / 8 + j) * 4];
        float *to = room + lane / 4 * run + (j ^ lane / 4 % chunks) * 8 + lane % 4 * 2;
        *(float2 *)to = make_float2(x[0], x[1]);
        *(float2 *)(to + 8 * run) = make_float2(x[2], x[3]);
      }
      __syncwarp();
#pragma unroll
      for (int i = 0; i < 16; i += step) {
        int t = i + mine;
        float4 x = *(const float4 *)(room + t * run + (within / 2 ^ t % chunks) * 8 + within % 2 * 4);
        if (token + t < a.n_row) sums_add(out + (size_t)i * a.out_cols + at, x);
      }
      __syncwarp();
    }
  }

  __device__ void floats_finish(const float (&sum)[COLS / 2], int token, const place &p, int row) const {
    if (this->m.finish == FINISH_ROWS && this->m.linear.residual == this->m.linear.out) {
      floats_add(sum, token, row);
      return;
    }
    auto ends = this->ending_of(p.strip + S::strips);
    typename ending<S::run>::template extras<COLS> extras;
    if (this->m.finish == FINISH_ROWS) ends.template extras_begin<COLS>(extras, token, row);
    ends.template tile_finish<COLS, false>(this->m.finish, sum, extras, token, row);
  }

  __device__ void images_multiply(const cuda_image_ends &e) const {
    const cuda_linear &a = this->m.linear;
    int group = threadIdx.x / 128 - 1, within = (threadIdx.x / 32 - 4) * 16;
    turn at = {0, 0};
    dependencies_wait(); /* for residuals, and for who still reads what is written here */
    for (int tile = this->first; tile < this->n_tile; tile += this->step) {
      place p = this->place_at(tile);
      float sum[COLS / 2];
      int token = p.tall * S::tokens + within, row = p.strip * 16, cached[2] = {0, 0};
      for (int i = 0, mine = token + threadIdx.x % 32 / 4; e.place == IMAGE_HEADS && i < 2; i++, mine += 8)
        if (mine < a.n_row) cached[i] = e.cached[mine];
      bias_ahead<COLS> bias(e.bias, row, a.matrix.rows);
      this->tile_multiply(sum, group, &at);
      bias.add(sum, this->r.sums + (threadIdx.x / 32 - 4) * 16 * sums_stride(S::run));
      sums_act(sum, e.act);
      if (e.place == IMAGE_TILES)
        tiles_finish<COLS>(sum, e, token, row, a);
      else if (e.place == IMAGE_HEADS)
        heads_finish<COLS>(sum, e, token, row, a, cached);
      else
        floats_finish(sum, token, p, row);
    }
  }
};

/* Two warps beside the others: what tiles are added to, into the second-level cache. It was last read a layer's half
 * before. */
template <typename W> __device__ void residuals_ask(const W &w) {
  using S = typename W::S;
  const cuda_linear &a = w.m.linear;
  constexpr int lines = S::strips / 2; /* of 32 floats, of a token's */
  if (!a.residual) return;
  dependencies_wait();
  for (int tile = w.first; tile < w.n_tile; tile += w.step) {
    place p = w.place_at(tile);
    for (int i = threadIdx.x - 64; i < S::tokens * lines; i += 64) {
      int token = p.tall * S::tokens + i / lines, col = p.strip * 16 + i % lines * 32;
      if (token < a.n_row && col < a.result_cols)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(a.residual + (size_t)token * a.residual_cols + col));
    }
  }
}

template <typename W>
__global__ void __launch_bounds__(W::S::threads, W::S::resident)
    image_tiles(const __grid_constant__ many m, const __grid_constant__ cuda_image_ends e) {
  extern __shared__ __align__(1024) uint8_t shared[];
  using S = typename W::S;
  W w(m, shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::stages; i++)
      barrier_init(&w.r.weights[i], 1), barrier_init(&w.r.tokens[i], 1),
          barrier_init(&w.r.empty[i], S::groups * S::pair);
    barriers_publish();
  }
  if (S::pair > 1)
    cluster_meet();
  else
    __syncthreads();
  dependents_launch();
  if (threadIdx.x < 128) {
    if (S::groups > 1) registers_release<W::copier_registers>();
    if (threadIdx.x == 0) w.weights_stream();
    if (threadIdx.x == 32) w.tokens_stream();
    if (threadIdx.x >= 64) residuals_ask(w);
    __syncwarp();
  } else {
    if (S::groups > 1) registers_claim<W::multiplier_registers>();
    w.images_multiply(e);
  }
  if (S::pair > 1) cluster_meet(); /* nobody leaves whom others still write to */
}

/* --- which tiles -------------------------------------------------------------------------------------------------- */

template <typename W> int image_resident() {
  static int count;
  launch_shape shape = tiles_shape<W>(1);
  if (count > 0) return count;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = shape.cluster;
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.blocks, config.blockDim = shape.threads, config.dynamicSmemBytes = shape.shared_bytes;
  config.attrs = &attribute, config.numAttrs = 1;
  shared_allow(image_tiles<W>, shape.shared_bytes);
  bool known = cudaOccupancyMaxActiveClusters(&count, image_tiles<W>, &config) == cudaSuccess && count > 0;
  return known ? count : count = 1;
}

template <typename W> void image_launch(many m, const cuda_image_ends &ends, cuda_stream stream) {
  using S = typename W::S;
  m.n_tall = (m.linear.n_row + S::tokens - 1) / S::tokens;
  m.n_wide = (m.n_strip + S::strips - 1) / S::strips;
  int clusters = (m.n_tall + S::pair - 1) / S::pair * m.n_wide, most = image_resident<W>();
  early_launch(image_tiles<W>, tiles_shape<W>(clusters < most ? clusters : most), stream, m, ends);
}

/* step: µs of 64 columns, as linear_many.cu has them. */
struct version {
  int groups, cols, pair;
  float step;
  void (*launch)(many, const cuda_image_ends &, cuda_stream);
  int (*resident)();
};

#define VERSION(groups, cols, pair, step)                                                                              \
  {                                                                                                                    \
    groups, cols, pair, step, image_launch<image_worker<groups, cols, pair>>,                                          \
        image_resident<image_worker<groups, cols, pair>>                                                               \
  }
const version versions[] = {VERSION(1, 64, 1, 0.34f), VERSION(2, 128, 1, 0.46f), VERSION(2, 192, 2, 0.58f),
                            VERSION(2, 256, 2, 0.68f)};

float time_of(const version &v, const many &m) {
  const float ends = 1.5f + (float)(v.groups * v.cols) / 128;
  int tokens = v.groups * 64 * v.pair, strips = v.cols / 16;
  int tall = (m.linear.n_row + tokens - 1) / tokens, wide = (m.n_strip + strips - 1) / strips, most = v.resident();
  return (float)((tall * wide + most - 1) / most) * (ends + (float)m.n_piece * v.step);
}

} // namespace

void cuda_image_prepare(const float *in, int n, int in_cols, int cols, const struct cuda_norm *norm, void *tiles,
                        cuda_stream stream) {
  launch_shape shape = {(n + PREPARE_WARPS - 1) / PREPARE_WARPS, PREPARE_WARPS * 32, 0, 1};
  bool units = cols % UNIT == 0 && in_cols % 4 == 0;
  auto kernel = units && cols <= 5 * 256 ? prepare_units<5> : units && cols <= 8 * 256 ? prepare_units<8> : prepare_any;
  early_launch(kernel, shape, stream, in, n, in_cols, cols, *norm, tiles);
}

void cuda_image_linear(const struct cuda_linear *linear, const struct cuda_image_ends *ends, cuda_stream stream) {
  many m = many_of(linear, 64);
  const version *best = &versions[0];
  for (const version &v : versions)
    if (time_of(v, m) < time_of(*best, m)) best = &v;
  best->launch(m, *ends, stream);
}
