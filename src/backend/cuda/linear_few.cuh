/* Linears of few tokens, whose weights stream once from device memory at its full rate: up to 32 tokens, weights as the
 * matrix units' A operand and tokens as B ("swap AB"). Linears each of which takes what the one before it makes are the
 * parts of one launch. A scheme S tells how weights are multiplied: bf16 (linear_few.cu), 4 and 8 bits (coded_few.cu),
 * int8 with tokens of int8 (bytes_few.cu). Those but bf16 are for up to 16 tokens, int8 times int8 for up to 8.
 *
 * A block per multiprocessor, from 9 tokens on a team of two, takes up to four strips of 16 weight rows in turn. One
 * thread keeps bulk copies in flight into a ring of stages; a stage has 8 pieces of a strip, and each of 8 warps
 * multiplies the pieces that are its own with the tokens' fragments, which it reads in the order in which registers
 * want them, some panels of 64 columns ahead (linear_roll.cuh where weights are unpacked). At the end of the strips the
 * sums are added in one order (linear_sums.cuh), and become results: a gate's strip and its up's go together. So a
 * result depends on its row and token alone, not on how many tokens there are.
 *
 * What a part leaves to the next goes by words that tell themselves whether they are there (linear_between.cuh): no
 * fence, no count. The copying thread does not wait at all: it fills the ring with the next part's weights, and before
 * the first part does so while the kernel before this one ends (programmatic dependent launch). What is left has the
 * weights of its norm, whose scale is a factor of the products that follows from sums of squares. Where a scheme rounds
 * tokens, fragments are rounded in registers; where that takes a scale, their greatest magnitude is found before a
 * part's first product.
 *
 * Bound: the read of the weights (bench/lab/linear_chain.cu); small parts by what a part's end takes, from the last
 * weights to the next products, of which the ring covers 5.6 µs. From 17 tokens on also the tokens' fragments, which
 * come from the second-level cache anew for each group of strips.
 */
#ifndef SPATE_BACKEND_CUDA_LINEAR_FEW_CUH
#define SPATE_BACKEND_CUDA_LINEAR_FEW_CUH

#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_peaks.cuh"
#include "backend/cuda/linear_roll.cuh"

namespace {

using namespace linear_chain;

/* --- products ----------------------------------------------------------------------------------------------------- */

/* A piece of each of n strips. */
template <typename S, int TILES>
__device__ __forceinline__ void strips_multiply(const ring<S, TILES> &r, typename S::sum (*sum)[TILES][4], int n,
                                                bool has, const fragments<TILES> &b, turn *at) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < strips_of<S>(TILES); i++) {
    if (i >= n) break;
    barrier_wait(&r.full[at->slot], at->phase);
    if (has) S::template multiply<TILES>(sum[i], r.bytes + at->slot * run_of<S>() + warp * S::piece, b, lane);
    barrier_arrive(&r.empty[at->slot]);
    *at = turn_next<S, TILES>(*at);
  }
}

/* The sums of the first half of the columns are put by, */
template <typename S, int TILES>
__device__ __forceinline__ void half_keep(typename S::sum (*half)[TILES][4], typename S::sum (*sum)[TILES][4]) {
#pragma unroll
  for (int i = 0; i < strips_of<S>(TILES) * TILES * 4; i++)
    half[i / (TILES * 4)][i / 4 % TILES][i % 4] = sum[i / (TILES * 4)][i / 4 % TILES][i % 4],
                                             sum[i / (TILES * 4)][i / 4 % TILES][i % 4] = 0;
}

/* and those of the second added. */
template <typename S, int TILES>
__device__ __forceinline__ void half_add(typename S::sum (*half)[TILES][4], typename S::sum (*sum)[TILES][4]) {
#pragma unroll
  for (int i = 0; i < strips_of<S>(TILES) * TILES * 4; i++)
    sum[i / (TILES * 4)][i / 4 % TILES][i % 4] += half[i / (TILES * 4)][i / 4 % TILES][i % 4];
}

