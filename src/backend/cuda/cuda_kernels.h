/* What the host side (C) and the kernels (CUDA C) of the CUDA backend share: arguments as plain structs of device
 * pointers, and a function for each op that puts its kernels into a stream. Launches fail by the runtime's last error.
 */
#ifndef SPATE_BACKEND_CUDA_KERNELS_H
#define SPATE_BACKEND_CUDA_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/cuda/adapter_rows.h"
#include "backend/cuda/cuda_places.h"
#include "base/limits.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct CUstream_st *cuda_stream;

/* The numbers of plan/scheme.h and plan/op.h that kernels tell apart: C++ cannot include those. cuda_matrix.c holds
 * them against each other. */
enum { KIND_F32, KIND_F16, KIND_BF16, KIND_INT, KIND_F8 };         /* enum scheme_kind */
enum { LEVEL_F32, LEVEL_F16, LEVEL_BF16, LEVEL_TWO };              /* enum scale_kind */
enum { ROUND_INT8 = 1, ROUND_INT8_TOKEN, ROUND_E4M3_TOKEN };       /* enum activation */
enum { CURVE_GELU = 2 };                                           /* enum act_kind; any other but 0 is SiLU */
enum { ROTATE_PAIRS = 2 };                                         /* enum rope_style; any other but 0 turns halves */
enum { CACHE_F32, CACHE_F16, CACHE_BF16, CACHE_E4M3, CACHE_INT8 }; /* enum kv_dtype */

/* Of packed matrices (cuda_layout.h): what is before a strip's pieces of bytes, its rows' scales and as many zeros; the
 * codes of a piece, of bytes and of four bits. */
enum { BYTES_HEAD = 128, BYTES_CODES = 2048, NIBBLES_CODES = 1024 };

/* How a matrix's bytes become numbers: cuda_layout and its scheme, flat. */
struct cuda_matrix {
  const uint8_t *data;
  int32_t rows, cols;
  uint64_t strip_bytes; /* of 16 rows */
  uint8_t kind;         /* enum scheme_kind; the fields below are of SCHEME_INT, as in cpu_layout.h */
  uint8_t pieces;       /* 16-bit floats in swizzled pieces */
  uint8_t bytes;        /* E4M3 or int8 in swizzled pieces, after one scale a row, or each before scales of its own */
  uint8_t bits, high_bits, scale, has_min, codebook, activation;
  uint8_t nibbles, made; /* four bits in pieces with fp16 scales; by the kernel before, which is to have ended */
  int32_t piece_bytes;   /* of bytes and nibbles, with scales */
  int32_t head_bytes;    /* before a strip's pieces */
  int32_t group, block_cols, offset;
  float unit; /* of the codebook */
  uint32_t high_at, scale_at, min_at, super_at, super_min_at, block_bytes;
  const int32_t *exponent; /* [strip] the greatest, of bf16 where linears want it (portable/linear.cuh) */
};

/* A row of the batch: of struct row what kernels want. A decode step is rounded up to a graph's rows by some that have
 * a place among the tokens and a count of 0. */
struct cuda_row {
  int32_t first, count, length, seat;
  uint32_t table, table_size; /* blocks of group g: tables[table + g × table_size], so many */
};

/* A step's batch on the device. */
struct cuda_batch {
  int32_t n_row, n_token, n_out;
  const struct cuda_row *row;             /* [n_row] */
  const int32_t *token, *token_row, *see; /* [n_token]; see: NULL where causal */
  const int32_t *out;                     /* [n_out] */
  const uint32_t *tables;
  const struct cuda_draw *draw;   /* [n_out] */
  const struct cuda_rules *rules; /* [n_out] of those that have some */
  const struct cuda_results *results;
  const int32_t *last;            /* [seats] the token drawn last, which a token of −1 stands for */
  const struct cuda_cut *cut;     /* [n_group][ATTEND_SHARES + 1] */
  const struct cuda_chunk *chunk; /* [n_group][n_chunk] */
  int32_t n_chunk;                /* room for those of a group */
};

struct cuda_bias { /* struct token_bias, which C++ cannot include; nor those below */
  int32_t token;
  float bias;
};

