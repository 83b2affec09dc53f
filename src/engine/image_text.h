/* What stands for a picture in a prompt: the text that transformers' processors put in place of an image's token,
 * before it is tokenized. Each mark in it is one token of a row of the encoder, in the order of the rows. Any thread.
 */
#ifndef SPATE_ENGINE_IMAGE_TEXT_H
#define SPATE_ENGINE_IMAGE_TEXT_H

#include "base/buffer.h"
#include "plan/plan.h"

struct image_text_shape {
  int32_t rows, columns; /* of tiles or parts beside the whole; 0: there are none */
  int32_t lines, across; /* rows of the encoder: of one tile, or of the only one */
  int32_t width, height; /* of the picture before it was resized (TEXT_TILES) */
};

/* Appends the text; mark: that of the token plan->vision.mark. */
void image_text_append(const struct plan *plan, struct slice mark, const struct image_text_shape *shape,
                       struct buffer *out);

#endif
