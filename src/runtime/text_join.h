/* An encoder's tokens of a text, or of two: those of the texts, cut where they are too many, in their frame. */
#ifndef SPATE_RUNTIME_TEXT_JOIN_H
#define SPATE_RUNTIME_TEXT_JOIN_H

#include "engine/engine_config.h"
#include "text/tokenizer.h"

struct text_join {
  const struct tokenizer *tokenizer;
  const struct text_frame *frame;
  int32_t max_tokens; /* of it all */
  int32_t most[2];    /* of each of two texts by itself: those behind it do not count; 0: all do */
  bool cut;           /* longer ones are, the longer of two first; otherwise they are ERROR_LIMIT */
};

/* *n_first: the tokens up to the second text's first. `second` without data: there is none, and *n_first is all. */
bool text_join_encode(const struct text_join *join, struct slice first, struct slice second, struct token_list *out,
                      int32_t *n_first, struct error *error);

/* How many tokens of a joined text are its prompt's: as many as that has in the frame by itself, less a special one
 * that it ends with, up to `most`, fewer than the text has. */
bool text_join_lead(const struct text_join *join, struct slice prompt, int32_t most, int32_t *count,
                    struct error *error);

#endif
