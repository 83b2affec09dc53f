/* Pictures in memory: their bounds, and the eight ways to hold one. */
#include "image/image.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

bool image_size_check(uint64_t width, uint64_t height, struct error *error) {
  if (width == 0 || height == 0)
    return error_set(error, ERROR_INVALID, "The image is %llu × %llu pixels: it is empty, send another.",
                     (unsigned long long)width, (unsigned long long)height);
  if (width > LIMIT_IMAGE_SIDE || height > LIMIT_IMAGE_SIDE)
    return error_set(error, ERROR_LIMIT, "The image is %llu × %llu pixels, but a side may have %d: scale it down.",
                     (unsigned long long)width, (unsigned long long)height, LIMIT_IMAGE_SIDE);
  if (width * height > LIMIT_IMAGE_PIXELS)
    return error_set(error, ERROR_LIMIT, "The image is %llu × %llu, %llu pixels, but it may have %d: scale it down.",
                     (unsigned long long)width, (unsigned long long)height, (unsigned long long)(width * height),
                     LIMIT_IMAGE_PIXELS);
  return true;
}

/* Large ones wish for large pages: each page of 4 KiB costs a fault, all of them a quarter of what decoding does. */
static uint8_t *pixels_allocate(size_t bytes) {
  enum { LARGE_PAGE = 2 << 20, LARGE = 4 << 20 };
  if (bytes < LARGE) return malloc(bytes);
  uint8_t *pixels = aligned_alloc(LARGE_PAGE, (bytes + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE);
  if (pixels) madvise(pixels, bytes, MADV_HUGEPAGE);
  return pixels;
}

bool image_init(struct image *image, int width, int height, struct error *error) {
  *image = (struct image){width, height, pixels_allocate(image_bytes(width, height))};
  if (image->pixels) return true;
  return error_set(error, ERROR_MEMORY, "There is no memory for an image of %d × %d pixels: send a smaller one.", width,
                   height);
}

void image_release(struct image *image) {
  free(image->pixels);
  *image = (struct image){0};
}

/* Where pixel (0, 0) of the picture as stored goes, and by how many pixels the next of its row and of its column. */
struct turn {
  ptrdiff_t start, step_x, step_y;
};

/* The picture as shown has the width and the height w, h: those of the stored one, or each other's. */
static struct turn turn_find(int orientation, ptrdiff_t w, ptrdiff_t h) {
  switch (orientation) {
  case 2: return (struct turn){w - 1, -1, w};
  case 3: return (struct turn){w * h - 1, -1, -w};
  case 4: return (struct turn){w * (h - 1), 1, -w};
  case 5: return (struct turn){0, w, 1};
  case 6: return (struct turn){w - 1, w, -1};
  case 7: return (struct turn){w * h - 1, -w, -1};
  default: return (struct turn){w * (h - 1), -w, 1};
  }
}

bool image_orient(struct image *image, int orientation, struct error *error) {
  if (orientation < 2 || orientation > 8) return true;
  bool sideways = orientation >= 5;
  struct image turned;
  if (!image_init(&turned, sideways ? image->height : image->width, sideways ? image->width : image->height, error))
    return false;
  struct turn turn = turn_find(orientation, turned.width, turned.height);
  const uint8_t *from = image->pixels;
  for (int y = 0; y < image->height; y++) {
    uint8_t *to = turned.pixels + 3 * (turn.start + y * turn.step_y);
    for (int x = 0; x < image->width; x++, from += 3, to += 3 * turn.step_x) memcpy(to, from, 3);
  }
  image_release(image);
  *image = turned;
  return true;
}
