/* Linears over experts of bf16 weights and many tokens on Hopper: a GEMM for each expert, all in one launch, of the
 * tiles of linear_tiles.cuh. What is different:
 *
 * Tiles are those of the lists that a choice became (struct cuda_expert_lists), on the device: blocks stay, and walk
 * them until there are no more, whatever the choice. Strips go fastest, so that blocks that run at once share tokens
 * and an expert's weights in the second-level cache. A tile's pairs have rows of tokens anywhere: two warps gather them
 * by copies of 16 bytes into the swizzle in which matrix units read them, so that nothing is written for that. Rows
 * that a tile lacks are not copied, and a warpgroup without pairs multiplies nothing: an expert with few tokens costs
 * its weights' bytes.
 *
 * Sums run over all columns in order, each row's for itself, so a pair's bytes depend on its own row alone, whichever
 * tiles there are. A spread leaves the gather bf16 rows; a gather leaves products in bf16, at its pair's place, and a
 * kernel adds up a token's in the order of its choice: half of the bytes of floats, which would be more than all other
 * bytes of a long prompt. */
#include "backend/cuda/expert_lists.cuh"
#include "backend/cuda/image_chunks.cuh"
#include "backend/cuda/linear_tiles.cuh"
#include "backend/cuda/portable/instructions.cuh"
#include "backend/cuda/sums_curve.cuh"

namespace {

enum { GATHERERS = 64, SUM_THREADS = 256, CHUNK_COLS = 8 /* columns that make 16 bytes */ };

/* Arrives when what the thread has asked for by cp.async is there. */
__device__ __forceinline__ void copies_arrive(uint64_t *bar) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(bar)) : "memory");
}

/* What becomes of sums while they are in registers; everything else goes element by element. */
enum expert_end { END_ANY, END_GATED /* bf16, gated by SiLU or quick GELU */, END_CURVED /* bf16 */, END_PRODUCTS };

struct expert_work {
  many m; /* its linear is that of the first expert */
  cuda_experts experts;
  expert_end end;
  float slope, limit; /* of END_GATED: x ÷ (1 + 2^(slope × x)); ∞: none */
};

/* Columns of a pair's products, whole chunks. */
__host__ __device__ __forceinline__ int product_stride(int rows) {
  return (rows + CHUNK_COLS - 1) / CHUNK_COLS * CHUNK_COLS;
}

