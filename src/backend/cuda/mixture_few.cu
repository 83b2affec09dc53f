/* A mixture of experts of up to 16 tokens as one launch, a block per multiprocessor, whose weights stream once from
 * device memory: a layer's norm, router, choice, gated linear and gather.
 *
 * First come the block's strips of the linear before, if that adds to the tokens (mixture_before.cuh), last those of
 * the linear after, if that makes the next layer's heads (mixture_after.cuh).
 *
 * Each block rounds all tokens, makes one row of the router, and waits for everybody's logits, of which each makes the
 * choice for itself. From then on one thread keeps bulk copies in flight into a ring of stages (mixture_ring.cuh),
 * first of the block's pairs of strips (a gate's and its up's) of all chosen experts, then of its strips of what adds
 * them up, of all of them: while the last results of the first linear are made, the second one's weights fill the ring.
 * 8 warps multiply; a stage has a piece for each. Tokens are the B operand all together: a column of a token that has
 * not chosen the expert is looked at by nobody, in the gather it is zero. Results of the first linear have the weight
 * of their choice, and go to all blocks by words that tell themselves whether they are there (linear_between.cuh).
 *
 * A sum's order depends on the row, the token and what it has chosen alone: a warp's pieces are the same ones in each
 * strip, and what others have chosen adds zeros. */
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_fragments.cuh"
#include "backend/cuda/mixture_after.cuh"
#include "backend/cuda/mixture_before.cuh"
#include "backend/cuda/mixture_choice.cuh"
#include "backend/cuda/row_ends.cuh"

#include <assert.h>

