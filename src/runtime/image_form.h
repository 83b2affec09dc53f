/* What a model makes of pictures: how they are preprocessed, and which tokens stand for one in a prompt, as the
 * processors of transformers write them. Immutable once made: any thread. */
#ifndef SPATE_RUNTIME_IMAGE_FORM_H
#define SPATE_RUNTIME_IMAGE_FORM_H

#include "image/preprocess.h"
#include "plan/plan.h"
#include "text/tokenizer.h"

struct image_form {
  struct preprocess_config config;
  const struct plan *vision;         /* borrowed */
  const struct tokenizer *tokenizer; /* borrowed */
  int32_t mark;                      /* the token that stands for a row */
  struct slice mark_text;            /* as it is written; the tokenizer's */
};

/* What a picture of some size becomes. */
struct image_shape {
  struct preprocess_plan plan;
  int32_t tile_rows, tile_tokens; /* of the embedding pool, and of the encoder; of each tile */
};

/* preprocessor: the text of the model's preprocessor_config.json. */
bool image_form_init(struct image_form *form, struct slice preprocessor, const struct plan *vision,
                     const struct tokenizer *tokenizer, struct error *error);

bool image_form_measure(const struct image_form *form, int width, int height, struct image_shape *shape,
                        struct error *error);

/* Appends the tokens that stand in a prompt for a picture of this shape: a mark for each row, in the order of its
 * tiles, and what the processor writes around them. */
bool image_form_expand(const struct image_form *form, const struct image_shape *shape, struct token_list *out,
                       struct error *error);

/* Rewrites a prompt that people write: <image> is this model's mark; where there is none, n marks go in front. */
bool image_form_mark(const struct image_form *form, struct slice prompt, int n, struct buffer *out,
                     struct error *error);

#endif
