/* One step's work as plain data, and what comes back. Ragged: prefill chunks, decode tokens and (later) speculated
 * trees of many sequences side by side. The caller owns every array and leaves them alone until the step is collected.
 */
#ifndef SPATE_PLAN_BATCH_H
#define SPATE_PLAN_BATCH_H

#include "base/limits.h"
#include "plan/plan.h"

enum { ROW_LORAS = 4, TOP_LOGPROBS = LIMIT_TOP_LOGPROBS };

struct token_bias {
  int32_t token;
  float bias;
};

/* What a request asks of its logits, the same at each of its steps: ids and counts alone, so that a device can copy it
 * when the sequence takes its seat. Ids are in [0, vocab): whoever took the request has checked them. */
struct logit_rules {
  float repetition_penalty;                  /* of tokens in the prompt or generated; 0 and 1: off */
  float frequency_penalty, presence_penalty; /* of tokens generated: for each time, for the first; 0: off */
  int32_t min_tokens;                        /* no end is drawn before so many tokens are */
  int32_t n_bias, n_allowed, n_end, n_bad;
  const struct token_bias *bias; /* [n_bias] added to logits */
  const int32_t *allowed;        /* [n_allowed] the only tokens drawn; none: all are */
  const int32_t *end;            /* [n_end] tokens that end the sequence */
  const int32_t *bad;            /* [n_bad] runs {count, ids…}: the last id is not drawn after the others */
};

enum draw_kind {
  DRAW_TOKEN, /* one token, by the fields below; log-probabilities are of the raw logits */
  DRAW_SCORE, /* nothing: the log-probability of `target`, and of the likeliest, in the raw logits */
  DRAW_BEAM,  /* nothing: the likeliest under the rules, and their log-probabilities there, for a beam search */
};

/* Draws depend on (seed, index) and the row's own logits and history: not on the batch, the seat or the past of a
 * generator. */
struct sampling {
  uint8_t draw;      /* enum draw_kind; other than DRAW_TOKEN needs want_logprob */
  int32_t target;    /* DRAW_SCORE: a token's id */
  float temperature; /* 0: greedy */
  float top_p;       /* 1: off */
  float min_p;       /* 0: off */
  float typical_p;   /* 0 and 1: off */
  int32_t top_k;     /* 0: off */
  int32_t n_top;     /* likeliest tokens wanted beside the drawn one, at most TOP_LOGPROBS; needs want_logprob */
  bool want_logprob; /* otherwise the result's logprob is 0: it costs a pass over the vocabulary */
  uint64_t seed;
  uint64_t index;                  /* tokens this sequence has generated before */
  const struct logit_rules *rules; /* NULL: none */
  /* The sequence's tokens that are known, its prompt first: rules read them. A device that runs ahead adds those that
   * it has drawn since, n_prompt + index − n_history of them. */
  const int32_t *history; /* [n_history] */
  int32_t n_history, n_prompt;
};

/* A run of tokens of one sequence. */
struct row {
  int32_t seat;         /* the sequence's place on the device, [0, limits.seats) */
  int32_t first, count; /* its tokens in the batch */
  int32_t length;       /* tokens of the seat already in the cache; −1: as many as the device knows of (run-ahead) */
  int32_t lead;         /* of an encoder of texts: its first tokens, fewer than count, that POOL_FIRST and POOL_MEAN
                           leave out */
  int32_t n_lora;
  struct {
    int32_t slot;
    float scale;
  } lora[ROW_LORAS];
  int32_t n_block[PLAN_GROUPS];
  const uint32_t *block[PLAN_GROUPS]; /* block table of each KV group: block i holds tokens [i·size, (i+1)·size) */
};

/* Block copies done before the step (copy-on-write), one after the other: one may copy what an earlier one has
 * written, or write what an earlier one has copied. */
struct kv_copy {
  int32_t group;
  uint32_t from, to;
};

struct batch {
  int32_t n_row, n_token, n_out, n_copy;
  const struct row *row;
  const int32_t *token; /* [n_token] ids; −1: the seat's last sampled token, which only the device knows yet; of a plan
                           without a vocabulary NULL */
  const int32_t *embed; /* [n_token] row of the embedding pool, −1: use token; NULL: tokens only. An id stands for the
                           row in histories all the same */
  const int32_t (*position)[3]; /* [n_token] relative to the row's length, of each axis of a rotation that has several;
                                   NULL: 0, 1, 2, …; of an encoder of images: row of its table of positions, line,
                                   column; of texts: row of that table, type of the token; NULL: index, 0 */
  const float *patches;         /* [n_token][cols of the plan's patches], of an encoder of images */
  const int32_t (*span)[2];     /* [n_token] first and last token of its row that each sees in local attentions, of an
                                   encoder that has some; otherwise NULL */
  const int32_t *see; /* [n_token] last token of the row that each sees, relative to length; NULL: causal. An encoder's
                         tokens see their whole row: NULL */
  const int16_t *parent;           /* [n_token] parent token in a speculated tree; NULL: a chain */
  const int32_t *out;              /* [n_out] tokens whose logits are wanted, ascending; of an encoder in any order */
  const struct sampling *sampling; /* [n_out]; of a plan that does not sample it may be NULL */
  const struct kv_copy *copy;      /* [n_copy] */
  bool want_logits;                /* results carry the logits (tests, evaluation) */
};

/* For each output, 1 bit a vocabulary entry that may be chosen (a grammar's); NULL entries are unrestricted. */
struct masks {
  const uint32_t *const *mask; /* [n_out] */
};

struct token_logprob {
  int32_t token;
  float logprob; /* natural log of its probability before rules, temperature and filters; of a DRAW_BEAM under rules */
};

/* Owned by the program; valid until its next submit. */
struct result {
  int32_t n_out;
  const int32_t *token; /* [n_out] drawn; the target of a DRAW_SCORE, the likeliest of a DRAW_BEAM; −1: the row's logits
                           are not finite, and there is nothing else of it */
  const float *logprob;            /* [n_out] as in token_logprob; 0 where none was wanted */
  const struct token_logprob *top; /* [n_out][TOP_LOGPROBS] the likeliest first, sampling[i].n_top of each row */
  const float *logits; /* [n_out][vocab], or NULL unless wanted; of a plan that does not sample: its result, and the
                          other arrays hold nothing */
};

#endif