template <int COLS> struct expert_worker : worker<2, COLS, 1, 1> {
  using base = worker<2, COLS, 1, 1>;
  using S = typename base::S;
  const expert_work &w;
  const cuda_experts &e;
  uint64_t *gathered; /* [stages]: a stage's chunks are there */

  __device__ expert_worker(const expert_work &w, uint8_t *shared) : base(w.m, shared), w(w), e(w.experts) {
    static_assert(32 * S::stages + 32 <= 512, "room for barriers");
    gathered = this->r.used + 2;
  }

  __device__ __forceinline__ int strip_of(int tile) const { return tile % this->m.n_wide * S::strips; }

  /* None where the walk ends. */
  __device__ __forceinline__ expert_tile pairs_at(int tile) const {
    return tile_of(e.lists, tile / this->m.n_wide, e.n_token);
  }

  /* For each tile of the walk with its pairs, which are asked for a tile ahead. */
  template <typename WORK> __device__ __forceinline__ void walk(WORK work) const {
    expert_tile pairs = pairs_at(this->first);
    for (int tile = this->first; pairs.n > 0; tile += this->step) {
      expert_tile next = pairs_at(tile + this->step);
      work(pairs, strip_of(tile));
      pairs = next;
    }
  }

  /* A thread. */
  __device__ void weights_stream() const {
    turn at = {0, 1};
    uint64_t policy = policy_evict_normal();
    dependencies_wait();
    walk([&](const expert_tile &pairs, int strip) {
      const uint8_t *from = this->m.linear.matrix.data + pairs.expert * e.expert_bytes + strip * this->strip_bytes();
      this->strips_stream(from, min(S::strips, this->m.n_strip - strip), &at, policy);
    });
  }

  /* Two warps: each eighth row of tokens, of which a thread copies one chunk of 16 bytes a stage. */
  __device__ void tokens_gather() const {
    constexpr int each = S::tokens / 8;
    int row = threadIdx.x % GATHERERS / 8, chunk = threadIdx.x % 8;
    const uint8_t *from = (const uint8_t *)e.tokens + chunk * 16;
    uint8_t *to = this->r.stage + row * 128 + ((chunk ^ row) << 4);
    turn at = {0, 1};
    dependencies_wait();
    walk([&](const expert_tile &pairs, int) {
      uint32_t place[each]; /* of the thread's rows, in 16 bytes */
#pragma unroll
      for (int i = 0; i < each; i++) {
        int t = row + i * 8;
        place[i] = t < pairs.n ? (uint32_t)input_row(e, pairs.pair_at(t)) * (uint32_t)(e.padded / CHUNK_COLS) : ~0u;
      }
      for (int k = 0; k < this->k_end; k++, at = turn_next<S>(at)) {
        barrier_wait(&this->r.empty[at.slot], at.phase);
#pragma unroll
        for (int i = 0; i < each; i++)
          if (place[i] != ~0u)
            portable::sm80::copy(to + at.slot * S::stage_bytes + i * 1024, from + (size_t)place[i] * 16 + k * 128,
                                 true);
        copies_arrive(&gathered[at.slot]);
      }
    });
  }

  /* A warp: when a stage's chunks are there, the matrix units may read them. */
  __device__ void tokens_tell() const {
    turn at = {0, 0};
    dependencies_wait();
    walk([&](const expert_tile &, int) {
      for (int k = 0; k < this->k_end; k++, at = turn_next<S>(at)) {
        barrier_wait(&gathered[at.slot], at.phase);
        shared_writes_publish();
        barrier_arrive(&this->r.tokens[at.slot]);
      }
    });
  }

  /* The second warpgroup, of a tile that has no pairs for it. A barrier tells no phase from the one after the next, so
   * who goes round the ring has to be within one turn of all others. The first warpgroup has pairs, and waits for
   * tokens; of this one nothing is multiplied, which would keep its warps in step: a thread goes for all, and they
   * meet. */
  __device__ __forceinline__ void tile_pass(turn *at) const {
    for (int k = 0; k < this->k_end; k++, *at = turn_next<S>(*at)) {
      if (threadIdx.x % 128 == 0) barrier_wait(&this->r.weights[at->slot], at->phase);
      this->slot_release(at->slot);
    }
    asm volatile("bar.sync 1, 128;" ::: "memory");
  }

  __device__ __forceinline__ void bias_add(float (&sum)[COLS / 2], int expert, int row) const {
    const cuda_linear &a = this->m.linear;
    const float *bias = a.bias + (size_t)expert * a.matrix.rows;
#pragma unroll
    for (int j = 0; j < COLS / 8; j++) {
      int at = row + j * 8 + threadIdx.x % 4 * 2;
      float low = at < a.matrix.rows ? bias[at] : 0, high = at + 1 < a.matrix.rows ? bias[at + 1] : 0;
      sum[4 * j] += low, sum[4 * j + 1] += high, sum[4 * j + 2] += low, sum[4 * j + 3] += high;
    }
  }

  __device__ __forceinline__ float gated(float gate, float up) const {
    const cuda_linear &a = this->m.linear;
    gate = gate > w.limit ? w.limit : gate;
    up = (fabsf(up) > w.limit ? copysignf(w.limit, up) : up) + e.gate.up_add;
    return __fdividef(gate, 1 + exp2f(gate * w.slope)) * up * a.factor;
  }

  /* Runs of 16 rows of the gate and of up, which a thread has side by side. pair: of the lane's two rows; −1: none. */
  __device__ __forceinline__ void gated_end(const float (&sum)[COLS / 2], const int pair[2], int row) const {
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
      for (int g = 0; g < COLS; g += 64) {
        uint32_t x[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const float *gate = &sum[(g / 8 + i / 2 * 4 + i % 2) * 4 + half * 2], *up = gate + GATE_RUN / 8 * 4;
          x[i] = pair_round(gated(gate[0], up[0]), gated(gate[1], up[1]));
        }
        uint4 chunk = chunk_turn(x);
        int col = (row + g) / 2 + threadIdx.x % 4 * CHUNK_COLS;
        if (pair[half] >= 0 && col < this->m.linear.result_cols)
          *(uint4 *)(e.next_tokens + (size_t)pair[half] * e.next_padded + col) = chunk;
      }
  }

  /* Rows of bf16, `stride` apart, of so many columns that are written: whole chunks. */
  __device__ __forceinline__ void rows_end(const float (&sum)[COLS / 2], const int pair[2], int row, uint16_t *to,
                                           int stride, int cols) const {
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
      for (int g = 0; g < COLS; g += 32) {
        uint32_t x[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const float *two = &sum[(g / 8 + i) * 4 + half * 2];
          x[i] = pair_round(two[0], two[1]);
        }
        uint4 chunk = chunk_turn(x);
        int col = row + g + threadIdx.x % 4 * CHUNK_COLS;
        if (pair[half] >= 0 && col < cols) *(uint4 *)(to + (size_t)pair[half] * stride + col) = chunk;
      }
  }

  __device__ __forceinline__ void products_end(const float (&sum)[COLS / 2], const int pair[2], int row) const {
    int stride = product_stride(this->m.linear.matrix.rows);
    rows_end(sum, pair, row, (uint16_t *)this->m.linear.product, stride, stride);
  }

  __device__ __forceinline__ void curved_end(float (&sum)[COLS / 2], const int pair[2], int row) const {
    sums_act(sum, this->m.linear.act);
    rows_end(sum, pair, row, e.next_tokens, e.next_padded, this->m.linear.result_cols);
  }

  /* A warp's 16 pairs from one on, 32 rows of the matrix at a time by way of shared memory. */
  __device__ __forceinline__ void any_end(const float (&sum)[COLS / 2], const expert_tile &pairs, int from,
                                          int row) const {
    constexpr int width = 32, stride = sums_stride(width);
    static_assert(stride <= sums_stride(S::run), "the warp's room");
    const cuda_linear &a = this->m.linear;
    int lane = threadIdx.x % 32, results = a.gated ? GATE_RUN : width;
    float *room = this->r.sums + (threadIdx.x / 32 - 4) * 16 * sums_stride(S::run);
#pragma unroll 1
    for (int piece = 0; piece < COLS / width && row + piece * width < a.matrix.rows; piece++) {
#pragma unroll
      for (int i = 0; i < COLS / 2; i += 2)
        if (i / (width / 2) == piece)
          *(float2 *)(room + (lane / 4 + i / 2 % 2 * 8) * stride + i % (width / 2) / 4 * 8 + lane % 4 * 2) =
              make_float2(sum[i], sum[i + 1]);
      __syncwarp();
#pragma unroll 1
      for (int i = lane; i < 16 * results; i += 32) {
        int t = from + i / results, within = i % results, col = result_col(a, row + piece * width + within);
        const float *x = room + i / results * stride + within;
        if (t < pairs.n && col < a.result_cols) result_put(e, pairs.pair_at(t), col, x[0], a.gated ? x[GATE_RUN] : 0);
      }
      __syncwarp();
    }
  }

  __device__ void experts_multiply() const {
    int group = threadIdx.x / 128 - 1, within = (threadIdx.x / 32 - 4) * 16;
    turn at = {0, 0};
    dependencies_wait();
    walk([&](const expert_tile &pairs, int strip) {
      int row = strip * 16, pair[2];
      if (group * 64 >= pairs.n) {
        tile_pass(&at);
        return;
      }
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int t = within + half * 8 + threadIdx.x % 32 / 4;
        pair[half] = t < pairs.n ? pairs.pair_at(t) : -1;
      }
      float sum[COLS / 2];
      this->tile_multiply(sum, group, &at);
      if (this->m.linear.bias) bias_add(sum, pairs.expert, row);
      if (w.end == END_GATED)
        gated_end(sum, pair, row);
      else if (w.end == END_CURVED)
        curved_end(sum, pair, row);
      else if (w.end == END_PRODUCTS)
        products_end(sum, pair, row);
      else
        any_end(sum, pairs, within, row);
    });
  }
};

