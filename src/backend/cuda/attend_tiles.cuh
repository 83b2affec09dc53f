/* Prefill attention's units, and how their keys and values come into shared memory: a warpgroup keeps bulk copies of
 * tiles in flight, codes of 8 bits it also widens. */
#ifndef SPATE_BACKEND_CUDA_ATTEND_TILES_CUH
#define SPATE_BACKEND_CUDA_ATTEND_TILES_CUH

#include "backend/cuda/attend_codes.cuh"
#include "backend/cuda/warpgroup.cuh"

namespace attend_tiles {

enum { COPIERS = 4 }; /* warps: a copy takes its lane longer to start than the tile has time for all of them in one */

template <int D> struct shape {
  static constexpr int groups = D <= 128 ? 2 : 1; /* of 64 queries */
  static constexpr int rows = groups * 64, threads = groups * 128 + 128;
  static constexpr int tile_bytes = ATTEND_TILE * D * 2;
  static constexpr int query_bytes = rows * D * 2, sums_bytes = rows * D * 4;
  /* for tiles of keys, and as many for values: more are no faster */
  static constexpr int room = (226 * 1024 - query_bytes - sums_bytes) / (2 * tile_bytes), slots = room < 2 ? room : 2;
  static constexpr int panels = panels_of(D);
  static constexpr int codes_bytes = D < 128 ? 2 * slots * ATTEND_TILE * cache_e4m3::token_bytes(D) : 0;
  static constexpr int bytes = query_bytes + 2 * slots * tile_bytes + sums_bytes + codes_bytes + 6 * slots * 8;
  static constexpr int per_chunk = ATTEND_CHUNK / rows;
  static constexpr int query_slots = codes_bytes >= query_bytes ? 2 : 1; /* of WHOLE, which has no codes */
  static_assert(bytes <= 227 * 1024, "a block's shared memory");
};

template <int D> struct shared {
  uint8_t *query, *keys, *values;                                /* panels of `rows` and of 128 tokens */
  uint8_t *codes;                                                /* of 8-bit caches, where they have room beside */
  float4 *sums;                                                  /* [group][D / 8][128 threads]: a thread's own */
  uint64_t *keys_full, *keys_empty, *values_full, *values_empty; /* [slots] */
  uint64_t *come;                                                /* [keys, values][slots]: codes are there */
};

template <int D> __device__ shared<D> shared_lay(uint8_t *base) {
  using S = shape<D>;
  shared<D> m;
  m.query = base;
  m.keys = m.query + S::query_bytes;
  m.values = m.keys + S::slots * S::tile_bytes;
  m.sums = (float4 *)(m.values + S::slots * S::tile_bytes);
  m.codes = (uint8_t *)m.sums + S::sums_bytes;
  m.keys_full = (uint64_t *)(m.codes + S::codes_bytes);
  m.keys_empty = m.keys_full + S::slots;
  m.values_full = m.keys_empty + S::slots;
  m.values_empty = m.values_full + S::slots;
  m.come = m.values_empty + S::slots;
  return m;
}

/* --- units -------------------------------------------------------------------------------------------------------- */

struct unit {
  int row, head, first, tile, tiles; /* first packed query; tiles that hold keys in sight */
  cuda_row r;
  span seen; /* by any of the unit's tokens */
};

/* What the patches first … last of an image see together. All lanes of a warp. */
__device__ __forceinline__ span patches_span(const cuda_attend &a, const cuda_row &r, int first, int last) {
  span s = {0, r.count};
  if (!a.places.span) return s;
  s = {r.count, 0};
  for (int t = first + threadIdx.x % 32; t <= last; t += 32) {
    span one = patch_span(a, r, t);
    s = {min(s.begin, one.begin), max(s.end, one.end)};
  }
  return span{__reduce_min_sync(0xffffffffu, s.begin), __reduce_max_sync(0xffffffffu, s.end)};
}

/* The block's n-th unit: to and fro through the list, which begins with the longest. False when there are no more.
 * WHOLE: of images. */
template <int D, bool WHOLE = false>
__device__ __forceinline__ bool unit_find(const cuda_attend &a, const cuda_batch &batch, int n, unit *u) {
  using S = shape<D>;
  int index = n * gridDim.x + (n % 2 ? gridDim.x - 1 - blockIdx.x : blockIdx.x), g = queries_of(a);
  if (n * gridDim.x >= a.n_chunk * S::per_chunk * a.n_kv_head) return false;
  u->tile = u->tiles = 0;
  u->r = {};
  if (index >= a.n_chunk * S::per_chunk * a.n_kv_head) return true;
  int part = index / a.n_kv_head;
  cuda_chunk chunk = a.chunk[part / S::per_chunk];
  u->row = chunk.row;
  u->head = index % a.n_kv_head;
  u->first = chunk.chunk * ATTEND_CHUNK + (S::per_chunk - 1 - part % S::per_chunk) * S::rows;
  u->r = batch.row[u->row];
  if (u->first >= u->r.count * g) return true;
  if constexpr (WHOLE) /* whose queries are tokens */
    u->seen = patches_span(a, u->r, u->first, min(u->r.count, u->first + (int)S::rows) - 1);
  else
    u->seen = tokens_span(a, batch, u->r, u->first / g, min(u->r.count - 1, (u->first + S::rows - 1) / g));
  u->tile = u->seen.begin / ATTEND_TILE;
  u->tiles = (u->seen.end + ATTEND_TILE - 1) / ATTEND_TILE - u->tile;
  return true;
}

/* --- copies ------------------------------------------------------------------------------------------------------- */

/* What is in sight of a tile's keys (which 0) or values (1), from key `key` on: blocks, or parts of one. */
struct stretch {
  int run, begin, n; /* tokens of each; the first; their number */
};

__device__ __forceinline__ stretch stretch_of(const cuda_attend &a, const unit &u, int key) {
  int run = min(a.block_size, (int)ATTEND_TILE), begin = max(0, u.seen.begin - key) / run;
  return stretch{run, begin, (min((int)ATTEND_TILE, u.seen.end - key) + run - 1) / run - begin};
}

/* Block by block and panel by panel. */
template <int D>
__device__ void tile_copy(const cuda_attend &a, const unit &u, const uint32_t *table, int key, int which, uint8_t *to,
                          uint64_t *full, uint64_t policy) {
  using S = shape<D>;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % COPIERS;
  stretch s = stretch_of(a, u, key);
  /* Each copier arrives, so that none falls behind by a round. */
  if (lane == 0) barrier_expect(full, warp == 0 ? s.n * s.run * D * 2 : 0);
  __syncwarp();
  for (int i = warp + COPIERS * lane; i < s.n * S::panels; i += COPIERS * 32) {
    int at = s.begin + i / S::panels, panel = i % S::panels;
    int width = panel_width(D, panel) * 2, token = (key + at * s.run) % a.block_size; /* bytes of a token */
    const uint8_t *from = block_at<cache_f16>(a, table[(key + at * s.run) / a.block_size], u.head, which);
    bulk_copy(to + panel * 128 * ATTEND_TILE + at * s.run * width, from + panel * 128 * a.block_size + token * width,
              s.run * width, full, policy);
  }
}

/* WHOLE: queries, too, are panels of 128 tokens, and come before they are wanted where there is room for two units'. */
template <int D> __device__ __forceinline__ uint8_t *queries_place(const shared<D> &m, int n) {
  return n % shape<D>::query_slots ? m.codes : m.query;
}

template <int D> __device__ __forceinline__ uint64_t *queries_full(const shared<D> &m, int n) {
  return m.come + n % shape<D>::query_slots;
}

template <int D> __device__ __forceinline__ uint64_t *queries_empty(const shared<D> &m, int n) {
  return m.come + shape<D>::slots + n % shape<D>::query_slots;
}

/* The first of the warps that copy, for the block's n-th unit that has tiles. */
template <int D>
__device__ __forceinline__ void queries_copy(const cuda_attend &a, const unit &u, const uint32_t *table, int n,
                                             const shared<D> &m, uint64_t policy) {
  using S = shape<D>;
  if (threadIdx.x / 32 % COPIERS != 0) return;
  if (n >= S::query_slots) barrier_wait(queries_empty<D>(m, n), (n / S::query_slots - 1) & 1);
  if (threadIdx.x % 32 != 0) return;
  size_t panels = (size_t)table[u.first / ATTEND_CHUNK] * a.n_kv_head + u.head;
  barrier_expect(queries_full<D>(m, n), S::query_bytes);
  bulk_copy(queries_place<D>(m, n), (const uint8_t *)a.query + panels * S::query_bytes, S::query_bytes,
            queries_full<D>(m, n), policy);
}

template <int D, bool WHOLE>
__device__ void tiles_stream(const cuda_attend &a, const cuda_batch &batch, const shared<D> &m) {
  using S = shape<D>;
  uint64_t policy = policy_evict_last();
  unit u;
  int at = 0, units = 0;
  for (int n = 0; unit_find<D, WHOLE>(a, batch, n, &u); n++) {
    const uint32_t *table = table_of(a, batch, u.r);
    if (WHOLE && u.tiles > 0) queries_copy<D>(a, u, table, units++, m, policy);
    for (int i = 0; i < u.tiles; i++, at++) {
      int slot = at % S::slots, key = (u.tile + i) * ATTEND_TILE;
      if (at >= S::slots) barrier_wait(&m.keys_empty[slot], (at / S::slots - 1) & 1);
      tile_copy<D>(a, u, table, key, 0, m.keys + slot * S::tile_bytes, &m.keys_full[slot], policy);
      if (at >= S::slots) barrier_wait(&m.values_empty[slot], (at / S::slots - 1) & 1);
      tile_copy<D>(a, u, table, key, 1, m.values + slot * S::tile_bytes, &m.values_full[slot], policy);
    }
  }
}

/* --- codes -------------------------------------------------------------------------------------------------------- */

/* Where a tile's come: narrow heads have room beside, wide ones leave the last bytes of the tile's own place. */
template <typename T, int D> __device__ __forceinline__ uint8_t *codes_place(const shared<D> &m, int which, int slot) {
  using S = shape<D>;
  if constexpr (S::codes_bytes > 0) return m.codes + (which * S::slots + slot) * ATTEND_TILE * T::token_bytes(D);
  return (which ? m.values : m.keys) + (slot + 1) * S::tile_bytes - ATTEND_TILE * T::token_bytes(D);
}

/* A warp copies a tile's. */
template <typename T, int D>
__device__ void codes_copy(const cuda_attend &a, const unit &u, const uint32_t *table, int key, int which, uint8_t *to,
                           uint64_t *come, uint64_t policy) {
  constexpr int each = T::token_bytes(D);
  stretch s = stretch_of(a, u, key);
  if (threadIdx.x % 32 == 0) barrier_expect(come, s.n * s.run * each);
  __syncwarp();
  for (int i = s.begin + threadIdx.x % 32; i < s.begin + s.n; i += 32) {
    int token = (key + i * s.run) % a.block_size;
    const uint8_t *from = block_at<T>(a, table[(key + i * s.run) / a.block_size], u.head, which);
    bulk_copy(to + i * s.run * each, from + token * each, s.run * each, come, policy);
  }
}

/* Keys (which 0) or values (1) of all tiles, in turn: while one is widened the next one's codes come. */
template <typename T, int D>
__device__ __forceinline__ void codes_stream(const cuda_attend &a, const cuda_batch &batch, const shared<D> &m,
                                             int which) {
  using S = shape<D>;
  uint64_t policy = policy_evict_last(), *come = m.come + which * S::slots;
  uint64_t *full = which ? m.values_full : m.keys_full, *empty = which ? m.values_empty : m.keys_empty;
  uint8_t *tiles = which ? m.values : m.keys;
  unit u;
  int n = 0, i = 0, at = 0; /* the next unit, and its next tile, which is the at-th of all */
  bool more = unit_find<D>(a, batch, n++, &u);
  for (bool last = false; more || last; at++) {
    while (more && i == u.tiles) i = 0, more = unit_find<D>(a, batch, n++, &u);
    if (last) {
      int slot = (at - 1) % S::slots;
      barrier_wait(&come[slot], (at - 1) / S::slots & 1);
      tile_widen<T, D, S::codes_bytes == 0>(codes_place<T>(m, which, slot), tiles + slot * S::tile_bytes, which + 5);
      barrier_arrive(&full[slot]);
    }
    last = more;
    if (more && threadIdx.x / 32 % 2 == 0) {
      int slot = at % S::slots;
      if (at >= S::slots) barrier_wait(&empty[slot], (at / S::slots - 1) & 1);
      codes_copy<T, D>(a, u, table_of(a, batch, u.r), (u.tile + i) * ATTEND_TILE, which, codes_place<T>(m, which, slot),
                       &come[slot], policy);
    }
    i++;
  }
}

} // namespace attend_tiles

#endif
