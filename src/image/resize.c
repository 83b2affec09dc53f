/* Resizing: the axes, the passes that are needed, and the memory between them. */
#include "image/resize.h"

#include "image/resize_axis.h"
#include "image/resize_passes.h"

#include <stdlib.h>
#include <string.h>

/* Places are stepped to by sums, as Pillow does: by products, some would be the neighbour. */
static void nearest_fill(int from, int to, int *place) {
  double step = (double)from / to, at = step * 0.5;
  for (int i = 0; i < to; i++) {
    place[i] = (int)at < from ? (int)at : from - 1;
    at += step;
  }
}

static bool resize_nearest(struct image_view from, struct image *to, struct error *error) {
  int *column = malloc((size_t)(to->width + to->height) * sizeof *column);
  if (!column)
    return error_set(error, ERROR_MEMORY, "There is no memory to resize an image to %d × %d.", to->width, to->height);
  int *row = column + to->width;
  nearest_fill(from.width, to->width, column);
  nearest_fill(from.height, to->height, row);
  uint8_t *out = to->pixels;
  for (int y = 0; y < to->height; y++)
    for (int x = 0; x < to->width; x++, out += 3)
      memcpy(out, from.pixels + (size_t)row[y] * from.stride + 3 * (size_t)column[x], 3);
  free(column);
  return true;
}

static void view_copy(struct image_view from, uint8_t *to) {
  size_t bytes = image_bytes(from.width, 1);
  for (int y = 0; y < from.height; y++) memcpy(to + (size_t)y * bytes, from.pixels + (size_t)y * from.stride, bytes);
}

/* All rows of `from` to rows of axis->size pixels. */
static bool rows_resize(struct image_view from, const struct resize_axis *axis, uint8_t *to, struct error *error) {
  const struct resize_passes *passes = resize_passes_choose();
  size_t wide = 4 * ((size_t)from.width + PASS_SLACK), narrow = image_bytes(axis->size, 1);
  uint8_t *memory = malloc(PASS_ROWS * (wide + narrow)), *rows[PASS_ROWS], *results[PASS_ROWS];
  if (!memory)
    return error_set(error, ERROR_MEMORY, "There is no memory to resize an image of %d pixels' width.", from.width);
  for (int y = 0; y < from.height; y += PASS_ROWS) {
    for (int r = 0; r < PASS_ROWS; r++) { /* beyond the last row: that row again, to nowhere */
      bool there = y + r < from.height;
      rows[r] = memory + (size_t)r * wide;
      results[r] = there ? to + (size_t)(y + r) * narrow : memory + PASS_ROWS * wide + (size_t)r * narrow;
      passes->widen(from.pixels + (size_t)(there ? y + r : y) * from.stride, from.width, rows[r]);
    }
    passes->along_rows(axis, rows, results);
  }
  free(memory);
  return true;
}

static void columns_resize(const struct resize_axis *axis, const uint8_t *from, size_t stride, size_t bytes,
                           int skipped, uint8_t *to) {
  const struct resize_passes *passes = resize_passes_choose();
  for (int y = 0; y < axis->size; y++)
    passes->along_columns(axis, y, from + (size_t)(axis->first[y] - skipped) * stride, stride, bytes,
                          to + (size_t)y * bytes);
}

/* Rows first: only those that columns are made of. */
static bool rows_then_columns(struct image_view from, const struct resize_axis *across, const struct resize_axis *down,
                              struct image *to, struct error *error) {
  int first = down->first[0], end = down->first[down->size - 1] + down->count[down->size - 1];
  size_t bytes = image_bytes(to->width, 1);
  uint8_t *between = malloc((size_t)(end - first) * bytes);
  if (!between)
    return error_set(error, ERROR_MEMORY, "There is no memory to resize an image to %d × %d.", to->width, to->height);
  bool done = rows_resize(image_part(from, 0, first, from.width, end - first), across, between, error);
  if (done) columns_resize(down, between, bytes, bytes, first, to->pixels);
  free(between);
  return done;
}

static bool columns_then_rows(struct image_view from, const struct resize_axis *across, const struct resize_axis *down,
                              struct image *to, struct error *error) {
  struct image between;
  if (!image_init(&between, from.width, to->height, error)) return false;
  columns_resize(down, from.pixels, from.stride, image_bytes(from.width, 1), 0, between.pixels);
  bool done = rows_resize(image_view(&between), across, to->pixels, error);
  image_release(&between);
  return done;
}

/* Since release 13 Pillow begins with the columns when the height loses more than twice what the width does; the bytes
 * in between are rounded, so the order shows. */
static bool columns_first(struct image_view from, const struct image *to) {
  return to->height < from.height && from.height - to->height > 2 * (from.width - to->width);
}

static bool resize_filtered(struct image_view from, enum resample filter, struct image *to, struct error *error) {
  struct resize_axis across = {0}, down = {0};
  bool wide = from.width != to->width, tall = from.height != to->height;
  bool done = (!wide || resize_axis_init(&across, filter, from.width, to->width, error)) &&
              (!tall || resize_axis_init(&down, filter, from.height, to->height, error));
  if (done && wide && tall)
    done = (columns_first(from, to) ? columns_then_rows : rows_then_columns)(from, &across, &down, to, error);
  else if (done && wide)
    done = rows_resize(from, &across, to->pixels, error);
  else if (done)
    columns_resize(&down, from.pixels, from.stride, image_bytes(to->width, 1), 0, to->pixels);
  resize_axis_release(&across);
  resize_axis_release(&down);
  return done;
}

bool image_resize(struct image_view from, enum resample filter, int width, int height, struct image *to,
                  struct error *error) {
  if (!image_init(to, width, height, error)) return false;
  bool done = true;
  if (from.width == width && from.height == height)
    view_copy(from, to->pixels);
  else if (filter == RESAMPLE_NEAREST)
    done = resize_nearest(from, to, error);
  else
    done = resize_filtered(from, filter, to, error);
  if (!done) image_release(to);
  return done;
}
