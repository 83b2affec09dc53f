/* One step's work as plain data, and what comes back. Ragged: prefill chunks, decode tokens and (later) speculated
 * trees of many sequences side by side. The caller owns every array and leaves them alone until the step is collected.
 */
#ifndef SPATE_PLAN_BATCH_H
#define SPATE_PLAN_BATCH_H

#include "plan/plan.h"

enum { ROW_LORAS = 4 };

/* Draws depend on (seed, index) alone: not on the batch, the seat or the past of a generator. */
struct sampling {
  float temperature; /* 0: greedy */
  float top_p;       /* 1: off */
  int32_t top_k;     /* 0: off */
  uint64_t seed;
  uint64_t index; /* tokens this sequence has generated before */
};

/* A run of tokens of one sequence. */
struct row {
  int32_t seat;         /* the sequence's place on the device, [0, limits.seats) */
  int32_t first, count; /* its tokens in the batch */
  int32_t length;       /* tokens of the seat already in the cache; −1: as many as the device knows of (run-ahead) */
  int32_t n_lora;
  struct {
    int32_t slot;
    float scale;
  } lora[ROW_LORAS];
  int32_t n_block[PLAN_GROUPS];
  const uint32_t *block[PLAN_GROUPS]; /* block table of each KV group: block i holds tokens [i·size, (i+1)·size) */
};

/* Block copies done before the step (copy-on-write). */
struct kv_copy {
  int32_t group;
  uint32_t from, to;
};

struct batch {
  int32_t n_row, n_token, n_out, n_copy;
  const struct row *row;
  const int32_t *token; /* [n_token] ids; −1: the seat's last sampled token, which only the device knows yet */
  const int32_t *embed; /* [n_token] row of the embedding pool, −1: use token; NULL: tokens only */
  const int32_t (*position)[3]; /* [n_token] relative to the row's length, three for M-RoPE; NULL: 0, 1, 2, … */
  const int32_t *see;           /* [n_token] last token of the row that each sees, relative to length; NULL: causal */
  const int16_t *parent;        /* [n_token] parent token in a speculated tree; NULL: a chain */
  const int32_t *out;           /* [n_out] tokens whose logits are wanted, ascending */
  const struct sampling *sampling; /* [n_out] */
  const struct kv_copy *copy;      /* [n_copy] */
  bool want_logits;                /* results carry the logits (tests, evaluation) */
};

/* For each output, 1 bit a vocabulary entry that may be chosen (a grammar's); NULL entries are unrestricted. */
struct masks {
  const uint32_t *const *mask; /* [n_out] */
};

/* Owned by the program; valid until its next collect. */
struct result {
  int32_t n_out;
  const int32_t *token; /* [n_out] */
  const float *logprob; /* [n_out] natural log of the token's probability before temperature and filters */
  const float *logits;  /* [n_out][vocab], or NULL unless wanted */
};

#endif
