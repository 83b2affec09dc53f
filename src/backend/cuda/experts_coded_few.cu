/* Linears over experts of weights of 4 and 8 bits, of few tokens: codes of chosen experts stream once.
 *
 * A block a multiprocessor, of 16 warps. What is multiplied is cut into pairs of strips of chosen experts: a warp has
 * one at a time, or, where there are few, some warps have one together, each a run of its columns, and their sums meet
 * in shared memory. Pairs go round all multiprocessors first, so that all have as many, give or take one. Each warp
 * brings its codes by bulk copies into a ring of its own, a piece of both strips a slot, and is ahead of itself by the
 * ring across pairs and experts: memory does not idle while lists are read and results are made.
 *
 * Bounds: the read of the weights; the issue of what unpacks them, some 80 to 170 instructions for 2,048 weights. */
#include "backend/cuda/experts_coded.cuh"

using namespace experts_coded;

namespace {

enum { WARPS = 16, THREADS = WARPS * 32, RING_MOST = 144 * 1024, BARRIER_BYTES = 1024 };

template <typename C, int TILES> struct few_shape {
  static constexpr int slot_bytes = PAIR * C::slot_bytes, most = RING_MOST / (WARPS * slot_bytes);
  static constexpr int slots = most < 2 ? 2 : most;
  static constexpr bool meets = TILES < 4;       /* more tokens have pairs of strips enough */
  static constexpr int sums = PAIR * TILES * 32; /* float4, of a warp */
  static constexpr int sums_bytes = meets ? 2 * WARPS * sums * 16 : 0;
  static constexpr int shared_bytes = BARRIER_BYTES + WARPS * slots * slot_bytes + sums_bytes;
  static_assert(slots * WARPS * 8 <= BARRIER_BYTES, "room for barriers");
  static_assert(shared_bytes <= 220 * 1024, "a block's shared memory");
};

struct few_work {
  work all;
  int slices; /* warps that share a pair of strips' columns: a power of two */
};

/* All warps that share a pair of strips. */
__device__ __forceinline__ void slices_meet(int group, int slices) {
  asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "r"(slices * 32) : "memory");
}

