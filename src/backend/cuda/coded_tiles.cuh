/* The kernel of coded_many.cu: a GEMM of weights of four bits and bf16 tokens on Hopper's warpgroup matrix units.
 *
 * Tiles, stages and what becomes of sums are those of linear_tiles.cuh. What differs is how a stage's weights come:
 * packed, a run of pieces of 128 columns of a strip at a copy, into a ring of their own, of which one to three more
 * warpgroups make bf16 in the stages, one after the other, a strip a warp at a time. A weight is (code − 8) × scale +
 * (minimum + 8 × scale), rounded once, with scale and that sum rounded to bf16 before.
 *
 * Bounds: the read of the weights; the issue of what makes them, some 60 instructions for 1,024 of a warp; from some
 * 100 tokens on the matrix units. */
#ifndef SPATE_BACKEND_CUDA_CODED_TILES_CUH
#define SPATE_BACKEND_CUDA_CODED_TILES_CUH

#include "backend/cuda/coded_few.cuh"
#include "backend/cuda/linear_tiles.cuh"

namespace {

/* Four bits, SCALES of them for the 128 columns of a piece. */
template <int SCALES> struct nibble_coding {
  static constexpr int run = 2, piece_most = NIBBLES_CODES + SCALES * 64, run_most = run * piece_most;

  struct scales {
    uint32_t scale[2], middle[2]; /* of the lane's rows: lane / 4, and 8 further; twice each */
  };

  static __device__ __forceinline__ uint32_t pair_twice(float x) { return pair_round(x, x); }

  static __device__ __forceinline__ scales scales_load(const uint8_t *piece, int group, bool has_min) {
    const uint8_t *at = piece + NIBBLES_CODES;
    int row = threadIdx.x % 32 / 4;
    if (!has_min) {
      float2 both = __half22float2(*(const __half2 *)(at + group * 32 + row * 4));
      return {{pair_twice(both.x), pair_twice(both.y)}, {0, 0}};
    }
    uint2 pairs = *(const uint2 *)(at + group * 64 + row * 8);
    float2 low = __half22float2(*(__half2 *)&pairs.x), high = __half22float2(*(__half2 *)&pairs.y);
    return {{pair_twice(low.x), pair_twice(high.x)},
            {pair_twice(fmaf(8, low.x, low.y)), pair_twice(fmaf(8, high.x, high.y))}};
  }

  static __device__ __forceinline__ uint32_t pair_make(uint32_t w, uint32_t scale, uint32_t middle) {
    uint32_t code = coded::pair_minus(coded::bits_merge(w, 0x000f000f, 0x43004300), 0x43084308); /* 128 + it − 136 */
    return coded::pair_times_plus(code, scale, middle);
  }

  /* A warp: half of a piece, as rows of 64 columns in the 128-byte swizzle. */
  static __device__ __forceinline__ void half_make(uint32_t to, const uint8_t *piece, int half, bool has_min) {
    int lane = threadIdx.x % 32, row = lane % 8;
    uint4 words = ((const uint4 *)piece)[half * 32 + lane];
    scales s = scales_load(piece, half * (SCALES / 2), has_min);
    to += lane / 8 % 2 * 1024 + row * 128;
#pragma unroll
    for (int step = 0; step < 4; step++) {
      uint32_t w = (&words.x)[step], pair[4];
      if (SCALES > 1 && step == 2) s = scales_load(piece, half * (SCALES / 2) + 1, has_min);
#pragma unroll
      for (int i = 0; i < 4; i++) pair[i] = pair_make(w >> 4 * i, s.scale[i % 2], s.middle[i % 2]);
      matrices_store(to + ((2 * step + lane / 16 ^ row) << 4), pair);
    }
  }
};

template <typename CODING, int COLS> struct coded_ring {
  static constexpr int slot_bytes = COLS / 16 * CODING::run_most, most = 60 * 1024 / slot_bytes;
  static constexpr int slots = most < 2 ? 2 : most > 6 ? 6 : most, bytes = slots * slot_bytes + 256;
};

/* Warpgroups that make weights, as registers allow. */
__host__ __device__ constexpr int makers_of(int groups, int cols) { return (cols > 128 ? 3 : 4) - groups; }

template <typename CODING, int GROUPS, int COLS, int SPLIT>
struct coded_worker : worker<GROUPS, COLS, 1, SPLIT, coded_ring<CODING, COLS>::bytes, makers_of(GROUPS, COLS)> {
  using R = coded_ring<CODING, COLS>;
  using W = worker<GROUPS, COLS, 1, SPLIT, R::bytes, makers_of(GROUPS, COLS)>;
  using S = typename W::S;
  using W::m, W::r, W::first, W::step, W::n_tile, W::k_first, W::k_end;
  enum { DEEP = CODING::run * 2 /* stages of a run */ };
  static constexpr bool few = COLS <= 128; /* registers of sums */
  static constexpr int copier_registers = 40, maker_registers = few ? 64 : 96;
  static constexpr int multiplier_registers = GROUPS > 1 ? (few ? 152 : 184) : 232;
  static constexpr int weights_arrivals = 128;
  uint64_t *full, *empty; /* [slots] */
  uint8_t *packed;        /* [slots][strip][run] */
  int run_bytes, first_run;