/* Not drawn: a token, always (−1) or after one. */
struct cuda_ban {
  int32_t after, token;
};

/* An output's rules (struct logit_rules), with its history. */
struct cuda_rules {
  float repetition, frequency, presence;
  int32_t n_history; /* −1: nothing is penalized */
  int32_t n_prompt, n_bias, n_allowed, n_ban;
  int32_t late_seat, late_token; /* the token after the history: the seat's last if ≥ 0, unless late_token is known */
  const int32_t *history, *allowed;
  const struct cuda_bias *bias;
  const struct cuda_ban *ban;
};

/* How an output's token is drawn: of struct sampling what the kernel wants. */
struct cuda_draw {
  uint64_t seed, index;
  float scale, top_p, min_p; /* scale: of logits to exponents of 2 */
  int32_t top_k, n_top, target;
  int32_t seat;            /* that remembers the token; −1: none */
  bool scored, greedy;     /* the target; the greatest; neither: drawn */
  bool want_logprob, beam; /* beam: log-probabilities are of the logits under the rules */
  bool by_host;            /* the kernel leaves it out */
  bool ruled;
};

struct cuda_logprob {
  int32_t token;
  float logprob;
};

/* Where the kernel writes: memory of the host. */
struct cuda_results {
  int32_t *token;           /* [n_out] −1: the logits are not finite */
  float *logprob;           /* [n_out] */
  struct cuda_logprob *top; /* [n_out][LIMIT_TOP_LOGPROBS] */
};

struct cuda_sample {
  const float *logits;            /* [n_out][vocab] */
  const struct cuda_draw *draw;   /* [n_out] */
  const struct cuda_rules *rules; /* [n_out], or NULL: none */
  const struct cuda_results *results;
  int32_t *last;                /* [seats] */
  unsigned long long *greatest; /* [n_out] that the head has left in place of logits, and 0 then; or NULL */
  int32_t vocab, block_chunks;  /* block_chunks: cuda_sample_chunks(vocab) */
  float *room; /* [rows][2][block_chunks × CHUNK]: for as many rows at once, where shared memory has none */
  int32_t rows;
};

struct cuda_linear {
  struct cuda_matrix matrix;
  const float *bias, *norm, *post_norm; /* NULL: none */
  const float *in, *residual;           /* [n_row][in_cols], [n_row][residual_cols] or NULL */
  float *prepared;                      /* [n_row][cols]: what is multiplied, */
  void *fragments;                      /* or 16-bit floats in whole runs of 64 rows and 64 columns */
  float *scales;                        /* [n_row] beside them, where they are scaled (portable/linear.cuh) */
  float *product;                       /* [n_row][rows] */
  float *out;                           /* [n_row][out_cols], at the result's first column */
  int32_t n_row, in_cols, out_cols, residual_cols, result_cols;
  uint8_t act, gated, multiply, has_norm, has_post_norm;
  uint8_t shrunk;    /* the kernel before has only read `in`, and has begun after whoever made it had ended */
  uint8_t one_order; /* sums are added in one order, however many tokens there are */
  float eps, post_eps, factor, softcap;

  /* An input that the linear before has left in `fragments`: with its norm's weights, without the scale, which is to
   * follow from squares [n_row][n_square] of a row's parts (NULL: no norm). And the same for the next one, which takes
   * result_cols, a multiple of 64. */
  uint8_t ready;
  int32_t n_square;
  const float *squares, *next_norm;
  void *next_fragments;
  float *next_squares;
  struct cuda_adapter_rows rows; /* of kernels that end with adapters (adapter_end.cuh) */
  unsigned long long *greatest;  /* [n_row] in place of `out`: the greatest's place (row_order.cuh), from 0; or NULL */
};

/* Attention on the matrix units goes through keys in tiles, whose softmax is one step, and in pieces, each with sums of
 * its own that are joined in order: whoever computes a token, alone or among others, has the same bytes. Queries of one
 * KV head are packed: token t's query head g of its G is packed row t × G + g. */
