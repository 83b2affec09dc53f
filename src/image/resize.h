/* Pictures of another size, to the bit as Pillow's Image.resize makes them: filters that widen as the picture shrinks,
 * 22 bits of precision, first along rows, then along columns, rounded to bytes in between. */
#ifndef SPATE_IMAGE_RESIZE_H
#define SPATE_IMAGE_RESIZE_H

#include "image/image.h"

/* Numbered as Pillow does, and with it preprocessor_config.json. */
enum resample {
  RESAMPLE_NEAREST,
  RESAMPLE_LANCZOS,
  RESAMPLE_BILINEAR,
  RESAMPLE_BICUBIC,
  RESAMPLE_BOX,
  RESAMPLE_HAMMING,
  RESAMPLE_COUNT
};

/* A rectangle of somebody's picture. */
struct image_view {
  const uint8_t *pixels;
  size_t stride; /* bytes from row to row */
  int width, height;
};

static inline struct image_view image_view(const struct image *image) {
  return (struct image_view){image->pixels, image_bytes(image->width, 1), image->width, image->height};
}

static inline struct image_view image_part(struct image_view from, int x, int y, int width, int height) {
  return (struct image_view){from.pixels + (size_t)y * from.stride + (size_t)x * 3, from.stride, width, height};
}

/* `to` is this function's to fill: its owner releases it. Sizes are at least 1 and within image_size_check. */
bool image_resize(struct image_view from, enum resample filter, int width, int height, struct image *to,
                  struct error *error);

#endif
