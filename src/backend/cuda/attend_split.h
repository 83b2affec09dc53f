/* How a step's attention is shared out. Host code: made when a batch is sent, read by kernels. */
#ifndef SPATE_BACKEND_CUDA_ATTEND_SPLIT_H
#define SPATE_BACKEND_CUDA_ATTEND_SPLIT_H

#include "backend/cuda/cuda_kernels.h"

struct limits;

#ifdef __cplusplus
extern "C" {
#endif

/* Heads and window of the layers that share a block table. */
struct attend_heads {
  int32_t queries; /* query heads of a KV head */
  int32_t n_kv_head, window;
  bool latent;
};

/* Packed rows of a unit; of a row of the batch that is split, at most; of a chunk of the others. */
static inline int32_t attend_packed(const struct attend_heads *heads) {
  if (!heads->latent) return ATTEND_PACKED;
  return heads->queries <= LATENT_ROWS / 2 ? LATENT_ROWS / 2 : LATENT_ROWS;
}
static inline int32_t attend_few(const struct attend_heads *heads) {
  return heads->latent ? (int32_t)LATENT_FEW : ATTEND_FEW;
}
static inline int32_t attend_chunk(const struct attend_heads *heads) {
  return heads->latent ? (int32_t)LATENT_ROWS : ATTEND_CHUNK;
}

/* Blocks of latent attention that run on a multiprocessor at once: two tiles of keys fill its shared memory. */
enum { LATENT_BLOCKS = 1 };

/* Blocks of decode attention on Hopper that run at once, each with a share, where no path is asked (attend_blocks). */
static inline int attend_shares(int dim, int multiprocessors) {
  int shares = dim <= 128 ? 2 * multiprocessors : multiprocessors;
  return shares < ATTEND_SHARES ? shares : ATTEND_SHARES;
}

/* Equal shares of the rows with few packed rows: cut[n_share + 1], of which the first is the start and the last the
 * end. Units are cut between pieces; where the cut ones have more than n_part rows of parts, the cheapest are whole
 * instead. False where no row is of this kind. */
bool attend_split(const struct attend_heads *heads, const struct cuda_row *row, int n_row, int n_share, int n_part,
                  struct cuda_cut *cut);

/* Pieces of sequences that have parts together where a head has a row in each: of 524,288 keys, eight of 65,536. And
 * rows of parts at most, which have 2080 bytes: 520 MiB of 128 heads, where such keys take 576 MiB a layer. */
enum { LATENT_PIECES = 2048, LATENT_PARTS = 1 << 18 };

/* Rows of parts that any step may need, or as many as are worth their memory. */
int32_t attend_parts_most(const struct attend_heads *heads, const struct limits *limits);

/* Chunks of the other rows: the last of a row, which see most, first. Returns how many. */
int attend_chunks(const struct attend_heads *heads, const struct cuda_row *row, int n_row, struct cuda_chunk *chunk);

/* At most so many for `tokens` tokens in `rows` rows. */
static inline int attend_chunks_most(const struct attend_heads *heads, int tokens, int rows) {
  int32_t chunk = attend_chunk(heads);
  return (int)(((int64_t)tokens * heads->queries + chunk - 1) / chunk) + rows;
}

#ifdef __cplusplus
}
#endif

#endif