template <typename W>
__global__ void __launch_bounds__(W::S::threads, W::S::resident) experts_run(const __grid_constant__ expert_work work) {
  extern __shared__ __align__(1024) uint8_t shared[];
  using S = typename W::S;
  W w(work, shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::stages; i++)
      barrier_init(&w.r.weights[i], 1), barrier_init(&w.r.tokens[i], 32), barrier_init(&w.gathered[i], GATHERERS),
          barrier_init(&w.r.empty[i], S::groups);
    barriers_publish();
  }
  __syncthreads();
  dependents_launch();
  if (threadIdx.x < 128) {
    registers_release<W::copier_registers>();
    if (threadIdx.x == 0) w.weights_stream();
    if (threadIdx.x / 32 == 1) w.tokens_tell();
    if (threadIdx.x >= 128 - GATHERERS) w.tokens_gather();
    __syncwarp();
  } else {
    registers_claim<W::multiplier_registers>();
    w.experts_multiply();
  }
}

/* --- a gather's end ----------------------------------------------------------------------------------------------- */

/* A block a token: the products of its pairs in the order of its choice, a thread eight columns. */
__global__ void __launch_bounds__(SUM_THREADS) products_sum(const __grid_constant__ cuda_experts e, bool fours) {
  const cuda_linear &a = e.linear;
  int t = blockIdx.x, stride = product_stride(a.matrix.rows);
  dependents_launch();
  dependencies_wait();
  const float *weight = e.choice + (size_t)t * 2 * e.k + e.k;
  const uint16_t *products = (const uint16_t *)a.product + (size_t)t * e.k * stride;
  if (e.lists.place[t * e.k] < 0) return;
  for (int col = threadIdx.x * CHUNK_COLS; col < a.matrix.rows; col += SUM_THREADS * CHUNK_COLS) {
    float sum[CHUNK_COLS] = {}, residual[CHUNK_COLS] = {};
    float *out = a.out + (size_t)t * a.out_cols + col;
    const float *beside = a.residual ? a.residual + (size_t)t * a.residual_cols + col : nullptr;
    int n = min((int)CHUNK_COLS, a.matrix.rows - col);
#pragma unroll
    for (int i = 0; i < CHUNK_COLS; i += 4)
      if (beside) *(float4 *)(residual + i) = fours ? *(const float4 *)(beside + i) : four_at(beside, i, n);
#pragma unroll 4
    for (int j = 0; j < e.k; j++) {
      uint4 x = *(const uint4 *)(products + (size_t)j * stride + col);
      const uint32_t word[4] = {x.x, x.y, x.z, x.w};
      float by = weight[j];
#pragma unroll
      for (int i = 0; i < CHUNK_COLS; i++)
        sum[i] += by * __uint_as_float(i % 2 ? word[i / 2] & 0xffff0000u : word[i / 2] << 16);
    }
#pragma unroll
    for (int i = 0; i < CHUNK_COLS; i++) sum[i] = sum[i] * a.factor + residual[i];
    if (fours) {
      *(float4 *)out = *(float4 *)sum, *(float4 *)(out + 4) = *(float4 *)(sum + 4);
      continue;
    }
#pragma unroll
    for (int i = 0; i < CHUNK_COLS; i++)
      if (i < n) out[i] = sum[i];
  }
}