template <typename C, int TILES> struct few_worker {
  using S = few_shape<C, TILES>;
  const work &f;
  uint64_t *full; /* [slots] of the warp */
  uint8_t *ring;  /* [slots][strip][slot_bytes] */
  float4 *sums;   /* [2][WARPS][sums] */
  int slices, group, slice;
  int n_pair, n_item;   /* pairs of strips of a matrix, of all */
  int first_item, step; /* of the warp's items */
  int first, end;       /* and pieces */

  __device__ few_worker(const few_work &w, uint8_t *shared) : f(w.all), slices(w.slices) {
    int warp = threadIdx.x / 32;
    full = (uint64_t *)shared + warp * S::slots;
    ring = shared + BARRIER_BYTES + warp * S::slots * S::slot_bytes;
    sums = (float4 *)(shared + BARRIER_BYTES + WARPS * S::slots * S::slot_bytes);
    group = warp / slices, slice = warp % slices;
    n_pair = (f.n_strip + PAIR - 1) / PAIR, n_item = f.e.lists.counts[0] * n_pair;
    first_item = group * gridDim.x + blockIdx.x, step = WARPS / slices * gridDim.x;
    first = f.n_piece * slice / slices, end = f.n_piece * (slice + 1) / slices;
  }

  /* What comes next into the ring. */
  struct walk {
    int item, piece;
    const uint8_t *from; /* the item's first strip's first piece */
  };

  __device__ __forceinline__ const uint8_t *item_codes(int item) const {
    if (item >= n_item) return nullptr;
    int expert = f.e.lists.active[item / n_pair];
    return strip_of(f, expert, item % n_pair * PAIR) + f.e.linear.matrix.head_bytes;
  }

  /* A thread. */
  __device__ __forceinline__ void slot_ask(walk &w, int slot) const {
    const struct cuda_matrix &m = f.e.linear.matrix;
    if (w.item >= n_item) return;
    int n = min((int)PAIR, f.n_strip - w.item % n_pair * PAIR);
    barrier_expect(&full[slot], n * m.piece_bytes);
    for (int i = 0; i < n; i++)
      bulk_copy(ring + slot * S::slot_bytes + i * C::slot_bytes,
                w.from + i * m.strip_bytes + (size_t)w.piece * m.piece_bytes, m.piece_bytes, &full[slot],
                policy_evict_first());
    if (++w.piece < end) return;
    w.piece = first, w.item += step;
    w.from = item_codes(w.item);
  }

  /* A lane's operands of half a piece, of a row of tokens. */
  __device__ __forceinline__ void tokens_load(uint32_t x[4][2], const uint16_t *half) const {
#pragma unroll
    for (int i = 0; i < 8; i++) x[i / 2][i % 2] = *(const uint32_t *)(half + i * 8 + threadIdx.x % 4 * 2);
  }

  /* scales: of the piece, where it has one of a row. */
  __device__ __forceinline__ void half_multiply(float sum[PAIR][TILES][4], const uint8_t *codes,
                                                const uint32_t x[TILES][4][2], typename C::scales scales[PAIR],
                                                int half, int n) const {
#pragma unroll
    for (int two = half * 2; two < half * 2 + 2; two++) {
      typename C::words words[PAIR];
#pragma unroll
      for (int s = 0; s < PAIR; s++) {
        C::words_load(words[s], codes + s * C::slot_bytes, two);
        if (C::groups > 1) C::scales_load(scales[s], codes + s * C::slot_bytes, f.scales, two);
      }
#pragma unroll
      for (int i = 0; i < 2 * PAIR; i++) {
        int k = i / PAIR, s = i % PAIR;
        uint32_t a[4];
        C::operand_make(a, words[s], scales[s], k);
#pragma unroll
        for (int t = 0; t < TILES; t++)
          if (t * 8 < n) multiply_bf16(sum[s][t], a, x[t][two % 2 * 2 + k][0], x[t][two % 2 * 2 + k][1]);
      }
    }
  }

  __device__ __forceinline__ void piece_multiply(float sum[PAIR][TILES][4], const uint8_t *codes,
                                                 const uint16_t *const tokens[TILES], int piece, int n) const {
    typename C::scales scales[PAIR];
#pragma unroll
    for (int s = 0; s < PAIR && C::groups == 1; s++) C::scales_load(scales[s], codes + s * C::slot_bytes, f.scales, 0);
#pragma unroll
    for (int half = 0; half < HALVES; half++) {
      uint32_t x[TILES][4][2];
      if (piece * HALVES + half >= f.n_half) return;
#pragma unroll
      for (int t = 0; t < TILES; t++)
        if (t * 8 < n) tokens_load(x[t], tokens[t] + (size_t)piece * CODED_COLS + half * 64);
      half_multiply(sum, codes, x, scales, half, n);
    }
  }

  /* The first of the warps gets the sums of all. turn: of a pair of strips before, 0 and 1: whoever leaves sums has met
   * those that took the ones before the last. */
  __device__ __forceinline__ void sums_meet(float sum[PAIR][TILES][4], int turn) const {
    int lane = threadIdx.x % 32;
    float4 *all = sums + (size_t)(turn * WARPS + group * slices) * S::sums;
#pragma unroll
    for (int i = 0; i < PAIR * TILES; i++)
      all[slice * S::sums + i * 32 + lane] = *(const float4 *)sum[i / TILES][i % TILES];
    slices_meet(group, slices);
    if (slice > 0) return;
    for (int other = 1; other < slices; other++)
#pragma unroll
      for (int i = 0; i < PAIR * TILES; i++) {
        float4 more = all[other * S::sums + i * 32 + lane];
        float *to = sum[i / TILES][i % TILES];
        to[0] += more.x, to[1] += more.y, to[2] += more.z, to[3] += more.w;
      }
  }

  __device__ void run() const {
    const struct cuda_expert_lists &l = f.e.lists;
    int lane = threadIdx.x % 32, slot = 0, turn = 0;
    uint32_t phase = 0;
    walk ahead = {first_item, first, item_codes(first_item)};
    if (lane == 0)
      for (int i = 0; i < S::slots; i++) slot_ask(ahead, i);
    __syncwarp();
    for (int item = first_item; item < n_item; item += step, turn ^= 1) {
      int expert = l.active[item / n_pair], begin = l.first[expert];
      expert_tile pairs = {expert, l.first[expert + 1] - begin, l.pair + begin, 0, 0};
      const uint16_t *tokens[TILES];
      float sum[PAIR][TILES][4] = {};
#pragma unroll
      for (int t = 0; t < TILES; t++) { /* of those beyond the last some row that nobody looks at */
        int i = t * 8 + lane / 4;
        tokens[t] = f.e.tokens + (size_t)input_row(f.e, pairs.pair_at(i < pairs.n ? i : 0)) * f.e.padded;
      }
#pragma unroll 1
      for (int piece = first; piece < end; piece++) {
        barrier_wait(&full[slot], phase);
        piece_multiply(sum, ring + slot * S::slot_bytes, tokens, piece, pairs.n);
        __syncwarp();
        if (lane == 0) slot_ask(ahead, slot);
        if (++slot == S::slots) slot = 0, phase ^= 1;
      }
      if (S::meets && slices > 1) sums_meet(sum, turn);
      if (slice == 0) pairs_finish<C, TILES>(f, pairs, sum, item % n_pair * PAIR, 0);
    }
  }
};