/* fresh: the fragments may still be on their way. They come some panels ahead, at the end of strips those of the next
 * ones' first pieces. */
template <typename S, int TILES>
__device__ __forceinline__ void group_multiply(const few &a, const uint4 *tokens, bool fresh, const ring<S, TILES> &r,
                                               int n, fragments<TILES> *b, typename S::sum (*sum)[TILES][4], turn *at) {
  constexpr int depth = depth_of<S>(TILES), step = WARPS * depth;
  constexpr bool alone = team_of(TILES) == 1;
  int warp = threadIdx.x / 32, middle = middle_of(a.weights);
  span s = span_of<TILES>(a.weights);
  typename S::sum half[strips_of<S>(TILES)][TILES][4] = {};
  for (int run = s.begin; run < s.end; run += step)
#pragma unroll
    for (int d = 0; d < depth; d++) {
      int first = run + d * WARPS, panel = first + warp;
      if (first >= s.end) break;
      if (alone && first == middle) half_keep<S, TILES>(half, sum);
      while (fresh && !fragments_there<TILES>(b[d])) fragments_load<TILES>(b[d], a, tokens, panel);
      strips_multiply<S, TILES>(r, sum, n, panel < s.end, b[d], at);
      fragments_load<TILES>(b[d], a, tokens, first + step < s.end ? panel + step : s.begin + warp + d * WARPS);
    }
  if (alone) half_add<S, TILES>(half, sum);
}

/* --- the chain ---------------------------------------------------------------------------------------------------- */

template <typename S, int TILES>
__device__ void part_multiply(const chain &c, const uint4 *set, int part, const ring<S, TILES> &r, turn *at,
                              uint32_t *turns) {
  const few &f = c.part[part];
  input in = input_of<S, TILES>(c, set, part);
  int first = span_of<TILES>(f.weights).begin + threadIdx.x / 32;
  fragments<TILES> b[depth_of<S>(TILES)];
  extras e[turns_of<S>(TILES)];
  group g = group_of<S, TILES>(f.weights, 0);
  float inverse[TILES];
  if constexpr (has_adapters<S>::value) part_shrink(c, in.tokens, part);
  group_extras<S, TILES>(f, g, c.shift, e);
  if (S::top > 0 && g.n > 0)
    rounded_await<S, TILES>(b, f, in, r, first, inverse);
  else if (g.n > 0 && part > 0)
    fragments_await<S, TILES>(b, f, in.tokens, first);
  else
    fragments_begin<S, TILES>(b, f, in.tokens, first);
  if (part > 0) barrier_arrive(r.begun); /* the warps that scale begin when the input is as good as there */
  factors_of<S, TILES> factors(c, f, g);
  for (int round = 0; g.n > 0;) {
    typename S::sum sum[strips_of<S>(TILES)][TILES][4] = {};
    factors.ask(c, f, g);
    if constexpr (S::rolled)
      group_roll<S, TILES>(f, in.tokens, part > 0 && round == 0, r, g.n, b, inverse, sum, at);
    else
      group_multiply<S, TILES>(f, in.tokens, part > 0 && round == 0, r, g.n, b, sum, at);
    ring<S, TILES> here = r;
    if (buffers_of<S>(TILES) > 1) here.sums += *turns * WARPS * sums_of<S>(TILES);
    sums_meet<S, TILES>(here, g.n, sum, *turns, [&] { factors.bring(c, f, set, r, g, part, round == 0); });
    barrier_wait(r.scaled, part & 1);
    group_finish<S, TILES>(c, set, part, here, factors, g, e);
    if (buffers_of<S>(TILES) == 1) sums_free<S, TILES>(r);
    *turns ^= 1;
    g = group_of<S, TILES>(f.weights, ++round);
    group_extras<S, TILES>(f, g, c.shift, e);
  }
  barrier_wait(r.scaled, part & 1); /* also of a block that has no strip */
}

/* A launch that leaves nothing in sets takes neither. */
__device__ __forceinline__ uint4 *set_of(const chain &c) {
  return set_at((uint4 *)c.between.sets, c.between.units, c.used > 0 ? strong_load(c.between.state + SET) : 0);
}