namespace {
namespace mixture {

/* --- the gated linear --------------------------------------------------------------------------------------------- */

template <int TILES>
__device__ __forceinline__ void unit_finish(const work &w, const struct mixture_chosen &c, const float4 *sums,
                                            uint32_t *left, int active, int unit) {
  const struct cuda_linear &a = w.m.up;
  int token = threadIdx.x / STRIP, row = threadIdx.x % STRIP, col = unit * STRIP + row, expert = c.active[active];
  int at = unit * 2 * STRIP + row, pair = c.pair[active][token];
  if (pair < 0) return;
  const float *bias = a.bias ? a.bias + (size_t)expert * a.matrix.rows + at : nullptr;
  float gate = sums_total<TILES>(sums, 0, token, row) * c.scale[token] + (bias ? bias[0] : 0);
  float up = sums_total<TILES>(sums, 1, token, row) * c.scale[token] + (bias ? bias[GATE_RUN] : 0);
  float x = curved_of(a, w.m.gate, gate, up) * c.weight[token][pair - token * w.m.route.k];
  float beside = __shfl_xor_sync(0xffffu << threadIdx.x % 32 / 16 * 16, x, 1);
  if (row % 2 == 0) strong_store(left + word_of(w.down_pieces, pair, col), pair_round(x, beside));
}

template <int TILES>
__device__ __forceinline__ void up_run(const work &w, const block &b, uint32_t *left, turn &at, uint32_t &turns) {
  int n = b.chosen->n * w.up_units;
  for (int u = blockIdx.x; u < n; u += gridDim.x, turns ^= 1) {
    float sum[2][TILES][4] = {};
    for (int run = 0; run < w.up_pieces; run += WARPS) {
      int piece = run + threadIdx.x / 32;
      fragments<TILES> x;
      tokens_load<TILES>(w, b, piece, x);
#pragma unroll
      for (int i = 0; i < 2; i++) stage_multiply<TILES>(b, at, piece < w.up_pieces, sum[i], x);
    }
    float4 *sums = b.sums + turns * sum_fours(TILES);
    sums_put<TILES>(sums, 0, sum[0]), sums_put<TILES>(sums, 1, sum[1]);
    multipliers_meet();
    unit_finish<TILES>(w, *b.chosen, sums, left, u / w.up_units, u % w.up_units);
  }
}

/* --- the gather --------------------------------------------------------------------------------------------------- */

/* Which of the warp's pieces of all active experts comes next. */
struct position {
  int active, run;
};

__device__ __forceinline__ void position_step(position &p, int runs) {
  if (++p.run == runs) p.run = 0, p.active++;
}

/* What the tokens that have chosen the expert have left. */
template <int TILES>
__device__ __forceinline__ void left_load(const work &w, const struct mixture_chosen &c, const uint4 *left,
                                          const position &p, fragments<TILES> &x) {
  int piece = p.run * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
  bool inside = p.active < c.n && piece < w.down_pieces;
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    int pair = inside ? c.pair[p.active][t * 8 + lane / 4] : -1;
    const uint4 *from = left + ((size_t)max(pair, 0) * w.down_pieces + piece) * 8 + lane % 4;
    x.low[t] = strong_load_if(from, pair >= 0), x.high[t] = strong_load_if(from + 4, pair >= 0);
  }
}

template <int TILES> __device__ __forceinline__ bool left_there(const fragments<TILES> &x) {
  bool all = true;
#pragma unroll
  for (int t = 0; t < TILES; t++) all = all && there(x.low[t]) && there(x.high[t]);
  return all;
}

/* So many from a place on, as soon as they are there. */
template <int TILES, int N>
__device__ __forceinline__ void left_await(const work &w, const struct mixture_chosen &c, const uint4 *left,
                                           position first, int runs, fragments<TILES> x[N]) {
  for (;;) {
    position p = first;
    bool all = true;
#pragma unroll
    for (int i = 0; i < N; i++) all = all && left_there<TILES>(x[i]);
    if (__all_sync(~0u, all)) return;
#pragma unroll
    for (int i = 0; i < N; i++) {
      if (!left_there<TILES>(x[i])) left_load<TILES>(w, c, left, p, x[i]);
      position_step(p, runs);
    }
  }
}

/* A result as the next linear takes it (linear_finish.cuh): one of this launch, whose words are in the set, or the
 * first of another. */
__device__ __forceinline__ void next_leave(const work &w, uint4 *set, float x, float norm, int token, int col) {
  const struct cuda_linear &a = w.m.down;
  bool here = w.m.after.matrix.data;
  int pieces = a.result_cols / PANEL;
  uint32_t half = 0xffffu << threadIdx.x % 32 / 16 * 16;
  float y = x * norm, beside = __shfl_xor_sync(half, y, 1), square = x * x;
  uint32_t *tokens = here ? (uint32_t *)(set + w.words.tokens) : (uint32_t *)a.next_fragments;
  size_t at = here ? word_of(pieces, token, col) : fragment_index(token, col, pieces) / 2;
  if (col % 2 == 0) strong_store(tokens + at, pair_round(y, beside));
  if (!a.next_squares) return;
#pragma unroll
  for (int step = 8; step > 0; step /= 2) square += __shfl_xor_sync(half, square, step);
  uint32_t *squares = here ? (uint32_t *)(set + w.words.squares) : (uint32_t *)a.next_squares;
  if (col % STRIP == 0) strong_store(squares + token * (a.result_cols / STRIP) + col / STRIP, __float_as_uint(square));
}

template <int TILES>
__device__ __forceinline__ void strip_finish(const work &w, const struct mixture_chosen &c, uint4 *set,
                                             const float4 *sums, int strip, const extras &e) {
  const struct cuda_linear &a = w.m.down;
  int token = threadIdx.x / STRIP, row = threadIdx.x % STRIP, col = strip * STRIP + row;
  if (token >= w.m.n_token || col >= a.matrix.rows) return;
  float x = sums_total<TILES>(sums, 0, token, row);
  for (int j = 0; a.bias && j < w.m.route.k; j++)
    x += c.weight[token][j] * a.bias[(size_t)c.id[token][j] * a.matrix.rows + col];
  x = x * a.factor + e.residual;
  a.out[(size_t)token * a.out_cols + col] = x;
  if (a.next_fragments) next_leave(w, set, x, e.next_norm, token, col);
}

template <int TILES>
__device__ __forceinline__ void down_run(const work &w, const block &b, uint4 *set, turn &at, uint32_t &turns) {
  constexpr int ahead = TILES == 1 ? 6 : 4;
  const struct mixture_chosen &c = *b.chosen;
  const uint4 *left = set + w.words.left;
  int runs = (w.down_pieces + WARPS - 1) / WARPS, n = c.n * runs;
  for (int strip = blockIdx.x; strip < w.strips; strip += gridDim.x, turns ^= 1) {
    float sum[TILES][4] = {};
    extras e = extras_load(w.m.down, w.m.n_token, strip);
    fragments<TILES> x[ahead];
    position here = {0, 0}, next = {0, 0};
#pragma unroll
    for (int d = 0; d < ahead; d++) left_load<TILES>(w, c, left, next, x[d]), position_step(next, runs);
    for (int first = 0; first < n; first += ahead) {
      left_await<TILES, ahead>(w, c, left, here, runs, x);
#pragma unroll
      for (int d = 0; d < ahead; d++) {
        if (first + d >= n) break;
        bool has = here.run * WARPS + threadIdx.x / 32 < w.down_pieces;
        stage_multiply<TILES>(b, at, has, sum, x[d]);
        left_load<TILES>(w, c, left, next, x[d]);
        position_step(here, runs), position_step(next, runs);
      }
    }
    float4 *sums = b.sums + turns * sum_fours(TILES);
    sums_put<TILES>(sums, 0, sum);
    multipliers_meet();
    strip_finish<TILES>(w, c, set, sums, strip, e);
  }
}

/* --- the launch --------------------------------------------------------------------------------------------------- */

__device__ __forceinline__ void router_bring(const work &w) {
  int row = blockIdx.x, piece = threadIdx.x;
  if (!w.m.router.matrix.data || row >= w.m.route.n_expert || piece >= w.up_pieces) return;
  const uint8_t *from = w.m.router.matrix.data + ((size_t)(row / STRIP) * w.up_pieces + piece) * PIECE;
  from += row % STRIP * 128;
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}

__device__ __forceinline__ void norm_bring(const work &w) {
  int col = threadIdx.x * 32;
  if (w.m.up.has_norm && col < w.m.up.matrix.cols) asm volatile("prefetch.global.L2 [%0];" ::"l"(w.m.up.norm + col));
}

template <int TILES> __global__ void __launch_bounds__(THREADS, 1) mixture_few(const __grid_constant__ work w) {
  extern __shared__ __align__(1024) uint8_t shared[];
  block b = block_lay<TILES>(w, shared);
  bool multiplies = threadIdx.x < MULTIPLIERS;
  if (threadIdx.x == 0) {
    for (int i = 0; i < w.stages; i++) barrier_init(&b.full[i], 1), barrier_init(&b.empty[i], MULTIPLIERS);
    barrier_init(b.scaled, 32), barrier_init(b.awaited, 1);
    barriers_publish();
  }
  for (int i = threadIdx.x; i < w.m.route.n_expert; i += THREADS) b.chosen->mask[i] = 0;
  for (int i = threadIdx.x; i < MIXTURE_PAIRS * MIXTURE_TOKENS / 2; i += THREADS) ((int *)b.chosen->pair)[i] = -1;
  dependents_launch();
  router_bring(w), norm_bring(w);
  __syncthreads();
  turn at = main_ring(w);
  uint32_t turns = 0;
  copier copies(b, at);
  if (threadIdx.x == COPIER * 32) before_stream(w, copies), held_stream(w, copies);
  presence present;
  if (multiplies) presence_ask(w, present);
  __syncwarp();
  dependencies_wait();
  uint4 *set;
  if (multiplies) {
    if (threadIdx.x == 0) barrier_arrive(b.awaited);
    before_run<TILES>(w, b, at, turns, set);
    presence_count(w, present);
    logits_make<TILES * 8>(w, b, (uint32_t *)set, (const uint32_t *)(set + w.words.inputs));
    experts_choose(w, b, w.m.router.matrix.data ? (uint32_t *)set : (const uint32_t *)w.m.route.logits, present);
  } else {
    set = set_of(w);
    set_clear(w.between.state, (uint4 *)w.between.sets, w.between.units, threadIdx.x - MULTIPLIERS,
              THREADS - MULTIPLIERS);
    if (threadIdx.x == COPIER * 32) after_bring_near(w);
  }
  __syncthreads();
  if (multiplies) {
    up_run<TILES>(w, b, (uint32_t *)(set + w.words.left), at, turns);
    down_run<TILES>(w, b, set, at, turns);
    after_run<TILES>(w, b, set, held_ring(w), at, turns);
    if (threadIdx.x == 0) set_leave(w.between.state, w.words.used);
  } else if (threadIdx.x == COPIER * 32) {
    weights_stream(w, b, copies);
  } else if (threadIdx.x >= SCALER * 32) {
    after_scale<TILES>(w, b, set);
  }
}

template <int TILES> static void few_launch(const work &w, int multiprocessors, cuda_stream stream) {
  early_launch(mixture_few<TILES>, {multiprocessors, THREADS, MIXTURE_SHARED, 1}, stream, w);
}

} // namespace mixture
} // namespace

