/* A picture in memory: rows from the top, three bytes (red, green, blue) a pixel, no padding. */
#ifndef SPATE_IMAGE_IMAGE_H
#define SPATE_IMAGE_IMAGE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image {
  int width, height;
  uint8_t *pixels; /* [height × width × 3], owned */
};

static inline size_t image_bytes(int width, int height) { return (size_t)width * (size_t)height * 3; }

/* Refuses a picture whose header tells of more than limits.h allows, before any memory is taken for it. */
bool image_size_check(uint64_t width, uint64_t height, struct error *error);

/* Pixels that hold nothing yet. The size has been checked. */
bool image_init(struct image *image, int width, int height, struct error *error);
void image_release(struct image *image);

/* Turns and mirrors as EXIF's orientation (1 to 8) says that it was held; any other number leaves it as it is. */
bool image_orient(struct image *image, int orientation, struct error *error);

#endif
