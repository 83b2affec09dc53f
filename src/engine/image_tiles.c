/* Bars are found as transformers finds them, in its order of operations: the last bit of a quotient decides. */
#include "engine/image_tiles.h"

#include <math.h>

/* What is left of the tiles' lines and columns together. */
struct region {
  int32_t top, left, bottom, right;
};

/* ⌊round(length × scale to 7 decimals)⌋: how much of `whole` the picture fills, and so the bar before it. */
static int32_t bar_of(int32_t whole, int32_t length, double scale) {
  int32_t filled = (int32_t)(rint(length * scale * 1e7) / 1e7);
  return (whole - filled) / 2;
}

static struct region region_of(const struct image_tiles *t) {
  int32_t lines = t->rows * t->side, columns = t->columns * t->side;
  struct region all = {0, 0, lines, columns};
  if ((double)t->width / t->height > (double)columns / lines) {
    int32_t bar = bar_of(lines, t->height, (double)columns / t->width);
    all.top = bar, all.bottom = lines - bar;
  } else {
    int32_t bar = bar_of(columns, t->width, (double)lines / t->height);
    all.left = bar, all.right = columns - bar;
  }
  return all;
}

int32_t image_tiles_count(const struct image_tiles *tiles) {
  struct region r = region_of(tiles);
  return tiles->side * tiles->side + (r.bottom - r.top) * (r.right - r.left + 1);
}

void image_tiles_rows(const struct image_tiles *tiles, int32_t *row) {
  struct region r = region_of(tiles);
  int32_t side = tiles->side, each = side * side;
  for (int32_t i = 0; i < each; i++) *row++ = i;
  for (int32_t y = r.top; y < r.bottom; y++) {
    for (int32_t x = r.left; x < r.right; x++) {
      int32_t tile = 1 + y / side * tiles->columns + x / side;
      *row++ = tile * each + y % side * side + x % side;
    }
    *row++ = IMAGE_BREAK;
  }
}