void cuda_mixture_few(const struct cuda_mixture *m, const struct cuda_between *between, int multiprocessors,
                      cuda_stream stream) {
  using namespace mixture;
  work w = {.m = *m, .between = *between};
  w.up_pieces = (m->up.matrix.cols + PANEL - 1) / PANEL, w.down_pieces = m->down.matrix.cols / PANEL;
  w.up_units = m->up.matrix.rows / (2 * STRIP), w.strips = (m->down.matrix.rows + STRIP - 1) / STRIP;
  w.slots = mixture_slots(m->n_token), w.stages = cuda_mixture_stages(m->n_token, m->up.matrix.cols);
  w.before_pieces = m->before.matrix.cols / PANEL;
  bool before = m->before.matrix.data, after = m->after.matrix.data;
  w.after_pieces = after ? m->after.matrix.cols / PANEL : 0,
  w.after_strips = (m->after.matrix.rows + STRIP - 1) / STRIP;
  if (after) {
    int runs = (w.after_pieces + WARPS - 1) / WARPS, each = (w.after_strips + multiprocessors - 1) / multiprocessors;
    w.held_strips = cuda_mixture_held(w.stages, m->after.matrix.cols);
    if (w.held_strips > each) w.held_strips = each;
    w.held = w.held_strips * runs;
  }
  w.words = mixture_words(m->n_token, m->route.n_expert, m->route.k, before ? m->before.matrix.rows : 0,
                          m->down.matrix.cols, after ? m->after.matrix.cols : 0);
  assert(!after || w.after_pieces == w.up_pieces);
  assert(w.stages >= MIXTURE_STAGES && w.words.used <= between->units);
  assert(!m->down.next_fragments || (m->down.result_cols == m->down.matrix.rows && m->down.result_cols % PANEL == 0));
  if (m->n_token <= 8)
    few_launch<1>(w, multiprocessors, stream);
  else
    few_launch<2>(w, multiprocessors, stream);
}
