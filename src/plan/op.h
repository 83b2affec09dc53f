/* The ops of a plan. Variants are fields, not new ops: a new network should need a new field before it needs a new op.
 * Indices are into the plan's values and weights; −1 means none. */
#ifndef SPATE_PLAN_OP_H
#define SPATE_PLAN_OP_H

#include <stdbool.h>
#include <stdint.h>

enum op_kind {
  OP_EMBED,  /* out[token] = norm(in[token] + scale × a row that the token names) */
  OP_LINEAR, /* out = residual + post_norm(act(norm(in) · weight[0]ᵀ + bias)), or × where `multiply`; and the fields
                below */
  OP_ATTEND, /* out = attention over the KV cache after storing this batch's keys and values, or within the batch's rows
              */
  OP_SELECT, /* out[i] = norm(in[batch.out[i]]), and of the tokens behind it side by side or as their mean: tokens →
                outputs */
  OP_SAMPLE, /* the tail: logits in → one token a row, by the row's sampling parameters */
};

/* A norm's weight is a vector: a factor for each column and, of NORM_LAYER, what is added to each: [2][cols]. */
enum norm_kind { NORM_NONE, NORM_RMS, NORM_LAYER };
enum act_kind {
  ACT_NONE,
  ACT_SILU,
  ACT_GELU_TANH,
  ACT_GELU,       /* x · Φ(x), by the error function */
  ACT_GELU_QUICK, /* x · sigmoid(1.702 x) */
  ACT_TANH,
};
enum rope_style { ROPE_NONE, ROPE_HALF, ROPE_PAIRS }; /* partner of i: i + dim/2, or its neighbour */

enum { OP_INPUTS = 2, OP_WEIGHTS = 4 };

/* Where the rows of an embedding are. */
enum embed_source {
  EMBED_TOKENS,    /* weight[0], by the token's id, a row for each of the vocabulary; or, as it is, the row of the
                      embedding pool that batch.embed names */
  EMBED_PATCHES,   /* batch.patches; no weight */
  EMBED_POSITIONS, /* weight[0], by batch.position[token][axis]; weight[1], if there is one, is added at position 0.
                      Without batch.position (texts) axis 0 is the index in the sequence, and 1 is 0 */
};

/* in[0] is added (it may be the same value as out), or −1; weight[2] norm. */
struct embed_args {
  float scale;
  uint8_t source; /* enum embed_source */
  uint8_t norm;   /* enum norm_kind */
  uint8_t axis;   /* of EMBED_POSITIONS: 0, or of an encoder of texts 1, where types of tokens are */
  uint8_t skip;   /* of EMBED_POSITIONS: rows of the table before that of place 0 */
  float eps;      /* of the norm */
};

/* What an output of a select is made from, of the row that the token batch.out[i] is in. */
enum select_pool {
  POOL_TOKEN, /* the token itself, and those behind it that are joined to it */
  POOL_FIRST, /* the row's first token, */
  POOL_MEAN,  /* or the mean of all of them: of an encoder of texts */
};

/* out may be m times as wide as in: then it takes the tokens batch.out[i] to batch.out[i] + m − 1 side by side, each
 * normed by itself. With `mean` it is as wide as in, and the mean of so many tokens that are normed so. weight[2] norm.
 */
struct select_args {
  uint8_t norm; /* enum norm_kind */
  uint8_t mean; /* tokens that an output is the mean of; 0: it is no mean */
  uint8_t pool; /* enum select_pool */
  uint8_t reserved;
  float eps;
};

/* weight[0] matrix [rows][cols of in], [1] bias [rows], [2] norm [cols], [3] post_norm [cols of the result], each twice
 * as long of a NORM_LAYER.
 * in[1] is the residual (may be the same value as out) or −1; with `multiply` the result is multiplied with it instead.
 * gated: weight[0] is interleaved; out = act(gate) × up has half its rows (less the padding).
 * Linears that are neither gated nor added to anything may fill a value together, one right after the other and from
 * left to right: each its columns [column, column + rows), which are all that its post norm is over. */
struct linear_args {
  uint8_t norm, post_norm; /* enum norm_kind */
  uint8_t act;             /* enum act_kind */
  uint8_t gated;
  uint8_t multiply; /* in[1] is a factor: the other half of a gated feed-forward whose halves are stored differently */
  uint8_t post_sum; /* 1: post_norm is of the sum with in[1], not of what is added to it */
  uint8_t reserved[2];
  float eps, post_eps; /* of the norms */
  float scale;         /* multiplies the product before in[1] does its part; 1 */
  float softcap;       /* c·tanh(x/c) on the result; 0: none */
  int32_t column;      /* of out, where the result starts */
  int32_t lora_site;   /* which pair of adapter matrices applies here; −1: none */
};

/* in[0] holds q (n_head × dim_k), k (n_kv_head × dim_k) and v (n_kv_head × dim_v) side by side.
 * weight[0], [1]: RMS norms of q and k over a head, before rope, or, with head_norms, of what the head's mean leaves,
 * by weights of each head's own: [heads][dim_k]; [2]: one sink logit a head. alibi: what a token sees n tokens before
 * itself scores n times the head's slope less. rope: dim/2 inverse frequencies in the plan's floats; angles are
 * computed in double, rotation in float. A token's place is its index in the sequence, or, where rope_axis is not all
 * 0, length + batch.position[token][axis] (of an encoder, whose length is 0, the same): the first rope_axis[0]
 * frequencies turn by axis 0, the next rope_axis[1] by axis 1, the last by axis 2. Without batch.position all three are
 * the index. Without a group nothing is kept: each token sees all tokens of its row of the batch, which are all that
 * there are, or, if `local`, those of batch.span alone, or, if `causal`, none behind itself. */
struct attend_args {
  int32_t n_head, n_kv_head, dim_k, dim_v;
  int32_t group, layer; /* KV group, and layer within it; −1 and 0: none */
  int32_t rope_style;   /* enum rope_style */
  int32_t rope_dim;     /* leading dimensions of a head that are rotated, even */
  uint32_t rope_freq;   /* index of the first inverse frequency in floats */
  float rope_scale;     /* multiplies cos and sin; 1 but for some long-context scalings */
  float eps;            /* of the q and k norms */
  float scale;          /* multiplies q·k */
  float softcap;        /* c·tanh(x/c) on scaled scores; 0: none */
  int32_t rope_axis[3]; /* frequencies of each axis, rope_dim / 2 together; all 0: there is one axis */
  int32_t local;        /* 1: a token of an encoder sees only its span */
  int32_t near;         /* a token of an encoder of texts sees so many before it and behind it; 0: all */
  int32_t causal;       /* 1: a token of an encoder of texts sees none behind it */
  int32_t head_norms;   /* 1: weight[0] and [1] are such norms */
  int32_t alibi;        /* 1: there are slopes, n_head of them in the plan's floats, */
  uint32_t alibi_slope; /* the first at this index */
};

/* Does a token's rotation have several axes? */
static inline bool attend_has_axes(const struct attend_args *a) {
  return (a->rope_axis[0] | a->rope_axis[1] | a->rope_axis[2]) != 0;
}

union op_args {
  struct embed_args embed;
  struct linear_args linear;
  struct attend_args attend;
  struct select_args select;
};

struct op {
  int32_t kind;  /* enum op_kind */
  int32_t layer; /* of the network, for messages; −1: none */
  int32_t in[OP_INPUTS], out;
  int32_t weight[OP_WEIGHTS];
  union op_args args;
};

/* "linear", "attend", …; NULL for a number that is no kind. */
const char *op_kind_name(int kind);

#endif