enum {
  ATTEND_TILE = 128,
  ATTEND_PIECE = 256,
  ATTEND_PACKED = 16,     /* packed rows of a unit of decode attention: the matrix units' A operand */
  ATTEND_FEW = 64,        /* rows of the batch with so many packed rows at most are split over all multiprocessors */
  ATTEND_CHUNK = 128,     /* packed rows of a unit of prefill attention */
  ATTEND_SHARES = 320,    /* of a launch of decode attention, at most */
  ATTEND_PARTS = 1 << 16, /* rows of parts, at most */
  ATTEND_BLOCK_LEAST = 8, /* tokens of a KV block that panels can be made of, */
  CODE_TOKENS = 16,       /* and codes */
};

/* Of latent attention (attend_latent.cu): dimensions of a key and of the value at its end; units are LATENT_ROWS packed
 * rows, where a token has as few half of them, of rows of the batch with LATENT_FEW at most. */
enum { LATENT_KEY = 576, LATENT_VALUE = 512, LATENT_ROWS = 32, LATENT_FEW = 2048 };

/* Where a share of decode attention begins: in a unit (row, chunk of packed rows, KV head; in this order), before its
 * piece. The unit is cut where piece is not 0: then its pieces' sums go to rows of `parts`, and who comes last of those
 * that hold some of it joins them. */
struct cuda_cut {
  int32_t row, chunk, head, piece; /* piece: from the row's first one that is seen */
  int32_t part;                    /* the unit's first row of parts */
  int32_t owner, holders;          /* the share that has the unit's first piece; how many have some */
  int32_t reserved;
};

/* A chunk of packed rows of prefill attention. */
struct cuda_chunk {
  int32_t row, chunk;
};

struct cuda_attend {
  const float *in; /* [n_token][in_cols]: q, k, v */
  float *out;      /* [n_token][n_head × dim_v] */
  const float *norm_q, *norm_k, *sink, *frequency;
  uint8_t *cache; /* of the group: [block][layer][kv head][K, V][token][dim] */
  int32_t n_head, n_kv_head, dim_k, dim_v, in_cols;
  int32_t group, n_group, layer, n_layer, block_size;
  int32_t window; /* of so many tokens, the query's own the last; negative: the middle one of a window to both sides */
  int32_t rope_style, rope_dim;
  float rope_scale, eps, scale, softcap;
  float grow; /* as in struct attend_args */
  int32_t grow_from;
  const float *slope; /* [n_head] what a score loses for each token between the two; NULL: nothing */
  uint8_t kv;         /* what the cache holds: CACHE_… */
  uint8_t fresh;      /* of decode: rows have a token each, whose queries, key and value it makes and stores itself */
  /* of attention on the matrix units, whose cache is in panels (attend.cuh) */
  const float *angle;                         /* [n_token][n_angle] cosine and sine, from this op's first on */
  uint16_t *query;                            /* [n_token][n_head × dim] scaled, of the cache's 16 bits */
  float *parts;                               /* [n_part][dim_v + 8] (attend_parts.cuh) */
  uint32_t *arrived;                          /* [n_share][2], 0 between launches */
  const struct cuda_cut *cut;                 /* [n_share + 1] */
  const struct cuda_chunk *chunk;             /* [n_chunk], long ones first */
  int32_t n_angle, n_share, n_chunk, n_block; /* n_block: of a launch, one a multiprocessor */
  void *next_fragments;                       /* of decode: results as the next linear takes them, too; or NULL */
  uint8_t next_tiles;                         /* in tiles: it has many tokens */
  const uint8_t *axis;                        /* what turns each frequency: 0 to 2 or AXIS_INDEX; NULL: indices alone */
  struct cuda_places places;                  /* span: of local attention alone */
};

void cuda_embed(const struct cuda_matrix *table, const struct cuda_batch *batch, float scale, float *out, int out_cols,
                cuda_stream stream);
void cuda_linear_plain(const struct cuda_linear *linear, cuda_stream stream);
/* bf16 tokens into `fragments`: swizzled tiles (linear_many.cu), or B fragments (linear_few.cu). */
void cuda_linear_prepare(const struct cuda_linear *linear, bool tiles, cuda_stream stream);
/* What linears of a chain leave each other, and how far they are. state: four words, 0 at first; sets: two of so many
 * units of 16 bytes, all ones at first (linear_between.cuh). */