/* --- which tiles -------------------------------------------------------------------------------------------------- */

template <typename W> int experts_resident() {
  static int count;
  if (count == 0) count = clusters_resident(experts_run<W>, tiles_shape<W>(1));
  return count;
}

template <typename W> void experts_launch(expert_work w, cuda_stream stream) {
  using S = typename W::S;
  w.m.n_wide = (w.m.n_strip + S::strips - 1) / S::strips;
  int clusters = tiles_most(w.experts) * w.m.n_wide, most = experts_resident<W>();
  early_launch(experts_run<W>, tiles_shape<W>(clusters < most ? clusters : most), stream, w);
}

/* step: µs of 64 columns, measured on an H200. */
struct version {
  int cols;
  float step;
  void (*launch)(expert_work, cuda_stream);
  int (*resident)();
};

#define VERSION(cols, step)                                                                                            \
  { cols, step, experts_launch<expert_worker<cols>>, experts_resident<expert_worker<cols>> }
const version versions[] = {VERSION(128, 0.70f), VERSION(192, 0.80f), VERSION(256, 0.87f)};

/* µs, if all experts have as many pairs. */
float time_of(const version &v, const expert_work &w) {
  const struct cuda_expert_lists &l = w.experts.lists;
  const float ends = 1.5f + (float)v.cols / 64;
  int active = l.n_pair < l.n_expert ? l.n_pair : l.n_expert, most = v.resident(), strips = v.cols / 16;
  int tall = (l.n_pair + active * l.tile_pairs - 1) / (active * l.tile_pairs) * active;
  int tiles = tall * ((w.m.n_strip + strips - 1) / strips);
  return (float)((tiles + most - 1) / most) * (ends + (float)w.m.n_piece * v.step);
}

expert_end end_of(const cuda_experts &e) {
  const cuda_linear &a = e.linear;
  if (e.gather) return END_PRODUCTS;
  bool curve = a.act && a.act != CURVE_GELU && a.act != CURVE_GELU_ERF && a.act < CURVE_TANH;
  if (!e.next_tokens || a.residual || a.softcap > 0) return END_ANY;
  if (a.gated) return curve ? END_GATED : END_ANY;
  return a.act < CURVE_TANH && a.factor == 1 ? END_CURVED : END_ANY;
}

} // namespace

void cuda_experts_tiles(const struct cuda_experts *of, cuda_stream stream) {
  const float log2_e = 1.4426950409f;
  expert_work w = {.m = many_of(&of->linear, 64), .experts = *of, .end = end_of(*of)};
  const cuda_linear &a = of->linear;
  w.slope = a.act == CURVE_GELU_QUICK ? -1.702f * log2_e : -log2_e;
  w.limit = of->gate.limit > 0 ? of->gate.limit : INFINITY;
  const version *best = nullptr;
  for (const version &v : versions)
    if (!best || time_of(v, w) < time_of(*best, w)) best = &v;
  best->launch(w, stream);
  if (!of->gather) return;
  bool fours = a.matrix.rows % CHUNK_COLS == 0 && w.m.fours;
  early_launch(products_sum, launch_shape{of->n_token, SUM_THREADS, 0, 1}, stream, *of, fours);
}