template <typename S, int TILES> __device__ void parts_multiply(const chain &c, const ring<S, TILES> &r) {
  const uint4 *set = set_of(c);
  turn at = {0, 0};
  uint32_t turns = 0;
  for (int i = 0; i < c.n; i++) part_multiply<S, TILES>(c, set, i, r, &at, &turns);
  if (c.used > 0 && threadIdx.x == 0) set_leave(c.between.state, c.used);
}

template <typename S, int TILES> __device__ void scales_make(const chain &c, const ring<S, TILES> &r) {
  constexpr int n = scalers_of(TILES);
  const uint4 *set = set_of(c);
  if (c.used > 0)
    set_clear(c.between.state, (uint4 *)c.between.sets, c.between.units, threadIdx.x - SCALERS * 32, n * 32);
  for (int i = 0; i < c.n; i++) {
    const float *squares = input_of<S, TILES>(c, set, i).squares;
    if (i > 0) barrier_wait(r.begun, (i - 1) & 1);
    for (int t = threadIdx.x / 32 - SCALERS; t < own_of(TILES); t += n)
      scales_add(c.part[i].linear, squares, r.scale, (team_rank<TILES>() * own_of(TILES) + t) * 8);
    barrier_arrive(r.scaled);
  }
}

template <typename S, int TILES> __device__ void chain_stream(const chain &c, const ring<S, TILES> &r) {
  copier copies = {{0, 1}, {0, 0}, 0}; /* of a barrier's first phase the one before is over */
  for (int i = 0; i < c.n; i++) weights_stream<S, TILES>(c.part[i].weights, r, &copies);
}

template <typename S, int TILES>
__global__ void __launch_bounds__(THREADS, 1) linear_few(const __grid_constant__ chain c) {
  extern __shared__ __align__(1024) uint8_t shared[];
  ring<S, TILES> r = ring_lay<S, TILES>(shared);
  ring_begin<S, TILES>(r);
  if (team_of(TILES) == 2) cluster_arrive();
  dependents_launch();
  int warp = threadIdx.x / 32;
  if (warp < WARPS) {
    registers_claim<MULTIPLIER_REGISTERS>();
    if (team_of(TILES) == 2) cluster_wait(); /* the other is there */
    dependencies_wait();
    parts_multiply<S, TILES>(c, r);
  } else {
    registers_release<COPIER_REGISTERS>();
    if (team_of(TILES) == 2) cluster_wait(); /* before copies for racecheck's sake, which ends only so */
    if (threadIdx.x == COPIER * 32) chain_stream<S, TILES>(c, r);
    __syncwarp();
    dependencies_wait();
    if (warp >= SCALERS && warp < SCALERS + scalers_of(TILES)) scales_make<S, TILES>(c, r);
    if constexpr (has_adapters<S>::value)
      if (warp == JOINER) parts_join(c, set_of(c));
  }
  __syncwarp();
  if (team_of(TILES) == 2) cluster_meet(); /* neither leaves while the other may write to it */
}

/* Teams that run at once. */
template <typename S, int TILES> int teams_most(int multiprocessors) {
  static int most;
  constexpr int team = team_of(TILES);
  if (team == 1) return multiprocessors;
  int all = multiprocessors / team;
  if (most == 0) most = clusters_resident(linear_few<S, TILES>, {all * team, THREADS, shared_bytes<S>(TILES), team});
  return most < all ? most : all;
}

