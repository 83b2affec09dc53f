/* The tokens that a tokenizer puts around a text, and around and between two, as tokenizer.json's post_processor says:
 * an encoder's texts are tokenized apart from them, so that a long one can be cut. */
#ifndef SPATE_MODEL_ENCODER_FRAME_H
#define SPATE_MODEL_ENCODER_FRAME_H

#include "model/checkpoint.h"

enum { ENCODER_FRAME_IDS = 4 };

/* −1 behind the last of each. */
struct encoder_frame {
  int32_t before[ENCODER_FRAME_IDS], middle[ENCODER_FRAME_IDS], after[ENCODER_FRAME_IDS];
  int32_t second_type; /* of the tokens from the second text on */
};

bool encoder_frame_read(const struct checkpoint *checkpoint, struct encoder_frame *one, struct encoder_frame *two,
                        struct error *error);

/* Of a classifier that looks at the last token, and no token behind itself: transformers' looks at the last that is no
 * padding, so that padding which a tokenizer ends texts with is left out. */
bool encoder_frame_unpad(const struct checkpoint *checkpoint, struct encoder_frame *one, struct encoder_frame *two,
                         struct error *error);

#endif