enum { BETWEEN_WORDS = 4, BETWEEN_UNIT = 16 };
struct cuda_between {
  uint32_t *state;
  void *sets;
  uint32_t units;
};
/* bf16 weights alone; few: at most LINEAR_FEW tokens, and up to LINEAR_CHAIN linears, each of which takes what the one
 * before it leaves. Of many tokens, a gated linear can leave its results as
 * next_fragments in tiles, and then leaves none in `out`; one that adds a residual, and nothing else but a factor, can
 * leave them in both. */
enum { LINEAR_FEW = 32, LINEAR_CHAIN = 4 };
/* Units of a set that chains of linears of so many columns need: bf16 tokens, a square and a peak for 16 columns. */
static inline uint32_t cuda_between_units(int cols) {
  return (LINEAR_CHAIN - 1) * LINEAR_FEW * 10 * (((uint32_t)cols + 63) / 64);
}
void cuda_linear_few(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                     cuda_stream stream);
void cuda_linear_many(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream);
/* The same of weights of 4 and 8 bits and LINEAR_CODED_FEW tokens at most; all of a chain alike. */
enum { LINEAR_CODED_FEW = 16, LINEAR_INT8_FEW = 8 };
void cuda_coded_few(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                    cuda_stream stream);
/* The same of eight-bit weights and tokens, which come and go in bf16; all of a chain alike. */
void cuda_bytes_few(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                    cuda_stream stream);
/* Eight-bit weights and tokens. prepare: from rows, or from bf16 tiles that a gated linear has left, to bytes in
 * `fragments` and their scales; few: to the same numbers in bf16, for cuda_bytes_few. */
void cuda_bytes_prepare(const struct cuda_linear *linear, const void *tiles, bool few, cuda_stream stream);
/* tiles: as above, or NULL. A gated linear can leave next_fragments as the one of bf16 can. */
void cuda_linear_bytes(const struct cuda_linear *linear, const void *tiles, int multiprocessors, cuda_stream stream);
/* Weights of 4 and 8 bits, bf16 tokens that are ready or left as by cuda_linear_few where they are LINEAR_FEW at most.
 */
void cuda_linear_coded(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream);
/* From LINEAR_WIDE tokens on, which come and go in tiles: of 8 bits in whole pieces of 128 columns, out NULL where only
 * the next linear wants results; of 4 bits as cuda_linear_many. */
enum { LINEAR_WIDE = 17, LINEAR_PACKED_8 = 192, LINEAR_PACKED_4 = 512 };
void cuda_linear_coded_wide(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream);
void cuda_coded_many(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream);
/* The matrix as bf16 in pieces, for linears of more tokens than LINEAR_PACKED_8 or _4. */
void cuda_coded_expand(const struct cuda_matrix *matrix, void *out, cuda_stream stream);
/* From products to results. */
void cuda_linear_tail(const struct cuda_linear *linear, cuda_stream stream);
/* Cosines and sines of all tokens' angles; axis and place as in struct cuda_attend. */
void cuda_angles(const float *frequency, const uint8_t *axis, const int32_t *place, int n_angle,
                 const struct cuda_batch *batch, float *angle, cuda_stream stream);
/* Of a cache of 16 bits in panels: queries, keys and values to where they are read; rows with few packed rows; the
 * others.
 */
void cuda_attend_store(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
void cuda_attend_decode(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
void cuda_attend_prefill(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
/* Over a cache of 16 bits of latents, rows [token][LATENT_KEY]: stores what the step brings, then all of it. */
void cuda_attend_latent(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
/* out[i] = in[batch.out[i]] */
void cuda_select(const float *in, float *out, int cols, const struct cuda_batch *batch, cuda_stream stream);
/* Chunks of a row of logits that each block holds; 0: there is no room for so many tokens, and the host draws. */
int cuda_sample_chunks(int vocab);
/* Is there room for counts of tokens beside the logits, which rules need? */
bool cuda_sample_rules(int vocab);
/* Before the first draw. */
bool cuda_sample_prepare(int vocab);
void cuda_sample(const struct cuda_sample *sample, int n_out, cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
