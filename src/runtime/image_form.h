/* What a model makes of pictures: how they are preprocessed, and how many rows and tokens each becomes, as the
 * processors of transformers have it. Immutable once made: any thread. */
#ifndef SPATE_RUNTIME_IMAGE_FORM_H
#define SPATE_RUNTIME_IMAGE_FORM_H

#include "engine/image_text.h"
#include "image/preprocess.h"
#include "plan/plan.h"
#include "text/tokenizer.h"

struct image_form {
  struct preprocess_config config;
  const struct plan *vision;         /* borrowed */
  const struct tokenizer *tokenizer; /* borrowed */
  int32_t mark;                      /* the token that stands for a row */
  struct slice mark_text;            /* as it is written; the tokenizer's */
  struct slice place_text;           /* what a prompt has where a picture is to stand */
  struct slice before, behind;       /* what chat templates write around it; empty: nothing */
};

/* What a picture of some size becomes. */
struct image_shape {
  struct preprocess_plan plan;
  int32_t tile_rows, tile_tokens; /* of the embedding pool, and of the encoder; of each tile */
  struct image_text_shape text;   /* what is written for it */
  int32_t marks;                  /* tokens of a prompt that stand for rows */
};

/* preprocessor: the text of the model's preprocessor_config.json. */
bool image_form_init(struct image_form *form, struct slice preprocessor, const struct plan *vision,
                     const struct tokenizer *tokenizer, struct error *error);

bool image_form_measure(const struct image_form *form, int width, int height, struct image_shape *shape,
                        struct error *error);

#endif