template <typename C, int TILES> __global__ void __launch_bounds__(THREADS, 1) few(const __grid_constant__ few_work w) {
  using S = few_shape<C, TILES>;
  extern __shared__ __align__(128) uint8_t shared[];
  few_worker<C, TILES> worker(w, shared);
  if (threadIdx.x % 32 == 0)
    for (int i = 0; i < S::slots; i++) barrier_init(&worker.full[i], 1);
  barriers_publish();
  __syncwarp();
  worker.run();
}

/* So many that all warps have something, and each a piece. */
int slices_of(const work &f, int multiprocessors, int most) {
  const struct cuda_expert_lists &l = f.e.lists;
  int items = (l.n_pair < l.n_expert ? l.n_pair : l.n_expert) * ((f.n_strip + PAIR - 1) / PAIR), slices = 1;
  while (2 * slices <= most && 2 * slices <= f.n_piece && 2 * slices * items <= multiprocessors * WARPS) slices *= 2;
  return slices;
}

template <typename C, int TILES> void tiles_launch(const work &f, int multiprocessors, cuda_stream stream) {
  using S = few_shape<C, TILES>;
  few_work w = {f, slices_of(f, multiprocessors, S::meets ? (int)WARPS : 1)};
  cudaFuncSetAttribute(few<C, TILES>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::shared_bytes);
  few<C, TILES><<<multiprocessors, THREADS, S::shared_bytes, stream>>>(w);
}

template <typename C> void few_launch(const struct cuda_experts &e, int multiprocessors, cuda_stream stream) {
  work f = work_of(e);
  if (e.n_token <= 8)
    tiles_launch<C, 1>(f, multiprocessors, stream);
  else if (e.n_token <= 16)
    tiles_launch<C, 2>(f, multiprocessors, stream);
  else
    tiles_launch<C, 4>(f, multiprocessors, stream);
}

} // namespace

void cuda_experts_coded_few(const struct cuda_experts *e, int multiprocessors, cuda_stream stream) {
  auto run = [=](auto coding) { few_launch<decltype(coding)>(*e, multiprocessors, stream); };
  if (e->linear.matrix.bytes)
    bytes_choose(e->linear.matrix, run);
  else
    nibbles_choose(e->linear.matrix, run);
}
