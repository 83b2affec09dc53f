/* What the one launch of a mixture (mixture_few.cu) has in shared memory, and where its words lie in a set (struct
 * cuda_between): for the kernel, and for those who plan it without a device. */
#ifndef SPATE_BACKEND_CUDA_MIXTURE_LAYOUT_H
#define SPATE_BACKEND_CUDA_MIXTURE_LAYOUT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  MIXTURE_TOKENS = 16,                /* at most */
  MIXTURE_CHOSEN = 16,                /* experts of a token, */
  MIXTURE_PAIRS = 128,                /* of all tokens, */
  MIXTURE_EXPERTS = 512,              /* and of a layer */
  MIXTURE_WARPS = 8,                  /* that multiply */
  MIXTURE_RUN = MIXTURE_WARPS * 2048, /* bytes of a stage of the ring: a piece for each warp */
  MIXTURE_STAGES = 4,                 /* of the ring, at least */
  MIXTURE_STAGES_MOST = 12,
  MIXTURE_BESIDE = 8,          /* of the ring beside strips of the linear after */
  MIXTURE_SHARED = 226 * 1024, /* bytes of a block */
};

/* What the tokens have chosen. */
struct mixture_chosen {
  uint32_t mask[MIXTURE_EXPERTS]; /* of an expert: the tokens that have chosen it */
  uint16_t place[MIXTURE_EXPERTS];
  uint16_t active[MIXTURE_PAIRS];              /* [n] those that somebody has, ascending */
  int16_t pair[MIXTURE_PAIRS][MIXTURE_TOKENS]; /* of the active: a token's pair, token × k + choice; −1: none */
  uint16_t id[MIXTURE_TOKENS][MIXTURE_CHOSEN]; /* of a token, best first */
  float weight[MIXTURE_TOKENS][MIXTURE_CHOSEN];
  float scale[MIXTURE_TOKENS]; /* of its norm */
  float after[MIXTURE_TOKENS]; /* of the norm of the linear after */
  float part[MIXTURE_WARPS][2][MIXTURE_TOKENS];
  int n;
};

/* Units of 16 bytes of a set: logits from 0 on, then results of the linear before, those of the first linear, and what
 * the linear after takes: tokens, and sums of squares of 16 columns each. */
struct mixture_words {
  uint32_t inputs, left, tokens, squares; /* where they begin */
  uint32_t used;
};

/* before_rows: of the linear before, after_cols: of the one after; 0: none. Grows with each of the numbers. */
static inline struct mixture_words mixture_words(int n_token, int n_expert, int k, int before_rows, int inner,
                                                 int after_cols) {
  struct mixture_words words;
  words.inputs = (uint32_t)((n_token * n_expert + 3) / 4);
  words.left = words.inputs + (uint32_t)((n_token * before_rows + 3) / 4);
  words.tokens = words.left + (uint32_t)(n_token * k * (inner / 8));
  words.squares = words.tokens + (uint32_t)(n_token * (after_cols / 8));
  words.used = words.squares + (uint32_t)(n_token * (after_cols / 64));
  return words;
}

/* Places for tokens: a power of 2. */
static inline int mixture_slots(int n_token) {
  int slots = 1;
  while (slots < n_token) slots *= 2;
  return slots;
}

/* Stages of a ring that shared memory has room for, with so many tokens of so many columns. */
int cuda_mixture_stages(int n_token, int cols);

/* Strips of the linear after, of so many columns, that have stages of their own among so many. */
int cuda_mixture_held(int stages, int cols);

#ifdef __cplusplus
}
#endif

#endif
