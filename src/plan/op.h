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
  OP_ROUTE,  /* out = for each token, the experts that its logits in[0] choose, and their weights */
  OP_SELECT, /* out[i] = norm(in[batch.out[i]]), and of the tokens behind it side by side or as their mean: tokens →
                outputs */
  OP_SAMPLE, /* the tail: logits in → one token a row, by the row's sampling parameters */
  OP_KINDS,
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
  ACT_RELU,
  N_ACT
};
enum rope_style { ROPE_NONE, ROPE_HALF, ROPE_PAIRS }; /* partner of i: i + dim/2, or its neighbour */

enum { OP_INPUTS = 3, OP_WEIGHTS = 4 };

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
  POOL_FIRST, /* the row's first token behind its lead, */
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

/* Which of a weight's n_expert matrices a linear multiplies with. A route (in[2]) names k of them for each token; the
 * j-th of the token's has the id e(j) and the weight w(j).
 *   NONE    the weight is one matrix
 *   SPREAD  out has k times the columns of a result: those from j × columns on are the result by e(j)
 *   GATHER  in has k times the matrix's cols: out = residual + scale × Σ w(j) × (W[e(j)] · in[j] + bias[e(j)]), summed
 *           in the order of j
 *   EACH    no route: in has n_expert times the cols, out so many results: each matrix has a part of both
 * Biases are vectors of as many experts. The op that makes the choice is one of the 64 before. */
enum expert_mode { EXPERTS_NONE, EXPERTS_SPREAD, EXPERTS_GATHER, EXPERTS_EACH, EXPERT_MODES };

/* weight[0] matrix [rows][cols of in], [1] bias [rows], [2] norm [cols], [3] post_norm [cols of the result], each twice
 * as long of a NORM_LAYER.
 * in[1] is the residual (may be the same value as out) or −1; with `multiply` the result is multiplied with it instead.
 * gated: weight[0] is interleaved; out = act(gate) × (up + up_add) has half its rows (less the padding), where, with
 * a limit, gate counts as at most that, and up as within ± it.
 * Linears that are neither gated nor added to anything may fill a value together, one right after the other and from
 * left to right: each its columns [column, column + rows), which are all that its post norm is over. */
struct linear_args {
  uint8_t norm, post_norm; /* enum norm_kind */
  uint8_t act;             /* enum act_kind */
  uint8_t gated;
  uint8_t multiply; /* in[1] is a factor: the other half of a gated feed-forward whose halves are stored differently */
  uint8_t post_sum; /* 1: post_norm is of the sum with in[1], not of what is added to it */
  uint8_t expert_mode; /* enum expert_mode */
  uint8_t reserved;
  float eps, post_eps; /* of the norms */
  float scale;         /* multiplies the product before in[1] does its part; 1 */
  float softcap;       /* c·tanh(x/c) on the result; 0: none */
  float limit;         /* of a gated one; 0: none */
  float up_add;        /* of a gated one */
  int32_t column;      /* of out, where the result starts */
  int32_t lora_site;   /* which pair of adapter matrices applies here; −1: none */
};

static inline bool linear_is_routed(const struct linear_args *a) {
  return a->expert_mode == EXPERTS_SPREAD || a->expert_mode == EXPERTS_GATHER;
}

/* What a route's logits become before they are weights. */
enum route_score {
  ROUTE_SOFTMAX, /* over all experts */
  ROUTE_SIGMOID, /* of each by itself */
  ROUTE_CHOSEN,  /* softmax over those that are chosen */
  ROUTE_NEAR,    /* of each choice in turn, softmax over it and those left whose logits x are near its own, b:
                    b − x ≤ near × max(|x|, b); without bias and groups */
  ROUTE_SCORES,
};

/* in[0] has n_expert logits, out 2k columns: k different ids, as floats, the best first, then their weights. The choice
 * is by the logits or, where there is a bias (weight[0], a vector of n_expert) or groups that score by two, by the
 * scores plus the bias; the weights are the scores. Of equals the lower id comes first, and what is no number comes
 * last. n_group: the experts are so many runs of equal length, and the choice is among those of the top_group best,
 * which score by their best expert or, with group_pair, by the sum of their best two. normalize: weights are divided by
 * their sum (plus ROUTE_LEAST). scale multiplies them at last. */
struct route_args {
  int32_t n_expert, k;
  int32_t n_group, top_group; /* 0 and 0: there are no groups */
  uint8_t score;              /* enum route_score */
  uint8_t normalize, group_pair, reserved;
  float scale, near;
};

#define ROUTE_LEAST 1e-20f

/* in[0] holds q (n_head × dim_k), k (n_kv_head × dim_k) and v (n_kv_head × dim_v) side by side. With `value_in_key`
 * (latent attention) a value is the last dim_v numbers of its key, as the cache keeps them, and in[0] holds the first
 * dim_k − dim_v numbers of all heads of q, then the last dim_v of all heads, then k.
 * weight[0], [1]: RMS norms of q and k over a head, before rope, or, with head_norms, of what the head's mean leaves,
 * by weights of each head's own: [heads][dim_k]; [2]: one sink logit a head. alibi: what scores gain by distance. rope:
 * dim/2 inverse frequencies in the plan's floats; angles are computed in double, rotation in float. A token's place is
 * its index in the sequence, or, where rope_axis is not all 0, length + batch.position[token][axis] (of an encoder,
 * whose length is 0, the same): the first rope_axis[0] frequencies turn by axis 0, the next rope_axis[1] by axis 1, the
 * last by axis 2. Without batch.position all three are the index. Without a group nothing is kept: each token sees all
 * tokens of its row of the batch, which are all that there are, or, if `local`, those of batch.span alone, or, if
 * `causal`, none behind itself. */
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
  int32_t alibi;        /* enum attend_lean */
  uint32_t alibi_slope; /* index of the first of its numbers in the plan's floats */
  float clip; /* numbers of in[0] count as within ± it, before anything else; 0: as they are. With a group and
                 without value_in_key */
  int32_t value_in_key; /* 1: that; dim_k − dim_v is a multiple of VALUE_UNIT, and there is a group */
  float grow; /* scores of a token at index p of its row are multiplied by 1 + grow × ln(1 + ⌊p / grow_from⌋); 0:
                 by 1. With a group and without value_in_key */
  int32_t grow_from;
};

enum { VALUE_UNIT = 4 };

/* What a score gains by how far apart two tokens are. */
enum attend_lean {
  LEAN_NONE,
  LEAN_SLOPES,    /* n_head slopes: less by so much for each token from the last that is seen */
  LEAN_DISTANCES, /* of an encoder of texts: lean_numbers(max_position) numbers a head, the one at max_position − 1 +
                     key − query for each pair of places, and at last room that is not read for any */
};

enum { LEAN_ROOM = 64 };

static inline uint32_t lean_numbers(int32_t max_position) { return 2 * (uint32_t)max_position - 1 + LEAN_ROOM; }

/* Columns of in[0]. */
static inline int64_t attend_cols(const struct attend_args *a) {
  int64_t kv = a->value_in_key ? a->dim_k : (int64_t)a->dim_k + a->dim_v;
  return (int64_t)a->n_head * a->dim_k + a->n_kv_head * kv;
}

/* Does a token's rotation have several axes? */
static inline bool attend_has_axes(const struct attend_args *a) {
  return (a->rope_axis[0] | a->rope_axis[1] | a->rope_axis[2]) != 0;
}

union op_args {
  struct embed_args embed;
  struct linear_args linear;
  struct attend_args attend;
  struct select_args select;
  struct route_args route;
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
