/* How well engines predict a text: the loss of one, and how far it is from another on the same tokens.
 *
 * The convention is that of lm-evaluation-harness (loglikelihood_rolling): the text is tokenized whole, without the
 * tokens that the tokenizer puts around a prompt; BOS, or EOS where there is none, stands before it. Windows of
 * `window` tokens do not overlap and each token is predicted once: the first of a window from the last of the window
 * before, alone. Only the last window, when it is not full, reaches back and sees as many tokens as the others do.
 * Perplexity is e^(mean loss of a token). */
#ifndef SPATE_LIB_EVAL_TEXT_H
#define SPATE_LIB_EVAL_TEXT_H

#include "build/build_progress.h"
#include "engine/loaded_engine.h"
#include "text/tokenizer.h"

struct text_eval {
  const struct loaded_engine *engine;  /* its runtime is parked, or it has none */
  const struct loaded_engine *against; /* of the same vocabulary; NULL: none */
  const struct row *adapters;          /* that the first engine uses; NULL: none */
  const struct tokenizer *tokenizer;
  struct slice text;
  int window;     /* tokens; 0: 1024 or what the engines allow */
  int max_tokens; /* of the text, from its start; 0: all */
  struct build_progress *progress;
};

struct text_side {
  double loss;    /* mean, nats */
  double seconds; /* of its steps, logits included */
};

struct text_loss {
  int window;
  size_t tokens; /* predicted */
  size_t bytes;  /* of the text that they stand for */
  struct text_side side[2];
  double mean_kl, p999_kl, most_kl; /* nats, of KL(against ‖ engine) over the tokens; p999: the 99.9th percentile */
  double same_top;                  /* share of tokens for which both find the same one likeliest */
};

bool text_eval_run(const struct text_eval *eval, struct text_loss *loss, struct error *error);

/* Refuses engines whose tokens are not the same. */
bool vocabularies_match(const struct loaded_engine *engine, const struct tokenizer *tokenizer,
                        const struct loaded_engine *against, const struct tokenizer *other, struct error *error);

#endif
