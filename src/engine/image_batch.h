/* A step's batch of images for a vision plan: pixels are cut into patches in the order that the plan's outputs join
 * them in, with their positions, the learned tokens before them and the outputs that the decoder takes. A row of the
 * batch is an image, and its outputs are in the order in which they stand in a prompt: learned tokens that are kept,
 * then the squares of merge × merge patches line by line. Owned by one thread; memory is taken once. */
#ifndef SPATE_ENGINE_IMAGE_BATCH_H
#define SPATE_ENGINE_IMAGE_BATCH_H

#include "plan/backend.h"

/* Preprocessed: as the network was trained to see it. */
struct image_pixels {
  int32_t width, height; /* multiples of the plan's patch × merge */
  const float *number;   /* [channels][height][width] */
};

struct image_batch {
  const struct plan *plan;
  struct limits limits;
  struct batch batch; /* what a step takes; its arrays are the ones below */
  struct row *row;
  int32_t (*position)[3];
  int32_t (*span)[2]; /* of plans that have local attentions */
  float *patches;
  int32_t *out;
};

/* Can images of this size be seen? The sentence says which sizes can. */
bool image_batch_size_check(const struct plan *plan, int32_t width, int32_t height, struct error *error);

/* Tokens of the encoder that an image of a checked size takes, and rows that it becomes. */
int32_t image_tokens(const struct plan *plan, int32_t width, int32_t height);
int32_t image_rows(const struct plan *plan, int32_t width, int32_t height);

/* An empty batch for a program of these limits. */
bool image_batch_init(struct image_batch *images, const struct plan *plan, const struct limits *limits,
                      struct error *error);
void image_batch_release(struct image_batch *images);
void image_batch_clear(struct image_batch *images);

/* Copies the image into the batch, whose outputs then end with its image_rows. False: it does not fit beside those that
 * are there (ERROR_LIMIT), or its size is none for this plan. */
bool image_batch_add(struct image_batch *images, const struct image_pixels *image, struct error *error);

/* What a program of this plan is to be compiled for, so that a step takes `images` of the largest size: keys and values
 * in the type of `kv`. */
struct limits image_limits(const struct plan *plan, int32_t images, uint8_t kv);

#endif