template <typename S, int TILES> void chain_launch(chain c, int multiprocessors, cuda_stream stream) {
  int most = teams_most<S, TILES>(multiprocessors), teams = 1;
  while (1 << c.shift < own_of(TILES) * 8 && 1 << c.shift < c.part[0].linear.n_row) c.shift++;
  for (int i = 0; i < c.n; i++) {
    streamed *w = &c.part[i].weights;
    w->teams = w->n_unit < most ? w->n_unit : most;
    teams = teams > w->teams ? teams : w->teams;
    if (has_adapters<S>::value) c.part[i].shrunk = c.used, c.used += ADAPTER_UNITS * 32;
    if (i == 0) continue;
    c.part[i].place = c.used;
    c.used += units_of<S, TILES>(c.part[i]);
  }
  early_launch(linear_few<S, TILES>, {teams * team_of(TILES), THREADS, shared_bytes<S>(TILES), team_of(TILES)}, stream,
               c);
}

template <typename S> few part_of(const struct cuda_linear &l, const struct cuda_adapted *adapted, int i) {
  few f = {.linear = l.has_post_norm ? products_alone(&l) : l, .tokens = (const uint4 *)l.fragments};
  int unit = f.linear.gated ? 2 : 1, n_piece = (l.matrix.cols + S::panels * 64 - 1) / (S::panels * 64);
  f.n_panel = (l.matrix.cols + 63) / 64;
  if (!S::rounded || l.ready || adapted) f.linear.scales = nullptr;
  f.weights = {l.matrix.data + S::head, (S::head + (uint64_t)n_piece * S::piece + 127) / 128 * 128, n_piece,
               (l.matrix.rows + 15) / 16 / unit, unit};
  if (adapted) f.linear.rows.factors = adapted->factors[i];
  return f;
}

/* Results of a chain's parts are seen as a residual by the thread that has made them alone. */
inline bool residual_far(const struct cuda_linear *linear, int i) {
  for (int j = 0; j < i; j++)
    if (linear[j].out == linear[i].residual &&
        (linear[j].matrix.rows != linear[i].matrix.rows || linear[j].gated || linear[i].gated))
      return true;
  return false;
}

template <typename S>
void chains_run(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                cuda_stream stream, const struct cuda_adapted *adapted, int first) {
  chain c = {.n = 1, .between = *between};
  c.part[0] = part_of<S>(linear[0], adapted, first);
  for (; c.n < n && !residual_far(linear, c.n); c.n++) c.part[c.n] = part_of<S>(linear[c.n], adapted, first + c.n);
  if (adapted) {
    c.first = adapted->lists.first, c.pair = adapted->lists.pair, c.n_pair = adapted->lists.n_pair;
    c.partial = (uint4 *)adapted->partial, c.partial_units = (uint32_t)(adapted->part_bytes / sizeof(uint4));
  }
  if (!linear->ready && S::rounded && !adapted) cuda_bytes_prepare(linear, nullptr, true, stream);
  if (!linear->ready && !(S::rounded && !adapted)) cuda_linear_prepare(linear, false, stream);
  if (linear->n_row <= 8 || S::tiles == 1)
    chain_launch<S, 1>(c, multiprocessors, stream);
  else if constexpr (S::tiles > 1) {
    if (linear->n_row <= 16 || S::tiles == 2)
      chain_launch<S, 2>(c, multiprocessors, stream);
    else if constexpr (S::tiles > 2)
      chain_launch<S, 4>(c, multiprocessors, stream);
  }
  if (linear[c.n - 1].has_post_norm) cuda_linear_tail(linear + c.n - 1, stream);
  if (c.n < n) chains_run<S>(linear + c.n, n - c.n, between, multiprocessors, stream, adapted, first + c.n);
}

/* Launches of a scheme, without adapters, */
template <typename S> struct plain_chains {
  static void launch(const struct cuda_linear *linear, int n, const struct cuda_adapted *,
                     const struct cuda_between *between, int multiprocessors, cuda_stream stream) {
    chains_run<S>(linear, n, between, multiprocessors, stream, nullptr, 0);
  }
};

/* and with them. */
template <typename S> struct adapted_chains {
  static void launch(const struct cuda_linear *linear, int n, const struct cuda_adapted *adapted,
                     const struct cuda_between *between, int multiprocessors, cuda_stream stream) {
    chains_run<adapted_scheme<S>>(linear, n, between, multiprocessors, stream, adapted, 0);
  }
};

} // namespace

#endif