  __device__ coded_worker(const many &m, uint8_t *shared) : W(m, shared) {
    uint8_t *beside = shared + S::shared_bytes - R::bytes;
    full = (uint64_t *)beside, empty = full + R::slots, packed = beside + 256;
    run_bytes = CODING::run * m.linear.matrix.piece_bytes;
    int runs = (m.n_piece + DEEP - 1) / DEEP;
    first_run = runs * this->part / SPLIT;
    k_first = first_run * DEEP;
    k_end = min(m.n_piece, runs * (this->part + 1) / SPLIT * DEEP);
  }

  __device__ void beside_begin() const {
    for (int i = 0; i < R::slots; i++) barrier_init(&full[i], 1), barrier_init(&empty[i], S::makers * 128);
  }

  __device__ __forceinline__ void slot_next(turn &t) const {
    if (++t.slot == R::slots) t.slot = 0, t.phase ^= 1;
  }

  /* Strips of a tile. */
  __device__ __forceinline__ int strips_of(const place &p) const { return min(S::strips, m.n_strip - p.strip); }

  /* A thread. */
  __device__ void weights_stream() const {
    const struct cuda_matrix &a = m.linear.matrix;
    turn at = {0, 1}; /* of a barrier's first phase the one before is over */
    uint64_t policy = m.n_tall == 1 ? policy_evict_first() : policy_evict_normal();
    for (int tile = first; tile < n_tile; tile += step) {
      place p = this->place_at(tile);
      int n = strips_of(p);
      const uint8_t *from = a.data + p.strip * a.strip_bytes + (size_t)first_run * run_bytes;
      for (int k = k_first; k < k_end; k += DEEP, from += run_bytes, slot_next(at)) {
        barrier_wait(&empty[at.slot], at.phase);
        barrier_expect(&full[at.slot], n * run_bytes);
        for (int i = 0; i < n; i++)
          bulk_copy(packed + (at.slot * S::strips + i) * CODING::run_most, from + i * a.strip_bytes, run_bytes,
                    &full[at.slot], policy);
      }
    }
  }

  /* Warpgroups, by turns a stage: that one waits for memory and fences while others make theirs. */
  __device__ void weights_make() const {
    int warp = threadIdx.x / 32 % 4, piece_bytes = m.linear.matrix.piece_bytes;
    int mine = threadIdx.x / 128 - GROUPS - 1, whose = 0;
    bool has_min = m.linear.matrix.has_min;
    turn at = {0, 0}, to = {0, 1};
    for (int tile = first; tile < n_tile; tile += step) {
      int n = strips_of(this->place_at(tile));
      for (int k = k_first; k < k_end; k += DEEP, slot_next(at)) {
        barrier_wait(&full[at.slot], at.phase);
#pragma unroll 1
        for (int half = 0; half < min(DEEP, k_end - k); half++, to = turn_next<S>(to)) {
          bool skipped = whose != mine;
          whose = whose + 1 < S::makers ? whose + 1 : 0;
          if (skipped) continue;
          uint32_t stage = shared_address(r.stage) + to.slot * S::stage_bytes + GROUPS * TOKENS_BYTES;
          const uint8_t *piece = packed + at.slot * R::slot_bytes + half / 2 * piece_bytes;
          barrier_wait(&r.empty[to.slot], to.phase);
#pragma unroll 2
          for (int strip = warp; strip < n; strip += 4)
            CODING::half_make(stage + strip * PIECE, piece + strip * CODING::run_most, half % 2, has_min);
          shared_writes_publish();
          barrier_arrive(&r.weights[to.slot]);
        }
        barrier_arrive(&empty[at.slot]);
      }
    }
  }
};

} // namespace

#endif
